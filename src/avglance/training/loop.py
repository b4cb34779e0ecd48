"""The loop: it knows stages, steps and saved states, and no system by name."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from avglance.parts.clips import Clips
from avglance.systems.base import Stage, System
from avglance.training import runfolder
from avglance.training.batches import Batches
from avglance.training.draws import DROPOUT, LOSSES, seed_of
from avglance.training.interrupt import one_interrupt
from avglance.training.machine import own_draws
from avglance.training.rates import optimisers, set_rates, share_epochs
from avglance.training.resume import Place, load_state, newest, read_place, save_state
from avglance.training.settings import Told, TrainSettings
from avglance.training.sums import Sums
from avglance.training.team import Team, digest
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
        held_out: batches to validate on, or None; the first process does.
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
    _sums: Sums = field(default_factory=Sums)
    _asked: threading.Event = field(default_factory=threading.Event)
    _stop: bool = False

    def __post_init__(self) -> None:
        self.team = Team.of(self.accelerator)
        self.stages: Sequence[Stage] = self.system.stages()
        self.epochs = share_epochs(self.stages, self.settings.epochs)
        self.trainable = frozenset(n for n, p in self.system.named_parameters() if p.requires_grad)
        self.total = self.settings.epochs * self.training.steps

    def run(self) -> None:
        """Trains to the end; the last validation's answers stay in ``said``.

        Raises:
            KeyboardInterrupt: Ctrl-C; the state was saved first.
            ArgumentError: the loss is not finite any more, or another process has stopped.
        """
        state = newest(self.out / runfolder.RESUME)
        self.place = read_place(state) if state else Place()
        if self.team.first:
            runfolder.keep_metrics(self.out, self.place.step)
        self._began, self._saved = time.monotonic() - self.place.seconds, time.monotonic()
        self.accelerator.prepare_model(self.system, evaluation_mode=True)  # not wrapped: see _step
        first = 0
        with one_interrupt(patient=self.team.size > 1) as self._asked, own_draws(self.accelerator.device):
            for number, (stage, epochs) in enumerate(zip(self.stages, self.epochs, strict=True)):
                if number >= self.place.stage:
                    self._begin_stage(stage)
                    if state:
                        load_state(state, self.system, self.found)
                        state = None
                    if self.team.size > 1:
                        self.team.agree(self.place.step, len(self.training.indices), digest(self.system))
                    self._run_stage(number, range(first, first + epochs))
                first += epochs
            if self.said is None and not self._validate(log=False):  # resumed behind the last epoch
                raise KeyboardInterrupt

    def _begin_stage(self, stage: Stage) -> None:
        scale = self.training.size / stage.batch
        self.system.zero_grad()  # what an earlier stage left would count in this one's norm
        raw = optimisers(self.system, stage, scale=scale, trainable=self.trainable)
        self.found = [self.accelerator.prepare(optimiser) for optimiser in raw]

    def _run_stage(self, number: int, epochs: range) -> None:
        per_epoch, stage = self.training.steps, self.stages[number]
        for epoch in epochs:
            if epoch < self.place.epoch:
                continue
            start = self.place.batch if epoch == self.place.epoch else 0
            ahead = self.training.training(epoch, start=start, team=self.team)
            for batch, clips in enumerate(ahead, start):
                done = (epoch - epochs.start) * per_epoch + batch
                rate = set_rates(self.found, done, len(epochs) * per_epoch)
                norm = self._step(clips, stage, epoch)
                seconds = time.monotonic() - self._began
                self.place = Place(number, epoch, batch + 1, self.place.step + 1, seconds)
                if self.place.step % LOG_EVERY == 0 or batch + 1 == per_epoch:
                    self._log(stage, rate, norm)
                if self._stop or (time.monotonic() - self._saved >= self.save_s and batch + 1 < per_epoch):
                    self._save()
                if self._stop:
                    self.team.part()
                    raise KeyboardInterrupt
            if self._validate(log=True):
                last = epoch + 1 == epochs.stop and number + 1 < len(self.stages)
                self.place = replace(self.place, stage=number + last, epoch=epoch + 1, batch=0)
                if last:
                    self.found = []  # the next stage begins with optimisers of its own
            self._save()
            if self.team.any(self._asked.is_set()):
                self.team.part()
                raise KeyboardInterrupt

    def _step(self, clips: Clips, stage: Stage, epoch: int) -> Tensor:
        """One step of the optimisers; the gradient's norm before clipping."""
        device, seed = self.accelerator.device, self.settings.seed
        rng = torch.Generator(device).manual_seed(self.team.seed(seed_of(seed, LOSSES, self.place.step)))
        torch.manual_seed(self.team.seed(seed_of(seed, DROPOUT, self.place.step)))
        self.system.train()
        before = self.team.before(self.system)
        with torch.autocast(device.type, torch.bfloat16, enabled=self.settings.precision == "bf16"):
            terms = self.system.losses(clips.to(device), rng=rng, epoch=epoch)
            loss = torch.stack([term.float() for term in terms.values()]).sum()
        for optimiser in self.found:
            optimiser.zero_grad()
        self.accelerator.backward(loss)
        terms, self._stop = self.team.meet(
            self.system, before, {"loss": loss, **terms}, videos=len(clips), stop=self._asked.is_set()
        )
        clip = stage.clip if self.settings.clip is None else self.settings.clip
        norm = torch.nn.utils.clip_grad_norm_(self.system.parameters(), clip or float("inf"))
        for optimiser in self.found:
            optimiser.step()
        self._sums.add(terms, norm)
        return norm

    def _log(self, stage: Stage, rate: float, norm: Tensor) -> None:
        """The mean of the steps since the last line, to metrics.jsonl and whoever listens."""
        self._sums.check(self.place.step, stage.name)
        means, self._sums = self._sums.means(), Sums()
        if not self.team.first:
            return
        place, loss = self.place, means.pop("loss")
        row = {"kind": "train", "step": place.step, "epoch": place.epoch, "stage": stage.name, "loss": loss}
        row |= {"terms": means, "rate": rate, "norm": float(norm), "seconds": place.seconds}
        runfolder.add_metrics(self.out, row)
        text = f"epoch {place.epoch + 1}/{self.settings.epochs}, loss {loss:.3f}"
        self.tell(Told("train", place.step, self.total, text))

    def _validate(self, *, log: bool) -> bool:
        """Answers the held-out videos in the first process; whether it came to its end."""
        held = self.held_out
        if held is None or not self.team.first:
            return True
        self.said = answers(self.system, held, self.k, device=self.accelerator.device, asked=self._asked)
        if self.said is None:
            return False
        if log:
            found = figures(self.said, held.cache, held.indices, self.k)
            row = {"kind": "validation", "step": self.place.step, "epoch": self.place.epoch, "k": self.k}
            runfolder.add_metrics(self.out, row | found)
            shown = ", ".join(f"{name.replace('_', ' ')} {value:.3f}" for name, value in found.items())
            self.tell(Told("note", text=f"epoch {self.place.epoch + 1}: held out at K={self.k}: {shown}"))
        return True

    def _save(self) -> None:
        """Saves the state, the same in every process; what has blown up must not replace a good one."""
        self._sums.check(self.place.step, self.stages[self.place.stage].name)
        if self.team.first:
            self.place = replace(self.place, seconds=time.monotonic() - self._began)
            save_state(self.out / runfolder.RESUME, self.place, self.system, self.found)
        self._saved = time.monotonic()
