"""The loop: it knows stages, steps and saved states, and no system by name."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from avglance.errors import ArgumentError
from avglance.parts.clips import Clips
from avglance.systems.base import Stage, System
from avglance.training import runfolder
from avglance.training.batches import Batches
from avglance.training.draws import DROPOUT, LOSSES, seed_of
from avglance.training.interrupt import one_interrupt
from avglance.training.rates import optimisers, set_rates, share_epochs
from avglance.training.resume import Place, load_state, newest, read_place, save_state
from avglance.training.settings import Told, TrainSettings
from avglance.training.validate import Answers, answers, figures

if TYPE_CHECKING:
    from accelerate import Accelerator

LOG_EVERY = 10  # steps


@dataclass
class Loop:
    """One training run, from where it stands to its end.

    Attributes:
        system: what is trained, on its device.
        accelerator: of the run.
        settings: of the run.
        out: the run folder.
        training: batches to train on.
        held_out: batches to validate on, or None.
        k: moments a video in validation.
        save_s: seconds between saved states (one more at each epoch's end).
        tell: hears how it goes.
        place: where the run stands.
        said: the answers of the last validation.
    """

    system: System
    accelerator: Accelerator
    settings: TrainSettings
    out: Path
    training: Batches
    held_out: Batches | None
    k: int
    save_s: float
    tell: Callable[[Told], None]
    place: Place = field(default_factory=Place)
    said: Answers | None = None
    found: list[Any] = field(default_factory=list)  # optimisers of the running stage
    _began: float = 0.0
    _saved: float = 0.0
    _sums: dict[str, Tensor] = field(default_factory=dict)
    _summed: int = 0

    def __post_init__(self) -> None:
        self.stages: Sequence[Stage] = self.system.stages()
        self.epochs = share_epochs(self.stages, self.settings.epochs)
        self.trainable = frozenset(n for n, p in self.system.named_parameters() if p.requires_grad)
        self.total = self.settings.epochs * self.training.steps

    def run(self) -> None:
        """Trains to the end; the last validation's answers stay in ``said``.

        Raises:
            KeyboardInterrupt: Ctrl-C; the state was saved first.
            ArgumentError: the loss is not finite any more.
        """
        state = newest(self.out / runfolder.RESUME)
        self.place = read_place(state) if state else Place()
        runfolder.keep_metrics(self.out, self.place.step)
        self._began, self._saved = time.monotonic() - self.place.seconds, time.monotonic()
        self.accelerator.prepare(self.system)
        first = 0
        with one_interrupt() as asked, torch.random.fork_rng():
            for number, (stage, epochs) in enumerate(zip(self.stages, self.epochs, strict=True)):
                if number >= self.place.stage:
                    self._begin_stage(stage)
                    if state:
                        load_state(state, self.system, self.found)
                        state = None
                    self._run_stage(number, range(first, first + epochs), asked)
                first += epochs
            if self.held_out is not None and self.said is None:  # resumed behind the last epoch
                self._validate(log=False)

    def _begin_stage(self, stage: Stage) -> None:
        scale = self.training.size / stage.batch
        raw = optimisers(self.system, stage, scale=scale, trainable=self.trainable)
        self.found = [self.accelerator.prepare(optimiser) for optimiser in raw]

    def _run_stage(self, number: int, epochs: range, asked: threading.Event) -> None:
        per_epoch, stage = self.training.steps, self.stages[number]
        for epoch in epochs:
            if epoch < self.place.epoch:
                continue
            start = self.place.batch if epoch == self.place.epoch else 0
            for batch, clips in enumerate(self.training.training(epoch, start=start), start):
                rate = set_rates(
                    self.found, (epoch - epochs.start) * per_epoch + batch, len(epochs) * per_epoch
                )
                norm = self._step(clips, stage, epoch)
                self.place = Place(
                    number, epoch, batch + 1, self.place.step + 1, time.monotonic() - self._began
                )
                if self.place.step % LOG_EVERY == 0 or batch + 1 == per_epoch:
                    self._log(stage, rate, norm)
                if asked.is_set() or (
                    time.monotonic() - self._saved >= self.save_s and batch + 1 < per_epoch
                ):
                    self._save()
                if asked.is_set():
                    raise KeyboardInterrupt
            if self.held_out is not None:
                self._validate(log=True)
            last = epoch + 1 == epochs.stop and number + 1 < len(self.stages)
            self.place = replace(self.place, stage=number + last, epoch=epoch + 1, batch=0)
            if last:
                self.found = []  # the next stage begins with optimisers of its own
            self._save()
            if asked.is_set():
                raise KeyboardInterrupt

    def _step(self, clips: Clips, stage: Stage, epoch: int) -> Tensor:
        """One step of the optimisers; the gradient's norm before clipping."""
        device = self.accelerator.device
        rng = torch.Generator(device).manual_seed(seed_of(self.settings.seed, LOSSES, self.place.step))
        torch.manual_seed(seed_of(self.settings.seed, DROPOUT, self.place.step))
        self.system.train()
        with torch.autocast(device.type, torch.bfloat16, enabled=self.settings.precision == "bf16"):
            terms = self.system.losses(clips.to(device), rng=rng, epoch=epoch)
            loss = torch.stack([term.float() for term in terms.values()]).sum()
        for optimiser in self.found:
            optimiser.zero_grad()
        self.accelerator.backward(loss)
        clip = stage.clip if self.settings.clip is None else self.settings.clip
        norm = torch.nn.utils.clip_grad_norm_(
            [p for p in self.system.parameters() if p.grad is not None], clip or float("inf")
        )
        for optimiser in self.found:
            optimiser.step()
        for name, term in {"loss": loss, **terms}.items():
            self._sums[name] = self._sums.get(name, 0.0) + term.detach().float()
        self._summed += 1
        return norm

    def _log(self, stage: Stage, rate: float, norm: Tensor) -> None:
        """The mean of the steps since the last line, to metrics.jsonl and whoever listens."""
        self._check_finite()
        means = {name: float(value) / self._summed for name, value in self._sums.items()}
        self._sums, self._summed = {}, 0
        loss = means.pop("loss")
        row = {"kind": "train", "step": self.place.step, "epoch": self.place.epoch, "stage": stage.name}
        row |= {"loss": loss, "terms": means, "rate": rate}
        row |= {"norm": float(norm), "seconds": self.place.seconds}
        runfolder.add_metrics(self.out, row)
        text = f"epoch {self.place.epoch + 1}/{self.settings.epochs}, loss {loss:.3f}"
        self.tell(Told("train", self.place.step, self.total, text))

    def _validate(self, *, log: bool) -> None:
        held = self.held_out
        if held is None:
            return
        self.said = answers(self.system, held, self.k, device=self.accelerator.device)
        if not log:
            return
        found = figures(self.said, held.cache, held.indices, self.k)
        row = {"kind": "validation", "step": self.place.step, "epoch": self.place.epoch, "k": self.k, **found}
        runfolder.add_metrics(self.out, row)
        shown = ", ".join(f"{name.replace('_', ' ')} {value:.3f}" for name, value in found.items())
        self.tell(Told("note", text=f"epoch {self.place.epoch + 1}: held out at K={self.k}: {shown}"))

    def _check_finite(self) -> None:
        loss = float(self._sums.get("loss", 0.0))
        if not math.isfinite(loss):
            what = f"the loss is {loss} after {self.place.step} steps"
            hint = "train with a lower --rate, or clip the gradient (--clip 5)"
            raise ArgumentError(what, where=self.stages[self.place.stage].name, hint=hint)

    def _save(self) -> None:
        self._check_finite()  # a state that has blown up must not replace a good one
        self.place = replace(self.place, seconds=time.monotonic() - self._began)
        save_state(self.out / runfolder.RESUME, self.place, self.system, self.found)
        self._saved = time.monotonic()
