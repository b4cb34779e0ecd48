"""The dense batch that training uses: every picture and every sound of every snippet."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from avglance.errors import ShapeError


@dataclass
class Clips:
    """B videos of T snippets, all on one device.

    Args:
        pictures: source squares, uint8, shape (B, T, 3, S, S).
        sounds: log-mels, float32, shape (B, T, 1, F, M).
        visible: whether the snippet has a picture, bool, shape (B, T).
        audible: whether the snippet has sound, bool, shape (B, T).
        times: middle of each snippet in seconds, float64, shape (B, T).
        targets: 1 for every true class, float32, shape (B, C).
        known: what a system's frozen encoders say of the videos (``System.know``), each (B, T, ...), by name;
            where there is any, pictures and sounds are ``blank``: shapes without content.

    Raises:
        ShapeError: a shape or a type is another one.
    """

    pictures: Tensor
    sounds: Tensor
    visible: Tensor
    audible: Tensor
    times: Tensor
    targets: Tensor
    known: Mapping[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.pictures.ndim != 5 or self.pictures.shape[2] != 3:
            raise ShapeError(
                f"pictures must be (B, T, 3, S, S), got {tuple(self.pictures.shape)}", where="Clips"
            )
        if self.pictures.dtype != torch.uint8:
            raise ShapeError(f"pictures must be uint8, got {self.pictures.dtype}", where="Clips")
        if self.pictures.shape[3] != self.pictures.shape[4]:
            raise ShapeError(f"pictures must be square, got {tuple(self.pictures.shape[3:])}", where="Clips")
        lead = tuple(self.pictures.shape[:2])
        if self.sounds.ndim != 5 or tuple(self.sounds.shape[:3]) != (*lead, 1):
            raise ShapeError(
                f"sounds must be (B, T, 1, F, M) with B, T = {lead}, got {tuple(self.sounds.shape)}",
                where="Clips",
            )
        for name in ("visible", "audible", "times"):
            if tuple(getattr(self, name).shape) != lead:
                raise ShapeError(
                    f"{name} must be (B, T) = {lead}, got {tuple(getattr(self, name).shape)}", where="Clips"
                )
        for name in ("visible", "audible"):
            if getattr(self, name).dtype != torch.bool:
                raise ShapeError(f"{name} must be bool, got {getattr(self, name).dtype}", where="Clips")
        if self.targets.ndim != 2 or self.targets.shape[0] != lead[0]:
            raise ShapeError(
                f"targets must be (B, C) with B = {lead[0]}, got {tuple(self.targets.shape)}", where="Clips"
            )

    @classmethod
    def stack(cls, items: Sequence[Mapping[str, Any]]) -> Clips:
        """A batch of single videos, as a cache gives them: arrays by field, without the axis B."""

        def side_by_side(arrays: Sequence[NDArray[Any]], *, may_be_blank: bool = False) -> Tensor:
            first = arrays[0]
            if may_be_blank and first.size > 1 and not any(first.strides):
                return blank(len(arrays), *first.shape, dtype=torch.from_numpy(first.flat[:1]).dtype)
            return torch.from_numpy(np.stack(arrays))

        names = items[0].get("known", {})
        known = {name: side_by_side([item["known"][name] for item in items]) for name in names}
        parts = {
            name: side_by_side([item[name] for item in items], may_be_blank=bool(known) and name in _BLANK)
            for name in _ARRAYS
        }
        return cls(known=known, **parts)

    def __len__(self) -> int:
        return self.pictures.shape[0]

    @property
    def snippets(self) -> int:
        """T."""
        return self.pictures.shape[1]

    @property
    def device(self) -> torch.device:
        """Where the batch lies."""
        return self.pictures.device

    def to(self, device: torch.device | str) -> Clips:
        """The same batch on another device."""
        return self._each(lambda x: x.to(device))

    def take(self, indices: Sequence[int] | Tensor) -> Clips:
        """The videos of these numbers, in this order (B is the number of indices)."""
        index = torch.as_tensor(indices, dtype=torch.int64, device=self.device)
        return self._each(lambda x: x[index])

    def at(self, snippets: Tensor) -> Clips:
        """Each video's snippets of these numbers, int64 (B, N) -> a batch of N snippets a video."""
        rows = torch.arange(len(self), device=self.device)[:, None]
        return self._each(lambda x: x[rows, snippets] if x is not self.targets else x)

    def _each(self, pick: Callable[[Tensor], Tensor]) -> Clips:
        """The batch of what ``pick`` makes of each of its tensors; blank ones stay blank."""

        def picked(x: Tensor, *, may_be_blank: bool = False) -> Tensor:
            if not may_be_blank or x.numel() < 2 or any(x.stride()):
                return pick(x)
            few = pick(x[(slice(None), slice(None), *[slice(0, 1)] * (x.ndim - 2))])
            return blank(*few.shape[:2], *x.shape[2:], dtype=x.dtype, device=few.device)

        known = {name: picked(x) for name, x in self.known.items()}
        parts = {
            name: picked(getattr(self, name), may_be_blank=bool(known) and name in _BLANK) for name in _ARRAYS
        }
        return Clips(known=known, **parts)


_ARRAYS = ("pictures", "sounds", "visible", "audible", "times", "targets")
_BLANK = ("pictures", "sounds")  # may be, beside what is known; a mask that is one value everywhere is none


def blank(*shape: int, dtype: torch.dtype, device: torch.device | str = "cpu") -> Tensor:
    """Zeros of any shape in the room of one number."""
    return torch.zeros((), dtype=dtype, device=device).expand(shape)
