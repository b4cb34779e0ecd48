"""What a training teaches follows the data: one label a video, or several."""

from __future__ import annotations

from dataclasses import replace

from avglance.data.records import Dataset
from avglance.systems import settings_of
from avglance.training.settings import TrainSettings

ONE = "a softmax learns one label a video"
SEVERAL = "a sigmoid for each class learns all labels of a video"
DRAWN = "a softmax learns one label of each video, drawn anew each time"


def follow_labels(settings: TrainSettings, dataset: Dataset) -> tuple[TrainSettings, str]:
    """The settings with ``labels`` as the data has them, unless they say so themselves; and that in words.

    Nothing is changed where every video has one label, nor of a system that has no such setting (then without
    a word). Several labels a video are learned one at a time (the papers' way) only if that is asked for.
    """
    usual = getattr(settings_of(settings.system), "labels", None)
    if usual is None:
        return settings, ""
    asked, multi = settings.changes.get("labels"), dataset.label_mode == "multi"
    if asked is None and multi:
        settings = replace(settings, changes={**settings.changes, "labels": "several"})
    now = settings.changes.get("labels", usual)
    words = SEVERAL if now == "several" else DRAWN if multi else ONE
    other = "one" if now == "several" else "several"
    return settings, f"{words} (--setting labels {other} changes it)"
