"""Which clips a splice is made of: the rows of a CSV file, the background beside them, and what is in each.

The CSV file has the columns path, label, group and split (train, test or background), and any others. A row
whose split is background is shared out between both; one whose label is so is background of its split. A path
is relative to the folder of the CSV file, or to the folder above it.
"""

from __future__ import annotations

import csv
import difflib
import hashlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path, PurePosixPath

import numpy as np

from avglance.data.own import VIDEO
from avglance.data.rows import check_label
from avglance.data.splice_settings import Split
from avglance.errors import ArgumentError, DataError, MediaError
from avglance.media import VideoReader
from avglance.types import UNKNOWN

COLUMNS = ("path", "label", "group", "split")
BACKGROUND = "background"
ROWS = ("train", "test")  # splits that a row may have
HELD_SHARE = 1 / 3  # of the background for test; of what trains for validation
SHORTEST_S = 0.5
PART_S = 20.0  # of a long file: each part is decoded, and kept, by itself
SILENT_DB = -60.0  # RMS of a clip below this is no sound
RATE_HZ = 16_000


@dataclass(frozen=True)
class Clip:
    """One file to cut from, or a part of it.

    Attributes:
        path: where it lies.
        name: how the CSV file names it.
        label: its class, or what the CSV file calls the background.
        group: what it was cut from; the same name never stands in training and test.
        split: train, test or background.
        where: the row, for messages.
        behind: whether it is background.
        start_s: first second that has a picture (and sound, where the clip has any).
        end_s: last such second.
        sounds: whether it has a sound that can be heard.
    """

    path: Path
    name: str
    label: str
    group: str
    split: str
    where: str
    behind: bool = False
    start_s: float = 0.0
    end_s: float = 0.0
    sounds: bool = False


def read_clips(path: Path) -> list[Clip]:
    """The rows of a CSV file, each checked: the file is there, label and split are known, groups are whole.

    Raises:
        DataError: the file or a row is not what it should be; the message names the row.
    """
    clips: list[Clip] = []
    seen: dict[Path, str] = {}  # a file may be spelt in several ways: a.mp4, ./a.mp4
    for where, row in _rows(path):
        clip = _clip(row, path.parent, where)
        file = clip.path.resolve()
        if file in seen:
            raise DataError(f"{clip.name} stands in {seen[file]} too", where=where)
        seen[file] = where
        clips.append(clip)
    if not clips:
        raise DataError("has no row", where=str(path))
    _check_groups(clips)
    return clips


def _rows(path: Path) -> list[tuple[str, dict[str, str]]]:
    """(where, its four columns) of every row."""
    if not path.is_file():
        what = "is a folder, not a CSV file" if path.is_dir() else "there is no such file"
        raise DataError(what, where=str(path), hint=f"a CSV file with the columns {', '.join(COLUMNS)}")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            table = csv.DictReader(file, strict=True)
            head = [name or "" for name in table.fieldnames or ()]
            for column in COLUMNS:
                if column not in head:
                    near = difflib.get_close_matches(column, head, n=1)
                    hint = f"is {near[0]!r} meant? " if near else ""
                    raise DataError(
                        f"has no column {column!r}",
                        where=str(path),
                        hint=f"{hint}needed: {', '.join(COLUMNS)}",
                    )
            return [
                (f"{path}, line {table.line_num}", {name: (row[name] or "").strip() for name in COLUMNS})
                for row in table
            ]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"cannot be read as CSV ({error})", where=str(path)) from error


def _clip(row: dict[str, str], folder: Path, where: str) -> Clip:
    name = row["path"]
    inside = PurePosixPath(name)
    if not name or "\0" in name:
        raise DataError(f"path must be a file name, got {name!r}", where=where)
    if inside.is_absolute() or ".." in inside.parts:
        hint = "paths are relative to the CSV file's folder or the one above it"
        raise DataError(f"path {name!r} leads out of the folder", where=where, hint=hint)
    if not row["label"]:
        raise DataError("the label is empty", where=where)
    check_label(row["label"], where)
    if row["split"] not in (*ROWS, BACKGROUND):
        known = ", ".join((*ROWS, BACKGROUND))
        raise DataError(f"split must be one of {known}, got {row['split']!r}", where=where)
    found = next((base / inside for base in (folder, folder.parent) if _is_file(base / inside)), None)
    if found is None:
        hint = "restore the file, or remove the row; paths are relative to the CSV file's folder"
        raise DataError(f"{name} is missing", where=where, hint=hint)
    return Clip(found, name, row["label"], _group(row), row["split"], where)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that is too long
        return False


