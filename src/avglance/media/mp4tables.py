"""The sample tables of an MP4 file, read piece by piece: where each sample lies and when it is shown.

An index of all samples costs memory for every second of a file. Here a table stays in the file: a few sums
are kept, one for every ``STEP`` rows, and the rows around a sample are read when it is asked for. Numbers
that tables declare are compared with the bytes that are there before anything is allocated.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

STEP = 1024  # rows between two kept sums
LARGEST = 1 << 28  # bytes of a sample
_PIECE = 8 * STEP  # rows looked at together while a table is checked

Ints = NDArray[np.int64]


class NotPlain(Exception):
    """The tables are damaged or of a kind that is not read here: the file is left to libav."""


def need(true: bool, what: str) -> None:
    """Raise ``NotPlain`` unless this is so."""
    if not true:
        raise NotPlain(what)


class Bytes:
    """An open file, read by position, from several threads if need be; it owns the descriptor."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._users, self._lock = 1, threading.Lock()
        self._file: int | None = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        self.size = os.fstat(self._file).st_size

    def some(self, at: int, count: int) -> bytes:
        """Up to ``count`` bytes from ``at`` on, fewer only where the file ends; no more is allocated."""
        count = min(count, self.size - at)
        if self._file is None or at < 0 or count <= 0:
            return b""
        if hasattr(os, "pread"):
            got = os.pread(self._file, count, at)
            return got if len(got) == count else got + self._rest(at + len(got), count - len(got))
        return self._rest(at, count)

    def _rest(self, at: int, count: int) -> bytes:
        """The same by seeking, in several reads where the system gives less than asked for."""
        assert self._file is not None  # the caller looked
        parts: list[bytes] = []
        with self._lock:
            os.lseek(self._file, at, os.SEEK_SET)
            while count > 0 and (got := os.read(self._file, count)):
                parts.append(got)
                count -= len(got)
        return b"".join(parts)

    def all(self, at: int, count: int) -> bytes:
        """Exactly these bytes; ``NotPlain`` where the file ends before."""
        got = self.some(at, count)
        need(len(got) == count, "the file ends inside a table")
        return got

    def held(self) -> Self:
        """The same file for one user more: it stays open until each has closed it."""
        with self._lock:
            self._users += 1
        return self

    def close(self) -> None:
        """Let go of the file: once by each user, or it is closed under another one."""
        with self._lock:
            self._users -= 1
            last = self._users <= 0
        if last:
            self._close()

    def _close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def __del__(self) -> None:
        if hasattr(self, "_file"):
            self._close()


@dataclass(frozen=True)
class Rows:
    """``count`` rows of ``columns`` big-endian numbers from ``at`` on; they lie inside their box."""

    source: Bytes
    at: int
    count: int
    columns: int
    kind: str = ">u4"

    def read(self, low: int, high: int) -> Ints:
        """Rows [low, high), shape (n, columns)."""
        width = self.columns * np.dtype(self.kind).itemsize
        raw = self.source.all(self.at + low * width, max(high - low, 0) * width)
        return np.frombuffer(raw, self.kind).astype(np.int64).reshape(-1, self.columns)

    def pieces(self) -> Iterator[tuple[int, Ints]]:
        """(first row, rows) of the whole table."""
        for low in range(0, self.count, _PIECE):
            yield low, self.read(low, min(low + _PIECE, self.count))


def _before(parts: Ints) -> Ints:
    """Sums of all that comes before each, and of all."""
    return np.concatenate(([0], np.cumsum(parts)))


