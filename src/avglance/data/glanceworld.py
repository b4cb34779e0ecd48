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
from avglance.data.glanceworld_script import CLASSES, FAMILIES, HEIGHT, RATE, TEXTURES, WIDTH, draw_script
from avglance.data.glanceworld_sound import RATE_HZ, play
from avglance.data.workers import one_thread_each
from avglance.errors import ArgumentError, DataError
from avglance.media.writer import write_mp4

__all__ = ["CLASSES", "FAMILIES", "TEXTURES", "VERSION", "make_video", "make_world"]

VERSION = 1  # of what is painted and played: a folder is only gone on with by the version that began it
CRF, KEYFRAME_S, PRESET = 23, 2.0, "veryfast"


def make_world(
    out: str | os.PathLike[str],
    *,
    videos: int,
    seed: int,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """The folder ``out`` with ``videos`` files, truth files, dataset.json and manifest.jsonl (the last).

    What is there already from the same seed is kept, so a broken run is gone on with by calling again. The
    same seed gives the same truth, painted pictures and played sound whatever the number of workers (the
    picture encoder may round a few blocks another way).

    Args:
        out: folder, made where absent.
        videos: how many files.
        seed: of the world; train and test are different seeds.
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
    _begin(folder, videos, seed)
    missing = [n for n in range(videos) if not all(path.exists() for path in _paths(folder, n))]
    done = videos - len(missing)
    for _ in _each(folder, seed, missing, min(workers, max(1, len(missing)))):
        done += 1
        if progress is not None:
            progress(done, videos)
    lines = (json.dumps(_line(folder, seed, n)) for n in range(videos))
    _write(folder / "manifest.jsonl", "".join(f"{line}\n" for line in lines))
    return folder


def make_video(folder: str | os.PathLike[str], seed: int, index: int) -> None:
    """Write one video and then its truth file; both appear whole or not at all."""
    video, truth = _paths(Path(folder), index)
    script = draw_script(seed, index)
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


def _each(folder: Path, seed: int, missing: list[int], workers: int) -> Iterator[None]:
    """Make the missing files, yielding after each."""
    if workers == 1:
        for index in missing:
            make_video(folder, seed, index)
            yield
        return
    with one_thread_each():
        spawn = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(workers, mp_context=spawn, initializer=_ignore_interrupts)
        try:
            for task in [pool.submit(make_video, folder, seed, index) for index in missing]:
                task.result()
                yield
        finally:
            pool.shutdown(cancel_futures=True)


def _ignore_interrupts() -> None:
    """Ctrl-C reaches every process: workers finish their file, the main process hands out no more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _paths(folder: Path, index: int) -> tuple[Path, Path]:
    return folder / "videos" / f"{index:06d}.mp4", folder / "truth" / f"{index:06d}.json"


def _line(folder: Path, seed: int, index: int) -> dict[str, Any]:
    script = draw_script(seed, index)
    video, truth = (path.relative_to(folder).as_posix() for path in _paths(folder, index))
    return {"path": video, "labels": [f"{script.texture} {script.family}"], "group": "", "truth": truth}


def _begin(folder: Path, videos: int, seed: int) -> None:
    """Make the folder, or see that it was begun by the same seed; dataset.json comes first."""
    world = {
        "kind": "glanceworld",
        "version": VERSION,
        "seed": seed,
        "videos": videos,
        "classes": list(CLASSES),
        "augment": {"translate_px": 8, "flip": False, "scale": False},
        "size": [WIDTH, HEIGHT],
        "rate": RATE,
    }
    card = folder / "dataset.json"
    if folder.exists() and not folder.is_dir():
        raise DataError(
            "a file stands where the folder should be", where=str(folder), hint="name another folder"
        )
    if card.exists():
        _same(card, world)
    elif folder.exists() and any(folder.iterdir()):
        raise DataError(
            "the folder holds something else", where=str(folder), hint="name an empty or new folder"
        )
    for name in ("videos", "truth"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    _write(card, json.dumps(world, indent=1))


def _same(card: Path, world: dict[str, Any]) -> None:
    try:
        there = json.loads(card.read_text())
    except (OSError, ValueError) as error:
        raise DataError("not readable as JSON", where=str(card), hint="name another folder") from error
    for key in ("kind", "version", "seed"):
        found = there.get(key) if isinstance(there, dict) else None
        if found != world[key]:
            raise DataError(
                f"the folder was begun with {key} {found!r}, asked for {world[key]!r}",
                where=str(card),
                hint="name another folder",
            )


def _write(path: Path, text: str) -> None:
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    part.write_text(text, encoding="utf-8")
    os.replace(part, path)
