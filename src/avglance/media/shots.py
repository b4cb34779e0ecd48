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

from avglance.media.spent import Spent

EPS_S = 1e-6
FALLBACK_STEP_S = 0.04  # the length of a picture where nothing tells it
# streams without a container: no times to seek by
RAW_FORMATS = frozenset(
    {"h264", "hevc", "vvc", "mpegvideo", "m4v", "h263", "h261", "obu", "cavsvideo", "vc1", "dirac"}
)
# codecs in which every packet is a picture that is shown (VP8, VP9 and AV1 have hidden ones)
_ONE_EACH = frozenset({"h264", "hevc", "mpeg4", "mjpeg"})
_FIRST_GOP_S = 2.0  # the distance of keyframes that is assumed before one was seen
_LONGEST_GOP_S = 60.0
_PATIENCE = 600  # packets after a seek that are skipped while waiting for a keyframe
_READ_ERRORS = 64  # failed reads in a row after which the file is over
_JUMP_BACK_S = 1.0  # timestamps that go back further than this are said to have jumped


@dataclass
class Shot:
    """What stands on the screen from ``time`` on: a frame, or None where the picture was lost."""

    time: float
    duration: float
    frame: Any | None


def demux(box: Any, *streams: Any) -> Iterator[Any]:
    """Packets of these streams; a stream that first appears in the middle of a file is left out."""
    while True:
        try:
            yield from box.demux(*streams)
            return
        except IndexError:  # PyAV knows only the streams that were there when the file was opened
            continue


def read_packets(box: Any, stream: Any, spent: Spent) -> Iterator[Any]:
    """Packets of one stream from here on, then None; past read errors where the file goes on."""
    failed = 0
    while failed < _READ_ERRORS:
        try:
            for packet in demux(box, stream):
                failed = 0
                spent.check_time()
                if packet.size:
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
    time. A gap between timestamps without any of these is a picture that is held, as files of variable rate
    have them.
    """

    def __init__(self, box: Any, stream: Any, spent: Spent) -> None:
        self.box, self.stream, self._spent = box, stream, spent
        self._codec = stream.codec_context
        self.tick = float(stream.time_base) if stream.time_base else 1e-3
        self.raw = box.format.name in RAW_FORMATS
        self._one_each = self._codec.name in _ONE_EACH and not self.raw
        rate = stream.guessed_rate if self.raw else stream.average_rate
        self.step_s = 1 / float(rate) if rate else FALLBACK_STEP_S
        self.gop_s = _FIRST_GOP_S  # the largest distance of keyframes seen
        self.key_delay_s = 0.0  # presentation minus decode time of the last keyframe
        self.packets = 0  # whole ones that went to the decoder
        self.too_large = False
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
        self._floor = float("-inf")
        self._pending: list[float] = []
        self._fault = False
        self._previous: float | None = None

    def shots(self) -> Iterator[Shot]:
        """Shots in order of presentation, from the present position to the end."""
        for packet in read_packets(self.box, self.stream, self._spent):
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
            self.too_large |= error.errno == errno.EINVAL  # what decoders say to a size above ``max_pixels``
            return []

    def _stands_alone(self, packet: Any) -> bool:
        if self._alone is None or not packet.is_keyframe or packet.pts is None:
            return False
        return bool(abs(packet.pts * self.tick - self._alone) < EPS_S)

    def _accept(self, packet: Any) -> bool:
        """Whether the packet goes to the decoder; keeps what it says about time."""
        stamp = packet.pts if packet.pts is not None else packet.dts
        if self._wait:
            if not packet.is_keyframe:
                self._wait -= 1
                return False
            self._wait = 0
        if self.sent_s == float("-inf") and stamp is not None and packet.is_keyframe:
            self._floor = stamp * self.tick
        self.packets += not packet.is_corrupt
        self._spent.frames_decoded += 1
        sent = packet.dts if packet.dts is not None else packet.pts
        if sent is not None:
            self.sent_s = sent * self.tick
        if packet.is_keyframe and stamp is not None:
            self._see_key(packet, stamp * self.tick)
        if stamp is not None and not packet.is_discard:
            heapq.heappush(self._pending, stamp * self.tick)
        self._fault |= packet.is_corrupt
        return True

    def _see_key(self, packet: Any, time: float) -> None:
        if packet.dts is not None and packet.pts is not None:
            self.key_delay_s = (packet.pts - packet.dts) * self.tick
        if self._last_key is not None and 0 < time - self._last_key < _LONGEST_GOP_S and not self._new_gop:
            self.gop_s = max(self.gop_s, time - self._last_key)
        self._last_key, self._new_gop = time, False

    def _time_of(self, frame: Any) -> float:
        stamp = frame.pts if frame.pts is not None else frame.dts
        if stamp is not None:
            return float(stamp * self.tick)
        return 0.0 if self._previous is None else self._previous + self.step_s

    def _shots_of(self, frame: Any) -> Iterator[Shot]:
        """The shot of a frame, after those of the pictures that were lost before it."""
        time = self._time_of(frame)
        if time < self._floor - EPS_S and (frame.is_corrupt or self._after_seek):
            return  # it hangs on a keyframe that was not read
        if self._previous is not None:
            yield from self._lost(time - EPS_S, one_each=self._one_each and not frame.interlaced_frame)
        while self._pending and self._pending[0] <= time + EPS_S:
            heapq.heappop(self._pending)
        if self._previous is not None and time <= self._previous + EPS_S:
            if time < self._previous - _JUMP_BACK_S:
                self._spent.note("clock_jump", "timestamps go back; the pictures after that are left out")
            return
        self._previous = time
        if frame.key_frame:
            self._fault = False
        duration = (frame.duration or 0) * self.tick
        if duration < 0.5 * self.step_s:  # one tick or nothing: the container does not know
            duration = self.step_s
        yield Shot(time, duration, None if frame.is_corrupt else frame)

    def _lost(self, before: float, *, one_each: bool) -> Iterator[Shot]:
        """Shots without a picture for the packets before ``before`` that gave none and count as lost."""
        while self._pending and self._pending[0] < before:
            time = heapq.heappop(self._pending)
            if (self._fault or one_each) and (self._previous is None or time > self._previous + EPS_S):
                self._previous = time
                yield Shot(time, self.step_s, None)
