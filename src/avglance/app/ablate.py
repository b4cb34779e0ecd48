"""``avglance ablate``: one dataset, a list of settings, several seeds; equal epochs and videos, one table."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from avglance.app.ablations import GROUPS, ROWS, Row
from avglance.app.render import clean, clock
from avglance.errors import ArgumentError, DataError

DONE, SOME_FAILED = 0, 6
POLL_S = 0.5
SHOWN = 400  # characters of a failed command's last words
EPILOG = """OUT/<row>/seed<S> is a run folder of `avglance train`, with its evaluations in it as eval_*.json;
the same command goes on where it was broken off. `avglance compare OUT` prints the table again.

Rows and groups are named with --rows; a file of your own (JSON) gives further rows:
  {"wide": {"what": "a wider AV-TeST", "changes": {"choose_width": 128}}}
Exit code: 0 all done, 6 some rows failed (the others are there), 2 wrong usage, 130 interrupted."""


@dataclass(frozen=True)
class Job:
    """A command to run once: what it makes is there when it is done."""

    name: str
    words: tuple[str, ...]
    makes: Path
    log: Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``avglance ablate``."""
    listed = "\n".join(f"  {name:<18} {row.what}" for name, row in ROWS.items())
    parser.epilog = f"{EPILOG}\n\nrows:\n{listed}\ngroups:\n" + "\n".join(
        f"  {name:<18} {len(rows)} rows" for name, rows in GROUPS.items()
    )
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add = parser.add_argument
    add("data", metavar="DATA", type=Path, help="dataset folder to train on")
    add(
        "--test",
        type=Path,
        metavar="DATA",
        help="dataset folder to evaluate on (default: none, held out only)",
    )
    add(
        "--out",
        type=Path,
        required=True,
        metavar="OUT",
        help="folder of the runs, new or of the same command",
    )
    add("--rows", default="main", metavar="A,B,...", help="rows and groups, by name (default: main)")
    add("--list", type=Path, metavar="FILE", help="JSON file with rows of your own")
    add("--seeds", default="0", metavar="S,...", help="training seeds (default: 0)")
    add("--system", default="avgn_nano", metavar="NAME", help="that the rows change (default: avgn_nano)")
    add("--epochs", type=int, default=9, metavar="N", help="of every training (default: 9)")
    add("--budget", type=int, default=4, metavar="K", help="moments a video (default: 4)")
    add("--start", metavar="MODEL", help="begin every training from this model's weights, where they fit")
    add("--precision", default="float32", choices=("float32", "bf16"), help="as in `avglance train`")
    add("--jobs", type=int, metavar="J", help="trainings at once (default: one a core)")
    add("--cache", type=Path, metavar="DIR", help="where decoded videos are kept (default: DATA/.cache)")
    add(
        "--from-files",
        action="store_true",
        help="evaluate from the files in place of the cache: clocks count",
    )
    add("--dry-run", action="store_true", help="print the commands and stop")


def run(args: argparse.Namespace) -> int:
    """Train, evaluate, compare; the exit code."""
    rows = chosen_rows(args)
    trainings, looks = plan(args, rows)
    if args.dry_run:
        for job in (*trainings, *looks):
            print(shlex.join(("avglance", *job.words)))
        return DONE
    build_caches(args, rows)
    args.out.mkdir(parents=True, exist_ok=True)
    failed = work(trainings, args.jobs or cores())
    lost = {job.makes.parent for job in failed}
    failed += work([job for job in looks if job.makes.parent not in lost], 1)
    show(args.out)
    for job in failed:
        print(f"avglance: {job.name} failed, see {job.log}: {last_words(job.log)}", file=sys.stderr)
    return SOME_FAILED if failed else DONE


def plan(args: argparse.Namespace, rows: dict[str, Row]) -> tuple[list[Job], list[Job]]:
    """The trainings and the evaluations of the rows, done or not.

    Raises:
        ArgumentError: a number is too small, or a row cannot be built.
    """
    seeds, jobs = read_seeds(args.seeds), args.jobs or cores()
    if jobs < 1 or args.epochs < 1:
        raise ArgumentError(f"--jobs {jobs}, --epochs {args.epochs}: at least 1", where="ablate")
    check_rows(rows, args.system)
    each = [(name, row, seed) for seed in seeds for name, row in rows.items()]
    trainings = [training(args, name, row, seed, jobs) for name, row, seed in each]
    return trainings, [job for name, row, seed in each for job in evaluations(args, name, row, seed)]


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def chosen_rows(args: argparse.Namespace) -> dict[str, Row]:
    """The rows that ``--rows`` and ``--list`` name, each once, in their order.

    Raises:
        ArgumentError: a name is unknown, or the file is not what it should be.
    """
    known = ROWS | (read_rows(args.list) if args.list is not None else {})
    names: list[str] = [] if args.list is None else [name for name in known if name not in ROWS]
    for word in args.rows.split(","):
        if word not in known and word not in GROUPS:
            what = f"no row or group is called {word!r}"
            raise ArgumentError(what, where="--rows", hint="`avglance ablate --help` names them all")
        names += GROUPS.get(word, (word,))
    return {name: known[name] for name in names}


