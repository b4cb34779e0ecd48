"""What AVGN is built from, and what an ablation of it turns."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from avglance.errors import ArgumentError
from avglance.systems.base import check_choice, check_shares, check_weights
from avglance.types import Labels
from avglance.views import ViewSettings


@dataclass(frozen=True)
class AVGNSwitches:
    """What an ablation turns; the defaults are the forms our notes on the paper take as its own.

    Attributes:
        see: anything sees; off: no picture is asked for, the sound head answers.
        hear_choose: AV-TeST hears.
        hear_aim: AESPA hears; off: the policy reads the plain map.
        hear_answer: the fusion hears; off: zeros in place of the sound feature. With all three off no sound
            is asked for at all.
        aim_form: of AESPA: "a1" (cross-attention, taken as the paper's), "a2", "b", "c".
        patch: where to look: "policy"; or without one "random" (in evaluation a fixed place a snippet),
            "centre", "whole" (the source square shrunk to P), "none" (no close look, the glance answers).
        chooser: what scores the snippets: "avtest" (the paper's), or "evidence", a line for each sense and
            class (``SnippetEvidence``) that learns from the labels alone: ``saliency`` is the weight of that,
            and ``saliency_form``, ``tau``, ``ordered`` and ``masked`` with m1 have no effect then.
        order: in which snippets are taken, the first K of them: "saliency"; or without choosing "time",
            "coarse" (to fine), "random" (in evaluation a fixed permutation). Trained in the same order.
        teacher: what the saliency loss learns from: the auxiliary heads, or a head of its own on [v ; a ; l].
        tau: temperature of the saliency target.
        order_warmup: epochs in the coarse-to-fine order (with ``train_looks`` a drawn one) before saliency
            orders.
        auxiliary: weight of the losses of the heads on each encoder; 0 leaves a loss out.
        auxiliary_at: which snippets those losses count: "all" (the paper's family), or, after the warm-up of
            the order, the "salient": the first T / 4 of those looked at, most salient first, so that the
            label is seldom taught where it is absent (with ``train_looks`` some of them are drawn).
        saliency: weight of the saliency loss.
        saliency_form: "s1" (KL with the softmax of the teacher's log confidence), "s2" (binary, confidence
            stretched to 0..1), "s3" (no loss of its own: saliency learns through O1 alone).
        ordered: weight of the ordered loss.
        ordered_form: "o1" (the AV logits pooled along the saliency order) or "o2" (their confidence may not
            rise along it; teaches no saliency).
        masked: weight of the rebuilding of what was hidden.
        masked_form: "m1" (picture tokens in AV-TeST) or "m2" (cells in AESPA, forms a1 and a2).
        random_branch: the second branch, with random patches.
    """

    see: bool = True
    hear_choose: bool = True
    hear_aim: bool = True
    hear_answer: bool = True
    aim_form: Literal["a1", "a2", "b", "c"] = "a1"
    patch: Literal["policy", "random", "centre", "whole", "none"] = "policy"
    chooser: Literal["avtest", "evidence"] = "avtest"
    order: Literal["saliency", "time", "coarse", "random"] = "saliency"
    teacher: Literal["heads", "fused"] = "heads"
    tau: float = 1.0
    order_warmup: int = 2
    auxiliary: float = 1.0
    auxiliary_at: Literal["all", "salient"] = "all"
    saliency: float = 1.0
    saliency_form: Literal["s1", "s2", "s3"] = "s1"
    ordered: float = 1.0
    ordered_form: Literal["o1", "o2"] = "o1"
    masked: float = 1.0
    masked_form: Literal["m1", "m2"] = "m1"
    random_branch: bool = True

    def __post_init__(self) -> None:
        check_choice(
            self,
            aim_form=("a1", "a2", "b", "c"),
            patch=("policy", "random", "centre", "whole", "none"),
            chooser=("avtest", "evidence"),
            order=("saliency", "time", "coarse", "random"),
            teacher=("heads", "fused"),
            auxiliary_at=("all", "salient"),
            saliency_form=("s1", "s2", "s3"),
            ordered_form=("o1", "o2"),
            masked_form=("m1", "m2"),
        )
        if self.masked_form == "m2" and self.masked and self.aim_form not in ("a1", "a2"):
            raise ArgumentError(
                f"m2 hides cells from AESPA's tokens, form {self.aim_form} has none",
                where="AVGNSwitches",
                hint="aim_form a1 or a2, or masked_form m1",
            )
        lines = self.chooser == "evidence"
        by_itself = self.saliency > 0 and (lines or self.saliency_form != "s3")
        by_order = self.ordered > 0 and self.ordered_form == "o1" and not lines
        if self.order == "saliency" and not (by_itself or by_order):
            raise ArgumentError(
                "nothing teaches the saliency that orders the snippets",
                where="AVGNSwitches",
                hint="saliency_form s1 or s2, or ordered_form o1, with a weight above 0; or another order",
            )
        if not (self.see or self.listens):
            raise ArgumentError("a system that neither sees nor hears", where="AVGNSwitches")
        if self.tau <= 0:
            raise ArgumentError(f"tau must be above 0, got {self.tau}", where="AVGNSwitches")
        for name in ("auxiliary", "saliency", "ordered", "masked", "order_warmup"):
            if getattr(self, name) < 0:
                raise ArgumentError(
                    f"{name} must be at least 0, got {getattr(self, name)}", where="AVGNSwitches"
                )

    @property
    def listens(self) -> bool:
        """Whether anything hears."""
        return self.hear_choose or self.hear_aim or self.hear_answer


@dataclass(frozen=True)
class AVGNSettings:
    """What AVGN is built from. Encoders are "small", one of ``MOBILENETS`` or the name of a timm model.

    Attributes:
        classes: C.
        snippets: T, which is also the number of prefix heads and the largest budget.
        resize_side: short side of a frame before the centre crop, px.
        source_side: side of the source square, px.
        glance_side: side of the glance picture, px.
        patch_side: P, px of the source square.
        picture: encoder of the glance at pictures.
        sound: encoder of the glance at sounds.
        focus: encoder of the close look.
        pretrained: start from timm's weights (may download them).
        policy: "recurrent" (the paper's) or "heatmap".
        cells: side of the grid of cells that the map is pooled to, before AESPA and policy; None: as it is.
        policy_width: state of the recurrent policy.
        choose_width: tokens of AV-TeST.
        choose_hidden: feed-forward layers of AV-TeST.
        choose_hear: weight of sound in the choice by "evidence".
        choose_rate: rate of what chooses, as a multiple of what it would have; lines want a higher one.
        choose_alone: weight of the losses of "evidence" by each sense alone, beside the one by both: 0 where
            only both together tell.
        answer_hear: weight of the sound feature in the fusion (1: the paper). What sounds tell of few groups
            is soon learned by heart: the smaller they are, the less of it.
        aim_width: tokens of AESPA.
        aim_hidden: feed-forward layers of AESPA.
        answer_width: hidden layer of the prefix classifier.
        answer_pool: how the classifier joins the moments: "max" (the paper's family), the maximum of each
            feature, a head a step; or "soft", the soft maximum of what each moment says of each class.
        train_looks: close looks a video in training: at the first of the order, and for every three at one
            snippet drawn from the rest. None: all T (the paper's family). With fewer the last prefix head
            answers for every further moment.
        glance_share: of the epochs, in which the glance and its saliency are trained alone ("adamw" only).
        focus_share: of the epochs after those, in which the focus alone learns, from the whole squares of
            the moments (random patches where it cannot), before the policy does; alone (0 glance_share) for
            a training that begins with weights that know the moments. Both 0: one stage from end to end (the
            paper). Until the moments are found and a patch's texture means something, patches
            are noise: the encoder unlearns, and the policy comes to prefer the dullest place.
        glance_rate: rate of the glance and its saliency in the last of several stages, as a share of
            ``rate``; 0 leaves them as they are: for a warm start whose moments are right already.
        fusion_rank: 0 joins the senses side by side (the paper); R above 0 by a product of rank R.
        dropout: of the heads.
        drop_features: share of the glance's features that AV-TeST does not get in training.
        drop_sound: share of training videos that lose their sound (DropPathway).
        drop_pictures: share of training videos that lose their pictures.
        glance_pictures: how many of the T pictures a video are decoded and glanced at, chosen by sound
            (``avgn_few``); 0: all (the paper). An answer may ask for another number.
        few_pictures: share of training videos of which what chooses gets only some pictures, half of them
            none, so that it learns to go by sound alone and by some pictures.
        optimiser: "sgd" with multipliers a part (the paper's family), or "adamw" alike for all.
        rate: learning rate at ``batch`` videos a step.
        encoder_rate: rate of the three encoders as a share of what they would have; 0 freezes them.
        batch: the batch that the rate is meant for.
        familiar: axes of the space in which the looks of an answer are compared with those of training, so
            that ``unknown`` can be said of what is unlike them (``avgn_familiar``); 0: no such space.
        labels: "one" teaches a softmax one drawn label of each video (the papers' way, whether it has one or
            several); "several" teaches a sigmoid for each class all of them. Scores are of the same kind.
        switches: what an ablation turns.
    """

    classes: int = 200
    snippets: int = 16
    resize_side: int = 256
    source_side: int = 224
    glance_side: int = 224
    patch_side: int = 128
    picture: str = "mobilenetv2_100"
    sound: str = "mobilenetv2_100"
    focus: str = "resnet50"
    pretrained: bool = False
    policy: Literal["recurrent", "heatmap"] = "recurrent"
    cells: int | None = None
    policy_width: int = 2048
    choose_width: int = 256
    choose_hidden: int = 1024
    choose_hear: float = 1.0
    choose_rate: float = 1.0
    choose_alone: float = 1.0
    answer_hear: float = 1.0
    aim_width: int = 256
    aim_hidden: int = 512
    answer_width: int = 4096
    answer_pool: Literal["max", "soft"] = "max"
    train_looks: int | None = None
    glance_share: float = 0.0
    focus_share: float = 0.0
    glance_rate: float = 0.3
    fusion_rank: int = 0
    dropout: float = 0.2
    drop_features: float = 0.0
    drop_sound: float = 0.2
    drop_pictures: float = 0.0
    glance_pictures: int = 0
    few_pictures: float = 0.0
    optimiser: Literal["sgd", "adamw"] = "sgd"
    rate: float = 2e-3
    encoder_rate: float = 1.0
    batch: int = 32
    familiar: int = 0
    labels: Labels = "one"
    switches: AVGNSwitches = field(default_factory=AVGNSwitches)

    def __post_init__(self) -> None:
        check_choice(
            self,
            policy=("recurrent", "heatmap"),
            answer_pool=("max", "soft"),
            optimiser=("sgd", "adamw"),
            labels=("one", "several"),
        )
        check_shares(self, "dropout", "drop_features", "drop_sound", "drop_pictures", "few_pictures")
        check_shares(self, "glance_share", "focus_share")
        if self.classes < 2:
            raise ArgumentError(f"classes must be at least 2, got {self.classes}", where="AVGNSettings")
        if not 1 <= self.snippets <= 32:
            raise ArgumentError(f"snippets must be 1 to 32, got {self.snippets}", where="AVGNSettings")
        if not 0 <= self.glance_pictures <= self.snippets:
            raise ArgumentError(
                f"glance_pictures must be 0 (all) to {self.snippets}, got {self.glance_pictures}",
                where="AVGNSettings",
            )
        if self.train_looks is not None and not 1 <= self.train_looks <= self.snippets:
            raise ArgumentError(
                f"train_looks must be 1 to {self.snippets}, got {self.train_looks}", where="AVGNSettings"
            )
        if self.glance_share + self.focus_share >= 1:
            raise ArgumentError(
                f"glance_share {self.glance_share} and focus_share {self.focus_share} leave nothing for all "
                "parts together",
                where="AVGNSettings",
            )
        if (self.glance_share or self.focus_share) and self.optimiser != "adamw":
            raise ArgumentError(
                f"stages are there for adamw alone, not for {self.optimiser}",
                where="AVGNSettings",
                hint="glance_share 0 and focus_share 0",
            )
        check_weights(self, "glance_rate", "encoder_rate", "choose_rate")
        check_weights(self, "choose_hear", "choose_alone", "answer_hear")
        if self.cells is not None and self.cells < 1:
            raise ArgumentError(f"cells must be at least 1, got {self.cells}", where="AVGNSettings")
        for name in ("fusion_rank", "familiar"):
            if getattr(self, name) < 0:
                what = f"{name} must be at least 0, got {getattr(self, name)}"
                raise ArgumentError(what, where="AVGNSettings")

    @property
    def looks(self) -> int:
        """Close looks a video in training, which is also the number of prefix heads."""
        return self.train_looks or self.snippets

    @property
    def compares(self) -> bool:
        """Whether close looks are compared with those of training: there are some, at one label a video."""
        looks = self.switches.see and self.switches.patch != "none"
        return bool(self.familiar) and looks and self.labels == "one"

    @classmethod
    def paper(cls) -> AVGNSettings:
        """The paper's encoders, with our defaults where it is silent."""
        return cls()

    @classmethod
    def nano(cls) -> AVGNSettings:
        """Small encoders of our own, a heat-map policy, and a glance that sees less than the patch.

        Trained in three stages (``glance_share``, ``focus_share``), looking at four snippets a video: what
        that is worth stands in docs/glanceworld.md.
        """
        return cls(
            resize_side=240, source_side=240, glance_side=64, patch_side=96,
            picture="small", sound="small", focus="small", policy="heatmap",
            choose_width=64, choose_hidden=256, aim_width=64, aim_hidden=128, answer_width=128,
            train_looks=4, glance_share=0.34, focus_share=0.22,
            drop_pictures=0.05, optimiser="adamw", rate=3e-3, batch=24,
            switches=AVGNSwitches(teacher="fused", auxiliary_at="salient"),
        )  # fmt: skip

    @classmethod
    def mobile(cls) -> AVGNSettings:
        """MobileNets for real video: V1 0.5 at 128 px and YAMNet glance, V2 looks at patches.

        Meant for pretrained encoders (``--weights``), and for little data: they are frozen until told
        otherwise. docs/results.md says what was tried beside it.
        """
        return cls(
            resize_side=224, source_side=224, glance_side=128, patch_side=128,
            picture="mobilenetv1_050", sound="yamnet", focus="mobilenetv2_100_same",
            policy="heatmap", cells=3, choose_width=128, choose_hidden=256, answer_hear=0.3,
            aim_width=64, aim_hidden=128, answer_width=256, answer_pool="soft",
            train_looks=8,
            dropout=0.5, drop_features=0.5, drop_sound=0.3, drop_pictures=0.05,
            optimiser="adamw", rate=1e-3, encoder_rate=0.0, batch=32, familiar=192,
            switches=AVGNSwitches(teacher="fused"),
        )  # fmt: skip

    @property
    def view(self) -> ViewSettings:
        """How AVGN wants its videos."""
        return ViewSettings(
            snippets=self.snippets, resize_side=self.resize_side, source_side=self.source_side,
            glance_side=self.glance_side, patch_side=self.patch_side,
        )  # fmt: skip
