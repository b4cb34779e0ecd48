"""Every figure of docs/performance.md: who takes how long from a file to an answer, and what each gain gave.

    python benchmarks/performance.py [PART ...] [--folder DIR] [--rounds 3]
                                     [--clips CLIPS.csv] [--data glanceworld=DIR] [--data splices=DIR]
                                     [--ways bf16,auto ...]

Parts: race, torch, float32, length, resolution, gains, many, answers (of the videos of --clips and --data).
All but the last take some eighteen minutes on two cores that do nothing else; each is put into
docs/results/performance.json by itself. Files are H.264 + AAC, 30 pictures a second, made by repeating the
packets of ten generated seconds; the long ones are removed again. Ours is AVGN as in the paper with random
weights, by openvino but in the part ``torch``. ``answers`` evaluates up to 1,000 videos
six times over (half an hour for the splices) and goes on in --folder where it was broken off.
``performance_page`` writes the page.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import resource
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from grid import ground
from length import repeat
from performance_answers import INT8, KINDS, SEEN, WAYS, measured
from PIL import Image

from avglance.app.bench import AGAINST
from avglance.data.splice_sources import read_clips
from avglance.media import write_mp4
from avglance.systems import build
from avglance.systems.store import save_model

KEPT = Path(__file__).resolve().parents[1] / "docs" / "results" / "performance.json"
SCHEMA = "avglance.performance/1"
RATE, RATE_HZ, CLIP_S, KEY_S = 30, 48_000, 10, 5
STRIDE_S = CLIP_S + 0.1
LENGTHS_S = (10, 60, 180, 600, 3600, 10_800)
HEIGHTS = (240, 360, 480, 720, 1080, 2160)
FEW = ("tsn_seek", "r2plus1d_clip")
MANY, SYSTEM, CLASSES = 64, "avgn", 200
SAMPLE = Path(__file__).resolve().parents[1] / "src" / "avglance" / "samples" / "glanceworld.mp4"
LOOP = """import sys, avglance
model = avglance.load(sys.argv[1], device="cpu")
for file in sys.argv[2:]:
    model.tag(file)"""


# ---- files ----


def pictures(width: int, height: int) -> Iterator[np.ndarray]:
    """A camera that moves over the ground and an object that moves on its own; planes of yuv420p."""
    rng = np.random.default_rng(0)
    wide, thing = soft(rng, height * 5 // 3, width * 15 // 8), soft(rng, height // 4, width // 4)
    colours = soft(rng, height // 2, width)
    for n in range(CLIP_S * RATE):
        turn = 2 * np.pi * n / (CLIP_S * RATE)  # the end meets the beginning
        x, y = round(width * (0.4 + 0.37 * np.sin(turn))), round(height * (0.3 + 0.25 * np.sin(2 * turn)))
        frame = np.empty((height * 3 // 2, width), np.uint8)
        frame[:height] = wide[y : y + height, x : x + width]
        left, top = (
            round(width * (0.37 + 0.36 * np.sin(3 * turn))),
            round(height * (0.37 + 0.3 * np.cos(turn))),
        )
        frame[top : top + thing.shape[0], left : left + thing.shape[1]] = thing
        frame[height:] = np.roll(colours, 2 * n, axis=1)
        yield frame


def soft(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Clouds without grain, so that a picture weighs what films weigh: uint8 (height, width)."""
    coarse = Image.fromarray(ground(rng, height // 3 + 1, width // 3 + 1))
    return np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC))


def make(folder: Path, length_s: int, height: int = 720) -> Path:
    """A file of this length and height, made where it is missing."""
    width = height * 16 // 9 // 8 * 8
    clip, target = folder / f"clip_{height}p.mp4", folder / f"{length_s}s_{height}p.mp4"
    if not clip.exists():
        sound = 0.1 * np.random.default_rng(1).standard_normal(CLIP_S * RATE_HZ).astype(np.float32)
        write_mp4(
            clip, pictures(width, height), rate=RATE, sound=sound, sound_rate_hz=RATE_HZ, crf=30,
            keyframe_every_s=KEY_S, pixels="yuv420p",
        )  # fmt: skip
    if not target.exists():
        part = target.with_suffix(".part.mp4")
        repeat(clip, part, max(length_s, round(STRIDE_S)), stride_s=STRIDE_S).replace(target)
    return target


def paper(folder: Path) -> Path:
    """AVGN as in the paper, its weights random, with its graphs."""
    made, graphs = folder / "random", folder / SYSTEM
    torch.manual_seed(0)
    system = build(SYSTEM, classes=CLASSES).eval()
    save_model(system, made, classes=[f"class {n}" for n in range(CLASSES)], card={}, overwrite=True)
    words = ["export", str(made), "--to", "openvino", "--out", str(graphs), "--force"]
    subprocess.run([sys.executable, "-m", "avglance", *words], check=True, stdout=subprocess.DEVNULL)
    shutil.rmtree(made)
    return graphs


# ---- parts ----


