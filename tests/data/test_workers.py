"""Processes that work for us end with the one that started them, whatever ends it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import as_completed

import pytest

from avglance.data.workers import pool

fcntl = pytest.importorskip("fcntl", reason="locks on files show who is still there")

WORKERS = 2
PATIENCE_S = 120.0  # until they have begun, on a busy machine
SCRIPT = """
import fcntl, signal, sys, time
from pathlib import Path
from avglance.data import workers
from avglance.data.making import each

workers._TIDY_S = 20.0  # a busy machine may not let them tidy up within the usual second

def make(n):
    home = Path(sys.argv[1])
    lock = (home / f"lock{n}").open("w")
    fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        (home / f"begun{n}").touch()
        for _ in range(1200):
            time.sleep(0.05)
    finally:
        (home / f"tidy{n}").touch()

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in what a shell runs in the background
    list(each(make, list(range(9)), 2))
"""


def double(n):
    return 2 * n


def is_held(path):
    """Whether a process has locked it; the lock goes with the process."""
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def wait_for(is_so, seconds):
    end = time.monotonic() + seconds
    while not is_so() and time.monotonic() < end:
        time.sleep(0.05)
    return is_so()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGINT])
def test_workers_end_with_the_one_that_started_them(tmp_path, number):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    parent = subprocess.Popen([sys.executable, str(script), str(tmp_path)], stderr=subprocess.PIPE)
    locks = [tmp_path / f"lock{n}" for n in range(WORKERS)]
    try:
        assert wait_for(lambda: all((tmp_path / f"begun{n}").exists() for n in range(WORKERS)), PATIENCE_S)
        assert all(is_held(lock) for lock in locks)
        os.kill(parent.pid, number)
        assert wait_for(lambda: not any(is_held(lock) for lock in locks), PATIENCE_S)
        _, said = parent.communicate(timeout=PATIENCE_S)
    finally:
        parent.kill()
    assert all((tmp_path / f"tidy{n}").exists() for n in range(WORKERS)), "what was begun is tidied up"
    assert not (tmp_path / f"begun{WORKERS}").exists(), "nothing more is begun"
    assert parent.returncode not in (0, None)
    assert b"SpawnProcess" not in said, "workers end without a word"


def leave_early():
    with pool(time.sleep, WORKERS) as give:
        for task in as_completed([give(n) for n in (0.0, 600.0)]):
            task.result()
            raise ZeroDivisionError


def test_leaving_early_ends_them():
    begun = time.monotonic()
    with pytest.raises(ZeroDivisionError):
        leave_early()
    assert time.monotonic() - begun < PATIENCE_S


def test_what_is_made_comes_back_and_errors_too():
    with pool(double, WORKERS) as give:
        assert [task.result() for task in [give(n) for n in range(5)]] == [0, 2, 4, 6, 8]
        with pytest.raises(TypeError):
            give(None).result()
