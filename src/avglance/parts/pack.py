"""Convolutions that activate on the way, with weights laid out as the CPU's library wants them.

torch lays the weights out anew at every call, which takes a third of the time of a large network on a few
pictures, and goes over every map once more for its activation. The same answers; for answering alone.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from avglance.parts.fold import tensors

_CLOSE = {torch.float32: 1e-3, torch.bfloat16: 3e-2}  # of the largest value: what rounding may change
_ACTS: dict[type[nn.Module], tuple[str, list[float]]] = {
    nn.ReLU: ("relu", []),
    nn.ReLU6: ("hardtanh", [0.0, 6.0]),
}


class PackedConv(nn.Module):
    """A convolution of two dimensions, and the activation behind it if there is one.

    Args:
        conv: what it does.
        shape: of its input; others are taken too.
        kind: in which it computes and answers.
        act: ReLU or ReLU6.
    """

    def __init__(
        self, conv: nn.Conv2d, shape: torch.Size, kind: torch.dtype, act: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.kind = kind
        self.where = list(map(int, conv.padding)), list(conv.stride), list(conv.dilation), conv.groups
        padding, stride, dilation, groups = self.where
        reorder = torch.ops.mkldnn._reorder_convolution_weight
        # no buffers: nothing that moves or saves modules knows such weights
        self.weight = reorder(conv.weight.detach().to(kind), padding, stride, dilation, groups, list(shape))
        bias = torch.zeros(conv.out_channels) if conv.bias is None else conv.bias.detach()
        self.bias = nn.Parameter(bias.to(kind), requires_grad=False)
        self.act = ("none", []) if act is None else _ACTS[type(act)]

    def forward(self, x: Tensor) -> Tensor:
        """The activated map."""
        run: Any = torch.ops.mkldnn._convolution_pointwise
        out: Tensor = run(x.to(self.kind), self.weight, self.bias, *self.where, *self.act, "")
        return out


def packed(net: nn.Module, probe: Tensor, kind: torch.dtype = torch.float32) -> nn.Module:
    """A copy of a network with packed convolutions, and activations in them.

    Where torch cannot do this here, or the copy would answer otherwise, the network itself comes back.

    Args:
        net: returns a tensor, or several.
        probe: rows of the size that it will get; weights are laid out for it.
        kind: float32, or bfloat16 for a network that runs under autocast.
    """
    has_convs = any(type(part) is nn.Conv2d for part in net.modules())
    if probe.device.type != "cpu" or not has_convs or not _can_pack(kind):
        return net
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=kind == torch.bfloat16):
        for fuse in (True, False):
            changed = copy.deepcopy(net).eval()
            with _watched(changed) as seen:
                before = tensors(changed(probe))
            try:
                _pack(changed, seen, kind, fuse=fuse)
                after = tensors(changed(probe))
            except RuntimeError:  # a convolution that the library does not take
                return net
            pairs = zip(after, before, strict=True)
            if all((a - b).abs().max() <= _CLOSE[kind] * b.abs().max() for a, b in pairs):
                return changed
    return net


def _can_pack(kind: torch.dtype) -> bool:
    ops: Any = torch.ops.mkldnn
    library: Any = torch.backends.mkldnn
    names = ("_reorder_convolution_weight", "_convolution_pointwise")
    if not library.is_available() or not all(hasattr(ops, name) for name in names):
        return False
    return kind == torch.float32 or bool(ops._is_mkldnn_bf16_supported())


@dataclass
class _Seen:
    """What was met while a network ran.

    Attributes:
        shapes: of the input of each convolution.
        acts: for each activation, the convolutions whose output it took, None for anything else.
    """

    shapes: dict[nn.Conv2d, torch.Size] = field(default_factory=dict)
    acts: dict[nn.Module, list[nn.Conv2d | None]] = field(default_factory=dict)


@contextmanager
def _watched(net: nn.Module) -> Iterator[_Seen]:
    """What fills while the network runs inside, with gradients off but not in inference mode."""
    seen, made = _Seen(), dict[int, tuple[nn.Conv2d, Tensor, int]]()  # tensors stay: nothing gets their id

    def keep(conv: Any, given: tuple[Tensor, ...], out: Tensor) -> None:
        seen.shapes[conv] = given[0].shape
        made[id(out)] = conv, out, out._version

    def join(act: nn.Module, given: tuple[Tensor, ...]) -> None:
        conv, _, version = made.get(id(given[0]), (None, None, -1))
        changed = given[0]._version != version  # something was added to it in its place
        seen.acts.setdefault(act, []).append(None if changed else conv)

    with ExitStack() as stack:
        for part in net.modules():
            if type(part) is nn.Conv2d and part.padding_mode == "zeros" and not isinstance(part.padding, str):
                stack.callback(part.register_forward_hook(keep).remove)
            elif type(part) in _ACTS:
                stack.callback(part.register_forward_pre_hook(join).remove)
        yield seen


def _pack(net: nn.Module, seen: _Seen, kind: torch.dtype, *, fuse: bool) -> None:
    """Put packed convolutions in the place of those that were seen, and activations into them."""
    names = {part: name for name, part in net.named_modules()}
    acts: dict[nn.Module, nn.Module] = {}
    for act, convs in seen.acts.items():
        if fuse and len(convs) == 1 and convs[0] is not None:
            acts[convs[0]] = act
            net.set_submodule(names[act], nn.Identity())
    for conv, shape in seen.shapes.items():
        net.set_submodule(names[conv], PackedConv(conv, shape, kind, acts.get(conv)))
