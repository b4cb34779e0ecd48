"""The reader on files whose contents are known: every picture carries its number."""

from __future__ import annotations

import gc
import os
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from tests.media.makers import (
    RATE_HZ,
    even,
    numbered,
    packets_of,
    read_number,
    spoil,
    tone,
    turned,
    write,
)

from avglance.errors import ArgumentError, MediaError
from avglance.media import Limits, VideoReader, reader, source


def seen(reader: VideoReader, times) -> list[int | None]:
    """The number on the screen at each time, in the order asked; None: no picture."""
    found: dict[int, int | None] = {}
    for i, frame in reader.frames_at(times):
        assert i not in found
        found[i] = None if frame is None else read_number(frame.image)
    assert sorted(found) == list(range(len(times)))
    return [found[i] for i in range(len(times))]


def heard(reader: VideoReader, start: float, end: float) -> np.ndarray:
    """The sound of [start, end) on a grid of 16 kHz, NaN where there is none."""
    out = np.full(round((end - start) * RATE_HZ) + 1, np.nan)
    for piece in reader.sound(start, end):
        at = round((piece.start_s - start) * RATE_HZ)
        assert at >= 0
        assert np.isnan(out[at : at + piece.samples.size]).all(), "a sample was given twice"
        out[at : at + piece.samples.size] = piece.samples
    return out


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight seconds, 25 pictures a second, a keyframe a second, B frames, a tone."""
    return write(tmp_path_factory.mktemp("reader") / "plain.mp4", even(8), sound=tone(8))


def test_info(plain):
    with VideoReader(plain) as reader:
        info = reader.info
        assert (info.width, info.height, info.has_video, info.rotation) == (96, 64, True, 0)
        assert info.duration_s == pytest.approx(8.0, abs=0.1)
        assert info.frame_rate == pytest.approx(25.0, rel=0.01)
        assert not info.variable_rate
        assert info.video_codec == "h264"
        assert [(t.codec, t.rate_hz, t.channels) for t in info.audio_tracks] == [("aac", RATE_HZ, 1)]
        assert reader.reasons == []


@pytest.mark.parametrize("threads", [1, 0])
def test_every_picture_once_and_in_order(plain, threads):
    with VideoReader(plain, threads=threads) as reader:
        times = [n / 25 + 0.013 for n in range(200)]
        assert seen(reader, times) == list(range(200))
        assert reader.frames_delivered == 200
        assert reader.frames_decoded == 200


def test_random_access_agrees_with_the_numbers(plain):
    times = np.random.default_rng(3).uniform(0, 8, 60)
    with VideoReader(plain) as reader:
        assert seen(reader, times) == [int(t * 25) for t in times]
        for t in (7.9, 0.5, 4.4, 4.45, 0.0):  # one by one, backwards too
            assert seen(reader, [t]) == [int(t * 25 + 1e-6)]


def test_span_of_a_frame_and_repeated_times(plain):
    with VideoReader(plain) as reader:
        pairs = dict(reader.frames_at([1.01, 1.0, 1.039]))
        assert {(f.time_s, round(f.end_s, 6)) for f in pairs.values()} == {(1.0, 1.04)}
        assert reader.frames_delivered == 1
        assert pairs[0].image is pairs[1].image
        assert pairs[0].image.shape == (64, 96, 3)
        assert pairs[0].image.dtype == np.uint8


def test_decodes_on_within_a_group_and_seeks_between_groups(plain):
    with VideoReader(plain, threads=1) as reader:
        before = reader.frames_decoded
        assert seen(reader, [7.02]) == [175]
        assert (
            reader.frames_decoded - before <= 8
        )  # a seek to the keyframe at 7 s, not seven seconds of pictures
        before = reader.frames_decoded
        assert seen(reader, [7.3, 7.5]) == [182, 187]
        assert reader.frames_decoded - before <= 16  # decoded on: no picture twice


def test_keyframes_are_found_and_cost_one_picture(plain):
    keys = [time for _, _, time, key in packets_of(plain) if key]
    assert len(keys) == 8
    with VideoReader(plain) as reader:
        assert [reader.keyframes_near([t])[0] for t in (0.0, 0.4, 0.6, 3.1, 9.0)] == pytest.approx(
            [0, 0, 1, 3, 7]
        )
        before = reader.frames_decoded
        assert seen(reader, [reader.keyframes_near([t])[0] for t in (2.1, 4.1, 6.1)]) == [50, 100, 150]
        assert reader.frames_decoded - before == 3


def test_outside_the_pictures(plain):
    with VideoReader(plain) as reader:
        assert seen(reader, [-0.03, -0.5, 7.99, 8.5, 1e6]) == [0, None, 199, None, None]
        with pytest.raises(ArgumentError, match="finite"):
            reader.frames_at([float("nan")])


def test_max_side_shrinks(plain):
    with VideoReader(plain) as reader:
        ((_, frame),) = reader.frames_at([1.0], max_side=48)
        assert frame.image.shape == (32, 48, 3)


def test_variable_rate_by_timestamps_only(tmp_path):
    times = np.cumsum(np.r_[0, np.random.default_rng(1).choice([0.04, 0.1, 0.7, 1.5], 60)]).round(3)
    for name in ("v.mp4", "v.mkv"):
        path = write(tmp_path / name, list(times), last_s=0.5, gop=10)
        with VideoReader(path) as reader:
            asked = np.r_[times + 0.02, times[1:] - 0.01]
            expected = [*range(len(times)), *range(len(times) - 1)]
            assert seen(reader, asked) == expected, name
            assert reader.info.variable_rate, name
            assert reader.reasons == []  # a held picture is no damage


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts", ".flv"])
def test_reordered_pictures_at_an_even_rate_do_not_vary(tmp_path, suffix):
    with VideoReader(write(tmp_path / f"x{suffix}", even(6), b_frames=3)) as reader:
        assert reader.info.frame_rate == pytest.approx(25.0, rel=0.01)
        assert not reader.info.variable_rate


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts", ".avi", ".mov"])
def test_containers(tmp_path, suffix):
    sound = "pcm_s16le" if suffix == ".avi" else "mp2" if suffix == ".ts" else "aac"
    codec = "mpeg4" if suffix == ".avi" else "libx264"
    tick = Fraction(1, 25) if suffix == ".avi" else Fraction(1, 1000)  # AVI counts pictures
    write(tmp_path / f"c{suffix}", even(4), sound=tone(4), codec=codec, sound_codec=sound, tick=tick)
    with VideoReader(tmp_path / f"c{suffix}") as reader:
        offset = reader.picture_span[0]  # transport streams and coders begin a little apart
        assert offset < 0.1
        assert seen(reader, [offset + t + 0.02 for t in (3.0, 0.0, 1.6, 2.2)]) == [75, 0, 40, 55]
        assert reader.info.duration_s == pytest.approx(4.0, abs=0.15)
        assert np.isfinite(heard(reader, 0.5, 3.5)).mean() > 0.98


@pytest.mark.parametrize("start_s", [5.0, 1.3])
def test_streams_that_do_not_start_at_zero(tmp_path, start_s):
    times = [start_s + t for t in even(3)]
    path = write(tmp_path / "late.mkv", times, sound=tone(3), sound_start_s=start_s)
    with VideoReader(path) as reader:
        assert reader.picture_span[0] == pytest.approx(0.0, abs=0.08)
        assert reader.info.duration_s == pytest.approx(3.0, abs=0.15)
        offset = reader.picture_span[0]
        assert seen(reader, [offset + 0.02, offset + 2.02]) == [0, 50]


def test_sound_that_starts_late_and_ends_early(tmp_path):
    path = write(tmp_path / "late.mkv", even(6), sound=tone(2), sound_start_s=2.5, sound_codec="pcm_s16le")
    with VideoReader(path) as reader:
        assert reader.info.duration_s == pytest.approx(6.0, abs=0.1)
        assert reader.sound_span == pytest.approx((2.5, 4.5), abs=0.07)
        wave = heard(reader, 0, 6)
        there = np.flatnonzero(np.isfinite(wave)) / RATE_HZ
        assert there[0] == pytest.approx(2.5, abs=0.002)
        assert there[-1] == pytest.approx(4.5, abs=0.002)
        assert list(reader.sound(0.0, 2.4)) == []
        assert list(reader.sound(4.6, 6.0)) == []


def test_pictures_that_start_after_the_sound(tmp_path):
    path = write(tmp_path / "late.mkv", [1.5 + t for t in even(2)], sound=tone(3), sound_codec="pcm_s16le")
    with VideoReader(path) as reader:
        assert reader.picture_span == pytest.approx((1.5, 3.5), abs=0.05)
        assert seen(reader, [1.0, 1.52, 3.3]) == [None, 0, 45]


def test_click_and_flash_are_at_one_time(tmp_path):
    clicks = np.zeros(6 * RATE_HZ, np.float32)
    clicks[2 * RATE_HZ : 2 * RATE_HZ + 160] = 0.9
    flash = [np.full((64, 96, 3), 255 if n == 50 else 10, np.uint8) for n in range(150)]
    for name in ("c.mp4", "c.mkv", "c.ts"):
        codec = "mp2" if name.endswith("ts") else "aac"
        path = write(tmp_path / name, even(6), draw=flash.__getitem__, sound=clicks, sound_codec=codec)
        with VideoReader(path) as reader:
            bright = [
                f.time_s
                for _, f in reader.frames_at([n / 50 for n in range(290)])
                if f is not None and f.image.mean() > 128
            ]
            wave = np.nan_to_num(heard(reader, 0, 6))
            click = np.flatnonzero(np.abs(wave) > 0.3)[0] / RATE_HZ
            part = np.nan_to_num(heard(reader, 1.5, 2.5))  # the same by a seek
            assert abs(click - min(bright)) < 0.02, name
            assert abs(1.5 + np.flatnonzero(np.abs(part) > 0.3)[0] / RATE_HZ - min(bright)) < 0.02, name


def test_sound_pieces_are_exact(tmp_path):
    wave = np.random.default_rng(0).uniform(-0.5, 0.5, 7 * RATE_HZ).astype(np.float32)
    path = write(tmp_path / "w.mkv", sound=wave, sound_codec="pcm_s16le")
    with VideoReader(path) as reader:
        np.testing.assert_allclose(heard(reader, 0, 7)[:-1], wave, atol=1e-3)
        got = heard(reader, 3.25, 4.225)[:-1]
        shift = (
            np.argmin([np.abs(got - wave[52_000 + d : 52_000 + d + got.size]).max() for d in range(-20, 21)])
            - 20
        )
        assert abs(shift) <= 16  # Matroska rounds its times to a millisecond
        np.testing.assert_allclose(got, wave[52_000 + shift : 52_000 + shift + got.size], atol=1e-3)
        assert max(p.samples.size for p in reader.sound(0, 7)) < 2 * RATE_HZ  # in pieces
        half = np.concatenate([p.samples for p in reader.sound(0, 7, rate_hz=8_000)])
        assert half.size == pytest.approx(7 * 8_000, abs=2)
        with pytest.raises(ArgumentError, match="rate_hz"):
            reader.sound(0, 1, rate_hz=0)


def test_no_sound_and_no_picture(tmp_path):
    with VideoReader(write(tmp_path / "mute.mp4", even(1))) as reader:
        assert not reader.info.has_audio
        assert list(reader.sound(0, 1)) == []
        assert reader.sound_span is None
    with VideoReader(write(tmp_path / "blind.m4a", sound=tone(2))) as reader:
        assert not reader.info.has_video
        assert seen(reader, [0.5]) == [None]
        assert reader.picture_span is None
        with pytest.raises(MediaError) as caught:
            reader.keyframes_near([1.0])[0]
        assert caught.value.kind == "no_video"


@pytest.mark.parametrize("clockwise", [0, 90, 180, 270])
def test_rotation_gives_upright_pictures(tmp_path, clockwise):
    path = turned(write(tmp_path / "r.mp4", even(1)), clockwise)
    with VideoReader(path) as reader:
        assert reader.info.rotation == clockwise
        sides = (96, 64) if clockwise % 180 == 0 else (64, 96)
        assert (reader.info.width, reader.info.height) == sides
        ((_, frame),) = reader.frames_at([0.5])
        back = np.rot90(frame.image, clockwise // 90)  # counter-clockwise: undoes the turn
        assert read_number(back) == 12


@pytest.mark.parametrize(("width", "height"), [(97, 65), (33, 31), (1, 1), (3, 200)])
def test_odd_sizes(tmp_path, width, height):
    image = np.full((height, width, 3), 77, np.uint8)
    path = write(tmp_path / "odd.mkv", even(0.4), draw=lambda _: image, codec="ffv1", pixels="yuv444p")
    with VideoReader(path) as reader:
        ((_, frame),) = reader.frames_at([0.2])
        assert frame.image.shape == (height, width, 3)
        assert np.abs(frame.image.astype(int) - 77).max() <= 3


def test_pixel_shape_is_applied(tmp_path):
    path = write(tmp_path / "wide.mp4", even(1), aspect=Fraction(2, 1))
    with VideoReader(path) as reader:
        assert (reader.info.width, reader.info.height) == (192, 64)
        assert seen(reader, [0.5]) == [12]


def test_one_picture(tmp_path):
    with VideoReader(write(tmp_path / "one.mp4", [0.0], last_s=2.0)) as reader:
        assert seen(reader, [0.0, 0.02]) == [0, 0]
        assert reader.info.duration_s > 0


def test_lost_pictures_are_none_and_named(tmp_path):
    path = spoil(write(tmp_path / "hole.mp4", even(9), sound=tone(9)), 3.0, 6.0)
    with VideoReader(path) as reader:
        times = [0.5, 1.5, 2.5, 3.5, 4.5, 5.5, 6.5, 7.5, 8.5]
        assert seen(reader, times) == [12, 37, 62, None, None, None, 162, 187, 212]
        (reason,) = reader.reasons
        assert reason.kind == "damaged"
        assert reason.start_s == pytest.approx(3.0, abs=0.15)
        assert reason.end_s == pytest.approx(6.0, abs=0.15)


def test_a_file_without_a_duration(tmp_path):
    whole = write(tmp_path / "a.mp4", even(5), sound=tone(5))
    streamed = tmp_path / "b.mkv"
    with open(streamed, "wb") as raw:
        pipe = type(
            "Pipe", (), {"write": raw.write, "name": "pipe"}
        )()  # no seek: the header stays without it
        with av.open(str(whole)) as source, av.open(pipe, "w", format="matroska") as target:
            streams = {s.index: target.add_stream_from_template(s) for s in source.streams}
            for packet in source.demux():
                if packet.dts is not None:
                    packet.stream = streams[packet.stream_index]
                    target.mux(packet)
    with VideoReader(streamed) as reader:
        assert reader.info.duration_s == pytest.approx(5.0, abs=0.15)
        offset = reader.picture_span[0]
        assert offset < 0.1
        assert seen(reader, [offset + 4.5, offset + 0.5]) == [112, 12]


def test_audio_track_out_of_range(plain):
    with pytest.raises(ArgumentError, match="audio_track=3"):
        VideoReader(plain, audio_track=3)


def test_time_limit_stops_between_packets(plain):
    with pytest.raises(MediaError) as caught:
        VideoReader(plain, limits=Limits(max_decode_s=1e-9))
    assert caught.value.kind == "timeout"
    assert "max_decode_s" in caught.value.hint


def test_decode_seconds_are_counted(plain):
    with VideoReader(plain) as reader:
        opened = reader.decode_s
        assert opened > 0
        list(reader.frames_at([1.0, 5.0]))
        list(reader.sound(0, 8))
        assert reader.decode_s > opened


def test_close_lets_go_of_threads_and_files(plain):
    def open_things() -> tuple[int, int]:
        return len(os.listdir("/proc/self/task")), len(os.listdir("/proc/self/fd"))

    if not Path("/proc/self/task").exists():
        pytest.skip("this system does not list threads under /proc")
    gc.collect()  # what earlier tests left behind
    before = open_things()
    for _ in range(20):
        with VideoReader(plain, threads=4) as reader:
            list(reader.frames_at([3.0]))
            next(reader.sound(0, 1))
        reader.close()
    after = open_things()
    assert after[0] <= before[0]
    assert after[1] <= before[1]


def test_numbers_survive_the_round_trip():
    assert [read_number(numbered(n)) for n in (0, 1, 77, 4095)] == [0, 1, 77, 4095]


def test_an_error_with_the_pictures_is_told_whatever_becomes_of_the_sound(tmp_path, monkeypatch):
    """The file is opened for its sound meanwhile; that is let go, and an error of its own is not told."""
    path, opened = write(tmp_path / "a.mp4", even(1), sound=tone(1)), []

    def broken(*_, **__):
        raise RuntimeError("pictures")

    def again(*given, **how):
        opened.append(source.opening_again(*given, **how)())
        return (lambda: opened[-1]) if len(opened) == 1 else broken

    monkeypatch.setattr(reader, "PictureTrack", broken)
    monkeypatch.setattr(reader, "opening_again", again)
    for _ in range(2):
        with pytest.raises(RuntimeError, match="pictures"):
            VideoReader(path)
    with pytest.raises(Exception, match=r".*"):
        next(opened[0].demux())  # closed
    opened[1].close()
