"""From a dataset folder to a model folder: everything before and after the loop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from avglance.data.cache import Cache, build_cache
from avglance.data.records import Dataset, read_held_out, read_training
from avglance.errors import CheckpointError, DataError
from avglance.systems import build
from avglance.systems.base import System
from avglance.systems.budget import look_macs
from avglance.systems.encoders import check_frozen, load_encoders
from avglance.systems.selftest import record
from avglance.systems.store import begin_from, save_model, weights_of
from avglance.training import runfolder
from avglance.training.batches import Batches, split
from avglance.training.best import told
from avglance.training.calibrate import calibrate, fit_familiar
from avglance.training.draws import WEIGHTS, seed_of
from avglance.training.features import ask_once, check_features
from avglance.training.labels import follow_labels
from avglance.training.learned import Judged, report
from avglance.training.loop import Loop
from avglance.training.machine import accelerator_for, device_name, own_draws, readers, share_threads
from avglance.training.rates import share_epochs
from avglance.training.resume import newest
from avglance.training.settings import Told, TrainSettings
from avglance.training.team import Team
from avglance.training.validate import UNMEASURED_THRESHOLD, answers, figures, span_threshold

if TYPE_CHECKING:
    from accelerate import Accelerator

Side = tuple[Cache, NDArray[np.int64]]
"""Some videos of a cache."""
MOST_ASKED = 2000
"""Videos that trained, above which they are not asked again for labels that may be wrong."""
USUAL_SHARE = 0.1
"""Of the videos, held out where nothing else is said."""
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
    threads: int | None = None,
    save_minutes: float = 10.0,
    skip_broken: bool = False,
    unpack: bool = False,
    command: str = "",
    tell: Callable[[Told], None] | None = None,
) -> Path:
    """Trains a system on a dataset; an unfinished run of the same settings in ``out`` is gone on with.

    Where a launcher (torchrun) started several processes, each of them calls this and they train one system
    together: each batch is shared out, and the first process alone fills the cache, validates and writes.

    Args:
        data: a dataset, as `read_dataset` takes it; where it has splits, ``train`` is used.
        settings: what decides the weights.
        out: run folder, new or of the same run.
        cache: where caches lie; None: ``.cache`` in the dataset folder.
        device: "auto" (CUDA where there is one), "cpu" or "cuda".
        workers: processes that fill the cache, threads that read it; None: by the cores.
        threads: of the computation; None: those that torch has, or of several processes each its part of
            the machine's cores.
        save_minutes: between saved states; each epoch's end is saved too.
        skip_broken: leave out videos that cannot be read, in place of an error.
        unpack: keep the cache's pictures as raw pixels too (``build_cache``).
        command: how the run was asked for, for its record.
        tell: hears how it goes.

    Returns:
        The model folder.

    Raises:
        DataError: the dataset is not what it should be.
        CheckpointError: the model to start from or weights of an encoder cannot be read, or do not fit.
        ArgumentError: a setting is not allowed, ``out`` holds something else, or another process stopped.
        MissingExtra: accelerate is not installed.
        KeyboardInterrupt: Ctrl-C; the run can be resumed.
    """
    out, dataset = Path(out), read_training(data)
    settings, followed = follow_labels(settings, dataset)
    settings, held = held_out_of(data, settings)
    with own_draws():  # fresh weights come from the global generator
        torch.default_generator.manual_seed(seed_of(settings.seed, WEIGHTS))
        system = build(settings.system, classes=len(dataset.classes), **settings.changes)
    going_on = newest(out / runfolder.RESUME) is not None or (out / runfolder.MODEL).is_dir()
    begun, taken, fresh = _begin(system, settings, dataset, going_on=going_on)
    check_frozen(system, fresh=fresh, filled=settings.weights)
    if settings.features:
        check_features(system)
    filled = _fill_encoders(system, settings, going_on=going_on)
    k = system.check_budget(max(1, round(system.max_k / 4)) if settings.budget is None else settings.budget)
    share_epochs(system.stages(), settings.epochs)  # what is wrong there is told before anything is written
    accelerator = accelerator_for(device)
    team = Team.of(accelerator)
    team.check_batch(settings.batch or system.stages()[0].batch)
    share_threads(team, threads)
    hear = tell if tell is not None and team.first else (lambda told: None)
    said = runfolder.describe(
        settings,
        dataset,
        system.settings,
        device=device_name(accelerator.device),
        processes=team.size,
        command=command,
        start=begun,
        weights=filled,
        held_out=held,
    )
    if taken:
        hear(Told("note", text=taken))
    for sense, noted in filled.items() if not going_on else ():
        hear(Told("note", text=f"the {sense} encoder begins as in {noted['file']}"))
    if team.ask_first(lambda: _is_finished(out, said, hear)):
        return out / runfolder.MODEL
    if followed:
        hear(Told("note", text=followed))
    home = Path(cache) if cache is not None else dataset.folder / ".cache"
    how = {"workers": workers, "skip_broken": skip_broken, "unpack": unpack}
    kept = []
    for part in (dataset, held) if held is not None else (dataset,):
        team.ask_first(partial(_fill, part, system, home, hear, **how))
        kept.append(Cache(part, system.view_settings, home))
    if settings.features:
        state = newest(out / runfolder.RESUME)
        kept = ask_once(system.to(accelerator.device), kept, settings, team, hear, state=state)
    sides = _sides(kept, settings)
    loop = _loop(system, accelerator, settings, sides, out=out, k=k, save_s=60 * save_minutes, hear=hear)
    for batches in (loop.training, loop.held_out):
        if workers and batches is not None:
            batches.workers = workers
    team.ask_first(lambda: _write_split(loop))
    _say_plan(loop, hear)
    loop.run()
    team.ask_first(lambda: _finish(loop, dataset, said))
    team.part()
    return out / runfolder.MODEL


def held_out_of(data: str | Path, settings: TrainSettings) -> tuple[TrainSettings, Dataset | None]:
    """The settings with the share that is held out, and the data's own part for that, if it is to be used.

    Raises:
        DataError: as ``read_dataset``.
    """
    if settings.validation is not None:
        return settings, None
    held = read_held_out(data)
    return (replace(settings, validation=USUAL_SHARE) if held is None else settings), held


def _begin(
    system: System, settings: TrainSettings, dataset: Dataset, *, going_on: bool
) -> tuple[str, str, list[str]]:
    """The warm start: checksum of the weights it began with, what was taken in words, names of fresh ones.

    A run that has a state of its own goes on from that; the model it began with may have gone.
    """
    if not settings.start:
        return "", "", [] if going_on else list(system.state_dict())
    if going_on:
        try:
            return weights_of(settings.start)[0], "", []
        except CheckpointError:
            return "", "", []
    checksum, classes = weights_of(settings.start)
    heads: set[str] = set()
    if classes != tuple(dataset.classes):  # those whose shape tells how many classes there are
        other = build(settings.system, classes=len(dataset.classes) + 1, **settings.changes).state_dict()
        heads = {name for name, x in system.state_dict().items() if other[name].shape != x.shape}
    count, fresh = begin_from(system, settings.start, heads=heads)
    left = f", fresh: {', '.join(fresh[:4])}{' ...' * (len(fresh) > 4)}" if fresh else ""
    return checksum, f"{count} of {count + len(fresh)} tensors begin as in {settings.start}{left}", fresh


def _fill_encoders(system: System, settings: TrainSettings, *, going_on: bool) -> dict[str, dict[str, str]]:
    """Encoders that begin with weights of their own: name and checksum of the file of each.

    A run that has a state of its own goes on from that; the files may have gone.
    """
    noted = {sense: {"file": Path(path).name, "sha256": ""} for sense, path in settings.weights.items()}
    try:
        for sense, checksum in load_encoders(system, settings.weights).items():
            noted[sense]["sha256"] = checksum
    except CheckpointError:
        if not going_on:
            raise
    return noted


def _is_finished(out: Path, said: dict[str, Any], hear: Callable[[Told], None]) -> bool:
    """Opens the run folder; whether its run came to its end before."""
    there, differing = runfolder.open_run(out, said)
    if (out / runfolder.MODEL).is_dir():
        hear(Told("note", text=f"this run is finished: {out / runfolder.MODEL}"))
        return True
    if there:
        hear(Told("note", text=f"going on with the run in {out}"))
    if differing:
        text = f"other than when the run began: {', '.join(differing)}; last bits may differ"
        hear(Told("note", text=text))
    return False


def _fill(
    dataset: Dataset,
    system: System,
    home: Path,
    hear: Callable[[Told], None],
    **how: Any,
) -> bool:
    """Makes what is missing of the cache; True."""
    built = build_cache(
        dataset,
        system.view_settings,
        home,
        progress=lambda done, total: hear(Told("cache", done, total)),
        **how,
    )
    if built.broken:
        hear(Told("note", text=f"{len(built.broken)} videos cannot be read and are left out"))
    return True


def _sides(kept: Sequence[Cache], settings: TrainSettings) -> list[Side]:
    """Videos to train on, and those held out: of one cache, or of a second one all.

    They show known classes; with ``teach_unknown`` some that train show none.
    """
    if len(kept) == 1:
        share = settings.validation or 0.0
        drawn = [(kept[0], side) for side in split(kept[0].records, share, settings.seed)]
    else:
        drawn = [(cache, np.arange(len(cache))) for cache in kept]
    return [
        (cache, side if taught else side[[not cache.records[n].unknown for n in side.tolist()]])
        for (cache, side), taught in zip(drawn, (settings.teach_unknown, False), strict=True)
    ]


def _loop(
    system: System,
    accelerator: Accelerator,
    settings: TrainSettings,
    sides: Sequence[Side],
    *,
    out: Path,
    k: int,
    save_s: float,
    hear: Callable[[Told], None],
) -> Loop:
    (cache, training), (held_cache, held_out) = sides
    size = min(settings.batch or system.stages()[0].batch, len(training))
    if size < 2:
        raise DataError("a training needs at least two videos a batch", where=str(cache.dataset.folder))
    if settings.keep == "best" and not len(held_out):
        what = "no video of a known class is held out that could tell which epoch is the best"
        raise DataError(what, where=str(cache.dataset.folder), hint="--validation, or --keep last")
    team = Team.of(accelerator)
    team.check_batch(size)
    for n in held_out.tolist():  # a wrong truth file is told now, not after the first epoch
        _ = getattr(held_cache.records[n].truth, "span", None)
    move = int(cache.dataset.world.get("augment", {}).get("translate_px", 0))
    shared = {"seed": settings.seed, "translate_px": move, "workers": readers(team)}
    return Loop(
        system,
        accelerator,
        settings,
        out,
        training=Batches(cache, training, size, **shared),
        held_out=Batches(held_cache, held_out, size, **shared) if len(held_out) else None,
        k=k,
        save_s=save_s,
        tell=hear,
    )


def _write_split(loop: Loop) -> bool:
    """Writes which files train and which are held out; True."""
    sides = [loop.training] + ([] if loop.held_out is None else [loop.held_out])
    training, *held_out = ([side.cache.records[n].path for n in side.indices.tolist()] for side in sides)
    runfolder.write_split(loop.out, loop.training.cache.dataset, training, held_out[0] if held_out else [])
    return True


def _say_plan(loop: Loop, hear: Callable[[Told], None]) -> None:
    held = len(loop.held_out.indices) if loop.held_out is not None else 0
    size, steps = loop.training.size, loop.training.steps
    text = f"{loop.settings.system}: {len(loop.training.indices)} videos to train on, {held} held out, "
    text += f"{loop.settings.epochs} epochs of {steps} steps of {size} videos, "
    text += f"on {device_name(loop.team.device)}"
    if loop.team.size > 1:
        text += f", in {loop.team.size} processes"
    hear(Told("note", text=text))
    for stage in loop.stages:
        rates = ", ".join(f"{group.rate * size / stage.batch:.3g}" for group in stage.groups)
        scaled = f" (meant for batches of {stage.batch}: multiplied by {size}/{stage.batch})"
        hear(Told("note", text=f"stage {stage.name}: rate {rates}{scaled if size != stage.batch else ''}"))


def _strangers(loop: Loop) -> Batches | None:
    """The videos that show none of the classes and train nothing, held out or not; None without any."""
    own = loop.training
    for side in (loop.held_out, own):
        if side is None:
            continue
        found = np.array([n for n, r in enumerate(side.cache.records) if r.unknown], dtype=np.int64)
        found = np.setdiff1d(found, own.indices) if side.cache is own.cache else found
        if found.size:
            return replace(side, indices=found)
    return None


def _write_report(loop: Loop, card: dict[str, Any]) -> None:
    """Writes what was learned, by held-out videos; those that trained are asked too, unless they are many."""
    held, own, said = loop.held_out, loop.training.known(), loop.exam.said
    if held is None or said is None:
        return
    again = None
    if len(own.indices) <= MOST_ASKED:
        again = answers(loop.system, own, loop.k, device=loop.team.device)
    groups = {held.cache.records[n].group or n for n in held.indices.tolist()}
    before, look = look_macs(loop.system)
    found = report(
        Judged.of(said, held),
        None if again is None else Judged.of(again, own, trained=True),
        classes=own.cache.dataset.classes,
        counts=own.cache.targets[own.indices].sum(0).astype(int).tolist(),
        several=loop.exam.several,
        card=card,
        sizes={"trained": len(own.indices), "held_out": len(held.indices), "groups": len(groups)},
        gmacs=(before + loop.k * look) / 1e9,
    )
    runfolder.write_json(loop.out / runfolder.REPORT, found)


def _finish(loop: Loop, dataset: Dataset, said: dict[str, Any]) -> bool:
    """Writes the model folder of a run that came to its end; True."""
    fit_familiar(loop.system, loop.training, loop.k, device=loop.team.device)
    measured: dict[str, float] = {"span_threshold": UNMEASURED_THRESHOLD}
    metrics: dict[str, Any] = {}
    found: dict[str, Any] = {}
    if loop.held_out is not None and loop.exam.said is not None:
        held = loop.held_out
        metrics = {
            "k": loop.k,
            "videos": len(held.indices),
            **figures(loop.exam.said, held.cache, held.indices, loop.k),
        }
        several = loop.system.labels == "several"
        measured = span_threshold(loop.exam.said, held.cache, held.indices, several=several)
        if "span_iou" in measured:
            metrics["span_iou"] = measured["span_iou"]
        found = calibrate(loop.system, held, _strangers(loop), loop.k, device=loop.team.device)
        if found and said["data"]["held_out"]:
            found["calibration"]["data"] = said["data"]["held_out"]
    kind = dataset.kind or dataset.folder.resolve().name
    toy = bool(dataset.world.get("toy", kind.startswith(TOY_KINDS)))
    card = {
        "name": f"{loop.settings.system}.{kind}",
        "toy": toy,
        "labels": loop.system.labels,
        "license": str(dataset.world.get("license") or ("Apache-2.0" if toy else "not stated")),
        "budget": loop.k,
        "span_threshold": measured["span_threshold"],
        "metrics": {"held_out": metrics},
        "data": said["data"] | {"folder": dataset.folder.resolve().name, "seed": dataset.world.get("seed")},
        "epochs": loop.settings.epochs,
        "epochs_done": loop.place.epoch,
        "checkpoint": told(loop.place),
        **{name: said[name] for name in ("command", "settings", "seed", "versions", "weights")},
        **{name: said[name] for name in ("device", "threads", "processes")},
        "seconds": round(loop.place.seconds, 1),
        **found,
    }
    _write_report(loop, card)
    with runfolder.trouble_named(loop.out / runfolder.MODEL):
        save_model(loop.system, loop.out / runfolder.MODEL, classes=dataset.classes, card=card)
    with own_draws():  # it is built anew, and that draws
        record(loop.out / runfolder.MODEL)
    return True