def read_rows(path: Path) -> dict[str, Row]:
    """Rows of a JSON file: name -> what, changes, system, budgets, controls; each may be left out."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        rows = {}
        for name, given in found.items():
            given = {key: tuple(v) if isinstance(v, list) else v for key, v in given.items()}
            rows[name] = Row(**{"what": name, **given})
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror})", where=str(path)) from error
    except (ValueError, TypeError, AttributeError) as error:
        hint = 'like {"name": {"changes": {"tau": 0.5}}}'
        raise DataError(f"does not hold rows: {error}", where=str(path), hint=hint) from error
    for name in rows:
        if not name or name.startswith(("seed", ".")) or not all(c.isalnum() or c in "_-." for c in name):
            hint = "letters, digits, _ and -, not beginning with seed"
            raise ArgumentError(f"{name!r} cannot name a row's folder", where=str(path), hint=hint)
    return rows


def read_seeds(text: str) -> list[int]:
    """Seeds of ``0,1,2``."""
    if not all(word.isdecimal() for word in text.split(",")):
        raise ArgumentError(f"--seeds must be like 0,1,2, got {text!r}", where="ablate")
    return list(dict.fromkeys(int(word) for word in text.split(",")))


def check_rows(rows: dict[str, Row], system: str) -> None:
    """Refuse a row that its system cannot be built with, before the first training begins."""
    from avglance.systems import settings_of

    for name, row in rows.items():
        try:
            settings_of(row.system or system, **row.changes)
        except ArgumentError as error:
            raise ArgumentError(f"row {name}: {error.what}", where="ablate", hint=error.hint) from error


def folder(args: argparse.Namespace, name: str, seed: int) -> Path:
    """The run folder of a row and a seed."""
    home: Path = args.out / name / f"seed{seed}"
    return home


def training(args: argparse.Namespace, name: str, row: Row, seed: int, jobs: int) -> Job:
    """The training of a row."""
    out = folder(args, name, seed)
    words = ["train", str(args.data), "--system", row.system or args.system, "--out", str(out)]
    words += ["--epochs", str(args.epochs), "--seed", str(seed), "--precision", args.precision]
    words += ["--threads", str(max(1, cores() // jobs)), "--workers", "1"]
    words += ["--cache", str(args.cache)] if args.cache else []
    words += ["--start", args.start] if args.start and not row.system else []
    for key, value in row.changes.items():
        words += ["--setting", key, str(value)]
    return Job(f"{name} seed {seed}", tuple(words), out / "model", out.with_name(f"seed{seed}.log"))


def evaluations(args: argparse.Namespace, name: str, row: Row, seed: int) -> Iterator[Job]:
    """The evaluations of a row: at each budget, and each control at the budget asked for."""
    if args.test is None:
        return
    out = folder(args, name, seed)
    asked = [(k, "") for k in dict.fromkeys((args.budget, *row.budgets))]
    asked += [(args.budget, control) for control in row.controls if control]
    for k, control in asked:
        file = out / f"eval_k{k}{control.replace('--', '_').replace(' ', '_').replace('-', '_')}.json"
        words = [
            "eval",
            str(out / "model"),
            str(args.test),
            "--budget",
            str(k),
            "--out",
            str(file),
            "--quiet",
        ]
        words += control.split()
        if not args.from_files:
            words += ["--cache", str(args.cache or args.test / ".cache")]
        yield Job(
            f"{name} seed {seed} K={k} {control}".strip(),
            tuple(words),
            file,
            out.with_name(f"seed{seed}.log"),
        )


def build_caches(args: argparse.Namespace, rows: dict[str, Row]) -> None:
    """Makes every cache that the jobs will read: two that make one would be in each other's way."""
    from avglance.app.eval import progress
    from avglance.data.cache import build_cache
    from avglance.data.records import read_dataset
    from avglance.systems import settings_of

    views = {settings_of(row.system or args.system, **row.changes).view for row in rows.values()}
    sets = [args.data] + ([args.test] if args.test is not None and not args.from_files else [])
    live = sys.stderr.isatty()
    for data in sets:
        dataset = read_dataset(data)
        for view in views:
            build_cache(
                dataset, view, args.cache or data / ".cache", progress=partial(_step, progress(live=live))
            )


def _step(tell: Callable[[int, int, int], None], done: int, total: int) -> None:
    tell(done, total, 0)


def work(todo: list[Job], at_once: int) -> list[Job]:
    """Runs the jobs whose product is missing, so many at once; those that failed.

    Raises:
        KeyboardInterrupt: Ctrl-C; running trainings have saved their state.
    """
    waiting = [job for job in todo if not job.makes.exists()]
    total, begun, failed = len(waiting), time.monotonic(), list[Job]()
    running: dict[Job, subprocess.Popen[bytes]] = {}
    before = signal.signal(
        signal.SIGTERM, signal.default_int_handler
    )  # or the trainings would be left behind
    try:
        while waiting or running:
            while waiting and len(running) < at_once:
                job = waiting.pop(0)
                running[job] = start(job)
            time.sleep(POLL_S)
            for job in [job for job, child in running.items() if child.poll() is not None]:
                if running.pop(job).returncode or not job.makes.exists():
                    failed.append(job)
                done = total - len(waiting) - len(running)
                left = (time.monotonic() - begun) / done * (total - done)
                print(
                    f"{done} of {total} done, {clock(round(left)).removesuffix('.0')} left: {job.name}",
                    file=sys.stderr,
                    flush=True,
                )
    except BaseException:
        for child in running.values():
            child.terminate()  # a training saves its state; in the background Ctrl-C may be ignored
        for child in running.values():
            child.wait()
        raise
    finally:
        signal.signal(signal.SIGTERM, before)
    return failed


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


def show(out: Path) -> None:
    """Prints the table of all runs."""
    from avglance.app.compare_table import COLUMNS, text
    from avglance.app.render import Ink
    from avglance.evaluation.compare import compare

    found: Any = compare([str(out)], baseline=None, each_data=False)
    print(text(found, Ink(sys.stdout), stages=False, width=COLUMNS), flush=True)
