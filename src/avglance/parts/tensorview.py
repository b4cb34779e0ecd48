"""A view of clips in memory: the answers that a view of the files would give."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from avglance.errors import ArgumentError, ShapeError
from avglance.parts.clips import Clips
from avglance.views import ViewSettings, crop_patches, resize


class TensorView:
    """Serves ``Clips`` by places, with the arithmetic of a view of files (numpy, no gradients).

    Args:
        clips: the batch, on any device.
        settings: how a system looks; ``snippets`` and ``source_side`` must be those of the clips.

    Raises:
        ShapeError: the clips were made for other settings.

    ``asked`` counts the rows that were asked for, by kind.
    """

    def __init__(self, clips: Clips, settings: ViewSettings) -> None:
        if clips.snippets != settings.snippets or clips.pictures.shape[-1] != settings.source_side:
            raise ShapeError(
                f"clips have {clips.snippets} snippets of side {clips.pictures.shape[-1]}, "
                f"the settings ask for {settings.snippets} of side {settings.source_side}",
                where="TensorView",
            )
        self.settings = settings
        self.times: NDArray[np.float64] = clips.times.cpu().numpy().astype(np.float64)
        self.visible: NDArray[np.bool_] = clips.visible.cpu().numpy().copy()
        self.audible: NDArray[np.bool_] = clips.audible.cpu().numpy().copy()
        self._pictures = clips.pictures.cpu().numpy()
        self._sounds = clips.sounds.cpu().numpy()
        self.asked = {"sounds": 0, "pictures": 0, "patches": 0}

    def sounds(self, at: ArrayLike) -> NDArray[np.float32]:
        """Log-mels of these places, float32 (n, 1, F, M); silence where nothing is audible."""
        rows, cols = self._places(at, "sounds")
        out = self._sounds[rows, cols].astype(np.float32)
        out[~self.audible[rows, cols]] = np.float32(np.log(0.001))
        return out

    def pictures(self, at: ArrayLike) -> NDArray[np.uint8]:
        """Glance pictures of these places, uint8 (n, 3, G, G); black where nothing is visible."""
        rows, cols = self._places(at, "pictures")
        squares = self._squares(rows, cols)
        if self.settings.glance_side == self.settings.source_side:
            return squares
        return resize(squares, self.settings.glance_side)

    def patches(self, at: ArrayLike, boxes: ArrayLike) -> NDArray[np.float32]:
        """Patches of these places, float32 (n, 3, P, P) in 0..255; ``boxes`` (n, 4) xyxy fractions."""
        rows, cols = self._places(at, "patches")
        boxes = np.asarray(boxes)
        if boxes.shape != (len(rows), 4):
            raise ShapeError(f"boxes must be ({len(rows)}, 4), got {boxes.shape}", where="TensorView.patches")
        return crop_patches(self._squares(rows, cols), boxes, self.settings.patch_side)

    def _squares(self, rows: NDArray[np.int64], cols: NDArray[np.int64]) -> NDArray[np.uint8]:
        squares = self._pictures[rows, cols]  # fancy indexing: a copy
        squares[~self.visible[rows, cols]] = 0
        return squares

    def _places(self, at: ArrayLike, kind: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        at = np.asarray(at)
        if at.ndim != 2 or at.shape[1] != 2:
            raise ShapeError(f"places must be (n, 2), got {at.shape}", where=f"TensorView.{kind}")
        if len(at) and (at.min() < 0 or (at >= np.array(self.visible.shape)).any()):
            raise ArgumentError(f"a place is outside {self.visible.shape}", where=f"TensorView.{kind}")
        self.asked[kind] += len(at)
        return at[:, 0], at[:, 1]
