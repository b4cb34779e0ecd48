"""Lists of videos as people write them: tables and JSON lines, whose rows are merged by file."""

from __future__ import annotations

import csv
import io
import os
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from avglance.data.rows import Home, check_label, check_names, check_span, parse_object, split_name
from avglance.errors import DataError

TABLES, LINES = (".csv", ".tsv", ".txt"), (".jsonl", ".ndjson")
NAMES = {
    "path": ("path", "file"),
    "labels": ("labels", "label"),
    "start_s": ("start_s", "start"),
    "end_s": ("end_s", "end"),
    "group": ("group",),
    "split": ("split",),
}
"""The fields, and how each may be spelt."""
_SPELT = {name: own for own, names in NAMES.items() for name in names}
_THOUSANDS = re.compile(r"[1-9]\d{0,2},\d{3}")  # or with a decimal comma: one cannot tell


@dataclass
class Draft:
    """One file's rows so far."""

    where: str
    path: Path
    labels: list[str] = field(default_factory=list)
    spans: list[tuple[float, float, str]] = field(default_factory=list)
    group: str = ""
    split: str = ""


def read_list(file: Path, root: Path) -> list[Draft]:
    """The files that a table or JSON lines name, in the order of their first appearance.

    Raises:
        DataError: a row is wrong; the message names its line.
    """
    rows = _table_rows(file) if file.suffix.lower() in TABLES else _line_rows(file)
    return _merged(rows, root)


