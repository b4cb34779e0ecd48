"""From packets to what stands on the screen: decoded pictures in order, and the places where one was lost.

Times in this file are the stream's own seconds.
"""

from __future__ import annotations

import errno
import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import av.error

from avglance.media.breaks import demux
from avglance.media.holes import Holes
from avglance.media.spare import spare_of
from avglance.media.spent import Spent

EPS_S = 1e-6
FOREVER_S = 4e9  # a time beyond this is a damaged number (the clock of the world is at 2e9)
FALLBACK_STEP_S = 0.04  # the length of a picture where nothing tells it
# streams without a container: no times to seek by
RAW_FORMATS = frozenset(
    {"h264", "hevc", "vvc", "mpegvideo", "m4v", "h263", "h261", "obu", "cavsvideo", "vc1", "dirac"}
)
# codecs in which every packet is a picture that is shown (VP8, VP9 and AV1 have hidden ones)
_ONE_EACH = frozenset({"h264", "hevc", "mpeg4", "mjpeg"})
_OLDER = frozenset({"mpeg4", "mjpeg"})
_FIRST_GOP_S = 2.0  # the distance of keyframes that is assumed before one was seen
_LONGEST_GOP_S = 60.0
_PATIENCE = 600  # packets after a seek that are skipped while waiting for a keyframe
_SOUNDS = 8  # packets of sound between two looks at the clock: they are short, and many
_READ_ERRORS = 64  # failed reads in a row after which the file is over
_REORDERED = 3  # pictures that another one may be shown ahead of, where only their order is known
_HOLE_STEPS = 1.5  # packets further apart than this, with a hole between them, are not neighbours
_MOST_LOST = 3  # after so many lost pictures, or one keyframe, what hangs on them is no picture either
_JUMP_BACK_S = 1.0  # timestamps that go back further than this are said to have jumped


@dataclass
class Shot:
    """What stands on the screen from ``time`` on: a frame, or None where the picture was lost."""

    time: float
    duration: float
    frame: Any | None


def is_ordered(box: Any, stream: Any) -> bool:
    """Whether pictures take the times of their packets in the order of presentation.

    AVI counts packets and says nothing about presentation. Where pictures are reordered, the n-th one shown
    is shown at the n-th of these times; libav works that out for older codecs.
    """
    if box.format.name != "avi" or stream.type != "video":
        return False
    return stream.codec_context.name in _ONE_EACH - _OLDER and bool(stream.codec_context.has_b_frames)


def stamp_of(packet: Any, *, ordered: bool) -> int | None:
    """When a packet's picture or sound is due, in ticks; see ``is_ordered``; None: it does not say."""
    stamp = packet.dts if ordered or packet.pts is None else packet.pts
    if stamp is None or abs(stamp) * float(packet.time_base or 0) > FOREVER_S:
        return None
    return int(stamp)


def read_packets(box: Any, stream: Any, spent: Spent, holes: Holes | None = None) -> Iterator[Any]:
    """Packets of one stream from here on, then None; past read errors where the file goes on."""
    failed = passed = 0
    rarely = _SOUNDS if stream.type == "audio" else 1
    # to see what is skipped, the packets of all streams have to be looked at
    wanted = () if holes is not None and holes.counts else (stream,)
    while failed < _READ_ERRORS:
        try:
            packets, breaks = demux(box, *wanted), spent.breaks_of(box)
            for packet in packets if breaks is None else breaks.mended(packets):
                failed = 0
                if not passed % rarely:
                    spent.check_time()
                passed += 1
                if packet.size and holes is not None:
                    holes.see(packet)
                if packet.size and packet.stream_index == stream.index:
                    yield packet
            break
        except av.error.ExitError:
            spent.note("damaged", "a read took too long; the rest of the file was left alone")
            break
        except av.error.FFmpegError:
            failed += 1
    yield None


