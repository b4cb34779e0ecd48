"""Memory that stays with the process: on glibc the pages of each step's tensors are not fetched anew."""

from __future__ import annotations

import ctypes
import sys

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4  # of glibc's malloc.h
KEPT_BYTES = 2_000_000_000
PAD_BYTES = 500_000_000


def keep_memory() -> bool:
    """Tells glibc's allocator to keep what a step frees, for the life of the process; False elsewhere.

    A training step frees and asks for the same gigabyte over and over. By default large blocks come straight
    from the system, which clears each of their pages every time: on two cores a third of a step's time.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        tell = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library
        return False
    return all(
        [tell(_MMAP_MAX, 0), tell(_TRIM_THRESHOLD, KEPT_BYTES), tell(_TOP_PAD, PAD_BYTES)]
    )  # each answers 1 where it was taken
