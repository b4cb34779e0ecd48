"""What trainings and evaluations left on disk, read as plain values for a comparison; nothing is believed.

A run folder holds ``run.json``, ``metrics.jsonl`` and evaluations called ``eval*.json``. An evaluation that
lies in no run folder is named like its model, and its training's seed is not known, unless it measured the
very weights of a run folder that is read too: then it is that run's.
"""

from __future__ import annotations

import itertools
import json
import math
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from avglance.errors import DataError
from avglance.evaluation.trainings import RUN, Training, mapping, number, read_json, read_training, whole

EVALUATIONS = "eval*.json"
SCHEMA = "avglance.evaluation/1"
FIGURES = ("top1", "map", "moment_recall", "patch_hit", "span_iou")
USUAL = ("budget", "batch", "limit", "workers", "seed", "snippets", "control", "cached", "trained_grid")
"""Settings that every evaluation has; any other one that is set makes another row."""
DEPTH, MOST_FOLDERS = 4, 20_000
_UNSET: tuple[Any, ...] = (None, False, "", "none", "float32", "exact", [], {})
"""Values that say nothing: evaluations in float32 and on the exact grid name them."""


@dataclass(frozen=True)
class Evaluation:
    """One evaluation of one model.

    Attributes:
        name: of its row.
        file: where it is.
        training: the run folder it lies in, or None.
        weights: checksum of the model.
        budget: K, close looks a video.
        snippets: T.
        control: what was done to the sound: ``none``, ``swap_sound``, ``mute`` ...
        extras: further settings, sorted: what the model was told or made to do.
        cached: pictures and sounds came from a cache: the seconds leave decoding out.
        kind: what made the dataset; may be empty.
        sha256: the dataset's hash.
        hits: whether the first label is right, by the video's name relative to the videos' common folder;
            labelled videos that were answered only.
        groups: what a video was cut from, by the same name, as far as it is known.
        videos: every video, answered or not.
        failed: how many were not answered.
        figures: by ``FIGURES``, shares in 0..1, None for unknown.
        gmacs: a video by stage, with ``total``.
        seconds: a video by stage, with ``total``.
        clock: under what conditions the seconds were taken.
        split: the part of the dataset; empty: all of it.
        listed: how many videos the list names that the dataset is from, absent ones too; None: not told.
        list_sha256: of that list; empty: not told.
    """

    name: str
    file: Path
    training: Training | None
    weights: str
    budget: int
    snippets: int
    control: str
    extras: tuple[str, ...]
    cached: bool
    kind: str
    sha256: str
    hits: dict[str, float]
    videos: frozenset[str]
    failed: int
    figures: dict[str, float | None]
    gmacs: dict[str, float]
    seconds: dict[str, float]
    clock: str
    split: str = ""
    listed: int | None = None
    list_sha256: str = ""
    groups: dict[str, str] = field(default_factory=dict)

    @property
    def data(self) -> str:
        """The dataset's name and part."""
        return f"{self.kind or 'data'} {self.split}".strip()


def read_runs(paths: Iterable[str | Path]) -> tuple[list[Training], list[Evaluation]]:
    """Every training and evaluation that the paths lead to, each once, in the order given.

    Args:
        paths: run folders, folders with run folders at most ``DEPTH`` levels below, evaluation files.

    Raises:
        DataError: a path leads to nothing, or a file is not what it should be; the message names it.
    """
    trainings: dict[Path, Training] = {}
    evaluations: dict[Path, Evaluation] = {}
    for path in _found(paths):
        folder = path if path.is_dir() else path.parent
        known = trainings.get(folder.resolve())
        if known is None and (folder / RUN).is_file():
            known = trainings[folder.resolve()] = read_training(folder)
        files = sorted(path.glob(EVALUATIONS), key=_natural) if path.is_dir() else [path]
        for file in files:
            if file.is_file() and file.resolve() not in evaluations:
                evaluations[file.resolve()] = read_evaluation(file, known)
    owners: dict[str, list[Training]] = {}
    for one in trainings.values():
        if one.weights:
            owners.setdefault(one.weights, []).append(one)
    return list(trainings.values()), [_owned(found, owners) for found in evaluations.values()]


