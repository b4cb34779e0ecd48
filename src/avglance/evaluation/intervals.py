"""95 % intervals over videos, or over what they were cut from where several videos are of one source.

Videos of one source (a ``group``: one recording, one place) are right or wrong together, so drawing them one
by one would make intervals too narrow: whole groups are drawn. A video without a group stands for itself.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from avglance import metrics


class Paired(NamedTuple):
    """A difference with its interval (None: no video is shared), and over how many videos and groups it is.

    ``groups`` is 0 where each video stands for itself.
    """

    interval: metrics.Interval | None
    videos: int
    groups: int


def clusters(groups: Iterable[str]) -> list[str] | None:
    """One name a video for what is drawn together; None where no two videos are of one group.

    >>> clusters(["a", "b", ""]), len(set(clusters(["a", "", "a", ""])))
    (None, 3)
    """
    names = [group or f"\0{n}" for n, group in enumerate(groups)]
    return names if len(set(names)) < len(names) else None


def mean_interval(values: ArrayLike, groups: Sequence[str] | None, *, seed: int) -> list[float] | None:
    """Ends of the interval of a mean; NaN leaves a video out, None: none is left."""
    array = np.asarray(values, dtype=np.float64)
    if np.isnan(array).all():
        return None
    return list(metrics.confidence_interval(array, groups=groups, rng=np.random.default_rng(seed))[1:])


def share_interval(hits: ArrayLike, groups: Sequence[str] | None, *, seed: int) -> list[float] | None:
    """Ends of the interval of a share; None for no video.

    Wilson's over the videos; with groups the bootstrap over these, and where all videos are hits, or none is,
    so that no draw differs, Wilson's over the groups.
    """
    array = np.asarray(hits, dtype=np.bool_)
    if not array.size:
        return None
    if groups is not None and array.any() and not array.all():
        return mean_interval(array, groups, seed=seed)
    items = array.size if groups is None else len(set(groups))
    right = int(array.sum()) if groups is None else items * int(array[0])
    return list(metrics.proportion_interval(right, items)[1:])


def paired_difference(
    ours: Sequence[Mapping[str, float]],
    theirs: Sequence[Mapping[str, float]],
    *,
    groups: Mapping[str, str] | None = None,
    seed: int = 0,
) -> Paired:
    """Mean difference of two rows' hits and its 95 % interval.

    Args:
        ours: one mapping a training, from video to hit (0 or 1).
        theirs: the other row's.
        groups: from video to what it was cut from, as far as it is known.
        seed: of the bootstrap.

    Returns:
        The difference over the videos that every mapping knows, the trainings of a row averaged first.
    """
    shared = sorted(set.intersection(*(set(one) for one in (*ours, *theirs))))
    if not shared:
        return Paired(None, 0, 0)
    means = [[statistics.fmean(one[video] for one in row) for video in shared] for row in (ours, theirs)]
    named = clusters((groups or {}).get(video, "") for video in shared)
    rng = np.random.default_rng(seed)
    interval = metrics.confidence_interval(*means, groups=named, rng=rng)
    return Paired(interval, len(shared), len(set(named)) if named else 0)
