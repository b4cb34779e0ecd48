"""What a training is like when nobody says: a plain function of what the data says.

The figures are rules of thumb: so many steps as small data need, as large a part held out as its figures need
to mean something, and early stopping, so that too many epochs cost time alone.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

STEPS, WARM_STEPS = 1000, 400
"""Steps that a training from fresh weights is given, and one that begins with a model's."""
EPOCHS, WARM_EPOCHS = (15, 80), (10, 40)
"""Epochs, at least and at most, for these."""
STEPS_AN_EPOCH = 10
LEAST_BATCH = 4
LEAST_HELD = 30  # videos: below that nothing is calibrated
SHARES = (0.1, 0.3)
"""Of the videos that are held out, at least and at most."""
SHORT_S, SHORT_SNIPPETS = 4.0, 8
"""Videos as short as this are cut into so many snippets."""
FEW = 1000  # videos below which pretrained encoders stay as they are
ENCODER_RATE = 0.1
DEAF: Mapping[str, bool] = {"hear_choose": False, "hear_aim": False, "hear_answer": False}


@dataclass(frozen=True)
class Facts:
    """What the data says.

    Attributes:
        videos: that show a class and may train.
        classes: C.
        several: a video may show several classes.
        seconds: median length.
        sound: share of the videos with sound, 0..1.
        split: there is a part of its own to validate by.
    """

    videos: int
    classes: int
    several: bool = False
    seconds: float = 10.0
    sound: float = 1.0
    split: bool = False

    def told(self) -> str:
        """The facts in words."""
        kind = ", several a video" if self.several else ""
        sound = f"{100 * self.sound:.0f} % with sound" if self.sound else "none with sound"
        return f"{self.videos} videos of {self.classes} classes{kind} ({self.seconds:.1f} s long, {sound})"


@dataclass(frozen=True)
class Base:
    """What a training may begin with.

    Attributes:
        system: name of the system.
        snippets: T of it.
        batch: videos a step that its rates are meant for.
        start: a model to begin with (its name or folder); None: fresh weights.
        changes: settings of that model that are not the system's usual ones.
        deaf: settings with which the system asks for no sound.
        features: pictures a snippet that frozen encoders may be asked about once; 0: they cannot.
    """

    system: str
    snippets: int
    batch: int
    start: str | None = None
    changes: Mapping[str, Any] = field(default_factory=dict)
    deaf: Mapping[str, bool] = field(default_factory=lambda: DEAF)
    features: int = 0


@dataclass(frozen=True)
class Plan:
    """What was chosen; the names are those of ``TrainSettings``, and of the options of the command."""

    system: str
    start: str | None
    changes: Mapping[str, Any]
    epochs: int
    batch: int
    snippets: int
    budget: int
    validation: float | None
    keep: Literal["last", "best"]
    patience: int
    features: int = 0

    def told(self, facts: Facts, given: Collection[str] = ()) -> str:
        """One or two sentences that name what was chosen, each with the option that changes it.

        Args:
            facts: what it was chosen by.
            given: options that somebody said, which were not chosen.
        """
        share = self.validation
        words = {
            "system": self.system,
            "start": f"begun with {self.start}" if self.start else "fresh weights",
            "epochs": f"{self.epochs} epochs",
            "batch": f"batches of {self.batch}",
            "snippets": f"{self.snippets} snippets a video",
            "budget": f"{self.budget} close looks",
            "validation": "its split validation held out"
            if share is None
            else f"{100 * share:.0f} % held out",
            "keep": f"the {self.keep} epoch kept",
            "features": f"its encoders, which stay as they are, asked once about {self.features} pictures a "
            "snippet",
            "patience": f"over after {self.patience} validations without a better one",
        }
        unused = {name for name in ("patience", "features") if not getattr(self, name)}
        words = {name: text for name, text in words.items() if name not in unused}
        chosen = [f"{text} (--{name})" for name, text in words.items() if name not in given]
        deaf = "" if facts.sound else ". It learns without sound, since there is none"
        return f"by {facts.told()}: {', '.join(chosen)}{deaf}"


def choose(facts: Facts, base: Base) -> Plan:
    """The training for such data.

    >>> plan = choose(Facts(videos=100, classes=5), Base("avgn_nano", snippets=16, batch=24))
    >>> plan.epochs, plan.batch, plan.validation, plan.budget, plan.patience
    (80, 7, 0.3, 4, 16)
    """
    share = None if facts.split else _within(LEAST_HELD / max(facts.videos, 1), *SHARES)
    training = max(1, math.floor(facts.videos * (1 - (share or 0))))
    batch = min(base.batch, max(LEAST_BATCH, training // STEPS_AN_EPOCH))
    steps, (least, most) = (WARM_STEPS, WARM_EPOCHS) if base.start else (STEPS, EPOCHS)
    epochs = round(_within(steps / max(1, training // batch), least, most))
    snippets = base.snippets
    if facts.seconds <= SHORT_S and not base.start:  # a model's own parts are made for its snippets
        snippets = min(snippets, SHORT_SNIPPETS)
    changes = {**base.changes, **_changes(facts, base)}
    return Plan(
        system=base.system,
        start=base.start,
        changes=changes,
        epochs=epochs,
        batch=batch,
        snippets=snippets,
        budget=min(4, snippets),
        validation=None if share is None else round(share, 2),
        keep="best",
        patience=patience_of(epochs),
        features=base.features if changes.get("encoder_rate") == 0 else 0,
    )


def patience_of(epochs: int) -> int:
    """Validations to wait for a better one in a training of so many epochs."""
    return max(5, epochs // 5)


def _changes(facts: Facts, base: Base) -> dict[str, Any]:
    """Settings of the system: what sound there is, and how much pretrained encoders may move."""
    found: dict[str, Any] = {}
    if facts.sound < 0.5:  # missing sound is met often enough
        found["drop_sound"] = 0.0
    if not facts.sound:
        found |= base.deaf
    if base.start:
        found["encoder_rate"] = 0.0 if facts.videos < FEW else ENCODER_RATE
    return found


def _within(value: float, least: float, most: float) -> float:
    return min(max(value, least), most)
