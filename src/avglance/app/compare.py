"""``avglance compare``: runs side by side, as a table, as JSON, as a page with plots."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from avglance.app.compare_table import COLUMNS, markdown, text
from avglance.app.render import Ink, clean
from avglance.errors import ArgumentError

if TYPE_CHECKING:
    from avglance.evaluation.compare import Comparison

DONE = 0
EPILOG = """RUN is a run folder of `avglance train` with evaluations (eval*.json) in it, a folder with run
folders at most 4 levels below it (as `avglance ablate` leaves them), or a file that `avglance eval --out`
wrote. A row is named like its run folder, or like the folder above where that is called seed0, seed1, ...:
these are the seeds that means and spread are taken over. A file that lies in no run folder is named like its
model, unless it measured the very weights of a run folder that is named too.

Differences in top-1 to the baseline come with a 95 % interval over videos: each video's hits are averaged
over the training seeds, paired by video, and the videos are drawn again (bootstrap, always the same draws).
Where several videos are of one source group (`group` in the dataset) whole groups are drawn, and the table
says so: videos of one source are right or wrong together. What other seeds might give, the spread tells."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``avglance compare``."""
    parser.epilog = EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("runs", metavar="RUN", nargs="+", help="run folder, folder of those, or evaluation")
    parser.add_argument(
        "--baseline", metavar="NAME[@K]", help="row that the others are compared with (default: the first)"
    )
    sets = parser.add_mutually_exclusive_group()
    sets.add_argument(
        "--each-data", action="store_true", help="one table for each set of videos, in place of an error"
    )
    sets.add_argument(
        "--common",
        action="store_true",
        help="top-1 over the videos that all answered, where different ones of one benchmark's list are left",
    )
    parser.add_argument("--stages", action="store_true", help="GMACs and time by stage too")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="one JSON object in place of the table")
    form.add_argument("--markdown", action="store_true", help="the table as Markdown, for a page")
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="write comparison.json, comparison.md and plots (SVG, PNG)"
    )
    parser.add_argument("--force", action="store_true", help="replace what of that is in DIR already")


def run(args: argparse.Namespace) -> int:
    """Read, compare, write, print; the exit code."""
    if args.out is not None:
        from avglance.app import plots

        plots.need_matplotlib()  # told before the reading, which may take long
        if args.out.exists() and not args.out.is_dir():
            raise ArgumentError("--out is a file", where=str(args.out), hint="name a folder")
    from avglance.evaluation.compare import compare, plain

    found = compare(args.runs, baseline=args.baseline, each_data=args.each_data, common=args.common)
    if args.out is not None:
        write(args.out, found, stages=args.stages, force=args.force)
    if args.json:
        print(json.dumps(plain(found), allow_nan=False), flush=True)
    elif args.markdown:
        print(markdown(found, stages=args.stages), end="", flush=True)
    else:
        width = max(shutil.get_terminal_size().columns, COLUMNS) if sys.stdout.isatty() else COLUMNS
        print(text(found, Ink(sys.stdout), stages=args.stages, width=width), flush=True)
    return DONE


def write(folder: Path, found: Comparison, *, stages: bool, force: bool) -> None:
    """Write comparison.json, comparison.md and every plot into the folder, and say so on stderr.

    Raises:
        ArgumentError: one of the files is there and ``force`` is not set, or the folder cannot be written.
    """
    from avglance.app import plots
    from avglance.evaluation.compare import plain

    figures = plots.draw(found)
    pictures = [(drawn.words, f"{name}.svg") for name, drawn in figures.items()]
    files = {
        "comparison.json": json.dumps(plain(found), allow_nan=False, indent=1).encode() + b"\n",
        "comparison.md": markdown(found, stages=stages, pictures=pictures).encode(),
    }
    for name, drawn in figures.items():
        files |= {f"{name}.{kind}": drawn.render(kind) for kind in plots.KINDS}
    there = [name for name in files if (folder / name).exists()]
    if there and not force:
        raise ArgumentError(f"{there[0]} is there already", where=str(folder), hint="--force replaces it")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            part = folder / f".{name}.part"
            part.write_bytes(content)
            part.replace(folder / name)
    except OSError as error:
        where = error.filename or folder
        raise ArgumentError(f"cannot be written: {error.strerror}", where=str(where)) from error
    print(f"written to {clean(folder)}: {', '.join(files)}", file=sys.stderr)
