"""Controls: the same videos with the sound of others, or with none, to see what a model owes to its ears.

A control is a view around a view: the system asks it as it would ask the files.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from avglance.errors import ArgumentError
from avglance.views import MEL_BANDS, MEL_FRAMES, SILENCE, View


class Muted:
    """A view in which nothing is audible."""

    def __init__(self, view: View) -> None:
        self._view = view
        self.audible: NDArray[np.bool_] = np.zeros_like(view.audible)

    @property
    def times(self) -> NDArray[np.float64]:
        """Seconds of the snippets, shape (B, T)."""
        return self._view.times

    @property
    def visible(self) -> NDArray[np.bool_]:
        """Whether a picture can be had, shape (B, T)."""
        return self._view.visible

    @property
    def decode_s(self) -> NDArray[np.float64]:
        """Seconds spent inside the reader for each video, shape (B,)."""
        return np.asarray(getattr(self._view, "decode_s", np.zeros(len(self.audible))))

    def sounds(self, at: ArrayLike) -> NDArray[np.float32]:
        """Silence, whatever is asked: (n, 1, F, M)."""
        return np.full((len(np.asarray(at)), 1, MEL_FRAMES, MEL_BANDS), SILENCE, dtype=np.float32)

    def pictures(self, at: ArrayLike) -> NDArray[np.uint8]:
        """As the view underneath."""
        return self._view.pictures(at)

    def patches(self, at: ArrayLike, boxes: ArrayLike) -> NDArray[np.float32]:
        """As the view underneath."""
        return self._view.patches(at, boxes)


class SwappedSound:
    """A view whose sounds come from other videos: snippet t of video b sounds like the donor's snippet t.

    Args:
        view: the videos themselves.
        donors: a view of as many other videos with as many snippets.

    Raises:
        ArgumentError: the two views differ in shape.
    """

    def __init__(self, view: View, donors: View) -> None:
        if view.audible.shape != donors.audible.shape:
            raise ArgumentError(
                f"the donors are {donors.audible.shape}, the videos {view.audible.shape}",
                where="SwappedSound",
            )
        self._view, self._donors = view, donors

    @property
    def times(self) -> NDArray[np.float64]:
        """Seconds of the snippets of the videos themselves, shape (B, T)."""
        return self._view.times

    @property
    def visible(self) -> NDArray[np.bool_]:
        """Whether a picture can be had, shape (B, T)."""
        return self._view.visible

    @property
    def audible(self) -> NDArray[np.bool_]:
        """Whether the donor has sound at its snippet, shape (B, T)."""
        return self._donors.audible

    @property
    def decode_s(self) -> NDArray[np.float64]:
        """Seconds spent inside the reader for each video and its donor, shape (B,)."""
        zero = np.zeros(len(self.audible))
        own, other = getattr(self._view, "decode_s", zero), getattr(self._donors, "decode_s", zero)
        return np.add(own, other, dtype=np.float64)

    def sounds(self, at: ArrayLike) -> NDArray[np.float32]:
        """The donors' log-mels at these places."""
        return self._donors.sounds(at)

    def pictures(self, at: ArrayLike) -> NDArray[np.uint8]:
        """As the view of the videos themselves."""
        return self._view.pictures(at)

    def patches(self, at: ArrayLike, boxes: ArrayLike) -> NDArray[np.float32]:
        """As the view of the videos themselves."""
        return self._view.patches(at, boxes)


def sound_donors(labels: Sequence[Sequence[str]], rng: np.random.Generator) -> NDArray[np.int64]:
    """For each video the one whose sound it gets: a permutation without fixed points, int64 (N,).

    Where it can be had, a video and its donor share no label: pairs that do are exchanged with others until
    none is left, or none can be mended. :func:`shared_labels` counts what remains.

    Args:
        labels: the true labels of each video.
        rng: where the permutation comes from.

    Raises:
        ArgumentError: fewer than two videos.
    """
    n = len(labels)
    if n < 2:
        raise ArgumentError(f"sound can be swapped among at least two videos, got {n}", where="sound_donors")
    hot = _multi_hot(labels)
    donor = rng.permutation(n).astype(np.int64)
    for index in np.flatnonzero(_clash(hot, np.arange(n), donor)):
        _mend(hot, donor, int(index), rng)
    for index in np.flatnonzero(donor == np.arange(n)):  # no class would do: at least not its own sound
        if donor[index] == index:
            other = int((index + 1) % n)
            donor[index], donor[other] = donor[other], donor[index]
    return donor


def shared_labels(labels: Sequence[Sequence[str]], donor: NDArray[np.int64]) -> int:
    """How many videos share a label with their donor."""
    return sum(bool(set(labels[i]) & set(labels[j])) for i, j in enumerate(donor))


def _mend(hot: NDArray[np.bool_], donor: NDArray[np.int64], index: int, rng: np.random.Generator) -> None:
    """Exchange the donor of ``index`` with another video's, if that leaves both without a clash."""
    everyone = np.arange(len(donor))
    if not _clash(hot, everyone[index : index + 1], donor[index : index + 1])[0]:
        return
    takes = ~_clash(hot, np.full(len(donor), index), donor)
    gives = ~_clash(hot, everyone, np.full(len(donor), donor[index]))
    fit = np.flatnonzero(takes & gives)
    if len(fit):
        other = int(rng.choice(fit))
        donor[index], donor[other] = donor[other], donor[index]


def _clash(hot: NDArray[np.bool_], video: NDArray[np.int64], donor: NDArray[np.int64]) -> NDArray[np.bool_]:
    same: NDArray[np.bool_] = (hot[video] & hot[donor]).any(axis=1) | (video == donor)
    return same


def _multi_hot(labels: Sequence[Sequence[str]]) -> NDArray[np.bool_]:
    names = {name: c for c, name in enumerate(sorted({name for some in labels for name in some}))}
    hot = np.zeros((len(labels), max(len(names), 1)), dtype=bool)
    for row, some in enumerate(labels):
        hot[row, [names[name] for name in some]] = True
    return hot
