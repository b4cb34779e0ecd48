"""Sound in a file of its own: ``x.wav`` beside ``x.mp4``, or a file that was named."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from avglance.errors import ArgumentError, MediaError
from avglance.media.header import Declared, first_streams
from avglance.media.limits import Limits
from avglance.media.source import open_media, show
from avglance.media.spent import Spent

BESIDE = "beside"
NO_FILE = "none"
_SUFFIXES = (".wav", ".flac", ".mp3", ".m4a", ".aac", ".ogg", ".opus")


def sound_beside(path: str | os.PathLike[str]) -> Path | None:
    """The sound file of the same name in the same folder, by suffix in a fixed order; None: there is none."""
    video = Path(path)
    for suffix in _SUFFIXES:
        for spelt in (suffix, suffix.upper()):
            try:
                found = video.with_suffix(spelt)
                if found.name != video.name and found.is_file():
                    return found
            except (OSError, ValueError):  # a name that has no suffix to change, or is too long
                return None
    return None


def open_side(
    path: str | os.PathLike[str],
    audio_file: str | os.PathLike[str],
    own: Declared,
    limits: Limits,
    spent: Spent,
) -> tuple[Path, Any, Declared] | None:
    """The sound file to hear in place of the tracks of ``path``: its path, open container and streams.

    Args:
        path: the video.
        audio_file: ``beside`` looks for one where the video declares no sound, ``none`` never does; else a
            file, which is heard whatever the video holds.
        own: what the video declares.
        limits: for the sound file too.
        spent: takes the note that a file beside was used, or could not be.

    Raises:
        MediaError: the named file cannot be read or has no sound.
    """
    asked = os.fspath(audio_file)
    if asked == NO_FILE or (asked == BESIDE and (own.tracks or own.video_index is None)):
        return None
    side = sound_beside(path) if asked == BESIDE else Path(asked)
    if side is None:
        return None
    name = show(side.name)
    try:
        box = open_media(side, limits)
        try:
            held = first_streams(box, 0, show(side))
            if held.audio_index is None:
                hint = "name a file with sound"
                raise MediaError(
                    "no sound in it can be decoded", kind="unsupported", where=show(side), hint=hint
                )
        except (MediaError, ArgumentError):
            box.close()
            raise
    except MediaError as error:
        if asked != BESIDE:
            what = f"the sound file {name}: {error.what}"
            raise MediaError(what, kind=error.kind, where=show(side), hint=error.hint) from error
        spent.note("side_sound", f"{name} lies beside it, but cannot be heard: {error.what}")
        return None
    spent.note("side_sound", f"the sound is that of {name}")
    return side, box, held