def _owned(found: Evaluation, owners: dict[str, list[Training]]) -> Evaluation:
    """An evaluation that lies elsewhere belongs to the one training whose weights it measured."""
    owner = owners.get(found.weights, [])
    if found.training is not None or len(owner) != 1:
        return found
    return replace(found, training=owner[0], name=owner[0].name)


def _found(paths: Iterable[str | Path]) -> Iterator[Path]:
    for path in map(Path, paths):
        try:
            if path.is_dir():
                here = [path] if (path / RUN).is_file() else list(_runs_below(path))
            else:
                here = [path] if path.is_file() else []
            what = "" if here else _why_nothing(path)
        except OSError as error:
            raise DataError(f"cannot be read: {error.strerror}", where=str(error.filename or path)) from error
        if what:
            hint = "name a run folder of `avglance train`, or what `avglance eval --out FILE.json` wrote"
            raise DataError(what, where=str(path), hint=hint)
        yield from here


def _why_nothing(path: Path) -> str:
    if not path.exists():
        return "no such file or folder"
    if not path.is_dir():
        return "neither a file nor a folder"
    if (path / "model.safetensors").is_file():
        return "a model folder, not a run"
    return f"no run folder (with {RUN}) lies in it, {DEPTH} levels deep"


def _runs_below(folder: Path) -> Iterator[Path]:
    """The run folders in a folder; links to folders and hidden ones are left alone."""
    looked, level = 0, [folder]
    for _ in range(DEPTH):
        below: list[Path] = []
        for parent in level:
            looked += 1
            if looked > MOST_FOLDERS:
                raise DataError(
                    f"more than {MOST_FOLDERS} folders lie in it",
                    where=str(folder),
                    hint="name the run folders",
                )
            with os.scandir(parent) as entries:
                inner = [Path(e.path) for e in entries if e.is_dir(follow_symlinks=False)]
            below += sorted((p for p in inner if not p.name.startswith(".")), key=_natural)
        yield from (p for p in below if (p / RUN).is_file())
        level = [p for p in below if not (p / RUN).is_file()]


