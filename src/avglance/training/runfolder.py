"""A run folder explains itself: run.json, data.json, metrics.jsonl, resume/, at its end report and model."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from safetensors import SafetensorError

from avglance import __version__
from avglance.data.records import Dataset
from avglance.errors import ArgumentError, DataError
from avglance.training.settings import TrainSettings

RUN, DATA, METRICS, RESUME, MODEL = "run.json", "data.json", "metrics.jsonl", "resume", "model"
REPORT = "report.json"

UNSAID = {
    "features": 0,
    "held_out": "",
    "keep": "last",
    "patience": 0,
    "system_settings.cells": None,
    "system_settings.drop_features": 0.0,
    "system_settings.encoder_rate": 1.0,
    "system_settings.familiar": 0,
    "system_settings.labels": "one",
    "teach_unknown": False,
    "validate_every": 1,
    "validate_last": 1,
}
"""Settings that runs of earlier versions do not say, and what they were."""


def versions() -> dict[str, str]:
    """Versions of what takes part in a training."""
    found = {"avglance": __version__, "python": platform.python_version(), "torch": torch.__version__}
    for name in ("accelerate", "av", "numpy", "pillow", "safetensors", "timm"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = ""
    return found


def describe(
    settings: TrainSettings,
    dataset: Dataset,
    system_settings: object,
    *,
    device: str,
    processes: int,
    command: str,
    start: str = "",
    weights: Mapping[str, Mapping[str, str]] = MappingProxyType({}),
    held_out: Dataset | None = None,
) -> dict[str, Any]:
    """What run.json holds, as plain JSON values."""
    full = dataclasses.asdict(system_settings) if dataclasses.is_dataclass(system_settings) else {}  # type: ignore[arg-type]
    said = {
        "command": command,
        "settings": dataclasses.asdict(settings),
        "system_settings": full,
        "seed": settings.seed,
        "data": {
            "folder": os.path.abspath(dataset.folder),
            "kind": dataset.kind,
            "sha256": dataset.sha256,
            "videos": len(dataset),
            "classes": len(dataset.classes),
            "held_out": None if held_out is None else _part(held_out),
        },
        "versions": versions(),
        "device": device,
        "threads": torch.get_num_threads(),
        "processes": processes,
        "start_sha256": start,
        "weights": {sense: dict(noted) for sense, noted in weights.items()},
    }
    plain: dict[str, Any] = json.loads(json.dumps(said))
    return plain


def _part(dataset: Dataset) -> dict[str, Any]:
    return {"split": dataset.split, "sha256": dataset.sha256, "videos": len(dataset)}


def open_run(out: Path, said: dict[str, Any]) -> tuple[bool, list[str]]:
    """Makes a run folder, or sees that an unfinished one there is the same run.

    Args:
        out: the folder.
        said: what :func:`describe` gives.

    Returns:
        Whether there was a run, and what differs that may change the last bits (device, threads of each
        process, number of processes, versions).

    Raises:
        ArgumentError: the folder holds a run of other settings, or something else.
        DataError: it cannot be read or written.
    """
    card = out / RUN
    try:
        if card.is_file():
            before = json.loads(card.read_text(encoding="utf-8"))
            _same(before, said, out)
            return True, _soft_differences(before, said)
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise ArgumentError("the folder holds something else", where=str(out), hint="name a new folder")
        out.mkdir(parents=True, exist_ok=True)
        write_json(card, said)
    except (OSError, ValueError) as error:
        if isinstance(error, (ArgumentError, DataError)):
            raise
        raise DataError(f"the run folder cannot be used ({error})", where=str(out)) from error
    return False, []


def began_as(out: Path, settings: TrainSettings, sha256: str) -> bool:
    """Whether the run in a folder was asked for with these settings, on the dataset of this hash."""
    try:
        before = json.loads((out / RUN).read_text(encoding="utf-8"))
        asked = json.loads(json.dumps(dataclasses.asdict(settings)))
        usual = {name: value for name, value in UNSAID.items() if name in asked}
        return bool(usual | before["settings"] == asked and before["data"]["sha256"] == sha256)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _flat(said: dict[str, Any]) -> dict[str, Any]:
    """What must be equal for a run to be gone on with, by dotted name."""
    rows: dict[str, Any] = {}

    def walk(prefix: str, value: Any) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                walk(f"{prefix}.{key}" if prefix else key, inner)
        else:
            rows[prefix] = value

    apart = ("changes", "start", "weights")  # compared by what they mean, not by how they were asked for
    walk("", {key: value for key, value in said["settings"].items() if key not in apart})
    walk("system_settings", said["system_settings"])
    rows["data"] = said["data"]["sha256"]
    rows["held_out"] = (said["data"].get("held_out") or {"sha256": ""})["sha256"]
    return rows


def _same(before: dict[str, Any], now: dict[str, Any], out: Path) -> None:
    try:
        old, new = _flat(before), _flat(now)
        other_start, other_weights = _other_start(before, now), _other_weights(before, now)
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError("not the description of a run", where=str(out / RUN)) from error
    old = {name: value for name, value in UNSAID.items() if name in new} | old
    changed = [name for name in sorted(old.keys() | new.keys()) if old.get(name) != new.get(name)]
    if changed or other_start or other_weights:
        shown = [
            f"{name.rsplit('.', 1)[-1]} was {old.get(name)}, now {new.get(name)}"
            for name in changed
            if name not in ("data", "held_out")
        ]
        shown += ["the dataset is another one"] if "data" in changed else []
        shown += ["the split that is held out is another one"] if "held_out" in changed else []
        shown += ["it began from another model"] if other_start else []
        shown += ["its encoders began with other weights"] if other_weights else []
        more = " ..." if len(shown) > 4 else ""
        raise ArgumentError(
            f"the folder holds a run of other settings: {'; '.join(shown[:4])}{more}",
            where=str(out),
            hint="repeat the command that began it to go on, or name a new folder",
        )


def _other_start(before: dict[str, Any], now: dict[str, Any]) -> bool:
    """Whether a run began from another model; a model that has gone, or was not noted, is believed."""
    if bool(before["settings"].get("start")) != bool(now["settings"].get("start")):
        return True
    noted = {said["start_sha256"] for said in (before, now) if said.get("start_sha256")}
    return len(noted) > 1


def _other_weights(before: dict[str, Any], now: dict[str, Any]) -> bool:
    """Whether encoders of a run began with other files; a file that has gone is believed."""
    old, new = before.get("weights", {}), now["weights"]
    sums = ((old[sense]["sha256"], new[sense]["sha256"]) for sense in old.keys() & new.keys())
    return old.keys() != new.keys() or any(a and b and a != b for a, b in sums)


def _soft_differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    alone = {"processes": 1}  # what runs of earlier versions do not say
    names = [n for n in ("device", "threads", "processes") if (alone | before).get(n) != now[n]]
    old = before.get("versions", {})
    return names + [name for name, version in now["versions"].items() if old.get(name) != version]


@contextmanager
def trouble_named(path: Path) -> Iterator[None]:
    """Inside, what the system says against writing below a run folder becomes a DataError."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        raise DataError(
            f"the run folder cannot be written ({getattr(error, 'strerror', None) or error})",
            where=str(path),
            hint="make room, or free the way; the same command goes on from the last saved state",
        ) from error


