"""``avglance ablate``: one dataset, a list of settings, several seeds; equal epochs and videos, one table."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from avglance.app.ablations import GROUPS, ROWS, Row, read_rows
from avglance.app.jobs import SOME_FAILED, Job, last_words, one_at_a_time, work
from avglance.app.train import read_weights
from avglance.errors import ArgumentError, DataError

DONE = 0
PLAN = "ablation.json"
UNSAID: dict[str, Any] = {"weights": {}}  # what records of earlier versions do not say
EPILOG = """OUT/<row>/seed<S> is a run folder of `avglance train`, with its evaluations in it as eval_*.json;
the same command goes on where it was broken off, another one adds rows, seeds and evaluations to OUT.
`avglance compare OUT` prints the table again.

Rows and groups are named with --rows; a file of your own (JSON) gives further rows:
  {"wide": {"what": "a wider AV-TeST", "changes": {"choose_width": 128}}}
Its "weights" ({"picture": "net.safetensors"}, or {} for none) are in place of those of --weights.
Exit code: 0 all done, 6 some rows failed (the others are there), 2 wrong usage, 130 interrupted."""


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
        help="folder of the runs, new or begun by such a command",
    )
    add("--rows", default="main", metavar="A,B,...", help="rows and groups, by name (default: main)")
    add("--list", type=Path, metavar="FILE", help="JSON file with rows of your own")
    add("--seeds", default="0", metavar="S,...", help="training seeds (default: 0)")
    add("--system", default="avgn_nano", metavar="NAME", help="that the rows change (default: avgn_nano)")
    add("--epochs", type=int, default=9, metavar="N", help="of every training (default: 9)")
    add("--budget", type=int, default=4, metavar="K", help="moments a video (default: 4)")
    add("--start", metavar="MODEL", help="begin the trainings of --system from this model's weights")
    add(
        "--weights",
        action="append",
        default=[],
        metavar="SENSE=FILE",
        help="begin the encoders of every row that has such ones with this file; repeatable",
    )
    add("--precision", default="float32", choices=("float32", "bf16"), help="as in `avglance train`")
    add("--jobs", type=int, metavar="J", help="trainings at once (default: one a core)")
    add("--cache", type=Path, metavar="DIR", help="where decoded videos are kept (default: DATA/.cache)")
    add("--unpack", action="store_true", help="training videos, as in `avglance train`: more room, less time")
    add(
        "--from-files",
        action="store_true",
        help="evaluate from the files in place of the cache: clocks count",
    )
    add("--skip-broken", action="store_true", help="leave out videos that cannot be read")
    add("--dry-run", action="store_true", help="print the commands and stop")


def run(args: argparse.Namespace) -> int:
    """Train, evaluate, compare; the exit code."""
    rows = chosen_rows(args)
    check_rows(rows, args.system, args.budget)
    rows = with_weights(rows, args.system, read_weights(args.weights, where="ablate"))
    trainings, looks = plan(args, rows)
    if args.dry_run:
        for job in (*trainings, *looks):
            print(shlex.join(("avglance", *job.words)))
        return DONE
    said = check(args, rows, trainings, looks)
    with one_at_a_time(args.out):
        keep_plan(args.out, said)
        build_caches(args, rows)
        failed = work(trainings, cores() if args.jobs is None else args.jobs)
        lost = {job.makes.parent for job in failed}
        at_once = 1 if args.from_files else args.jobs or cores()  # files are timed, one at a time
        failed += work([job for job in looks if job.makes.parent not in lost], at_once)
    for job in failed:
        print(f"avglance: {job.name} failed, see {job.log}: {last_words(job.log)}", file=sys.stderr)
    if len(failed) < len(trainings):
        show(args.out, f"{next(iter(rows))}@{args.budget}" if args.test is not None else None)
    return SOME_FAILED if failed else DONE


def plan(args: argparse.Namespace, rows: dict[str, Row]) -> tuple[list[Job], list[Job]]:
    """The trainings and the evaluations of the rows, done or not.

    Raises:
        ArgumentError: a number is too small.
    """
    seeds, jobs = read_seeds(args.seeds), cores() if args.jobs is None else args.jobs
    if jobs < 1 or args.epochs < 1:
        raise ArgumentError(f"--jobs {jobs}, --epochs {args.epochs}: at least 1", where="ablate")
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


def read_seeds(text: str) -> list[int]:
    """Seeds of ``0,1,2``."""
    if not all(word.isdecimal() for word in text.split(",")):
        raise ArgumentError(f"--seeds must be like 0,1,2, got {text!r}", where="ablate")
    return list(dict.fromkeys(int(word) for word in text.split(",")))


def check_rows(rows: dict[str, Row], system: str, budget: int) -> None:
    """Refuse a row that its system cannot be built or evaluated with, before the first training begins."""
    from avglance.systems import settings_of

    for name, row in rows.items():
        own = row.system or system
        where = f"row {name}"
        try:
            settings = settings_of(own, **row.changes)
        except ArgumentError as error:
            raise ArgumentError(f"{where}: {error.what}", where="ablate", hint=error.hint) from error
        except (TypeError, ValueError) as error:
            raise ArgumentError(f"{where}: {error}", where="ablate") from error
        if row.changes and settings == settings_of(own):
            hint = f"leave it out: `{own}` is so already"
            raise ArgumentError(f"{where} changes nothing in {own}", where="ablate", hint=hint)
        most: int = settings.snippets
        if max((budget, *row.budgets)) > most or budget < 1:
            what = f"{where}: K must be 1 to {most}, got {max((budget, *row.budgets))}"
            raise ArgumentError(what, where="ablate", hint="a smaller --budget")


def with_weights(rows: dict[str, Row], system: str, files: dict[str, str]) -> dict[str, Row]:
    """The rows, each with the files of weights that its encoders begin with.

    Raises:
        ArgumentError: no row has an encoder that begins with one of the files.
    """
    from avglance.systems import settings_of
    from avglance.systems.encoders import mobilenets_for

    found = {}
    for name, row in rows.items():
        settings = settings_of(row.system or system, **row.changes)
        fit = {s: file for s, file in files.items() if getattr(settings, s, None) in mobilenets_for(s)}
        found[name] = row if row.weights is not None else replace(row, weights=fit)
    taken = {sense for row in found.values() for sense in row.weights or ()}
    if left := sorted(files.keys() - taken):
        hint = f"encoders that do are for example {', '.join(mobilenets_for(left[0]))}"
        what = f"--weights {left[0]}={files[left[0]]}: no row has an encoder that begins with it"
        raise ArgumentError(what, where="ablate", hint=hint)
    return found


def check_weights(name: str, row: Row, system: str) -> dict[str, str]:
    """Checksums of the files that the encoders of a row begin with: the files fit them.

    Raises:
        ArgumentError: the system has no such encoder.
        CheckpointError: a file is not what the encoder wants.
    """
    from avglance.systems import build
    from avglance.systems.encoders import load_encoders

    if not row.weights:
        return {}
    built = build(row.system or system, classes=2, **row.changes | {"pretrained": False})
    try:
        return load_encoders(built, row.weights)
    except ArgumentError as error:
        raise ArgumentError(f"row {name}: {error.what}", where="ablate", hint=error.hint) from error


def check(
    args: argparse.Namespace, rows: dict[str, Row], trainings: list[Job], looks: list[Job]
) -> dict[str, Any]:
    """Everything that can be known to be wrong before hours of work; what the work is to be, for its record.

    Raises:
        DataError: a dataset is not what it should be.
        CheckpointError: the model to start from, or a file of weights, cannot be read.
        ArgumentError: ``--out`` cannot be used, or weights are for no encoder.
    """
    from avglance.app.api import find_model
    from avglance.data.records import TEST, read_dataset, read_training
    from avglance.systems.store import weights_of

    if args.out.exists() and not args.out.is_dir():
        raise ArgumentError("--out is a file", where=str(args.out), hint="name a folder")
    for job in (*trainings, *looks):
        for above in (job.makes.parent, job.log.parent):
            if above.exists() and not above.is_dir():
                raise ArgumentError("is a file where a run folder should be", where=str(above))
    data = read_training(args.data).sha256
    test = "" if args.test is None else read_dataset(args.test, prefer=TEST).sha256
    start = weights_of(find_model(args.start))[0] if args.start else ""
    said: dict[str, Any] = {"test": test, "rows": {}}
    for name, row in rows.items():
        said["rows"][name] = {
            "system": row.system or args.system,
            "changes": row.changes,
            "data": data,
            "epochs": args.epochs,
            "precision": args.precision,
            "start": "" if row.system else start,
            "weights": check_weights(name, row, args.system),
        }
    plain: dict[str, Any] = json.loads(json.dumps(said))
    return plain


def keep_plan(out: Path, said: dict[str, Any]) -> None:
    """Writes down what is made in ``out``, or refuses what differs from what was made there before.

    Raises:
        ArgumentError: a row was made with other data, epochs or settings, or evaluated on other videos.
        DataError: the record cannot be read or written.
    """
    file = out / PLAN
    try:
        before = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {"rows": {}}
        known = before.get("test") or said["test"]
        hint = "repeat the command that began it to go on, or name a new folder"
        if said["test"] and known != said["test"]:
            raise ArgumentError("the evaluations there are of other videos", where=str(out), hint=hint)
        for name, row in said["rows"].items():
            old = UNSAID | before["rows"].get(name, row)
            other = [key for key in row if old.get(key) != row[key]]
            if other:
                what = f"row {name} was made there with other {', '.join(other)}"
                raise ArgumentError(what, where=str(out), hint=hint)
        merged = {"test": known, "rows": before["rows"] | said["rows"]}
        if merged == before:
            return
        part = file.with_name(f".{PLAN}.part")
        part.write_text(json.dumps(merged, indent=1) + "\n", encoding="utf-8")
        part.replace(file)
    except (OSError, ValueError, KeyError, AttributeError) as error:
        if isinstance(error, ArgumentError):
            raise
        raise DataError(f"cannot be used ({error})", where=str(file)) from error


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
    words += ["--skip-broken"] if args.skip_broken else []
    words += ["--start", args.start] if args.start and not row.system else []
    for sense, file in (row.weights or {}).items():
        words += ["--weights", f"{sense}={file}"]
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
        files = "_files" if args.from_files else ""
        file = out / f"eval_k{k}{files}{control.replace('--', '_').replace(' ', '_').replace('-', '_')}.json"
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
            threads = max(1, cores() // (args.jobs or cores()))
            words += ["--cache", str(cache_home(args, args.test)), "--threads", str(threads)]
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
    from avglance.data.records import TEST, Dataset, read_dataset, read_training
    from avglance.systems import settings_of

    views = {settings_of(row.system or args.system, **row.changes).view for row in rows.values()}
    sets: list[tuple[Dataset, Path, dict[str, bool]]] = []
    how = {"skip_broken": args.skip_broken, "unpack": args.unpack}
    sets.append((read_training(args.data), cache_home(args, args.data), how))
    if args.test is not None and not args.from_files:
        test = read_dataset(args.test, prefer=TEST)
        sets.append((test, cache_home(args, args.test), {"skip_broken": True}))
    live = sys.stderr.isatty()
    for dataset, home, options in sets:
        for view in views:
            tell = partial(_step, progress(live=live))
            build_cache(dataset, view, home, progress=tell, **options)


def cache_home(args: argparse.Namespace, data: Path) -> Path:
    """Where the caches of a dataset lie: a folder, or a list in one."""
    home: Path = args.cache or (data if data.is_dir() else data.parent) / ".cache"
    return home


def _step(tell: Callable[[int, int, int], None], done: int, total: int) -> None:
    tell(done, total, 0)


def show(out: Path, baseline: str | None) -> None:
    """Prints the table of all runs, with differences to the first row that was asked for."""
    from avglance.app.compare_table import COLUMNS, text
    from avglance.app.render import Ink
    from avglance.evaluation.compare import compare

    try:
        found: Any = compare([str(out)], baseline=baseline)
    except ArgumentError:  # that row is not there: it has failed
        found = compare([str(out)], baseline=None)
    print(text(found, Ink(sys.stdout), stages=False, width=COLUMNS), flush=True)
