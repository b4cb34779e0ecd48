"""``avglance ablate``: which commands it runs, what it leaves, and what it refuses."""

from __future__ import annotations

import hashlib
import json

import pytest
import torch
from safetensors.torch import save_file

from avglance.app import ablate
from avglance.app.ablations import GROUPS, ROWS
from avglance.app.cli import main
from avglance.data.glanceworld import make_world
from avglance.errors import ArgumentError, DataError
from avglance.parts.mobilenets import MobileNetV1Half, YAMNet
from avglance.systems import build, settings_of


def test_every_row_can_be_built():
    for name, row in ROWS.items():
        assert settings_of(row.system or "avgn_nano", **row.changes) is not None, name
        assert row.what
    assert set(GROUPS["all"]) == set(ROWS)


def test_every_row_changes_something():
    usual = settings_of("avgn_nano")
    for name, row in ROWS.items():
        if name != "avgn" and not row.system:
            assert settings_of("avgn_nano", **row.changes) != usual, f"{name} is the preset itself"


def test_the_commands_are_told_beforehand(tmp_path, capsys):
    words = ["ablate", "data", "--test", "more", "--out", str(tmp_path / "o"), "--rows", "avgn,deaf"]
    assert main([*words, "--seeds", "0,3", "--jobs", "2", "--dry-run"]) == 0
    lines = capsys.readouterr().out.splitlines()
    trainings = [line for line in lines if line.startswith("avglance train")]
    assert len(trainings) == 4
    assert "--seed 3" in trainings[3]
    assert "--setting hear_aim False" in trainings[3]
    looks = [line for line in lines if line.startswith("avglance eval")]
    assert sum("--swap-sound" in line for line in looks) == 2
    assert sum("seed0/eval_k16.json" in line for line in looks) == 1
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--rows", "avgnn"], "no row or group is called 'avgnn'"),
        (["--seeds", "a"], "--seeds must be like 0,1,2, got 'a'"),
        (["--jobs", "0"], "at least 1"),
        (["--epochs", "0"], "at least 1"),
        (["--budget", "17"], "row avgn: K must be 1 to 16, got 17"),
        (["--budget", "0"], "K must be 1 to 16"),
        (["--list", "absent.json"], "absent.json: cannot be read"),
    ],
)
def test_wrong_words_are_named(tmp_path, capsys, words, says):
    assert main(["ablate", "data", "--out", str(tmp_path / "o"), *words]) == 2
    assert says in capsys.readouterr().err
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ("[]", "does not hold rows"),
        ('{"a": {"colour": 1}}', "does not hold rows"),
        ('{"../a": {"changes": {}}}', "'../a' cannot name a row's folder"),
        ('{"seed1": {"changes": {}}}', "'seed1' cannot name"),
        ('{"a": {"changes": {"tua": 1.0}}}', "row a: avgn_nano has no setting 'tua'"),
        ('{"a": {"changes": {"tau": "x"}}}', "row a: "),
        ('{"a": {"changes": {"tau": 1.0, "teacher": "fused"}}}', "row a changes nothing in avgn_nano"),
        ('{"a": {"changes": [1]}}', "a: changes cannot be [1]"),
        ('{"a": {"budgets": 4}}', "a: budgets cannot be 4"),
        ('{"a": {"budgets": [99]}}', "row a: K must be 1 to 16, got 99"),
        ('{"a": {"controls": "--mute"}}', "a: controls cannot be"),
        ('{"a": {"controls": ["--nonsense"]}}', "a: controls cannot be"),
        ('{"a": {"weights": ["x"]}}', "a: weights cannot be"),
        ('{"a": {"weights": {"sound": 5}}}', "a: weights cannot be"),
        ('{"a": {"system": 5}}', "a: system cannot be 5"),
        ('{"a": {"system": "tsm"}}', "row a: no system is called 'tsm'"),
    ],
)
def test_rows_of_ones_own_are_checked_before_the_first_training(tmp_path, capsys, rows, says):
    (tmp_path / "rows.json").write_text(rows)
    words = ["ablate", "data", "--out", str(tmp_path / "o"), "--list", str(tmp_path / "rows.json")]
    assert main([*words, "--rows", "avgn"]) == 2
    assert says in capsys.readouterr().err


def test_seeds_are_taken_once():
    assert ablate.read_seeds("0,2,0") == [0, 2]
    with pytest.raises(ArgumentError):
        ablate.read_seeds("1,-2")


