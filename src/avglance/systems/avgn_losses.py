"""How AVGN learns: two branches of patches along one order, and a loss for each part.

two branches, policy and random patches  -> two_branches      which snippets, in which order -> training_order
what the saliency learns from            -> teaching          every loss                     -> avgn_losses
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from avglance.parts.aespa import TransformerAESPA
from avglance.parts.clips import Clips
from avglance.parts.crop import corner_to_box
from avglance.parts.evidence import SnippetEvidence
from avglance.parts.losses import (
    label_loss,
    mean_logits,
    ordered_loss,
    rising_loss,
    saliency_loss,
    saliency_range_loss,
    taught_labels,
    teacher_confidence,
)
from avglance.parts.meter import Unmetered
from avglance.parts.policy import HeatmapPolicy
from avglance.parts.saliency import AVTeST, Saliency, pick_moments
from avglance.systems.avgn_few import some_pictures
from avglance.systems.base import along, behind, coarse_to_fine, drop_videos, flat_places, unordered

if TYPE_CHECKING:
    from avglance.systems.avgn import AVGN
    from avglance.systems.avgn_looks import Glimpse

FREE = Unmetered()


@dataclass(frozen=True)
class Lesson:
    """What the losses of one batch are made of.

    Attributes:
        y: drawn label of each video, int64 (B,); or all labels of each, multi-hot (B, C).
        seen: what the glance left.
        given: what of it the saliency is judged by: all, or with ``few_pictures`` some pictures.
        saliency: what AV-TeST says of that.
        order: the snippets looked at, (B, L).
        shown: which of them have a picture, bool (B, L).
        near: close features of the policy's patches (of whole squares before there is a policy), (B, L, D).
        other: those of the random patches, or None without that branch.
    """

    y: Tensor
    seen: Glimpse
    given: Glimpse
    saliency: Saliency
    order: Tensor
    shown: Tensor
    near: Tensor
    other: Tensor | None


def avgn_losses(system: AVGN, clips: Clips, *, rng: torch.Generator, epoch: int) -> dict[str, Tensor]:
    """Named, weighted terms; all randomness is from ``rng`` and the layers' own (seeded by the caller)."""
    s, w = system.settings, system.settings.switches
    audible = drop_videos(clips.audible, s.drop_sound, rng)
    visible = drop_videos(clips.visible, s.drop_pictures, rng)
    y = taught_labels(clips.targets, s.labels, rng)
    seen = system.glance_clips(clips, visible, audible)
    saliency = system.choose(seen, spend=FREE)
    order = training_order(system, saliency.logits, seen.visible, rng=rng, epoch=epoch)
    near, other = two_branches(system, clips, seen, order, rng)
    given = seen
    if s.few_pictures and trains(system.saliency):
        given = some_pictures(system, seen, rng)
        saliency = system.choose(given, spend=FREE)
    lesson = Lesson(y, seen, given, saliency, order, along(seen.visible, order), near, other)
    terms = {}
    if trains(system.classifier):
        terms["prefix"] = _prefix(system, lesson)
    if w.auxiliary:
        terms |= _auxiliary(system, lesson, epoch)
    confidence, taught = teaching(system, lesson)
    if taught is not None:
        terms["teacher"] = taught
    if trains(system.saliency):
        terms |= _choosing(system, lesson, confidence)
    m1 = w.masked_form == "m1"
    if (
        w.masked
        and trains(system.saliency if m1 else system.attention)
        and not (m1 and w.chooser != "avtest")
    ):
        terms["masked"] = w.masked * _masked(system, lesson, rng)
    return terms


def _choosing(system: AVGN, lesson: Lesson, confidence: Tensor | None) -> dict[str, Tensor]:
    """What teaches the saliency: the teacher and the order, or of lines the labels alone."""
    w, found, chooser = system.settings.switches, lesson.saliency, system.saliency
    if isinstance(chooser, SnippetEvidence):
        return {"saliency": w.saliency * chooser.loss(found, lesson.y)}
    assert confidence is not None  # only lines have no teacher
    terms = {}
    if w.saliency and w.saliency_form != "s3":
        here = along(found.logits, lesson.order)
        if w.saliency_form == "s1":
            terms["saliency"] = w.saliency * saliency_loss(here, confidence, tau=w.tau)
        else:
            terms["saliency"] = w.saliency * saliency_range_loss(here, confidence)
    if w.ordered:
        loss = ordered_loss if w.ordered_form == "o1" else rising_loss
        terms["ordered"] = w.ordered * loss(found.logits, found.class_logits, lesson.y)
    return terms


