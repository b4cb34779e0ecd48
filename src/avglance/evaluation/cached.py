"""A view of videos that a training cache holds, in place of one of their files.

What is looked at is the same, up to the cache's JPEG; frames and clocks of decoding are not there.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from avglance.data.cache import Cache
from avglance.errors import DataError, MediaError
from avglance.parts.clips import Clips
from avglance.parts.tensorview import TensorView
from avglance.types import Condition, MediaInfo
from avglance.views import square_to_file


class CachedView:
    """Serves videos of a cache as ``FileView`` serves files.

    Args:
        cache: made with the view settings of the system that asks.
        paths: of the videos, as the cache's dataset names them.

    Raises:
        DataError: the cache does not hold a video, or its entry is damaged.
    """

    def __init__(self, cache: Cache, paths: Sequence[object]) -> None:
        rows = {str(record.path): row for row, record in enumerate(cache.records)}
        missing = [str(path) for path in paths if str(path) not in rows]
        if missing:
            raise DataError(f"the cache does not hold {missing[0]}", where=str(cache.folder))
        wanted = [rows[str(path)] for path in paths]
        items = [cache.item(row) for row in wanted]
        clips = Clips(
            **{name: torch.from_numpy(np.stack([item[name] for item in items])) for name in items[0]}
        )
        self._view, self.settings = TensorView(clips, cache.settings), cache.settings
        facts = [cache.facts(row) for row in wanted]
        self._sizes = [(width, height) for _, width, height in facts]
        self.infos = [MediaInfo(duration_s, w, h, 0.0, False, "cache", "jpeg") for duration_s, w, h in facts]
        self.errors: list[MediaError | None] = [None] * len(items)
        self.frames_delivered = np.zeros(len(items), dtype=np.int64)
        self.frames_decoded = np.zeros(len(items), dtype=np.int64)
        self.decode_s = np.zeros(len(items))

    @property
    def times(self) -> NDArray[np.float64]:
        """Seconds of the pictures, shape (B, T)."""
        return self._view.times

    @property
    def visible(self) -> NDArray[np.bool_]:
        """Whether there is a picture, shape (B, T)."""
        return self._view.visible

    @property
    def audible(self) -> NDArray[np.bool_]:
        """Whether there is sound, shape (B, T)."""
        return self._view.audible

    def sounds(self, at: ArrayLike) -> NDArray[np.float32]:
        """Log-mels of places (n, 2): (n, 1, F, M)."""
        return self._view.sounds(np.asarray(at))

    def pictures(self, at: ArrayLike) -> NDArray[np.uint8]:
        """Glance pictures of places (n, 2): (n, 3, G, G)."""
        return self._view.pictures(np.asarray(at))

    def patches(self, at: ArrayLike, boxes: ArrayLike) -> NDArray[np.float32]:
        """Patches (n, 3, P, P) of places at boxes (n, 4)."""
        return self._view.patches(np.asarray(at), np.asarray(boxes))

    def box_px(self, b: int, box: ArrayLike) -> tuple[int, int, int, int]:
        """A box of video ``b`` in pixels of its file's picture."""
        return square_to_file(box, *self._sizes[b], self.settings)

    def condition(self, b: int) -> Condition:
        """What is not there in the cache was not there in the file."""
        return Condition("ok", audio="present" if self.audible[b].any() else "absent")

    def close(self) -> None:
        """Nothing is open."""

    def __enter__(self) -> CachedView:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()
