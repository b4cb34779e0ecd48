"""Large layers with weights in bfloat16 that answer in float32, for answering alone.

A layer that multiplies few rows waits for its weights: half the bytes, half the time.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LARGE = 4_000_000  # weights; smaller ones stay in the processor's own memory


class ShortLinear(nn.Module):
    """A linear layer; sums are exact, factors have three digits."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        kind = torch.bfloat16
        self.weight = nn.Parameter(weight.detach().to(kind), requires_grad=False)
        self.bias = None if bias is None else nn.Parameter(bias.detach().to(kind), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        """As the layer, in float32."""
        return F.linear(x.to(self.weight.dtype), self.weight, self.bias).float()


class ShortCell(nn.Module):
    """A ``GRUCell``, whose state is float32."""

    def __init__(self, cell: nn.GRUCell) -> None:
        super().__init__()
        bias: Any = (cell.bias_ih, cell.bias_hh) if cell.bias else (None, None)
        self.take, self.keep = ShortLinear(cell.weight_ih, bias[0]), ShortLinear(cell.weight_hh, bias[1])

    def forward(self, x: Tensor, state: Tensor) -> Tensor:
        """The next state (n, hidden)."""
        given, kept = self.take(x).chunk(3, 1), self.keep(state).chunk(3, 1)
        reset, update = (given[0] + kept[0]).sigmoid(), (given[1] + kept[1]).sigmoid()
        new = (given[2] + reset * kept[2]).tanh()
        following: Tensor = new + update * (state - new)
        return following


def shorten(net: nn.Module, *, besides: str) -> None:
    """Puts short layers in the place of a network's large ones.

    Args:
        net: changed for good.
        besides: beginning of the names of parts that are left alone.
    """
    for name, part in list(net.named_modules()):
        if name.startswith(besides):
            continue
        if type(part) is nn.GRUCell and part.weight_hh.numel() >= LARGE:
            net.set_submodule(name, ShortCell(part))
        elif type(part) is nn.Linear and part.weight.numel() >= LARGE:
            net.set_submodule(name, ShortLinear(part.weight, part.bias))
