"""The dense batch that training uses: every picture and every sound of every snippet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
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

    Raises:
        ShapeError: a shape or a type is another one.
    """

    pictures: Tensor
    sounds: Tensor
    visible: Tensor
    audible: Tensor
    times: Tensor
    targets: Tensor

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
    def stack(cls, items: Sequence[Mapping[str, NDArray[Any]]]) -> Clips:
        """A batch of single videos, as a cache gives them: arrays by field, without the axis B."""
        names = [f.name for f in fields(cls)]
        return cls(**{name: torch.from_numpy(np.stack([item[name] for item in items])) for name in names})

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
        return Clips(**{f.name: getattr(self, f.name).to(device) for f in fields(self)})

    def take(self, indices: Sequence[int] | Tensor) -> Clips:
        """The videos of these numbers, in this order (B is the number of indices)."""
        index = torch.as_tensor(indices, dtype=torch.int64, device=self.device)
        return Clips(**{f.name: getattr(self, f.name)[index] for f in fields(self)})

    def at(self, snippets: Tensor) -> Clips:
        """Each video's snippets of these numbers, int64 (B, N) -> a batch of N snippets a video."""
        rows = torch.arange(len(self), device=self.device)[:, None]
        parts = {f.name: getattr(self, f.name)[rows, snippets] for f in fields(self) if f.name != "targets"}
        return Clips(targets=self.targets, **parts)