def _group(row: dict[str, str]) -> str:
    """A number is a number within its class; a name is a name everywhere; without either a clip is alone."""
    if not row["group"]:
        path = PurePosixPath(row["path"])
        alone = path.stem if row["split"] == BACKGROUND else path.with_suffix("")
        return f"{row['label']}/{alone}"
    return f"{row['label']}/g{row['group']}" if row["group"].isdigit() else row["group"]


def _check_groups(clips: Sequence[Clip]) -> None:
    first: dict[str, Clip] = {}
    for clip in clips:
        if clip.split == BACKGROUND:
            continue
        other = first.setdefault(clip.group, clip)
        if other.split != clip.split:
            raise DataError(
                f"group {clip.group} is in {clip.split} here and in {other.split} in {other.where}",
                where=clip.where,
                hint="clips of one group come from one source: they belong to one split",
            )


def choose_background(clips: Sequence[Clip], named: Sequence[str]) -> tuple[list[Clip], list[Clip]]:
    """(clips of classes, background), which has the split of other clips of its group.

    Args:
        clips: the rows.
        named: labels whose rows are the background, or folders of video files; none: the rows whose split
            or label is background.

    Raises:
        ArgumentError: a name is neither a label nor a folder.
        DataError: there is no background, a file of it belongs to a class, or a class is called unknown.
    """
    labels = {clip.label for clip in clips}
    chosen = {name for name in named if name in labels} if named else {BACKGROUND}
    background = [c for c in clips if c.label in chosen or (not named and c.split == BACKGROUND)]
    for name in named:
        if name not in labels:
            background += _folder(name, labels)
    if not background:
        hint = "rows with split `background`, or --background with a label or a folder"
        raise DataError("no clip is background", hint=hint)
    background = list({clip.path.resolve(): clip for clip in reversed(background)}.values())[::-1]
    events = [c for c in clips if c.split != BACKGROUND and c.label not in chosen]
    _check_apart(events, background)
    for clip in events:
        if clip.label == UNKNOWN:
            hint = "make these rows background, or give their class a name"
            raise DataError(f"{UNKNOWN!r} says that no class is there", where=clip.where, hint=hint)
    home = {clip.group: clip.split for clip in clips if clip.split != BACKGROUND}
    return events, [replace(c, behind=True, split=home.get(c.group, c.split)) for c in background]


def _check_apart(events: Sequence[Clip], background: Sequence[Clip]) -> None:
    classes = {clip.label for clip in events}
    files = {clip.path.resolve() for clip in events}
    for clip in background:
        if clip.label in classes or clip.path.resolve() in files:
            what = f"{clip.name} is background and belongs to a class"
            hint = "seen among the background it would be an event that the truth does not tell"
            raise DataError(what, where=clip.where, hint=hint)


def _folder(name: str, labels: Iterable[str]) -> list[Clip]:
    """The video files in a folder and below it, as background."""
    folder = Path(name)
    if not folder.is_dir():
        near = difflib.get_close_matches(name, list(labels), n=1)
        hint = f"did you mean the label {near[0]!r}?" if near else "labels are those of the CSV file"
        raise ArgumentError(f"{name!r} is neither a label nor a folder", where="--background", hint=hint)
    found = []
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        if VIDEO.fullmatch(path.suffix) and path.is_file() and not inside.name.startswith("."):
            said = (folder.resolve().name / inside).as_posix()
            found.append(Clip(path, said, BACKGROUND, said, BACKGROUND, str(path)))
    return found


