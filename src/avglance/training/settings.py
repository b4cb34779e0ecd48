"""How a training is run, apart from what the system itself prescribes in its stages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from avglance.errors import ArgumentError


@dataclass(frozen=True)
class TrainSettings:
    """What decides the weights that come out (with the data, the system, the device and the versions).

    Attributes:
        system: a name of ``SYSTEMS``.
        changes: settings of the system that shall differ from its preset.
        epochs: over all stages together.
        batch: videos a step; None: what the stage's rates are meant for.
        seed: of weights, order, augmentation and every draw.
        validation: share of the videos held out, 0 <= share < 1; None: those of the data's own split
            ``validation``, or without one a tenth.
        budget: K, moments a video in validation; None: a quarter of the snippets.
        clip: largest norm of the gradient; None: what the stage says, 0: none.
        precision: "float32", or "bf16" for autocast.
        start: a model folder whose weights the training begins with where name and shape fit; None: fresh.
        weights: a safetensors file for each encoder (by its sense, such as "picture") that begins with the
            weights of one, over those of ``start``.
        features: pictures a snippet of which frozen encoders are asked once, before the first epoch: 1 or 3
            (``training.features``); 0: in each epoch anew.
        validate_every: epochs from one validation to the next.
        validate_last: so many epochs at the end are validated each, at least the last one.
        keep: "last": the weights of the last epoch become the model; "best": those of the epoch of the last
            stage that was best on the held-out videos (``best.merit``).
        teach_unknown: videos labelled unknown train too: that there no class is more likely than another. Of
            several labels a video: that each is absent.
        patience: validations without a better one after which the last stage ends; 0: it goes to its end.
    """

    system: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    epochs: int = 15
    batch: int | None = None
    seed: int = 0
    validation: float | None = None
    budget: int | None = None
    clip: float | None = None
    precision: Literal["float32", "bf16"] = "float32"
    start: str | None = None
    weights: Mapping[str, str] = field(default_factory=dict)
    features: int = 0
    validate_every: int = 1
    validate_last: int = 1
    keep: Literal["last", "best"] = "last"
    patience: int = 0
    teach_unknown: bool = False

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise ArgumentError(f"epochs must be at least 1, got {self.epochs}", where="TrainSettings")
        if self.batch is not None and self.batch < 1:
            raise ArgumentError(f"batch must be at least 1, got {self.batch}", where="TrainSettings")
        if self.seed < 0:
            raise ArgumentError(f"seed must not be negative, got {self.seed}", where="TrainSettings")
        if self.validation is not None and not 0 <= self.validation < 1:
            raise ArgumentError(f"validation must be in [0, 1), got {self.validation}", where="TrainSettings")
        if self.budget is not None and self.budget < 1:
            raise ArgumentError(f"budget must be at least 1, got {self.budget}", where="TrainSettings")
        if self.clip is not None and not self.clip >= 0:
            raise ArgumentError(f"clip must not be negative, got {self.clip}", where="TrainSettings")
        if self.features not in (0, 1, 3):
            raise ArgumentError(f"features must be 0, 1 or 3, got {self.features}", where="TrainSettings")
        if self.precision not in ("float32", "bf16"):
            raise ArgumentError(
                f"precision must be 'float32' or 'bf16', got {self.precision!r}", where="TrainSettings"
            )
        self._check_keeping()

    def _check_keeping(self) -> None:
        for name, lowest in (("validate_every", 1), ("validate_last", 1), ("patience", 0)):
            if getattr(self, name) < lowest:
                what = f"{name} must be at least {lowest}, got {getattr(self, name)}"
                raise ArgumentError(what, where="TrainSettings")
        if self.keep not in ("last", "best"):
            raise ArgumentError(f"keep must be 'last' or 'best', got {self.keep!r}", where="TrainSettings")
        if self.patience and self.keep != "best":
            raise ArgumentError(
                f"with a patience of {self.patience} the last epoch is never the best one",
                where="TrainSettings",
                hint="keep 'best' (--keep best), or a patience of 0",
            )
        if self.validation == 0 and self.keep == "best":
            raise ArgumentError(
                "no video is held out that could tell which epoch is the best",
                where="TrainSettings",
                hint="hold some out (--validation), or keep 'last' (--keep last)",
            )


@dataclass(frozen=True)
class Told:
    """What a training tells while it runs.

    Attributes:
        phase: "cache", "features", "train" or "note".
        done: videos or steps done in this phase.
        total: in all.
        text: a sentence for a person ("note"), or the figures of the last steps.
    """

    phase: Literal["cache", "features", "train", "note"]
    done: int = 0
    total: int = 0
    text: str = ""
