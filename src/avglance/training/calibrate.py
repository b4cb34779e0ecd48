"""What a trained model finds out about itself on held-out videos, as entries of its card.

``calibration`` holds a temperature for each number of looks and the scores below which nothing known is
there, ``unknown`` what saying so costs, ``exits`` the thresholds that let it stop looking early.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from avglance import metrics
from avglance.systems.base import System
from avglance.systems.budget import look_macs
from avglance.systems.calibration import (
    KNOWN_SHARE,
    LOST_SHARE,
    Judgement,
    calibration_error,
    crossed,
    fit_temperature,
    least,
    settle,
)
from avglance.systems.exits import HALVES, HALVES_LOST, ExitTable
from avglance.systems.thresholds import EVEN, certainty, f1_scores
from avglance.training.batches import Batches
from avglance.types import Labels

LEAST_VIDEOS = 30
"""Held-out videos below which nothing is calibrated."""
MOST_FITTED = 4000
"""Videos that tell what training's looks are like: more of them tell no more."""
ESTIMATOR = "top-1, 15 bins of equal mass, debiased; each half of the videos at the other half's temperature"
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Outcomes:
    """What a system answers for N videos after every number of looks.

    Attributes:
        prefix: scores after each look (after all of them, where a system answers once), shape (N, K, C).
        saliency: logits, shape (N, T).
        truth: multi-hot, shape (N, C).
        offered: how many looks each video has to offer, shape (N,).
        looked: how many of them are close ones, at most, as its answer counts them, shape (N,).
        known: how known the answer after each look is, shape (N, K); None where the system cannot say.
    """

    prefix: Floats
    saliency: Floats
    truth: Floats
    offered: NDArray[np.int64]
    looked: NDArray[np.int64]
    known: Floats | None = None


@torch.no_grad()
def outcomes(system: System, batches: Batches, k: int, *, device: torch.device, halves: int = 0) -> Outcomes:
    """The dense answers for all videos of ``batches``; a system that answers once does so at ``k`` looks.

    ``halves``: so many of the looks come after half of the glance.
    """
    rows: list[tuple[NDArray[Any], ...]] = []
    was_training = system.training
    system.eval()
    looks = system.max_k
    try:
        for clips in batches.plain():
            clips = clips.to(device)
            found = system.in_halves(clips, looks, halves) if halves else system(clips, looks)
            if found.prefix is None and looks != k:
                looks = k
                found = system(clips, k)
            prefix = found.scores[:, None] if found.prefix is None else found.prefix
            there = clips.visible.sum(1).clamp(max=system.pictures())
            tensors = [prefix, found.saliency, clips.targets, there, found.looked.sum(1)]
            tensors += [] if found.known is None else [found.known]
            rows.append(tuple(x.double().cpu().numpy() for x in tensors))
    finally:
        system.train(was_training)
    prefix, saliency, truth, offered, looked, *known = (
        np.concatenate(column) for column in zip(*rows, strict=True)
    )
    counts = offered.astype(np.int64), looked.astype(np.int64)
    return Outcomes(prefix, saliency, truth, *counts, known[0] if known else None)


def fit_familiar(system: System, training: Batches, k: int, *, device: torch.device) -> None:
    """Lets a system learn what the videos that trained it are like; of many, evenly spread ones."""
    count = len(training.indices)
    at = np.unique(np.linspace(0, count - 1, min(count, MOST_FITTED)).round().astype(int))
    batches = replace(training, indices=training.indices[at]).plain()
    was_training = system.training
    system.eval().fit_familiar((clips.to(device) for clips in batches), k)
    system.train(was_training)


def calibrate(
    system: System, held_out: Batches, strangers: Batches | None, k: int, *, device: torch.device
) -> dict[str, Any]:
    """The entries for a card, by held-out videos and others that show none of the classes.

    Nothing where the held-out videos are too few.
    """
    if len(held_out.indices) < LEAST_VIDEOS:
        return {}
    known = outcomes(system, held_out, k, device=device)
    halved = outcomes(system, held_out, k, device=device, halves=HALVES) if system.halves else None
    examples = None if strangers is None else outcomes(system, strangers, k, device=device)
    return card_entries(known, examples, k, look_macs(system), labels=system.labels, halved=halved)


