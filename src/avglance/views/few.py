"""A few pictures of each video in place of all: which they are, and the asking.

What scores the snippets is a system's business; numpy, so that systems and exported graphs ask alike.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from avglance.errors import ArgumentError
from avglance.views.view import View

EVERY = 4
"""One picture in so many lies evenly spread, whatever the sound says."""
_ALIKE = 1e-4  # of the largest: sounds that differ by less are the same to all that hears


def check_pictures(asked: int, snippets: int, *, where: str) -> int:
    """How many pictures a video are looked at; 0 asks for those of all snippets.

    Raises:
        ArgumentError: it is no whole number from 0 to ``snippets``.
    """
    if isinstance(asked, bool) or not isinstance(asked, int) or not 0 <= asked <= snippets:
        hint = f"0 for all, or 1 to {snippets}"
        raise ArgumentError(f"cannot glance at {asked!r} of {snippets} pictures", where=where, hint=hint)
    return asked or snippets


def evenly(snippets: int, count: int) -> NDArray[np.int64]:
    """The middles of ``count`` equal stretches of so many snippets, or all of them.

    >>> evenly(16, 4)
    array([ 2,  6, 10, 14])
    """
    count = min(count, snippets)
    return (2 * np.arange(count, dtype=np.int64) + 1) * snippets // max(2 * count, 1)


def sounds_differ(sound: NDArray[Any], audible: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Whose sounds can say anything of when: not those of silence, nor of a single one.

    Args:
        sound: vectors, shape (B, T, D).
        audible: where there are any, shape (B, T).

    Returns:
        bool (B,).
    """
    there, inside = audible[..., None], np.abs(sound)
    high = np.where(there, sound, -np.inf).max(axis=1)
    low = np.where(there, sound, np.inf).min(axis=1)
    largest = np.where(there, inside, 0).max(axis=(1, 2))
    several = audible.sum(axis=1) > 1
    apart = np.where(several[:, None], high, 0) - np.where(several[:, None], low, 0)
    found: NDArray[np.bool_] = several & (apart.max(axis=1) > _ALIKE * largest)
    return found


def choose_pictures(
    score: NDArray[Any], visible: NDArray[np.bool_], count: int, spread: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Where pictures are looked at: some evenly spread over what is visible, then those of highest score.

    Args:
        score: of the snippets, shape (B, T).
        visible: where there may be pictures, shape (B, T).
        count: how many a video.
        spread: how many of them evenly, shape (B,).

    Returns:
        bool (B, T), ``count`` a row, or all that are visible.
    """
    chosen = np.zeros_like(visible)
    for row, there in enumerate(map(np.flatnonzero, visible)):
        chosen[row, there[evenly(len(there), int(spread[row]))]] = True
    return chosen | _best(score, visible & ~chosen, count - chosen.sum(axis=1))


def _best(score: NDArray[Any], among: NDArray[np.bool_], count: NDArray[np.int64]) -> NDArray[np.bool_]:
    """The ``count`` (B,) highest scores (B, T) of those ``among``, the earlier of equal ones."""
    order = np.argsort(-np.where(among, score, -np.inf), axis=1, kind="stable")
    first = np.arange(score.shape[1]) < count[:, None]
    found = np.zeros_like(among)
    np.put_along_axis(found, order, first, axis=1)
    return found & among


def ask_few(
    view: View, score: NDArray[Any], count: int, spread: NDArray[np.int64]
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """The pictures of ``choose_pictures``; in place of one that is lost the next best is asked for.

    Returns:
        As ``ask_all``: rows (n, 3, G, G) and the mask (B, T) of the places they belong to, in its order.
    """
    wanted = choose_pictures(score, view.visible, count, spread)
    asked, got = np.zeros_like(wanted), np.zeros_like(wanted)
    places, rows = list[NDArray[np.int64]](), list[NDArray[Any]]()
    while wanted.any() or not rows:
        at = np.argwhere(wanted).astype(np.int64)
        found = view.pictures(at)
        asked |= wanted
        visible = view.visible
        there = visible[at[:, 0], at[:, 1]]
        places.append(at[there])
        rows.append(found[there])
        got |= wanted & visible
        wanted = _best(score, visible & ~asked, count - got.sum(axis=1))
    at = np.concatenate(places)
    return np.concatenate(rows)[np.lexsort((at[:, 1], at[:, 0]))], got
