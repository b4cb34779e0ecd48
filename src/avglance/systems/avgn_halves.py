"""AVGN's glance in two halves: every second snippet, and the others where the looks there do not suffice.

Not of the paper. The glance at all T snippets is most of what a video costs, and an exit that ends the close
looks alone saves none of it. Here the first choice, a few looks and their exits come after half of the glance
(AV-TeST takes the other snippets for missing). A video that is not sure then is glanced at wholly, chosen
from anew, and looked at on from there; what was looked at stays. Of a video that is sure before, the
saliency and the evidence of a snippet that was not glanced at are those of its neighbours, on average.

of a view, asking for what is used   -> recognise_in_halves      of a batch, all computed -> dense_in_halves
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from avglance.parts.clips import Clips
from avglance.parts.meter import Meter, Unmetered
from avglance.parts.saliency import pick_moments
from avglance.systems.avgn_few import glance_at
from avglance.systems.avgn_looks import Glimpse, Looks, Walk, joined
from avglance.systems.base import Decision, along, behind, flat_places
from avglance.types import Stopping
from avglance.views import View

if TYPE_CHECKING:
    from avglance.systems.avgn import AVGN


def recognise_in_halves(
    system: AVGN, view: View, k: int, *, stop: Stopping, spend: Meter | Unmetered
) -> Decision:
    """The answer of at most ``k`` looks, the first ``stop.halves`` of them by half of the glance."""
    even = _even(torch.from_numpy(view.visible))
    with spend.clock("glance", view):
        seen = glance_at(system, view, system.max_k, among=even.numpy(), spend=spend)
    with spend.clock("choose"):
        saliency = system.choose(seen, spend=spend).logits
        order = system.rank(saliency, seen.visible, stop.halves)
    walk, found = Walk(system, view, seen, None, spend), list[Looks]()
    walk.hear(system.looked(order, seen.visible))
    sure = walk.look(order, along(seen.visible, order), stop, found)
    order, used = order[:, : len(found)], torch.cat([step.used for step in found], 1)
    on = ~sure
    if stop.late and stop.late():
        on = on & ~used.any(1)  # the first look always happens
    if bool(on.any()):
        others = ~even & on[:, None].cpu()
        with spend.clock("glance", view):
            more = glance_at(system, view, system.max_k, among=others.numpy(), spend=spend)
            walk.seen = seen = _together(seen, more)
        with spend.clock("choose"):
            rows = on.nonzero()[:, 0]
            again = system.choose(seen, spend=spend, rows=rows).logits
            saliency = saliency.index_copy(0, rows, again)
            rest, fresh = _others(system, saliency, seen, order, used, k)
        walk.hear(system.looked(rest, seen.visible) & fresh & on[:, None])
        walk.look(rest, fresh, stop, found, going=on)
        order = torch.cat([order, rest], 1)
    order = F.pad(order, (0, max(k, len(found)) - order.shape[1]))[:, : max(k, len(found))]
    looks = joined(order, found, order.shape[1] - len(found))
    looks = _in_order(system, saliency, seen, looks, k)
    with spend.clock("answer"):
        decision = system.decide(seen, saliency, looks.order, looks, spend=spend)
    return replace(
        decision,
        saliency=_between(decision.saliency, ~on),
        evidence=_between(decision.evidence, ~on),
    )


def dense_in_halves(system: AVGN, clips: Clips, k: int, halves: int) -> Decision:
    """The dense answer of ``k`` looks of which the first ``halves`` come by half of the glance.

    With the recurrent policy and even snippets without a picture, its memory is not that of the other way.
    """
    free = Unmetered()
    seen = system.glance_clips(clips, clips.visible, clips.audible)
    even = _even(seen.visible)
    half = system.glance_clips(clips, clips.visible & even, clips.audible & even)
    order = system.rank(system.choose(half, spend=free).logits, half.visible, halves)
    used = along(half.visible, order)
    saliency = system.choose(seen, spend=free).logits
    rest, fresh = _others(system, saliency, seen, order, used, k)
    boxes, state = system.aim(half, order, torch.ones_like(used), spend=free)
    further, _ = system.aim(seen, rest, torch.ones_like(fresh), spend=free, past=(None, state))
    order, used = torch.cat([order, rest], 1), torch.cat([used, fresh], 1)
    boxes, looked = torch.cat([boxes, further], 1), used & system.looked(order, seen.visible)
    near = torch.zeros((*order.shape, system.encode_focus.width), device=order.device)
    if system.settings.switches.patch != "none":
        index = flat_places(order, clips.snippets).flatten()
        near = system.focus_clips(clips, boxes.flatten(0, 1), index)
        near = near.reshape(*order.shape, -1) * looked[..., None]
    looks = Looks(order, used, looked, boxes, near, near.new_zeros((*order.shape, system.classes)))
    looks = _in_order(system, saliency, seen, looks, k)
    looks.logits = system.classifier(system.fuse(seen, looks.order, looks.near))
    return system.decide(seen, saliency, looks.order, looks, spend=free)


def _even(like: Tensor) -> Tensor:
    """Every second snippet, from the first on, bool (B, T) as ``like``."""
    return (torch.arange(like.shape[1], device=like.device) % 2 == 0).repeat(len(like), 1)


def _together(seen: Glimpse, more: Glimpse) -> Glimpse:
    """What two glances at different snippets leave."""

    def either(name: str, there: Tensor) -> Tensor:
        old, new = getattr(seen, name), getattr(more, name)
        return torch.where(there.reshape(*there.shape, *(1,) * (old.ndim - 2)), new, old)

    return replace(
        seen,
        map=either("map", more.visible),
        picture=either("picture", more.visible),
        sound=either("sound", more.audible),
        visible=seen.visible | more.visible,
        audible=seen.audible | more.audible,
    )


def _between(x: Tensor, rows: Tensor) -> Tensor:
    """Saliency or evidence (B, T, ...), in ``rows`` (B,) of odd snippets the mean of their neighbours."""
    even, odd = x[:, ::2], x[:, 1::2]
    mean = (even + torch.cat([even[:, 1:], even[:, -1:]], 1))[:, : odd.shape[1]] / 2
    out = x.clone()
    out[:, 1::2] = torch.where(rows.reshape(-1, *(1,) * (x.ndim - 1)), mean, odd)
    return out


def _others(
    system: AVGN, saliency: Tensor, seen: Glimpse, order: Tensor, used: Tensor, k: int
) -> tuple[Tensor, Tensor]:
    """The most salient snippets (B, N) that were not looked at, and at which of them ``k`` looks come.

    As many columns as the video with the fewest looks wants.
    """
    left = seen.visible.clone()
    rows = torch.arange(len(order), device=order.device)[:, None].expand_as(order)
    left[rows[used], order[used]] = False
    more = k - used.sum(1, keepdim=True)
    rest = pick_moments(behind(system.scores(saliency), left), int(more.max()))
    return rest, along(left, rest) & (torch.arange(rest.shape[1], device=rest.device) < more)


def _in_order(system: AVGN, saliency: Tensor, seen: Glimpse, looks: Looks, k: int) -> Looks:
    """The first ``k`` looks with those in use first, behind them the other snippets, each once."""
    (B, T), device = seen.visible.shape, looks.order.device
    ranked = system.rank(saliency, seen.visible, T)
    place = torch.empty_like(ranked).scatter_(1, ranked, torch.arange(T, 2 * T, device=device).repeat(B, 1))
    rows, columns = looks.used.nonzero(as_tuple=True)
    place[rows, looks.order[rows, columns]] = columns
    first = (~looks.used).long().sort(dim=1, stable=True).indices[:, :k]  # columns, those in use first
    names = ("used", "looked", "boxes", "near", "logits")
    return Looks(place.argsort(1)[:, :k], *(along(getattr(looks, name), first) for name in names))