def bench(files: Sequence[Path], *options: str, graphs: Path | None = None) -> dict[str, Any]:
    """What ``avglance bench`` says of these files; ours by ``graphs`` and openvino, or else by torch."""
    words = [sys.executable, "-m", "avglance", "bench", *map(str, files), "--json", "--quiet", *options]
    words += ["--model", str(graphs), "--runtime", "openvino"] if graphs else []
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    if graphs:
        found["setting"] |= {"model": SYSTEM, "random_weights": True}
        found["command"] = found["command"].replace(shlex.quote(str(graphs)), SYSTEM)
    for file in found["files"]:
        file["path"] = Path(file["path"]).name
    return found


def race(args: argparse.Namespace) -> dict[str, Any]:
    """Three minutes of 720p against everyone, in bf16."""
    options = ["--rounds", str(args.rounds), "--patience", "10"]
    return bench([make(args.folder, 180)], *options, graphs=paper(args.folder))


def by_torch(args: argparse.Namespace) -> dict[str, Any]:
    """The same with ours by torch, as the others are."""
    others = [name for name in AGAINST if name not in ("tsn_all", "second")]
    options = ["--against", *others, "--rounds", str(args.rounds), "--no-alone"]
    return bench([make(args.folder, 180)], *options)


def float32(args: argparse.Namespace) -> dict[str, Any]:
    """The same in float32."""
    options = ["--precision", "float32", "--rounds", str(args.rounds), "--patience", "8", "--no-alone"]
    return bench([make(args.folder, 180)], *options, graphs=paper(args.folder))


def length(args: argparse.Namespace) -> dict[str, Any]:
    """720p from ten seconds to three hours; memory of three minutes and of an hour."""
    files = [make(args.folder, seconds) for seconds in LENGTHS_S]
    graphs = paper(args.folder)
    found = bench(files, "--against", *FEW, "--no-alone", "--rounds", str(args.rounds), graphs=graphs)
    only = ("--against", "--rounds", "1")
    found["memory"] = [
        {"file": file.name} | bench([file], *only, graphs=graphs)["alone"][0]
        for file in (files[LENGTHS_S.index(180)], files[LENGTHS_S.index(3600)])
        for _ in range(args.rounds)
    ]
    for file in files[4:]:
        file.unlink()
    return found


def resolution(args: argparse.Namespace) -> dict[str, Any]:
    """A minute from 240 to 2160 lines."""
    files = [make(args.folder, 60, height) for height in HEIGHTS]
    options = ["--against", *FEW, "--no-alone", "--rounds", str(args.rounds)]
    return bench(files, *options, graphs=paper(args.folder))


def gains(args: argparse.Namespace) -> dict[str, Any]:
    """What each thing that was done gave: before and after, in turn, as seconds of the processor."""
    import performance_gains

    file = make(args.folder, 180)
    return {"rows": performance_gains.measured(file, SAMPLE, rounds=args.rounds)}


