"""A dataset is a folder: ``manifest.jsonl`` (one video a line), ``dataset.json`` (what it is) and the files.

A line of the manifest is an object::

    {"path": "videos/0001.mp4", "labels": ["rain"], "group": "", "truth": "truth/0001.json"}

``path`` and ``truth`` (may be null or left out) are relative to the folder and stay inside it. ``group``
names what must not be split between training and validation (a source, a speaker); it may be empty.
``dataset.json`` may be left out; it may hold ``classes`` (the closed list of labels), ``kind``, ``seed``,
``license`` and ``augment``.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from avglance.data.truth import LazyTruth, Truth
from avglance.errors import DataError

__all__ = ["MANIFEST", "WORLD", "Dataset", "LazyTruth", "Record", "Truth", "read_dataset"]

MANIFEST, WORLD = "manifest.jsonl", "dataset.json"
_KEYS = {"path", "labels", "group", "truth"}


@dataclass(frozen=True)
class Record:
    """One video of a dataset: the file, its labels, what is known about it, and the group it belongs to."""

    path: Path
    labels: tuple[str, ...]
    truth: Truth | None = None
    group: str = ""


@dataclass(frozen=True)
class Dataset:
    """Records in the manifest's order.

    Attributes:
        records: one a video.
        classes: every class name, sorted; a class number is a place in it.
        world: the contents of ``dataset.json`` (``{}`` without one).
        sha256: over the manifest, ``dataset.json`` and the sizes of the files.
        folder: where it lies.
    """

    records: tuple[Record, ...]
    classes: tuple[str, ...]
    world: dict[str, Any]
    sha256: str
    folder: Path = Path()

    def __len__(self) -> int:
        return len(self.records)

    @property
    def kind(self) -> str:
        """What made it, as ``dataset.json`` says (``glanceworld``), else empty."""
        return str(self.world.get("kind", ""))


def read_dataset(folder: str | Path) -> Dataset:
    """The dataset in a folder, every row checked before any work begins.

    Args:
        folder: holds ``manifest.jsonl``.

    Returns:
        The dataset; the truth files are read when they are asked for.

    Raises:
        DataError: the folder or a file is missing, or a row is wrong; the message names the line.
    """
    root = Path(folder)
    manifest = root / MANIFEST
    if not manifest.is_file():
        raise DataError(
            f"no {MANIFEST} here" if root.is_dir() else "no such folder",
            where=str(root),
            hint='a dataset is a folder with manifest.jsonl, one {"path": ..., "labels": [...]} a line; '
            "`avglance data glanceworld OUT` makes one",
        )
    digest = hashlib.sha256()
    world = _read_world(root / WORLD, digest)
    rows = _read_rows(manifest, root, digest)
    if not rows:
        raise DataError("the manifest has no row", where=str(manifest))
    classes = _class_names(world, rows, manifest)
    return Dataset(tuple(record for _, record in rows), classes, world, digest.hexdigest(), root)


def _read_world(path: Path, digest: hashlib._Hash) -> dict[str, Any]:
    if not path.is_file():
        return {}
    raw = path.read_bytes()
    digest.update(raw)
    try:
        world = json.loads(raw)
    except ValueError as error:
        raise DataError(f"not JSON ({error})", where=str(path)) from error
    if not isinstance(world, dict):
        raise DataError(f"must be one JSON object, got {type(world).__name__}", where=str(path))
    return world


def _read_rows(manifest: Path, root: Path, digest: hashlib._Hash) -> list[tuple[int, Record]]:
    inside = root.resolve()
    rows: list[tuple[int, Record]] = []
    seen: dict[Path, int] = {}
    for number, line in enumerate(manifest.read_bytes().splitlines(), start=1):
        if not line.strip():
            continue
        where = f"{manifest}, line {number}"
        record = _record(_row(line, where), root, inside, where)
        if record.path in seen:
            raise DataError(f"{record.path} stands in line {seen[record.path]} too", where=where)
        seen[record.path] = number
        digest.update(line.strip() + f"|{record.path.stat().st_size}\n".encode())
        rows.append((number, record))
    return rows


def _row(line: bytes, where: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise DataError(f"not JSON ({error})", where=where) from error
    if not isinstance(row, dict):
        raise DataError(f"a row must be a JSON object, got {type(row).__name__}", where=where)
    for key in row:
        if key not in _KEYS:
            near = difflib.get_close_matches(str(key), _KEYS, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise DataError(
                f"no field is called {key!r}", where=where, hint=f"{hint}known: {', '.join(sorted(_KEYS))}"
            )
    return row


def _record(row: dict[str, Any], root: Path, inside: Path, where: str) -> Record:
    labels = row.get("labels")
    if not isinstance(labels, list) or not labels or not all(isinstance(x, str) and x for x in labels):
        raise DataError(
            f"labels must be a list of names, got {labels!r}",
            where=where,
            hint='for one class: "labels": ["rain"]',
        )
    if len(set(labels)) < len(labels):
        raise DataError(f"a label stands twice in {labels!r}", where=where)
    path = _inside(row.get("path"), "path", root, inside, where)
    truth = row.get("truth")
    known = None if truth is None else LazyTruth(_inside(truth, "truth", root, inside, where))
    return Record(path, tuple(labels), known, str(row.get("group") or ""))


def _inside(value: Any, key: str, root: Path, inside: Path, where: str) -> Path:
    """The file that a row names, which must be a real one inside the dataset's folder."""
    if not isinstance(value, str) or not value or "\0" in value:
        raise DataError(f"{key} must be a file name, got {value!r}", where=where)
    found = root / PurePosixPath(value)
    if not found.resolve().is_relative_to(inside):
        raise DataError(
            f"{key} {value!r} leads out of the dataset's folder",
            where=where,
            hint="paths are relative to the folder; copy the file into it",
        )
    if not found.is_file():
        raise DataError(
            f"{key} {value!r} is missing", where=where, hint="restore the file, or remove the line"
        )
    return found


def _class_names(world: dict[str, Any], rows: list[tuple[int, Record]], manifest: Path) -> tuple[str, ...]:
    listed = world.get("classes")
    if listed is None:
        return tuple(sorted({label for _, record in rows for label in record.labels}))
    if not isinstance(listed, list) or not all(isinstance(x, str) for x in listed) or not listed:
        raise DataError("classes must be a list of names", where=str(manifest.with_name(WORLD)))
    classes = tuple(sorted(set(listed)))
    known = set(classes)
    for number, record in rows:
        for label in record.labels:
            if label not in known:
                near = difflib.get_close_matches(label, classes, n=1)
                raise DataError(
                    f"unknown class {label!r}",
                    where=f"{manifest}, line {number}",
                    hint=(f"did you mean {near[0]!r}? " if near else "")
                    + f"{WORLD} lists {len(classes)} classes",
                )
    return classes
