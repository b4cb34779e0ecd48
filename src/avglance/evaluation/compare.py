"""Runs side by side: means and spread over training seeds, and paired differences over videos.

Two kinds of chance, kept apart. The *spread* is the standard deviation over trainings (seeds) of one row. The
*interval* is over videos: each video's hits are averaged over the trainings of a row, the baseline's are
taken off, and the 95 % interval of the mean of these differences comes from drawing the videos again
(bootstrap, always the same draws); where several videos are of one source group, from drawing the groups. It
says what other videos might have given, not what other seeds might.
"""

from __future__ import annotations

import difflib
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from avglance import metrics
from avglance.errors import ArgumentError, DataError
from avglance.evaluation.common import different_videos, only_common
from avglance.evaluation.intervals import paired_difference
from avglance.evaluation.runs import FIGURES, Evaluation, read_runs
from avglance.evaluation.trainings import Training
from avglance.types import STAGES

SCHEMA = "avglance.comparison/1"
CONTROLS = {
    "none": "",
    "swap_sound": "swapped",
    "mute": "muted",
    "true_moments": "true moments",
    "true_patches": "true places",
    "true_both": "true moments and places",
    "uniform": "evenly spaced moments",
}
SHOWN = 4  # names in a message


@dataclass(frozen=True)
class Spread:
    """A figure over the trainings of a row; ``mean`` is None without a value, ``std`` with fewer than two.

    ``std`` is the sample's (divided by n - 1).
    """

    mean: float | None
    std: float | None
    values: tuple[float, ...]


@dataclass(frozen=True)
class Row:
    """Evaluations that differ in nothing but the training seed.

    Attributes:
        name: of the run, or of the model.
        budget: K.
        snippets: T.
        control: as in ``Evaluation``.
        extras: as in ``Evaluation``.
        cached: as in ``Evaluation``.
        members: one a training.
        figures: ``FIGURES``, ``gmacs`` and ``seconds`` (a video) and ``training_s``, over the members.
        gmacs: mean by stage, a video, with ``total``.
        seconds: mean by stage, a video, with ``total``.
        difference: of top-1 to the baseline, with its 95 % interval over videos; None: this is the baseline,
            there is none, or nothing is labelled.
        paired: how many videos that is.
        groups: how many source groups the interval is over; 0: over videos, each by itself.
    """

    name: str
    budget: int
    snippets: int
    control: str
    extras: tuple[str, ...]
    cached: bool
    members: tuple[Evaluation, ...]
    figures: dict[str, Spread]
    gmacs: dict[str, float]
    seconds: dict[str, float]
    difference: metrics.Interval | None = None
    paired: int = 0
    groups: int = 0

    @property
    def condition(self) -> str:
        """What was done at test, in words; empty for nothing."""
        words = CONTROLS.get(self.control, self.control), *self.extras, "cached" if self.cached else ""
        return ", ".join(word for word in words if word)

    @property
    def series(self) -> str:
        """The row without its K: what a line of a plot is called."""
        return f"{self.name} ({self.condition})" if self.condition else self.name

    @property
    def label(self) -> str:
        """Everything that tells the row from others."""
        return f"{self.series} K={self.budget}"


@dataclass(frozen=True)
class Table:
    """Rows over the same videos; ``baseline`` is the number of the row that others are compared with."""

    kind: str
    sha256: str
    videos: int
    rows: tuple[Row, ...]
    baseline: int | None
    notes: tuple[str, ...]
    split: str = ""
    listed: int | None = None


@dataclass(frozen=True)
class Comparison:
    """Tables, one a dataset; every training, and those of them that no evaluation lies in; what to know."""

    tables: tuple[Table, ...]
    trainings: tuple[Training, ...]
    waiting: tuple[Training, ...]
    notes: tuple[str, ...]


