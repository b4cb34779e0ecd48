"""Pure functions over arrays that score answers: no files, no clocks, no torch.

All shares, precisions and errors are in 0..1. Letters: N videos (or items), C classes, B videos, T snippets,
K moments. mAP and top-k follow the protocol of ActivityNet and FCVID in AdaFocus V2; moment recall and patch
hit are defined where they stand.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from avglance.errors import ArgumentError, ShapeError

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ties = Literal["stable", "grouped"]
Empty = Literal["exclude", "zero"]


class Interval(NamedTuple):
    """An estimate with the ends of its confidence interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class MeanAP:
    """Mean average precision and what it is made of.

    ``value`` is the mean (NaN where no class counts), ``per_class`` the average precisions, shape (C,), NaN
    for a class without positives; ``absent`` names those classes by index.
    """

    value: float
    per_class: Floats
    absent: tuple[int, ...]

    def __float__(self) -> float:
        return self.value


def average_precision(scores: ArrayLike, truth: ArrayLike, *, ties: Ties = "stable") -> float:
    """Mean of the precision at the ranks of the positives (non-interpolated), NaN without positives.

    Args:
        scores: any real unit, higher ranks first, shape (N,).
        truth: true or 1 where an item is positive, shape (N,).
        ties: ``stable`` keeps equal scores in the order given; ``grouped`` gives a group of equal scores the
            precision at its end, as scikit-learn does, so that the order given does not matter.

    Raises:
        ShapeError: the arrays are not (N,) both.
        ArgumentError: a score is NaN, or ``ties`` is another word.

    Source: the metric of ActivityNet as AdaFocus V2 computes it (non-interpolated).

    >>> round(average_precision([0.9, 0.8, 0.7, 0.6], [0, 1, 1, 0]), 4)
    0.5833
    """
    score, positive = _floats(scores, "scores", 1), _bools(truth, "truth", 1)
    _same(score, positive, "scores", "truth")
    _one_of(ties, ("stable", "grouped"), "ties")
    if np.isnan(score).any():
        raise ArgumentError("scores hold NaN, which has no rank", where="average_precision")
    if not positive.any():
        return float("nan")
    order = np.argsort(-score, kind="stable")
    ranked, hits = score[order], np.cumsum(positive[order])
    last = np.arange(score.size)  # the rank at which each item's precision is read
    if ties == "grouped":
        ends = np.append(np.flatnonzero(np.diff(ranked) != 0), score.size - 1)
        last = ends[np.searchsorted(ends, last)]
    precision = hits[last] / (last + 1)
    return float(precision[positive[order]].mean())


def mean_average_precision(
    scores: ArrayLike, truth: ArrayLike, *, empty: Empty = "exclude", ties: Ties = "stable"
) -> MeanAP:
    """Average precision of every class, and its plain mean over classes.

    Args:
        scores: probabilities, shape (N, C); ranking runs across videos, so logits would rank otherwise.
        truth: multi-hot, all labels of a video, shape (N, C).
        empty: a class without positives is left out of the mean (``exclude``) or counts 0 (``zero``: the
            official code of this family).
        ties: as in :func:`average_precision`.

    Raises:
        ShapeError: the arrays are not (N, C) both.
        ArgumentError: a score is NaN, or ``empty`` or ``ties`` is another word.

    Source: AdaFocus V2's metric of ActivityNet and FCVID; classes are never renumbered.
    """
    score, positive = _floats(scores, "scores", 2), _bools(truth, "truth", 2)
    _same(score, positive, "scores", "truth")
    _one_of(empty, ("exclude", "zero"), "empty")
    each = [average_precision(score[:, c], positive[:, c], ties=ties) for c in range(score.shape[1])]
    per_class = np.asarray(each, dtype=np.float64)
    missing = np.isnan(per_class)
    counted = np.nan_to_num(per_class) if empty == "zero" else per_class[~missing]
    value = float(counted.mean()) if counted.size else float("nan")
    return MeanAP(value, per_class, tuple(int(c) for c in np.flatnonzero(missing)))


