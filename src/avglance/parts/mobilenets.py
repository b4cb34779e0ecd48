"""MobileNets in the form of their public TensorFlow weights: nets of our own that need no timm.

The surface is that of ``encoders``, normalisation inside. Batch norm is folded into weights and biases,
padding is TensorFlow's "SAME", and ``net`` names its tensors as files name them (``weights``).

Source: MobileNets (2017), MobileNetV2 (2018), YAMNet (tensorflow/models, research/audioset/yamnet).
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from avglance.errors import ShapeError

V1_WIDTHS = (64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024)
V1_STRIDES = (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1)
V2_STAGES = (
    (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1),
)  # fmt: skip
"""Expansion, width, blocks, stride of the first block."""


def same_edges(size: int, side: int, stride: int) -> tuple[int, int]:
    """Zeros before and after a line of ``size`` cells, so that ceil(size / stride) windows of ``side`` fit.

    An odd one comes after, as in TensorFlow.

    >>> same_edges(64, 3, 2), same_edges(65, 3, 2), same_edges(64, 3, 1)
    ((0, 1), (1, 1), (1, 1))
    """
    lack = max((-(-size // stride) - 1) * stride + side - size, 0)
    return lack // 2, lack - lack // 2


class SameConv(nn.Conv2d):
    """A convolution with bias under "SAME" padding, and its activation.

    Args:
        before: channels of the input.
        after: channels of the output.
        side: of the kernel.
        stride: of the kernel.
        groups: of channels.
        act: kind of the activation.

    Shapes:
        in   (n, before, H, W)
        out  (n, after, H / stride, W / stride), rounded up
    """

    def __init__(
        self, before: int, after: int, side: int, stride: int = 1, *, groups: int = 1, act: type[nn.Module]
    ) -> None:
        super().__init__(before, after, side, stride, groups=groups)
        self.act = act(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """Convolved and activated."""
        (high, low), (left, right) = (
            same_edges(size, side, stride)
            for size, side, stride in zip(x.shape[-2:], self.kernel_size, self.stride, strict=True)
        )
        if (high, left) != (low, right):  # the convolution itself pads both sides alike
            x, high, left = F.pad(x, (left, right, high, low)), 0, 0
        x = F.conv2d(x, self.weight, self.bias, self.stride, (high, left), groups=self.groups)
        activated: Tensor = self.act(x)
        return activated


def _separable(before: int, after: int, stride: int, act: type[nn.Module]) -> nn.Sequential:
    depthwise = SameConv(before, before, 3, stride, groups=before, act=act)
    return nn.Sequential(OrderedDict(depthwise=depthwise, pointwise=SameConv(before, after, 1, act=act)))


class InvertedResidual(nn.Module):
    """Widened, filtered, narrowed again; added to the input where shapes allow."""

    def __init__(self, before: int, after: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = before * expansion
        self.expand = SameConv(before, wide, 1, act=nn.ReLU6) if expansion > 1 else None
        self.depthwise = SameConv(wide, wide, 3, stride, groups=wide, act=nn.ReLU6)
        self.project = SameConv(wide, after, 1, act=nn.Identity)
        self.adds = stride == 1 and before == after

    def forward(self, x: Tensor) -> Tensor:
        """The block's output."""
        wide = self.expand(x) if self.expand is not None else x
        out: Tensor = self.project(self.depthwise(wide))
        return x + out if self.adds else out


class Signed(nn.Module):
    """Pictures (n, 3, H, W), uint8 or real in 0..255 -> x / 127.5 - 1, in -1..1."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalised pictures."""
        if x.ndim != 4 or x.shape[1] != 3:
            raise ShapeError(f"pictures must be (n, 3, H, W), got {tuple(x.shape)}")
        return x / 127.5 - 1


class Plain(nn.Module):
    """Log-mels (n, 1, F, M), as they are."""

    def forward(self, x: Tensor) -> Tensor:
        """The same log-mels."""
        if x.ndim != 4 or x.shape[1] != 1:
            raise ShapeError(f"sounds must be (n, 1, F, M), got {tuple(x.shape)}")
        return x


