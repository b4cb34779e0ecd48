"""From the features of the moments to an answer after every one of them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from avglance.errors import ArgumentError, ShapeError


class LowRankMix(nn.Module):
    """Product of the senses in low rank: (1 / R) sum_r prod_m W_m^r [f_m ; 1] + b.

    In place of one linear layer on the concatenation, it holds what the senses say *together*: each output
    is a sum of R products of one factor a sense.

    Shapes:
        in   features (n, sum of ``widths``), the senses side by side
        out  (n, width)

    Source: low-rank multimodal fusion (ACL 2018), the richer fusion of AVGN's outlook.
    """

    def __init__(self, widths: Sequence[int], width: int, rank: int = 4) -> None:
        super().__init__()
        if rank < 1:
            raise ArgumentError(f"rank must be at least 1, got {rank}", where="LowRankMix")
        self.widths, self.rank = tuple(widths), rank
        self.factors = nn.ModuleList(nn.Linear(one, rank * width) for one in widths)
        for factor in self.factors:  # products of several small numbers vanish: start each factor near 1
            nn.init.ones_(factor.bias)  # type: ignore[arg-type]
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, features: Tensor) -> Tensor:
        """The mixed features."""
        whole: Tensor | None = None
        for factor, part in zip(self.factors, torch.split(features, list(self.widths), dim=-1), strict=True):
            one = factor(part).unflatten(-1, (self.rank, -1))  # (n, R, width)
            whole = one if whole is None else whole * one
        assert whole is not None
        return whole.sum(-2) / self.rank + self.bias


class PrefixClassifier(nn.Module):
    """Features of the moments in order -> logits after each of them.

    z_j = ReLU(BN(W f_j)) with one W for all; m_j = max(m_{j-1}, z_j); logits_j = head_j(m_j), a head a step.
    In evaluation logits_j depend on the first j moments alone, and K may be any number: behind the last head
    that head goes on answering.

    Shapes:
        in   features (B, K, Din)
        out  logits   (B, K, C)

    At Din = 4608, hidden 4096, 200 classes: 31,997,056 parameters with 16 steps, 19,693,568 multiply-adds a
    step.

    Source: FrameExit, as AdaFocus V2 uses it.
    """

    def __init__(
        self,
        width_in: int | Sequence[int],
        hidden: int,
        classes: int,
        steps: int,
        *,
        dropout: float = 0.2,
        rank: int = 0,
    ) -> None:
        """``width_in``: Din, or the widths of the senses in a row; ``rank`` above 0 mixes in low rank."""
        super().__init__()
        if steps < 1:
            raise ArgumentError(f"steps must be at least 1, got {steps}", where="PrefixClassifier")
        widths = (width_in,) if isinstance(width_in, int) else tuple(width_in)
        self.mix: nn.Module = LowRankMix(widths, hidden, rank) if rank else nn.Linear(sum(widths), hidden)
        self.norm = nn.BatchNorm1d(hidden)
        self.dropout = nn.Dropout(dropout)
        self.heads = nn.ModuleList(nn.Linear(hidden, classes) for _ in range(steps))

    def forward(self, features: Tensor) -> Tensor:
        """Logits after every prefix."""
        return self.steps(features)[0]

    def steps(self, features: Tensor, best: Tensor | None = None, first: int = 0) -> tuple[Tensor, Tensor]:
        """Logits after each of the next moments, and m after the last of them.

        Args:
            features: of the moments number ``first`` and on, shape (B, K, Din).
            best: m after those before, shape (B, hidden); None where there are none.
            first: how many there were before.
        """
        if features.ndim != 3 or not features.shape[1]:
            raise ShapeError(
                f"features must be (B, K >= 1, Din), got {tuple(features.shape)}", where="PrefixClassifier"
            )
        B, K, _ = features.shape
        z = self.norm(self.mix(features.flatten(0, 1))).relu().unflatten(0, (B, K))  # (B, K, hidden)
        m, logits = z[:, 0] if best is None else best, []
        for j in range(K):
            m = torch.maximum(m, z[:, j])
            logits.append(self.heads[min(first + j, len(self.heads) - 1)](self.dropout(m)))
        return torch.stack(logits, dim=1), m
