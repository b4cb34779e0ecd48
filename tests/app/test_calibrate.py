"""``avglance calibrate``: a model with a card that knows more, the same weights, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

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


def test_only_videos_that_neither_train_nor_test_are_taken(
    world: Path,
    random_model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(calibrate, "LEAST_VIDEOS", 1)
    folder = tmp_path / "parts"
    shutil.copytree(world, folder, ignore=shutil.ignore_patterns(".cache"))

    def split(*names: str) -> None:
        rows = [json.loads(line) for line in (world / "manifest.jsonl").read_text().splitlines()]
        told = [json.dumps(row | {"split": name}) for row, name in zip(rows, names, strict=True)]
        (folder / "manifest.jsonl").write_text("\n".join(told))

    args = ["calibrate", str(random_model), str(folder), "--quiet", "--out", str(tmp_path / "sure")]
    split("train", "val", "val", "test")
    assert cli.main(args) == 0
    assert "calibrated on 2 videos" in capsys.readouterr().out
    card = json.loads((tmp_path / "sure" / "card.json").read_text())
    assert card["calibration"]["data"]["split"] == "validation"
    split("train", "test", "test", "test")
    assert cli.main([*args, "--force"]) == 2
    assert "the splits are train, test" in capsys.readouterr().err
    assert cli.main([*args, "--force", "--split", "test"]) == 0
    assert "calibrated on 3 videos" in capsys.readouterr().out


def test_the_videos_that_trained_a_model_do_not_calibrate_it(
    world: Path, random_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from avglance.data.records import read_dataset
    from avglance.systems.store import load_model, save_with_card

    loaded, trained = load_model(random_model), {"data": {"sha256": read_dataset(world).sha256}}
    model = save_with_card(loaded, tmp_path / "trained", loaded.card | trained)
    assert cli.main(["calibrate", str(model), str(world), "--out", str(tmp_path / "sure"), "--quiet"]) == 2
    assert "trained this model" in capsys.readouterr().err
