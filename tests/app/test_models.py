"""``avglance models`` and ``avglance info``."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

from avglance.app import api, cli
from avglance.systems import SYSTEMS


@pytest.fixture
def shipped(random_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of shipped models: one whole, one damaged."""
    shutil.copytree(random_model, tmp_path / "avgn_nano.toy")
    shutil.copytree(random_model, tmp_path / "broken")
    (tmp_path / "broken" / "card.json").write_text("{")
    monkeypatch.setattr(api, "MODELS", tmp_path)
    return tmp_path


def test_models_and_systems_are_listed(shipped: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["models"]) == 0
    found = json.loads(capsys.readouterr().out)
    good, bad = found["models"]
    assert (good["name"], good["system"], good["classes"], good["toy"]) == (
        "avgn_nano.toy",
        "avgn_nano",
        20,
        True,
    )
    assert 0.1 < good["mib"] < 12
    assert "card.json cannot be read" in bad["error"]
    assert [row["name"] for row in found["systems"]] == list(SYSTEMS)


def test_the_tables_for_a_person(shipped: Path, terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("NO_COLOR", "1")
    assert cli.main(["models"]) == 0
    assert "  avgn_nano.toy               avgn_nano   20 classes" in terminal.text
    assert "toy classes only" in terminal.text
    assert "  broken  damaged: " in terminal.text
    assert all(f"  {name} " in terminal.text for name in SYSTEMS)


def test_without_a_shipped_model_it_says_so(
    tmp_path: Path, terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "MODELS", tmp_path / "none")
    monkeypatch.setattr(sys, "stdout", terminal)
    assert cli.main(["models"]) == 0
    assert "none is shipped with this installation" in terminal.text


def test_info_prints_the_card(random_model: Path, terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("NO_COLOR", "1")
    assert cli.main(["info", str(random_model)]) == 0
    lines = terminal.text.splitlines()
    assert lines[0] == "random"
    assert "knows only toy classes" in lines[1]
    assert "  system  avgn_nano" in lines
    assert "  span_threshold  0.02" in lines
    assert "  classes (20)" in lines
    assert "    grating_135 pulses" in lines


def test_info_as_json(random_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["info", str(random_model), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["card"]["name"] == "random"
    assert len(found["classes"]) == 20
    assert found["folder"] == str(random_model)


def test_info_of_what_is_not_there_is_four(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["info", "avgn_nano.nothing"]) == 4
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("avglance: no model is called 'avgn_nano.nothing', and no folder either\nhint: ")


@pytest.mark.parametrize("name", ["card.json", "classes.json"])
def test_info_of_a_damaged_model_names_the_part(
    random_model: Path, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(shutil.copytree(random_model, tmp_path / "model"))
    (folder / name).unlink()
    assert cli.main(["info", str(folder)]) == 4
    assert f"{folder}: {name} cannot be read" in capsys.readouterr().err


def test_a_card_cannot_steer_a_terminal(random_model: Path, tmp_path: Path, terminal, monkeypatch) -> None:
    folder = Path(shutil.copytree(random_model, tmp_path / "model"))
    evil = "\x1b]0;owned\x07"
    (folder / "card.json").write_text(json.dumps({"name": evil, evil: {evil: [evil]}}))
    (folder / "classes.json").write_text(json.dumps([evil]))
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("NO_COLOR", "1")
    assert cli.main(["info", str(folder)]) == 0
    assert not set(terminal.text) & {"\x1b", "\x07"}
