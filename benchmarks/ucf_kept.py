"""What benchmarks/ucf.py keeps of its runs in docs/results, in the shape that results_rows describes."""

from __future__ import annotations

import json
import platform
import re
import shlex
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from results_rows import FILES, SCHEMA, K

from avglance.app.ablate import cores

if TYPE_CHECKING:
    from ucf_places import Places

CALIBRATION = ("calibration", "unknown", "exits")
"""What a card has of the videos that calibrated it."""


def keep_comparison(
    name: str, at: Places, baseline: str, *, runs: str = "", about: Mapping[str, Any] | None = None
) -> None:
    """Keeps what ``avglance compare RUNS --baseline NAME --json`` says, with the commands of every row.

    Args:
        name: of the part.
        at: where everything lies.
        baseline: the row that others are compared with.
        runs: the folder of the runs; empty: as the part is called.
        about: what else is kept of it.
    """
    from avglance.evaluation.compare import compare, plain

    kept = plain(compare([str(at.runs / (runs or name))], baseline=baseline))
    for row in kept["tables"][0]["rows"]:
        for member in row["trainings"]:
            file = Path(member["file"])
            found = json.loads(file.read_text(encoding="utf-8"))
            member["commands"] = [shown(words, at) for words in (trained(file.parent), found["command"])]
            member["looks"] = found["looks"]
            member["file"] = shown(str(file), at)
    kept["not_evaluated"] = []  # says where a run stood at the moment, which is no figure
    keep(name, kept | dict(about or {}), at.kept)


def keep_calibration(at: Places, seeds: Sequence[int]) -> None:
    """Keeps what the scores of each seed are worth, and what it calls unknown."""
    rows = []
    for seed in seeds:
        run, out = at.run("plain", "avgn", seed), at.runs / "calibration" / f"seed{seed}"
        files = (out / "before.json", run / f"eval_k{K}.json", out / "background.json")
        before, after, strange = (json.loads(file.read_text(encoding="utf-8")) for file in files)
        row = {"seed": seed, "before": before["calibration_error"], "after": after["calibration_error"]}
        row |= {"videos": after["labelled"], "strangers": strange["unknown"]["videos"]}
        row |= {"recognised": strange["unknown"]["recognised"], "right_lost": after["unknown"]["right_lost"]}
        words = [trained(run), *(found["command"] for found in (before, after, strange))]
        rows.append(row | {"commands": [shown(some, at) for some in words]})
    keep("calibration", {"rows": rows}, at.kept)


def keep(name: str, part: dict[str, Any], folder: Path) -> None:
    """Puts a part into its file in ``folder``; the others that are there stay."""
    file = folder / f"{FILES[name]}.json"
    found: dict[str, Any] = {"parts": {}}
    if file.is_file():
        found = json.loads(file.read_text(encoding="utf-8"))
    parts = found["parts"] | {name: part}
    text = json.dumps({"schema": SCHEMA, "machine": machine(), "parts": parts}, indent=1, allow_nan=False)
    file.write_text(text + "\n", encoding="utf-8")


def machine() -> str:
    """What the figures were made on."""
    return f"{cores()} cores ({platform.machine()}), torch {metadata.version('torch')}"


def trained(run: Path) -> str:
    """The command of a training."""
    words: str = json.loads((run / "run.json").read_text(encoding="utf-8"))["command"]
    return words


def shown(words: str, at: Places) -> str:
    """A command without this machine's folders."""
    places = {str(at.clips): "CLIPS.csv", str(at.data): "ucf/data", str(at.runs): "ucf/runs"}
    words = re.sub(r"\b(picture|sound|focus)=\S+", lambda found: f"{found[1]}={found[1][0].upper()}", words)
    for place in sorted(places, key=len, reverse=True):
        words = words.replace(shlex.quote(place), places[place]).replace(place, places[place])
    return words


def uncalibrated(model: Path, out: Path) -> None:
    """A copy of a model whose card says nothing about its scores."""
    from avglance.systems.store import load_model, save_with_card

    loaded = load_model(model)
    card = {name: value for name, value in loaded.card.items() if name not in CALIBRATION}
    out.parent.mkdir(parents=True, exist_ok=True)
    save_with_card(loaded, out, card)


def borrowed(model: Path, twin: Path, out: Path) -> None:
    """A copy of a model whose card says of its scores what the card of a twin says.

    As ``avglance calibrate --twin``, for one that was trained on from there with its encoders.
    """
    from avglance.systems.store import load_model, save_with_card

    loaded, other = load_model(model), load_model(twin)
    card = {name: value for name, value in loaded.card.items() if name not in CALIBRATION}
    card |= {name: other.card[name] for name in CALIBRATION}
    card["calibration"] = card["calibration"] | {"twin": other.sha256}
    out.parent.mkdir(parents=True, exist_ok=True)
    save_with_card(loaded, out, card)
