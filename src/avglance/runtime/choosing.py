"""The arithmetic between graphs: what was decided, and the choices that no graph makes. Plain numpy.

Twins of the functions of the same names in ``systems.base``, ``systems.labels``, ``parts.saliency``
and ``parts.crop``; held together by tests. Letters: B videos, T snippets, K looks, C classes, D width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avglance.types import Labels

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]
Order = NDArray[np.int64]


@dataclass
class Decision:
    """What was found in B videos.

    Args:
        scores: probabilities, shape (B, C).
        saliency: logits, shape (B, T); softmax over T gives the weight of each snippet.
        looked: which snippets were looked at closely, bool (B, T).
        order: snippets in the order of the looks, int64 (B, K).
        boxes: xyxy fractions of the source square, shape (B, T, 4); NaN where not looked.
        evidence: mean probability of the heads that ran at the snippet, shape (B, T, C); 0 where none ran.
        prefix: scores after each look of the order, shape (B, K, C); None where a system answers once.
        known: how known the answer after each look is, shape (B, K); None where the system cannot say.
    """

    scores: NDArray[Any]
    saliency: NDArray[Any]
    looked: Mask
    order: Order
    boxes: NDArray[Any]
    evidence: NDArray[Any]
    prefix: NDArray[np.float64] | None = None
    known: NDArray[Any] | None = None


def softmax(logits: NDArray[Any], axis: int = -1) -> NDArray[Any]:
    """Probabilities along an axis, in the type of the logits."""
    powers = np.exp(logits - logits.max(axis=axis, keepdims=True))
    shares: NDArray[Any] = powers / powers.sum(axis=axis, keepdims=True)
    return shares


def probabilities(logits: NDArray[Any], labels: Labels) -> NDArray[Any]:
    """Softmax over the classes, or where a video may have several labels a sigmoid for each, (..., C)."""
    if labels == "one":
        return softmax(logits)
    scores: NDArray[Any] = np.exp(-np.logaddexp(0, -logits))
    return scores


def certain(scores: NDArray[Any], labels: Labels) -> NDArray[Any]:
    """How sure an answer (..., C) is: its largest score, or its least sure yes or no, (...)."""
    found: NDArray[Any] = scores.max(axis=-1)
    if labels == "several":
        found = np.maximum(scores, 1 - scores).min(axis=-1)
    return found


def behind(score: Floats, visible: Mask) -> Floats:
    """Scores (B, T) with all that is not visible behind all that is, each kind in its own order."""
    room = 2 + score.max(axis=1, keepdims=True) - score.min(axis=1, keepdims=True)
    return np.where(visible, score, score - room)


def pick_moments(score: Floats, k: int) -> Order:
    """The snippets of the ``k`` highest scores (B, T), highest first, the earlier of equal ones: (B, K)."""
    return np.argsort(-score, axis=1, kind="stable")[:, :k].astype(np.int64)


def corner_to_box(corner: Floats, patch_side: int, source_side: int) -> Floats:
    """Corner actions (a_y, a_x) (..., 2) as boxes: xyxy fractions of the source square (..., 4).

    >>> corner_to_box(np.array([0, 1], np.float32), 60, 240).tolist()
    [0.75, 0.0, 1.0, 0.25]
    """
    first = corner[..., ::-1] * np.float32((source_side - patch_side) / source_side)  # (x0, y0)
    return np.concatenate([first, first + np.float32(patch_side / source_side)], axis=-1)


def along(features: NDArray[Any], order: Order) -> NDArray[Any]:
    """What belongs to the snippets named by ``order`` (B, K): (B, T, ...) -> (B, K, ...)."""
    return features[np.arange(len(order))[:, None], order]


def unordered(features: NDArray[Any], order: Order, snippets: int, *, fill: float = 0.0) -> NDArray[Any]:
    """Back from the order to the snippets: (B, K, ...) -> (B, T, ...), ``fill`` elsewhere."""
    out = np.full((len(order), snippets, *features.shape[2:]), fill, dtype=features.dtype)
    out[np.arange(len(order))[:, None], order] = features
    return out


def spread(rows: NDArray[Any], at: Mask) -> NDArray[Any]:
    """Rows (n, ...) put where the mask ``at`` (B, T) is set, in its order, zeros elsewhere: (B, T, ...)."""
    out = np.zeros((*at.shape, *rows.shape[1:]), dtype=rows.dtype)
    out[at] = rows
    return out


def mean_evidence(parts: list[tuple[Floats, Mask]], labels: Labels = "one") -> Floats:
    """Mean ``probabilities`` of the heads that ran, (B, T, C).

    Args:
        parts: pairs of logits (B, T, C) and where they ran (B, T).
        labels: what the logits are of.
    """
    total = np.zeros_like(parts[0][0])
    count = np.zeros((*total.shape[:2], 1), dtype=total.dtype)
    for logits, ran in parts:
        total += probabilities(logits, labels) * ran[..., None]
        count += ran[..., None]
    total /= np.maximum(count, 1)
    return total