class Runs:
    """A run-length table (``stts``, ``ctts``): a value for each of ``samples`` samples."""

    def __init__(self, rows: Rows, samples: int, *, signed: bool) -> None:
        self.rows, self.samples, self._signed = rows, samples, signed
        marks: list[int] = []
        sums: list[int] = []
        done = total = 0
        self.least, self.most, self.least_early = 2**31, -(2**31), 0
        for low, piece in rows.pieces():
            counts, values = piece[:, 0], self._values(piece)
            need(counts.min() >= 1 and counts.max() <= samples - done, "runs without an end")
            ends, times = _before(counts), _before(counts * values)
            marks += (done + ends[:-1:STEP]).tolist()
            sums += (total + times[:-1:STEP]).tolist()
            done, total = done + int(ends[-1]), total + int(times[-1])
            self.least, self.most = min(self.least, int(values.min())), max(self.most, int(values.max()))
            early = values[: max(rows.count - 2 - low, 0)]  # libav leaves the last two rows out of its shift
            self.least_early = min(self.least_early, int(early.min())) if early.size else self.least_early
        need(done == samples, "runs of another number of samples")
        self.total = total
        self._marks, self._sums = np.array(marks, np.int64), np.array(sums, np.int64)
        self._near: tuple[int, Ints, Ints, Ints] | None = None

    def _values(self, rows: Ints) -> Ints:
        return rows[:, 1].astype(np.int32).astype(np.int64) if self._signed else rows[:, 1]

    def _stretch(self, number: int) -> tuple[Ints, Ints, Ints]:
        """Of stretch ``number``: the first sample and the sum before it for each row and the end, values."""
        near = self._near  # another thread may look elsewhere meanwhile
        if near is None or near[0] != number:
            rows = self.rows.read(number * STEP, min((number + 1) * STEP, self.rows.count))
            values = self._values(rows)
            starts = self._marks[number] + _before(rows[:, 0])
            near = self._near = (number, starts, self._sums[number] + _before(rows[:, 0] * values), values)
        return near[1:]

    def sum_before(self, sample: int) -> int:
        """The sum of the values of all samples before this one."""
        number = int(np.searchsorted(self._marks, sample, "right")) - 1
        starts, sums, values = self._stretch(number)
        row = min(int(np.searchsorted(starts, sample, "right")) - 1, values.size - 1)
        return int(sums[row] + (sample - starts[row]) * values[row])

    def find(self, total: int) -> int:
        """The last sample with ``sum_before`` <= total, -1: none; the values are above zero."""
        if total < 0:
            return -1
        number = int(np.searchsorted(self._sums, total, "right")) - 1
        starts, sums, values = self._stretch(number)
        row = min(int(np.searchsorted(sums, total, "right")) - 1, values.size - 1)
        return min(int(starts[row]) + (total - int(sums[row])) // int(values[row]), self.samples - 1)

    def expand(self, low: int, high: int) -> Ints:
        """The values of samples [low, high)."""
        number = int(np.searchsorted(self._marks, low, "right")) - 1
        parts: list[Ints] = []
        while low < high:
            starts, _, values = self._stretch(number)
            inside = np.clip(starts[1:], low, high) - np.clip(starts[:-1], low, high)
            parts.append(np.repeat(values, inside))
            low, number = max(low, min(int(starts[-1]), high)), number + 1
        return np.concatenate(parts) if parts else np.zeros(0, np.int64)


class Sizes:
    """The bytes of each sample (``stsz``, ``stz2``)."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        marks: list[int] = []
        total = 0
        for _, piece in rows.pieces():
            sizes = piece[:, 0]
            need(sizes.min() >= 1 and sizes.max() <= LARGEST, "samples of no size or far too large")
            sums = _before(sizes)
            marks += (total + sums[:-1:STEP]).tolist()
            total += int(sums[-1])
        self._marks = np.array(marks, np.int64)

    def expand(self, low: int, high: int) -> Ints:
        """The sizes of samples [low, high)."""
        return self._rows.read(low, high)[:, 0]

    def sum_before(self, sample: int) -> int:
        """Bytes of all samples before this one."""
        number = min(sample // STEP, self._marks.size - 1)
        return int(self._marks[number] + self.expand(number * STEP, sample).sum())


class Chunks:
    """Which samples lie together, and where (``stsc`` with ``stco`` or ``co64``)."""

    def __init__(self, groups: Rows, offsets: Rows, samples: int) -> None:
        self._groups, self._offsets = groups, offsets
        marks: list[int] = []
        done = 0
        for low in range(0, groups.count, _PIECE):
            first, per, following, kinds = self._read(low, min(low + _PIECE, groups.count))
            need(bool((kinds == 1).all()), "several sample descriptions")
            need(first[0] == 0 or low > 0, "chunks that begin late")
            need(bool((following > first).all()), "chunks in disorder")
            need(per.min() >= 1 and per.max() <= samples, "chunks of no or too many samples")
            held = (following - first) * per
            need(held.max() <= samples - done, "chunks of too many samples")
            sums = _before(held)
            marks += (done + sums[:-1:STEP]).tolist()
            done += int(sums[-1])
        need(done == samples, "chunks of another number of samples")
        need(all(bool((piece >= 0).all()) for _, piece in offsets.pieces()), "chunks in no file")
        self._marks = np.array(marks, np.int64)

    def _read(self, low: int, high: int) -> tuple[Ints, Ints, Ints, Ints]:
        """Of groups [low, high): the first chunk, samples in each chunk, the next group's chunk, the kind."""
        rows = self._groups.read(low, min(high + 1, self._groups.count))
        following = rows[1:, 0] - 1
        if high == self._groups.count:
            following = np.append(following, self._offsets.count)
        mine = rows[: high - low]
        return mine[:, 0] - 1, mine[:, 1], following, mine[:, 2]

    def cover(self, low: int, high: int) -> tuple[Ints, Ints]:
        """The chunks that hold samples [low, high), in order: their first samples and their places."""
        number = int(np.searchsorted(self._marks, low, "right")) - 1
        firsts: list[Ints] = []
        lowest, done = -1, low
        while done < high:
            rows_end = min((number + 1) * STEP, self._groups.count)
            first, per, following, _ = self._read(number * STEP, rows_end)
            starts = self._marks[number] + _before((following - first) * per)
            begins = first + (np.clip(starts[:-1], low, high) - starts[:-1]) // per
            ends = first - (starts[:-1] - np.clip(starts[1:], low, high)) // per
            lengths = np.where((starts[1:] > low) & (starts[:-1] < high), ends - begins, 0)
            rows = np.repeat(np.arange(first.size), lengths)
            chunks = begins[rows[0]] + np.arange(rows.size)
            lowest = int(chunks[0]) if lowest < 0 else lowest
            firsts.append(starts[rows] + (chunks - first[rows]) * per[rows])
            done, number = min(high, int(starts[-1])), number + 1
        found = np.concatenate(firsts)
        return found, self._offsets.read(lowest, lowest + found.size)[:, 0]


class Keys:
    """Which samples are keyframes (``stss``); ``rows`` is None where all are."""

    def __init__(self, rows: Rows | None, samples: int) -> None:
        self._rows, self._samples = rows, samples
        marks: list[int] = []
        last = 0
        for _, piece in rows.pieces() if rows is not None else ():
            numbers = piece[:, 0]
            need(bool((np.diff(numbers, prepend=last) > 0).all()), "keyframes in disorder")
            marks += (numbers[::STEP] - 1).tolist()
            last = int(numbers[-1])
        need(last <= samples, "keyframes that are not there")
        self._marks = np.array(marks, np.int64)
        self._near: tuple[int, Ints] | None = None

    def _stretch(self, number: int) -> Ints:
        assert self._rows is not None  # without rows nobody asks
        near = self._near  # another thread may look elsewhere meanwhile
        if near is None or near[0] != number:
            high = min((number + 1) * STEP, self._rows.count)
            near = self._near = (number, self._rows.read(number * STEP, high)[:, 0] - 1)
        return near[1]

    def flags(self, low: int, high: int) -> NDArray[np.bool_]:
        """Whether each of the samples [low, high) is a keyframe."""
        found = np.full(high - low, self._rows is None)
        number = max(int(np.searchsorted(self._marks, low, "right")) - 1, 0)
        while number < self._marks.size and self._marks[number] < high:
            keys = self._stretch(number)
            found[keys[(keys >= low) & (keys < high)] - low] = True
            number += 1
        return found

    def before(self, sample: int) -> int:
        """The last keyframe at or before a sample; -1: none."""
        if self._rows is None:
            return sample
        number = int(np.searchsorted(self._marks, sample, "right")) - 1
        if number < 0:
            return -1
        keys = self._stretch(number)
        return int(keys[int(np.searchsorted(keys, sample, "right")) - 1])

    def after(self, sample: int) -> int:
        """The first keyframe at or after a sample; -1: none."""
        if self._rows is None:
            return sample
        number = max(int(np.searchsorted(self._marks, sample, "right")) - 1, 0)
        while number < self._marks.size:
            keys = self._stretch(number)
            found = int(np.searchsorted(keys, sample, "left"))
            if found < keys.size:
                return int(keys[found])
            number += 1
        return -1


@dataclass(frozen=True)
class Samples:
    """A stretch of samples: place, bytes, decode time, presentation minus decode time, duration, keyframe."""

    place: Ints
    size: Ints
    dts: Ints
    offset: Ints
    duration: Ints
    key: NDArray[np.bool_]


@dataclass(frozen=True)
class SampleTable:
    """All tables of one track; times in its own ticks, the first sample decoded at 0."""

    count: int
    clock: Runs
    offsets: Runs | None
    sizes: Sizes
    chunks: Chunks
    keys: Keys

    def span(self, low: int, high: int) -> Samples:
        """Samples [low, high)."""
        durations = self.clock.expand(low, high)
        size = self.sizes.expand(low, high)
        firsts, places = self.chunks.cover(low, high)
        sums = _before(size)
        inside = firsts[1:] - low  # all chunks but the first begin in the stretch
        behind = self.sizes.sum_before(low) - self.sizes.sum_before(int(firsts[0]))
        heads = np.concatenate(([-behind], sums[inside]))
        owner = np.searchsorted(firsts, np.arange(low, high), "right") - 1
        return Samples(
            place=places[owner] + sums[:-1] - heads[owner],
            size=size,
            dts=self.clock.sum_before(low) + _before(durations)[:-1],
            offset=self.offset_span(low, high),
            duration=durations,
            key=self.keys.flags(low, high),
        )

    def offset_span(self, low: int, high: int) -> Ints:
        """Presentation minus decode time of samples [low, high)."""
        return self.offsets.expand(low, high) if self.offsets else np.zeros(high - low, np.int64)
