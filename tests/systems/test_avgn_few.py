"""Sound first: all sounds, then the few pictures that they are worth, and nothing else is decoded."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from tests import checks
from tests.training.worlds import write_tiny

from avglance.errors import ArgumentError
from avglance.media import write_mp4
from avglance.parts.clips import Clips, blank
from avglance.parts.meter import Meter
from avglance.systems import avgn_few, build
from avglance.systems.base import Steering
from avglance.views import FileView, evenly, resize_macs

T, C = checks.T, checks.C
CHOOSERS = pytest.mark.parametrize("chooser", ["avtest", "evidence"])


def few_system(count=0, **changes):
    return checks.small_system("avgn_nano", glance_pictures=count, **changes)


def recognise(system, clips, k, **asked):
    meter, view = Meter(len(clips)), checks.RecordingView(clips, system.view_settings)
    return system.recognise(view, k, meter=meter, **asked), meter, view


# ---- what is asked for ----


@CHOOSERS
@pytest.mark.parametrize("count", [1, 2, 4])
def test_dense_is_sparse_and_only_the_few_are_asked_for(count, chooser):
    system, clips = few_system(count, chooser=chooser), checks.make_clips(8)
    for k in (1, 3, T):
        found, _, view = recognise(system, clips, k)
        with torch.no_grad():
            checks.assert_same(system(clips, k), found)
        asked = np.bincount([b for b, _ in view.places["pictures"]], minlength=8)
        assert asked.tolist() == [min(count, int(row.sum())) for row in clips.visible]
        assert set(view.places["patches"]) <= set(view.places["pictures"])
        assert (found.looked.sum(1) <= min(k, count)).all()
    checks.check_one_video_is_many(system)
    checks.check_asks_only_what_it_uses(system)
    checks.check_cost_is_counted(system)


@CHOOSERS
def test_all_of_them_is_the_papers_way(chooser):
    system, clips = few_system(chooser=chooser), checks.make_clips(8)
    plain, spent, view = recognise(system, clips, 3)
    for count in (0, T, None):
        found, same, other = recognise(system, clips, 3, glance_pictures=count)
        checks.assert_same(plain, found, tolerance=0)
        assert {s: m.tolist() for s, m in spent.macs.items()} == {s: m.tolist() for s, m in same.macs.items()}
        assert view.places == other.places
    checks.assert_same(plain, recognise(few_system(T, chooser=chooser), clips, 3)[0], tolerance=0)


def test_an_answer_may_ask_for_another_number():
    clips, system = checks.make_clips(8), few_system(2)
    for count in (1, 3, 0):
        found = recognise(system, clips, 3, glance_pictures=count)[0]
        checks.assert_same(found, recognise(few_system(count), clips, 3)[0], tolerance=0)


def test_the_bill_is_of_what_was_glanced_at():
    system, clips = few_system(), checks.make_clips(3, missing=False)
    (_, whole, _), (_, few, _) = (recognise(system, clips, 1, glance_pictures=n) for n in (0, 2))
    view = system.view_settings
    once = whole.macs["choose"]
    assert (few.macs["choose"] == 2 * once).all(), "scored by sound alone, and again"
    less = whole.macs["glance"] - few.macs["glance"]
    assert (less > (T - 2) * resize_macs(view.source_side, view.glance_side)).all()
    assert (less % (T - 2) == 0).all()
    before, look = system.look_macs()
    assert system.look_macs(2) == (before - int(whole.total_macs[0] - few.total_macs[0]), look)
    assert few_system(2).look_macs() == system.look_macs(2)
    assert system.look_macs(1)[1] == look


def test_a_lost_picture_is_made_up_for():
    system, clips = few_system(), checks.make_clips(8)
    view = checks.LosingView(clips, system.view_settings)
    found = system.recognise(view, 2, glance_pictures=2)
    assert found.looked.sum(1).tolist() == [min(2, int(row.sum())) for row in clips.visible]


@pytest.mark.parametrize("count", [-1, 7, True, 2.5])
def test_numbers_that_are_none(count):
    clips = checks.make_clips(2)
    with pytest.raises(ArgumentError, match="cannot glance at"):
        recognise(few_system(), clips, 1, glance_pictures=count)
    with pytest.raises(ArgumentError):
        build("avgn_nano", classes=3, glance_pictures=17)
    with pytest.raises(ArgumentError, match="few_pictures must be in"):
        build("avgn_nano", classes=3, few_pictures=1.0)


def test_told_moments_and_fixed_orders_choose_the_pictures():
    clips = checks.make_clips(3, missing=False)
    moments = torch.zeros(3, T, dtype=torch.bool)
    moments[:, [1, 5]] = True
    found, _, view = recognise(few_system(3), clips, 2, told=Steering(moments))
    assert torch.equal(found.looked, moments)
    assert {t for _, t in view.places["pictures"]} > {1, 5}
    view = recognise(few_system(3, order="coarse"), clips, 3)[2]
    assert {t for _, t in view.places["pictures"]} == {0, 2, 5}


# ---- where the sound says something, and where not ----


def planted(videos, *, seed, sounds=True):
    """At one snippet sight and sound say the class; other pictures say another, other sounds nothing."""
    rng, classes = torch.Generator().manual_seed(seed), torch.Generator().manual_seed(77)
    shown, heard = (torch.randn(C, 64, generator=classes) for _ in range(2))
    y, when = (torch.randint(n, (videos,), generator=rng) for n in (C, T))
    said = torch.randint(C, (videos, T), generator=rng)
    rows = torch.arange(videos)
    said[rows, when] = y
    picture = shown[said] + 0.3 * torch.randn(videos, T, 64, generator=rng)
    sound = 0.3 * torch.randn(videos, T, 64, generator=rng)
    sound[rows, when] += heard[y]
    cells = torch.zeros(videos, T, 16, 96)
    known = {"picture": picture, "sound": sound, "map": picture[..., None, None].expand(-1, -1, -1, 4, 4)}
    known |= {"whole": cells[:, :, 0], "cells": cells}
    everywhere = torch.ones(videos, T, dtype=torch.bool)
    targets = torch.nn.functional.one_hot(y, C).float()
    side, flat = checks.S, torch.zeros(videos, T, dtype=torch.float64)
    squares = blank(videos, T, 3, side, side, dtype=torch.uint8)
    mels = blank(videos, T, 1, 96, 64, dtype=torch.float32)
    there = everywhere if sounds else ~everywhere
    return Clips(squares, mels, everywhere, there, flat, targets, known), when


@pytest.fixture(scope="module", params=["avtest", "evidence"])
def learned(request):
    """A chooser that learned the planted world, with pictures dropped; nothing else is trained."""
    system = build(
        "avgn_nano", classes=C, snippets=T, resize_side=checks.S, source_side=checks.S,
        **checks.SMALL["avgn_nano"], chooser=request.param, few_pictures=0.5,
        glance_share=0, focus_share=0, train_looks=None,
        teacher="heads", patch="none", masked=0, drop_sound=0, drop_pictures=0,
    )  # fmt: skip
    rate, rng = torch.optim.Adam(system.parameters(), 5e-3), torch.Generator().manual_seed(0)
    system.train()
    for step in range(150):
        clips, _ = planted(64, seed=step)
        sum(system.losses(clips, rng=rng, epoch=9).values()).backward()
        rate.step()
        rate.zero_grad()
    return system.eval()


@torch.no_grad()
def test_sound_finds_the_moment_and_two_pictures_are_enough(learned):
    clips, when = planted(300, seed=1000)
    seen = learned.glance_clips(clips, clips.visible, clips.audible)
    for count, least in ((1, 0.9), (2, 0.95)):
        few = avgn_few.with_few(learned, seen, count)
        assert (few.visible.sum(1) == count).all()
        assert float(few.visible[torch.arange(300), when].float().mean()) > least
    score = learned.choose(avgn_few.with_few(learned, seen, 2), spend=checks_free()).logits
    order = learned.rank(score, few.visible, 1)[:, 0]
    assert float((order == when).float().mean()) > 0.9, "the moment comes first among the pictures"


@torch.no_grad()
def test_without_sound_pictures_lie_evenly(learned):
    clips, when = planted(300, seed=1000, sounds=False)
    seen = learned.glance_clips(clips, clips.visible, clips.audible)
    same = dataclasses.replace(seen, audible=~seen.audible, sound=seen.sound[:, :1].expand_as(seen.sound))
    for silent in (seen, same):
        few = avgn_few.with_few(learned, silent, 3)
        assert (few.visible.nonzero()[:, 1].reshape(-1, 3) == torch.from_numpy(evenly(T, 3))).all()
    assert float(few.visible[torch.arange(300), when].float().mean()) < 0.6


def checks_free():
    return avgn_few.Unmetered()


# ---- training with pictures dropped ----


def test_some_pictures_of_some_videos():
    system, clips = few_system(few_pictures=0.5), checks.make_clips(400, missing=False)
    zeros = torch.zeros(400, T, 64)
    known = {"picture": zeros, "sound": zeros, "map": zeros[..., None, None]}
    clips = dataclasses.replace(clips, known=known)
    seen = system.glance_clips(clips, clips.visible, clips.audible)
    given = avgn_few.some_pictures(system, seen, torch.Generator().manual_seed(0))
    counts = np.bincount(given.visible.sum(1).numpy(), minlength=T + 1) / 400
    assert abs(counts[T] - 0.5) < 0.08, "half of the videos keep all"
    assert counts[0] > 0.2, "of half of the others nothing is left"
    assert (counts[1:T] > 0.01).all()
    assert (given.visible.float().mean(0) - given.visible.float().mean()).abs().max() < 0.08, "anywhere"
    torch.testing.assert_close(
        given.picture[~given.visible], system.no_picture.vector.expand_as(given.picture[~given.visible])
    )
    assert torch.equal(given.picture[given.visible], seen.picture[given.visible])


@CHOOSERS
def test_only_what_chooses_learns_from_fewer_pictures(chooser):
    clips, changes = checks.make_clips(6), {"chooser": chooser, "dropout": 0.0, "masked": 0.0}

    def terms(share):
        system = few_system(few_pictures=share, **changes).train()
        found = system.losses(clips, rng=torch.Generator().manual_seed(0), epoch=3)
        return {name: float(x.detach()) for name, x in found.items()}

    whole, some = terms(0.0), terms(0.9)
    assert {name for name in whole if whole[name] != some[name]} <= {"saliency", "ordered"}
    assert whole["saliency"] != some["saliency"]
    system = few_system(few_pictures=0.5, **changes)
    checks.check_losses(system)
    checks.check_gradients(few_system(few_pictures=0.5, chooser=chooser))


# ---- files ----


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A file with sound and one without, of 24 pictures each."""
    folder = tmp_path_factory.mktemp("few")
    write_tiny(folder / "sound.mp4", "red", 2)
    frames = [np.full((64, 64, 3), n, np.uint8) for n in range(24)]
    write_mp4(folder / "mute.mp4", frames, rate=6)
    return [folder / "sound.mp4", folder / "mute.mp4"]


def test_of_files_no_other_picture_is_decoded(files):
    system = few_system()
    for count in (1, 2, 4, 0):
        with FileView(files, system.view_settings) as view:
            found = system.recognise(view, 3, glance_pictures=count)
            there = np.array([[view.square(b, t) is not None for t in range(T)] for b in range(2)])
            assert view.frames_delivered.tolist() == [count or T] * 2
            assert there.sum(1).tolist() == [count or T] * 2
            assert not (found.looked.numpy() & ~there).any()
            assert np.flatnonzero(there[1]).tolist() == evenly(T, count or T).tolist(), "nothing to hear"
            assert view.condition(0).verdict == "ok"
