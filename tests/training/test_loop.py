"""The loop: stages, resuming to the last bit wherever it stopped, interrupts, and what it writes."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from tests.training.worlds import Colour

from avglance.errors import ArgumentError, CheckpointError
from avglance.training import Told, TrainSettings
from avglance.training.batches import Batches, split
from avglance.training.loop import Loop
from avglance.training.resume import newest, read_place
from avglance.training.runfolder import read_metrics

EPOCHS = 4


def make_loop(cache, out, *, tell=None, save_s=1e9, rate=0.05, held=True):
    out.mkdir(exist_ok=True)
    training, held_out = split(cache.records, 0.25, 3)
    with torch.random.fork_rng():
        torch.manual_seed(7)
        system = Colour(rate=rate)
    settings = TrainSettings(system="colour", epochs=EPOCHS, seed=3)
    return Loop(
        system,
        Accelerator(cpu=True),
        settings,
        out,
        training=Batches(cache, training, 4, seed=3, translate_px=2),
        held_out=Batches(cache, held_out, 4, seed=3) if held else None,
        k=2,
        save_s=save_s,
        tell=tell or (lambda told: None),
    )


def weights(system):
    return {name: x.clone() for name, x in system.state_dict().items()}


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[n], second[n]) for n in first)


@pytest.fixture(scope="module")
def whole(cache, tmp_path_factory):
    """A run without any stop: its final weights and its metrics."""
    torch.set_num_threads(1)
    out = tmp_path_factory.mktemp("whole") / "run"
    loop = make_loop(cache, out)
    loop.run()
    return weights(loop.system), read_metrics(out)


def test_a_run_repeats_to_the_last_bit_and_another_seed_does_not(cache, whole, tmp_path):
    loop = make_loop(cache, tmp_path / "again")
    loop.run()
    assert same(weights(loop.system), whole[0])
    other = make_loop(cache, tmp_path / "other")
    other.settings = TrainSettings(system="colour", epochs=EPOCHS, seed=4)
    other.run()
    assert not same(weights(other.system), whole[0])


@pytest.mark.parametrize("stop", range(1, 9))
def test_ctrl_c_after_any_step_leaves_a_run_that_ends_with_the_same_bits(
    cache, whole, tmp_path, stop, monkeypatch
):
    out = tmp_path / "run"
    loop, steps = make_loop(cache, out), 0
    step = loop._step

    def counted(*args):
        nonlocal steps
        steps += 1
        if steps == stop:
            os.kill(os.getpid(), signal.SIGINT)  # in the midst of a step
        return step(*args)

    monkeypatch.setattr(loop, "_step", counted)
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        loop.run()
    assert signal.getsignal(signal.SIGINT) is handler
    assert steps == stop  # the step was finished, and none begun
    assert read_place(newest(out / "resume")).step == stop
    again = make_loop(cache, out)
    again.run()
    assert again.place.step == again.total
    assert same(weights(again.system), whole[0])
    figures = [row for row in read_metrics(out) if row["kind"] == "validation"]
    assert figures == [row for row in whole[1] if row["kind"] == "validation"]
    ended = [row["step"] for row in read_metrics(out) if row["kind"] == "train"]
    assert ended == sorted(set(ended))  # no line twice


def test_a_second_ctrl_c_does_not_wait(cache, tmp_path, monkeypatch):
    loop = make_loop(cache, tmp_path / "run")

    def twice(*args):
        for _ in range(2):  # raised in this thread: two sent to the process may arrive as one
            signal.raise_signal(signal.SIGINT)
        pytest.fail("went on")

    monkeypatch.setattr(loop, "_step", twice)
    with pytest.raises(KeyboardInterrupt):
        loop.run()


def test_a_finished_loop_run_again_only_validates(cache, whole, tmp_path):
    first = make_loop(cache, tmp_path / "run")
    first.run()
    again = make_loop(cache, tmp_path / "run")
    again._step = lambda *args: pytest.fail("trained on")
    again.run()
    assert same(weights(again.system), whole[0])
    assert np.array_equal(again.said.scores, first.said.scores)


def test_stages_train_their_parts_only(cache, tmp_path):
    seen = []
    loop = make_loop(cache, tmp_path / "run", held=False)
    step = loop._step

    def watched(clips, stage, epoch):
        before = weights(loop.system)
        norm = step(clips, stage, epoch)
        trained = {n for n, p in loop.system.named_parameters() if not torch.equal(p, before[n])}
        seen.append((stage.name, {name.split(".")[0] for name in trained}))
        return norm

    loop._step = watched
    loop.run()
    half = len(seen) // 2
    assert seen[:half] == [("head", {"head"})] * half
    assert [name for name, _ in seen[half:]] == ["all"] * half
    assert set.union(*(parts for _, parts in seen[half:])) == {"body", "head"}  # and "unused" never


def test_it_learns_what_is_planted(cache, whole):
    losses = [row["loss"] for row in whole[1] if row["kind"] == "train"]
    figures = [row for row in whole[1] if row["kind"] == "validation"]
    assert losses[-1] < losses[0]
    assert [row["epoch"] for row in figures] == list(range(EPOCHS))
    assert {"top1", "map", "moment_recall", "k"} <= figures[-1].keys()
    for row in figures:  # there is a patch to judge where an event was looked at, and only there
        assert ("patch_hit" in row) == (row["moment_recall"] > 0)
    assert "top5" not in figures[-1]  # of two classes it says nothing


def test_each_saved_state_replaces_the_one_before(cache, tmp_path):
    out = tmp_path / "run"
    places = []

    def look(told: Told):
        state = newest(out / "resume")
        places.append(read_place(state).step if state else 0)
        assert len(list((out / "resume").glob("*"))) <= 1

    loop = make_loop(cache, out, tell=look, save_s=0.0)
    loop.run()
    assert places == sorted(places)
    assert places[-1] > 0


def test_a_half_written_state_is_not_read(cache, whole, tmp_path):
    out = tmp_path / "run"
    make_loop(cache, out).run()
    state = newest(out / "resume")
    (out / "resume" / ".000000099.1").mkdir()
    (out / "resume" / "000000099-000009").mkdir()  # a folder without its place file
    assert newest(out / "resume") == state


def test_a_damaged_state_is_named(cache, tmp_path):
    out = tmp_path / "run"
    make_loop(cache, out).run()
    file = newest(out / "resume") / "state.safetensors"
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(CheckpointError, match="damaged"):
        make_loop(cache, out).run()


def test_a_full_disk_is_named_and_the_state_before_stays(cache, tmp_path, monkeypatch):
    out = tmp_path / "run"
    loop = make_loop(cache, out)
    loop.run()
    state = newest(out / "resume")
    monkeypatch.setattr(Path, "mkdir", lambda *a, **k: (_ for _ in ()).throw(OSError(28, "No space left")))
    with pytest.raises(CheckpointError, match=r"cannot be written .*No space left"):
        loop._save()
    assert newest(out / "resume") == state


def test_a_loss_that_is_no_number_stops_the_run(cache, tmp_path):
    loop = make_loop(cache, tmp_path / "run")
    loop.system.losses = lambda clips, **_: {"class": loop.system.head.weight.sum() * float("nan")}
    with pytest.raises(ArgumentError, match="loss is nan"):
        loop.run()
    assert newest(tmp_path / "run" / "resume") is None


def test_metrics_lines_are_json_and_say_where_they_belong(whole, cache, tmp_path):
    rows = whole[1]
    train = [row for row in rows if row["kind"] == "train"]
    assert {"step", "epoch", "stage", "loss", "terms", "rate", "norm", "seconds"} <= train[0].keys()
    assert train[0]["terms"].keys() == {"class", "small"}
    assert train[0]["loss"] == pytest.approx(sum(train[0]["terms"].values()), rel=1e-4)
    assert json.dumps(rows)


def test_a_run_that_blows_up_saves_no_state(cache, tmp_path, monkeypatch):
    loop = make_loop(cache, tmp_path / "run", save_s=0.0)
    parameters = list(loop.system.parameters())

    def burst(clips, *, rng, epoch):
        return {"all": sum(p.sum() for p in parameters) * float("nan")}

    monkeypatch.setattr(loop.system, "losses", burst)
    with pytest.raises(ArgumentError, match="the loss is nan after 1 steps"):
        loop.run()
    assert newest(tmp_path / "run" / "resume") is None
