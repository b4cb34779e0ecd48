"""Sample tables read piece by piece say what the whole ones say; declared numbers ask for no memory."""

from __future__ import annotations

import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from avglance.media import mp4tables
from avglance.media.mp4head import Box, boxes, find_moov, read_movie
from avglance.media.mp4tables import Bytes, Chunks, Keys, NotPlain, Rows, Runs, SampleTable, Sizes


@pytest.fixture(params=[1024, 4])
def step(request, monkeypatch) -> int:
    """Kept sums as far apart as they are, and so close that every look-up crosses many."""
    monkeypatch.setattr(mp4tables, "STEP", request.param)
    monkeypatch.setattr(mp4tables, "_PIECE", 3 * request.param)
    return request.param


def rows(tmp_path: Path, values, columns: int, kind: str = ">u4") -> Rows:
    array = np.asarray(values, np.int64).reshape(-1, columns)
    path = tmp_path / f"{np.random.default_rng().integers(1 << 40)}.table"
    path.write_bytes(b"before" + array.astype(kind).tobytes())
    return Rows(Bytes(path), 6, len(array), columns, kind)


def test_runs_are_those_of_the_whole_table(tmp_path, step):
    rng = np.random.default_rng(1)
    counts, values = rng.integers(1, 9, 300), rng.integers(1, 50, 300)
    whole = np.repeat(values, counts)
    starts = np.concatenate(([0], np.cumsum(whole)))
    runs = Runs(rows(tmp_path, np.stack((counts, values), 1), 2), whole.size, signed=False)
    assert (runs.total, runs.least, runs.most) == (int(whole.sum()), int(values.min()), int(values.max()))
    for low, high in [(0, whole.size), (0, 1), (5, 5), *np.sort(rng.integers(0, whole.size, (40, 2)), 1)]:
        assert runs.expand(low, high).tolist() == whole[low:high].tolist()
    assert [runs.sum_before(i) for i in range(whole.size + 1)] == starts.tolist()
    for total in [-1, 0, 1, *rng.integers(0, starts[-1] + 100, 200)]:
        last = int(np.searchsorted(starts[:-1], total, "right")) - 1
        assert runs.find(int(total)) == last


def test_runs_below_zero(tmp_path, step):
    table = rows(tmp_path, [[2, -7], [1, 5], [3, -2], [1, -9], [1, -8]], 2, ">i4")
    runs = Runs(Rows(table.source, table.at, table.count, 2), 8, signed=True)
    assert runs.expand(0, 8).tolist() == [-7, -7, 5, -2, -2, -2, -9, -8]
    assert (runs.least, runs.most, runs.least_early) == (-9, 5, -7)  # the last two rows shift nothing


@pytest.mark.parametrize(
    "table", [[[2, 1], [0, 1]], [[2, 1], [2, 1]], [[1, 1]], [[0xFFFFFFFF, 1]] * 9], ids=str
)
def test_runs_of_other_numbers_of_samples_are_refused(tmp_path, table):
    with pytest.raises(NotPlain):
        Runs(rows(tmp_path, table, 2), 3, signed=False)


@pytest.mark.parametrize("kind", [">u4", ">u2", ">u1"])
def test_sizes(tmp_path, step, kind):
    whole = np.random.default_rng(2).integers(1, 200, 2500)
    sizes = Sizes(rows(tmp_path, whole, 1, kind))
    sums = np.concatenate(([0], np.cumsum(whole)))
    assert sizes.expand(100, 200).tolist() == whole[100:200].tolist()
    assert [sizes.sum_before(i) for i in range(0, 2501, 7)] == sums[::7].tolist()
    with pytest.raises(NotPlain):
        Sizes(rows(tmp_path, [5, 0, 5], 1, kind))


def test_chunks_and_places(tmp_path, step):
    rng = np.random.default_rng(3)
    per = rng.integers(1, 30, 400).repeat(rng.integers(1, 4, 400))
    samples = int(per.sum())
    changes = np.flatnonzero(np.diff(per, prepend=-1))
    groups = np.stack((changes + 1, per[changes], np.ones_like(changes)), 1)
    places = np.cumsum(rng.integers(10**4, 10**6, per.size)) + 2**33
    size = rng.integers(1, 300, samples)
    want = np.concatenate(
        [
            at + np.cumsum(part) - part
            for at, part in zip(places, np.split(size, np.cumsum(per)[:-1]), strict=True)
        ]
    )
    chunks = Chunks(rows(tmp_path, groups, 3), rows(tmp_path, places, 1, ">i8"), samples)
    clock = Runs(rows(tmp_path, [[samples, 3]], 2), samples, signed=False)
    keys = Keys(None, samples)
    table = SampleTable(samples, clock, None, Sizes(rows(tmp_path, size, 1)), chunks, keys)
    spans = [(0, samples), (samples - 1, samples), *np.sort(rng.integers(0, samples, (60, 2)), 1)]
    for low, high in ((int(a), int(b)) for a, b in spans if a < b):
        span = table.span(low, high)
        assert span.place.tolist() == want[low:high].tolist()
        assert span.dts.tolist() == list(range(3 * low, 3 * high, 3))
        assert span.size.tolist() == size[low:high].tolist()
        assert span.key.all()


