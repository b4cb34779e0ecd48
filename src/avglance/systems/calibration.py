"""What a score is worth, and when none of the known classes is there. Plain numpy.

Letters: N videos, C classes, T snippets. A temperature t turns probabilities p into p^(1/t), normalised: over
the classes where a video has one label, over yes and no of each class where it may have several.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from avglance.errors import ArgumentError, CheckpointError, ShapeError
from avglance.metrics import top_k_hits
from avglance.systems.thresholds import EVEN, choose_thresholds
from avglance.types import Labels

Floats = NDArray[np.float64]
LOST_SHARE = 0.03
"""Share of the right answers that may be called unknown."""
COLDEST, HOTTEST = 0.05, 20.0
KNOWN_SHARE = 0.02
"""The same where the threshold is one of ``known``: two in a hundred become three on other backgrounds than
those it was solved on (docs/results.md)."""
SPLITS = (0.5, 0.25, 0.75, 0.0, 1.0)
"""How the lost share may be split between the two signs of the unknown, the default first."""


def tempered(scores: ArrayLike, temperature: ArrayLike, labels: Labels = "one") -> Floats:
    """Probabilities (..., C) at a temperature (one, or one a row (...)); 1 leaves them as they are.

    >>> tempered([0.8, 0.2], 0.5).round(3)
    array([0.941, 0.059])
    >>> tempered([0.8, 0.8], 0.5, "several").round(3)
    array([0.941, 0.941])
    """
    heat = np.asarray(temperature, dtype=np.float64)[..., None]
    if labels == "several":
        return np.asarray(np.exp(-np.logaddexp(0.0, -_odds(scores) / heat)))
    logs = _logs(scores) / heat
    powers = np.exp(logs - logs.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))


def fit_temperature(scores: ArrayLike, truth: ArrayLike, labels: Labels = "one") -> float:
    """The temperature of the least cross entropy (of several labels: binary, of all), from 0.05 to 20.

    The truth is softened by 1 / (N + 2) towards equal scores (a yes or no by how many of its kind there are),
    or a few videos that are all answered right would ask for certainty.

    Args:
        scores: probabilities, shape (N, C).
        truth: multi-hot, at least one true class each, shape (N, C).
        labels: what the scores are: of one label a video, or a yes or no for each class.

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
    if labels == "several":
        logs, yes = _odds(scores), float((target > 0).sum())
        wanted = np.where(target > 0, 1 - 1 / (yes + 2), 1 / (target.size - yes + 2))
    else:
        soft = 1 / (len(target) + 2)
        wanted = (1 - soft) * target / target.sum(axis=1, keepdims=True) + soft / target.shape[1]
    low, high = math.log(COLDEST), math.log(HOTTEST)
    for _ in range(60):  # the cross entropy is convex in 1 / t: its slope changes sign once
        middle = (low + high) / 2
        slope = ((tempered(scores, math.exp(middle), labels) - wanted) * logs).sum(axis=1).mean()
        low, high = (middle, high) if slope > 0 else (low, middle)
    return math.exp((low + high) / 2)


