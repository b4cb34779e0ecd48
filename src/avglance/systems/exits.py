"""When to stop looking: exit thresholds that spend a given number of looks on average. Plain numpy.

Letters: N videos, K looks. Look number k may be a video's last one: exit k. A video leaves at the first exit
whose threshold its confidence reaches.

Source: AdaFocus V2, conditional exit (V2+): shares p_k = s^k / sum_j s^j, thresholds found by removing so
many videos an exit. Ours: the confidence is the largest softmax probability (of several labels a video: the
least sure yes or no), s comes from bisection, counts
are rounded so that they sum to N, and a larger budget has no smaller threshold anywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from avglance.errors import ArgumentError, CheckpointError, ShapeError

Floats = NDArray[np.float64]
LOST = 0.005
"""Share of right answers that a cheaper row of the table may lack, on the videos that chose it."""
STEPS = (1, 1.125, 1.25, 1.5, 1.75, 2, 2.5, 3, 3.5, 4, 5, 6, 7, 8, 10, 12, 16, 24)
"""Mean looks for which thresholds are solved."""
HALVES = 2
"""Looks that come after half of the glance, where that pays (``Stopping.halves``)."""
HALVES_LOST = 0.015
"""Share of right answers that a glance in halves may lack for that, on the videos that chose it."""


def shares_for(mean_looks: float, looks: int) -> Floats:
    """The shares of videos that leave at each exit, s^k / sum_j s^j, whose mean is ``mean_looks``; (K,).

    Raises:
        ArgumentError: no shares have this mean: it is outside [1, K].

    >>> shares_for(2.0, 3).round(3)
    array([0.333, 0.333, 0.333])
    """
    if looks < 1 or not 1 <= mean_looks <= looks:
        raise ArgumentError(f"a mean of {mean_looks} looks is outside [1, {looks}]", where="shares_for")
    k = np.arange(1, looks + 1)
    if mean_looks in (1, looks):
        return np.asarray(k == mean_looks, dtype=np.float64)
    low, high = -50.0, 50.0  # of ln s
    for _ in range(100):
        middle = (low + high) / 2
        less = bool(_shares(middle, k) @ k < mean_looks)
        low, high = (middle, high) if less else (low, middle)
    return _shares((low + high) / 2, k)


def _shares(log_s: float, k: NDArray[np.int64]) -> Floats:
    powers = np.exp(log_s * (k - (k[-1] if log_s > 0 else k[0])))  # the largest is 1
    shares: Floats = powers / powers.sum()
    return shares


def solve_thresholds(confidence: ArrayLike, shares: ArrayLike) -> Floats:
    """Thresholds at which the wanted shares of these videos leave, (K,).

    At each exit in turn the most confident of those that remain are taken, so many that the sum of all taken
    is the rounded sum of the shares; the threshold is the confidence of the last one taken. Where none is to
    leave it lies just above all that remain; where none remains afterwards it is -inf, and so behind it.

    Args:
        confidence: after each look, shape (N, K); of equal ones the earlier video counts as the more
            confident, though at the threshold all of them leave.
        shares: of the videos that shall leave at each exit, not negative, sum 1, shape (K,).

    Raises:
        ShapeError: the shapes are not (N, K) and (K,).
        ArgumentError: there is no video, a confidence is NaN, or the shares are none.

    >>> solve_thresholds([[0.9, 0.9], [0.6, 0.8], [0.5, 0.7], [0.4, 0.6]], [0.5, 0.5])
    array([ 0.6, -inf])
    """
    sure, wanted = _confidence(confidence), np.asarray(shares, dtype=np.float64)
    if wanted.shape != sure.shape[1:]:
        raise ShapeError(f"shares must be ({sure.shape[1]},), got {wanted.shape}", where="solve_thresholds")
    if not (wanted >= 0).all() or not np.isclose(wanted.sum(), 1):
        raise ArgumentError("shares must not be negative and must sum to 1", where="solve_thresholds")
    taken = np.rint(len(sure) * np.cumsum(wanted)).astype(np.int64)
    eta = np.full(wanted.size, -np.inf)
    left = np.arange(len(sure))
    for k, count in enumerate(np.diff(taken, prepend=0)):
        order = left[np.argsort(-sure[left, k], kind="stable")]
        if count == len(left):
            break
        eta[k] = sure[order[count - 1], k] if count else np.nextafter(sure[order[0], k], np.inf)
        left = np.sort(order[count:])
    return eta


def leaves(confidence: ArrayLike, thresholds: ArrayLike) -> NDArray[np.int64]:
    """The look after which each video leaves, counted from 1, int64 (N,).

    >>> leaves([[0.9, 0.9], [0.6, 0.8], [0.5, 0.7]], [0.6, float("-inf")])
    array([1, 1, 2])
    """
    sure, eta = _confidence(confidence), np.asarray(thresholds, dtype=np.float64)
    if eta.shape != sure.shape[1:]:
        raise ShapeError(f"thresholds must be ({sure.shape[1]},), got {eta.shape}", where="leaves")
    reached = sure >= eta
    reached[:, -1] = True
    return np.asarray(reached.argmax(axis=1) + 1, dtype=np.int64)


def _confidence(values: ArrayLike) -> Floats:
    sure = np.asarray(values, dtype=np.float64)
    if sure.ndim != 2 or not sure.shape[1]:
        raise ShapeError(f"confidence must be (N, K >= 1), got {sure.shape}", where="exits")
    if not len(sure) or np.isnan(sure).any():
        raise ArgumentError("confidence must be of at least one video, and not NaN", where="exits")
    return sure


@dataclass(frozen=True)
class ExitTable:
    """Thresholds for a row of budgets, from the smallest to the largest.

    There are exits as far as looks are worth having: up to the last look after which the answers, of all
    videos, are as good as after any look before it (``LOST``).

    A row's thresholds are nowhere below those of the row before: no video gets fewer looks for more budget.

    Attributes:
        looks: mean looks a video, as measured on the videos that chose the thresholds, (R,).
        top1: share of right answers there (of several labels a video: mean F1), (R,).
        thresholds: (R, exits); at the last of them every video leaves.
        halves: looks that come after half of the glance; 0: all snippets are glanced at first.
        both: share of the videos that leave behind these, and so are glanced at wholly, (R,); (): all.
        in_halves: a table with ``halves``, for budgets of more looks than that; None: it does not pay.
    """

    looks: tuple[float, ...]
    top1: tuple[float, ...]
    thresholds: tuple[tuple[float, ...], ...]
    halves: int = 0
    both: tuple[float, ...] = ()
    in_halves: ExitTable | None = None

    @classmethod
    def solve(
        cls, confidence: ArrayLike, right: ArrayLike, offered: ArrayLike, *, halves: int = 0
    ) -> ExitTable:
        """The table that suits these videos.

        Args:
            confidence: after each look, shape (N, K).
            right: whether the answer after each look is right, or how far, 0..1 (N, K).
            offered: how many looks each video has to offer, shape (N,).
            halves: how many of the looks come after half of the glance.
        """
        hit, most = np.asarray(right, dtype=np.float64), np.maximum(np.asarray(offered), 1)
        worth = hit.mean(axis=0)
        K = int(np.flatnonzero(worth >= np.maximum.accumulate(worth) - LOST - 1e-9)[-1]) + 1
        sure = _confidence(confidence)[:, :K]
        solved = [solve_thresholds(sure, shares_for(m, K)) for m in (*(m for m in STEPS if m < K), K)]
        rows = np.maximum.accumulate(np.stack(solved), axis=0)
        looks, top1, both = [], [], []
        for eta in rows:
            last = leaves(sure, eta)
            looks.append(float(np.minimum(last, most).mean()))
            top1.append(float(hit[np.arange(len(hit)), last - 1].mean()))
            both.append(float((last > halves).mean()))
        thresholds = tuple(tuple(map(float, eta)) for eta in rows)
        return cls(tuple(looks), tuple(top1), thresholds, halves, tuple(both) if halves else ())

    def macs(self, before: float, each: float) -> tuple[float, ...]:
        """Multiply-adds of each row, by those before the first look (of the whole glance) and of each."""
        whole = self.both or (1.0,) * len(self.looks)
        return tuple(
            before * (1 + share) / 2 + each * looks for share, looks in zip(whole, self.looks, strict=True)
        )

    def within(self, allowed: float, costs: Sequence[float] | None = None) -> int:
        """The row for a budget on average: the cheapest that is as good as any it allows.

        As good: at most ``LOST`` less than the best. The first row is there for the smallest budget.

        Args:
            allowed: looks, or what ``costs`` are.
            costs: of the rows, rising; None: their looks.
        """
        rows = [row for row, cost in enumerate(costs or self.looks) if cost <= allowed] or [0]
        best = max(self.top1[row] for row in rows)
        return next(row for row in rows if self.top1[row] >= best - LOST - 1e-9)

    def as_card(self) -> dict[str, Any]:
        """Plain JSON: a threshold that everything reaches is null."""
        rows = [[None if np.isneginf(v) else v for v in row] for row in self.thresholds]
        card: dict[str, Any] = {"looks": list(self.looks), "top1": list(self.top1), "thresholds": rows}
        card |= {"halves": self.halves, "both": list(self.both)} if self.halves else {}
        return card | ({"in_halves": self.in_halves.as_card()} if self.in_halves else {})

    @classmethod
    def from_card(cls, found: Any, *, where: str = "", inner: bool = False) -> ExitTable:
        """What ``as_card`` gave; ``inner``: the one in halves.

        Raises:
            CheckpointError: it is no such table.
        """
        try:
            rows = [[-np.inf if v is None else float(v) for v in row] for row in found["thresholds"]]
            looks, top1 = np.array(found["looks"], dtype=float), np.array(found["top1"], dtype=float)
            table = np.array(rows, dtype=np.float64)
            sound = table.ndim == 2 and table.size and looks.shape == top1.shape == table.shape[:1]
            if not sound or np.isnan(table).any() or not np.isfinite([looks, top1]).all():
                raise ValueError(f"{looks.shape}, {top1.shape} and {table.shape} values")
            halves, both = found.get("halves", 0), tuple(map(float, found.get("both", ())))
            if type(halves) is not int or (halves > 0) != inner or len(both) != (len(looks) if inner else 0):
                raise ValueError(f"halves {halves!r} with {len(both)} shares")
            if not all(0 <= share <= 1 for share in both):
                raise ValueError("shares that are none")
            if inner and "in_halves" in found:
                raise ValueError("a table in halves within another")
            within = (
                cls.from_card(found["in_halves"], where=where, inner=True) if "in_halves" in found else None
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"its exits are no table of thresholds ({error!r})", where=where) from error
        thresholds = tuple(map(tuple, table.tolist()))
        return cls(tuple(looks.tolist()), tuple(top1.tolist()), thresholds, halves, both, within)
