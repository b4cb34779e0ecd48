"""What a trained model finds out about itself: planted answers, a tiny system, and a training to its end."""

from __future__ import annotations

import dataclasses
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.training.worlds import NANO, Colour

from avglance.errors import DataError
from avglance.systems import build, settings_of
from avglance.systems.avgn import AVGN
from avglance.systems.avgn_settings import AVGNSwitches
from avglance.systems.calibration import KNOWN_SHARE, LOST_SHARE, Judgement
from avglance.systems.exits import HALVES, ExitTable
from avglance.systems.store import load_model
from avglance.training import TrainSettings, calibrate, train
from avglance.training.batches import Batches
from avglance.training.calibrate import Outcomes, card_entries, fit_familiar, outcomes

CPU = torch.device("cpu")


def planted(videos, *, seed=0, known=True):
    """Four looks of which each makes the answer surer; half as sure as they should be."""
    rng = np.random.default_rng(seed)
    logits = np.cumsum(rng.standard_normal((videos, 4, 5)), axis=1)
    label = rng.integers(0, 5, videos)
    saliency = 0.2 * rng.standard_normal((videos, 16))
    if known:
        logits[np.arange(videos), :, label] += 2.5 * np.arange(1, 5)
        saliency[np.arange(videos), rng.integers(0, 16, videos)] += 3 + rng.random(videos)
    powers = np.exp(0.5 * logits)
    truth = np.eye(5)[label] * known
    looks = np.full(videos, 4)
    return Outcomes(powers / powers.sum(-1, keepdims=True), saliency, truth, offered=looks, looked=looks)


def test_planted_answers_are_calibrated_and_noise_is_unknown():
    entries = card_entries(planted(300), planted(100, seed=1, known=False), 4, (10**9, 10**8))
    json.dumps(entries, allow_nan=False)
    scores, said, exits = entries["calibration"], entries["unknown"], entries["exits"]
    assert len(scores["temperature"]) == 4
    assert all(heat < 1 for heat in scores["temperature"])
    assert scores["ece"] < 0.05
    assert scores["videos"] == exits["videos"] == 300
    assert said["recognised"] >= 0.9
    assert said["right_lost"] < 0.06
    assert said["examples"] == 100
    assert exits["looks"] == sorted(exits["looks"])
    assert exits["gmacs"] == pytest.approx([1 + 0.1 * looks for looks in exits["looks"]])
    assert exits["top1"][-1] > exits["top1"][0]


def test_half_of_the_glance_first_where_that_is_cheaper():
    found, macs = planted(300), (10**9, 10**8)
    assert "in_halves" not in card_entries(found, None, 4, macs)["exits"]
    exits = card_entries(found, None, 4, macs, halved=found)["exits"]
    inner = ExitTable.from_card(exits).in_halves
    assert inner is not None
    assert inner.halves == HALVES
    assert inner.both[0] == 0, "after one look nobody has gone on"
    assert exits["in_halves"]["gmacs"] == pytest.approx([cost / 1e9 for cost in inner.macs(*macs)])
    worse = found.prefix[:, :, ::-1].copy()  # cheap, and wrong
    assert "in_halves" not in card_entries(found, None, 4, macs, halved=replace(found, prefix=worse))["exits"]
    never = replace(found, prefix=np.full_like(found.prefix, 0.2))
    never.prefix[:, -1] = found.prefix[:, -1]  # nothing is known until the last look: all are glanced at
    assert "in_halves" not in card_entries(found, None, 4, macs, halved=never)["exits"]


def test_who_can_tell_how_known_an_answer_is_goes_by_that_alone():
    rng, found = np.random.default_rng(5), planted(300)
    known = rng.normal(0, 1, (300, 4)) + np.arange(4)
    found, strange = replace(found, known=known), planted(100, seed=1, known=False)
    strange = replace(strange, known=rng.normal(-4, 1, (100, 4)) + np.arange(4))
    entries = card_entries(found, strange, 4, (10**9, 10**8))
    judge = Judgement.from_card(json.loads(json.dumps(entries["calibration"], allow_nan=False)), 5)
    assert len(judge.least_known) == 4
    assert np.diff(judge.least_known).min() > 0.5  # each look has a threshold of its own
    assert len(judge.least_scores) == 5  # for answers by ear alone
    assert entries["unknown"]["share"] == KNOWN_SHARE
    assert entries["unknown"]["recognised"] > 0.9
    assert 0 < entries["unknown"]["right_lost"] < 0.05
    for j in range(4):
        right = found.prefix[:, j].argmax(1) == found.truth.argmax(1)
        assert (known[right, j] < judge.least_known[j]).mean() <= KNOWN_SHARE


