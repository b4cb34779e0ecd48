"""From snippets to spans: where a label holds. Plain numpy, shared by training, evaluation and the api."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from avglance.errors import ArgumentError, ShapeError
from avglance.metrics import span_iou

THRESHOLDS: tuple[float, ...] = tuple(round(0.02 * n, 2) for n in range(1, 50))
"""The evidence thresholds that :func:`choose_threshold` tries by default."""

SpanScore = tuple[float, float, float]
"""start_s, end_s, score."""


def snippet_edges(times: ArrayLike, duration_s: float) -> NDArray[np.float64]:
    """Where snippets begin and end: 0, the middles between neighbouring times, and the duration.

    Args:
        times: seconds at which the snippets are looked at, not falling, shape (T,).
        duration_s: D in seconds.

    Returns:
        Seconds, not falling, shape (T + 1,).

    >>> snippet_edges([1.0, 3.0, 5.0], 6.0)
    array([0., 2., 4., 6.])
    """
    centre = np.asarray(times, dtype=np.float64)
    if centre.ndim != 1 or centre.size == 0:
        raise ShapeError(f"times must be (T,) with T >= 1, got {centre.shape}", where="snippet_edges")
    middles = (centre[1:] + centre[:-1]) / 2
    edges = np.concatenate([[0.0], middles, [max(float(duration_s), float(centre[-1]))]])
    return np.maximum.accumulate(edges)


def spans_of(
    saliency: ArrayLike, evidence: ArrayLike, times: ArrayLike, threshold: float, *, duration_s: float
) -> list[SpanScore]:
    """Spans of one label in one video: runs of snippets that are salient and speak for the label.

    A snippet belongs to a span where its saliency is above the mean over the snippets and its evidence is
    above the threshold; neighbours that do are one span, from where the first begins to where the last ends.

    Args:
        saliency: softmax over the snippets, shape (T,).
        evidence: of this label, 0..1, shape (T,); NaN (nothing was seen or heard) belongs to no span.
        times: seconds at which the snippets were looked at, not falling, shape (T,).
        threshold: evidence that is not enough, 0..1.
        duration_s: D in seconds, where the last snippet ends.

    Returns:
        (start_s, end_s, score) in time order, half-open; the score is the mean evidence of the run.

    Raises:
        ShapeError: the arrays are not (T,) each.

    >>> spans_of([0.1, 0.4, 0.4, 0.1], [0.9, 0.8, 0.6, 0.2], [1, 3, 5, 7], 0.5, duration_s=8.0)
    [(2.0, 6.0, 0.7)]
    """
    salient, proof = np.asarray(saliency, dtype=np.float64), np.asarray(evidence, dtype=np.float64)
    edges = snippet_edges(times, duration_s)
    if not salient.shape == proof.shape == (edges.size - 1,):
        raise ShapeError(
            f"saliency, evidence and times must be (T,) each, got {salient.shape}, {proof.shape} and "
            f"({edges.size - 1},)",
            where="spans_of",
        )
    inside = (salient > salient.mean()) & (proof > threshold)
    steps = np.diff(np.concatenate([[0], inside.astype(np.int8), [0]]))
    runs = zip(np.flatnonzero(steps == 1), np.flatnonzero(steps == -1), strict=True)
    return [(float(edges[a]), float(edges[b]), float(proof[a:b].mean())) for a, b in runs]


def choose_threshold(
    videos: Iterable[tuple[ArrayLike, ArrayLike, ArrayLike, float]],
    truth: Sequence[Sequence[tuple[float, float]]],
    *,
    thresholds: Sequence[float] = THRESHOLDS,
) -> tuple[float, float]:
    """The evidence threshold whose spans meet the truth best, and how well they do.

    Args:
        videos: saliency (T,), evidence of the true label (T,), times (T,) and duration of each video.
        truth: (start_s, end_s) of each span of each video's event.
        thresholds: what to try; at equal figures the lower one.

    Returns:
        (threshold, mean temporal IoU at it).

    Raises:
        ArgumentError: there is no video or no threshold.
    """
    rows = list(videos)
    if not rows or not thresholds or len(rows) != len(truth):
        raise ArgumentError(
            f"{len(rows)} videos, {len(truth)} truths and {len(thresholds)} thresholds cannot be matched",
            where="choose_threshold",
        )
    best = (float(thresholds[0]), -1.0)
    for threshold in sorted(thresholds):
        found = [
            span_iou([s[:2] for s in spans_of(sal, ev, times, threshold, duration_s=duration)], spans)
            for (sal, ev, times, duration), spans in zip(rows, truth, strict=True)
        ]
        mean = float(np.mean(found))
        if mean > best[1] + 1e-9:
            best = (float(threshold), mean)
    return best