class ShotSource:
    """Decodes one video stream into shots; ``restart`` after every seek.

    A picture counts as lost where the decoder marks it as damaged, or where a packet's picture never came:
    after a decoding error until the next keyframe, and for codecs that give one picture a packet at any
    time. Where bytes of the file were skipped, or a keyframe or several pictures are lost, all up to the next
    keyframe are: decoders go on with what they last had. A gap between timestamps without any of these is a
    picture that is held, as files of variable rate have them.
    """

    def __init__(self, box: Any, stream: Any, spent: Spent) -> None:
        self.box, self.stream, self._spent = box, stream, spent
        self._codec = stream.codec_context
        self.tick = float(stream.time_base) if stream.time_base else 1e-3
        self.raw = box.format.name in RAW_FORMATS
        self._one_each = self._codec.name in _ONE_EACH and not self.raw
        self.ordered = is_ordered(box, stream)
        rate = stream.guessed_rate if self.raw else stream.average_rate
        self.step_s = 1 / float(rate) if rate else FALLBACK_STEP_S
        self.gop_s = _FIRST_GOP_S  # the largest distance of keyframes seen
        self.key_delay_s = 0.0  # presentation minus decode time of the last keyframe
        self.packets = 0  # whole ones that went to the decoder
        self.too_large = False
        self.spare_before = float("-inf")  # pictures before this are not wanted for themselves
        self.spared_s = float("-inf")  # the last one that was left out
        self._is_spare = None if self.raw or self.ordered else spare_of(stream)
        self._holes = Holes(box)
        self._last_key: float | None = None
        self.restart(wait=False)

    def restart(self, *, wait: bool, alone: float | None = None) -> None:
        """Begin anew at the container's present position.

        Args:
            wait: skip packets up to a keyframe, and pictures that come before it.
            alone: decode the keyframe at this time and nothing else, if a keyframe of that time comes first.
        """
        self._wait = _PATIENCE if wait else 0
        self._after_seek = self._new_gop = wait
        self._alone = alone
        self.detached = False  # the decoder was emptied: go on by seeking only
        self.sent_s = float("-inf")  # decode time of the last packet
        self._top_s = float("-inf")  # the latest time of presentation among the packets
        self._floor = float("-inf")
        self._pending: list[float] = []
        self._holes.restart()
        self._pending_keys: set[float] = set()
        self._lost_since_key = 0
        self._fault = self._jumped = False
        self._previous: float | None = None

    def shots(self) -> Iterator[Shot]:
        """Shots in order of presentation, from the present position to the end."""
        for packet in read_packets(self.box, self.stream, self._spent, self._holes):
            if packet is None:
                break
            if not self._accept(packet):
                continue
            for frame in self._frames(packet):
                yield from self._shots_of(frame)
            if self._stands_alone(packet):
                for frame in self._frames(None):
                    yield from self._shots_of(frame)
                self.detached = True
                return
            self._alone = None
        for frame in self._frames(None):
            yield from self._shots_of(frame)
        yield from self._lost(float("inf"), one_each=self._one_each)

    def _frames(self, packet: Any | None) -> list[Any]:
        try:
            return list(self._codec.decode(packet))
        except av.error.FFmpegError as error:
            self._fault = True
            self._spent.note_memory(error)
            self.too_large |= error.errno == errno.EINVAL  # what decoders say to a size above ``max_pixels``
            return []

    def _stands_alone(self, packet: Any) -> bool:
        stamp = stamp_of(packet, ordered=self.ordered)
        if self._alone is None or not packet.is_keyframe or stamp is None:
            return False
        return bool(abs(stamp * self.tick - self._alone) < EPS_S)

    def _accept(self, packet: Any) -> bool:
        """Whether the packet goes to the decoder; keeps what it says about time."""
        stamp = stamp_of(packet, ordered=self.ordered)
        if self._wait:
            if not packet.is_keyframe:
                self._wait -= 1
                return False
            self._wait = 0
        if self.sent_s == float("-inf") and stamp is not None and packet.is_keyframe:
            self._floor = stamp * self.tick
        sent = packet.dts if packet.dts is not None else packet.pts
        if sent is not None and stamp is not None:
            self._see_hole(sent * self.tick, stamp * self.tick)
            self.sent_s, self._top_s = sent * self.tick, max(self._top_s, stamp * self.tick)
        if packet.is_keyframe and stamp is not None:
            self._see_key(packet, stamp * self.tick)
        if stamp is not None and self._leave_out(packet, stamp * self.tick):
            return False
        self.packets += not packet.is_corrupt
        self._spent.frames_decoded += 1
        if stamp is not None and not packet.is_discard:
            heapq.heappush(self._pending, stamp * self.tick)
            if packet.is_keyframe:
                self._pending_keys.add(stamp * self.tick)
        self._fault |= packet.is_corrupt
        return True

    def _leave_out(self, packet: Any, time: float) -> bool:
        """Whether a packet need not be decoded; then that is noted."""
        if time >= self.spare_before or self._is_spare is None or packet.is_corrupt:
            return False
        if not self._is_spare(packet):
            return False
        self.spared_s = max(self.spared_s, time)
        return True

    def _see_hole(self, sent: float, stamp: float) -> None:
        """Where bytes were skipped and packets with them, the pictures up to the next keyframe are lost."""
        if not self._holes.take() or self.sent_s == float("-inf"):
            return
        gap = max(sent - self.sent_s, stamp - self._top_s - _REORDERED * self.step_s)
        if gap > _HOLE_STEPS * self.step_s:
            missing = self._top_s + self.step_s
            heapq.heappush(self._pending, missing)
            self._pending_keys.add(missing)  # as bad as a lost keyframe
            self._fault = True

    def _see_key(self, packet: Any, time: float) -> None:
        if packet.dts is not None and packet.pts is not None:
            self.key_delay_s = (packet.pts - packet.dts) * self.tick
        if self._last_key is not None and 0 < time - self._last_key < _LONGEST_GOP_S and not self._new_gop:
            self.gop_s = max(self.gop_s, time - self._last_key)
        self._last_key, self._new_gop = time, False

    def _time_of(self, frame: Any) -> float:
        stamp = frame.pts if frame.pts is not None else frame.dts
        if self.ordered and self._pending:  # its own packet's time keeps what follows a loss in place
            own = stamp * self.tick - self.key_delay_s if stamp is not None else 0.0
            early = 0.0 if frame.key_frame else _REORDERED * self.step_s
            return max(self._pending[0], own - early)
        if stamp is not None and abs(stamp) * self.tick <= FOREVER_S:
            return float(stamp * self.tick)
        return 0.0 if self._previous is None else self._previous + self.step_s

    def _shots_of(self, frame: Any) -> Iterator[Shot]:
        """The shot of a frame, after those of the pictures that were lost before it."""
        time = self._time_of(frame)
        if time < self._floor - EPS_S and (frame.is_corrupt or self._after_seek):
            return  # it hangs on a keyframe that was not read
        if self._previous is not None:
            yield from self._lost(time - EPS_S, one_each=self._one_each and not frame.interlaced_frame)
        elif not self._after_seek:  # the beginning may be damaged
            yield from self._lost(time - EPS_S, one_each=False)
        while self._pending and self._pending[0] <= time + EPS_S:
            self._pending_keys.discard(heapq.heappop(self._pending))
        if self._previous is not None and time <= self._previous + EPS_S:
            if time < self._previous - _JUMP_BACK_S and not self._jumped:
                self._jumped = True
                span = f"{time:.2f} to {self._previous:.2f} s"
                text = f"timestamps go back: of the pictures stamped {span} only the first ones are shown"
                self._spent.note("clock_jump", text)
            return
        self._jumped = False
        self._previous = time
        if frame.key_frame:
            self._fault = False
            self._lost_since_key = 0
        # AVI counts pictures; what is said about their length comes from elsewhere
        duration = self.tick if self.box.format.name == "avi" else (frame.duration or 0) * self.tick
        if duration < min(0.5 * self.step_s, 1.5 * self.tick):  # one tick or none: the container is ignorant
            duration = self.step_s
        spoilt = frame.is_corrupt or self._lost_since_key >= _MOST_LOST
        yield Shot(time, duration, None if spoilt else frame)

    def _lost(self, before: float, *, one_each: bool) -> Iterator[Shot]:
        """Shots without a picture for the packets before ``before`` that gave none and count as lost."""
        while self._pending and self._pending[0] < before:
            time = heapq.heappop(self._pending)
            is_key = time in self._pending_keys
            self._pending_keys.discard(time)
            if (self._fault or one_each) and (self._previous is None or time > self._previous + EPS_S):
                self._lost_since_key += _MOST_LOST if is_key else 1
                self._previous = time
                yield Shot(time, self.step_s, None)