def compare(
    paths: Iterable[str | Path],
    *,
    baseline: str | None = None,
    each_data: bool = False,
    common: bool = False,
) -> Comparison:
    """Everything that the paths lead to, side by side.

    Args:
        paths: as in :func:`read_runs`.
        baseline: ``NAME`` or ``NAME@K`` of the row that others are compared with; None: the first.
        each_data: one table for each set of videos, in place of an error.
        common: one table over the videos that all evaluations answered, which must be of one known list.

    Raises:
        DataError: a path or a file is not what it should be, one seed is there twice, or the evaluations are
            of different videos.
        ArgumentError: ``baseline`` names no row, or several.
    """
    trainings, evaluations = read_runs(paths)
    told = ""
    if common and evaluations:
        evaluations, told = only_common(evaluations)
    datasets: dict[tuple[str, frozenset[str]], list[Evaluation]] = {}
    for found in evaluations:
        datasets.setdefault((found.sha256, found.videos), []).append(found)
    if len(datasets) > 1 and not each_data:
        raise different_videos(list(datasets.values()))
    raw = [_table(members) for members in datasets.values()]
    known = [row for table in raw for row in table.rows]
    if baseline is not None and known and not any(_named(table.rows, baseline) for table in raw):
        raise _no_baseline(known, baseline)
    tables = tuple(_against(table, baseline) for table in raw)
    evaluated = {id(found.training) for found in evaluations}
    waiting = tuple(training for training in trainings if id(training) not in evaluated)
    notes = [note for note in (told, *(training.note for training in trainings)) if note]
    return Comparison(tables, tuple(trainings), waiting, tuple(notes + _unlike(trainings)))


def _table(evaluations: Sequence[Evaluation]) -> Table:
    """The rows of one set of videos, in the order of their names' first appearance, then by K."""
    grouped: dict[tuple[Any, ...], list[Evaluation]] = {}
    names = list(dict.fromkeys(found.name for found in evaluations))
    for found in evaluations:
        key = (names.index(found.name), found.control != "none", found.extras, found.control, found.cached)
        grouped.setdefault((*key, found.snippets, found.budget), []).append(found)
    rows = tuple(_row(grouped[key]) for key in sorted(grouped))
    first = evaluations[0]
    about = (first.kind, first.sha256, len(first.videos))
    return Table(*about, rows, None, tuple(_table_notes(rows)), first.split, first.listed)


def _row(members: Sequence[Evaluation]) -> Row:
    first = members[0]
    figures = {name: spread(found.figures[name] for found in members) for name in FIGURES}
    figures["gmacs"] = spread(found.gmacs.get("total") for found in members)
    figures["seconds"] = spread(found.seconds.get("total") for found in members)
    figures["training_s"] = spread(found.training.seconds if found.training else None for found in members)
    row = Row(
        first.name,
        first.budget,
        first.snippets,
        first.control,
        first.extras,
        first.cached,
        tuple(members),
        figures,
        _by_stage([found.gmacs for found in members]),
        _by_stage([found.seconds for found in members]),
    )
    _no_twins(row)
    return row


def _no_twins(row: Row) -> None:
    """One training must not count twice."""
    for n, found in enumerate(row.members):
        for other in row.members[:n]:
            seeds = [one.training.seed if one.training else None for one in (found, other)]
            nameless = None in seeds and found.weights == other.weights
            if nameless or (seeds[0] is not None and seeds[0] == seeds[1]):
                which = f"seed {seeds[0]}" if seeds[0] is not None else "the same model"
                what = f"{row.label}: {which} is there twice, in {other.file} and {found.file}"
                raise DataError(what, hint="leave one out, or give the run folders different names")


def spread(values: Iterable[float | None]) -> Spread:
    """Mean and sample standard deviation of what is known.

    >>> spread([1.0, 3.0, None])
    Spread(mean=2.0, std=1.4142135623730951, values=(1.0, 3.0))
    """
    known = tuple(value for value in values if value is not None)
    mean = statistics.fmean(known) if known else None
    return Spread(mean, statistics.stdev(known) if len(known) > 1 else None, known)


