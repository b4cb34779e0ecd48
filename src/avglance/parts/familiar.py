"""How familiar a close look is: how near it lies to what training showed of each class."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SHRINK = 0.1  # of the scatter within classes towards the same in all directions
LEAST_SCATTER = 1e-3  # of what all looks have, that those of a class have at least
LEAST_LOOKS = 2  # a class, on average: fewer tell nothing of how a class scatters
_SPARE, _ROUNDS = 16, 2  # of the random projection that finds the axes


class Familiar(nn.Module):
    """Vectors of a look -> how near it lies to each class: minus half a squared distance.

    Of each sense's vector the square root is taken and brought to length one; the senses side by side are
    projected on the axes along which training's looks differ most, scaled so that the looks of a class
    scatter alike in all directions; a class is the mean of its looks there. A sound that is not there says
    nothing: that of each class stands for it. No gradient goes here: ``fit`` sets the numbers after
    training. Before it all of them are 0, and so is every distance.

    Shapes:
        in   picture (n, Dv), sound (n, Da), near (n, D), audible bool (n,)
        out  (n, C), at most 0 (but for rounding)

    Source: ours; the distance is that of Lee et al. 2018 (one scatter for all classes).
    """

    axes: Tensor
    mean: Tensor
    centres: Tensor
    silent: Tensor  # those without what their sounds add

    def __init__(self, widths: Sequence[int], classes: int, rank: int) -> None:
        super().__init__()
        self.widths, self.rank = tuple(widths), min(rank, sum(widths))
        self.register_buffer("axes", torch.zeros(self.rank, sum(widths)))
        self.register_buffer("mean", torch.zeros(sum(widths)))
        self.register_buffer("centres", torch.zeros(classes, self.rank))
        self.register_buffer("silent", torch.zeros(classes, self.rank))

    def forward(self, picture: Tensor, sound: Tensor, near: Tensor, audible: Tensor) -> Tensor:
        """How near each look lies to each class."""
        x = directions(picture, sound, near) - self.mean
        at = F.linear(self._heard(x, audible), self.axes)
        return torch.where(audible[:, None], _nearness(at, self.centres), _nearness(at, self.silent))

    def _heard(self, off: Tensor, audible: Tensor) -> Tensor:
        """What is off the mean, without the sounds that are not there."""
        first, last = self.widths[0], self.widths[0] + self.widths[1]
        heard = off[:, first:last] * audible[:, None]
        return torch.cat([off[:, :first], heard, off[:, last:]], dim=1)

    @torch.no_grad()
    def fit(self, x: Tensor, y: Tensor, audible: Tensor) -> None:
        """Sets axes, scatter and means by training's looks; too few of them leave everything at 0.

        On the processor, in double precision: the same numbers on every device.

        Args:
            x: ``directions`` of the looks, shape (N, Dv + Da + D).
            y: the class of each, -1 for looks that show none, int64 (N,). The classes weigh alike, and the
                looks of none as much as all of them together.
            audible: which of them have a sound, bool (N,).
        """
        for buffer in (self.axes, self.mean, self.centres, self.silent):
            buffer.zero_()
        x, y, audible = x.double().cpu(), y.cpu(), audible.cpu()
        classes, known = len(self.centres), y >= 0
        if int(known.sum()) < LEAST_LOOKS * classes:
            return
        there = torch.bincount(y + 1, minlength=classes + 1).double()
        weight = 1 / there.clamp(min=1)
        weight[0] *= classes
        weight = weight[y + 1]
        mean = torch.where(self._sounds(), x[audible].mean(0) if audible.any() else x.mean(0), x.mean(0))
        off = self._heard(x - mean, audible)
        heard = torch.where(self._sounds(), audible[:, None], True).double()  # (N, D)
        each = torch.stack([off[y == c].sum(0) / heard[y == c].sum(0).clamp(min=1) for c in range(classes)])
        rank = min(self.rank, *x.shape)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(0)
            scaled = off * (weight / weight.mean()).sqrt()[:, None]
            axes = torch.svd_lowrank(scaled, q=min(rank + _SPARE, *x.shape), niter=_ROUNDS)[2][:, :rank]
        within = ((off - each[y]) * heard)[known] @ axes
        scatter = within.T @ within / len(within)
        whole = (off @ axes).square().sum(1).mean()
        even = torch.eye(rank).double() * torch.maximum(scatter.trace(), LEAST_SCATTER * whole) / rank
        scatter = (1 - SHRINK) * scatter + SHRINK * even + 1e-12 * torch.eye(rank).double()
        scale = torch.linalg.cholesky(torch.linalg.inv(scatter))
        self.axes[:rank].copy_((axes @ scale).T)
        self.mean.copy_(mean)
        self.centres[:, :rank].copy_(each @ axes @ scale)
        self.silent[:, :rank].copy_(torch.where(self._sounds(), 0, each) @ axes @ scale)

    def _sounds(self) -> Tensor:
        """Which of the numbers of a look are those of its sound."""
        at = torch.arange(sum(self.widths))
        return (at >= self.widths[0]) & (at < self.widths[0] + self.widths[1])


def _nearness(at: Tensor, centres: Tensor) -> Tensor:
    """Minus half the squared distance of each of ``at`` (n, rank) to each centre (C, rank)."""
    return F.linear(at, centres) - (at.square().sum(1, keepdim=True) + centres.square().sum(1)) / 2


def directions(*vectors: Tensor) -> Tensor:
    """Square roots of vectors (n, .), each of length one, side by side; what is below 0 counts as 0."""
    return torch.cat([F.normalize(x.float().clamp(min=0).sqrt(), dim=-1) for x in vectors], dim=-1)
