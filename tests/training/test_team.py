"""Several processes: one meeting with known numbers, and whole trainings started by a launcher."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tests.training.pair import ROWS, known
from tests.training.test_start import command, steps_saved
from tests.training.worlds import EPOCHS, make_loop, same, weights

from avglance.errors import ArgumentError
from avglance.training.draws import LOSSES, seed_of
from avglance.training.resume import newest, read_place
from avglance.training.runfolder import read_metrics
from avglance.training.team import Team
from avglance.training.validate import answers

ROOT = Path(__file__).resolve().parents[2]
WAIT_S = 900  # on a machine that does much else
posix = pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")


def here_only(**more: str) -> dict[str, str]:
    """The environment of processes that may speak to each other on this machine alone."""
    loop = [name for _, name in socket.if_nameindex() if name in ("lo", "lo0")] if os.name == "posix" else []
    own = {"GLOO_SOCKET_IFNAME": loop[0]} if loop else {}
    return {**os.environ, "OMP_NUM_THREADS": "1", **own, **more}


def launch(*words: object, processes: int = 2) -> subprocess.Popen[str]:
    """A launcher that finds its own port, on this machine."""
    run = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--local-addr", "127.0.0.1"]
    run += ["--nproc-per-node", str(processes), "-m", *map(str, words)]
    pipe = subprocess.PIPE
    return subprocess.Popen(run, stdout=pipe, stderr=pipe, text=True, cwd=ROOT, env=here_only())


def ended(process: subprocess.Popen[str], code: int | None = 0) -> tuple[str, str]:
    try:
        out, err = process.communicate(timeout=WAIT_S)
    except subprocess.TimeoutExpired:
        process.terminate()  # the launcher ends those it started
        raise
    assert code is None or process.returncode == code, err
    return out, err


# ---- one meeting ----


@pytest.fixture(scope="module")
def met(tmp_path_factory):
    folder = tmp_path_factory.mktemp("met")
    run = [sys.executable, "-m", "tests.training.pair", "meet", str(folder)]
    both = [
        subprocess.Popen(run, cwd=ROOT, env=here_only(RANK=str(rank), WORLD_SIZE="2")) for rank in range(2)
    ]
    assert [process.wait(timeout=WAIT_S) for process in both] == [0, 0]
    tensors = [load_file(folder / f"{rank}.safetensors") for rank in range(2)]
    said = [json.loads((folder / f"{rank}.json").read_text()) for rank in range(2)]
    return tensors, said, json.loads((folder / "left.json").read_text())


def test_gradients_are_those_of_the_whole_batch_whatever_the_shares(met):
    (mine, other), said, _ = met
    assert [row["rows"] for row in said] == [[0, 2, 4], [1, 3]]
    assert same(mine, other)
    module = known()
    module.loss(ROWS, odd=False).backward()
    torch.testing.assert_close(mine["gradient.body.weight"], module.body.weight.grad)
    loss = known().loss(ROWS, odd=False) + 0.4 * known().odd(ROWS[[1, 3]]).square().sum(1).mean()
    torch.testing.assert_close(mine["loss"], loss)
    torch.testing.assert_close(mine["half"], loss / 2)


def test_a_gradient_in_one_process_counts_as_nothing_in_the_others_and_none_stays_none(met):
    (mine, _), said, _ = met
    module = known()
    (0.4 * module.odd(ROWS[[1, 3]]).square().sum(1).mean()).backward()  # two of five videos
    torch.testing.assert_close(mine["gradient.odd.weight"], module.odd.weight.grad)
    assert not [name for name in mine if "never" in name or "frozen" in name]
    assert said[0]["never"]
    assert said[1]["never"]


def test_statistics_move_by_the_mean_of_the_moves_and_constants_not_at_all(met):
    (mine, _), _, _ = met
    want = 0.1 * ROWS.mean(0)  # the weighted mean of the means of the shares
    torch.testing.assert_close(mine["buffer.norm.running_mean"], want)
    shares = 0.6 * ROWS[[0, 2, 4]].var(0) + 0.4 * ROWS[[1, 3]].var(0)
    torch.testing.assert_close(mine["buffer.norm.running_var"], 0.9 + 0.1 * shares)
    assert torch.equal(mine["buffer.still"], torch.tensor([0.1, 1e8]))


def test_what_one_knows_all_know(met):
    _, said, left = met
    for row in said:
        assert row["stop"]
        assert row["any"] == [True, False]
        assert row["asked"] == [True, False]
        assert row["agree"] == ""
        assert "see different files" in row["differ"]
    assert [row["failed"] for row in said] == [
        "its own error",
        "another process of this training has stopped",
    ]
    assert left == "another process of this training has stopped"
    assert said[0]["seed"] == 11
    assert said[1]["seed"] not in (11, seed_of(11, LOSSES, 1))


def test_alone_nothing_is_sent_or_changed():
    team, module = Team(), known()
    before = team.before(module)
    loss = module.loss(ROWS, odd=False)
    loss.backward()
    own = [None if p.grad is None else p.grad for p in module.parameters()]
    terms, stop = team.meet(module, before, {"loss": loss}, videos=5, stop=True)
    assert all(a is b.grad for a, b in zip(own, module.parameters(), strict=True))
    assert torch.equal(terms["loss"], loss)
    assert stop
    assert team.first
    assert team.seed(5) == 5
    assert team.share([3, 1, 2]) == [3, 1, 2]
    team.check_batch(1)


def test_each_process_needs_two_videos_a_step():
    Team(0, 3).check_batch(6)
    with pytest.raises(ArgumentError, match="5 videos a step cannot be shared by 3 processes") as error:
        Team(2, 3).check_batch(5)
    assert "at least 6" in error.value.hint


# ---- whole trainings ----


def train_two(tiny, out, *, epochs=EPOCHS):
    """The weights after a training in two processes, the same in both."""
    ended(launch("tests.training.pair", "loop", tiny, out, epochs, 0))
    tensors = [load_file(out / f"whole.{rank}.safetensors") for rank in range(2)]
    assert same(*tensors)
    return tensors[0]


@pytest.mark.slow
def test_two_processes_learn_what_one_does_and_end_with_the_same_bits(cache, tiny, tmp_path):
    together = train_two(tiny, tmp_path / "two", epochs=60)
    said = [json.loads((tmp_path / f"two/whole.{rank}.json").read_text()) for rank in range(2)]
    assert said[0]["told"] > 0
    assert said[1]["told"] == 0
    assert [row["said"] for row in said] == [True, False]
    rows = read_metrics(tmp_path / "two")
    steps = [row["step"] for row in rows if row["kind"] == "train"]
    assert steps == sorted(set(steps))
    found = [row for row in rows if row["kind"] == "validation"]
    assert len(found) == 60
    alone = make_loop(cache, tmp_path / "one", batch=5, epochs=60, seed=3)
    alone.run()
    alone_rows = read_metrics(tmp_path / "one")
    assert not same(together, weights(alone.system))  # batch norm saw the shares: other bits
    losses = [[row["loss"] for row in part if row["kind"] == "train"] for part in (rows, alone_rows)]
    assert len(losses[0]) == len(losses[1])
    early = np.abs(np.subtract(*losses))[:10].mean()  # later they go their own ways
    assert early < 0.1 * np.mean(losses[1][:10])
    for found in (together, weights(alone.system)):  # held out are three videos: too few to tell
        alone.system.load_state_dict(found)
        said = answers(alone.system, alone.training, 2, device=torch.device("cpu"))
        first = said.targets.argmax(1) == 0
        assert said.scores[first, 0].min() > said.scores[~first, 0].max()  # the classes are told apart


@pytest.mark.slow
@posix
@pytest.mark.parametrize("stop", [2, 3])
def test_a_signal_to_one_stops_all_at_the_same_step_and_resuming_gives_the_same_bits(
    cache, tiny, tmp_path, stop
):
    whole = train_two(tiny, tmp_path / "whole")
    out = tmp_path / "stopped"
    ended(launch("tests.training.pair", "loop", tiny, out, EPOCHS, stop))
    said = [json.loads((out / f"stopped.{rank}.json").read_text()) for rank in range(2)]
    assert [row["step"] for row in said] == [stop, stop]
    assert read_place(newest(out / "resume")).step == stop
    assert len(list((out / "resume").iterdir())) == 1
    halves = [load_file(out / f"stopped.{rank}.safetensors") for rank in range(2)]
    assert same(*halves)
    assert same(train_two(tiny, out), whole)


@pytest.mark.slow
def test_patience_ends_all_processes_at_the_same_step(cache, tiny, tmp_path):
    out = tmp_path / "run"
    ended(launch("tests.training.pair", "loop", tiny, out, 10, 0, 2))
    said = [json.loads((out / f"whole.{rank}.json").read_text()) for rank in range(2)]
    assert [row["step"] for row in said] == [8, 8]  # one a step, eight epochs: five, and then one and two
    place = read_place(newest(out / "resume"))
    assert (place.kept, place.waited, place.epoch) == (5, 2, 8)
    first = load_file(out / "whole.0.safetensors")
    assert same(first, load_file(out / "best/000005.safetensors"))
    ended(launch("tests.training.pair", "loop", tiny, out, 10, 0, 2))  # resumed behind its end
    again = [json.loads((out / f"whole.{rank}.json").read_text()) for rank in range(2)]
    assert [row["step"] for row in again] == [8, 8]
    assert same(first, load_file(out / "whole.0.safetensors"))


@pytest.mark.slow
@posix
def test_the_command_in_two_processes_is_stopped_and_goes_on_to_the_same_bits(tiny, tmp_path):
    def words(out):
        asked = command(tiny, out)[2:]
        place = asked.index("--batch")
        return [*asked[:place], "--batch", "5", *asked[place + 2 :]]

    whole, out = tmp_path / "whole", tmp_path / "run"
    told = ended(launch(*words(whole)))[1]
    assert "in 2 processes" in told
    assert told.count("videos to train on") == 1
    run = json.loads((whole / "run.json").read_text())
    assert run["processes"] == 2
    assert json.loads((whole / "model/card.json").read_text())["processes"] == 2
    process = launch(*words(out))
    end = time.monotonic() + WAIT_S
    while steps_saved(out) < 2:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)  # the launcher sends it on to each
    ended(process, code=None)
    assert process.returncode != 0
    assert not (out / "model").exists()
    assert 2 <= steps_saved(out) < 5
    ended(launch(*words(out)))
    ours, theirs = (load_file(folder / "model/model.safetensors") for folder in (out, whole))
    assert same(ours, theirs)


@pytest.mark.slow
def test_what_is_wrong_for_the_first_ends_all_of_them(tiny, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run/letter.txt").write_text("dear")
    asked = command(tiny, tmp_path / "run")[2:]
    asked[asked.index("--batch") + 1] = "4"
    _, told = ended(launch(*asked), code=1)
    assert "holds something else" in told
    assert "bug of ours" not in told
    asked[asked.index("--batch") + 1] = "3"
    _, told = ended(launch(*asked), code=1)
    assert "3 videos a step cannot be shared by 2 processes" in told
