"""``avglance calibrate``: a model with a card that knows more, the same weights, and what is refused."""

from __future__ import annotations

import json
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