def write_net(path, kind):
    save_file({name: x.contiguous() for name, x in kind().net.state_dict().items()}, path)
    return str(path)


def test_weights_reach_every_row_whose_encoders_take_them(tmp_path, capsys):
    rows = {
        "small_eyes": {"changes": {"sound": "yamnet"}},
        "both": {"changes": {"sound": "yamnet", "picture": "mobilenetv1_050"}},
        "fresh": {"changes": {"sound": "yamnet", "tau": 2.0}, "weights": {}},
        "own": {"changes": {"sound": "yamnet", "tau": 3.0}, "weights": {"sound": "own.safetensors"}},
        "plain": {"system": "tsn_nano", "changes": {"focus": "mobilenetv1_050", "sound": "yamnet"}},
    }
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    words = ["ablate", "data", "--out", str(tmp_path / "o"), "--list", str(tmp_path / "rows.json")]
    words += ["--rows", "deaf", "--weights", "sound=ear.st", "--weights", "picture=eye.st", "--dry-run"]
    assert main([*words, "--seeds", "0,1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    given = {}
    for line in lines:
        row, seed = line.split("/seed")[0].rsplit("/", 1)[1], line.split("/seed")[1][0]
        parts = line.split()
        given[row, seed] = {parts[n + 1] for n, word in enumerate(parts) if word == "--weights"}
    for seed in "01":
        assert given["small_eyes", seed] == given["plain", seed] == {"sound=ear.st"}
        assert given["both", seed] == {"sound=ear.st", "picture=eye.st"}
        assert given["fresh", seed] == given["deaf", seed] == set()
        assert given["own", seed] == {"sound=own.safetensors"}


@pytest.mark.parametrize(
    ("more", "code", "says"),
    [
        (["--weights", "sound=a.st"], 2, "--weights sound=a.st: no row has an encoder that begins with it"),
        (["--weights", "nose=a.st"], 2, "--weights nose=a.st: no row has an encoder"),
        (["--weights", "sound"], 2, "ablate: --weights sound: not SENSE=FILE"),
        (["--system", "heard", "--weights", "sound=absent.st"], 2, "no system is called 'heard'"),
    ],
)
def test_weights_for_nobody_are_refused(tmp_path, capsys, more, code, says):
    words = ["ablate", "data", "--out", str(tmp_path / "o"), "--rows", "avgn,tsn", "--dry-run"]
    assert main([*words, *more]) == code
    assert says in capsys.readouterr().err


def test_weights_are_read_before_the_first_training_and_kept_in_the_plan(tmp_path, capsys, monkeypatch):
    world = make_world(tmp_path / "world", videos=2, seed=3, workers=1)
    (tmp_path / "rows.json").write_text(json.dumps({"heard": {"changes": {"sound": "yamnet"}}}))
    words = ["ablate", str(world), "--rows", "avgn", "--list", str(tmp_path / "rows.json")]
    words += ["--out", str(tmp_path / "o"), "--weights"]
    assert main([*words, f"sound={tmp_path / 'absent'}"]) == 4
    assert "no such file of weights" in capsys.readouterr().err
    assert main([*words, f"sound={write_net(tmp_path / 'eye', MobileNetV1Half)}"]) == 4
    assert "of YAMNet are missing" in capsys.readouterr().err
    assert not (tmp_path / "o").exists()
    begun = []
    monkeypatch.setattr(ablate, "build_caches", lambda *args: None)
    monkeypatch.setattr(ablate, "work", lambda jobs, at_once: begun.extend(jobs) or jobs)
    assert main([*words, f"sound={write_net(tmp_path / 'ear', YAMNet)}"]) == 6
    assert f"sound={tmp_path / 'ear'}" in begun[0].words
    kept = json.loads((tmp_path / "o" / ablate.PLAN).read_text())["rows"]
    assert kept["heard"]["weights"] == {"sound": hashlib.sha256((tmp_path / "ear").read_bytes()).hexdigest()}
    assert kept["avgn"]["weights"] == {}
    torch.manual_seed(1)
    assert main([*words, f"sound={write_net(tmp_path / 'other', YAMNet)}"]) == 2
    assert "row heard was made there with other weights" in capsys.readouterr().err


def test_a_plan_of_an_earlier_version_had_no_weights(tmp_path):
    planned(tmp_path)
    row = {"system": "avgn_nano", "changes": {}, "data": "d", "epochs": 9, "precision": "bf16", "start": ""}
    planned(tmp_path, rows={"avgn": row | {"weights": {}}})
    with pytest.raises(ArgumentError, match="with other weights"):
        planned(tmp_path, rows={"avgn": row | {"weights": {"sound": "0"}}})


@pytest.mark.slow
def test_from_data_to_table_and_on_again(tmp_path, capsys):
    world = make_world(tmp_path / "world", videos=6, seed=3, workers=1)
    rows = {"tiny": {"changes": {"answer_width": 16}}}
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    words = [
        "ablate",
        str(world),
        "--test",
        str(world),
        "--out",
        str(tmp_path / "o"),
        "--rows",
        "order_coarse",
    ]
    words += ["--list", str(tmp_path / "rows.json"), "--epochs", "3", "--seeds", "0,1"]
    assert main(words) == 0
    shown = capsys.readouterr().out
    assert "tiny" in shown
    assert "order_coarse" in shown
    made = sorted(p.relative_to(tmp_path / "o").as_posix() for p in (tmp_path / "o").rglob("eval_k4.json"))
    assert made == [f"{row}/seed{s}/eval_k4.json" for row in ("order_coarse", "tiny") for s in (0, 1)]
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "o").rglob("*") if p.is_file()}
    assert main(words) == 0
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "o").rglob("*") if p.is_file()} == before


