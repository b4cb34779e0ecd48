"""AVGN: glance at sight and sound cheaply, focus on K moments and one patch in each.

Paper: Audio-Visual Glance Network (ICCV 2023). Read beside it:
  light encoders of both -> AVGN.glance      saliency (AV-TeST)  -> AVGN.choose
  patch policy (AESPA)   -> AVGN.aim         heavy encoder       -> AVGN.focus
  fusion and classes     -> AVGN.answer      every loss          -> avgn_losses
  views, looks one by one -> avgn_looks       frozen encoders, once -> avgn_known
  glances, few pictures  -> avgn_few          half of the glance first   -> avgn_halves
Differs from the paper, or fills what it leaves open:
  - widths, loss weights, rates and the log-mel recipe are ours: the paper's are not published;
  - with the heat-map policy both branches (policy and random patches) go through the focus encoder in one
    batch: its batch norm sees them mixed;
  - missing sight or sound is a learned vector, trained by dropping whole modalities (DropPathway);
  - snippets without a picture rank after all others: they may be salient, but cannot be looked at;
  - ``policy="heatmap"`` (the nano preset) draws two cells of the enhanced map in training and averages the
    features of both patches, so that the classification losses say which cell was better.
Settings and switches: ``avgn_settings``; what tells that none of the classes is there: ``avgn_familiar``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor

from avglance.parts.aespa import CellsHidden, TransformerAESPA, build_aespa
from avglance.parts.clips import Clips
from avglance.parts.crop import corner_to_box, crop, resize_torch
from avglance.parts.evidence import SnippetEvidence
from avglance.parts.familiar import Familiar
from avglance.parts.fusion import PrefixClassifier
from avglance.parts.heads import AuxHead, NoPicture, NoSound
from avglance.parts.meter import Meter, Unmetered
from avglance.parts.policy import HeatmapPolicy, RecurrentPolicy, box_cell
from avglance.parts.saliency import AVTeST, Saliency, pick_moments
from avglance.systems.avgn_familiar import fit_familiar, how_known
from avglance.systems.avgn_few import glance_at, with_few
from avglance.systems.avgn_halves import dense_in_halves, recognise_in_halves
from avglance.systems.avgn_known import ask_beforehand
from avglance.systems.avgn_looks import ORDERS, Glimpse, Looks, look_closely, random_corners
from avglance.systems.avgn_losses import avgn_losses
from avglance.systems.avgn_settings import AVGNSettings
from avglance.systems.avgn_stages import avgn_stages
from avglance.systems.base import (
    Decision,
    Stage,
    Steering,
    System,
    along,
    behind,
    close_look_macs,
    flat_places,
    seeded_layers,
    spread,
    unordered,
)
from avglance.systems.encoders import build_encoder, freeze_encoders
from avglance.systems.labels import mean_evidence, precise, start_at_share
from avglance.types import Stopping
from avglance.views import View, check_pictures


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
        self.encode_picture = build_encoder(s.picture, "picture", s.glance_side, pretrained=s.pretrained)
        self.encode_sound = build_encoder(s.sound, "sound", pretrained=s.pretrained)
        self.encode_focus = build_encoder(s.focus, "focus", s.patch_side, pretrained=s.pretrained)
        v, a, near = (e.width for e in (self.encode_picture, self.encode_sound, self.encode_focus))
        self.sees_squares = getattr(self.encode_focus, "size", None) is None  # not built for patches alone
        self.no_picture, self.no_sound = NoPicture(v), NoSound(a)
        self.saliency: AVTeST | SnippetEvidence
        if s.switches.chooser == "evidence":
            self.saliency = SnippetEvidence(
                v, a, s.classes, hide=s.drop_features, hear=s.choose_hear, alone=s.choose_alone
            )
        else:
            wide, hide = s.choose_hidden, s.drop_features
            self.saliency = AVTeST(v, a, s.classes, s.choose_width, hidden=wide, hide=hide)
        side = s.cells or self.encode_picture.map_side(s.glance_side)
        self.attention = build_aespa(s.switches.aim_form, v, a, side, width=s.aim_width, hidden=s.aim_hidden)
        if s.switches.masked_form == "m2" and isinstance(self.attention, TransformerAESPA):
            self.hidden_cells = CellsHidden(s.aim_width)
        recurrent = RecurrentPolicy(v, side, hidden=s.policy_width) if s.policy == "recurrent" else None
        self.policy: RecurrentPolicy | HeatmapPolicy = recurrent or HeatmapPolicy(v, side)
        self.classifier = PrefixClassifier(
            (v, a, near), s.answer_width, s.classes, s.looks,
            dropout=s.dropout, rank=s.fusion_rank, pool=s.answer_pool,
        )  # fmt: skip
        self.head_picture = AuxHead(v, s.classes, dropout=s.dropout)
        self.head_sound = AuxHead(a, s.classes, dropout=s.dropout)
        self.head_focus = AuxHead(near, s.classes, dropout=s.dropout)
        self.familiar = Familiar((v, a, near), s.classes, s.familiar) if s.compares else None
        if s.switches.teacher == "fused":
            self.head_fused = AuxHead(v + a + near, s.classes, dropout=s.dropout)
        if s.labels == "several":
            heads = (part for name, part in self.named_children() if name.startswith("head_"))
            speaks = self.saliency.classify if isinstance(self.saliency, AVTeST) else self.saliency.see
            start_at_share(speaks, *self.classifier.heads, *heads)
        freeze_encoders(self, s.encoder_rate)

    # ---- the stages: dense or sparse, the same arithmetic ----

    def glance(
        self, pictures: Tensor, sounds: Tensor, visible: Tensor, audible: Tensor, *, spend: Meter | Unmetered
    ) -> Glimpse:
        """Light features of pictures (n, 3, G, G) and sounds (m, 1, F, M).

        The rows are those of all places, or of the places set in the masks (B, T), video by video.
        """
        maps, v = self.see(pictures, visible, spend=spend)
        heard = self.hear(sounds, audible, spend=spend)
        return self.glimpse(maps, v, heard, visible, audible)

    def see(self, pictures: Tensor, visible: Tensor, *, spend: Meter | Unmetered) -> tuple[Tensor, Tensor]:
        """Maps and vectors of pictures (n, 3, G, G), the rows of the places set in the mask (B, T)."""
        maps, v = spend.run("glance", self.encode_picture, pictures, rows=visible.nonzero()[:, 0])
        return (F.adaptive_avg_pool2d(maps, self.settings.cells) if self.settings.cells else maps), v

    def hear(self, sounds: Tensor, audible: Tensor, *, spend: Meter | Unmetered) -> Tensor:
        """Vectors (B, T, Da) of sounds (m, 1, F, M), the rows of the places set in the mask (B, T)."""
        _, a = spend.run("glance", self.encode_sound, sounds, rows=audible.nonzero()[:, 0])
        heard: Tensor = self.no_sound(spread(a, audible), audible)
        return heard

    def glimpse(self, maps: Tensor, v: Tensor, heard: Tensor, visible: Tensor, audible: Tensor) -> Glimpse:
        """What was seen, rows at their places, beside what was heard (B, T, Da)."""
        v = self.no_picture(spread(v, visible), visible)
        return Glimpse(spread(maps, visible), v, heard, visible, audible)

    def choose(self, seen: Glimpse, *, spend: Meter | Unmetered, rows: Tensor | None = None) -> Saliency:
        """Saliency of every snippet, by AV-TeST or by evidence; of all videos, or those numbered ``rows``."""
        picture, sound = seen.picture, seen.sound
        if rows is None:
            rows = torch.arange(len(picture))
        else:
            picture, sound = picture[rows], sound[rows]
        heard = sound if self.settings.switches.hear_choose else None
        found: Saliency = spend.run("choose", self.saliency, picture, heard, rows=rows)
        return found

    def rank(self, saliency: Tensor, visible: Tensor, k: int, *, told: Steering | None = None) -> Tensor:
        """The first ``k`` visible snippets of the order (B, K); if there are fewer, invisible ones follow."""
        return pick_moments(behind(self.scores(saliency, told=told), visible), k)

    def scores(self, saliency: Tensor, *, told: Steering | None = None) -> Tensor:
        """What orders the snippets (B, T), highest first; moments that are told come before all others."""
        by, score = self.settings.switches.order, saliency.detach()
        if by != "saliency":
            score = -torch.tensor(ORDERS[by](self.max_k), device=score.device).argsort().float()
            score = score.expand_as(saliency)
        if told is not None and told.moments is not None:
            score = score + told.moments * (2 + score.amax(1, keepdim=True) - score.amin(1, keepdim=True))
        return score

    def remember(self, seen: Glimpse, looked: Tensor, *, spend: Meter | Unmetered) -> Tensor:
        """What AESPA keeps of the sounds of each video that is looked at closely, (B, T, .)."""
        active = looked.any(1)
        kept = spend.run(
            "aim", self.attention, seen.sound[active], rows=active.nonzero()[:, 0], method="memory"
        )
        return spread(kept, active)

    def enhance(
        self,
        seen: Glimpse,
        order: Tensor,
        looked: Tensor,
        *,
        spend: Meter | Unmetered,
        memory: Tensor | None = None,
    ) -> Tensor:
        """Maps of the moments after AESPA, (B, K, D, h, w): the sound of the whole video enters each."""
        maps = along(seen.map, order)
        if not self.settings.switches.hear_aim or not bool(looked.any()):
            return maps
        rows = looked.nonzero()[:, 0]
        memory = (self.remember(seen, looked, spend=spend) if memory is None else memory)[rows]  # (n, T, .)
        if not self.attention.whole_video:
            memory = memory[torch.arange(len(rows)), order[looked]][:, None]  # the snippet's own sound
        return spread(spend.run("aim", self.attention, maps[looked], memory, rows=rows), looked)

    def aim(
        self,
        seen: Glimpse,
        order: Tensor,
        looked: Tensor,
        *,
        spend: Meter | Unmetered,
        told: Steering | None = None,
        past: tuple[Tensor | None, Tensor | None] = (None, None),
    ) -> tuple[Tensor, Tensor | None]:
        """Boxes of the patches, xyxy fractions (B, K, 4), and what the policy remembers of these moments.

        What is ``told`` is aimed at; ``past`` are the memories of AESPA and of the policy, where there are
        moments before these.
        """
        s, patch, state = self.settings, self.settings.switches.patch, past[1]
        if patch in ("whole", "none"):
            return torch.tensor([0.0, 0.0, 1.0, 1.0], device=order.device).expand(*order.shape, 4), state
        if patch == "centre" or not bool(looked.any()):
            corner = torch.full((*order.shape, 2), 0.5, device=order.device)
        elif patch == "random":
            corner = random_corners(self.max_k).to(order.device)[order]
        else:
            maps, on = self.enhance(seen, order, looked, spend=spend, memory=past[0]), looked.any(1)
            given, rows = None if state is None else state[on], looked.nonzero()[:, 0]
            found = spend.run(
                "aim", self.policy, maps[on], given, rows=rows, method="steps", row=(maps[:1, :1],)
            )
            corner, state = (spread(x, on) for x in found)
        if told is not None and told.centres is not None:
            corner = told.corners(corner, order, s.patch_side / s.source_side)
        return corner_to_box(corner, s.patch_side, s.source_side), state

    def looked(self, order: Tensor, visible: Tensor) -> Tensor:
        """Which of the moments are looked at closely, bool (B, K)."""
        shown: Tensor = along(visible, order)
        return shown if self.settings.switches.patch != "none" else torch.zeros_like(shown)

    def focus(self, patches: Tensor, *, rows: Tensor, spend: Meter | Unmetered) -> Tensor:
        """Close features (n, D) of patches (n, 3, P, P)."""
        features: Tensor = spend.run("focus", self.encode_focus, patches, rows=rows)[1]
        return features

    def fuse(self, seen: Glimpse, order: Tensor, near: Tensor) -> Tensor:
        """[v ; a ; l] along the order, (B, K, Dv + Da + Dl), the sound by its weight in the answer."""
        s = self.settings
        sound = seen.sound * s.answer_hear if s.switches.hear_answer else torch.zeros_like(seen.sound)
        return torch.cat([along(seen.picture, order), along(sound, order), near], dim=-1)

    def answer(
        self, seen: Glimpse, saliency: Tensor, found: Looks, *, spend: Meter | Unmetered
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Scores after each look (B, K, C), of the prefix heads, evidence (B, T, C), and ``how_known``.

        A video that shows nothing is answered by the sound head, its snippets weighted by saliency; one that
        neither shows nor sounds gets equal scores, 1 / C.
        """
        order, looked, used = found.order, found.looked, found.used
        last = (used.sum(1, keepdim=True) - 1).clamp(min=0)
        step = torch.minimum(torch.arange(order.shape[1], device=last.device), last)
        logits = found.logits[torch.arange(len(order), device=last.device)[:, None], step]

        def ask_head(head: AuxHead, features: Tensor, ran: Tensor) -> Tensor:
            return spread(spend.run("answer", head, features[ran], rows=ran.nonzero()[:, 0]), ran)

        shown = ask_head(self.head_picture, seen.picture, seen.visible)
        heard = ask_head(self.head_sound, seen.sound, seen.audible)
        close = unordered(ask_head(self.head_focus, found.near, looked), order, seen.visible)
        weights = saliency.masked_fill(~seen.audible, -torch.inf).softmax(1).nan_to_num(0.0)
        by_ear = (weights[..., None] * heard).sum(1, keepdim=True)
        if self.labels == "several":  # logits of 0 would say yes to half of what was neither seen nor heard
            by_ear = by_ear - ~seen.audible.any(1)[:, None, None] * math.log(self.classes - 1)
        logits = torch.where(used.any(1)[:, None, None], logits, by_ear)
        closely = unordered(looked, order, seen.visible)
        ran = [(shown, seen.visible), (heard, seen.audible), (close, closely)]
        known = how_known(self, seen, found, logits, spend=spend)
        return precise(logits, self.labels), mean_evidence(ran, self.labels), known

    def decide(
        self, seen: Glimpse, saliency: Tensor, whole: Tensor, found: Looks, *, spend: Meter | Unmetered
    ) -> Decision:
        """``whole`` is the order (B, K), of which the first were found, as many as there are pictures."""
        order, looked = found.order, found.looked
        prefix, evidence, known = self.answer(seen, saliency, found, spend=spend)
        after = torch.arange(whole.shape[1], device=order.device).clamp(max=order.shape[1] - 1)
        prefix, known = prefix[:, after], None if known is None else known[:, after]
        boxes = found.boxes.masked_fill(~looked[..., None], torch.nan)
        placed = unordered(boxes, order, seen.visible, fill=torch.nan)
        closely = unordered(looked, order, seen.visible)
        scores = prefix[:, -1].to(saliency)
        return Decision(scores, saliency, closely, whole, placed, evidence, prefix, known)

    # ---- the two ways through ----

    def forward(self, clips: Clips, k: int) -> Decision:
        """The dense answer of ``k`` looks a video."""
        seen, saliency, whole, found = self.look(clips, k)
        return self.decide(seen, saliency, whole, found, spend=Unmetered())

    def look(self, clips: Clips, k: int) -> tuple[Glimpse, Tensor, Tensor, Looks]:
        """What is seen, its saliency (B, T), the order (B, K), and the ``k`` looks a video: dense."""
        self.check_clips(clips)
        free = Unmetered()
        seen = self.glance_clips(clips, clips.visible, clips.audible)
        pictures = self.pictures()
        seen = with_few(self, seen, pictures) if pictures < self.max_k else seen
        saliency = self.choose(seen, spend=free).logits
        whole = self.rank(saliency, seen.visible, self.check_budget(k))
        order = whole[:, :pictures]
        looked = self.looked(order, seen.visible)
        boxes, _ = self.aim(seen, order, torch.ones_like(looked), spend=free)
        near = torch.zeros((*order.shape, self.encode_focus.width), device=order.device)
        if self.settings.switches.patch != "none":
            index = flat_places(order, clips.snippets).flatten()
            near = self.focus_clips(clips, boxes.flatten(0, 1), index)
            near = near.reshape(*order.shape, -1) * looked[..., None]
        used, logits = along(seen.visible, order), self.classifier(self.fuse(seen, order, near))
        return seen, saliency, whole, Looks(order, used, looked, boxes, near, logits)

    def fit_familiar(self, batches: Iterable[Clips], k: int) -> None:  # noqa: D102
        fit_familiar(self, batches, k)

    def glance_clips(self, clips: Clips, visible: Tensor, audible: Tensor) -> Glimpse:
        """Light features of all of a batch; what the masks (B, T) leave out is taken for missing."""
        visible, audible = visible & self.settings.switches.see, audible & self.settings.switches.listens
        if clips.known:
            maps, v, a = (clips.known[name].float() for name in ("map", "picture", "sound"))
            return Glimpse(maps, self.no_picture(v, visible), self.no_sound(a, audible), visible, audible)
        pictures, sounds = resize_torch(clips.pictures.flatten(0, 1), self.settings.glance_side), clips.sounds
        return self.glance(pictures, sounds.flatten(0, 1), visible, audible, spend=Unmetered())

    def focus_clips(self, clips: Clips, boxes: Tensor, index: Tensor) -> Tensor:
        """Close features (n, D) of the boxes (n, 4) in the batch's pictures number ``index`` (n,).

        Of what is known, those of the cell of the map that lies nearest.
        """
        if clips.known:
            return clips.known["cells"].flatten(0, 1)[index, box_cell(boxes, self.policy.size)].float()
        patches = crop(clips.pictures.flatten(0, 1), boxes, self.settings.patch_side, index=index)
        return self.focus(patches, rows=index, spend=Unmetered())

    def pictures(self, asked: int | None = None) -> int:  # noqa: D102
        few = self.settings.glance_pictures if asked is None else asked
        return check_pictures(few, self.max_k, where=self.name)

    @property
    def halves(self) -> bool:  # noqa: D102
        s = self.settings
        return s.switches.see and s.switches.order == "saliency" and not s.glance_pictures and s.snippets > 3

    def in_halves(self, clips: Clips, k: int, halves: int) -> Decision:  # noqa: D102
        self.check_clips(clips)
        return dense_in_halves(self, clips, self.check_budget(k), halves)

    def know(self, clips: Clips) -> dict[str, Tensor]:  # noqa: D102
        return ask_beforehand(self, clips)

    @torch.no_grad()
    def recognise(
        self,
        view: View,
        k: int,
        *,
        meter: Meter | None = None,
        told: Steering | None = None,
        stop: Stopping | None = None,
        glance_pictures: int | None = None,
    ) -> Decision:
        """The answer from a view; patches are asked for at the moments only.

        ``told``: where to look. ``stop``: moments are looked at one after another, while it lets them; by
        half of the glance at first, if it says so, all pictures may be glanced at and nothing is told.
        ``glance_pictures``: how many pictures a video are asked for, 0: all; None: as the settings say.
        """
        k, spend, pictures = self.check_budget(k), meter or Unmetered(), self.pictures(glance_pictures)
        if stop and 0 < stop.halves < k and self.halves and told is None and pictures == self.max_k:
            return recognise_in_halves(self, view, k, stop=stop, spend=spend)
        with spend.clock("glance", view):
            seen = glance_at(self, view, pictures, told=told, spend=spend)
        with spend.clock("choose"):
            saliency = self.choose(seen, spend=spend).logits
            order = self.rank(saliency, seen.visible, k, told=told)
        found = look_closely(self, view, seen, order[:, :pictures], stop=stop, told=told, spend=spend)
        with spend.clock("answer"):
            return self.decide(seen, saliency, order, found, spend=spend)

    # ---- training ----

    def losses(self, clips: Clips, *, rng: torch.Generator, epoch: int) -> dict[str, Tensor]:
        """Named, weighted terms: prefix, picture, sound, focus, saliency, ordered, masked (and teacher)."""
        self.check_clips(clips)
        with seeded_layers(rng, clips.device):
            return avgn_losses(self, clips, rng=rng, epoch=epoch)

    def stages(self) -> list[Stage]:
        """One stage, all parts together; or first the glance, then the focus, then all, by their shares."""
        return avgn_stages(self.settings)

    def whole_macs(self) -> int:
        """Multiply-adds of a close look at every snippet's whole source square, and of its sound."""
        s = self.settings
        return close_look_macs(self.encode_focus, self.encode_sound, snippets=s.snippets, side=s.source_side)
