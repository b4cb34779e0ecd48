"""UCF-101: ``trainlist01.txt`` and ``testlist01.txt`` (or 02, 03), and ``classInd.txt``.

A line of a list is ``Class/v_Class_gNN_cNN.avi``, in a train list with the number of the class, which
``classInd.txt`` names. Clips of one group were cut from one video: a group in both lists is refused.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from avglance.data.benchmarks.listed import Listed, Listing, only_classes, read_lines, split_of
from avglance.data.own import ucf_group
from avglance.errors import DataError


def read(kind: str, files: Sequence[Path], classes: Sequence[str]) -> Listing:
    """The videos of a train list and a test list.

    Raises:
        DataError: a line is something else, a number and a class do not match, or lists share a group.
    """
    lists = [(split_of(file), file) for file in files]
    numbers: dict[str, str] = {}
    for file in (file for split, file in lists if not split):
        for where, line in read_lines(file):
            found = re.fullmatch(r"(\d+)\s+(\w+)", line)
            if found is None:
                raise DataError(f"not a number and a class: {line[:80]!r}", where=where)
            numbers[found[1]] = found[2]
    videos = [
        _listed(line, split, numbers, where)
        for split, file in lists
        if split
        for where, line in read_lines(file)
    ]
    if not videos:
        hint = "give trainlist01.txt and testlist01.txt (or 02, or 03)"
        raise DataError("none of the files is a list of videos", where="import", hint=hint)
    _check_groups(videos)
    chosen = only_classes(videos, classes, str(files[0])) if classes else tuple(videos)
    names = {label for video in chosen for label in video.labels} | (
        set() if classes else {*numbers.values()}
    )
    return Listing(kind, chosen, tuple(sorted(names)))


def _listed(line: str, split: str, numbers: dict[str, str], where: str) -> Listed:
    found = re.fullmatch(r"(\w+)/(v_\w+_g\d+_c\d+)\.\w{2,4}(?:\s+(\d+))?", line)
    if found is None:
        hint = "such as ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi 1"
        raise DataError(f"not a line of UCF-101: {line[:80]!r}", where=where, hint=hint)
    label, stem, number = found.groups()
    if number is not None and numbers and numbers.get(number) != label:
        what = f"class {number} is {numbers.get(number, 'not there')} in classInd.txt, here {label}"
        raise DataError(what, where=where)
    group = ucf_group(Path(stem))
    return Listed(f"{label}/{stem}", (f"{label}/{stem}", stem), (label,), split, (), group)


def _check_groups(videos: Sequence[Listed]) -> None:
    """Each video once, each group in one split."""
    where: dict[str, Listed] = {}
    names: set[str] = set()
    for video in videos:
        if video.name in names:
            hint = "give the two lists of one split: 01, 02 or 03"
            raise DataError(f"{video.name} is listed twice", where="import", hint=hint)
        names.add(video.name)
        other = where.setdefault(video.group, video)
        if other.split != video.split:
            what = (
                f"group {video.group} is in {other.split} ({other.name}) and in {video.split} ({video.name})"
            )
            hint = "clips of one group come from one video; the official lists keep them apart"
            raise DataError(what, where="import", hint=hint)