def trains(part: nn.Module) -> bool:
    """Whether the running stage trains a part."""
    return any(p.requires_grad for p in part.parameters())


def closely(system: AVGN) -> bool:
    """Whether anything is looked at closely: not without patches, nor while the glance is trained alone.

    The head tells: the encoder may be frozen.
    """
    w = system.settings.switches
    return w.see and w.patch != "none" and trains(system.head_focus)


def training_order(
    system: AVGN, saliency: Tensor, visible: Tensor, *, rng: torch.Generator, epoch: int
) -> Tensor:
    """The snippets that are looked at, in the order in which the prefix heads see them: int64 (B, L).

    All T, or with ``train_looks`` the first of the order and others drawn from the rest, so that a snippet
    that was ranked low by mistake is met again: one is drawn for every three looks.
    """
    w, T, looks = system.settings.switches, system.max_k, system.settings.looks
    draw = torch.rand(saliency.shape, generator=rng, device=rng.device).to(saliency.device)
    if w.order == "random":
        rank = pick_moments(behind(draw, visible), T)
    elif w.order == "saliency" and epoch < w.order_warmup:
        if looks < T:
            rank = pick_moments(behind(draw, visible), T)
        else:
            score = -torch.tensor(coarse_to_fine(T), device=saliency.device).argsort().float()
            rank = pick_moments(behind(score.expand_as(saliency), visible), T)
    else:
        rank = system.rank(saliency, visible, T)
    if looks == T:
        return rank
    sure = looks - looks // 3
    first, rest = rank[:, :sure], rank[:, sure:]
    drawn = along(behind(draw, visible), rest).topk(looks - sure, dim=1).indices
    return torch.cat([first, rest.gather(1, drawn.sort(1).values)], 1)


def two_branches(
    system: AVGN, clips: Clips, seen: Glimpse, order: Tensor, rng: torch.Generator
) -> tuple[Tensor, Tensor | None]:
    """Close features of the policy's patches and of random ones, (B, L, D) each, along the order.

    Before the policy is trained, of the whole squares alone.
    """
    s, w = system.settings, system.settings.switches
    if not closely(system):
        return torch.zeros((*order.shape, system.encode_focus.width), device=order.device), None
    if w.patch == "policy" and not trains(system.policy) and system.sees_squares:
        if clips.known:
            return along(clips.known["whole"], order).float(), None
        squares = along(clips.pictures, order).flatten(0, 1)  # nothing says yet where to look: at everything
        return system.encode_focus(squares)[1].reshape(*order.shape, -1), None
    corners, weights = _draw(system, seen, order, rng)  # (B, L, n, 2), (B, L, n)
    n, index = corners.shape[2], flat_places(order, clips.snippets).flatten()
    flat, places = corners.flatten(0, 2), index.repeat_interleave(n)
    if w.random_branch and w.patch != "whole":
        chance = torch.rand((*order.shape, 2), generator=rng, device=rng.device).to(order.device)
        flat, places = torch.cat([flat, chance.flatten(0, 1)]), torch.cat([places, index])
    boxes = corner_to_box(flat, s.patch_side, s.source_side)
    if w.patch == "whole":
        boxes = boxes.new_tensor([0.0, 0.0, 1.0, 1.0]).expand_as(boxes)
    cut = weights.numel()
    if corners.requires_grad:  # apart, or batch norm would carry the random branch to the policy
        drawn, other = (
            system.focus_clips(clips, boxes[part], places[part]) if len(places[part]) else boxes[:0]
            for part in (slice(None, cut), slice(cut, None))
        )
    else:
        drawn, other = system.focus_clips(clips, boxes, places).tensor_split([cut])
    near = (drawn.reshape(*weights.shape, -1) * weights[..., None]).sum(2)
    return near, other.reshape(*order.shape, -1) if len(other) else None


