"""The state a run resumes from: safetensors and JSON in a folder that appears whole or not at all.

States lie in ``resume/<step>-<epoch>``; the newest is read. Nothing random is stored, because every draw of a
training is a function of (seed, step) or of (seed, epoch, item).
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from avglance.errors import CheckpointError

TENSORS, PLACE = "state.safetensors", "state.json"


@dataclass(frozen=True)
class Place:
    """Where a run stands: the next step to do.

    Attributes:
        stage: number of the stage.
        epoch: number of the epoch, over all stages.
        batch: number of the batch in the epoch.
        step: steps done, over all.
        seconds: spent so far.
        kept: number of the epoch whose weights are the best so far; None where none are kept.
        merit: what made it the best (``best.merit``); empty without one.
        waited: validations since.
    """

    stage: int = 0
    epoch: int = 0
    batch: int = 0
    step: int = 0
    seconds: float = 0.0
    kept: int | None = None
    merit: tuple[float, ...] = ()
    waited: int = 0

    def after(self, stage: int, epoch: int, batch: int, seconds: float) -> Place:
        """The place after one more step, which was the batch of that number."""
        return replace(self, stage=stage, epoch=epoch, batch=batch + 1, step=self.step + 1, seconds=seconds)


def save_state(folder: Path, place: Place, system: nn.Module, found: Sequence[Optimizer]) -> None:
    """Writes the state of a run below ``folder`` and removes the one before.

    Raises:
        CheckpointError: it cannot be written; the one before is still there.
    """
    try:
        _write_state(folder, place, system, found)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"the state of the run cannot be written ({error})",
            where=str(folder),
            hint="make room on the disk; the same command goes on from the state before",
        ) from error


def _write_state(folder: Path, place: Place, system: nn.Module, found: Sequence[Optimizer]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f".{place.step:09d}.{os.getpid()}"
    shutil.rmtree(part, ignore_errors=True)
    try:
        _write_part(part, place, system, found)
        final = folder / f"{place.step:09d}-{place.epoch:06d}"
        if not _is_whole(final):  # else it is of an interrupted run, and holds the same
            shutil.rmtree(final, ignore_errors=True)
            part.rename(final)
    finally:
        shutil.rmtree(part, ignore_errors=True)  # what was begun on a full disk takes no room
    for old in folder.iterdir():
        if old != final:
            shutil.rmtree(old, ignore_errors=True)


def _write_part(part: Path, place: Place, system: nn.Module, found: Sequence[Optimizer]) -> None:
    part.mkdir()
    tensors = {f"system.{name}": tensor for name, tensor in system.state_dict().items()}
    tensors |= {f"optimiser.{name}": tensor for name, tensor in _moments(found).items()}
    save_file({name: own(tensor) for name, tensor in tensors.items()}, part / TENSORS)
    (part / PLACE).write_text(json.dumps(asdict(place)), encoding="utf-8")
    for file in part.iterdir():
        with open(file, "rb+") as written:
            os.fsync(written.fileno())


def _is_whole(state: Path) -> bool:
    """Whether a state has both its files: one whose removal was cut short has not."""
    return (state / PLACE).is_file() and (state / TENSORS).is_file()


def own(tensor: Tensor) -> Tensor:
    """A copy on the CPU that shares its memory with no other tensor."""
    return tensor.detach().to("cpu", copy=True).contiguous()


def _moments(found: Sequence[Optimizer]) -> dict[str, Tensor]:
    """Every tensor an optimiser keeps, named by optimiser, parameter number and key."""
    held: dict[str, Tensor] = {}
    for n, optimiser in enumerate(found):
        for number, state in optimiser.state_dict()["state"].items():
            held |= {f"{n}.{number}.{key}": x for key, x in state.items() if isinstance(x, Tensor)}
    return held


def newest(folder: Path) -> Path | None:
    """The newest whole state below ``folder``, or None."""
    whole = [path for path in folder.glob("[0-9]*") if (path / PLACE).is_file()]
    return max(whole, default=None)


def read_place(state: Path) -> Place:
    """Where a saved run stands.

    Raises:
        CheckpointError: the state is damaged.
    """
    try:
        found = Place(**json.loads((state / PLACE).read_text(encoding="utf-8")))
        return replace(found, merit=tuple(found.merit))
    except (OSError, ValueError, TypeError) as error:
        raise _damaged(state, error) from error


def load_state(state: Path, system: nn.Module, found: Sequence[Optimizer]) -> None:
    """Puts a saved state into a system and its optimisers, which must be those it came from.

    Raises:
        CheckpointError: the state is damaged or of another system.
    """
    try:
        tensors = load_file(state / TENSORS)
    except (OSError, SafetensorError) as error:
        raise _damaged(state, error) from error
    own = {name.removeprefix("system."): x for name, x in tensors.items() if name.startswith("system.")}
    try:
        system.load_state_dict(own, strict=True)
    except RuntimeError as error:
        raise CheckpointError(
            "the state is of another system", where=str(state), hint="train into a new folder"
        ) from error
    for n, optimiser in enumerate(found):
        prefix = f"optimiser.{n}."
        states: dict[int, dict[str, Tensor]] = {}
        for name, x in tensors.items():
            if name.startswith(prefix):
                number, key = name.removeprefix(prefix).split(".", 1)
                states.setdefault(int(number), {})[key] = x
        with torch.no_grad():
            optimiser.load_state_dict({**optimiser.state_dict(), "state": states})


def _damaged(state: Path, error: Exception) -> CheckpointError:
    return CheckpointError(
        f"the state to resume from is damaged ({error})",
        where=str(state),
        hint="remove this folder to begin anew, or train into another one",
    )
