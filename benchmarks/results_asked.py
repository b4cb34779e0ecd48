"""What was asked of the figures of docs/results.md, and whether they met it: a table, misses and all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from results_rows import (
    AVGN,
    DEAF,
    EVEN,
    EXIT,
    FIXED,
    NOT_YET,
    OWN_DEAF,
    OWN_MUTED,
    TSN,
    Line,
    Part,
    markdown,
    minus,
)

Measured = tuple[str, bool] | None
"""A figure in words, and whether it is what was asked for; None: not measured."""


@dataclass(frozen=True)
class Ask:
    """One line: of which part, what was asked for, and how it is measured."""

    part: str
    what: str
    least: str
    measure: Callable[[Part], Measured]


def ahead(ours: Line, theirs: Line, least: float) -> Callable[[Part], Measured]:
    """Whether ours has so many points more."""

    def measure(part: Part) -> Measured:
        found = minus(part, ours, theirs)
        return None if found is None else (f"{found[0]:+.2f}", found[0] >= least)

    return measure


def lower_end(ours: Line, theirs: Line, least: float) -> Callable[[Part], Measured]:
    """Whether the interval of the difference begins there or above."""

    def measure(part: Part) -> Measured:
        found = minus(part, ours, theirs)
        return None if found is None else (f"{found[1]:+.2f}", found[1] >= least)

    return measure


def figure(line: Line, name: str, least: float) -> Callable[[Part], Measured]:
    """Whether a share of a row is so high."""

    def measure(part: Part) -> Measured:
        row = line.of(part)
        if row is None or row[name]["mean"] is None:
            return None
        return f"{100 * row[name]['mean']:.1f} %", row[name]["mean"] >= least

    return measure


def share(ours: Line, theirs: Line, most: float) -> Callable[[Part], Measured]:
    """Whether a row takes at most this share of the other's multiply-adds."""

    def measure(part: Part) -> Measured:
        rows = ours.of(part), theirs.of(part)
        if rows[0] is None or rows[1] is None:
            return None
        value = rows[0]["gmacs"]["mean"] / rows[1]["gmacs"]["mean"]
        return f"{100 * value:.1f} %", value <= most

    return measure


def worst(
    name: str, holds: Callable[[float], bool], of: Callable[[Sequence[float]], float]
) -> Callable[[Part], Measured]:
    """Whether the worst seed of the calibration's rows is good enough."""

    def measure(part: Part) -> Measured:
        known = [row[name] for row in part["rows"] if row[name] is not None]
        if not known:
            return None
        return f"{100 * of(known):.1f} %", holds(of(known))

    return measure


def minutes(part: Part) -> Measured:
    """How long the one command took."""
    return f"{part['wall_s'] / 60:.1f}", part["wall_s"] < 15 * 60


def lost(part: Part) -> Measured:
    """Clips that the muted model gets wrong and the deaf one right, in balance."""
    rows = OWN_DEAF.of(part), OWN_MUTED.of(part)
    if rows[0] is None or rows[1] is None:
        return None
    videos = part["tables"][0]["data"]["videos"]
    clips = round(videos * (rows[0]["top1"]["mean"] - rows[1]["top1"]["mean"]))
    return str(clips), clips <= 2


ASKS = (
    Ask("whole", "AVGN against TSN on all 16, points", "at least -3", ahead(AVGN, TSN, -3)),
    Ask("whole", "lower end of its interval", "at least -8", lower_end(AVGN, TSN, -8)),
    Ask("whole", "GMACs of AVGN, of TSN's", "at most 40 %", share(AVGN, TSN, 0.4)),
    Ask("whole", "top-1 of AVGN", "at least 86 %", figure(AVGN, "top1", 0.86)),
    Ask("plain", "AVGN against evenly spaced moments, points", "at least +5", ahead(AVGN, EVEN, 5)),
    Ask("plain", "AVGN against all 16, points", "at least -3", ahead(AVGN, TSN, -3)),
    Ask("plain", "moment recall of AVGN", "at least 75 %", figure(AVGN, "moment_recall", 0.75)),
    Ask("plain", "AVGN against its deaf twin, points", "at least -3", ahead(AVGN, DEAF, -3)),
    Ask("half", "AVGN against its deaf twin, points", "at least +20", ahead(AVGN, DEAF, 20)),
    Ask("half", "moment recall of AVGN", "at least 70 %", figure(AVGN, "moment_recall", 0.7)),
    Ask("exits", "with exits against without, points", "at least -1.5", ahead(EXIT, FIXED, -1.5)),
    Ask("exits", "GMACs with exits, of those without", "at most 75 %", share(EXIT, FIXED, 0.75)),
    Ask("calibration", "calibration error, worst seed", "below 5 %", worst("after", lambda v: v < 0.05, max)),
    Ask(
        "calibration",
        "background called unknown, worst seed",
        "at least 80 %",
        worst("recognised", lambda v: v >= 0.8, min),
    ),
    Ask(
        "calibration",
        "right answers lost to it, worst seed",
        "at most 3 %",
        worst("right_lost", lambda v: v <= 0.03, max),
    ),
    Ask("own", "minutes from a folder to a model", "below 15", minutes),
    Ask("own", "clips lost by muting, against a deaf training", "at most 2", lost),
)
NAMES = {"whole": "whole clips", "plain": "spliced, plain", "half": "spliced, half decoys"}
NAMES |= {"exits": "exits", "calibration": "calibration", "own": "own folder"}


def asked(parts: dict[str, Part]) -> str:
    """Every line, with what was measured and whether it is met."""
    rows = [["figures", "what", "asked", "measured", "met"]]
    for ask in ASKS:
        found = ask.measure(parts[ask.part]) if ask.part in parts else None
        told = (NOT_YET, "-") if found is None else (found[0], "yes" if found[1] else "**no**")
        rows.append([NAMES[ask.part], ask.what, ask.least, *told])
    return markdown(rows)
