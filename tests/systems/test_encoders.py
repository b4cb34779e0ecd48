"""The encoders of a system: by name, from files, frozen or at a rate of their own."""

from __future__ import annotations

import sys

import pytest
import torch
from safetensors.torch import save_file
from tests import checks

from avglance.errors import ArgumentError, CheckpointError
from avglance.parts.meter import Meter, row_macs
from avglance.parts.mobilenets import MOBILENETS, MobileNetV1Half, YAMNet
from avglance.systems import build, settings_of
from avglance.systems.base import Group, Stage
from avglance.systems.encoders import (
    build_encoder,
    check_frozen,
    encoders_of,
    load_encoders,
    make_brief,
    mobilenets_for,
    with_encoder_rate,
)
from avglance.systems.store import load_model, save_model
from avglance.training.rates import optimisers

MOBILE = {"glance_side": 48, "patch_side": 32}
NETS = {"picture": "mobilenetv1_050", "sound": "yamnet", "focus": "mobilenetv2_100_same"}
STAGED = {"glance_share": 0.3, "focus_share": 0.3}
SYSTEMS = {
    "avgn": {**MOBILE, **NETS},
    "avgn_nano": {**MOBILE, **NETS},
    "tsn": {"focus": "mobilenetv1_050", "sound": "yamnet"},
}


def mobile(name, **changes):
    """A small system with the new encoders, which stay fresh: no batch norm would tame stirred ones."""
    return checks.small_system(name, still=("encode_",), **{**SYSTEMS[name], **changes})


def weights_of(parts):
    return {name: x.clone() for name, x in parts.state_dict().items()}


def changed_parts(before, system):
    return {n.split(".")[0] for n, x in system.state_dict().items() if not torch.equal(x, before[n])}


def train_a_step(system, stage):
    """The top-level parts that a step of a stage changes."""
    before = weights_of(system)
    names = frozenset(n for n, p in system.named_parameters() if p.requires_grad)
    found = optimisers(system, stage, scale=1.0, trainable=names)
    clips = checks.make_clips(4, missing=False)
    terms = system.train().losses(clips, rng=torch.Generator().manual_seed(0), epoch=3)
    sum(terms.values()).backward()
    for optimiser in found:
        optimiser.step()
    system.zero_grad()
    for parameter in system.parameters():
        parameter.requires_grad_(True)
    for name, parameter in system.named_parameters():
        parameter.requires_grad_(name in names)
    return changed_parts(before, system)


# ---- by name ----


@pytest.mark.parametrize(("name", "kind"), list(MOBILENETS.items()))
def test_our_own_are_built_without_timm(name, kind, monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)  # an import of it would fail
    encoder = build_encoder(name, "sound" if name == "yamnet" else "focus", 48, pretrained=True)
    assert type(encoder) is kind


@pytest.mark.parametrize(
    ("name", "sense", "says"),
    [
        ("yamnet", "picture", "yamnet is an encoder of sounds, not for picture"),
        ("yamnet", "focus", "yamnet is an encoder of sounds, not for focus"),
        ("mobilenetv1_050", "sound", "mobilenetv1_050 is an encoder of pictures, not for sound"),
    ],
)
def test_an_encoder_of_another_sense_is_refused(name, sense, says):
    with pytest.raises(ArgumentError, match=says) as error:
        build_encoder(name, sense, pretrained=False)
    assert error.value.hint == f"without timm: small, {', '.join(mobilenets_for(sense))}"


def test_a_name_that_nothing_has_is_told_with_ours():
    with pytest.raises(ArgumentError, match="timm has no network 'yamnett'") as error:
        build_encoder("yamnett", "sound", pretrained=False)
    assert error.value.hint.endswith("without timm: small, yamnet")


# ---- in systems ----


@pytest.mark.parametrize("name", list(SYSTEMS))
@pytest.mark.parametrize(
    "check", [checks.check_losses, checks.check_groups, checks.check_gradients, checks.check_cost_is_counted]
)
def test_systems_with_them_pass_the_checks(name, check):
    extra = {"teacher": "fused"} if name == "avgn" else {}
    check(mobile(name, drop_sound=0.3, drop_pictures=0.2, **extra))


@pytest.mark.parametrize("name", list(SYSTEMS))
def test_they_train_a_step_and_recognise(name):
    system = mobile(name)
    changed = train_a_step(system, system.stages()[-1])
    assert {"encode_" + sense for sense in encoders_of(system)} <= changed
    system.eval()
    checks.check_muted(system)
    clips = checks.make_clips(3)
    with torch.no_grad():
        dense = system(clips, 2)
    checks.assert_same(dense, system.recognise(checks.view_of(system, clips), 2))


