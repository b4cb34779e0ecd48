"""A model over a dataset: its figures, with what they cost."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from avglance.evaluation.run import CONTROLS, EvaluationSettings, evaluate
    from avglance.evaluation.truth import event_snippets, object_centres, uniform_snippets

__all__ = [
    "CONTROLS",
    "EvaluationSettings",
    "evaluate",
    "event_snippets",
    "object_centres",
    "uniform_snippets",
]


def __getattr__(name: str) -> Any:  # comparing runs needs no torch, evaluating does
    if name in __all__:
        home = "run" if name in ("CONTROLS", "EvaluationSettings", "evaluate") else "truth"
        return getattr(import_module(f"avglance.evaluation.{home}"), name)
    raise AttributeError(f"module 'avglance.evaluation' has no attribute {name!r}")
