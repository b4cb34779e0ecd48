"""Encoders: pictures and log-mels -> a map and a vector. Normalisation happens inside.

All have the same surface: ``encoder(x) -> (map (n, D, h, w), vector (n, D))``, the vector being the spatial
mean of the map; ``width`` is D, ``map_side(side)`` the side of the map of a square input.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from avglance.errors import ArgumentError, CheckpointError, MissingExtra, ShapeError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Encoder(Protocol):
    """What every encoder offers."""

    width: int

    def map_side(self, side: int) -> int:
        """Side of the map of a square input of ``side``."""

    def __call__(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map (n, D, h, w) and its spatial mean (n, D)."""


class Pixels(nn.Module):
    """Pictures (n, 3, H, W), uint8 or real in 0..255 -> ImageNet's mean 0 and deviation 1 a channel."""

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", 255 * torch.tensor(IMAGENET_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", 255 * torch.tensor(IMAGENET_STD).view(3, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Normalised pictures."""
        if x.ndim != 4 or x.shape[1] != 3:
            raise ShapeError(f"pictures must be (n, 3, H, W), got {tuple(x.shape)}")
        return (x - self.mean).div_(self.std)


class Standardise(nn.Module):
    """Log-mels (n, 1, F, M) -> (x - mean) / std with fixed statistics, never those of the clip.

    They are those of a training set (0 and 1 until ``set`` is called) and are saved with the weights.
    """

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(0.0))
        self.register_buffer("std", torch.tensor(1.0))

    def set(self, mean: float, std: float) -> None:
        """Take the statistics of a training set."""
        if not (math.isfinite(mean) and math.isfinite(std) and std > 0):
            raise ArgumentError(f"mean={mean}, std={std} cannot standardise", where="Standardise")
        self.mean.fill_(mean)
        self.std.fill_(std)

    def forward(self, x: Tensor) -> Tensor:
        """Standardised log-mels."""
        if x.ndim != 4 or x.shape[1] != 1:
            raise ShapeError(f"sounds must be (n, 1, F, M), got {tuple(x.shape)}")
        return (x - self.mean) / self.std


def _front(in_chans: int, where: str) -> nn.Module:
    if in_chans not in (1, 3):
        raise ArgumentError(f"in_chans={in_chans}, must be 3 (pictures) or 1 (sounds)", where=where)
    return Pixels() if in_chans == 3 else Standardise()


class SmallEncoder(nn.Module):
    """A few 3x3 convolutions, each with batch norm and ReLU.

    Args:
        in_chans: 3 for pictures, 1 for log-mels.
        widths: channels after each convolution.
        strides: of each convolution.

    Shapes:
        in   (n, in_chans, H, W)
        out  map (n, D, h, w), h = H / product of strides (rounded up), vector (n, D)
    """

    def __init__(self, in_chans: int, widths: Sequence[int], strides: Sequence[int]) -> None:
        super().__init__()
        if len(widths) != len(strides) or not widths:
            raise ArgumentError(f"{len(widths)} widths and {len(strides)} strides", where=type(self).__name__)
        self.width, self.strides = widths[-1], tuple(strides)
        self.normalise = _front(in_chans, type(self).__name__)
        layers: list[nn.Module] = []
        for before, after, stride in zip((in_chans, *widths[:-1]), widths, strides, strict=True):
            layers += [nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
        self.layers = nn.Sequential(*layers).to(memory_format=torch.channels_last)  # faster on CPUs

    def map_side(self, side: int) -> int:
        """Side of the map of a square input of ``side``."""
        for stride in self.strides:
            side = -(-side // stride)
        return side

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map and its spatial mean."""
        map = self.layers(self.normalise(x).contiguous(memory_format=torch.channels_last))
        return map, map.mean((-2, -1))


class SmallPictureEncoder(SmallEncoder):
    """Glance at a picture: 64 x 64 -> 8 x 8 of 64 channels, 5,160,960 multiply-adds."""

    def __init__(
        self, widths: Sequence[int] = (16, 32, 64, 64), strides: Sequence[int] = (2, 2, 2, 1)
    ) -> None:
        super().__init__(3, widths, strides)


class SmallSoundEncoder(SmallEncoder):
    """Glance at a log-mel: 96 x 64 -> 12 x 8 of 64 channels, 7,299,072 multiply-adds."""

    def __init__(
        self, widths: Sequence[int] = (16, 32, 64, 64), strides: Sequence[int] = (2, 2, 2, 1)
    ) -> None:
        super().__init__(1, widths, strides)


class SmallFocusEncoder(SmallEncoder):
    """Close look at a patch: 96 x 96 -> 6 x 6 of 96 channels, 11,280,384 multiply-adds."""

    def __init__(
        self, widths: Sequence[int] = (16, 32, 64, 96, 96), strides: Sequence[int] = (2, 2, 2, 2, 1)
    ) -> None:
        super().__init__(3, widths, strides)


def _timm() -> Any:
    """The timm library, or ``MissingExtra`` that says what is wrong with it."""
    try:
        import timm
    except (ImportError, RuntimeError) as e:  # RuntimeError: torchvision's operators do not fit torch
        first = (str(e).splitlines() or [type(e).__name__])[0]
        raise MissingExtra(
            f"timm cannot be imported ({first}); torch here is {torch.__version__}",
            where="TimmEncoder",
            hint="install timm, and torch with torchvision of one release and one build (both CPU or both "
            "CUDA); systems with small encoders (avgn_nano) run without it",
        ) from e
    return timm


class TimmEncoder(nn.Module):
    """A timm network without its head: ``forward_features`` is the map.

    Args:
        name: timm's name of a network, such as ``mobilenetv2_100``, ``resnet50``, ``convnext_atto`` or
            ``mixer_s32_224``. Tokens of networks without maps are laid out on their grid of patches.
        in_chans: 3 for pictures, 1 for log-mels.
        pretrained: take timm's weights (may download them); a 1-channel stem is then the mean over RGB of
            theirs.
        size: (height, width) of the input, for networks built for one size (MLP-Mixer, transformers).

    Shapes:
        in   (n, in_chans, H, W)
        out  map (n, D, H / 32, W / 32) rounded up, vector (n, D)

    D = 1280 for MobileNetV2, 2048 for ResNet-50.

    Raises:
        ArgumentError: timm knows no such network, or its features are no map.
        MissingExtra: timm is missing, or torch and torchvision do not fit together.
        CheckpointError: the weights cannot be had.
    """

    def __init__(
        self,
        name: str,
        in_chans: int = 3,
        pretrained: bool = False,
        size: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        self.normalise = _front(in_chans, "TimmEncoder")
        timm = _timm()
        if not timm.is_model(name):
            near = timm.list_models(f"*{name}*")[:3] if name.isidentifier() else []
            raise ArgumentError(
                f"timm has no network {name!r}",
                where="TimmEncoder",
                hint=f"near: {', '.join(near)}" if near else "timm.list_models() names them all",
            )
        cfg = timm.get_pretrained_cfg(name)
        fixed = size is not None and cfg is not None and cfg.fixed_input_size
        shape = {"img_size": size} if fixed else {}
        try:
            net = timm.create_model(name, pretrained=pretrained, in_chans=in_chans, num_classes=0, **shape)
        except OSError as e:
            raise CheckpointError(
                f"weights of {name!r} cannot be had: {(str(e).splitlines() or ['no reason given'])[0]}",
                where="TimmEncoder",
                hint="needs a network the first time; pretrained=False starts from random weights",
            ) from e
        if pretrained and in_chans == 1:
            _mean_stem(net)
        self.net = net.to(memory_format=torch.channels_last)  # several times faster on CPUs
        self.width, self.reduction = int(net.num_features), int(net.feature_info[-1]["reduction"])
        self.size = size if fixed else None  # what it was built for; None: any
        self.grid = _grid(net) if fixed else None

    def map_side(self, side: int) -> int:
        """Side of the map of a square input of ``side``."""
        return self.grid[0] if self.grid is not None else -(-side // self.reduction)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map and its spatial mean."""
        if self.size is not None and tuple(x.shape[-2:]) != self.size:
            raise ShapeError(f"built for {self.size}, got {tuple(x.shape[-2:])}", where="TimmEncoder")
        map = self.net.forward_features(self.normalise(x).contiguous(memory_format=torch.channels_last))
        if map.ndim == 3 and self.grid is not None:  # tokens (n, N, D), row by row
            tokens = map[:, map.shape[1] - self.grid[0] * self.grid[1] :]
            map = tokens.transpose(1, 2).unflatten(-1, self.grid)
        return map, map.mean((-2, -1))


def _grid(net: Any) -> tuple[int, int]:
    """Rows and columns of the patches of a network of tokens."""
    for stem in ("patch_embed", "stem"):
        size = getattr(getattr(net, stem, None), "grid_size", None)
        if size is not None:
            return int(size[0]), int(size[1])
    raise ArgumentError(f"the tokens of {type(net).__name__} are on no grid of patches", where="TimmEncoder")


def _mean_stem(net: Any) -> None:
    """Turn timm's 1-channel stem, the sum over RGB of the trained one, into the mean."""
    with torch.no_grad():
        net.get_submodule(net.pretrained_cfg["first_conv"]).weight.div_(3)
