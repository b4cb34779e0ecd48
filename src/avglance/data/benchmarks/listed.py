"""What an official list says, before anybody looks which of its videos are there."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from avglance.data.rows import SPLITS
from avglance.errors import DataError

Part = tuple[float, float, str]
"""start_s, end_s, label."""
_BEST = ("test", "validation", "train")  # a video named in several splits must not train


@dataclass(frozen=True)
class Listed:
    """One video of an official list.

    Attributes:
        name: as the list calls it.
        places: names that its file may have, without suffix and with or without the last folder, best first.
        labels: names of its classes.
        split: the part that it belongs to; may be empty.
        parts: where each label holds, if the list says so.
        group: what must not be split; may be empty.
    """

    name: str
    places: tuple[str, ...]
    labels: tuple[str, ...]
    split: str = ""
    parts: tuple[Part, ...] = ()
    group: str = ""


@dataclass(frozen=True)
class Listing:
    """A whole list: what it is called, its videos and classes, sentences on what was left out."""

    kind: str
    videos: tuple[Listed, ...]
    classes: tuple[str, ...]
    notes: tuple[str, ...] = ()


def read_lines(file: Path) -> list[tuple[str, str]]:
    """(where, line) of each line that is not empty, without space at its ends.

    Raises:
        DataError: it cannot be read, or is no text.
    """
    try:
        text = file.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        told = error.strerror if isinstance(error, OSError) else "not text in UTF-8"
        raise DataError(f"cannot be read: {told}", where=str(file)) from error
    lines = re.split(r"\r\n|\n|\r", text)
    return [(f"{file}, line {n}", line.strip()) for n, line in enumerate(lines, start=1) if line.strip()]


def split_of(file: Path) -> str:
    """The split that a file's name tells: ``trainlist01.txt``, ``kinetics_val.csv``; empty: none.

    >>> split_of(Path("trainlist01.txt")), split_of(Path("kinetics-400_val.csv")), split_of(Path("a.txt"))
    ('train', 'validation', '')
    """
    found = re.findall(r"train|val|test", file.stem.lower())
    return SPLITS[found[-1]] if found else ""


def merged(videos: Iterable[Listed]) -> tuple[tuple[Listed, ...], int]:
    """Each video once, with the labels and parts of all its rows; how many were named in several splits.

    Such a video stays in the test, or else in the validation split.
    """
    found: dict[str, Listed] = {}
    crossing: set[str] = set()
    for video in videos:
        before = found.setdefault(video.name, video)
        if before is video:
            continue
        splits = {before.split, video.split}
        if len(splits) > 1:
            crossing.add(video.name)
        found[video.name] = replace(
            before,
            labels=tuple(dict.fromkeys((*before.labels, *video.labels))),
            parts=tuple(dict.fromkeys((*before.parts, *video.parts))),
            split=next((name for name in _BEST if name in splits), before.split),
        )
    return tuple(found.values()), len(crossing)


def crossing_note(crossing: int) -> tuple[str, ...]:
    """The sentence on videos in several splits; none where there are none."""
    told = f"{crossing} videos are named in several splits: they stay in test, or else in validation"
    return (told,) if crossing else ()


def only_classes(videos: Sequence[Listed], wanted: Sequence[str], where: str) -> tuple[Listed, ...]:
    """The videos of some classes, by names in which case and ``_`` do not count; other labels are dropped.

    Raises:
        DataError: no video is of one of these classes.
    """
    names = {plain_name(label): label for video in videos for label in video.labels}
    for name in wanted:
        if plain_name(name) not in names:
            near = difflib.get_close_matches(plain_name(name), names, n=1)
            hint = f"did you mean {names[near[0]]!r}? " if near else ""
            hint += f"the annotations have {len(names)} classes"
            raise DataError(f"no video is of the class {name!r}", where=where, hint=hint)
    kept = {names[plain_name(name)] for name in wanted}
    chosen = []
    for video in videos:
        labels = tuple(label for label in video.labels if label in kept)
        parts = tuple(part for part in video.parts if part[2] in kept)
        if labels:
            chosen.append(replace(video, labels=labels, parts=parts))
    return tuple(chosen)


def plain_name(name: str) -> str:
    """A class name as lists and folders differ in it.

    >>> plain_name("Playing_Guitar"), plain_name("playing  guitar")
    ('playing guitar', 'playing guitar')
    """
    return " ".join(name.replace("_", " ").casefold().split())
