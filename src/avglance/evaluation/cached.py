"""A view of videos that a training cache holds, in place of one of their files.

What is looked at is the same, up to the cache's JPEG; frames and clocks of decoding are not there.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from avglance.data.cache import Cache
from avglance.errors import DataError, MediaError
from avglance.parts.clips import Clips
from avglance.parts.tensorview import TensorView
from avglance.types import Condition, MediaInfo
from avglance.views import square_to_file


class CachedView(TensorView):
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
        super().__init__(Clips.stack([cache.item(row) for row in wanted]), cache.settings)
        facts = [cache.facts(row) for row in wanted]
        self._sizes = [(width, height) for _, width, height in facts]
        self.infos = [MediaInfo(duration_s, w, h, 0.0, False, "cache", "jpeg") for duration_s, w, h in facts]
        self.errors: list[MediaError | None] = [None] * len(wanted)
        self.frames_delivered = np.zeros(len(wanted), dtype=np.int64)
        self.frames_decoded = np.zeros(len(wanted), dtype=np.int64)
        self.decode_s = np.zeros(len(wanted))
        self.on_keyframes = np.zeros((len(wanted), cache.settings.snippets), dtype=bool)

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
