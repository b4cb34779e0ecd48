"""From an official list and a folder of videos to a dataset folder; what is absent is counted and named."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from avglance.data.benchmarks.listed import Listed, Listing, plain_name, read_lines
from avglance.data.making import write_text
from avglance.data.own import VIDEO, media_files, read_own
from avglance.data.records import MANIFEST, WORLD
from avglance.data.rows import Home, Record
from avglance.errors import ArgumentError, DataError
from avglance.types import UNKNOWN

ABSENT = "absent.txt"
READERS = {
    "activitynet": "avglance.data.benchmarks.activitynet",
    "ave": "avglance.data.benchmarks.ave",
    "fcvid": "avglance.data.benchmarks.fcvid",
    "kinetics-400": "avglance.data.benchmarks.kinetics",
    "kinetics-600": "avglance.data.benchmarks.kinetics",
    "kinetics-700": "avglance.data.benchmarks.kinetics",
    "kinetics-sounds": "avglance.data.benchmarks.kinetics",
    "mini-kinetics": "avglance.data.benchmarks.kinetics",
    "ucf-101": "avglance.data.benchmarks.ucf101",
}
"""What `avglance data import` knows, and the module whose ``read`` reads it."""
_NAMED = 3


@dataclass(frozen=True)
class Made:
    """What :func:`make_dataset` wrote: the folder, videos used, listed and absent by split, sentences."""

    folder: Path
    used: dict[str, int]
    listed: dict[str, int]
    absent: tuple[str, ...]
    notes: tuple[str, ...]


def read_benchmark(name: str, files: Sequence[Path], classes: Path | None = None) -> Listing:
    """The list of a benchmark.

    Args:
        name: a key of ``READERS``.
        files: its annotations.
        classes: a file with names of classes, one a line.

    Raises:
        DataError: a file is missing or is something else.
    """
    for file in (*files, *([classes] if classes else [])):
        if not os.path.isfile(file):
            raise DataError("no such file", where=str(file))
    names = [line for _, line in read_lines(classes)] if classes is not None else []
    if classes is not None and not names:
        raise DataError("names no class", where=str(classes))
    listing: Listing = import_module(READERS[name]).read(name, files, names)
    if not listing.videos:
        raise DataError("no video with a label is listed", where=str(files[0]))
    return listing


def make_dataset(
    listing: Listing, videos: Path, out: Path, *, annotations: Sequence[Path], force: bool = False
) -> Made:
    """Writes ``manifest.jsonl``, ``dataset.json`` and ``absent.txt`` of the listed videos that are there.

    Args:
        listing: what is wanted.
        videos: the folder with the files, at any depth; the dataset refers to it.
        out: the dataset's folder.
        annotations: the files that the list was read from; their hashes are kept.
        force: replace what is there.

    Raises:
        DataError: none of the videos is there, or one is a link that leads out.
        ArgumentError: there is a dataset already, or the folder cannot be written.
    """
    check_out(out, force=force)
    if not os.path.isdir(videos):
        raise DataError("the folder of the videos is not there", where=str(videos))
    index, home = _index(videos), Home(videos)
    rows, absent, several = [], [], 0
    for video in listing.videos:
        found = _find(video, index)
        several += len(found) > 1
        if found:
            home.file(found[0].as_posix(), "the file", str(videos))
            rows.append((video, found[0].as_posix()))
        else:
            absent.append(video)
    if not rows:
        places = ", ".join(place for video in absent[:_NAMED] for place in video.places[:1])
        what = f"none of the {len(absent)} listed videos is there"
        raise DataError(
            what, where=str(videos), hint=f"looked for {places} ... in {sum(map(len, index.values()))} places"
        )
    _check_twice(rows, videos)
    notes = list(listing.notes)
    notes += [f"{several} videos are there several times: one file of each is used"] if several else []
    world = _about(listing, videos, annotations, [video for video, _ in rows])
    write(out, world, [_row(video, path) for video, path in rows], [video.name for video in absent])
    used = Counter(video.split for video, _ in rows)
    return Made(out, dict(used), world["listed"], tuple(video.name for video in absent), tuple(notes))


def make_from_list(list_file: Path, videos: Path, out: Path, *, force: bool = False) -> Made:
    """Like :func:`make_dataset`, for a table or JSON lines of one's own with paths relative to ``videos``.

    Raises:
        DataError: a row is wrong; a missing file is an error here.
        ArgumentError: as there.
    """
    check_out(out, force=force)
    source = read_own(list_file, videos)
    if not source.rows:
        raise DataError("the list has no row", where=str(list_file))
    records = [row.record for row in source.rows]
    listed = Counter(record.split for record in records)
    classes = sorted({label for record in records for label in record.labels})
    world: dict[str, Any] = {"root": os.path.abspath(videos), "annotations": _hashes([list_file])}
    world |= {"classes": classes} if classes else {}
    write(out, world, [_row_of(record, videos) for record in records], [])
    return Made(out, dict(listed), dict(listed), (), source.notes)


def check_out(out: Path, *, force: bool) -> None:
    """Refuse a folder that holds a dataset, or that cannot be one.

    Raises:
        ArgumentError: it is so.
    """
    if out.exists() and not out.is_dir():
        raise ArgumentError("--out is a file", where=str(out), hint="name a folder")
    if not force and any((out / name).exists() for name in (MANIFEST, WORLD, ABSENT)):
        raise ArgumentError("a dataset is there already", where=str(out), hint="--force replaces it")


def _index(videos: Path) -> dict[str, list[Path]]:
    """Videos by their names without suffix, alone and with the last folder."""
    index: dict[str, list[Path]] = {}
    for path in sorted(path for path in media_files(videos, Counter()) if VIDEO.fullmatch(path.suffix)):
        index.setdefault(path.stem, []).append(path)
        if len(path.parts) > 1:
            index.setdefault(f"{path.parts[-2]}/{path.stem}", []).append(path)
    return index


def _find(video: Listed, index: dict[str, list[Path]]) -> list[Path]:
    """The files that a listed video may be, best first: those in a folder of its class or split."""
    found = next((index[place] for place in video.places if place in index), [])
    if len(found) < 2:
        return found
    wanted = {plain_name(name) for name in (*video.labels, video.split) if name}
    return sorted(found, key=lambda path: not any(plain_name(part) in wanted for part in path.parts[:-1]))


def _check_twice(rows: Sequence[tuple[Listed, str]], videos: Path) -> None:
    used: dict[str, Listed] = {}
    for video, path in rows:
        if (other := used.setdefault(path, video)) is not video:
            what = f"{path} would be {other.name} and {video.name}"
            raise DataError(what, where=str(videos), hint="two listed videos have files of one name")


def _row(video: Listed, path: str) -> dict[str, Any]:
    row: dict[str, Any] = {"path": path, "labels": list(video.labels)}
    row |= {"spans": [list(part) for part in video.parts]} if video.parts else {}
    row |= {"group": video.group} if video.group else {}
    return row | ({"split": video.split} if video.split else {})


def _row_of(record: Record, root: Path) -> dict[str, Any]:
    truth = record.truth
    labels = truth.span_labels if truth else ()
    parts = tuple((*span, label) for span, label in zip(truth.spans if truth else (), labels, strict=True))
    path = record.path.relative_to(root).as_posix()
    names = (UNKNOWN,) if record.unknown else record.labels
    return _row(Listed(path, (), names, record.split, parts, record.group), path)


def _about(
    listing: Listing, videos: Path, annotations: Sequence[Path], used: Sequence[Listed]
) -> dict[str, Any]:
    """What ``dataset.json`` says; nothing of it depends on the day or on where the list lay."""
    listed = Counter(video.split for video in listing.videos)
    absent = listed - Counter(video.split for video in used)
    return {
        "kind": listing.kind,
        "root": os.path.abspath(videos),
        "classes": list(listing.classes),
        "listed": dict(listed),
        "absent": dict(absent),
        "list_sha256": _names_hash(listing.videos),
        "used_sha256": _names_hash(used),
        "annotations": _hashes(annotations),
    }


def _names_hash(videos: Sequence[Listed]) -> str:
    """Of the names and splits, in any order."""
    lines = sorted(json.dumps([video.name, video.split, *video.labels]) for video in videos)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _hashes(files: Sequence[Path]) -> list[dict[str, str]]:
    return [{"file": file.name, "sha256": hashlib.sha256(file.read_bytes()).hexdigest()} for file in files]


def write(out: Path, world: dict[str, Any], rows: Sequence[dict[str, Any]], absent: Sequence[str]) -> None:
    """The three files, each whole or not at all; the manifest, which makes it a dataset, comes last.

    Raises:
        ArgumentError: the folder cannot be written.
    """
    texts = {
        WORLD: json.dumps(world, indent=1) + "\n",
        ABSENT: "".join(f"{' '.join(name.split())}\n" for name in absent),
        MANIFEST: "".join(json.dumps(row) + "\n" for row in rows),
    }
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / MANIFEST).unlink(missing_ok=True)  # of another list, until this one is whole
        for name, text in texts.items():
            write_text(out / name, text)
    except OSError as error:
        where = str(error.filename or out)
        raise ArgumentError(f"cannot be written: {error.strerror}", where=where) from error
