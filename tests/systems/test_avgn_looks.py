"""AVGN's looks one after another: the same as all at once, and nothing spent behind the last."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from tests import checks

from avglance.parts.meter import Meter
from avglance.systems.base import sure_enough
from avglance.systems.budget import look_macs
from avglance.types import Stopping

NEVER, AT_ONCE = Stopping((math.inf,) * checks.T), Stopping((-math.inf,) * checks.T)


@pytest.fixture(params=["avgn", "avgn_nano"])
def system(request):
    """The recurrent policy, which remembers, and the heat map; prefix heads for three looks alone."""
    return checks.small_system(request.param, train_looks=3)


def recognise(system, clips, k, stop=None):
    meter = Meter(len(clips))
    view = checks.RecordingView(clips, system.view_settings)
    return system.recognise(view, k, meter=meter, stop=stop), meter, view


def test_who_is_never_sure_looks_k_times(system):
    clips = checks.make_clips(7)
    for k in (1, 3, checks.T):
        plain, spent, _ = recognise(system, clips, k)
        one_by_one, same, _ = recognise(system, clips, k, NEVER)
        checks.assert_same(plain, one_by_one)
        torch.testing.assert_close(plain.prefix, one_by_one.prefix, rtol=1e-4, atol=1e-5)
        assert {s: m.tolist() for s, m in spent.macs.items()} == {s: m.tolist() for s, m in same.macs.items()}


def test_who_is_sure_at_once_looks_once(system):
    clips = checks.make_clips(7)
    one, spent, _ = recognise(system, clips, 1)
    found, same, view = recognise(system, clips, 5, AT_ONCE)
    checks.assert_same(one, found, fields=("scores", "saliency", "looked", "boxes", "evidence"))
    assert spent.total_macs.tolist() == same.total_macs.tolist()
    assert len(view.places["patches"]) == int(found.looked.sum())


def test_scores_after_each_look_are_those_of_that_budget(system):
    clips = checks.make_clips(7)
    with torch.no_grad():
        whole = system(clips, checks.T)
        for k in range(1, checks.T + 1):
            torch.testing.assert_close(
                whole.prefix[:, k - 1].float(), system(clips, k).scores, rtol=1e-4, atol=1e-5
            )


def test_each_video_stops_where_it_is_sure_and_costs_what_it_looked_at(system):
    """Thresholds that divide the videos: each answers as with its own K, and pays for no more."""
    clips = checks.make_clips(9, missing=False)
    with torch.no_grad():
        sure = system(clips, 5).prefix.amax(-1)  # (B, K)
    eta = (*sure.quantile(0.6, dim=0).tolist()[:4], -math.inf)
    last = [next(k for k in range(1, 6) if sure[b, k - 1] >= eta[k - 1]) for b in range(9)]
    assert len(set(last)) >= 3
    found, spent, view = recognise(system, clips, 5, Stopping(eta))
    assert found.looked.sum(1).tolist() == last
    assert len(view.places["patches"]) == sum(last)
    for b, k in enumerate(last):
        alone, paid, _ = recognise(system, clips.take([b]), k)
        torch.testing.assert_close(found.scores[b], alone.scores[0], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(found.boxes[b], alone.boxes[0], rtol=1e-4, atol=1e-5, equal_nan=True)
        torch.testing.assert_close(found.evidence[b], alone.evidence[0], rtol=1e-4, atol=1e-5)
        assert spent.total_macs[b] == paid.total_macs[0]


def test_behind_the_last_threshold_nobody_looks_on(system):
    found, _, _ = recognise(system, checks.make_clips(2, missing=False), 5, Stopping((math.inf,)))
    assert found.looked.sum(1).tolist() == [2, 2]


def test_out_of_time_ends_all_looks_but_the_first(system):
    clips, asked = checks.make_clips(3, missing=False), []

    def late():
        asked.append(True)
        return len(asked) > 2

    found, _, _ = recognise(system, clips, 6, Stopping(late=late))
    assert found.looked.sum(1).tolist() == [3, 3, 3]
    found, _, _ = recognise(system, clips, 6, Stopping(late=lambda: True))
    assert found.looked.sum(1).tolist() == [1, 1, 1]


def test_a_view_without_any_picture_is_heard_out(system):
    clips = checks.make_clips(2, missing=False)
    clips.visible[:] = False
    plain, _, _ = recognise(system, clips, 3)
    found, spent, _ = recognise(system, clips, 3, NEVER)
    checks.assert_same(plain, found)
    assert not found.looked.any()
    assert "focus" not in spent.macs or not spent.macs["focus"].any()


@pytest.mark.parametrize(
    "changes", [{"patch": "whole"}, {"patch": "none"}, {"patch": "centre"}, {"hear_aim": False}]
)
def test_switched_systems_stop_too(changes):
    from avglance.systems.avgn_settings import AVGNSwitches

    system = checks.small_system("avgn_nano", switches=AVGNSwitches(**changes))
    clips = checks.make_clips(7)
    plain, _, _ = recognise(system, clips, 3)
    checks.assert_same(plain, recognise(system, clips, 3, NEVER)[0])


def test_a_video_costs_its_glance_and_its_looks(system):
    before, each = look_macs(system)
    clips = checks.make_clips(1, missing=False)
    for k in (1, 2, 5):
        _, spent, _ = recognise(system, clips, k)
        assert spent.total_macs.tolist() == [before + k * each]
    assert not system.training
    system.train()
    weights = {name: x.clone() for name, x in system.state_dict().items()}
    assert look_macs(system) == (before, each)
    assert system.training
    assert all(torch.equal(x, weights[name]) for name, x in system.state_dict().items())


def test_tsn_costs_its_looks_alone():
    system = checks.small_system("tsn_nano")
    before, each = look_macs(system)
    assert before == 0
    meter = Meter(1)
    system.recognise(checks.view_of(system, checks.make_clips(1)), 3, meter=meter)
    assert meter.total_macs.tolist() == [3 * each]


def test_confidence_is_told_apart_where_single_precision_ends():
    logits = torch.tensor([[30.0, 0.0], [25.0, 0.0]])
    assert (logits.softmax(-1).amax(-1) == 1).all()
    least = float(np.exp(30.0) / (np.exp(30.0) + 1))
    assert sure_enough(
        logits, torch.tensor([Stopping((least,)).least(1)] * 2, dtype=torch.float64)
    ).tolist() == [True, False]
