"""The command ``avglance data splice``."""

from __future__ import annotations

import json

import pytest
from tests.data.splice_clips import write_clips

from avglance.app.cli import main
from avglance.data import splice
from avglance.data.splice import Splice


@pytest.fixture
def pretended(monkeypatch):
    """make_splice that only counts: what it was asked for."""
    asked = {}

    def make(clips, out, **rest):
        asked.update(clips=clips.name, out=out.name, **rest)
        return out

    monkeypatch.setattr(splice, "make_splice", make)
    return asked


def test_the_options_arrive(pretended, capsys):
    words = "data splice c.csv out --videos 9 --seed 2 --split test --quiet --workers 3 --background a"
    words += (
        " --unknown 4 --background b --share 0.1 0.2 --seconds 20 40 --decoys half --fps 10 --size 160 120"
    )
    assert main(words.split()) == 0
    assert pretended.pop("settings") == Splice((0.1, 0.2), (20, 40), "half", 10, (160, 120))
    assert pretended.pop("background") == ["a", "b"]
    assert pretended == {
        "clips": "c.csv",
        "out": "out",
        "videos": 9,
        "unknown": 4,
        "seed": 2,
        "split": "test",
        "workers": 3,
        "progress": None,
    }
    assert capsys.readouterr().out == "out\n"


def test_without_options_the_settings_are_the_defaults(pretended, capsys):
    assert main(["data", "splice", "c.csv", "out", "--videos", "9", "--seed", "2", "--split", "train"]) == 0
    assert (pretended["settings"], pretended["unknown"]) == (Splice(), 0)
    assert capsys.readouterr().err == ""


def test_it_makes_a_folder_that_check_and_reader_take(tmp_path, capsys):
    table, _ = write_clips(tmp_path / "clips")
    words = ["--videos", "1", "--seed", "4", "--split", "test", "--workers", "1", "--size", "64", "48"]
    out = tmp_path / "w"
    assert (
        main(["data", "splice", str(table), str(out), *words, "--seconds", "8", "8"]) == 2
    )  # 0.8 s of event
    assert "an event of 0.1 of 8.0 s is shorter than 1.0 s" in capsys.readouterr().err
    assert not out.exists()
    assert main(["data", "splice", str(table), str(out), *words, "--seconds", "10", "10"]) == 0
    assert capsys.readouterr().out == f"{out}\n"
    assert json.loads((out / "dataset.json").read_text())["split"] == "test"
    assert main(["check", str(out / "videos" / "000000.mp4")]) == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("", "required: CLIPS, OUT, --videos, --seed, --split"),
        ("c.csv out --videos 1 --seed 1", "required: --split"),
        ("c.csv out --videos 1 --seed 1 --split val", "invalid choice: 'val'"),
        ("c.csv out --videos 1 --seed 1 --split train --share 0.5", "--share: expected 2 arguments"),
        ("c.csv out --videos 1 --seed 1 --split train --share nan 1", "share=(nan, 1.0)"),
        ("c.csv out --videos 1 --seed 1 --split train", "c.csv: there is no such file"),
        ("c.csv out --videos 0 --seed 1 --split train", "videos=0"),
        ("c.csv out --videos -3 --unknown 9 --seed 1 --split train", "videos=-3, unknown=9"),
        ("c.csv out --videos 1 --unknown -1 --seed 1 --split train", "videos=1, unknown=-1"),
        ("c.csv out --videos 1 --unknown x --seed 1 --split train", "invalid int value: 'x'"),
        ("c.csv out --videos 9 --unknown 1000000 --seed 1 --split train", "videos from 1 to 1000000"),
        ("c.csv out --videos 10000000000 --seed 1 --split train", "videos from 1 to 1000000"),
        ("c.csv out --videos 1 --seed -1 --split train", "seed=-1"),
        ("c.csv out --videos 1 --seed 1 --split train --workers 0", "workers=0"),
        ("c.csv out --videos 1 --seed 1 --split train --fps inf", "fps=inf"),
    ],
)
def test_what_is_wrong_is_said_with_code_2(words, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["data", "splice", *words.split()]) == 2
    assert said in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
