"""The options that say how files are read, for every command that reads them."""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import math
from numbers import Integral
from typing import TYPE_CHECKING, Any

from avglance.errors import ArgumentError

if TYPE_CHECKING:
    from avglance.media import Limits

READING = ("limits", "audio_track", "audio_file", "threads", "rough", "glance_pictures")
"""What a caller may say of reading."""
AUDIO_WORDS = ("beside", "none")  # what --audio-file takes in place of a file's name


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """``--audio-track``, ``--audio-file``, ``--limit`` and ``--in-process``."""
    group = parser.add_argument_group("reading")
    group.add_argument(
        "--audio-track",
        type=int,
        default=0,
        metavar="N",
        help="which sound track to hear, from 0 (default: 0)",
    )
    group.add_argument(
        "--audio-file",
        default="beside",
        metavar="FILE",
        help="hear this file in place of the video's own sound; `none`: never another file; default: x.wav "
        "(.flac, .mp3 ...) beside x.mp4 where the video declares no sound",
    )
    group.add_argument(
        "--limit",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="what one file may declare or cost, such as max_decode_s=600 or max_pixels=1e8 (repeatable; "
        "a name that is not known prints them all)",
    )
    group.add_argument(
        "--in-process",
        action="store_true",
        help="decode in this process and start no other; a file that crashes the decoder then ends the run",
    )


def add_speed(parser: argparse.ArgumentParser) -> None:
    """``--grid``, ``--glance-pictures`` and ``--rough``."""
    parser.add_argument(
        "--grid",
        choices=("exact", "keyframe", "auto"),
        help="when snippets are looked at: at their centres; at the nearest keyframe, which is cheap to "
        "decode; there only if it lies in the snippet (default: as the model was trained)",
    )
    parser.add_argument(
        "--glance-pictures",
        type=int,
        metavar="N",
        help="decode N pictures a video, chosen by sound, and glance at no other; 0: all (default: as the "
        "model was trained, which is all where it does not say)",
    )
    parser.add_argument(
        "--rough",
        action="store_true",
        help="decode without the codec's loop filter: quicker, pictures are a little blocky",
    )


def reading(args: argparse.Namespace) -> dict[str, Any]:
    """The options as arguments of a reader.

    Raises:
        ArgumentError: one of them is outside what is allowed.
    """
    if args.audio_track < 0:
        what, hint = f"must be 0 or more, got {args.audio_track}", "the first sound track is 0"
        raise ArgumentError(what, where="--audio-track", hint=hint)
    if not args.audio_file:
        hint = "name a sound file, or `none` for the video's own sound only"
        raise ArgumentError("no file is named", where="--audio-file", hint=hint)
    return {
        "limits": limits(args.limit),
        "audio_track": args.audio_track,
        "audio_file": args.audio_file,
    }


def limits(settings: list[str]) -> Limits:
    """The default limits, changed by ``NAME=VALUE``.

    Raises:
        ArgumentError: a name is not known, or a value is no number above zero.
    """
    from avglance.media import Limits

    defaults = dataclasses.asdict(Limits())
    table = ", ".join(f"{name}={value:g}" for name, value in defaults.items())
    changed: dict[str, float | int] = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        if name not in defaults or not equals:
            near = difflib.get_close_matches(name, defaults, n=1)
            guess = f"did you mean {near[0]}? " if near and near[0] != name else ""
            what = f"no limit is set by {setting!r}"
            raise ArgumentError(what, where="--limit", hint=f"{guess}NAME=VALUE; the defaults: {table}")
        changed[name] = _number(name, text, whole=isinstance(defaults[name], int))
    return Limits(**(defaults | changed))


def _number(name: str, text: str, *, whole: bool) -> float | int:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        hint = "a number above zero, such as 600 or 1e8"
        raise ArgumentError(f"{name}={text!r} is none", where="--limit", hint=hint)
    return max(1, round(value)) if whole else value


def check_reading(reading: dict[str, Any]) -> None:
    """Refuse options that no reader has, before the first file."""
    from avglance.media import Limits

    for name, value in reading.items():
        if name not in READING:
            near = difflib.get_close_matches(name, READING, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            hint += f"known: {', '.join(READING)}"
            raise ArgumentError(f"no option is called {name!r}", where="tag", hint=hint)
        if name == "glance_pictures" and value is None:
            continue
        if name in ("audio_track", "threads", "glance_pictures"):
            if isinstance(value, bool) or not isinstance(value, Integral) or value < 0:
                what = f"{name} must be a whole number of at least 0, got {value!r}"
                raise ArgumentError(what, where="tag")
        elif name == "rough" and not isinstance(value, bool):
            raise ArgumentError(f"rough must be True or False, got {value!r}", where="tag")
        elif name == "limits" and not isinstance(value, (Limits, type(None))):
            hint = "for example Limits(max_decode_s=600)"
            raise ArgumentError(f"limits must be avglance.Limits, got {value!r}", where="tag", hint=hint)


def check_grid(grid: str | None) -> None:
    """Refuse a grid that is none, before the first file."""
    from avglance.views import check_grid

    if grid is not None:
        check_grid(grid, where="tag")


def check_top(top: int) -> None:
    """Refuse a number of labels that is none."""
    if isinstance(top, bool) or not isinstance(top, int) or top < 1:
        raise ArgumentError(f"top must be a whole number of at least 1, got {top!r}", where="tag")
