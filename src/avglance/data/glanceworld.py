"""GlanceWorld: real video files in which we know which seconds, which place and which sound decide the class.

20 classes = 4 fine textures x 5 sound families. In one span of each file an object carries the class's
texture and the class's sound plays. Two decoys are exactly half an event: an object with another texture
without a sound, and another family's sound without an object. A small glance shows where an object is, not
which texture it has.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from avglance.data.glanceworld_pictures import paint
from avglance.data.glanceworld_script import draw_script
from avglance.data.glanceworld_sound import RATE_HZ, play
from avglance.data.glanceworld_world import (
    CLASSES,
    FAMILIES,
    HEIGHT,
    KINDS,
    PLAIN,
    RATE,
    TEXTURES,
    WIDTH,
    World,
)
from avglance.data.workers import one_thread_each
from avglance.errors import ArgumentError, DataError
from avglance.media.writer import write_mp4

__all__ = [
    "CLASSES",
    "FAMILIES",
    "KINDS",
    "PLAIN",
    "TEXTURES",
    "VERSION",
    "World",
    "make_video",
    "make_world",
]

VERSION = 1  # of what is painted and played: a folder is only gone on with by the version that began it
CRF, KEYFRAME_S, PRESET = 23, 2.0, "veryfast"


def make_world(
    out: str | os.PathLike[str],
    *,
    videos: int,
    seed: int,
    world: World = PLAIN,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """The folder ``out`` with ``videos`` files, truth files, dataset.json and manifest.jsonl (the last).

    What is there already from the same world and seed is kept, so a broken run is gone on with by calling
    again. The same seed gives the same truth, painted pictures and played sound whatever the number of
    workers (the picture encoder may round a few blocks another way).

    Args:
        out: folder, made where absent.
        videos: how many files.
        seed: of the world; train and test are different seeds.
        world: which world; the default is the plain one.
        workers: processes, None = one a core; 1 = no further process.
        progress: called with (files done, files in all) after each.

    Raises:
        ArgumentError: ``videos``, ``seed`` or ``workers`` is out of range.
        DataError: the folder holds something else.
    """
    if videos < 1 or seed < 0:
        raise ArgumentError(
            f"videos={videos}, seed={seed}", where="make_world", hint="videos >= 1, seed >= 0"
        )
    workers = min(os.cpu_count() or 1, videos) if workers is None else workers
    if workers < 1:
        raise ArgumentError(f"workers={workers} is below 1", where="make_world")
    folder = Path(out)
    _begin(folder, _card(world, videos, seed))
    missing = [n for n in range(videos) if not all(path.exists() for path in _paths(folder, n))]
    done = videos - len(missing)
    for _ in _each(folder, world, seed, missing, min(workers, max(1, len(missing)))):
        done += 1
        if progress is not None:
            progress(done, videos)
    lines = (json.dumps(_line(folder, world, seed, n)) for n in range(videos))
    _write(folder / "manifest.jsonl", "".join(f"{line}\n" for line in lines))
    return folder


def make_video(folder: str | os.PathLike[str], seed: int, index: int, world: World = PLAIN) -> None:
    """Write one video and then its truth file; both appear whole or not at all."""
    video, truth = _paths(Path(folder), index)
    script = draw_script(seed, index, world)
    write_mp4(
        video,
        paint(script),
        rate=RATE,
        sound=play(script),
        sound_rate_hz=RATE_HZ,
        crf=CRF,
        keyframe_every_s=KEYFRAME_S,
        preset=PRESET,
        pixels="yuv420p",
        threads=1,
    )
    _write(truth, json.dumps(script.truth()))


def _each(folder: Path, world: World, seed: int, missing: list[int], workers: int) -> Iterator[None]:
    """Make the missing files, yielding after each."""
    if workers == 1:
        for index in missing:
            make_video(folder, seed, index, world)
            yield
        return
    with one_thread_each():
        spawn = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(workers, mp_context=spawn, initializer=_ignore_interrupts)
        try:
            for task in [pool.submit(make_video, folder, seed, index, world) for index in missing]:
                task.result()
                yield
        finally:
            pool.shutdown(cancel_futures=True)


def _ignore_interrupts() -> None:
    """Ctrl-C reaches every process: workers finish their file, the main process hands out no more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _paths(folder: Path, index: int) -> tuple[Path, Path]:
    return folder / "videos" / f"{index:06d}.mp4", folder / "truth" / f"{index:06d}.json"


def _line(folder: Path, world: World, seed: int, index: int) -> dict[str, Any]:
    script = draw_script(seed, index, world)
    video, truth = (path.relative_to(folder).as_posix() for path in _paths(folder, index))
    return {"path": video, "labels": [script.label], "group": "", "truth": truth}


def _card(world: World, videos: int, seed: int) -> dict[str, Any]:
    """What dataset.json says."""
    card: dict[str, Any] = {
        "kind": "glanceworld" if world.kind == "plain" else f"glanceworld_{world.kind}",
        "version": VERSION,
        "seed": seed,
        "videos": videos,
        "classes": list(world.classes),
        "augment": {"translate_px": 8, "flip": False, "scale": False},
        "size": [WIDTH, HEIGHT],
        "rate": RATE,
    }
    return card if world == PLAIN else card | {"world": world.fields()}


def _begin(folder: Path, wanted: dict[str, Any]) -> None:
    """Make the folder, or see that it was begun as wanted; dataset.json comes first."""
    card = folder / "dataset.json"
    if folder.exists() and not folder.is_dir():
        raise DataError(
            "a file stands where the folder should be", where=str(folder), hint="name another folder"
        )
    if card.exists():
        _same(card, wanted)
    elif folder.exists() and any(folder.iterdir()):
        raise DataError(
            "the folder holds something else", where=str(folder), hint="name an empty or new folder"
        )
    for name in ("videos", "truth"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    _write(card, json.dumps(wanted, indent=1))


def _same(card: Path, wanted: dict[str, Any]) -> None:
    try:
        there = json.loads(card.read_text())
    except (OSError, ValueError) as error:
        raise DataError("not readable as JSON", where=str(card), hint="name another folder") from error
    for key in ("kind", "version", "seed", "world"):
        found = there.get(key) if isinstance(there, dict) else None
        if found != wanted.get(key):
            raise DataError(
                f"the folder was begun with {key} {found!r}, asked for {wanted.get(key)!r}",
                where=str(card),
                hint="name another folder",
            )


def _write(path: Path, text: str) -> None:
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    part.write_text(text, encoding="utf-8")
    os.replace(part, path)
