"""A dataset is a folder: ``manifest.jsonl`` (one video a line), ``dataset.json`` (what it is) and the files.

A line of the manifest is an object::

    {"path": "videos/0001.mp4", "labels": ["rain"], "group": "", "truth": "truth/0001.json"}

``path`` and ``truth`` (may be null or left out) are relative to the folder and stay inside it. In place of
``truth`` there may be ``spans``, a list of [start_s, end_s, label]. ``group`` names what must not be split
between training and validation (a source, a speaker); ``split`` is the part of the dataset that the video
belongs to (train, validation, test ...); both may be empty. ``dataset.json`` may be left out; it may hold
``classes`` (the closed list of labels), ``kind``, ``seed``, ``license``, ``augment``, ``root`` (another
folder, absolute, that the paths of videos are relative to and stay inside of) and ``listed`` (how many videos
of each split the list names that this dataset was made from).

A video that shows none of the classes is labelled ``unknown``, a reserved word, and nothing else: it trains
nothing unless a training is told to, but helps a model to know when to say so.

Folders of one's own, tables and JSON lines are read too: see ``avglance.data.own``.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from avglance.data.own import read_own
from avglance.data.rows import (
    Home,
    Record,
    Row,
    Source,
    check_label,
    check_names,
    check_span,
    known_labels,
    parse_object,
    split_name,
)
from avglance.data.truth import LazyTruth, Truth
from avglance.errors import DataError
from avglance.types import UNKNOWN

__all__ = [
    "MANIFEST",
    "TEST",
    "WORLD",
    "Dataset",
    "LazyTruth",
    "Record",
    "Truth",
    "read_dataset",
    "read_held_out",
    "read_training",
]

MANIFEST, WORLD = "manifest.jsonl", "dataset.json"
TRAIN, HELD_OUT = "train", "validation"
TEST = ("test", HELD_OUT)
"""The splits to evaluate on: the first of them that a dataset has."""
_KEYS = {"path", "labels", "group", "truth", "split", "spans"}


@dataclass(frozen=True)
class Dataset:
    """Records in the manifest's order.

    Attributes:
        records: one a video.
        classes: every class name of the whole dataset, sorted; a class number is a place in it.
        world: the contents of ``dataset.json`` (``{}`` without one).
        sha256: over the rows of these records, ``dataset.json`` and the sizes of the files.
        folder: where it lies.
        root: what the paths of the videos are relative to.
        split: which part of the dataset these records are; empty: all of it.
        splits: how many videos each part of the whole dataset has; empty where there are no parts.
        notes: sentences on how it was read.
        several: whether any video of the whole dataset has more than one label.
    """

    records: tuple[Record, ...]
    classes: tuple[str, ...]
    world: dict[str, Any]
    sha256: str
    folder: Path = Path()
    root: Path = Path()
    split: str = ""
    splits: dict[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    several: bool = False

    def __len__(self) -> int:
        return len(self.records)

    @property
    def kind(self) -> str:
        """What made it, as ``dataset.json`` says (``glanceworld``), else empty."""
        return str(self.world.get("kind", ""))

    def name(self, record: Record) -> str:
        """The path of a record relative to ``root``, with ``/`` between folders."""
        return Path(os.path.relpath(record.path, self.root)).as_posix()

    @property
    def label_mode(self) -> Literal["single", "multi"]:
        """``single`` where no video of the whole dataset has more than one label, else ``multi``."""
        several = self.several or any(len(record.labels) > 1 for record in self.records)
        return "multi" if several else "single"

    @property
    def labels_told(self) -> str:
        """The label mode as a sentence."""
        classes = f"{len(self.classes)} class{'es' * (len(self.classes) != 1)}"
        shown = sum(not record.unknown for record in self.records)
        none = f"; {len(self) - shown} more show none ({UNKNOWN})" if shown < len(self) else ""
        if not shown:
            return f"no label: {len(self)} videos show none of {classes} ({UNKNOWN})"
        if self.label_mode == "single":
            return f"single label: each of {shown} videos shows one of {classes}{none}"
        mean = sum(len(record.labels) for record in self.records) / max(shown, 1)
        return f"multi label: {shown} videos show {mean:.2g} of {classes} on average{none}"

    @property
    def listed(self) -> int | None:
        """How many videos the list names that these records are from, absent ones too; None: not told."""
        told = self.world.get("listed")
        if not isinstance(told, dict):
            return None
        counts = {k: v for k, v in told.items() if isinstance(v, int) and (not self.split or k == self.split)}
        return max(sum(counts.values()), len(self)) if counts else None


def read_dataset(
    data: str | Path, *, split: str | None = None, prefer: Sequence[str] = (), root: str | Path | None = None
) -> Dataset:
    """The dataset in a folder or a list, every row checked before any work begins.

    Args:
        data: a folder with ``manifest.jsonl``; or a folder of folders with videos, whose names are the
            classes; or a table (CSV) or JSON lines.
        split: only this part.
        prefer: where ``split`` is not given, the first of these parts that there is; all where there is none.
        root: the folder that the paths of a table or of JSON lines are relative to; None: the list's own.

    Returns:
        The dataset; the truth files are read when they are asked for.

    Raises:
        DataError: the folder or a file is missing, or a row is wrong; the message names the line.
    """
    source = _source(Path(data), None if root is None else Path(root))
    if not source.rows:
        raise DataError("has no row", where=source.place)
    splits = Counter(row.record.split for row in source.rows if row.record.split)
    part = _part(splits, split, prefer, source.place)
    classes = _class_names(source)
    digest = hashlib.sha256(source.stamp)
    if part:  # the classes come from all rows, and shape the weights
        digest.update(json.dumps([part, classes]).encode())
    rows = [row for row in source.rows if not part or row.record.split == part]
    loose = len(source.rows) - splits.total() if part else 0
    notes = (f"left out: {loose} videos that are in no split",) if loose else ()
    for row in rows:
        digest.update(row.stamp)
    return Dataset(
        records=tuple(row.record for row in rows),
        classes=classes,
        world=source.world,
        sha256=digest.hexdigest(),
        folder=source.folder,
        root=source.root,
        split=part,
        splits=dict(splits),
        notes=(*source.notes, *notes),
        several=any(len(row.record.labels) > 1 for row in source.rows),
    )


def read_training(data: str | Path) -> Dataset:
    """What of a dataset is there to train on: its split ``train``, or everything where it has no splits.

    Raises:
        DataError: it has splits, and none of them is ``train``; fewer than two classes; or as
            :func:`read_dataset`.
    """
    dataset = read_dataset(data, prefer=(TRAIN,))
    if dataset.splits and not dataset.split:
        there = ", ".join(dataset.splits)
        hint = f"one of them must be called {TRAIN}, or none be given"
        raise DataError(f"the splits are {there}, none to train on", where=str(data), hint=hint)
    if len(dataset.classes) < 2:
        there = ", ".join(map(repr, dataset.classes)) or "none"
        hint = f"videos of anything else may be labelled {UNKNOWN!r}, but that is no class"
        raise DataError(f"a training takes two classes, here is {there}", where=str(data), hint=hint)
    return dataset


def read_held_out(data: str | Path) -> Dataset | None:
    """The part of a dataset to validate a training by: its split ``validation``; None where it has none.

    Raises:
        DataError: as :func:`read_dataset`.
    """
    dataset = read_dataset(data, prefer=(HELD_OUT,))
    return dataset if dataset.split == HELD_OUT else None


def _source(data: Path, root: Path | None) -> Source:
    folder = data.parent if data.name == MANIFEST else data
    if not os.path.isfile(folder / MANIFEST):
        return read_own(data, root)
    if root is not None:
        hint = f"{WORLD} says where its videos lie: root"
        raise DataError("a folder with a manifest takes no other root", where=str(folder), hint=hint)
    return _manifest(folder)


def _part(splits: Counter[str], split: str | None, prefer: Sequence[str], where: str) -> str:
    """The part that is asked for; empty for everything."""
    if split is None:
        return next((name for name in prefer if name in splits), "")
    wanted = split_name(split)
    if wanted in splits:
        return wanted
    there = ", ".join(splits)
    hint = f"there are {there}" if splits else "a manifest or table names it in the field split"
    raise DataError(f"no video is of the split {split!r}", where=where, hint=hint)


def _manifest(folder: Path) -> Source:
    stamp, world = _read_world(folder / WORLD)
    root = _media_root(world, folder)
    notes = () if root == folder else (f"the videos are read from {root}",)
    rows = tuple(_read_rows(folder / MANIFEST, folder, root))
    return Source(rows, str(folder / MANIFEST), folder, root, world, stamp, notes)


def _read_world(path: Path) -> tuple[bytes, dict[str, Any]]:
    """The bytes that stand for it in the hash, and the object; where the videos lie is no part of it."""
    if not path.is_file():
        return b"", {}
    raw = path.read_bytes()
    world = parse_object(raw, str(path))
    if "root" in world:
        raw = json.dumps({k: v for k, v in world.items() if k != "root"}, sort_keys=True).encode()
    return raw, world


def _media_root(world: dict[str, Any], folder: Path) -> Path:
    """The folder that the videos' paths are relative to."""
    root = world.get("root")
    if root is None:
        return folder
    where = str(folder / WORLD)
    if not isinstance(root, str) or "\0" in root or not os.path.isabs(root):
        raise DataError(f"root must be an absolute folder, got {root!r}", where=where)
    if not os.path.isdir(root):
        hint = f"if the videos were moved, write their folder into {WORLD}"
        raise DataError(f"the folder of its videos is not there: {root}", where=where, hint=hint)
    return Path(root)