def test_what_could_not_be_measured_is_not_said():
    """Enough right answers for a threshold of all, too few for one of each half; none by ear alone."""
    found = replace(planted(60), known=np.random.default_rng(6).normal(0, 1, (60, 4)))
    card = card_entries(found, None, 4, (0, 1))
    assert None not in card["calibration"]["least_known"]
    assert card["unknown"]["right_lost"] is None
    deaf = replace(found, known=np.full((60, 4), np.inf))
    assert card_entries(deaf, None, 4, (0, 1))["calibration"]["least_known"] == [None] * 4


def test_a_system_learns_what_its_training_was_like(cache, monkeypatch):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        system = build("avgn_nano", classes=2, familiar=6, **NANO)
    seen = build_view(cache, system)
    assert not system.familiar.axes.any()
    before = {name: x.clone() for name, x in system.state_dict().items() if "familiar" not in name}
    own = Batches(seen, np.arange(5), 2)
    fit_familiar(system.train(), own, 2, device=CPU)  # untrained it is sure of nothing: the best looks count
    assert system.training
    assert system.familiar.axes.any()
    assert all(torch.equal(x, before[name]) for name, x in system.state_dict().items() if name in before)
    assert outcomes(system, own, 2, device=CPU).known.shape == (5, 4)


def test_a_system_that_answers_once_has_one_temperature_and_no_exits():
    found = planted(100)
    once = replace(found, prefix=found.prefix[:, -1:])
    entries = card_entries(once, None, 4, (0, 1))
    assert len(entries["calibration"]["temperature"]) == 1
    assert "exits" not in entries
    assert entries["unknown"]["recognised"] is None


def test_thresholds_are_of_the_scores_that_they_are_held_against():
    """Who looks at nothing closely has the scores of the system as they are, here and in an evaluation."""
    found = planted(300)
    right = found.prefix[:, -1].argmax(axis=1) == found.truth.argmax(axis=1)
    for looked in (found.looked, 0 * found.looked):
        card = card_entries(replace(found, looked=looked), None, 4, (0, 1))["calibration"]
        judge = Judgement.from_card(card, 5)
        lost = judge.unknown(judge.scores(found.prefix[:, -1], looked), found.saliency)[right]
        assert 0 < lost.mean() <= LOST_SHARE


def test_outcomes_are_the_dense_answers(cache):
    held = Batches(cache, np.arange(5), 2)
    found = outcomes(Colour(), held, 2, device=CPU)
    assert found.prefix.shape == (5, 1, 2)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        system = build("avgn_nano", classes=2, **NANO).train()
    seen = build_view(cache, system)
    found = outcomes(system, replace(held, cache=seen), 2, device=CPU)
    assert system.training
    assert found.prefix.shape == (5, 4, 2)
    assert found.truth.sum(1).tolist() == [1.0] * 5
    assert found.offered.tolist() == [4] * 5
    clips = next(iter(Batches(seen, np.arange(5), 5).plain()))
    with torch.no_grad():
        said = system.eval()(clips, 2).scores
    np.testing.assert_allclose(found.prefix[:, 1], said.numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "changes", "looked"),
    [
        ("avgn_nano", {}, 4),
        ("avgn_nano", {"switches": AVGNSwitches(patch="none")}, 0),
        ("avgn_nano", {"switches": AVGNSwitches(see=False)}, 0),
        ("tsn_nano", {}, 2),
    ],
)
def test_looks_are_counted_as_the_answer_of_a_file_counts_them(cache, name, changes, looked):
    """The temperature goes with them: thresholds must be of the scores that they are held against."""
    same = {key: value for key, value in NANO.items() if key in settings_fields(name)}
    system = build(name, classes=2, **same, **changes).eval()
    seen = build_view(cache, system)
    found = outcomes(system, Batches(seen, np.arange(5), 2), 2, device=CPU)
    assert found.looked.tolist() == [looked] * 5


def settings_fields(name):
    return {field.name for field in dataclasses.fields(settings_of(name))}


def build_view(cache, system):
    from avglance.data.cache import Cache, build_cache

    build_cache(cache.dataset, system.view_settings, cache.folder.parent, workers=1)
    return Cache(cache.dataset, system.view_settings, cache.folder.parent)


def test_too_few_videos_say_nothing(cache):
    assert calibrate.calibrate(Colour(), Batches(cache, np.arange(5), 2), None, 2, device=CPU) == {}


@pytest.fixture(scope="module")
def strange(tiny, tmp_path_factory):
    """The tiny dataset with two videos that show none of its classes."""
    folder = tmp_path_factory.mktemp("strange") / "data"
    shutil.copytree(tiny, folder, ignore=shutil.ignore_patterns(".cache"))
    with (folder / "manifest.jsonl").open("a") as manifest:
        for n in (0, 1):
            shutil.copy(folder / f"videos/{n}.mp4", folder / f"videos/strange{n}.mp4")
            manifest.write(json.dumps({"path": f"videos/strange{n}.mp4", "labels": ["unknown"]}) + "\n")
    return folder


