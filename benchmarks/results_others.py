"""Tables of docs/results.md beside the runs on real clips: GlanceWorld's, published ones, what we lack."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from glanceworld_page import TABLES
from results_rows import NOT_YET, markdown, spread

from avglance.app.ablations import ROWS
from avglance.app.compare_table import long_time, macs

GLANCEWORLD = "make glanceworld PART=main"
LISTS = {
    "activitynet": ("ActivityNet v1.3, validation", "mAP", "activity_net.v1-3.min.json"),
    "fcvid": ("FCVID, test", "mAP", "FCVID_VideoName_TrainTestSplit.txt FCVID_Label.txt"),
    "mini_kinetics": (
        "Mini-Kinetics, validation",
        "top-1",
        "train.csv val.csv train_ytid_list.txt val_ytid_list.txt",
    ),
}
"""Recipe -> what is evaluated, its metric, and the official lists that name the videos."""


def commands(name: str) -> list[str]:
    """What fills the row of a benchmark, where its videos are."""
    lists, data = LISTS[name][2], f"data/{name}"
    return [
        f"avglance data import {name.replace('_', '-')} --annotations {lists} --videos VIDEOS --out {data}",
        f"avglance train {data} --recipe {name} --out runs/{name}",
        f"avglance eval runs/{name}/model {data} --out runs/{name}/eval_k8.json --budget 8",
    ]


def missing() -> str:
    """The benchmarks of the field that were not run, and what would fill their rows."""
    rows = [["benchmark", "metric", "ours", "missing", "command"]]
    for name, (words, metric, _) in LISTS.items():
        lacks = "the videos, and a GPU for the recipe's 50 epochs"
        rows.append([words, metric, NOT_YET, lacks, f"`{' && '.join(commands(name))}`"])
    return markdown(rows)


def glanceworld(kept: dict[str, Any]) -> str:
    """The main rows of GlanceWorld; docs/glanceworld.md has the others."""
    found = kept["tables"][0]
    rows = [["row", "seeds", "K of T", "top-1, %", "moment recall, %", "GMACs", "command"]]
    for row in found["rows"]:
        if TABLES["main"].wanted(row):
            cells = [
                f"`{row['name']}`: {ROWS[row['name']].what}" if row["name"] in ROWS else f"`{row['name']}`"
            ]
            cells += [str(len(row["trainings"])), f"{row['budget']} of {row['snippets']}", spread(row)]
            cells += [f"{100 * row['moment_recall']['mean']:.1f}", macs(row["gmacs"]["mean"])]
            rows.append([*cells, f"`{GLANCEWORLD}`"])
    return f"{found['data']['videos']} test videos.\n\n{markdown(rows)}"


def _several(values: Sequence[float | None]) -> str:
    known = [f"{value:g}" for value in values if value is not None]
    return " / ".join(known) or "unknown"


def _from(row: Mapping[str, Any], sources: Mapping[str, str]) -> str:
    return "; ".join(sources[key] for key in row["source"])


def published(one: Mapping[str, Any], sources: Mapping[str, str]) -> str:
    """Accuracy against cost as others published it."""
    head = ["published", "networks", one["metric"], "GMACs a video", "hardware", "source"]
    rows = [head]
    for row in one["rows"]:
        name = row["system"] + (f" ({row['note']})" if "note" in row else "")
        figures = [_several(row["accuracy"]), _several(row["gmacs"])]
        rows.append([name, row["networks"] or "-", *figures, one["hardware"], _from(row, sources)])
    return markdown(rows)


def speed(rows: Sequence[Mapping[str, Any]], sources: Mapping[str, str]) -> str:
    """Throughput and latency as others published them."""
    made = [["published", "setting", "figure", "hardware", "accuracy metric", "source"]]
    for row in rows:
        name = row["system"] + (f" ({row['note']})" if "note" in row else "")
        figure = f"{_several(row['values'])} {row['unit']}".strip()
        made.append([name, row["setting"], figure, row["hardware"], row["accuracy"], _from(row, sources)])
    return markdown(made)


CORES = "two cores (x86, AVX-512 with bfloat16), busy"
WEIGHTS = "--weights picture=P --weights sound=S --weights focus=F"
UCF = f"python benchmarks/ucf.py {{parts}} --clips CLIPS.csv {WEIGHTS}"
BUDGETS = (
    "avglance calibrate avgn_nano.glanceworld worlds/held --out models/nano",
    "avglance eval models/nano worlds/test --budget 4 --limit 300 --out figures.json",
)
STARTUP = "python benchmarks/startup.py --light PYTHON"
PERFORMANCE = (
    "python benchmarks/performance.py --clips CLIPS.csv --data glanceworld=worlds/test "
    "--data splices=ucf/data/plain/test"
)
RUNTIMES = "python benchmarks/runtimes.py"
SOUND_FIRST = "python benchmarks/sound_first.py MODEL DATA --part NAME"
MAKERS: dict[str, tuple[str, tuple[str, ...], str]] = {
    "main": ("glanceworld.md: main table, files, budgets; README.md", (GLANCEWORLD,), CORES),
    "controls": ("glanceworld.md: controls", (GLANCEWORLD,), CORES),
    "pieces": ("glanceworld.md: piece by piece", ("make glanceworld PART=pieces",), CORES),
    "pointer": ("glanceworld.md: sound tells when", ("make glanceworld PART=worlds",), CORES),
    "rivals": ("glanceworld.md: sound tells where", ("make glanceworld PART=worlds",), CORES),
    "knobs": ("glanceworld.md: where choosing stops paying", ("make glanceworld PART=knobs",), CORES),
    "budgets": ("budgets.md: what it is worth (each row its options)", BUDGETS, CORES),
    "ucf": ("results.md: whole clips, own folder", (UCF.format(parts="whole own"),), ""),
    "spliced": (
        "results.md: spliced, exits, calibration",
        (UCF.format(parts="plain half exits calibration"),),
        "",
    ),
    "startup": ("export.md: from a cold process to an answer", (STARTUP,), ""),
    "runtimes": ("export.md: what runs the graphs", (RUNTIMES,), ""),
    "performance": ("performance.md: the clock", (PERFORMANCE,), "as the page says"),
    "sound_first": ("sound-first.md: what it is worth", (SOUND_FIRST,), ""),
    "published": ("results.md: published by others", ("copied from the sources named there",), "not ours"),
    "said": ("glanceworld.md: the sentence on each piece", ("written by hand",), "-"),
}
"""File of docs/results -> where its figures stand, what makes them, on what."""


def started(kept: Mapping[str, Any] | None) -> str:
    """What it takes from a cold process to an answer, or to the help."""
    if kept is None:
        return NOT_YET
    rows = [["", "clock, s", "least to most", "processor, s", "torch takes"]]
    for row in kept["rows"]:
        longer = f"{row['torch_takes']:.1f} times as long" if "torch_takes" in row else "-"
        spread = f"{row['least_s']:.2f} to {row['most_s']:.2f}"
        rows.append([row["what"], f"{row['clock_s']:.2f}", spread, f"{row['processor_s']:.2f}", longer])
    return f"{kept['model']}, medians of {kept['rounds']} rounds. On {kept['machine']}.\n\n{markdown(rows)}"


def ran(kept: Mapping[str, Any] | None) -> str:
    """What the networks of a model take by each runtime."""
    if kept is None:
        return NOT_YET
    head = ["model", "by", "load, ms", "first answer, ms", "an answer, ms", "of the processor, ms"]
    rows = [[*head, "torch takes, by the clock", "by the processor"]]
    for row in kept["rows"]:
        spent = (row[key] for key in ("load_s", "first_s", "answer_s", "answer_processor_s"))
        cells = [f"`{row['model']}`", row["runtime"], *(f"{1000 * seconds:.0f}" for seconds in spent)]
        takes = (row[f"torch_takes_{measure}"] for measure in ("clock", "processor"))
        rows.append([*cells, *(f"{ratio:.1f} times as long" for ratio in takes)])
    versions = ", ".join(f"{library} {version}" for library, version in kept["versions"].items())
    return f"Medians of {kept['rounds']} rounds. On {kept['machine']}; {versions}.\n\n{markdown(rows)}"


def trainings(kept: Mapping[str, Any]) -> str:
    """How many trainings are behind a kept file, and how long they took together."""
    parts = kept.get("parts", {"": kept}).values()
    tables = [table for part in parts for table in part.get("tables", ())]
    took = {}
    for row in (row for table in tables for row in table["rows"]):
        for one in row.get("trainings", ()):
            took[one["weights_sha256"]] = one["training_s"] or 0.0
    return f"{len(took)}, {long_time(sum(took.values()))}" if took else "-"


def kept_files(folder: Path) -> str:
    """Every kept file with its command, machine and trainings; one that is not there yet says so."""
    rows = [["docs/results", "figures of", "command", "on", "trainings, together"]]
    for name, (where, words, machine) in MAKERS.items():
        file = folder / f"{name}.json"
        found = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None
        told = "; ".join(f"`{one}`" if one.startswith(("make", "avg", "python")) else one for one in words)
        on = machine or (NOT_YET if found is None else found["machine"])
        rows.append([f"`{name}.json`", where, told, on, "-" if found is None else trainings(found)])
    return markdown(rows)