def _table_rows(table: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """(where, values by field) of each row."""
    text = _text(table)
    first = next((line for line in text.split("\n") if line.strip()), "")
    mark = max(",;\t", key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=mark, skipinitialspace=True)
    header: list[str] = []
    try:
        for cells in reader:
            where = f"{table}, line {reader.line_num}"
            if not any(cell.strip() for cell in cells):
                continue
            if not header:
                header = _header([cell.strip().casefold() for cell in cells], where)
                continue
            if len(cells) > len(header) and any(cell.strip() for cell in cells[len(header) :]):
                hint = "a cell that holds the separator stands in quotes"
                raise DataError(f"{len(cells)} cells under {len(header)} names", where=where, hint=hint)
            yield where, dict(zip(header, cells, strict=False))
    except csv.Error as error:
        where = f"{table}, line {reader.line_num}"
        raise DataError(
            f"not a table ({error})", where=where, hint="look for a quote that is not closed"
        ) from error
    if not header:
        raise DataError("the table is empty", where=str(table), hint="its first line is: path,label")


def _header(names: list[str], where: str) -> list[str]:
    """Our names of the columns."""
    while names and not names[-1]:
        names = names[:-1]
    if not any(name in _SPELT for name in names):
        hint = f"the first line names the columns, such as path,label; known: {', '.join(sorted(_SPELT))}"
        raise DataError(f"none of these names a column: {', '.join(names)[:100]}", where=where, hint=hint)
    check_names(names, _SPELT, where)
    own = [_SPELT[name] for name in names]
    _no_twins(own, names, where)
    for needed in ("path", "labels"):
        if needed not in own:
            hint = f"the first line names the columns, such as path,label; here: {', '.join(names)}"
            raise DataError(f"no column is called {' or '.join(NAMES[needed])}", where=where, hint=hint)
    return own


def _no_twins(own: list[str], names: list[str], where: str) -> None:
    for name in set(own):
        if own.count(name) > 1:
            told = " and ".join(spelt for spelt, kept in zip(names, own, strict=True) if kept == name)
            raise DataError(f"two fields for one thing: {told}", where=where)


def _line_rows(lines: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """(where, values by field) of each row."""
    for number, line in enumerate(_text(lines).split("\n"), start=1):
        if not line.strip():
            continue
        where = f"{lines}, line {number}"
        found = parse_object(line, where)
        check_names(found, _SPELT, where)
        _no_twins([_SPELT[name] for name in found], list(found), where)
        yield where, {_SPELT[name]: value for name, value in found.items()}


def _text(file: Path) -> str:
    try:
        raw = file.read_bytes()
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}", where=str(file)) from error
    try:
        return raw.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        where = f"{file}, line {raw.count(10, 0, error.start) + 1}"
        raise DataError("not text in UTF-8", where=where, hint="save it again as UTF-8") from error


def _merged(rows: Iterator[tuple[str, dict[str, Any]]], root: Path) -> list[Draft]:
    """The rows by file, in the order of their first appearance."""
    home, drafts = Home(root), dict[Path, Draft]()
    for where, row in rows:
        path = _path(row.get("path"), home, where)
        draft = drafts.setdefault(path, Draft(where, path))
        labels = _labels(row.get("labels"), where)
        draft.labels += [label for label in labels if label not in draft.labels]
        span = _span(row, where)
        if span is not None:
            draft.spans += [one for label in labels if (one := (*span, label)) not in draft.spans]
        for name in ("group", "split"):
            value = _word(row.get(name), name, where)
            value = split_name(value) if name == "split" else value
            before = getattr(draft, name)
            if before and value and before != value:
                what = f"{name} is {value!r} here and {before!r} in {draft.where}"
                raise DataError(what, where=where, hint="one file has one group and one split")
            setattr(draft, name, before or value)
    return list(drafts.values())


def _path(value: Any, home: Home, where: str) -> Path:
    """The file of a row: a relative name, folders separated by ``/`` (or by backslashes)."""
    if not isinstance(value, str) or not value.strip():
        raise DataError(f"path must be a file name, got {value!r}", where=where)
    name = value.strip()
    if "\\" in name and "\0" not in name and not os.path.isfile(home.root / name):
        name = name.replace("\\", "/")
    if name.startswith("/") or ".." in name.split("/") or re.match(r"[A-Za-z]:", name):
        hint = f"write it relative to {home.root}, without .."
        raise DataError(f"path {value!r} leads out of the list's folder", where=where, hint=hint)
    return home.file(name, "path", where)


def _labels(value: Any, where: str) -> list[str]:
    """The names in a cell, each once."""
    parts = re.split(r"[;|]", value) if isinstance(value, str) else value
    if not isinstance(parts, list):
        hint = 'such as "rain", several as "rain;wind"'
        raise DataError(f"label must be a name, got {value!r}", where=where, hint=hint)
    names = [plain(part) if isinstance(part, str) else part for part in parts]
    kept = [check_label(name, where) for name in names if name != ""]
    if not kept:
        raise DataError("no label", where=where, hint="every row names what its video shows")
    return list(dict.fromkeys(kept))


def plain(name: str) -> str:
    """A name as it is compared: one spelling of accents, no space around it."""
    return unicodedata.normalize("NFC", name).strip()


def _word(value: Any, name: str, where: str) -> str:
    if value is None:
        return ""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        raise DataError(f"{name} must be a word, got {value!r}", where=where)
    return plain(value)


def _span(row: dict[str, Any], where: str) -> tuple[float, float] | None:
    """Where the labels of a row hold; None: it does not say."""
    start_s, end_s = (seconds(row.get(name), name, where) for name in ("start_s", "end_s"))
    if start_s is None and end_s is None:
        return None
    if start_s is None or end_s is None:
        missing = "start_s" if start_s is None else "end_s"
        raise DataError(f"{missing} is missing", where=where, hint="give both, or neither")
    return check_span(start_s, end_s, where)


def seconds(value: Any, name: str, where: str) -> float | None:
    """A time as people write it: 12.5, ``12.5s``, ``1:02.5``, ``00:01:02.5``; None for nothing.

    A comma is read as the point (``12,5``), but for one that may as well stand for thousands (``1,234``).

    Raises:
        DataError: it is something else.

    >>> seconds("00:01:02.5", "start_s", ""), seconds("12,5 s", "start_s", ""), seconds(" ", "start_s", "")
    (62.5, 12.5, None)
    """
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        text = repr(value)
    else:
        text = str(value).strip().removesuffix("s").rstrip()
        if _THOUSANDS.fullmatch(text):
            hint = f"{text.replace(',', '.')} or {text.replace(',', '')}, in seconds"
            raise DataError(f"{name} {value!r} may be read in two ways", where=where, hint=hint)
        text = text.replace(",", ".")
    found = re.fullmatch(r"(?:(?:(\d{1,4}):)?(\d{1,4}):)?(\d{1,12}(?:\.\d{0,20})?(?:e[+-]?\d{1,2})?)", text)
    if found is None:
        hint = "such as 12.5 or 00:00:12.5, in seconds from the beginning of the file"
        raise DataError(f"{name} {value!r} is no time", where=where, hint=hint)
    hours, minutes, rest = (float(part or 0) for part in found.groups())
    return 3600 * hours + 60 * minutes + rest
