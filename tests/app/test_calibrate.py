"""``avglance calibrate``: a model with a card that knows more, the same weights, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from avglance.app import api, cli
from avglance.training import calibrate


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from avglance.data.glanceworld import make_world
    from avglance.data.glanceworld_world import World

    short = World(seconds=(4.0, 5.0))
    return make_world(tmp_path_factory.mktemp("world") / "held", videos=4, seed=9, workers=1, world=short)


def test_the_card_knows_more_and_the_weights_are_the_same(
    world: Path,
    random_model: Path,
    clip: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out, args = tmp_path / "sure", ["calibrate", str(random_model), str(world), "--quiet"]
    assert cli.main([*args, "--out", str(out)]) == 2
    assert "too few" in capsys.readouterr().err
    assert not out.exists()
    monkeypatch.setattr(calibrate, "LEAST_VIDEOS", 4)
    assert cli.main([*args, "--out", str(out)]) == 0
    shown = capsys.readouterr().out
    assert "calibrated on 4 videos, at 4 looks" in shown
    assert "looks     GMACs   top-1 %" in shown
    before, after = api.load(random_model, device="cpu"), api.load(out, device="cpu")
    assert after.sha256 == before.sha256
    assert after.name == before.name
    assert after.card["calibration"]["data"]["kind"] == "glanceworld"
    assert len(after.tag(clip, budget="100GMAC").moments) <= 16
    assert cli.main([*args, "--out", str(out)]) == 2
    assert "exists" in capsys.readouterr().err
    assert cli.main([*args, "--out", str(out), "--force", "--budget", "2"]) == 0
    assert json.loads((out / "card.json").read_text())["calibration"]["k"] == 2


def test_a_twin_says_what_scores_are_worth(
    world: Path,
    random_model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from avglance.systems.store import load_model, save_model

    monkeypatch.setattr(calibrate, "LEAST_VIDEOS", 4)
    twin, out = tmp_path / "twin", tmp_path / "sure"
    assert cli.main(["calibrate", str(random_model), str(world), "--out", str(twin), "--quiet"]) == 0
    loaded = load_model(random_model)
    with torch.no_grad():
        for x in loaded.system.parameters():
            x += 0.1
    other = tmp_path / "other"
    save_model(loaded.system, other, classes=loaded.classes, card=loaded.card)
    like = ["calibrate", str(other), "--twin"]
    assert cli.main([*like, str(twin), "--out", str(out)]) == 0
    assert "calibrated on 4 videos" in capsys.readouterr().out
    mine, its, before = (json.loads((folder / "card.json").read_text()) for folder in (out, twin, other))
    assert mine["calibration"].pop("twin") == load_model(twin).sha256
    for name in ("calibration", "unknown", "exits"):
        assert mine[name] == its[name]
        assert name not in before
    assert load_model(out).sha256 == load_model(other).sha256
    assert load_model(out).sha256 != load_model(twin).sha256
    for wrong, said in (
        (random_model, "is not calibrated"),
        ("avgn_nano.glanceworld", "has other"),
        (world, ""),
    ):
        assert cli.main([*like, str(wrong), "--out", str(tmp_path / "no")]) in (2, 4)
        assert said in capsys.readouterr().err
        assert not (tmp_path / "no").exists()


def test_foreign_classes_and_wrong_budgets_are_refused(
    world: Path, random_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other"
    (other / "videos").mkdir(parents=True)
    row = json.loads((world / "manifest.jsonl").read_text().splitlines()[0])
    (other / row["path"]).write_bytes((world / row["path"]).read_bytes())
    (other / "manifest.jsonl").write_text(json.dumps({"path": row["path"], "labels": ["bell\x1b[31m"]}))
    args = ["calibrate", str(random_model), str(other), "--out", str(tmp_path / "sure"), "--quiet"]
    assert cli.main(args) == 2
    err = capsys.readouterr().err
    assert "the model knows no class" in err
    assert "\x1b" not in err
    for wrong in (["--budget", "0"], ["--budget", "17"], ["--batch", "0"]):
        assert cli.main([*args, *wrong]) == 2


def with_splits(world: Path, folder: Path, *splits: str) -> Path:
    """A dataset of the world's videos, each in the split of its place."""
    rows = [json.loads(line) for line in (world / "manifest.jsonl").read_text().splitlines()]
    rows = [row | {"split": split, "truth": None} for row, split in zip(rows, splits, strict=True)]
    folder.mkdir()
    (folder / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "dataset.json").write_text(json.dumps({"root": str(world)}))
    return folder


def test_of_splits_the_one_held_out_is_taken_and_never_all(
    world: Path,
    random_model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(calibrate, "LEAST_VIDEOS", 2)
    words = ["calibrate", str(random_model), "--quiet", "--out", str(tmp_path / "sure")]
    held = with_splits(world, tmp_path / "held", "train", "validation", "val", "test")
    assert cli.main([*words, str(held)]) == 0
    assert "calibrated on 2 videos" in capsys.readouterr().out
    assert api.load(tmp_path / "sure", device="cpu").card["calibration"]["data"]["split"] == "validation"
    other = with_splits(world, tmp_path / "other", "train", "train", "test", "test")
    assert cli.main([*words, str(other), "--force"]) == 2
    assert "the splits are train, test, none is called validation" in capsys.readouterr().err
    assert cli.main([*words, str(other), "--force", "--split", "test"]) == 0


def test_what_trained_it_is_refused_and_what_calibrated_it_is_told(
    world: Path,
    random_model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from avglance.data.records import read_dataset
    from avglance.systems.store import load_model, save_with_card

    monkeypatch.setattr(calibrate, "LEAST_VIDEOS", 4)
    model = load_model(random_model)
    card = model.card | {"data": {"sha256": read_dataset(world).sha256}}
    trained, sure = save_with_card(model, tmp_path / "trained", card), tmp_path / "sure"
    assert cli.main(["calibrate", str(trained), str(world), "--out", str(sure), "--quiet"]) == 2
    assert "these videos trained the model" in capsys.readouterr().err
    assert cli.main(["eval", str(trained), str(world), "--quiet"]) == 0
    assert "! these are the videos of its training" in capsys.readouterr().out
    assert cli.main(["calibrate", str(random_model), str(world), "--out", str(sure), "--quiet"]) == 0
    assert cli.main(["eval", str(sure), str(world), "--quiet"]) == 0
    assert "! these videos calibrated it" in capsys.readouterr().out


def test_a_place_that_cannot_be_is_no_bug(
    world: Path,
    random_model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(calibrate, "LEAST_VIDEOS", 4)
    (tmp_path / "file").write_text("x")
    out = tmp_path / "file" / "sure"
    assert cli.main(["calibrate", str(random_model), str(world), "--out", str(out), "--quiet"]) == 2
    assert f"{out}: cannot be written" in capsys.readouterr().err
