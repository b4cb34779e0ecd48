"""One file behind a view: its snippets, what was asked of them, and what came."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from avglance.errors import MediaError
from avglance.media import Frame, Opener, Reader, VideoReader
from avglance.types import NOTES, AudioState, Condition, MediaInfo, Reason
from avglance.views.ahead import Ahead
from avglance.views.grid import clip_start, snap, snippet_centres
from avglance.views.pictures import shrinks_to, source_square
from avglance.views.sound import CLIP_S, CLIP_SAMPLES, MEL_BANDS, MEL_FRAMES, RATE_HZ, SILENCE, logmel
from avglance.views.view import ViewSettings

SILENT_DB = -70.0
"""Sound whose loudest clip stays below this level (RMS, dBFS) is called silent."""

_MERGE_S = 1.0  # clips closer than this are read in one go: reading on is cheaper than seeking
_FLOOR_DB = -120.0
T = TypeVar("T")
_FRAME_S = 0.04  # how long a picture is taken to last where the container tells no rate


class FileSnippets:
    """The T snippets of one file, decoded as they are asked for and never twice.

    Args:
        path: the file.
        settings: grid and sides.
        opener: what opens the file and reads it; None: ``VideoReader``.
        reading: ``limits``, ``audio_track``, ``audio_file`` and ``threads`` of the reader.

    Raises:
        MediaError: nothing can be read.
    """

    def __init__(
        self, path: str | Path, settings: ViewSettings, *, opener: Opener | None = None, **reading: Any
    ) -> None:
        self.settings = settings
        if settings.grid == "keyframe":
            reading["apart"] = True
        self.reader: Reader = (opener or VideoReader)(path, **reading)
        try:
            self.info: MediaInfo = self.reader.info
            self.times, self.on_keyframes = self._grid()
        except BaseException:
            self.reader.close()
            raise
        count = settings.snippets
        self._starts = [round(clip_start(t, self.info.duration_s) * RATE_HZ) for t in self.times]  # samples
        self.visible = self._maybe_visible()
        self.audible = self._maybe_audible()
        self._expected_visible, self._expected_audible = self.visible.copy(), self.audible.copy()
        self.levels_db = np.full(count, np.nan)
        self.asked_pictures, self.asked_sounds = np.zeros(count, bool), np.zeros(count, bool)
        self.error: MediaError | None = None  # met while decoding
        self._squares: dict[
            float, NDArray[np.uint8]
        ] = {}  # by time: on a keyframe grid snippets share frames
        self._mels: dict[int, NDArray[np.float32]] = {}
        self.decode_s = self.reader.decode_s  # that were waited for, not those of a thread beside
        self._coming: Ahead[tuple[float, NDArray[np.uint8] | None]] | None = None
        self._expected: set[float] = set()  # times of what is coming
        self._may_thread = reading.get("threads") != 1
        # a process of its own answers one thing at a time, and what hangs takes it along: sound comes first
        self._sound_first, self._waiting = opener is not None, list[float]()

    def close(self) -> None:
        """Let go of the file; what was decoded stays."""
        if self._coming is not None:
            self._coming.close()
        self.reader.close()

    def _grid(self) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """When the snippets are looked at, and which of these times are keyframes that were sought out."""
        centres = snippet_centres(self.info.duration_s, self.settings.snippets)
        if self.settings.grid == "exact" or not self.info.has_video:
            return centres, np.zeros(len(centres), dtype=bool)
        keys = np.array(self.reader.keyframes_near(centres.tolist()), dtype=np.float64)  # None becomes NaN
        return snap(self.info.duration_s, keys, inside=self.settings.grid == "auto")

    def _maybe_visible(self) -> NDArray[np.bool_]:
        span = self.reader.picture_span
        if span is None:
            return np.zeros(len(self.times), bool)
        frame_s = 1 / self.info.frame_rate if self.info.frame_rate > 0 else _FRAME_S
        first, end = span[0] - frame_s, max(span[1], span[0] + frame_s)
        return np.asarray((self.times >= first) & (self.times < end))

    def _maybe_audible(self) -> NDArray[np.bool_]:
        span = self.reader.sound_span
        if span is None:
            return np.zeros(len(self.times), bool)
        starts = np.array(self._starts) / RATE_HZ
        return np.asarray((starts < span[1]) & (starts + CLIP_S > span[0]))

    # ------------------------------------------------------------------ pictures

    def square(self, snippet: int) -> NDArray[np.uint8] | None:
        """The source square that was delivered for a snippet, (3, S, S), or None."""
        return self._squares.get(float(self.times[snippet]))

    def expect(self, snippets: Iterable[int]) -> None:
        """Begin to decode the pictures of these snippets in a thread, for ``see``; once a file.

        Sound may be asked for meanwhile; where another process decodes, they begin after the first of it.
        They count as asked for: of two that share a lost picture the second is not asked for any more. With
        one thread allowed nothing else happens.
        """
        wanted = sorted(set(snippets))
        self.asked_pictures[wanted] = True
        todo = self._todo(wanted)
        if self._may_thread and self._coming is None and len(todo) > 1:
            self._waiting = todo
            if not self._sound_first:
                self._begin()

    def _begin(self) -> None:
        """Begin to decode what is expected, if anything waits for that."""
        if self._waiting:
            squares = self._squares_of(self._waiting, self._frames(self._waiting))
            self._coming, self._expected = Ahead(squares, "pictures"), set(self._waiting)
            self._waiting = []

    def see(self, snippets: Iterable[int]) -> None:
        """Decode the pictures of these snippets, as far as they are not there yet."""
        wanted = sorted(set(snippets))
        self.asked_pictures[wanted] = True
        todo = self._todo(wanted)
        if not todo:
            return
        self._begin()
        try:
            self._take_coming(todo)
            left = [time for time in todo if time not in self._expected]
            self._keep(self._squares_of(left, self._waited(self._frames(left))) if left else ())
        except MediaError as error:
            self.error = self.error or error
        lost = [time for time in todo if time not in self._squares]
        self.visible &= ~np.isin(self.times, lost)

    def _todo(self, snippets: Iterable[int]) -> list[float]:
        """The times of snippets whose pictures are not there yet, each once, rising."""
        times = {float(self.times[t]) for t in snippets if self.visible[t]}
        return sorted(times - self._squares.keys())

    def _frames(self, times: Sequence[float]) -> Iterator[tuple[int, Frame | None]]:
        """What stands on the screen at these times, no larger than it is needed."""
        most = shrinks_to(self.info.width, self.info.height, self.settings)
        return self.reader.frames_at(times, max_side=most)

    def _squares_of(
        self, times: Sequence[float], frames: Iterator[tuple[int, Frame | None]]
    ) -> Iterator[tuple[float, NDArray[np.uint8] | None]]:
        """The times with the source squares of the pictures that came."""
        for index, frame in frames:
            yield times[index], None if frame is None else source_square(frame.image, self.settings)

    def _take_coming(self, times: Sequence[float]) -> None:
        """Keep what the thread makes, up to the last of these times; all, where others are asked for."""
        if self._coming is not None:
            until = times[-1] if self._expected.issuperset(times) else math.inf
            self._keep(self._waited(self._coming), until)

    def _keep(
        self, squares: Iterable[tuple[float, NDArray[np.uint8] | None]], until: float = math.inf
    ) -> None:
        for time_s, square in squares:
            if square is not None:
                self._squares[time_s] = square
            if time_s >= until:
                return

    def _waited(self, items: Iterator[T]) -> Iterator[T]:
        """The items; the seconds until they come count as decoding."""
        while True:
            began = time.perf_counter()
            try:
                item = next(items)
            except StopIteration:
                return
            finally:
                self.decode_s += time.perf_counter() - began
            yield item

    # ------------------------------------------------------------------ sound

    def mel(self, snippet: int) -> NDArray[np.float32] | None:
        """The log-mel that was made for a snippet, (F, M), or None."""
        return self._mels.get(snippet)

    def hear(self, snippets: Iterable[int]) -> None:
        """Decode the sound clips of these snippets, as far as they are not there yet; few forward reads."""
        wanted = sorted(set(snippets))
        self.asked_sounds[wanted] = True
        todo = sorted(
            (t for t in wanted if self.audible[t] and t not in self._mels), key=self._starts.__getitem__
        )
        if not todo:
            return
        starts = np.array([self._starts[t] for t in todo], dtype=np.int64)
        clips, heard = self._read_clips(starts)
        self._begin()
        mels = logmel(clips)
        power = np.square(clips, dtype=np.float64).sum(axis=1) / np.maximum(heard, 1)
        levels = np.maximum(10 * np.log10(np.maximum(power, 1e-30)), _FLOOR_DB)
        for row, snippet in enumerate(todo):
            if heard[row]:
                self._mels[snippet] = mels[row]
                self.levels_db[snippet] = levels[row]
            else:
                self.audible[snippet] = False

    def _read_clips(self, starts: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """The clips that begin at these samples (rising), zeros where nothing came; how many samples came."""
        clips = np.zeros((len(starts), CLIP_SAMPLES), dtype=np.float32)
        heard = np.zeros(len(starts), dtype=np.int64)
        try:
            for run in _runs(starts):
                self._read_run(starts[run], clips[run], heard[run])
        except MediaError as error:
            self.error = self.error or error
        return np.nan_to_num(clips, copy=False, nan=0.0, posinf=1.0, neginf=-1.0), heard

    def _read_run(
        self, starts: NDArray[np.int64], clips: NDArray[np.float32], heard: NDArray[np.int64]
    ) -> None:
        following = (
            None  # the sample after the last piece: pieces that touch stay together whatever the rounding
        )
        last = int(starts[-1]) + CLIP_SAMPLES
        pieces = self.reader.sound(int(starts[0]) / RATE_HZ, last / RATE_HZ, rate_hz=RATE_HZ)
        for piece in self._waited(pieces):
            exact = piece.start_s * RATE_HZ
            begin = following if following is not None and abs(exact - following) < 1.5 else round(exact)
            following = begin + len(piece.samples)
            for row, start in enumerate(starts.tolist()):
                low, high = max(begin, start), min(following, start + CLIP_SAMPLES)
                if low < high:
                    clips[row, low - start : high - start] = piece.samples[low - begin : high - begin]
                    heard[row] += high - low

    # ------------------------------------------------------------------ what came

    def _settle(self) -> None:
        """Wait for what the thread still does: the reader is not to be asked beside it."""
        try:
            self._take_coming([math.inf])
        except MediaError as error:
            self.error = self.error or error

    @property
    def failure(self) -> MediaError | None:
        """The error met while decoding, if nothing at all came because of it."""
        return self.error if self.error and not self._squares and not self._mels else None

    def audio_state(self) -> AudioState:
        """Whether the file has sound, as far as it was asked for."""
        heard = self.levels_db[np.isfinite(self.levels_db)]
        if not self.info.has_audio or (self.asked_sounds.any() and not heard.size):
            return "absent"
        return "silent" if heard.size and heard.max() < SILENT_DB else "present"

    def condition(self) -> Condition:
        """In what state the file was found, judged by what was asked of it."""
        self._settle()
        seen = np.array([self.square(t) is not None for t in range(len(self.times))])
        heard = np.isfinite(self.levels_db)
        no_picture = self.asked_pictures & ~seen & self.info.has_video
        no_sound = self.asked_sounds & ~heard & self.info.has_audio
        asked = self.asked_pictures | self.asked_sounds
        coverage = 1.0 - float((no_picture | no_sound).sum() / asked.sum()) if asked.any() else 1.0
        reasons = list(self.reader.reasons)
        if not self.info.has_video:
            reasons.append(
                Reason("no_video", "the file has no pictures, the answer stands on its sound alone")
            )
        if self.error is not None and all(r.text != self.error.what for r in reasons):
            reasons.append(Reason(self.error.kind, self.error.what))
        # a track that is known to end early is no damage: only what was expected can be lost
        reasons += self._lost("pictures_lost", "picture", no_picture & self._expected_visible)
        reasons += self._lost("sound_lost", "sound", no_sound & self._expected_audible)
        bad = any(reason.kind not in NOTES for reason in reasons)
        return Condition("degraded" if bad else "ok", tuple(reasons), self.audio_state(), coverage)

    def _lost(self, kind: str, what: str, lost: NDArray[np.bool_]) -> list[Reason]:
        """One reason for each run of neighbouring snippets that were asked for and did not come."""
        half = self.info.duration_s / len(self.times) / 2
        reasons = []
        for run in np.split(np.flatnonzero(lost), np.flatnonzero(np.diff(np.flatnonzero(lost)) > 1) + 1):
            if run.size:
                text = f"no {what} came at {run.size} of {len(self.times)} snippets"
                start, end = float(self.times[run[0]] - half), float(self.times[run[-1]] + half)
                reasons.append(Reason(kind, text, max(0.0, start), min(end, self.info.duration_s)))
        return reasons


def _runs(starts: NDArray[np.int64]) -> Sequence[slice]:
    """Groups of clips (rising starts, samples) that are worth one forward read each."""
    gaps = np.flatnonzero(np.diff(starts) > CLIP_SAMPLES + _MERGE_S * RATE_HZ) + 1
    edges = [0, *gaps.tolist(), len(starts)]
    return [slice(a, b) for a, b in itertools.pairwise(edges)]


def silent_mels(count: int) -> NDArray[np.float32]:
    """Log-mels of silence, shape (count, 1, F, M)."""
    return np.full((count, 1, MEL_FRAMES, MEL_BANDS), SILENCE, dtype=np.float32)
