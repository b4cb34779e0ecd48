"""The rows that ``avglance ablate`` knows by name: what each turns in a system, and how it is evaluated."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from avglance.errors import ArgumentError, DataError

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
        weights: a file for each encoder, by its sense, in place of those asked for; None: those asked for
            that its encoders can begin with.
    """

    what: str
    changes: dict[str, Any] = field(default_factory=dict)
    system: str = ""
    budgets: tuple[int, ...] = ()
    controls: tuple[str, ...] = ("",)
    weights: dict[str, str] | None = None


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


def read_rows(path: Path) -> dict[str, Row]:
    """Rows of a JSON file: name -> what, changes, system, budgets, controls, weights; all may be left out."""
    hint = 'like {"name": {"changes": {"tau": 0.5}, "budgets": [1, 4], "controls": ["--mute"]}}'
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror})", where=str(path)) from error
    except ValueError as error:
        raise DataError(f"does not hold rows: {error}", where=str(path), hint=hint) from error
    if not isinstance(found, dict):
        raise DataError("does not hold rows: not an object", where=str(path), hint=hint)
    rows = {}
    for name, given in found.items():
        if not name or name.startswith(("seed", ".")) or not all(c.isalnum() or c in "_-." for c in name):
            letters = "letters, digits, _ and -, not beginning with seed"
            raise ArgumentError(f"{name!r} cannot name a row's folder", where=str(path), hint=letters)
        wrong = _what_is_wrong(given)
        if wrong:
            raise DataError(f"does not hold rows: {name}: {wrong}", where=str(path), hint=hint)
        rows[name] = Row(
            **{"what": name} | {k: tuple(v) if isinstance(v, list) else v for k, v in given.items()}
        )
    return rows


def _what_is_wrong(given: Any) -> str:
    """What keeps a value of a file from being a row; empty: nothing."""
    if not isinstance(given, dict):
        return "not an object"
    for key, value in given.items():
        if key in ("what", "system"):
            fits = isinstance(value, str)
        elif key == "changes":
            fits = isinstance(value, dict)
        elif key == "weights":
            fits = isinstance(value, dict) and all(isinstance(file, str) and file for file in value.values())
        elif key == "budgets":
            fits = isinstance(value, list) and all(type(k) is int and k > 0 for k in value)
        elif key == "controls":
            fits = isinstance(value, list) and all(c == "" or c in CONTROLS for c in value)
        else:
            return f"{key!r} is none of what, changes, system, budgets, controls, weights"
        if not fits:
            return f"{key} cannot be {json.dumps(value)}"
    return ""
