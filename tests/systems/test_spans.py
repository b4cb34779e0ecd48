from __future__ import annotations

import numpy as np
import pytest

from avglance.errors import ArgumentError, ShapeError
from avglance.systems.spans import THRESHOLDS, choose_threshold, snippet_edges, spans_of

TIMES = np.arange(8) * 2 + 1.0  # of 16 s


def test_runs_that_are_salient_and_speak_for_the_label():
    saliency = [0.3, 0.3, 0.0, 0.0, 0.2, 0.2, 0.0, 0.0]
    evidence = [0.9, 0.7, 0.9, 0.9, 0.4, 0.6, 0.9, 0.1]
    assert spans_of(saliency, evidence, TIMES, 0.5, duration_s=16.0) == [(0.0, 4.0, 0.8), (10.0, 12.0, 0.6)]
    assert spans_of(saliency, evidence, TIMES, 0.3, duration_s=16.0)[1] == (8.0, 12.0, pytest.approx(0.5))
    assert spans_of(saliency, evidence, TIMES, 0.95, duration_s=16.0) == []


def test_the_last_snippet_ends_with_the_video():
    saliency = [0, 0, 0, 0, 0, 0, 0, 1.0]
    assert spans_of(saliency, [1.0] * 8, TIMES, 0.5, duration_s=16.5) == [(14.0, 16.5, 1.0)]


def test_equal_saliency_has_no_span_and_missing_evidence_none():
    assert spans_of([0.125] * 8, [1.0] * 8, TIMES, 0.5, duration_s=16.0) == []
    saliency = [0.5, 0.5, 0, 0, 0, 0, 0, 0]
    assert spans_of(saliency, [np.nan, *[1.0] * 7], TIMES, 0.5, duration_s=16.0) == [(2.0, 4.0, 1.0)]


def test_snippets_off_the_grid_meet_in_the_middle():
    assert snippet_edges([0.0, 1.0, 1.0, 4.0], 5.0).tolist() == [0.0, 0.5, 1.0, 2.5, 5.0]
    assert snippet_edges([3.0], 2.0).tolist() == [0.0, 3.0]


def test_shapes_are_checked():
    with pytest.raises(ShapeError):
        spans_of([0.5] * 7, [0.5] * 8, TIMES, 0.5, duration_s=16.0)
    with pytest.raises(ShapeError):
        snippet_edges([], 1.0)


def test_the_threshold_is_the_one_that_meets_the_truth():
    evidence = np.array([0.1, 0.55, 0.8, 0.8, 0.55, 0.1, 0.1, 0.1])
    saliency = np.array([0.0, 0.25, 0.25, 0.25, 0.25, 0.0, 0.0, 0.0])
    video = (saliency, evidence, TIMES, 16.0)
    threshold, iou = choose_threshold([video, video], [[(4.0, 8.0)], [(4.0, 8.0)]])
    assert threshold == 0.56
    assert iou == pytest.approx(1.0)
    wide, iou = choose_threshold([video], [[(2.0, 10.0)]])
    assert wide == THRESHOLDS[0]
    assert iou == pytest.approx(1.0)


def test_no_video_and_unequal_lists_are_errors():
    with pytest.raises(ArgumentError):
        choose_threshold([], [])
    with pytest.raises(ArgumentError):
        choose_threshold([([1.0], [1.0], [0.5], 1.0)], [])
