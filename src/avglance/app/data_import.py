"""``avglance data import``: from the official list of a benchmark and a folder of videos to a dataset."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from avglance.app.render import clean
from avglance.errors import ArgumentError

if TYPE_CHECKING:
    from avglance.data.benchmarks import Made

TABLE = "table"
NAMES = (
    *("activitynet", "ave", "fcvid", "kinetics-400", "kinetics-600", "kinetics-700"),
    *("kinetics-sounds", "mini-kinetics", "ucf-101", TABLE),
)
EPILOG = """NAME and its annotations:
  activitynet      activity_net.v1-3.min.json
  ave              trainSet.txt valSet.txt testSet.txt (Annotations.txt)
  fcvid            FCVID_VideoName_TrainTestSplit.txt FCVID_Label.txt, names of the classes with --classes
  kinetics-400     the tables (.csv) with label, youtube_id, time_start, time_end, split; also -600, -700
  kinetics-sounds  the same tables, and --classes
  mini-kinetics    the same tables, and lists of ids (train_ytid_list.txt ...) or --classes
  ucf-101          trainlist01.txt testlist01.txt classInd.txt (or 02, 03)
  table            your own CSV or JSON lines, whose videos lie in another folder

FOLDER gets manifest.jsonl, dataset.json (where the videos are, how many the list names, checksums of the
lists) and absent.txt (the listed videos that are not there). The videos stay where they are."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``avglance data import``."""
    parser.epilog = EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("name", metavar="NAME", choices=NAMES, help="the benchmark, or table")
    parser.add_argument(
        "--annotations", nargs="+", required=True, type=Path, metavar="FILE", help="its official files"
    )
    parser.add_argument(
        "--videos", required=True, type=Path, metavar="DIR", help="where the videos lie, at any depth"
    )
    parser.add_argument("--out", required=True, type=Path, metavar="FOLDER", help="the dataset to make")
    parser.add_argument("--classes", type=Path, metavar="FILE", help="only these classes, one a line")
    parser.add_argument("--force", action="store_true", help="replace the dataset in FOLDER")
    parser.add_argument("--quiet", action="store_true", help="nothing on stderr but errors")


def run(args: argparse.Namespace) -> int:
    """Make the dataset; prints its folder."""
    from avglance.data.benchmarks import make_dataset, make_from_list, read_benchmark
    from avglance.data.records import read_dataset

    if args.name == TABLE:
        if len(args.annotations) != 1 or args.classes is not None:
            hint = "one list with --annotations, no --classes"
            raise ArgumentError("a table is one file and names its classes itself", where="import", hint=hint)
        made = make_from_list(args.annotations[0], args.videos, args.out, force=args.force)
    else:
        listing = read_benchmark(args.name, args.annotations, args.classes)
        made = make_dataset(listing, args.videos, args.out, annotations=args.annotations, force=args.force)
    dataset = read_dataset(made.folder)  # what was written can be read
    if not args.quiet:
        for line in (*summary(made), dataset.labels_told):
            print(clean(line, 500), file=sys.stderr)
    print(os.fspath(made.folder))
    return 0


def summary(made: Made) -> list[str]:
    """What was found, by split, and what was left out."""
    used, listed = sum(made.used.values()), sum(made.listed.values())
    parts = [f"{split} {made.used.get(split, 0)} of {count}" for split, count in made.listed.items() if split]
    lines = [f"{used} of {listed} listed videos are there" + (f": {', '.join(parts)}" if parts else "")]
    if made.absent:
        lines.append(f"absent: {', '.join(made.absent[:3])}{' ...' * (len(made.absent) > 3)}, see absent.txt")
    return [*lines, *made.notes]
