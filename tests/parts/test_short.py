"""Large layers in bfloat16 answer nearly as before, in float32, with as many multiply-adds."""

from __future__ import annotations

import torch
from torch import nn

from avglance.parts.meter import row_macs
from avglance.parts.short import ShortCell, ShortLinear, shorten


def test_a_linear_layer_and_a_cell_answer_nearly_the_same() -> None:
    torch.manual_seed(0)
    x, state = torch.randn(3, 64), torch.randn(3, 96)
    for bias in (True, False):
        linear, cell = nn.Linear(64, 96, bias=bias), nn.GRUCell(64, 96, bias=bias)
        with torch.no_grad():
            short = ShortLinear(linear.weight, linear.bias)
            assert short(x).dtype == torch.float32
            assert torch.allclose(short(x), linear(x), atol=0.03)
            brief, exact = ShortCell(cell)(x, state), cell(x, state)
            assert brief.dtype == torch.float32
            assert torch.allclose(brief, exact, atol=0.03)
            assert not torch.equal(brief, exact)
            assert row_macs(ShortCell(cell), x[:1], state[:1]) == row_macs(cell, x[:1], state[:1])


def test_only_large_layers_become_short_and_none_of_what_is_left_alone() -> None:
    net = nn.ModuleDict(
        {
            "encode_x": nn.Linear(2000, 2000),
            "large": nn.Sequential(nn.Linear(2000, 2000), nn.ReLU()),
            "small": nn.Linear(200, 200),
            "cell": nn.GRUCell(8, 1200),
        }
    )
    shorten(net, besides="encode_")
    kinds = [type(net["encode_x"]), type(net["large"][0]), type(net["small"]), type(net["cell"])]
    assert kinds == [nn.Linear, ShortLinear, nn.Linear, ShortCell]