def test_their_cost_is_counted():
    system = build(
        "tsn", classes=5, focus="mobilenetv1_050", sound="yamnet", source_side=160, resize_side=182
    )
    assert row_macs(system.encode_focus, torch.zeros(1, 3, 160, 160)) == 76_012_800
    assert row_macs(system.encode_sound, torch.zeros(1, 1, 96, 64)) == 68_631_552


def test_a_model_folder_rebuilds_them_from_its_settings_alone(tmp_path):
    system = mobile("tsn", encoder_rate=0.0)
    names = [f"class {n}" for n in range(checks.C)]
    loaded = load_model(save_model(system, tmp_path / "m", classes=names, card={})).system
    assert isinstance(loaded.encode_sound, YAMNet)
    assert loaded.frozen == system.frozen
    clips = checks.make_clips(3)
    with torch.no_grad():
        checks.assert_same(system(clips, 2), loaded(clips, 2), tolerance=0)


# ---- a rate of their own ----


@pytest.mark.parametrize("name", list(checks.SMALL))
def test_the_usual_rate_leaves_the_recipe_as_it_is(name):
    stages = build(name, classes=5, **checks.SMALL[name]).stages()
    assert with_encoder_rate(stages, 1.0) is stages
    assert all("encode_" not in group.without for stage in stages for group in stage.groups)


RATES = [
    ("avgn", {}),
    ("avgn_nano", {}),
    ("avgn_nano", {"glance_share": 0.0, "focus_share": 0.0}),
    ("avgn_nano", {"glance_rate": 0.0}),
    ("tsn", {}),
    ("tsn_nano", {}),
]


def rates(system, stage):
    """The rate of every parameter of a stage by its name."""
    names = {id(p): n for n, p in system.named_parameters()}
    found = [(names[id(p)], group.rate) for group in stage.groups for p in system.group_parameters(group)]
    assert len(found) == len(dict(found)), "a parameter in two groups"
    return dict(found)


@pytest.mark.parametrize(("name", "changes"), RATES)
@pytest.mark.parametrize("share", [0.0, 0.25, 2.0])
def test_only_the_encoders_rates_change(name, changes, share):
    usual, turned = (
        build(name, classes=5, **{**checks.SMALL[name], **changes, "encoder_rate": rate})
        for rate in (1.0, share)
    )
    for stage, other in zip(usual.stages(), turned.stages(), strict=True):
        assert (stage.name, stage.epochs_share, stage.batch) == (other.name, other.epochs_share, other.batch)
        want = {
            n: rate * share if n.startswith("encode_") else rate
            for n, rate in rates(usual, stage).items()
            if share or not n.startswith("encode_")
        }
        assert rates(turned, other) == pytest.approx(want)


def test_groups_are_parted_by_their_names():
    def parted(*part):
        (stage,) = with_encoder_rate([Stage("x", (Group(part, "sgd", 2.0, 0.0, "cosine"),))], 0.5)
        return [(group.part, group.without, group.rate) for group in stage.groups]

    assert parted("") == [(("",), ("encode_",), 2.0), (("encode_",), (), 1.0)]
    assert parted("encode_focus") == [(("encode_focus",), (), 1.0)]
    assert parted("encode_sound", "no_") == [(("no_",), ("encode_",), 2.0), (("encode_sound",), (), 1.0)]
    assert parted("head") == [(("head",), ("encode_",), 2.0)]


