"""Pictures: antialiased resize, the source square, and patches of it, all from one matrix of weights.

A resize is two small matrix products, rows then columns, with the triangle filter on half-pixel centres
that Pillow calls BILINEAR and others "bilinear with antialias". Pixels outside the picture have no weight
(rows sum to 1).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from avglance.errors import ArgumentError, ShapeError
from avglance.views.products import product
from avglance.views.view import ViewSettings

_SLACK = 1e-5  # how far beyond [0, 1] a box may lie by rounding, as a fraction of the square
_SAME = 1e-4  # pixels by which a window may miss a whole number: boxes are float32
_BAND = 16  # output rows a product: few enough to skip most of the zeros, enough to be worth a call


def resize_matrix(
    n_in: int, n_out: int, *, start: float = 0.0, extent: float | None = None
) -> NDArray[np.float32]:
    """Weights of every input pixel in every output pixel along one axis.

    Output pixel i is centred at ``start + (i + 1/2) extent / n_out``; its triangle reaches one output pixel
    to either side, never less than one input pixel. A window with ``extent == n_out`` is a pure shift:
    whole-number starts give a slice of the identity, others blend two neighbours.

    Args:
        n_in: pixels along the axis, at least 1.
        n_out: pixels wanted, at least 1.
        start: where the window begins, input pixels.
        extent: how long the window is, input pixels, above 0; None: to the end.

    Returns:
        float32, shape (n_out, n_in); rows sum to 1.

    Raises:
        ArgumentError: a size is below 1 or the window is not inside the axis.
    """
    extent = n_in - start if extent is None else extent
    if n_in < 1 or n_out < 1:
        raise ArgumentError(f"sizes must be at least 1, got {n_in} to {n_out}", where="resize_matrix")
    slack = _SLACK * n_in
    if not (extent > 0 and start >= -slack and start + extent <= n_in + slack):
        raise ArgumentError(
            f"the window from {start} of length {extent} is not inside {n_in} pixels", where="resize_matrix"
        )
    return _weights(n_in, n_out, start, extent).astype(np.float32)


def _weights(n_in: int, n_out: int, start: float, extent: float) -> NDArray[np.float64]:
    scale = extent / n_out
    reach = max(scale, 1.0)
    centres = start + (np.arange(n_out, dtype=np.float64) + 0.5) * scale
    pixels = np.arange(n_in, dtype=np.float64) + 0.5
    weights = np.maximum(0.0, 1.0 - np.abs(pixels - centres[:, None]) / reach)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


@lru_cache(maxsize=32)
def _bands(n_in: int, n_out: int) -> tuple[tuple[slice, slice, NDArray[np.float32]], ...]:
    """The matrix in bands: (output pixels, input pixels with any weight in them, the weights between)."""
    matrix, bands = resize_matrix(n_in, n_out), []
    for first in range(0, n_out, _BAND):
        out = slice(first, min(first + _BAND, n_out))
        used = np.flatnonzero(matrix[out].any(axis=0))
        kept = slice(int(used[0]), int(used[-1]) + 1)
        bands.append((out, kept, np.ascontiguousarray(matrix[out, kept])))
    return tuple(bands)


def resize(images: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Pictures resized to a square, antialiased, rounded to the nearest grey level (halves up).

    Args:
        images: shape (..., 3, H, W).
        side: pixels, at least 1.

    Returns:
        uint8, shape (..., 3, side, side).

    Raises:
        ShapeError: ``images`` is not uint8 (..., 3, H, W).
    """
    if images.dtype != np.uint8 or images.ndim < 3 or images.shape[-3] != 3:
        raise ShapeError(
            f"images must be uint8 (..., 3, H, W), got {images.dtype} {images.shape}", where="resize"
        )
    height, width = images.shape[-2:]
    if (height, width) == (side, side):
        return images.copy()
    flat = images.reshape(-1, height, width)
    out = np.empty((len(flat), side, side), dtype=np.uint8)
    exact, half = np.empty((height, width), np.float32), np.empty((side, width), np.float32)
    small = np.empty((side, side), np.float32)
    for plane, target in zip(flat, out, strict=True):  # a plane at a time stays in the cache
        exact[:] = plane
        for made, used, weights in _bands(height, side):
            product(weights, exact[used], out=half[made])
        for made, used, weights in _bands(width, side):
            product(half[:, used], weights.T, out=small[:, made])
        small += np.float32(0.5)
        target[:] = small  # cut off to whole levels; weights that sum to 1 lead to none outside 0..255
    return out.reshape(*images.shape[:-2], side, side)


