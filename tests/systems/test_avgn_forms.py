"""The other forms of AVGN's pieces: each trains a step, answers alike dense and sparse, does what it says."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from tests import checks

from avglance.errors import ArgumentError
from avglance.parts.meter import Meter
from avglance.systems import avgn_losses
from avglance.systems.base import Steering, behind, coarse_to_fine
from avglance.training.rates import optimisers, set_rates

FORMS = [
    {"aim_form": "a2"},
    {"aim_form": "b"},
    {"aim_form": "c"},
    {"policy": "recurrent", "policy_width": 8},
    {"patch": "random"},
    {"patch": "centre"},
    {"patch": "whole"},
    {"patch": "none"},
    {"order": "time"},
    {"order": "coarse"},
    {"order": "random"},
    {"saliency_form": "s2"},
    {"saliency_form": "s3"},
    {"ordered_form": "o2"},
    {"masked_form": "m2"},
    {"masked_form": "m2", "aim_form": "a2"},
    {"random_branch": False},
    {"fusion_rank": 3},
    {"train_looks": 2},
    {"familiar": 5},
    {"see": False},
    {"hear_choose": False},
    {"hear_aim": False},
    {"hear_answer": False},
]


def named(changes):
    return "-".join(f"{name}_{value}" for name, value in changes.items())


def one_step(system, stage, clips):
    """The parts that one step of a stage changes."""
    before = {name: p.detach().clone() for name, p in system.named_parameters()}
    trainable = frozenset(before)
    found = optimisers(system, stage, scale=1.0, trainable=trainable)
    set_rates(found, 5, 10)
    terms = system.train().losses(clips, rng=torch.Generator().manual_seed(0), epoch=3)
    sum(terms.values()).backward()
    for optimiser in found:
        optimiser.step()
    for p in system.parameters():
        p.grad = None
    changed = {n.split(".")[0] for n, p in system.named_parameters() if not torch.equal(p, before[n])}
    return changed, terms


@pytest.mark.parametrize("changes", FORMS, ids=named)
def test_every_form_answers_alike_dense_and_sparse(changes):
    system = checks.small_system("avgn_nano", **changes)
    for videos in (1, 5):
        checks.check_dense_is_sparse(system, videos)
    checks.check_batch_order(system)


@pytest.mark.parametrize("changes", FORMS, ids=named)
def test_every_form_trains_a_step_and_recognises(changes):
    system = checks.small_system("avgn_nano", **changes)
    changed, terms = one_step(system, system.stages()[-1], checks.make_clips(4))
    assert all(torch.isfinite(term) for term in terms.values())
    assert "classifier" in changed or not system.settings.switches.see
    assert ("encode_focus" in changed) == (changes.get("patch") != "none" and changes.get("see", True))
    system.eval()
    found = system.recognise(checks.view_of(system, checks.make_clips(2)), 2)
    torch.testing.assert_close(found.scores.sum(1), torch.ones(2))


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"aim_form": "a2"}, ("attention", "policy")),
        ({"aim_form": "b"}, ("attention", "policy")),
        ({"aim_form": "c"}, ("attention", "policy")),
        ({"policy": "recurrent", "policy_width": 8}, ("policy",)),
        ({"masked_form": "m2", "aim_form": "a2"}, ("hidden_cells", "attention")),
        ({"masked_form": "m2"}, ("hidden_cells", "attention")),
        ({"saliency_form": "s2"}, ("saliency",)),
        ({"saliency_form": "s3"}, ("saliency",)),
        ({"ordered_form": "o2"}, ("saliency",)),
        ({"fusion_rank": 3}, ("classifier",)),
        ({"hear_aim": False}, ("policy",)),
    ],
    ids=lambda value: named(value) if isinstance(value, dict) else "",
)
@pytest.mark.parametrize("optimiser", ["adamw", "sgd"])
def test_what_a_form_is_made_of_gets_a_gradient(changes, parts, optimiser):
    shares = {"glance_share": 0.0, "focus_share": 0.0}
    system = checks.small_system("avgn_nano", **(shares | {"optimiser": optimiser} | changes))
    one_step(system, system.stages()[-1], checks.make_clips(4))  # what starts as the identity wakes up
    terms = system.train().losses(checks.make_clips(4), rng=torch.Generator().manual_seed(0), epoch=3)
    sum(terms.values()).backward()
    for part in parts:
        found = [p.grad for p in getattr(system, part).parameters() if p.requires_grad]
        assert any(g is not None and bool((g != 0).any()) for g in found), part


@pytest.mark.parametrize("changes", FORMS, ids=named)
@pytest.mark.parametrize("optimiser", ["adamw", "sgd"])
def test_every_weight_belongs_to_a_stage(changes, optimiser):
    shares = {} if optimiser == "adamw" else {"glance_share": 0.0, "focus_share": 0.0}
    system = checks.small_system("avgn_nano", **({"optimiser": optimiser} | shares | changes))
    everything = frozenset(name for name, _ in system.named_parameters())
    trained = set()
    for stage in system.stages():
        optimisers(system, stage, scale=1.0, trainable=everything)
        trained |= {name for name, p in system.named_parameters() if p.requires_grad}
    assert trained == everything


def test_a_video_without_pictures_is_not_always_met_at_the_same_snippets():
    system = checks.small_system("avgn_nano", see=False, train_looks=2)
    none, met = torch.zeros(1, checks.T) > 0, set()
    for seed in range(60):
        rng = torch.Generator().manual_seed(seed)
        score = torch.rand(1, checks.T, generator=rng)
        (row,) = avgn_losses.training_order(system, score, none, rng=rng, epoch=9).tolist()
        assert len(set(row)) == 2
        met |= set(row)
    assert met == set(range(checks.T))


def test_what_is_not_visible_stands_behind_all_that_is():
    score = torch.tensor([[0.1, 0.9, -3.0, 0.5]])
    visible = torch.tensor([[True, False, True, False]])
    order = behind(score, visible).sort(1, descending=True).indices
    assert order.tolist() == [[0, 2, 1, 3]]
    assert torch.equal(behind(score, visible)[visible], score[visible])


def test_hidden_cells_wait_until_aespa_is_trained():
    system = checks.small_system("avgn_nano", masked_form="m2", glance_share=0.3, focus_share=0.2)
    clips = checks.make_clips(4, missing=False)
    found = ["masked" in one_step(system, stage, clips)[1] for stage in system.stages()]
    assert found == [False, False, True]


def test_the_glance_may_stay_as_it_is():
    shares = {"glance_share": 0.0, "focus_share": 0.2}
    system = checks.small_system("avgn_nano", glance_rate=0.0, **shares)
    stages = system.stages()
    assert [stage.name for stage in stages] == ["focus", "all"]
    clips = checks.make_clips(4, missing=False)
    changed, terms = one_step(system, stages[-1], clips)
    assert not {
        part for part in changed if part.startswith(("encode_picture", "encode_sound", "saliency", "no_"))
    }
    assert {"encode_focus", "policy", "classifier"} <= changed
    assert not {"saliency", "ordered", "masked", "picture", "sound"} & set(terms)
    assert [g.rate for g in checks.small_system("avgn_nano", **shares).stages()[-1].groups] == pytest.approx(
        [0.3 * system.settings.rate, system.settings.rate]
    )


def test_without_a_close_look_there_is_no_stage_for_it():
    for changes in ({"see": False}, {"patch": "none"}):
        system = checks.small_system("avgn_nano", glance_share=0.3, focus_share=0.2, **changes)
        shares = {stage.name: stage.epochs_share for stage in system.stages()}
        assert shares == pytest.approx({"glance": 0.3, "all": 0.7})


def test_orders_that_choose_nothing():
    clips = checks.make_clips(3, missing=False)
    for order, want in (("time", list(range(checks.T))), ("coarse", coarse_to_fine(checks.T))):
        system = checks.small_system("avgn_nano", order=order)
        found = system(clips, checks.T)
        assert found.order.tolist() == [want] * 3
        assert system(clips, 2).order.tolist() == [want[:2]] * 3
    system = checks.small_system("avgn_nano", order="random")
    (row,) = {tuple(row) for row in system(clips, checks.T).order.tolist()}
    assert sorted(row) == list(range(checks.T))
    rng = torch.Generator().manual_seed(0)
    drawn = avgn_losses.training_order(
        system, torch.zeros(8, checks.T), torch.ones(8, checks.T) > 0, rng=rng, epoch=9
    )
    assert len({tuple(row) for row in drawn.tolist()}) > 1, "training draws an order a video"


def test_without_a_close_look_no_patch_is_asked_for():
    system = checks.small_system("avgn_nano", patch="none")
    clips = checks.make_clips(4)
    view, meter = checks.RecordingView(clips, system.view_settings), Meter(4)
    found = system.recognise(view, 3, meter=meter)
    assert not view.places["patches"]
    assert not found.looked.any()
    assert found.boxes.isnan().all()
    assert not {"aim", "focus"} & {stage for stage, spent in meter.macs.items() if spent.any()}


def test_without_eyes_no_picture_is_asked_for_and_the_sound_head_answers():
    system = checks.small_system("avgn_nano", see=False)
    clips = checks.make_clips(3, missing=False)
    view = checks.RecordingView(clips, system.view_settings)
    found = system.recognise(view, 3)
    assert not view.places["pictures"]
    assert not view.places["patches"]
    with torch.no_grad():
        blind = dataclasses.replace(clips, visible=torch.zeros_like(clips.visible))
        checks.assert_same(found, system(blind, 3))


def test_the_whole_square_is_one_box():
    system = checks.small_system("avgn_nano", patch="whole")
    found = system(checks.make_clips(1), 2)
    torch.testing.assert_close(found.boxes[found.looked], torch.tensor([[0.0, 0.0, 1.0, 1.0]] * 2))


def test_fewer_looks_in_training_meet_the_salient_and_some_others():
    system = checks.small_system("avgn_nano", train_looks=3)
    score = torch.tensor([[0.1, 0.9, 0.3, 0.8] + [0.0] * (checks.T - 4)])
    visible, met = torch.ones(1, checks.T) > 0, set()
    for seed in range(40):
        rng = torch.Generator().manual_seed(seed)
        (row,) = avgn_losses.training_order(system, score, visible, rng=rng, epoch=9).tolist()
        assert row[:2] == [1, 3]
        assert len(row) == 3
        met.add(row[2])
    assert met == set(range(checks.T)) - {1, 3}, "every other snippet is met"
    assert len(system.classifier.heads) == 3
    assert system(checks.make_clips(2), checks.T).scores.shape[0] == 2, "K may still be T"


def test_no_random_branch_is_one_pass_of_the_classifier():
    passes = []
    for branch in (True, False):
        system = checks.small_system("avgn_nano", random_branch=branch)
        caught = []
        system.classifier.register_forward_hook(lambda module, given, out, caught=caught: caught.append(out))
        system.train().losses(checks.make_clips(2), rng=torch.Generator().manual_seed(0), epoch=3)
        passes.append(len(caught))
    assert passes == [2, 1]


def test_first_the_glance_then_the_focus_then_all():
    system = checks.small_system("avgn_nano", glance_share=0.3, focus_share=0.2)
    glance, focus, whole = system.stages()
    assert [s.epochs_share for s in (glance, focus, whole)] == pytest.approx([0.3, 0.2, 0.5])
    clips = checks.make_clips(4, missing=False)
    glances = {
        "encode_picture",
        "encode_sound",
        "saliency",
        "head_picture",
        "head_sound",
        "no_picture",
        "no_sound",
    }
    closely = {"encode_focus", "head_focus", "classifier"}
    changed, terms = one_step(system, glance, clips)
    assert changed <= glances | {"head_fused"}
    assert {"encode_picture", "encode_sound", "saliency"} <= changed
    assert not {"prefix", "focus"} & set(terms)
    changed, terms = one_step(system, focus, clips)
    assert changed <= closely | {"head_fused"}
    assert closely <= changed
    assert not {"picture", "sound", "saliency", "ordered", "masked"} & set(terms)
    changed, _ = one_step(system, whole, clips)
    assert glances | closely | {"policy"} <= changed | {"no_picture", "no_sound"}


def test_the_focus_learns_from_whole_squares_before_the_policy_does():
    system = checks.small_system("avgn_nano", glance_share=0.3, focus_share=0.2, train_looks=2)
    sides = []
    system.encode_focus.register_forward_hook(lambda module, given, out: sides.append(tuple(given[0].shape)))
    for stage in system.stages():
        sides.append(stage.name)
        one_step(system, stage, checks.make_clips(3, missing=False))
    small = system.settings.patch_side
    assert sides == ["glance", "focus", (6, 3, checks.S, checks.S), "all", (18, 3, small, small)]


# ---- parts of the truth told ----


def test_told_moments_come_first():
    system = checks.small_system("avgn_nano")
    clips = checks.make_clips(3, missing=False)
    moments = torch.zeros(3, checks.T, dtype=torch.bool)
    moments[:, [0, 2]] = True
    view = checks.view_of(system, clips)
    found = system.recognise(view, 2, told=Steering(moments=moments))
    assert torch.equal(found.looked, moments)
    plain = system.recognise(view, checks.T)
    more = system.recognise(view, 3, told=Steering(moments=moments))
    rest = [next(t for t in row if t not in (0, 2)) for row in plain.order.tolist()]
    assert more.order[:, 2].tolist() == rest, "then the most salient of the others"


def test_told_places_lie_in_the_middle_of_the_patch():
    system = checks.small_system("avgn_nano")
    clips = checks.make_clips(1, missing=False)
    centres = torch.full((1, checks.T, 2), torch.nan)
    centres[0, 0], centres[0, 1] = torch.tensor([0.5, 0.6]), torch.tensor([0.0, 1.0])
    view = checks.view_of(system, clips)
    found = system.recognise(view, checks.T, told=Steering(centres=centres))
    share = system.settings.patch_side / checks.S
    middle = torch.tensor([0.5, 0.6])
    want = torch.cat([middle - share / 2, middle + share / 2])
    torch.testing.assert_close(found.boxes[0, 0], want)
    torch.testing.assert_close(found.boxes[0, 1], torch.tensor([0.0, 1 - share, share, 1.0]))  # kept inside
    torch.testing.assert_close(found.boxes[0, 2], system.recognise(view, checks.T).boxes[0, 2])


# ---- encoders of the outlook ----


@pytest.mark.parametrize(
    ("name", "sides"),
    [("convnext_atto", {"patch_side": 32}), ("mixer_s32_224", {"patch_side": 32, "glance_side": 32})],
)
def test_other_encoders_train_a_step_and_recognise(name, sides):
    pytest.importorskip("timm")
    system = checks.small_system("avgn_nano", picture=name, sound=name, focus=name, **sides)
    changed, terms = one_step(system, system.stages()[-1], checks.make_clips(2, missing=False))
    assert {"encode_picture", "encode_sound", "encode_focus"} <= changed
    assert all(torch.isfinite(term) for term in terms.values())
    checks.check_dense_is_sparse(system.eval(), 2)
    assert system.whole_macs() > 0


# ---- settings that cannot be ----


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"aim_form": "d"}, "aim_form must be one of a1, a2, b, c"),
        ({"masked_form": "m2", "aim_form": "b"}, "form b has none"),
        ({"train_looks": 99}, "train_looks must be 1 to"),
        ({"fusion_rank": -1}, "fusion_rank must be at least 0"),
        ({"glance_rate": -0.1}, "glance_rate must be at least 0"),
        ({"optimiser": "sgd"}, "stages are there for adamw alone"),
        ({"saliency_form": "s3", "ordered_form": "o2"}, "nothing teaches the saliency"),
        ({"glance_share": 1.0}, r"glance_share must be in \[0, 1\)"),
        ({"glance_share": 0.6, "focus_share": 0.5}, "leave nothing"),
        (
            {"see": False, "hear_choose": False, "hear_aim": False, "hear_answer": False},
            "neither sees nor hears",
        ),
    ],
)
def test_settings_that_cannot_be(changes, match):
    with pytest.raises(ArgumentError, match=match):
        checks.small_system("avgn_nano", **changes)
