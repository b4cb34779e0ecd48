"""From a decoded frame to an upright RGB picture with square pixels."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from av.sidedata.sidedata import SideDataContainer
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray
from PIL import Image

_MAX_ASPECT = 8.0  # a pixel shape beyond this is a broken header, not a picture


class Turn(NamedTuple):
    """A symmetry of the square: quarter turns counter-clockwise, then a mirror from left to right."""

    quarters: int = 0
    mirrored: bool = False

    @property
    def clockwise(self) -> int:
        """Degrees clockwise that make the stored picture upright: 0, 90, 180 or 270."""
        return (-self.quarters % 4) * 90


def turn_of(frame: Any) -> Turn:
    """The turn that a frame's display matrix asks for; a matrix that is no quarter turn is ignored.

    The matrix maps (x, y) to (a x + c y, b x + d y), y down; its nine 32-bit numbers are a b u c d v x y w.
    """
    try:  # ``frame.side_data`` would tie the frame, and its decoder's threads, into a cycle that only gc ends
        sides = SideDataContainer(frame)  # type: ignore[call-arg]  # the stub leaves the frame out
    except ValueError:  # PyAV has no name for something else that the frame carries, such as EXIF
        quarters = round(frame.rotation / 90)
        return Turn(quarters % 4 if abs(frame.rotation - 90 * quarters) <= 3 else 0)
    raw = next((bytes(one) for one in sides if one.type.name == "DISPLAYMATRIX"), b"")
    if len(raw) != 36:
        return Turn()
    a, b, _, c, d = np.frombuffer(raw, "<i4" if np.little_endian else ">i4")[:5].astype(np.float64)
    size = float(np.hypot(a, b)) or 1.0
    small = np.array([a, b, c, d]) / size
    unit = np.rint(small)
    if np.abs(small - unit).max() > 0.05:
        return Turn()
    a, b, c, d = unit
    mirrored = a * d - b * c < 0
    if mirrored:  # undo the mirror (x -> -x after the turn) to find the turn
        a, c = -a, -c
    quarters = {(1, 0): 0, (0, 1): 3, (-1, 0): 2, (0, -1): 1}.get((int(a), int(b)))
    if quarters is None or (c, d) != (-b, a):
        return Turn()
    return Turn(quarters, bool(mirrored))


def square_size(width: int, height: int, aspect: float | None, max_pixels: int) -> tuple[int, int]:
    """Width and height in square pixels of a picture whose pixels are ``aspect`` times as wide as high.

    The picture only grows, so nothing is lost; an absurd aspect is ignored.

    >>> square_size(720, 576, 64 / 45, 10**7)
    (1024, 576)
    """
    if not aspect or not 1 / _MAX_ASPECT <= aspect <= _MAX_ASPECT or abs(aspect - 1) < 1e-3:
        return width, height
    wide = (round(width * aspect), height) if aspect > 1 else (width, round(height / aspect))
    return wide if wide[0] * wide[1] <= max_pixels else (width, height)


def fit_inside(width: int, height: int, max_side: int | None) -> tuple[int, int]:
    """The size scaled so that its longer side is at most ``max_side``; never larger than it was."""
    if max_side is None or max(width, height) <= max_side:
        return width, height
    scale = max_side / max(width, height)
    return max(1, round(width * scale)), max(1, round(height * scale))


class Colours:
    """What turns decoded frames into RGB; tables are kept from one to the next."""

    def __init__(self) -> None:
        self._scaler, self._converter = VideoReformatter(), VideoReformatter()

    def rgb(self, frame: Any, size: tuple[int, int]) -> NDArray[np.uint8]:
        """The frame as RGB of ``size`` (width, height), uint8 (height, width, 3).

        Smaller pictures are antialiased. Brightness and colours of video are shrunk before they become RGB:
        they are half of its samples. What was not stored like that is shrunk by Pillow: libav would take it
        for video on the way. All work in this thread: to start others takes longer than the picture.
        """
        width, height = size
        name, same = frame.format.name, (frame.width, frame.height) == size
        if same or width * height >= frame.width * frame.height:
            how = None if same else "BICUBIC"
            return self._converted(frame, size, how)
        if not name.startswith("yuv"):
            return shrunk(self._converted(frame, (frame.width, frame.height)), size)
        planes = "yuvj444p" if name.startswith("yuvj") else "yuv444p"
        small = self._scaler.reformat(frame, width, height, planes, interpolation="BILINEAR", threads=1)
        return self._converted(small, size)

    def _converted(self, frame: Any, size: tuple[int, int], how: str | None = None) -> NDArray[np.uint8]:
        made = self._converter.reformat(frame, *size, "rgb24", interpolation=how, threads=1)
        return np.asarray(made.to_ndarray(), dtype=np.uint8)


def shrunk(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """A picture (H, W, 3) of another size (width, height), antialiased."""
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR))


def to_rgb(
    frame: Any, size: tuple[int, int], turn: Turn, *, colours: Colours | None = None
) -> NDArray[np.uint8]:
    """The frame as RGB of ``size`` (width, height before the turn), upright: uint8 (H, W, 3), contiguous.

    ``colours``: what turned the frame before.
    """
    image = (colours or Colours()).rgb(frame, size)
    if turn.quarters:
        image = np.rot90(image, turn.quarters)
    if turn.mirrored:
        image = image[:, ::-1]
    return np.ascontiguousarray(image)
