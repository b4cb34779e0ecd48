"""FCVID: ``FCVID_VideoName_TrainTestSplit.txt`` and ``FCVID_Label.txt``, row by row the same videos.

A row of the first is a file's name (with or without a folder) and train or test; one of the second is a 0 or
1 for each of 239 classes. The names of the classes are in neither: give them with ``--classes``, one a line
in the order of the columns, else they are called ``class 001`` and so on. That the first file has these two
columns is known from programs that read it, not from its authors' description; one with more is refused.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from avglance.data.benchmarks.listed import Listed, Listing, crossing_note, merged, read_lines
from avglance.data.rows import SPLITS, split_name
from avglance.errors import DataError


def read(kind: str, files: Sequence[Path], classes: Sequence[str]) -> Listing:
    """The videos of the split file with the labels of the same rows of the label file.

    Raises:
        DataError: there are not two files, their rows do not match, or a row is something else.
    """
    if len(files) != 2:
        hint = "FCVID_VideoName_TrainTestSplit.txt and FCVID_Label.txt"
        raise DataError(f"{kind} has two files, got {len(files)}", where="import", hint=hint)
    lines = [read_lines(file) for file in files]
    if _is_matrix(lines[0]):
        lines.reverse()
    named, marked = lines
    if not _is_matrix(marked) or len(named) != len(marked):
        what = f"{len(named)} names and {len(marked)} rows of labels do not match"
        raise DataError(what, where=str(files[0].parent))
    columns = len(marked[0][1].split())
    names = _class_names(classes, columns, str(files[0].parent))
    rows, empty = [], 0
    for (where, line), (other, marks) in zip(named, marked, strict=True):
        labels = _labels(marks, names, other)
        if labels:
            rows.append(_listed(line, labels, where))
        else:
            empty += 1
    videos, crossing = merged(rows)
    notes = (f"{empty} videos have no label",) if empty else ()
    return Listing(kind, videos, names, (*notes, *crossing_note(crossing)))


def _is_matrix(lines: Sequence[tuple[str, str]]) -> bool:
    return bool(lines) and re.fullmatch(r"[01.eE+\s-]+", lines[0][1]) is not None


def _class_names(classes: Sequence[str], columns: int, where: str) -> tuple[str, ...]:
    if not classes:
        return tuple(f"class {n:03d}" for n in range(1, columns + 1))
    if len(classes) != columns:
        raise DataError(f"{len(classes)} names of classes for {columns} columns of labels", where=where)
    return tuple(classes)


def _labels(marks: str, names: Sequence[str], where: str) -> tuple[str, ...]:
    try:
        values = [float(mark) for mark in marks.split()]
    except ValueError as error:
        raise DataError("a row of labels is zeros and ones", where=where) from error
    if len(values) != len(names) or not set(values) <= {0.0, 1.0}:
        raise DataError(f"a row of labels is {len(names)} zeros and ones", where=where)
    return tuple(name for name, value in zip(names, values, strict=True) if value)


def _listed(line: str, labels: tuple[str, ...], where: str) -> Listed:
    name, _, split = line.rpartition("\t") if "\t" in line else line.rpartition(" ")
    name, split = name.strip().replace("\\", "/"), split.strip()
    if not name or split.casefold() not in SPLITS:
        hint = "such as video.mp4 train"
        raise DataError(f"not a name and a split: {line[:80]!r}", where=where, hint=hint)
    stem = re.sub(r"\.\w{2,4}$", "", name)
    parts = stem.split("/")
    return Listed(name, tuple(dict.fromkeys(("/".join(parts[-2:]), parts[-1]))), labels, split_name(split))
