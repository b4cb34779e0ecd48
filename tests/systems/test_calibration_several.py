"""What the scores of several labels a video are worth: planted temperatures, thresholds, cards."""

from __future__ import annotations

import json

import numpy as np
import pytest

from avglance.errors import CheckpointError
from avglance.systems.calibration import (
    Judgement,
    calibration_error,
    crossed,
    fit_temperature,
    settle,
    tempered,
)
from avglance.systems.thresholds import best_threshold, f1_scores


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def planted(videos, classes=4, *, sharpness=1.0, seed=0):
    """Scores whose log odds are ``sharpness`` times the true ones; every video has a true class."""
    rng = np.random.default_rng(seed)
    odds = 2.0 * rng.standard_normal((3 * videos, classes)) - 0.5
    truth = (rng.random(odds.shape) < sigmoid(odds)).astype(float)
    kept = np.flatnonzero(truth.any(axis=1))[:videos]
    return sigmoid(sharpness * odds[kept]), truth[kept]


@pytest.mark.parametrize("sharpness", [0.25, 1.0, 4.0])
def test_the_planted_temperature_is_found(sharpness):
    scores, truth = planted(3000, classes=8, sharpness=sharpness)
    assert fit_temperature(scores, truth, "several") == pytest.approx(sharpness, rel=0.08)


@pytest.mark.parametrize("sharpness", [0.3, 3.0])
def test_scores_are_calibrated_afterwards(sharpness):
    scores, truth = planted(800, classes=8, sharpness=sharpness)
    other, other_truth = planted(800, classes=8, sharpness=sharpness, seed=1)
    judge = Judgement((fit_temperature(scores, truth, "several"),), thresholds=(0.5,) * 8)
    assert calibration_error(judge.scores(other, np.ones(800)), other_truth) < 0.05
    assert calibration_error(crossed(scores, truth, "several"), truth) < 0.05


def test_a_temperature_keeps_the_order_and_one_changes_nothing():
    scores = np.array([[1e-30, 1e-6, 0.3, 0.5, 0.99, 1.0 - 2.0**-24, 1.0]])
    assert tempered(scores[:, :-1], 1.0, "several") == pytest.approx(scores[:, :-1], rel=1e-9)
    for heat in (0.05, 0.7, 20.0):
        assert (np.diff(tempered(scores, heat, "several")) >= 0).all()
    exact, single = (
        1 - 1e-12,
        float(np.float32(1 - 1e-12)),
    )  # an answer hands its scores on in single precision
    assert tempered([exact], 2.0, "several") == tempered([single], 2.0, "several")


def test_every_class_at_its_threshold_is_said_and_nothing_is_unknown():
    judge = Judgement((1.0,), thresholds=(0.5, 0.2, 0.9))
    scores, saliency = np.array([[0.6, 0.3, 0.8], [0.4, 0.1, 0.89], [0.1, 0.2, 0.1]]), np.zeros((3, 4))
    assert judge.said(scores).tolist() == [[True, True, False], [False] * 3, [False, True, False]]
    assert judge.unknown(scores, saliency).tolist() == [False, True, False]
    assert Judgement().said(scores).sum(axis=1).tolist() == [1, 1, 1]


def test_thresholds_are_those_of_the_best_f1_and_strangers_are_noes():
    scores, truth = planted(300)
    saliency = np.random.default_rng(0).standard_normal((300, 6))
    judge = settle((1.0,), scores, truth, saliency, labels="several")
    assert judge.thresholds == tuple(best_threshold(scores[:, c], truth[:, c]) for c in range(4))
    strange = np.full((300, 4), 0.6)
    wary = settle((1.0,), scores, truth, saliency, labels="several", examples=(strange, saliency))
    assert wary.unknown(strange, saliency).mean() > judge.unknown(strange, saliency).mean()
    lost = judge.unknown(scores, saliency)[(judge.said(scores) & (truth > 0)).any(axis=1)]
    assert lost.mean() <= 0.03
    assert f1_scores(judge.said(scores), truth) > 0.6


def test_the_card_gives_it_again():
    judge = Judgement((0.5, 2.0), (), 0.25, (0.1, 0.9))
    assert Judgement.from_card(json.loads(json.dumps(judge.as_card())), 2, labels="several") == judge
    assert Judgement.from_card(None, 3, labels="several").thresholds == (0.5,) * 3


@pytest.mark.parametrize(
    ("labels", "card", "what"),
    [
        ("one", Judgement((1.0,), (), 0.0, (0.5, 0.5)).as_card(), "taught one label a video, .* 'threshold'"),
        (
            "several",
            Judgement((1.0,), (0.5, 0.5)).as_card(),
            "taught several labels a video, .* 'least_score'",
        ),
        ("several", {"temperature": [1], "least_contrast": 0, "threshold": [0.5]}, "1 thresholds for 2"),
        ("several", {"temperature": [1], "least_contrast": 0, "threshold": [0.5, 1.5]}, r"in 0\.\.1"),
        ("several", {"temperature": [1], "least_contrast": 0, "threshold": [0.5, None]}, r"in 0\.\.1"),
        ("several", {"temperature": [1], "least_contrast": 0}, "cannot be read"),
        ("several", [0.5, 0.5], "cannot be read"),
    ],
)
def test_a_card_of_the_other_kind_is_refused(labels, card, what):
    with pytest.raises(CheckpointError, match=what):
        Judgement.from_card(card, 2, labels=labels, where="model")