def test_training_writes_it_on_the_card_and_strange_videos_train_nothing(strange, tmp_path, monkeypatch):
    monkeypatch.setattr(calibrate, "LEAST_VIDEOS", 2)
    settings = TrainSettings(system="avgn_nano", changes=NANO, epochs=3, batch=3, seed=5, validation=0.25)
    model = train(strange, settings, out=tmp_path / "run", device="cpu", workers=1)
    loaded = load_model(model)
    assert loaded.classes == ("blue", "red")
    assert loaded.card["unknown"]["examples"] == 2
    assert 1 <= len(loaded.card["exits"]["thresholds"][0]) <= 4
    assert len(loaded.card["calibration"]["temperature"]) == 4
    lists = json.loads((tmp_path / "run" / "data.json").read_text())
    assert not any("strange" in name for name in lists["training"] + lists["held_out"])


def test_strange_videos_may_train_and_are_no_examples_then(strange, tmp_path, monkeypatch):
    monkeypatch.setattr(calibrate, "LEAST_VIDEOS", 2)
    batches, usual = [], AVGN.losses

    def losses(self, clips, **how):
        batches.append(clips.targets)
        return usual(self, clips, **how)

    monkeypatch.setattr(AVGN, "losses", losses)
    how = {"epochs": 3, "batch": 4, "seed": 5, "validation": 0.25, "teach_unknown": True}
    model = train(
        strange,
        TrainSettings(system="avgn_nano", changes=NANO, **how),
        out=tmp_path / "run",
        device="cpu",
        workers=1,
    )
    lists = json.loads((tmp_path / "run" / "data.json").read_text())
    taught = sum("strange" in name for name in lists["training"])
    assert taught
    assert not any("strange" in name for name in lists["held_out"])
    assert load_model(model).card["unknown"]["examples"] == 2 - taught
    assert any((targets.sum(1) == 0).any() for targets in batches)


def test_unknown_stands_alone(strange, tmp_path):
    from avglance.data.records import read_dataset

    found = read_dataset(strange)
    assert found.classes == ("blue", "red")
    assert [r.labels for r in found.records if r.unknown] == [(), ()]
    shutil.copytree(strange, tmp_path / "both", ignore=shutil.ignore_patterns(".cache"))
    with (tmp_path / "both" / "manifest.jsonl").open("a") as manifest:
        shutil.copy(strange / "videos/0.mp4", tmp_path / "both/videos/two.mp4")
        manifest.write(json.dumps({"path": "videos/two.mp4", "labels": ["unknown", "red"]}) + "\n")
    with pytest.raises(DataError, match="none of the classes is there"):
        read_dataset(tmp_path / "both")


def planted_several(videos, *, seed=0, known=True):
    """Four looks of which each makes every yes or no surer; videos show one or two of five classes."""
    rng = np.random.default_rng(seed)
    truth = np.zeros((videos, 5))
    if known:
        truth[np.arange(videos), rng.integers(0, 5, videos)] = 1
        truth[np.arange(videos)[::2], rng.integers(0, 5, (videos + 1) // 2)] = 1
    noise = np.cumsum(rng.standard_normal((videos, 4, 5)), axis=1)
    odds = noise + 2.5 * np.arange(1, 5)[:, None] * (2 * truth[:, None] - 1)
    saliency = 0.2 * rng.standard_normal((videos, 16))
    saliency[np.arange(videos), rng.integers(0, 16, videos)] += (3 + rng.random(videos)) * known
    looks = np.full(videos, 4)
    return Outcomes(1 / (1 + np.exp(-0.5 * odds)), saliency, truth, offered=looks, looked=looks)


def test_planted_answers_of_several_labels_have_thresholds():
    known, strangers = planted_several(300), planted_several(100, seed=1, known=False)
    entries = card_entries(known, strangers, 4, (10**9, 10**8), labels="several")
    json.dumps(entries, allow_nan=False)
    scores, said, exits = entries["calibration"], entries["unknown"], entries["exits"]
    assert scores["f1"] > 0.95
    assert scores["ece"] < 0.05
    assert len(scores["threshold"]) == 5
    assert "least_score" not in scores
    assert said["recognised"] >= 0.9
    assert said["right_lost"] < 0.06
    assert exits["measure"] == "F1"
    assert exits["looks"] == sorted(exits["looks"])
    assert exits["top1"][-1] > exits["top1"][0]
    judge = Judgement.from_card(scores, 5, labels="several")
    given = judge.scores(known.prefix[:, -1], known.looked)
    assert (judge.said(given) == (known.truth > 0)).all(axis=1).mean() > 0.9
