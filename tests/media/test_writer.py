"""What write_mp4 writes is what comes out again."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest

from avglance.errors import ArgumentError, ShapeError
from avglance.media import VideoReader
from avglance.media.writer import write_mp4


def steps(count, *, height=48, width=64):
    """Pictures whose grey level is their number times ten."""
    return [np.full((height, width, 3), 10 * n % 256, np.uint8) for n in range(count)]


def pictures(path):
    with av.open(str(path)) as box:
        return [(frame.time, frame.to_ndarray(format="rgb24")) for frame in box.decode(video=0)]


def samples(path):
    with av.open(str(path)) as box:
        return np.concatenate([frame.to_ndarray()[0] for frame in box.decode(audio=0)])


def keyframe_times(path):
    with av.open(str(path)) as box:
        stream = box.streams.video[0]
        packets = [packet for packet in box.demux(stream) if packet.is_keyframe]
        return [round(float(packet.pts * stream.time_base), 3) for packet in packets]


def test_pictures_come_back_in_order_at_their_times(tmp_path):
    path = write_mp4(tmp_path / "a.mp4", steps(20), rate=10)
    seen = pictures(path)
    assert [round(time, 3) for time, _ in seen] == [round(n / 10, 3) for n in range(20)]
    for number, (_, image) in enumerate(seen):
        assert image.shape == (48, 64, 3)
        assert abs(image.mean() - 10 * number) < 4


def test_colour_and_place_survive(tmp_path):
    image = np.zeros((64, 96, 3), np.uint8)
    image[16:48, 64:] = (200, 40, 30)
    (_, back), *_ = pictures(write_mp4(tmp_path / "a.mp4", [image] * 3, rate=5, crf=10))
    assert np.abs(back[24:40, 72:88].mean((0, 1)) - (200, 40, 30)).max() < 8
    assert back[:, :48].mean() < 6


def test_planes_are_taken_as_they_are(tmp_path):
    planes = np.full((72, 64), 128, np.uint8)
    planes[:48] = 90
    planes[:48, 32:] = 160
    path = write_mp4(tmp_path / "a.mp4", [planes] * 4, rate=5, pixels="yuv420p")
    with av.open(str(path)) as box:
        back = next(box.decode(video=0)).to_ndarray()
    assert back.shape == (72, 64)
    assert abs(int(back[20, 8]) - 90) <= 2
    assert abs(int(back[20, 56]) - 160) <= 2


def test_sound_comes_back_aligned_to_the_sample(tmp_path):
    click = np.zeros(32_000, np.float32)
    click[16_000:16_400] = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(400) / 16_000)
    back = samples(write_mp4(tmp_path / "a.mp4", steps(20), rate=10, sound=click))
    match = np.correlate(back[: 32_000 + 64], click[15_900:16_500], "valid")
    assert abs(int(match.argmax()) - 15_900) <= 2
    assert np.abs(back[:14_000]).max() < 0.02


def test_sound_keeps_its_level_and_is_clipped_not_wrapped(tmp_path):
    tone = 0.25 * np.sin(2 * np.pi * 440 * np.arange(48_000) / 16_000).astype(np.float32)
    back = samples(write_mp4(tmp_path / "a.mp4", steps(30), rate=10, sound=tone))
    assert back.size >= 48_000
    assert np.sqrt(np.mean(back[4000:44_000] ** 2)) == pytest.approx(0.25 / np.sqrt(2), rel=0.02)
    loud = samples(write_mp4(tmp_path / "b.mp4", steps(30), rate=10, sound=(tone * 20)))
    assert np.abs(loud).max() < 1.3


def test_no_sound_means_no_track(tmp_path):
    with av.open(str(write_mp4(tmp_path / "a.mp4", steps(3), rate=10))) as box:
        assert len(box.streams.audio) == 0
        assert len(box.streams.video) == 1


def test_keyframes_stand_on_the_grid_and_nowhere_else(tmp_path):
    cuts = [np.full((48, 64, 3), 250 if n // 7 % 2 else 5, np.uint8) for n in range(50)]
    path = write_mp4(tmp_path / "a.mp4", cuts, rate=10, keyframe_every_s=2.0)
    assert keyframe_times(path) == [0.0, 2.0, 4.0]
    free = write_mp4(tmp_path / "b.mp4", cuts, rate=10, keyframe_every_s=2.0, scene_cuts=True)
    assert set(keyframe_times(free)) - {0.0, 2.0, 4.0}


def test_both_tracks_are_interleaved(tmp_path):
    path = write_mp4(tmp_path / "a.mp4", steps(100), rate=10, sound=np.zeros(160_000, np.float32))
    with av.open(str(path)) as box:
        kinds = [packet.stream.type for packet in box.demux() if packet.size]
    assert "audio" in kinds[:20]
    assert "video" in kinds[-200:]


TWICE = """import sys
from pathlib import Path
import numpy as np
from avglance.media.writer import write_mp4
tone = np.sin(np.arange(16_000, dtype=np.float32) / 9)
steps = [np.full((48, 64, 3), 10 * n, np.uint8) for n in range(10)]
for name in "ab":
    write_mp4(Path(sys.argv[1]) / f"{name}.mp4", steps, rate=10, sound=tone, threads=1)
