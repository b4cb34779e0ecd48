"""Frozen encoders asked once: the same answers and losses as asking them each time, kept on disk."""

from __future__ import annotations

import json
import os
import shutil
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch
from tests import checks
from tests.training.test_encoder_weights import NETS, write
from tests.training.worlds import CLASSES, NANO

from avglance.data.cache import Cache, build_cache
from avglance.data.records import read_dataset
from avglance.errors import ArgumentError, DataError
from avglance.parts.clips import Clips, blank
from avglance.parts.mobilenets import MobileNetV1Half, YAMNet
from avglance.systems import build
from avglance.systems.encoders import encoders_of
from avglance.systems.store import load_model, save_model
from avglance.training import TrainSettings, train
from avglance.training.features import FeatureCache, build_features, features_folder

FROZEN = {"encoder_rate": 0.0, "dropout": 0.0, "drop_sound": 0.0, "drop_pictures": 0.0}
CPU = torch.device("cpu")


def known(system, clips):
    """The batch with what the system knows of it, and nothing else to see or hear."""
    return replace(
        clips,
        pictures=blank(*clips.pictures.shape, dtype=torch.uint8),
        sounds=blank(*clips.sounds.shape, dtype=torch.float32),
        known=system.know(clips),
    )


@pytest.mark.parametrize("name", ["avgn_nano", "avgn_mobile", "tsn_nano", "tsn_mobile"])
def test_what_is_known_answers_as_the_videos_do(name):
    system, clips = checks.small_system(name, encoder_rate=0.0), checks.make_clips(7)
    with torch.no_grad():
        for k in (1, 4):
            checks.assert_same(system(known(system, clips), k), system(clips, k), tolerance=1e-4)


@pytest.mark.parametrize("share", [0.0, 0.5], ids=["policy", "focus alone"])
def test_the_losses_are_those_of_the_videos(share):
    """Patches of the policy and whole squares; random ones lie on cells and are left out."""
    shares = {"glance_share": 0.0, "focus_share": share}
    system = checks.small_system("avgn_nano", **FROZEN, **shares, random_branch=False)
    clips = checks.make_clips(7)
    if share:
        system.policy.requires_grad_(False)
    found = []
    for batch in (clips, known(system.eval(), clips)):
        rng = torch.Generator().manual_seed(0)
        found.append(system.train().losses(batch, rng=rng, epoch=3))
    assert found[0].keys() == found[1].keys()
    assert "prefix" in found[0]
    for term, value in found[0].items():
        torch.testing.assert_close(found[1][term], value, rtol=1e-4, atol=1e-5, msg=term)


def test_patches_that_may_lie_anywhere_cannot_be_known():
    clips = checks.make_clips(2)
    for changes in ({"policy": "recurrent"}, {"patch": "whole"}):
        with pytest.raises(ArgumentError, match="other places than the map's cells"):
            checks.small_system("avgn_nano", encoder_rate=0.0, **changes).know(clips)


# ---- on disk ----


@pytest.fixture
def frozen(tiny, tmp_path):
    """A small frozen system and a cache of its own."""
    torch.manual_seed(3)
    system = build("avgn_nano", classes=2, **NANO, **FROZEN).eval()
    dataset = read_dataset(tiny)
    build_cache(dataset, system.view_settings, tmp_path / "cache", workers=1)
    return system, Cache(dataset, system.view_settings, tmp_path / "cache")


def ask(system, cache, pictures):
    asked = []
    count = system.encode_sound.register_forward_hook(lambda *said: asked.append(len(said[2][1])))
    build_features(system, cache, pictures=pictures, device=CPU)
    count.remove()
    folder = features_folder(system, cache, pictures=pictures, precision="float32")
    return FeatureCache(cache, folder), sum(asked)


def test_items_are_what_the_encoders_say_of_the_drawn_pictures(frozen):
    system, cache = frozen
    features, _ = ask(system, cache, 3)
    rng = [np.random.default_rng(7) for _ in range(2)]
    one, other = cache.item(5, rng[0]), features.item(5, rng[1])
    says = system.know(Clips.stack([one]))
    assert np.array_equal(one["times"], other["times"])
    for name, tensor in says.items():
        torch.testing.assert_close(
            torch.from_numpy(other["known"][name]), tensor[0].half(), rtol=0, atol=2e-3
        )


