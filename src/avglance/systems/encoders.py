"""The encoders of a system: built by name, filled from files, trained at a rate of their own."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from avglance.errors import ArgumentError
from avglance.parts.encoders import (
    SmallEncoder,
    SmallFocusEncoder,
    SmallPictureEncoder,
    SmallSoundEncoder,
    TimmEncoder,
)
from avglance.parts.fold import folded
from avglance.parts.mobilenets import MOBILENETS, MobileNet, YAMNet
from avglance.parts.pack import packed
from avglance.parts.short import shorten
from avglance.parts.weights import load_encoder_weights
from avglance.systems.base import Group, Stage, System
from avglance.types import Precision
from avglance.views import MEL_BANDS, MEL_FRAMES

_ROWS = 4  # that a network is made ready for: looks at a video, and a quarter of the glances
ENCODER = "encode_"
"""Beginning of the names of a system's encoders; the sense follows."""


def build_encoder(
    name: str, sense: Literal["picture", "sound", "focus"], side: int | None = None, *, pretrained: bool
) -> SmallEncoder | MobileNet | TimmEncoder:
    """The encoder of a sense: ``small`` and those of ``MOBILENETS`` are ours, any other name is timm's.

    ``side``: of its pictures, for networks that are built for one size.

    Raises:
        ArgumentError: nothing has this name, or it is an encoder of another sense.
        MissingExtra, CheckpointError: as ``TimmEncoder``.
    """
    if name == "small":
        small = {"picture": SmallPictureEncoder, "sound": SmallSoundEncoder, "focus": SmallFocusEncoder}
        encoder: SmallEncoder = small[sense]().to(memory_format=torch.channels_last)
        for layer in encoder.modules():
            if isinstance(layer, nn.ReLU):
                layer.inplace = True  # with channels-last a third of the time of a step on a CPU
        return encoder
    if name in MOBILENETS:
        if name not in mobilenets_for(sense):
            raise ArgumentError(
                f"{name} is an encoder of {'pictures' if sense == 'sound' else 'sounds'}, not for {sense}",
                where="build_encoder",
                hint=f"without timm: small, {', '.join(mobilenets_for(sense))}",
            )
        return MOBILENETS[name]()
    size = (MEL_FRAMES, MEL_BANDS) if sense == "sound" or side is None else (side, side)
    try:
        return TimmEncoder(name, in_chans=1 if sense == "sound" else 3, pretrained=pretrained, size=size)
    except ArgumentError as error:
        ours = f"without timm: small, {', '.join(mobilenets_for(sense))}"
        raise ArgumentError(error.what, where=error.where, hint=f"{error.hint}; {ours}") from error


def mobilenets_for(sense: str) -> list[str]:
    """Names of the encoders of ``MOBILENETS`` that a sense may have."""
    return [name for name, kind in MOBILENETS.items() if issubclass(kind, YAMNet) == (sense == "sound")]


def encoders_of(system: System) -> dict[str, nn.Module]:
    """The encoders of a system by their senses."""
    parts = system.named_children()
    return {name.removeprefix(ENCODER): part for name, part in parts if name.startswith(ENCODER)}


def load_encoders(system: System, weights: Mapping[str, str | Path]) -> dict[str, str]:
    """Fills encoders of a system from files of weights.

    Args:
        system: whose encoders are filled.
        weights: a safetensors file a sense; senses are those of the system, such as "picture".

    Returns:
        The sha256 of each file.

    Raises:
        ArgumentError: the system has no encoder of a sense, or it is none that takes weights.
        CheckpointError: a file is not what the encoder wants, see ``load_encoder_weights``.
    """
    checksums, encoders = {}, encoders_of(system)
    for sense, path in weights.items():
        if sense not in encoders:
            raise ArgumentError(
                f"{system.name} has no encoder called {sense!r}",
                where="weights",
                hint=f"it has: {', '.join(encoders) or 'none'}",
            )
        encoder = encoders[sense]
        if not isinstance(encoder, MobileNet):
            raise ArgumentError(
                f"the {sense} encoder {getattr(system.settings, sense, '')!r} takes no weights from a file",
                where="weights",
                hint=f"set {sense} to {' or '.join(mobilenets_for(sense))}",
            )
        checksums[sense] = load_encoder_weights(encoder, path)
    return checksums


