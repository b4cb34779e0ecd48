"""What a run folder says of a training: what decided its weights, and its curves; plain values, checked.

The row of a run is named like its folder, or like the folder above where that is called ``seed0``, ``seed1``.
"""

from __future__ import annotations

import json
import math
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from avglance.errors import DataError

RUN, METRICS = "run.json", "metrics.jsonl"
CURVES = ("top1", "moment_recall", "patch_hit", "loss")
MOST_BYTES = 1 << 30
BEFORE = {"validate_every": 1, "validate_last": 1, "keep": "last", "patience": 0}
"""What runs of earlier versions do not say."""


@dataclass(frozen=True)
class Curve:
    """One figure over a training: how many epochs and seconds it had, and the values; of one length each."""

    epochs: tuple[float, ...]
    seconds: tuple[float, ...]
    values: tuple[float, ...]


@dataclass(frozen=True)
class Training:
    """One run folder.

    Attributes:
        name: of its row.
        folder: where it is.
        seed: of weights, order and augmentation; None where run.json does not say.
        settings: everything else that decided the weights, by dotted name; ``data`` is the dataset's hash.
        epochs: how many were asked for.
        seconds: how long it has trained; None: not known.
        curves: by ``CURVES``: shares of the held-out videos, and the training loss.
        finished: whether the model folder is there.
        weights: checksum of the model that is there, else empty.
        note: what is wrong with metrics.jsonl, else empty.
    """

    name: str
    folder: Path
    seed: int | None
    settings: dict[str, Any]
    epochs: int | None
    seconds: float | None
    curves: dict[str, Curve] = field(default_factory=dict)
    finished: bool = False
    weights: str = ""
    note: str = ""

    @property
    def held_out(self) -> dict[str, float]:
        """The last figures on the held-out videos."""
        return {name: curve.values[-1] for name, curve in self.curves.items() if name != "loss"}

    @property
    def epochs_done(self) -> float:
        """How many epochs the curves reach."""
        return max((curve.epochs[-1] for curve in self.curves.values()), default=0.0)


def read_training(folder: Path) -> Training:
    """What a run folder says of its training.

    Raises:
        DataError: run.json is not the description of a run.
    """
    card = folder / RUN
    found = read_json(card)
    settings = found.get("settings")
    if not isinstance(settings, dict):
        raise DataError("not the description of a run: it has no settings", where=str(card))
    fixed = BEFORE | _flat("", {k: v for k, v in settings.items() if k not in ("seed", "budget", "changes")})
    fixed |= _flat("system.", mapping(found.get("system_settings")))
    fixed["data"] = str(mapping(found.get("data")).get("sha256") or "")
    sums = folder / "model" / "checksums.json"
    rows, note = _read_lines(folder / METRICS)
    clocks = [s for row in rows if (s := number(row.get("seconds"))) is not None]
    home = Path(os.path.abspath(folder))
    return Training(
        name=home.parent.name if re.fullmatch(r"seed\d+", home.name) else home.name,
        folder=folder,
        seed=whole(found.get("seed")),
        settings=fixed,
        epochs=whole(settings.get("epochs")),
        seconds=max(clocks, default=None),
        curves=_curves(rows),
        finished=(folder / "model").is_dir(),
        weights=str(read_json(sums).get("model.safetensors") or "") if sums.is_file() else "",
        note=note,
    )


def _read_lines(path: Path) -> tuple[list[dict[str, Any]], str]:
    """The steps in a file of JSON lines, and what is wrong in its middle; a last line may be cut off."""
    rows: list[dict[str, Any]] = []
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}", where=str(path)) from error
    for place, line in enumerate(lines, start=1):
        try:
            row = json.loads(line or "0")
        except (ValueError, RecursionError):
            wrong = f"{path}: line {place} is not JSON, the curves end there"
            return rows, wrong if place < len(lines) else ""
        if isinstance(row, dict) and None not in (whole(row.get("step")), whole(row.get("epoch"))):
            rows.append(row)
    return rows, ""


def _curves(rows: list[dict[str, Any]]) -> dict[str, Curve]:
    """Figures against epochs and seconds."""
    points: dict[str, list[tuple[float, float, float]]] = {name: [] for name in CURVES}
    last: dict[int, int] = {}  # epoch -> its last step
    for row in rows:
        last[row["epoch"]] = max(row["step"], last.get(row["epoch"], 0))
    clock = 0.0
    for row in rows:
        clock = max(clock, number(row.get("seconds")) or 0.0)  # older validations carry no clock of their own
        names = CURVES[:-1] if row.get("kind") == "validation" else ("loss",)
        for name in names:
            value = number(row.get(name))
            if value is not None:
                points[name].append((_epochs(row["step"], row["epoch"], last), clock, value))
    turned = {name: zip(*found, strict=True) for name, found in points.items() if found}
    return {name: Curve(*axes) for name, axes in turned.items()}


def _epochs(step: int, epoch: int, last: dict[int, int]) -> float:
    """Epochs that are done after a step: 1.5 is in the middle of the second."""
    start = max((s for e, s in last.items() if e < epoch), default=0)
    length = last[epoch] - start
    if epoch == max(last):  # it may be under way: as long as the one before, if that is longer
        before = max((s for e, s in last.items() if e < epoch - 1), default=0)
        length = max(length, start - before)
    return epoch + (step - start) / max(length, 1)


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        DataError: the file cannot be read, is no JSON, or holds something else.
    """
    try:
        with open(path, "rb") as file:
            text = file.read(MOST_BYTES)  # what is cut off is not JSON either
        found = json.loads(text)
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}", where=str(path)) from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"not JSON ({error})", where=str(path)) from error
    if not isinstance(found, dict):
        raise DataError(f"must be one JSON object, got {type(found).__name__}", where=str(path))
    return found


def _flat(prefix: str, value: dict[str, Any]) -> dict[str, Any]:
    """Settings by dotted name, those of an inner object one by one."""
    flat: dict[str, Any] = {}
    for key, inner in value.items():
        rows = {f".{k}": v for k, v in inner.items()} if isinstance(inner, dict) else {"": inner}
        flat |= {f"{prefix}{key}{below}": held for below, held in rows.items()}
    return flat


def mapping(value: Any) -> dict[str, Any]:
    """The value if it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def number(value: Any) -> float | None:
    """A finite number, or None."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        found = float(value)
    except OverflowError:
        return None
    return found if math.isfinite(found) else None


def whole(value: Any) -> int | None:
    """A whole number that a float holds exactly, or None."""
    return value if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 53 else None
