"""Pictures as the planes that ``write_mp4`` takes: half the bytes of RGB, and nothing left to convert."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
from numpy.typing import NDArray

from avglance.errors import ShapeError


def to_planes(image: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """The picture's middle, scaled to fill ``width`` x ``height``, as yuv420p planes.

    Args:
        image: RGB, uint8 (H, W, 3).
        width: even.
        height: even.

    Returns:
        uint8 (height * 3 / 2, width), planes stacked as PyAV stacks them (limited range, BT.601).

    Raises:
        ShapeError: a side is odd or below 2, or the picture is not RGB.
    """
    if width % 2 or height % 2 or width < 2 or height < 2:
        raise ShapeError(f"{width}x{height}: both sides must be even, from 2 up", where="to_planes")
    if image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise ShapeError(f"a picture must be (H, W, 3), got {image.shape}", where="to_planes")
    middle = _cropped(image, Fraction(width, height))
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(middle), format="rgb24")
    shrinks = width * height < middle.shape[0] * middle.shape[1]
    how = "AREA" if shrinks else "BICUBIC"
    planes = frame.reformat(width, height, "yuv420p", interpolation=how, threads=1).to_ndarray()
    return np.asarray(planes, np.uint8)


def _cropped(image: NDArray[np.uint8], shape: Fraction) -> NDArray[np.uint8]:
    """The largest middle part that is ``shape`` times as wide as high."""
    high, wide = image.shape[:2]
    if wide > high * shape:
        keep = max(1, round(high * shape))
        first = (wide - keep) // 2
        return image[:, first : first + keep]
    keep = max(1, round(wide / shape))
    first = (high - keep) // 2
    return image[first : first + keep]