def _natural(path: Path) -> list[Any]:
    """A key that sorts seed2 before seed10."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", path.name)]


def read_evaluation(file: Path, training: Training | None = None) -> Evaluation:
    """An evaluation that ``avglance eval --out`` wrote.

    ``training`` is that of the run folder it lies in.

    Raises:
        DataError: it is something else, has no rows, or its figures do not fit its rows.
    """
    found, where = read_json(file), str(file)
    if found.get("schema") != SCHEMA:
        what = f"not an evaluation: its schema is {found.get('schema')!r}, not {SCHEMA!r}"
        raise DataError(what, where=where, hint="`avglance eval MODEL DATA --out FILE.json` writes one")
    settings, model, dataset = (mapping(found.get(name)) for name in ("settings", "model", "data"))
    hits, groups, videos, failed = _videos(found, where)
    figures = {name: _share(found.get(name), name, where) for name in FIGURES}
    if found.get("leading") != "map":  # of one label a video top-1 leads, and alone
        figures["map"] = None
    _fits(figures["top1"], hits, where)
    budget, snippets = whole(settings.get("budget")), whole(settings.get("snippets"))
    if budget is None or snippets is None or not isinstance(dataset.get("sha256"), str):
        raise DataError("it lacks settings.budget, settings.snippets or data.sha256", where=where)
    extras = [_extra(k, v) for k, v in sorted(settings.items()) if k not in USUAL and v not in _UNSET]
    return Evaluation(
        name=training.name if training is not None else str(model.get("name") or file.stem),
        file=file,
        training=training,
        weights=str(model.get("weights_sha256") or ""),
        budget=budget,
        snippets=snippets,
        control=str(settings.get("control") or "none"),
        extras=tuple(extras),
        cached=settings.get("cached") is True,
        kind=str(dataset.get("kind") or ""),
        sha256=dataset["sha256"],
        hits=hits,
        videos=videos,
        failed=failed,
        figures=figures,
        gmacs=_stages(found.get("gmacs"), "gmacs", where),
        seconds=_stages(found.get("seconds"), "seconds", where),
        clock=f"{found.get('device')}, {settings.get('workers')} batches of {settings.get('batch')} at once"
        + (", from a cache" if settings.get("cached") is True else ""),
        split=str(dataset.get("split") or ""),
        listed=whole(dataset.get("listed")),
        list_sha256=str(dataset.get("list_sha256") or ""),
        groups=groups,
    )


def _videos(
    found: dict[str, Any], where: str
) -> tuple[dict[str, float], dict[str, str], frozenset[str], int]:
    """Hits and groups by the video's name, all videos, and how many failed."""
    rows, failures = found.get("rows"), found.get("failures")
    if not isinstance(rows, list):
        what = "it has no rows, one a video, without which nothing can be compared"
        raise DataError(what, where=where, hint="--out keeps them; what --json prints does not have them")
    if not rows:
        raise DataError("no video was answered", where=where)
    both = [*rows, *(failures if isinstance(failures, list) else [])]
    paths = [row.get("video") if isinstance(row, dict) else None for row in both]
    named = [path.replace("\\", "/") for path in paths if isinstance(path, str) and path]
    if len(named) < len(both):
        raise DataError("a row has no video", where=where)
    if len(set(named)) < len(named):
        raise DataError("a video stands in two rows", where=where)
    parts = [path.split("/") for path in named]
    folders = zip(*(path[:-1] for path in parts), strict=False)
    depth = len(list(itertools.takewhile(lambda level: len(set(level)) == 1, folders)))
    names = ["/".join(path[depth:]) for path in parts]
    hits: dict[str, float] = {}
    groups: dict[str, str] = {}
    for row, name in zip(rows, names, strict=False):
        hit, group = row.get("hit1"), row.get("group")
        if hit is not None and not isinstance(hit, bool):
            raise DataError(f"hit1 of {name} must be true, false or null, got {hit!r}", where=where)
        if group is not None and not isinstance(group, str):
            raise DataError(f"group of {name} must be a name or null, got {group!r}", where=where)
        if hit is not None:
            hits[name] = float(hit)
        if group:
            groups[name] = group
    return hits, groups, frozenset(names), len(both) - len(rows)


def _fits(top1: float | None, hits: dict[str, float], where: str) -> None:
    """Refuse a file whose top-1 is not the mean of its rows: it was cut, edited or put together."""
    mean = sum(hits.values()) / len(hits) if hits else None
    if (top1 is None) != (mean is None) or not math.isclose(top1 or 0.0, mean or 0.0, abs_tol=1e-6):
        raise DataError(f"its top1 is {top1}, its {len(hits)} labelled rows give {mean}", where=where)


def _extra(name: str, value: Any) -> str:
    words = name.replace("_", " ")
    return words if value is True else f"{words} {value if isinstance(value, str) else json.dumps(value)}"


def _stages(value: Any, name: str, where: str) -> dict[str, float]:
    if not isinstance(value, dict):
        raise DataError(f"it has no {name} by stage", where=where)
    found = {str(k): number(v) for k, v in value.items()}
    return {k: v for k, v in found.items() if v is not None and v >= 0}


def _share(value: Any, name: str, where: str) -> float | None:
    found = number(value)
    if (found is None and value is not None) or (found is not None and not 0 <= found <= 1):
        raise DataError(f"{name} must be a share in 0..1 or null, got {value!r}", where=where)
    return found
