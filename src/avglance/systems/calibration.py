"""What a score is worth, and when none of the known classes is there. Plain numpy.

Letters: N videos, C classes, T snippets. A temperature t turns probabilities p into p^(1/t), normalised.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from avglance.errors import ArgumentError, CheckpointError, ShapeError
from avglance.metrics import top_k_hits

Floats = NDArray[np.float64]
LOST_SHARE = 0.03
"""Share of the right answers that may be called unknown."""
COLDEST, HOTTEST = 0.05, 20.0
SPLITS = (0.5, 0.25, 0.75, 0.0, 1.0)
"""How the lost share may be split between the two signs of the unknown, the default first."""


def tempered(scores: ArrayLike, temperature: ArrayLike) -> Floats:
    """Probabilities (..., C) at a temperature (one, or one a row (...)); 1 leaves them as they are.

    >>> tempered([0.8, 0.2], 0.5).round(3)
    array([0.941, 0.059])
    """
    logs = _logs(scores) / np.asarray(temperature, dtype=np.float64)[..., None]
    powers = np.exp(logs - logs.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))


def fit_temperature(scores: ArrayLike, truth: ArrayLike) -> float:
    """The temperature of the least cross entropy, from 0.05 to 20.

    The truth is softened by 1 / (N + 2) towards equal scores, or a few videos that are all answered right
    would ask for certainty.

    Args:
        scores: probabilities, shape (N, C).
        truth: multi-hot, at least one true class each, shape (N, C).

    Raises:
        ShapeError: the arrays are not (N, C) both.
        ArgumentError: there is no video, or one without a true class.

    Source: temperature scaling (Guo et al. 2017); the softening is Platt's (1999).
    """
    logs, target = _logs(scores), np.asarray(truth, dtype=np.float64)
    if logs.ndim != 2 or logs.shape != target.shape:
        raise ShapeError(f"scores and truth must be (N, C), got {logs.shape} and {target.shape}")
    if not len(target) or not (target.sum(axis=1) > 0).all():
        raise ArgumentError("a temperature needs videos with a true class each", where="fit_temperature")
    soft = 1 / (len(target) + 2)
    wanted = (1 - soft) * target / target.sum(axis=1, keepdims=True) + soft / target.shape[1]
    low, high = math.log(COLDEST), math.log(HOTTEST)
    for _ in range(60):  # the cross entropy is convex in 1 / t: its slope changes sign once
        middle = (low + high) / 2
        slope = ((tempered(scores, math.exp(middle)) - wanted) * logs).sum(axis=1).mean()
        low, high = (middle, high) if slope > 0 else (low, middle)
    return math.exp((low + high) / 2)


def crossed(scores: ArrayLike, truth: ArrayLike) -> Floats:
    """Scores (N, C) of each half of the videos (even, odd) at the temperature of the other half."""
    given, target = np.asarray(scores, dtype=np.float64), np.asarray(truth)
    out = given.copy()
    for half in (0, 1):
        out[half::2] = tempered(given[half::2], fit_temperature(given[1 - half :: 2], target[1 - half :: 2]))
    return out


def calibration_error(scores: ArrayLike, truth: ArrayLike, *, bins: int = 15) -> float:
    """Expected calibration error, less a part of what chance alone gives, 0..1; NaN for no video.

    Videos in the order of their highest score make bins of equal size (to one). A bin's gap between mean
    score and share of hits scatters about the true one with the variance h (1 - h) / n of the hits; what such
    a normal scatter would add to the size of the gap that is seen is taken off. Of right scores that is two
    fifths of the error of chance, of a large error nearly nothing. The sum is not below 0.

    Args:
        scores: probabilities in 0..1, shape (N, C).
        truth: multi-hot, shape (N, C); any true label is a hit.
        bins: how many; never more than videos.

    Raises:
        ShapeError: the arrays are not (N, C) both.
        ArgumentError: ``bins`` is below 1.

    Source: the debiased estimator of Kumar et al. 2019, its draws replaced by their mean.
    """
    if bins < 1:
        raise ArgumentError(f"bins={bins} is below 1", where="calibration_error")
    hits = top_k_hits(scores, truth, 1).astype(np.float64)
    if not hits.size:
        return float("nan")
    best = np.asarray(scores, dtype=np.float64).max(axis=1)
    total = 0.0
    for at in np.array_split(np.argsort(best, kind="stable"), min(bins, hits.size)):
        hit, gap = hits[at].mean(), abs(hits[at].mean() - best[at].mean())
        total += at.size * (2 * gap - _mean_size(gap, math.sqrt(hit * (1 - hit) / at.size)))
    return max(float(total / hits.size), 0.0)


def _mean_size(mean: float, deviation: float) -> float:
    """E|x| of a normal x."""
    if deviation <= 0:
        return abs(mean)
    z = mean / deviation
    return deviation * math.sqrt(2 / math.pi) * math.exp(-z * z / 2) + mean * math.erf(z / math.sqrt(2))


def contrast(saliency: ArrayLike) -> Floats:
    """How far the most salient snippet stands out from the usual one: maximum less median, (...).

    Args:
        saliency: logits, shape (..., T).

    >>> float(contrast([0.0, 0.1, 3.0, 0.1]))
    2.9
    """
    logits = np.asarray(saliency, dtype=np.float64)
    return np.asarray(logits.max(axis=-1) - np.median(logits, axis=-1))


def least(values: ArrayLike, share: float) -> float:
    """The value below which at most ``share`` of videos like these lie; -inf where they are too few to say.

    It is the r-th smallest of n, r = floor(share (n + 1)): one more such video lies below with a chance of at
    most r / (n + 1).

    >>> least([5.0, 3.0, 4.0, 1.0, 2.0, 6.0, 7.0, 8.0, 9.0], 0.2)
    2.0
    """
    given = np.sort(np.asarray(values, dtype=np.float64).ravel())
    rank = math.floor(share * (given.size + 1) + 1e-9)
    return float(given[rank - 1]) if rank >= 1 else -math.inf


@dataclass(frozen=True)
class Judgement:
    """What training found out about a model's scores.

    Attributes:
        temperatures: by the number of looks: the first after one look, the last for all beyond; (1 .. K,).
        least_scores: of each class, below which an answer is called unknown, (C,).
        least_contrast: of the saliency, below which every answer is.
    """

    temperatures: tuple[float, ...] = (1.0,)
    least_scores: tuple[float, ...] = ()
    least_contrast: float = -math.inf

    def scores(self, scores: ArrayLike, looks: ArrayLike) -> Floats:
        """Calibrated scores (N, C) of answers that stand on so many looks (N,); by ear alone as they are."""
        count = np.asarray(looks, dtype=np.int64)
        at = np.array(self.temperatures)[np.clip(count, 1, len(self.temperatures)) - 1]
        return tempered(scores, np.where(count > 0, at, 1.0))

    def unknown(self, scores: ArrayLike, saliency: ArrayLike) -> NDArray[np.bool_]:
        """Whether none of the classes is there, (N,), by calibrated scores (N, C) and logits (N, T)."""
        given = np.asarray(scores, dtype=np.float64)
        best = given.argmax(axis=1)
        floor = np.array(self.least_scores or (-math.inf,) * given.shape[1])[best]
        unsure = given[np.arange(len(given)), best] < floor
        return np.asarray(unsure | (contrast(saliency) < self.least_contrast))

    def as_card(self) -> dict[str, Any]:
        """Plain JSON; a threshold that nothing is below is null."""
        finite = [None if math.isinf(v) else v for v in (self.least_contrast, *self.least_scores)]
        return {
            "temperature": list(self.temperatures),
            "least_contrast": finite[0],
            "least_score": finite[1:],
        }

    @classmethod
    def from_card(cls, found: Any, classes: int, *, where: str = "") -> Judgement:
        """What ``as_card`` gave, of a model of so many classes; without an entry (None) it changes nothing.

        Raises:
            CheckpointError: it is something else.
        """
        if found is None:
            return cls()
        try:
            heat = tuple(float(t) for t in found["temperature"])
            floors = [
                -math.inf if v is None else float(v) for v in (found["least_contrast"], *found["least_score"])
            ]
            if not heat or not all(0 < t < math.inf for t in heat) or math.nan in floors:
                raise ValueError("temperatures must be above 0")
            if len(floors) != classes + 1:
                raise ValueError(f"{len(floors) - 1} thresholds for {classes} classes")
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"its calibration cannot be read ({error!r})", where=where) from error
        return cls(heat, tuple(floors[1:]), floors[0])


def choose_floors(
    scores: ArrayLike,
    truth: ArrayLike,
    saliency: ArrayLike,
    *,
    examples: tuple[ArrayLike, ArrayLike] | None = None,
    share: float = LOST_SHARE,
) -> tuple[tuple[float, ...], float]:
    """Least scores of the classes (C,) and least contrast, at which few right answers become unknown.

    Half of the share is given to each of both; where there are examples of the unknown, they choose the split
    at which most of them are recognised. A class whose right answers are too few for a threshold of its own
    gets that of all classes together.

    Args:
        scores: calibrated, of videos of known classes, shape (N, C).
        truth: multi-hot, shape (N, C).
        saliency: logits, shape (N, T).
        examples: scores and saliency of videos that show none of the classes.
        share: of the right answers that may be lost.
    """
    given = np.asarray(scores, dtype=np.float64)
    right = top_k_hits(given, truth, 1)
    best, said = given.max(axis=1)[right], given.argmax(axis=1)[right]
    apart = contrast(saliency)[right]

    def floors(split: float) -> Judgement:
        low, all_classes = share * split, least(best, share * split)
        own = (least(best[said == c], low) for c in range(given.shape[1]))
        each = tuple(all_classes if math.isinf(v) else v for v in own)
        return Judgement((1.0,), each, least(apart, share - low))

    tried = [floors(split) for split in SPLITS]
    chosen = tried[0] if examples is None else max(tried, key=lambda j: int(j.unknown(*examples).sum()))
    return chosen.least_scores, chosen.least_contrast


def _logs(scores: ArrayLike) -> Floats:
    return np.log(np.maximum(np.asarray(scores, dtype=np.float64), 1e-38))
