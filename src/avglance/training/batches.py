"""Which videos make which batch, and reading them ahead of the computation."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avglance.data.cache import CENTRE, Cache
from avglance.data.records import Record
from avglance.errors import DataError
from avglance.parts.clips import Clips
from avglance.training.draws import ITEM, ORDER, SPLIT, draws
from avglance.training.team import Team

AHEAD = 2  # batches


def split(records: Sequence[Record], share: float, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Which records train and which are held out; a group is never on both sides.

    Args:
        records: of a dataset.
        share: of the records to hold out, as near as whole groups allow; above 0 gives at least one. A class
            keeps a video to train on while other classes have some to hold out.
        seed: of the draw.

    Returns:
        (training, held out), rising int64 indices.

    Raises:
        DataError: nothing would be left to train on.
    """
    units: dict[object, list[int]] = {}
    for n, record in enumerate(records):
        units.setdefault(record.group or n, []).append(n)
    groups = list(units.values())
    wanted = max(1, round(share * len(records))) if share > 0 else 0
    drawn = [groups[unit] for unit in draws(seed, SPLIT).permutation(len(groups)).tolist()]
    left = Counter(label for record in records for label in record.labels)
    held: list[int] = []
    for group in drawn:
        taken = Counter(label for n in group for label in records[n].labels)
        if len(held) < wanted and all(left[label] > count for label, count in taken.items()):
            held += group
            left -= taken
    if wanted and not held:  # each group is all that there is of a class
        held = list(drawn[0])
    if len(held) == len(records):
        raise DataError(
            f"holding out {len(held)} of {len(records)} videos leaves nothing to train on",
            where="split",
            hint="more videos, smaller groups, or --validation 0",
        )
    inside = np.zeros(len(records), bool)
    inside[held] = True
    return np.flatnonzero(~inside), np.flatnonzero(inside)


@dataclass
class Batches:
    """The batches of a part of a cache; what an epoch holds is a function of (seed, epoch) alone.

    Attributes:
        cache: where items come from.
        indices: which of them.
        size: B, in all processes together; training drops the short batch at an epoch's end (other videos
            each time).
        seed: of order and augmentation.
        translate_px: how far training may move pictures.
        workers: threads that read and decode (libjpeg lets go of Python's lock).
    """

    cache: Cache
    indices: NDArray[np.int64]
    size: int
    seed: int = 0
    translate_px: int = 0
    workers: int = 1

    @property
    def steps(self) -> int:
        """Batches of a training epoch."""
        return max(1, len(self.indices) // self.size)

    def known(self) -> Batches:
        """Those of videos that show a class."""
        shown = [n for n in self.indices.tolist() if not self.cache.records[n].unknown]
        return replace(self, indices=np.array(shown, dtype=np.int64))

    def training(self, epoch: int, *, start: int = 0, team: Team | None = None) -> Iterator[Clips]:
        """The batches of an epoch from number ``start`` on, augmented; of each this process's share."""
        order = self.indices[draws(self.seed, ORDER, epoch).permutation(len(self.indices))]
        rows = [order[n * self.size : (n + 1) * self.size].tolist() for n in range(start, self.steps)]
        yield from self._read([team.share(row) if team else row for row in rows], epoch)

    def plain(self, *, candidate: int = CENTRE) -> Iterator[Clips]:
        """All videos in order, nothing moved; of each snippet the exact centre, or another candidate."""
        rows = [self.indices[n : n + self.size].tolist() for n in range(0, len(self.indices), self.size)]
        yield from self._read(rows, None, candidate)

    def _item(self, index: int, epoch: int | None, candidate: int) -> dict[str, Any]:
        if epoch is None:
            return self.cache.item(index, candidate=candidate)
        rng = draws(self.seed, ITEM, epoch, index)
        return self.cache.item(index, rng, translate_px=self.translate_px)

    def _read(self, rows: list[list[int]], epoch: int | None, candidate: int = CENTRE) -> Iterator[Clips]:
        pool = ThreadPoolExecutor(self.workers, thread_name_prefix="read-ahead")
        waiting: deque[list[Future[dict[str, Any]]]] = deque()
        try:
            for n in range(len(rows) + AHEAD):
                if n < len(rows):
                    waiting.append([pool.submit(self._item, index, epoch, candidate) for index in rows[n]])
                if n >= AHEAD:
                    yield Clips.stack([future.result() for future in waiting.popleft()])
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
