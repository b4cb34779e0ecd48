"""A model over the files of a dataset, by the same path as a single file: views, ``recognise``, the meter.

Batches are independent, so several may run at once: the decoder, numpy and torch let go of the interpreter's
lock while they work. Figures do not depend on how many do; clocks do, so the report says how many there were.
Each file gets one decoder thread: with more, a decoder reads ahead, by a frame for each core of the machine.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import torch

from avglance.data.cache import Cache
from avglance.data.records import Dataset, Record
from avglance.errors import ArgumentError, DataError
from avglance.evaluation.answers import Answer
from avglance.evaluation.batch import STEERING, TELLING, Batch, Control, Looks, Spent, recognise_batch
from avglance.evaluation.controls import shared_labels, sound_donors
from avglance.evaluation.summary import Run, summarise
from avglance.runtime import Host
from avglance.systems.base import System
from avglance.systems.calibration import Judgement
from avglance.systems.store import saw
from avglance.types import Failure, Stopping
from avglance.views import Grid, check_grid

if TYPE_CHECKING:
    from avglance.runtime import LoadedGraphs
    from avglance.systems.store import LoadedModel

CONTROLS: tuple[Control, ...] = get_args(Control)
DEFAULT_MOMENTS = 4
NOT_CACHED = "it could not be read when the cache was made"
Progress = Callable[[int, int, int], None]


@dataclass(frozen=True)
class EvaluationSettings:
    """How a dataset is gone through.

    Attributes:
        budget: K, close looks a video; None: 4, or as many as the system can spend.
        batch: videos in one ``recognise``.
        control: ``swap_sound`` gives each video the sound of another, of another class where there is one;
            ``mute`` makes nothing audible; ``true_moments``, ``true_patches`` and ``true_both`` tell the
            system what choosing and aiming are there to find, ``uniform`` has it look at evenly spaced
            snippets (systems that choose or aim alone).
        limit: only the first so many videos of the manifest.
        workers: batches at work at once.
        seed: of the control's permutation and of the bootstrap.
        exits: in words, what lets a video have fewer looks than the budget; empty: nothing does.
        precision: of the encoders.
        rough: files are decoded at reduced cost (``VideoReader``).
        glance_pictures: how many pictures a video are decoded, chosen by sound, 0: all; None: as the system
            was trained.
    """

    budget: int | None = None
    batch: int = 16
    control: Control = "none"
    limit: int | None = None
    workers: int = 1
    seed: int = 0
    exits: str = ""
    precision: str = "float32"
    rough: bool = False
    glance_pictures: int | None = None

    def __post_init__(self) -> None:
        for name in ("budget", "batch", "limit", "workers"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ArgumentError(f"{name} must be at least 1, got {value}", where="evaluate")
        if self.control not in CONTROLS:
            raise ArgumentError(
                f"control must be one of {', '.join(CONTROLS)}, got {self.control!r}", where="evaluate"
            )
        if self.control == "uniform" and self.exits:
            hint = "leave --exit away; with a budget in GMACs add --no-exit"
            raise ArgumentError(
                "evenly spaced moments take a fixed number of looks", where="evaluate", hint=hint
            )


def evaluate(
    model: LoadedModel | LoadedGraphs,
    dataset: Dataset,
    *,
    budget: int | None = None,
    batch: int = 16,
    device: str | torch.device | None = None,
    control: Control = "none",
    limit: int | None = None,
    workers: int = 1,
    seed: int = 0,
    cache: Cache | None = None,
    stop: Stopping | None = None,
    exits: str = "",
    precision: str = "float32",
    grid: Grid | None = None,
    rough: bool = False,
    glance_pictures: int | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Figures of a model on a dataset, with their cost and one row a video: plain values, None for unknown.

    Args:
        model: as ``load_model`` gives it; or ``load_graphs``, which can be told nothing.
        dataset: records with labels, and truth where there is any.
        budget: K, close looks a video; None: 4, or as many as the system can spend.
        batch: videos in one ``recognise``.
        device: where the system shall work; None: where it is.
        control: what is done to the sound or told to the system (``EvaluationSettings``).
        limit: only the first so many videos.
        workers: batches at work at once.
        seed: of the control and of the bootstrap.
        stop: what ends the looks at a video; None: each gets all its looks.
        exits: what its thresholds are for, in words; goes into the settings.
        precision: that of the system's encoders, as it is given; goes into the settings.
        grid: when snippets are looked at (``ViewSettings``); None: as the model was trained.
        rough: decode files at reduced cost (``VideoReader``).
        glance_pictures: decode so many pictures a video, chosen by sound, 0: all; None: as the system does.
        cache: of this dataset, read in place of the files: quicker, without the clock of decoding.
        progress: called with videos done, videos in all, failures so far.

    Raises:
        ArgumentError: a value is outside what is allowed.
        DataError: the model knows none of the dataset's classes.
    """
    words = "" if stop is None else exits or "given thresholds"
    settings = EvaluationSettings(
        budget, batch, control, limit, workers, seed, words, precision, rough, glance_pictures
    )
    _check_reading(grid, cache, rough=rough)
    system = placed(model.system, device)
    most = min(system.max_k, system.pictures(glance_pictures))
    k = system.check_budget(min(DEFAULT_MOMENTS, most) if budget is None else budget)
    records, classes = dataset.records[:limit], tuple(model.classes)
    if cache is not None:
        held = {record.path for record in cache.records}
        lost = [Failure(str(r.path), "unreadable", NOT_CACHED) for r in records if r.path not in held]
        records = tuple(record for record in records if record.path in held)
    else:
        lost = []
    if control in TELLING:
        _check_truth(records, control)
    unknown = _unknown_classes(records, classes)
    batches, shared = _batches(records, settings)
    if control in STEERING and "told" not in inspect.signature(system.recognise).parameters:
        what, hint = (
            f"{system.name} neither chooses nor aims",
            "leave --tell and --uniform to systems that do",
        )
        if isinstance(system, Host):
            what, hint = "graphs cannot be told where to look", "take --runtime torch"
        raise ArgumentError(what, where="evaluate", hint=hint)
    stops = (
        system.stops if isinstance(system, Host) else "stop" in inspect.signature(system.recognise).parameters
    )
    if stop is not None and not stops:
        raise ArgumentError(f"{system.name} cannot stop early", where="evaluate", hint="leave --exit away")
    found = model.card.get("calibration")
    judge = Judgement.from_card(found, len(classes), labels=system.labels, where=str(model.folder))
    threshold = float(model.card.get("span_threshold", 0.0))
    looks = Looks(system, classes, k, threshold, cache, judge, stop, grid, rough, glance_pictures)
    start, answers, seconds = time.perf_counter(), list[Answer | Failure](lost), dict[str, float]()
    failed = len(lost)
    for spent in _go(batches, looks, workers):
        answers += spent.answers
        failed += sum(isinstance(a, Failure) for a in spent.answers)
        for stage, value in spent.seconds.items():
            seconds[stage] = seconds.get(stage, 0.0) + value
        if progress:
            progress(len(answers), len(records) + len(lost), failed)
    return summarise(
        Run(
            answers=tuple(a for a in answers if isinstance(a, Answer)),
            failures=tuple(a for a in answers if isinstance(a, Failure)),
            classes=classes,
            k=k,
            seconds=seconds,
            wall_s=time.perf_counter() - start,
            whole_macs=system.whole_macs(),
            seed=seed,
            about=_about(model, dataset)
            | {"settings": asdict(settings) | _grid(looks) | {"cached": cache is not None}},
            calibrated="calibration" in model.card,
            label_mode=dataset.label_mode,
            notes={
                "unknown_classes": unknown,
                "donors_sharing_a_label": shared,
                "seen_before": list(saw(model.card, dataset.sha256)),
            },
        )
    )


