"""Pictures and sound that are in memory already, read as a file is."""

from __future__ import annotations

import time
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from types import TracebackType
from typing import Self

import av
import numpy as np
from numpy.typing import ArrayLike, NDArray

from avglance.errors import ArgumentError, MediaError, ShapeError
from avglance.media.asked import check_stretch, known_times, longest_side, wanted_times
from avglance.media.frame import Frame
from avglance.media.resample import Resampler
from avglance.media.sound import SoundPiece
from avglance.media.upright import fit_inside, shrunk
from avglance.types import AudioTrack, MediaInfo, Reason

_WHERE = "VideoArray"
_MOST_S = 1e9
_LEAST_STEP_S = 1e-6
_MOST_RATE = 768_000
_LOUDEST = 100.0
_FALLBACK_S = 0.04  # how long a single picture lasts where nothing tells it


@dataclass(frozen=True, eq=False)
class VideoArray:
    """Pictures with their times, and sound: what a file holds, already decoded.

    Args:
        pictures: uint8 RGB, shape (N, H, W, 3); may be a memory map. None or empty: sound only.
        times: seconds at which each picture appears, rising, shape (N,).
        end_s: when the last picture ends; None: after the mean time of a picture.
        sound: samples in -1..1, float, shape (n,) mono or (n, channels); None: no sound.
        sound_rate_hz: samples a second.
        sound_start_s: when the first sample sounds, on the clock of ``times``.

    Raises:
        ShapeError: an array has another shape or type.
        ArgumentError: times do not rise or are not finite, or there is neither picture nor sound.
    """

    pictures: ArrayLike | None
    times: ArrayLike = ()
    end_s: float | None = None
    sound: ArrayLike | None = None
    sound_rate_hz: int = 16_000
    sound_start_s: float = 0.0

    def __post_init__(self) -> None:
        pictures, times = _pictures(self.pictures), _times(self.times)
        if times.shape != (len(pictures),):
            raise ShapeError(f"times must be ({len(pictures)},), got {times.shape}", where=_WHERE)
        sound = None if self.sound is None else _mono(self.sound)
        if not len(pictures) and (sound is None or not sound.size):
            raise ArgumentError("there is neither a picture nor sound", where=_WHERE, hint="give one of them")
        start = _number("sound_start_s", self.sound_start_s)
        rate = _number("sound_rate_hz", self.sound_rate_hz)
        if not 1 <= rate <= _MOST_RATE or rate != round(rate):
            hint = f"a whole number from 1 to {_MOST_RATE}"
            raise ArgumentError(f"sound_rate_hz={self.sound_rate_hz} is none", where=_WHERE, hint=hint)
        end = None if self.end_s is None else _number("end_s", self.end_s)
        if end is not None and times.size and end <= times[-1]:
            raise ArgumentError(f"end_s={self.end_s} must lie after the last picture", where=_WHERE)
        for name, value in (
            ("pictures", pictures), ("times", times), ("sound", sound), ("end_s", end),
            ("sound_start_s", start), ("sound_rate_hz", round(rate)),
        ):  # fmt: skip
            object.__setattr__(self, name, value)

    def __repr__(self) -> str:
        shape = np.shape(self.pictures) if self.pictures is not None else ()
        return f"VideoArray(pictures={shape}, sound={None if self.sound is None else np.shape(self.sound)})"


def _pictures(value: ArrayLike | None) -> NDArray[np.uint8]:
    try:
        pictures = np.zeros((0, 1, 1, 3), np.uint8) if value is None else np.asanyarray(value)
    except ValueError as error:
        raise ShapeError(f"pictures are no array ({error})", where=_WHERE) from error
    if pictures.ndim != 4 or pictures.shape[3] != 3 or pictures.dtype != np.uint8:
        what = f"pictures must be uint8 (N, H, W, 3), got {pictures.dtype} {pictures.shape}"
        raise ShapeError(what, where=_WHERE)
    if len(pictures) and not (pictures.shape[1] and pictures.shape[2]):
        raise ShapeError(f"pictures of {pictures.shape[1:3]} have no pixels", where=_WHERE)
    return pictures


