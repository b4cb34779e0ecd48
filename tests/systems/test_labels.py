"""Systems that give a video several labels: the checks of every system, and events that come together."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from tests import checks

from avglance import metrics
from avglance.errors import ArgumentError
from avglance.parts.clips import Clips
from avglance.systems import build, settings_of
from avglance.systems.base import sure_enough
from avglance.systems.labels import certain, precise
from avglance.systems.thresholds import choose_thresholds
from avglance.types import Stopping

NAMES = list(checks.SMALL)


@pytest.fixture(params=NAMES)
def system(request):
    return checks.small_system(request.param, labels="several")


@pytest.mark.parametrize(
    "check",
    [
        checks.check_one_video_is_many,
        checks.check_batch_order,
        checks.check_losses,
        checks.check_learns,
        checks.check_muted,
    ],
)
def test_check(system, check):
    if check is checks.check_losses and system.name.startswith("tsn"):
        system.settings = dataclasses.replace(system.settings, train_snippets=2)
    check(system)


@pytest.mark.parametrize("name", NAMES)
def test_gradient_reaches_every_parameter(name):
    extra = {"teacher": "fused"} if name == "avgn" else {}
    checks.check_gradients(
        checks.small_system(name, labels="several", drop_sound=0.3, drop_pictures=0.2, **extra)
    )


def test_scores_are_a_yes_or_no_for_each_class(system):
    clips = checks.make_clips(5)
    with torch.no_grad():
        found = system(clips, 3)
    assert ((found.scores >= 0) & (found.scores <= 1)).all()
    assert (found.scores.sum(1) - 1).abs().max() > 0.2, "these still share out one"
    assert ((found.evidence >= 0) & (found.evidence <= 1)).all()
    checks.assert_same(found, system.recognise(checks.view_of(system, clips), 3))


@pytest.mark.parametrize("name", NAMES)
def test_a_fresh_system_gives_each_class_its_share(name):
    small = {**checks.SMALL[name], "snippets": checks.T, "resize_side": checks.S, "source_side": checks.S}
    torch.manual_seed(0)
    fresh = build(name, classes=50, labels="several", **small).eval()
    clips = checks.make_clips(3, missing=False)
    clips = dataclasses.replace(clips, targets=torch.zeros(3, 50))
    with torch.no_grad():
        scores = fresh(clips, 3).scores
    assert 0.005 < scores.mean() < 0.08
    clips.targets[:, [3, 7]] = 1
    first = next(iter(fresh.train().losses(clips, rng=torch.Generator(), epoch=3).values()))
    assert float(first) < 3 * math.log(50), "as large as if half of all classes were there"


def test_a_video_of_which_nothing_came_has_equal_scores():
    system = checks.small_system("avgn_nano", labels="several")
    clips = checks.make_clips(5)  # of the last there is neither picture nor sound
    with torch.no_grad():
        scores = system(clips, 3).scores
    torch.testing.assert_close(scores[4], torch.full((checks.C,), 1 / checks.C))
    assert (scores[1] - 1 / checks.C).abs().max() > 1e-3  # by ear alone


def test_looks_end_when_every_answer_is_sure():
    logits = torch.tensor([[4.0, -5.0, 3.0], [9.0, -9.0, 0.1]])
    sure = certain(precise(logits, "several"), "several")
    assert sure.tolist() == pytest.approx(
        [float(torch.tensor(3.0).sigmoid()), float(torch.tensor(0.1).sigmoid())]
    )
    assert sure_enough(logits, torch.tensor(Stopping((0.9,)).least(1)), "several").tolist() == [True, False]
    system = checks.small_system("avgn_nano", labels="several")
    clips = checks.make_clips(4, missing=False)
    whole = system.recognise(checks.view_of(system, clips), 4)
    least = float(certain(whole.prefix[:, 1], "several").median())
    some = system.recognise(checks.view_of(system, clips), 4, stop=Stopping((2.0, least, 2.0, 2.0)))
    stopped = certain(whole.prefix[:, 1], "several") >= least
    assert some.looked.sum(1).tolist() == [2 if early else 4 for early in stopped]


def test_other_words_are_refused():
    for name in NAMES:
        with pytest.raises(ArgumentError, match="labels must be one of one, several, got 'both'"):
            settings_of(name, labels="both")
        assert settings_of(name).labels == "one"


# ---- two events that come independently of each other ----


def planted(videos, *, seed):
    """Snippets turn red (class 0) or loud (class 1), each at a time of its own."""
    rng = np.random.default_rng(seed)
    there = rng.random((videos, 2)) < 0.6
    there[~there.any(1), 0] = True
    shape = (videos, checks.T, 3, checks.S, checks.S)
    pictures = torch.from_numpy(rng.integers(90, 120, shape, dtype=np.uint8))
    sounds = torch.from_numpy(rng.normal(-4, 0.5, (videos, checks.T, 1, 96, 64)).astype(np.float32))
    for b in range(videos):
        first, second = rng.integers(0, checks.T - 3, 2)
        if there[b, 0]:
            pictures[b, first : first + 4, 0] += 100
        if there[b, 1]:
            sounds[b, second : second + 4] += 4
    ones = torch.ones(videos, checks.T, dtype=torch.bool)
    times = torch.arange(checks.T, dtype=torch.float64).expand(videos, -1) + 0.5
    return Clips(pictures, sounds, ones, ones.clone(), times.contiguous(), torch.from_numpy(there).float())


def trained(name, labels, *, steps):
    torch.manual_seed(0)
    sides = {"snippets": checks.T, "resize_side": checks.S, "source_side": checks.S}
    system = build(name, classes=2, labels=labels, **{**checks.SMALL[name], **sides})
    clips, rng = planted(32, seed=0), torch.Generator().manual_seed(0)
    rate = torch.optim.Adam(system.parameters(), 3e-3)
    fall = torch.optim.lr_scheduler.CosineAnnealingLR(rate, steps)  # else the last step decides by chance
    system.train()
    for step in range(steps):
        some = clips.take([(8 * step + n) % 32 for n in range(8)])
        rate.zero_grad()
        sum(system.losses(some, rng=rng, epoch=3).values()).backward()
        rate.step()
        fall.step()
    system.eval()
    found = []
    for seed in (1, 2):  # to choose by, and to measure
        videos = planted(40, seed=seed)
        with torch.no_grad():
            found.append((system(videos, 4).scores.double().numpy(), videos.targets.numpy() > 0))
    return found


@pytest.mark.parametrize(("name", "steps"), [("tsn_nano", 120), ("avgn_nano", 60)])
def test_events_that_come_together_are_both_said(name, steps):
    held_out, (scores, truth) = trained(name, "several", steps=steps)
    assert metrics.mean_average_precision(scores, truth).value > 0.95
    both = truth.all(axis=1)
    assert both.sum() > 8
    said = scores >= np.array(choose_thresholds(*held_out))
    assert (said == truth).all(axis=1).mean() > 0.85
    assert said[both].all(axis=1).mean() > 0.8


def test_a_drawn_label_cannot_say_both():
    _, (scores, truth) = trained("tsn_nano", "one", steps=60)
    both = truth.all(axis=1)
    assert not (scores[both] > 0.5).all(axis=1).any()  # they share out one
    assert ((scores > 0.5) == truth).all(axis=1)[~both].mean() > 0.85
