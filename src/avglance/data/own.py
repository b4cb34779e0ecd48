"""Data of one's own, as people have it: a folder of folders, a table, or JSON lines.

* A folder of folders: the names of the folders are the classes. Where they are called train, validation,
  test (or usual words for these) and hold folders themselves, they are the splits.
* A table (``.csv``, ``.tsv``) with a first line of names, or JSON lines (``.jsonl``, ``.ndjson``), with
  these fields: ``path`` (or file); ``label`` (or labels, separated by ``;`` or ``|``); ``start_s`` and
  ``end_s`` (or start and end), where the label holds; ``group``; ``split``. All but the first two may be left
  out. Several rows of one file become one record: its labels are united, its spans kept.

Paths are relative to the folder of the list and stay inside of it. Where no group is given, files are only
grouped by the official names of UCF-101 (``v_CLASS_gNN_cNN``): what else belongs together cannot be told
from names.
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from avglance.data.lists import LINES, TABLES, Draft, plain, read_list
from avglance.data.rows import SPLITS, Home, Record, Row, Source, check_label, known_labels, split_name
from avglance.data.truth import Truth
from avglance.errors import DataError

VIDEO = re.compile(
    r"\.(3gp|asf|avi|flv|m2ts|m2v|m4v|mkv|mov|mp4|mpe?g|mts|mxf|ogv|ts|vob|webm|wmv)", re.IGNORECASE
)
SOUND = re.compile(r"\.(aac|aiff?|flac|m4a|mp3|oga|ogg|opus|wav|wma)", re.IGNORECASE)
"""How the names of media files end."""
_UCF = re.compile(r"v_(\w+)_g(\d+)_c\d+", re.IGNORECASE)
_SHOWN = 4  # kinds of files left out


def read_own(data: Path, root: Path | None = None) -> Source:
    """The rows of a folder of folders, a table or JSON lines.

    Args:
        data: a folder or a file.
        root: the folder that the paths of a table or of JSON lines are relative to; None: the list's own.

    Raises:
        DataError: it is none of these, or something in it is wrong.
    """
    if os.path.isdir(data):
        if root is not None:
            raise DataError("a folder of folders takes no other root", where=str(data))
        return read_folders(data)
    if not os.path.isfile(data):
        raise DataError("no such folder or file", where=str(data), hint="name a dataset; see docs/data.md")
    suffix = data.suffix.lower()
    if suffix not in (*TABLES, *LINES):
        hint = f"a folder, or a list that ends in {', '.join((*TABLES[:2], *LINES))}"
        if suffix == ".json":
            hint += "; annotations of a benchmark: `avglance data import --help`"
        raise DataError("no kind of dataset ends like this", where=str(data), hint=hint)
    home = data.parent if root is None else root
    if not os.path.isdir(home):
        raise DataError("the folder of the videos is not there", where=str(home))
    return _source(read_list(data, home), str(data), data.parent, home, ())


def read_folders(root: Path) -> Source:
    """The files in a folder of folders, whose names are the classes.

    Raises:
        DataError: there is none, a folder cannot be read, or a link leads out.
    """
    left: Counter[str] = Counter()
    files = sorted(media_files(root, left))
    parts = _splits_on_top(root, files)
    home, drafts = Home(root), []
    for name in files:
        folders = name.parts[:-1]
        split = split_name(folders[0]) if parts and folders else ""
        label = plain(folders[1 if parts else 0]) if len(folders) > int(parts) else ""
        if not label:
            left["beside the folders of the classes"] += 1
            continue
        where = str(root / name)
        path = home.file(name.as_posix(), "the file", where)
        drafts.append(Draft(where, path, [check_label(label, where)], split=split))
    if not drafts:
        raise DataError(
            "no manifest.jsonl here, nor folders with videos",
            where=str(root),
            hint="a dataset is a folder with manifest.jsonl, or of folders whose names are the classes, or a "
            "table (docs/data.md); `avglance data glanceworld OUT` makes one",
        )
    below = ", the folders on top are the splits" if parts else ""
    notes = [f"the names of the folders are the classes{below}"]
    notes += [_left_out(left)] if left else []
    return _source(drafts, str(root), root, root, tuple(notes))


def _left_out(left: Counter[str]) -> str:
    """The sentence on files that were left out, the most frequent kinds first."""
    shown = left.most_common(_SHOWN)
    told = [f"{count} {kind}" for kind, count in shown]
    more = left.total() - sum(count for _, count in shown)
    return f"left out: {', '.join(told)}{f', {more} more' if more else ''}"


def media_files(root: Path, left: Counter[str]) -> Iterator[Path]:
    """Media files below a folder, relative to it; what is left out is counted by its kind."""

    def stop(error: OSError) -> None:
        raise DataError(f"cannot be read: {error.strerror}", where=str(error.filename)) from error

    for top, folders, names in os.walk(root, onerror=stop):
        links = [name for name in folders if os.path.islink(os.path.join(top, name))]
        left["links to folders"] += len(links)
        folders[:] = [name for name in folders if not name.startswith(".") and name not in links]
        videos = {Path(name).stem for name in names if VIDEO.fullmatch(Path(name).suffix)}
        for name in names:
            suffix, stem = Path(name).suffix, Path(name).stem
            if name.startswith("."):
                left["hidden"] += 1
            elif SOUND.fullmatch(suffix) and stem in videos:
                left["sound files beside a video of their name"] += 1
            elif not (VIDEO.fullmatch(suffix) or SOUND.fullmatch(suffix)):
                left[suffix.lower() or "without a suffix"] += 1
            elif not os.path.isfile(os.path.join(top, name)):
                left["links to nothing, or no files"] += 1
            else:
                yield Path(top, name).relative_to(root)
    for kind in [kind for kind, count in left.items() if not count]:
        del left[kind]


def _splits_on_top(root: Path, files: list[Path]) -> bool:
    """Whether the folders on top are parts of the data, not classes: by their names, and folders in them."""
    tops = {name.parts[0] for name in files if len(name.parts) > 1}
    direct = any(len(name.parts) == 2 for name in files)
    return bool(tops) and not direct and all(top.casefold() in SPLITS for top in tops)


def ucf_group(path: Path) -> str:
    """The group in the official name of a UCF-101 file; empty for other names.

    >>> ucf_group(Path("v_HandStandPushups_g08_c01.avi")), ucf_group(Path("clip_g08_c01.avi"))
    ('v_handstandpushups_g08', '')
    """
    found = _UCF.fullmatch(path.stem)
    return f"v_{found[1].casefold()}_g{found[2]}" if found else ""


def _source(drafts: list[Draft], place: str, folder: Path, root: Path, notes: tuple[str, ...]) -> Source:
    """The drafts as rows; equal data gives equal stamps, whatever it was read from."""
    named = sum(1 for draft in drafts if draft.group)
    rows, official = [], set[str]()
    for draft in drafts:
        if not draft.group and (group := ucf_group(draft.path)):
            official.add(group)
            draft.group = group
        spans = tuple((start, end) for start, end, _ in draft.spans)
        truth = Truth(spans, span_labels=tuple(label for *_, label in draft.spans)) if spans else None
        labels, unknown = known_labels(draft.labels, draft.where, placed=truth is not None)
        record = Record(draft.path, labels, truth, draft.group, split=draft.split, unknown=unknown)
        told: dict[str, Any] = {
            "path": draft.path.relative_to(root).as_posix(),
            "labels": draft.labels,
            "spans": draft.spans,
        }
        told |= {"group": draft.group, "split": draft.split, "bytes": draft.path.stat().st_size}
        rows.append(Row(draft.where, record, json.dumps(told, sort_keys=True).encode() + b"\n"))
    rule = f"groups: {named} files have one that was given" if named else "groups: none given"
    if official:
        rule += f", {len(official)} by the official names of UCF-101 (v_CLASS_gNN_cNN)"
    elif not named:
        rule += ", every file stands for itself"
    return Source(tuple(rows), place, folder, root, {}, b"", (*notes, rule))
