"""AVGN's glance in two halves between its graphs: ``systems.avgn_halves`` in numpy."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from avglance.runtime.avgn_looks import Glimpse, Looks, Walk, joined
from avglance.runtime.choosing import Decision, Floats, Mask, Order, along, behind, pick_moments
from avglance.types import Stopping
from avglance.views import Bill, View

if TYPE_CHECKING:
    from avglance.runtime.avgn import AVGNHost


def recognise_in_halves(host: AVGNHost, view: View, k: int, *, bill: Bill, stop: Stopping) -> Decision:
    """The answer of at most ``k`` looks, the first ``stop.halves`` of them by half of the glance."""
    T = host.view.snippets
    even = np.tile(np.arange(T) % 2 == 0, (len(view.times), 1))
    with bill.clock("glance", view):
        seen = host.glance(view, bill, T, among=even)
    with bill.clock("choose"):
        saliency = host.choose(seen, bill)
        order = host.rank(saliency, seen.visible, stop.halves)
    walk, found = Walk(host, view, seen, bill), list[Looks]()
    walk.hear(along(seen.visible, order))
    sure = walk.look(order, along(seen.visible, order), stop, found)
    order, used = order[:, : len(found)], np.concatenate([step.used for step in found], axis=1)
    on = ~sure
    if stop.late and stop.late():
        on = on & ~used.any(axis=1)  # the first look always happens
    if on.any():
        with bill.clock("glance", view):
            walk.seen = seen = _together(seen, host.glance(view, bill, T, among=~even & on[:, None]))
        with bill.clock("choose"):
            saliency[on] = host.choose(seen, bill, np.flatnonzero(on))
            rest, fresh = _others(saliency, seen, order, used, k)
        walk.hear(fresh & on[:, None])
        walk.look(rest, fresh, stop, found, going=on)
        order = np.concatenate([order, rest], axis=1)
    looks = joined(found, max(k, len(found)))
    whole, looks = _in_order(host, saliency, seen, order, looks, k)
    with bill.clock("answer"):
        found_out = host.decide(seen, saliency, whole, looks)
    return replace(
        found_out,
        saliency=_between(found_out.saliency, ~on),
        evidence=_between(found_out.evidence, ~on),
    )


def _together(seen: Glimpse, more: Glimpse) -> Glimpse:
    """What two glances at different snippets leave."""

    def either(name: str, there: Mask) -> NDArray[Any]:
        old, new = getattr(seen, name), getattr(more, name)
        return np.asarray(np.where(there.reshape(*there.shape, *(1,) * (old.ndim - 2)), new, old))

    return Glimpse(
        map=either("map", more.visible),
        picture=either("picture", more.visible),
        sound=either("sound", more.audible),
        visible=seen.visible | more.visible,
        audible=seen.audible | more.audible,
        shown=either("shown", more.visible),
        heard=either("heard", more.audible),
    )


def _between(x: Floats, rows: Mask) -> Floats:
    """Saliency or evidence (B, T, ...), in ``rows`` (B,) of odd snippets the mean of their neighbours."""
    even, odd = x[:, ::2], x[:, 1::2]
    mean = (even + np.concatenate([even[:, 1:], even[:, -1:]], axis=1))[:, : odd.shape[1]] / 2
    out = x.copy()
    out[:, 1::2] = np.where(rows.reshape(-1, *(1,) * (x.ndim - 1)), mean, odd)
    return out


def _others(saliency: Floats, seen: Glimpse, order: Order, used: Mask, k: int) -> tuple[Order, Mask]:
    """The most salient snippets (B, N) that were not looked at, and at which of them ``k`` looks come."""
    left, (rows, columns) = seen.visible.copy(), np.nonzero(used)
    left[rows, order[rows, columns]] = False
    more = k - used.sum(axis=1, keepdims=True)
    rest = pick_moments(behind(saliency, left), int(more.max()))
    return rest, along(left, rest) & (np.arange(rest.shape[1]) < more)


def _in_order(
    host: AVGNHost, saliency: Floats, seen: Glimpse, order: Order, looks: Looks, k: int
) -> tuple[Order, Looks]:
    """The first ``k`` looks with those in use first, behind them the other snippets, each once."""
    (B, T), (rows, columns) = seen.visible.shape, np.nonzero(looks.used)
    place = np.empty((B, T), dtype=np.int64)
    np.put_along_axis(
        place, host.rank(saliency, seen.visible, T), np.tile(np.arange(T, 2 * T), (B, 1)), axis=1
    )
    place[rows, order[rows, columns]] = columns
    first = np.argsort(~looks.used, axis=1, kind="stable")[:, :k]  # columns, those in use first
    names = ("used", "looked", "boxes", "close", "nearness", "logits")
    return np.argsort(place, axis=1)[:, :k], Looks(*(along(getattr(looks, name), first) for name in names))