"""


def test_the_same_call_writes_the_same_bytes(tmp_path):
    """In processes of their own, as worlds are made: after thousands of other tests x264 spends a bit more or
    less on the same picture."""
    for folder in ("first", "second"):
        (tmp_path / folder).mkdir()
        subprocess.run([sys.executable, "-c", TWICE, str(tmp_path / folder)], check=True)
    found = [file.read_bytes() for file in sorted(tmp_path.rglob("*.mp4"))]
    assert len(found) == 4
    assert len(set(found)) == 1


def test_a_fractional_rate_is_kept(tmp_path):
    times = [time for time, _ in pictures(write_mp4(tmp_path / "a.mp4", steps(6), rate=30_000 / 1001))]
    assert np.diff(times) == pytest.approx(1001 / 30_000, abs=1e-4)


def test_nothing_is_left_behind_when_a_picture_is_wrong(tmp_path):
    path = tmp_path / "a.mp4"
    path.write_bytes(b"before")
    with pytest.raises(ShapeError, match="picture 2"):
        write_mp4(path, [*steps(2), np.zeros((10, 10, 3), np.uint8)], rate=10)
    assert path.read_bytes() == b"before"
    assert [p.name for p in tmp_path.iterdir()] == ["a.mp4"]


def test_an_error_of_the_source_of_pictures_comes_through(tmp_path):
    def broken():
        yield from steps(3)
        raise RuntimeError("camera gone")

    with pytest.raises(RuntimeError, match="camera gone"):
        write_mp4(tmp_path / "a.mp4", broken(), rate=10)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "bad",
    [
        {"rate": 0},
        {"rate": float("nan")},
        {"crf": 52},
        {"crf": -1},
        {"bitrate": 10},
        {"keyframe_every_s": 0},
        {"sound_rate_hz": 0},
        {"pixels": "bgr"},
        {"preset": "warp"},
    ],
)
def test_a_bad_number_is_named_before_a_file_is_begun(tmp_path, bad):
    with pytest.raises(ArgumentError, match=next(iter(bad))):
        write_mp4(tmp_path / "a.mp4", steps(2), **{"rate": 10, **bad})
    assert not list(tmp_path.iterdir())


def test_no_picture_is_an_error(tmp_path):
    with pytest.raises(ArgumentError, match="no picture"):
        write_mp4(tmp_path / "a.mp4", [], rate=10)


@pytest.mark.parametrize(
    "picture",
    [np.zeros((48, 63, 3), np.uint8), np.zeros((47, 64, 3), np.uint8), np.zeros((48, 64), np.uint8),
     np.zeros((48, 64, 4), np.uint8), np.zeros((48, 64, 3), np.float32)],
)  # fmt: skip
def test_a_picture_of_another_form_is_an_error(tmp_path, picture):
    with pytest.raises(ShapeError):
        write_mp4(tmp_path / "a.mp4", [picture], rate=10)


@pytest.mark.parametrize("sound", [np.zeros((2, 100), np.float32), np.zeros(100, np.int16)])
def test_sound_of_another_form_is_an_error(tmp_path, sound):
    with pytest.raises(ShapeError, match="sound"):
        write_mp4(tmp_path / "a.mp4", steps(2), rate=10, sound=sound)


def test_the_path_comes_back(tmp_path):
    assert write_mp4(str(tmp_path / "über 🎬.mp4"), steps(2), rate=10) == Path(tmp_path / "über 🎬.mp4")


def test_a_constant_bit_rate_is_kept_whatever_the_pictures_are(tmp_path):
    rng = np.random.default_rng(0)
    still = [np.full((48, 64, 3), 90, np.uint8)] * 60
    busy = [rng.integers(0, 255, (48, 64, 3), np.uint8) for _ in range(60)]
    sizes = []
    for n, pictures in enumerate((still, busy, still[:30] + busy[:30])):
        path = write_mp4(tmp_path / f"{n}.mp4", pictures, rate=10, bitrate=100_000, threads=1)
        sizes.append(path.stat().st_size)
        with VideoReader(path) as reader:
            assert reader.info.duration_s == pytest.approx(6.0)
            assert not reader.reasons
    assert np.ptp(sizes) < 0.1 * min(sizes)
    assert sizes[0] == pytest.approx(6 * 100_000 / 8, rel=0.1)
