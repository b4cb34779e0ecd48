"""From a dataset folder to a model folder, and a real process that is killed in the midst of a run."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from tests.training.worlds import NANO, write_dataset

from avglance.errors import ArgumentError, DataError
from avglance.systems.store import load_model
from avglance.training import TrainSettings, machine, train
from avglance.training.runfolder import open_run
from avglance.training.team import Team

SETTINGS = TrainSettings(system="avgn_nano", changes=NANO, epochs=5, batch=3, seed=5, validation=0.25)


@pytest.fixture(scope="module")
def finished(tiny, tmp_path_factory):
    torch.set_num_threads(1)
    out = tmp_path_factory.mktemp("runs") / "whole"
    told = []
    state = torch.get_rng_state()
    model = train(
        tiny, SETTINGS, out=out, device="cpu", workers=1, command="avglance train x", tell=told.append
    )
    assert torch.equal(torch.get_rng_state(), state)  # the caller's random state is left alone
    return out, model, told


def test_a_run_ends_in_a_model_that_loads(finished):
    out, model, _ = finished
    assert model == out / "model"
    loaded = load_model(model)
    assert loaded.classes == ("blue", "red")
    assert loaded.system.toy is True
    card = loaded.card
    assert card["name"] == "avgn_nano.glanceworld"
    assert 0 < card["span_threshold"] < 1
    held = card["metrics"]["held_out"]
    assert held["videos"] == 3
    assert held["k"] == 1  # a quarter of 4 snippets
    assert {"top1", "map", "moment_recall", "span_iou"} <= held.keys()
    assert card["data"]["sha256"]
    assert card["license"]
    assert card["command"] == "avglance train x"


def test_the_run_folder_explains_itself(finished, tiny):
    out, _, _ = finished
    said = json.loads((out / "run.json").read_text())
    assert said["settings"]["epochs"] == 5
    assert said["system_settings"]["snippets"] == 4
    assert said["versions"]["torch"] == torch.__version__
    assert said["device"] == "cpu"
    assert said["threads"] == 1
    lists = json.loads((out / "data.json").read_text())
    assert sorted(lists["training"] + lists["held_out"]) == sorted(f"videos/{n}.mp4" for n in range(12))
    assert len(lists["held_out"]) == 3
    assert lists["sha256"] == said["data"]["sha256"]
    assert (out / "metrics.jsonl").is_file()


def test_the_scaling_of_the_rate_is_said_out_loud(finished):
    _, _, told = finished
    notes = [t.text for t in told if t.phase == "note"]
    scaled = r"stage \w+: rate .*0\.000375 \(meant for batches of 24: multiplied by 3/24\)"
    assert any(re.fullmatch(scaled, note) for note in notes)
    assert any(
        note.startswith("avgn_nano: 9 videos to train on, 3 held out, 5 epochs of 3 steps") for note in notes
    )
    steps = [t for t in told if t.phase == "train"]
    assert (steps[-1].done, steps[-1].total) == (15, 15)


def test_a_finished_run_is_left_as_it_is(finished, tiny):
    out, model, _ = finished
    before = (model / "model.safetensors").stat().st_mtime_ns
    told = []
    assert train(tiny, SETTINGS, out=out, device="cpu", workers=1, tell=told.append) == model
    assert "finished" in told[0].text
    assert (model / "model.safetensors").stat().st_mtime_ns == before


def test_other_settings_in_the_same_folder_are_refused_by_name(finished, tiny):
    out, _, _ = finished
    other = TrainSettings(**{**vars(SETTINGS), "seed": 6, "changes": {**NANO, "drop_sound": 0.5}})
    with pytest.raises(ArgumentError, match=r"seed was 5, now 6; drop_sound was 0.2, now 0.5") as error:
        train(tiny, other, out=out, device="cpu")
    assert error.value.where == str(out)


def test_a_folder_with_something_else_is_refused(tiny, tmp_path):
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(ArgumentError, match="something else"):
        train(tiny, SETTINGS, out=tmp_path, device="cpu")
    assert [p.name for p in tmp_path.iterdir()] == ["letter.txt"]


def test_wrong_values_are_named_before_anything_is_written(tiny, tmp_path):
    out = tmp_path / "run"
    with pytest.raises(ArgumentError, match="no setting 'drop_sonud'") as error:
        train(tiny, TrainSettings(system="avgn_nano", changes={"drop_sonud": 0.1}), out=out, device="cpu")
    assert "drop_sound" in error.value.hint
    with pytest.raises(ArgumentError, match="budget of 9"):
        train(tiny, TrainSettings(system="avgn_nano", changes=NANO, budget=9), out=out, device="cpu")
    with pytest.raises(DataError):
        train(tmp_path / "nothing", SETTINGS, out=out, device="cpu")
    assert not out.exists()


@pytest.mark.parametrize(
    "wrong",
    [{"epochs": 0}, {"batch": 0}, {"seed": -1}, {"validation": 1.0}, {"clip": -1.0}, {"precision": "fp8"}],
)
def test_settings_are_checked(wrong):
    with pytest.raises(ArgumentError, match=next(iter(wrong))):
        TrainSettings(**{"system": "avgn_nano", **wrong})


def command(tiny, out):
    options = [w for name, value in NANO.items() for w in ("--setting", name, str(value))]
    return [
        *(sys.executable, "-m", "avglance", "train", str(tiny), "--system", "avgn_nano", "--out", str(out)),
        *("--epochs", "5", "--batch", "3", "--seed", "5", "--validation", "0.25", "--device", "cpu"),
        *("--threads", "1", "--workers", "1", "--save-every", "0.00001", *options),
    ]


def kill_when(process, ready, sign):
    """Sends the signal once ``ready()``; the exit code."""
    end = time.monotonic() + 240
    while not ready():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end, "nothing to kill came up in time"
        time.sleep(0.005)
    process.send_signal(sign)
    process.wait(timeout=120)
    return process.returncode


def steps_saved(out):
    return max((int(p.name.split("-")[0]) for p in (out / "resume").glob("[0-9]*")), default=0)


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
@pytest.mark.parametrize(
    ("step", "sign", "code"),
    [(4, signal.SIGKILL, -signal.SIGKILL), (7, signal.SIGINT, 130), (9, signal.SIGTERM, 130)],
)
def test_a_stopped_process_goes_on_to_the_same_bits(finished, tiny, tmp_path, step, sign, code):
    out = tmp_path / "run"
    process = subprocess.Popen(
        command(tiny, out),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert kill_when(process, lambda: steps_saved(out) >= step, sign) == code
    _, told = process.communicate()
    assert "Traceback" not in told
    assert ("the same command goes on from here" in told) == (sign != signal.SIGKILL)
    assert step <= steps_saved(out) < 15
    assert not (out / "model").exists()
    train(tiny, SETTINGS, out=out, device="cpu", workers=1)
    ours, whole = (load_file(run / "model" / "model.safetensors") for run in (out, finished[0]))
    assert ours.keys() == whole.keys()
    assert all(torch.equal(ours[name], whole[name]) for name in whole)


def test_a_run_without_held_out_videos_ends_in_a_model_and_in_bf16_too(tiny, tmp_path):
    settings = replace(SETTINGS, validation=0.0, epochs=3, precision="bf16")
    told = []
    model = train(tiny, settings, out=tmp_path / "run", device="cpu", workers=1, tell=told.append)
    loaded = load_model(model)
    assert loaded.card["metrics"]["held_out"] == {}
    assert loaded.card["processes"] == 1
    lists = json.loads((tmp_path / "run/data.json").read_text())
    assert (len(lists["training"]), lists["held_out"]) == (12, [])
    assert all(x.dtype != torch.bfloat16 for x in loaded.system.state_dict().values())
    assert any("12 videos to train on, 0 held out" in t.text for t in told)


def test_a_model_that_cannot_be_written_is_told_and_written_the_next_time(tiny, tmp_path, monkeypatch):
    settings, out = replace(SETTINGS, epochs=3), tmp_path / "run"

    def full(*args, **options):
        raise SafetensorError("I/O error: No space left on device")

    monkeypatch.setattr("avglance.systems.store.save_file", full)
    with pytest.raises(DataError, match=r"cannot be written .*No space left") as error:
        train(tiny, settings, out=out, device="cpu", workers=1)
    assert "the same command goes on" in error.value.hint
    monkeypatch.undo()
    assert load_model(train(tiny, settings, out=out, device="cpu", workers=1)).classes == ("blue", "red")


def test_another_number_of_processes_is_told_but_no_hindrance(finished, tmp_path):
    said = json.loads((finished[0] / "run.json").read_text())
    out = tmp_path / "run"
    assert open_run(out, {**said, "processes": 2}) == (False, [])
    assert open_run(out, said) == (True, ["processes"])
    before = {name: value for name, value in said.items() if name != "processes"}
    (out / "run.json").write_text(json.dumps(before))  # of a version that knew of one process only
    assert open_run(out, said) == (True, [])
    assert open_run(out, {**said, "processes": 2}) == (True, ["processes"])


def test_threads_are_as_told_or_a_share_of_the_cores(monkeypatch):
    monkeypatch.setattr(machine, "_cores", lambda: 12)
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    machine.share_threads(Team(), None)
    assert torch.get_num_threads() == 1  # as it was
    machine.share_threads(Team(0, 4), None)
    assert torch.get_num_threads() == 3
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")  # the other two are on another machine
    machine.share_threads(Team(0, 4), None)
    assert torch.get_num_threads() == 6
    machine.share_threads(Team(0, 4), 2)
    assert torch.get_num_threads() == 2
    assert machine.readers(Team(0, 4)) == 1
    assert machine.readers(Team(0, 4, torch.device("cuda"))) == 6
    with pytest.raises(ArgumentError, match="threads must be at least 1"):
        machine.share_threads(Team(), 0)


def test_more_processes_than_gpus_are_refused_before_anything_is_asked_of_them(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    with pytest.raises(ArgumentError, match="2 processes for 1 CUDA devices"):
        machine.accelerator_for("auto")


def test_a_wrong_truth_file_is_told_before_the_first_epoch(tmp_path):
    data = write_dataset(tmp_path / "data", videos=4)
    for n in range(4):
        (data / f"truth/{n}.json").write_text("{}")
    settings = TrainSettings(**{**vars(SETTINGS), "batch": 2})
    told = []
    with pytest.raises(DataError, match="not a truth file"):
        train(data, settings, out=tmp_path / "run", device="cpu", workers=1, tell=told.append)
    assert not [t for t in told if t.phase == "train"]


def test_a_device_that_is_not_there_is_named(tiny, tmp_path):
    with pytest.raises(ArgumentError, match="device must be"):
        train(tiny, SETTINGS, out=tmp_path / "run", device="tpu")
    if not torch.cuda.is_available():
        with pytest.raises(ArgumentError, match="no CUDA device"):
            train(tiny, SETTINGS, out=tmp_path / "run", device="cuda")


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_a_run_on_a_gpu(tiny, tmp_path, precision):
    out = tmp_path / "run"
    asked = [word if word != "cpu" else "cuda" for word in command(tiny, out)]
    done = subprocess.run(
        [*asked, "--precision", precision], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    assert load_model(out / "model").card["device"].startswith("cuda")
