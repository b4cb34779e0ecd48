"""Small heads beside the main way: auxiliary classifiers, and what stands in for a sense that is missing."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from avglance.errors import ArgumentError, ShapeError


class AuxHead(nn.Sequential):
    """Dropout and a linear layer: features (..., D) -> logits (..., C).

    Source: AdaFocus V2, auxiliary supervision.
    """

    def __init__(self, width: int, classes: int, dropout: float = 0.2) -> None:
        super().__init__(nn.Dropout(dropout), nn.Linear(width, classes))


class Missing(nn.Module):
    """Puts one learned vector where a sense is missing; never zeros, never noise.

    Shapes:
        in   features (..., D), present bool (...)
        out  (..., D)
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.vector = nn.Parameter(0.02 * torch.randn(width))

    def forward(self, features: Tensor, present: Tensor) -> Tensor:
        """``features`` where ``present``, else the learned vector."""
        if present.shape != features.shape[:-1]:
            raise ShapeError(
                f"present must be {tuple(features.shape[:-1])}, got {tuple(present.shape)}",
                where=type(self).__name__,
            )
        return torch.where(present.unsqueeze(-1), features, self.vector.to(features.dtype))


class NoPicture(Missing):
    """The learned no-picture vector, for snippets that are not visible."""


class NoSound(Missing):
    """The learned no-sound vector, and the draw of videos that lose their sound in training (DropPathway).

    Args:
        width: of the sound features.
        drop: probability that a video loses all its sound in training.

    Source: AVSlowFast, DropPathway; the learned vector is ours.
    """

    def __init__(self, width: int, drop: float = 0.0) -> None:
        super().__init__(width)
        if not 0.0 <= drop < 1.0:
            raise ArgumentError(f"drop={drop} is outside [0, 1)", where="NoSound")
        self.drop = drop

    def heard(self, audible: Tensor, rng: torch.Generator | None) -> Tensor:
        """``audible`` (B, T) less the videos drawn to lose their sound; all in evaluation or without rng."""
        if not self.training or rng is None or self.drop == 0.0:
            return audible
        keep = torch.rand(len(audible), 1, generator=rng, device=rng.device) >= self.drop
        return audible & keep.to(audible.device)
