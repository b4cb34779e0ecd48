"""Exit thresholds: counts by hand, shares that mean what was asked, and a table in which more costs more."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from avglance.errors import ArgumentError, CheckpointError, ShapeError
from avglance.systems.exits import ExitTable, leaves, shares_for, solve_thresholds

ANY = arrays(np.float64, st.tuples(st.integers(1, 30), st.integers(1, 6)), elements=st.floats(0, 1, width=16))


def solve(sure, mean):
    K = sure.shape[1]
    return solve_thresholds(sure, shares_for(1 + mean * (K - 1), K))


def test_by_hand():
    """Of six: two leave at once, one after the second look (1 is gone by then), three at the end."""
    sure = np.array([[0.9, 0.1], [0.8, 0.9], [0.7, 0.6], [0.6, 0.8], [0.5, 0.5], [0.4, 0.7]])
    third = np.c_[sure, np.full(6, 0.5)]
    eta = solve_thresholds(third, [2 / 6, 1 / 6, 3 / 6])
    assert eta.tolist() == [0.8, 0.8, -math.inf]
    assert leaves(third, eta).tolist() == [1, 1, 3, 2, 3, 3]


def test_ties_leave_together():
    sure = np.array([[0.5, 0.5], [0.5, 0.5], [0.5, 0.5], [0.1, 0.1]])
    eta = solve_thresholds(sure, [0.25, 0.75])
    assert eta.tolist() == [0.5, -math.inf]
    assert leaves(sure, eta).tolist() == [1, 1, 1, 2]


def test_where_none_is_to_leave_none_does():
    sure = np.array([[0.9, 0.2, 0.1], [1.0, 0.2, 0.1]])
    eta = solve_thresholds(sure, [0.0, 0.5, 0.5])
    assert eta[0] > 1.0
    assert leaves(sure, eta).tolist() == [2, 2]  # a tie, both
    assert leaves([[2.0, 0.0, 0.0]], eta).tolist() == [1]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(sure=ANY, mean=st.floats(0, 1))
def test_counts_are_exact_without_ties_and_nobody_stays_longer_with_them(sure, mean):
    N, K = sure.shape
    distinct = sure + 1e-6 * np.random.default_rng(0).permutation(sure.size).reshape(sure.shape)
    shares = shares_for(1 + mean * (K - 1), K)
    wanted = np.rint(N * np.cumsum(shares))
    left = np.bincount(leaves(distinct, solve_thresholds(distinct, shares)), minlength=K + 1)[1:].cumsum()
    assert left.tolist() == wanted.tolist()
    left = np.bincount(leaves(sure, solve_thresholds(sure, shares)), minlength=K + 1)[1:].cumsum()
    assert (left >= wanted).all()


@settings(max_examples=60, deadline=None, derandomize=True)
@given(mean=st.floats(0, 1), looks=st.integers(1, 32))
def test_shares_have_the_mean_that_was_asked(mean, looks):
    wanted = 1 + mean * (looks - 1)
    shares = shares_for(wanted, looks)
    assert shares.sum() == pytest.approx(1)
    assert (shares >= 0).all()
    assert shares @ np.arange(1, looks + 1) == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize("mean", [0.5, 4.5, math.nan, math.inf])
def test_no_shares_have_that_mean(mean):
    with pytest.raises(ArgumentError, match="outside"):
        shares_for(mean, 4)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(sure=ANY, new=ANY)
def test_more_budget_never_gives_a_video_fewer_looks(sure, new):
    table = ExitTable.solve(sure, sure > 0.5, np.full(len(sure), sure.shape[1]))
    assert table.looks[0] == 1
    assert list(table.looks) == sorted(table.looks)
    other = np.resize(new, (len(new), len(table.thresholds[0])))
    last = np.stack([leaves(other, eta) for eta in table.thresholds])
    assert (np.diff(last, axis=0) >= 0).all()
    rows = [table.within(mean) for mean in np.linspace(0, sure.shape[1] + 1, 9)]
    assert rows == sorted(rows)


def test_a_row_within_a_budget_is_the_cheapest_that_is_as_good():
    table = ExitTable((1.0, 1.5, 2.0, 4.0), (0.80, 0.95, 0.953, 0.90), ((0.0,),) * 4)
    assert [table.within(m) for m in (0.1, 1.0, 1.5, 2.0, 16.0)] == [0, 0, 1, 1, 1]


def test_there_are_exits_as_far_as_looks_are_worth_having():
    right = np.zeros((1000, 5), dtype=bool)
    for look, share in enumerate((900, 950, 948, 940, 930)):
        right[:share, look] = True
    sure = np.random.default_rng(0).random((1000, 5))
    table = ExitTable.solve(sure, right, np.full(1000, 5))
    assert {len(row) for row in table.thresholds} == {3}
    assert table.looks[-1] <= 3


def test_what_a_video_does_not_offer_is_not_counted():
    sure = np.full((4, 3), 0.5)
    table = ExitTable.solve(sure, sure > 0, np.array([3, 3, 1, 0]))
    assert table.looks[-1] <= 2.0


def test_a_table_comes_back_from_its_card():
    rng = np.random.default_rng(0)
    sure = rng.random((40, 5)).cumsum(1) / 5
    table = ExitTable.solve(sure, sure > 0.3, np.full(40, 5))
    inner = ExitTable.solve(sure, sure > 0.3, np.full(40, 5), halves=2)
    for whole in (table, replace(table, in_halves=inner)):
        assert ExitTable.from_card(json.loads(json.dumps(whole.as_card(), allow_nan=False))) == whole


def test_who_stops_by_half_of_the_glance_pays_half_of_it():
    """Of four videos two are sure after the first look, one after the second, one never."""
    sure = np.array([[0.9, 0.9, 0.9], [0.9, 0.9, 0.9], [0.1, 0.8, 0.9], [0.1, 0.1, 0.2]])
    right = np.cumsum(np.eye(3)[[0, 0, 1, 2]], axis=1)  # from that look on
    table = ExitTable.solve(sure, right, np.full(4, 3), halves=1)
    row = table.within(1.75)
    assert (table.looks[row], table.both[row]) == (1.75, 0.5)
    assert table.macs(100, 8)[row] == 100 * 0.75 + 8 * 1.75
    assert replace(table, halves=0, both=()).macs(100, 8)[row] == 100 + 8 * 1.75
    assert table.within(89, table.macs(100, 8)) == row
    assert table.within(88, table.macs(100, 8)) < row


@pytest.mark.parametrize(
    "card",
    [
        None, 7, [], {}, {"looks": [1], "top1": [1], "thresholds": []},
        {"looks": [1, 2], "top1": [1], "thresholds": [[0.5], [0.5]]},
        {"looks": [1, 2], "top1": [1, 1], "thresholds": [[0.5], [0.5, 0.6]]},
        {"looks": ["x"], "top1": [1], "thresholds": [[0.5]]},
        {"looks": [1], "top1": [math.nan], "thresholds": [[0.5]]},
        {"looks": [1], "top1": [1], "thresholds": [[math.nan]]},
        {"looks": [1], "top1": [1], "thresholds": [[0.5]], "halves": 2},
        {"looks": [1], "top1": [1], "thresholds": [[0.5]], "halves": -1, "both": [0.5]},
        {"looks": [1], "top1": [1], "thresholds": [[0.5]], "halves": True, "both": [0.5]},
        {"looks": [1], "top1": [1], "thresholds": [[0.5]], "halves": 2, "both": [1.5]},
        {"looks": [1], "top1": [1], "thresholds": [[0.5]], "in_halves": 3},
        {"looks": [1], "top1": [1], "thresholds": [[0.5]], "halves": 2, "both": [0.5]},
        {"looks": [1], "top1": [1], "thresholds": [[0.5]],
         "in_halves": {"looks": [1], "top1": [1], "thresholds": [[0.5]], "halves": 2, "both": [1],
                       "in_halves": {}}},
        {"looks": [1], "top1": [1], "thresholds": [[0.5]],
         "in_halves": {"looks": [1], "top1": [1], "thresholds": [[0.5]]}},
    ],
)  # fmt: skip
def test_a_card_with_other_exits_is_refused(card):
    with pytest.raises(CheckpointError, match="exits"):
        ExitTable.from_card(card, where="model")


def test_what_cannot_be_solved_is_refused():
    with pytest.raises(ShapeError):
        solve_thresholds([0.5], [1.0])
    with pytest.raises(ShapeError):
        solve_thresholds([[0.5, 0.6]], [1.0])
    with pytest.raises(ShapeError):
        leaves([[0.5, 0.6]], [1.0])
    for sure, shares in (([[math.nan]], [1.0]), ([[0.5, 0.5]], [0.9, 0.0]), ([[0.5, 0.5]], [1.5, -0.5])):
        with pytest.raises(ArgumentError):
            solve_thresholds(sure, shares)
    with pytest.raises(ArgumentError, match="at least one"):
        solve_thresholds(np.zeros((0, 2)), [0.5, 0.5])
