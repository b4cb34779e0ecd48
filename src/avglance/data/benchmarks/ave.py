"""AVE: ``Annotations.txt``, ``trainSet.txt``, ``valSet.txt``, ``testSet.txt``, fields separated by ``&``.

A line is Category&VideoID&Quality&StartTime&EndTime, in whole seconds; only ``Annotations.txt`` has a first
line of names. The three sets hold everything: with them, ``Annotations.txt`` adds nothing but the videos of
no set, which are left out. A video may stand in several lines, of several events. Files are called
``VideoID``.
"""

from __future__ import annotations

from collections.abc import Sequence
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
from avglance.data.rows import check_label, is_span
from avglance.errors import DataError

HEADER = "category&videoid&quality"


def read(kind: str, files: Sequence[Path], classes: Sequence[str]) -> Listing:
    """The videos of the sets, or of the annotations alone.

    Raises:
        DataError: a line is something else.
    """
    sets = [(split_of(file), file) for file in files]
    used = [one for one in sets if one[0]] or sets
    rows = [row for split, file in used for row in _rows(file, split)]
    videos, crossing = merged(rows)
    chosen = only_classes(videos, classes, str(files[0])) if classes else videos
    notes = list(crossing_note(crossing))
    known = {video.name for video in videos}
    for file in (file for split, file in sets if len(used) < len(sets) and not split):
        outside = {row.name for row in _rows(file, "")} - known
        notes += [f"{len(outside)} videos of {file.name} are in no set"] if outside else []
    empty = sum(1 for row in rows if not row.parts)
    notes += [f"{empty} events last no time: only their labels are kept"] if empty else []
    names = sorted({label for video in chosen for label in video.labels})
    return Listing(kind, chosen, tuple(names), tuple(notes))


def _rows(file: Path, split: str) -> list[Listed]:
    rows = []
    for where, line in read_lines(file):
        if line.lower().startswith(HEADER):
            continue
        cells = [cell.strip() for cell in line.split("&")]
        if len(cells) != 5 or not cells[1]:
            hint = "Church bell&RUhOCu3LNXM&good&0&10"
            raise DataError(f"not a line of AVE: {line[:80]!r}", where=where, hint=f"such as {hint}")
        label, name = check_label(cells[0], where), cells[1]
        start_s, end_s = (seconds(cell, "a time", where) or 0.0 for cell in cells[3:])
        parts = ((start_s, end_s, label),) if is_span(start_s, end_s) else ()
        rows.append(Listed(name, (name, line), (label,), split, parts))
    return rows
