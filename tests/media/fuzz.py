"""Fuzzing of ``check``, ``tag`` and the reader: damaged files by the thousand, watched from another process.

python -m tests.media.fuzz --files 10000 --seed 0          # a table, and exit code 1 if anything is wrong
python -m tests.media.fuzz --seconds 3600 --keep found     # files that show a defect stay in a folder
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from tests.media.fuzz_corpus import make_corpus, real_files
from tests.media.fuzz_worker import SAMPLE_EVERY, Job, damaged

CALLS = ("check", "tag", "read")  # in the order in which a file goes through them
ROOT = Path(__file__).resolve().parents[2]
BATCH = 10_000  # files one process goes through
WARM_FILES = 500  # what memory and handles are compared with
GROWTH_MB = 64.0
_LATE_S = 5.0  # a busy machine is late; a call that takes this much longer than its limit is a defect
_START_S = 120.0
_LEAVE_S = 10.0


@dataclass
class Defect:
    """One finding: which file, in which call, what was wrong."""

    index: int
    call: str
    what: str
    text: str


@dataclass
class Outcome:
    """What a run met."""

    files: int = 0
    seconds: float = 0.0
    times_s: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in CALLS})
    slowest: dict[str, tuple[float, int, str]] = field(default_factory=dict)
    verdicts: dict[str, Counter[str]] = field(default_factory=lambda: {name: Counter() for name in CALLS})
    reasons: dict[str, Counter[str]] = field(default_factory=lambda: {name: Counter() for name in CALLS})
    samples: list[list[dict[str, float]]] = field(default_factory=list)  # one list a process
    defects: list[Defect] = field(default_factory=list)


class _Watched:
    """The working process and its answers, with a limit on its silence."""

    def __init__(self, job: Job) -> None:
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": _path()}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.media.fuzz_worker", json.dumps(asdict(job))],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=environment,
            start_new_session=True,
        )
        self._lines: queue.Queue[str | None] = queue.Queue()
        self.errors: list[str] = []
        self._reader = threading.Thread(target=self._read_errors, daemon=True)
        self._reader.start()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line)
        self._lines.put(None)

    def _read_errors(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.errors[:] = [*self.errors[-60:], line]

    def line(self, patience_s: float) -> dict[str, Any] | None:
        """The next thing it says; None: it has ended.

        Raises:
            queue.Empty: it has been silent for too long.
        """
        line = self._lines.get(timeout=patience_s)
        return None if line is None else json.loads(line)

    def stop(self, patience_s: float = 0.0) -> int:
        """End it and what it started; its exit status."""
        if not patience_s:
            self._kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(patience_s)
        self._kill()
        return self.process.wait()

    def trace(self) -> str:
        """Where it stands: made to abort, it says so."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGABRT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(_LEAVE_S)
        self._reader.join(_LEAVE_S)
        return "".join(self.errors[-40:])

    def _kill(self) -> None:
        if not hasattr(os, "killpg"):  # Windows: what it started ends by itself
            self.process.kill()
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)


def _path() -> str:
    """Where the working process finds the packages: the places that this one has, in their order."""
    return os.pathsep.join([str(ROOT), *(entry for entry in sys.path if entry)])


def fuzz(
    *,
    files: int = 0,
    seconds: float = 0.0,
    seed: int = 0,
    corpus: list[Path],
    keep: Path | None = None,
    limit_s: float = 10.0,
    isolate: bool = True,
    quick: bool = True,
) -> Outcome:
    """Go through damaged files until so many, or for so long.

    Args:
        files: how many; 0: as many as there is time for.
        seconds: how long; 0: as long as it takes.
        seed: of the damage; file n of a seed is always the same one.
        corpus: the whole files.
        keep: a folder for files that show a defect.
        limit_s: what a call may take.
        isolate: decode in another process, as ``tag_many`` does by default.
        quick: ``check`` reads packets; else it decodes everything.
    """
    out, start = Outcome(), time.monotonic()
    first, last = 0, files or 10**9
    names = [str(path) for path in corpus]
    until = start + (seconds or 1e9)
    with tempfile.TemporaryDirectory(prefix="fuzz-", ignore_cleanup_errors=True) as folder:
        while first < last and time.monotonic() < until:
            job = Job(names, folder, seed, first, min(first + BATCH, last), limit_s, isolate, quick)
            first = _batch(job, out, until)
    out.files, out.seconds = first, time.monotonic() - start
    out.defects += _growth(out)
    if keep is not None:
        _keep(out, keep, corpus, seed)
    return out


def _batch(job: Job, out: Outcome, until: float) -> int:
    """One process, up to its end, its crash, or the end of the time: the next file to look at."""
    watched = _Watched(job)
    at, text, call, patience = job.first - 1, "", "start", _START_S
    out.samples.append([])
    try:
        while time.monotonic() < until:
            line = watched.line(patience)
            if line is None:
                status, tail = watched.stop(_LEAVE_S), "".join(watched.errors[-40:])
                out.defects.append(Defect(at, call, f"the process ended with status {status}\n{tail}", text))
                break
            if "over" in line:
                return job.last
            if "start" in line:
                at, text, call = line["start"], line["text"], "check"
                patience = 2 * job.limit_s + 3 * _LATE_S
            elif "done" in line:
                _count(line, out, job.limit_s)
                call = CALLS[(CALLS.index(line["call"]) + 1) % len(CALLS)]
            elif "sample" in line:
                out.samples[-1].append(line)
    except queue.Empty:
        out.defects.append(
            Defect(at, call, f"silent for {patience:.0f} s: it hangs\n{watched.trace()}", text)
        )
    finally:
        watched.stop()
    return job.last if call == "start" else at + 1  # one that does not even start will not start again