def placed(system: System | Host, device: str | torch.device | None) -> System | Host:
    """The system on a device (None: where it is), ready to answer.

    Raises:
        ArgumentError: graphs do not compute there.
    """
    if not isinstance(system, Host):
        return system.eval() if device is None else system.eval().to(torch.device(device))
    if device is not None and torch.device(device).type != "cpu":
        raise ArgumentError(f"graphs compute on the CPU, not on {device}", where="evaluate")
    return system


def _check_reading(grid: Grid | None, cache: Cache | None, *, rough: bool) -> None:
    """Refuse a grid that is none, and ways to read files where none is read."""
    if grid is not None:
        check_grid(grid, where="evaluate")
    if cache is not None and (grid is not None or rough):
        hint = "leave the cache away: what it holds was read on the model's own grid, at full cost"
        raise ArgumentError("grid and rough are for files", where="evaluate", hint=hint)


def _check_truth(records: Sequence[Record], control: Control) -> None:
    """Refuse to tell what is not known: a figure of told and untold videos would mean nothing.

    A video that shows none of the classes has nothing to be told, and enters no figure of what is.
    """
    placed = any(r.truth is not None for r in records)
    blind = [r for r in records if r.truth is None and not (placed and r.unknown)]
    if blind:
        raise ArgumentError(
            f"{len(blind)} of {len(records)} videos have no known event to tell of: {blind[0].path}",
            where="evaluate",
            hint=f"{control} is for datasets with truth files, such as GlanceWorld",
        )