class MobileNet(nn.Module):
    """Normalisation and a net of ``SameConv``; fresh weights until ``load_encoder_weights`` fills ``net``.

    Args:
        normalise: what comes before the net.
        net: its parts by the names that weights have in files.
        width: D, channels of the map.
        spread: root mean square of what comes in, which fresh weights are scaled for.

    Shapes:
        in   (n, 3, H, W) pictures or (n, 1, F, M) log-mels
        out  map (n, D, H / 32, W / 32) rounded up, vector (n, D)
    """

    def __init__(self, normalise: nn.Module, net: nn.Sequential, *, width: int, spread: float) -> None:
        super().__init__()
        self.normalise, self.width = normalise, width
        _freshen(net, spread)
        self.net = net.to(memory_format=torch.channels_last)  # on a CPU up to 1.8 times as fast

    def map_side(self, side: int) -> int:
        """Side of the map of a square input of ``side``."""
        for part in self.net.modules():
            if isinstance(part, SameConv):
                side = -(-side // part.stride[0])
        return side

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map and its spatial mean."""
        map = self.net(self.normalise(x).contiguous(memory_format=torch.channels_last))
        return map, map.mean((-2, -1))


class MobileNetV1Half(MobileNet):
    """MobileNetV1 of half width for pictures: D = 512, 76,012,800 multiply-adds at 160 x 160."""

    def __init__(self) -> None:
        widths = [width // 2 for width in V1_WIDTHS]
        blocks = [
            _separable(before, after, stride, nn.ReLU6)
            for before, after, stride in zip([16, *widths[:-1]], widths, V1_STRIDES, strict=True)
        ]
        net = OrderedDict(stem=SameConv(3, 16, 3, 2, act=nn.ReLU6), blocks=nn.Sequential(*blocks))
        super().__init__(Signed(), nn.Sequential(net), width=512, spread=0.5)


class MobileNetV2(MobileNet):
    """MobileNetV2 for pictures: D = 1280, 299,494,272 multiply-adds at 224 x 224."""

    def __init__(self) -> None:
        blocks, before = [], 32
        for expansion, width, count, stride in V2_STAGES:
            for n in range(count):
                blocks.append(InvertedResidual(before, width, stride if n == 0 else 1, expansion))
                before = width
        net = OrderedDict(
            stem=SameConv(3, 32, 3, 2, act=nn.ReLU6),
            blocks=nn.Sequential(*blocks),
            head=SameConv(before, 1280, 1, act=nn.ReLU6),
        )
        super().__init__(Signed(), nn.Sequential(net), width=1280, spread=0.5)


class YAMNet(MobileNet):
    """MobileNetV1 for log-mels: D = 1024 (YAMNet's embedding), 68,631,552 multiply-adds at 96 x 64."""

    def __init__(self) -> None:
        first = nn.Sequential(OrderedDict(conv=SameConv(1, 32, 3, 2, act=nn.ReLU)))
        layers: OrderedDict[str, nn.Module] = OrderedDict(layer1=first)
        befores = (32, *V1_WIDTHS[:-1])
        for n, (before, after, stride) in enumerate(zip(befores, V1_WIDTHS, V1_STRIDES, strict=True), 2):
            layers[f"layer{n}"] = _separable(before, after, stride, nn.ReLU)
        super().__init__(Plain(), nn.Sequential(layers), width=1024, spread=5.0)


def _freshen(net: nn.Module, spread: float) -> None:
    """Random weights that keep the size of what flows through without batch norm (He et al. 2015), biases 0.

    What is added to a block's input is made small, so that ten such sums do not swell either.
    """
    convs = [part for part in net.modules() if isinstance(part, SameConv)]
    for conv in convs:
        linear = isinstance(conv.act, nn.Identity)
        nn.init.kaiming_normal_(conv.weight, nonlinearity="linear" if linear else "relu")
        assert conv.bias is not None
        nn.init.zeros_(conv.bias)
    added = [p.project for p in net.modules() if isinstance(p, InvertedResidual) and p.adds]
    with torch.no_grad():
        convs[0].weight.div_(spread)
        for conv in added:
            conv.weight.div_(len(added) ** 0.5)


MOBILENETS: dict[str, type[MobileNetV1Half | MobileNetV2 | YAMNet]] = {
    "mobilenetv1_050": MobileNetV1Half,
    "mobilenetv2_100_same": MobileNetV2,
    "yamnet": YAMNet,
}
"""Encoders by the name that settings give them; timm has none of these names."""
