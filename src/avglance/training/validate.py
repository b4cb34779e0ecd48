"""How good a system is on held-out videos, by its dense answer; and the span threshold that suits it."""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from avglance import metrics
from avglance.data.cache import Cache
from avglance.data.records import Truth
from avglance.systems.base import Decision, System
from avglance.systems.spans import choose_threshold
from avglance.training.batches import Batches
from avglance.views import ViewSettings, square_to_file

UNMEASURED_THRESHOLD = 0.5
"""The span threshold where no event is known: evidence for more than everything else together."""


@dataclass(frozen=True)
class Answers:
    """What a system said of N videos, as arrays (letters as in ``Decision``); ``heard`` (N,): has sound."""

    scores: NDArray[np.float64]
    saliency: NDArray[np.float64]
    looked: NDArray[np.bool_]
    boxes: NDArray[np.float64]
    evidence: NDArray[np.float64]
    times: NDArray[np.float64]
    targets: NDArray[np.float64]
    heard: NDArray[np.bool_]


@torch.no_grad()
def answers(
    system: System,
    batches: Batches,
    k: int,
    *,
    device: torch.device,
    asked: threading.Event | None = None,
) -> Answers | None:
    """The dense answers to all videos of ``batches``, in evaluation mode; the mode is put back.

    None where ``asked`` was set on the way: whoever interrupts need not wait for the last video.
    """
    was_training = system.training
    system.eval()
    rows: list[tuple[NDArray[np.float64], ...]] = []
    try:
        for clips in batches.plain():
            if asked is not None and asked.is_set():
                return None
            found: Decision = system(clips.to(device), k)
            parts = (
                found.scores,
                found.saliency.double().softmax(1),
                found.looked,
                found.boxes,
                found.evidence,
            )
            of_clips = clips.times, clips.targets, clips.audible.any(1)
            rows.append(tuple(x.double().cpu().numpy() for x in (*parts, *of_clips)))
    finally:
        system.train(was_training)
    scores, saliency, looked, boxes, evidence, times, targets, heard = (
        np.concatenate(column) for column in zip(*rows, strict=True)
    )
    return Answers(scores, saliency, looked > 0, boxes, evidence, times, targets, heard > 0)


def figures(said: Answers, cache: Cache, indices: NDArray[np.int64], k: int) -> dict[str, float]:
    """The figures of N videos: top1, top5, map, and moment_recall and patch_hit where truth is known.

    The first of them leads: map where a video has several labels, else top1.

    Args:
        said: the answers, in the order of ``indices``.
        cache: where the videos come from.
        indices: which they are, shape (N,).
        k: moments that were allowed.

    Returns:
        Shares in 0..1; what cannot be measured is left out.
    """
    average = metrics.mean_average_precision(said.scores, said.targets).value
    out = {"map": average} if (said.targets.sum(1) > 1).any() else {}
    out |= {"top1": metrics.top_k(said.scores, said.targets, 1), "map": average}
    if said.scores.shape[1] > 5:
        out["top5"] = metrics.top_k(said.scores, said.targets, 5)
    known = [(row, cache.records[i].truth) for row, i in enumerate(indices.tolist())]
    event = np.zeros_like(said.looked)
    centres = np.full((*event.shape, 2), np.nan)
    pixels = np.full((*event.shape, 4), np.nan)
    for row, truth in known:
        if truth is None:
            continue
        for start, end in truth.spans:
            event[row] |= (said.times[row] >= start) & (said.times[row] < end)
        counted = event[row] & said.looked[row] & np.isfinite(said.boxes[row]).all(1)
        centres[row] = _centres(truth, said.times[row])
        _, width, height = cache.facts(int(indices[row]))
        for t in np.flatnonzero(counted).tolist():
            pixels[row, t] = _pixels(said.boxes[row, t], width, height, cache.settings)
    if event.any():
        recall = metrics.moment_recall(said.looked, event, k)
        out["moment_recall"] = float(np.nanmean(recall))
        counted = event & said.looked & np.isfinite(centres).all(-1)
        out["patch_hit"] = metrics.patch_hit(pixels, centres, counted)
    return {name: value for name, value in out.items() if math.isfinite(value)}


def _spans_of(truth: Truth, name: str) -> tuple[tuple[float, float], ...]:
    """The spans of one label."""
    pairs = zip(truth.spans, truth.span_labels, strict=True)
    return tuple(span for span, label in pairs if label == name)


def _centres(truth: Truth, times: NDArray[np.float64]) -> NDArray[np.float64]:
    if not truth.boxes:
        return np.full((times.size, 2), np.nan)
    table = np.array(sorted(truth.boxes), dtype=np.float64)
    middles = ((table[:, 1] + table[:, 3]) / 2, (table[:, 2] + table[:, 4]) / 2)
    return np.stack([np.interp(times, table[:, 0], middle) for middle in middles], axis=-1)


def _pixels(
    box: NDArray[np.float64], width: int, height: int, settings: ViewSettings
) -> tuple[int, int, int, int]:
    return square_to_file(np.clip(box, 0.0, 1.0), width, height, settings)


def span_threshold(
    said: Answers, cache: Cache, indices: NDArray[np.int64], *, several: bool = False
) -> dict[str, float]:
    """The evidence threshold chosen on these videos: ``span_threshold``, and ``span_iou`` where measured.

    By the spans of videos with one label; with ``several`` also by those of each label that the truth names.
    """
    videos, truth = [], []
    for row, index in enumerate(indices.tolist()):
        known = cache.records[index].truth
        if known is None:
            continue
        labels = np.flatnonzero(said.targets[row]).tolist()
        if len(labels) != 1 and not (several and known.span_labels):
            continue
        duration_s = cache.facts(index)[0]
        for label in labels:
            spans = _spans_of(known, cache.dataset.classes[label]) if len(labels) > 1 else known.spans
            if spans:
                evidence = said.evidence[row, :, label]
                videos.append((said.saliency[row], evidence, said.times[row], duration_s))
                truth.append(spans)
    if not videos:
        return {"span_threshold": UNMEASURED_THRESHOLD}
    threshold, iou = choose_threshold(videos, truth)
    return {"span_threshold": threshold, "span_iou": iou}
