"""From the features of the moments to an answer after every one of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from avglance.errors import ArgumentError, ShapeError

TEMPERATURE = 2.0
"""Of a soft maximum over moments: between the strongest alone (0) and their mean (without end)."""


def soft_maximum(logits: Tensor, *, temperature: float = TEMPERATURE) -> Tensor:
    """Smooth maximum over the moments: (B, T, C) -> (B, C).

    Equal logits of all moments come out as they are, however many there are.

    Source: log-sum-exp pooling of multiple-instance learning.
    """
    return temperature * ((logits / temperature).logsumexp(1) - math.log(logits.shape[1]))


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

    z_j = ReLU(BN(W f_j)) with one W for all. By pool "max" m_j = max(m_{j-1}, z_j); logits_j = head_j(m_j), a
    head a step. By pool "soft" one head answers for each moment by itself, and logits_j is the soft maximum
    of these answers: a moment that shows none of the classes adds little, where its features could still win
    the maximum. In evaluation logits_j depend on the first j moments alone, and K may be any number: behind
    the last head that head goes on answering.

    Shapes:
        in   features (B, K, Din)
        out  logits   (B, K, C)

    At Din = 4608, hidden 4096, 200 classes: 31,997,056 parameters with 16 steps, 19,693,568 multiply-adds a
    step.

    Source: FrameExit, as AdaFocus V2 uses it ("max"); ours ("soft").
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
        pool: Literal["max", "soft"] = "max",
    ) -> None:
        """``width_in``: Din, or the widths of the senses in a row; ``rank`` above 0 mixes in low rank."""
        super().__init__()
        if steps < 1:
            raise ArgumentError(f"steps must be at least 1, got {steps}", where="PrefixClassifier")
        widths = (width_in,) if isinstance(width_in, int) else tuple(width_in)
        self.mix: nn.Module = LowRankMix(widths, hidden, rank) if rank else nn.Linear(sum(widths), hidden)
        self.norm = nn.BatchNorm1d(hidden)
        self.dropout = nn.Dropout(dropout)
        self.pool = pool
        self.heads = nn.ModuleList(nn.Linear(hidden, classes) for _ in range(steps if pool == "max" else 1))

    def forward(self, features: Tensor) -> Tensor:
        """Logits after every prefix."""
        return self.steps(features)[0]

    def steps(self, features: Tensor, best: Tensor | None = None, first: int = 0) -> tuple[Tensor, Tensor]:
        """Logits after each of the next moments, and what is known after the last of them.

        Args:
            features: of the moments number ``first`` and on, shape (B, K, Din).
            best: what is known after those before, None where there are none: by "max" m, shape (B, hidden);
                by "soft" the log of the sum of what the moments said, shape (B, C).
            first: how many there were before.
        """
        if features.ndim != 3 or not features.shape[1]:
            raise ShapeError(
                f"features must be (B, K >= 1, Din), got {tuple(features.shape)}", where="PrefixClassifier"
            )
        B, K, _ = features.shape
        z = self.norm(self.mix(features.flatten(0, 1))).relu().unflatten(0, (B, K))  # (B, K, hidden)
        if self.pool == "soft":
            said = self.heads[0](self.dropout(z)).float() / TEMPERATURE  # (B, K, C)
            said = said if best is None else torch.cat([best[:, None], said], 1)
            sums = said.logcumsumexp(1)[:, -K:]
            count = torch.arange(first + 1, first + K + 1, device=sums.device, dtype=sums.dtype)
            return TEMPERATURE * (sums - count.log()[:, None]), sums[:, -1]
        m, logits = z[:, 0] if best is None else best, []
        for j in range(K):
            m = torch.maximum(m, z[:, j])
            logits.append(self.heads[min(first + j, len(self.heads) - 1)](self.dropout(m)))
        return torch.stack(logits, dim=1), m
