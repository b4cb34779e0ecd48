"""The best epoch: which it is, that its weights survive any stop, and when a training ends early."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import replace

import numpy as np
import pytest
from tests.training.worlds import make_loop, same, weights

from avglance.errors import ArgumentError, CheckpointError
from avglance.training import TrainSettings, best
from avglance.training.exam import is_due
from avglance.training.resume import Place, newest, read_place
from avglance.training.runfolder import open_run, read_metrics
from avglance.training.validate import Answers

EPOCHS = 8  # the last stage has those from number 4 on
BEST = {0: 0.9, 4: 0.2, 5: 0.6, 6: 0.5, 7: 0.6}
EARLY = {4: 0.6, 5: 0.6, 6: 0.5, 7: 0.9}


@pytest.fixture
def scripted(cache, monkeypatch):
    """Trainings whose epochs are as good as a script says; ``seen`` holds the weights after each epoch."""
    seen = {}

    def make(out, script, **how):
        loop = make_loop(cache, out, epochs=EPOCHS, keep="best", **how)

        def merit(said, *, several):
            seen[loop.place.epoch] = weights(loop.system)
            return (script.get(loop.place.epoch, 0.0),)

        monkeypatch.setattr(best, "merit", merit)
        return loop

    return make, seen


def test_the_best_epoch_of_the_last_stage_becomes_the_model(scripted, tmp_path):
    make, seen = scripted
    told = []
    loop = make(tmp_path / "run", BEST, tell=told.append)
    loop.run()
    assert loop.place.kept == 5  # of equal ones the first; the first stage does not compete
    assert loop.place.epoch == EPOCHS
    assert sorted(seen) == [4, 5, 6, 7]
    assert same(weights(loop.system), seen[5])
    assert not same(seen[5], seen[7])
    assert [f.name for f in (tmp_path / "run/best").iterdir()] == ["000005.safetensors"]
    assert sum("the best so far" in t.text for t in told) == 2
    last = [row for row in read_metrics(tmp_path / "run") if row["kind"] == "validation"][5]
    found = loop.exam.said.scores.argmax(1) == loop.exam.said.targets.argmax(1)
    assert last["top1"] == pytest.approx(found.mean())  # the answers are those of the kept weights


@pytest.mark.parametrize("stop", [10, 12, 13, 16])
def test_a_stopped_run_still_has_its_best_weights(scripted, tmp_path, stop):
    make, _ = scripted
    whole = make(tmp_path / "whole", BEST)
    whole.run()
    out = tmp_path / "run"
    loop = make(out, BEST)
    step = loop._step

    def interrupted(*args):
        if loop.place.step + 1 == stop:
            os.kill(os.getpid(), signal.SIGINT)
        return step(*args)

    loop._step = interrupted
    with pytest.raises(KeyboardInterrupt):
        loop.run()
    again = make(out, BEST)
    again.run()
    assert again.place.kept == whole.place.kept
    assert same(weights(again.system), weights(whole.system))


def test_killed_between_the_best_weights_and_the_state_the_former_best_is_still_there(scripted, tmp_path):
    make, seen = scripted
    out = tmp_path / "run"
    loop = make(out, BEST)
    save = loop._save

    def killed():
        if loop.place.epoch == 6:  # number 5 was validated, its weights written
            raise RuntimeError("killed")
        save()

    loop._save = killed
    with pytest.raises(RuntimeError, match="killed"):
        loop.run()
    assert sorted(f.name[:6] for f in (out / "best").iterdir()) == ["000004", "000005"]
    assert read_place(newest(out / "resume")).kept == 4
    worse = make(out, {4: 0.2, 5: 0.1})  # as on another machine
    worse.run()
    assert worse.place.kept == 4
    assert same(weights(worse.system), seen[4])


def test_patience_ends_the_last_stage_and_only_that(scripted, tmp_path):
    make, seen = scripted
    told = []
    loop = make(tmp_path / "run", EARLY, patience=2, tell=told.append)
    loop.run()
    assert (loop.place.kept, loop.place.epoch, loop.place.step) == (4, 7, 14)
    assert same(weights(loop.system), seen[4])
    assert told[-1].text == "the training ends: 2 validations without a better one"
    again = make(tmp_path / "run", EARLY, patience=2)
    again._step = lambda *args: pytest.fail("trained on")
    again.run()
    assert same(weights(again.system), seen[4])
    assert (
        best.told(again.place) == "epoch 5 of 7, the best on held-out videos (mean average precision 0.600)"
    )


def test_best_weights_that_are_gone_or_broken_are_named(scripted, tmp_path):
    make, _ = scripted
    make(tmp_path / "run", BEST).run()
    file = tmp_path / "run/best/000005.safetensors"
    for spoil in (lambda: file.write_bytes(b"no"), file.unlink):
        spoil()
        with pytest.raises(CheckpointError, match="best weights cannot be read"):
            make(tmp_path / "run", BEST).run()


def test_a_full_disk_is_told(scripted, tmp_path, monkeypatch):
    make, _ = scripted

    def full(*args, **options):
        raise OSError("No space left on device")

    monkeypatch.setattr(best, "save_file", full)
    with pytest.raises(CheckpointError, match="No space left") as error:
        make(tmp_path / "run", BEST).run()
    assert "the same command goes on" in error.value.hint


def test_the_schedule_of_the_paper_can_be_said(cache, tmp_path):
    settings = TrainSettings("avgn", epochs=50, validate_every=5, validate_last=10)
    assert [e + 1 for e in range(50) if is_due(settings, e)] == [*range(5, 40, 5), *range(40, 51)]
    loop = make_loop(cache, tmp_path / "run", validate_every=3)
    loop.run()
    assert [r["epoch"] for r in read_metrics(tmp_path / "run") if r["kind"] == "validation"] == [2, 3]


def answers(scores, targets):
    blank = np.zeros((len(scores), 1))
    arrays = np.array(scores, float), blank, blank > 0, blank, blank, blank
    return Answers(*arrays, np.array(targets, float), np.ones(len(scores), bool))


def test_top1_decides_and_among_equals_the_surest():
    truth = [[1, 0], [0, 1]]
    sure, less, wrong = (
        best.merit(answers(scores, truth), several=False)
        for scores in ([[0.9, 0.1], [0.1, 0.9]], [[0.6, 0.4], [0.4, 0.6]], [[1.0, 0.0], [1.0, 0.0]])
    )
    assert sure > less > wrong
    assert np.isfinite(wrong).all()
    several = best.merit(answers([[0.9, 0.1], [0.1, 0.9]], [[1, 1], [0, 1]]), several=True)
    assert several == (1.0,)
    first = best.weigh(Place(), answers([[0.6, 0.4]], [[1, 0]]), several=False, keep=lambda epoch: None)
    assert (first.kept, first.waited) == (0, 0)
    assert best.weigh(first, answers([[0.5, 0.5]], [[1, 0]]), several=False, keep=pytest.fail).waited == 1


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"validate_every": 0}, "validate_every must be at least 1"),
        ({"validate_last": 0}, "validate_last must be at least 1"),
        ({"patience": -1}, "patience must be at least 0"),
        ({"keep": "first"}, "keep must be 'last' or 'best'"),
        ({"patience": 3}, "the last epoch is never the best one"),
        ({"keep": "best", "validation": 0.0}, "no video is held out"),
    ],
)
def test_settings_that_make_no_sense_are_refused(wrong, says):
    with pytest.raises(ArgumentError, match=says):
        TrainSettings("avgn_nano", **wrong)


def test_a_run_of_an_earlier_version_goes_on_and_one_of_another_keeping_does_not(tmp_path):
    from dataclasses import asdict

    settings = asdict(TrainSettings("colour", validation=0.1))
    said = {"settings": settings, "system_settings": {}, "data": {"sha256": "a"}, "versions": {}}
    said |= {"weights": {}, "device": "cpu", "threads": 1, "processes": 1}
    names = ("validate_every", "validate_last", "keep", "patience")
    before = said | {"settings": {k: v for k, v in settings.items() if k not in names}}
    (tmp_path / "run.json").write_text(json.dumps(before))
    assert open_run(tmp_path, said)[0]
    other = said | {"settings": settings | {"keep": "best"}}
    with pytest.raises(ArgumentError, match="keep was last, now best"):
        open_run(tmp_path, other)
    assert open_run(tmp_path, said | {"system_settings": {"familiar": 0}})[0]
    with pytest.raises(ArgumentError, match="familiar was 0, now 192"):
        open_run(tmp_path, said | {"system_settings": {"familiar": 192}})
    part = said | {"data": {"sha256": "a", "held_out": {"sha256": "b"}}}
    with pytest.raises(ArgumentError, match="the split that is held out is another one"):
        open_run(tmp_path, part)


def test_a_state_of_an_earlier_version_is_read(tmp_path):
    state = tmp_path / "000000003-000001"
    state.mkdir()
    (state / "state.json").write_text('{"stage": 0, "epoch": 1, "batch": 0, "step": 3, "seconds": 1.5}')
    assert read_place(state) == replace(Place(), epoch=1, step=3, seconds=1.5)
