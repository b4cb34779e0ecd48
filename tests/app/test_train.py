"""``avglance train``: options, progress, errors before work begins, and the way through to a model folder."""

from __future__ import annotations

import argparse
import json
import sys

import pytest
from tests.training.worlds import NANO, write_dataset

from avglance.app import cli, progress
from avglance.app import train as command
from avglance.errors import ArgumentError
from avglance.training import Told

TINY = [word for name, value in NANO.items() for word in ("--setting", name, str(value))]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("tiny") / "data", videos=6)


def words(tiny, out, *more):
    return [
        "train",
        str(tiny),
        "--system",
        "avgn_nano",
        "--out",
        str(out),
        "--device",
        "cpu",
        "--workers",
        "1",
        *more,
    ]


def test_a_folder_becomes_a_model_and_the_model_is_printed(tiny, tmp_path, capsys):
    out = tmp_path / "run"
    asked = words(tiny, out, "--epochs", "3", "--batch", "2", *TINY, "--validation", "0.3")
    assert cli.main(asked) == 0
    said = capsys.readouterr()
    assert said.out.strip() == str(out / "model")
    assert "4 videos to train on, 2 held out, 3 epochs of 2 steps of 2 videos, on cpu" in said.err
    assert "multiplied by 2/24" in said.err
    assert "epoch 1: held out at K=1: top1" in said.err
    card = json.loads((out / "model" / "card.json").read_text())
    assert card["toy"] is True
    assert cli.main([*asked, "--quiet"]) == 0  # finished already
    said = capsys.readouterr()
    assert (said.out.strip(), said.err) == (str(out / "model"), "")
    assert cli.main([*asked, "--seed", "9"]) == 2
    assert "seed was 0, now 9" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--system", "avgn_nanno"], "did you mean 'avgn_nano'"),
        (["--setting", "drop_sonud", "0.3"], "did you mean 'drop_sound'"),
        (["--setting", "drop_sound", "much"], "setting drop_sound must be like 0.2, got 'much'"),
        (["--setting", "drop_sound", "none"], "setting drop_sound must be like 0.2, got 'none'"),
        (["--setting", "snippets", "None"], "setting snippets must be like 16, got 'None'"),
        (["--save-every", "nan"], "--save-every nan"),
        (["--setting", "drop_sound", "2"], "drop_sound must be in [0, 1)"),
        (["--setting", "classes", "5"], "they come from the dataset"),
        (["--setting", "teacher", "nobody"], "teacher must be"),
        (["--setting", "tau", "1", "--setting", "tau", "2"], "setting tau is said twice"),
        (["--epochs", "0"], "epochs must be at least 1"),
        (["--rate", "-1"], "the rate must be above 0"),
        (["--rate", "nan"], "the rate must be above 0"),
        (["--budget", "17"], "budget of 17"),
        (["--snippets", "99"], "snippets must be"),
        (["--validation", "1.5"], "validation must be in [0, 1)"),
        (["--validate-every", "0"], "validate_every must be at least 1"),
        (["--validate-last", "0"], "validate_last must be at least 1"),
        (["--patience", "-1"], "patience must be at least 0"),
        (["--patience", "3"], "the last epoch is never the best one"),
        (["--keep", "first"], "invalid choice: 'first'"),
        (["--keep", "best", "--validation", "0"], "no video is held out"),
        (["--threads", "-1"], "--threads -1"),
        (["--weights", "net.safetensors"], "--weights net.safetensors: not SENSE=FILE"),
        (["--weights", "sound="], "--weights sound=: not SENSE=FILE"),
        (["--weights", "sound=a", "--weights", "sound=b"], "--weights sound=b: sound is named twice"),
        (["--weights", "nose=a"], "avgn_nano has no encoder called 'nose'"),
        (["--weights", "sound=a"], "the sound encoder 'small' takes no weights from a file"),
        (["--setting", "encoder_rate", "0"], "picture and sound and focus would stay random"),
        (["--setting", "encoder_rate", "-1"], "encoder_rate must be at least 0"),
        (["--setting", "sound", "mobilenetv1_050"], "an encoder of pictures, not for sound"),
        (["--epoch", "3"], "did you mean '--epochs'?"),
    ],
)
def test_wrong_words_are_named_and_nothing_is_left_behind(tiny, tmp_path, capsys, more, says):
    out = tmp_path / "run"
    assert cli.main(words(tiny, out, *more)) == 2
    assert says in capsys.readouterr().err
    assert not out.exists()


