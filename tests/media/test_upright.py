"""Decoded frames as RGB of another size: video is shrunk before it has colours, and looks the same."""

from __future__ import annotations

import av
import numpy as np
import pytest
from PIL import Image

from avglance.media import VideoArray, VideoReader, write_mp4
from avglance.media.arrays import ArrayReader
from avglance.media.upright import Colours, Turn, to_rgb

SIZE = (96, 64)


def scene(width: int = 320, height: int = 212) -> np.ndarray:
    """Soft colours with a sharp edge and fine stripes, which must not turn into coarse ones."""
    y, x = np.mgrid[:height, :width]
    image = np.stack([x * 200 / width + 20, y * 200 / height + 20, 120 + 60 * np.sin(x / 40)], -1)
    image[height // 4 : height // 2, width // 4 : width // 2] = (210, 60, 60)
    image[height // 2 :, width // 2 :: 2] = 40
    return image.astype(np.uint8)


def by_pillow(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR)).astype(int)


@pytest.mark.parametrize("planes", ["yuv420p", "yuvj420p", "yuv444p", "yuv422p10le", "rgb24", "bgra", "gray"])
def test_a_smaller_picture_is_what_pillow_makes_of_the_whole(planes: str) -> None:
    frame = av.VideoFrame.from_ndarray(scene(), format="rgb24").reformat(format=planes)
    whole = Colours().rgb(frame, (frame.width, frame.height))
    small = Colours().rgb(frame, SIZE)
    assert (small.shape, small.dtype) == ((SIZE[1], SIZE[0], 3), np.uint8)
    off = np.abs(small - by_pillow(whole, SIZE))
    assert off.mean() < 2
    assert np.quantile(off, 0.99) <= 8


def test_tables_that_are_kept_serve_frames_of_other_sizes_and_kinds() -> None:
    colours, frame = Colours(), av.VideoFrame.from_ndarray(scene(), format="rgb24")
    for planes, size in (("yuv420p", SIZE), ("gray", SIZE), ("yuv420p", (32, 32)), ("yuv420p", (640, 424))):
        one = frame.reformat(format=planes)
        np.testing.assert_array_equal(colours.rgb(one, size), Colours().rgb(one, size))


def test_it_is_turned_after_it_was_shrunk() -> None:
    frame = av.VideoFrame.from_ndarray(scene(), format="rgb24").reformat(format="yuv420p")
    small = Colours().rgb(frame, SIZE)
    np.testing.assert_array_equal(to_rgb(frame, SIZE, Turn(1, mirrored=True)), np.rot90(small)[:, ::-1])


def test_files_and_arrays_shrink_alike(tmp_path) -> None:
    image = scene(320, 240)
    path = write_mp4(tmp_path / "a.mp4", [image] * 3, rate=5, crf=8)
    with VideoReader(path) as reader:
        stored = next(frame for _, frame in reader.frames_at([0.1]) if frame).image
        small = next(frame for _, frame in reader.frames_at([0.1], max_side=80) if frame).image
    held = ArrayReader(VideoArray(stored[None], [0.0]))
    same = next(frame for _, frame in held.frames_at([0.0], max_side=80) if frame).image
    assert small.shape == same.shape == (60, 80, 3)
    np.testing.assert_array_equal(same, by_pillow(stored, (80, 60)))
    assert np.abs(small.astype(int) - same).mean() < 2
