"""From a cold process to an answer: ``avglance tag`` by torch and by graphs, and ``avglance --help``.

    python benchmarks/startup.py [VIDEO] [--model NAME] [--light PYTHON] [--rounds 7] [--folder DIR]
                                 [--out FILE.json]

VIDEO: if none is named, 3 minutes of generated H.264 + AAC, 1280x720, a keyframe every 5 s. ``--light``: a
Python without torch, measured too. Every round goes through all of it in turn, each time in a process of its
own that decodes in another one; the first round only warms the files. Ratios are medians of the ratios within
a round. Seconds are given by the clock and by the processor.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from results_others import STARTUP, started

from avglance.app.api import DEFAULT_MODEL

ENTRY = "from avglance.app.cli import entry; entry()"
MINUTES, KEY_S = 3, 5
GRIDS = ("exact", "auto", "keyframe")


def once(command: list[str], environment: dict[str, str]) -> tuple[float, float]:
    """Seconds of a command and its children, by the clock and by the processor."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)
    clock, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return clock, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def commands(args: argparse.Namespace, video: Path) -> dict[str, list[str]]:
    """What is measured, by name."""
    tag = ["-c", ENTRY, "tag", str(video), "--model", args.model, "--json", "--quiet", "--grid"]
    found = {"help": [sys.executable, "-c", ENTRY, "--help"]}
    for grid in GRIDS:
        for runtime in ("torch", "onnx"):
            found[f"{runtime}, {grid}"] = [sys.executable, *tag, grid, "--runtime", runtime]
        if args.light is not None:
            found[f"light, {grid}"] = [str(args.light), *tag, grid]
    return found


def table(seconds: dict[str, list[tuple[float, float]]]) -> list[dict[str, Any]]:
    """A row for each command: medians, the spread, and how many times as long torch takes on its grid."""
    rows: list[dict[str, Any]] = []
    for name, runs in seconds.items():
        clock, work = zip(*runs, strict=True)
        row: dict[str, Any] = {"what": name, "clock_s": statistics.median(clock)}
        row |= {"least_s": min(clock), "most_s": max(clock), "processor_s": statistics.median(work)}
        if ", " in name:
            rival = seconds[f"torch, {name.split(', ')[1]}"]
            row["torch_takes"] = statistics.median(a[0] / b[0] for a, b in zip(rival, runs, strict=True))
        rows.append(row)
    return rows


def main(arguments: list[str]) -> int:
    """Make the video, measure, print and keep."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("video", type=Path, nargs="?")
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--light", type=Path)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args(arguments)
    video = args.video
    if video is None:
        from grid import make

        folder = args.folder or Path(tempfile.mkdtemp())
        folder.mkdir(parents=True, exist_ok=True)
        video = make(folder, MINUTES * 60, KEY_S)
    todo, busy = commands(args, video), os.getloadavg()[0]
    machine = f"{os.cpu_count()} cores ({platform.machine()}), a load of {busy:.1f} from other work"
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in todo}
    with tempfile.TemporaryDirectory() as compiled:  # modules are compiled once, as where they are installed
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": compiled}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        for turn in range(args.rounds + 1):
            for name, command in todo.items():
                spent = once(command, environment)
                if turn:
                    seconds[name].append(spent)
    rows = table(seconds)
    kept: dict[str, Any] = {"command": STARTUP, "machine": machine, "model": args.model}
    kept |= {"rounds": args.rounds, "rows": rows}
    print(started(kept))
    if args.out is not None:
        args.out.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
