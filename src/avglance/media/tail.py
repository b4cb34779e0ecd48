"""Where a file truly ends: headers of cut or streamed files lie, so the last packets are looked at.

Times in this file are the stream's own seconds.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import av
import av.error

from avglance.media.breaks import demux
from avglance.media.holes import Holes
from avglance.media.limits import Limits
from avglance.media.shots import FOREVER_S, RAW_FORMATS, is_ordered, stamp_of
from avglance.media.source import file_size, open_media
from avglance.media.spent import Spent

_LOOK_BACK_S = 2.0
_SAMPLE = 64
_REORDERED = 16
_FEW = 20  # samples at each end of an index that are looked at
# formats whose duration libav itself finds by reading the end of the file
_HONEST = frozenset({"mpegts", "ogg", "mpeg", "wav", "w64"})
_EXACT = ("mov", "matroska")  # formats that declare their length to the millisecond
_SLACK_S = 0.1  # an end this close to the declared one is the declared one


@dataclass(frozen=True)
class Ends:
    """The end of each stream, and the end the header promised where that is a good deal later (else None)."""

    by_index: dict[int, float]
    promised: float | None
    # when the first pictures are shown, where the file had to be opened for its end
    sample: tuple[float, ...] = ()


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
        elif declared is not None and name in _HONEST and spent.breaks_of(stream.container) is None:
            found[stream.index] = declared
        else:
            unknown.append(stream.index)
    sample: tuple[float, ...] = ()
    if unknown:
        with open_media(path, limits) as box:
            pictures = [s.index for s in streams if s.type == "video"]
            sample, ends = _beginning(box, pictures, unknown, spent)
            if ends is None:
                ends = _last_ends(box, unknown, promised, spent)
        if ends is None:
            with open_media(path, limits) as box:
                ends = _read_ends(box, unknown, spent)
        found.update({index: ends.get(index, 0.0) for index in unknown})
    slack = _SLACK_S if name.startswith(_EXACT) else max(1.0, 0.03 * promised)
    short = promised - max(found.values()) > slack
    return Ends(found, promised if short else None, sample)


def _beginning(
    box: Any, pictures: list[int], indices: list[int], spent: Spent
) -> tuple[tuple[float, ...], dict[int, float] | None]:
    """When the first pictures are shown, in order; the ends of the streams where the file ends so early."""
    if not pictures:
        return (), None
    times: list[float] = []
    ends: dict[int, float] = {}
    for index, start, end, _ in _walk(box, sorted({*pictures, *indices}), spent):
        ends[index] = max(ends.get(index, 0.0), end)
        if index in pictures:
            times.append(start)
        if len(times) == _SAMPLE:  # of the last ones some that are shown between them may not have come yet
            return tuple(sorted(times)[:-_REORDERED]), None
    return tuple(sorted(times)), ends


def start_of(stream: Any) -> float:
    """Where the header says a stream begins; 0.0 where it does not say, or nonsense."""
    start = (stream.start_time or 0) * (float(stream.time_base or 0) or 1e-3)
    return start if abs(start) <= FOREVER_S else 0.0


def declared_end(stream: Any) -> float | None:
    """Where the header says a stream ends, by its own duration or the container's; None: it does not say."""
    tick = float(stream.time_base) if stream.time_base else 0.0
    if stream.duration and stream.duration > 0 and tick:
        return start_of(stream) + float(stream.duration * tick)
    box = stream.container
    if box.duration and box.duration > 0 and box.format.name not in RAW_FORMATS:
        # Matroska's length counts from zero in most files, from the first picture in a few
        start = 0.0 if box.format.name.startswith("matroska") else (box.start_time or 0) / av.time_base
        return (start if abs(start) <= FOREVER_S else 0.0) + float(box.duration / av.time_base)
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
    last = entries[count - 1]
    # samples lie in order: find the first one that passes the end of the file
    low, high = (count, count) if last.pos + last.size <= size else (0, count)
    while low < high:
        middle = (low + high) // 2
        entry = entries[middle]
        low, high = (middle + 1, high) if entry.pos + entry.size <= size else (low, middle)
    tick = float(stream.time_base)
    if low == count:
        declared = declared_end(stream) or 0.0
        return declared if _even(entries) and entries[count - 1].timestamp * tick <= declared else None
    return float(entries[low].timestamp * tick)


def _even(entries: Any) -> bool:
    """Whether the first and last samples of an index lie evenly.

    MP4 declares the sum of the steps between decode times. Where they vary and pictures are reordered, that
    can end before the last picture is shown.
    """
    count = len(entries)
    near = [*range(min(_FEW, count)), *range(max(count - _FEW, 0), count)]
    steps = [entries[b].timestamp - entries[a].timestamp for a, b in itertools.pairwise(near) if b == a + 1]
    return not steps or max(steps) - min(steps) <= max(1, max(steps) // 50)


def _last_ends(box: Any, indices: list[int], declared: float, spent: Spent) -> dict[int, float] | None:
    """The end of the last packet of each stream, looking back from the declared end until all were met.

    None: there is nothing to be found like this, and the file has to be read from its start.
    """
    back = _LOOK_BACK_S
    if spent.breaks_of(box) is not None:  # the last packets need not be those with the latest timestamps
        return None
    while back < declared <= FOREVER_S and box.format.name not in RAW_FORMATS:
        try:
            box.seek(int((declared - back) * av.time_base), backward=True)
        except av.error.FFmpegError:
            return None
        ends = _read_ends(box, indices, spent)
        if len(ends) == len(indices):
            return ends
        back *= 8
    return None


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
    holes, after_hole = Holes(box), set[int]()
    counted = {i: box.format.name == "avi" and stream.type == "video" for i, stream in streams.items()}
    ordered = {i: is_ordered(box, stream) for i, stream in streams.items()}
    reached = {i: start_of(stream) for i, stream in streams.items()}
    try:
        # to see what is skipped, the packets of all streams have to be looked at
        packets = demux(box, *(() if holes.counts else streams.values()))
        breaks = spent.breaks_of(box)
        for packet in packets if breaks is None else breaks.mended(packets):
            spent.check_time()
            holes.see(packet)
            i = packet.stream_index
            if holes.counts and holes.take():
                after_hole.update(streams)
            if not packet.size or packet.is_discard or i not in streams:  # an edit list hides some
                continue
            stamp = stamp_of(packet, ordered=ordered[i])
            start = stamp * ticks[i] if stamp is not None else reached[i]
            if i in after_hole and start > reached[i] + steps[i]:
                yield i, reached[i], start, False
            after_hole.discard(i)
            # AVI counts pictures; what is said about their length comes from elsewhere
            reached[i] = start + (ticks[i] if counted[i] else (packet.duration or 0) * ticks[i] or steps[i])
            yield i, start, reached[i], not packet.is_corrupt
    except av.error.FFmpegError:
        pass  # what was read before counts


def _step(stream: Any) -> float:
    if stream.type != "video":
        return 0.0
    rate = stream.guessed_rate if stream.container.format.name in RAW_FORMATS else stream.average_rate
    return 1 / float(rate) if rate else 0.0
