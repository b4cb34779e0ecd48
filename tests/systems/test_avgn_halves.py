"""AVGN's glance in two halves: what is spent by those who are sure early, and what the others get."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from tests import checks

from avglance.parts.clips import Clips
from avglance.parts.meter import Meter
from avglance.types import Stopping

HALVES = 2
INF = (math.inf,) * checks.T
NEVER, AT_ONCE = Stopping(INF, halves=HALVES), Stopping((-math.inf,), halves=HALVES)


@pytest.fixture(
    params=[("avgn", {}), ("avgn_nano", {"answer_pool": "soft"}), ("avgn_nano", {"chooser": "evidence"})]
)
def system(request):
    name, changes = request.param
    return checks.small_system(name, **changes)


def recognise(system, clips, k, stop=None):
    meter = Meter(len(clips))
    view = checks.RecordingView(clips, system.view_settings)
    return system.recognise(view, k, meter=meter, stop=stop), meter, view


def one_of(clips, b):
    names = ("pictures", "sounds", "visible", "audible", "times", "targets")
    return Clips(*(getattr(clips, name)[b : b + 1] for name in names))


def test_who_is_never_sure_gets_the_dense_answer(system):
    clips = checks.make_clips(7, missing=False)
    found, _, view = recognise(system, clips, 5, NEVER)
    with torch.no_grad():
        checks.assert_same(system.in_halves(clips, 5, HALVES), found)
    assert sorted(map(tuple, view.places["pictures"])) == [(b, t) for b in range(7) for t in range(checks.T)]
    assert (found.looked.sum(1) == 5).all()


def test_the_first_moments_are_even_ones_and_the_best_of_them(system):
    clips = checks.make_clips(7, missing=False)
    found, _, _ = recognise(system, clips, 5, NEVER)
    assert (found.order[:, :HALVES] % 2 == 0).all()
    rest = found.saliency.clone()
    rest.scatter_(1, found.order[:, :HALVES], -math.inf)
    assert (found.order[:, HALVES:] == rest.sort(dim=1, descending=True, stable=True).indices[:, :3]).all()


def test_who_is_sure_at_once_costs_half_of_the_glance(system):
    clips = checks.make_clips(7, missing=False)
    found, spent, view = recognise(system, clips, 5, AT_ONCE)
    for kind in ("pictures", "sounds"):
        assert sorted(map(tuple, view.places[kind])) == [
            (b, t) for b in range(7) for t in range(0, checks.T, 2)
        ]
    assert (found.looked.sum(1) == 1).all()
    _, whole, _ = recognise(system, clips, 1)
    assert spent.macs["glance"].tolist() == (whole.macs["glance"] // 2).tolist()
    assert spent.macs["focus"].tolist() == whole.macs["focus"].tolist()


def test_each_video_goes_its_own_way(system):
    """Some are sure by half of the glance, some later: together they get what each gets alone."""
    clips = checks.make_clips(9)
    prefix = recognise(system, clips, 5, NEVER)[0].prefix
    sure = prefix[:, [0, 3]].amax(2).sort(0).values[4:6].mean(0).tolist()  # between two videos
    stop = Stopping((sure[0], math.inf, math.inf, sure[1]), halves=HALVES)
    found, spent, _ = recognise(system, clips, 5, stop)
    looks = found.looked.sum(1).tolist()
    assert len(set(looks)) > 1
    for b in range(9):
        alone, own, _ = recognise(system, one_of(clips, b), 5, stop)
        torch.testing.assert_close(alone.scores[0], found.scores[b], rtol=1e-4, atol=1e-5)
        assert alone.looked[0].tolist() == found.looked[b].tolist()
        assert own.total_macs.tolist() == spent.total_macs[b : b + 1].tolist()


@pytest.mark.parametrize("k", [3, 5, checks.T])
def test_what_is_missing_is_made_up_for(system, k):
    """A video with too few even pictures goes on with the others; no snippet comes twice."""
    clips = checks.make_clips(8)
    clips.visible[0, ::2] = False
    clips.visible[1, 2::2] = False
    clips.visible[2] = False
    found, _, _ = recognise(system, clips, k, NEVER)
    there = clips.visible.sum(1).clamp(max=k)
    assert found.looked.sum(1).tolist() == there.tolist()
    assert all(len(set(row)) == k for row in found.order.tolist())
    assert (found.looked & ~clips.visible).sum() == 0
    assert np.isfinite(found.scores.numpy()).all()
    with torch.no_grad():
        dense = system.in_halves(clips, k, HALVES)
    assert dense.looked.tolist() == found.looked.tolist()
    assert dense.order.tolist() == found.order.tolist()


def test_when_it_is_late_nothing_more_is_glanced_at(system):
    clips = checks.make_clips(3, missing=False)
    asked = []
    stop = Stopping(INF, late=lambda: asked.append(1) or len(asked) > 1, halves=HALVES)
    found, _, view = recognise(system, clips, 5, stop)
    assert (found.looked.sum(1) == HALVES).all()
    assert all(t % 2 == 0 for _, t in view.places["pictures"])


def test_the_first_look_happens_however_late_it_is(system):
    """Where the only pictures are in the second half, that is glanced at for it."""
    clips = checks.make_clips(3, missing=False)
    clips.visible[1, ::2] = False
    found, _, _ = recognise(system, clips, 5, Stopping(INF, late=lambda: True, halves=HALVES))
    assert found.looked.sum(1).tolist() == [1, 1, 1]


def test_between_two_snippets_that_were_seen_lies_what_both_say(system):
    clips = checks.make_clips(4, missing=False)
    found, _, _ = recognise(system, clips, 5, AT_ONCE)
    for x in (found.evidence, found.saliency):
        torch.testing.assert_close(x[:, 1], (x[:, 0] + x[:, 2]) / 2)
        torch.testing.assert_close(x[:, -1], x[:, -2])
    assert (found.evidence[:, 1::2].sum(-1) > 0.9).all()
    whole, _, _ = recognise(system, clips, 5, NEVER)
    dense = system.in_halves(clips, 5, HALVES)
    torch.testing.assert_close(whole.evidence, dense.evidence, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("k", [1, HALVES])
def test_few_looks_leave_no_room_for_halves(system, k):
    clips = checks.make_clips(5)
    plain, _, _ = recognise(system, clips, k)
    checks.assert_same(plain, recognise(system, clips, k, NEVER)[0])


def test_who_cannot_glances_at_all():
    system = checks.small_system("avgn_nano", order="coarse")
    assert not system.halves
    clips = checks.make_clips(5)
    checks.assert_same(recognise(system, clips, 4)[0], recognise(system, clips, 4, NEVER)[0])
