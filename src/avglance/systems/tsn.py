"""TSN with sound: a close look at whole pictures of uniformly spread snippets, answers averaged.

Paper: Temporal Segment Networks (ECCV 2016). Read beside it:
  sparse uniform sampling -> TSN.choose      the network on each snippet -> TSN.focus
  segmental consensus     -> TSN.answer
Differs from the paper: one picture a snippet in place of RGB, difference and flow; the sound of the same
snippet goes through an encoder of its own and is joined to the picture's features before the head; missing
modalities are learned vectors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from avglance.errors import ArgumentError
from avglance.parts.clips import Clips
from avglance.parts.heads import NoPicture, NoSound
from avglance.parts.losses import label_loss, taught_labels
from avglance.parts.meter import Meter, Unmetered
from avglance.systems.base import (
    Decision,
    Group,
    Stage,
    System,
    along,
    ask,
    check_choice,
    check_shares,
    check_weights,
    close_look_macs,
    drop_videos,
    seeded_layers,
    spread,
    unordered,
)
from avglance.systems.encoders import build_encoder, freeze_encoders, with_encoder_rate
from avglance.systems.labels import probabilities, start_at_share
from avglance.types import Labels
from avglance.views import LOGMEL_MACS, View, ViewSettings, expect_pictures


@dataclass(frozen=True)
class TSNSettings:
    """What TSN is built from. Encoders are ``small``, one of ``MOBILENETS`` or the name of a timm model.

    Attributes:
        classes: C.
        snippets: T, which is also the largest budget.
        resize_side: short side of a frame before the centre crop, px.
        source_side: side of the source square, px; whole squares are looked at.
        focus: encoder of pictures.
        sound: encoder of sounds.
        pretrained: start from timm's weights (may download them).
        head_width: hidden layer of the head; 0: linear.
        train_snippets: segments in training, one snippet drawn from each; None: all T.
        listen: hear at all; off, the learned no-sound vector stands for every sound.
        dropout: before the head.
        drop_sound: share of training videos that lose their sound (DropPathway).
        drop_pictures: share of training videos that lose their pictures.
        optimiser: "sgd" with multipliers a part, or "adamw" alike for all.
        rate: learning rate at ``batch`` videos a step.
        encoder_rate: rate of the encoders as a share of what they would have; 0 freezes them.
        batch: the batch that the rate is meant for.
        labels: "one" teaches a softmax one drawn label of each video (the papers' way, whether it has one or
            several); "several" teaches a sigmoid for each class all of them. Scores are of the same kind.
    """

    classes: int = 200
    snippets: int = 16
    resize_side: int = 256
    source_side: int = 224
    focus: str = "resnet50"
    sound: str = "mobilenetv2_100"
    pretrained: bool = False
    head_width: int = 0
    train_snippets: int | None = None
    listen: bool = True
    dropout: float = 0.2
    drop_sound: float = 0.2
    drop_pictures: float = 0.0
    optimiser: Literal["sgd", "adamw"] = "sgd"
    rate: float = 2e-3
    encoder_rate: float = 1.0
    batch: int = 32
    labels: Labels = "one"

    def __post_init__(self) -> None:
        if self.classes < 2:
            raise ArgumentError(f"classes must be at least 2, got {self.classes}", where="TSNSettings")
        if not 1 <= self.snippets <= 32:
            raise ArgumentError(f"snippets must be 1 to 32, got {self.snippets}", where="TSNSettings")
        if self.train_snippets is not None and not 1 <= self.train_snippets <= self.snippets:
            raise ArgumentError(
                f"train_snippets must be 1 to {self.snippets}, got {self.train_snippets}", where="TSNSettings"
            )
        check_choice(self, optimiser=("sgd", "adamw"), labels=("one", "several"))
        check_shares(self, "dropout", "drop_sound", "drop_pictures")
        check_weights(self, "encoder_rate")

    @classmethod
    def paper(cls) -> TSNSettings:
        """A ResNet-50 on whole pictures, a MobileNetV2 on sound."""
        return cls()

    @classmethod
    def nano(cls) -> TSNSettings:
        """The small encoders of ``avgn_nano``, on its whole source squares."""
        return cls(
            resize_side=240, source_side=240, focus="small", sound="small", head_width=128, train_snippets=4,
            drop_pictures=0.05, optimiser="adamw", rate=3e-3, batch=24,
        )  # fmt: skip

    @classmethod
    def mobile(cls) -> TSNSettings:
        """The close look and the sound encoder of ``avgn_mobile``, on whole source squares."""
        return cls(
            resize_side=224, source_side=224, focus="mobilenetv2_100_same", sound="yamnet", head_width=256,
            dropout=0.5, drop_sound=0.3, drop_pictures=0.05, optimiser="adamw", rate=1e-3,
            encoder_rate=0.0, batch=32,
        )  # fmt: skip

    @property
    def view(self) -> ViewSettings:
        """How TSN wants its videos: its "glance" is the whole source square."""
        return ViewSettings(
            snippets=self.snippets, resize_side=self.resize_side, source_side=self.source_side,
            glance_side=self.source_side, patch_side=self.source_side,
        )  # fmt: skip


class TSN(System):
    """Temporal segment network with sound, on all T snippets or on a uniform K of them.

    Inputs and the named result: ``System``. Saliency is flat (it chooses nothing); ``looked`` are the
    snippets used, their boxes the whole square. At the paper's settings a snippet takes 4,122,924,288
    multiply-adds in its convolutions. Snippets of which nothing is left are not averaged, unless there are no
    others.
    """

    Settings = TSNSettings

    def __init__(self, settings: TSNSettings) -> None:
        super().__init__()
        s = self.settings = settings
        self.classes, self.view_settings, self.max_k = s.classes, s.view, s.snippets
        self.encode_focus = build_encoder(s.focus, "focus", s.source_side, pretrained=s.pretrained)
        self.encode_sound = build_encoder(s.sound, "sound", pretrained=s.pretrained)
        v, a = self.encode_focus.width, self.encode_sound.width
        self.no_picture, self.no_sound = NoPicture(v), NoSound(a)
        hidden = [nn.Linear(v + a, s.head_width), nn.ReLU()] if s.head_width else []
        last = nn.Linear(s.head_width or v + a, s.classes)
        self.head = nn.Sequential(*hidden, nn.Dropout(s.dropout), last)
        if s.labels == "several":
            start_at_share(self.head)
        freeze_encoders(self, s.encoder_rate)

    def choose(self, videos: int, k: int) -> Tensor:
        """Uniform snippets, floor((2 i + 1) T / (2 k)), the same for each video: int64 (B, K)."""
        chosen = (2 * torch.arange(k, device=self.device) + 1) * self.max_k // (2 * k)
        return chosen.expand(videos, k)

    def focus(
        self, pictures: Tensor, sounds: Tensor, visible: Tensor, audible: Tensor, *, spend: Meter | Unmetered
    ) -> Tensor:
        """[l ; a], shape (B, N, D), of pictures (n, 3, S, S) and sounds (m, 1, F, M).

        The rows are those of all places, or of the places set in the masks (B, N), video by video.
        """
        _, v = spend.run("focus", self.encode_focus, pictures, rows=visible.nonzero()[:, 0])
        _, a = spend.run("focus", self.encode_sound, sounds, rows=audible.nonzero()[:, 0])
        return self._joined(spread(v, visible), spread(a, audible), visible, audible)

    def _joined(self, v: Tensor, a: Tensor, visible: Tensor, audible: Tensor) -> Tensor:
        return torch.cat([self.no_picture(v, visible), self.no_sound(a, audible)], dim=-1)

    def answer(self, features: Tensor, used: Tensor, *, spend: Meter | Unmetered) -> tuple[Tensor, Tensor]:
        """Logits (B, C), averaged over the snippets in use (B, N), and those of each snippet (B, N, C)."""
        used = used | ~used.any(1, keepdim=True)
        rows = used.nonzero()[:, 0]
        each = spread(spend.run("answer", self.head, features[used], rows=rows), used)
        return each.sum(1) / used.sum(1, keepdim=True), each

    def _decide(
        self, features: Tensor, order: Tensor, visible: Tensor, audible: Tensor, *, spend: Meter | Unmetered
    ) -> Decision:
        used = visible | audible
        logits, each = self.answer(features, used, spend=spend)
        all_snippets = torch.zeros(len(order), self.max_k, device=order.device)
        evidence = unordered(probabilities(each, self.labels) * used[..., None], order, all_snippets)
        looked = unordered(visible, order, all_snippets)
        whole = torch.tensor([0.0, 0.0, 1.0, 1.0], device=order.device).expand(*looked.shape, 4)
        boxes = whole.masked_fill(~looked[..., None], torch.nan)
        scores = probabilities(logits, self.labels)
        return Decision(scores, all_snippets, looked, order, boxes, evidence)

    def forward(self, clips: Clips, k: int) -> Decision:
        """The dense answer of ``k`` uniform snippets."""
        self.check_clips(clips)
        order = self.choose(len(clips), self.check_budget(k))
        some, free = clips.at(order), Unmetered()
        audible = some.audible & self.settings.listen
        features = self._features(some, some.visible, audible)
        return self._decide(features, order, some.visible, audible, spend=free)

    def _features(self, clips: Clips, visible: Tensor, audible: Tensor) -> Tensor:
        if clips.known:
            v, a = (clips.known[name].float() for name in ("focus", "sound"))
            return self._joined(v, a, visible, audible)
        pictures, sounds = clips.pictures.flatten(0, 1), clips.sounds.flatten(0, 1)
        return self.focus(pictures, sounds, visible, audible, spend=Unmetered())

    @torch.no_grad()
    def know(self, clips: Clips) -> dict[str, Tensor]:
        """Features of whole squares (focus), (B, T, Dl), and of sounds, (B, T, Da)."""
        lead = len(clips), clips.snippets
        v, a = (
            self.encode_focus(clips.pictures.flatten(0, 1))[1],
            self.encode_sound(clips.sounds.flatten(0, 1))[1],
        )
        return {"focus": v.unflatten(0, lead), "sound": a.unflatten(0, lead)}

    @torch.no_grad()
    def recognise(self, view: View, k: int, *, meter: Meter | None = None) -> Decision:
        """The answer from a view: only the chosen snippets are asked for."""
        k, spend = self.check_budget(k), meter or Unmetered()
        order = self.choose(len(view.times), k)
        with spend.clock("focus", view):
            heard = order if self.settings.listen else order[:, :0]
            expect_pictures(view, among=order.cpu().numpy())
            sounds, audible = ask(view, "sounds", self.device, among=heard)
            pictures, visible = ask(view, "pictures", self.device, among=order)
            spend.add("focus", LOGMEL_MACS, audible.nonzero()[:, 0])
            visible, audible = along(visible, order), along(audible, order)
            features = self.focus(pictures, sounds, visible, audible, spend=spend)
        with spend.clock("answer"):
            return self._decide(features, order, visible, audible, spend=spend)

    def losses(self, clips: Clips, *, rng: torch.Generator, epoch: int) -> dict[str, Tensor]:
        """Cross entropy (of several labels: binary) of the averaged answer."""
        self.check_clips(clips)
        some = clips.at(self._segments(len(clips), rng).to(clips.device))
        audible = drop_videos(some.audible & self.settings.listen, self.settings.drop_sound, rng)
        visible = drop_videos(some.visible, self.settings.drop_pictures, rng)
        y = taught_labels(clips.targets, self.labels, rng)
        with seeded_layers(rng, clips.device):
            features = self._features(some, visible, audible)
            logits, _ = self.answer(features, visible | audible, spend=Unmetered())
        return {"answer": label_loss(logits, y)}

    def _segments(self, videos: int, rng: torch.Generator) -> Tensor:
        """One snippet from each of N equal segments, drawn anew for each video: int64 (B, N)."""
        n = self.settings.train_snippets or self.max_k
        edges = torch.arange(n + 1) * self.max_k // n
        draw = torch.rand(videos, n, generator=rng, device=rng.device).cpu()
        return edges[:-1] + (draw * (edges[1:] - edges[:-1])).long()

    def stages(self) -> list[Stage]:
        """One stage: all parts together."""
        return with_encoder_rate([self._stage()], self.settings.encoder_rate)

    def _stage(self) -> Stage:
        s = self.settings
        if s.optimiser == "adamw":
            return Stage("all", (Group(("",), "adamw", s.rate, 0.01, "onecycle"),), batch=s.batch, clip=5.0)
        groups = (
            Group(("encode_sound", "no_"), "sgd", 0.5 * s.rate, 1e-4, "cosine"),
            Group(("encode_focus",), "sgd", s.rate, 1e-4, "cosine"),
            Group(("head",), "sgd", 5 * s.rate, 1e-4, "cosine"),
        )
        return Stage("all", groups, batch=s.batch)

    def whole_macs(self) -> int:
        """Multiply-adds of a close look at every snippet's whole source square, and of its sound."""
        s = self.settings
        return close_look_macs(self.encode_focus, self.encode_sound, snippets=s.snippets, side=s.source_side)
