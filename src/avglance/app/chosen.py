"""What ``avglance train`` does where its options do not say: by the data, beside a look at its files."""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from avglance.app.render import clean
from avglance.errors import ArgumentError

if TYPE_CHECKING:
    from avglance.data.health import Finding
    from avglance.data.records import Dataset
    from avglance.training.plan import Base, Facts
    from avglance.training.settings import TrainSettings

REAL_VIDEO = "avgn_mobile.ucf7"
"""The shipped model for real video: what a training of one's own begins with, where it is in the package."""
FRESH = "avgn_nano"
"""The system to train from fresh weights where it is not."""
USUAL = {"epochs": 15, "keep": "last", "patience": 0, "features": 0}
"""Of a system that was named: what its recipe does not depend on stays as it is."""
ITS_OWN = ("rate", "batch", "random_branch")
"""Settings of a model that its own training was done with; another one takes those of its system."""
OPTIONS = ("epochs", "batch", "snippets", "budget", "validation", "keep", "patience", "features")
HOME = Path("runs")
MOST_LOOKED_AT, SAMPLE = 2000, 500  # files; of more than these a sample
SHOWN, PLACES = 6, 1000  # kinds of findings, and folders of one name


def complete(args: argparse.Namespace, dataset: Dataset | None, *, quiet: bool = False) -> argparse.Namespace:
    """The options with everything filled in that was not said; what was chosen is told on stderr.

    Where a system is named, its usual recipe is completed. Else all that is open is chosen by the data, files
    that cannot be read are left out, and ``chosen`` holds settings of the system.

    Raises:
        CheckpointError: the model to start from cannot be read.
        DataError: a truth file is wrong.
    """
    if args.system is not None:
        return argparse.Namespace(**{**vars(args), **_open(args, USUAL), "chosen": {}})
    from avglance.training.plan import choose, patience_of

    assert dataset is not None  # it is left out only where a system is named
    facts, findings = look(args.data, dataset)
    base = base_of(args.start)
    said = dict(args.setting).get("snippets")
    asked = args.snippets or read_count(said or "")
    plan = choose(facts, replace(base, snippets=asked) if asked else base)
    if args.epochs is not None:
        plan = replace(plan, patience=patience_of(args.epochs))
    if args.validation == 0 or args.keep == "last":  # nothing tells the best epoch, or nobody wants it
        plan = replace(plan, keep="last", patience=0)
    if _wakes(args):
        plan = replace(plan, features=0)
    given = [name for name in (*OPTIONS, "start") if getattr(args, name) is not None]
    given += ["snippets"] * bool(said)
    if not quiet:
        tell(plan.told(facts, given), findings, args.data)
    values = _open(args, {name: getattr(plan, name) for name in OPTIONS})
    values |= {"snippets": args.snippets} if said else {}
    about = {"system": plan.system, "start": plan.start, "chosen": dict(plan.changes), "skip_broken": True}
    return argparse.Namespace(**{**vars(args), **values, **about})


def _wakes(args: argparse.Namespace) -> bool:
    """Whether a setting was said that may have encoders learn, or look where it cannot be known before."""
    return bool({"encoder_rate", "policy", "patch"} & dict(args.setting).keys())


def read_count(text: str) -> int | None:
    """A number above 0; None for anything else, which is told where settings are read."""
    return int(text) or None if text.isdecimal() and text.isascii() else None


def _open(args: argparse.Namespace, values: dict[str, object]) -> dict[str, object]:
    """Those of the values whose option was not given."""
    return {name: value for name, value in values.items() if getattr(args, name) is None}


