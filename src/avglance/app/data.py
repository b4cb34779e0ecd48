"""``avglance data ...``: make and look after datasets."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import get_args

from avglance.app import data_check, data_import, data_splice
from avglance.data.glanceworld_world import PLAIN, Kind, World

PLAIN_LINE_S = 30.0  # without a terminal, one line of progress every so many seconds


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``avglance data``; each kind of work is a word of its own."""
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="KIND")
    world = kinds.add_parser(
        "glanceworld",
        allow_abbrev=False,
        help="generate videos with known moments, places and classes",
        description="Generate GlanceWorld: MP4 files with a truth file each. In one stretch of every video, "
        "the event, a textured object drifts and a sound plays; elsewhere there are half events, objects "
        "without the sound and sounds without an object. Call again with the same options to go on.",
    )
    world.add_argument("out", metavar="OUT", type=Path, help="folder, new or begun by the same command")
    world.add_argument("--videos", type=int, required=True, metavar="N", help="how many files")
    world.add_argument(
        "--seed", type=int, required=True, metavar="S", help="train and test want different seeds"
    )
    _add_world(world.add_argument_group("which world (the defaults are the plain world of the figures)"))
    world.add_argument(
        "--workers", type=int, default=None, metavar="W", help="processes (default: one a core)"
    )
    world.add_argument("--quiet", action="store_true", help="no progress")
    world.set_defaults(work=run_glanceworld)
    for name, module, line in (
        ("check", data_check, "what may be wrong with a dataset: files, doubles, leaks, classes"),
        ("import", data_import, "from a benchmark's official list and a folder of videos to a dataset"),
    ):
        parser_of = kinds.add_parser(name, allow_abbrev=False, help=line, description=f"{line.capitalize()}.")
        module.add_arguments(parser_of)
        parser_of.set_defaults(work=module.run)
    data_splice.add_kind(kinds).set_defaults(work=partial(data_splice.run, bar=_progress))


def _add_world(group: argparse._ArgumentGroup) -> None:
    """Options for the fields of ``World``."""
    group.add_argument(
        "--world",
        choices=get_args(Kind),
        default=PLAIN.kind,
        help="plain: the class is the object's texture and the kind of sound (20 classes); pointer: the "
        "class is the texture alone, the sound only tells when (4); rivals: two objects at once, the class "
        "is the texture of the one whose colour goes with the sound (4) (default: %(default)s)",
    )
    group.add_argument(
        "--share",
        nargs=2,
        type=float,
        metavar=("LOW", "HIGH"),
        default=PLAIN.event_share,
        help="how much of the video the event lasts, between two shares; each half event lasts as long "
        "(default: 0.12 0.25)",
    )
    group.add_argument(
        "--object",
        nargs=2,
        type=int,
        metavar=("LOW", "HIGH"),
        default=PLAIN.object_px,
        help="side of an object in pixels of the 320x240 picture, between two even numbers from 24 to 100 "
        "(default: 56 72)",
    )
    group.add_argument(
        "--seconds",
        nargs=2,
        type=float,
        metavar=("LOW", "HIGH"),
        default=PLAIN.seconds,
        help="length of a video, between two numbers from 4 to 600 (default: 16 32)",
    )
    group.add_argument(
        "--decoys",
        type=int,
        metavar="N",
        default=PLAIN.decoys,
        help="pairs of half events in each video, one in pictures and one in sound a pair; 0 for none "
        "(default: %(default)s)",
    )
    group.add_argument(
        "--background",
        type=float,
        metavar="DB",
        default=PLAIN.background_db,
        help="how many decibels louder the background is against the event's sound; the loudness of both "
        "together stays what it is (default: 0, where the event's sound is 5 to 12 dB above it)",
    )


def run(args: argparse.Namespace) -> int:
    """Do the work asked for."""
    return int(args.work(args))


def run_glanceworld(args: argparse.Namespace) -> int:
    """Generate a world; prints the folder that was made."""
    from avglance.data.glanceworld import make_world

    world = World(
        kind=args.world,
        event_share=args.share,
        object_px=args.object,
        seconds=args.seconds,
        decoys=args.decoys,
        background_db=args.background,
    )
    progress, close = (None, None) if args.quiet else _progress("glanceworld", sys.stderr.isatty())
    try:
        folder = make_world(
            args.out,
            videos=args.videos,
            seed=args.seed,
            world=world,
            workers=args.workers,
            progress=progress,
        )
    finally:
        if close is not None:
            close()
    print(os.fspath(folder))
    return 0


def _progress(kind: str, terminal: bool) -> tuple[Callable[[int, int], None], Callable[[], None] | None]:
    """(what to call with done and total, what to call at the end): a bar on a terminal, else lines."""
    if not terminal:
        last = time.monotonic()

        def line(done: int, total: int) -> None:
            nonlocal last
            if time.monotonic() - last >= PLAIN_LINE_S:
                last = time.monotonic()
                print(f"{kind}: {done} of {total} videos", file=sys.stderr, flush=True)

        return line, None
    from tqdm import tqdm

    bar = tqdm(unit="video", file=sys.stderr, dynamic_ncols=True)

    def step(done: int, total: int) -> None:
        if bar.total != total:
            bar.total = total
            bar.initial = bar.n = done - 1
        bar.update(done - bar.n)

    return step, bar.close
