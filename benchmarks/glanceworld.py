"""Every figure of docs/glanceworld.md from nothing: worlds, trainings, evaluations, tables, plots.

    python benchmarks/glanceworld.py [main] [pieces] [worlds] [knobs] [--estimate] [--worlds DIR] [--runs DIR]

No part named: all of them. Prints first how long what is missing takes on this machine, after a probe of its
speed. Each command goes on where it was broken off, and what is done is not done again. A part that is
whole leaves its figures in docs/results; benchmarks/glanceworld_page.py writes the pages from them.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from glanceworld_page import (
    ASKED,
    KNOBS,
    PIECES_EPOCHS,
    SEEDED,
    keep_comparison,
    keep_knobs,
    write_pages,
)

from avglance.app import ablate
from avglance.app.ablations import PIECES, ROWS
from avglance.app.compare_table import long_time

LONG = 36  # epochs of the row that shows what TSN reaches with more of them
FURTHER: dict[str, tuple[str, int, dict[str, float]]] = {  # world -> row without the piece, epochs, changes
    "pointer": ("deaf", 5, {"glance_share": 0.0, "focus_share": 0.0, "rate": 0.001}),
    "rivals": (
        "aespa_off",
        14,
        {"glance_share": 0.0, "focus_share": 0.3, "glance_rate": 0.0, "rate": 0.001},
    ),
}
BUDGET = 4
CACHE_S, FILE_S = 0.05, 0.2  # core-seconds an evaluated video, from the cache and from the file
STEP_S = {"avgn_nano": 0.6, "tsn_nano": 0.55}  # core-seconds a step of 24 videos
PICTURE_S = 0.0015  # core-seconds a generated picture
DECODE_S = 0.17  # core-seconds a video that goes into a cache
PROBE_S = 3.1  # processor seconds of the probe, on the machine that all of these were measured on
STEERED = ("", "--uniform", "--tell moments")
SHIPPED = "avgn_nano.glanceworld"  # the main table's first seed


@dataclass(frozen=True)
class Step:
    """One command, and what is left of it in core-seconds of the machine that the costs were measured on."""

    words: tuple[str, ...]
    left_s: float
    done: bool = False


@dataclass(frozen=True)
class Places:
    """Where worlds and runs lie."""

    worlds: Path
    runs: Path
    precision: str

    @property
    def cache(self) -> Path:
        return self.worlds / "cache"

    def world(self, name: str, videos: int, seed: int, *options: str, seconds: float = 24.0) -> Step:
        """Makes a world."""
        folder = self.worlds / name
        there = len(list((folder / "truth").glob("*.json"))) if folder.is_dir() else 0
        whole = folder / "manifest.jsonl"  # written when all videos are there
        done = whole.is_file() and len(whole.read_text().splitlines()) >= videos
        words = ("data", "glanceworld", str(folder), "--videos", str(videos), "--seed", str(seed), *options)
        cost = (videos - there) * (10 * seconds * PICTURE_S + DECODE_S)
        return Step((*words, "--quiet"), 0.0 if done else max(1.0, cost), done)

    def ablate(self, out: str, data: str, test: str, *options: str) -> Step:
        """Trains and evaluates rows."""
        words = ["ablate", str(self.worlds / data), "--test", str(self.worlds / test)]
        words += ["--out", str(self.runs / out), "--cache", str(self.cache), "--budget", str(BUDGET)]
        words += ["--precision", self.precision, "--unpack", *options]
        parser = argparse.ArgumentParser()
        ablate.add_arguments(parser)
        args = parser.parse_args(words[1:])
        trainings, looks = ablate.plan(args, ablate.chosen_rows(args))
        left = 0.0
        for job in trainings:
            system = job.words[job.words.index("--system") + 1]
            steps = args.epochs * TRAINED[data] * 0.9 / 24
            left += 0.0 if job.makes.exists() else steps * STEP_S[system]
        left += sum(TRAINED[test] * CACHE_S for job in looks if not job.makes.exists())
        return Step(tuple(words), left, all(job.makes.exists() for job in (*trainings, *looks)))

    def evaluate(self, model: str, test: str, file: Path, videos: int, *options: str) -> Step:
        """Evaluates a trained model once more."""
        words = ("eval", model, str(self.worlds / test), "--out", str(file))
        cost = videos * (CACHE_S if "--cache" in options else FILE_S)
        return Step((*words, *options, "--quiet"), 0.0 if file.exists() else cost, file.exists())


TRAINED = {"train": 3000, "test": 1200, "pointer_train": 2000, "pointer_test": 600}
TRAINED |= {"rivals_train": 2000, "rivals_test": 600}


def main_part(at: Places) -> list[Step]:
    """The main table, its controls, and the same from the files themselves."""
    steps = worlds_of_tables(at)
    steps.append(at.ablate("main", "train", "test", "--rows", "avgn,tsn", "--seeds", "0,1,2"))
    steps.append(at.ablate("main", "train", "test", "--rows", "deaf,blind,glance,tsn_deaf"))
    rows = at.runs / "tsn_long.json"
    rows.parent.mkdir(parents=True, exist_ok=True)
    said = {"what": f"TSN with sound, {LONG} epochs", "system": "tsn_nano", "budgets": [16]}
    rows.write_text(json.dumps({"tsn_long": said}))
    longer = ("--list", str(rows), "--rows", "tsn_long", "--epochs", str(LONG))
    steps.append(at.ablate("main", "train", "test", *longer))
    for row, k in (("avgn", BUDGET), ("tsn", 16), ("tsn", BUDGET)):
        out = at.runs / "main" / row / "seed0" / f"eval_k{k}_files.json"
        model = str(at.runs / "main" / row / "seed0" / "model")
        steps.append(at.evaluate(model, "test", out, TRAINED["test"], "--budget", str(k)))
    return steps


def worlds_of_tables(at: Places) -> list[Step]:
    """The plain world, to train on and to test on."""
    return [at.world("train", TRAINED["train"], 1), at.world("test", TRAINED["test"], 2)]


def pieces_part(at: Places) -> list[Step]:
    """A row for each piece of AVGN in a shorter training, three seeds for those that matter most."""
    file = at.runs / "pieces.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    told = ["", "--tell moments", "--tell patches"]
    file.write_text(json.dumps({"avgn": {"what": ROWS["avgn"].what, "controls": told}}))
    rest = [name for name in PIECES if name not in ASKED]
    common = ("--list", str(file), "--epochs", str(PIECES_EPOCHS), "--rows")
    return [
        *worlds_of_tables(at),
        at.ablate("pieces", "train", "test", *common, ",".join(("avgn", *ASKED))),
        at.ablate("pieces", "train", "test", *common, ",".join(("avgn", *SEEDED)), "--seeds", "0,1,2"),
        at.ablate("pieces", "train", "test", *common, ",".join(rest)),
    ]


def worlds_part(at: Places) -> list[Step]:
    """The harder worlds: does sound tell when, does it tell where?"""
    steps: list[Step] = []
    for kind, seed in (("pointer", 3), ("rivals", 5)):
        for name, add in (("train", 0), ("test", 1)):
            folder = f"{kind}_{name}"
            steps.append(at.world(folder, TRAINED[folder], seed + add, "--world", kind))
    start = ("--start", SHIPPED)
    at.runs.mkdir(parents=True, exist_ok=True)
    for kind, (without, epochs, changes) in FURTHER.items():
        file, given = at.runs / f"{kind}.json", {}
        for name in ("avgn", without):
            given[name] = {"what": ROWS[name].what, "changes": changes | ROWS[name].changes}
        file.write_text(json.dumps(given))
        options = ("--list", str(file), "--rows", f"avgn,{without}", "--epochs", str(epochs), *start)
        steps.append(at.ablate(kind, f"{kind}_train", f"{kind}_test", *options, "--seeds", "0,1,2"))
    return steps


def knobs_part(at: Places) -> list[Step]:
    """Where choosing stops paying: the shipped model in worlds that it was not trained on."""
    steps = [at.world("test", TRAINED["test"], 2)]
    for knob, settings in KNOBS.items():
        for number, setting in enumerate(settings):
            name = f"knob_{knob}_{number}" if setting.options else "test"
            if setting.options:
                made = at.world(name, setting.videos, 100 + number, *setting.options, seconds=setting.seconds)
                steps.append(made)
            folder = at.runs / "knobs" / knob / str(number)
            folder.mkdir(parents=True, exist_ok=True)
            common = ("--cache", str(at.cache))
            for k, control in (*((BUDGET, control) for control in STEERED), (16, "")):
                file = folder / f"k{k}{control.replace('--', '_').replace(' ', '_')}.json"
                words = ("--budget", str(k), *control.split(), *common, "--limit", str(setting.videos))
                steps.append(at.evaluate(SHIPPED, name, file, setting.videos, *words))
    return steps


def keep_main(at: Places) -> None:
    keep_comparison("main", at.runs / "main", "tsn@16")
    keep_comparison("controls", at.runs / "main", f"avgn@{BUDGET}")


def keep_pieces(at: Places) -> None:
    keep_comparison("pieces", at.runs / "pieces", f"avgn@{BUDGET}")


def keep_worlds(at: Places) -> None:
    keep_comparison("pointer", at.runs / "pointer", f"deaf@{BUDGET}")
    keep_comparison("rivals", at.runs / "rivals", f"aespa_off@{BUDGET}")


PARTS: dict[str, tuple[Callable[[Places], list[Step]], Callable[[Places], None]]] = {
    "main": (main_part, keep_main),
    "pieces": (pieces_part, keep_pieces),
    "worlds": (worlds_part, keep_worlds),
    "knobs": (knobs_part, lambda at: keep_knobs(at.runs / "knobs")),
}


def speed() -> float:
    """How many times as long this machine takes as the one that the costs were measured on.

    Processor time, so that whatever else the machine does at the moment does not count.
    """
    with tempfile.TemporaryDirectory() as folder:
        words = ["data", "glanceworld", folder, "--videos", "4", "--seed", "1", "--workers", "1", "--quiet"]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        command(words, stdout=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / PROBE_S


def command(words: list[str] | tuple[str, ...], *, stdout: int | None = None) -> None:
    """Runs ``avglance`` with these words; ends where it fails."""
    run = [sys.executable, "-c", "from avglance.app.cli import entry; entry()", *words]
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1"}
    code = subprocess.run(run, env=environment, stdout=stdout).returncode
    if code:
        sys.exit(f"avglance {shlex.join(words)}: exit code {code}")


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--worlds", type=Path, default=Path("worlds"))
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--precision", default="bf16", choices=("float32", "bf16"))
    parser.add_argument("--estimate", action="store_true", help="say how long it takes, and stop")
    args = parser.parse_args(arguments)
    unknown = [name for name in args.parts if name not in PARTS]
    if unknown:
        parser.error(f"no part is called {unknown[0]!r}: {', '.join(PARTS)}")
    at = Places(args.worlds, args.runs, args.precision)
    chosen = args.parts or list(PARTS)
    factor = speed() / ablate.cores()
    whole = {step.words: step.left_s for name in chosen for step in PARTS[name][0](at)}
    for name in chosen:
        steps = PARTS[name][0](at)
        left = sum(step.left_s for step in steps) * factor
        print(f"{name}: {sum(not step.done for step in steps)} of {len(steps)} commands, {long_time(left)}")
    print(f"together about {long_time(sum(whole.values()) * factor)} on {ablate.cores()} cores", flush=True)
    if args.estimate:
        return 0
    for name in chosen:
        steps, keep = PARTS[name]
        for step in steps(at):
            if not step.done:
                print(f"$ avglance {shlex.join(step.words)}", flush=True)
                command(step.words)
        keep(at)
        write_pages()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