@pytest.mark.parametrize("rate", [-0.1, float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["avgn", "tsn"])
def test_rates_that_cannot_be(name, rate):
    with pytest.raises(ArgumentError, match="encoder_rate must be at least 0, got"):
        settings_of(name, encoder_rate=rate)


# ---- frozen ----


@pytest.mark.parametrize(
    ("name", "changes"),
    [("avgn", {}), ("avgn", {"teacher": "fused"}), ("avgn_nano", {}), ("tsn", {}), ("tsn_nano", {})],
)
def test_frozen_encoders_stay_and_all_else_learns(name, changes):
    system = checks.small_system(name, encoder_rate=0.0, **changes)
    kept = {sense: weights_of(encoder) for sense, encoder in encoders_of(system).items()}
    learned = set()
    for stage in system.stages():
        learned |= train_a_step(system, stage)
    for sense, encoder in encoders_of(system).items():
        assert not encoder.training
        now = weights_of(encoder)  # the statistics of batch norm too
        assert all(torch.equal(x, now[key]) for key, x in kept[sense].items())
    others = {n.split(".")[0] for n, _ in system.named_parameters()} - {"no_picture", "no_sound"}
    assert others - learned == {"encode_" + sense for sense in kept}
    checks.check_groups(system)
    checks.check_gradients(
        checks.small_system(name, encoder_rate=0.0, drop_sound=0.3, drop_pictures=0.2, **changes)
    )


def test_the_stages_of_frozen_encoders_teach_what_they_are_for():
    system = mobile("avgn_nano", encoder_rate=0.0, **STAGED)
    glance, focus, whole = system.stages()
    heads = {"head_picture", "head_sound", "saliency"}
    assert heads <= train_a_step(system, glance) <= heads | {"no_picture", "no_sound", "head_fused"}
    assert (
        {"head_focus", "classifier"}
        <= train_a_step(system, focus)
        <= {"head_focus", "classifier", "head_fused"}
    )
    assert heads | {"head_focus", "classifier", "policy", "attention"} <= train_a_step(system, whole)


def test_the_policy_learns_through_a_frozen_focus():
    system = checks.small_system("avgn", encoder_rate=0.0)  # by the gradient of the crop
    assert {"policy", "attention"} <= train_a_step(system, system.stages()[0])


def test_what_would_stay_random_is_named():
    system = build("tsn", classes=5, focus="mobilenetv1_050", sound="yamnet", encoder_rate=0.0)
    every = list(system.state_dict())
    with pytest.raises(ArgumentError, match="and focus and sound would stay random"):
        check_frozen(system, fresh=every, filled=())
    with pytest.raises(ArgumentError, match="and sound would stay random") as error:
        check_frozen(system, fresh=every, filled=("focus",))
    assert "--weights" in error.value.hint
    check_frozen(system, fresh=every, filled=("focus", "sound"))
    check_frozen(system, fresh=["head.0.weight"], filled=())
    with pytest.raises(ArgumentError, match="and focus would stay random"):
        check_frozen(system, fresh=[next(n for n in every if n.startswith("encode_focus."))], filled=())
    check_frozen(checks.small_system("tsn"), fresh=every, filled=())


# ---- from files ----


def write(path, encoder):
    save_file({name: x.contiguous() for name, x in encoder.net.state_dict().items()}, path)
    return path


def test_encoders_are_filled_by_their_senses(tmp_path):
    torch.manual_seed(5)
    sound, look = YAMNet(), MobileNetV1Half()
    files = {"sound": write(tmp_path / "a", sound), "focus": str(write(tmp_path / "b", look))}
    system = mobile("tsn")
    sums = load_encoders(system, files)
    assert set(sums) == {"sound", "focus"}
    assert len(set(sums.values())) == 2
    for given, taken in ((sound, system.encode_sound), (look, system.encode_focus)):
        assert all(torch.equal(x, given.net.state_dict()[n]) for n, x in taken.net.state_dict().items())


def test_senses_and_encoders_that_take_no_weights(tmp_path):
    path = write(tmp_path / "net.safetensors", YAMNet())
    with pytest.raises(ArgumentError, match="tsn has no encoder called 'picture'") as error:
        load_encoders(mobile("tsn"), {"picture": path})
    assert error.value.hint == "it has: focus, sound"
    with pytest.raises(
        ArgumentError, match="the sound encoder 'small' takes no weights from a file"
    ) as error:
        load_encoders(checks.small_system("tsn_nano"), {"sound": path})
    assert error.value.hint == "set sound to yamnet"
    with pytest.raises(CheckpointError, match="of MobileNetV1Half are missing"):
        load_encoders(mobile("tsn"), {"focus": path})


@pytest.mark.parametrize("name", list(SYSTEMS))
def test_brief_encoders_answer_nearly_the_same_in_float32(name):
    system, clips = mobile(name), checks.make_clips(3, missing=False)
    view = checks.view_of(system, clips)
    meters = Meter(3), Meter(3)
    plain = system.recognise(view, 3, meter=meters[0])
    make_brief(system)
    brief = system.recognise(view, 3, meter=meters[1])
    assert brief.scores.dtype == plain.scores.dtype
    assert not torch.equal(brief.evidence, plain.evidence)
    torch.testing.assert_close(brief.evidence, plain.evidence, rtol=0, atol=0.05)
    spent = [{stage: rows.tolist() for stage, rows in meter.macs.items()} for meter in meters]
    assert spent[0] == spent[1]