def _unknown_classes(records: Sequence[Record], classes: tuple[str, ...]) -> list[str]:
    """Labels that the model cannot give: their videos count as misses, and the report names them."""
    found = {label for record in records for label in record.labels}
    unknown = sorted(found - set(classes))
    if found and len(unknown) == len(found):
        raise DataError(
            f"the model knows none of the {len(found)} classes here, such as {unknown[0]!r}",
            where="evaluate",
            hint=f"it knows {len(classes)} classes, such as {classes[0]!r}",
        )
    return unknown


def _batches(records: Sequence[Record], settings: EvaluationSettings) -> tuple[list[Batch], int | None]:
    """The records in batches, and how many share a label with the donor of their sound (None: no donors)."""
    size, control = settings.batch, settings.control
    cuts = [slice(i, i + size) for i in range(0, len(records), size)]
    if control != "swap_sound":
        return [Batch(tuple(records[cut]), control) for cut in cuts], None
    labels = [record.labels for record in records]
    donor = sound_donors(labels, np.random.default_rng(settings.seed))
    given = [records[j] for j in donor.tolist()]
    return [Batch(tuple(records[cut]), control, tuple(given[cut])) for cut in cuts], shared_labels(
        labels, donor
    )


def _go(batches: Sequence[Batch], looks: Looks, workers: int) -> Iterator[Spent]:
    """What every batch gave, in order; the first goes alone, so that the multiply-adds are counted once."""
    if workers == 1 or len(batches) < 2:
        yield from (recognise_batch(batch, looks) for batch in batches)
        return
    yield recognise_batch(batches[0], looks)
    pool = ThreadPoolExecutor(workers, thread_name_prefix="evaluate")
    try:
        yield from pool.map(recognise_batch, batches[1:], [looks] * (len(batches) - 1))
    finally:
        pool.shutdown(cancel_futures=True)


def _grid(looks: Looks) -> dict[str, Any]:
    """How many snippets, when they are looked at, and when they were in training."""
    used, own = looks.view_settings, looks.system.view_settings
    return {"budget": looks.k, "snippets": used.snippets, "grid": used.grid, "trained_grid": own.grid}


def _about(model: LoadedModel | LoadedGraphs, dataset: Dataset) -> dict[str, Any]:
    """What was evaluated on what."""
    system, by = model.system, dict[str, Any]()
    if isinstance(system, Host):
        by = {"runtime": system.by, "computed": system.precision}
    return by | {
        "model": {
            "name": str(model.card.get("name") or model.folder.name),
            "system": str(model.card.get("system") or system.name),
            "weights_sha256": model.sha256,
            "labels": system.labels,
            "toy": bool(model.card.get("toy", False)),
            "span_threshold": model.card.get("span_threshold"),
        },
        "data": _about_data(dataset),
        "device": "cpu" if isinstance(system, Host) else str(system.device),
        "torch_threads": torch.get_num_threads(),
    }


def _about_data(dataset: Dataset) -> dict[str, Any]:
    """The dataset; its split and what is known of the list that it was made from, where it has them."""
    told: dict[str, Any] = {"kind": dataset.kind, "sha256": dataset.sha256, "videos": len(dataset.records)}
    more: dict[str, Any] = {"split": dataset.split, "listed": dataset.listed}
    more |= {"list_sha256": str(dataset.world.get("list_sha256") or "")}
    more |= {"splits": {} if dataset.split else dataset.splits}
    return told | {name: value for name, value in more.items() if value}
