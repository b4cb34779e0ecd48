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
from avglance.training.best import BEST, forget_others
from avglance.training.draws import DROPOUT, LOSSES, seed_of
from avglance.training.exam import Exam, is_due
from avglance.training.interrupt import one_interrupt
from avglance.training.machine import own_draws
from avglance.training.rates import optimisers, set_rates, share_epochs
from avglance.training.resume import Place, load_state, newest, read_place, save_state
from avglance.training.settings import Told, TrainSettings
from avglance.training.sums import Sums
from avglance.training.team import Team, digest

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
        several, device = self.training.cache.dataset.label_mode == "multi", self.accelerator.device
        of_run = self.settings, self.out, device, self.tell
        self.exam = Exam(self.system, self.held_out, self.k, *of_run, several=several)

    def run(self) -> None:
        """Trains to the end; the last validation's answers stay in ``exam.said``, those of the kept weights.

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
            if self.team.first and not self.exam.settle(self.place, self._asked):
                raise KeyboardInterrupt

    def _begin_stage(self, stage: Stage) -> None:
        scale = self.training.size / stage.batch
        self.system.zero_grad()  # what an earlier stage left would count in this one's norm
        raw = optimisers(self.system, stage, scale=scale, trainable=self.trainable)
        self.found = [self.accelerator.prepare(optimiser) for optimiser in raw]

    def _run_stage(self, number: int, epochs: range) -> None:
        per_epoch, stage = self.training.steps, self.stages[number]
        for epoch in epochs:
            if epoch < self.place.epoch or self.exam.is_over(self.place):  # resumed behind it, or the end
                continue
            start = self.place.batch if epoch == self.place.epoch else 0
            ahead = self.training.training(epoch, start=start, team=self.team)
            for batch, clips in enumerate(ahead, start):
                done = (epoch - epochs.start) * per_epoch + batch
                rate = set_rates(self.found, done, len(epochs) * per_epoch)
                norm = self._step(clips, stage, epoch)
                seconds = time.monotonic() - self._began
                self.place = self.place.after(number, epoch, batch, seconds)
                if self.place.step % LOG_EVERY == 0 or batch + 1 == per_epoch:
                    self._log(stage, rate, norm)
                if self._stop or (time.monotonic() - self._saved >= self.save_s and batch + 1 < per_epoch):
                    self._save()
                if self._stop:
                    self.team.part()
                    raise KeyboardInterrupt
            if self._end_epoch(number, epoch, epochs.stop):
                return

    def _end_epoch(self, number: int, epoch: int, stop: int) -> bool:
        """Validates and saves; whether the training is over before its last epoch."""
        if self._take_exam(epoch):
            last = epoch + 1 == stop and number + 1 < len(self.stages)
            self.place = replace(self.place, stage=number + last, epoch=epoch + 1, batch=0)
            if last:
                self.found = []  # the next stage begins with optimisers of its own
        self._save()
        if self.team.any(self._asked.is_set()):
            self.team.part()
            raise KeyboardInterrupt
        return self.team.any(self.exam.is_over(self.place))

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

    def _take_exam(self, epoch: int) -> bool:
        """Validates where it is due, in the first process; whether that came to its end."""
        if not self.team.first or not is_due(self.settings, epoch):
            return True
        last = self.place.stage + 1 == len(self.stages)
        found = self.exam.take(self.place, self._asked, last_stage=last)
        self.place = found or self.place
        return found is not None

    def _save(self) -> None:
        """Saves the state, the same in every process; what has blown up must not replace a good one."""
        self._sums.check(self.place.step, self.stages[self.place.stage].name)
        if self.team.first:
            self.place = replace(self.place, seconds=time.monotonic() - self._began)
            save_state(self.out / runfolder.RESUME, self.place, self.system, self.found)
            forget_others(self.out / BEST, self.place.kept)
        self._saved = time.monotonic()