def test_weights_that_are_not_there_are_told_and_nothing_is_left_behind(tiny, tmp_path, capsys):
    asked = ["--setting", "sound", "yamnet", "--weights", f"sound={tmp_path / 'absent.safetensors'}"]
    assert cli.main(words(tiny, tmp_path / "run", *asked)) == 4
    assert f"{tmp_path / 'absent.safetensors'}: no such file of weights" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_an_equals_sign_may_stand_in_a_file_name():
    assert command.read_weights(["sound=a=b.safetensors"]) == {"sound": "a=b.safetensors"}


def test_a_wrong_row_is_told_with_its_line(tmp_path, capsys):
    (tmp_path / "manifest.jsonl").write_text('{"path": "gone.mp4", "labels": ["x"]}\n')
    assert cli.main(words(tmp_path, tmp_path / "run")) == 2
    err = capsys.readouterr().err
    assert "manifest.jsonl, line 1: path 'gone.mp4' is missing" in err
    assert "hint:" in err


@pytest.mark.parametrize(
    ("text", "value"),
    [("3", 3), ("0.5", 0.5), ("1e-3", 1e-3), ("true", True), ("No", False), ("none", None),
     ("small", "small"), ("[1]", "[1]"), ("resnet50.a1_in1k", "resnet50.a1_in1k")],
)  # fmt: skip
def test_values_are_read_as_what_they_look_like(text, value):
    found = command.read_value(text)
    assert found == value
    assert type(found) is type(value)


def test_kinds_are_those_of_the_preset():
    assert command.same_kind("rate", 1, 0.1) == 1.0
    assert isinstance(command.same_kind("rate", 1, 0.1), float)
    assert command.same_kind("train_snippets", 4, None) == 4
    for value, usual in ((True, 0.1), (0.5, 3), ("x", True), (1, True)):
        with pytest.raises(ArgumentError, match="must be like"):
            command.same_kind("x", value, usual)


def test_options_win_a_place_among_the_settings():
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    options = ["--rate", "0.01", "--snippets", "8", "--setting", "tau", "2", "--setting", "hear_aim", "no"]
    args = parser.parse_args(["data", "--system", "avgn_nano", "--out", "run", *options])
    assert command.changes(args) == {"rate": 0.01, "snippets": 8, "tau": 2.0, "hear_aim": False}


@pytest.mark.parametrize("word", ["none", "None"])
def test_none_is_a_word_where_the_setting_is_one(word):
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    options = ["--setting", "patch", word.lower(), "--setting", "train_looks", word]
    args = parser.parse_args(["data", "--system", "avgn_nano", "--out", "run", *options])
    assert command.changes(args) == {"patch": "none", "train_looks": None}


def test_without_a_terminal_a_line_every_half_minute_with_the_time_left(capsys, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    hear, close = progress.teller(live=False)
    for step in range(1, 41):
        now[0] += 10.0
        hear(Told("train", step, 100, f"epoch 1/2, loss {step}"))
    hear(Told("note", text="a note\x1b[31m"))
    close()
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 40 * 10 // 30 + 1
    assert lines[0] == "train: 3 of 100, 16:10 left, epoch 1/2, loss 3"
    assert "\x1b" not in lines[-1]


def test_on_a_terminal_a_bar_a_phase(capsys):
    hear, close = progress.teller(live=True)
    hear(Told("cache", 1, 2))
    hear(Told("cache", 2, 2))
    hear(Told("train", 1, 3, "loss 1.0"))
    hear(Told("note", text="epoch 1: done"))
    hear(Told("train", 3, 3, "loss 0.5"))
    close()
    err = capsys.readouterr().err
    assert "cache: 100%" in err
    assert "train: 100%" in err
    assert "epoch 1: done" in err


def test_interrupted_says_how_to_go_on(tiny, tmp_path, capsys, monkeypatch):
    import avglance.training

    def stopped(*args, **kwargs):
        (tmp_path / "run" / "resume").mkdir(parents=True)
        raise KeyboardInterrupt

    monkeypatch.setattr(avglance.training, "train", stopped)
    assert cli.main(words(tiny, tmp_path / "run")) == 130
    assert "the same command goes on from here" in capsys.readouterr().err


def test_help_loads_no_torch():
    import subprocess

    probe = "import sys\nfrom avglance.app import cli\ncli.main(['train', '--help'])\n"
    asked = [sys.executable, "-c", probe + "assert 'torch' not in sys.modules"]
    done = subprocess.run(asked, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "--save-every" in done.stdout
