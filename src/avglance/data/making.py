"""A folder of made videos: begun once, gone on with by calling again, written by several processes."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from avglance.data.workers import In, Out, pool
from avglance.errors import ArgumentError, DataError

MOST_VIDEOS = 1_000_000  # each has a line in the manifest, and a place in a list from the first on


def check_numbers(videos: int, seed: int, where: str) -> None:
    """Refuse a number of videos, of all kinds together, or a seed that cannot be.

    Raises:
        ArgumentError: it is so.
    """
    if not 1 <= videos <= MOST_VIDEOS or seed < 0:
        hint = f"videos from 1 to {MOST_VIDEOS}, a seed of at least 0"
        raise ArgumentError(f"videos={videos}, seed={seed}", where=where, hint=hint)


def begin(folder: Path, wanted: dict[str, Any], same: Iterable[str]) -> None:
    """Make the folder, or see that it was begun as wanted; dataset.json comes first.

    Args:
        folder: new, empty, or begun before.
        wanted: what dataset.json says.
        same: the fields in which an earlier dataset.json must agree.

    Raises:
        DataError: the folder holds something else, or cannot be written.
    """
    card = folder / "dataset.json"
    if folder.exists() and not folder.is_dir():
        raise DataError(
            "a file stands where the folder should be", where=str(folder), hint="name another folder"
        )
    if card.exists():
        _check_same(card, wanted, same)
    elif folder.exists() and any(folder.iterdir()):
        raise DataError(
            "the folder holds something else", where=str(folder), hint="name an empty or new folder"
        )
    try:
        for name in ("videos", "truth"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        write_text(card, json.dumps(wanted, indent=1))
    except OSError as error:
        hint = "name another folder"
        raise DataError(f"cannot be made: {error.strerror}", where=str(folder), hint=hint) from error


def _check_same(card: Path, wanted: dict[str, Any], same: Iterable[str]) -> None:
    try:
        there = json.loads(card.read_text())
    except (OSError, ValueError) as error:
        raise DataError("not readable as JSON", where=str(card), hint="name another folder") from error
    for key in same:
        found = there.get(key) if isinstance(there, dict) else None
        if found != wanted.get(key):
            raise DataError(
                f"the folder was begun with {key} {found!r}, asked for {wanted.get(key)!r}",
                where=str(card),
                hint="name another folder",
            )


def paths(folder: Path, index: int, kind: str = "") -> tuple[Path, Path]:
    """Where video ``index`` and its truth stand; videos of another kind have it before their number."""
    return folder / "videos" / f"{kind}{index:06d}.mp4", folder / "truth" / f"{kind}{index:06d}.json"


def missing(folder: Path, videos: int, kind: str = "") -> list[int]:
    """Which of the videos 0 .. ``videos`` - 1 are not there yet, or not their truth."""
    return [n for n in range(videos) if not all(path.exists() for path in paths(folder, n, kind))]


def write_text(path: Path, text: str) -> None:
    """Write a file that appears whole or not at all."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    part.write_text(text, encoding="utf-8")
    os.replace(part, path)


def processes(workers: int | None, videos: int, where: str) -> int:
    """How many processes to use; None: one a core.

    Raises:
        ArgumentError: ``workers`` is below 1.
    """
    workers = min(os.cpu_count() or 1, videos) if workers is None else workers
    if workers < 1:
        raise ArgumentError(f"workers={workers} is below 1", where=where)
    return workers


def each(make: Callable[[In], Out], items: list[In], workers: int) -> Iterator[Out]:
    """``make`` of each item in order, by so many processes; 1, or a single item, is done in this one.

    ``make`` is handed to a process once, so it may hold what it needs for all of them. Ctrl-C, or whatever
    else ends this process, ends them in the middle of their item.

    Raises:
        DataError: a process died.
    """
    workers = min(workers, len(items))
    if workers <= 1:
        yield from map(make, items)
        return
    with pool(make, workers) as give:
        try:
            for task in [give(item) for item in items]:
                yield task.result()
        except BrokenProcessPool as error:
            raise DataError("a process died at work", hint="use fewer --workers, then go on") from error
