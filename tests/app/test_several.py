"""From videos with several labels to figures: what is taught, said, measured and refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.training.worlds import NANO, SECONDS, write_tiny

from avglance.app import api, cli, render
from avglance.app.answer import named
from avglance.data.records import read_dataset
from avglance.errors import AVGLanceError
from avglance.systems.calibration import Judgement
from avglance.systems.store import load_model, save_with_card
from avglance.training import TrainSettings
from avglance.training import calibrate as calibration
from avglance.training.labels import follow_labels
from avglance.types import UNKNOWN, Label

TINY = [word for name, value in NANO.items() for word in ("--setting", name, str(value))]
FAST = ["--epochs", "3", "--batch", "3", "--validation", "0.34", "--workers", "1", "--device", "cpu"]


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """Tiny videos, and two tables of them: every second one has two labels, or each has one."""
    folder = tmp_path_factory.mktemp("several")
    several, single = ["path,labels,start,end"], ["path,label"]
    for n in range(8):
        color, second = ("red", "blue")[n % 2], n % SECONDS
        write_tiny(folder / f"{n}.mp4", color, second, seed=n)
        labels = f"{color};late" if second >= 2 else color
        several.append(f"{n}.mp4,{labels},{second},{second + 1}")
        single.append(f"{n}.mp4,{color}")
    (folder / "several.csv").write_text("\n".join(several))
    (folder / "single.csv").write_text("\n".join(single))
    return folder


@pytest.fixture(scope="module")
def run(home) -> Path:
    """A model of the table with several labels, calibrated on the videos that it held out."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(calibration, "LEAST_VIDEOS", 2)
        words = ["train", str(home / "several.csv"), "--system", "avgn_nano", "--out", str(home / "run")]
        assert cli.main([*words, *FAST, "--cache", str(home / "cache"), "--quiet", *TINY]) == 0
    return home / "run"


def test_what_is_taught_follows_the_data(home):
    several, single = read_dataset(home / "several.csv"), read_dataset(home / "single.csv")
    assert (several.label_mode, single.label_mode) == ("multi", "single")
    first = replace(several, records=several.records[:1])  # a part whose videos happen to have one label
    assert first.label_mode == "multi"
    plain = TrainSettings(system="tsn_nano")
    taught, told = follow_labels(plain, several)
    assert taught.changes == {"labels": "several"}
    assert told.endswith("learns all labels of a video (--setting labels one changes it)")
    assert follow_labels(plain, single) == (
        plain,
        "a softmax learns one label a video (--setting labels several changes it)",
    )
    for word in ("one", "several"):
        asked = replace(plain, changes={"labels": word})
        assert follow_labels(asked, several)[0] is asked
        assert follow_labels(asked, single)[0] is asked
    assert "drawn anew" in follow_labels(replace(plain, changes={"labels": "one"}), several)[1]


def test_a_training_says_it_and_its_card_has_thresholds(run):
    model = load_model(run / "model")
    assert model.system.settings.labels == model.card["labels"] == "several"
    card = model.card["calibration"]
    assert len(card["threshold"]) == 3
    assert "least_score" not in card
    assert 0 <= card["f1"] <= 1
    assert model.card["exits"]["measure"] == "F1"
    assert next(iter(k for k in model.card["metrics"]["held_out"] if k in ("map", "top1"))) == "map"
    assert json.loads((run / "run.json").read_text())["system_settings"]["labels"] == "several"


def judged_by(run: Path, folder: Path, *thresholds: float) -> Path:
    """The model with other thresholds on its card."""
    model = load_model(run / "model")
    judge = Judgement((1.0,), thresholds=thresholds)
    return save_with_card(model, folder, model.card | {"calibration": judge.as_card()}, overwrite=True)


def test_tag_names_every_class_above_its_threshold(run, home, tmp_path):
    every = api.load(judged_by(run, tmp_path / "all", 0.0, 0.0, 0.0), device="cpu")
    found = every.tag(home / "2.mp4", top=1)
    assert sorted(label.name for label in found.labels) == ["blue", "late", "red"]
    assert found.label_mode == every.label_mode == "several"
    assert {span.label for span in found.spans} <= {"blue", "late", "red"}
    none = api.load(judged_by(run, tmp_path / "none", 1.0, 1.0, 1.0), device="cpu")
    lost = none.tag(home / "2.mp4", top=2)
    assert lost.unknown
    assert lost.labels[0].name == UNKNOWN
    assert len(lost.labels) == 2
    assert lost.spans == ()


def test_what_is_named():
    scores = np.array([0.2, 0.9, 0.6])
    several = Judgement(thresholds=(0.1, 0.95, 0.5))
    assert named(several, scores, 1, unknown=False).tolist() == [2, 0]
    assert named(several, scores, 2, unknown=True).tolist() == [1]
    assert named(Judgement(), scores, 2, unknown=False).tolist() == [1, 2]


def test_a_person_is_told_which_labels_these_are(make_answer, terminal):
    two = (Label("rain", 0.9), Label("wind", 0.7))
    several = make_answer(labels=two, label_mode="several")
    ink = render.Ink(terminal, {"NO_COLOR": "1"})
    assert "  labels   every class above its threshold\n" in render.table(several, ink)
    assert "above its threshold" not in render.table(make_answer(), ink)
    gone = make_answer(labels=(Label(UNKNOWN, 1.0), *two), label_mode="several", unknown=True, spans=())
    assert "unknown: nothing that this model knows is there" in render.table(gone, ink)
    assert render.as_record(several)["label_mode"] == "several"
    assert render.as_record(make_answer())["label_mode"] == "one"


def test_map_leads_where_videos_have_several_labels(run, home, tmp_path, capsys):
    words = ["eval", str(run / "model"), str(home / "several.csv"), "--quiet", "--threads", "1"]
    out = tmp_path / "eval.json"
    assert cli.main([*words, "--out", str(out)]) == 0
    shown = capsys.readouterr().out
    assert "  multi label: mAP leads\n" in shown
    assert shown.index("  mAP ") < shown.index("  F1 ") < shown.index("  best is true ")
    assert "top-1" not in shown
    found = json.loads(out.read_text())
    assert (found["label_mode"], found["leading"], found["model"]["labels"]) == ("multi", "map", "several")
    said = [len(row["said"]) for row in found["rows"]]
    assert found["labels_said"] == pytest.approx(sum(said) / 8)
    assert all(not row["said"] for row in found["rows"] if row["unknown"])
    assert cli.main([*words, "--metric", "top1"]) == 2
    err = capsys.readouterr().err
    assert "--metric top1 on multi label data: any of several labels would count" in err
    assert "--metric map" in err


def test_top_1_leads_where_every_video_has_one(run, home, capsys):
    words = ["eval", str(run / "model"), str(home / "single.csv"), "--quiet", "--threads", "1"]
    assert cli.main([*words, "--metric", "top1"]) == 0
    shown = capsys.readouterr().out
    assert "! the model says several labels a video, these have one each" in shown
    assert shown.index("  top-1 ") < shown.index("  mAP ")
    assert cli.main([*words, "--metric", "map"]) == 2
    assert "--metric map on single label data" in capsys.readouterr().err


def test_a_card_of_one_label_is_no_card_of_several(run, tmp_path):
    model = load_model(run / "model")
    card = model.card | {"calibration": Judgement((1.0,), (0.5,) * 3).as_card()}
    wrong = save_with_card(model, tmp_path / "wrong", card)
    with pytest.raises(AVGLanceError, match="its weights are taught several labels a video"):
        api.load(wrong, device="cpu")
