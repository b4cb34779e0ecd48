"""What the steps since the last line of metrics.jsonl gave."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from avglance.errors import ArgumentError


@dataclass
class Sums:
    """Sums that stay on the device, so that no step waits for it.

    Attributes:
        terms: of the losses, by name; "loss" is their sum.
        norm: of the gradients' norms.
        steps: how many were added up.
    """

    terms: dict[str, Tensor] = field(default_factory=dict)
    norm: Tensor | float = 0.0
    steps: int = 0

    def add(self, terms: Mapping[str, Tensor], norm: Tensor) -> None:
        """One more step."""
        for name, term in terms.items():
            self.terms[name] = self.terms.get(name, 0.0) + term
        self.norm = self.norm + norm
        self.steps += 1

    def check(self, step: int, stage: str) -> None:
        """Raises ArgumentError where the loss or the gradient is no number any more."""
        loss, norm = float(self.terms.get("loss", 0.0)), float(self.norm)
        for name, value in (("loss", loss), ("gradient", norm)):
            if not math.isfinite(value):
                raise ArgumentError(
                    f"the {name} is {value} after {step} steps",
                    where=stage,
                    hint="train with a lower --rate, or clip the gradient (--clip 5)",
                )

    def means(self) -> dict[str, float]:
        """Of each term, over the steps."""
        return {name: float(value) / self.steps for name, value in self.terms.items()}
