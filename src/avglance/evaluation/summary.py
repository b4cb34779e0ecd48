"""From the answers of a run to its figures: plain values that go into JSON, None where nothing is known."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np

from avglance import metrics
from avglance.evaluation.answers import Answer
from avglance.evaluation.intervals import clusters, mean_interval, share_interval
from avglance.evaluation.truth import uniform_snippets
from avglance.systems.calibration import calibration_error
from avglance.systems.thresholds import f1_scores
from avglance.types import STAGES, Failure

SCHEMA = "avglance.evaluation/1"
LEADING = {"single": "top1", "multi": "map"}
"""The figure that leads, by the label mode of the data."""


@dataclass(frozen=True)
class Run:
    """Everything a summary is made of.

    Attributes:
        answers: one for each video that could be read, in the dataset's order.
        failures: one for each that could not.
        classes: the model's, in the order of the scores.
        k: the budget.
        seconds: by stage, summed over all videos.
        wall_s: from the first file to the last answer.
        whole_macs: of a close look at everything in one video.
        seed: of the bootstrap.
        calibrated: whether the scores are: the model's card says how.
        label_mode: whether the dataset gives its videos one label ("single") or several ("multi").
        about: what was run on what; goes into the JSON as it is.
        notes: what a reader must know; goes into the JSON as it is.
    """

    answers: tuple[Answer, ...]
    failures: tuple[Failure, ...]
    classes: tuple[str, ...]
    k: int
    seconds: dict[str, float]
    wall_s: float
    whole_macs: int
    seed: int = 0
    calibrated: bool = False
    label_mode: Literal["single", "multi"] = "single"
    about: dict[str, Any] = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)


def summarise(run: Run) -> dict[str, Any]:
    """The figures of a run: shares in 0..1, spans as IoU, GMACs and seconds a video by stage, and ``rows``.

    Videos that failed are named and counted and enter no other figure. ``ece`` and ``calibration_error``
    (debiased, bins of equal mass) are of the scores that ``tag`` gives; ``unknown`` holds, as shares and
    counts, what is called so (``_unknown``); top-1 and the like are of the names behind it, over the videos
    that have labels. ``patch_hit`` is a share of chosen
    event snippets; ``patch_area`` beside it is the share of the source square that a patch covers.
    ``everywhere`` names classes that every video shows: their average precision is 1 whatever is said.
    ``leading`` names the figure that leads: ``map`` where the data is multi label, else ``top1``. ``f1`` (of
    all yes and no answers together; ``f1_macro``: the mean of the classes that appear) is of a model that
    says several labels. ``uniform_ceiling`` is the share of videos with an event in which at least one of K
    uniform snippets meets it, ``span_iou`` the mean overlap of the true labels' spans with the event.
    ``interval_groups`` says over how many source groups the intervals are; None: over videos, each by itself.
    """
    found: dict[str, Any] = {"schema": SCHEMA, **run.about, "videos": len(run.answers)}
    found |= {"failed": len(run.failures), "failures": [asdict(f) for f in run.failures]}
    found |= _labels(run) | _looks(run) | _cost(run) | run.notes
    found |= {"label_mode": run.label_mode, "leading": LEADING[run.label_mode]} | _said(run)
    found["verdicts"] = {v: sum(a.condition.verdict == v for a in run.answers) for v in ("ok", "degraded")}
    found["keyframes"] = {
        "snippets": _mean([a.on_keyframes for a in run.answers]),
        "pictures": _mean([a.pictures for a in run.answers]),
    }
    found["heard"] = sum(a.heard for a in run.answers)
    groups = clusters(a.group for a in run.answers)
    found["interval_groups"] = None if groups is None else len(set(groups))
    plain: dict[str, Any] = _plain(found)
    plain["rows"] = [a.row(run.classes, run.k) for a in run.answers]
    return plain


def _labels(run: Run) -> dict[str, Any]:
    """Top-1, top-5, mAP and calibration over the videos that have labels."""
    known = [a for a in run.answers if a.labels]
    empty: dict[str, Any] = dict.fromkeys(
        ("top1", "top1_interval", "top5", "map", "map_empty_as_zero", "ece", "calibration_error")
    )
    if not known:
        return empty | {"labelled": 0, "absent_classes": [], "everywhere": []} | _unknown(run)
    scores, truth = np.stack([a.scores for a in known]), np.stack([a.target for a in known])
    hits = metrics.top_k_hits(scores, truth, 1)
    average = metrics.mean_average_precision(scores, truth)
    return {
        "labelled": len(known),
        "top1": metrics.top_k(scores, truth, 1),
        "top1_interval": share_interval(hits, clusters(a.group for a in known), seed=run.seed),
        "top5": metrics.top_k(scores, truth, 5) if len(run.classes) >= 5 else None,
        "map": average.value,
        "map_empty_as_zero": metrics.mean_average_precision(scores, truth, empty="zero").value,
        "absent_classes": [run.classes[c] for c in average.absent],
        "everywhere": [run.classes[c] for c in np.flatnonzero(truth.all(axis=0))],
        "ece": metrics.expected_calibration_error(scores, truth),
        "calibration_error": calibration_error(scores, truth),
    } | _unknown(run)


def _said(run: Run) -> dict[str, Any]:
    """How well a model that says several labels says them: F1, and how many a video it says; else None."""
    pairs = [(a.said, a.target) for a in run.answers if a.labels and a.said is not None]
    if not pairs:
        return dict.fromkeys(("f1", "f1_macro", "labels_said"))
    said, truth = (np.stack(side) for side in zip(*pairs, strict=True))
    each, seen = f1_scores(said, truth, axis=0), (said | truth).any(axis=0)
    return {
        "f1": float(f1_scores(said, truth)),
        "f1_macro": float(each[seen].mean()) if seen.any() else None,
        "labels_said": float(said.sum(axis=1).mean()),
    }


def _unknown(run: Run) -> dict[str, Any]:
    """What is called unknown: of all videos, of those that are, of those of known classes, of right answers.

    ``top1_lost`` is what top-1 would lose if ``unknown`` were an answer like the others.
    """
    strange = [a.unknown for a in run.answers if a.strange]
    known = [a.unknown for a in run.answers if a.target.any()]
    right = [a.unknown for a in run.answers if a.hit(1)]
    labelled = sum(bool(a.labels) for a in run.answers)
    found = {"said": [a.unknown for a in run.answers], "recognised": strange}
    found |= {"known_said": known, "right_lost": right}
    shares = {name: _mean(some) for name, some in found.items()}
    counts = {f"{name}_videos": sum(some) for name, some in found.items()}
    counts |= {"videos": len(strange), "known": len(known), "right": len(right)}
    lost = sum(right) / labelled if labelled else None
    return {"calibrated": run.calibrated, "unknown": shares | counts | {"top1_lost": lost}}


def _looks(run: Run) -> dict[str, Any]:
    """Where the model looked, against what is known."""
    events = [a for a in run.answers if a.event is not None]
    recalls = np.array([a.recall(run.k) for a in events], dtype=np.float64)
    hits = np.concatenate([a.patch_hits for a in run.answers]) if run.answers else np.zeros(0, dtype=bool)
    areas = [float(v) for a in run.answers for v in a.patch_area[a.looked] if not math.isnan(v)]
    overlaps = [a.span_iou for a in events]
    some = [a for a in events if a.event is not None and a.event.any()]
    return {
        "events": len(events),
        "events_on_the_grid": len(some),
        "moment_recall": _mean(recalls),
        "moment_recall_interval": mean_interval(recalls, clusters(a.group for a in events), seed=run.seed),
        "patch_hit": _mean(hits),
        "patch_chances": int(hits.size),
        "patch_area": _mean(areas),
        "span_iou": _mean(overlaps),
        "span_iou_above_half": _mean([float(v >= 0.5) for v in overlaps]),
        "uniform_ceiling": _uniform_ceiling(events, run.k),
        "looks": _mean([float(a.looked.sum()) for a in run.answers]),
        "looks_distribution": _distribution([float(a.looked.sum()) for a in run.answers]),
    }


def _uniform_ceiling(events: Sequence[Answer], k: int) -> float | None:
    met = []
    for a in events:
        if a.event is not None:
            met.append(float(a.event[uniform_snippets(len(a.event), min(k, len(a.event)))].any()))
    return _mean(met)


def _cost(run: Run) -> dict[str, Any]:
    """Multiply-adds and seconds a video by stage, and frames."""
    videos = max(len(run.answers), 1)
    stages = _in_order({stage for a in run.answers for stage in a.macs})
    totals = [sum(a.macs.values()) / 1e9 for a in run.answers]
    frames = np.array([a.frames for a in run.answers], dtype=np.int64).reshape(-1, 3)
    delivered, decoded, whole = (int(v) for v in frames.sum(axis=0))
    per_video = {s: sum(a.macs.get(s, 0) for a in run.answers) / 1e9 / videos for s in stages}
    return {
        "gmacs": per_video | {"total": _mean(totals)},
        "gmacs_distribution": _distribution(totals),
        "whole_gmacs": run.whole_macs / 1e9,
        "seconds": {s: run.seconds[s] / videos for s in _in_order(run.seconds)}
        | {"total": sum(run.seconds.values()) / videos},
        "wall_s": run.wall_s,
        "wall_s_per_video": run.wall_s / videos,
        "frames": {
            "delivered": delivered / videos,
            "decoded": decoded / videos,
            "whole": whole / videos,
        },
    }


def _in_order(stages: Any) -> list[str]:
    return [s for s in STAGES if s in stages] + sorted(set(stages) - set(STAGES))


def _distribution(values: Sequence[float]) -> dict[str, float] | None:
    if not values:
        return None
    named: dict[str, Callable[..., Any]] = {"min": np.min, "mean": np.mean, "max": np.max, "std": np.std}
    marks = {f"p{p}": float(np.percentile(values, p)) for p in (10, 50, 90)}
    return {name: float(of(values)) for name, of in named.items()} | marks


def _mean(values: Any) -> float | None:
    """Mean of what is not NaN, None for nothing."""
    array = np.asarray(values, dtype=np.float64)
    array = array[~np.isnan(array)]
    return float(array.mean()) if array.size else None


def _plain(value: Any) -> Any:
    """The same with None in place of what is not finite."""
    if isinstance(value, dict):
        return {key: _plain(v) for key, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
