"""What is known about a video's event, on the snippet grid: which snippets meet it, where its object is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from avglance.errors import ArgumentError, ShapeError


def event_snippets(times: ArrayLike, span: tuple[float, float]) -> NDArray[np.bool_]:
    """Which snippets have their picture time in the span (half-open), shape (T,).

    Args:
        times: picture times of the snippets in seconds, shape (T,).
        span: start and end of the event in seconds.

    Raises:
        ArgumentError: the span ends before it starts.
    """
    start_s, end_s = span
    if end_s < start_s:
        raise ArgumentError(f"the event ends at {end_s} s, before it starts at {start_s} s")
    at = np.asarray(times, dtype=np.float64)
    return (at >= start_s) & (at < end_s)


def object_centres(times: ArrayLike, boxes: Sequence[Sequence[float]]) -> NDArray[np.float64]:
    """Centre (x, y) of the event's object at each time, in pixels of the file's picture, shape (T, 2).

    Between two sampled boxes the centre moves on a straight line; before the first and after the last it
    stays there. NaN everywhere where no box is known.

    Args:
        times: seconds, shape (T,).
        boxes: rows (time_s, x0, y0, x1, y1), in order of time.

    Raises:
        ShapeError: a row has not five values.
    """
    at = np.asarray(times, dtype=np.float64)
    if not len(boxes):
        return np.full((*at.shape, 2), np.nan)
    table = np.asarray(boxes, dtype=np.float64)
    if table.ndim != 2 or table.shape[1] != 5:
        raise ShapeError(f"boxes must be rows (time_s, x0, y0, x1, y1), got {table.shape}")
    x, y = (table[:, 1] + table[:, 3]) / 2, (table[:, 2] + table[:, 4]) / 2
    return np.stack([np.interp(at, table[:, 0], x), np.interp(at, table[:, 0], y)], axis=-1)


def uniform_snippets(snippets: int, k: int) -> NDArray[np.int64]:
    """The ``k`` snippets of ``snippets`` at the centres of k equal stretches, int64 (K,).

    Raises:
        ArgumentError: ``k`` is outside [1, snippets].

    >>> uniform_snippets(16, 4)
    array([ 2,  6, 10, 14])
    """
    if not 1 <= k <= snippets:
        raise ArgumentError(f"k={k} is outside [1, {snippets}]", where="uniform_snippets")
    return ((2 * np.arange(k) + 1) * snippets // (2 * k)).astype(np.int64)
