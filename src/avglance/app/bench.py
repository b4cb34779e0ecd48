"""``avglance bench``: the clock from file to answer, ours beside what others do, in one run."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avglance.app import eval as evals
from avglance.app.bench_table import table
from avglance.app.machine import wait_idly
from avglance.app.render import Ink, clean
from avglance.errors import ArgumentError, AVGLanceError, CheckpointError, MediaError

if TYPE_CHECKING:
    import torch

    from avglance.evaluation.rivals import Setting
    from avglance.runtime import Host
    from avglance.systems.base import System
    from avglance.views import Bill, FileView

DONE, UNREADABLE, SOME_FAILED = 0, 3, 6
SCHEMA = "avglance.bench/1"
OURS = "ours"
AGAINST = ("exact", "tsn_all", "tsn_seek", "second", "mvit_clip", "mvit", "r2plus1d_clip", "r2plus1d")
MOST_ROUNDS = 1000
EPILOG = """All read with the same reader and run at the same precision and threads, round by round in turn.
Ratios are taken within a round; the table gives medians, and quartiles in brackets.
  exact                 ours with exact seeks
  tsn_all, tsn_seek     ResNet-50 on 16 pictures of 224: every picture decoded, or exact seeks
  second                the same ResNet-50 on one picture a second
  mvit, r2plus1d        MViTv2-S and R(2+1)D-18 on 5 clips of 16 pictures, as their cards at torchvision say
  mvit_clip, r2plus1d_clip   the same on one clip
Random weights take as long as trained ones. The floor is what the codec alone takes for the pictures and
sounds that were used, and the multiply-adds at the pace of one large matrix product on this machine.
Exit code: 0 done, 3 no file can be read, 6 some cannot (they are named)."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``avglance bench``."""
    parser.epilog = EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "inputs", nargs="+", metavar="INPUT", type=Path, help="video file, folder or dataset table"
    )
    parser.add_argument(
        "--model",
        default="avgn",
        metavar="NAME",
        help="shipped model or model folder; or a system, with random weights (default: %(default)s)",
    )
    parser.add_argument("--budget", type=int, default=4, metavar="K", help="close looks of ours (default: 4)")
    parser.add_argument(
        "--grid", choices=("exact", "keyframe", "auto"), default="keyframe", help="ours (default: keyframe)"
    )
    parser.add_argument(
        "--precision", choices=("float32", "bf16"), default="bf16", help="of all networks (default: bf16)"
    )
    parser.add_argument(
        "--against",
        nargs="*",
        choices=AGAINST,
        default=list(AGAINST),
        metavar="NAME",
        help=f"whom to race: {', '.join(AGAINST)} (default: all)",
    )
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="looks of each (default: 5)")
    parser.add_argument(
        "--patience",
        type=float,
        default=60.0,
        metavar="S",
        help="who takes longer than S seconds for a file looks at it once (default: 60)",
    )
    parser.add_argument("--limit", type=int, metavar="N", help="only the first N files")
    parser.add_argument(
        "--no-alone",
        action="store_true",
        help="leave out start-up and memory, which take a process for each rival",
    )
    parser.add_argument(
        "--device", default="cpu", choices=("auto", "cpu", "cuda", "mps"), help="where (default: cpu)"
    )
    parser.add_argument(
        "--runtime",
        default="auto",
        choices=("auto", "torch", "onnx", "openvino"),
        help="what computes ours, as for `avglance tag`: in bf16 torch or openvino (default: auto)",
    )
    parser.add_argument("--threads", type=int, default=0, metavar="N", help="threads (default: all)")
    parser.add_argument("--out", type=Path, metavar="FILE.json", help="write the figures")
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="draw them (svg or png)")
    parser.add_argument("--force", action="store_true", help="replace FILE.json and FILE.png")
    parser.add_argument("--json", action="store_true", help="one JSON object in place of the table")
    parser.add_argument("--quiet", action="store_true", help="no progress on stderr")
    parser.add_argument("--alone", choices=(OURS, *AGAINST), help=argparse.SUPPRESS)


def run(args: argparse.Namespace) -> int:
    """Race, print, write; the exit code."""
    check_values(args)
    wait_idly()
    if args.alone:
        print(json.dumps(_alone(args)))
        return DONE
    files = find_files(args.inputs)[: args.limit]
    found = {"schema": SCHEMA, "command": command(args), "versions": evals.versions(), **race(args, files)}
    if args.out is not None:
        evals.write_json(args.out, found)
    if args.plot is not None:
        _plot(found, args.plot)
    print(json.dumps(found) if args.json else table(found, Ink(sys.stdout)), flush=True)
    if not found["failures"]:
        return DONE
    return SOME_FAILED if found["files"] else UNREADABLE


