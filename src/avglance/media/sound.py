"""The sound track of one file: any stretch of it, mono, at any rate, in pieces.

Times in this file are the stream's own seconds; ``reader`` moves them to the clock of the presentation.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import av
import av.error
import numpy as np
from numpy.typing import NDArray

from avglance.media.holes import Holes
from avglance.media.resample import Resampler
from avglance.media.shots import read_packets
from avglance.media.spent import Spans, Spent

_PREROLL_S = 0.5  # decoded before what is asked for: codecs need a few packets to settle after a seek
_SHORT_PREROLL_S = 0.1  # of plain AAC, which needs the packet before and no other
_LC_SAMPLES = 1024  # of a packet of it
_LC_RATE = 32_000  # below it AAC may be half of a sound that is made whole later (SBR), and says plain
# Timestamps that leave the count of samples by more than this, and do not come back to it, are right: clocks
# that disagree by a thousandth would be apart by seconds after an hour. Those that come back only jitter.
_DRIFT_S = 0.003
_JITTER_S = 0.025  # further beyond the count of samples than this is a gap at once
_PATIENCE_S = 0.5  # for timestamps to come back
_LONG_S = 0.1  # one frame as long as this is enough
_MOST_HELD = 100
_PIECE_S = 1.0
_CHUNK_S = 0.25  # frames are resampled together: each call costs more than its samples
_HOLE_S = 0.05  # a gap this long is worth saying; where bytes of the file were skipped, it is a loss
_LOST_START_S = 60.0  # a damaged packet that claims to lie further before the first sound is not believed


@dataclass(frozen=True)
class SoundPiece:
    """Mono sound in -1..1, shape (n,), float32; sample k sounds at ``start_s + k / rate_hz``."""

    start_s: float
    samples: NDArray[np.float32]


class _Run:
    """An unbroken stretch of sound being resampled: sample n of the output sounds at ``start + n / rate``."""

    def __init__(self, start: float, rate_hz: int) -> None:
        self.start, self.rate = start, rate_hz
        self._out = 0
        self._resampler = Resampler(rate_hz)
        self._held: av.AudioFifo | None = None  # begun with the second frame: the first tells if it works

    @property
    def end(self) -> float:
        """Where the sound that came out so far ends."""
        return self.start + self._out / self.rate

    def put(self, frame: Any | None, *, now: bool = False) -> SoundPiece | None:
        """Take a frame (None: there is no other); None where nothing comes out yet. ``now``: hold nothing."""
        frames = [] if frame is None else [frame]
        if frame is not None:
            frame.pts = None  # the count of samples is the clock inside a run
            if self._held is None:
                self._held = av.AudioFifo()
            else:
                self._held.write(frame)
                frames = self._take() if now or self._held.samples >= _CHUNK_S * frame.sample_rate else []
        else:
            frames = [*self._take(), None]
        arrays = [samples for one in frames for samples in self._resampler.take(one)]
        if not arrays:
            return None
        samples = np.concatenate(arrays)
        piece = SoundPiece(self.end, samples)
        self._out += samples.size
        return piece

    def _take(self) -> list[Any]:
        """All that is held, as one frame."""
        frame = self._held.read() if self._held is not None and self._held.samples else None
        return [] if frame is None else [frame]


class _Stretches:
    """Frames with their times, in order, and of each whether an unbroken stretch of sound begins with it.

    A frame whose time disagrees with the count of samples is held back until those behind it tell whether
    that lasts: it does where time has moved on (a gap, a clock that drifts), and a stretch begins with it
    then; it does not where timestamps jitter.
    """

    def __init__(self, frames: Iterator[tuple[float, Any]]) -> None:
        self._frames = frames
        self._again: deque[tuple[float, Any]] = deque()  # to be looked at once more
        self._held: list[tuple[float, Any]] = []
        self._key: tuple[int, str, str] | None = None
        self._start, self._count = 0.0, 0  # of the stretch, held frames left out
        self._waiting = 0  # samples of held frames

    def __iter__(self) -> Iterator[tuple[float, Any, bool]]:
        while True:
            item = self._again.popleft() if self._again else next(self._frames, None)
            if item is None and not self._held:
                return
            if item is not None and not self._held and self._goes_on(item):  # as nearly all do
                self._count += item[1].samples
                yield *item, False
                continue
            yield from self._settled(item)

    def _goes_on(self, item: tuple[float, Any]) -> bool:
        """Whether a frame lies where the stretch ends."""
        same = self._key is not None and _key(item[1]) == self._key
        return same and abs(item[0] - self._end()) <= _DRIFT_S

    def _settled(self, item: tuple[float, Any] | None) -> Iterator[tuple[float, Any, bool]]:
        """What is certain now, with one more frame (None: there is none)."""
        if item is None or self._key is None or _key(item[1]) != self._key:
            yield from self._cut_off(item)
            return
        off, frame = item[0] - self._end(self._waiting), item[1]
        if abs(off) <= _DRIFT_S:
            self._held.append(item)
            yield from self._joined()
        elif off > _JITTER_S:
            yield from self._cut_off(item)
        else:
            self._held.append(item)
            self._waiting += frame.samples
            if self._is_sure(frame):
                yield self._begun()

    def _is_sure(self, last: Any) -> bool:
        is_long = last.samples > _LONG_S * last.sample_rate
        patient = self._waiting < _PATIENCE_S * last.sample_rate and len(self._held) < _MOST_HELD
        return is_long or not patient

    def _cut_off(self, item: tuple[float, Any] | None) -> Iterator[tuple[float, Any, bool]]:
        """A stretch ends before ``item``, with what is held still open: sound that came late was a gap."""
        if item is not None:
            self._again.appendleft(item)
        if self._held and self._held[0][0] <= self._end():
            yield from self._joined()
        elif not self._held and item is not None:
            self._held.append(self._again.popleft())
        if self._held:
            yield self._begun()
        else:
            self._key = None  # the next frame begins a stretch

    def _joined(self) -> Iterator[tuple[float, Any, bool]]:
        """What is held goes on with the stretch."""
        for time, frame in self._held:
            self._count += frame.samples
            yield time, frame, False
        self._held, self._waiting = [], 0

    def _begun(self) -> tuple[float, Any, bool]:
        """A stretch begins with the first frame held; the others are looked at again."""
        (time, frame), *others = self._held
        self._again.extendleft(reversed(others))
        self._held, self._waiting = [], 0
        self._key, self._start, self._count = _key(frame), time, frame.samples
        return time, frame, True

    def _end(self, waiting: int = 0) -> float:
        assert self._key is not None  # a stretch has begun
        return self._start + (self._count + waiting) / self._key[0]


def _key(frame: Any) -> tuple[int, str, str]:
    """What frames of one stretch have in common."""
    return frame.sample_rate, frame.layout.name, frame.format.name


class SoundTrack:
    """One audio stream of an open container; it owns the container."""

    def __init__(self, box: Any, stream: Any, *, spent: Spent) -> None:
        self.box, self.stream, self._spent = box, stream, spent
        self._tick = float(stream.time_base) if stream.time_base else 1e-3
        self._codec = stream.codec_context
        spent.look_for_breaks(box)
        _leave_out_others(box, stream)
        self.packets = 0
        self.lost = Spans()
        self._first_lost: float | None = None  # in the order of the file
        self.gaps = Spans()  # where there is nothing between two sounds
        self._asked = float("-inf")  # errors before this are the codec settling after a seek
        self._preroll_s = _preroll_s(self._codec)
        first = next(self._frames(), None)
        self.found = first is not None
        self.first_time = first[0] if first else 0.0
        if self._first_lost is not None and 0 < self.first_time - self._first_lost <= _LOST_START_S:
            self.first_time = self._first_lost  # the beginning may be damaged
        self.lost = self.lost.after(self.first_time)

    def pieces(self, start: float, end: float, rate_hz: int) -> Iterator[SoundPiece]:
        """Sound in [start, end) in pieces of about a second; gaps show as pieces that start later."""
        if not self.found or end <= start:
            return
        self._asked = start
        if not self._seek(max(start - self._preroll_s, 0.0) if start > 1.0 + self.first_time else None):
            return
        held: list[SoundPiece] = []
        size = 0
        for piece in self._cut(self._resampled(end, rate_hz), start, end, rate_hz):
            broken = (
                held
                and abs(held[-1].start_s + held[-1].samples.size / rate_hz - piece.start_s) > 0.5 / rate_hz
            )
            if held and (broken or size >= _PIECE_S * rate_hz):
                yield _joined(held)
                held, size = [], 0
            held.append(piece)
            size += piece.samples.size
        if held:
            yield _joined(held)

    def _seek(self, time: float | None) -> bool:
        try:
            breaks = self._spent.breaks_of(self.box)
            if breaks is not None:  # a seek by time may end elsewhere
                place = 0 if time is None else breaks.place(self.stream.index, time)
                self.box.seek(place, unsupported_byte_offset=True)
            elif time is None:
                low = self.stream.start_time
                self.box.seek(min(low if low is not None else 0, 0), stream=self.stream, backward=True)
            else:
                self.box.seek(int(time // self._tick), stream=self.stream, backward=True)
        except av.error.FFmpegError:
            try:
                self.box.seek(0, backward=True)
            except av.error.FFmpegError:
                return False
        return True

    def _cut(self, pieces: Iterator[SoundPiece], start: float, end: float, rate: int) -> Iterator[SoundPiece]:
        """The parts of the pieces whose samples lie in [start, end), none twice."""
        done = start
        for piece in pieces:
            low = max(0, int(np.ceil((done - piece.start_s) * rate - 1e-6)))
            high = min(piece.samples.size, int(np.ceil((end - piece.start_s) * rate - 1e-6)))
            if high > low:
                for at in range(low, high, rate):  # at a few samples a second one frame lasts for minutes
                    yield SoundPiece(piece.start_s + at / rate, piece.samples[at : min(at + rate, high)])
                done = piece.start_s + high / rate

    def _resampled(self, end: float, rate_hz: int) -> Iterator[SoundPiece]:
        run: _Run | None = None
        for time, frame, begins in _Stretches(self._frames()):
            if run is not None and begins:
                if (piece := run.put(None)) is not None:
                    yield piece
                run = None
            if time > end:
                break
            if run is None:
                run = _Run(time, rate_hz)
            try:
                piece = run.put(frame, now=time + 2 * frame.samples / frame.sample_rate > end)
            except (av.error.FFmpegError, ValueError):  # a layout that cannot be mixed down
                self._keep_lost(time, time + frame.samples / frame.sample_rate)
                run = None
                continue
            if piece is not None:
                yield piece
            if run.end > end:
                return
        if run is not None and (piece := run.put(None)) is not None:
            yield piece

    def _frames(self) -> Iterator[tuple[float, Any]]:
        """Decoded frames with their time, from here on, past errors where the file goes on."""
        clock: float | None = None
        holes = Holes(self.box)
        is_mute = False  # whether packets have given no sound since the last frame
        for packet in read_packets(self.box, self.stream, self._spent, holes):
            self.packets += packet is not None and not packet.is_corrupt
            try:
                frames = self._codec.decode(packet)
            except av.error.FFmpegError as error:
                self._spent.note_memory(error)
                self._lose(packet)
                frames = []
            is_mute |= not frames
            for frame in frames:
                if not frame.samples or not frame.sample_rate:
                    continue
                stamp = frame.pts if frame.pts is not None else frame.dts
                time = stamp * self._tick if stamp is not None else (clock if clock is not None else 0.0)
                if clock is not None and time - clock > _HOLE_S:
                    self._keep_gap(clock, time, lost=is_mute or holes.take())
                is_mute = False
                clock = time + frame.samples / frame.sample_rate
                yield time, frame

    def _lose(self, packet: Any) -> None:
        """Count a packet that could not be decoded, and keep its span; neighbours join."""
        stamp = packet.pts if packet is not None else None
        if stamp is None:
            return
        start = stamp * self._tick
        if start < self._asked:
            return
        self._keep_lost(start, start + (packet.duration or 0) * self._tick)

    def _keep_gap(self, start: float, end: float, *, lost: bool) -> None:
        if lost:
            self._keep_lost(start, end)
        else:
            self.gaps.add(start, end)

    def _keep_lost(self, start: float, end: float) -> None:
        if self._first_lost is None:
            self._first_lost = start
        self.lost.add(start, end)

    def close(self) -> None:
        """Let go of the file."""
        self.box.close()


def _preroll_s(codec: Any) -> float:
    """How long before what is asked for decoding begins."""
    if codec.name != "aac" or codec.profile != "LC" or (codec.sample_rate or 0) < _LC_RATE:
        return _PREROLL_S
    return min(max(_SHORT_PREROLL_S, 3 * _LC_SAMPLES / int(codec.sample_rate)), _PREROLL_S)


def _leave_out_others(box: Any, stream: Any) -> None:
    """Let an MP4 demuxer step over the packets of other streams: pictures are most of the bytes."""
    if not box.format.name.startswith("mov"):
        return
    for other in box.streams:
        if other.index != stream.index and hasattr(other, "discard"):
            other.discard = av.stream.Discard.all


def _joined(pieces: list[SoundPiece]) -> SoundPiece:
    samples = pieces[0].samples if len(pieces) == 1 else np.concatenate([piece.samples for piece in pieces])
    return SoundPiece(pieces[0].start_s, np.ascontiguousarray(samples, dtype=np.float32))