def crossed(scores: ArrayLike, truth: ArrayLike, labels: Labels = "one") -> Floats:
    """Scores (N, C) of each half of the videos (even, odd) at the temperature of the other half."""
    given, target = np.asarray(scores, dtype=np.float64), np.asarray(truth)
    out = given.copy()
    for half in (0, 1):
        heat = fit_temperature(given[1 - half :: 2], target[1 - half :: 2], labels)
        out[half::2] = tempered(given[half::2], heat, labels)
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
        thresholds: of a model of several labels a video: of each class, at which it is said, (C,); there are
            no least scores then, and an answer that reaches none of these is unknown.
        least_known: of a model that can tell how known an answer is: below which it is called unknown, by the
            number of looks as ``temperatures``, (1 .. K,). Scores and saliency are asked of answers without
            a close look alone then.
    """

    temperatures: tuple[float, ...] = (1.0,)
    least_scores: tuple[float, ...] = ()
    least_contrast: float = -math.inf
    thresholds: tuple[float, ...] = ()
    least_known: tuple[float, ...] = ()

    @property
    def labels(self) -> Labels:
        """Whether the scores are of one label a video, or a yes or no for each class."""
        return "several" if self.thresholds else "one"

    def said(self, scores: ArrayLike) -> NDArray[np.bool_]:
        """Which classes are said of calibrated scores (N, C): the best one, or all at their thresholds."""
        given = np.asarray(scores, dtype=np.float64)
        if self.labels == "several":
            return np.asarray(given >= np.array(self.thresholds))
        return np.asarray(np.eye(given.shape[1], dtype=bool)[given.argmax(axis=1)])

    def scores(self, scores: ArrayLike, looks: ArrayLike) -> Floats:
        """Calibrated scores (N, C) of answers that stand on so many looks (N,); by ear alone as they are."""
        count = np.asarray(looks, dtype=np.int64)
        at = _after(self.temperatures, count)
        return tempered(scores, np.where(count > 0, at, 1.0), self.labels)

    def unknown(
        self,
        scores: ArrayLike,
        saliency: ArrayLike,
        known: ArrayLike | None = None,
        looks: ArrayLike = 0,
    ) -> NDArray[np.bool_]:
        """Whether none of the classes is there, (N,), by calibrated scores (N, C) and logits (N, T).

        Or by how ``known`` the answers are (N,), which stand on so many ``looks``, where that can be told.
        """
        given = np.asarray(scores, dtype=np.float64)
        if self.labels == "several":
            unsure = ~self.said(given).any(axis=1)
        else:
            best = given.argmax(axis=1)
            floor = np.array(self.least_scores or (-math.inf,) * given.shape[1])[best]
            unsure = given[np.arange(len(given)), best] < floor
        unsure = unsure | (contrast(saliency) < self.least_contrast)
        if self.least_known and known is not None:
            count = np.asarray(looks, dtype=np.int64)
            strange = np.asarray(known, dtype=np.float64) < _after(self.least_known, count)
            unsure = np.where(count > 0, strange, unsure)
        return np.asarray(unsure)

    def as_card(self) -> dict[str, Any]:
        """Plain JSON; a threshold that nothing is below is null."""
        finite = [_finite(v) for v in (self.least_contrast, *self.least_scores)]
        card: dict[str, Any] = {"temperature": list(self.temperatures), "least_contrast": finite[0]}
        if self.labels == "several":
            return card | {"threshold": list(self.thresholds)}
        known = {"least_known": [_finite(v) for v in self.least_known]} if self.least_known else {}
        return card | {"least_score": finite[1:]} | known

    @classmethod
    def from_card(cls, found: Any, classes: int, *, labels: Labels = "one", where: str = "") -> Judgement:
        """What ``as_card`` gave, of a model of so many classes; without an entry (None) it changes nothing.

        A model of several labels a video without an entry says what is more likely than not.

        Raises:
            CheckpointError: it is something else, or of a model of the other kind.
        """
        even = (EVEN,) * classes if labels == "several" else ()
        if found is None:
            return cls(thresholds=even)
        name, other = ("threshold", "least_score") if even else ("least_score", "threshold")
        if isinstance(found, dict) and other in found:
            what = (
                f"its weights are taught {labels} label{'s' * bool(even)} a video, its card holds {other!r}"
            )
            hint = "the card is of another model: copy or train it again"
            raise CheckpointError(what, where=where, hint=hint)
        try:
            heat = tuple(float(t) for t in found["temperature"])
            floors = [-math.inf if v is None else float(v) for v in (found["least_contrast"], *found[name])]
            if not heat or not all(0 < t < math.inf for t in heat) or math.nan in floors:
                raise ValueError("temperatures must be above 0")
            known = tuple(-math.inf if v is None else float(v) for v in found.get("least_known", ()))
            if any(math.isnan(v) for v in known):
                raise ValueError("thresholds must be numbers")
            if len(floors) != classes + 1:
                raise ValueError(f"{len(floors) - 1} thresholds for {classes} classes")
            if even and not all(0 <= v <= 1 for v in floors[1:]):
                raise ValueError("thresholds must be in 0..1")
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"its calibration cannot be read ({error!r})", where=where) from error
        limits = tuple(floors[1:])
        return cls(heat, () if even else limits, floors[0], limits if even else (), () if even else known)


def _after(values: tuple[float, ...], looks: NDArray[np.int64]) -> Floats:
    """Of values by the number of looks, those after so many: the last one stands for all beyond."""
    return np.array(values, dtype=np.float64)[np.clip(looks, 1, len(values)) - 1]


def _finite(value: float) -> float | None:
    return None if math.isinf(value) else value


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


def settle(
    heat: tuple[float, ...],
    scores: ArrayLike,
    truth: ArrayLike,
    saliency: ArrayLike,
    *,
    examples: tuple[ArrayLike, ArrayLike] | None = None,
    labels: Labels = "one",
) -> Judgement:
    """The judgement with these temperatures whose thresholds suit these videos.

    Of several labels a video each class is said at the threshold of its best F1, to which examples of the
    unknown are a no from every class; the contrast may cost half of ``LOST_SHARE`` of the videos of which
    something true is said.

    Args:
        heat: temperatures, (K,).
        scores: calibrated, of videos of known classes, shape (N, C).
        truth: multi-hot, shape (N, C).
        saliency: logits, shape (N, T).
        examples: scores and saliency of videos that show none of the classes.
        labels: what the scores are.
    """
    if labels == "one":
        return Judgement(heat, *choose_floors(scores, truth, saliency, examples=examples))
    given, target = np.asarray(scores, dtype=np.float64), np.asarray(truth, dtype=np.float64)
    none = np.zeros((0, given.shape[1])) if examples is None else np.asarray(examples[0], dtype=np.float64)
    limits = choose_thresholds(np.concatenate([given, none]), np.concatenate([target, np.zeros_like(none)]))
    right = ((given >= np.array(limits)) & (target > 0)).any(axis=1)
    return Judgement(heat, (), least(contrast(saliency)[right], LOST_SHARE * SPLITS[0]), limits)


def _odds(scores: ArrayLike) -> Floats:
    """Log odds of probabilities; above the last single below 1 there is nothing to tell apart."""
    given = np.clip(np.asarray(scores, dtype=np.float64), 1e-38, 1 - 2.0**-24)
    return np.asarray(np.log(given) - np.log1p(-given))


def _logs(scores: ArrayLike) -> Floats:
    return np.log(np.maximum(np.asarray(scores, dtype=np.float64), 1e-38))
