"""``avglance check``: whether files can be read, and what is in them; needs no model."""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import logging
import math
import os
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avglance.app import reading
from avglance.app.check_table import CheckProgress, Table, detail, summary
from avglance.app.render import SCHEMA, Ink
from avglance.app.tag import expand, show_log
from avglance.errors import ArgumentError, AVGLanceError, MediaError
from avglance.types import Condition, Failure, Reason, as_json

if TYPE_CHECKING:
    from avglance.media import CheckReport
    from avglance.media.disk import DiskSpeed

DONE, BUG, UNREADABLE, SOME_FAILED = 0, 1, 3, 6
_log = logging.getLogger("avglance")
EPILOG = """A folder stands for all files in it and below (but for hidden ones). On a
terminal the answer is a table, with advice under each file that is not ok;
piped, or with --json, one JSON object a file and line.

verdicts:
  ok        everything that the file declares can be decoded
  degraded  part of it can be decoded; below it stands what is lost, and where
  failed    nothing can be decoded

Exit code: 0 all can be read, 3 the one file cannot be read, 6 some of several
cannot."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``avglance check``."""
    parser.epilog = EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "inputs", nargs="+", metavar="FILE", type=Path, help="video or sound file, or a folder"
    )
    parser.add_argument(
        "--quick", action="store_true", help="read the packets only; damage inside pictures is not seen"
    )
    parser.add_argument(
        "--deep",
        action="store_true",
        help="decode twice, with one thread and with several, and compare every picture and all sound",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object a line, also on a terminal")
    parser.add_argument("--quiet", action="store_true", help="no progress on stderr")
    reading.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Check everything that was named, printing each verdict when it is there; the exit code."""
    check_values(args)
    files = list(expand(args.inputs))
    show_log()
    if args.json or not sys.stdout.isatty():
        outcomes = []
        for report in reports(files, args):
            outcomes.append(outcome(report))
            print(json_line(report), flush=True)
        return exit_code(outcomes)
    return exit_code(show_table(files, args))


def check_values(args: argparse.Namespace) -> None:
    """Refuse what cannot work before anything is read."""
    if args.quick and args.deep:
        hint = "--quick decodes nothing, --deep decodes twice: choose one"
        raise ArgumentError("--quick and --deep exclude each other", where="check", hint=hint)
    reading.reading(args)


def show_table(files: Sequence[Path], args: argparse.Namespace) -> list[str]:
    """Print the table; the outcomes."""
    from avglance.media.disk import DiskSpeed

    ink, disk, found = Ink(sys.stdout), DiskSpeed(), []
    columns = shutil.get_terminal_size().columns
    table = Table(ink, columns, common_folder(args.inputs))
    if len(files) > 1:
        print(table.head())
    for report in reports(files, args, disk):
        found.append(report)
        print("\n".join(table.rows(report) if len(files) > 1 else detail(report, ink, columns)), flush=True)
    if told := summary(found, disk.told()):
        print("\n".join(["", *told]))
    return [*map(outcome, found)]


def common_folder(inputs: Sequence[Path]) -> Path | None:
    """The folder that all inputs lie in, or the one that is the only input; None: there is none.

    >>> common_folder([Path("films/a"), Path("films/b/c.mp4")]).as_posix(), common_folder([Path("a.mp4")])
    ('films', None)
    """
    try:
        common = Path(os.path.commonpath(inputs))
    except ValueError:  # some are absolute, some are not
        return None
    folder = common.parent if list(inputs) == [common] and not os.path.isdir(common) else common
    return None if folder == Path() else folder


def reports(
    files: Sequence[Path], args: argparse.Namespace, disk: DiskSpeed | None = None
) -> Iterator[CheckReport]:
    """Each file's report, with progress on stderr; the disk is measured before a file is decoded."""
    from avglance.media import Decoders, VideoReader

    how = reading.reading(args)
    columns = shutil.get_terminal_size().columns
    progress = CheckProgress([*map(_size, files)], columns, quiet=args.quiet, live=not args.json)
    with contextlib.ExitStack() as stack:
        opener: Any = VideoReader
        if not args.in_process:
            opener = stack.enter_context(Decoders(ready=1)).open
        opener = functools.partial(opener, audio_file=how.pop("audio_file"))
        how |= {"quick": args.quick, "deep": args.deep, "opener": opener, "on_share": progress.reach}
        for path in files:
            progress.start(str(path), time.monotonic())
            if disk is not None:
                disk.look(path)
            report = _report(path, how, alone=len(files) == 1)
            progress.end(failed=report.condition.verdict == "failed")
            yield report


def _size(path: Path) -> int:
    try:
        return os.stat(path).st_size
    except (OSError, ValueError):
        return 0


def _report(path: Path, how: dict[str, Any], *, alone: bool) -> CheckReport:
    from avglance.media import CheckReport, check

    try:
        return check(path, **how)
    except ArgumentError as error:  # it has sound tracks, but not that one
        if alone:
            raise
        failure = Failure(str(path), "missing", error.what, error.hint)
    except MediaError as error:
        failure = Failure(str(path), error.kind, error.what, error.hint)
    except AVGLanceError:  # a missing part, or no process to decode in: no file's fault, and so for all
        raise
    except Exception as error:  # noqa: BLE001 - a bug of ours costs one answer, never the later ones
        _log.error("%s: %s", path, error, exc_info=error)
        what, hint = f"{type(error).__name__}: {error}", "this is a bug of ours: please report it"
        failure = Failure(str(path), "error", what, f"{hint} with the trace")
    condition = Condition("failed", (Reason(failure.kind, failure.message),), "absent", 0.0)
    return CheckReport(str(path), condition, None, 0, 0.0, 0.0, failure, _size(path))


def outcome(report: CheckReport) -> str:
    """The verdict, or ``error`` where a bug of ours left none."""
    bug = report.failure is not None and report.failure.kind == "error"
    return "error" if bug else report.condition.verdict


def exit_code(outcomes: Sequence[str]) -> int:
    """0 where nothing failed, 3 where the only file did (1: a bug of ours), 6 where some of several did.

    >>> [exit_code(found) for found in (["ok", "degraded"], ["failed"], ["error"], ["ok", "failed"])]
    [0, 3, 1, 6]
    """
    if not {"failed", "error"} & {*outcomes}:
        return DONE
    if len(outcomes) > 1:
        return SOME_FAILED
    return BUG if outcomes[0] == "error" else UNREADABLE


def json_line(report: CheckReport) -> str:
    """One line of plain ASCII JSON."""
    failure, condition = report.failure, report.condition
    record: dict[str, Any] = {"schema": SCHEMA, "video": report.video, "verdict": condition.verdict}
    if failure is not None:
        record |= {"kind": failure.kind, "message": failure.message, "hint": failure.hint}
    record |= {"audio": condition.audio, "coverage": condition.coverage}
    record |= {"reasons": as_json(condition.reasons), "advice": list(report.advice)}
    record |= {"frames": report.frames_decoded, "picture_s": report.picture_s, "sound_s": report.sound_s}
    record |= {"bytes": report.bytes, "seconds": report.seconds, "file": as_json(report.info)}
    return json.dumps(_rounded(record), allow_nan=False)


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 6) if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, list) else value
