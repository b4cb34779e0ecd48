"""A training that begins with the weights of a model: what is taken, what is told, what is the same run."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest
import torch
from tests.training.worlds import NANO

from avglance.errors import ArgumentError, CheckpointError
from avglance.systems import build
from avglance.systems.store import begin_from, load_model, save_model, weights_of
from avglance.training import TrainSettings, train

CLASSES = ("blue", "red")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "first"
    torch.manual_seed(1)
    save_model(build("avgn_nano", classes=2, **NANO), folder, classes=CLASSES, card={"name": "first"})
    return folder


def weights(system):
    return {name: x.clone() for name, x in system.state_dict().items()}


def test_all_that_fits_is_taken(model):
    torch.manual_seed(2)
    system = build("avgn_nano", classes=2, **NANO)
    count, fresh = begin_from(system, model)
    assert fresh == []
    given = weights(load_model(model).system)
    assert count == len(given)
    assert all(torch.equal(x, given[name]) for name, x in system.state_dict().items())


def test_heads_may_stay_fresh(model):
    torch.manual_seed(2)
    system = build("avgn_nano", classes=2, **NANO)
    before = weights(system)
    heads = {name for name in before if name.startswith("head_picture")}
    _, fresh = begin_from(system, model, heads=heads)
    assert set(fresh) == heads
    assert all(torch.equal(system.state_dict()[name], before[name]) for name in heads)


def test_numbers_that_always_fit_are_no_start(model):
    torch.manual_seed(2)
    system = build("avgn_nano", classes=2, **NANO)
    before = weights(system)
    matrices = {name for name, x in before.items() if x.ndim > 1}
    with pytest.raises(CheckpointError, match="fits avgn_nano"):
        begin_from(system, model, heads=matrices)
    assert all(torch.equal(system.state_dict()[name], x) for name, x in before.items())


def test_the_checksum_is_that_of_the_weights(model, tmp_path):
    checksum, classes = weights_of(model)
    assert checksum == load_model(model).sha256
    assert classes == CLASSES
    with pytest.raises(CheckpointError, match="no such model folder"):
        weights_of(tmp_path / "absent")


def settings(model):
    return TrainSettings(system="avgn_nano", changes=NANO, epochs=3, batch=3, seed=5, start=str(model))


def test_a_run_notes_what_it_began_with_and_goes_on_without_it(tiny, model, tmp_path):
    torch.set_num_threads(1)
    mine, told, out = tmp_path / "mine", [], tmp_path / "run"
    shutil.copytree(model, mine)
    train(tiny, settings(mine), out=out, device="cpu", workers=1, tell=told.append)
    said = json.loads((out / "run.json").read_text())
    assert said["start_sha256"] == weights_of(model)[0]
    (note,) = [one.text for one in told if "tensors begin as in" in one.text]
    assert "fresh" not in note
    again = replace(settings(mine), start=str(model))  # the same weights lie elsewhere too
    assert train(tiny, again, out=out, device="cpu", workers=1) == out / "model"
    shutil.rmtree(mine)
    assert train(tiny, settings(mine), out=out, device="cpu", workers=1) == out / "model"
    other = tmp_path / "other"
    torch.manual_seed(9)
    save_model(build("avgn_nano", classes=2, **NANO), other, classes=CLASSES, card={"name": "other"})
    with pytest.raises(ArgumentError, match="it began from another model"):
        train(tiny, settings(other), out=out, device="cpu", workers=1)
    with pytest.raises(ArgumentError, match="it began from another model"):
        train(tiny, replace(settings(other), start=None), out=out, device="cpu", workers=1)


def test_other_classes_leave_the_heads_fresh(tiny, tmp_path):
    torch.set_num_threads(1)
    folder, told = tmp_path / "first", []
    save_model(
        build("avgn_nano", classes=2, **NANO), folder, classes=("green", "red"), card={"name": "first"}
    )
    train(tiny, settings(folder), out=tmp_path / "run", device="cpu", workers=1, tell=told.append)
    (note,) = [one.text for one in told if "tensors begin as in" in one.text]
    assert "fresh: " in note
    assert "head" in note or "classifier" in note
