"""AVGN: glance at sight and sound cheaply, focus on K moments and one patch in each.

Paper: Audio-Visual Glance Network (ICCV 2023). Read beside it:
  light encoders of both -> AVGN.glance      saliency (AV-TeST)  -> AVGN.choose
  patch policy (AESPA)   -> AVGN.aim         heavy encoder       -> AVGN.focus
  fusion and classes     -> AVGN.answer      every loss          -> AVGN.losses
Differs from the paper, or fills what it leaves open:
  - widths, loss weights, rates and the log-mel recipe are ours: the paper's are not published;
  - with the heat-map policy both branches (policy and random patches) go through the focus encoder in one
    batch: its batch norm sees them mixed;
  - missing sight or sound is a learned vector, trained by dropping whole modalities (DropPathway);
  - snippets without a picture rank after all others: they may be salient, but cannot be looked at;
  - ``policy="heatmap"`` (the nano preset) draws two cells of the enhanced map in training and averages the
    features of both patches, so that the classification losses say which cell was better.
Settings and switches: ``avgn_settings``.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from avglance.parts.attention import AESPA
from avglance.parts.clips import Clips
from avglance.parts.crop import corner_to_box, crop, resize_torch
from avglance.parts.fusion import PrefixClassifier
from avglance.parts.heads import AuxHead, NoPicture, NoSound
from avglance.parts.losses import (
    classification,
    draw_labels,
    mean_logits,
    ordered_loss,
    saliency_loss,
    saliency_target,
    teacher_confidence,
)
from avglance.parts.meter import Meter, Unmetered, crop_macs, resize_macs
from avglance.parts.policy import HeatmapPolicy, RecurrentPolicy
from avglance.parts.saliency import AVTeST, Saliency, pick_moments
from avglance.systems.avgn_settings import AVGNSettings
from avglance.systems.base import (
    Decision,
    Group,
    Stage,
    System,
    along,
    ask,
    build_encoder,
    close_look_macs,
    coarse_to_fine,
    drop_videos,
    flat_places,
    mean_evidence,
    seeded_layers,
    spread,
    to_tensor,
    unordered,
)
from avglance.views import LOGMEL_MACS, View


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


class AVGN(System):
    """Audio-Visual Glance Network.

    Inputs and the named result: ``System``. At the paper's settings (T=16, K=8, P=128, C=200) an answer takes
    17,126,434,816 multiply-adds; the meter adds to them the auxiliary heads, the log-mel front end and the
    crops. Reproduced: the data flow and every kind of loss. Not reproduced: results (we know of no published
    figures).
    """

    Settings = AVGNSettings

    def __init__(self, settings: AVGNSettings) -> None:
        super().__init__()
        s = self.settings = settings
        self.classes, self.view_settings, self.max_k = s.classes, s.view, s.snippets
        self.encode_picture = build_encoder(s.picture, "picture", pretrained=s.pretrained)
        self.encode_sound = build_encoder(s.sound, "sound", pretrained=s.pretrained)
        self.encode_focus = build_encoder(s.focus, "focus", pretrained=s.pretrained)
        v, a, near = (e.width for e in (self.encode_picture, self.encode_sound, self.encode_focus))
        self.no_picture, self.no_sound = NoPicture(v), NoSound(a)
        self.saliency = AVTeST(v, a, s.classes, width=s.choose_width, hidden=s.choose_hidden)
        side = self.encode_picture.map_side(s.glance_side)
        self.attention = AESPA(v, a, side, width=s.aim_width, hidden=s.aim_hidden)
        self.policy: RecurrentPolicy | HeatmapPolicy
        if s.policy == "recurrent":
            self.policy = RecurrentPolicy(v, side, hidden=s.policy_width)
        else:
            self.policy = HeatmapPolicy(v, side)
        self.classifier = PrefixClassifier(
            v + a + near, s.answer_width, s.classes, s.snippets, dropout=s.dropout
        )
        self.head_picture = AuxHead(v, s.classes, dropout=s.dropout)
        self.head_sound = AuxHead(a, s.classes, dropout=s.dropout)
        self.head_focus = AuxHead(near, s.classes, dropout=s.dropout)
        if s.switches.teacher == "fused":
            self.head_fused = AuxHead(v + a + near, s.classes, dropout=s.dropout)

    # ---- the stages: dense or sparse, the same arithmetic ----

    def glance(
        self, pictures: Tensor, sounds: Tensor, visible: Tensor, audible: Tensor, *, spend: Meter | Unmetered
    ) -> Glimpse:
        """Light features of pictures (n, 3, G, G) and sounds (m, 1, F, M).

        The rows are those of all places, or of the places set in the masks (B, T), video by video.
        """
        maps, v = spend.run("glance", self.encode_picture, pictures, rows=visible.nonzero()[:, 0])
        _, a = spend.run("glance", self.encode_sound, sounds, rows=audible.nonzero()[:, 0])
        return Glimpse(
            spread(maps, visible),
            self.no_picture(spread(v, visible), visible),
            self.no_sound(spread(a, audible), audible),
            visible,
            audible,
        )

    def choose(self, seen: Glimpse, *, spend: Meter | Unmetered) -> Saliency:
        """Saliency of every snippet, by AV-TeST."""
        rows = torch.arange(len(seen.visible))
        sound = seen.sound if self.settings.switches.hear_choose else None
        found: Saliency = spend.run("choose", self.saliency, seen.picture, sound, rows=rows)
        return found

    def rank(self, score: Tensor, visible: Tensor, k: int) -> Tensor:
        """The ``k`` best visible snippets, best first (B, K); if there are fewer, invisible ones follow."""
        return pick_moments(score.detach().masked_fill(~visible, -torch.inf), k)

    def enhance(self, seen: Glimpse, order: Tensor, looked: Tensor, *, spend: Meter | Unmetered) -> Tensor:
        """Maps of the moments after AESPA, (B, K, D, h, w): the sound of the whole video enters each."""
        maps = along(seen.map, order)
        if not self.settings.switches.hear_aim or not bool(looked.any()):
            return maps
        active = looked.any(1)
        memory = spend.run(
            "aim", self.attention, seen.sound[active], rows=active.nonzero()[:, 0], method="memory"
        )
        rows = looked.nonzero()[:, 0]
        memory = memory[(active.cumsum(0) - 1)[rows]]
        return spread(spend.run("aim", self.attention, maps[looked], memory, rows=rows), looked)

    def aim(self, seen: Glimpse, order: Tensor, looked: Tensor, *, spend: Meter | Unmetered) -> Tensor:
        """Boxes of the patches, xyxy fractions (B, K, 4)."""
        s = self.settings
        if s.switches.patch == "centre":
            corner = torch.full((*order.shape, 2), 0.5, device=order.device)
        else:
            maps = self.enhance(seen, order, looked, spend=spend)
            method = "best" if s.policy == "heatmap" else "forward"
            rows = looked.nonzero()[:, 0]
            corner = spend.run("aim", self.policy, maps, rows=rows, method=method, row=(maps[:1, :1],))
        return corner_to_box(corner, s.patch_side, s.source_side)

    def focus(self, patches: Tensor, *, rows: Tensor, spend: Meter | Unmetered) -> Tensor:
        """Close features (n, D) of patches (n, 3, P, P)."""
        features: Tensor = spend.run("focus", self.encode_focus, patches, rows=rows)[1]
        return features

    def fuse(self, seen: Glimpse, order: Tensor, near: Tensor) -> Tensor:
        """[v ; a ; l] along the order, (B, K, Dv + Da + Dl)."""
        sound = seen.sound if self.settings.switches.hear_answer else torch.zeros_like(seen.sound)
        return torch.cat([along(seen.picture, order), along(sound, order), near], dim=-1)

    def answer(
        self, seen: Glimpse, saliency: Tensor, order: Tensor, looked: Tensor, near: Tensor,
        *, spend: Meter | Unmetered,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        """Scores (B, C) of the prefix head of the last look, and evidence (B, T, C).

        A video that shows nothing is answered by the sound head, its snippets weighted by saliency; one that
        neither shows nor sounds gets equal scores.
        """
        fused = self.fuse(seen, order, near)
        rows = looked.nonzero()[:, 0]
        prefix = spend.run("answer", self.classifier, fused, rows=rows, row=(fused[:1, :1],))
        last = (looked.sum(1) - 1).clamp(min=0)
        logits = prefix[torch.arange(len(order), device=last.device), last]

        def ask_head(head: AuxHead, features: Tensor, ran: Tensor) -> Tensor:
            return spread(spend.run("answer", head, features[ran], rows=ran.nonzero()[:, 0]), ran)

        shown = ask_head(self.head_picture, seen.picture, seen.visible)
        heard = ask_head(self.head_sound, seen.sound, seen.audible)
        close = unordered(ask_head(self.head_focus, near, looked), order, seen.visible)
        weights = saliency.masked_fill(~seen.audible, -torch.inf).softmax(1).nan_to_num(0.0)
        by_ear = (weights[..., None] * heard).sum(1)
        logits = torch.where(looked.any(1, keepdim=True), logits, by_ear)
        closely = unordered(looked, order, seen.visible)
        evidence = mean_evidence([(shown, seen.visible), (heard, seen.audible), (close, closely)])
        return logits.softmax(-1), evidence

    def _decide(
        self, seen: Glimpse, saliency: Tensor, order: Tensor, looked: Tensor, boxes: Tensor, near: Tensor,
        *, spend: Meter | Unmetered,
    ) -> Decision:  # fmt: skip
        scores, evidence = self.answer(seen, saliency, order, looked, near, spend=spend)
        boxes = boxes.masked_fill(~looked[..., None], torch.nan)
        placed = unordered(boxes, order, seen.visible, fill=torch.nan)
        return Decision(scores, saliency, unordered(looked, order, seen.visible), order, placed, evidence)

    # ---- the two ways through ----

    def forward(self, clips: Clips, k: int) -> Decision:
        """The dense answer of ``k`` looks a video."""
        self.check_clips(clips)
        free = Unmetered()
        seen = self._glance_clips(clips, clips.visible, clips.audible)
        saliency = self.choose(seen, spend=free).logits
        order = self.rank(saliency, clips.visible, self.check_budget(k))
        looked = along(clips.visible, order)
        boxes = self.aim(seen, order, torch.ones_like(looked), spend=free)
        index = flat_places(order, clips.snippets).flatten()
        patches = crop(
            clips.pictures.flatten(0, 1), boxes.flatten(0, 1), self.settings.patch_side, index=index
        )
        near = self.focus(patches, rows=index, spend=free).reshape(*order.shape, -1)
        near = near * looked[..., None]
        return self._decide(seen, saliency, order, looked, boxes, near, spend=free)

    def _glance_clips(self, clips: Clips, visible: Tensor, audible: Tensor) -> Glimpse:
        audible = audible & self.settings.switches.listens
        pictures = resize_torch(clips.pictures.flatten(0, 1), self.settings.glance_side)
        return self.glance(pictures, clips.sounds.flatten(0, 1), visible, audible, spend=Unmetered())

    @torch.no_grad()
    def recognise(self, view: View, k: int, *, meter: Meter | None = None) -> Decision:
        """The answer from a view; patches are asked for at the moments only."""
        k, spend, s, device = self.check_budget(k), meter or Unmetered(), self.settings, self.device
        with spend.clock("glance", view):
            none = torch.zeros((len(view.times), 0), dtype=torch.int64)
            sounds, audible = ask(view, "sounds", device, among=None if s.switches.listens else none)
            pictures, visible = ask(view, "pictures", device)
            spend.add("glance", LOGMEL_MACS, audible.nonzero()[:, 0])
            spend.add("glance", resize_macs(s.source_side, s.glance_side), visible.nonzero()[:, 0])
            seen = self.glance(pictures, sounds, visible, audible, spend=spend)
        with spend.clock("choose"):
            saliency = self.choose(seen, spend=spend).logits
            order = self.rank(saliency, visible, k)
            looked = along(visible, order)
        with spend.clock("aim"):
            boxes = self.aim(seen, order, looked, spend=spend)
        with spend.clock("focus", view):
            rows = looked.nonzero()[:, 0]
            at = torch.stack([rows, order[looked]], 1).cpu().numpy()
            patches = to_tensor(view.patches(at, boxes[looked].cpu().numpy()), device)
            spend.add("focus", crop_macs(s.patch_side), rows)
            near = spread(self.focus(patches, rows=rows, spend=spend), looked)
        with spend.clock("answer"):
            return self._decide(seen, saliency, order, looked, boxes, near, spend=spend)

    # ---- training ----

    def losses(self, clips: Clips, *, rng: torch.Generator, epoch: int) -> dict[str, Tensor]:
        """Named, weighted terms: prefix, picture, sound, focus, saliency, ordered, masked (and teacher)."""
        self.check_clips(clips)
        with seeded_layers(rng, clips.device):
            return self._losses(clips, rng, epoch)

    def _losses(self, clips: Clips, rng: torch.Generator, epoch: int) -> dict[str, Tensor]:
        s, w, free = self.settings, self.settings.switches, Unmetered()
        audible = drop_videos(clips.audible & w.listens, s.drop_sound, rng)
        visible = drop_videos(clips.visible, s.drop_pictures, rng)
        y = draw_labels(clips.targets, rng)
        seen = self._glance_clips(clips, visible, audible)
        saliency = self.choose(seen, spend=free)
        order = self._training_order(saliency.logits, visible, epoch)
        shown = along(visible, order)
        near, other = self._two_branches(clips, seen, order, rng)  # (B, T, D) each, in order
        first, second = (self.classifier(self.fuse(seen, order, x)) for x in (near, other))
        both = classification(first, y, present=shown) + classification(second, y, present=shown)
        terms = {"prefix": 0.5 * both}
        heads = self.head_picture(seen.picture), self.head_sound(seen.sound), self.head_focus(near)
        if w.auxiliary:
            first = self._auxiliary_places(order, epoch)
            here = unordered(first, order, visible)
            terms["picture"] = w.auxiliary * classification(heads[0], y, present=visible & here)
            terms["sound"] = w.auxiliary * classification(heads[1], y, present=audible & here)
            pair = heads[2], self.head_focus(other)
            terms["focus"] = (
                0.5 * w.auxiliary * sum(classification(x, y, present=shown & first) for x in pair)
            )
        closely = unordered(heads[2], order, visible)
        teacher = mean_logits([(heads[0], visible), (heads[1], audible), (closely, visible)])
        if w.teacher == "fused":
            fused = self.head_fused(self.fuse(seen, order, near * shown[..., None]))
            terms["teacher"] = classification(fused, y, present=shown | along(audible, order))
            teacher = unordered(fused, order, visible)
        if w.saliency:
            target = saliency_target(teacher_confidence(teacher, y), w.tau)
            terms["saliency"] = w.saliency * saliency_loss(saliency.logits, target)
        if w.ordered:
            terms["ordered"] = w.ordered * ordered_loss(saliency.logits, saliency.class_logits, y)
        if w.masked:
            sound = seen.sound if w.hear_choose else None
            terms["masked"] = w.masked * self.saliency.masked_loss(
                seen.picture, sound, rng=rng, visible=visible
            )
        return terms

    def _auxiliary_places(self, order: Tensor, epoch: int) -> Tensor:
        """Which snippets count in the losses of the auxiliary heads: bool (B, T) along the order."""
        w, snippets = self.settings.switches, self.settings.snippets
        if w.auxiliary_at == "all" or epoch < w.order_warmup:
            return torch.ones_like(order, dtype=torch.bool)
        first: Tensor = torch.arange(snippets, device=order.device).expand_as(order) < max(1, snippets // 4)
        return first

    def _training_order(self, saliency: Tensor, visible: Tensor, epoch: int) -> Tensor:
        if epoch >= self.settings.switches.order_warmup:
            return self.rank(saliency, visible, self.max_k)
        score = torch.empty(self.max_k, device=saliency.device)
        score[coarse_to_fine(self.max_k)] = -torch.arange(
            self.max_k, dtype=score.dtype, device=saliency.device
        )
        return self.rank(score.expand_as(saliency), visible, self.max_k)

    def _two_branches(
        self, clips: Clips, seen: Glimpse, order: Tensor, rng: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Close features of the policy's patches and of random ones, (B, T, D) each, along the order."""
        s = self.settings
        corners, weights = self._draw(seen, order, rng)  # (B, T, n, 2), (B, T, n)
        chance = torch.rand((*order.shape, 1, 2), generator=rng, device=rng.device).to(order.device)
        n = corners.shape[2]
        flat = torch.cat([corners.flatten(0, 2), chance.flatten(0, 2)])
        index = flat_places(order, clips.snippets).flatten()
        index = torch.cat([index.repeat_interleave(n), index])
        boxes = corner_to_box(flat, s.patch_side, s.source_side)
        patches = crop(clips.pictures.flatten(0, 1), boxes, s.patch_side, index=index)
        cut = len(index) - order.numel()
        if corners.requires_grad:  # apart, or batch norm would carry the random branch to the policy
            drawn, other = (self.encode_focus(x)[1] for x in (patches[:cut], patches[cut:]))
        else:
            drawn, other = self.encode_focus(patches)[1].tensor_split([cut])
        near = (drawn.reshape(*weights.shape, -1) * weights[..., None]).sum(2)
        return near, other.reshape(*order.shape, -1)

    def _draw(self, seen: Glimpse, order: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Corners of the policy branch with their weights; nothing reaches the glance through them."""
        one = torch.ones((*order.shape, 1), device=order.device)
        if self.settings.switches.patch == "centre":
            return torch.full((*order.shape, 1, 2), 0.5, device=order.device), one
        cut = Glimpse(
            seen.map.detach(), seen.picture.detach(), seen.sound.detach(), seen.visible, seen.audible
        )
        looked = torch.ones_like(order, dtype=torch.bool)
        maps = self.enhance(cut, order, looked, spend=Unmetered())
        if isinstance(self.policy, HeatmapPolicy):
            return self.policy.draw(maps, 2, rng)
        return self.policy(maps)[:, :, None], one

    def stages(self) -> list[Stage]:
        """One stage: all parts together."""
        s = self.settings
        if s.optimiser == "adamw":
            return [Stage("all", (Group(("",), "adamw", s.rate, 0.01, "onecycle"),), batch=s.batch, clip=5.0)]
        fast, slow = ("classifier",), ("encode_picture", "head_picture", "encode_sound", "head_sound", "no_")
        groups = (
            Group(("policy",), "sgd", 0.1 * s.rate, 1e-4, "cosine"),
            Group(slow, "sgd", 0.5 * s.rate, 1e-4, "cosine"),
            Group(("encode_focus", "head_focus", "head_fused"), "sgd", s.rate, 1e-4, "cosine"),
            Group(fast, "sgd", 5 * s.rate, 1e-4, "cosine"),
            Group(("saliency", "attention"), "adamw", 0.1 * s.rate, 0.05, "cosine"),
        )
        return [Stage("all", groups, batch=s.batch)]

    def whole_macs(self) -> int:
        """Multiply-adds of a close look at every snippet's whole source square, and of its sound."""
        s = self.settings
        return close_look_macs(self.encode_focus, self.encode_sound, snippets=s.snippets, side=s.source_side)
