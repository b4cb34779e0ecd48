"""Packed convolutions answer as before, for any rows, and their multiply-adds are counted."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from avglance.parts.encoders import SmallPictureEncoder, TimmEncoder
from avglance.parts.fold import folded
from avglance.parts.meter import row_macs
from avglance.parts.pack import PackedConv, packed

needs_library = pytest.mark.skipif(
    not torch.backends.mkldnn.is_available(), reason="this torch has no oneDNN, there is nothing to pack with"
)
pytestmark = needs_library


def pictures(count: int, side: int = 64) -> torch.Tensor:
    return 255 * torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(2))


def convs(net: nn.Module) -> list[PackedConv]:
    return [part for part in net.modules() if isinstance(part, PackedConv)]


@pytest.mark.parametrize("name", ["mobilenetv2_100", "resnet18", "convnext_atto", "mobilenetv3_small_050"])
def test_timm_networks_answer_as_before_for_any_rows(name: str) -> None:
    net = folded(TimmEncoder(name).eval(), pictures(1))
    quick = packed(net, pictures(2))
    left = sum(type(part) is nn.Conv2d for part in quick.modules())
    assert left <= 1 < len(convs(quick))  # MobileNetV3 has one behind its map, which nobody asks
    with torch.inference_mode():
        for rows in (pictures(2), pictures(3), pictures(1, 96)):
            for new, old in zip(quick(rows), net(rows), strict=True):
                assert torch.allclose(new, old, rtol=1e-3, atol=1e-3 * float(old.abs().max()))
    assert row_macs(quick, pictures(1)) == row_macs(net, pictures(1))


def test_activations_are_computed_on_the_way() -> None:
    quick = packed(folded(SmallPictureEncoder().eval(), pictures(1)), pictures(1))
    assert [conv.act[0] for conv in convs(quick)] == 4 * ["relu"]
    quick = packed(folded(TimmEncoder("mobilenetv2_100").eval(), pictures(1)), pictures(1))
    assert {conv.act[0] for conv in convs(quick)} == {"none", "hardtanh"}


def test_bfloat16_answers_as_under_autocast() -> None:
    net = folded(TimmEncoder("resnet18").eval(), pictures(1))
    quick = packed(net, pictures(2), torch.bfloat16)
    if not convs(quick):
        pytest.skip("this processor has no bfloat16 for oneDNN")
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        for new, old in zip(quick(pictures(2)), net(pictures(2)), strict=True):
            assert torch.allclose(new.float(), old.float(), rtol=0, atol=0.02 * float(old.abs().max()))


class Odd(nn.Module):
    """One activation for two maps, of which one has been added to in its place, and a map used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = (nn.Conv2d(3, 3, 3, padding=1) for _ in range(3))
        self.shared, self.act, self.last = nn.ReLU(), nn.ReLU(), nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a = self.shared(self.first(x))
        b = self.second(a)
        b += x
        b = self.shared(self.act(b))
        c = self.third(b)
        return self.last(c) - c


def test_what_cannot_be_fused_is_packed_alone() -> None:
    net = Odd().eval()
    before = copy.deepcopy(net.state_dict())
    quick = packed(net, pictures(1))
    assert [conv.act[0] for conv in convs(quick)] == 3 * ["none"]
    with torch.inference_mode():
        assert torch.allclose(quick(pictures(2)), net(pictures(2)), rtol=1e-4, atol=1e-2)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert not convs(net)


def test_where_nothing_can_be_packed_the_network_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = nn.Linear(3, 4)
    assert packed(plain, torch.rand(1, 3)) is plain
    mirrored = nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect")
    assert not convs(packed(mirrored, pictures(1)))
    net = SmallPictureEncoder().eval()
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert packed(net, pictures(1)) is net
