"""The loop: stages, resuming to the last bit wherever it stopped, interrupts, and what it writes."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.training.worlds import EPOCHS, make_loop, same, weights

from avglance.errors import ArgumentError, CheckpointError, DataError
from avglance.training import Told, TrainSettings, runfolder
from avglance.training.interrupt import one_interrupt
from avglance.training.resume import newest, read_place
from avglance.training.runfolder import read_metrics


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


def test_a_polite_request_to_end_is_kept_like_ctrl_c(cache, whole, tmp_path, monkeypatch):
    out = tmp_path / "run"
    loop = make_loop(cache, out)
    step = loop._step

    def asked(*args):
        signal.raise_signal(signal.SIGTERM)
        return step(*args)

    monkeypatch.setattr(loop, "_step", asked)
    handler = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt):
        loop.run()
    assert signal.getsignal(signal.SIGTERM) is handler
    assert read_place(newest(out / "resume")).step == 1
    again = make_loop(cache, out)
    again.run()
    assert same(weights(again.system), whole[0])


def test_ctrl_c_while_validating_does_not_wait_for_its_end(cache, whole, tmp_path, monkeypatch):
    out = tmp_path / "run"
    loop, seen = make_loop(cache, out), []
    loop.held_out.size = 1
    plain = loop.held_out.plain

    def counted():
        for clips in plain():
            seen.append(loop.place.step)
            if len(seen) == 2:
                signal.raise_signal(signal.SIGINT)
            yield clips

    monkeypatch.setattr(loop.held_out, "plain", counted)
    with pytest.raises(KeyboardInterrupt):
        loop.run()
    assert len(seen) == 2  # of three videos
    again = make_loop(cache, out)
    again.run()
    assert same(weights(again.system), whole[0])
    figures = [row for row in read_metrics(out) if row["kind"] == "validation"]
    assert figures == [row for row in whole[1] if row["kind"] == "validation"]


def test_a_patient_loop_takes_the_second_signal_for_the_first():
    with one_interrupt(patient=True) as asked:
        for number in (signal.SIGINT, signal.SIGINT, signal.SIGTERM):
            signal.raise_signal(number)
        assert asked.is_set()


def test_a_second_ctrl_c_does_not_wait(cache, tmp_path, monkeypatch):
    loop = make_loop(cache, tmp_path / "run")

    def twice(*args):
        for _ in range(2):  # raised in this thread: two sent to the process may arrive as one
            signal.raise_signal(signal.SIGINT)
        pytest.fail("went on")

    monkeypatch.setattr(loop, "_step", twice)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # what starts tests may ignore it
    try:
        with pytest.raises(KeyboardInterrupt):
            loop.run()
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_finished_loop_run_again_only_validates(cache, whole, tmp_path):
    first = make_loop(cache, tmp_path / "run")
    first.run()
    again = make_loop(cache, tmp_path / "run")
    again._step = lambda *args: pytest.fail("trained on")
    again.run()
    assert same(weights(again.system), whole[0])
    assert np.array_equal(again.exam.said.scores, first.exam.said.scores)


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


def test_gradients_of_an_earlier_stage_do_not_count_in_the_next(cache, tmp_path):
    loop = make_loop(cache, tmp_path / "run", held=False)
    loop.stages = loop.stages[::-1]
    step, norms = loop._step, []

    def watched(clips, stage, epoch):
        norm = step(clips, stage, epoch)
        head = [p.grad for p in loop.system.head.parameters()]
        norms.append((stage.name, norm, torch.cat([x.flatten() for x in head]).norm()))
        return norm

    loop._step = watched
    loop.run()
    assert [name for name, _, _ in norms] == ["all"] * 4 + ["head"] * 4
    for name, norm, of_head in norms:
        assert torch.isclose(norm, of_head) == (name == "head")


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


def test_what_was_begun_on_a_full_disk_takes_no_room(cache, tmp_path, monkeypatch):
    out = tmp_path / "run"
    loop = make_loop(cache, out)
    loop.run()
    state = newest(out / "resume")
    loop.place = replace(loop.place, step=99)
    monkeypatch.setattr(os, "fsync", lambda *a: (_ for _ in ()).throw(OSError(28, "No space left")))
    with pytest.raises(CheckpointError, match="No space left"):
        loop._save()
    assert list((out / "resume").iterdir()) == [state]
    monkeypatch.undo()
    loop._save()
    assert read_place(newest(out / "resume")).step == 99
    assert len(list((out / "resume").iterdir())) == 1


def test_a_remnant_at_the_same_place_is_replaced(cache, tmp_path):
    out = tmp_path / "run"
    loop = make_loop(cache, out)
    loop.run()
    (newest(out / "resume") / "state.safetensors").unlink()
    loop._save()
    make_loop(cache, out).run()


def test_metrics_that_cannot_be_written_are_told_with_the_file(cache, tmp_path):
    out = tmp_path / "run"
    (out / "metrics.jsonl").mkdir(parents=True)
    with pytest.raises(DataError, match="run folder cannot be written") as error:
        make_loop(cache, out).run()
    assert error.value.where == str(out / "metrics.jsonl")
    assert [p.name for p in out.iterdir()] == ["metrics.jsonl"]  # no part is left
    with pytest.raises(DataError, match="run folder cannot be written"):
        runfolder.add_metrics(out, {"loss": 1.0})


def test_a_gradient_that_is_no_number_is_never_saved(cache, tmp_path):
    loop = make_loop(cache, tmp_path / "run", save_s=0.0)
    own = loop.system.losses

    def steep(clips, **options):  # the loss is a number, its gradient is none
        zero = (loop.system.head.weight.sum() * 0.0).square().sqrt()
        return {**own(clips, **options), "steep": zero}

    loop.system.losses = steep
    with pytest.raises(ArgumentError, match="the gradient is nan after 1 steps"):
        loop.run()
    assert newest(tmp_path / "run" / "resume") is None


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
