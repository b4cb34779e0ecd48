"""Which figure of an evaluation leads, by how many labels the videos have and the model gives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from avglance.app.render import clean
from avglance.errors import ArgumentError

if TYPE_CHECKING:
    from avglance.data.records import Dataset

NAMED = 3  # classes that a note names
METRICS = {"auto": "", "top1": "single", "map": "multi"}
"""What may lead, and the label mode that it is for."""


def check_metric(asked: str, dataset: Dataset) -> None:
    """Refuse a leading figure that would say nothing of data of this label mode."""
    meant, mode = METRICS[asked], dataset.label_mode
    if not meant or meant == mode:
        return
    if asked == "top1":
        hint = "mAP leads there: --metric map, or leave --metric away"
        why = "any of several labels would count as the answer"
    else:
        hint = "top-1 leads there: --metric top1, or leave --metric away (--json has map too)"
        why = "every video is positive for one class alone"
    raise ArgumentError(f"--metric {asked} on {mode} label data: {why}", where="eval", hint=hint)


def modes(found: dict[str, Any]) -> list[str]:
    """The label mode of the data and what leads; and where the model's is another one."""
    several = found["model"].get("labels") == "several"
    if found["label_mode"] == "single":
        note = "! the model says several labels a video, these have one each: top-1 is of its best one"
        return [note] * several
    note = "! the model gives a video one label: it cannot say two at once"
    lines = ["multi label: mAP leads"] + [note] * (not several and bool(found["labelled"]))
    names = ", ".join(clean(name, 60) for name in found["everywhere"][:NAMED])
    return lines + [f"! every video shows {names}: mAP is 1 there whatever the model says"] * bool(names)


def leading_rows(found: dict[str, Any], interval: str, without: str) -> list[tuple[str, float | None, str]]:
    """Name, value and note of the figures of the labels, the leading one first.

    Args:
        found: the figures.
        interval: of top-1, in words.
        without: which classes mAP leaves out, in words.
    """
    average = ("mAP", found["map"], without)
    if found["label_mode"] == "multi":
        first = ("best is true", found["top1"], "the best class is one of the labels")
        return [average, ("F1", found["f1"], _said(found)), first]
    return [("top-1", found["top1"], interval), ("top-5", found["top5"], ""), average]


def _said(found: dict[str, Any]) -> str:
    """How the labels that are said compare, of a model that says several."""
    if found["f1"] is None:
        return ""
    macro = "-" if found["f1_macro"] is None else f"{100 * found['f1_macro']:.1f}"
    return f"of the labels that are said, {found['labels_said']:.2g} a video; mean of the classes {macro}"
