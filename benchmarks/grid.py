"""What it takes to get from a file what AVGN looks at and hears, by grid, length and distance of keyframes.

    python benchmarks/grid.py [--folder DIR] [--lengths 30 180 3600] [--keys 2 5 10]
                              [--grids exact keyframe auto] [--rounds 5] [--out FILE.json]

Makes H.264 + AAC files (1280x720, 30 pictures a second, 48 kHz) of 30 seconds, 3 minutes and 1 hour by
repeating the packets of ten generated seconds, with a keyframe every 2, 5 and 10 s. From each it takes 16
glances, 16 sounds and 4 patches of the glanced pictures, at the paper's sizes, with one decoder thread. Every
round goes through all of it in turn, in one process; ratios are medians of the ratios within a round. Seconds
are given by the clock and by the processor: where other work runs beside, only the second is worth reading.
Peak memory is of processes of their own that have loaded nothing but the reader (Linux: it resets the peak in
/proc).
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from length import repeat

from avglance.media import write_mp4
from avglance.views import FileView, ViewSettings

WIDTH, HEIGHT, RATE, RATE_HZ, CLIP_S = 1280, 720, 30, 48_000, 10
STRIDE_S = CLIP_S + 0.1
LENGTHS, KEYS, GRIDS = (30, 180, 3600), (2, 5, 10), ("exact", "keyframe", "auto")
SETTINGS = ViewSettings(snippets=16, resize_side=256, source_side=224, glance_side=224, patch_side=128)
PATCHES = 4
BOX = [0.2, 0.2, 0.2 + 128 / 224, 0.2 + 128 / 224]


def ground(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Clouds of four sizes and grain, uint8 (height, width)."""
    out = np.full((height, width), 128.0, np.float32)
    for cell, strength in ((160, 50), (40, 25), (10, 12), (3, 8)):
        coarse = rng.standard_normal((height // cell + 2, width // cell + 2)).astype(np.float32)
        y, x = np.arange(height) / cell, np.arange(width) / cell
        rows, columns, down = y.astype(int), x.astype(int), (y % 1)[:, None]
        right = (x % 1)[None]
        upper = coarse[rows][:, columns] * (1 - right) + coarse[rows][:, columns + 1] * right
        lower = coarse[rows + 1][:, columns] * (1 - right) + coarse[rows + 1][:, columns + 1] * right
        out += (strength * (upper * (1 - down) + lower * down)).astype(np.float32)
    return out.clip(16, 235).astype(np.uint8)


def pictures() -> Iterator[np.ndarray]:
    """A camera that moves over the ground, an object that moves on its own, and grain; planes of yuv420p."""
    rng = np.random.default_rng(0)
    wide, thing = ground(rng, 1200, 2400), ground(rng, 200, 300)
    colours = ground(rng, HEIGHT // 2, WIDTH)
    for n in range(CLIP_S * RATE):
        turn = 2 * np.pi * n / (CLIP_S * RATE)  # the end meets the beginning
        x, y = round(500 + 480 * np.sin(turn)), round(200 + 180 * np.sin(2 * turn))
        frame = np.empty((HEIGHT * 3 // 2, WIDTH), np.uint8)
        frame[:HEIGHT] = wide[y : y + HEIGHT, x : x + WIDTH]
        left, top = round(490 + 480 * np.sin(3 * turn)), round(260 + 240 * np.cos(2 * turn))
        frame[top : top + 200, left : left + 300] = thing
        frame[:HEIGHT] += rng.integers(0, 4, (HEIGHT, WIDTH), dtype=np.uint8)
        frame[HEIGHT:] = np.roll(colours, 2 * n, axis=1)
        yield frame


def make(folder: Path, length_s: int, key_s: int) -> Path:
    """The file of this length and distance of keyframes, made where it is missing."""
    target, clip = folder / f"{length_s}s_{key_s}.mp4", folder / f"clip_{key_s}.mp4"
    if target.exists():
        return target
    if not clip.exists():
        noise = np.random.default_rng(1).standard_normal(CLIP_S * RATE_HZ).astype(np.float32)
        write_mp4(
            clip, pictures(), rate=RATE, sound=0.1 * noise, sound_rate_hz=RATE_HZ,
            keyframe_every_s=key_s, pixels="yuv420p",
        )  # fmt: skip
    part = target.with_suffix(".part.mp4")
    repeat(clip, part, length_s, stride_s=STRIDE_S).replace(target)
    return target


def look(path: Path, grid: str) -> dict[str, float]:
    """Seconds (clock, processor) and pictures of one look at a file, as AVGN does it."""
    clock, work = time.perf_counter(), time.process_time()
    every = [(0, t) for t in range(SETTINGS.snippets)]
    with FileView([path], replace(SETTINGS, grid=grid), threads=1) as view:
        opened = time.process_time()
        view.pictures(every)
        seen = time.process_time()
        view.sounds(every)
        heard = time.process_time()
        view.patches(every[:PATCHES], [BOX] * PATCHES)
        if not (view.visible.all() and view.audible.all()):
            raise RuntimeError(f"{path} was not seen and heard throughout")
        return {
            "clock_s": time.perf_counter() - clock,
            "processor_s": time.process_time() - work,
            "open_s": opened - work,
            "pictures_s": seen - opened,
            "sounds_s": heard - seen,
            "decoded": int(view.frames_decoded[0]),
            "on_keyframes": int(view.on_keyframes[0].sum()),
            "pictures": len(np.unique(view.times[0])),
        }


def peak(path: Path, grid: str) -> dict[str, float]:
    """Resident MB before a look, in a process that has looked at a short file, and the peak in it."""

    def status(key: str) -> float:
        with open("/proc/self/status", encoding="ascii") as file:
            return next(int(line.split()[1]) for line in file if line.startswith(key)) / 1024

    look(path.with_name(f"{LENGTHS[0]}{path.name[path.name.index('s_') :]}"), "keyframe")
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    before = status("VmRSS")
    look(path, grid)
    return {"before_mb": before, "peak_mb": status("VmHWM")}


def measure(args: argparse.Namespace) -> list[dict[str, Any]]:
    """One row a file and grid, with every round's figures."""
    rows = [
        {"key_s": key, "length_s": length, "grid": grid, "rounds": []}
        for key, length, grid in itertools.product(args.keys, args.lengths, args.grids)
    ]
    for number in range(args.rounds):
        for row in rows:
            found = look(make(args.folder, row["length_s"], row["key_s"]), row["grid"])
            row["rounds"].append(found)
            print(number, row["key_s"], row["length_s"], row["grid"], found, file=sys.stderr, flush=True)
    for row in rows:
        row["median"] = {k: statistics.median(r[k] for r in row["rounds"]) for k in row["rounds"][0]}
    return rows


def ratios(rows: list[dict[str, Any]], what: str) -> list[dict[str, Any]]:
    """Of each file the grids against the exact one, and of each grid the longest file against the others."""
    found = []
    for one, other in itertools.permutations(rows, 2):
        same_file = (one["key_s"], one["length_s"]) == (other["key_s"], other["length_s"])
        grown = (one["key_s"], one["grid"]) == (other["key_s"], other["grid"])
        if (same_file and other["grid"] == "exact") or (grown and one["length_s"] > other["length_s"]):
            each = [a[what] / b[what] for a, b in zip(one["rounds"], other["rounds"], strict=True)]
            names = [{k: row[k] for k in ("key_s", "length_s", "grid")} for row in (one, other)]
            found.append({"of": names[0], "to": names[1], "median": statistics.median(each), "each": each})
    return found


def memory(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Peaks of reading 3 minutes and an hour, each in its own process."""
    found = []
    for key, length, grid in itertools.product(args.keys[:1], args.lengths, args.grids):
        make(args.folder, LENGTHS[0], key)  # the short file that each process reads first
        file = make(args.folder, length, key)
        command = [sys.executable, __file__, "--peak", str(file), "--grids", grid]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found.append({"key_s": key, "length_s": length, "grid": grid} | json.loads(done.stdout))
        print(found[-1], file=sys.stderr, flush=True)
    return found


def command(args: argparse.Namespace) -> str:
    """What gives these figures again, without the folders of one machine."""
    words = ["python benchmarks/grid.py"]
    for name in ("lengths", "keys", "grids"):
        words.append(f"--{name} {' '.join(map(str, getattr(args, name)))}")
    return " ".join([*words, f"--rounds {args.rounds}", *["--no-memory"] * args.no_memory])


def main(arguments: list[str]) -> int:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, help="where the files are kept (an hour takes 2 GB each)")
    parser.add_argument("--lengths", type=int, nargs="+", default=LENGTHS)
    parser.add_argument("--keys", type=int, nargs="+", default=KEYS)
    parser.add_argument("--grids", nargs="+", default=GRIDS, choices=GRIDS)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--no-memory", action="store_true")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--peak", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args(arguments)
    if args.peak is not None:
        print(json.dumps(peak(args.peak, args.grids[0])))
        return 0
    args.folder = args.folder or Path(tempfile.mkdtemp())
    args.folder.mkdir(parents=True, exist_ok=True)
    rows = measure(args)
    found = {
        "command": command(args),
        "rows": rows,
        "ratios": {what: ratios(rows, what) for what in ("processor_s", "clock_s")},
        "memory": [] if args.no_memory else memory(args),
    }
    if args.out is not None:
        args.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print("| keyframe every | length | grid | processor s | clock s | decoded | on keyframes | pictures |")
    print("|---|---|---|---|---|---|---|---|")
    for row in rows:
        m = row["median"]
        print(
            f"| {row['key_s']} s | {row['length_s']} s | {row['grid']} | {m['processor_s']:.3f} | "
            f"{m['clock_s']:.3f} | {m['decoded']:.0f} | {m['on_keyframes']:.0f} | {m['pictures']:.0f} |"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
