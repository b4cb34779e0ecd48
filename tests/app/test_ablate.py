"""``avglance ablate``: which commands it runs, what it leaves, and what it refuses."""

from __future__ import annotations

import json
import signal
import sys

import pytest

from avglance.app import ablate
from avglance.app.ablations import GROUPS, ROWS
from avglance.app.cli import main
from avglance.data.glanceworld import make_world
from avglance.errors import ArgumentError
from avglance.systems import settings_of


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
        (["--jobs", "0", "--epochs", "0"], "at least 1"),
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
    ],
)
def test_rows_of_ones_own_are_checked_before_the_first_training(tmp_path, capsys, rows, says):
    (tmp_path / "rows.json").write_text(rows)
    words = ["ablate", "data", "--out", str(tmp_path / "o"), "--list", str(tmp_path / "rows.json")]
    assert main([*words, "--rows", "avgn"]) == 2
    assert says in capsys.readouterr().err


def job(tmp_path, name, code):
    """A job whose command is a line of Python in place of avglance's."""
    made = tmp_path / name
    return ablate.Job(name, ("-", code.format(made=str(made))), made, tmp_path / f"{name}.log")


@pytest.fixture
def python_jobs(monkeypatch):
    real = ablate.subprocess.Popen
    monkeypatch.setattr(
        ablate.subprocess, "Popen", lambda words, **rest: real([sys.executable, "-c", words[-1]], **rest)
    )


def test_a_failed_job_leaves_the_others_alone_and_what_is_there_is_kept(tmp_path, python_jobs, capsys):
    good = "import pathlib; pathlib.Path('{made}').write_text('x')"
    jobs = [
        job(tmp_path, "a", good),
        job(tmp_path, "b", "raise SystemExit('no room')"),
        job(tmp_path, "c", good),
    ]
    (tmp_path / "c").write_text("from before")
    failed = ablate.work(jobs, 2)
    assert [one.name for one in failed] == ["b"]
    assert (tmp_path / "a").read_text() == "x"
    assert (tmp_path / "c").read_text() == "from before"
    assert ablate.last_words(failed[0].log).endswith("no room")
    assert "2 of 2 done" in capsys.readouterr().err


def test_a_job_that_makes_nothing_has_failed(tmp_path, python_jobs):
    assert ablate.work([job(tmp_path, "a", "pass")], 1)


def test_told_to_end_it_ends_its_jobs_too(tmp_path, python_jobs):
    """A job that waits for the signal, and writes that it came: the signal reaches it through us."""
    slow = (
        "import os, pathlib, signal, sys, time; made = pathlib.Path('{made}');"
        "signal.signal(signal.SIGTERM, lambda *_: (made.with_suffix('.ended').write_text('x'), sys.exit(1)));"
        "os.kill(os.getppid(), signal.SIGTERM); time.sleep(60)"
    )
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt):
        ablate.work([job(tmp_path, "a", slow)], 1)
    assert (tmp_path / "a.ended").exists()
    assert signal.getsignal(signal.SIGTERM) is before


def test_seeds_are_taken_once():
    assert ablate.read_seeds("0,2,0") == [0, 2]
    with pytest.raises(ArgumentError):
        ablate.read_seeds("1,-2")


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
