"""What a training has learned, in numbers: how right it is, what it confuses, which labels may be wrong.

Letters: N videos, C classes. Plain numpy and plain values, which ``app.learned`` shows to people.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avglance import metrics
from avglance.systems.calibration import tempered
from avglance.training.batches import Batches
from avglance.training.validate import Answers

SCHEMA = "avglance.learned/1"
EXAMPLES, PAIRS, SUSPECTS = 5, 15, 25
"""Files of a pair of classes, pairs, and doubtful labels that are named."""
MATRIX = 25
"""Classes, at most, of which every pair is counted."""
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Judged:
    """What a system says of N videos.

    Attributes:
        files: their names.
        scores: shape (N, C).
        targets: multi-hot, shape (N, C).
        heard: which have sound, shape (N,).
        trained: whether they trained the system.
    """

    files: Sequence[str]
    scores: Floats
    targets: Floats
    heard: NDArray[np.bool_]
    trained: bool = False

    @classmethod
    def of(cls, said: Answers, batches: Batches, *, trained: bool = False) -> Judged:
        """What was answered to all videos of some batches, by their names in the dataset."""
        cache = batches.cache
        files = [cache.dataset.name(cache.records[n]) for n in batches.indices.tolist()]
        return cls(files, said.scores, said.targets, said.heard, trained)

    def __len__(self) -> int:
        return len(self.files)

    def at(self, temperature: float) -> Judged:
        """The same with scores at a temperature."""
        scores = tempered(self.scores, temperature) if len(self) else self.scores
        return Judged(self.files, scores, self.targets, self.heard, self.trained)


def report(
    held: Judged,
    trained: Judged | None,
    *,
    classes: Sequence[str],
    counts: Sequence[int],
    several: bool,
    card: dict[str, Any],
    sizes: dict[str, int],
    gmacs: float,
) -> dict[str, Any]:
    """Everything, as plain JSON values.

    Args:
        held: what is said of the held-out videos, at least one.
        trained: of those that trained, to find labels that may be wrong; None: they were not asked.
        classes: names of the C classes.
        counts: videos of each that trained, (C,).
        several: a video may show several classes.
        card: of the model; of its calibration the temperature and the thresholds are used.
        sizes: how many videos ``trained`` and were ``held_out``, and in how many ``groups`` those are.
        gmacs: of one answer.
    """
    calibration = card.get("calibration") or {}
    heat = calibration.get("temperature")
    if heat and not several:
        at = float(heat[min(card["budget"], len(heat)) - 1])
        held, trained = held.at(at), trained.at(at) if trained is not None else None
    limits = calibration.get("threshold" if several else "least_score") or [None] * len(classes)
    asked = [held] if trained is None else [held, trained]
    found = doubtful_several(asked, classes) if several else doubtful(asked, classes)
    return {
        **_about(card),
        "label_mode": "multi" if several else "single",
        "videos": sizes,
        "accuracy": None if several else accuracy(held),
        "map": _finite(metrics.mean_average_precision(held.scores, held.targets).value),
        "classes": class_rows(held, classes, counts, limits, several=several),
        "confusions": [] if several else confusions(held, classes),
        "matrix": None if several or len(classes) > MATRIX else matrix(held).tolist(),
        "doubtful": found,
        "doubtful_asked": sum(len(side) for side in asked),
        "sound": {"heard": int(sum(x.heard.sum() for x in asked)), "of": sum(len(x) for x in asked)},
        "calibration": {name: calibration.get(name) for name in ("ece", "videos")} if calibration else None,
        "cost": {"seconds": card["seconds"], "device": card["device"], "gmacs": gmacs},
    }


def _about(card: dict[str, Any]) -> dict[str, Any]:
    """What a card says of the training."""
    return {
        "schema": SCHEMA,
        "name": card["name"],
        "system": card["settings"]["system"],
        "toy": card["toy"],
        "data": {name: card["data"].get(name) for name in ("folder", "kind", "sha256", "held_out")},
        "epochs": card["epochs"],
        "epochs_done": card["epochs_done"],
        "checkpoint": card["checkpoint"],
        "k": card["budget"],
    }


def accuracy(held: Judged) -> dict[str, Any]:
    """Top-1 with Wilson's 95 % interval, and what the most frequent class alone would give."""
    hits = metrics.top_k_hits(held.scores, held.targets, 1)
    found = metrics.proportion_interval(int(hits.sum()), len(held))
    return {
        "top1": found.value,
        "low": found.low,
        "high": found.high,
        "right": int(hits.sum()),
        "videos": len(held),
        "guess": float(held.targets.mean(axis=0).max()),
    }