def top_k_hits(scores: ArrayLike, truth: ArrayLike, k: int) -> Bools:
    """Whether any true label is among the ``k`` highest scores of each video, shape (N,).

    Args:
        scores: any real unit, shape (N, C); equal scores: the earlier class first.
        truth: multi-hot, shape (N, C).
        k: 1 <= k <= C.

    Raises:
        ShapeError: the arrays are not (N, C) both.
        ArgumentError: ``k`` is outside [1, C], or a score is NaN.
    """
    score, positive = _floats(scores, "scores", 2), _bools(truth, "truth", 2)
    _same(score, positive, "scores", "truth")
    if not 1 <= k <= score.shape[1]:
        raise ArgumentError(f"k={k} is outside [1, {score.shape[1]}]", where="top_k")
    if np.isnan(score).any():
        raise ArgumentError("scores hold NaN, which has no rank", where="top_k")
    best = np.argsort(-score, axis=1, kind="stable")[:, :k]
    return np.asarray(np.take_along_axis(positive, best, axis=1).any(axis=1))


def top_k(scores: ArrayLike, truth: ArrayLike, k: int = 1) -> float:
    """Share of videos with a true label among their ``k`` highest scores, NaN for no video.

    Arguments and errors are those of :func:`top_k_hits`.

    >>> top_k([[0.5, 0.3, 0.2], [0.1, 0.2, 0.7]], [[0, 1, 0], [1, 0, 1]])
    0.5
    """
    return _mean(top_k_hits(scores, truth, k))


def moment_recall(chosen: ArrayLike, event: ArrayLike, k: int) -> Floats:
    """|chosen and event| / min(K, |event snippets|) of each video, NaN where no snippet meets the event.

    Args:
        chosen: the snippets looked at closely, shape (B, T).
        event: the snippets whose picture time lies in the event, shape (B, T).
        k: how many snippets were allowed, at least 1.

    Raises:
        ShapeError: the arrays are not (B, T) both.
        ArgumentError: ``k`` is below 1, or a video has more chosen snippets than ``k``.

    >>> moment_recall([[1, 1, 0, 0]], [[0, 1, 1, 1]], k=2)
    array([0.5])
    """
    looked, inside = _bools(chosen, "chosen", 2), _bools(event, "event", 2)
    _same(looked, inside, "chosen", "event")
    if k < 1:
        raise ArgumentError(f"k={k} is below 1", where="moment_recall")
    if (looked.sum(axis=1) > k).any():
        raise ArgumentError(
            f"a video has {int(looked.sum(axis=1).max())} chosen snippets, k={k}", where="moment_recall"
        )
    reachable = np.minimum(inside.sum(axis=1), k)
    both = (looked & inside).sum(axis=1)
    return np.where(reachable > 0, both / np.maximum(reachable, 1), np.nan)


def patch_hits(boxes: ArrayLike, points: ArrayLike) -> Bools:
    """Whether each point lies in its box (half-open; False where either is NaN).

    Args:
        boxes: xyxy in any unit, shape (..., 4).
        points: (x, y) in the same unit, shape (..., 2).

    Raises:
        ShapeError: the last axes are not 4 and 2, or the others differ.
    """
    box, point = np.asarray(boxes, dtype=np.float64), np.asarray(points, dtype=np.float64)
    if box.shape[-1:] != (4,) or point.shape != (*box.shape[:-1], 2):
        raise ShapeError(f"boxes must be (..., 4) and points (..., 2), got {box.shape} and {point.shape}")
    return np.asarray(((box[..., :2] <= point) & (point < box[..., 2:])).all(axis=-1))


def patch_hit(boxes: ArrayLike, points: ArrayLike, counted: ArrayLike) -> float:
    """Share of the counted snippets whose object's centre lies in the patch, NaN for none.

    Args:
        boxes: the patches, xyxy, shape (B, T, 4).
        points: the object's centres in the same unit, shape (B, T, 2).
        counted: the snippets that count, chosen and in the event, shape (B, T).

    Raises:
        ShapeError: the shapes do not fit together.
    """
    hits, chosen = patch_hits(boxes, points), np.asarray(counted, dtype=bool)
    _same(hits, chosen, "boxes", "counted")
    return _mean(hits[chosen])


