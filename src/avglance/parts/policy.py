"""Patch policies: the map of a moment -> where the close look goes.

A corner (a_y, a_x) in [0, 1] is the patch's upper left corner as fractions of (side - P): the patch is always
inside. ``RecurrentPolicy`` is AdaFocus V2's, taught through the crop; ``HeatmapPolicy`` is ours, taught by
comparing patches.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from avglance.errors import ArgumentError, ShapeError


def _size(map_side: int | tuple[int, int]) -> tuple[int, int]:
    return (map_side, map_side) if isinstance(map_side, int) else (map_side[0], map_side[1])


def _check(map: Tensor, size: tuple[int, int], where: str) -> None:
    if map.ndim != 5 or tuple(map.shape[-2:]) != size:
        raise ShapeError(f"map must be (B, K, D, {size[0]}, {size[1]}), got {tuple(map.shape)}", where=where)


class RecurrentPolicy(nn.Module):
    """Where to look in each moment, remembering the moments before it.

    Shapes:
        in   map     (B, K, D, h, w), most salient moment first
        out  corner  (B, K, 2)   (a_y, a_x) in (0, 1)

    In evaluation step j depends on the first j moments alone, so K may change after training. At D = 1280,
    7 x 7: 31,692,930 parameters, 35,606,528 multiply-adds a step. A ``GRUCell`` is stepped, not ``nn.GRU``:
    the operation counter sees it on any device.

    Source: AdaFocus V2, policy network.
    """

    def __init__(
        self, map_width: int, map_side: int | tuple[int, int], hidden: int = 2048, squeeze: int = 64
    ) -> None:
        super().__init__()
        self.size, self.hidden = _size(map_side), hidden
        cells = self.size[0] * self.size[1]
        self.squeeze = nn.Sequential(
            nn.Conv2d(map_width, squeeze, 1, bias=False), nn.BatchNorm2d(squeeze), nn.Tanh()
        )
        self.gather = nn.Sequential(nn.Linear(squeeze * cells, hidden), nn.BatchNorm1d(hidden), nn.Tanh())
        self.memory = nn.GRUCell(hidden, hidden)
        self.to_corner = nn.Linear(hidden, 2)

    def forward(self, map: Tensor) -> Tensor:
        """Corners of the patches."""
        return self.steps(map)[0]

    def steps(self, map: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Corners of the next moments, and what is remembered of all so far, (B, hidden); None: the first."""
        _check(map, self.size, "RecurrentPolicy")
        B, K = map.shape[:2]
        x = self.gather(self.squeeze(map.flatten(0, 1)).flatten(1)).unflatten(0, (B, K))  # (B, K, hidden)
        state, states = x.new_zeros(B, self.hidden) if state is None else state, []
        for j in range(K):
            state = self.memory(x[:, j], state)
            states.append(state)
        corner: Tensor = self.to_corner(torch.stack(states, dim=1))  # (B, K, 2)
        return corner.sigmoid(), states[-1]


class HeatmapPolicy(nn.Module):
    """Where to look, as a softmax over the cells of the map.

    In training n cells are drawn without replacement; their patches all go through the focus encoder, and the
    features are averaged with the weights p_i / sum p, so that the loss tells the map which cell
    was better. At test the best cell is taken. Cell (i, j) is the corner (i / (h - 1), j / (w - 1)).

    Shapes:
        cells  map (B, K, D, h, w) -> logits (B, K, h w)
        best   map -> corner (B, K, 2)
        draw   map -> corners (B, K, n, 2), weights (B, K, n)

    Source: ours.
    """

    def __init__(self, map_width: int, map_side: int | tuple[int, int], hidden: int = 32) -> None:
        super().__init__()
        self.size = _size(map_side)
        self.score = nn.Sequential(
            nn.Conv2d(map_width, hidden, 3, padding=1, bias=False),
            nn.BatchNorm2d(hidden),
            nn.ReLU(),
            nn.Conv2d(hidden, 1, 1, bias=False),  # a bias would change no softmax
        )
        nn.init.normal_(self.score[3].weight, std=0.01)  # type: ignore[arg-type]

    def cells(self, map: Tensor) -> Tensor:
        """Logits of the cells, row by row, shape (B, K, h w)."""
        _check(map, self.size, "HeatmapPolicy")
        logits: Tensor = self.score(map.flatten(0, 1))  # (B K, 1, h, w)
        return logits.reshape(*map.shape[:2], -1)

    def forward(self, map: Tensor) -> Tensor:
        """The same as ``best``."""
        return self.best(map)

    def steps(self, map: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The same as ``best``, as ``RecurrentPolicy.steps`` gives it: nothing is remembered, (B, 0)."""
        return self.best(map), map.new_zeros(len(map), 0)

    def best(self, map: Tensor) -> Tensor:
        """Corner of the best cell, shape (B, K, 2); ties go to the first cell."""
        return cell_corner(self.cells(map).argmax(-1), self.size)

    def draw(self, map: Tensor, n: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Corners of ``n`` different cells and the weights of their patches.

        Args:
            map: the enhanced map, shape (B, K, D, h, w).
            n: how many cells, 1 <= n <= h w.
            rng: makes the draw.

        Returns:
            corners (B, K, n, 2), without gradient, and weights (B, K, n) that sum to 1 over n and carry it.
        """
        logits = self.cells(map)
        cells = draw_cells(logits, n, rng)  # (B, K, n)
        return cell_corner(cells, self.size), logits.gather(-1, cells).softmax(-1)


def draw_cells(logits: Tensor, n: int, rng: torch.Generator) -> Tensor:
    """``n`` different indices drawn one after another by softmax(logits), each from those that are left.

    The largest n of logits + Gumbel noise are such a draw. int64, shape (..., n) for logits (..., N).
    """
    if not 1 <= n <= logits.shape[-1]:
        raise ArgumentError(f"n={n} cells of {logits.shape[-1]}", where="draw_cells")
    noise = torch.empty(logits.shape, device=rng.device).exponential_(generator=rng)
    gumbel = -noise.clamp(min=torch.finfo(noise.dtype).tiny).log()
    return (logits.detach().float() + gumbel.to(logits.device)).topk(n, dim=-1).indices


def cell_corner(cells: Tensor, size: tuple[int, int]) -> Tensor:
    """Corner action (..., 2) of cells (...) numbered row by row on a map of ``size`` (h, w).

    >>> cell_corner(torch.tensor([0, 5]), (3, 3))
    tensor([[0.0000, 0.0000],
            [0.5000, 1.0000]])
    """
    h, w = size
    y, x = cells // w / max(h - 1, 1), cells % w / max(w - 1, 1)
    if h == 1:
        y = torch.full_like(y, 0.5)
    if w == 1:
        x = torch.full_like(x, 0.5)
    return torch.stack([y, x], dim=-1)


def box_cell(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """The cell, of a map of ``size`` (h, w), whose patch lies nearest to each of the boxes, int64 (n,).

    The way back from ``cell_corner`` and ``corner_to_box``.

    Args:
        boxes: (x0, y0, x1, y1) as fractions of the square, of one side below 1, shape (n, 4).
        size: of the map.

    >>> box_cell(torch.tensor([[0.25, 0.5, 0.75, 1.0]]), (3, 3))
    tensor([7])
    """
    h, w = size
    room = (1 - (boxes[:, 2:] - boxes[:, :2])).clamp(min=1e-6)
    x, y = (boxes[:, :2] / room).clamp(0, 1).unbind(1)
    cells: Tensor = (y * (h - 1)).round().long() * w + (x * (w - 1)).round().long()
    return cells
