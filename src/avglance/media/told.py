"""From messages of a decoding process to values; what is no proper value is an error of the message.

The process may have been taken over by the file that it read: nothing here believes it more than it must.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from avglance.errors import FAILURE_KINDS, ArgumentError, AVGLanceError, MediaError
from avglance.media.frame import Frame
from avglance.media.sound import SoundPiece
from avglance.types import AudioTrack, MediaInfo, Reason

_MOST_TEXT = 2000
_MOST_REASONS = 10_000

NONSENSE = (KeyError, IndexError, TypeError, ValueError, OverflowError, AttributeError)
"""What reading a message raises where it is none of ours."""


def number(value: Any) -> float:
    """A finite number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError(f"{value!r} is no finite number")
    return float(value)


def count(value: Any, most: int) -> int:
    """A whole number from 0 to ``most``."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
        raise ValueError(f"{value!r} is no count up to {most}")
    return value


def text(value: Any) -> str:
    """A text that is not too long."""
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value[:_MOST_TEXT]


def span(value: Any) -> tuple[float, float] | None:
    """(start, end) or None."""
    if value is None:
        return None
    start, end = value
    return number(start), number(end)


def keyframes(value: Any, many: int) -> list[float | None]:
    """Times of keyframes, as many as were asked for; None where none is known."""
    if len(value) != many:
        raise ValueError("other keyframes than were asked for")
    return [None if time is None else number(time) for time in value]


def info(value: dict[str, Any], most_s: float) -> MediaInfo:
    """What a file is; it lasts no longer than it may."""
    if not 0 <= number(value["duration_s"]) <= most_s:
        raise ValueError("a duration beyond its limit")
    return MediaInfo(
        duration_s=number(value["duration_s"]),
        width=count(value["width"], 1 << 31),
        height=count(value["height"], 1 << 31),
        frame_rate=number(value["frame_rate"]),
        variable_rate=bool(value["variable_rate"]),
        container=text(value["container"]),
        video_codec=text(value["video_codec"]),
        audio_tracks=tuple(map(_track, value["audio_tracks"])),
        rotation=count(value["rotation"], 359),
        has_video=bool(value["has_video"]),
    )


def _track(value: dict[str, Any]) -> AudioTrack:
    rate, channels = count(value["rate_hz"], 1 << 31), count(value["channels"], 1 << 16)
    return AudioTrack(text(value["codec"]), rate, channels, text(value["language"]))


def spent(value: Any) -> tuple[int, int, float]:
    """Frames delivered and decoded, and seconds."""
    delivered, decoded, seconds = value
    return count(delivered, 1 << 60), count(decoded, 1 << 60), number(seconds)


def reasons(value: Any) -> list[Reason]:
    """Damage that was met."""
    return [
        Reason(text(kind), text(told), *(None if at is None else number(at) for at in (start, end)))
        for kind, told, start, end in value[:_MOST_REASONS]
    ]


def error(value: dict[str, Any], where: str) -> AVGLanceError:
    """The error that the other process met; one that is a defect of ours is raised."""
    what, hint = text(value["what"]), text(value.get("hint", ""))
    if value["name"] == "MediaError":
        if value["kind"] not in FAILURE_KINDS:
            raise ValueError(f"no failure has the kind {value['kind']!r}")
        return MediaError(what, kind=value["kind"], where=where, hint=hint)
    if value["name"] == "ArgumentError":
        return ArgumentError(what, where=where, hint=hint)
    raise RuntimeError(f"{where}: {what}")


def items(what: str, value: Sequence[Any], behind: memoryview, most_pixels: int) -> list[Any]:
    """The items of an answer as the reader gave them.

    Args:
        what: which of the reader's answers they are.
        value: the items in JSON.
        behind: the numbers of their pictures and sounds.
        most_pixels: no picture has more.
    """
    out: list[Any] = []
    for item in value:
        if what == "sound":
            start, size = number(item[0]), count(item[1], len(behind) // 4)
            out.append(SoundPiece(start, np.frombuffer(behind[: 4 * size], dtype=np.float32)))
            behind = behind[4 * size :]
        elif what == "frames_at":
            frame, behind = _frame(item[1], behind, most_pixels)
            out.append((count(item[0], 1 << 31), frame))
        elif what == "digests":
            start, end, crc = item
            out.append((number(start), number(end), None if crc is None else count(crc, 1 << 32)))
        else:
            start, end, *marks = item
            out.append((number(start), number(end), *map(bool, marks)))
    return out


def _frame(item: Any, behind: memoryview, most_pixels: int) -> tuple[Frame | None, memoryview]:
    if item is None:
        return None, behind
    start, end, height, width, colours = item
    if colours != 3 or count(height, most_pixels) * count(width, most_pixels) > most_pixels:
        raise ValueError(f"no picture is {height}x{width}x{colours}")
    if not height or not width or 3 * height * width > len(behind):
        raise ValueError("a picture without its pixels")
    size = 3 * height * width
    image = np.frombuffer(behind[:size], dtype=np.uint8).reshape(height, width, 3)
    return Frame(number(start), number(end), image), behind[size:]
