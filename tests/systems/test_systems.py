"""Every system passes every check; and how systems are named and built."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from tests import checks

from avglance.errors import ArgumentError, ShapeError
from avglance.systems import SYSTEMS, build, settings_of
from avglance.systems.base import coarse_to_fine

NAMES = list(checks.SMALL)


def test_every_system_is_checked():
    assert set(NAMES) == set(SYSTEMS)


@pytest.fixture(params=NAMES)
def system(request):
    return checks.small_system(request.param)


@pytest.mark.parametrize("videos", [1, 5])
def test_result(system, videos):
    checks.check_result(system, videos)


@pytest.mark.parametrize("videos", [1, 5])
def test_dense_is_sparse(system, videos):
    checks.check_dense_is_sparse(system, videos)


@pytest.mark.parametrize(
    "check",
    [
        checks.check_one_video_is_many,
        checks.check_batch_order,
        checks.check_deterministic,
        checks.check_losses,
        checks.check_groups,
        checks.check_learns,
        checks.check_muted,
        checks.check_cost_grows,
        checks.check_cost_is_counted,
        checks.check_asks_only_what_it_uses,
    ],
)
def test_check(system, check):
    check(system)


@pytest.mark.parametrize("name", NAMES)
def test_gradient_reaches_every_parameter(name):
    extra = {"teacher": "fused"} if name == "avgn" else {}
    checks.check_gradients(checks.small_system(name, drop_sound=0.3, drop_pictures=0.2, **extra))


@pytest.mark.parametrize(("pictures", "sounds"), [(False, True), (True, False), (False, False)])
def test_a_single_video_with_nothing_in_it(system, pictures, sounds):
    clips = checks.make_clips(1, missing=False)
    clips.visible[:], clips.audible[:] = pictures, sounds
    with torch.no_grad():
        dense = system(clips, 2)
    checks.assert_same(dense, system.recognise(checks.view_of(system, clips), 2))
    assert dense.scores.isfinite().all()
    assert bool(dense.looked.any()) is pictures


@pytest.mark.parametrize("k", [0, -1, checks.T + 1])
def test_a_budget_out_of_range_names_the_least(system, k):
    with pytest.raises(ArgumentError, match=r"outside \[1, 6\]") as error:
        system.recognise(checks.view_of(system, checks.make_clips(1)), k)
    assert "the smallest budget is 1" in str(error.value)


def test_clips_of_other_settings_are_refused(system):
    clips = checks.make_clips(2)
    wrong = clips.at(torch.zeros(2, 3, dtype=torch.int64))
    with pytest.raises(ShapeError, match="wants"):
        system(wrong, 1)
    with pytest.raises(ShapeError, match="wants"):
        system.losses(wrong, rng=torch.Generator(), epoch=0)


def test_a_video_without_class_teaches_that_none_is_likelier(system):
    clips = checks.make_clips(2)
    clips.targets[:] = 0
    terms = system.train().losses(clips, rng=torch.Generator(), epoch=0)
    total = sum(terms.values())
    assert torch.isfinite(total)
    total.backward()
    grads = [p.grad for p in system.parameters() if p.grad is not None]
    assert grads
    assert all(torch.isfinite(grad).all() for grad in grads)


def test_unknown_names_come_with_near_ones():
    with pytest.raises(ArgumentError, match="no system is called 'avgn_nanno'") as error:
        build("avgn_nanno", classes=3)
    assert "did you mean 'avgn_nano'?" in error.value.hint
    with pytest.raises(ArgumentError, match="no setting 'patchside'") as error:
        build("avgn_nano", classes=3, patchside=32)
    assert "did you mean 'patch_side'?" in error.value.hint


def test_switches_are_changed_by_their_own_names():
    settings = settings_of("avgn_nano", classes=3, teacher="fused", glance_side=32)
    assert settings.switches.teacher == "fused"
    assert settings.glance_side == 32
    assert settings_of("avgn").switches.teacher == "heads"


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("avgn", {"policy": "oracle"}),
        ("avgn", {"drop_sound": 1.0}),
        ("avgn", {"snippets": 33}),
        ("avgn", {"tau": 0.0}),
        ("avgn", {"teacher": "me"}),
        ("avgn", {"ordered": -1.0}),
        ("tsn", {"train_snippets": 17}),
        ("tsn", {"classes": 1}),
    ],
)
def test_settings_that_cannot_be(name, changes):
    with pytest.raises(ArgumentError, match="got"):
        settings_of(name, **changes)


def test_presets():
    paper, nano = settings_of("avgn"), settings_of("avgn_nano")
    assert (paper.snippets, paper.resize_side, paper.source_side, paper.glance_side) == (16, 256, 224, 224)
    assert (paper.picture, paper.sound, paper.focus) == ("mobilenetv2_100", "mobilenetv2_100", "resnet50")
    assert (paper.policy, paper.choose_width, paper.answer_width) == ("recurrent", 256, 4096)
    assert (nano.source_side, nano.glance_side, nano.patch_side, nano.policy) == (240, 64, 96, "heatmap")


@pytest.mark.parametrize(
    ("snippets", "order"),
    [
        (1, [0]),
        (2, [0, 1]),
        (8, [3, 0, 7, 1, 5, 2, 4, 6]),
        (10, [4, 0, 9, 2, 6, 1, 3, 5, 7, 8]),
        (16, [7, 0, 15, 3, 11, 1, 5, 9, 13, 2, 4, 6, 8, 10, 12, 14]),
    ],
)
def test_coarse_to_fine(snippets, order):
    assert coarse_to_fine(snippets) == order


def test_names_load_no_torch():
    code = "import sys, avglance.systems; avglance.systems.SYSTEMS; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