class Brief(nn.Module):
    """An encoder that computes in bfloat16 and answers in float32.

    Its answers differ in the third digit. On CPUs with bfloat16 instructions it takes some 0.5 of the time.
    Its weights become bfloat16 for good: to turn them at every call costs as much as a small batch.
    """

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = short_weights(encoder)

    def __getattr__(self, name: str) -> Any:
        """Sizes and widths are those of the encoder."""
        if name == "encoder":
            return super().__getattr__(name)
        return getattr(self.encoder, name)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map and vector."""
        with torch.autocast(x.device.type, torch.bfloat16):
            map, vector = self.encoder(x)
        return map.float(), vector.float()


def short_weights(net: nn.Module) -> nn.Module:
    """The network itself, weights of its convolutions and linear layers in bfloat16; runs under autocast."""
    for part in net.modules():
        if isinstance(part, _ConvNd | nn.Linear):
            part.to(torch.bfloat16)
    return net


def make_brief(system: System) -> None:
    """Makes a system's encoders compute in bfloat16 from now on; for answering alone."""
    quicken(system, "bf16")


def quicken(system: System, precision: Precision = "float32") -> None:
    """Makes a system's encoders quicker from now on, for answering alone: folded, packed, fewer digits.

    Args:
        system: whose encoders are changed for good; its weights cannot be saved any more.
        precision: bf16: they compute in bfloat16, and large layers behind them too.
    """
    view = system.view_settings
    sides = {"picture": view.glance_side, "focus": view.patch_side}
    for sense, encoder in encoders_of(system).items():
        setattr(system, ENCODER + sense, quick(encoder, sense, precision, side=sides.get(sense)))
    if precision == "bf16":
        shorten(system, besides=ENCODER)


def quick(
    encoder: nn.Module, sense: str, precision: Precision = "float32", *, side: int | None = None
) -> nn.Module:
    """An encoder made quick for answering alone, on pictures of ``side``; see ``quicken``."""
    net, row = folded(encoder, probe_of(encoder, sense)), probe_of(encoder, sense, side=side)
    rows = row.expand(_ROWS, *row.shape[1:]).contiguous()
    if precision == "bf16":
        return Brief(packed(net, rows, torch.bfloat16))
    return packed(net, rows)


def probe_of(encoder: nn.Module, sense: str, *, side: int | None = None) -> Tensor:
    """A row for an encoder of a sense, a picture small or of ``side``: noise, the same each time."""
    square = (side or 64,) * 2
    size = getattr(encoder, "size", None) or ((MEL_FRAMES, MEL_BANDS) if sense == "sound" else square)
    rng, device = torch.Generator().manual_seed(0), next(encoder.parameters()).device
    noise = torch.rand((1, 1 if sense == "sound" else 3, *size), generator=rng)
    return (noise if sense == "sound" else 255 * noise).to(device)


def freeze_encoders(system: System, share: float) -> None:
    """Freezes a system's encoders where their share of the rate is 0."""
    if share == 0:
        system.freeze(*(ENCODER + sense for sense in encoders_of(system)))


def check_frozen(system: System, *, fresh: Collection[str], filled: Collection[str]) -> None:
    """Raises ArgumentError where an encoder would stay at its random weights.

    Args:
        system: newly built.
        fresh: names of the weights that no model gave.
        filled: senses whose encoders get weights from files.
    """
    random = [
        sense
        for sense, encoder in encoders_of(system).items()
        if ENCODER + sense in system.frozen and sense not in filled
        if any(name.startswith(f"{ENCODER}{sense}.") for name in fresh)
        if not (isinstance(encoder, TimmEncoder) and system.settings.pretrained)
    ]
    if random:
        raise ArgumentError(
            f"encoder_rate 0 keeps the encoders as they are, and {' and '.join(random)} would stay random",
            where="train",
            hint="give them weights (--weights, or a --start with the same), or an encoder_rate above 0",
        )


def with_encoder_rate(stages: list[Stage], share: float) -> list[Stage]:
    """The stages with the encoders' rates multiplied by ``share``; with 0 they are in no group."""
    return with_rate(stages, ENCODER, share)


def with_rate(stages: list[Stage], beginning: str, share: float) -> list[Stage]:
    """The stages with the rates of parameters so named multiplied by ``share``; 0 puts them in no group."""
    if share == 1:
        return stages
    return [replace(stage, groups=tuple(_apart(stage.groups, beginning, share))) for stage in stages]


def _apart(groups: tuple[Group, ...], beginning: str, share: float) -> Iterator[Group]:
    """Each group without the parameters so named, and then these with their own rate."""
    for group in groups:
        meant = tuple(part for part in group.part if part.startswith(beginning))
        others = tuple(part for part in group.part if part not in meant)
        if others:
            yield replace(group, part=others, without=(*group.without, beginning))
        meant = (beginning,) if "" in others else meant
        if share and meant:
            yield replace(group, part=meant, rate=share * group.rate)
