"""Which videos are held out: the data's own split for it, a share, and never the last one of a class."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from tests.training.worlds import NANO

from avglance.data.records import Record, read_dataset, read_held_out
from avglance.errors import DataError
from avglance.systems.store import load_model, saw
from avglance.training import TrainSettings, train
from avglance.training.batches import split
from avglance.training.start import held_out_of

SETTINGS = TrainSettings(system="avgn_nano", changes=NANO, epochs=3, batch=4, keep="best")


@pytest.fixture(scope="module")
def parts(tiny, tmp_path_factory):
    """The tiny dataset with eight videos to train on and four to validate by."""
    folder = tmp_path_factory.mktemp("parts") / "data"
    shutil.copytree(tiny, folder, ignore=shutil.ignore_patterns(".cache"))
    rows = [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]
    rows = [row | {"split": "train" if n < 8 else "val"} for n, row in enumerate(rows)]
    (folder / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_the_split_validation_is_held_out_and_all_of_train_is_learned(parts, tmp_path):
    out = tmp_path / "run"
    model = load_model(train(parts, SETTINGS, out=out, device="cpu", workers=1))
    lists = json.loads((out / "data.json").read_text())
    assert lists["training"] == [f"videos/{n}.mp4" for n in range(8)]
    assert lists["held_out"] == [f"videos/{n}.mp4" for n in range(8, 12)]
    held = read_held_out(parts)
    assert model.card["data"]["held_out"] == {"split": "validation", "sha256": held.sha256, "videos": 4}
    assert model.card["metrics"]["held_out"]["videos"] == 4
    assert saw(model.card, held.sha256) == ("chosen",)
    assert saw(model.card, read_dataset(parts, split="train").sha256) == ("trained",)
    report = json.loads((out / "report.json").read_text())
    assert report["videos"] == {"trained": 8, "held_out": 4, "groups": 4}
    assert report["checkpoint"] == model.card["checkpoint"]
    assert {row["file"] for row in report["doubtful"]} <= {f"videos/{n}.mp4" for n in range(12)}
    told = []
    train(parts, SETTINGS, out=out, device="cpu", workers=1, tell=told.append)
    assert "finished" in told[0].text


def test_a_share_that_is_given_wins(parts, tiny):
    settings, held = held_out_of(parts, TrainSettings("avgn_nano", validation=0.2))
    assert (settings.validation, held) == (0.2, None)
    assert held_out_of(tiny, TrainSettings("avgn_nano"))[0].validation == 0.1
    settings, held = held_out_of(parts, TrainSettings("avgn_nano"))
    assert (settings.validation, len(held)) == (None, 4)


def test_a_split_that_shows_no_known_class_cannot_tell_the_best_epoch(parts, tmp_path):
    folder = tmp_path / "data"
    shutil.copytree(parts, folder)
    rows = [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]
    for row in rows[8:]:
        row |= {"labels": ["unknown"], "truth": None}
    (folder / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(DataError, match="no video of a known class is held out"):
        train(folder, SETTINGS, out=tmp_path / "run", device="cpu", workers=1)


def records(labels, groups=None):
    groups = groups or [""] * len(labels)
    return [
        Record(Path(f"{n}.mp4"), tuple(label), None, group)
        for n, (label, group) in enumerate(zip(labels, groups, strict=True))
    ]


@pytest.mark.parametrize("seed", range(8))
def test_a_class_is_never_held_out_whole(seed):
    labels = ["a"] * 12 + ["b"] * 2 + ["c"]
    train_side, held = split(records(labels), 0.4, seed)
    assert {labels[n] for n in train_side} == {"a", "b", "c"}
    assert len(held) == 6
    groups = ["g", "g", "h", "h", "i", "i"]
    train_side, held = split(records(["a", "a", "a", "a", "b", "b"], groups), 0.9, seed)
    assert {"b", "a"} == {"aaaabb"[n] for n in train_side.tolist()}
    assert len(held) == 2
    several = [("a", "b"), ("a",), ("b",), ("a", "b")]
    train_side, _ = split(records(several), 0.7, seed)
    assert {label for n in train_side for label in several[n]} == {"a", "b"}


def test_where_every_group_is_a_class_one_is_held_out_all_the_same():
    train_side, held = split(records(["a", "b", "c"]), 0.1, 0)
    assert np.array_equal(np.sort([*train_side, *held]), [0, 1, 2])
    assert len(held) == 1
