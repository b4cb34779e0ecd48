"""Networks without their batch norms answer as before."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from avglance.parts.encoders import SmallPictureEncoder, TimmEncoder
from avglance.parts.fold import folded


def stirred(net: nn.Module) -> nn.Module:
    """The network with norms that do something."""
    rng = torch.Generator().manual_seed(1)
    for part in net.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            part.running_mean.copy_(torch.randn(part.running_mean.shape, generator=rng) * 0.1)
            part.running_var.copy_(torch.rand(part.running_var.shape, generator=rng) + 0.5)
            with torch.no_grad():
                part.weight.copy_(torch.rand(part.weight.shape, generator=rng) + 0.5)
                part.bias.copy_(torch.randn(part.bias.shape, generator=rng) * 0.1)
    return net.eval()


def norms(net: nn.Module) -> int:
    return sum(isinstance(part, nn.modules.batchnorm._BatchNorm) for part in net.modules())


@pytest.mark.parametrize("name", ["mobilenetv2_100", "resnet18", "convnext_atto", "mobilenetv3_small_050"])
def test_timm_networks_answer_as_before(name: str) -> None:
    net = stirred(TimmEncoder(name))
    rows = 255 * torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    quick = folded(net, rows[:1])
    assert norms(quick) == 0
    with torch.no_grad():
        for new, old in zip(quick(rows), net(rows), strict=True):
            assert torch.allclose(new, old, rtol=1e-3, atol=1e-3 * float(old.abs().max()))


def test_small_encoders_and_clips_too() -> None:
    net = stirred(SmallPictureEncoder())
    rows = 255 * torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    assert norms(folded(net, rows)) == 0 < norms(net)
    clip = stirred(nn.Sequential(nn.Conv3d(3, 4, 3), nn.BatchNorm3d(4), nn.ReLU()))
    assert norms(folded(clip, torch.rand(1, 3, 5, 8, 8))) == 0


class Twice(nn.Module):
    """What its convolution gives is used beside the norm too."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        made = self.conv(x)
        return self.norm(made) + made


def test_where_folding_would_change_the_answer_nothing_is_folded() -> None:
    net = stirred(Twice())
    assert folded(net, torch.rand(1, 3, 8, 8)) is net
    plain = nn.Conv2d(3, 4, 3)
    assert folded(plain, torch.rand(1, 3, 8, 8)) is plain