def _times(value: ArrayLike) -> NDArray[np.float64]:
    try:
        times = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ShapeError(f"times are no numbers ({error})", where=_WHERE) from error
    if not (np.abs(times) <= _MOST_S).all() or (np.diff(times) < _LEAST_STEP_S).any():
        hint = "seconds, one a picture, at least a microsecond apart and within 30 years of 0"
        raise ArgumentError("times must be finite and rise", where=_WHERE, hint=hint)
    return times


def _number(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise ArgumentError(f"{name} must be a number, got {value!r}", where=_WHERE)
    number = float(value)
    if not abs(number) <= _MOST_S:
        raise ArgumentError(f"{name}={value} is out of range", where=_WHERE, hint="within 30 years of 0")
    return number


def _mono(value: ArrayLike) -> NDArray[np.float32]:
    sound = np.asarray(value)
    if sound.ndim not in (1, 2) or not np.issubdtype(sound.dtype, np.floating) or 0 in sound.shape[1:]:
        what = f"sound must be floats (n,) or (n, channels), got {sound.dtype} {sound.shape}"
        raise ShapeError(what, where=_WHERE, hint="divide 16-bit samples by 32768")
    if sound.size and not (np.abs(sound).max() <= _LOUDEST):  # NaN is refused, too
        hint = "samples lie in -1..1: drop NaN and infinite ones, divide 16-bit samples by 32768"
        raise ArgumentError("sound has samples far beyond -1..1, or no numbers", where=_WHERE, hint=hint)
    mixed = sound if sound.ndim == 1 else sound.mean(axis=1)
    return np.ascontiguousarray(mixed, dtype=np.float32)


def _resampled(samples: NDArray[np.float32], rate: int, wanted_hz: int) -> NDArray[np.float32]:
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples)[None], format="flt", layout="mono")
    frame.sample_rate, frame.time_base = rate, Fraction(1, rate)
    resampler = Resampler(wanted_hz)
    out = [one for part in (frame, None) for one in resampler.take(part)]
    return np.concatenate([np.zeros(0, np.float32), *out])


