"""Clocks that start again in the middle of a file, as where recordings were put one behind the other.

Times in this file are the stream's own seconds; mended times go on where the container's start again.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import av.error

# what is put one behind the other byte by byte, and can be sought so
_FORMATS = frozenset({"mpegts", "mpeg"})
_SMALL_BYTES = 16 << 20  # a file up to this size is read through; a larger one is probed
_PROBES = 24
_BACK_S = 1.0  # a step back larger than this is a new beginning
_MOST_PARTS = 1000


@dataclass(frozen=True)
class Breaks:
    """Where the timestamps start again.

    Args:
        at: by stream, the positions in the file where a new part begins.
        shifts: by part, what has to be added to its timestamps; the first is 0.
        starts: by part, the mended time of its beginning.
        ends: by stream, beside each position the mended time at which all that lies before it is over.
    """

    at: dict[int, list[int]]
    shifts: list[float]
    starts: list[float]
    ends: dict[int, list[float]]

    def mended(self, packets: Iterator[Any]) -> Iterator[Any]:
        """The packets with times that go on."""
        known: dict[int, int] = {}
        for packet in packets:
            position = packet.pos if packet.pos is not None and packet.pos >= 0 else None
            position = known.get(packet.stream_index) if position is None else position
            if position is None:  # after a seek, the rest of a packet whose beginning was not read
                continue
            known[packet.stream_index] = position
            part = bisect_right(self.at.get(packet.stream_index, []), position)
            if part and packet.time_base:
                shift = round(self.shifts[part] / packet.time_base)
                packet.pts = None if packet.pts is None else packet.pts + shift
                packet.dts = None if packet.dts is None else packet.dts + shift
            yield packet

    def stamp(self, time: float) -> float:
        """What the container calls a mended time."""
        return time - self.shifts[max(bisect_right(self.starts, time) - 1, 0)]

    def place(self, stream: int, time: float) -> int:
        """The last beginning of a part, as a position, before which a stream has nothing after ``time``."""
        part = bisect_right(self.ends.get(stream, []), time)
        return self.at[stream][part - 1] if part else 0


def demux(box: Any, *streams: Any) -> Iterator[Any]:
    """Packets of these streams; a stream that first appears in the middle of a file is left out."""
    while True:
        try:
            yield from box.demux(*streams)
            return
        except IndexError:  # PyAV knows only the streams that were there when the file was opened
            continue


def find_breaks(box: Any, check_time: Callable[[], None]) -> Breaks | None:
    """Where the timestamps of an open container, which is left at its start, go back; None: nowhere.

    ``check_time`` is called for every packet and may raise.
    """
    if box.format.name not in _FORMATS or not box.size or box.size < 0:
        return None
    try:
        is_worth_it = box.size <= _SMALL_BYTES or _goes_back(box, check_time)
        return _read(box, check_time) if is_worth_it else None
    except av.error.FFmpegError:  # nothing to be had like this; what follows reads the file anyway
        return None
    finally:
        with suppress(av.error.FFmpegError):
            box.seek(0, unsupported_byte_offset=True)


def _streams(box: Any) -> list[Any]:
    return [s for s in box.streams if s.type in ("video", "audio") and s.time_base]


def _packets(box: Any, streams: list[Any], check_time: Callable[[], None]) -> Iterator[Any]:
    for packet in demux(box, *streams) if streams else ():
        check_time()
        yield packet


def _goes_back(box: Any, check_time: Callable[[], None]) -> bool:
    """Whether timestamps at a few places of the file are out of order."""
    top = float("-inf")
    for stream in _streams(box)[:1]:
        for probe in range(_PROBES):
            box.seek(box.size * probe // _PROBES, unsupported_byte_offset=True)
            packet = next((p for p in _packets(box, [stream], check_time) if p.dts is not None), None)
            if packet is None:
                continue
            time = float(packet.dts * stream.time_base)
            if time < top - _BACK_S:
                return True
            top = max(top, time)
    return False


def _read(box: Any, check_time: Callable[[], None]) -> Breaks | None:
    """Go through all packets; nothing is decoded."""
    box.seek(0, unsupported_byte_offset=True)
    streams = _streams(box)
    at: dict[int, list[int]] = {s.index: [] for s in streams}
    ends: dict[int, list[float]] = {s.index: [] for s in streams}
    reached = dict.fromkeys(at, float("-inf"))
    shifts, starts, end = [0.0], [float("-inf")], float("-inf")
    top: dict[int, float] = {}
    for packet in _packets(box, streams, check_time):
        if packet.dts is None or packet.pos is None or packet.pos < 0:
            continue
        i, time = packet.stream_index, float(packet.dts * packet.time_base)
        if time < top.get(i, time) - _BACK_S and len(shifts) < _MOST_PARTS:
            at[i].append(packet.pos)
            ends[i].append(reached[i])
            if len(at[i]) == len(shifts):  # the first stream that starts again says where the clock goes on
                shifts.append(end - time)
                starts.append(end)
            top[i] = time
        top[i] = max(top.get(i, time), time)
        length = float((packet.duration or 0) * packet.time_base)
        reached[i] = max(reached[i], time + length + shifts[len(at[i])])
        end = max(end, reached[i])
    return Breaks(at, shifts, starts, ends) if len(shifts) > 1 else None
