"""The prefix classifier: an answer after every moment."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from avglance.errors import ArgumentError, ShapeError


class PrefixClassifier(nn.Module):
    """Features of the moments in order -> logits after each of them.

    z_j = ReLU(BN(W f_j)) with one W for all; m_j = max(m_{j-1}, z_j); logits_j = head_j(m_j), a head a step.
    In evaluation logits_j depend on the first j moments alone, and K may be any number up to ``steps``.

    Shapes:
        in   features (B, K, Din), K <= steps
        out  logits   (B, K, C)

    At Din = 4608, hidden 4096, 200 classes: 31,997,056 parameters with 16 steps, 19,693,568 multiply-adds a
    step.

    Source: FrameExit, as AdaFocus V2 uses it.
    """

    def __init__(self, width_in: int, hidden: int, classes: int, steps: int, dropout: float = 0.2) -> None:
        super().__init__()
        self.steps = steps
        self.mix = nn.Linear(width_in, hidden)
        self.norm = nn.BatchNorm1d(hidden)
        self.dropout = nn.Dropout(dropout)
        self.heads = nn.ModuleList(nn.Linear(hidden, classes) for _ in range(steps))

    def forward(self, features: Tensor) -> Tensor:
        """Logits after every prefix."""
        if features.ndim != 3:
            raise ShapeError(
                f"features must be (B, K, Din), got {tuple(features.shape)}", where="PrefixClassifier"
            )
        B, K, _ = features.shape
        if not 1 <= K <= self.steps:
            raise ArgumentError(f"{K} moments, but heads for 1 to {self.steps}", where="PrefixClassifier")
        z = self.norm(self.mix(features.flatten(0, 1))).relu().unflatten(0, (B, K))  # (B, K, hidden)
        m, logits = z[:, 0], []
        for j in range(K):
            m = torch.maximum(m, z[:, j])
            logits.append(self.heads[j](self.dropout(m)))
        return torch.stack(logits, dim=1)
