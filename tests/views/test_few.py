"""Which pictures are asked for where few are, and what is asked in place of one that is lost."""

from __future__ import annotations

import numpy as np
import pytest

from avglance.errors import ArgumentError
from avglance.views import EVERY, ask_few, check_pictures, choose_pictures, evenly, sounds_differ


class Few:
    """A view of pictures that say their snippet; some are lost when they are asked for."""

    def __init__(self, visible, lost=()):
        self.visible, self.lost, self.asked = np.array(visible, dtype=bool), set(lost), []
        self.times = np.zeros(self.visible.shape)

    def pictures(self, at):
        self.asked += [tuple(place) for place in at.tolist()]
        for place in self.lost & set(self.asked):
            self.visible[place] = False
        return np.broadcast_to(at[:, 1, None, None, None], (len(at), 3, 2, 2)).astype(np.uint8)


def score(*rows):
    return np.array(rows, dtype=np.float64)


def test_evenly_spread_are_the_middles():
    assert evenly(16, 2).tolist() == [4, 12]
    assert evenly(16, 8).tolist() == list(range(1, 16, 2))
    assert evenly(3, 8).tolist() == [0, 1, 2]
    assert evenly(5, 0).tolist() == evenly(0, 3).tolist() == []


def test_the_highest_scores_and_some_evenly():
    falling = score(range(16, 0, -1))
    everywhere = np.ones((1, 16), dtype=bool)

    def chosen(count, spread, visible=everywhere):
        return np.flatnonzero(choose_pictures(falling, visible, count, np.array([spread]))[0]).tolist()

    assert chosen(4, 0) == [0, 1, 2, 3]
    assert chosen(4, 1) == [0, 1, 2, 8]
    assert chosen(8, 2) == [0, 1, 2, 3, 4, 5, 6, 12]
    assert chosen(4, 4) == [2, 6, 10, 14]
    assert chosen(16, 4) == list(range(16))
    half = np.arange(16)[None] >= 8
    assert chosen(2, 2, half) == [10, 14], "evenly over what can be seen"
    assert chosen(12, 3, half) == list(range(8, 16)), "no more than there are"
    assert chosen(3, 1, np.zeros((1, 16), dtype=bool)) == []


def test_equal_scores_go_to_the_earlier():
    assert choose_pictures(score([1, 1, 1, 1]), np.ones((1, 4), bool), 2, np.array([0])).tolist() == [
        [True, True, False, False]
    ]


def test_only_the_few_are_asked_for_once_and_come_in_order():
    view = Few(np.ones((2, 6)))
    rows, got = ask_few(view, score([0, 5, 0, 9, 0, 0], [0, 0, 0, 0, 1, 0]), 2, np.array([0, 1]))
    assert view.asked == [(0, 1), (0, 3), (1, 3), (1, 4)]
    assert np.argwhere(got).tolist() == [[0, 1], [0, 3], [1, 3], [1, 4]]
    assert rows[:, 0, 0, 0].tolist() == [1, 3, 3, 4]


def test_in_place_of_a_lost_one_comes_the_next_best():
    view = Few(np.ones((2, 6)), lost={(0, 3), (0, 1), (1, 0)})
    rows, got = ask_few(view, score([0, 5, 4, 9, 3, 0], [9, 8, 0, 0, 0, 0]), 2, np.array([0, 0]))
    assert np.argwhere(got).tolist() == [[0, 2], [0, 4], [1, 1], [1, 2]]
    assert rows[:, 0, 0, 0].tolist() == [2, 4, 1, 2]
    assert len(view.asked) == len(set(view.asked)) == 7


def test_where_all_are_lost_each_is_asked_for_once():
    view = Few(np.ones((1, 6)), lost={(0, t) for t in range(6)})
    rows, got = ask_few(view, score(range(6)), 2, np.array([1]))
    assert (len(rows), got.any(), sorted(view.asked)) == (0, False, [(0, t) for t in range(6)])
    nothing = Few(np.zeros((2, 4)))
    rows, got = ask_few(nothing, np.zeros((2, 4)), 2, np.array([2, 2]))
    assert (rows.shape, got.any(), nothing.asked) == ((0, 3, 2, 2), False, [])


def test_sounds_that_say_nothing():
    rng = np.random.default_rng(0)
    sound = rng.standard_normal((5, 4, 3)).astype(np.float32)
    audible = np.ones((5, 4), dtype=bool)
    sound[1] = sound[1, :1] * (1 + 1e-6 * rng.standard_normal((4, 1)))  # the same, but for rounding
    audible[2] = False
    audible[3] = [False, True, False, False]
    audible[4, 1:3] = False
    sound[4, 3] = sound[4, 0]
    assert sounds_differ(sound, audible).tolist() == [True, False, False, False, False]
    assert sounds_differ(np.zeros((2, 3, 4), np.float32), np.ones((2, 3), bool)).tolist() == [False, False]


@pytest.mark.parametrize("asked", [-1, 17, 2.0, True, "4", None])
def test_numbers_that_are_none(asked):
    with pytest.raises(ArgumentError, match="cannot glance at"):
        check_pictures(asked, 16, where="here")


def test_zero_is_all():
    assert [check_pictures(n, 16, where="here") for n in (0, 4, 16)] == [16, 4, 16]
    assert EVERY > 1
