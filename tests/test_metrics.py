"""Metrics: worked values, an independent implementation, properties, and what is refused."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avglance import metrics
from avglance.errors import ArgumentError, ShapeError

SCORES = [0.9, 0.8, 0.7, 0.6]


@pytest.mark.parametrize(
    ("truth", "expected"),
    [([1, 0, 1, 0], 5 / 6), ([0, 1, 1, 0], 7 / 12), ([0, 0, 0, 1], 0.25), ([1, 1, 0, 0], 1.0)],
)
def test_average_precision_worked_values(truth, expected):
    assert metrics.average_precision(SCORES, truth) == pytest.approx(expected, abs=1e-12)
    assert metrics.average_precision(SCORES, truth, ties="grouped") == pytest.approx(expected, abs=1e-12)
    shuffle = [2, 0, 3, 1]
    moved = metrics.average_precision(np.array(SCORES)[shuffle], np.array(truth)[shuffle])
    assert moved == pytest.approx(expected, abs=1e-12)


def test_ties_by_order_or_grouped():
    assert metrics.average_precision([0.5, 0.5], [1, 0]) == 1.0
    assert metrics.average_precision([0.5, 0.5], [0, 1]) == 0.5
    for truth in ([1, 0], [0, 1]):
        assert metrics.average_precision([0.5, 0.5], truth, ties="grouped") == 0.5


def test_softmax_ranks_across_videos_where_logits_do_not():
    logits = np.array([[5.0, 5, 0], [4, 0, 0], [3, 4, 4]])
    truth = np.array([0, 1, 0])
    softmax = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert metrics.average_precision(logits[:, 0], truth) == 0.5
    assert metrics.average_precision(softmax[:, 0], truth) == 1.0


def test_no_positive_is_nan_and_reported_by_the_mean():
    assert np.isnan(metrics.average_precision(SCORES, [0, 0, 0, 0]))
    scores = np.array([[0.9, 0.1, 0.3], [0.2, 0.8, 0.3]])
    truth = np.array([[1, 0, 0], [0, 1, 0]])
    kept = metrics.mean_average_precision(scores, truth)
    assert float(kept) == kept.value == 1.0
    assert kept.absent == (2,)
    assert np.isnan(kept.per_class[2])
    assert metrics.mean_average_precision(scores, truth, empty="zero").value == pytest.approx(2 / 3)
    nothing = metrics.mean_average_precision(scores, np.zeros_like(truth))
    assert np.isnan(nothing.value)
    assert nothing.absent == (0, 1, 2)


@pytest.mark.parametrize("levels", [0, 7])
def test_mean_average_precision_is_scikit_learns(levels):
    from sklearn.metrics import average_precision_score

    rng = np.random.default_rng(3)
    scores = rng.random((200, 12))
    if levels:
        scores = np.floor(scores * levels) / levels  # many ties
    truth = rng.random((200, 12)) < 0.15
    expected = average_precision_score(truth, scores, average="macro")
    assert metrics.mean_average_precision(scores, truth, ties="grouped").value == pytest.approx(
        expected, abs=1e-12
    )
    if not levels:
        assert metrics.mean_average_precision(scores, truth).value == pytest.approx(expected, abs=1e-12)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(0, 10_000), st.integers(2, 40))
def test_average_precision_properties(seed, items):
    rng = np.random.default_rng(seed)
    scores, truth = rng.integers(0, 6, items) / 5, rng.random(items) < 0.4
    truth[0] = True
    value = metrics.average_precision(scores, truth, ties="grouped")
    assert 0 < value <= 1
    shuffle = rng.permutation(items)
    assert metrics.average_precision(scores[shuffle], truth[shuffle], ties="grouped") == pytest.approx(value)
    assert metrics.average_precision(3 * scores - 1, truth, ties="grouped") == pytest.approx(value)
    perfect = metrics.average_precision(truth.astype(float), truth)
    assert perfect == 1.0


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda: metrics.average_precision([[0.1]], [1]), ShapeError),
        (lambda: metrics.average_precision([0.1, 0.2], [1]), ShapeError),
        (lambda: metrics.average_precision([np.nan, 0.2], [1, 0]), ArgumentError),
        (lambda: metrics.average_precision([0.1], [1], ties="random"), ArgumentError),
        (lambda: metrics.mean_average_precision([[0.1]], [[1]], empty="skip"), ArgumentError),
        (lambda: metrics.mean_average_precision([0.1], [1]), ShapeError),
        (lambda: metrics.top_k([[0.1, 0.2]], [[1, 0]], 3), ArgumentError),
        (lambda: metrics.top_k([[0.1, 0.2]], [[1, 0]], 0), ArgumentError),
        (lambda: metrics.top_k([[np.nan, 0.2]], [[1, 0]], 1), ArgumentError),
        (lambda: metrics.moment_recall([[1, 1]], [[1, 0]], 1), ArgumentError),
        (lambda: metrics.moment_recall([[0, 0]], [[1, 0]], 0), ArgumentError),
        (lambda: metrics.patch_hits(np.zeros((2, 3)), np.zeros((2, 2))), ShapeError),
        (lambda: metrics.patch_hit(np.zeros((1, 2, 4)), np.zeros((1, 2, 2)), [[True]]), ShapeError),
        (lambda: metrics.temporal_iou((2, 1), (0, 1)), ArgumentError),
        (lambda: metrics.temporal_iou((1, 2, 3), (0, 1)), ShapeError),
        (lambda: metrics.expected_calibration_error([[1.4, 0.0]], [[1, 0]]), ArgumentError),
        (lambda: metrics.expected_calibration_error([[0.4, 0.0]], [[1, 0]], bins=0), ArgumentError),
        (lambda: metrics.proportion_interval(3, 2), ArgumentError),
        (lambda: metrics.proportion_interval(0, 0), ArgumentError),
        (lambda: metrics.proportion_interval(1, 2, level=1.0), ArgumentError),
        (lambda: metrics.confidence_interval([np.nan], rng=np.random.default_rng(0)), ArgumentError),
        (lambda: metrics.confidence_interval([1.0], [1.0, 2.0], rng=np.random.default_rng(0)), ShapeError),
    ],
)
def test_wrong_values_are_refused(call, error):
    with pytest.raises(error):
        call()


def test_top_k_hits_any_true_label():
    scores = [[0.5, 0.3, 0.2], [0.1, 0.2, 0.7], [0.6, 0.3, 0.1]]
    truth = [[0, 1, 0], [1, 0, 1], [0, 0, 1]]
    assert metrics.top_k_hits(scores, truth, 1).tolist() == [False, True, False]
    assert metrics.top_k(scores, truth, 1) == pytest.approx(1 / 3)
    assert metrics.top_k(scores, truth, 2) == pytest.approx(2 / 3)
    assert metrics.top_k(scores, truth, 3) == 1.0
    assert metrics.top_k([[0.5, 0.5]], [[0, 1]], 1) == 0.0  # a tie goes to the earlier class
    assert np.isnan(metrics.top_k(np.zeros((0, 3)), np.zeros((0, 3)), 1))


def test_moment_recall_divides_by_what_was_reachable():
    chosen = np.array([[1, 1, 0, 0, 0], [1, 0, 1, 0, 0], [0, 0, 0, 1, 1], [1, 1, 0, 0, 0]], dtype=bool)
    event = np.array([[0, 1, 1, 1, 0], [1, 0, 0, 0, 0], [1, 1, 0, 0, 0], [0, 0, 0, 0, 0]], dtype=bool)
    recall = metrics.moment_recall(chosen, event, 2)
    assert recall[:3].tolist() == [0.5, 1.0, 0.0]
    assert np.isnan(recall[3])


def test_patch_hit_counts_half_open_and_misses_without_box():
    boxes = np.array([[[0, 0, 10, 10], [5, 5, 15, 15], [np.nan] * 4, [0, 0, 1, 1]]], dtype=float)
    points = np.array([[[9.5, 0], [15, 10], [3, 3], [0.5, 0.5]]], dtype=float)
    assert metrics.patch_hits(boxes, points).tolist() == [[True, False, False, True]]
    assert metrics.patch_hit(boxes, points, [[True, True, True, False]]) == pytest.approx(1 / 3)
    assert np.isnan(metrics.patch_hit(boxes, points, [[False] * 4]))


def test_x_and_y_are_not_swapped():
    assert metrics.patch_hits([10, 0, 20, 5], [15, 2])
    assert not metrics.patch_hits([10, 0, 20, 5], [2, 15])


def test_temporal_iou_values():
    assert metrics.temporal_iou((0, 2), (1, 3)) == pytest.approx(1 / 3)
    assert metrics.temporal_iou((0, 1), (1, 2)) == 0
    assert metrics.temporal_iou((1, 1), (1, 1)) == 0
    table = metrics.temporal_iou(np.array([[0.0, 2], [4, 8]])[:, None], np.array([[0.0, 2], [0, 4]]))
    assert table.tolist() == [[1.0, 0.5], [0.0, 0.0]]


def test_span_iou_merges_spans_of_one_side():
    assert metrics.span_iou([(0, 1), (2, 3)], [(0, 3)]) == pytest.approx(2 / 3)
    assert metrics.span_iou([(0, 2), (1, 3)], [(0, 3)]) == 1.0
    assert metrics.span_iou([], [(0, 3)]) == 0.0
    assert metrics.span_iou([(5, 6)], [(0, 3)]) == 0.0
    assert np.isnan(metrics.span_iou([], []))


def test_calibration_error_by_hand():
    scores = np.array([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.6, 0.4]])
    truth = np.array([[1, 0], [0, 1], [1, 0], [1, 0]])
    # bin of 0.9: half right (gap 0.4), bin of 0.6: all right (gap 0.4)
    assert metrics.expected_calibration_error(scores, truth, bins=10) == pytest.approx(0.4)
    assert metrics.expected_calibration_error([[1.0, 0.0]], [[1, 0]]) == 0.0
    assert metrics.expected_calibration_error([[1.0, 0.0]], [[0, 1]]) == 1.0
    assert metrics.expected_calibration_error([[0.0, 0.0]], [[0, 1]]) == 0.0
    assert np.isnan(metrics.expected_calibration_error(np.zeros((0, 2)), np.zeros((0, 2))))


def test_wilson_interval_known_values():
    value, low, high = metrics.proportion_interval(50, 100)
    assert (value, round(low, 4), round(high, 4)) == (0.5, 0.4038, 0.5962)
    assert metrics.proportion_interval(0, 10) == (0.0, 0.0, pytest.approx(0.2775, abs=1e-4))
    value, low, high = metrics.proportion_interval(10, 10)
    assert (value, high) == (1.0, 1.0)
    assert low == pytest.approx(0.7225, abs=1e-4)
    wide = metrics.proportion_interval(50, 100, level=0.99)
    assert wide.low < 0.4038
    assert wide.high > 0.5962


def test_bootstrap_is_paired_repeatable_and_covers():
    rng = np.random.default_rng(1)
    common = rng.normal(size=400) * 5  # large, shared by both: pairing must remove it
    ours, theirs = common + 0.5 + rng.normal(size=400) * 0.1, common
    paired = metrics.confidence_interval(ours, theirs, rng=np.random.default_rng(2))
    assert paired.value == pytest.approx((ours - theirs).mean())
    assert 0.48 < paired.low < 0.5 < paired.high < 0.52
    again = metrics.confidence_interval(ours, theirs, rng=np.random.default_rng(2))
    assert paired == again
    alone = metrics.confidence_interval(ours, rng=np.random.default_rng(2))
    half = 1.96 * ours.std() / 20
    assert alone.high - alone.low == pytest.approx(2 * half, rel=0.1)
    dropped = metrics.confidence_interval([1.0, np.nan, 1.0], rng=np.random.default_rng(0), draws=10)
    assert dropped == (1.0, 1.0, 1.0)


def test_bootstrap_of_groups_draws_them_whole():
    rng = np.random.default_rng
    halves, pairs = np.tile([1.0, 0.0], 50), np.repeat(np.arange(50), 2)
    assert metrics.confidence_interval(halves, groups=pairs, rng=rng(0)) == (0.5, 0.5, 0.5), (
        "alike to a group"
    )
    plain = metrics.confidence_interval(halves, rng=rng(0))
    assert plain.high - plain.low == pytest.approx(0.196, abs=0.03)
    # two groups: drawn are aa (1), ab or ba (3 of 4 right), bb (0), a quarter, a half, a quarter of the time
    given = ([1, 1, 1, 0], ["a", "a", "a", "b"])
    assert metrics.confidence_interval(given[0], groups=given[1], rng=rng(0)) == (0.75, 0.0, 1.0)
    middle = metrics.confidence_interval(given[0], groups=given[1], rng=rng(0), level=0.4)
    assert middle == (0.75, 0.75, 0.75)
    # four copies of each of 100 videos: as wide as the 100 alone
    once = rng(3).random(100)
    wide = metrics.confidence_interval(np.repeat(once, 4), groups=np.repeat(np.arange(100), 4), rng=rng(1))
    alone = metrics.confidence_interval(once, rng=rng(1))
    assert (wide.low, wide.high) == pytest.approx((alone.low, alone.high))
    lost = metrics.confidence_interval([1.0, np.nan], groups=["a", "b"], rng=rng(0), draws=10)
    assert lost == (1.0, 1.0, 1.0)
    with pytest.raises(ShapeError, match="groups"):
        metrics.confidence_interval([1.0, 0.0], groups=["a"], rng=rng(0))


def test_the_module_needs_no_torch():
    code = "import sys, avglance.metrics; sys.exit('torch' in sys.modules or 'av' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
