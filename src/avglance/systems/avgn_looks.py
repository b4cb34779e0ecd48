"""AVGN after the glance: the close looks, all moments at once or one after another.

One step is aim, focus and the answer after it. A moment depends on those before it alone (the policy's memory
and the running maximum of the prefix classifier are handed on), so both ways give the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from avglance.parts.meter import Meter, Unmetered, crop_macs
from avglance.systems.base import Steering, along, coarse_to_fine, spread, sure_enough, to_tensor
from avglance.types import Stopping
from avglance.views import View

if TYPE_CHECKING:
    from avglance.systems.avgn import AVGN


@dataclass
class Glimpse:
    """What the glance leaves.

    Attributes:
        map: of each picture, zeros where invisible, shape (B, T, Dv, h, w).
        picture: vectors, the learned one where invisible, shape (B, T, Dv).
        sound: vectors, the learned one where inaudible, shape (B, T, Da).
        visible: bool (B, T).
        audible: bool (B, T).
    """

    map: Tensor
    picture: Tensor
    sound: Tensor
    visible: Tensor
    audible: Tensor


def _shuffled(snippets: int) -> list[int]:
    return torch.randperm(snippets, generator=torch.Generator().manual_seed(0)).tolist()


ORDERS = {"time": lambda snippets: list(range(snippets)), "coarse": coarse_to_fine, "random": _shuffled}
"""Snippet numbers in the orders that choose nothing."""


@dataclass
class Looks:
    """What the looks gave, along the order (B, K); a video's looks are the first of its row.

    Attributes:
        order: snippets, int64 (B, K).
        used: moments on which the answer stands, bool (B, K).
        looked: those of them that were looked at closely, bool (B, K).
        boxes: xyxy fractions, shape (B, K, 4).
        near: close features, zeros where not looked, shape (B, K, D).
        logits: after each moment in use, shape (B, K, C); anything elsewhere.
    """

    order: Tensor
    used: Tensor
    looked: Tensor
    boxes: Tensor
    near: Tensor
    logits: Tensor


def random_corners(snippets: int) -> Tensor:
    """Where random patches lie in evaluation, a corner a snippet, (T, 2)."""
    return torch.rand(snippets, 2, generator=torch.Generator().manual_seed(0))


def look_closely(
    system: AVGN,
    view: View,
    seen: Glimpse,
    order: Tensor,
    *,
    stop: Stopping | None,
    told: Steering | None,
    spend: Meter | Unmetered,
) -> Looks:
    """The looks at the moments of ``order`` (B, K), as far as ``stop`` lets them come."""
    K, shown = order.shape[1], along(seen.visible, order)
    walk = Walk(system, view, seen, told, spend)
    walk.hear(system.looked(order, seen.visible))
    if stop is None:
        found = [walk.step(order, shown, torch.zeros_like(order[:, 0]))]
    else:
        found = []
        walk.look(order, shown, stop, found)
    return joined(order, found, K - sum(step.order.shape[1] for step in found))


@dataclass
class Walk:
    """The way along the moments, with what is remembered of those before."""

    system: AVGN
    view: View
    seen: Glimpse
    told: Steering | None
    spend: Meter | Unmetered
    memory: Tensor | None = None  # AESPA's, of the sounds
    state: Tensor | None = None  # the policy's
    best: Tensor | None = None  # the classifier's

    def hear(self, looked: Tensor) -> None:
        """AESPA hears each video that is looked at, once for all its looks at what is seen by now."""
        switches = self.system.settings.switches
        if switches.patch == "policy" and switches.hear_aim and bool(looked.any()):
            with self.spend.clock("aim"):
                self.memory = self.system.remember(self.seen, looked, spend=self.spend)

    def look(
        self,
        order: Tensor,
        shown: Tensor,
        stop: Stopping,
        found: list[Looks],
        *,
        going: Tensor | None = None,
    ) -> Tensor:
        """The moments (B, N) of the order one after another, behind those ``found``, as far as ``stop`` lets.

        Args:
            order: snippets, most wanted first.
            shown: which of them can be looked at, bool (B, N); where one cannot, none behind it is.
            stop: what ends the looks.
            found: gets the looks.
            going: videos that are looked at, bool (B,); None: all.

        Returns:
            Which of them are sure enough, bool (B,).
        """
        going = torch.ones_like(shown[:, 0]) if going is None else going
        sure, done = torch.zeros_like(going), torch.zeros_like(order[:, 0])
        for step in found:
            done = done + step.used.sum(1)
        for j in range(order.shape[1]):
            going = going & shown[:, j]
            if found and not bool(going.any()):
                break
            if found and bool((done[going] > 0).all()) and stop.late and stop.late():
                break
            found.append(self.step(order[:, j : j + 1], going[:, None], done))
            done = done + going
            least = torch.tensor([stop.least(looks) for looks in done.tolist()], dtype=torch.float64)
            enough = sure_enough(found[-1].logits[:, -1], least, self.system.labels)
            sure, going = sure | (going & enough), going & ~enough
        return sure

    def step(self, order: Tensor, used: Tensor, before: Tensor) -> Looks:
        """The next moments (B, N) of the order, behind so many ``before`` (B,)."""
        system, spend, told = self.system, self.spend, self.told
        looked = used & system.looked(order, self.seen.visible)
        with spend.clock("aim"):
            past = self.memory, self.state
            boxes, state = system.aim(self.seen, order, looked, spend=spend, told=told, past=past)
            self.state = _kept(state, self.state, looked.any(1))
        with spend.clock("focus", self.view):
            rows = looked.nonzero()[:, 0]
            at = torch.stack([rows, order[looked]], 1).cpu().numpy()
            patches = to_tensor(self.view.patches(at, boxes[looked].cpu().numpy()), order.device)
            spend.add("focus", crop_macs(system.settings.patch_side), rows)
            near = spread(system.focus(patches, rows=rows, spend=spend), looked)
        with spend.clock("answer"):
            fused = system.fuse(self.seen, order, near)
            logits = near.new_zeros((*order.shape, system.classes))
            for count in sorted(set(before[used.any(1)].tolist())):  # one, but where pictures are missing
                on = used.any(1) & (before == count)
                best = self.best[on] if count and self.best is not None else None
                rows = (used & on[:, None]).nonzero()[:, 0]
                said, best = spend.run(
                    "answer", system.classifier, fused[on], best, count, rows=rows,
                    method="steps", row=(fused[:1, :1],),
                )  # fmt: skip
                logits[on] = said.to(logits)
                self.best = _kept(spread(best, on), self.best, on)
        return Looks(order, used, looked, boxes, near, logits)


def _kept(new: Tensor | None, old: Tensor | None, on: Tensor) -> Tensor | None:
    """What is remembered of each video: the new where there was a look (B,), else the old."""
    return new if new is None or old is None else torch.where(on[:, None], new, old)


def joined(order: Tensor, found: list[Looks], left: int) -> Looks:
    """The steps side by side, and behind them ``left`` moments at which nobody looked."""

    def join(parts: list[Tensor]) -> Tensor:
        rest = parts[0].new_zeros((len(order), left, *parts[0].shape[2:]))
        return torch.cat([*parts, rest], 1)

    names = ("used", "looked", "boxes", "near", "logits")
    return Looks(order, *(join([getattr(step, name) for step in found]) for name in names))
