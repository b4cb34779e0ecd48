"""What scores are worth: planted temperatures, errors known beforehand, and videos of nothing known."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avglance.errors import ArgumentError, CheckpointError, ShapeError
from avglance.metrics import expected_calibration_error
from avglance.systems.calibration import (
    COLDEST,
    HOTTEST,
    Judgement,
    calibration_error,
    choose_floors,
    contrast,
    crossed,
    fit_temperature,
    least,
    tempered,
)


def softmax(logits):
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def planted(videos, classes=5, *, sharpness=1.0, spread=2.0, seed=0):
    """Scores whose logits are ``sharpness`` times the true ones, and truth drawn from the true ones."""
    rng = np.random.default_rng(seed)
    logits = spread * rng.standard_normal((videos, classes))
    drawn = (softmax(logits).cumsum(1) > rng.random((videos, 1))).argmax(1)
    return softmax(sharpness * logits), np.eye(classes)[drawn]


@pytest.mark.parametrize("sharpness", [0.25, 1.0, 4.0])
def test_the_planted_temperature_is_found(sharpness):
    scores, truth = planted(4000, sharpness=sharpness)
    assert fit_temperature(scores, truth) == pytest.approx(sharpness, rel=0.08)


@pytest.mark.parametrize("sharpness", [0.3, 3.0])
def test_scores_are_calibrated_afterwards_on_videos_that_were_not_asked(sharpness):
    scores, truth = planted(600, sharpness=sharpness)
    other, other_truth = planted(600, sharpness=sharpness, seed=1)
    judge = Judgement((fit_temperature(scores, truth),))
    assert calibration_error(other, other_truth) > 0.1
    assert calibration_error(judge.scores(other, np.ones(600)), other_truth) < 0.05
    assert calibration_error(crossed(scores, truth), truth) < 0.05


def test_all_right_is_no_certainty():
    scores = np.tile([0.7, 0.2, 0.1], (20, 1))
    heat = fit_temperature(scores, np.tile([1.0, 0.0, 0.0], (20, 1)))
    assert COLDEST < heat < 1
    assert tempered(scores, heat)[0, 0] == pytest.approx(1 - 1 / 22, abs=0.03)


def test_all_wrong_is_lukewarm():
    scores = np.tile([0.9, 0.05, 0.05], (20, 1))
    assert fit_temperature(scores, np.tile([0.0, 1.0, 0.0], (20, 1))) == pytest.approx(HOTTEST)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(0, 10_000), st.floats(COLDEST, HOTTEST))
def test_a_temperature_keeps_the_order_and_the_sum(seed, heat):
    scores = softmax(np.random.default_rng(seed).standard_normal((3, 6)))
    out = tempered(scores, heat)
    np.testing.assert_allclose(out.sum(1), 1)
    assert (np.argsort(out) == np.argsort(scores)).all()
    np.testing.assert_allclose(tempered(scores, 1.0), scores)


def test_scores_of_exactly_zero_and_one_stay_finite():
    assert tempered([1.0, 0.0], 20.0).tolist() == pytest.approx([1.0, 0.0], abs=0.02)
    assert np.isfinite(tempered([[1.0, 0.0]], 0.05)).all()


def test_chance_is_taken_off_the_error_of_right_scores():
    worlds = [planted(300, seed=seed) for seed in range(20)]
    plain = np.mean([expected_calibration_error(*world) for world in worlds])
    assert np.mean([calibration_error(*world) for world in worlds]) < 0.7 * plain


def test_the_error_by_hand():
    """One bin, four videos of score 0.8, two hits: gap 0.3, deviation 0.25."""
    scores, truth = np.tile([0.8, 0.2], (4, 1)), np.array([[1, 0], [1, 0], [0, 1], [0, 1]])
    draws = np.abs(np.random.default_rng(0).normal(0.3, 0.25, 2_000_000)).mean()
    assert calibration_error(scores, truth, bins=1) == pytest.approx(2 * 0.3 - draws, abs=1e-3)
    sure = np.tile([1.0, 0.0], (4, 1))
    assert calibration_error(sure, np.tile([0, 1], (4, 1))) == 1.0
    assert calibration_error(sure, np.tile([1, 0], (4, 1))) == 0.0
    assert math.isnan(calibration_error(np.zeros((0, 2)), np.zeros((0, 2))))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(st.floats(-5, 5), min_size=1, max_size=200), st.floats(0, 0.5))
def test_the_least_value_loses_no_more_than_its_share(values, share):
    floor = least(values, share)
    assert sum(v < floor for v in values) <= share * (len(values) + 1)
    assert (floor == -math.inf) == (share * (len(values) + 1) + 1e-9 < 1)


def toy_world(videos, *, seed, known=True):
    """A small model's answers: known videos stand out at one moment; noise may sound sure, but is flat."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 4, videos)
    saliency = 0.2 * rng.standard_normal((videos, 16))
    logits = rng.standard_normal((videos, 4))
    if known:
        saliency[np.arange(videos), rng.integers(0, 16, videos)] += 3 + rng.random(videos)
        logits[np.arange(videos), label] += 3
    else:
        logits[::2] *= 4  # half of the noise is called by a name, and surely
    return softmax(logits), np.eye(4)[label], saliency