@dataclass(frozen=True)
class _Fit:
    """Where the source square lies on a picture (its pixels), and where the picture lies on the square."""

    x0: float
    y0: float
    width: float
    height: float
    left: int
    top: int
    columns: int
    rows: int


def _fit(width: int, height: int, settings: ViewSettings) -> _Fit:
    side = settings.source_side
    if settings.fit == "crop":
        extent = min(width, height) * side / settings.resize_side
        x0, y0 = (width - extent) / 2, (height - extent) / 2
        if extent == side:  # no pixel changes its size: none is to be cut in two
            x0, y0 = float(int(x0)), float(int(y0))
        return _Fit(x0, y0, extent, extent, 0, 0, side, side)
    longest = max(width, height)
    columns, rows = (max(1, round(n * side / longest)) for n in (width, height))
    left, top = (side - columns) // 2, (side - rows) // 2
    per_column, per_row = width / columns, height / rows
    return _Fit(
        -left * per_column, -top * per_row, side * per_column, side * per_row, left, top, columns, rows
    )


def shrinks_to(width: int, height: int, settings: ViewSettings) -> int | None:
    """The longer side to which a picture may be shrunk before its source square is cut from it.

    None: it is smaller than twice the square's scale, and its pixels are used as they are. Larger ones are
    shrunk while their colours are made: half of their pixels need never become RGB.
    """
    longest, shortest = max(width, height), min(width, height)
    if settings.fit == "letterbox":
        return settings.source_side if longest >= 2 * settings.source_side else None
    if shortest < 2 * settings.resize_side:
        return None
    return round(longest * settings.resize_side / shortest)