def planned(tmp_path, **changes):
    row = {"system": "avgn_nano", "changes": {}, "data": "d", "epochs": 9, "precision": "bf16", "start": ""}
    ablate.keep_plan(tmp_path, {"test": "t", "rows": {"avgn": row}} | changes)


def test_another_plan_may_add_rows_but_not_change_what_is_there(tmp_path):
    planned(tmp_path)
    planned(tmp_path)
    row = {"system": "tsn_nano", "changes": {}, "data": "d", "epochs": 36, "precision": "bf16", "start": ""}
    planned(tmp_path, rows={"tsn_long": row})
    planned(tmp_path, test="")
    with pytest.raises(ArgumentError, match="row tsn_long was made there with other data, epochs"):
        planned(tmp_path, rows={"tsn_long": row | {"epochs": 9, "data": "e"}})
    with pytest.raises(ArgumentError, match="of other videos"):
        planned(tmp_path, test="u")
    kept = json.loads((tmp_path / ablate.PLAN).read_text())
    assert kept["test"] == "t"
    assert list(kept["rows"]) == ["avgn", "tsn_long"]
    (tmp_path / ablate.PLAN).write_text("[")
    with pytest.raises(DataError, match="cannot be used"):
        planned(tmp_path)


def test_a_folder_that_cannot_be_one_is_told_at_once(tmp_path, capsys):
    world = make_world(tmp_path / "world", videos=2, seed=3, workers=1)
    (tmp_path / "file").write_text("x")
    words = ["ablate", str(world), "--rows", "avgn", "--out"]
    assert main([*words, str(tmp_path / "file")]) == 2
    assert "--out is a file" in capsys.readouterr().err
    (tmp_path / "o").mkdir()
    (tmp_path / "o" / "avgn").write_text("x")
    assert main([*words, str(tmp_path / "o")]) == 2
    assert "is a file where a run folder should be" in capsys.readouterr().err
    assert main([*words, str(tmp_path / "p"), "--test", str(tmp_path / "absent")]) == 2
    assert main([*words, str(tmp_path / "p"), "--start", "absent"]) in (2, 4)
    assert not (tmp_path / "p").exists()


@pytest.mark.slow
def test_when_every_training_fails_the_reason_is_told(tmp_path, capsys):
    world = make_world(tmp_path / "world", videos=4, seed=3, workers=1)
    words = ["ablate", str(world), "--rows", "avgn", "--epochs", "2", "--out", str(tmp_path / "o")]
    assert main(words) == 6
    assert "2 epochs cannot be shared by 3 stages" in capsys.readouterr().err


def test_every_row_is_in_one_stage_or_in_three(tmp_path):
    stages = {
        name: [stage.name for stage in build(row.system or "avgn_nano", classes=3, **row.changes).stages()]
        for name, row in ROWS.items()
    }
    assert stages["one_stage"] == ["all"]
    assert stages["avgn"] == ["glance", "focus", "all"]
    assert stages["blind"] == stages["glance"] == ["glance", "all"]  # there is no close look to learn
