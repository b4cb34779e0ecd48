"""``check``: in what state a file is, found by decoding all of it (or by reading its packets)."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, field

import numpy as np

from avglance.errors import MediaError
from avglance.media.limits import Limits
from avglance.media.reader import VideoReader
from avglance.types import AudioState, Condition, Failure, MediaInfo, Reason

SILENT_DBFS = -70.0
_NOTES = frozenset({"no_video"})  # reasons that are worth saying and leave a file ok


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
    """

    video: str
    condition: Condition
    info: MediaInfo | None
    frames_decoded: int
    picture_s: float
    sound_s: float
    failure: Failure | None


@dataclass
class _Tally:
    """What was met while going through a file."""

    frames: int = 0
    picture_s: float = 0.0
    sound_s: float = 0.0
    loudest: float = 0.0
    picture_end: float = 0.0
    reasons: list[Reason] = field(default_factory=list)


def check(
    path: str | os.PathLike[str], *, quick: bool = False, limits: Limits | None = None, audio_track: int = 0
) -> CheckReport:
    """The state of a file; never raises for a bad one.

    ok: everything that is declared decodes. degraded: something decodes, but not all of it; the reasons say
    what and where. failed: neither a picture nor a sound sample can be had; ``failure`` says why and what to
    do.

    Args:
        path: a local file.
        quick: read the packets without decoding them; damage inside pictures then goes unseen.
        limits: see ``Limits``.
        audio_track: which of its sound tracks, from 0.
    """
    video = os.fspath(path)
    try:
        with VideoReader(path, limits=limits, audio_track=audio_track) as reader:
            tally = _Tally()
            try:
                _count_packets(reader, tally) if quick else _decode_all(reader, tally)
            except MediaError as error:
                tally.reasons.append(
                    Reason(error.kind, error.what, tally.picture_end, reader.info.duration_s)
                )
            return _report(str(video), reader, tally, quick=quick)
    except MediaError as error:
        failure = Failure(str(video), error.kind, error.what, error.hint)
        reason = Reason(error.kind, error.what)
        return CheckReport(
            str(video), Condition("failed", (reason,), "absent", 0.0), None, 0, 0.0, 0.0, failure
        )


def _decode_all(reader: VideoReader, tally: _Tally) -> None:
    for start, end, whole in reader.timeline():
        tally.picture_end = end
        if whole:
            tally.frames += 1
            tally.picture_s += end - start
    for piece in reader.sound(-math.inf, math.inf):
        tally.sound_s += piece.samples.size / 16_000
        level = (
            float(np.sqrt(np.mean(np.square(piece.samples, dtype=np.float64)))) if piece.samples.size else 0.0
        )
        tally.loudest = max(tally.loudest, level)


def _count_packets(reader: VideoReader, tally: _Tally) -> None:
    lost: list[tuple[float, float]] = []
    first, lost_s = math.inf, 0.0
    for start, end, is_picture, whole in reader.packets():
        if not whole:
            lost.append((start, end))
        if is_picture:  # a picture is held until the next one: what counts is from the first to the end
            first, tally.picture_end = min(first, start), max(tally.picture_end, end)
            lost_s += 0.0 if whole else end - start
        elif whole:
            tally.sound_s += end - start
    tally.picture_s = max(tally.picture_end - first - lost_s, 0.0)
    if lost:
        text = f"{len(lost)} packets are marked as damaged"
        tally.reasons.append(
            Reason("damaged", text, min(low for low, _ in lost), max(high for _, high in lost))
        )
    tally.loudest = 1.0  # what was not decoded cannot be called silent


def _report(video: str, reader: VideoReader, tally: _Tally, *, quick: bool) -> CheckReport:
    reasons = [*reader.reasons, *tally.reasons]
    if not reader.info.has_video and not any(r.kind == "no_picture_decoded" for r in reasons):
        reasons.append(Reason("no_video", "sound only: there are no pictures"))
    bad = [r for r in reasons if r.kind not in _NOTES]
    condition = Condition(
        verdict="degraded" if bad else "ok",
        reasons=tuple(sorted(reasons, key=lambda r: -1.0 if r.start_s is None else r.start_s)),
        audio=_audio(reader, tally),
        coverage=_coverage(reader, tally, reasons),
    )
    return CheckReport(video, condition, reader.info, tally.frames, tally.picture_s, tally.sound_s, None)


def _audio(reader: VideoReader, tally: _Tally) -> AudioState:
    if not reader.info.has_audio:
        return "absent"
    return "present" if tally.loudest > 10 ** (SILENT_DBFS / 20) else "silent"


def _coverage(reader: VideoReader, tally: _Tally, reasons: list[Reason]) -> float:
    """The share of what the header promises that is there: of the pictures, or else of the sound."""
    span = reader.picture_span or reader.sound_span
    found = tally.picture_s if reader.picture_span is not None else tally.sound_s
    if span is None:
        return 0.0
    cut = [r.end_s for r in reasons if r.kind == "truncated" and r.end_s is not None]
    promised = max([span[1], *cut]) - span[0]
    return min(1.0, found / promised) if promised > 0 else 1.0