def _read_rows(manifest: Path, folder: Path, root: Path) -> list[Row]:
    homes = (Home(folder), Home(root))
    rows: list[Row] = []
    seen: dict[Path, int] = {}
    for number, line in enumerate(manifest.read_bytes().splitlines(), start=1):
        if not line.strip():
            continue
        where = f"{manifest}, line {number}"
        found = parse_object(line, where)
        check_names(found, _KEYS, where)
        record = _record(found, homes, where)
        if record.path in seen:
            raise DataError(f"{record.path} stands in line {seen[record.path]} too", where=where)
        seen[record.path] = number
        stamp = line.strip() + f"|{record.path.stat().st_size}\n".encode()
        rows.append(Row(where, record, stamp))
    return rows


def _record(row: dict[str, Any], homes: tuple[Home, Home], where: str) -> Record:
    labels = row.get("labels")
    if not isinstance(labels, list) or not labels or not all(isinstance(x, str) and x for x in labels):
        raise DataError(
            f"labels must be a list of names, got {labels!r}",
            where=where,
            hint='for one class: "labels": ["rain"]',
        )
    if len(set(labels)) < len(labels):
        raise DataError(f"a label stands twice in {labels!r}", where=where)
    path = homes[1].file(row.get("path"), "path", where)
    truth: Truth | None = _spans(row.get("spans"), labels, where)
    if (named := row.get("truth")) is not None:
        if truth is not None:
            raise DataError("spans and truth exclude each other", where=where)
        truth = LazyTruth(homes[0].file(named, "truth", where))
    group, split = str(row.get("group") or ""), row.get("split") or ""
    if not isinstance(split, str):
        raise DataError(f"split must be a name, got {split!r}", where=where)
    names, unknown = known_labels(labels, where, placed=truth is not None)
    return Record(path, names, truth, group, split=split_name(split), unknown=unknown)