def _draw(system: AVGN, seen: Glimpse, order: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Corners of the policy branch with their weights; nothing reaches the glance through them."""
    patch, one = system.settings.switches.patch, torch.ones((*order.shape, 1), device=order.device)
    if patch == "random" or (patch == "policy" and not trains(system.policy)):
        chance = torch.rand((*order.shape, 1, 2), generator=rng, device=rng.device)
        return chance.to(order.device), one
    if patch != "policy":
        return torch.full((*order.shape, 1, 2), 0.5, device=order.device), one
    maps = system.enhance(_cut(seen), order, torch.ones_like(order, dtype=torch.bool), spend=FREE)
    if isinstance(system.policy, HeatmapPolicy):
        return system.policy.draw(maps, min(2, maps.shape[-1] * maps.shape[-2]), rng)
    return system.policy(maps)[:, :, None], one


def _cut(seen: Glimpse) -> Glimpse:
    """The same without gradient to the glance: cut before AESPA, so that AESPA itself learns."""
    return replace(seen, map=seen.map.detach(), picture=seen.picture.detach(), sound=seen.sound.detach())


def _branches(lesson: Lesson) -> list[Tensor]:
    return [lesson.near] if lesson.other is None else [lesson.near, lesson.other]


def _prefix(system: AVGN, lesson: Lesson) -> Tensor:
    each = [
        label_loss(
            system.classifier(system.fuse(lesson.seen, lesson.order, x)), lesson.y, present=lesson.shown
        )
        for x in _branches(lesson)
    ]
    return torch.stack(each).mean()


def _auxiliary(system: AVGN, lesson: Lesson, epoch: int) -> dict[str, Tensor]:
    """The heads on each encoder, everywhere or at the first quarter of the snippets looked at alone."""
    w, seen, order = system.settings.switches, lesson.seen, lesson.order
    counted = torch.ones_like(order, dtype=torch.bool)
    here = torch.ones_like(seen.visible)
    if w.auxiliary_at == "salient" and epoch >= w.order_warmup:
        first = max(1, system.max_k // 4)
        counted = (torch.arange(order.shape[1], device=order.device) < first).expand_as(order)
        here = unordered(counted, order, here, fill=0.0)
    terms = {}
    if trains(system.head_picture):
        logits = system.head_picture(seen.picture)
        terms["picture"] = label_loss(logits, lesson.y, present=seen.visible & here)
    if trains(system.head_sound):
        logits = system.head_sound(seen.sound)
        terms["sound"] = label_loss(logits, lesson.y, present=seen.audible & here)
    if closely(system):
        present = lesson.shown & counted
        each = [label_loss(system.head_focus(x), lesson.y, present=present) for x in _branches(lesson)]
        terms["focus"] = torch.stack(each).mean()
    return {name: w.auxiliary * term for name, term in terms.items()}


def teaching(system: AVGN, lesson: Lesson) -> tuple[Tensor | None, Tensor | None]:
    """What saliency learns from: confidence (B, L) in what is true, and a loss of the teacher.

    Lines learn from the labels alone: of them there is no confidence, but for a teacher that is trained.
    """
    fused_teacher = system.settings.switches.teacher == "fused"
    if isinstance(system.saliency, SnippetEvidence) and not fused_teacher:
        return None, None
    seen, order, y = lesson.seen, lesson.order, lesson.y
    heard = along(seen.audible, order)
    looked = lesson.shown & closely(system)
    if fused_teacher:
        fused = system.head_fused(system.fuse(seen, order, lesson.near * lesson.shown[..., None]))
        taught = label_loss(fused, y, present=lesson.shown | heard)
        return teacher_confidence(fused, y), taught
    heads = [
        (system.head_picture(along(seen.picture, order)), lesson.shown),
        (system.head_sound(along(seen.sound, order)), heard),
        (system.head_focus(lesson.near), looked),
    ]
    return teacher_confidence(mean_logits(heads), y), None


def _masked(system: AVGN, lesson: Lesson, rng: torch.Generator) -> Tensor:
    """Rebuilding what was hidden: picture tokens in AV-TeST (M1), cells of the moments in AESPA (M2)."""
    w, seen = system.settings.switches, lesson.seen
    if w.masked_form == "m1":
        assert isinstance(system.saliency, AVTeST)  # asked of nothing else
        sound = seen.sound if w.hear_choose else None
        return system.saliency.masked_loss(seen.picture, sound, rng=rng, visible=seen.visible)
    cut, attention = _cut(seen), system.attention
    assert isinstance(attention, TransformerAESPA)  # the settings say so
    rows = lesson.shown.nonzero()[:, 0]
    if not len(rows):
        return seen.map.sum() * 0.0
    maps = along(cut.map, lesson.order)[lesson.shown]
    loss: Tensor = system.hidden_cells(attention, maps, attention.memory(cut.sound)[rows], rng)
    return loss