def base_of(start: str | None) -> Base:
    """What a training begins with: the model named, else the shipped one for real video, else nothing."""
    from avglance.app.api import find_model, shipped_models
    from avglance.data.cache import CANDIDATES
    from avglance.systems import settings_of
    from avglance.systems.store import built_as
    from avglance.training.plan import DEAF, Base

    if start is None and REAL_VIDEO in shipped_models():
        start = REAL_VIDEO
    system, built = (FRESH, {}) if start is None else built_as(find_model(start))
    changes = {name: value for name, value in built.items() if name not in ITS_OWN}
    settings = settings_of(system, **changes)
    deaf = {"listen": False} if hasattr(settings, "listen") else DEAF
    patch = getattr(getattr(settings, "switches", None), "patch", "")
    known = getattr(settings, "policy", "heatmap") == "heatmap" and patch != "whole"
    return Base(system, settings.snippets, settings.batch, start, changes, deaf, CANDIDATES if known else 0)


def look(data: Path, dataset: Dataset) -> tuple[Facts, tuple[Finding, ...]]:
    """What the data says, and what may be wrong with it; of very many files a sample is looked at."""
    from avglance.data.health import check_dataset
    from avglance.data.records import HELD_OUT, read_dataset
    from avglance.training.plan import Facts

    findings: tuple[Finding, ...] = ()
    if len(dataset) > MOST_LOOKED_AT:
        sample = dataset.records[:: len(dataset) // SAMPLE]
        states = check_dataset(replace(dataset, records=sample)).states
    else:
        health = check_dataset(read_dataset(data))
        states, findings = health.states, health.findings
    good = [state for state in states if state.verdict != "failed"]
    lengths = [state.duration_s for state in good if state.duration_s > 0]
    facts = Facts(
        videos=sum(not record.unknown for record in dataset.records),
        classes=len(dataset.classes),
        several=dataset.label_mode == "multi",
        seconds=statistics.median(lengths) if lengths else 0.0,
        sound=sum(state.heard for state in good) / max(1, len(good)),
        split=HELD_OUT in dataset.splits,
    )
    return facts, findings


def tell(chosen: str, findings: Sequence[Finding], data: Path) -> None:
    """Says what may be wrong with the data, and what was chosen."""
    from avglance.app.data_check import WORDS

    kinds = {kind: [one for one in findings if one.kind == kind] for kind in WORDS}
    for kind, alike in [(kind, alike) for kind, alike in kinds.items() if alike][:SHOWN]:
        first = f"{', '.join(alike[0].files[:2])}: {alike[0].text}" if alike[0].files else alike[0].text
        print(clean(f"look at {WORDS[kind]}: {len(alike)}, first {first}", 500), file=sys.stderr)
    if findings:
        print(clean(f"all of them: avglance data check {data}", 500), file=sys.stderr)
    print(clean(f"chosen {chosen}", 1000), file=sys.stderr, flush=True)


def place(data: Path, settings: TrainSettings, dataset: Dataset) -> Path:
    """The run folder where none is named: ``runs/NAME``, of the same run or new; else with a number behind.

    Raises:
        ArgumentError: there are too many.
    """
    from avglance.training.runfolder import began_as
    from avglance.training.start import held_out_of

    settings, _ = held_out_of(data, settings)
    name = folder_name(data)
    for number in range(1, PLACES):
        out = HOME / (name if number == 1 else f"{name}-{number}")
        empty = out.is_dir() and not any(out.iterdir())
        if empty or not os.path.lexists(out) or began_as(out, settings, dataset.sha256):
            return out
    raise ArgumentError(f"{HOME / name} and all with a number are taken", where="train", hint="--out RUN")


def folder_name(data: Path) -> str:
    """The name of a dataset as that of a folder.

    >>> folder_name(Path("/films/my clips/")), folder_name(Path("/films/list.csv")), folder_name(Path("/"))
    ('my clips', 'list', 'data')
    """
    from avglance.data.lists import LINES, TABLES
    from avglance.data.records import MANIFEST

    whole = Path(os.path.abspath(data))
    whole = whole.parent if whole.name == MANIFEST else whole
    name = whole.stem if whole.suffix.lower() in (*TABLES, *LINES) else whole.name
    return clean(name, 10_000).lstrip(" .-")[:80].strip() or "data"
