"""What AVGN is built from, and what an ablation of it turns."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from avglance.errors import ArgumentError
from avglance.systems.base import check_choice, check_shares
from avglance.views import ViewSettings


@dataclass(frozen=True)
class AVGNSwitches:
    """What an ablation turns; the defaults are the forms our notes on the paper take as its own.

    Attributes:
        hear_choose: AV-TeST hears.
        hear_aim: AESPA hears; off: the policy reads the plain map.
        hear_answer: the fusion hears; off: zeros in place of the sound feature. With all three off no sound
            is asked for at all.
        patch: where to look; "centre" needs no policy.
        teacher: what the saliency loss learns from: the auxiliary heads, or a head of its own on [v ; a ; l].
        tau: temperature of the saliency target.
        order_warmup: epochs in the coarse-to-fine order before saliency orders.
        auxiliary: weight of the losses of the heads on each encoder; 0 leaves a loss out.
        auxiliary_at: which snippets those losses count: "all" (the paper's family), or, after the warm-up of
            the order, the quarter that is most "salient", so that the label is not taught where it is absent.
        saliency: weight of S1, saliency against the teacher's confidence.
        ordered: weight of O1, the AV logits pooled along the saliency order.
        masked: weight of M1, the rebuilding of hidden picture tokens.
    """

    hear_choose: bool = True
    hear_aim: bool = True
    hear_answer: bool = True
    patch: Literal["policy", "centre"] = "policy"
    teacher: Literal["heads", "fused"] = "heads"
    tau: float = 1.0
    order_warmup: int = 2
    auxiliary: float = 1.0
    auxiliary_at: Literal["all", "salient"] = "all"
    saliency: float = 1.0
    ordered: float = 1.0
    masked: float = 1.0

    def __post_init__(self) -> None:
        check_choice(
            self, patch=("policy", "centre"), teacher=("heads", "fused"), auxiliary_at=("all", "salient")
        )
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
    """What AVGN is built from. Encoders are "small" or the name of a timm model.

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
        policy_width: state of the recurrent policy.
        choose_width: tokens of AV-TeST.
        choose_hidden: feed-forward layers of AV-TeST.
        aim_width: tokens of AESPA.
        aim_hidden: feed-forward layers of AESPA.
        answer_width: hidden layer of the prefix classifier.
        dropout: of the heads.
        drop_sound: share of training videos that lose their sound (DropPathway).
        drop_pictures: share of training videos that lose their pictures.
        optimiser: "sgd" with multipliers a part (the paper's family), or "adamw" alike for all.
        rate: learning rate at ``batch`` videos a step.
        batch: the batch that the rate is meant for.
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
    policy_width: int = 2048
    choose_width: int = 256
    choose_hidden: int = 1024
    aim_width: int = 256
    aim_hidden: int = 512
    answer_width: int = 4096
    dropout: float = 0.2
    drop_sound: float = 0.2
    drop_pictures: float = 0.0
    optimiser: Literal["sgd", "adamw"] = "sgd"
    rate: float = 2e-3
    batch: int = 32
    switches: AVGNSwitches = field(default_factory=AVGNSwitches)

    def __post_init__(self) -> None:
        check_choice(self, policy=("recurrent", "heatmap"), optimiser=("sgd", "adamw"))
        check_shares(self, "dropout", "drop_sound", "drop_pictures")
        if self.classes < 2:
            raise ArgumentError(f"classes must be at least 2, got {self.classes}", where="AVGNSettings")
        if not 1 <= self.snippets <= 32:
            raise ArgumentError(f"snippets must be 1 to 32, got {self.snippets}", where="AVGNSettings")

    @classmethod
    def paper(cls) -> AVGNSettings:
        """The paper's encoders, with our defaults where it is silent."""
        return cls()

    @classmethod
    def nano(cls) -> AVGNSettings:
        """Small encoders of our own, a heat-map policy, and a glance that sees less than the patch.

        The auxiliary heads learn at the salient quarter. The evidence for it is thin: a pilot with "all" had
        the moments and the places of GlanceWorld after three epochs and no texture when it was stopped in
        its sixth; the run with "salient" learned it, but differed from the pilot in more than this.
        """
        return cls(
            resize_side=240, source_side=240, glance_side=64, patch_side=96,
            picture="small", sound="small", focus="small", policy="heatmap",
            choose_width=64, choose_hidden=256, aim_width=64, aim_hidden=128, answer_width=128,
            drop_pictures=0.05, optimiser="adamw", rate=3e-3, batch=24,
            switches=AVGNSwitches(teacher="fused", auxiliary_at="salient"),
        )  # fmt: skip

    @property
    def view(self) -> ViewSettings:
        """How AVGN wants its videos."""
        return ViewSettings(
            snippets=self.snippets, resize_side=self.resize_side, source_side=self.source_side,
            glance_side=self.glance_side, patch_side=self.patch_side,
        )  # fmt: skip