def temporal_iou(first: ArrayLike, second: ArrayLike) -> Floats:
    """Intersection over union of spans (start, end), shapes (..., 2) broadcast; 0 where the union is empty.

    Raises:
        ShapeError: a last axis is not 2.
        ArgumentError: a span ends before it starts.

    >>> float(temporal_iou((0.0, 2.0), (1.0, 3.0)))
    0.3333333333333333
    """
    a, b = _spans(first), _spans(second)
    lengths = (a[..., 1] - a[..., 0]) + (b[..., 1] - b[..., 0])
    shared = np.maximum(np.minimum(a[..., 1], b[..., 1]) - np.maximum(a[..., 0], b[..., 0]), 0.0)
    union = np.asarray(lengths - shared, dtype=np.float64)
    return np.asarray(np.divide(shared, union, out=np.zeros_like(union), where=union > 0))


def span_iou(predicted: Iterable[ArrayLike], truth: Iterable[ArrayLike]) -> float:
    """Time in both sets of spans over time in either; overlapping spans of one set count once.

    Nothing predicted where something is true gives 0, nothing on both sides NaN.

    Args:
        predicted: spans (start, end) in seconds.
        truth: spans (start, end) in seconds.

    Raises:
        ArgumentError: a span ends before it starts.

    >>> span_iou([(0, 1), (2, 3)], [(0, 3)])
    0.6666666666666666
    """
    ours, theirs = _merged(predicted), _merged(truth)
    own, other = _length(ours), _length(theirs)
    shared = sum(max(0.0, min(b, d) - max(a, c)) for a, b in ours for c, d in theirs)
    union = own + other - shared
    return shared / union if union > 0 else float("nan")


def expected_calibration_error(scores: ArrayLike, truth: ArrayLike, *, bins: int = 15) -> float:
    """Mean gap between the highest score and the share of hits in bins, weighted by their sizes.

    Args:
        scores: probabilities in 0..1, shape (N, C).
        truth: multi-hot, shape (N, C); any true label is a hit.
        bins: how many bins of equal width over 0..1; a score on an edge belongs to the bin below.

    Raises:
        ShapeError: the arrays are not (N, C) both.
        ArgumentError: a score is outside 0..1, or ``bins`` is below 1.
    """
    score = _floats(scores, "scores", 2)
    if bins < 1:
        raise ArgumentError(f"bins={bins} is below 1", where="expected_calibration_error")
    if not ((score >= 0) & (score <= 1 + 1e-6)).all():
        raise ArgumentError("scores are not probabilities in 0..1", where="expected_calibration_error")
    hits = top_k_hits(score, truth, 1).astype(np.float64)
    if not hits.size:
        return float("nan")
    confidence = score.max(axis=1)
    index = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    gaps = np.bincount(index, weights=hits - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / hits.size)


def confidence_interval(
    ours: ArrayLike,
    theirs: ArrayLike | None = None,
    *,
    groups: ArrayLike | None = None,
    rng: np.random.Generator,
    draws: int = 2000,
    level: float = 0.95,
) -> Interval:
    """Percentile bootstrap of a mean, or, with ``theirs``, of the paired mean difference.

    Args:
        ours: one value a video (a hit, a recall), shape (N,); NaN on either side drops the video.
        theirs: the other system's values on the same videos in the same order, shape (N,).
        groups: what each video was cut from, shape (N,): whole groups are drawn again in place of videos.
        rng: where the draws come from.
        draws: how many resamples.
        level: of confidence, between 0 and 1.

    Raises:
        ShapeError: the arrays are not (N,) all.
        ArgumentError: ``draws`` or ``level`` is out of range, or no video is left.
    """
    value = _floats(ours, "ours", 1)
    if theirs is not None:
        other = _floats(theirs, "theirs", 1)
        _same(value, other, "ours", "theirs")
        value = value - other
    known = ~np.isnan(value)
    value = value[known]
    _check_interval(value.size, level, "confidence_interval")
    if draws < 1:
        raise ArgumentError(f"draws={draws} is below 1", where="confidence_interval")
    if groups is None:
        means = np.array([value[rng.integers(0, value.size, value.size)].mean() for _ in range(draws)])
    else:
        named = np.asarray(groups)
        _same(known, named, "ours", "groups")
        means = _group_means(value, named[known], rng, draws)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(value.mean()), float(low), float(high))