class ArrayReader:
    """``VideoReader`` over a ``VideoArray``: the same questions, answered from memory; see there."""

    def __init__(self, source: VideoArray) -> None:
        self._pictures: NDArray[np.uint8] = np.asanyarray(source.pictures)
        self._sound: NDArray[np.float32] | None = None if source.sound is None else np.asarray(source.sound)
        if self._sound is not None and not self._sound.size:
            self._sound = None
        times = np.asarray(source.times, dtype=np.float64)
        starts = [float(times[0])] if times.size else []
        starts += [source.sound_start_s] if self._sound is not None else []
        origin = min(starts)
        self._rate = source.sound_rate_hz
        self._times = times - origin
        self._ends = self._end_times(source, origin)
        self._sound_start = source.sound_start_s - origin
        self.picture_span = (float(self._times[0]), float(self._ends[-1])) if times.size else None
        sound_s = 0.0 if self._sound is None else self._sound.size / self._rate
        self.sound_span = None if self._sound is None else (self._sound_start, self._sound_start + sound_s)
        self.info = self._describe()
        self.frames_delivered = self.frames_decoded = 0
        self.decode_s = 0.0
        self.reasons: list[Reason] = []

    def _end_times(self, source: VideoArray, origin: float) -> NDArray[np.float64]:
        times = self._times
        if not times.size:
            return times
        step = float((times[-1] - times[0]) / (times.size - 1)) if times.size > 1 else _FALLBACK_S
        end = times[-1] + step if source.end_s is None else source.end_s - origin
        return np.append(times[1:], end)

    def _describe(self) -> MediaInfo:
        count, height, width = self._pictures.shape[:3]
        spans = [span for span in (self.picture_span, self.sound_span) if span is not None]
        steps = np.diff(self._times)
        track = AudioTrack("array", self._rate, 1)
        return MediaInfo(
            duration_s=max(end for _, end in spans),
            width=width if count else 0,
            height=height if count else 0,
            frame_rate=float(count / (self._ends[-1] - self._times[0])) if count else 0.0,
            variable_rate=bool(steps.size > 1 and steps.max() - steps.min() > 2e-3),
            container="array",
            video_codec="array" if count else "",
            audio_tracks=(track,) if self._sound is not None else (),
            has_video=bool(count),
        )

    @contextmanager
    def _working(self) -> Iterator[None]:
        since = time.perf_counter()
        try:
            yield
        finally:
            self.decode_s += time.perf_counter() - since

    def frames_at(
        self, times: Sequence[float], *, max_side: int | None = None
    ) -> Iterator[tuple[int, Frame | None]]:
        """See ``VideoReader.frames_at``."""
        return self._frames(wanted_times(times), longest_side(max_side))

    def _frames(
        self, wanted: NDArray[np.float64], max_side: int | None
    ) -> Iterator[tuple[int, Frame | None]]:
        last: tuple[int, Frame] | None = None
        for i in np.argsort(wanted, kind="stable").tolist():
            at = self._index(float(wanted[i]))
            if at is None:
                yield i, None
                continue
            if last is None or last[0] != at:
                with self._working():
                    last = at, self._frame(at, max_side)
            yield i, last[1]

    def _index(self, time_s: float) -> int | None:
        if not self._times.size:
            return None
        at = int(np.searchsorted(self._times, time_s + 1e-6, "right")) - 1
        if at < 0 and time_s >= self._times[0] - (self._ends[0] - self._times[0]):
            at = 0
        return at if at >= 0 and time_s < self._ends[at] else None

    def _frame(self, at: int, max_side: int | None) -> Frame:
        image = np.ascontiguousarray(self._pictures[at])
        height, width = image.shape[:2]
        size = fit_inside(width, height, max_side)
        if size != (width, height):
            image = shrunk(image, size)
        self.frames_delivered += 1
        return Frame(float(self._times[at]), float(self._ends[at]), image)

    def timeline(self) -> Iterator[tuple[float, float, bool]]:
        """See ``VideoReader.timeline``."""
        for start, end in zip(self._times.tolist(), self._ends.tolist(), strict=True):
            yield start, end, True

    def digests(self) -> Iterator[tuple[float, float, int | None]]:
        """See ``VideoReader.digests``."""
        for at, (start, end, _) in enumerate(self.timeline()):
            yield start, end, zlib.crc32(self._pictures[at].tobytes())

    def packets(self) -> Iterator[tuple[float, float, bool, bool]]:
        """See ``VideoReader.packets``: every picture, then the sound as one."""
        for start, end, _ in self.timeline():
            yield start, end, True, True
        if self.sound_span is not None:
            yield *self.sound_span, False, True

    def keyframes_near(self, times: Sequence[float]) -> list[float | None]:
        """The times of the pictures nearest to ``times``: each stands for itself.

        Raises:
            MediaError: there are no pictures (kind ``no_video``).
            ArgumentError: a time is not finite.
        """
        wanted = known_times(times, "keyframes_near")
        if not self._times.size:
            raise MediaError("there are no pictures", kind="no_video", where="<array>", hint="ask for sound")
        return [float(self._times[np.abs(self._times - time).argmin()]) for time in wanted]

    def sound(self, start_s: float, end_s: float, *, rate_hz: int = 16_000) -> Iterator[SoundPiece]:
        """See ``VideoReader.sound``."""
        check_stretch(start_s, end_s, rate_hz)
        return self._sounds(start_s, end_s, rate_hz)

    def _sounds(self, start_s: float, end_s: float, rate_hz: int) -> Iterator[SoundPiece]:
        if self._sound is None:
            return
        count = self._sound.size
        low = int(np.clip(np.ceil((start_s - self._sound_start) * self._rate), 0, count))
        high = int(np.clip(np.ceil((end_s - self._sound_start) * self._rate), 0, count))
        if low >= high:
            return
        with self._working():
            samples = self._sound[low:high]
            if rate_hz != self._rate:
                samples = _resampled(samples, self._rate, rate_hz)
        yield SoundPiece(self._sound_start + low / self._rate, samples)

    def close(self) -> None:
        """Nothing to let go of; safe to call twice."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
