"""What a recognition truly spends: seconds by stage, and multiply-adds by stage and video.

The rule of the multiply-adds (MACs): convolutions, linear layers, recurrent layers and the matrices of
attention, as ``torch.utils.flop_counter`` sees them (halved, it counts two operations each), counted
once per module and shape of one row and multiplied by the rows that ran; to them come, by formula, the
log-mel front end, the resize to the glance and the crop. Biases, normalisation, activations, pooling and
softmax are not counted. The resize of a decoded frame to the source square belongs to the reader.
"""

from __future__ import annotations

import math
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from avglance.views import Bill, crop_macs, resize_macs

__all__ = ["Meter", "Unmetered", "count_macs", "crop_macs", "resize_macs", "row_macs"]

_counted: weakref.WeakKeyDictionary[Any, dict[tuple[object, ...], int]] = weakref.WeakKeyDictionary()


def _formula(operation: Any) -> Callable[..., int] | None:
    """How many operations are two for each multiply-add of a call; None: it has none by itself."""
    found: Callable[..., int] | None = flop_registry.get(operation)
    if found is None and str(operation) == "mkldnn._convolution_pointwise":  # of ``pack``; torch has none
        return _packed_operations
    return found


def _packed_operations(x: Tensor, weight: Tensor, *_: Any, out_val: Tensor, **__: Any) -> int:
    """Operations of a packed convolution; its weight's axes are those of any other."""
    return 2 * out_val.numel() * math.prod(weight.shape[1:])


class _Counting:
    """Adds up torch's own formulas over the operations that run.

    Not written in the class of the mode itself: what stands there torch wraps so that its first use imports
    the whole compiler, which takes longer than tagging a video (as does ``FlopCounterMode``).
    """

    def __init__(self) -> None:
        super().__init__()
        self.operations = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation, taken apart where only its parts have a formula."""
        kwargs = kwargs or {}
        formula = _formula(func._overloadpacket)
        if formula is None:
            with self:  # type: ignore[attr-defined]  # it is a mode, see _Counter
                out = func.decompose(*args, **kwargs)
            if out is not NotImplemented:
                return out
        out = func(*args, **kwargs)
        self.operations += 0 if formula is None else int(formula(*args, **kwargs, out_val=out))
        return out


class _Counter(_Counting, TorchDispatchMode):  # type: ignore[no-untyped-call]
    """``_Counting`` as a context."""


def count_macs(run: Callable[..., object], *inputs: Tensor | None) -> int:
    """Multiply-adds of one call, by torch's own formulas."""
    with torch.no_grad(), _Counter() as counter:
        run(*inputs)
    return int(counter.operations) // 2


def row_macs(module: nn.Module, *row: Tensor | None, method: str = "forward") -> int:
    """Multiply-adds of one row (a batch of 1) through a module; counted once per module, method and shapes.

    The module is put into evaluation for the count and left as it was.
    """
    key = (method, *(None if x is None else tuple(x.shape) for x in row))
    memo = _counted.setdefault(module, {})
    if key not in memo:
        modes = [(m, m.training) for m in module.modules()]
        module.eval()
        try:
            memo[key] = count_macs(module if method == "forward" else getattr(module, method), *row)
        finally:
            for m, mode in modes:
                m.training = mode
    return memo[key]


class Meter(Bill):
    """Counts while a system recognises ``videos`` videos: ``Bill``, and the multiply-adds of modules."""

    def run(
        self,
        stage: str,
        module: nn.Module,
        *inputs: Any,
        rows: Tensor | NDArray[np.int64],
        method: str = "forward",
        row: tuple[Tensor | None, ...] | None = None,
    ) -> Any:
        """Calls a module (or one of its methods), adding its seconds and its multiply-adds.

        Args:
            stage: where to book it.
            module: a part.
            inputs: tensors whose first axis is the batch; anything else only beside ``row``.
            rows: video number of each row that ran, int64 (n,).
            method: which method of the module to call.
            row: the inputs of one row; None: the first of each input.

        Returns:
            What the module returns.
        """
        with self.clock(stage):
            out = module(*inputs) if method == "forward" else getattr(module, method)(*inputs)
        if len(rows):
            with self.clock(""):  # counting is no part of the work
                macs = row_macs(
                    module, *(row or tuple(None if x is None else x[:1] for x in inputs)), method=method
                )
            self.add(stage, macs, rows)
        return out

    def add(self, stage: str, macs_per_row: int, rows: Tensor | ArrayLike) -> None:
        """Books ``macs_per_row`` once for each entry of ``rows`` (video numbers)."""
        super().add(stage, macs_per_row, rows.cpu().numpy() if isinstance(rows, Tensor) else rows)

    @staticmethod
    def _now() -> float:
        if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
            torch.cuda.synchronize()
        return time.perf_counter()


class Unmetered:
    """Stands in for a ``Meter`` where nobody asks for the cost."""

    @contextmanager
    def clock(self, stage: str, view: object = None) -> Iterator[None]:
        """Measures nothing."""
        yield

    def run(
        self,
        stage: str,
        module: nn.Module,
        *inputs: Any,
        rows: Tensor | NDArray[np.int64],
        method: str = "forward",
        row: tuple[Tensor | None, ...] | None = None,
    ) -> Any:
        """Calls the module."""
        return module(*inputs) if method == "forward" else getattr(module, method)(*inputs)

    def add(self, stage: str, macs_per_row: int, rows: Tensor | NDArray[np.int64]) -> None:
        """Books nothing."""