def _group_means(value: Floats, groups: NDArray[Any], rng: np.random.Generator, draws: int) -> Floats:
    _, index = np.unique(groups, return_inverse=True)
    sums, sizes = np.bincount(index, weights=value), np.bincount(index)
    drawn = (rng.integers(0, sizes.size, sizes.size) for _ in range(draws))
    return np.array([sums[some].sum() / sizes[some].sum() for some in drawn])


def proportion_interval(hits: int, items: int, *, level: float = 0.95) -> Interval:
    """Wilson's interval of a share of ``hits`` among ``items``: sound at 0 and 1 and for few items too.

    Raises:
        ArgumentError: ``items`` is below 1, ``hits`` outside [0, items], or ``level`` outside (0, 1).

    Source: Wilson 1927.
    """
    _check_interval(items, level, "proportion_interval")
    if not 0 <= hits <= items:
        raise ArgumentError(f"hits={hits} is outside [0, {items}]", where="proportion_interval")
    z = NormalDist().inv_cdf((1 + level) / 2)
    share, shrink = hits / items, 1 + z * z / items
    centre = (share + z * z / (2 * items)) / shrink
    half = z * float(np.sqrt(share * (1 - share) / items + z * z / (4 * items * items))) / shrink
    return Interval(share, max(0.0, min(centre - half, share)), min(1.0, max(centre + half, share)))


def _check_interval(items: int, level: float, where: str) -> None:
    if items < 1:
        raise ArgumentError("there is no item to make an interval of", where=where)
    if not 0 < level < 1:
        raise ArgumentError(f"level={level} is outside (0, 1)", where=where)


def _mean(values: Bools) -> float:
    return float(values.mean()) if values.size else float("nan")


def _floats(values: ArrayLike, name: str, axes: int) -> Floats:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != axes:
        raise ShapeError(f"{name} must have {axes} axes, got shape {array.shape}")
    return array


def _bools(values: ArrayLike, name: str, axes: int) -> Bools:
    array = np.asarray(values)
    if array.ndim != axes:
        raise ShapeError(f"{name} must have {axes} axes, got shape {array.shape}")
    return array > 0 if array.dtype != np.bool_ else array


def _same(first: NDArray[Any], second: NDArray[Any], one: str, two: str) -> None:
    if first.shape != second.shape:
        raise ShapeError(f"{one} and {two} must have one shape, got {first.shape} and {second.shape}")


def _one_of(value: str, allowed: tuple[str, ...], name: str) -> None:
    if value not in allowed:
        raise ArgumentError(f"{name} must be one of {', '.join(allowed)}, got {value!r}")


def _spans(values: ArrayLike) -> Floats:
    array = np.asarray(values, dtype=np.float64)
    if array.shape[-1:] != (2,):
        raise ShapeError(f"spans must be (..., 2), got {array.shape}")
    if (array[..., 1] < array[..., 0]).any():
        raise ArgumentError("a span ends before it starts")
    return array


def _merged(spans: Iterable[ArrayLike]) -> list[tuple[float, float]]:
    ordered = sorted((float(s[0]), float(s[1])) for s in (_spans(span) for span in spans))
    out: list[tuple[float, float]] = []
    for start, end in ordered:
        if out and start <= out[-1][1]:
            out[-1] = (out[-1][0], max(out[-1][1], end))
        else:
            out.append((start, end))
    return out


def _length(spans: list[tuple[float, float]]) -> float:
    return sum(end - start for start, end in spans)
