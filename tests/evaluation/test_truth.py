"""The truth on the snippet grid."""

from __future__ import annotations

import numpy as np
import pytest

from avglance.errors import ArgumentError, ShapeError
from avglance.evaluation.truth import event_snippets, object_centres, uniform_snippets


def test_an_event_snippet_has_its_picture_time_in_the_half_open_span():
    assert event_snippets([0.5, 1.5, 2.5, 3.5], (1.5, 3.5)).tolist() == [False, True, True, False]
    assert not event_snippets([0.5, 1.5], (0.6, 1.4)).any()
    with pytest.raises(ArgumentError):
        event_snippets([0.5], (2.0, 1.0))


def test_centres_move_on_straight_lines_and_stay_at_the_ends():
    boxes = [(1.0, 0, 0, 20, 10), (3.0, 40, 20, 60, 30)]
    centres = object_centres([0.0, 1.0, 2.0, 3.0, 9.0], boxes)
    assert centres.tolist() == [[10, 5], [10, 5], [30, 15], [50, 25], [50, 25]]
    assert np.isnan(object_centres([0.0, 1.0], [])).all()
    with pytest.raises(ShapeError):
        object_centres([0.0], [(1.0, 2.0, 3.0)])


@pytest.mark.parametrize(
    ("snippets", "k", "expected"),
    [(16, 4, [2, 6, 10, 14]), (16, 1, [8]), (8, 8, list(range(8))), (5, 2, [1, 3]), (1, 1, [0])],
)
def test_uniform_snippets(snippets, k, expected):
    assert uniform_snippets(snippets, k).tolist() == expected


@pytest.mark.parametrize("k", [0, 17])
def test_uniform_snippets_refuses(k):
    with pytest.raises(ArgumentError):
        uniform_snippets(16, k)


def test_uniform_snippets_are_distinct_for_every_size():
    for snippets in range(1, 33):
        for k in range(1, snippets + 1):
            chosen = uniform_snippets(snippets, k)
            assert len(set(chosen.tolist())) == k
            assert chosen[0] >= 0
            assert chosen[-1] < snippets
