"""AVGN's looks between its graphs, at once or one after another: ``systems.avgn_looks`` in numpy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from avglance.errors import CheckpointError
from avglance.runtime.choosing import (
    Floats,
    Mask,
    Order,
    certain,
    corner_to_box,
    probabilities,
)
from avglance.runtime.graph import AGAIN
from avglance.types import Stopping
from avglance.views import Bill, View, crop_macs

if TYPE_CHECKING:
    from avglance.runtime.avgn import AVGNHost


@dataclass
class Glimpse:
    """What the glance leaves: as in ``systems.avgn``, and the heads' logits, zeros where they did not run."""

    map: Floats
    picture: Floats
    sound: Floats
    visible: Mask
    audible: Mask
    shown: Floats
    heard: Floats


@dataclass
class Looks:
    """What the looks gave, along the order (B, K).

    ``close`` are the focus head's logits, ``nearness`` is that of graph ``familiar`` (0 without it).
    """

    used: Mask
    looked: Mask
    boxes: Floats
    close: Floats
    nearness: Floats
    logits: Floats


class Walk:
    """The way along the moments, with what is remembered of those before."""

    def __init__(self, host: AVGNHost, view: View, seen: Glimpse, bill: Bill) -> None:
        self.host, self.view, self.seen, self.bill = host, view, seen, bill
        videos, widths = len(seen.visible), host.settings.widths
        self.memory = seen.sound
        self.state = np.zeros((videos, widths["state"]), dtype=np.float32)
        self.best = np.zeros((videos, widths["best"]), dtype=np.float32)

    def hear(self, looked: Mask) -> None:
        """AESPA hears each video that is looked at, once for all its looks at what is seen by now."""
        if "hear" not in self.host.settings.graphs:
            self.memory = self.seen.sound
        if "hear" in self.host.settings.graphs and looked.any():
            on = looked.any(axis=1)
            (kept,) = self.host.run("hear", "aim", self.bill, np.flatnonzero(on), sound=self.seen.sound[on])
            self.memory = np.zeros((len(looked), *kept.shape[1:]), dtype=np.float32)
            self.memory[on] = kept

    def look(
        self, order: Order, shown: Mask, stop: Stopping, found: list[Looks], *, going: Mask | None = None
    ) -> Mask:
        """The moments (B, N) of the order one after another, behind those ``found``, as far as ``stop`` lets.

        ``shown``: which of them can be looked at; ``going``: at which videos (B,). ``found`` gets the looks.
        Returns which videos are sure enough, (B,).
        """
        labels = self.host.labels
        going = np.ones(len(order), dtype=np.bool_) if going is None else going
        sure, done = np.zeros_like(going), np.zeros(len(order), dtype=np.int64)
        for step in found:
            done += step.used.sum(axis=1)
        for j in range(order.shape[1]):
            going = going & shown[:, j]
            if found and not going.any():
                break
            if found and (done[going] > 0).all() and stop.late and stop.late():
                break
            found.append(self.step(order[:, j : j + 1], going[:, None], done))
            done = done + going
            scores = probabilities(found[-1].logits[:, -1].astype(np.float64), labels)
            enough = certain(scores, labels) >= np.array([stop.least(looks) for looks in done.tolist()])
            sure, going = sure | (going & enough), going & ~enough
        return sure

    def step(self, order: Order, used: Mask, before: Order) -> Looks:
        """The next moments (B, N) of the order, behind so many ``before`` (B,)."""
        host, bill, s = self.host, self.bill, self.host.settings
        looked = used if s.patch != "none" else np.zeros_like(used)
        with bill.clock("aim"):
            boxes = self.aim(order, looked)
        near = np.zeros((*order.shape, s.widths["near"]), dtype=np.float32)
        close, nearness = (np.zeros((*order.shape, host.classes), dtype=np.float32) for _ in range(2))
        with bill.clock("focus", self.view):
            rows = np.nonzero(looked)[0]
            bill.add("focus", crop_macs(host.view.patch_side), rows)
            if len(rows):
                patches = self.view.patches(np.stack([rows, order[looked]], axis=1), boxes[looked])
                near[looked], close[looked] = host.run("focus", "focus", bill, rows, patches=patches)
        with bill.clock("answer"):
            logits = self.classify(order, used, near, before)
            if s.familiar and len(rows):
                at = order[looked]
                (nearness[looked],) = host.run(
                    "familiar", "answer", bill, rows, picture=self.seen.picture[rows, at],
                    sound=self.seen.sound[rows, at], near=near[looked], audible=self.seen.audible[rows, at],
                )  # fmt: skip
        return Looks(used, looked, boxes, close, nearness, logits)

    def aim(self, order: Order, looked: Mask) -> Floats:
        """Boxes of the patches, xyxy fractions (B, N, 4)."""
        s, view = self.host.settings, self.host.view
        if s.patch in ("whole", "none"):
            return np.broadcast_to(np.array([0, 0, 1, 1], np.float32), (*order.shape, 4))
        corner = np.full((*order.shape, 2), 0.5, dtype=np.float32)
        if s.patch == "random":
            corner = np.array(s.corners, dtype=np.float32)[order]
        elif s.patch == "policy" and looked.any():
            corner[looked] = self._corners(order, looked)
        return corner_to_box(corner, view.patch_side, view.source_side)

    def _corners(self, order: Order, looked: Mask) -> Floats:
        """Corner actions (n, 2) of the moments that are looked at."""
        rows, s = np.nonzero(looked)[0], self.host.settings
        maps = self.seen.map[rows, order[looked]]
        memory = self.memory[rows] if s.whole_video else self.memory[rows, order[looked]][:, None]
        (found,) = self.host.run("aim", "aim", self.bill, rows, map=maps, memory=memory)
        corner: Floats = self._remembered(found, looked) if s.recurrent else found
        if ((corner < 0) | (corner > 1)).any():
            graph = self.host.graphs["aim"]
            raise CheckpointError("it aims outside the picture", where=graph.where, hint=AGAIN)
        return corner

    def _remembered(self, gates: Floats, looked: Mask) -> Floats:
        """Corner actions by a policy that takes one moment after another."""
        corner = np.zeros((*looked.shape, 2), dtype=np.float32)
        place = np.cumsum(looked).reshape(looked.shape) - 1
        for j in np.flatnonzero(looked.any(axis=0)):
            rows = np.flatnonzero(looked[:, j])
            corner[rows, j], self.state[rows] = self.host.run(
                "recall", "aim", self.bill, rows, gates=gates[place[rows, j]], state=self.state[rows]
            )
        return corner[looked]

    def classify(self, order: Order, used: Mask, near: Floats, before: Order) -> Floats:
        """Logits (B, N, C) after each moment in use, behind so many ``before`` (B,)."""
        logits = np.zeros((*order.shape, self.host.classes), dtype=np.float32)
        if not used.any():
            return logits
        on, at = np.nonzero(used)[0], order[used]
        mixed = np.zeros((*order.shape, self.host.settings.widths["best"]), dtype=np.float32)
        (mixed[used],) = self.host.run(
            "mix", "answer", self.bill, on,
            picture=self.seen.picture[on, at], sound=self.seen.sound[on, at], near=near[used],
        )  # fmt: skip
        for j in range(order.shape[1]):
            for count in sorted(set(before[used[:, j]].tolist())):  # one, but where pictures are missing
                rows = np.flatnonzero(used[:, j] & (before == count))
                logits[rows, j], self.best[rows] = self.host.run(
                    "answer", "answer", self.bill, rows, mixed=mixed[rows, j], best=self.best[rows],
                    step=np.full(len(rows), count + j, dtype=np.int64),
                )  # fmt: skip
        return logits


def joined(found: list[Looks], looks: int) -> Looks:
    """The steps side by side, and behind them moments at which nobody looked."""

    def join(name: str) -> Any:
        parts = [getattr(step, name) for step in found]
        left = looks - sum(part.shape[1] for part in parts)
        rest = np.zeros((len(parts[0]), left, *parts[0].shape[2:]), dtype=parts[0].dtype)
        return np.concatenate([*parts, rest], axis=1)

    return Looks(*(join(name) for name in ("used", "looked", "boxes", "close", "nearness", "logits")))
