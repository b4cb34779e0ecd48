"""From a dataset folder to a model folder: everything before and after the loop."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from avglance.data.cache import Cache, build_cache
from avglance.data.records import Dataset, read_dataset
from avglance.errors import ArgumentError, DataError, MissingExtra
from avglance.systems import build
from avglance.systems.base import System
from avglance.systems.store import save_model
from avglance.training import runfolder
from avglance.training.batches import Batches, split
from avglance.training.draws import WEIGHTS, seed_of
from avglance.training.loop import Loop
from avglance.training.rates import share_epochs
from avglance.training.settings import Told, TrainSettings
from avglance.training.validate import UNMEASURED_THRESHOLD, figures, span_threshold

if TYPE_CHECKING:
    from accelerate import Accelerator

TOY_KINDS = ("glanceworld",)
"""Beginnings of the kinds of datasets whose classes mean nothing outside of them."""


def train(
    data: str | Path,
    settings: TrainSettings,
    *,
    out: str | Path,
    cache: str | Path | None = None,
    device: str = "auto",
    workers: int | None = None,
    save_minutes: float = 10.0,
    skip_broken: bool = False,
    command: str = "",
    tell: Callable[[Told], None] | None = None,
) -> Path:
    """Trains a system on a dataset; an unfinished run of the same settings in ``out`` is gone on with.

    Args:
        data: dataset folder.
        settings: what decides the weights.
        out: run folder, new or of the same run.
        cache: where caches lie; None: ``.cache`` in the dataset folder.
        device: "auto" (CUDA where there is one), "cpu" or "cuda".
        workers: processes that fill the cache, threads that read it; None: by the cores.
        save_minutes: between saved states; each epoch's end is saved too.
        skip_broken: leave out videos that cannot be read, in place of an error.
        command: how the run was asked for, for its record.
        tell: hears how it goes.

    Returns:
        The model folder.

    Raises:
        DataError: the dataset is not what it should be.
        ArgumentError: a setting is not allowed, or ``out`` holds something else.
        MissingExtra: accelerate is not installed.
        KeyboardInterrupt: Ctrl-C; the run can be resumed.
    """
    out, hear = Path(out), tell or (lambda told: None)
    dataset = read_dataset(data)
    with torch.random.fork_rng():  # fresh weights come from the global generator
        torch.manual_seed(seed_of(settings.seed, WEIGHTS))
        system = build(settings.system, classes=len(dataset.classes), **settings.changes)
    k = system.check_budget(max(1, round(system.max_k / 4)) if settings.budget is None else settings.budget)
    share_epochs(system.stages(), settings.epochs)  # what is wrong there is told before anything is written
    accelerator = _accelerator(device)
    said = runfolder.describe(
        settings, dataset, system.settings, device=str(accelerator.device), command=command
    )
    there, differing = runfolder.open_run(out, said)
    if (out / runfolder.MODEL).is_dir():
        hear(Told("note", text=f"this run is finished: {out / runfolder.MODEL}"))
        return out / runfolder.MODEL
    if there:
        hear(Told("note", text=f"going on with the run in {out}"))
    if differing:
        hear(
            Told("note", text=f"other than when the run began: {', '.join(differing)}; last bits may differ")
        )
    kept = _cached(dataset, system, cache, workers, skip_broken, hear)
    loop = _loop(system, accelerator, settings, kept, out=out, k=k, save_s=60 * save_minutes, hear=hear)
    for batches in (loop.training, loop.held_out):
        if workers and batches is not None:
            batches.workers = workers
    _say_plan(loop, hear)
    loop.run()
    return _finish(loop, dataset, said)


def _accelerator(device: str) -> Accelerator:
    try:
        from accelerate import Accelerator
    except ImportError as error:
        raise MissingExtra("training needs accelerate", hint="pip install 'avglance[train]'") from error
    if device not in ("auto", "cpu", "cuda"):
        raise ArgumentError(f"device must be 'auto', 'cpu' or 'cuda', got {device!r}", where="train")
    if device == "cuda" and not torch.cuda.is_available():
        raise ArgumentError(
            "torch sees no CUDA device", where="train", hint="--device cpu, or see `avglance doctor`"
        )
    wanted = "cpu" if device == "cpu" or not torch.cuda.is_available() else "cuda"
    try:
        accelerator = Accelerator(cpu=wanted == "cpu")
    except ValueError as error:  # it keeps its device for the life of a process
        raise _other_device(wanted) from error
    if accelerator.device.type != wanted:
        raise _other_device(wanted)
    if accelerator.num_processes > 1:
        raise ArgumentError(
            f"training runs in one process, {accelerator.num_processes} were started",
            where="train",
            hint="start it without a launcher",
        )
    return accelerator


def _other_device(wanted: str) -> ArgumentError:
    return ArgumentError(
        f"this process has trained on another device than {wanted} before",
        where="train",
        hint="train in a new process",
    )


def _cached(
    dataset: Dataset,
    system: System,
    folder: str | Path | None,
    workers: int | None,
    skip_broken: bool,
    hear: Callable[[Told], None],
) -> Cache:
    home = Path(folder) if folder is not None else dataset.folder / ".cache"
    built = build_cache(
        dataset,
        system.view_settings,
        home,
        workers=workers,
        progress=lambda done, total: hear(Told("cache", done, total)),
        skip_broken=skip_broken,
    )
    if built.broken:
        hear(Told("note", text=f"{len(built.broken)} videos cannot be read and are left out"))
    return Cache(dataset, system.view_settings, home)


def _loop(
    system: System,
    accelerator: Accelerator,
    settings: TrainSettings,
    cache: Cache,
    *,
    out: Path,
    k: int,
    save_s: float,
    hear: Callable[[Told], None],
) -> Loop:
    training, held_out = split(cache.records, settings.validation, settings.seed)
    size = min(settings.batch or system.stages()[0].batch, len(training))
    if size < 2:
        raise DataError("a training needs at least two videos a batch", where=str(cache.dataset.folder))
    for n in held_out.tolist():  # a wrong truth file is told now, not after the first epoch
        _ = getattr(cache.records[n].truth, "span", None)
    runfolder.write_split(
        out,
        cache.dataset,
        [cache.records[n].path for n in training],
        [cache.records[n].path for n in held_out],
    )
    move = int(cache.dataset.world.get("augment", {}).get("translate_px", 0))
    threads = 1 if accelerator.device.type == "cpu" else min(8, os.cpu_count() or 1)
    shared = {"seed": settings.seed, "translate_px": move, "workers": threads}
    return Loop(
        system,
        accelerator,
        settings,
        out,
        training=Batches(cache, training, size, **shared),
        held_out=Batches(cache, held_out, size, **shared) if len(held_out) else None,
        k=k,
        save_s=save_s,
        tell=hear,
    )


def _say_plan(loop: Loop, hear: Callable[[Told], None]) -> None:
    held = len(loop.held_out.indices) if loop.held_out is not None else 0
    size, steps = loop.training.size, loop.training.steps
    text = f"{loop.settings.system}: {len(loop.training.indices)} videos to train on, {held} held out, "
    text += f"{loop.settings.epochs} epochs of {steps} steps of {size} videos, on {loop.accelerator.device}"
    hear(Told("note", text=text))
    for stage in loop.stages:
        rates = ", ".join(f"{group.rate * size / stage.batch:.3g}" for group in stage.groups)
        scaled = f" (meant for batches of {stage.batch}: multiplied by {size}/{stage.batch})"
        hear(Told("note", text=f"stage {stage.name}: rate {rates}{scaled if size != stage.batch else ''}"))


def _finish(loop: Loop, dataset: Dataset, said: dict[str, Any]) -> Path:
    """Writes the model folder of a run that came to its end."""
    measured: dict[str, float] = {"span_threshold": UNMEASURED_THRESHOLD}
    metrics: dict[str, Any] = {}
    if loop.held_out is not None and loop.said is not None:
        held = loop.held_out
        metrics = {
            "k": loop.k,
            "videos": len(held.indices),
            **figures(loop.said, held.cache, held.indices, loop.k),
        }
        measured = span_threshold(loop.said, held.cache, held.indices)
        if "span_iou" in measured:
            metrics["span_iou"] = measured["span_iou"]
    kind = dataset.kind or dataset.folder.resolve().name
    toy = bool(dataset.world.get("toy", kind.startswith(TOY_KINDS)))
    card = {
        "name": f"{loop.settings.system}.{kind}",
        "toy": toy,
        "license": str(dataset.world.get("license") or ("Apache-2.0" if toy else "not stated")),
        "budget": loop.k,
        "span_threshold": measured["span_threshold"],
        "metrics": {"held_out": metrics},
        "data": said["data"] | {"folder": dataset.folder.resolve().name, "seed": dataset.world.get("seed")},
        "epochs": loop.settings.epochs,
        "checkpoint": "the last epoch",
        **{name: said[name] for name in ("command", "settings", "seed", "versions", "device", "threads")},
        "seconds": round(loop.place.seconds, 1),
    }
    return save_model(loop.system, loop.out / runfolder.MODEL, classes=dataset.classes, card=card)
