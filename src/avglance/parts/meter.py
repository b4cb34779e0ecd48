"""What a recognition truly spends: seconds by stage, and multiply-adds by stage and video.

The rule of the multiply-adds (MACs): convolutions, linear layers, recurrent layers and the matrices of
attention, as ``torch.utils.flop_counter`` sees them (halved, it counts two operations each), counted
once per module and shape of one row and multiplied by the rows that ran; to them come, by formula, the
log-mel front end, the resize to the glance and the crop. Biases, normalisation, activations, pooling and
softmax are not counted. The resize of a decoded frame to the source square belongs to the reader.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from avglance.errors import ArgumentError
from avglance.views import resize_matrix

_counted: weakref.WeakKeyDictionary[Any, dict[tuple[object, ...], int]] = weakref.WeakKeyDictionary()


def count_macs(run: Callable[..., object], *inputs: Tensor | None) -> int:
    """Multiply-adds of one call, by torch's own counter."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        run(*inputs)
    return int(counter.get_total_flops()) // 2


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


@lru_cache(maxsize=64)
def resize_macs(n_in: int, n_out: int) -> int:
    """Multiply-adds of resizing one square of three channels, rows and columns apart; 0 if the size stays."""
    if n_in == n_out:
        return 0
    taps = int(np.count_nonzero(resize_matrix(n_in, n_out)))
    return 3 * taps * (n_in + n_out)


def crop_macs(patch_side: int) -> int:
    """Multiply-adds of one patch of three channels by bilinear interpolation: four for each value."""
    return 3 * 4 * patch_side * patch_side


class Meter:
    """Counts while a system recognises ``videos`` videos.

    ``seconds`` has one sum a stage; ``macs`` int64 (B,) a stage. Seconds that a view spends in decoding are
    put under ``decode`` and not under the stage that asked.
    """

    def __init__(self, videos: int) -> None:
        if videos < 1:
            raise ArgumentError(f"a meter needs at least one video, got {videos}", where="Meter")
        self.videos = videos
        self.seconds: dict[str, float] = {}
        self.macs: dict[str, NDArray[np.int64]] = {}
        self._inside: list[float] = []  # for each running clock, the seconds of the clocks inside it

    @property
    def total_macs(self) -> NDArray[np.int64]:
        """Multiply-adds of each video over all stages, int64 (B,)."""
        return sum(self.macs.values(), np.zeros(self.videos, dtype=np.int64))

    @contextmanager
    def clock(self, stage: str, view: object = None) -> Iterator[None]:
        """Adds the seconds inside to ``stage``, less those of clocks within and of decoding in ``view``."""
        decoded, start = _decode_s(view), self._now()
        self._inside.append(0.0)
        try:
            yield
        finally:
            spent, decoded = self._now() - start, _decode_s(view) - decoded
            own = max(spent - self._inside.pop() - decoded, 0.0)
            if self._inside:
                self._inside[-1] += spent
            if stage:
                self.seconds[stage] = self.seconds.get(stage, 0.0) + own
            if decoded:
                self.seconds["decode"] = self.seconds.get("decode", 0.0) + decoded

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

    def add(self, stage: str, macs_per_row: int, rows: Tensor | NDArray[np.int64]) -> None:
        """Books ``macs_per_row`` once for each entry of ``rows`` (video numbers)."""
        index = rows.cpu().numpy() if isinstance(rows, Tensor) else np.asarray(rows)
        book = self.macs.setdefault(stage, np.zeros(self.videos, dtype=np.int64))
        book += np.bincount(index.astype(np.int64), minlength=self.videos) * macs_per_row

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


def _decode_s(view: object) -> float:
    return float(np.sum(getattr(view, "decode_s", 0.0)))