def class_rows(
    held: Judged,
    classes: Sequence[str],
    counts: Sequence[int],
    limits: Sequence[float | None],
    *,
    several: bool,
) -> list[dict[str, Any]]:
    """For each class: how many videos, how many of them are found, its average precision and threshold."""
    said, rows = held.scores.argmax(axis=1), []
    for c, name in enumerate(classes):
        own = held.targets[:, c] > 0
        right = int((said[own] == c).sum())
        precision = metrics.average_precision(held.scores[:, c], own) if own.any() else math.nan
        rows.append(
            {
                "name": name,
                "trained": int(counts[c]),
                "held_out": int(own.sum()),
                "right": None if several else right,
                "recall": None if several or not own.any() else right / int(own.sum()),
                "average_precision": _finite(precision),
                "threshold": limits[c],
            }
        )
    return rows


def matrix(held: Judged) -> NDArray[np.int64]:
    """How many videos of class i were called class j, shape (C, C)."""
    C = held.scores.shape[1]
    pairs = held.targets.argmax(axis=1) * C + held.scores.argmax(axis=1)
    return np.bincount(pairs, minlength=C * C).reshape(C, C).astype(np.int64)


def confusions(held: Judged, classes: Sequence[str]) -> list[dict[str, Any]]:
    """Pairs of a class and what its videos were called, the most frequent first, the surest errors named."""
    label, said = held.targets.argmax(axis=1), held.scores.argmax(axis=1)
    counts = matrix(held)
    rows: list[dict[str, Any]] = []
    for i, j in np.argwhere(counts > 0).tolist():
        if i == j:
            continue
        at = np.flatnonzero((label == i) & (said == j))
        at = at[np.argsort(-held.scores[at, j], kind="stable")]
        shown = [{"file": held.files[n], "score": _finite(held.scores[n, j])} for n in at[:EXAMPLES].tolist()]
        row = {"label": classes[i], "said": classes[j], "count": int(counts[i, j])}
        rows.append({**row, "of": int(counts[i].sum()), "examples": shown})
    rows.sort(key=lambda row: (-row["count"], -(row["examples"][0]["score"] or 0.0)))
    return rows[:PAIRS]


def doubtful(asked: Sequence[Judged], classes: Sequence[str]) -> list[dict[str, Any]]:
    """Videos that the model calls another class than their label, as surely as it calls that class's own.

    Source: the rule of confident learning (Northcutt et al. 2021): the score of the class must reach the mean
    score that held-out videos with its label have for it.
    """
    sure = _usual(asked[0])
    rows = []
    for side in asked:
        label, said = side.targets.argmax(axis=1), side.scores.argmax(axis=1)
        score = side.scores.max(axis=1)
        for n in np.flatnonzero((label != said) & (score >= sure[said])).tolist():
            own = float(side.scores[n, label[n]])
            rows.append(_doubt(side, n, classes, said=int(said[n]), gap=float(score[n]) - own))
    return _surest(rows)


def doubtful_several(asked: Sequence[Judged], classes: Sequence[str]) -> list[dict[str, Any]]:
    """Videos without a label that the model is as sure of as of the class's own: it may be missing."""
    sure = _usual(asked[0])
    rows = []
    for side in asked:
        for n, c in np.argwhere((side.targets <= 0) & (side.scores >= sure)).tolist():
            rows.append(_doubt(side, n, classes, said=c, gap=float(side.scores[n, c] - sure[c])))
    return _surest(rows)


def _usual(held: Judged) -> Floats:
    """The mean score of each class on its own held-out videos, at least 1/2, (C,)."""
    count = np.maximum((held.targets > 0).sum(axis=0), 1)
    return np.asarray(np.maximum((held.scores * (held.targets > 0)).sum(axis=0) / count, 0.5))


def _doubt(side: Judged, n: int, classes: Sequence[str], *, said: int, gap: float) -> dict[str, Any]:
    labels = np.flatnonzero(side.targets[n] > 0).tolist()
    return {
        "file": side.files[n],
        "labels": [classes[c] for c in labels],
        "said": classes[said],
        "score": float(side.scores[n, said]),
        "score_of_label": max((float(side.scores[n, c]) for c in labels), default=0.0),
        "trained": side.trained,
        "gap": gap,
    }


def _surest(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    rows.sort(key=lambda row: -row["gap"])
    return [{name: value for name, value in row.items() if name != "gap"} for row in rows[:SUSPECTS]]


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