@pytest.mark.parametrize(
    "groups",
    [
        [[2, 3, 1]],
        [[1, 2, 1]],
        [[1, 1, 1], [1, 2, 1]],
        [[1, 3, 2]],
        [[1, 0, 1]],
        [[1, 2**32 - 1, 1]],
        [[1, 1, 1], [9, 1, 1]],
    ],
    ids=str,
)
def test_chunks_that_contradict_are_refused(tmp_path, groups):
    with pytest.raises(NotPlain):
        Chunks(rows(tmp_path, groups, 3), rows(tmp_path, [[100]], 1), 3)


def test_keys(tmp_path, step):
    numbers = np.unique(np.random.default_rng(4).integers(1, 5000, 700))
    keys = Keys(rows(tmp_path, numbers, 1), 5000)
    flags = np.zeros(5000, bool)
    flags[numbers - 1] = True
    for low, high in ((0, 5000), (1, 2), (4000, 4700), (17, 17)):
        assert keys.flags(low, high).tolist() == flags[low:high].tolist()
    for i in range(0, 5000, 13):
        before, after = np.flatnonzero(flags[: i + 1]), np.flatnonzero(flags[i:])
        assert keys.before(i) == (before[-1] if before.size else -1)
        assert keys.after(i) == (after[0] + i if after.size else -1)
    for wrong in ([3, 2], [0, 2], [2, 2], [5001]):
        with pytest.raises(NotPlain):
            Keys(rows(tmp_path, wrong, 1), 5000)


def test_declared_numbers_ask_for_no_memory(tmp_path):
    """A table that declares four thousand million rows in a box of a hundred bytes is never allocated."""

    def box(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I4s", 8 + len(body), kind) + body

    for kind in (b"stts", b"ctts", b"stsc", b"stco", b"co64", b"stsz", b"stss"):
        tables = {
            b"stsd": struct.pack(">III4s", 0, 1, 16, b"avc1") + bytes(8),
            b"stts": struct.pack(">IIII", 0, 1, 5, 10),
            b"stsc": struct.pack(">IIIII", 0, 1, 1, 5, 1),
            b"stco": struct.pack(">III", 0, 1, 100),
            b"stsz": struct.pack(">III5I", 0, 0, 5, *[7] * 5),
        }
        tables[kind] = (
            struct.pack(">III", 0, 0, 2**32 - 1) if kind == b"stsz" else struct.pack(">II", 0, 2**32 - 1)
        )
        tables[kind] += bytes(100)
        minf = box(b"dinf", box(b"dref", struct.pack(">II", 0, 1) + box(b"url ", bytes([0, 0, 0, 1]))))
        minf += box(b"stbl", b"".join(box(*pair) for pair in tables.items()))
        mdia = box(b"mdhd", struct.pack(">IIIII", 0, 0, 0, 1000, 50)) + box(b"hdlr", bytes(8) + b"vide")
        trak = box(b"trak", box(b"mdia", mdia + box(b"minf", minf)))
        path = tmp_path / "hostile.mp4"
        mvhd = box(b"mvhd", struct.pack(">IIIII", 0, 0, 0, 1000, 50))
        path.write_bytes(box(b"mdat", bytes(200)) + box(b"moov", mvhd + trak))
        source = Bytes(path)
        tracemalloc.start()
        with pytest.raises(NotPlain):
            read_movie(source, find_moov(source))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        source.close()
        assert peak < 200_000, kind


def test_boxes_stay_inside_the_one_around_them(tmp_path):
    path = tmp_path / "boxes"
    wide = struct.pack(">I4sQ", 1, b"wide", 20) + bytes(4)  # with a size of 64 bits
    path.write_bytes(wide + struct.pack(">I4s", 9, b"moov") + b"x")
    source = Bytes(path)
    assert list(boxes(source, 0, 29)) == [Box(b"wide", 0, 16, 20), Box(b"moov", 20, 28, 29)]
    for end in (17, 28):
        with pytest.raises(NotPlain):
            list(boxes(source, 0, end))
    path.write_bytes(b"\0\0\0\x07free" * 9)
    with pytest.raises(NotPlain):
        list(boxes(Bytes(path), 0, 72))
    path.write_bytes(b"\0\0\0\x08free" * 5000)
    with pytest.raises(NotPlain):
        list(boxes(Bytes(path), 0, 40_000))