def _spans(value: Any, labels: list[str], where: str) -> Truth | None:
    """The truth in a row itself."""
    if value is None or value == []:
        return None
    spans, names = [], []
    for one in value if isinstance(value, list) else [value]:
        try:
            start_s, end_s, label = one
            spans.append(check_span(float(start_s), float(end_s), where))
        except (TypeError, ValueError) as error:
            if isinstance(error, DataError):
                raise
            hint = 'such as "spans": [[1.5, 4, "rain"]]'
            raise DataError("spans must be lists of start_s, end_s, label", where=where, hint=hint) from error
        if check_label(label, where) not in labels:
            raise DataError(f"a span is of {label!r}, which is not among the labels", where=where)
        names.append(label)
    return Truth(tuple(spans), span_labels=tuple(names))


def _class_names(source: Source) -> tuple[str, ...]:
    listed = source.world.get("classes")
    if listed is None:
        return tuple(sorted({label for row in source.rows for label in row.record.labels}))
    if not isinstance(listed, list) or not all(isinstance(x, str) for x in listed) or not listed:
        raise DataError("classes must be a list of names", where=str(source.folder / WORLD))
    classes = tuple(sorted(set(listed) - {UNKNOWN}))
    known = set(classes)
    for row in source.rows:
        for label in row.record.labels:
            if label not in known:
                near = difflib.get_close_matches(label, classes, n=1)
                raise DataError(
                    f"unknown class {label!r}",
                    where=row.where,
                    hint=(f"did you mean {near[0]!r}? " if near else "")
                    + f"{WORLD} lists {len(classes)} classes",
                )
    return classes
