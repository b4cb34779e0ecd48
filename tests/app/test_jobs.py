"""Jobs beside each other: what is kept, what failed, and that none outlives its parent."""

from __future__ import annotations

import signal
import sys

import pytest

from avglance.app import jobs as running
from avglance.app.jobs import Job, last_words, one_at_a_time, work
from avglance.errors import ArgumentError


def job(tmp_path, name, code):
    """A job whose command is a line of Python in place of avglance's."""
    made = tmp_path / name
    return Job(name, ("-", code.format(made=str(made))), made, tmp_path / f"{name}.log")


@pytest.fixture
def python_jobs(monkeypatch):
    real = running.subprocess.Popen
    monkeypatch.setattr(
        running.subprocess, "Popen", lambda words, **rest: real([sys.executable, "-c", words[-1]], **rest)
    )


def test_a_failed_job_leaves_the_others_alone_and_what_is_there_is_kept(tmp_path, python_jobs, capsys):
    good = "import pathlib; pathlib.Path('{made}').write_text('x')"
    jobs = [
        job(tmp_path, "a", good),
        job(tmp_path, "b", "raise SystemExit('no room')"),
        job(tmp_path, "c", good),
    ]
    (tmp_path / "c").write_text("from before")
    failed = work(jobs, 2)
    assert [one.name for one in failed] == ["b"]
    assert (tmp_path / "a").read_text() == "x"
    assert (tmp_path / "c").read_text() == "from before"
    assert last_words(failed[0].log).endswith("no room")
    assert "2 of 2 done" in capsys.readouterr().err


def test_a_job_that_makes_nothing_has_failed(tmp_path, python_jobs):
    assert work([job(tmp_path, "a", "pass")], 1)


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_told_to_end_it_ends_its_jobs_too(tmp_path, python_jobs, name):
    """A job that waits for the signal, and writes that it came: the signal reaches it through us."""
    slow = (
        "import os, pathlib, signal, sys, time; made = pathlib.Path('{made}');"
        "signal.signal(signal.SIGTERM, lambda *_: (made.with_suffix('.ended').write_text('x'), sys.exit(1)));"
        f"os.kill(os.getppid(), signal.{name}); time.sleep(60)"
    )
    if not hasattr(signal, name):
        pytest.skip("no such signal here")
    before = signal.getsignal(getattr(signal, name))
    with pytest.raises(KeyboardInterrupt):
        work([job(tmp_path, "a", slow)], 1)
    assert (tmp_path / "a.ended").exists()
    assert signal.getsignal(getattr(signal, name)) is before


def test_what_was_left_out_is_said_and_no_failure(tmp_path, python_jobs, capsys):
    some = "import pathlib; pathlib.Path('{made}').write_text('x'); raise SystemExit(6)"
    assert work([job(tmp_path, "a", some)], 1) == []
    assert "a: something was left out" in capsys.readouterr().err
    assert work([job(tmp_path, "b", "raise SystemExit(6)")], 1)


def test_a_job_that_cannot_begin_leaves_the_others_alone(tmp_path, python_jobs, capsys):
    (tmp_path / "file").write_text("x")
    bad = Job("bad", ("-", "pass"), tmp_path / "bad", tmp_path / "file" / "bad.log")
    good = job(tmp_path, "a", "import pathlib; pathlib.Path('{made}').write_text('x')")
    assert work([bad, good], 1) == [bad]
    assert "bad cannot be started" in capsys.readouterr().err
    assert good.makes.exists()


def test_a_folder_is_for_one_at_a_time(tmp_path):
    pytest.importorskip("fcntl")
    second = pytest.raises(ArgumentError, match="another ablation is at work")
    with one_at_a_time(tmp_path / "o"), second, one_at_a_time(tmp_path / "o"):
        pass
    with one_at_a_time(tmp_path / "o"):
        pass
    (tmp_path / "file").write_text("x")
    with pytest.raises(ArgumentError, match="cannot be made"), one_at_a_time(tmp_path / "file"):
        pass
