"""Kinetics-400, -600 and -700, and subsets of them: Mini-Kinetics (by videos), Kinetics-Sounds (by classes).

A table has the columns label, youtube_id, time_start, time_end, split (and others); where it has no label (a
test list) its videos are left out. A list of ids (``.txt``, one a line, or names of files that begin with
one) keeps these videos alone; where its name tells a split, it gives that: this is how the lists of
Mini-Kinetics-200 are published. The classes of Kinetics-Sounds are given with ``--classes``: releases of
Kinetics call some of its 34 classes differently, so that lists of 31 to 34 are in use, and none is ours to
choose. Files are called ``ID_000010_000020`` (start and end in seconds), in folders of any name, or ``ID``.
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from avglance.data.benchmarks.listed import (
    Listed,
    Listing,
    crossing_note,
    merged,
    only_classes,
    read_lines,
    split_of,
)
from avglance.data.lists import seconds
from avglance.data.rows import check_label, split_name
from avglance.errors import DataError

COLUMNS = ("youtube_id", "time_start", "time_end")
SUBSETS = {
    "mini-kinetics": "its lists of ids (train_ytid_list.txt ...) belong to --annotations; or give --classes",
    "kinetics-sounds": "give the list of its classes with --classes, one a line",
}


def read(kind: str, files: Sequence[Path], classes: Sequence[str]) -> Listing:
    """The videos of the tables, of some ids or classes if they are given.

    Raises:
        DataError: a file is something else, a class is unknown, or a subset has nothing that defines it.
    """
    tables = [file for file in files if file.suffix.lower() != ".txt"]
    lists = [file for file in files if file.suffix.lower() == ".txt"]
    if not tables:
        raise DataError("no table (.csv) with labels among the annotations", where="import")
    if kind in SUBSETS and not classes and not (lists and kind == "mini-kinetics"):
        raise DataError(f"nothing says which videos are of {kind}", where="import", hint=SUBSETS[kind])
    rows = [row for table in tables for row in _rows(table)]
    labelled = [row for row in rows if row.labels]
    notes = [f"{len(rows) - len(labelled)} videos have no label"] if len(rows) > len(labelled) else []
    if lists:
        labelled, told = _only_ids(labelled, lists)
        notes += told
    once = Counter(_id(row) for row in labelled)
    alone = [row if once[_id(row)] == 1 else replace(row, places=row.places[:1]) for row in labelled]
    videos, crossing = merged(alone)
    chosen = only_classes(videos, classes, str(tables[0])) if classes else videos
    names = sorted({label for video in chosen for label in video.labels})
    return Listing(kind, chosen, tuple(names), (*notes, *crossing_note(crossing)))


def _id(row: Listed) -> str:
    return row.places[-1]


def _rows(table: Path) -> Iterator[Listed]:
    """The rows of one table; without labels where it has none."""
    lines = read_lines(table)
    names = [name.strip().lower() for name in lines[0][1].split(",")] if lines else []
    missing = [name for name in COLUMNS if name not in names]
    if missing:
        hint = "its first line is label,youtube_id,time_start,time_end,split"
        raise DataError(f"no column is called {missing[0]}", where=str(table), hint=hint)
    reader = csv.DictReader(io.StringIO("\n".join(line for _, line in lines[1:])), names)
    for (where, _), row in zip(lines[1:], reader, strict=False):
        cells = {name: (row.get(name) or "").strip() for name in names}
        name = cells["youtube_id"]
        start_s, end_s = (seconds(cells[key], key, where) for key in COLUMNS[1:])
        if not re.fullmatch(r"[\w-]{3,30}", name) or start_s is None or end_s is None:
            raise DataError("a row needs youtube_id, time_start and time_end", where=where)
        clip = f"{name}_{int(start_s):06d}_{int(end_s):06d}"
        labels = (check_label(cells["label"], where),) if cells.get("label") else ()
        split = split_name(cells.get("split", "")) or split_of(table)
        yield Listed(clip, (clip, name), labels, split)


def _only_ids(rows: Sequence[Listed], lists: Sequence[Path]) -> tuple[list[Listed], list[str]]:
    """The rows whose id a list names, in the split that the list's name tells."""
    wanted: dict[str, str] = {}
    for file in lists:
        for _, line in read_lines(file):
            stem = re.split(r"[/\\]", line.split()[0])[-1]
            stem = re.sub(r"\.\w{2,4}$", "", stem)
            wanted[re.sub(r"_\d{6}_\d{6}$", "", stem)] = split_of(file)
    kept = [replace(row, split=wanted[_id(row)] or row.split) for row in rows if _id(row) in wanted]
    if not kept:
        raise DataError("no video of the tables has one of these ids", where=str(lists[0]))
    lost = len(wanted) - len({_id(row) for row in kept})
    return kept, [f"{lost} ids of the lists are not in the tables"] if lost else []
