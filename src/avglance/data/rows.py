"""What all lists of videos have in common: records, and checks of what a row says, each with its place."""

from __future__ import annotations

import difflib
import json
import math
import os
import re
import stat
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from avglance.data.truth import Truth
from avglance.errors import DataError
from avglance.types import UNKNOWN

SPLITS = {
    **dict.fromkeys(("train", "training", "trainset"), "train"),
    **dict.fromkeys(("val", "valid", "validate", "validation", "valset", "dev"), "validation"),
    **dict.fromkeys(("test", "testing", "testset"), "test"),
}
"""Usual words for the parts of a dataset, in small letters, and what we call them."""
MOST_S = 1e7  # a time of more than a hundred days is a mistake


@dataclass(frozen=True)
class Record:
    """One video of a dataset.

    Attributes:
        path: the file.
        labels: names of its classes.
        truth: what is known about where its event is.
        group: what must not be split between training and validation; may be empty.
        split: the part of the dataset that it belongs to; may be empty.
        unknown: it shows none of the classes, and has no labels.
    """

    path: Path
    labels: tuple[str, ...]
    truth: Truth | None = None
    group: str = ""
    split: str = ""
    unknown: bool = False


@dataclass(frozen=True)
class Row:
    """A record, where it was found (for errors), and the bytes that stand for it in the dataset's hash."""

    where: str
    record: Record
    stamp: bytes


@dataclass(frozen=True)
class Source:
    """Rows as they were found.

    Attributes:
        rows: in order.
        place: what they were read from, for errors.
        folder: where the dataset lies.
        root: the folder that its files lie in.
        world: the contents of ``dataset.json``.
        stamp: bytes that open the hash.
        notes: sentences on how the source was read.
    """

    rows: tuple[Row, ...]
    place: str
    folder: Path
    root: Path
    world: dict[str, Any] = field(default_factory=dict)
    stamp: bytes = b""
    notes: tuple[str, ...] = ()


def parse_object(text: str | bytes, where: str) -> dict[str, Any]:
    """One JSON object.

    Raises:
        DataError: it is something else.
    """
    try:
        found = json.loads(text)
    except RecursionError as error:
        raise DataError("not JSON that can be read (nested too deep)", where=where) from error
    except ValueError as error:
        raise DataError(f"not JSON ({error})", where=where) from error
    if not isinstance(found, dict):
        raise DataError(f"must be a JSON object, got {type(found).__name__}", where=where)
    return found


def check_names(names: Collection[str], known: Collection[str], where: str) -> None:
    """Refuse a field that is not known, with the nearest name.

    Raises:
        DataError: a name is not known.
    """
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(str(name), known, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            told = f"{hint}known: {', '.join(sorted(known))}"
            raise DataError(f"no field is called {name!r}", where=where, hint=told)


def check_label(label: Any, where: str) -> str:
    """A class name as it stands.

    Raises:
        DataError: it is no name, or holds a control character (a quote that was not closed gives lines).
    """
    if not isinstance(label, str) or not label.strip():
        raise DataError(f"a label must be a name, got {label!r}", where=where, hint='such as "rain"')
    if re.search(r"[\x00-\x1f\x7f]", label):
        hint = "look for a quote that is not closed"
        raise DataError(f"the label {label[:60]!r} holds a control character", where=where, hint=hint)
    return label


def known_labels(labels: Sequence[str], where: str, *, placed: bool) -> tuple[tuple[str, ...], bool]:
    """A video's labels, and whether it shows none of the classes: it is labelled ``unknown`` then.

    Args:
        labels: what the row says.
        where: the row, for errors.
        placed: whether it says when the labels hold, too.

    Raises:
        DataError: it is unknown and something else, or unknown at some time.
    """
    if UNKNOWN not in labels:
        return tuple(labels), False
    if len(labels) > 1:
        what = f"{UNKNOWN!r} says that none of the classes is there, but {list(labels)!r} names others"
        raise DataError(what, where=where)
    if placed:
        what = f"{UNKNOWN!r} says that none of the classes is there, so it holds nowhere"
        raise DataError(what, where=where, hint="leave spans and truth out of this row")
    return (), True


class Home:
    """The folder that the files of a list lie in: none leads out of it.

    Args:
        root: the folder; the paths of its files begin as it is named.
    """

    def __init__(self, root: Path) -> None:
        self.root, self._inside = root, root.resolve()
        self._folders: dict[Path, bool] = {}  # whether a folder is inside: most files share theirs

    def file(self, value: Any, key: str, where: str) -> Path:
        """The file that a row names, which must be a real one inside.

        Args:
            value: what the row says, relative to the folder.
            key: the field, for errors.
            where: the row, for errors.

        Raises:
            DataError: it is no name, leads out of the folder (a link too), or is not there.
        """
        if not isinstance(value, str) or not value or "\0" in value:
            raise DataError(f"{key} must be a file name, got {value!r}", where=where)
        found = self.root / PurePosixPath(value)
        try:
            stays = self._holds(found)
        except (OSError, ValueError, RuntimeError) as error:  # half a character, or a ring of links
            raise DataError(f"{key} {value!r} is no file name here ({error})", where=where) from error
        if not stays:
            hint = "paths are relative to the folder; copy the file into it"
            raise DataError(f"{key} {value!r} leads out of the dataset's folder", where=where, hint=hint)
        if not os.path.isfile(found):
            hint = "restore the file, or remove the line"
            raise DataError(f"{key} {value!r} is missing", where=where, hint=hint)
        return found

    def _holds(self, path: Path) -> bool:
        """Whether a path, its links followed, is inside."""
        try:
            plain = stat.S_ISREG(os.lstat(path).st_mode)
        except OSError:
            plain = False
        if not plain:
            return path.resolve().is_relative_to(self._inside)
        if path.parent not in self._folders:
            self._folders[path.parent] = path.parent.resolve().is_relative_to(self._inside)
        return self._folders[path.parent]


def is_span(start_s: float, end_s: float) -> bool:
    """Whether this is a stretch of time that a video may have."""
    return math.isfinite(start_s) and math.isfinite(end_s) and 0 <= start_s < end_s <= MOST_S


def check_span(start_s: float, end_s: float, where: str) -> tuple[float, float]:
    """The span from ``start_s`` to ``end_s``.

    Raises:
        DataError: it is empty, begins before 0, or is not finite.
    """
    if not is_span(start_s, end_s):
        hint = "start_s is before end_s, both in seconds from the beginning of the file"
        raise DataError(f"from {start_s:g} s to {end_s:g} s is no span", where=where, hint=hint)
    return start_s, end_s


def split_name(value: str) -> str:
    """The part of a dataset as we call it.

    >>> split_name("Validation"), split_name("val"), split_name("fold 3")
    ('validation', 'validation', 'fold 3')
    """
    return SPLITS.get(value.strip().casefold(), value.strip())
