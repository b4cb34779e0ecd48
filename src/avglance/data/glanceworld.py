"""GlanceWorld: real video files in which we know which seconds, which place and which sound decide the class.

20 classes = 4 fine textures x 5 sound families. In one span of each file an object carries the class's
texture and the class's sound plays. Two decoys are exactly half an event: an object with another texture
without a sound, and another family's sound without an object. A small glance shows where an object is, not
which texture it has.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from functools import partial
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
from avglance.data.making import begin, check_numbers, each, missing, paths, processes, write_text
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
    check_numbers(videos, seed, "make_world")
    workers = processes(workers, videos, "make_world")
    folder = Path(out)
    begin(folder, _card(world, videos, seed), ("kind", "version", "seed", "world"))
    todo = missing(folder, videos)
    done = videos - len(todo)
    for _ in each(partial(make_video, folder, seed, world=world), todo, workers):
        done += 1
        if progress is not None:
            progress(done, videos)
    lines = (json.dumps(_line(folder, world, seed, n)) for n in range(videos))
    write_text(folder / "manifest.jsonl", "".join(f"{line}\n" for line in lines))
    return folder


def make_video(folder: str | os.PathLike[str], seed: int, index: int, world: World = PLAIN) -> None:
    """Write one video and then its truth file; both appear whole or not at all."""
    video, truth = paths(Path(folder), index)
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
    write_text(truth, json.dumps(script.truth()))


def _line(folder: Path, world: World, seed: int, index: int) -> dict[str, Any]:
    script = draw_script(seed, index, world)
    video, truth = (path.relative_to(folder).as_posix() for path in paths(folder, index))
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
