"""The best epoch of a training: what makes one better, and where its weights wait for the end.

They lie in ``best/<epoch>.safetensors``. The place of the run (``resume``) says which epoch that is; the file
of the one before goes only after a state that names the new one is on the disk, so whatever state a run goes
on from, its best weights are there.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from avglance import metrics
from avglance.errors import CheckpointError
from avglance.training.resume import Place, own
from avglance.training.validate import Answers

BEST = "best"
_LEAST = 1e-12  # of a probability, before its logarithm


def merit(said: Answers, *, several: bool) -> tuple[float, ...]:
    """What the epochs of a training are compared by, the larger the better.

    Args:
        said: answers to held-out videos.
        several: videos may show several classes: mean average precision counts. Else top-1 does, and where
            it is equal, which it often is on few videos, the mean log probability of the true class.
    """
    if several:
        return (metrics.mean_average_precision(said.scores, said.targets).value,)
    right = np.where(said.targets > 0, said.scores, 0.0).max(axis=1)
    return metrics.top_k(said.scores, said.targets, 1), float(np.log(np.maximum(right, _LEAST)).mean())


def weigh(place: Place, said: Answers, *, several: bool, keep: Callable[[int], None]) -> Place:
    """The place after a validation: ``keep`` is told of an epoch that is better than all before."""
    now = merit(said, several=several)
    if now > place.merit:  # no merit at all is the least
        keep(place.epoch)
        return replace(place, kept=place.epoch, merit=now, waited=0)
    return replace(place, waited=place.waited + 1)


def told(place: Place) -> str:
    """Which epoch was kept, and why, in words."""
    if place.kept is None:
        return "the last epoch"
    figure = "top-1" if len(place.merit) > 1 else "mean average precision"
    ties = ", of equal ones the surest" if len(place.merit) > 1 else ""
    value = f"{place.merit[0]:.3f}"
    return f"epoch {place.kept + 1} of {place.epoch}, the best on held-out videos ({figure} {value}{ties})"


def save_best(folder: Path, epoch: int, system: nn.Module) -> None:
    """Writes the weights of an epoch below ``folder``.

    Raises:
        CheckpointError: they cannot be written.
    """
    final = _file(folder, epoch)
    part = final.with_name(f".{final.name}.{os.getpid()}.part")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            save_file({name: own(x) for name, x in system.state_dict().items()}, part)
            with open(part, "rb+") as written:
                os.fsync(written.fileno())
            os.replace(part, final)
        finally:
            part.unlink(missing_ok=True)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"the best weights cannot be written ({error})",
            where=str(folder),
            hint="make room on the disk; the same command goes on from the last saved state",
        ) from error


def load_best(folder: Path, epoch: int, system: nn.Module) -> None:
    """Puts the weights of an epoch back into the system that they came from.

    Raises:
        CheckpointError: they are gone, damaged, or of another system.
    """
    file = _file(folder, epoch)
    try:
        system.load_state_dict(load_file(file), strict=True)
    except (OSError, SafetensorError, RuntimeError) as error:
        raise CheckpointError(
            f"the best weights cannot be read ({str(error).partition(chr(10))[0]})",
            where=str(file),
            hint="train into a new folder",
        ) from error


def forget_others(folder: Path, epoch: int | None) -> None:
    """Removes the weights of all epochs but one."""
    for file in folder.glob("*.safetensors") if folder.is_dir() else ():
        if epoch is None or file != _file(folder, epoch):
            file.unlink(missing_ok=True)


def _file(folder: Path, epoch: int) -> Path:
    return folder / f"{epoch:06d}.safetensors"