def _plot(found: dict[str, Any], path: Path) -> None:
    """Draw what was raced for, if anything was."""
    from avglance.app.bench_plot import write_plot

    if found["files"]:
        write_plot(found, path)
    else:
        sys.stderr.write(f"avglance: {clean(path)}: no file could be read, so there is nothing to draw\n")


def check_values(args: argparse.Namespace) -> None:
    """Refuse what cannot work before anything is loaded."""
    from avglance.app.tag import MOST_THREADS

    ranges = {"budget": (1, 32), "rounds": (1, MOST_ROUNDS), "threads": (0, MOST_THREADS), "limit": (1, None)}
    for name, (least, most) in ranges.items():
        value = getattr(args, name)
        if value is not None and (value < least or (most is not None and value > most)):
            room = f"at least {least}" if most is None else f"{least} to {most}"
            raise ArgumentError(f"--{name} must be {room}, got {value}", where="bench")
    if not args.patience > 0:
        raise ArgumentError(f"--patience must be above 0, got {args.patience:g}", where="bench")
    for path in (args.out, args.plot):
        if path is not None:
            _check_target(path, force=args.force)
    if args.plot is not None:
        from avglance.app.bench_plot import check_plot

        check_plot(args.plot)


def _check_target(path: Path, *, force: bool) -> None:
    if path.is_dir() or not path.parent.is_dir():
        what = "is a folder" if path.is_dir() else "lies in a folder that is not there"
        raise ArgumentError(what, where=str(path), hint="name a file in a folder that is there")
    if path.exists() and not force:
        raise ArgumentError("is there already", where=str(path), hint="--force replaces it")


def find_files(inputs: Sequence[Path]) -> list[Path]:
    """The files of the inputs: a dataset gives those that it lists, another folder those below it."""
    from avglance.app.tag import expand
    from avglance.data.records import read_dataset

    found: list[Path] = []
    for path in inputs:
        if path.suffix.lower() in (".csv", ".tsv", ".jsonl", ".json") or (path / "dataset.json").is_file():
            found += [record.path for record in read_dataset(path).records]
        else:
            found += expand([path])
    return found


# ---- the race ----


def race(args: argparse.Namespace, files: Sequence[Path]) -> dict[str, Any]:
    """Every figure, as plain values."""
    start = time.perf_counter()
    import torch

    from avglance.app import api
    from avglance.app.runtimes import computing
    from avglance.evaluation import clock
    from avglance.evaluation.rivals import RIVALS

    import_s = time.perf_counter() - start
    if args.threads:
        torch.set_num_threads(args.threads)
    names, device = [OURS, *dict.fromkeys(args.against)], api.find_device(args.device)
    engine, random = find_ours(args, device)
    setting = make_setting(args, device, engine)
    rivals = clock.build_rivals(names, setting, api.MODELS.parent / "samples" / "glanceworld.mp4")
    peak = clock.matrix_peak(args.precision, device)
    found: dict[str, Any] = {"files": [], "failures": []}
    for path in files:
        try:
            found["files"].append(_one(args, path, rivals, peak))
        except MediaError as error:
            found["failures"].append({"video": str(path), "kind": error.kind, "what": error.what})
            if len(files) == 1:
                raise
            sys.stderr.write(f"avglance: {clean(path)}: {clean(error.what)}\n")
    read = [Path(file["path"]) for file in found["files"]]
    return found | {
        "machine": machine(torch, peak),
        "setting": {
            "model": str(args.model),
            "system": engine.name,
            "random_weights": random,
            "runtime": computing(engine)[0],
            "snippets": engine.view_settings.snippets,
            **{name: getattr(args, name) for name in ("budget", "grid", "precision", "rounds")},
        },
        "rivals": {name: RIVALS[name].words for name in names},
        "import_s": import_s,
        "alone": [] if args.no_alone or not read else [in_child(args, name, read[0]) for name in names],
    }


def _one(args: argparse.Namespace, path: Path, rivals: dict[str, Any], peak: float) -> dict[str, Any]:
    """One file: who takes how long, and the floor under ours."""
    from avglance.evaluation import clock
    from avglance.media import VideoReader

    with VideoReader(path) as reader:
        info = reader.info
    if not info.has_video:
        hint = "the others see and do not hear: give a file with pictures"
        raise MediaError("has no pictures to race for", kind="no_video", where=str(path), hint=hint)
    looks = clock.timed(
        path,
        rivals,
        rounds=args.rounds,
        patience_s=args.patience,
        step=None if args.quiet else _progress(path),
    )
    floor = clock.floor(path, looks[OURS][-1], info.duration_s, peak)
    rows = clock.rows(looks, OURS)
    return {
        "path": str(path),
        "duration_s": info.duration_s,
        "width": info.width,
        "height": info.height,
        "frame_rate": info.frame_rate,
        "video_codec": info.video_codec,
        "bytes": path.stat().st_size,
        "rows": rows,
        "floor": floor | {"ratio": rows[0]["seconds"]["median"] / floor["seconds"]},
    }


