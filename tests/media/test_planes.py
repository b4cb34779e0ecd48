"""Pictures as planes: the middle, filled, with colours kept."""

from __future__ import annotations

import numpy as np
import pytest

from avglance.errors import ShapeError
from avglance.media import VideoReader, write_mp4
from avglance.media.planes import to_planes

COLOURS = [(200, 0, 0), (0, 200, 0), (0, 0, 200), (90, 90, 90)]


def quarters(width: int, height: int) -> np.ndarray:
    """Four coloured quarters in the middle 4:3 of a picture, white beside it."""
    image = np.full((height, width, 3), 255, np.uint8)
    wide = height * 4 // 3
    left, h, w = (width - wide) // 2, height // 2, wide // 2
    middle = image[:, left : left + wide]
    for n, colour in enumerate(COLOURS):
        y, x = divmod(n, 2)
        middle[y * h : (y + 1) * h, x * w : (x + 1) * w] = colour
    return image


@pytest.mark.parametrize("size", [(320, 240), (640, 240), (1280, 480), (160, 120)])
def test_the_middle_fills_the_planes_and_comes_back_from_a_file(tmp_path, size):
    planes = to_planes(quarters(*size), 160, 120)
    assert (planes.shape, planes.dtype) == ((180, 160), np.uint8)
    path = write_mp4(tmp_path / "a.mp4", [planes] * 3, rate=5, pixels="yuv420p", crf=10, threads=1)
    with VideoReader(path) as reader:
        image = next(frame for _, frame in reader.frames_at([0.1])).image
    found = [image[y : y + 30, x : x + 40].mean((0, 1)) for y in (15, 75) for x in (20, 100)]
    assert np.abs(np.array(found) - COLOURS).max() < 8


def test_a_tall_picture_is_cropped_above_and_below():
    tall = np.zeros((400, 100, 3), np.uint8)
    tall[180:220] = 255
    planes = to_planes(tall, 64, 64)
    assert planes[:18].max() < 30
    assert planes[30:34].min() > 220


def test_wrong_shapes_are_named():
    image = np.zeros((48, 64, 3), np.uint8)
    for side in (0, 63):
        with pytest.raises(ShapeError, match="even"):
            to_planes(image, side, 48)
    with pytest.raises(ShapeError, match=r"\(48, 64\)"):
        to_planes(image[..., 0], 64, 48)
    with pytest.raises(ShapeError, match=r"\(0, 64, 3\)"):
        to_planes(image[:0], 64, 48)
    assert to_planes(image[:1, :1], 64, 48).shape == (72, 64)  # one pixel
