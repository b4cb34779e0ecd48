"""The held-out videos during a training: when they are answered, what is told of it, which epoch is kept."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from avglance.systems.base import System
from avglance.training import runfolder
from avglance.training.batches import Batches
from avglance.training.best import BEST, load_best, save_best, weigh
from avglance.training.resume import Place
from avglance.training.settings import Told, TrainSettings
from avglance.training.validate import Answers, answers, figures


def is_due(settings: TrainSettings, epoch: int) -> bool:
    """Whether the held-out videos are answered after an epoch (from 0); after the last one always.

    >>> [epoch for epoch in range(12) if is_due(TrainSettings("avgn", epochs=12, validate_every=5), epoch)]
    [4, 9, 11]
    """
    left = settings.epochs - 1 - epoch
    return (epoch + 1) % settings.validate_every == 0 or left < settings.validate_last


@dataclass
class Exam:
    """What the first process of a training asks, tells and keeps.

    Attributes:
        system: what is trained.
        held_out: videos to answer, or None.
        k: moments a video.
        settings: of the run.
        out: the run folder.
        device: where the system is.
        tell: hears how it goes.
        several: videos may show several classes.
        said: the answers of the last validation.
    """

    system: System
    held_out: Batches | None
    k: int
    settings: TrainSettings
    out: Path
    device: torch.device
    tell: Callable[[Told], None]
    several: bool
    said: Answers | None = None

    def take(self, place: Place, asked: threading.Event, *, last_stage: bool) -> Place | None:
        """Answers the held-out videos after an epoch and writes the figures down.

        Args:
            place: where the run stands, its epoch the one that was done.
            asked: set by whoever interrupts.
            last_stage: only there epochs compete.

        Returns:
            The place, with what is known now of the best epoch; None: it was interrupted.
        """
        if self.held_out is None:
            return place
        if not self.answer(asked) or self.said is None:
            return None
        found = figures(self.said, self.held_out.cache, self.held_out.indices, self.k)
        row: dict[str, Any] = {"kind": "validation", "step": place.step, "epoch": place.epoch, "k": self.k}
        runfolder.add_metrics(self.out, row | found)
        shown = ", ".join(f"{name.replace('_', ' ')} {value:.3f}" for name, value in found.items())
        if last_stage and self.settings.keep == "best":
            place = weigh(place, self.said, several=self.several, keep=self._keep)
            shown += ", the best so far" * (place.kept == place.epoch)
        self.tell(Told("note", text=f"epoch {place.epoch + 1}: held out at K={self.k}: {shown}"))
        if self.is_over(place):
            text = f"the training ends: {place.waited} validations without a better one"
            self.tell(Told("note", text=text))
        return place

    def is_over(self, place: Place) -> bool:
        """Whether there were so many validations without a better one that the last stage ends."""
        return 0 < self.settings.patience <= place.waited

    def answer(self, asked: threading.Event) -> bool:
        """Answers the held-out videos; whether it came to its end."""
        if self.held_out is not None:
            self.said = answers(self.system, self.held_out, self.k, device=self.device, asked=asked)
        return self.held_out is None or self.said is not None

    def settle(self, place: Place, asked: threading.Event) -> bool:
        """Puts the weights that are kept back into the system, with answers of theirs; whether that is done.

        Args:
            place: where the run ended, its epoch the one behind the last.
            asked: set by whoever interrupts.

        Raises:
            CheckpointError: the weights are gone or damaged.
        """
        if place.kept is not None and place.kept != place.epoch - 1:
            load_best(self.out / BEST, place.kept, self.system)
            self.said = None
        return self.said is not None or self.answer(asked)

    def _keep(self, epoch: int) -> None:
        save_best(self.out / BEST, epoch, self.system)
