"""Which of several labels are said of a video: a threshold for each class, by its best F1. Plain numpy.

Letters: N videos, C classes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from avglance.errors import ArgumentError, ShapeError

EVEN = 0.5
"""The threshold where nothing is known of a model's scores: more likely than not."""
LEAST_POSITIVES = 5
"""Videos of a class below which it gets the threshold of all classes together."""


def best_threshold(scores: ArrayLike, truth: ArrayLike) -> float:
    """The threshold at which ``scores >= threshold`` has the highest F1.

    Of equal F1 it is the one that says yes least often. It lies halfway to the next lower score, so that it
    does not hang on the one video that decided; without any positive it is ``EVEN``.

    Args:
        scores: in 0..1, shape (N,).
        truth: 1 where the class is there, shape (N,).

    Raises:
        ShapeError: the arrays are not (N,) both.
        ArgumentError: a score is NaN.

    Source: thresholds by F1 (Lipton et al. 2014).

    >>> best_threshold([0.875, 0.75, 0.25, 0.125], [1, 1, 0, 0])
    0.5
    """
    given, positive = np.asarray(scores, dtype=np.float64), np.asarray(truth) > 0
    if given.ndim != 1 or given.shape != positive.shape:
        raise ShapeError(f"scores and truth must be (N,), got {given.shape} and {positive.shape}")
    if np.isnan(given).any():
        raise ArgumentError("scores hold NaN, which is neither yes nor no", where="best_threshold")
    if not positive.any():
        return EVEN
    order = np.argsort(-given, kind="stable")
    ranked, found = given[order], np.cumsum(positive[order])
    f1 = 2 * found / (np.arange(1, given.size + 1) + found[-1])
    below = np.append(ranked[1:], 0.0)
    cuts = np.append(ranked[1:] < ranked[:-1], True)  # equal scores are said together or not at all
    best = int(np.argmax(np.where(cuts, f1, -1.0)))
    middle = (ranked[best] + below[best]) / 2
    return float(middle if middle > below[best] else ranked[best])


def choose_thresholds(scores: ArrayLike, truth: ArrayLike) -> tuple[float, ...]:
    """``best_threshold`` of each class, (C,); of a class with few videos, that of all answers together.

    Args:
        scores: in 0..1, shape (N, C).
        truth: multi-hot, shape (N, C); a video that shows none of the classes is all 0.
    """
    given, target = _both(scores, truth)
    together = best_threshold(given.ravel(), target.ravel())
    enough = target.sum(axis=0) >= LEAST_POSITIVES
    return tuple(
        best_threshold(given[:, c], target[:, c]) if enough[c] else together for c in range(given.shape[1])
    )


def f1_scores(said: ArrayLike, truth: ArrayLike, *, axis: int | None = None) -> NDArray[np.float64]:
    """F1 of what is said (N, C): of all answers together, or along an axis (1: of each video, 0: each class).

    Nothing said of nothing true is right: 1.

    >>> f1_scores([[1, 1, 0]], [[1, 0, 0]], axis=1).round(3)
    array([0.667])
    """
    yes, target = (array > 0 for array in _both(said, truth))
    both = (yes & target).sum(axis=axis)
    either = yes.sum(axis=axis) + target.sum(axis=axis)
    return np.asarray(np.where(either > 0, 2 * both / np.maximum(either, 1), 1.0))


def certainty(scores: ArrayLike) -> NDArray[np.float64]:
    """How sure the least sure yes or no of each answer (..., C) is: 1/2 .. 1, (...)."""
    given = np.asarray(scores, dtype=np.float64)
    return np.asarray(np.maximum(given, 1 - given).min(axis=-1))


def _both(first: ArrayLike, second: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    one, two = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if one.ndim != 2 or one.shape != two.shape:
        raise ShapeError(f"scores and truth must be (N, C), got {one.shape} and {two.shape}")
    return one, two