def _count(line: dict[str, Any], out: Outcome, limit_s: float) -> None:
    call, took = line["call"], line["seconds"]
    out.times_s[call].append(took)
    out.verdicts[call][line["verdict"]] += 1
    out.reasons[call].update(line.get("kinds", ()))
    if took > out.slowest.get(call, (0.0, 0, ""))[0]:
        out.slowest[call] = (took, line["done"], line["text"])
    faults = list(line["faults"])
    if took > limit_s + _LATE_S:
        faults.append(f"took {took:.1f} s, the limit is {limit_s:g} s")
    out.defects += [Defect(line["done"], call, what, line["text"]) for what in faults]


def _growth(out: Outcome) -> Iterator[Defect]:
    """Memory or handles that grew after the first files of a process."""
    for samples in out.samples:
        warm = [one for one in samples if one["sample"] - samples[0]["sample"] >= WARM_FILES]
        if len(warm) < 8:
            continue
        early, late = warm[: len(warm) // 4], warm[-(len(warm) // 4) :]
        for name, most in (("rss_mb", GROWTH_MB), ("handles", 4.0), ("threads", 4.0)):
            grown = np.median([one[name] for one in late]) - np.median([one[name] for one in early])
            if grown > most:
                yield Defect(int(late[-1]["sample"]), "run", f"{name} grew by {grown:.1f}", "")


def _keep(out: Outcome, folder: Path, corpus: list[Path], seed: int) -> None:
    for defect in out.defects:
        if defect.index < 0 or defect.call in ("run", "start"):
            continue
        folder.mkdir(parents=True, exist_ok=True)
        raw, suffix, _ = damaged(corpus, seed, defect.index)
        name = f"seed{seed}-{defect.index}"
        (folder / f"{name}{suffix}").write_bytes(raw)
        (folder / f"{name}.txt").write_text(f"{defect.call}\n{defect.text}\n{defect.what}\n")


# ---- what is printed ----


def table(out: Outcome) -> str:
    """The run in words and figures."""
    lines = [f"files {out.files}, {out.seconds:.0f} s"]
    for call, times in out.times_s.items():
        if times:
            ms = np.array(times) * 1000
            middle, high, most = np.median(ms), np.percentile(ms, 95), ms.max()
            lines.append(f"{call:6} ms a file: median {middle:.0f}, 95 % {high:.0f}, most {most:.0f}")
            lines.append(f"       slowest: {out.slowest[call][1]} ({out.slowest[call][2]})")
            lines.append(f"       answers: {_counted(out.verdicts[call])}")
            lines.append(f"       reasons: {_counted(out.reasons[call])}")
    for samples in out.samples:
        warm = [one for one in samples if one["sample"] - samples[0]["sample"] >= WARM_FILES - SAMPLE_EVERY]
        shown = [one for one in warm if one is warm[-1] or one["sample"] % (5 * SAMPLE_EVERY) == 0]
        lines += [f"held after {one['sample']:.0f} files: {_held(one)}" for one in shown]
    lines.append(f"defects {len(out.defects)}")
    lines += [f"  {one.index} {one.call}: {one.what.strip()}\n    {one.text}" for one in out.defects]
    return "\n".join(lines)


def _counted(counter: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counter.most_common()) or "none"


def _held(sample: dict[str, float]) -> str:
    held = f"{sample['rss_mb']:.0f} MB, {sample['handles']:.0f} handles, {sample['threads']:.0f} threads"
    return f"{held}; at most {sample.get('peak_mb', 0):.0f} MB in one process"


def main(argv: list[str] | None = None) -> int:
    """The command line; 1 where a defect was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--files", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=float, default=10.0, help="seconds that one call may take")
    parser.add_argument("--corpus", type=Path, help="a folder of whole files, in place of the real ones")
    parser.add_argument("--keep", type=Path, help="a folder for files that show a defect")
    parser.add_argument("--isolate", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--quick", action=argparse.BooleanOptionalAction, default=True, help="of check")
    args = parser.parse_args(argv)
    if not args.files and not args.seconds:
        args.seconds = 60.0
    os.environ.setdefault("SVT_LOG", "-1")  # the encoder of AV1 is talkative
    with tempfile.TemporaryDirectory(prefix="corpus-") as folder:
        real = (
            real_files() if args.corpus is None else sorted(p for p in args.corpus.rglob("*") if p.is_file())
        )
        out = fuzz(
            files=args.files,
            seconds=args.seconds,
            seed=args.seed,
            corpus=make_corpus(Path(folder)) + real,
            keep=args.keep,
            limit_s=args.limit,
            isolate=args.isolate,
            quick=args.quick,
        )
    print(table(out))
    return 1 if out.defects else 0


if __name__ == "__main__":
    sys.exit(main())
