"""``avglance data ...``: make and look after datasets."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

PLAIN_LINE_S = 30.0  # without a terminal, one line of progress every so many seconds


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``avglance data``; each kind of work is a word of its own."""
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="KIND")
    world = kinds.add_parser(
        "glanceworld",
        allow_abbrev=False,
        help="generate videos with known moments, places and classes",
        description="Generate GlanceWorld: MP4 files with a truth file each. Call again to go on.",
    )
    world.add_argument("out", metavar="OUT", type=Path, help="folder, new or begun by the same command")
    world.add_argument("--videos", type=int, required=True, metavar="N", help="how many files")
    world.add_argument(
        "--seed", type=int, required=True, metavar="S", help="train and test want different seeds"
    )
    world.add_argument(
        "--workers", type=int, default=None, metavar="W", help="processes (default: one a core)"
    )
    world.add_argument("--quiet", action="store_true", help="no progress")


def run(args: argparse.Namespace) -> int:
    """Do the work asked for; prints the folder that was made."""
    from avglance.data.glanceworld import make_world

    progress, close = (None, None) if args.quiet else _progress(sys.stderr.isatty())
    try:
        folder = make_world(
            args.out, videos=args.videos, seed=args.seed, workers=args.workers, progress=progress
        )
    finally:
        if close is not None:
            close()
    print(os.fspath(folder))
    return 0


def _progress(terminal: bool) -> tuple[Callable[[int, int], None], Callable[[], None] | None]:
    """(what to call with done and total, what to call at the end): a bar on a terminal, else lines."""
    if not terminal:
        last = time.monotonic()

        def line(done: int, total: int) -> None:
            nonlocal last
            if time.monotonic() - last >= PLAIN_LINE_S:
                last = time.monotonic()
                print(f"glanceworld: {done} of {total} videos", file=sys.stderr, flush=True)

        return line, None
    from tqdm import tqdm

    bar = tqdm(unit="video", file=sys.stderr, dynamic_ncols=True)

    def step(done: int, total: int) -> None:
        if bar.total != total:
            bar.total = total
            bar.initial = bar.n = done - 1
        bar.update(done - bar.n)

    return step, bar.close
