"""The picture track of one file: decode forward, seek when that is shorter, know what was lost.

Times in this file are the stream's own seconds; ``reader`` moves them to the clock of the presentation.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import av.error

from avglance.media.limits import Limits
from avglance.media.spent import Spent
from avglance.media.upright import Turn, square_size, turn_of

_EPS_S = 1e-6
_JOIN_S = 1e-3
_FALLBACK_STEP_S = 0.04  # the length of a picture where nothing tells it
_FIRST_GOP_S = 2.0  # the distance of keyframes that is assumed before one was seen
_PATIENCE = 600  # packets after a seek that are skipped while waiting for a keyframe
_READ_ERRORS = 64  # failed reads in a row after which the file is over
# codecs in which every packet is a picture that is shown (VP8, VP9 and AV1 have hidden ones)
_ONE_EACH = frozenset({"h264", "hevc", "mpeg4", "mjpeg"})
# streams without a container: no times to seek by
RAW_FORMATS = frozenset(
    {"h264", "hevc", "vvc", "mpegvideo", "m4v", "h263", "h261", "obu", "cavsvideo", "vc1", "dirac"}
)


@dataclass
class Shot:
    """What stands on the screen from ``time`` on: a frame, or None where the picture was lost."""

    time: float
    duration: float
    frame: Any | None


class PictureTrack:
    """The first video stream of an open container; it owns the container.

    A picture counts as lost where the decoder raised an error and a packet's picture never came, or where the decoder
    marks the picture as damaged. A gap between timestamps without an error is a picture that is held.
    """

    def __init__(self, box: Any, stream: Any, *, limits: Limits, threads: int, spent: Spent) -> None:
        self.box, self.stream, self._spent, self._limits = box, stream, spent, limits
        self._tick = float(stream.time_base) if stream.time_base else 1e-3
        self._codec = stream.codec_context
        self._codec.thread_count = threads
        self._codec.thread_type = "AUTO"
        self._codec.options = {**self._codec.options, "max_pixels": str(limits.max_pixels)}
        self._one_each = self._codec.name in _ONE_EACH and box.format.name not in RAW_FORMATS
        self._raw = box.format.name in RAW_FORMATS
        rate = stream.guessed_rate if self._raw else stream.average_rate
        self._step = 1 / float(rate) if rate else _FALLBACK_STEP_S
        self._gop_s, self._last_key = _FIRST_GOP_S, None
        self.errors = 0
        self.packets = 0
        self.lost: list[tuple[float, float]] = []
        self.now: Shot | None = None
        self._next: Shot | None = None
        self._restart(wait=False)
        first = good = self.peek()
        while good is not None and good.frame is None:  # the beginning may be damaged
            self.step()
            good = self.peek()
        self.found = good is not None
        self.first_time = first.time if first else 0.0
        self.turn = turn_of(good.frame) if good is not None else Turn()
        self.size = self._picture_size(good.frame if good is not None else None)

    def _picture_size(self, frame: Any | None) -> tuple[int, int]:
        width = frame.width if frame is not None else self._codec.width
        height = frame.height if frame is not None else self._codec.height
        aspect = self.stream.sample_aspect_ratio
        return square_size(width, height, float(aspect) if aspect else None, self._limits.max_pixels)

    # ---- decoding forward ----

    def _restart(self, *, wait: bool) -> None:
        """Begin anew at the container's present position; ``wait``: skip packets up to a keyframe."""
        self.now = self._next = None
        self._wait = _PATIENCE if wait else 0
        self._pending: list[float] = []
        self._fault = False
        self._fresh = True
        self._sent_s = float("-inf")
        self._shots = self._decode()

    def peek(self) -> Shot | None:
        """The shot after ``now``, decoded when it is asked for; None at the end."""
        if self._next is None:
            self._next = next(self._shots, None)
        return self._next

    def step(self) -> bool:
        """Go on to the next shot; False at the end (``now`` is then the last one)."""
        following = self.peek()
        if self.now is not None:
            if following is not None:
                self.now.duration = following.time - self.now.time
            if self.now.frame is None:
                self._lose(self.now)
        if following is None:
            return False
        self.now, self._next = following, None
        return True

    def rewind(self) -> None:
        """Go to the start, unless nothing but the first picture was decoded yet."""
        if self.now is not None or self._next is None:
            self._seek_start()

    def _lose(self, shot: Shot) -> None:
        """Keep the span of a lost picture; neighbours join."""
        start, end = shot.time, shot.time + shot.duration
        for i, (low, high) in enumerate(self.lost):
            if start <= high + _JOIN_S and end >= low - _JOIN_S:
                self.lost[i] = (min(low, start), max(high, end))
                return
        self.lost.append((start, end))

    def shot_at(self, time: float) -> Shot | None:
        """What stands on the screen at ``time``; None: nothing there (before the first or after the last picture)."""
        if time < self.first_time - self._step - _EPS_S:
            return None
        time = max(time, self.first_time)
        self._go_to(time)
        while self.now is None or self.now.time < time - _EPS_S:
            following = self.peek()
            if following is None or following.time > time + _EPS_S:
                break
            self.step()
        shot = self.now
        if shot is None or shot.time > time + _EPS_S:
            return None
        if shot.frame is None:
            self.peek()
            self._lose(Shot(shot.time, self.end_of(shot) - shot.time, None))
        over = self._next is None and shot.time < time - _EPS_S and time >= shot.time + shot.duration - _EPS_S
        return None if over else shot

    def end_of(self, shot: Shot) -> float:
        """Where a shot ends, as far as that is known without decoding further."""
        if shot is self.now and self._next is not None:
            return self._next.time
        return shot.time + shot.duration

    def _go_to(self, time: float) -> None:
        """Seek where a keyframe lies between here and ``time``, or where ``time`` has passed."""
        here = self.now or self._next
        if here is not None and time >= here.time - _EPS_S and not self._worth_seeking(time):
            return
        back = 0.0
        while True:
            target = time - back
            at_start = self._raw or target <= self.first_time
            if at_start:
                self._seek_start()
            elif not self._seek(target):
                back = max(2 * back, self._gop_s)
                continue
            first = self.peek()
            reached = first is not None and first.time <= time + _EPS_S
            if reached or at_start:
                return
            back = max(2 * back, self._gop_s, 1.0)

    def _seek(self, time: float) -> bool:
        try:
            self.box.seek(int(time / self._tick), stream=self.stream, backward=True)
        except av.error.FFmpegError:
            return False
        self._restart(wait=True)
        return True

    def _seek_start(self) -> None:
        start = self.stream.start_time
        low = min(int(self.first_time / self._tick), start if start is not None else 0, 0)
        for ts in (start if start is not None else low, low):
            try:
                self.box.seek(ts, stream=self.stream, backward=True)
                break
            except av.error.FFmpegError:
                continue
        self._restart(wait=False)

    def _worth_seeking(self, time: float) -> bool:
        here = self._next or self.now
        if here is None:
            return True
        if self._raw or time <= here.time + self._step:
            return False
        key = self._index_key(time)
        if key is not None:
            return key > self._sent_s + _EPS_S
        return time - here.time > 1.5 * self._gop_s

    def _index_key(self, time: float) -> float | None:
        """The index's time (decode time in MP4) of the keyframe at or before ``time``; None: no full index."""
        entries = self.stream.index_entries
        if not len(entries):
            return None
        last = entries[len(entries) - 1].timestamp * self._tick
        if last + 2 * self._gop_s + 10.0 < time:  # the index stops early: it cannot tell
            return None
        found = entries.search_timestamp(int((time - self._delay()) / self._tick), backward=True)
        return None if found < 0 else float(entries[found].timestamp * self._tick)

    def _delay(self) -> float:
        """Presentation minus index time of keyframes: what reordering adds in containers that index decode times."""
        return self._key_delay if self.box.format.name.startswith("mov") else 0.0

    _key_delay = 0.0

    def keyframe_near(self, time: float) -> float:
        """The presentation time of the keyframe nearest to ``time`` (at or before it where there is no index)."""
        before = self._key_at(time)
        entries = self.stream.index_entries
        wanted = int((time - self._delay()) / self._tick) + 1
        after = entries.search_timestamp(wanted, backward=False) if len(entries) else -1
        if after < 0:
            return before
        later = self._key_at(entries[after].timestamp * self._tick + self._delay())
        return min((before, later), key=lambda key: abs(key - time))

    def _key_at(self, time: float) -> float:
        """The presentation time of the keyframe that a seek to ``time`` reaches."""
        if time <= self.first_time or not self._seek(time):
            self._seek_start()
        for packet in self._packets():
            if packet is None or not packet.size:
                break
            stamp = packet.pts if packet.pts is not None else packet.dts
            if packet.is_keyframe and stamp is not None:
                self._restart(wait=True)
                return float(max(stamp * self._tick, self.first_time))
        self._restart(wait=True)
        return self.first_time

    def _packets(self) -> Iterator[Any]:
        """Packets of this stream up to the flush packet, over read errors where the file goes on."""
        failed = 0
        while failed < _READ_ERRORS:
            try:
                for packet in self.box.demux(self.stream):
                    failed = 0
                    self._spent.check_time()
                    yield packet
                return
            except av.error.ExitError:
                self._spent.note("damaged", "reading the file took too long")
                break
            except av.error.FFmpegError:
                failed += 1
                self.errors += 1
        yield None

    def _decode(self) -> Iterator[Shot]:
        """Shots in order of presentation, from the present position on."""
        for packet in self._packets():
            flush = packet is None or packet.size == 0
            if not flush and not self._accept(packet):
                continue
            try:
                frames = self._codec.decode(None if flush else packet)
            except av.error.FFmpegError:
                self.errors += 1
                self._fault = True
                frames = []
            for frame in frames:
                yield from self._shots_of(frame)
            if flush:
                break
        yield from self._lost(float("inf"), one_each=self._one_each)

    def _accept(self, packet: Any) -> bool:
        if self._wait:
            if not packet.is_keyframe:
                self._wait -= 1
                return False
            self._wait = 0
        self.packets += 1
        self._spent.frames_decoded += 1
        pts = packet.pts if packet.pts is not None else packet.dts
        sent = packet.dts if packet.dts is not None else packet.pts
        if sent is not None:
            self._sent_s = sent * self._tick
        if pts is not None:
            time = pts * self._tick
            if packet.is_keyframe:
                self._see_key(time, packet)
            if not packet.is_discard:
                heapq.heappush(self._pending, time)
        if packet.is_corrupt:
            self._fault = True
        return True

    def _see_key(self, time: float, packet: Any) -> None:
        if packet.dts is not None and packet.pts is not None:
            self._key_delay = (packet.pts - packet.dts) * self._tick
        if self._last_key is not None and 0 < time - self._last_key < 60:
            self._gop_s = max(self._gop_s, time - self._last_key)
        self._last_key = time

    def _shots_of(self, frame: Any) -> Iterator[Shot]:
        stamp = frame.pts if frame.pts is not None else frame.dts
        previous = self._next or self.now
        if stamp is not None:
            time = stamp * self._tick
        else:
            time = previous.time + self._step if previous else 0.0
        if not self._fresh:
            yield from self._lost(time - _EPS_S, one_each=self._one_each and not frame.interlaced_frame)
        while self._pending and self._pending[0] <= time + _EPS_S:
            heapq.heappop(self._pending)
        if not self._fresh and previous is not None and time <= previous.time + _EPS_S:
            return  # the clock went back: not a moment of its own
        self._fresh = False
        if frame.key_frame:
            self._fault = False
        duration = (frame.duration or 0) * self._tick
        duration = duration if duration > 0 else self._step
        if frame.is_corrupt:
            self.errors += 1
            yield Shot(time, duration, None)
        else:
            yield Shot(time, duration, frame)

    def _lost(self, before: float, *, one_each: bool) -> Iterator[Shot]:
        """Shots without a picture for the packets before ``before`` that gave none.

        They count as lost after a decoding error, or where the codec gives one picture a packet (``one_each``).
        """
        while self._pending and self._pending[0] < before:
            time = heapq.heappop(self._pending)
            if self._fault or one_each:
                self.errors += 1
                yield Shot(time, self._step, None)

    def close(self) -> None:
        """Let go of the frames and the file."""
        self.now = self._next = None
        self._shots = iter(())
        self.box.close()
