"""Thresholds by F1: against every threshold there is, with ties, and with classes that are rare."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avglance.errors import ArgumentError, ShapeError
from avglance.systems.thresholds import (
    EVEN,
    LEAST_POSITIVES,
    best_threshold,
    certainty,
    choose_thresholds,
    f1_scores,
)


def f1_by_hand(scores, truth, threshold):
    said = scores >= threshold
    right, wrong, lost = (said & truth).sum(), (said & ~truth).sum(), (~said & truth).sum()
    return 2 * right / (2 * right + wrong + lost) if right + wrong + lost else 1.0


@settings(max_examples=80, derandomize=True, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 12), st.booleans()), min_size=1, max_size=40).filter(
        lambda rows: any(yes for _, yes in rows)
    )
)
def test_no_threshold_has_a_higher_f1(rows):
    scores, truth = np.array([n / 12 for n, _ in rows]), np.array([yes for _, yes in rows])
    found = f1_by_hand(scores, truth, best_threshold(scores, truth))
    every = [*np.unique(scores), np.inf]
    assert found == pytest.approx(max(f1_by_hand(scores, truth, t) for t in every), abs=1e-12)
    tied = [t for t in every if f1_by_hand(scores, truth, t) > found - 1e-12]
    assert (scores >= best_threshold(scores, truth)).sum() == (scores >= max(tied)).sum()


def test_a_threshold_lies_halfway_to_what_is_left_out():
    assert best_threshold([0.9, 0.7, 0.3], [1, 1, 0]) == pytest.approx(0.5)
    assert best_threshold([0.9, 0.4], [1, 1]) == pytest.approx(0.2)
    near = np.nextafter(0.5, 0)
    assert best_threshold([0.5, near], [1, 0]) == 0.5  # there is nothing between the two
    assert best_threshold([0.5, 0.1], [0, 0]) == EVEN


def test_rare_classes_get_the_threshold_of_all_together():
    rng = np.random.default_rng(0)
    truth = rng.random((60, 3)) < (0.5, 0.3, 0.02)
    truth[:, 2] = False
    truth[: LEAST_POSITIVES - 1, 2] = True
    scores = np.clip(0.4 * truth + 0.6 * rng.random((60, 3)), 0, 1)
    found = choose_thresholds(scores, truth)
    assert found[0] == best_threshold(scores[:, 0], truth[:, 0])
    assert found[1] == best_threshold(scores[:, 1], truth[:, 1])
    assert found[2] == best_threshold(scores.ravel(), truth.ravel())


def test_f1_by_hand():
    said, truth = [[1, 1, 0], [0, 0, 0], [0, 0, 0]], [[1, 0, 0], [0, 0, 0], [0, 1, 1]]
    assert f1_scores(said, truth, axis=1) == pytest.approx([2 / 3, 1, 0])
    assert f1_scores(said, truth, axis=0) == pytest.approx([1, 0, 0])
    assert float(f1_scores(said, truth)) == pytest.approx(2 / 5)


def test_an_answer_is_as_sure_as_its_least_sure_part():
    assert certainty([[0.99, 0.02, 0.6], [0.9, 0.1, 0.1]]) == pytest.approx([0.6, 0.9])


def test_wrong_values_are_named():
    with pytest.raises(ShapeError, match=r"\(N,\)"):
        best_threshold([0.1, 0.2], [1])
    with pytest.raises(ArgumentError, match="NaN"):
        best_threshold([0.1, np.nan], [1, 0])
    with pytest.raises(ShapeError, match=r"\(N, C\)"):
        choose_thresholds([0.1], [1])
    with pytest.raises(ShapeError, match=r"\(N, C\)"):
        f1_scores([[1, 0]], [[1]])
