"""MobileNets of our own: TensorFlow's padding, shapes, counts, and fresh weights that keep their size."""

from __future__ import annotations

import pytest
import torch
from tests.parts.test_counts import MOBILENET, macs, parameters
from torch import nn
from torch.nn import functional as F

from avglance.errors import ShapeError
from avglance.parts.mobilenets import (
    MOBILENETS,
    InvertedResidual,
    MobileNetV1Half,
    MobileNetV2,
    SameConv,
    YAMNet,
    same_edges,
)

INPUT = {"mobilenetv1_050": (3, 64, 64), "mobilenetv2_100_same": (3, 64, 64), "yamnet": (1, 96, 64)}


def noise(name, rows=2):
    draw = torch.rand(rows, *INPUT[name], generator=torch.Generator().manual_seed(0))
    return 255 * draw if INPUT[name][0] == 3 else 8 * draw - 7


@pytest.mark.parametrize("size", range(1, 12))
@pytest.mark.parametrize(("side", "stride"), [(1, 1), (3, 1), (3, 2)])
def test_edges_let_one_window_begin_at_every_stride(size, side, stride):
    before, after = same_edges(size, side, stride)
    assert (size + before + after - side) // stride + 1 == -(-size // stride)
    assert 0 <= after - before <= 1


def test_an_even_size_is_padded_behind_alone():
    """Sums of 3 x 3 cells of a ramp, by hand: the first window begins at the first cell."""
    conv = SameConv(1, 1, 3, 2, act=nn.Identity)
    nn.init.ones_(conv.weight)
    nn.init.zeros_(conv.bias)
    ramp = torch.arange(64.0).view(1, 1, 8, 8)
    wide = [[ramp[0, 0, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3].sum() for j in range(4)] for i in range(4)]
    assert torch.equal(conv(ramp)[0, 0], torch.tensor(wide))
    assert not torch.equal(conv(ramp), F.conv2d(ramp, conv.weight, stride=2, padding=1))
    odd = ramp[..., :7, :7]
    assert torch.equal(conv(odd), F.conv2d(odd, conv.weight, stride=2, padding=1))


def test_one_side_may_be_even_and_the_other_odd():
    conv = SameConv(2, 3, 3, 2, act=nn.Identity)
    x = torch.randn(1, 2, 6, 7)
    expected = F.conv2d(F.pad(x, (1, 1, 0, 1)), conv.weight, conv.bias, stride=2)
    torch.testing.assert_close(conv(x), expected)


def test_a_block_is_added_only_where_shapes_allow():
    assert InvertedResidual(8, 8, 1, 6).adds
    assert not InvertedResidual(8, 8, 2, 6).adds
    assert not InvertedResidual(8, 16, 1, 6).adds
    assert InvertedResidual(8, 16, 1, 1).expand is None


def separable_macs(side, first, widths, strides):
    """By hand: a 3 x 3 convolution a channel, then a matrix a cell."""
    total, before = 0, first
    for after, stride in zip(widths, strides, strict=True):
        side = tuple(-(-n // stride) for n in side)
        total, before = total + side[0] * side[1] * before * (9 + after), after
    return total


V1_STRIDES = (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1)


def test_cost_of_mobilenet_v1():
    widths = [32, 64, 64, 128, 128, *[256] * 6, 512, 512]
    part = MobileNetV1Half().eval().to("meta")
    by_hand = 80 * 80 * 16 * 27 + separable_macs((80, 80), 16, widths, V1_STRIDES)
    assert macs(part, torch.zeros(1, 3, 160, 160, device="meta")) == by_hand == 76_012_800
    assert parameters(part) + 513 * 1001 == 1_326_633  # with its file's classifier


@pytest.mark.parametrize("side", list(MOBILENET))
def test_cost_of_mobilenet_v2_is_that_of_timms(side):
    part = MobileNetV2().eval().to("meta")
    assert macs(part, torch.zeros(1, 3, side, side, device="meta")) == MOBILENET[side]
    assert parameters(part) + 1281 * 1001 == 3_489_097


def test_cost_of_yamnet_layer_by_layer():
    part, x = YAMNet().eval().to("meta"), torch.zeros(1, 1, 96, 64, device="meta")
    counts, shapes = [], []
    for layer in part.net:
        counts.append(macs(layer, x))
        x = layer(x)
        shapes.append(tuple(x.shape[1:]))
    assert counts == [
        442_368, 3_588_096, 3_366_912, 6_733_824, 3_256_320, 6_512_640, 3_201_024, *[6_402_048] * 5,
        3_173_376, 6_346_752,
    ]  # fmt: skip
    assert shapes[::2] == [
        (32, 48, 32), (128, 24, 16), (256, 12, 8), (512, 6, 4), (512, 6, 4), (512, 6, 4), (1024, 3, 2),
    ]  # fmt: skip
    assert sum(counts) + 1024 * 521 == 69_165_056  # with its file's classifier
    assert parameters(part) + 1025 * 521 == 3_729_481


@pytest.mark.parametrize("name", ["mobilenetv1_050", "mobilenetv2_100_same"])
@pytest.mark.parametrize("side", [33, 64, 100])
def test_map_side_is_the_side_of_the_map(name, side):
    part = MOBILENETS[name]().eval()
    with torch.no_grad():
        map, vector = part(torch.randint(0, 256, (2, 3, side, side), dtype=torch.uint8))
    assert map.shape == (2, part.width, part.map_side(side), part.map_side(side))
    torch.testing.assert_close(vector, map.mean((2, 3)))


@pytest.mark.parametrize("name", list(MOBILENETS))
def test_no_rows_give_no_rows(name):
    part = MOBILENETS[name]().eval()
    assert part(noise(name, rows=0))[1].shape == (0, part.width)


@pytest.mark.parametrize("name", list(MOBILENETS))
def test_rows_do_not_know_each_other(name):
    part, x = MOBILENETS[name](), noise(name, rows=3)  # in training too: there is no batch norm
    with torch.no_grad():
        together, alone = part(x)[1], torch.cat([part(row[None])[1] for row in x])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", list(MOBILENETS))
def test_fresh_weights_keep_the_size_of_what_flows_through_and_learn(name):
    part = MOBILENETS[name]()
    map, vector = part(noise(name))
    assert 0.05 < float(map.detach().square().mean().sqrt()) < 5
    vector.square().sum().backward()
    assert all(p.grad.abs().sum() > 0 for p in part.parameters())


def test_pictures_are_normalised_as_the_weights_want():
    part = MobileNetV2()
    black, white = torch.zeros(1, 3, 2, 2, dtype=torch.uint8), torch.full((1, 3, 2, 2), 255.0)
    assert torch.equal(part.normalise(black), -torch.ones(1, 3, 2, 2))
    assert torch.equal(part.normalise(white), torch.ones(1, 3, 2, 2))


def test_wrong_inputs_are_named():
    with pytest.raises(ShapeError, match=r"pictures must be \(n, 3, H, W\), got \(1, 1, 64, 64\)"):
        MobileNetV1Half()(torch.zeros(1, 1, 64, 64))
    with pytest.raises(ShapeError, match=r"sounds must be \(n, 1, F, M\), got \(96, 64\)"):
        YAMNet()(torch.zeros(96, 64))