def test_noise_is_unknown_and_few_right_answers_are_lost():
    floors = choose_floors(*toy_world(400, seed=0))
    judge = Judgement((1.0,), *floors)
    scores, _, saliency = toy_world(400, seed=1, known=False)
    assert judge.unknown(scores, saliency).mean() >= 0.9
    scores, truth, saliency = toy_world(2000, seed=2)
    right = scores.argmax(1) == truth.argmax(1)
    assert judge.unknown(scores, saliency)[right].mean() < 0.05


def test_examples_choose_which_sign_to_trust():
    """With flat saliency everywhere the score alone can tell, and gets the whole share."""
    scores, truth, saliency = toy_world(400, seed=0)
    noise = np.tile([0.4, 0.3, 0.2, 0.1], (50, 1))
    flat = 0.0 * saliency
    half = choose_floors(scores, truth, flat)
    whole = choose_floors(scores, truth, flat, examples=(noise, flat[:50]))
    assert max(whole[0]) >= max(half[0])
    assert Judgement((1.0,), *whole).unknown(noise, flat[:50]).mean() >= 0.5


def test_a_class_with_many_right_answers_has_a_threshold_of_its_own():
    scores = np.r_[np.tile([0.9, 0.1], (200, 1)), np.tile([0.2, 0.8], (10, 1))]
    truth = np.r_[np.tile([1, 0], (200, 1)), np.tile([0, 1], (10, 1))]
    floors, _ = choose_floors(scores, truth, np.zeros((210, 4)))
    assert floors == (0.9, 0.8)  # the second is that of both together


def test_too_few_videos_call_nothing_unknown():
    scores, truth, saliency = toy_world(20, seed=0)
    floors, flat = choose_floors(scores, truth, saliency)
    assert set(floors) | {flat} == {-math.inf}
    assert not Judgement((1.0,), floors, flat).unknown(scores, saliency).any()


def test_flat_saliency_has_no_contrast():
    assert contrast(np.zeros((2, 5))).tolist() == [0.0, 0.0]
    assert not Judgement(least_contrast=0.0).unknown([[0.5, 0.5]], np.zeros((1, 5)))[0]


def test_the_temperature_goes_with_the_number_of_looks():
    judge, scores = Judgement((0.5, 2.0)), np.tile([0.8, 0.2], (4, 1))
    out = judge.scores(scores, [0, 1, 2, 9])
    np.testing.assert_allclose(out[0], scores[0])  # by ear alone: nothing was measured
    np.testing.assert_allclose(out[1], tempered([0.8, 0.2], 0.5))
    np.testing.assert_allclose(out[2:], np.tile(tempered([0.8, 0.2], 2.0), (2, 1)))


def test_a_judgement_comes_back_from_its_card():
    judge = Judgement((0.5, 0.7), (0.1, -math.inf), 2.5)
    card = json.loads(json.dumps(judge.as_card(), allow_nan=False))
    assert Judgement.from_card(card, 2) == judge
    assert Judgement.from_card(None, 2) == Judgement()
    judge = Judgement((0.5, 0.7), (0.1, 0.2), least_known=(3.0, -math.inf))
    card = json.loads(json.dumps(judge.as_card(), allow_nan=False))
    assert Judgement.from_card(card, 2) == judge


def test_how_known_an_answer_is_stands_in_for_scores_and_saliency():
    judge = Judgement(least_scores=(0.6, 0.6), least_known=(3.0, 5.0))
    scores, saliency = (
        np.array([[0.5, 0.5], [0.5, 0.5], [0.9, 0.1], [0.5, 0.5], [0.9, 0.1]]),
        np.zeros((5, 8)),
    )
    said = judge.unknown(scores, saliency, [2.9, 3.1, 4.9, math.inf, math.inf], [1, 1, 7, 0, 0])
    assert said.tolist() == [True, False, True, True, False]  # by ear alone scores are asked
    assert judge.unknown(scores, saliency).tolist() == [True, True, False, True, False]


@pytest.mark.parametrize(
    "card",
    [
        7, {}, {"temperature": [], "least_contrast": None, "least_score": [0.1, 0.2]},
        {"temperature": [0.0], "least_contrast": None, "least_score": [0.1, 0.2]},
        {"temperature": [math.inf], "least_contrast": None, "least_score": [0.1, 0.2]},
        {"temperature": [1.0], "least_contrast": math.nan, "least_score": [0.1, 0.2]},
        {"temperature": [1.0], "least_contrast": "x", "least_score": [0.1, 0.2]},
        {"temperature": [1.0], "least_contrast": 0.1, "least_score": [0.1]},
        {"temperature": [1.0], "least_contrast": None, "least_score": []},
        {"temperature": [1.0], "least_contrast": None, "least_score": [0.1, 0.2], "least_known": ["x"]},
        {"temperature": [1.0], "least_contrast": None, "least_score": [0.1, 0.2], "least_known": 3},
        {"temperature": [1.0], "least_contrast": None, "least_score": [0.1, 0.2], "least_known": [math.nan]},
    ],
)  # fmt: skip
def test_a_card_with_another_calibration_is_refused(card):
    with pytest.raises(CheckpointError, match="calibration"):
        Judgement.from_card(card, 2, where="model")


def test_what_cannot_be_fitted_is_refused():
    with pytest.raises(ShapeError):
        fit_temperature([[0.5, 0.5]], [1.0, 0.0])
    for truth in ([[0, 0]], np.zeros((0, 2))):
        with pytest.raises(ArgumentError, match="true class"):
            fit_temperature(np.full(np.shape(truth), 0.5), truth)
    with pytest.raises(ArgumentError, match="bins"):
        calibration_error([[0.5, 0.5]], [[1, 0]], bins=0)
