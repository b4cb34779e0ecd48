"""A model over a dataset: its figures, with what they cost."""

from __future__ import annotations

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