def source_square(image: NDArray[np.uint8], settings: ViewSettings) -> NDArray[np.uint8]:
    """The source square of a picture.

    "crop": short side to ``resize_side``, centre crop of ``source_side``, in one step (no rounding of the
    long side in between); "letterbox": long side to ``source_side``, centred between black bars. Pillow
    does the work (the weights of ``resize_matrix`` to a grey level): it is the faster of the two on whole
    frames. A picture that has the size already is cut at whole pixels.

    Args:
        image: upright picture with square pixels, shape (H, W, 3).
        settings: sides and fit.

    Returns:
        uint8, shape (3, S, S).

    Raises:
        ShapeError: ``image`` is not uint8 (H, W, 3).
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise ShapeError(
            f"image must be uint8 (H, W, 3), got {image.dtype} {image.shape}", where="source_square"
        )
    height, width = image.shape[:2]
    fit = _fit(width, height, settings)
    x0, y0 = max(0.0, fit.x0), max(0.0, fit.y0)
    x1, y1 = min(float(width), fit.x0 + fit.width), min(float(height), fit.y0 + fit.height)
    if (x1 - x0, y1 - y0) == (fit.columns, fit.rows):
        left, top = round(x0), round(y0)
        small = image[top : top + fit.rows, left : left + fit.columns]
    else:
        pillow = Image.fromarray(np.ascontiguousarray(image))
        size, box = (fit.columns, fit.rows), (x0, y0, x1, y1)
        small = np.asarray(pillow.resize(size, Image.Resampling.BILINEAR, box=box))
    square = np.zeros((3, settings.source_side, settings.source_side), dtype=np.uint8)
    target = square[:, fit.top : fit.top + fit.rows, fit.left : fit.left + fit.columns]
    target[:] = small.transpose(2, 0, 1)
    return square


def square_to_file(
    box: ArrayLike, width: int, height: int, settings: ViewSettings
) -> tuple[int, int, int, int]:
    """A box of the source square in whole pixels of the file's own upright picture, clipped to it.

    Args:
        box: (x0, y0, x1, y1), fractions of the source square.
        width: W of the picture in pixels.
        height: H of the picture in pixels.
        settings: sides and fit that made the square.

    Returns:
        (x0, y0, x1, y1), half-open, at least one pixel each way.

    Raises:
        ArgumentError: ``box`` is not four finite numbers with x0 < x1 and y0 < y1.
    """
    x0, y0, x1, y1 = _check_boxes(np.asarray(box, dtype=np.float64)[None], inside=False)[0]
    fit = _fit(width, height, settings)

    def ends(low: float, high: float, origin: float, extent: float, size: int) -> tuple[int, int]:
        first = min(max(round(origin + low * extent), 0), size - 1)
        return first, min(max(round(origin + high * extent), first + 1), size)

    left, right = ends(x0, x1, fit.x0, fit.width, width)
    top, bottom = ends(y0, y1, fit.y0, fit.height, height)
    return left, top, right, bottom


def file_to_square(points: ArrayLike, width: int, height: int, settings: ViewSettings) -> NDArray[np.float64]:
    """Points (..., 2) as (x, y) in pixels of the file's picture, as fractions of the source square.

    The inverse of ``square_to_file`` up to rounding; points outside the square get fractions outside [0, 1].
    """
    fit = _fit(width, height, settings)
    at = np.asarray(points, dtype=np.float64)
    placed = (at - np.array([fit.x0, fit.y0])) / np.array([fit.width, fit.height])
    return np.asarray(placed, dtype=np.float64)


def _check_boxes(boxes: NDArray[np.float64], *, inside: bool = True) -> NDArray[np.float64]:
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ShapeError(f"boxes must be (n, 4), got {boxes.shape}", where="boxes")
    good = np.isfinite(boxes).all() and (boxes[:, :2] < boxes[:, 2:]).all()
    if not good or (inside and (boxes.min(initial=0.0) < -_SLACK or boxes.max(initial=1.0) > 1 + _SLACK)):
        raise ArgumentError(
            "a box is not (x0, y0, x1, y1) with x0 < x1 and y0 < y1" + (" inside [0, 1]" if inside else ""),
            where="boxes",
            hint="boxes are fractions of the source square",
        )
    return boxes


def crop_patches(squares: NDArray[np.uint8], boxes: ArrayLike, patch_side: int) -> NDArray[np.float32]:
    """Patches of source squares, bilinear.

    A box exactly P pixels wide is a pure (sub-pixel) shift, so whole-number corners reproduce the slice; a
    box of another size is resized with antialiasing.

    Args:
        squares: shape (n, 3, S, S).
        boxes: (x0, y0, x1, y1) as fractions of the square, shape (n, 4).
        patch_side: P in pixels.

    Returns:
        float32 in 0..255, not rounded, shape (n, 3, P, P).

    Raises:
        ShapeError: the shapes do not fit.
        ArgumentError: a box is empty, not finite or outside the square.
    """
    corners = np.asarray(boxes, dtype=np.float64)
    corners = _check_boxes(corners if corners.size else corners.reshape(0, 4))
    if squares.dtype != np.uint8 or squares.ndim != 4 or squares.shape[:2] != (len(corners), 3):
        raise ShapeError(
            f"squares must be uint8 ({len(corners)}, 3, S, S), got {squares.dtype} {squares.shape}",
            where="crop_patches",
        )
    height, width = squares.shape[2:]
    out = np.empty((len(squares), 3, patch_side, patch_side), dtype=np.float32)
    for square, (x0, y0, x1, y1), patch in zip(squares, corners, out, strict=True):
        down, across = _shift(height, patch_side, y0, y1), _shift(width, patch_side, x0, x1)
        if down is not None and across is not None:
            _shifted(square, down, across, out=patch)
            continue
        rows, used_rows = _window(height, patch_side, y0, y1)
        columns, used_columns = _window(width, patch_side, x0, x1)
        window = square[:, used_rows, used_columns].astype(np.float32)
        for plane, target in zip(window, patch, strict=True):
            product(product(rows, plane), columns.T, out=target)
    return out


def _shift(n_in: int, n_out: int, low: float, high: float) -> tuple[int, float] | None:
    """Where a window begins that changes no pixel's size: a whole pixel and a part of one; None: it does."""
    start, extent = low * n_in, (high - low) * n_in
    if abs(extent - n_out) > _SAME:
        return None
    start = min(max(start, 0.0), float(n_in - n_out))
    whole = min(int(start), n_in - n_out)
    return whole, start - whole


def _shifted(
    square: NDArray[np.uint8], down: tuple[int, float], across: tuple[int, float], *, out: NDArray[np.float32]
) -> None:
    """A window of a picture of the size of ``out``: each pixel is a blend of two, each way."""
    (top, y), (left, x) = down, across
    height, width = out.shape[1:]
    window = square[:, top : top + height + (y > 0), left : left + width + (x > 0)].astype(np.float32)
    if y > 0:
        window = window[:, :-1] * np.float32(1 - y) + window[:, 1:] * np.float32(y)
    if x > 0:
        window = window[:, :, :-1] * np.float32(1 - x) + window[:, :, 1:] * np.float32(x)
    out[:] = window


def _window(n_in: int, n_out: int, low: float, high: float) -> tuple[NDArray[np.float32], slice]:
    """The weights of a window given in fractions, cut to the pixels that have any, and those pixels."""
    weights = resize_matrix(n_in, n_out, start=low * n_in, extent=(high - low) * n_in)
    used = np.flatnonzero(weights.any(axis=0))
    kept = slice(int(used[0]), int(used[-1]) + 1)
    return np.ascontiguousarray(weights[:, kept]), kept