def _by_stage(found: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Means by stage in the order of the work; a stage that a member lacks counts 0 there."""
    stages = {stage for one in found for stage in one}
    order = [*(s for s in STAGES if s in stages), *sorted(stages - {*STAGES, "total"}), "total"]
    return {s: statistics.fmean(one.get(s, 0.0) for one in found) for s in order if s in stages}


def _against(table: Table, wanted: str | None) -> Table:
    """The table with every row's difference to the baseline."""
    named = _named(table.rows, wanted) if wanted is not None else [0]
    if not named:
        return replace(table, notes=(*table.notes, f"no row is called {wanted} here: no differences"))
    if len(named) > 1:
        several = ", ".join(table.rows[n].label for n in named[:SHOWN])
        first = table.rows[named[0]]
        hint = f"one of them alone: --baseline NAME@K, such as {first.name}@{first.budget}"
        raise ArgumentError(f"--baseline {wanted} names {len(named)} rows: {several}", hint=hint)
    base = table.rows[named[0]]
    rows = []
    for row in table.rows:
        if row is base:
            rows.append(row)
            continue
        hits = [[found.hits for found in one.members] for one in (row, base)]
        groups = {video: name for one in (*row.members, *base.members) for video, name in one.groups.items()}
        difference, paired, drawn = paired_difference(hits[0], hits[1], groups=groups)
        rows.append(replace(row, difference=difference, paired=paired, groups=drawn))
    return replace(table, rows=tuple(rows), baseline=named[0])


def _named(rows: Sequence[Row], wanted: str) -> list[int]:
    """The rows that ``NAME`` or ``NAME@K`` means: those without a control, where there are any.

    Of these, those with the fewest settings besides; of rows that differ in nothing but the cache, the one of
    more trainings, or else from the files.
    """
    name, _, budget = wanted.rpartition("@")
    found = [n for n, row in enumerate(rows) if row.name == wanted]
    if not found:
        found = [n for n, row in enumerate(rows) if row.name == name and str(row.budget) == budget]
    found = [n for n in found if rows[n].control == "none"] or found
    found = [n for n in found if len(rows[n].extras) == min(len(rows[m].extras) for m in found)]
    best: dict[tuple[object, ...], int] = {}
    for n in sorted(found, key=lambda n: (len(rows[n].members), not rows[n].cached)):
        row = rows[n]
        best[row.budget, row.snippets, row.control, row.extras] = n
    return sorted(best.values())


def _no_baseline(rows: Sequence[Row], wanted: str) -> ArgumentError:
    names = list(dict.fromkeys(f"{row.name}@{row.budget}" for row in rows))
    near = difflib.get_close_matches(wanted, [*dict.fromkeys(row.name for row in rows), *names], n=1)
    known = ", ".join(names[:SHOWN]) + (" ..." if len(names) > SHOWN else "")
    hint = (f"did you mean {near[0]}? " if near else "") + f"known: {known}"
    return ArgumentError(f"--baseline {wanted}: no row is called so", hint=hint)


def _table_notes(rows: Sequence[Row]) -> list[str]:
    """What a reader of the figures must know."""
    notes = []
    for row in rows:
        failed = sum(found.failed for found in row.members)
        if failed:
            notes.append(f"{row.label}: {failed} videos could not be read and enter no figure of this row")
        weights = [found.weights for found in row.members]
        if len(set(weights)) < len(weights):
            notes.append(f"{row.label}: some seeds have the very same weights, the spread is too small")
        if len(weights) > 1 and any(found.training is None for found in row.members):
            notes.append(f"{row.label}: models of one name with other weights, taken for its seeds")
    notes += [
        f"{found.file}: evaluated other weights than the model folder beside it holds now"
        for row in rows
        for found in row.members
        if found.training and found.training.weights not in ("", found.weights)
    ]
    clocks = _several(rows, lambda found: found.clock)
    if any(row.figures["map"].mean is not None for row in rows):
        notes.append("multi label: mAP leads; a hit of top-1 is a best class that is any of a video's labels")
    return notes + ([f"seconds were not all taken alike: {clocks}"] if clocks else [])


def _several(rows: Sequence[Row], of: Callable[[Evaluation], str]) -> str:
    """Which rows have which value, where there is more than one."""
    found: dict[str, list[str]] = {}
    for row in rows:
        for value in dict.fromkeys(of(member) for member in row.members):
            found.setdefault(value, []).append(row.label)
    told = [f"{value} ({', '.join(names[:2])}{' ...' * (len(names) > 2)})" for value, names in found.items()]
    return "; ".join(told) if len(told) > 1 else ""


def _unlike(trainings: Sequence[Training]) -> list[str]:
    """Where the seeds of a row differ in more than the seed, and rows in their data or epochs."""
    notes, rows = [], dict[str, list[Training]]()
    for training in trainings:
        rows.setdefault(training.name, []).append(training)
    for name, members in rows.items():
        keys = sorted({key for one in members for key in one.settings})
        unlike = [key for key in keys if len({str(one.settings.get(key)) for one in members}) > 1]
        if unlike:
            shown = ", ".join(unlike[:SHOWN]) + (" ..." if len(unlike) > SHOWN else "")
            notes.append(f"the trainings of {name} differ in more than the seed: {shown}")
    for key, word in (("epochs", "epochs"), ("data", "data")):
        values = {name: str(members[0].settings.get(key))[:8] for name, members in rows.items()}
        if len(set(values.values())) > 1:
            told = [f"{name} {value}" for name, value in values.items()]
            more = " ..." if len(told) > SHOWN else ""
            notes.append(f"rows were trained with different {word}: {', '.join(told[:SHOWN])}{more}")
    return notes


def plain(found: Comparison) -> dict[str, Any]:
    """The comparison as plain values for JSON; None for unknown."""
    return {
        "schema": SCHEMA,
        "interval": "95 %, over videos (over their source groups where a difference has groups), hits "
        "averaged over the trainings of a row; std is over trainings",
        "tables": [_plain_table(table) for table in found.tables],
        "not_evaluated": [
            {"name": one.name, "seed": one.seed, "folder": str(one.folder), "finished": one.finished}
            | {"epochs": one.epochs, "epochs_done": one.epochs_done, "held_out": one.held_out}
            for one in found.waiting
        ],
        "notes": list(found.notes),
    }


def _plain_table(table: Table) -> dict[str, Any]:
    data: dict[str, Any] = {"kind": table.kind, "sha256": table.sha256, "videos": table.videos}
    data |= {"split": table.split} if table.split else {}
    data |= {"listed": table.listed} if table.listed else {}
    return {
        "data": data,
        "baseline": None if table.baseline is None else table.rows[table.baseline].label,
        "rows": [_plain_row(row) for row in table.rows],
        "notes": list(table.notes),
    }


def _plain_row(row: Row) -> dict[str, Any]:
    said: dict[str, Any] = {"name": row.name, "budget": row.budget, "snippets": row.snippets}
    said |= {"control": row.control, "settings": list(row.extras), "cached": row.cached, "trainings": []}
    for one in row.members:
        seed, seconds = (one.training.seed, one.training.seconds) if one.training else (None, None)
        member = {"seed": seed, "file": str(one.file), "weights_sha256": one.weights, "training_s": seconds}
        said["trainings"].append(member | one.figures)
    for name, figure in row.figures.items():
        said[name] = {"mean": figure.mean, "std": figure.std, "values": list(figure.values)}
    said |= {"gmacs_by_stage": row.gmacs, "seconds_by_stage": row.seconds, "difference": None}
    if row.difference is not None:
        said["difference"] = {**row.difference._asdict(), "videos": row.paired, "groups": row.groups}
    return said
