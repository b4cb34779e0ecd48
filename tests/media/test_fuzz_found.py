"""What fuzzing found, each by its name: built whole, then damaged in one place that is written down."""

from __future__ import annotations

import gc
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tests.media.boxes import Box, all_boxes, read_boxes, write_boxes
from tests.media.fuzz_corpus import MAKERS, photos
from tests.media.makers import RATE_HZ, even, packets_of, read_number, tone, write

from avglance.media import VideoReader, check


def patched(path: Path, kind: bytes, change: Callable[[Box], None]) -> Path:
    """The MP4 file with a change of every box of this kind."""
    tree = read_boxes(path.read_bytes())
    for siblings, place in all_boxes(tree):
        if siblings[place].kind == kind:
            change(siblings[place])
    path.write_bytes(write_boxes(tree))
    return path


def scrambled(path: Path, start_s: float, end_s: float, kind: str) -> Path:
    """The file with the packets of [start_s, end_s) turned inside out: no decoder accepts them."""
    raw = bytearray(path.read_bytes())
    for position, size, time, _ in packets_of(path, kind):
        if start_s <= time < end_s:
            raw[position : position + size] = bytes(255 - byte for byte in raw[position : position + size])
    path.write_bytes(raw)
    return path


@pytest.mark.parametrize("count", [30, 100])
def test_a_raw_stream_lasts_as_long_as_its_pictures(tmp_path, count):
    """It cannot be wound back: what was read to learn its rate was left out of its duration."""
    path = write(tmp_path / "x.h264", even(count / 25), b_frames=0)
    with VideoReader(path) as reader:
        assert reader.info.duration_s == pytest.approx(count / 25, abs=1e-6)
        pictures = [frame for _, frame in reader.frames_at([0.02, (count - 0.5) / 25])]
    assert [read_number(frame.image) for frame in pictures if frame is not None] == [0, count - 1]


def test_pictures_that_an_edit_leaves_out_do_not_count(tmp_path):
    """An edit list of half a second: the packets behind it are there, and are not shown."""

    def shorten(box: Box) -> None:
        box.body = box.body[:8] + struct.pack(">I", 500) + box.body[12:]  # in the movie's milliseconds

    path = patched(write(tmp_path / "x.mp4", even(2.0)), b"elst", shorten)
    with VideoReader(path) as reader:
        shown = len(list(reader.timeline()))
        assert shown == 13
        assert sum(is_picture for _, _, is_picture, _ in reader.packets()) == shown
        assert reader.info.duration_s == pytest.approx(0.52, abs=0.021)
    assert check(path, quick=True).picture_s == pytest.approx(0.52, abs=0.021)


IVF_HEAD, IVF_FRAME = 32, 12


def ivf(path: Path, stamps: dict[int, int]) -> Path:
    """A VP9 file of 30 pictures, 25 a second, some with another timestamp."""
    MAKERS["vp9.ivf"](path)
    raw = bytearray(path.read_bytes())
    at, number = IVF_HEAD, 0
    while at < len(raw):
        if number in stamps:
            struct.pack_into("<q", raw, at + 4, stamps[number])
        at, number = at + IVF_FRAME + struct.unpack_from("<I", raw, at)[0], number + 1
    assert number == 30
    path.write_bytes(raw)
    return path


@pytest.mark.parametrize("number", [0, 29])
def test_a_time_of_a_thousand_million_years_is_no_time(tmp_path, number):
    """One damaged number made the first picture, or the last, lie outside the life of the world."""
    path = ivf(tmp_path / "x.ivf", {number: 2**60})
    with VideoReader(path) as reader:
        assert reader.info.duration_s == pytest.approx(1.2, abs=0.05)
        assert reader.info.frame_rate == pytest.approx(25.0)
    report = check(path)
    assert report.picture_s == pytest.approx(1.2, abs=0.05)
    assert report.frames_decoded >= 29
    assert check(path, quick=True).picture_s == pytest.approx(1.2, abs=0.05)


def test_a_clock_that_jumps_is_no_rate(tmp_path):
    """One timestamp an hour ahead made the mean rate one picture in ten minutes."""
    with VideoReader(ivf(tmp_path / "x.ivf", {10: 90_000})) as reader:
        assert reader.info.frame_rate == pytest.approx(25.0, rel=0.1)


def test_a_damaged_beginning_of_the_pictures_does_not_move_the_clock(tmp_path):
    """The first second cannot be decoded: it is lost, and the second after it stays where it was."""
    path = scrambled(write(tmp_path / "x.mp4", even(2.0), b_frames=0), 0.0, 1.0, "video")
    with VideoReader(path) as reader:
        assert reader.info.duration_s == pytest.approx(2.0)
        found = dict(reader.frames_at([0.5, 1.0, 1.5]))
    assert found[0] is None
    assert found[1] is not None
    assert found[2] is not None
    assert (read_number(found[1].image), read_number(found[2].image)) == (25, 37)
    report = check(path)
    assert report.condition.verdict == "degraded"
    assert report.condition.coverage == pytest.approx(0.5)
    assert [(r.kind, r.start_s, r.end_s) for r in report.condition.reasons] == [
        ("damaged", pytest.approx(0.0), pytest.approx(1.0))
    ]


def test_a_damaged_beginning_of_the_sound_does_not_move_the_clock(tmp_path):
    """The first half second cannot be decoded: it is lost, and what follows sounds when it did."""
    path = scrambled(write(tmp_path / "x.m4a", sound=tone(2.0)), 0.0, 0.5, "audio")
    with VideoReader(path) as reader:
        pieces = list(reader.sound(0.0, 2.0, rate_hz=RATE_HZ))
        assert reader.sound_span == (pytest.approx(0.0, abs=0.07), pytest.approx(2.0, abs=0.07))
        assert pieces[0].start_s == pytest.approx(0.5, abs=0.13)
        lost = [(r.start_s, r.end_s) for r in reader.reasons if r.kind == "damaged_sound"]
    assert lost == [(pytest.approx(0.0), pytest.approx(0.5, abs=0.13))]


def test_a_reader_leaves_nothing_for_the_garbage_collector(tmp_path):
    """Pictures and the threads of their decoders stayed until it ran: memory that grows with their size."""
    path = write(tmp_path / "x.mp4", even(0.4), sound=tone(0.4))

    def use() -> None:
        with VideoReader(path) as reader:
            assert [index for index, _ in reader.frames_at([0.1, 0.3])] == [0, 1]
            assert len(list(reader.timeline())) == 10
            assert len(list(reader.sound(0.0, 0.4))) == 1
            assert len(list(reader.packets())) > 10

    use()
    gc.collect()
    gc.disable()
    try:
        use()
        assert gc.collect() == 0
    finally:
        gc.enable()


@pytest.mark.parametrize(("orientation", "turned"), [(1, 0), (6, 90), (3, 180), (8, 270)])
def test_pictures_with_exif_are_read_and_stand_upright(tmp_path, orientation, turned):
    """PyAV has no name for EXIF beside a frame and raised ValueError, which no reader expected."""
    photos(tmp_path / "x.mkv", orientation)
    with VideoReader(tmp_path / "x.mkv") as reader:
        assert reader.info.rotation == turned
        (_, frame), *_ = reader.frames_at([0.1])
    assert frame is not None
    assert read_number(np.rot90(frame.image, turned // 90)) == 5
    assert check(tmp_path / "x.mkv").frames_decoded == 10
