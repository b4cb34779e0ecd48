"""Untrimmed videos from labelled clips and background: real pictures, real sound, and known moments.

In one video the clips of one class, seen and heard, stand at a random time among background that is as loud
and as often cut. With half decoys another class is seen without its sound, and a third is heard without its
pictures: the label is what is seen and heard at once. Videos without an event may stand beside them: they
are ``unknown``.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

from avglance.data.making import begin, check_numbers, each, missing, paths, processes, write_text
from avglance.data.splice_reel import Reel
from avglance.data.splice_script import Plan, Script, draw_script, longest_piece
from avglance.data.splice_settings import SPLITS, Splice, Split
from avglance.data.splice_sound import RATE_HZ, mix
from avglance.data.splice_sources import (
    Clip,
    choose_background,
    hold_out,
    probe,
    read_clips,
    share_out,
)
from avglance.errors import ArgumentError, DataError
from avglance.media.writer import write_mp4
from avglance.types import UNKNOWN

__all__ = ["Splice", "make_splice"]

VERSION = 1  # of what is put together: a folder is only gone on with by the version that began it
BITS_A_PIXEL = 0.3125  # 300 kbit/s at 320x240 and 12.5 pictures a second
KEYFRAME_S, PRESET = 2.0, "superfast"
UNKNOWN_KIND = f"{UNKNOWN}_"  # before the number of a file without an event
LICENSE = "made from the clips given; their rights hold"


def make_splice(
    clips: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    videos: int,
    seed: int,
    split: Split,
    unknown: int = 0,
    settings: Splice | None = None,
    background: Sequence[str] = (),
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """The folder ``out`` with the files, their truth, dataset.json and manifest.jsonl (the last).

    What is there already from the same clips, settings and seed is kept, so a broken run is gone on with by
    calling again. The same seed gives the same truth whatever the number of workers.

    Args:
        clips: a CSV file with the columns path, label, group and split.
        out: folder, made where absent.
        videos: how many files with an event.
        seed: of every draw; training and test differ by ``split``, and share no clip.
        split: whose clips to use; "validation" and "fit" are two parts of "train" that share no group.
        unknown: how many files without one, background (and half decoys) alone.
        settings: how videos are put together; None: the defaults.
        background: labels or folders that are the background; none: rows whose split is background.
        workers: processes, None = one a core; 1 = no further process.
        progress: called with (files done, files in all) after each.

    Raises:
        ArgumentError: a number is out of range, or there are too few classes for decoys.
        DataError: a row or a clip is not what it should be, or the folder holds something else.
    """
    if videos < 0 or unknown < 0:
        raise ArgumentError(f"videos={videos}, unknown={unknown} must not be below 0", where="make_splice")
    check_numbers(videos + unknown, seed, "make_splice")
    workers = processes(workers, max(videos + unknown, 2), "make_splice")
    plan = make_plan(Path(clips), split, settings or Splice(), background, workers=workers)
    folder = Path(out)
    card = _card(plan, videos, unknown, seed)
    begin(folder, card, ("kind", "version", "seed", "split", "options", "clips_sha256"))
    todo = [(n, False) for n in missing(folder, videos)]
    todo += [(n, True) for n in missing(folder, unknown, UNKNOWN_KIND)]
    done = videos + unknown - len(todo)
    for _ in each(_Maker(folder, plan, seed), todo, workers):
        done += 1
        if progress is not None:
            progress(done, videos + unknown)
    scripts = (draw_script(plan, seed, n) for n in range(videos))
    others = (draw_script(plan, seed, n, unknown=True) for n in range(unknown))
    lines = (json.dumps(_line(folder, script)) for script in chain(scripts, others))
    write_text(folder / "manifest.jsonl", "".join(f"{line}\n" for line in lines))
    return folder


def make_plan(
    clips: Path, split: Split, settings: Splice, background: Sequence[str] = (), *, workers: int = 1
) -> Plan:
    """What the videos of a split are drawn from; every clip is opened once.

    Raises:
        ArgumentError: the split is not known, or there are too few classes for decoys.
        DataError: a row or a clip is not what it should be, or a split has no clip.
    """
    if split not in SPLITS:
        raise ArgumentError(f"split={split!r} is not one of {', '.join(SPLITS)}", where="make_plan")
    events, behind = choose_background(read_clips(clips), background)
    parts = [part for some in each(probe, [*events, *behind], workers) for part in some]
    events, behind = [c for c in parts if not c.behind], [c for c in parts if c.behind]
    classes = tuple(sorted({clip.label for clip in events}))
    side: Split = "test" if split == "test" else "train"
    there = [clip for clip in events if clip.split == side]
    if not there:
        raise DataError(f"no clip of a class has the split {side}", where=str(clips))
    shown, own = hold_out(there, share_out(behind, side), split)
    mine, here = tuple(sorted(shown, key=_place)), {clip.label for clip in shown}
    if lost := sorted({clip.label for clip in there} - here):
        what, hint = f"{lost[0]} has no group for {split}", "two groups of a class that train are the fewest"
        raise DataError(what, where=str(clips), hint=hint)
    if settings.decoys == "half" and len(here) < 3:
        what = f"half decoys take three classes, {split} has {len(here)}"
        raise ArgumentError(what, where=str(clips), hint="--decoys none, or clips of more classes")
    if not any(clip.sounds for clip in own):
        hint = "two groups with sound are the fewest: one for training and one for test"
        hint += "; three with a part for validation" if split in ("validation", "fit") else ""
        raise DataError(f"no background with sound for {split}", where=str(clips), hint=hint)
    longest = longest_piece(events, behind, settings.fps)
    return Plan(settings, split, classes, mine, tuple(own), longest)


def _place(clip: Clip) -> tuple[str, float]:
    return clip.name, clip.start_s


@dataclass
class _Maker:
    """Makes videos of one folder; in each process it keeps what it has decoded."""

    folder: Path
    plan: Plan
    seed: int

    @cached_property
    def _reel(self) -> Reel:
        return Reel(self.plan.settings)

    def __call__(self, item: tuple[int, bool]) -> None:
        """Write one video (number, whether unknown) and then its truth; both appear whole or not at all."""
        index, unknown = item
        script = draw_script(self.plan, self.seed, index, unknown=unknown)
        video, truth = _paths(self.folder, script)
        settings = self.plan.settings
        write_mp4(
            video,
            self._reel.pictures(script),
            rate=settings.fps,
            sound=mix(script, self._reel.sound),
            sound_rate_hz=RATE_HZ,
            bitrate=round(BITS_A_PIXEL * settings.size[0] * settings.size[1] * settings.fps),
            keyframe_every_s=KEYFRAME_S,
            preset=PRESET,
            pixels="yuv420p",
            threads=1,
        )
        write_text(truth, json.dumps(script.truth()))


def _paths(folder: Path, script: Script) -> tuple[Path, Path]:
    return paths(folder, script.index, UNKNOWN_KIND if script.unknown else "")


def _line(folder: Path, script: Script) -> dict[str, Any]:
    """A row of the manifest; without an event it names no truth, since its label holds nowhere."""
    video, truth = (path.relative_to(folder).as_posix() for path in _paths(folder, script))
    line = {"path": video, "labels": [script.label], "group": script.group}
    return line if script.unknown else line | {"truth": truth}


def _card(plan: Plan, videos: int, unknown: int, seed: int) -> dict[str, Any]:
    """What dataset.json says."""
    return {
        "kind": "splice",
        "version": VERSION,
        "seed": seed,
        "videos": videos,
        **({"unknown": unknown} if unknown else {}),
        "split": plan.split,
        "classes": list(plan.classes),
        "license": LICENSE,
        "options": plan.settings.fields(),
        "size": list(plan.settings.size),
        "rate": plan.settings.fps,
        "longest_piece_s": plan.longest / plan.settings.fps,
        "clips": len({clip.name for clip in plan.clips}),
        "background": sorted({clip.name for clip in plan.background}),
        "clips_sha256": _digest(plan),
    }


def _digest(plan: Plan) -> str:
    """Over everything of the clips that a script is drawn from."""
    held = [
        [c.name, c.label, c.group, c.start_s, c.end_s, c.sounds, c.path.stat().st_size]
        for c in (*plan.clips, *plan.background)
    ]
    return hashlib.sha256(json.dumps([plan.longest, held]).encode()).hexdigest()