def share_out(background: Sequence[Clip], split: Split) -> list[Clip]:
    """The part of the background that belongs to a split, in the order of their names.

    A clip that has a split keeps it. Of the other groups a third, by a hash of their names, is for test: of
    those that sound and of those of which no clip does. It depends on nothing else, so that two calls, one
    for each split, share no group.
    """
    loud = {clip.group for clip in background if clip.sounds}
    mine: list[Clip] = []
    for sounding in (True, False):
        some = [c for c in background if (c.group in loud) is sounding]
        test = _third([c for c in some if c.split == BACKGROUND], "")
        mine += [c for c in some if (c.split == "test" or c.group in test) is (split == "test")]
    return sorted(mine, key=lambda clip: (clip.name, clip.start_s))


def hold_out(
    clips: Sequence[Clip], background: Sequence[Clip], split: Split
) -> tuple[list[Clip], list[Clip]]:
    """Of what trains (clips of classes, background) the part that ``validation`` or ``fit`` shows; or all.

    Of each class, of the background that sounds and of that which does not a third of the groups, by a hash
    of their names, is for validation. A group that is in several of these is decided once, by the first.
    """
    if split not in ("validation", "fit"):
        return list(clips), list(background)
    loud = {clip.group for clip in background if clip.sounds}
    parts = [[c for c in clips if c.label == label] for label in sorted({c.label for c in clips})]
    parts += [[c for c in background if (c.group in loud) is sounding] for sounding in (True, False)]
    held, decided = set[str](), set[str]()
    for some in parts:
        held |= _third([clip for clip in some if clip.group not in decided], "validation")
        decided |= {clip.group for clip in some}
    shown, behind = (
        [c for c in side if (c.group in held) is (split == "validation")] for side in (clips, background)
    )
    return shown, behind


def _third(clips: Sequence[Clip], salt: str) -> set[str]:
    """A third of the groups by a hash of their names, and neither none nor all where there are two."""
    groups = {clip.group for clip in clips}
    ranked = sorted(groups, key=lambda name: hashlib.sha256((salt + name).encode()).digest())
    count = min(len(ranked) - 1, max(1, round(len(ranked) * HELD_SHARE))) if len(ranked) > 1 else 0
    return set(ranked[:count])


def probe(clip: Clip) -> list[Clip]:
    """The clip with what is really in it: from when to when, and whether it sounds; a long one in parts.

    Raises:
        DataError: it cannot be read, has no picture, is too short; a class's clip cannot be heard.
    """
    try:
        with VideoReader(clip.path, threads=1) as reader:
            pictures, heard = reader.picture_span, reader.sound_span
            level = _level_db(reader) if heard is not None else -math.inf
    except MediaError as error:
        raise DataError(f"{clip.name}: {error.what}", where=clip.where, hint=error.hint) from error
    if pictures is None:
        raise DataError(f"{clip.name} has no pictures", where=clip.where, hint="remove the row")
    start, end = pictures
    sounds = heard is not None and level > SILENT_DB
    if sounds and heard is not None:
        both = max(start, heard[0]), min(end, heard[1])
        sounds = not clip.behind or both[1] - both[0] >= (end - start) / 2
        start, end = both if sounds else (start, end)
    if not clip.behind and not sounds:
        hint = "an event is seen and heard: remove the row, or make it background"
        raise DataError(f"{clip.name} has no sound that can be heard", where=clip.where, hint=hint)
    if end - start < SHORTEST_S:
        what = f"{clip.name} lasts {max(0.0, end - start):.2f} s, less than {SHORTEST_S} s"
        raise DataError(what, where=clip.where, hint="remove the row")
    edges = np.linspace(start, end, math.ceil((end - start) / PART_S) + 1).tolist()
    return [replace(clip, start_s=a, end_s=b, sounds=sounds) for a, b in pairwise(edges)]


def _level_db(reader: VideoReader) -> float:
    """RMS of the whole sound, dBFS."""
    power, count = 0.0, 0
    for piece in reader.sound(0.0, reader.info.duration_s, rate_hz=RATE_HZ):
        power += float(np.sum(piece.samples.astype(np.float64) ** 2))
        count += piece.samples.size
    return 10 * math.log10(power / count) if power > 0 else -math.inf
