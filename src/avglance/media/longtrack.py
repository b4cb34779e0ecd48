"""One track of a long MP4 file as libav counts its samples: an index that is read where it is looked at."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np

from avglance.media.mp4head import Track
from avglance.media.mp4tables import SampleTable, need

BLOCK = 128  # samples looked up together: one is asked for where another seek begins, as a rule
HELD = 64  # such stretches that are kept: those of the keyframes around what is looked for
TAIL = 64 << 10  # samples that may end behind an edit's end for all their times to be looked at
DEEP = 16  # pictures that a decoder of libav may hold back


@dataclass(frozen=True)
class Entry:
    """An entry of the index, as ``av.index.IndexEntry`` has them."""

    pos: int
    timestamp: int
    size: int
    is_keyframe: bool
    is_discard: bool


class LongTrack:
    """The samples of one stream as libav counts them: entry 0 is the first that the edit list keeps."""

    def __init__(self, stream: Any, track: Track, table: SampleTable, movie_scale: int, head: int) -> None:
        self.stream, self.track, self.table = stream, track, table
        self.index: int = stream.index
        listed = list(stream.index_entries)
        need(len(listed) > 0, "libav sees no sample")
        span = self.table.span(0, head)
        self._first = next((i for i in range(head) if int(span.place[i]) == listed[0].pos), -1)
        need(self._first >= 0 and bool(span.key[self._first]), "the first sample is no keyframe")
        self.count = self.table.count - self._first
        self._lead = max(0, -self.table.offsets.least_early) if self.table.offsets else 0
        self._shift: int = listed[0].timestamp - int(span.dts[self._first])
        self.discards = frozenset(i for i, entry in enumerate(listed) if entry.is_discard)
        self.kept: dict[int, Any] = {}  # packets that are not shown: only libav can mark them
        self.skip = 0  # samples that libav drops from the start
        self._deepest = 0  # how many pictures a decoder has to hold back
        self._rows: dict[int, list[tuple[int, int, int, int, int, bool]]] = {}
        late = max(self.discards, default=0) + DEEP >= len(listed) and head < table.count
        need(not late, "an edit that begins late")
        self._calm = self.timestamp(max(self.discards, default=-1) + 1)
        for i, entry in enumerate(listed[:-1]):  # the last one has nothing after it for libav
            mine = self.entry(i)
            same = (mine.pos, mine.timestamp, mine.size) == (entry.pos, entry.timestamp, entry.size)
            need(same and mine.is_keyframe == entry.is_keyframe, "libav reads the tables in another way")
        self._end: int | None = None  # of the edit, in the track's own time
        self._origin = self._earliest(movie_scale, head) if track.edit else 0

    def _earliest(self, movie_scale: int, head: int) -> int:
        """Where libav's search for a time begins to count: the least presentation time inside the edit."""
        assert self.track.edit is not None  # the caller looked
        empty, start, length = self.track.edit
        scale = self.track.scale
        empty, length = ((2 * n * scale + movie_scale) // (2 * movie_scale) for n in (empty, length))
        self._end = start + length
        span = self.table.span(0, head)
        shown = span.dts + span.offset
        inside = np.flatnonzero((shown >= start) & (shown < start + length))
        inside = inside[inside >= self._first]
        need(inside.size > 0, "an edit that begins late")
        least = int(shown[inside].min())
        need(head == self.table.count or int(span.dts[-1]) - self._lead > least, "an edit that begins late")
        if self.stream.type != "video":
            return least + self._lead + self._shift - empty
        origin = least - int(span.dts[inside[0]])
        need(self._shift == empty - self._lead - int(span.dts[inside[0]]) - max(origin, 0), "another edit")
        return origin

    def survey(self) -> None:
        """Look at all times: none lies after the edit's end; how far are pictures out of order?"""
        offsets = self.table.offsets
        most = offsets.most if offsets else 0
        if self._end is not None and self.table.clock.total + most >= self._end:
            low = max(self.table.clock.find(self._end - most), 0)
            need(self.table.count - low <= TAIL, "an edit that ends early")
            for at in range(low, self.table.count, 8 * BLOCK):
                span = self.table.span(at, min(at + 8 * BLOCK, self.table.count))
                need(int((span.dts + span.offset).max()) < self._end, "an edit that ends early")
        context = self.stream.codec_context
        if offsets is None or context.name != "h264":
            return
        # libav tells the decoder how many pictures to hold back by the times of all samples
        self._deepest = max(_depth(self.table, at, at + 8192) for at in range(0, self.table.count, 8192))
        self._tell_depth()

    def _tell_depth(self) -> None:
        context = self.stream.codec_context
        if self._deepest > getattr(context, "reorder_depth", 0):
            need(hasattr(context, "reorder_depth"), "pictures further out of order")
            context.reorder_depth = self._deepest

    def beside(self, stream: Any) -> LongTrack:
        """The same track of the same file, which libav has opened once more; the tables are shared."""
        other = copy.copy(self)
        other.stream, other.kept, other.skip, other._rows = stream, {}, 0, {}
        other._tell_depth()
        return other

    # ---- looking up ----

    def timestamp(self, entry: int) -> int:
        """The decode time of an entry."""
        return self.table.clock.sum_before(self._first + entry) + self._shift

    def row(self, entry: int) -> tuple[int, int, int, int, int, bool]:
        """(place, bytes, dts, pts, duration, keyframe) of an entry."""
        sample = self._first + entry
        number, inside = divmod(sample, BLOCK)
        rows = self._rows.get(number)
        if rows is None:
            span = self.table.span(number * BLOCK, min((number + 1) * BLOCK, self.table.count))
            dts = span.dts + self._shift
            shown = dts + span.offset + self._lead if self.table.offsets else dts
            columns = (span.place, span.size, dts, shown, span.duration, span.key)
            rows = list(zip(*(column.tolist() for column in columns), strict=True))
            while len(self._rows) >= HELD:
                del self._rows[next(iter(self._rows))]
            self._rows[number] = rows
        return rows[inside]

    def entry(self, entry: int) -> Entry:
        """One entry of the index."""
        place, size, dts, _, _, key = self.row(entry)
        return Entry(place, dts, size, key, entry in self.discards)

    def search(self, timestamp: int, *, backward: bool = True, any_frame: bool = False) -> int:
        """What ``av.index.IndexEntries.search_timestamp`` gives; -1: nothing."""
        if timestamp >= self._calm:
            found = self.table.clock.find(timestamp - self._shift) - self._first
            found += not backward and self.timestamp(found) != timestamp
        else:
            found = self._halve(timestamp, backward=backward)
        if not 0 <= found < self.count:
            return -1
        if any_frame:
            return found
        keys = self.table.keys
        sample = keys.before(self._first + found) if backward else keys.after(self._first + found)
        return sample - self._first if sample >= self._first else -1

    def _halve(self, timestamp: int, *, backward: bool) -> int:
        """Search by halves as libav does, which steps over discarded entries; matters only close to them."""
        low, high = -1, self.count
        while high - low > 1:
            middle = (low + high) >> 1
            while middle in self.discards and middle < high and middle < self.count - 1:
                middle += 1
                if middle == high and self.timestamp(middle) >= timestamp:
                    middle = high - 1
                    break
            here = self.timestamp(middle)
            high = middle if here >= timestamp else high
            low = middle if here <= timestamp else low
        return low if backward else high

    def seek(self, timestamp: int) -> int:
        """The entry that a seek back to a presentation time reaches."""
        return max(self.search(timestamp - self._origin - self._lead), 0)

    def padding(self, entry: int) -> int:
        """How many samples of sound the decoder has to drop when it begins at an entry."""
        if not self.skip:
            return 0
        rate = self.stream.codec_context.sample_rate
        passed = self.timestamp(entry) - self.timestamp(0)
        return max(0, self.skip - rescaled(passed, self.track.scale, rate))


def _depth(table: SampleTable, low: int, high: int) -> int:
    """How many pictures that are decoded before one of [low, high) are shown after it, at most."""
    low, high = max(low - DEEP, 0), min(high, table.count)
    shown = np.cumsum(table.clock.expand(low, high))
    shown = np.concatenate(([0], shown[:-1])) + table.offset_span(low, high)
    later = np.zeros(shown.size, np.int64)
    for step in range(1, min(DEEP + 1, shown.size)):
        later[step:] += shown[:-step] > shown[step:]
    return int(later.max())


class LongEntries:
    """The index of a stream, read where it is looked at."""

    def __init__(self, track: LongTrack) -> None:
        self._track = track

    def __len__(self) -> int:
        return self._track.count

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return [self._track.entry(i) for i in range(*index.indices(len(self)))]
        place = index + len(self) if index < 0 else index
        if not 0 <= place < len(self):
            raise IndexError(f"entry {index} of {len(self)}")
        return self._track.entry(place)

    def search_timestamp(self, timestamp: int, *, backward: bool = True, any_frame: bool = False) -> int:
        """The entry at or before (``backward``), or at or after a time; -1: none."""
        return self._track.search(timestamp, backward=backward, any_frame=any_frame)


def rescaled(time: int, scale: int, other: int) -> int:
    """A time in other ticks, rounded as libav does: to the nearest, halves away from zero."""
    size = (2 * abs(time) * other + scale) // (2 * scale)
    return size if time >= 0 else -size
