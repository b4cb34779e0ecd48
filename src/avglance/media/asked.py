"""What may be asked of a reader, checked in one place for all readers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from avglance.errors import ArgumentError

_MOST_S = 1e9


def wanted_times(times: Sequence[float]) -> NDArray[np.float64]:
    """The times as an array (n,).

    Raises:
        ArgumentError: one is not finite.
    """
    wanted = np.asarray(times, dtype=np.float64).reshape(-1)
    if not np.isfinite(wanted).all():
        raise ArgumentError("times must be finite", where="frames_at", hint="drop NaN and infinite times")
    return wanted


def longest_side(max_side: int | None) -> int | None:
    """The longest side that pictures may have, in pixels; None: any.

    Raises:
        ArgumentError: it is below 1.
    """
    if max_side is None:
        return None
    if not isinstance(max_side, (int, np.integer)) or isinstance(max_side, bool) or max_side < 1:
        hint = "a whole number of pixels, or None for pictures as they are"
        raise ArgumentError(f"max_side={max_side!r} is none", where="frames_at", hint=hint)
    return int(max_side)


def known_times(times: Sequence[float], where: str) -> NDArray[np.float64]:
    """The times as an array (n,), none of them beyond what a container can count.

    Raises:
        ArgumentError: one is not finite.
    """
    wanted = np.asarray(times, dtype=np.float64).reshape(-1)
    if not np.isfinite(wanted).all():
        raise ArgumentError("times must be finite", where=where, hint="drop NaN and infinite times")
    return np.asarray(np.clip(wanted, -_MOST_S, _MOST_S), dtype=np.float64)


def check_stretch(start_s: float, end_s: float, rate_hz: int) -> None:
    """See that a stretch of sound can be asked for; infinite ends can.

    Raises:
        ArgumentError: an end is no number, or the rate is below 1.
    """
    if rate_hz < 1:
        hint = "16000 is what the models hear"
        raise ArgumentError(f"rate_hz={rate_hz} is below 1", where="sound", hint=hint)
    if np.isnan([start_s, end_s]).any():
        hint = "infinity means all there is"
        raise ArgumentError("start_s and end_s must be numbers", where="sound", hint=hint)
