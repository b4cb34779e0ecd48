"""What a training runs on: its device, its processes and their threads."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

import torch

from avglance.errors import ArgumentError, MissingExtra
from avglance.training.team import Team

if TYPE_CHECKING:
    from accelerate import Accelerator

PATIENCE = timedelta(days=30)  # the first process may fill a cache or validate while the others wait
READERS = 8  # threads that decode for a GPU, at most


def accelerator_for(device: str) -> Accelerator:
    """The device, and the processes that a launcher started, as accelerate sees them.

    Args:
        device: "auto" (CUDA where there is one), "cpu" or "cuda".

    Raises:
        ArgumentError: the device is unknown, not there, too few, or another than before in this process.
        MissingExtra: accelerate is not installed.
    """
    try:
        from accelerate import Accelerator
        from accelerate.utils import InitProcessGroupKwargs
    except ImportError as error:
        raise MissingExtra("training needs accelerate", hint="pip install 'avglance[train]'") from error
    wanted = _wanted(device)
    try:
        accelerator = Accelerator(
            cpu=wanted == "cpu",
            mixed_precision="no",  # a launcher's environment must not set what is a setting of the run
            kwargs_handlers=[InitProcessGroupKwargs(timeout=PATIENCE)],
        )
    except ValueError as error:  # it keeps its device for the life of a process
        raise _other_device(wanted) from error
    if accelerator.device.type != wanted:
        raise _other_device(wanted)
    return accelerator


def _wanted(device: str) -> str:
    if device not in ("auto", "cpu", "cuda"):
        raise ArgumentError(f"device must be 'auto', 'cpu' or 'cuda', got {device!r}", where="train")
    if device == "cpu" or (device == "auto" and not torch.cuda.is_available()):
        return "cpu"
    if not torch.cuda.is_available():
        raise ArgumentError(
            "torch sees no CUDA device", where="train", hint="--device cpu, or see `avglance doctor`"
        )
    processes, devices = _processes_here(1), torch.cuda.device_count()
    if processes > devices:
        raise ArgumentError(
            f"{processes} processes for {devices} CUDA devices",
            where="train",
            hint=f"start {devices} on this machine, or --device cpu",
        )
    return "cuda"


def _other_device(wanted: str) -> ArgumentError:
    return ArgumentError(
        f"this process has trained on another device than {wanted} before",
        where="train",
        hint="train in a new process",
    )


def device_name(device: torch.device) -> str:
    """As it is told and written down; of CPUs there is but one."""
    return "cpu" if device.type == "cpu" else str(device)


def _processes_here(usual: int) -> int:
    """How many processes a launcher started on this machine."""
    return max(1, int(os.environ.get("LOCAL_WORLD_SIZE", usual)))


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def share_threads(team: Team, threads: int | None) -> None:
    """Threads of the computation: as told; else the cores shared by the processes; alone: as torch has it."""
    if threads is None and team.size > 1:
        threads = max(1, _cores() // _processes_here(team.size))
    if threads is not None:
        if threads < 1:
            raise ArgumentError(f"threads must be at least 1, got {threads}", where="train")
        torch.set_num_threads(threads)


def readers(team: Team) -> int:
    """Threads of a process that read the cache while the device computes."""
    if team.device.type == "cpu":
        return 1
    return max(1, min(READERS, _cores() // _processes_here(team.size)))


@contextmanager
def own_draws(device: torch.device | None = None) -> Iterator[None]:
    """Inside, torch's own generators may be seeded; afterwards they are as they were before."""
    with torch.random.fork_rng(devices=[device] if device is not None and device.type == "cuda" else []):
        yield
