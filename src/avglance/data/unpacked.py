"""The pictures of a cache's entry unpacked: raw pixels in a file beside it, read at the speed of memory.

They are what the entry's JPEGs decode to, so nothing that is learned from them changes; they take some
twenty times the room. A file is written under another name and renamed when it is whole.
"""

from __future__ import annotations

import io
import os
import secrets
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from safetensors import safe_open


def unpacked_path(entry: Path) -> Path:
    """Where the pixels of an entry lie."""
    return entry.with_suffix(".pixels")


def is_unpacked(entry: Path, shape: tuple[int, ...]) -> bool:
    """Whether the pixels of an entry are there, in the ``shape`` that is wanted."""
    try:
        return unpacked_path(entry).stat().st_size == int(np.prod(shape))
    except OSError:  # not there, or taken away by a build that makes the entry anew
        return False


def unpack(entry: Path, shape: tuple[int, ...]) -> None:
    """Writes the pixels of an entry: uint8 of ``shape`` (T, candidates, 3, S, S), zeros where none is."""
    with safe_open(entry, framework="numpy") as held:
        jpegs, ends = held.get_tensor("jpegs"), held.get_tensor("ends").ravel().tolist()
    path = unpacked_path(entry)
    part = path.with_name(f"{path.name}.{secrets.token_hex(8)}.part")
    try:
        with part.open("wb") as file:
            for low, high in zip([0, *ends[:-1]], ends, strict=True):
                file.write(picture(jpegs[low:high].tobytes(), shape[2:]).tobytes())
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def unpacked(entry: Path, shape: tuple[int, ...]) -> NDArray[np.uint8] | None:
    """The pixels of an entry, read as they are indexed; None: they are not there."""
    if not is_unpacked(entry, shape):
        return None
    try:
        return np.memmap(unpacked_path(entry), dtype=np.uint8, mode="r", shape=shape)
    except FileNotFoundError:  # taken away since
        return None


def picture(jpeg: bytes, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """A picture (3, S, S) from its JPEG, zeros from none."""
    if not jpeg:
        return np.zeros(shape, np.uint8)
    return np.ascontiguousarray(np.asarray(Image.open(io.BytesIO(jpeg))).transpose(2, 0, 1))


def shift(planes: NDArray[np.uint8], dy: int, dx: int, out: NDArray[Any]) -> None:
    """Writes a picture (3, H, W) moved down by ``dy`` and right by ``dx`` pixels, its edges repeated."""
    height, width = planes.shape[1:]
    dy, dx = max(1 - height, min(dy, height - 1)), max(1 - width, min(dx, width - 1))
    top, left = max(dy, 0), max(dx, 0)
    bottom, right = height + min(dy, 0), width + min(dx, 0)
    out[:, top:bottom, left:right] = planes[:, top - dy : bottom - dy, left - dx : right - dx]
    out[:, top:bottom, :left] = out[:, top:bottom, left : left + 1]
    out[:, top:bottom, right:] = out[:, top:bottom, right - 1 : right]
    out[:, :top] = out[:, top : top + 1]
    out[:, bottom:] = out[:, bottom - 1 : bottom]