def card_entries(
    known: Outcomes,
    examples: Outcomes | None,
    k: int,
    macs: tuple[int, int],
    *,
    labels: Labels = "one",
    halved: Outcomes | None = None,
) -> dict[str, Any]:
    """What ``calibrate`` writes, of answers; ``macs`` before the first look and of each.

    ``halved``: answers whose first looks came after half of the glance.
    """
    _, K, C = known.prefix.shape
    at = min(k, K) - 1
    heat = tuple(fit_temperature(known.prefix[:, j], known.truth, labels) for j in range(K))
    judge = Judgement(heat, thresholds=(EVEN,) * C if labels == "several" else ())
    given = _calibrated(judge, known, at)
    strange = None if examples is None else (_calibrated(judge, examples, at), examples.saliency)
    by_known = known.known is not None and labels == "one"
    judge = settle(heat, given, known.truth, known.saliency, examples=strange, labels=labels)
    judge = replace(judge, least_known=_least_known(known, slice(None))) if by_known else judge
    judges = _crossed_judges(given, known, strange, labels)
    raw = known.prefix[:, at]
    entries: dict[str, Any] = {
        "calibration": judge.as_card()
        | {
            "videos": len(raw),
            "k": k,
            "ece": calibration_error(crossed(raw, known.truth, labels), known.truth),
            "ece_uncalibrated": calibration_error(raw, known.truth),
            "estimator": ESTIMATOR,
        },
        "unknown": {
            "share": KNOWN_SHARE if by_known else LOST_SHARE,
            "right_lost": _lost(given, known, judges, at),
            "examples": 0 if examples is None else len(examples.truth),
            "recognised": None
            if strange is None or examples is None
            else float(_unknown(judge, strange[0], examples, at).mean()),
        },
    }
    if labels == "several":
        entries["calibration"]["f1"] = _crossed_f1(given, known, judges)
    if K > 1:
        table = _exits(judge, known)
        entries["exits"] = _exit_card(table, macs) | {"videos": len(raw)}
        entries["exits"] |= {"measure": "F1"} if labels == "several" else {}
        inner = None if halved is None else _exits(judge, halved, HALVES)
        if inner is not None and _pays(inner, table, macs):
            entries["exits"]["in_halves"] = _exit_card(inner, macs)
    return entries


def _exit_card(table: ExitTable, macs: tuple[int, int]) -> dict[str, Any]:
    return table.as_card() | {"gmacs": [cost / 1e9 for cost in table.macs(*macs)]}


def _pays(inner: ExitTable, table: ExitTable, macs: tuple[int, int]) -> bool:
    """Whether a glance in halves takes less for answers that lack at most ``HALVES_LOST``."""
    one, other = inner.within(np.inf), table.within(np.inf)
    less = inner.macs(*macs)[one] < table.macs(*macs)[other]
    return less and inner.top1[one] >= table.top1[other] - HALVES_LOST


def _exits(judge: Judgement, known: Outcomes, halves: int = 0) -> ExitTable:
    """The table by what is right after each look: the best class, or of several labels the F1."""
    _, K, C = known.prefix.shape
    if judge.labels == "several":
        said = [judge.said(_calibrated(judge, known, j)) for j in range(K)]
        right = np.stack([f1_scores(yes, known.truth, axis=1) for yes in said], axis=1)
        return ExitTable.solve(certainty(known.prefix), right, known.offered, halves=halves)
    hits = metrics.top_k_hits(known.prefix.reshape(-1, C), np.repeat(known.truth, K, 0), 1)
    return ExitTable.solve(known.prefix.max(axis=2), hits.reshape(-1, K), known.offered, halves=halves)


def _calibrated(judge: Judgement, found: Outcomes, at: int) -> Floats:
    """Calibrated scores (N, C) after look number ``at`` + 1, or fewer where a video offers no more."""
    return judge.scores(found.prefix[:, at], np.minimum(found.looked, at + 1))


def _crossed_judges(
    given: Floats, known: Outcomes, strange: tuple[Floats, Floats] | None, labels: Labels
) -> list[tuple[slice, Judgement]]:
    """Each half of the videos with the judgement that the other half gives."""
    found = []
    for half in (0, 1):
        there = slice(1 - half, None, 2)
        others = given[there], known.truth[there], known.saliency[there]
        judge = settle((1.0,), *others, examples=strange, labels=labels)
        if known.known is not None and labels == "one":
            judge = replace(judge, least_known=_least_known(known, there))
        found.append((slice(half, None, 2), judge))
    return found


def _least_known(found: Outcomes, rows: slice) -> tuple[float, ...]:
    """After each look how known an answer must be, at the cost of ``KNOWN_SHARE`` of the right ones, (K,)."""
    assert found.known is not None  # the caller looked
    floors = []
    for j in range(found.prefix.shape[1]):
        right = metrics.top_k_hits(found.prefix[rows, j], found.truth[rows], 1)
        values = found.known[rows, j][right]
        floors.append(least(values[np.isfinite(values)], KNOWN_SHARE))
    return tuple(floors)


def _unknown(
    judge: Judgement, given: Floats, found: Outcomes, at: int, rows: slice = slice(None)
) -> NDArray[np.bool_]:
    """Which answers after look number ``at`` + 1, of calibrated scores ``given``, are called unknown."""
    known = None if found.known is None else found.known[rows, at]
    looks = np.minimum(found.looked[rows], at + 1)
    return judge.unknown(given[rows], found.saliency[rows], known, looks)


def _lost(given: Floats, known: Outcomes, judges: list[tuple[slice, Judgement]], at: int) -> float | None:
    """Share of right answers called unknown, each half of the videos by the thresholds of the other half."""
    right = metrics.top_k_hits(given, known.truth, 1)
    solved = [
        judge.least_known[min(at, len(judge.least_known) - 1)] for _, judge in judges if judge.least_known
    ]
    if not right.any() or -np.inf in solved:  # too few for each half to have a threshold
        return None
    lost = np.zeros(len(given), dtype=bool)
    for here, judge in judges:
        lost[here] = _unknown(judge, given, known, at, here)
    return float(lost[right].mean())


def _crossed_f1(given: Floats, known: Outcomes, judges: list[tuple[slice, Judgement]]) -> float:
    """F1 of all answers together, each half of the videos by the thresholds of the other half."""
    said = np.zeros(given.shape, dtype=bool)
    for here, judge in judges:
        said[here] = judge.said(given[here])
    return float(f1_scores(said, known.truth))
