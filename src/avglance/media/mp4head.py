"""An MP4 file with a short index: the same bytes, but its ``moov`` names only the first samples.

The short ``moov`` lies where the long one lay, so that every place in the file stays what it is. Its totals
(duration, number of pictures, mean rate) are those of the whole file.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from avglance.media.mp4tables import Bytes, Chunks, Keys, NotPlain, Rows, Runs, SampleTable, Sizes, need

_MANY_BOXES = 4096
_COPY_MOST = 8 << 20  # bytes of texts, covers and the like that a short index may carry
_SHORT_ROWS = 1024  # a table of times with fewer rows is kept as it is
_SMALL_TRACK = 256 << 10  # bytes of tables that tracks without pictures and sound may keep
_MOST_SAMPLES = 1 << 24
_INNER = {b"moov": b"trak", b"trak": b"mdia", b"mdia": b"minf", b"minf": b"stbl"}  # the way to the tables
_TABLES = frozenset({b"stts", b"ctts", b"stss", b"stsz", b"stz2", b"stsc", b"stco", b"co64"})
# what a sample table may hold beside these: it says nothing that is needed here, and is left out
_LEFT_OUT = frozenset(
    {b"sdtp", b"sbgp", b"sgpd", b"cslg", b"subs", b"stsh", b"padb", b"stdp", b"free", b"skip"}
)
_HIDDEN = frozenset({b"encv", b"enca", b"drms", b"drmi", b"p608", b"resv"})
_LARGEST_STEP = 2**31 - 1


@dataclass(frozen=True)
class Box:
    """A box of the file: what it is and where; its content is [body, end)."""

    kind: bytes
    start: int
    body: int
    end: int


@dataclass(frozen=True)
class Track:
    """One ``trak``: its sample tables and times.

    ``edit`` is (empty time before it, its first time, its length): the first in the ticks of the movie, the
    second in those of the track, the last in those of the movie; None where the track is shown as it is.
    ``table`` is None for tracks without pictures and sound, where there is little in it.
    """

    handler: bytes
    scale: int
    edit: tuple[int, int, int] | None
    table: SampleTable | None
    boxes: dict[bytes, Box]  # those of its sample table


@dataclass(frozen=True)
class Movie:
    """The ``moov`` of a file."""

    box: Box
    scale: int
    tracks: tuple[Track, ...]


def boxes(source: Bytes, start: int, end: int, *, cut: bool = False) -> Iterator[Box]:
    """The boxes in [start, end); ``cut``: the last one may pass the end."""
    for _ in range(_MANY_BOXES):
        if end - start < 8:
            return
        size, kind = struct.unpack(">I4s", source.all(start, 8))
        body = start + 8
        if size == 1:
            need(end - start >= 16, "a box without a size")
            (size,) = struct.unpack(">Q", source.all(body, 8))
            body += 8
        elif size == 0:
            size = end - start
        need(size >= body - start and (cut or start + size <= end), "a box that passes the one around it")
        yield Box(kind, start, body, min(start + size, end))
        start += size
    raise NotPlain("too many boxes")


def find_moov(source: Bytes) -> Box:
    """The only ``moov`` of a file that is no fragmented one."""
    found: list[Box] = []
    kinds: set[bytes] = set()
    for box in boxes(source, 0, source.size, cut=True):
        kinds.add(box.kind)
        if box.kind == b"moov":
            found.append(box)
    need(len(found) == 1 and not kinds & {b"moof", b"sidx", b"mfra", b"styp"}, "fragments, or no index")
    need(b"mdat" in kinds, "no samples")
    return found[0]


def read_movie(source: Bytes, moov: Box) -> Movie:
    """All tracks of a ``moov``."""
    inside = list(boxes(source, moov.body, moov.end))
    kinds = [box.kind for box in inside]
    need(kinds.count(b"mvhd") == 1 and not set(kinds) & {b"mvex", b"cmov", b"pssh", b"rmra"}, "not plain")
    scale = _scale(source, inside[kinds.index(b"mvhd")])
    return Movie(moov, scale, tuple(_read_track(source, box) for box in inside if box.kind == b"trak"))


def _only(source: Bytes, parent: Box, kind: bytes) -> Box:
    found = [box for box in boxes(source, parent.body, parent.end) if box.kind == kind]
    need(len(found) == 1, f"not one {kind!r}")
    return found[0]


def _scale(source: Bytes, box: Box) -> int:
    """Ticks a second by an ``mvhd`` or ``mdhd``."""
    version = source.all(box.body, 1)[0]
    need(version in (0, 1), "a header of another version")
    (scale,) = struct.unpack(">I", source.all(box.body + (20 if version else 12), 4))
    need(0 < scale <= _LARGEST_STEP, "no ticks")
    return int(scale)


def _read_track(source: Bytes, trak: Box) -> Track:
    media = _only(source, trak, b"mdia")
    inner = _only(source, media, b"minf")
    parts = list(boxes(source, _only(source, inner, b"stbl").body, _only(source, inner, b"stbl").end))
    found = {box.kind: box for box in parts}
    need(len(found) == len(parts), "a table twice")
    handler = source.all(_only(source, media, b"hdlr").body + 8, 4)
    scale = _scale(source, _only(source, media, b"mdhd"))
    if handler not in (b"vide", b"soun") and trak.end - trak.start <= _SMALL_TRACK:
        need(b"stts" in found and _counted(source, found[b"stts"], 2).count > 0, "a track of no samples")
        return Track(handler, scale, None, None, found)
    need(set(found) <= _TABLES | _LEFT_OUT | {b"stsd"}, "tables of another kind")
    _check_description(source, inner, found)
    return Track(handler, scale, _read_edit(source, trak), _read_table(source, found), found)


def _check_description(source: Bytes, inner: Box, found: dict[bytes, Box]) -> None:
    """One kind of sample, not encrypted, in this file, without groups that move keyframes."""
    need(b"stsd" in found, "no description")
    stsd = found[b"stsd"]
    count, _, kind = struct.unpack(">II4s", source.all(stsd.body + 4, 12))
    need(count == 1 and kind not in _HIDDEN, "several or hidden descriptions")
    if b"sgpd" in found:
        need(source.all(found[b"sgpd"].body + 4, 4) not in (b"sync", b"rap "), "keyframes in groups")
    if b"sbgp" in found:
        need(source.all(found[b"sbgp"].body + 4, 4) not in (b"sync", b"rap "), "keyframes in groups")
    dref = _only(source, _only(source, inner, b"dinf"), b"dref")
    (count,) = struct.unpack(">I", source.all(dref.body + 4, 4))
    refs = list(boxes(source, dref.body + 8, dref.end))
    need(count == len(refs) == 1 and source.all(refs[0].body, 4)[3] & 1 == 1, "samples in other files")


def _read_edit(source: Bytes, trak: Box) -> tuple[int, int, int] | None:
    """What the edit list says, where it only moves the start."""
    edits = [box for box in boxes(source, trak.body, trak.end) if box.kind == b"edts"]
    if not edits:
        return None
    need(len(edits) == 1, "two lists of edits")
    box = _only(source, edits[0], b"elst")
    version, count = source.all(box.body, 1)[0], struct.unpack(">I", source.all(box.body + 4, 4))[0]
    width = 20 if version else 12
    need(version in (0, 1) and 1 <= count <= 2 and box.end - box.body == 8 + count * width, "other edits")
    raw = source.all(box.body + 8, count * width)
    entries = list(struct.iter_unpack(">Qqi" if version else ">Iii", raw))
    empty = 0
    if entries[0][1] == -1:
        empty = entries.pop(0)[0]
    need(len(entries) == 1 and entries[0][1] >= 0 and entries[0][0] > 0, "other edits")
    need(entries[0][2] == 1 << 16 and max(empty, *entries[0]) < 1 << 48, "other edits")
    return empty, entries[0][1], entries[0][0]


def _rows(source: Bytes, box: Box, skip: int, count: int, columns: int, *, kind: str = ">u4") -> Rows:
    """The rows of a table, of which as many are there as it declares."""
    rows = Rows(source, box.body + skip, count, columns, kind)
    need(count * columns * np.dtype(kind).itemsize <= box.end - rows.at, "a table that passes its box")
    need(0 < count <= _LARGEST_STEP, "an empty table")
    return rows


def _counted(source: Bytes, box: Box, columns: int, *, kind: str = ">u4") -> Rows:
    """The rows of a table that begins with its number of rows."""
    (count,) = struct.unpack(">I", source.all(box.body + 4, 4))
    return _rows(source, box, 8, count, columns, kind=kind)


def _read_table(source: Bytes, found: dict[bytes, Box]) -> SampleTable:
    sized = found.keys() & {b"stsz", b"stz2"}
    placed = found.keys() & {b"stco", b"co64"}
    need(len(sized) == 1 and len(placed) == 1 and {b"stts", b"stsc"} <= found.keys(), "a table is missing")
    rows = _read_sizes(source, found[min(sized)])
    count = rows.count
    need(count <= min(_MOST_SAMPLES, source.size), "more samples than bytes, or than anybody films")
    sizes = Sizes(rows)
    clock = Runs(_counted(source, found[b"stts"], 2), count, signed=False)
    need(clock.least >= 1 and clock.most <= _LARGEST_STEP, "samples of no time")
    offsets = Runs(_counted(source, found[b"ctts"], 2), count, signed=True) if b"ctts" in found else None
    need(offsets is None or max(-offsets.least, offsets.most) <= 1 << 28, "times far from their place")
    wide = b"co64" in placed
    places = _counted(source, found[min(placed)], 1, kind=">i8" if wide else ">u4")
    chunks = Chunks(_counted(source, found[b"stsc"], 3), places, count)
    keys = Keys(_counted(source, found[b"stss"], 1) if b"stss" in found else None, count)
    return SampleTable(count, clock, offsets, sizes, chunks, keys)


def _read_sizes(source: Bytes, box: Box) -> Rows:
    """The size of each sample; files where all have one size hold plain sound and are left to libav."""
    width, count = struct.unpack(">II", source.all(box.body + 4, 8))
    need(width in ((0,) if box.kind == b"stsz" else (8, 16)), "sizes of another width")
    return _rows(source, box, 12, count, 1, kind={0: ">u4", 8: ">u1", 16: ">u2"}[width])


# ---- the short index ----


def _box(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(body), kind) + body


def _table(kind: bytes, rows: np.ndarray, number: str = ">u4") -> bytes:
    """A table of these rows after its version and number of rows."""
    return _box(kind, struct.pack(">II", 0, len(rows)) + rows.astype(number).tobytes())


def _short_tables(source: Bytes, track: Track, table: SampleTable, count: int) -> bytes:
    """The sample table of the first ``count`` samples, with the totals of all."""
    span = table.span(0, count)
    parts = [source.all(track.boxes[b"stsd"].start, track.boxes[b"stsd"].end - track.boxes[b"stsd"].start)]
    if table.clock.rows.count <= _SHORT_ROWS:
        parts.append(_table(b"stts", table.clock.rows.read(0, table.clock.rows.count)))
    else:
        left = table.count - count
        step, more = divmod(table.clock.total - int(span.duration.sum()), left) if left else (0, 0)
        rest = [(n, value) for n, value in ((left - more, step), (more, step + 1)) if n]
        each = np.stack((np.ones(count, np.int64), span.duration), 1)
        parts.append(_table(b"stts", np.concatenate((each, np.array(rest, np.int64).reshape(-1, 2)))))
    if table.offsets is not None:
        # rows beyond the samples: libav takes its shift of decode times from the least of all but two
        rows = [*((1, n) for n in span.offset.tolist()), (1, table.offsets.least_early), (1, 0), (1, 0)]
        parts.append(_table(b"ctts", np.array(rows, np.int64), ">i4"))
    if b"stss" in track.boxes:
        parts.append(_table(b"stss", np.flatnonzero(span.key) + 1))
    parts.append(_table(b"stsc", np.array([[1, 1, 1]])))
    parts.append(_box(b"stsz", struct.pack(">III", 0, 0, count) + span.size.astype(">u4").tobytes()))
    parts.append(_table(b"co64", span.place, ">i8"))
    return _box(b"stbl", b"".join(parts))


def _rebuilt(source: Bytes, box: Box, tracks: Iterator[tuple[Track, int]]) -> bytes:
    """A box on the way to the tables, with short ones for the tracks that come next."""
    parts = []
    for part in boxes(source, box.body, box.end):
        on_the_way = part.kind == _INNER[box.kind]  # elsewhere a box of this name is copied as it is
        if on_the_way and part.kind != b"stbl":
            parts.append(_rebuilt(source, part, tracks))
            continue
        track, count = next(tracks) if on_the_way else (None, 0)
        if track is not None and track.table is not None:
            parts.append(_short_tables(source, track, track.table, count))
        else:
            need(part.end - part.start <= _COPY_MOST, "texts or pictures in the index")
            parts.append(source.all(part.start, part.end - part.start))
    return _box(box.kind, b"".join(parts))


def short_moov(source: Bytes, movie: Movie, counts: list[int]) -> bytes:
    """A ``moov`` with the first ``counts[i]`` samples of each track, and the head of a ``free`` box after it.

    That box reaches as far as the ``moov`` of the file: what is left of the old tables is its content.
    """
    made = _rebuilt(source, movie.box, iter(zip(movie.tracks, counts, strict=True)))
    left = movie.box.end - movie.box.start - len(made)
    need(left == 0 or left >= 8, "an index that is short already")
    return made + (struct.pack(">I4s", left, b"free") if left else b"")


class HeadFile(io.RawIOBase):
    """The file's bytes with another ``moov`` in the place of its own, for libav to read."""

    def __init__(self, source: Bytes, at: int, moov: bytes) -> None:
        super().__init__()
        self._source, self._low, self._moov = source, at, moov
        self._at = 0

    def readable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """True."""
        return True

    def tell(self) -> int:
        """Where the next read begins."""
        return self._at

    def seek(self, offset: int, whence: int = 0) -> int:
        """Move as files do."""
        self._at = max(0, offset + (0, self._at, self._source.size)[whence])
        return self._at

    def read(self, count: int = -1) -> bytes:
        """Up to ``count`` bytes from here on."""
        high = self._low + len(self._moov)
        count = self._source.size if count < 0 else count
        if self._at < self._low:
            got = self._source.some(self._at, min(count, self._low - self._at))
        elif self._at < high:
            got = self._moov[self._at - self._low : self._at - self._low + count]
        else:
            got = self._source.some(self._at, count)
        self._at += len(got)
        return got
