"""When to look and listen: the snippet grid on the clock of the presentation."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from avglance.errors import ArgumentError
from avglance.views.sound import CLIP_S


def snippet_centres(duration_s: float, snippets: int) -> NDArray[np.float64]:
    """Centres (t + 1/2) D / T of T equal snippets.

    Args:
        duration_s: D, seconds, finite and not negative.
        snippets: T, at least 1.

    Returns:
        Seconds, shape (T,).

    Raises:
        ArgumentError: a value is outside its range.

    >>> snippet_centres(8.0, 4)
    array([1., 3., 5., 7.])
    """
    if not math.isfinite(duration_s) or duration_s < 0:
        raise ArgumentError(
            f"duration must be a finite number of seconds, got {duration_s}", where="snippet_centres"
        )
    if snippets < 1:
        raise ArgumentError(f"snippets must be at least 1, got {snippets}", where="snippet_centres")
    return (np.arange(snippets, dtype=np.float64) + 0.5) * duration_s / snippets


def snap(
    duration_s: float, keys: NDArray[np.float64], *, inside: bool
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """The snippets' times moved to keyframes, and which of them were.

    Args:
        duration_s: D, seconds.
        keys: the keyframe nearest to each of the T centres, seconds, NaN where none is known, shape (T,).
        inside: only keyframes that lie in their own snippet, [t D / T, (t + 1) D / T), so that no two share
            one, and only where that spares decoding: not where the decoder passes the centre anyway.

    Returns:
        Seconds, not falling, shape (T,), and bool (T,); the others keep their centre.

    >>> snap(8.0, np.array([0.0, 4.0, 4.0, np.nan]), inside=True)
    (array([0., 3., 4., 7.]), array([ True, False,  True, False]))
    >>> snap(8.0, np.array([0.0, 0.0, 6.0, 6.0]), inside=True)
    (array([1., 3., 5., 6.]), array([False, False, False,  True]))
    """
    snippets, centres = len(keys), snippet_centres(duration_s, len(keys))
    moved = np.isfinite(keys)
    if inside:
        edges = np.arange(snippets + 1, dtype=np.float64) * duration_s / snippets
        moved &= (keys >= edges[:-1]) & (keys < edges[1:])
        moved[:-1] &= moved[1:] | ~_passed(keys, centres, duration_s / snippets)
    times = np.where(moved, keys, centres)
    return np.maximum.accumulate(times), moved


def _passed(keys: NDArray[np.float64], centres: NDArray[np.float64], width_s: float) -> NDArray[np.bool_]:
    """Which centres, but for the last, lie on the way from the keyframe before them to the next centre.

    No keyframe is nearer to a centre than that in ``keys``. Where the two of neighbouring centres are
    together farther away than the centres are from each other, there is room for none between these.
    """
    gaps = np.abs(keys - centres)
    no_room = gaps[:-1] + gaps[1:] > width_s
    between = (keys[1:] > centres[:-1]) & (keys[1:] <= centres[1:])  # without an index: not the nearest
    return np.asarray((keys[:-1] < centres[:-1]) & no_room & ~between)


def clip_start(centre_s: float, duration_s: float) -> float:
    """Start of the sound clip (0.975 s) around a time.

    The clip is centred there and shifted inward by at most half a clip at the ends; a presentation shorter
    than a clip is heard from its start (what is missing behind it is padded with zeros).

    Args:
        centre_s: seconds, within the presentation.
        duration_s: seconds of the presentation.

    Returns:
        Seconds, not negative.

    >>> clip_start(5.0, 10.0), clip_start(0.1, 10.0), round(clip_start(9.9, 10.0), 3), clip_start(0.3, 0.6)
    (4.5125, 0.0, 9.025, 0.0)
    """
    return max(0.0, min(centre_s - CLIP_S / 2, duration_s - CLIP_S))
