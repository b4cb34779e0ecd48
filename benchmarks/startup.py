"""From a cold process to an answer: ``avglance tag`` by torch and by exported graphs, and ``--help``.

    python benchmarks/startup.py FOLDER [VIDEO] [--light PYTHON] [--runs N] [--out start.json]

FOLDER holds graphs and weights (``avglance export MODEL --weights --out FOLDER``). Runs take turns, so that
what else the machine does meets all of them alike; medians of wall and processor seconds, and their ratios.
``--light``: a Python without torch, measured too. The files read are warm in memory.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

SAMPLE = Path(__file__).resolve().parents[1] / "src" / "avglance" / "samples" / "glanceworld.mp4"
ENTRY = "from avglance.app.cli import entry; entry()"


def once(command: list[str]) -> tuple[float, float]:
    """Wall and processor seconds of a command and its children."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("video", type=Path, nargs="?", default=SAMPLE)
    parser.add_argument("--light", type=Path)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    tag = ["-c", ENTRY, "tag", str(args.video), "--model", str(args.folder), "--json", "--quiet", "--runtime"]
    commands = {
        "torch": [sys.executable, *tag, "torch"],
        "onnx": [sys.executable, *tag, "onnx"],
        "help": [sys.executable, "-c", ENTRY, "--help"],
    }
    if args.light is not None:
        commands["onnx, no torch installed"] = [str(args.light), *tag, "onnx"]
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
    for turn in range(args.runs + 1):
        for name, command in commands.items():
            spent = once(command)
            if turn:  # the first warms the files
                seconds[name].append(spent)
    found = {
        name: dict(zip(("wall_s", "cpu_s"), map(statistics.median, zip(*runs, strict=True)), strict=True))
        for name, runs in seconds.items()
    }
    print("| | wall s | processor s | torch takes longer by |\n|---|---|---|---|")
    for name, row in found.items():
        ratios = [found["torch"][kind] / row[kind] for kind in ("wall_s", "cpu_s")]
        print(f"| {name} | {row['wall_s']:.2f} | {row['cpu_s']:.2f} | {ratios[0]:.1f}x, {ratios[1]:.1f}x |")
    if args.out is not None:
        machine = {"load": os.getloadavg()[0], "cores": os.cpu_count()}
        kept = {"command": sys.argv, "runs": args.runs, **machine, "seconds": found}
        args.out.write_text(json.dumps(kept, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
