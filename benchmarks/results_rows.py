"""The figures of docs/results.md as they are kept: which row is which, and what is read from it.

benchmarks/ucf.py keeps docs/results/ucf.json (whole clips, a folder of one's own) and
docs/results/spliced.json (the others), each of this shape:

    {"schema": "avglance.results/1", "machine": "2 cores, x86_64", "parts": {NAME: PART}}

A PART of ``whole``, ``plain``, ``half`` and ``exits`` is what ``avglance compare --json`` says (of its tables
the first is read), and each member of a row's ``trainings`` has ``commands`` (train, eval) and ``looks``
besides. ``calibration`` holds ``rows``, one a seed: ``seed``, ``before``, ``after`` (calibration error,
debiased), ``videos``, ``strangers`` (how many show none of the classes), ``recognised``, ``right_lost``,
``commands``. ``own`` is a comparison too, with ``classes``, ``clips`` (that trained) and ``wall_s`` (of the
one command, from the first file to the model folder).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
KEPT = ROOT / "docs" / "results"
SCHEMA = "avglance.results/1"
FILES = {"whole": "ucf", "own": "ucf", "plain": "spliced", "half": "spliced", "exits": "spliced"}
FILES |= {"calibration": "spliced"}
"""Which file of docs/results holds which part."""
NOT_YET = "not run yet"

Part = dict[str, Any]
Row = dict[str, Any]


@dataclass(frozen=True)
class Line:
    """A row of a table: which row of the comparison it is, and what it is called."""

    name: str
    budget: int
    words: str
    control: str = "none"
    exits: bool = False

    def of(self, part: Part | None) -> Row | None:
        """The row itself; None where it is not kept."""
        for row in [] if part is None else part["tables"][0]["rows"]:
            exits = any(word.startswith("exits") for word in row["settings"])
            found = (row["name"], row["budget"], row["control"], exits)
            if found == (self.name, self.budget, self.control, self.exits):
                return dict(row)
        return None


K, T, WIDE = 4, 16, 8
AVGN = Line("avgn", K, f"AVGN, {K} moments chosen")
TSN = Line("tsn", T, f"TSN with sound, all {T} full frames")
EVEN = Line("avgn", K, f"AVGN, {K} evenly spaced", control="uniform")
TSN_EVEN = Line("tsn", K, f"TSN with sound, {K} evenly spaced full frames")
DEAF = Line("deaf", K, "AVGN retrained without sound")
BY_LINES = Line("lines", K, "AVGN, lines choose in place of AV-TeST")
BY_AVTEST = Line("avtest", K, "AVGN, AV-TeST chooses, not lines")
TOLD = Line("avgn", K, "AVGN told the true moments (the ceiling)", control="true_moments")
FIXED = Line("avgn", WIDE, f"AVGN, always {WIDE} looks")
EXIT = Line("avgn", WIDE, f"AVGN, up to {WIDE} looks, stops when sure", exits=True)
OWN = Line("own", K, "the model of the one command")
OWN_MUTED = Line("own", K, "the same, test clips muted", control="mute")
OWN_DEAF = Line("own_deaf", K, "the same command, without sound")
LINES: dict[str, tuple[Line, ...]] = {
    "whole": (AVGN, TSN),
    "plain": (AVGN, EVEN, TSN_EVEN, TSN, DEAF, BY_LINES, TOLD),
    "half": (AVGN, EVEN, TSN_EVEN, TSN, DEAF, BY_AVTEST, TOLD),
    "exits": (FIXED, EXIT),
    "own": (OWN, OWN_MUTED, OWN_DEAF),
}


def kept(folder: Path = KEPT) -> dict[str, Part]:
    """Every part that is kept, by name, with the machine that made it."""
    found: dict[str, Part] = {}
    for name in sorted(set(FILES.values())):
        file = folder / f"{name}.json"
        if file.is_file():
            read = json.loads(file.read_text(encoding="utf-8"))
            if read.get("schema") != SCHEMA:
                raise SystemExit(f"{file}: its schema is {read.get('schema')!r}, not {SCHEMA!r}")
            found |= {key: part | {"machine": read["machine"]} for key, part in read["parts"].items()}
    return found


def top1(row: Row) -> float:
    value: float = row["top1"]["mean"]
    return value


def spread(row: Row) -> str:
    """Mean over the seeds, and their standard deviation."""
    std = row["top1"]["std"]
    return f"{100 * top1(row):.1f}" + ("" if std is None else f" ± {100 * std:.1f}")


def minus(part: Part, ours: Line, theirs: Line) -> tuple[float, float, float, dict[str, Any]] | None:
    """Points of ``ours`` minus ``theirs``, its ends, what it is over; one of the two must be the baseline."""
    rows = [row for row in (ours.of(part), theirs.of(part)) if row is not None]
    if len(rows) < 2 or all(row["difference"] is not None for row in rows):
        return None
    for row, sign in zip(rows, (1, -1), strict=True):
        found = row["difference"]
        if found is not None:
            ends = sorted(100 * sign * found[key] for key in ("low", "high"))
            return 100 * sign * found["value"], ends[0], ends[1], found
    return None


def points(found: tuple[float, float, float, dict[str, Any]] | None) -> str:
    if found is None:
        return "-"
    return "{:+.1f} ({:+.1f} to {:+.1f})".format(*(round(value, 1) + 0.0 for value in found[:3]))


def way(part: Part | None) -> float | None:
    """Of the way from evenly spaced to true moments, the share that choosing covers."""
    rows = [line.of(part) for line in (AVGN, EVEN, TOLD)]
    chosen, even, told = (None if row is None else top1(row) for row in rows)
    if chosen is None or even is None or told is None or told <= even:
        return None
    return (chosen - even) / (told - even)


def gmacs(row: Row) -> float:
    value: float = row["gmacs"]["mean"]
    return value


def looks(row: Row) -> str:
    known = [one["looks"] for one in row["trainings"] if one.get("looks") is not None]
    return f"{sum(known) / len(known):.2f}" if known else str(row["budget"])


def right(row: Row, part: Part) -> int:
    return round(top1(row) * part["tables"][0]["data"]["videos"])


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """A table; the first row is its head."""
    lines = [rows[0], ["---"] * len(rows[0]), *rows[1:]]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)
