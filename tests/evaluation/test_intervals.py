"""Intervals over what videos were cut from: small cases whose every draw is known."""

from __future__ import annotations

import numpy as np
import pytest

from avglance import metrics
from avglance.evaluation.intervals import clusters, mean_interval, share_interval


def test_without_groups_shares_have_wilsons_interval():
    hits = [True] * 8 + [False] * 2
    assert share_interval(hits, None, seed=0) == list(metrics.proportion_interval(8, 10)[1:])
    assert share_interval([], None, seed=0) is None


def test_with_groups_they_are_drawn_and_where_no_draw_differs_they_are_counted():
    groups = ["a"] * 3 + ["b"]
    assert share_interval([True, True, True, False], groups, seed=0) == [0.0, 1.0]
    assert share_interval([True] * 4, groups, seed=0) == list(metrics.proportion_interval(2, 2)[1:])
    assert share_interval([False] * 4, groups, seed=0) == list(metrics.proportion_interval(0, 2)[1:])


def test_means_leave_out_what_is_not_known():
    assert mean_interval([np.nan, np.nan], None, seed=0) is None
    assert mean_interval([0.5, np.nan], ["a", "a"], seed=0) == [0.5, 0.5]


@pytest.mark.parametrize("groups", [[], [""], ["", ""], ["a", "b", ""]])
def test_videos_that_stand_for_themselves_are_no_groups(groups):
    assert clusters(groups) is None
