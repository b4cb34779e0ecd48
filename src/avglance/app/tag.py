"""``avglance tag``: what happens in these videos, where to look, and what it cost to find out."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avglance.app import reading
from avglance.app.ahead import MOST_AT_ONCE, cores
from avglance.app.machine import wait_idly
from avglance.app.render import Ink, Progress, clean, failure_text, json_line, table
from avglance.errors import ArgumentError
from avglance.types import Failure, Recognition

if TYPE_CHECKING:
    from avglance.app.answer import Sightings
    from avglance.app.api import Model
    from avglance.app.report import Entry

DONE, BUG, UNREADABLE, SOME_FAILED = 0, 1, 3, 6
MOST_THREADS = 1024  # far more than help; a system that has no more to give fails in strange ways
EPILOG = """A folder stands for all files in it and below, in the order of their names (but for hidden ones).
On a terminal the answer is a table; piped, or with --json, one JSON object a video and line.
Exit code: 0 all answered, 3 the one file cannot be read, 6 some of several cannot."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``avglance tag``."""
    parser.epilog = EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "inputs", nargs="+", metavar="INPUT", type=Path, help="video or sound file, or a folder"
    )
    parser.add_argument(
        "--model",
        default="avgn_mobile.ucf7",
        metavar="NAME",
        help="shipped model or model folder (default: %(default)s; `avglance models` lists them)",
    )
    parser.add_argument(
        "--top",
        type=int,
        default=5,
        metavar="N",
        help="labels to name (default: 5); of several labels a video all that the model says are there",
    )
    parser.add_argument(
        "--budget",
        metavar="N",
        help="what a video may cost: close looks (4), multiply-adds on average (8GMAC) or seconds (2s); "
        "default: 4",
    )
    parser.add_argument(
        "--exit",
        dest="exit_early",
        action=argparse.BooleanOptionalAction,
        help="stop looking when sure (default: with a budget in GMAC or s, where the model can)",
    )
    reading.add_speed(parser)
    parser.add_argument(
        "--precision",
        default="float32",
        choices=("auto", "float32", "bf16"),
        help="of the encoders: bf16 (by torch or openvino) is quicker on some machines and differs in the "
        "third digit; auto: by torch what is quicker here, measured once, by openvino bf16 where the "
        "processor has it, by onnx float32 (default: float32)",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object a line, also on a terminal")
    parser.add_argument("--report", type=Path, metavar="OUT.html", help="write a page to look at, one file")
    parser.add_argument("--force", action="store_true", help="replace OUT.html if it is there")
    parser.add_argument(
        "--device", default="auto", choices=("auto", "cpu", "cuda", "mps"), help="where to compute"
    )
    parser.add_argument(
        "--runtime",
        default="auto",
        choices=("auto", "torch", "onnx", "openvino"),
        help="what computes: torch, or with the graphs beside the weights onnx or openvino, which need no "
        "torch; default: onnx where the model has graphs, unless the device is a GPU",
    )
    parser.add_argument(
        "--threads", type=int, default=0, metavar="N", help="threads (default: as many as fit)"
    )
    parser.add_argument("--quiet", action="store_true", help="no progress on stderr")
    reading.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Tag everything that was named, printing each answer when it is there; the exit code."""
    check_values(args)
    asked = {
        "budget": args.budget,
        "exit_early": args.exit_early,
        "top": args.top,
        "threads": args.threads,
        "grid": args.grid,
        "rough": args.rough,
        "glance_pictures": args.glance_pictures,
        **reading.reading(args),
    }
    files = list(expand(args.inputs))
    if args.report is not None:
        check_report(args, files)
    wait_idly()
    from avglance.app import api
    from avglance.media import Decoders

    show_log()
    as_lines = args.json or not sys.stdout.isatty()
    entries: list[Entry] = []
    with ExitStack() as stack:
        if not args.in_process:  # it starts while the model loads
            asked["isolate"] = stack.enter_context(Decoders(ready=1))
        else:
            asked["isolate"] = False
        model = api.load(
            args.model,
            device=args.device,
            runtime=args.runtime,
            threads=args.threads or (1 if len(files) > 1 else 0),  # then files are side by side
            precision=args.precision,
        )
        model.plan(args.budget, args.exit_early, args.glance_pictures)
        try:
            answers = stream(model, files, args, asked)
            failures = [a for a in (show(x, as_lines, entries, args) for x in answers) if a]
        finally:
            if args.report is not None and entries:
                write_report(entries, args)
    return exit_code(failures, len(files), quiet=args.quiet)


class CleanLines(logging.Formatter):
    """Log lines without control characters, whatever a file name or a message brought along."""

    def format(self, record: logging.LogRecord) -> str:
        """The record, line by line."""
        return "\n".join(clean(line, 2000) for line in super().format(record).splitlines())


def show_log() -> None:
    """Let warnings and traces of the package appear on stderr."""
    handler = logging.StreamHandler()
    handler.setFormatter(CleanLines("avglance: %(message)s"))
    logging.getLogger("avglance").handlers = [handler]


def check_values(args: argparse.Namespace) -> None:
    """Refuse what cannot work before anything is loaded."""
    if args.top < 1:
        raise ArgumentError(f"--top must be at least 1, got {args.top}", where="tag")
    if args.threads < 0:
        raise ArgumentError(f"--threads must be 0 or more, got {args.threads}", where="tag")
    if args.threads > MOST_THREADS:
        hint = "as many as the machine has cores; 0 takes as many as fit"
        what = f"--threads must be at most {MOST_THREADS}, got {args.threads}"
        raise ArgumentError(what, where="tag", hint=hint)


def check_report(args: argparse.Namespace, files: Sequence[Path]) -> None:
    """Refuse a place for the report that cannot be written, or that holds what is to be read."""
    from avglance.app.report import check_target, is_report

    inputs: list[str | Path] = [*args.inputs]
    if args.audio_file not in reading.AUDIO_WORDS:
        inputs.append(args.audio_file)
    if not is_report(args.report):  # the last report may lie in a folder that was named
        inputs += files
    check_target(args.report, force=args.force, inputs=inputs)


def expand(inputs: Sequence[Path]) -> Iterator[Path]:
    """The files to tag: a folder gives the files below it, sorted; an empty one itself (and fails)."""
    for item in inputs:
        is_folder = os.path.isdir(item)  # a pathlib path raises where the name is too long
        yield from _files_below(item) or [item] if is_folder else [item]


def _files_below(folder: Path) -> list[Path]:
    """Files in a folder and below, and folders that may not be read (they fail by name, not in silence)."""
    found: list[Path] = []
    for top, folders, names in os.walk(folder, onerror=lambda error: found.append(Path(error.filename))):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found.extend(Path(top, name) for name in names if not name.startswith("."))
    return sorted(found)


def stream(
    model: Model, files: Sequence[Path], args: argparse.Namespace, asked: dict[str, Any]
) -> Iterator[tuple[Recognition, Sightings] | Failure]:
    """Each file's answer, with progress on stderr."""
    progress = Progress(len(files), quiet=args.quiet, live=not args.json)

    def announced() -> Iterator[Path]:
        for path in files:
            progress.start(str(path), time.monotonic())
            yield path

    at_once = min(args.threads or cores(), MOST_AT_ONCE, len(files))
    for answer in model.look_many(announced(), at_once=at_once, **asked):
        progress.end(failed=isinstance(answer, Failure))
        yield answer


def show(
    answer: tuple[Recognition, Sightings] | Failure,
    as_lines: bool,
    entries: list[Entry],
    args: argparse.Namespace,
) -> Failure | None:
    """Print one answer now and keep what the report needs of it; the failure, if it is one."""
    result = answer if isinstance(answer, Failure) else answer[0]
    if as_lines:
        print(json_line(result), flush=True)
    elif isinstance(result, Failure):
        print(failure_text(result, Ink(sys.stdout)), flush=True)
    else:
        print(table(result, Ink(sys.stdout)), flush=True)
    if args.report is not None:
        from avglance.app.report import make_entry

        entries.append(make_entry(result, None if isinstance(answer, Failure) else answer[1]))
    return result if isinstance(result, Failure) else None


def write_report(entries: list[Entry], args: argparse.Namespace) -> None:
    """Write the page and say where it is."""
    from avglance.app.report import write

    path = write(entries, args.report)
    if not args.quiet:
        sys.stderr.write(f"report: {clean(path, 1000)}\n")


def exit_code(failures: Sequence[Failure], total: int, *, quiet: bool) -> int:
    """0, or 6 where some of several failed; a single one tells more (3, or 1 for a bug of ours)."""
    if not failures:
        return DONE
    if total > 1:
        if not quiet:
            sys.stderr.write(f"avglance: {len(failures)} of {total} files could not be read\n")
        return SOME_FAILED
    return BUG if failures[0].kind == "error" else UNREADABLE
