"""The protocol between systems and videos, and the settings that shape what a view hands out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, Protocol, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from avglance.errors import ArgumentError, ShapeError

Grid = Literal["exact", "keyframe", "auto"]
"""When snippets are looked at; see ``ViewSettings``."""
Among = NDArray[np.int64] | NDArray[np.bool_] | None
"""Snippets by number, int (B, K), or as a mask, bool (B, T); None: all."""
_PARTS = 4  # of the pictures of one video
GRIDS: tuple[Grid, ...] = get_args(Grid)


@dataclass(frozen=True)
class ViewSettings:
    """How videos are cut into snippets and pictures into squares.

    Attributes:
        snippets: T, how many snippets a video (or window) is cut into.
        resize_side: short side in pixels to which a frame is resized before the centre crop.
        source_side: side of the source square in pixels, at most ``resize_side`` when cropping.
        glance_side: side of the glance picture in pixels.
        patch_side: P, side of a patch in pixels of the source square.
        fit: "crop" cuts the centre square; "letterbox" keeps the whole picture between black bars
            (``resize_side`` is not used then).
        grid: "exact": the snippets' centres; "keyframe": the keyframe nearest to each, which may lie in
            another snippet, so that snippets share a picture where keyframes are rare; "auto": the keyframe
            nearest to the centre where it lies in the snippet and spares decoding, else the exact centre.
    """

    snippets: int = 16
    resize_side: int = 240
    source_side: int = 240
    glance_side: int = 64
    patch_side: int = 96
    fit: Literal["crop", "letterbox"] = "crop"
    grid: Grid = "exact"

    def __post_init__(self) -> None:
        for name in ("snippets", "resize_side", "source_side", "glance_side", "patch_side"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ArgumentError(
                    f"{name} must be a whole number of at least 1, got {value!r}", where="ViewSettings"
                )
        if self.fit not in ("crop", "letterbox"):
            raise ArgumentError(f"fit must be 'crop' or 'letterbox', got {self.fit!r}", where="ViewSettings")
        check_grid(self.grid, where="ViewSettings")
        if self.fit == "crop" and self.source_side > self.resize_side:
            raise ArgumentError(
                f"source_side {self.source_side} does not fit into resize_side {self.resize_side}",
                where="ViewSettings",
                hint="raise resize_side, or use fit='letterbox'",
            )
        if self.patch_side > self.source_side:
            raise ArgumentError(
                f"patch_side {self.patch_side} does not fit into source_side {self.source_side}",
                where="ViewSettings",
                hint="lower patch_side, or raise source_side",
            )


def check_grid(grid: str, *, where: str) -> None:
    """See that a grid is one.

    Raises:
        ArgumentError: it is none.
    """
    if grid not in GRIDS:
        raise ArgumentError(f"grid must be one of {', '.join(GRIDS)}, got {grid!r}", where=where)


class View(Protocol):
    """What a system may ask of B videos of T snippets each: asking is what costs; numpy arrays, no gradients.

    Rows that turn out invisible come back as zeros, inaudible ones as silence (ln 0.001); ``visible`` and
    ``audible`` turn False there, so read them again after asking.
    """

    @property
    def times(self) -> NDArray[np.float64]:
        """Seconds at which snippets are looked at, shape (B, T); known before anything is decoded."""
        ...

    @property
    def visible(self) -> NDArray[np.bool_]:
        """Whether a picture can be had, shape (B, T)."""
        ...

    @property
    def audible(self) -> NDArray[np.bool_]:
        """Whether sound can be had, shape (B, T)."""
        ...

    def sounds(self, at: ArrayLike) -> NDArray[np.float32]:
        """Log-mels of the places ``at`` (int (n, 2): video, snippet), shape (n, 1, F, M)."""
        ...

    def pictures(self, at: ArrayLike) -> NDArray[np.uint8]:
        """Glance pictures of the places ``at``, shape (n, 3, G, G)."""
        ...

    def patches(self, at: ArrayLike, boxes: ArrayLike) -> NDArray[np.float32]:
        """Patches of the source squares at ``at``, boxes (n, 4) xyxy fractions; (n, 3, P, P) in 0..255."""
        ...


def ask_all(
    view: View, kind: Literal["sounds", "pictures"], *, among: Among = None
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """All sounds or pictures that a view says it has, or those of the snippets named by ``among``.

    ``among``: snippets by number, int (B, K), or as a mask, bool (B, T).

    Returns:
        Rows (n, ...) and the mask (B, T) of the places they belong to, in its order. What turns out to be
        missing while it is read is left out of both.
    """
    mask = "audible" if kind == "sounds" else "visible"
    wanted = _chosen(getattr(view, mask), among)
    at = np.argwhere(wanted).astype(np.int64)
    rows: NDArray[Any] = getattr(view, kind)(at)
    still: NDArray[np.bool_] = wanted & getattr(view, mask)
    return rows[still[at[:, 0], at[:, 1]]], still


def _chosen(there: NDArray[np.bool_], among: Among) -> NDArray[np.bool_]:
    """A copy of a mask (B, T), with nothing but the snippets named by ``among``."""
    if among is not None and among.dtype == np.bool_:
        return there & among.astype(np.bool_, copy=False)
    chosen = np.full_like(there, among is None)
    if among is not None:
        np.put_along_axis(chosen, among.astype(np.int64, copy=False), True, axis=1)
    return there & chosen


def expect_pictures(view: View, *, among: Among = None) -> None:
    """Tell a view which pictures will be asked for (as ``ask_all``): it may begin while others work."""
    begin = getattr(view, "expect_pictures", None)
    if begin is not None:
        begin(np.argwhere(_chosen(view.visible, among)).astype(np.int64))


def ask_pictures(view: View, *, among: Among = None) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.bool_]]]:
    """``ask_all`` for pictures, of one video in quarters: one is worked on while the next is decoded.

    Yields:
        Rows and their mask, as ``ask_all``, at least once; the masks are disjoint, in the order of time.
    """
    snippets = np.flatnonzero(_chosen(np.ones_like(view.visible), among)[0])
    size = max(-(-len(snippets) // _PARTS), 1)
    if len(view.visible) != 1 or not len(snippets):
        yield ask_all(view, "pictures", among=among)
        return
    for first in range(0, len(snippets), size):
        yield ask_all(view, "pictures", among=snippets[None, first : first + size])


def check_places(at: ArrayLike, videos: int, snippets: int) -> NDArray[np.int64]:
    """The places as int64 (n, 2), checked.

    Args:
        at: rows (video, snippet), shape (n, 2); an empty list is fine.
        videos: B.
        snippets: T.

    Returns:
        int64 array, shape (n, 2).

    Raises:
        ShapeError: ``at`` is not (n, 2) of whole numbers.
        ArgumentError: a place lies outside the view.
    """
    places = np.asarray(at)
    if places.size == 0 and places.ndim <= 2:
        return np.zeros((0, 2), dtype=np.int64)
    if places.ndim != 2 or places.shape[1] != 2 or places.dtype.kind not in "iu":
        raise ShapeError(
            f"places must be whole numbers (n, 2), got {places.dtype} {places.shape}", where="view"
        )
    places = places.astype(np.int64)
    if places.min() < 0 or (places >= (videos, snippets)).any():
        raise ArgumentError(
            f"a place lies outside {videos} videos of {snippets} snippets",
            where="view",
            hint="rows are (video, snippet), counted from 0",
        )
    return places
