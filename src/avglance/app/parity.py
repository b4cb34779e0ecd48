"""Whether exported graphs answer as the model does that they were made from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from avglance.app import runtimes
from avglance.app.answer import raise_failure
from avglance.runtime import Decision
from avglance.types import Labels
from avglance.views import FileView

if TYPE_CHECKING:
    from avglance.app.api import Model
    from avglance.app.budget import Plan

TOLERANCE = 1e-3
"""How far logits, saliency, evidence and boxes (fractions of the square) may lie apart."""
NUMBERS = ("saliency", "boxes", "evidence")
SAMPLE = Path(__file__).resolve().parents[1] / "samples" / "glanceworld.mp4"


@dataclass(frozen=True)
class Parity:
    """Two answers for one file and budget.

    Attributes:
        file: that was answered for.
        budget: in words.
        looks: close looks taken.
        apart: largest differences, by what was compared.
        wrong: what differs by more than it may, in words.
    """

    file: str
    budget: str
    looks: int
    apart: dict[str, float]
    wrong: tuple[str, ...]


def compare(model: Model, exported: Model, files: Sequence[Path]) -> Iterator[Parity]:
    """Both models on every file: one look, the usual number, all of them, and stopping when sure.

    Raises:
        MediaError: a file cannot be read.
    """
    for file in files:
        for plan in plans(model):
            one, other = (_decide(m, file, plan) for m in (model, exported))
            yield compared(str(file), plan, one, other, labels=model.label_mode)


def plans(model: Model) -> list[Plan]:
    """The budgets at which both are compared."""
    most = model.max_budget
    looks = sorted({1, min(4, most), most})
    return [model.plan(k, early) for early in ((False, True) if model.stops else (False,)) for k in looks]


def _decide(model: Model, file: Path, plan: Plan) -> Decision:
    with FileView([file], model.view_settings) as view:
        raise_failure(view, str(file))
        return runtimes.recognise(model.engine, view, plan.looks, plan.stop(0.0))[0]


def compared(file: str, plan: Plan, one: Decision, other: Decision, *, labels: Labels = "one") -> Parity:
    """Two answers for one file, the second of them by graphs."""
    wrong, looks = [], int(one.looked[0].sum())
    moments = [d.order[0][d.looked[0][d.order[0]]].tolist() for d in (one, other)]
    if moments[0] != moments[1]:
        wrong.append(f"it looked at snippets {moments[0]}, the graphs at {moments[1]}")
    apart = {name: _apart(getattr(one, name), getattr(other, name)) for name in NUMBERS}
    said = [d.scores if d.prefix is None else d.prefix for d in (one, other)]
    apart["logits"] = _apart(*(logits_of(scores, labels) for scores in said))
    wrong += [f"{name} differ by {far:.2g}" for name, far in apart.items() if not far <= TOLERANCE]
    return Parity(file, plan.words, looks, apart, tuple(wrong))


def logits_of(scores: NDArray[Any], labels: Labels = "one") -> NDArray[np.float64]:
    """Logits (..., C) of probabilities, their mean 0; of several labels those of each class."""
    given = scores.astype(np.float64)
    logs = np.log(np.maximum(given, 1e-30))
    if labels == "several":
        return np.asarray(logs - np.log(np.maximum(1 - given, 1e-30)))
    centred: NDArray[np.float64] = logs - logs.mean(axis=-1, keepdims=True)
    return centred


def _apart(one: NDArray[Any], other: NDArray[Any]) -> float:
    """The largest difference; where only one of both is a number it has no end."""
    if one.shape != other.shape or (np.isnan(one) != np.isnan(other)).any():
        return float("inf")
    return float(np.nan_to_num(np.abs(one - other)).max(initial=0.0))
