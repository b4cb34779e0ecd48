"""Two decodings of one file, picture by picture and piece by piece: where do they differ?"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

Digest = tuple[float, float, int | None]  # start, end, checksum; None where there is nothing whole

_SAME_S = 1e-4  # starts closer than this are the same one
_JOIN_S = 0.5  # differences closer than this are one stretch


def picture_crc(frame: Any) -> int:
    """CRC-32 of a decoded frame (``av.VideoFrame``): its planes, without what pads their rows."""
    planes = list(frame.planes)
    if any(plane.line_size < 0 for plane in planes):  # upside down in memory
        frame = frame.reformat(format="rgb24", threads=1)
        planes = list(frame.planes)
    crc = zlib.crc32(f"{frame.format.name} {frame.width}x{frame.height}".encode())
    for index, plane in enumerate(planes):
        octets = np.frombuffer(plane, dtype=np.uint8)
        row = _row_bytes(frame.format, index, plane, single=len(planes) == 1)
        if 0 < row < plane.line_size:
            octets = np.ascontiguousarray(octets.reshape(plane.height, plane.line_size)[:, :row])
        crc = zlib.crc32(octets.data, crc)
    return crc


def _row_bytes(pixels: Any, index: int, plane: Any, *, single: bool) -> int:
    """How many bytes of a row are picture; 0: all there are (a palette)."""
    if single:
        return (int(plane.width) * int(pixels.padded_bits_per_pixel) + 7) // 8
    return sum(int(c.width) * ((int(c.bits) + 7) // 8) for c in pixels.components if c.plane == index)


def sound_crc(samples: Any) -> int:
    """CRC-32 of a piece of sound, shape (n,)."""
    return zlib.crc32(np.ascontiguousarray(samples).data)


def differences(left: Iterable[Digest], right: Iterable[Digest]) -> Iterator[tuple[float, float]]:
    """The stretches in which two decodings differ: in a checksum, or because only one has something there.

    Both are read in lockstep, so that nothing but the stretch at hand is kept.
    """
    low = high = float("-inf")
    for start, end, same in _lockstep(iter(left), iter(right)):
        if same:
            continue
        if start > high + _JOIN_S:
            if high > low:
                yield low, high
            low, high = start, end
        high = max(high, end)
    if high > low:
        yield low, high


def _lockstep(left: Iterator[Digest], right: Iterator[Digest]) -> Iterator[tuple[float, float, bool]]:
    """(start, end, same in both) of what either has, in the order of time."""
    mine, its = next(left, None), next(right, None)
    while mine is not None or its is not None:
        if its is None or (mine is not None and mine[0] < its[0] - _SAME_S):
            assert mine is not None  # one of the two is there
            yield mine[0], mine[1], False
            mine = next(left, None)
        elif mine is None or its[0] < mine[0] - _SAME_S:
            yield its[0], its[1], False
            its = next(right, None)
        else:
            yield mine[0], max(mine[1], its[1]), mine[2] == its[2]
            mine, its = next(left, None), next(right, None)
