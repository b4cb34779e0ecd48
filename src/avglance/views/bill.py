"""What answering truly spends: seconds by stage, and multiply-adds by stage and video.

To the multiply-adds (MACs) of networks come, by formula, the log-mel front end, the resize to the glance and
the crop. The resize of a decoded frame to the source square belongs to the reader.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from avglance.errors import ArgumentError
from avglance.views.pictures import resize_matrix


@lru_cache(maxsize=64)
def resize_macs(n_in: int, n_out: int) -> int:
    """Multiply-adds of resizing one square of three channels, rows and columns apart; 0 if the size stays."""
    if n_in == n_out:
        return 0
    taps = int(np.count_nonzero(resize_matrix(n_in, n_out)))
    return 3 * taps * (n_in + n_out)


def crop_macs(patch_side: int) -> int:
    """Multiply-adds of one patch of three channels by bilinear interpolation: four for each value."""
    return 3 * 4 * patch_side * patch_side


class Bill:
    """Counts while ``videos`` videos are answered.

    ``seconds`` has one sum a stage; ``macs`` int64 (B,) a stage. Seconds that a view spends in decoding are
    put under ``decode`` and not under the stage that asked.
    """

    def __init__(self, videos: int) -> None:
        if videos < 1:
            raise ArgumentError(f"a meter needs at least one video, got {videos}", where=type(self).__name__)
        self.videos = videos
        self.seconds: dict[str, float] = {}
        self.macs: dict[str, NDArray[np.int64]] = {}
        self._inside: list[float] = []  # for each running clock, the seconds of the clocks inside it

    @property
    def total_macs(self) -> NDArray[np.int64]:
        """Multiply-adds of each video over all stages, int64 (B,)."""
        return sum(self.macs.values(), np.zeros(self.videos, dtype=np.int64))

    @contextmanager
    def clock(self, stage: str, view: object = None) -> Iterator[None]:
        """Adds the seconds inside to ``stage``, less those of clocks within and of decoding in ``view``."""
        decoded, start = _decode_s(view), self._now()
        self._inside.append(0.0)
        try:
            yield
        finally:
            spent, decoded = self._now() - start, _decode_s(view) - decoded
            own = max(spent - self._inside.pop() - decoded, 0.0)
            if self._inside:
                self._inside[-1] += spent
            if stage:
                self.seconds[stage] = self.seconds.get(stage, 0.0) + own
            if decoded:
                self.seconds["decode"] = self.seconds.get("decode", 0.0) + decoded

    def add(self, stage: str, macs_per_row: int, rows: ArrayLike) -> None:
        """Books ``macs_per_row`` once for each entry of ``rows`` (video numbers)."""
        index = np.asarray(rows).astype(np.int64)
        book = self.macs.setdefault(stage, np.zeros(self.videos, dtype=np.int64))
        book += np.bincount(index, minlength=self.videos) * macs_per_row

    @staticmethod
    def _now() -> float:
        return time.perf_counter()


def _decode_s(view: object) -> float:
    return float(np.sum(getattr(view, "decode_s", 0.0)))
