"""Batch norm folded into the convolutions before it: the same answers in less time, for answering alone."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

_CLOSE = 1e-3  # of the largest value: what rounding may change


def folded(net: nn.Module, probe: Tensor) -> nn.Module:
    """A copy of a network whose batch norms are part of their convolutions, in evaluation for good.

    Which convolution feeds which norm is seen while ``probe`` runs through. Where the copy then answers
    otherwise (a convolution is used in a way that this cannot see) the network itself comes back.

    Args:
        net: returns a tensor, or several.
        probe: rows that it takes, any values.
    """
    if not any(isinstance(part, _BatchNorm) for part in net.modules()):
        return net
    changed = copy.deepcopy(net).eval()
    with torch.inference_mode():
        with _pairs(changed) as pairs:
            before = tensors(changed(probe))
        for conv, norm in pairs:
            _merge(changed, conv, norm)
        after = tensors(changed(probe))
    same = all((a - b).abs().max() <= _CLOSE * b.abs().max() for a, b in zip(after, before, strict=True))
    return changed if pairs and same else net


def tensors(out: Any) -> list[Tensor]:
    """What a network returned, as a list."""
    return [out] if isinstance(out, Tensor) else list(out)


@contextmanager
def _pairs(net: nn.Module) -> Iterator[list[tuple[_ConvNd, _BatchNorm]]]:
    """A list that fills with (convolution, norm that takes its output) while the network runs inside."""
    made: dict[int, tuple[Any, Tensor]] = {}  # the tensors stay, so that no other one gets their id
    found: list[tuple[_ConvNd, _BatchNorm]] = []

    def keep(conv: nn.Module, _: Any, out: Tensor) -> None:
        made[id(out)] = conv, out

    def join(norm: Any, given: tuple[Tensor, ...]) -> None:
        conv, _ = made.get(id(given[0]), (None, None))
        if conv is not None:
            found.append((conv, norm))

    with ExitStack() as stack:
        for part in net.modules():
            if type(part) in (nn.Conv1d, nn.Conv2d, nn.Conv3d):
                stack.callback(part.register_forward_hook(keep).remove)
            elif isinstance(part, _BatchNorm) and part.track_running_stats:
                stack.callback(part.register_forward_pre_hook(join).remove)
        yield found


def _merge(net: nn.Module, conv: _ConvNd, norm: Any) -> None:
    """Puts a norm into its convolution; of a norm that activates too, the activation stays in its place."""
    scale = torch.rsqrt(norm.running_var + norm.eps)
    scale = scale if norm.weight is None else scale * norm.weight
    shift = -norm.running_mean * scale
    shift = shift if norm.bias is None else shift + norm.bias
    weight = conv.weight * scale.view(-1, *(1 for _ in conv.weight.shape[1:]))
    bias = shift if conv.bias is None else shift + conv.bias * scale
    conv.weight = nn.Parameter(weight, requires_grad=False)
    conv.bias = nn.Parameter(bias, requires_grad=False)
    name = next(name for name, part in net.named_modules() if part is norm)
    net.set_submodule(name, getattr(norm, "act", None) or nn.Identity())