def test_nothing_is_asked_twice_and_what_has_changed_is_asked_again(frozen):
    system, cache = frozen
    kept, first = ask(system, cache, 1)
    assert first == len(cache) * 4
    assert ask(system, cache, 1)[1] == 0
    files = sorted(kept.features.iterdir())
    files[2].write_bytes(files[2].read_bytes()[:100])
    files[3].unlink()
    assert ask(system, cache, 1)[1] == 2 * 4
    with torch.no_grad():
        next(system.encode_focus.parameters()).add_(0.1)  # other encoders are others' features
    assert ask(system, cache, 1)[1] == first
    assert ask(system, cache, 3)[1] == 3 * first


def test_another_question_has_other_features(frozen):
    """The weights of the encoders are the same: what is pooled, or left out as missing, is not."""
    system, cache = frozen
    folders = set()
    for changes in ({}, {"cells": 2}, {"hear_choose": False, "hear_aim": False, "hear_answer": False}):
        other = build("avgn_nano", classes=2, **NANO, **FROZEN, **changes)
        for sense, encoder in encoders_of(other).items():
            encoder.load_state_dict(encoders_of(system)[sense].state_dict())
        folders.add(features_folder(other, cache, pictures=1, precision="float32"))
    assert len(folders) == 3


def test_a_damaged_file_is_named(frozen):
    system, cache = frozen
    kept, _ = ask(system, cache, 1)
    file = sorted(kept.features.iterdir())[0]
    file.write_bytes(b"x")
    with pytest.raises(DataError, match=r"features of .*0\.mp4 cannot be read"):
        kept.item(0)


# ---- in a training ----


@pytest.fixture
def files(tmp_path):
    (tmp_path / "files").mkdir()
    kinds = {"picture": (MobileNetV1Half, 1), "sound": (YAMNet, 1), "focus": (MobileNetV1Half, 3)}
    return {s: write(tmp_path / f"files/{s}.safetensors", kind, seed) for s, (kind, seed) in kinds.items()}


def rows_of(out):
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def test_a_training_learns_the_same_from_features(tiny, files, tmp_path):
    """Of all three pictures a snippet, without random patches and with nothing moved."""
    data = tmp_path / "data"
    shutil.copytree(tiny, data, ignore=shutil.ignore_patterns(".cache"))
    (data / "dataset.json").write_text("{}")
    changes = {**NETS, **FROZEN, "focus": "mobilenetv1_050", "random_branch": False}
    asked = TrainSettings(system="avgn_nano", changes=changes, epochs=3, batch=4, seed=5, weights=files)
    told, found = [], {}
    for features in (0, 3):
        out = tmp_path / f"run{features}"
        train(data, replace(asked, features=features), out=out, device="cpu", workers=1, tell=told.append)
        found[features] = rows_of(out)
        assert load_model(out / "model").system.classes == 2
    assert any(one.phase == "features" and one.done == one.total == 12 for one in told)
    for one, other in zip(found[0], found[3], strict=True):
        assert one["kind"] == other["kind"]
        if one["kind"] == "train":
            assert other["loss"] == pytest.approx(one["loss"], rel=2e-2)


@pytest.mark.parametrize("gone", [False, True], ids=["start there", "start gone"])
def test_a_run_that_goes_on_asks_the_encoders_that_it_began_with(tiny, tmp_path, gone):
    """They came from a model, which a run that goes on does not read again."""
    torch.manual_seed(1)
    first = tmp_path / "first"
    save_model(build("avgn_nano", classes=2, **NANO), first, classes=CLASSES, card={"name": "first"})
    changes = {**NANO, **FROZEN}
    asked = TrainSettings("avgn_nano", changes, epochs=3, batch=4, seed=5, start=str(first), features=1)
    how = {"out": tmp_path / "run", "cache": tmp_path / "cache", "device": "cpu", "workers": 1}

    def stop(told):
        if "epoch 1: held out" in told.text:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train(tiny, asked, tell=stop, **how)
    if gone:
        shutil.rmtree(first)
    train(tiny, asked, **how)
    assert len(list((tmp_path / "cache").glob("features-*"))) == 1


def test_encoders_that_learn_cannot_be_asked_once(tiny, tmp_path):
    asked = TrainSettings(system="avgn_nano", changes=NANO, epochs=3, batch=4, features=1)
    with pytest.raises(ArgumentError, match="picture and sound and focus will be trained"):
        train(tiny, asked, out=tmp_path / "run", device="cpu")
    assert not (tmp_path / "run").exists()
    with pytest.raises(ArgumentError, match="features must be 0, 1 or 3"):
        replace(asked, features=2)
