"""``avglance data splice``: untrimmed videos with known moments, from labelled clips and background."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avglance.data.splice_settings import DECOYS, SPLITS, Splice

if TYPE_CHECKING:
    Progress = Callable[[str, bool], tuple[Callable[[int, int], None], Callable[[], None] | None]]

DEFAULT = Splice()


def add_kind(kinds: argparse._SubParsersAction[Any]) -> argparse.ArgumentParser:
    """The word ``splice`` and its options."""
    parser: argparse.ArgumentParser = kinds.add_parser(
        "splice",
        allow_abbrev=False,
        help="make untrimmed videos with known moments from labelled clips and background",
        description="In each video the clips of one class, seen and heard, stand at a random time among "
        "background that is as loud and as often cut; a truth file says when, and where every piece is from. "
        "CLIPS is a CSV file with the columns path (relative to its folder or the one above it), label, "
        "group, and split: train, test or background (a row whose label is background is background of its "
        "split alone). Call again with the same options to go on.",
    )
    parser.add_argument("clips", metavar="CLIPS", type=Path, help="CSV file: path,label,group,split")
    parser.add_argument("out", metavar="OUT", type=Path, help="folder, new or begun by the same command")
    parser.add_argument("--videos", type=int, required=True, metavar="N", help="how many with an event")
    parser.add_argument(
        "--unknown",
        type=int,
        default=0,
        metavar="N",
        help="how many without one, labelled unknown: background alone, with --decoys half half events too "
        "(default: %(default)s)",
    )
    parser.add_argument("--seed", type=int, required=True, metavar="S", help="of every draw")
    parser.add_argument(
        "--split",
        choices=SPLITS,
        required=True,
        help="whose clips; of background a third of the groups is for test, always the same ones. Validation "
        "is a third of what trains, of each class and of the background, and fit the rest",
    )
    _add_settings(parser.add_argument_group("how videos are put together"))
    parser.add_argument(
        "--workers", type=int, default=None, metavar="W", help="processes (default: one a core)"
    )
    parser.add_argument("--quiet", action="store_true", help="no progress")
    return parser


def _add_settings(group: argparse._ArgumentGroup) -> None:
    """Options for the fields of ``Splice``, and for what is background."""

    def pair(name: str, kind: type, default: tuple[float, float], text: str, words: tuple[str, str]) -> None:
        told = f"{text} (default: {default[0]} {default[1]})"
        group.add_argument(name, nargs=2, type=kind, metavar=words, default=default, help=told)

    ends = ("LOW", "HIGH")
    pair("--share", float, DEFAULT.share, "how much of the video the event lasts, between two shares", ends)
    pair("--seconds", float, DEFAULT.seconds, "length of a video, between two numbers", ends)
    group.add_argument(
        "--decoys",
        choices=DECOYS,
        default=DEFAULT.decoys,
        help="half: another class seen without its sound and a third heard without its pictures, each as "
        "long as the event (default: %(default)s)",
    )
    group.add_argument(
        "--fps", type=float, default=DEFAULT.fps, metavar="F", help="pictures a second (default: %(default)s)"
    )
    group.add_argument(
        "--vary",
        action="store_true",
        help="each clip, event and background alike, is mirrored, cropped, tinted and heard a little higher "
        "or lower, otherwise in each video: for training",
    )
    pair("--size", int, DEFAULT.size, "width and height of the pictures, even", ("W", "H"))
    group.add_argument(
        "--background",
        action="append",
        default=[],
        metavar="FOLDER-or-LABEL",
        help="in place of the rows whose split is background: the rows of this label, which then is no "
        "class, or the video files in this folder (repeatable)",
    )


def run(args: argparse.Namespace, bar: Progress) -> int:
    """Do the work asked for; prints the folder that was made."""
    from avglance.data.splice import make_splice

    settings = Splice(
        share=tuple(args.share),
        seconds=tuple(args.seconds),
        decoys=args.decoys,
        fps=args.fps,
        size=tuple(args.size),
        vary=args.vary,
    )
    progress, close = (None, None) if args.quiet else bar("splice", sys.stderr.isatty())
    try:
        folder = make_splice(
            args.clips,
            args.out,
            videos=args.videos,
            seed=args.seed,
            split=args.split,
            unknown=args.unknown,
            settings=settings,
            background=args.background,
            workers=args.workers,
            progress=progress,
        )
    finally:
        if close is not None:
            close()
    print(os.fspath(folder))
    return 0
