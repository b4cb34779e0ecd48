"""``check``: in what state a file is, found by decoding all of it (or by reading its packets)."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from avglance.errors import ArgumentError, MediaError
from avglance.media.advice import advise
from avglance.media.deep import Digest, differences, sound_crc
from avglance.media.limits import Limits
from avglance.media.reader import VideoReader
from avglance.media.sound import SoundPiece
from avglance.media.surface import Opener, Reader
from avglance.types import NOTES, AudioState, Condition, Failure, MediaInfo, Reason

SILENT_DBFS = -70.0
_RATE_HZ = 16_000
_PAUSE_S = 0.25  # sound packets further apart than this have a gap between them
_MOST_PAUSES = 1000
_PICTURES_PART = 0.95  # of the work on a file with sound; said only while it goes on
_WHOLE = 0.95  # a file of which less than this share is there is not ok
_MOST_SPANS = 5  # of one kind and text; more are told as one


@dataclass(frozen=True)
class CheckReport:
    """What ``check`` found.

    Args:
        video: the file, as it was named.
        condition: verdict, reasons with spans, sound present, silent or absent, coverage.
        info: what the file is; None where it could not be opened.
        frames_decoded: whole pictures that came out of the decoder; 0 for a quick check.
        picture_s: seconds of whole pictures.
        sound_s: seconds of sound.
        failure: kind, message and advice where the verdict is ``failed``.
        bytes: size of the file; 0 where it cannot be told.
        seconds: what the check took.
        advice: what a person can do, line by line: sentences, and commands for a POSIX shell.
    """

    video: str
    condition: Condition
    info: MediaInfo | None
    frames_decoded: int
    picture_s: float
    sound_s: float
    failure: Failure | None
    bytes: int = 0
    seconds: float = field(default=0.0, compare=False)
    advice: tuple[str, ...] = ()


@dataclass
class _Tally:
    """What was met while going through a file."""

    on_share: Callable[[float], None] | None = None
    whole_s: float = 0.0
    part: tuple[float, float] = (0.0, 1.0)  # of the whole work, that is being done
    frames: int = 0
    picture_s: float = 0.0
    sound_s: float = 0.0
    loudest: float = 0.0
    all_heard: bool = False  # and so known to be silent, if it is
    heard: float = math.inf  # where the last sound ended
    ended: bool = False  # whether the file was gone through to its end
    reached: float = 0.0
    reasons: list[Reason] = field(default_factory=list)

    def reach(self, time_s: float) -> None:
        """Note how far the reading has come on the clock."""
        self.reached = time_s
        if self.on_share is not None and self.whole_s > 0:
            low, high = self.part
            self.on_share(low + (high - low) * min(max(time_s / self.whole_s, 0.0), 1.0))

    def see(self, start: float, end: float, *, whole: bool) -> None:
        """Count a picture."""
        if whole:
            self.frames += 1
            self.picture_s += end - start
        self.reach(end)

    def hear(self, piece: SoundPiece) -> None:
        """Count a piece of sound."""
        if piece.samples.size:
            level = float(np.sqrt(np.mean(np.square(piece.samples, dtype=np.float64))))
            self.loudest = max(self.loudest, level)
        seconds = piece.samples.size / _RATE_HZ
        self.sound_s += seconds
        self.heard = piece.start_s + seconds
        self.reach(self.heard)


def check(
    path: str | os.PathLike[str],
    *,
    quick: bool = False,
    deep: bool = False,
    limits: Limits | None = None,
    audio_track: int = 0,
    opener: Opener = VideoReader,
    on_share: Callable[[float], None] | None = None,
) -> CheckReport:
    """The state of a file; never raises for a bad one.

    ok: everything that is declared decodes. degraded: something decodes, but not all of it; the reasons say
    what and where. failed: neither a picture nor a sound sample can be had; ``failure`` says why and what to
    do. ``advice`` says how to mend it, where that can be done.

    Args:
        path: a local file.
        quick: read the packets without decoding them; damage inside pictures then goes unseen.
        deep: decode the file twice at once, with one thread and with several, and compare every picture and
            every piece of sound; where they differ the file is ``unstable``.
        limits: see ``Limits``.
        audio_track: which of its sound tracks, from 0.
        opener: what opens the file.
        on_share: told again and again how far the reading has come, 0..1.

    Raises:
        ArgumentError: both ``quick`` and ``deep``; or the file has sound tracks, but not that one.
    """
    if quick and deep:
        hint = "quick decodes nothing, deep decodes twice: choose one"
        raise ArgumentError("quick and deep exclude each other", where="check", hint=hint)
    began, video = time.perf_counter(), str(os.fspath(path))
    tally = _Tally(on_share)

    def opened(threads: int) -> Reader:
        return opener(path, limits=limits, audio_track=audio_track, threads=threads)

    try:
        with opened(0) as reader:
            tally.whole_s = reader.info.duration_s
            try:
                if deep:
                    with opened(1) as other:
                        _decode_twice(reader, other, tally)
                else:
                    _count_packets(reader, tally) if quick else _decode_all(reader, tally)
            except MediaError as error:
                tally.reasons.append(
                    Reason(error.kind, error.what, tally.reached, max(reader.info.duration_s, tally.reached))
                )
            report = _report(video, reader, tally, quick=quick)
    except MediaError as error:
        failure = Failure(video, error.kind, error.what, error.hint)
        condition = Condition("failed", (Reason(error.kind, error.what),), "absent", 0.0)
        report = CheckReport(video, condition, None, 0, 0.0, 0.0, failure)
    report = replace(report, bytes=_size(path), advice=advise(report))
    return replace(report, seconds=time.perf_counter() - began)


def _size(path: str | os.PathLike[str]) -> int:
    try:
        return os.stat(path).st_size if os.path.isfile(path) else 0
    except (OSError, ValueError):
        return 0


def _decode_all(reader: Reader, tally: _Tally) -> None:
    pictures, sound = _parts(reader)
    tally.part = pictures
    for start, end, whole in reader.timeline():
        tally.see(start, end, whole=whole)
    tally.part = sound
    for piece in reader.sound(-math.inf, math.inf, rate_hz=_RATE_HZ):
        tally.hear(piece)
    tally.all_heard = tally.ended = True


def _parts(reader: Reader) -> tuple[tuple[float, float], tuple[float, float]]:
    """Which part of the work the pictures are, and which the sound, which comes after them."""
    border = 0.0 if reader.picture_span is None else 1.0 if reader.sound_span is None else _PICTURES_PART
    return (0.0, border), (border, 1.0)


def _decode_twice(reader: Reader, other: Reader, tally: _Tally) -> None:
    """Decode with both in lockstep; what ``reader`` gives is counted, what differs is ``unstable``."""

    def seen() -> Iterator[Digest]:
        for start, end, crc in reader.digests():
            tally.see(start, end, whole=crc is not None)
            yield start, end, crc

    def heard(source: Reader, mine: _Tally) -> Iterator[Digest]:
        for piece in source.sound(-math.inf, math.inf, rate_hz=_RATE_HZ):
            mine.hear(piece)
            yield piece.start_s, piece.start_s + piece.samples.size / _RATE_HZ, sound_crc(piece.samples)

    pictures, sound = _parts(reader)
    tally.part = pictures
    for start, end in differences(seen(), other.digests()):
        tally.reasons.append(Reason("unstable", "two decodings of the pictures differ", start, end))
    tally.part = sound
    for start, end in differences(heard(reader, tally), heard(other, _Tally())):
        tally.reasons.append(Reason("unstable", "two decodings of the sound differ", start, end))
    tally.all_heard = tally.ended = True


def _count_packets(reader: Reader, tally: _Tally) -> None:
    first, last, lost_s = math.inf, 0.0, 0.0
    lost, low, high = 0, math.inf, 0.0
    for start, end, is_picture, whole in reader.packets():
        if not whole:
            lost, low, high = lost + 1, min(low, start), max(high, end)
        if is_picture:  # a picture is held until the next one: what counts is from the first to the end
            first, last = min(first, start), max(last, end)
            lost_s += 0.0 if whole else end - start
        elif whole:
            tally.sound_s += end - start
            if start - tally.heard > _PAUSE_S and len(tally.reasons) < _MOST_PAUSES:
                tally.reasons.append(Reason("gap", "no sound", tally.heard, start))
            tally.heard = end
        tally.reach(max(tally.reached, end))
    tally.ended = True
    tally.picture_s = max(last - first - lost_s, 0.0)
    if lost:
        tally.reasons.append(Reason("damaged", f"{lost} packets are marked as damaged", low, high))


def _report(video: str, reader: Reader, tally: _Tally, *, quick: bool) -> CheckReport:
    found = reader.info
    reasons = _told_once([*reader.reasons, *tally.reasons])
    if not found.has_video and not any(r.kind == "no_picture_decoded" for r in reasons):
        reasons.append(Reason("no_video", "sound only: there are no pictures"))
    if tally.ended and reader.sound_span is not None and reader.sound_span[1] - tally.heard > _PAUSE_S:
        reasons.append(Reason("gap", "no sound", tally.heard, reader.sound_span[1]))
    # a pause in the sound under pictures is none of damage; where there is only sound, it is what is missing
    notes = NOTES if found.has_video else {"no_video", "side_sound"}
    coverage = _coverage(reader, tally, reasons)
    bad = [r for r in reasons if r.kind not in notes]
    if not bad and coverage < _WHOLE:  # nothing was marked as damaged, and yet it is not there
        what = "the picture track" if reader.picture_span is not None else "the sound track"
        bad = [Reason("damaged", f"{1 - coverage:.0%} of {what} is missing")]
        reasons += bad
    shown = sorted(_gathered(reasons), key=lambda r: -1.0 if r.start_s is None else r.start_s)
    condition = Condition("degraded" if bad else "ok", tuple(shown), _audio(found, tally), coverage)
    return CheckReport(video, condition, found, tally.frames, tally.picture_s, tally.sound_s, None)


def _told_once(reasons: list[Reason]) -> list[Reason]:
    """The reasons without repetitions, nor those without a span that are told with one as well."""
    placed = {(r.kind, r.text) for r in reasons if r.start_s is not None}
    return [r for r in dict.fromkeys(reasons) if r.start_s is not None or (r.kind, r.text) not in placed]


def _gathered(reasons: list[Reason]) -> list[Reason]:
    """The reasons; where one is told of more than ``_MOST_SPANS`` stretches, these become one."""
    alike: dict[tuple[str, str], list[Reason]] = {}
    for reason in reasons:
        alike.setdefault((reason.kind, reason.text), []).append(reason)
    shown: list[Reason] = []
    for (kind, text), several in alike.items():
        spans = [(r.start_s, r.end_s) for r in several if r.start_s is not None and r.end_s is not None]
        if len(spans) <= _MOST_SPANS:
            shown += several
            continue
        shown += [r for r in several if r.start_s is None or r.end_s is None]
        total = sum(high - low for low, high in spans)
        text = f"{text}: {len(spans)} stretches, {total:.1f} s in all"
        shown.append(Reason(kind, text, min(low for low, _ in spans), max(high for _, high in spans)))
    return shown


def _audio(found: MediaInfo, tally: _Tally) -> AudioState:
    if not found.has_audio:
        return "absent"
    # what was not decoded to its end cannot be called silent
    heard = tally.loudest > 10 ** (SILENT_DBFS / 20) or not tally.all_heard
    return "present" if heard else "silent"


def _coverage(reader: Reader, tally: _Tally, reasons: list[Reason]) -> float:
    """The share of what the header promises that is there: of the pictures, or else of the sound."""
    span = reader.picture_span or reader.sound_span
    found = tally.picture_s if reader.picture_span is not None else tally.sound_s
    if span is None:
        return 0.0
    cut = [r.end_s for r in reasons if r.kind == "truncated" and r.end_s is not None]
    promised = max([span[1], *cut]) - span[0]
    return min(1.0, found / promised) if promised > 0 else 1.0
