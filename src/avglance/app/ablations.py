"""The rows that ``avglance ablate`` knows by name: what each turns in a system, and how it is evaluated."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

DEAF = {"hear_choose": False, "hear_aim": False, "hear_answer": False}
CONTROLS: tuple[str, ...] = (
    "",
    "--swap-sound",
    "--mute",
    "--uniform",
    "--tell moments",
    "--tell patches",
    "--tell both",
)


@dataclass(frozen=True)
class Row:
    """One row of an ablation.

    Attributes:
        what: in a few words.
        changes: settings that differ from the system's preset.
        system: its name; empty: the one asked for.
        budgets: moments a video to evaluate with besides the one asked for.
        controls: options of ``avglance eval`` that make a control each; "" is none.
    """

    what: str
    changes: dict[str, Any] = field(default_factory=dict)
    system: str = ""
    budgets: tuple[int, ...] = ()
    controls: tuple[str, ...] = ("",)


MAIN = {
    "avgn": Row("as the preset says", budgets=(1, 2, 4, 8, 12, 16), controls=CONTROLS),
    "deaf": Row("retrained without sound", DEAF),
    "blind": Row("retrained without pictures", {"see": False}),
    "glance": Row("the glance alone answers, nothing is looked at closely", {"patch": "none"}),
    "tsn": Row("TSN with sound, whole pictures", system="tsn_nano", budgets=(1, 2, 4, 8, 16)),
    "tsn_deaf": Row("TSN without sound", {"listen": False}, system="tsn_nano", budgets=(4, 16)),
}
"""The main table and its controls."""

PIECES = {
    "choose_deaf": Row("AV-TeST without sound", {"hear_choose": False}),
    "answer_deaf": Row("fusion without sound", {"hear_answer": False}),
    "aespa_off": Row("the policy reads the plain map", {"hear_aim": False}),
    "aespa_a2": Row("AESPA as joint self-attention", {"aim_form": "a2"}),
    "aespa_b": Row("AESPA as one query", {"aim_form": "b"}),
    "aespa_c": Row("AESPA as gates", {"aim_form": "c"}),
    "policy_recurrent": Row(
        "the paper's policy, taught through the crop", {"policy": "recurrent", "policy_width": 128}
    ),
    "patch_centre": Row("always the middle", {"patch": "centre"}),
    "patch_random": Row("a random place", {"patch": "random"}),
    "patch_whole": Row("the whole square shrunk to P", {"patch": "whole"}),
    "order_coarse": Row("saliency off: coarse to fine", {"order": "coarse"}),
    "order_time": Row("saliency off: the first in time", {"order": "time"}),
    "order_random": Row("saliency off: a fixed permutation", {"order": "random"}),
    "saliency_off": Row("no saliency loss (S3): the ordered loss alone", {"saliency_form": "s3"}),
    "saliency_s2": Row("binary saliency target", {"saliency_form": "s2"}),
    "teacher_other": Row("saliency learns from the heads of the encoders", {"teacher": "heads"}),
    "ordered_off": Row("no ordered loss", {"ordered": 0.0}),
    "ordered_o2": Row("the ordered loss that compares", {"ordered_form": "o2"}),
    "masked_off": Row("nothing hidden", {"masked": 0.0}),
    "masked_m2": Row("cells hidden in AESPA", {"masked_form": "m2"}),
    "random_branch_off": Row("no second branch of random patches", {"random_branch": False}),
    "drop_off": Row("no DropPathway", {"drop_sound": 0.0, "drop_pictures": 0.0}),
    "auxiliary_off": Row("no auxiliary heads' losses", {"auxiliary": 0.0}),
    "auxiliary_all": Row("auxiliary losses at every snippet", {"auxiliary_at": "all"}),
    "fusion_low_rank": Row("low-rank product of the senses", {"fusion_rank": 4}),
    "one_stage": Row("everything from the first step on", {"glance_share": 0.0, "focus_share": 0.0}),
    "looks_all": Row("all T snippets looked at in training", {"train_looks": None}),
}
"""Each piece of AVGN in turn, off or in another form."""

ROWS = MAIN | PIECES
GROUPS = {"main": tuple(MAIN), "pieces": ("avgn", *PIECES), "all": tuple(ROWS)}