def write_text(path: Path, text: str) -> None:
    """A file that appears whole or not at all, and leaves no part of itself."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    with trouble_named(path):
        try:
            part.write_text(
                text, encoding="utf-8", errors="backslashreplace"
            )  # JSON's own way, for odd names
            os.replace(part, path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise


def write_json(path: Path, value: Any) -> None:
    """A JSON file that appears whole or not at all."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False))


def write_split(out: Path, dataset: Dataset, training: Sequence[Path], held_out: Sequence[Path]) -> None:
    """Which files trained and which were held out, with the hash of the dataset that trained."""

    def names(paths: Sequence[Path]) -> list[str]:
        return [path.relative_to(dataset.root).as_posix() for path in paths]

    found = {"sha256": dataset.sha256, "training": names(training), "held_out": names(held_out)}
    write_json(out / DATA, found)


def add_metrics(out: Path, row: dict[str, Any]) -> None:
    """One more line of metrics.jsonl; floats to six digits."""
    short = {key: _short(value) for key, value in row.items()}
    with trouble_named(out / METRICS), open(out / METRICS, "a", encoding="utf-8") as file:
        file.write(json.dumps(short) + "\n")


def _short(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _short(inner) for key, inner in value.items()}
    return float(f"{value:.6g}") if isinstance(value, float) else value


def read_metrics(out: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl; a last line that was cut off is left out."""
    path, rows = out / METRICS, []
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        try:
            rows.append(json.loads(line))
        except ValueError:
            break
    return rows


def keep_metrics(out: Path, step: int) -> None:
    """Forgets the lines after a step: they will be written again."""
    kept = [json.dumps(row) + "\n" for row in read_metrics(out) if row.get("step", 0) <= step]
    write_text(out / METRICS, "".join(kept))
