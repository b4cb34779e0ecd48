from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn

from avglance.errors import ArgumentError, ShapeError
from avglance.parts.crop import corner_to_box
from avglance.parts.policy import HeatmapPolicy, RecurrentPolicy, box_cell, cell_corner, draw_cells


def test_recurrent_corners_are_inside_and_depend_on_the_moments_before_alone():
    part = RecurrentPolicy(6, 3, hidden=16).eval()
    map = torch.randn(2, 5, 6, 3, 3)
    corner = part(map)
    assert corner.shape == (2, 5, 2)
    assert ((corner > 0) & (corner < 1)).all()
    changed = map.clone()
    changed[:, 3:] = torch.randn(2, 2, 6, 3, 3)
    other = part(changed)
    assert torch.allclose(other[:, :3], corner[:, :3], atol=1e-6)
    assert not torch.allclose(other[:, 3:], corner[:, 3:], atol=1e-4)
    assert torch.allclose(part(map[:, :2]), corner[:, :2], atol=1e-6)
    first = map.clone()
    first[:, 0] = torch.randn(2, 6, 3, 3)
    assert not torch.allclose(part(first)[:, 4], corner[:, 4], atol=1e-6)  # it remembers


def test_recurrent_memory_equals_torch_gru():
    part = RecurrentPolicy(6, 3, hidden=16).eval()
    gru = nn.GRU(16, 16, batch_first=True)
    gru.load_state_dict({f"{name}_l0": value for name, value in part.memory.state_dict().items()})
    map = torch.randn(2, 5, 6, 3, 3)
    x = part.gather(part.squeeze(map.flatten(0, 1)).flatten(1)).unflatten(0, (2, 5))
    assert torch.allclose(part.to_corner(gru(x)[0]).sigmoid(), part(map), atol=1e-6)


def test_corners_of_cells():
    corners = cell_corner(torch.arange(12), (3, 4)).view(3, 4, 2)
    for i, j in itertools.product(range(3), range(4)):
        assert torch.allclose(corners[i, j], torch.tensor([i / 2, j / 3]))
    assert cell_corner(torch.tensor(0), (1, 1)).tolist() == [0.5, 0.5]


@pytest.mark.parametrize("size", [(3, 3), (2, 4), (1, 3), (1, 1)])
def test_the_cell_of_a_box_is_the_one_that_it_was_made_from(size):
    cells = torch.arange(size[0] * size[1])
    boxes = corner_to_box(cell_corner(cells, size), 20, 48)
    assert torch.equal(box_cell(boxes, size), cells)
    assert torch.equal(box_cell(boxes + 0.04, size)[:1], cells[:1])  # the nearest


def test_heatmap_takes_the_best_cell():
    part = HeatmapPolicy(4, (5, 6)).eval()
    map = torch.randn(2, 3, 4, 5, 6)
    best = part.cells(map).argmax(-1)
    assert torch.equal(part.best(map), cell_corner(best, (5, 6)))
    assert torch.equal(part(map), part.best(map))


def test_heatmap_sees_the_place():
    """What stands in one cell wins there wherever it stands: rows are rows and columns are columns."""
    part = HeatmapPolicy(1, (4, 6)).eval()
    with torch.no_grad():
        part.score[0].weight.zero_()
        part.score[0].weight[:, 0, 1, 1] = 1.0
        part.score[3].weight.fill_(1.0)
    for i, j in ((0, 0), (1, 4), (3, 2)):
        map = torch.zeros(1, 1, 1, 4, 6)
        map[..., i, j] = 1.0
        assert torch.allclose(part.best(map)[0, 0], torch.tensor([i / 3, j / 5]))


def test_draws_are_repeatable_distinct_and_weighted():
    part = HeatmapPolicy(4, 3)
    map = torch.randn(5, 2, 4, 3, 3)
    part.eval()
    corners, weights = part.draw(map, 3, torch.Generator().manual_seed(3))
    again, _ = part.draw(map, 3, torch.Generator().manual_seed(3))
    assert torch.equal(corners, again)
    assert not corners.requires_grad
    assert torch.allclose(weights.sum(-1), torch.ones(5, 2))
    cells = (corners[..., 0] * 2 * 3 + corners[..., 1] * 2).round().long()
    assert all(len(set(row.tolist())) == 3 for row in cells.flatten(0, 1))
    share = part.cells(map).softmax(-1).gather(-1, cells)
    assert torch.allclose(weights, share / share.sum(-1, keepdim=True), atol=1e-6)


def test_inclusion_probabilities_equal_exact_enumeration():
    share = torch.tensor([0.5, 0.25, 0.15, 0.1], dtype=torch.float64)
    exact = torch.zeros(4, dtype=torch.float64)
    ordered = torch.zeros(4, 4, dtype=torch.float64)
    for i, j in itertools.permutations(range(4), 2):
        ordered[i, j] = share[i] * share[j] / (1 - share[i])
        exact[[i, j]] += ordered[i, j]
    n = 40_000
    drawn = draw_cells(share.log().expand(n, 4), 2, torch.Generator().manual_seed(0))
    counted = torch.zeros(4, 4, dtype=torch.float64)
    counted.index_put_((drawn[:, 0], drawn[:, 1]), torch.ones(n, dtype=torch.float64) / n, accumulate=True)
    deviation = (ordered * (1 - ordered) / n).sqrt()
    assert ((counted - ordered).abs() <= 4.5 * deviation + 1e-12).all()
    inclusion = counted.sum(0) + counted.sum(1)
    assert (inclusion - exact).abs().max() < 0.012
    assert (inclusion - 2 * share).abs().max() > 0.1  # not the draw with replacement


def test_the_loss_tells_the_map_which_cell_was_better():
    """Cell 3 of 4 gives the answer: learned from the averaged features of two drawn cells alone."""
    rng = torch.Generator().manual_seed(0)
    logits = torch.zeros(4, requires_grad=True)
    adam = torch.optim.Adam([logits], lr=0.1)
    value = torch.tensor([0.0, 0.0, 0.0, 1.0])
    for _ in range(60):
        cells = draw_cells(logits.expand(16, 4), 2, rng)
        weights = logits.expand(16, 4).gather(-1, cells).softmax(-1)
        loss = ((weights * value[cells]).sum(-1) - 1).square().mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
    assert logits.softmax(0)[3] > 0.9


def test_wrong_values_are_named():
    part = HeatmapPolicy(4, 3)
    with pytest.raises(ShapeError, match=r"map must be \(B, K, D, 3, 3\)"):
        part(torch.zeros(1, 4, 3, 3))
    with pytest.raises(ShapeError):
        RecurrentPolicy(4, 3, hidden=8)(torch.zeros(1, 1, 4, 4, 4))
    with pytest.raises(ArgumentError, match="n=10 cells of 9"):
        part.draw(torch.zeros(1, 1, 4, 3, 3), 10, torch.Generator())