def many(args: argparse.Namespace) -> dict[str, Any]:
    """Short files in processes of their own, one by one in one process or in two, and together."""
    files = [args.folder / f"short_{n}.mp4" for n in range(MANY)]
    for file in files:
        file.write_bytes(SAMPLE.read_bytes())
    model = "avgn_nano.glanceworld"
    tag = [sys.executable, "-m", "avglance", "tag", "--model", model, "--quiet", "--json", "--device", "cpu"]
    few = files[:8]  # processes of their own: a few stand for all
    ways: dict[str, Callable[[], float]] = {
        "each in a process": lambda: sum(ran([*tag, str(file)]) for file in few) * MANY / len(few),
        "one by one in one process": lambda: ran([sys.executable, "-c", LOOP, model, *map(str, files)]),
        "one by one, decoded in another": lambda: ran([*tag, "--threads", "1", *map(str, files)]),
        "together": lambda: ran([*tag, *map(str, files)]),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(args.rounds):
        for name, way in ways.items():
            seconds[name].append(way())
    return {"videos": MANY, "in_processes": len(few), "model": model, "seconds": seconds}


def ran(words: Sequence[str]) -> float:
    """Seconds of a command."""
    start = time.perf_counter()
    subprocess.run(words, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - start


def answers(args: argparse.Namespace) -> dict[str, Any]:
    """Answers of the shipped models in other precisions and on other grids; kinds not given stay as kept."""
    places = dict(args.data)
    if args.clips is not None:
        places["clips"] = tested(args)
    if not places:
        raise SystemExit("the part `answers` wants videos: --clips CLIPS.csv, --data glanceworld=DIR")
    found = kept_parts().get("answers", {}).get("kinds", {})
    for name, place in places.items():
        seen = seen_by(args, place) if any(precision == INT8 for precision, _ in args.ways) else []
        found[name] = measured(name, place, args.folder, args.ways, seen=seen)
    found = {name: found[name] for name in KINDS if name in found}
    return {"made_by": "; ".join(kind["made_by"] for kind in found.values()), "kinds": found}


def seen_by(args: argparse.Namespace, place: Path) -> list[Path]:
    """Videos that trained the model for a kind: evenly of the clips' classes, or of the world beside it."""
    train = place.parent / "train"
    if place.name == "test" and json.loads((place / "dataset.json").read_text())["kind"] == "glanceworld":
        return sorted((train / "videos").iterdir())[:SEEN]
    by_class: dict[str, list[Path]] = {}
    for clip in read_clips(args.clips) if args.clips is not None else ():
        if clip.split == "train":
            by_class.setdefault(clip.label, []).append(clip.path)
    each = SEEN // max(len(by_class), 1)
    return [path for paths in by_class.values() for path in paths[:: max(1, len(paths) // each)][:each]]


def tested(args: argparse.Namespace) -> Path:
    """The test clips, copied beside a table of one's own."""
    table: Path = args.folder / "clips" / "clips.csv"
    table.parent.mkdir(exist_ok=True)
    rows = []
    for clip in read_clips(args.clips):
        if clip.split == "test":
            shutil.copyfile(clip.path, table.parent / clip.path.name)
            rows.append((clip.path.name, clip.label))
    with table.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("path", "label"), *rows])
    return table


PARTS: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    "race": race,
    "torch": by_torch,
    "float32": float32,
    "length": length,
    "resolution": resolution,
    "gains": gains,
    "many": many,
    "answers": answers,
}


def keep(name: str, found: dict[str, Any], args: argparse.Namespace, took_s: float, *, busy: float) -> None:
    """Put a part beside the others."""
    command = f"python benchmarks/performance.py {name} --rounds {args.rounds}"
    part = {"made_by": command, "took_s": round(took_s, 1), "busy_cores": busy} | found
    kept = {"schema": SCHEMA, "parts": kept_parts() | {name: part}}
    text = json.dumps(kept, indent=1, allow_nan=False)
    KEPT.write_text(text + "\n", encoding="utf-8")


def kept_parts() -> dict[str, dict[str, Any]]:
    """The parts that are kept, by name."""
    if not KEPT.exists():
        return {}
    parts: dict[str, dict[str, Any]] = json.loads(KEPT.read_text(encoding="utf-8"))["parts"]
    return parts


def place(text: str) -> tuple[str, Path]:
    """A kind of videos and their folder, from ``NAME=FOLDER``.

    Raises:
        argparse.ArgumentTypeError: there is no such kind or no such folder.
    """
    name, _, folder = text.partition("=")
    if name not in KINDS or name == "clips":
        raise argparse.ArgumentTypeError(f"{text!r} is not glanceworld=FOLDER or splices=FOLDER")
    if not Path(folder, "dataset.json").is_file():
        raise argparse.ArgumentTypeError(f"{folder!r} is no dataset folder: it holds no dataset.json")
    return name, Path(folder)


def way(text: str) -> tuple[str, str]:
    """A precision and a grid, from ``bf16,auto``.

    Raises:
        argparse.ArgumentTypeError: there is no such way.
    """
    precision, _, grid = text.partition(",")
    if (precision, grid) not in WAYS:
        known = " ".join(map(",".join, WAYS))
        raise argparse.ArgumentTypeError(f"{text!r} is none of {known}")
    return precision, grid


def busy_cores() -> float | None:
    """How many cores other work keeps busy right now (Linux); None: that cannot be told."""
    try:
        first, _ = (Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)), time.sleep(1.0)
        second = Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)
    except OSError:
        return None
    before, after = ([int(n) for n in text[0].split()[1:9]] for text in (first, second))
    idle = sum(after[3:5]) - sum(before[3:5])
    whole = sum(after) - sum(before)
    return round((os.cpu_count() or 1) * (1 - idle / whole), 2) if whole else None


def cpu_s() -> float:
    """Seconds of the processor of this process and of those it has waited for."""
    spent = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in spent)


def main(arguments: list[str]) -> int:
    """Measure the parts and keep them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--folder", type=Path, help="where files are kept (three hours take 4 GB meanwhile)")
    parser.add_argument("--clips", type=Path, help="table of real clips with a split `test`")
    parser.add_argument("--data", type=place, action="append", default=[], metavar="NAME=FOLDER",
                        help="videos for `answers`: glanceworld or splices")  # fmt: skip
    parser.add_argument("--ways", type=way, nargs="+", default=WAYS, metavar="PRECISION,GRID",
                        help="of `answers`: only these beside float32,exact (default: all)")  # fmt: skip
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args(arguments)
    for name in args.parts:
        if name not in PARTS:
            parser.error(f"no part is called {name!r}; there are {', '.join(PARTS)}")
    args.folder = args.folder or Path(tempfile.mkdtemp())
    args.folder.mkdir(parents=True, exist_ok=True)
    for name in args.parts or [part for part in PARTS if part != "answers" or args.clips or args.data]:
        busy, start = busy_cores(), time.perf_counter()
        found = PARTS[name](args)
        keep(name, found, args, time.perf_counter() - start, busy=busy)
        print(f"{name}: {time.perf_counter() - start:.0f} s, {busy} cores were busy before", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
