"""Encoders that begin with weights from files: what is noted and told, and what is the same run."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tests.training.worlds import NANO

from avglance.errors import ArgumentError, CheckpointError
from avglance.parts.mobilenets import MobileNetV1Half, YAMNet
from avglance.systems.store import load_model
from avglance.training import TrainSettings, train

NETS = {**NANO, "glance_side": 48, "picture": "mobilenetv1_050", "sound": "yamnet", "encoder_rate": 0.1}


def write(path, kind, seed=1):
    torch.manual_seed(seed)
    save_file({name: x.contiguous() for name, x in kind().net.state_dict().items()}, path)
    return str(path)


@pytest.fixture
def files(tmp_path):
    (tmp_path / "files").mkdir()
    return {
        "picture": write(tmp_path / "files" / "look.safetensors", MobileNetV1Half),
        "sound": write(tmp_path / "files" / "hear.safetensors", YAMNet),
    }


def settings(files, **changes):
    return TrainSettings(
        system="avgn_nano", changes={**NETS, **changes}, epochs=3, batch=4, seed=5, weights=files
    )


def run(tiny, asked, out, told=None):
    tell = told.append if told is not None else None
    return train(tiny, asked, out=out, device="cpu", workers=1, tell=tell)


def test_a_run_notes_its_files_and_so_does_its_model(tiny, files, tmp_path):
    told, out = [], tmp_path / "run"
    model = run(tiny, settings(files), out, told)
    notes = [one.text for one in told]
    assert "the picture encoder begins as in look.safetensors" in notes
    assert "the sound encoder begins as in hear.safetensors" in notes
    want = {
        sense: {"file": Path(path).name, "sha256": hashlib.sha256(Path(path).read_bytes()).hexdigest()}
        for sense, path in files.items()
    }
    assert json.loads((out / "run.json").read_text())["weights"] == want
    loaded = load_model(model)
    assert loaded.card["weights"] == want
    assert loaded.system.settings.encoder_rate == 0.1
    assert "hear.safetensors" not in json.dumps(json.loads((out / "run.json").read_text())["system_settings"])


def test_the_same_run_goes_on_without_its_files_and_no_other_does(tiny, files, tmp_path):
    out = tmp_path / "run"
    run(tiny, settings(files), out)
    moved = {"picture": str(tmp_path / "moved"), "sound": str(tmp_path / "gone")}
    shutil.copy(files["picture"], moved["picture"])
    told = []
    assert run(tiny, settings(moved), out, told) == out / "model"
    assert not any("begins as in" in one.text for one in told)
    other = {**files, "sound": write(tmp_path / "other.safetensors", YAMNet, seed=2)}
    for wrong in (other, {"sound": files["sound"]}, {}):
        with pytest.raises(ArgumentError, match="its encoders began with other weights"):
            run(tiny, settings(wrong), out)


def test_frozen_encoders_leave_a_training_as_they_came(tiny, files, tmp_path):
    look = {"focus": write(tmp_path / "close.safetensors", MobileNetV1Half, seed=3)}
    asked = settings({**files, **look}, encoder_rate=0.0, focus="mobilenetv1_050")
    system = load_model(run(tiny, asked, tmp_path / "run")).system
    came = {"picture": (MobileNetV1Half, 1), "sound": (YAMNet, 1), "focus": (MobileNetV1Half, 3)}
    for sense, (kind, seed) in came.items():
        torch.manual_seed(seed)
        net = getattr(system, f"encode_{sense}").net.state_dict()
        assert all(torch.equal(x, net[name]) for name, x in kind().net.state_dict().items()), sense


def test_a_frozen_encoder_that_its_start_has_in_another_kind_is_refused(tiny, files, tmp_path):
    first = run(tiny, settings({}), tmp_path / "first")
    other = {**NANO, "glance_side": 48, "sound": "yamnet", "encoder_rate": 0.0}  # a small picture encoder
    asked = TrainSettings(system="avgn_nano", changes=other, epochs=3, batch=4, start=str(first))
    with pytest.raises(ArgumentError, match="and picture would stay random"):
        run(tiny, asked, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    run(tiny, replace(asked, changes={**NETS, "encoder_rate": 0.0}), tmp_path / "same")


def test_weights_come_over_those_of_a_start(tiny, files, tmp_path):
    first = run(tiny, settings({}), tmp_path / "first")
    told = []
    asked = replace(settings(files), start=str(first))
    run(tiny, asked, tmp_path / "run", told)
    notes = [one.text for one in told]
    begun = next(n for n, text in enumerate(notes) if "tensors begin as in" in text)
    assert notes.index("the sound encoder begins as in hear.safetensors") > begun


@pytest.mark.parametrize(
    ("changes", "weights", "error", "says"),
    [
        ({}, {"nose": "look"}, ArgumentError, "avgn_nano has no encoder called 'nose'"),
        ({}, {"focus": "look"}, ArgumentError, "the focus encoder 'small' takes no weights"),
        ({}, {"sound": "look"}, CheckpointError, "weights of YAMNet are missing"),
        ({}, {"sound": "absent"}, CheckpointError, "no such file of weights"),
        ({"encoder_rate": 0.0}, {"sound": "hear"}, ArgumentError, "picture and focus would stay random"),
    ],
)
def test_what_is_wrong_is_told_at_once(tiny, files, tmp_path, changes, weights, error, says):
    paths = {sense: str(tmp_path / "files" / f"{name}.safetensors") for sense, name in weights.items()}
    with pytest.raises(error, match=says):
        run(tiny, settings(paths, **changes), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_run_of_an_earlier_version_goes_on(tiny, tmp_path):
    """It says nothing of weights, nor of the encoders' rate, which was 1."""
    asked = TrainSettings(system="avgn_nano", changes=NANO, epochs=3, batch=4, seed=5)
    out = tmp_path / "run"
    run(tiny, asked, out)
    said = json.loads((out / "run.json").read_text())
    del said["weights"], said["settings"]["weights"], said["system_settings"]["encoder_rate"]
    (out / "run.json").write_text(json.dumps(said))
    assert run(tiny, asked, out) == out / "model"
    with pytest.raises(ArgumentError, match=r"encoder_rate was 1\.0, now 0\.5"):
        run(tiny, replace(asked, changes={**NANO, "encoder_rate": 0.5}), out)


def test_a_start_whose_encoder_does_not_fit_leaves_no_frozen_one_random(tiny, files, tmp_path):
    first = run(tiny, settings({}, encoder_rate=1.0, sound="small", picture="small"), tmp_path / "first")
    asked = settings({}, encoder_rate=0.0, sound="small")
    with pytest.raises(ArgumentError, match="as they are, and picture would stay random"):
        run(tiny, replace(asked, start=str(first)), tmp_path / "run")
    look = {"picture": files["picture"]}
    assert run(tiny, replace(asked, start=str(first), weights=look), tmp_path / "run").is_dir()
