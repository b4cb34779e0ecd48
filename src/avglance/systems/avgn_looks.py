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
    B, K = order.shape
    shown, closely = along(seen.visible, order), system.looked(order, seen.visible)
    walk = _Walk(system, view, seen, told, spend)
    with spend.clock("aim"):
        walk.hear(closely)
    steps = [slice(0, K)] if stop is None else [slice(j, j + 1) for j in range(K)]
    going = torch.ones(B, dtype=torch.bool, device=order.device)
    found: list[Looks] = []
    for at in steps:
        going = going & shown[:, at].any(1)
        if found and (not bool(going.any()) or (stop and stop.late and stop.late())):
            break
        used = shown[:, at] & going[:, None]
        found.append(walk.step(order[:, at], used, used & closely[:, at], first=at.start))
        if stop is not None:
            enough = sure_enough(found[-1].logits[:, -1], stop.least(at.stop), system.labels)
            going = going & ~enough
    left = K - sum(step.order.shape[1] for step in found)
    return _joined(order, found, left)


@dataclass
class _Walk:
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
        """AESPA hears each video once, however many looks follow."""
        switches = self.system.settings.switches
        if switches.patch == "policy" and switches.hear_aim and bool(looked.any()):
            self.memory = self.system.remember(self.seen, looked, spend=self.spend)

    def step(self, order: Tensor, used: Tensor, looked: Tensor, *, first: int) -> Looks:
        """The next moments (B, N) of the order, of which number ``first`` is the first."""
        system, spend, told = self.system, self.spend, self.told
        with spend.clock("aim"):
            past = self.memory, self.state
            boxes, self.state = system.aim(self.seen, order, looked, spend=spend, told=told, past=past)
        with spend.clock("focus", self.view):
            rows = looked.nonzero()[:, 0]
            at = torch.stack([rows, order[looked]], 1).cpu().numpy()
            patches = to_tensor(self.view.patches(at, boxes[looked].cpu().numpy()), order.device)
            spend.add("focus", crop_macs(system.settings.patch_side), rows)
            near = spread(system.focus(patches, rows=rows, spend=spend), looked)
        with spend.clock("answer"):
            fused, on = system.fuse(self.seen, order, near), used.any(1)
            best = None if self.best is None else self.best[on]
            answered = spend.run(
                "answer", system.classifier, fused[on], best, first, rows=used.nonzero()[:, 0],
                method="steps", row=(fused[:1, :1],),
            )  # fmt: skip
            logits, self.best = (spread(x, on) for x in answered)
        return Looks(order, used, looked, boxes, near, logits)


def _joined(order: Tensor, found: list[Looks], left: int) -> Looks:
    """The steps side by side, and behind them ``left`` moments at which nobody looked."""

    def join(parts: list[Tensor]) -> Tensor:
        rest = parts[0].new_zeros((len(order), left, *parts[0].shape[2:]))
        return torch.cat([*parts, rest], 1)

    names = ("used", "looked", "boxes", "near", "logits")
    return Looks(order, *(join([getattr(step, name) for step in found]) for name in names))
