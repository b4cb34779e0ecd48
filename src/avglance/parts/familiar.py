"""How familiar a close look is: how near it lies to what training showed of each class."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SHRINK = 0.1  # of the scatter within classes towards the same in all directions
_SPARE, _ROUNDS = 16, 2  # of the random projection that finds the axes


class Familiar(nn.Module):
    """Vectors of a look -> how near it lies to each class: minus half a squared distance.

    Of each sense's vector the square root is taken and brought to length one; the senses side by side are
    projected on the axes along which training's looks differ most, scaled so that the looks of a class
    scatter alike in all directions; a class is the mean of its looks there. No gradient goes here: ``fit``
    sets the numbers after training. Before it all of them are 0, and so is every distance.

    Shapes:
        in   picture (n, Dv), sound (n, Da), near (n, D)
        out  (n, C), at most 0

    Source: ours; the distance is that of Lee et al. 2018 (one scatter for all classes).
    """

    axes: Tensor
    shift: Tensor
    centres: Tensor

    def __init__(self, widths: Sequence[int], classes: int, rank: int) -> None:
        super().__init__()
        self.rank = min(rank, sum(widths))
        self.register_buffer("axes", torch.zeros(self.rank, sum(widths)))
        self.register_buffer("shift", torch.zeros(self.rank))
        self.register_buffer("centres", torch.zeros(classes, self.rank))

    def forward(self, picture: Tensor, sound: Tensor, near: Tensor) -> Tensor:
        """How near each look lies to each class."""
        at = F.linear(directions(picture, sound, near), self.axes, -self.shift)
        return -(at[:, None] - self.centres).square().sum(-1) / 2

    @torch.no_grad()
    def fit(self, x: Tensor, y: Tensor) -> None:
        """Sets axes, scatter and means by training's looks.

        Args:
            x: ``directions`` of the looks, shape (N, Dv + Da + D).
            y: the class of each, -1 for looks that show none, int64 (N,). The classes weigh alike, and the
                looks of none as much as all of them together.
        """
        there = torch.bincount(y + 1, minlength=len(self.centres) + 1).to(x)
        weight = 1 / there.clamp(min=1)
        weight[0] *= len(self.centres)
        weight = weight[y + 1]
        mean = x.mean(0)
        rank = min(self.rank, *x.shape)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            scaled = (x - mean) * (weight / weight.mean()).sqrt()[:, None]
            axes = torch.svd_lowrank(scaled, q=min(rank + _SPARE, *x.shape), niter=_ROUNDS)[2][:, :rank]
        at = (x - mean) @ axes  # (N, rank)
        seen = [at[y == c].mean(0) if there[c + 1] else at.mean(0) for c in range(len(self.centres))]
        centres, known = torch.stack(seen), y >= 0
        off = at[known] - centres[y[known]]
        scatter = off.T @ off / max(len(off), 1)
        even = torch.eye(rank).to(x) * scatter.trace() / rank
        scatter = (1 - SHRINK) * scatter + SHRINK * even + 1e-9 * torch.eye(rank).to(x)
        scale = torch.linalg.cholesky(torch.linalg.inv(scatter.double())).to(x)
        for buffer, found in ((self.axes, (axes @ scale).T), (self.centres, centres @ scale)):
            buffer.zero_()
            buffer[: found.shape[0], : found.shape[1]] = found
        self.shift.copy_(self.axes @ mean)


def directions(*vectors: Tensor) -> Tensor:
    """Square roots of vectors (n, .), each of length one, side by side; what is below 0 counts as 0."""
    return torch.cat([F.normalize(x.float().clamp(min=0).sqrt(), dim=-1) for x in vectors], dim=-1)
