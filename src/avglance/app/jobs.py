"""Commands of ours run beside each other as processes: each once, resumable, ended with their parent."""

from __future__ import annotations

import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from avglance.app.render import clean, clock
from avglance.errors import ArgumentError

SOME_FAILED = 6  # a command's exit code: something was left out, the rest is there
LOCK = ".lock"
POLL_S = 0.5
SHOWN = 400  # characters of a failed command's last words


@dataclass(frozen=True)
class Job:
    """A command to run once: what it makes is there when it is done."""

    name: str
    words: tuple[str, ...]
    makes: Path
    log: Path


@contextmanager
def one_at_a_time(out: Path) -> Iterator[None]:
    """Makes ``out`` and keeps a second ablation from it meanwhile (where the system can lock files).

    Raises:
        ArgumentError: another one is at work there, or the folder cannot be made.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        lock = (out / LOCK).open("a")
    except OSError as error:
        raise ArgumentError(f"cannot be made: {error.strerror}", where=str(out)) from error
    with lock:
        try:
            import fcntl

            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except ImportError:
            pass
        except OSError as error:
            hint = "wait for it, or name another folder"
            raise ArgumentError("another ablation is at work there", where=str(out), hint=hint) from error
        yield


def work(todo: list[Job], at_once: int) -> list[Job]:
    """Runs the jobs whose product is missing, so many at once; those that failed.

    Raises:
        KeyboardInterrupt: Ctrl-C or an end of the terminal; running trainings have saved their state.
    """
    waiting = [job for job in todo if not job.makes.exists()]
    total, begun, failed = len(waiting), time.monotonic(), list[Job]()
    running: dict[Job, subprocess.Popen[bytes]] = {}
    with _told_to_end():
        try:
            while waiting or running:
                while waiting and len(running) < at_once:
                    _begin(waiting.pop(0), running, failed)
                time.sleep(POLL_S)
                for job in [job for job, child in running.items() if child.poll() is not None]:
                    if not _is_done(job, running.pop(job).returncode):
                        failed.append(job)
                    done = total - len(waiting) - len(running)
                    left = clock(round((time.monotonic() - begun) / done * (total - done))).removesuffix(".0")
                    print(f"{done} of {total} done, {left} left: {job.name}", file=sys.stderr, flush=True)
        except BaseException:
            for child in running.values():
                child.terminate()  # a training saves its state; in the background Ctrl-C may be ignored
            for child in running.values():
                child.wait()
            raise
    return failed


@contextmanager
def _told_to_end() -> Iterator[None]:
    """Inside, signals that end a process are a KeyboardInterrupt: what runs would be left behind."""
    ends = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {number: signal.signal(number, signal.default_int_handler) for number in ends}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _begin(job: Job, running: dict[Job, subprocess.Popen[bytes]], failed: list[Job]) -> None:
    try:
        running[job] = start(job)
    except OSError as error:
        failed.append(job)
        print(f"avglance: {job.name} cannot be started: {error}", file=sys.stderr)


def _is_done(job: Job, code: int) -> bool:
    """Whether a job that ended with ``code`` made what it should; what it left out is said."""
    if code == SOME_FAILED and job.makes.exists():
        print(f"avglance: {job.name}: something was left out, see {job.log}", file=sys.stderr)
        return True
    return code == 0 and job.makes.exists()


def start(job: Job) -> subprocess.Popen[bytes]:
    """The command of a job as a process of its own; what it says goes to the job's log."""
    job.log.parent.mkdir(parents=True, exist_ok=True)
    with job.log.open("ab") as log:
        log.write(f"$ {shlex.join(('avglance', *job.words))}\n".encode())
        log.flush()
        words = [sys.executable, "-c", "from avglance.app.cli import entry; entry()", *job.words]
        return subprocess.Popen(
            words, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True
        )


def last_words(log: Path) -> str:
    """The end of a log, as one clean line."""
    try:
        text = log.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return "nothing was written"
    told = [line for line in text.splitlines() if line.strip()]
    return clean(" ".join(told[-3:]), SHOWN)
