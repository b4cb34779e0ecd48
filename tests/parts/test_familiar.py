"""How familiar a look is: planted classes are near themselves, what is unlike them is far from all."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from avglance.parts.familiar import Familiar, directions

WIDTHS, CLASSES = (6, 5, 9), 3


def looks(kind: int, count: int, rng: np.random.Generator) -> list[torch.Tensor]:
    """Vectors of the three senses that have one cell large in each, by the kind, with noise."""
    made = []
    for width in WIDTHS:
        x = 0.2 * rng.random((count, width))
        x[:, kind % width] += 2
        made.append(torch.from_numpy(x).float())
    return made


def fitted(rank: int = 8, none: bool = True) -> Familiar:
    rng = np.random.default_rng(0)
    kinds = [*range(CLASSES), *([3] if none else [])]
    parts = [directions(*looks(kind, 40, rng)) for kind in kinds]
    y = torch.cat([torch.full((40,), kind if kind < CLASSES else -1) for kind in kinds])
    made = Familiar(WIDTHS, CLASSES, rank)
    made.fit(torch.cat(parts), y)
    return made


def test_before_it_is_fitted_nothing_is_told():
    near = Familiar(WIDTHS, CLASSES, 4)(*looks(0, 7, np.random.default_rng(1)))
    assert near.shape == (7, CLASSES)
    assert not near.any()


@pytest.mark.parametrize("none", [True, False])
def test_looks_lie_near_their_own_class_and_strange_ones_near_none(none):
    made, rng = fitted(none=none), np.random.default_rng(2)
    own = []
    for kind in range(CLASSES):
        near = made(*looks(kind, 30, rng))
        assert (near.argmax(1) == kind).all()
        own.append(near[:, kind])
    for kind in (3, 4):  # the fourth kind was seen as none of them, or never; the fifth never
        assert made(*looks(kind, 30, rng)).amax(1).max() < torch.cat(own).min()


def test_the_distance_is_that_of_mahalanobis():
    """With every axis kept: (x - mean)' W^-1 (x - mean), W shrunk, by plain numpy."""
    rng = np.random.default_rng(3)
    x = torch.cat([directions(*looks(kind, 60, rng)) for kind in range(CLASSES)])
    y = torch.arange(CLASSES).repeat_interleave(60)
    made = Familiar(WIDTHS, CLASSES, sum(WIDTHS))
    made.fit(x, y)
    flat, at = x.double().numpy(), y.numpy()
    means = np.stack([flat[at == c].mean(0) for c in range(CLASSES)])
    off = flat - means[at]
    scatter = off.T @ off / len(off)
    size = len(scatter)
    scatter = 0.9 * scatter + 0.1 * np.trace(scatter) / size * np.eye(size) + 1e-9 * np.eye(size)
    given = looks(1, 5, rng)
    apart = directions(*given).double().numpy()[:, None] - means
    expected = -np.einsum("nci,ij,ncj->nc", apart, np.linalg.inv(scatter), apart) / 2
    np.testing.assert_allclose(made(*given).numpy(), expected, rtol=2e-3, atol=2e-2)


def test_fewer_looks_than_axes_and_classes_that_were_never_seen():
    made, rng = Familiar(WIDTHS, CLASSES, 99), np.random.default_rng(4)
    assert made.rank == sum(WIDTHS)
    made.fit(
        torch.cat([directions(*looks(0, 2, rng)), directions(*looks(1, 2, rng))]), torch.tensor([0, 0, 1, 1])
    )
    near = made(*looks(0, 3, rng))
    assert torch.isfinite(near).all()
    assert (near[:, 0] > near[:, 1]).all()


def test_fitting_draws_nothing_and_gives_the_same_again():
    before = torch.random.get_rng_state()
    one, other = fitted(), fitted()
    assert torch.equal(before, torch.random.get_rng_state())
    assert all(
        torch.equal(one.state_dict()[name], other.state_dict()[name]) for name in ("axes", "shift", "centres")
    )


def test_directions_have_length_one_each():
    x = directions(torch.tensor([[4.0, 0.0, -3.0]]), torch.tensor([[1.0, 1.0]]), torch.zeros(1, 2))
    np.testing.assert_allclose(x.numpy(), [[1, 0, 0, 0.5**0.5, 0.5**0.5, 0, 0]], atol=1e-6)
