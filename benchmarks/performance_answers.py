"""Which answers stay: shipped models in other precisions and on other grids, held against their own.

In 8 bits it is the exported model that answers, by onnxruntime; its ranges are from videos that trained it.

What is in a set is evaluated from its files once a way, as ``avglance eval --precision P --grid G`` does; an
evaluation that is in the folder already is not made again. The first way, float32 at the centres of the
snippets, is what the others are held against, video by video.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from grid_answers import against

from avglance.metrics import confidence_interval
from avglance.views import GRIDS


@dataclass(frozen=True)
class Kind:
    """A kind of videos: the shipped model for it, what it is in words, and where a reader has it."""

    model: str
    words: str
    place: str
    most: int | None = None


KINDS = {
    "clips": Kind("avgn_mobile.ucf7", "real clips of a few seconds", "CLIPS.csv"),
    "glanceworld": Kind("avgn_nano.glanceworld", "GlanceWorld", "worlds/test", 1000),
    "splices": Kind("avgn_mobile.ucf7", "spliced real videos", "ucf/data/plain/test", 1000),
}
INT8 = "int8"
WAYS = (
    *((precision, grid) for grid in GRIDS for precision in ("float32", "bf16")),
    (INT8, "exact"),
    (INT8, "auto"),
)
SEEN = 42  # videos from which a model in 8 bits has its ranges


def measured(
    name: str,
    place: Path,
    folder: Path,
    ways: Sequence[tuple[str, str]] = WAYS,
    *,
    seen: Sequence[Path] = (),
) -> dict[str, Any]:
    """Ways of one kind of videos, each held against the first; evaluations are kept in the folder.

    ``seen``: videos that trained the model, for the ranges of its encoders in 8 bits.
    """
    found = {way: evaluated(name, place, folder, way, seen=seen) for way in WAYS if way in (WAYS[0], *ways)}
    first = found[WAYS[0]]
    for way, one in found.items():
        for what in ("data", "model"):
            if one[what] != first[what]:
                raise SystemExit(f"{out_of(folder, name, way)} is of other {what}: remove it")
    return {
        "made_by": maker(name, [way for way in found if way != WAYS[0]]),
        "model": KINDS[name].model,
        "weights_sha256": first["model"]["weights_sha256"],
        "data": first["data"],
        "groups": len(np.unique(groups_of(first["rows"]))),
        "command": " ".join(["avglance", *words_of(name, shown(name)), "--precision P --grid G"]),
        "rows": [row_of(way, first, one) for way, one in found.items()],
    }


def maker(name: str, ways: Sequence[tuple[str, str]]) -> str:
    """The command that makes a kind's figures again."""
    place = KINDS[name].place
    words = ["python benchmarks/performance.py answers"]
    words.append(f"--clips {place}" if name == "clips" else f"--data {name}={place}")
    if len(ways) < len(WAYS) - 1:
        words.append(f"--ways {' '.join(map(','.join, ways))}")
    return " ".join(words)


def shown(name: str) -> str:
    """A kind of videos as a reader names it to ``avglance eval``."""
    return KINDS[name].place + (" --split test" if name == "clips" else "")


def out_of(folder: Path, name: str, way: tuple[str, str]) -> Path:
    """Where the evaluation of a way is kept."""
    return folder / f"{'_'.join((name, *way))}.json"


def words_of(name: str, place: Path | str) -> list[str]:
    """The command that evaluates a kind of videos, but for the way."""
    kind = KINDS[name]
    return ["eval", kind.model, str(place)] + (["--limit", str(kind.most)] if kind.most else [])


def in_8_bits(name: str, folder: Path, seen: Sequence[Path]) -> Path:
    """The model of a kind with its encoders in 8 bits, exported where it is not there yet.

    Raises:
        SystemExit: it cannot be.
    """
    model = KINDS[name].model
    out = folder / f"{INT8}_{model}"
    if not out.exists():
        if len(seen) < SEEN // 2:
            what = "first --clips with a split `train`, in the same --folder; a world has its own beside it"
            raise SystemExit(f"{name} in 8 bits wants videos that trained the model: {what}")
        words = [sys.executable, "-m", "avglance", "export", model, "--out", str(out), "--int8"]
        subprocess.run([*words, *map(str, seen)], stdout=subprocess.DEVNULL, check=True)
    return out


def evaluated(
    name: str, place: Path, folder: Path, way: tuple[str, str], *, seen: Sequence[Path] = ()
) -> dict[str, Any]:
    """One evaluation: made where it is not there yet.

    Raises:
        SystemExit: it gave no figures.
    """
    out = out_of(folder, name, way)
    if not out.exists():
        precision, grid = way
        told, how = words_of(name, place), ["--precision", precision]
        if precision == INT8:
            told[1], how = str(in_8_bits(name, folder, seen)), ["--runtime", "onnx"]
        words = [sys.executable, "-m", "avglance", *told, *how, "--grid", grid]
        words += ["--quiet", "--json", "--out", str(out)]
        done = subprocess.run(words, stdout=subprocess.DEVNULL, check=False)
        if not out.exists():
            raise SystemExit(f"{name}, {', '.join(way)}: no figures (exit code {done.returncode})")
        print(f"{name}, {', '.join(way)}: {out}", file=sys.stderr, flush=True)
    found: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
    return found


def row_of(way: tuple[str, str], first: dict[str, Any], one: dict[str, Any]) -> dict[str, Any]:
    """What a way answers, and what of it is other than the first."""
    names = ("top1", "top1_interval", "moment_recall")
    return {
        "precision": way[0],
        "grid": way[1],
        **{name: one[name] for name in names},
        "on_keyframes": one["keyframes"]["snippets"],
        "decoded": one["frames"]["decoded"],
        **against(first, one),
        "points_lost": points_lost(first["rows"], one["rows"]),
    }


def points_lost(first: Sequence[dict[str, Any]], other: Sequence[dict[str, Any]]) -> list[float] | None:
    """Points of top-1 that are lost and the ends of their interval, over what the videos were cut from."""
    theirs = {row["video"]: row["hit1"] for row in other}
    rows = [row for row in first if None not in (row["hit1"], theirs.get(row["video"]))]
    if not rows:
        return None
    lost = confidence_interval(
        [float(row["hit1"]) for row in rows],
        [float(theirs[row["video"]]) for row in rows],
        groups=groups_of(rows),
        rng=np.random.default_rng(0),
    )
    return [100 * value for value in lost]


def groups_of(rows: Sequence[dict[str, Any]]) -> list[str]:
    """What each video was cut from; itself where that is not known."""
    return [row["group"] or row["video"] for row in rows]
