"""How much of this machine one file may take: settings that are checked before memory is asked for."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from avglance.errors import ArgumentError


@dataclass(frozen=True)
class Limits:
    """What a file may declare or cost before it is refused: kind ``limit``, or ``timeout`` for seconds.

    Args:
        max_pixels: width x height of one picture, also where the size changes in the middle of a file.
        max_decode_s: seconds of work (opening, seeking, decoding, converting) one reader may spend on a file,
            or as many as the file lasts where that is more.
        max_seek_s: seconds of work for one answer: a picture with the seek to it, a stretch of sound.
        max_open_s: seconds that opening the file and one read from it may block.
        max_streams: how many streams a container may declare.
        max_duration_s: the longest duration a file may declare.
        max_frame_rate: the highest mean frame rate a file may declare, pictures a second.
        max_rate_hz: the highest sampling rate of its sound.
        max_copy_bytes: the most that is copied to a temporary file where the input is bytes or a file object.
        max_memory_bytes: what a decoding process may hold; obeyed on Linux, and where decoding is isolated.
    """

    max_pixels: int = 64_000_000
    max_decode_s: float = 300.0
    max_seek_s: float = 60.0
    max_open_s: float = 30.0
    max_streams: int = 32
    max_duration_s: float = 7 * 86400.0
    max_frame_rate: float = 100_000.0
    max_rate_hz: int = 768_000
    max_copy_bytes: int = 16 << 30
    max_memory_bytes: int = 2 << 30

    @property
    def libav_pixels(self) -> str:
        """``max_pixels`` as an option of libav, which counts to 2^31 - 1."""
        return str(min(self.max_pixels, (1 << 31) - 1))

    def __post_init__(self) -> None:
        for field in fields(self):
            value, hint = getattr(self, field.name), f"default: {field.default}"
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0:
                what = f"{field.name} must be above zero, got {value!r}"
                raise ArgumentError(what, where="Limits", hint=hint)
            if isinstance(field.default, int):
                if value == math.inf:
                    raise ArgumentError(f"{field.name} must be finite", where="Limits", hint=hint)
                object.__setattr__(self, field.name, max(1, int(value)))
