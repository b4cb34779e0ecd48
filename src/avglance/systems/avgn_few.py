"""AVGN's glance where few pictures are decoded: all sounds first, and by them the pictures.

a view's snippets, sounds before pictures   -> glance_at      the same of what was glanced at -> with_few
training: what chooses gets some pictures   -> some_pictures

What chooses scores the snippets twice: by sound alone, with every picture missing, which says what pictures
are worth decoding; and again with the pictures that came. One in ``EVERY`` is evenly spread, for where sound
misleads; all are where a video has no sound, or the same at every snippet. Snippets without a picture keep
their saliency, but cannot be looked at.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from avglance.parts.meter import Meter, Unmetered, resize_macs
from avglance.systems.base import Steering, ask, to_tensor
from avglance.views import (
    EVERY,
    LOGMEL_MACS,
    View,
    ask_few,
    ask_pictures,
    choose_pictures,
    expect_pictures,
    sounds_differ,
)

if TYPE_CHECKING:
    from avglance.systems.avgn import AVGN
    from avglance.systems.avgn_looks import Glimpse


def glance_at(
    system: AVGN,
    view: View,
    count: int,
    *,
    told: Steering | None = None,
    among: NDArray[np.bool_] | None = None,
    spend: Meter | Unmetered,
) -> Glimpse:
    """Light features of all sounds of a view and of ``count`` pictures a video (T: of all).

    All pictures of one video are decoded beside its sound and beside those before. ``among``: of all of them
    those of these snippets, bool (B, T).
    """
    s, device = system.settings, system.device
    few = s.switches.see and count < s.snippets
    none = np.zeros((len(view.times), s.snippets), dtype=np.bool_)
    if s.switches.see and not few:
        expect_pictures(view, among=among)
    heard_at = among if s.switches.listens else none
    sounds, audible = ask(
        view, "sounds", device, among=None if heard_at is None else torch.from_numpy(heard_at)
    )
    spend.add("glance", LOGMEL_MACS, audible.nonzero()[:, 0])
    heard = system.hear(sounds, audible, spend=spend)
    asked: Iterable[tuple[NDArray[np.uint8], NDArray[np.bool_]]]
    if few:
        asked = [ask_few(view, *_wishes(system, heard, audible, count, told=told, spend=spend))]
    else:
        asked = ask_pictures(view, among=among if s.switches.see else none)
    seen, visible = list[tuple[Tensor, Tensor]](), torch.zeros_like(audible)
    for pictures, mask in asked:
        part = to_tensor(mask, device)
        seen.append(system.see(to_tensor(pictures, device), part, spend=spend))
        visible |= part
    spend.add("glance", resize_macs(s.source_side, s.glance_side), visible.nonzero()[:, 0])
    maps, vectors = (torch.cat(parts) for parts in zip(*seen, strict=True))
    return system.glimpse(maps, vectors, heard, visible, audible)


def with_few(system: AVGN, seen: Glimpse, count: int) -> Glimpse:
    """What the glance leaves of ``count`` pictures a video, of what it leaves of all."""
    score, _, spread = _wishes(system, seen.sound, seen.audible, count, told=None, spend=Unmetered())
    chosen = choose_pictures(score, seen.visible.cpu().numpy(), count, spread)
    return _without(system, seen, to_tensor(chosen, seen.visible.device))


def some_pictures(system: AVGN, seen: Glimpse, rng: torch.Generator) -> Glimpse:
    """What the glance leaves of some pictures of a share of the videos (``few_pictures``), drawn.

    Of half of these none is left, of the others up to T - 1.
    """
    B, T = seen.visible.shape

    def draw(*shape: int) -> Tensor:
        return torch.rand(shape, generator=rng, device=rng.device).to(seen.visible.device)

    few, count = draw(B) < system.settings.few_pictures, (draw(B) * 2 * T).floor() - T
    kept = draw(B, T).argsort(1).argsort(1) < count[:, None]
    return _without(system, seen, seen.visible & (kept | ~few[:, None]))


def _without(system: AVGN, seen: Glimpse, visible: Tensor) -> Glimpse:
    return replace(seen, picture=system.no_picture(seen.picture, visible), visible=visible)


def _wishes(
    system: AVGN,
    sound: Tensor,
    audible: Tensor,
    count: int,
    *,
    told: Steering | None,
    spend: Meter | Unmetered,
) -> tuple[NDArray[np.float64], int, NDArray[np.int64]]:
    """Scores of the snippets (B, T), ``count``, and how many pictures a video are evenly spread (B,).

    Where something else than saliency orders the snippets, or moments are told, none is.
    """
    score = torch.zeros(audible.shape, device=audible.device)
    if told is not None or system.settings.switches.order != "saliency":
        score = system.scores(score, told=told)
        return score.double().cpu().numpy(), count, np.zeros(len(score), dtype=np.int64)
    tells = sounds_differ(sound.detach().float().cpu().numpy(), audible.cpu().numpy())
    tells &= system.settings.switches.hear_choose
    rows = torch.from_numpy(np.flatnonzero(tells)).to(audible.device)
    if len(rows):
        missing = torch.zeros_like(audible[rows])
        blind = sound.new_zeros((*missing.shape, system.encode_picture.width))
        blind = system.no_picture(blind, missing)
        found = spend.run("choose", system.saliency, blind, sound[rows], rows=rows)
        score[rows] = found.logits.detach().to(score)
    return score.double().cpu().numpy(), count, np.where(tells, count // EVERY, count)