def _progress(path: Path) -> Any:
    live = sys.stderr.isatty()

    def step(name: str, number: int) -> None:
        if live:
            sys.stderr.write(f"\r\x1b[K{clean(path.name, 60)}: round {number + 1}, {name}")
            sys.stderr.flush()

    return step


def _systems() -> dict[str, Any]:
    from avglance.app import api
    from avglance.systems import SYSTEMS

    return {name: path for name, path in SYSTEMS.items() if name not in api.shipped_models()}


def find_ours(args: argparse.Namespace, device: torch.device) -> tuple[System | Host, bool]:
    """Ours, made as quick as for ``avglance tag``, and whether its weights are random.

    Raises:
        CheckpointError: there is no such model.
        ArgumentError: its runtime cannot compute so.
        MissingExtra: that is not installed.
    """
    import torch

    from avglance.app import api, runtimes
    from avglance.app.precision import prepare
    from avglance.systems import build

    if args.model in _systems() and not os.path.isdir(args.model):
        if args.runtime not in ("auto", "torch"):
            hint = "name a model that has graphs, or --runtime torch"
            raise ArgumentError(f"{args.model} with random weights has no graphs", where="bench", hint=hint)
        torch.manual_seed(0)
        system = build(args.model, classes=200).eval().to(device)
        prepare(system, args.precision)
        return system, True
    try:
        folder = api.find_model(args.model)
    except CheckpointError as error:
        hint = f"{error.hint}; or a system: {', '.join(_systems())}"
        raise CheckpointError(error.what, where=error.where, hint=hint) from error
    how = {name: getattr(args, name) for name in ("runtime", "device", "threads", "precision")}
    return runtimes.load(folder, **how).system, False


def make_setting(args: argparse.Namespace, device: torch.device, ours: System | Host) -> Setting:
    """How rivals are built.

    Raises:
        ArgumentError: ours cannot look so often.
    """
    from avglance.app.runtimes import recognise
    from avglance.evaluation.rivals import Setting

    if args.budget > ours.max_k:
        hint = f"choose 1 to {ours.max_k}"
        what = f"a budget of {args.budget} moments is outside [1, {ours.max_k}]"
        raise ArgumentError(what, where=ours.name, hint=hint)

    def answer(view: FileView, k: int) -> Bill:
        return recognise(ours, view, k, None)[1]

    views = ours.view_settings
    return Setting(answer, views, args.budget, args.grid, args.precision, device, args.threads)


# ---- a process for each ----


def in_child(args: argparse.Namespace, name: str, path: Path) -> dict[str, Any]:
    """Start-up and memory of one rival, in a process of its own.

    Raises:
        AVGLanceError: the process ended without an answer.
    """
    if not args.quiet and sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[Kalone: {name}")
    words = [sys.executable, "-m", "avglance", "bench", "--alone", name, *options(args), "--", str(path)]
    start = time.perf_counter()
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    whole_s = time.perf_counter() - start
    if done.returncode:
        told = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise AVGLanceError(f"the process of {name} ended with code {done.returncode}: {told}", where="bench")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found | {"process_s": whole_s}


def _alone(args: argparse.Namespace) -> dict[str, Any]:
    start = time.perf_counter()
    import torch

    from avglance.app import api
    from avglance.evaluation import clock

    import_s = time.perf_counter() - start
    if args.threads:
        torch.set_num_threads(args.threads)
    device = api.find_device(args.device)
    return {"import_s": import_s} | clock.alone(
        args.inputs[0], args.alone, lambda: make_setting(args, device, find_ours(args, device)[0])
    )


# ---- what made the figures ----


def options(args: argparse.Namespace) -> list[str]:
    """The options that shape the figures, as words."""
    words = ["--model", str(args.model)]
    for name in ("budget", "grid", "precision", "device", "runtime", "threads"):
        words += [f"--{name}", str(getattr(args, name))]
    return words


def command(args: argparse.Namespace) -> str:
    """The command that gives these figures again; files are named without their folders."""
    words = ["avglance", "bench", *(path.name for path in args.inputs), *options(args)]
    words += ["--rounds", str(args.rounds), "--patience", f"{args.patience:g}"]
    words += ["--limit", str(args.limit)] if args.limit else []
    words += ["--no-alone"] if args.no_alone else []
    return shlex.join([*words, "--against", *args.against])


def machine(torch: Any, peak: float) -> dict[str, Any]:
    """What the figures are of."""
    import platform

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "cores": cores,
        "machine": platform.machine(),
        "torch_threads": torch.get_num_threads(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "peak_gmacs_s": peak / 1e9,
    }
