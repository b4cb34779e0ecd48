"""Where a file truly ends: headers of cut or streamed files lie, so the last packets are looked at.

Times in this file are the stream's own seconds.
"""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import av
import av.error

from avglance.media.limits import Limits
from avglance.media.shots import RAW_FORMATS, demux
from avglance.media.source import file_size, open_media
from avglance.media.spent import Spent

_LOOK_BACK_S = 2.0
_SAMPLE = 64
# formats whose duration libav itself finds by reading the end of the file
_HONEST = frozenset({"mpegts", "ogg", "mpeg", "wav", "w64"})
_EXACT = ("mov", "matroska")  # formats that declare their length to the millisecond
_SLACK_S = 0.1  # an end this close to the declared one is the declared one


@dataclass(frozen=True)
class Ends:
    """The end of each stream, and the end the header promised where that is a good deal later (else None)."""

    by_index: dict[int, float]
    promised: float | None
    sample: tuple[
        float, ...
    ] = ()  # when the first pictures are shown, where the file had to be opened for its end


def true_ends(streams: list[Any], path: str | os.PathLike[str], *, limits: Limits, spent: Spent) -> Ends:
    """Where the streams (of open containers, which are left where they stand) truly end.

    MP4 with an index: the last sample that lies inside the file. Others: the file is opened once more for a
    seek to the declared end and the packets from there; a stream without a duration is read through, packet
    by packet, without decoding.
    """
    found: dict[int, float] = {}
    unknown: list[int] = []
    size, name = file_size(path), str(streams[0].container.format.name)
    promised = max(declared_end(stream) or 0.0 for stream in streams)
    for stream in streams:
        declared, indexed = declared_end(stream), _index_end(stream, size)
        if indexed is not None:
            found[stream.index] = indexed
        elif declared is not None and name in _HONEST:
            found[stream.index] = declared
        else:
            unknown.append(stream.index)
    sample: tuple[float, ...] = ()
    if unknown:
        with open_media(path, limits) as box:
            sample = _first_times(box, [s.index for s in streams if s.type == "video"], spent)
            found.update(_packet_ends(box, unknown, promised, spent))
    slack = _SLACK_S if name.startswith(_EXACT) else max(1.0, 0.03 * promised)
    short = promised - max(found.values()) > slack
    return Ends(found, promised if short else None, sample)


def _first_times(box: Any, indices: list[int], spent: Spent) -> tuple[float, ...]:
    """When the first pictures are shown, in order, by their packets."""
    if not indices:
        return ()
    return tuple(sorted(start for _, start, _, _ in itertools.islice(_walk(box, indices, spent), _SAMPLE)))


def declared_end(stream: Any) -> float | None:
    """Where the header says a stream ends, by its own duration or the container's; None: it does not say."""
    tick = float(stream.time_base) if stream.time_base else 0.0
    if stream.duration and stream.duration > 0 and tick:
        return float(((stream.start_time or 0) + stream.duration) * tick)
    box = stream.container
    if box.duration and box.duration > 0 and box.format.name not in RAW_FORMATS:
        return float(((box.start_time or 0) + box.duration) / av.time_base)
    return None


def _index_end(stream: Any, size: int) -> float | None:
    """The end of the last sample inside the file by a complete MP4 index; None: there is no such index."""
    entries = stream.index_entries
    count = len(entries)
    if (
        not count
        or count != stream.frames
        or not stream.time_base
        or not stream.container.format.name.startswith("mov")
    ):
        return None
    low, high = 0, count  # samples lie in order: find the first one that passes the end of the file
    while low < high:
        middle = (low + high) // 2
        entry = entries[middle]
        low, high = (middle + 1, high) if entry.pos + entry.size <= size else (low, middle)
    tick = float(stream.time_base)
    if low == count:
        return declared_end(stream)
    return float(entries[low].timestamp * tick)


def _packet_ends(box: Any, indices: list[int], declared: float, spent: Spent) -> dict[int, float]:
    """The end of the last packet of each stream; looks back from the declared end until all were met."""
    back = _LOOK_BACK_S
    while declared > back and box.format.name not in RAW_FORMATS:
        try:
            box.seek(int((declared - back) * av.time_base), backward=True)
        except av.error.FFmpegError:
            break
        ends = _read_ends(box, indices, spent)
        if len(ends) == len(indices):
            return ends
        back *= 8
    with contextlib.suppress(av.error.FFmpegError):  # what follows still counts
        box.seek(box.start_time or 0, backward=True)
    ends = _read_ends(box, indices, spent)
    return {index: ends.get(index, 0.0) for index in indices}


def _read_ends(box: Any, indices: list[int], spent: Spent) -> dict[int, float]:
    ends: dict[int, float] = {}
    for index, _, end, _ in _walk(box, indices, spent):
        ends[index] = max(ends.get(index, 0.0), end)
    return ends


def all_packets(
    path: str | os.PathLike[str], indices: list[int], *, limits: Limits, spent: Spent
) -> Iterator[tuple[int, float, float, bool]]:
    """(stream, start, end, whole) of every packet of the file, in its order."""
    with open_media(path, limits) as box:
        yield from _walk(box, indices, spent)


def _walk(box: Any, indices: list[int], spent: Spent) -> Iterator[tuple[int, float, float, bool]]:
    """Packets from the present position to the end, or to where reading fails."""
    streams = {i: box.streams[i] for i in indices}
    steps = {i: _step(stream) for i, stream in streams.items()}
    ticks = {i: float(stream.time_base or 0) or 1e-3 for i, stream in streams.items()}
    counts = dict.fromkeys(indices, 0)
    try:
        for packet in demux(box, *streams.values()):
            spent.check_time()
            if not packet.size:
                continue
            i = packet.stream_index
            stamp = packet.pts if packet.pts is not None else packet.dts
            start = stamp * ticks[i] if stamp is not None else counts[i] * steps[i]
            counts[i] += 1
            yield i, start, start + ((packet.duration or 0) * ticks[i] or steps[i]), not packet.is_corrupt
    except av.error.FFmpegError:
        pass  # what was read before counts


def _step(stream: Any) -> float:
    if stream.type != "video":
        return 0.0
    rate = stream.guessed_rate if stream.container.format.name in RAW_FORMATS else stream.average_rate
    return 1 / float(rate) if rate else 0.0
