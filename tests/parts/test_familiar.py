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
    made.fit(torch.cat(parts), y, heard(len(y)))
    return made


def heard(count: int) -> torch.Tensor:
    return torch.ones(count, dtype=torch.bool)


def test_before_it_is_fitted_nothing_is_told():
    near = Familiar(WIDTHS, CLASSES, 4)(*looks(0, 7, np.random.default_rng(1)), heard(7))
    assert near.shape == (7, CLASSES)
    assert not near.any()


@pytest.mark.parametrize("none", [True, False])
def test_looks_lie_near_their_own_class_and_strange_ones_near_none(none):
    made, rng = fitted(none=none), np.random.default_rng(2)
    own = []
    for kind in range(CLASSES):
        near = made(*looks(kind, 30, rng), heard(30))
        assert (near.argmax(1) == kind).all()
        own.append(near[:, kind])
    for kind in (3, 4):  # the fourth kind was seen as none of them, or never; the fifth never
        assert made(*looks(kind, 30, rng), heard(30)).amax(1).max() < torch.cat(own).min()


def test_the_distance_is_that_of_mahalanobis():
    """With every axis kept: (x - mean)' W^-1 (x - mean), W shrunk, by plain numpy."""
    rng = np.random.default_rng(3)
    x = torch.cat([directions(*looks(kind, 60, rng)) for kind in range(CLASSES)])
    y = torch.arange(CLASSES).repeat_interleave(60)
    made = Familiar(WIDTHS, CLASSES, sum(WIDTHS))
    made.fit(x, y, heard(180))
    flat, at = x.double().numpy(), y.numpy()
    means = np.stack([flat[at == c].mean(0) for c in range(CLASSES)])
    off = flat - means[at]
    scatter = off.T @ off / len(off)
    size = len(scatter)
    scatter = 0.9 * scatter + 0.1 * np.trace(scatter) / size * np.eye(size)
    given = looks(1, 5, rng)
    apart = directions(*given).double().numpy()[:, None] - means
    expected = -np.einsum("nci,ij,ncj->nc", apart, np.linalg.inv(scatter), apart) / 2
    np.testing.assert_allclose(made(*given, heard(5)).numpy(), expected, rtol=2e-3, atol=2e-2)


def test_fewer_looks_than_axes_and_a_class_that_was_never_seen():
    made, rng = Familiar(WIDTHS, CLASSES, 99), np.random.default_rng(4)
    assert made.rank == sum(WIDTHS)
    x = torch.cat([directions(*looks(kind, 4, rng)) for kind in (0, 1)])
    made.fit(x, torch.tensor([0] * 4 + [1] * 4), heard(8))
    near = made(*looks(0, 3, rng), heard(3))
    assert (near[:, 0] > near[:, 1]).all()
    assert near[:, 0].min() > -200  # unseen looks of a class lie within some standard deviations of it


def test_too_few_looks_tell_nothing_and_what_was_told_before_is_gone():
    made, rng = fitted(), np.random.default_rng(4)
    x = torch.cat([directions(*looks(kind, 1, rng)) for kind in range(CLASSES)])
    made.fit(x, torch.arange(CLASSES), heard(CLASSES))
    assert not made(*looks(0, 3, rng), heard(3)).any()


def test_looks_that_are_all_the_same_give_finite_distances():
    made = Familiar(WIDTHS, CLASSES, 8)
    x = torch.cat([directions(*looks(kind, 1, np.random.default_rng(kind))) for kind in range(CLASSES)])
    made.fit(x.repeat_interleave(5, 0), torch.arange(CLASSES).repeat_interleave(5), heard(15))
    near = made(*looks(0, 4, np.random.default_rng(0)), heard(4))
    assert torch.isfinite(near).all()
    assert (near.argmax(1) == 0).all()


def test_a_sound_that_is_not_there_makes_no_look_strange():
    made, rng = fitted(), np.random.default_rng(7)
    picture, sound, near = looks(1, 40, rng)
    told = made(picture, sound, near, heard(40))[:, 1]
    for other in (torch.zeros_like(sound), looks(3, 40, rng)[1]):
        assert made(picture, other, near, heard(40))[:, 1].median() < told.min()  # a strange sound does
        silent = made(picture, other, near, ~heard(40))[:, 1]
        assert silent.median() > told.min() - 2 * (told.max() - told.min())
    x = torch.cat([directions(*looks(kind, 20, rng)) for kind in range(CLASSES)])
    audible, sounds = torch.arange(60) % 4 > 0, slice(WIDTHS[0], WIDTHS[0] + WIDTHS[1])
    one, other = (Familiar(WIDTHS, CLASSES, 8) for _ in range(2))
    one.fit(x, torch.arange(CLASSES).repeat_interleave(20), audible)
    x[~audible, sounds] = 9.0  # whatever stands there
    other.fit(x, torch.arange(CLASSES).repeat_interleave(20), audible)
    torch.testing.assert_close(one.axes, other.axes)


def test_fitting_draws_nothing_and_gives_the_same_again():
    before = torch.random.get_rng_state()
    one, other = fitted(), fitted()
    assert torch.equal(before, torch.random.get_rng_state())
    assert all(
        torch.equal(one.state_dict()[name], other.state_dict()[name])
        for name in ("axes", "mean", "centres", "silent")
    )


def test_directions_have_length_one_each():
    x = directions(torch.tensor([[4.0, 0.0, -3.0]]), torch.tensor([[1.0, 1.0]]), torch.zeros(1, 2))
    np.testing.assert_allclose(x.numpy(), [[1, 0, 0, 0.5**0.5, 0.5**0.5, 0, 0]], atol=1e-6)
