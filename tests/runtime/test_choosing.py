"""The arithmetic between graphs is that of the systems, in numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from avglance.parts import crop, saliency
from avglance.runtime import choosing
from avglance.systems import base, labels

B, T, K, C = 5, 7, 4, 3


@pytest.fixture
def rng():
    return np.random.default_rng(3)


@pytest.fixture
def order(rng):
    return np.stack([rng.permutation(T)[:K] for _ in range(B)])


def both(name, twin, *args, **kwargs):
    """What the function of choosing gives, and that of torch."""
    tensors = [torch.from_numpy(x) if isinstance(x, np.ndarray) else x for x in args]
    return getattr(choosing, name)(*args, **kwargs), twin(*tensors, **kwargs).numpy()


def test_moments_are_ranked_alike_and_ties_go_to_the_earlier(rng):
    score = rng.integers(0, 3, (B, T)).astype(np.float32)
    visible = rng.random((B, T)) < 0.6
    ours, theirs = both("behind", base.behind, score, visible)
    assert np.array_equal(ours, theirs)
    ours, theirs = both("pick_moments", saliency.pick_moments, ours, K)
    assert np.array_equal(ours, theirs)
    assert ours.dtype == np.int64


def test_boxes_are_alike_to_the_bit(rng):
    corner = rng.random((B, K, 2), dtype=np.float32)
    ours, theirs = both("corner_to_box", crop.corner_to_box, corner, 96, 240)
    assert np.array_equal(ours, theirs)


def test_rows_go_to_their_places_and_back(rng, order):
    features = rng.random((B, T, C), dtype=np.float32)
    ours, theirs = both("along", base.along, features, order)
    assert np.array_equal(ours, theirs)
    like = torch.zeros(B, T)
    theirs = base.unordered(torch.from_numpy(ours), torch.from_numpy(order), like, fill=np.nan).numpy()
    assert np.array_equal(choosing.unordered(ours, order, T, fill=np.nan), theirs, equal_nan=True)
    at = rng.random((B, T)) < 0.5
    ours, theirs = both("spread", base.spread, features[at], at)
    assert np.array_equal(ours, theirs)


def test_evidence_is_the_mean_of_the_heads_that_ran(rng):
    heads = [(rng.normal(size=(B, T, C)).astype(np.float32), rng.random((B, T)) < 0.5) for _ in range(3)]
    theirs = labels.mean_evidence([(torch.from_numpy(x), torch.from_numpy(on)) for x, on in heads]).numpy()
    np.testing.assert_allclose(choosing.mean_evidence(heads), theirs, atol=1e-6)


def test_softmax_of_what_is_large_and_of_what_is_left_out():
    found = choosing.softmax(np.array([[1e4, 0.0, -np.inf]]))
    assert found.tolist() == [[1.0, 0.0, 0.0]]
