"""What may be asked of a reader, checked in one place for all readers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from avglance.errors import ArgumentError


def wanted_times(times: Sequence[float]) -> NDArray[np.float64]:
    """The times as an array (n,).

    Raises:
        ArgumentError: one is not finite.
    """
    wanted = np.asarray(times, dtype=np.float64).reshape(-1)
    if not np.isfinite(wanted).all():
        raise ArgumentError("times must be finite", where="frames_at", hint="drop NaN and infinite times")
    return wanted


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
