"""``avglance eval``: a model's figures on a dataset, with their cost."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avglance.app import reading
from avglance.app.eval_table import table
from avglance.app.leading import METRICS, check_metric
from avglance.app.render import Ink, duration
from avglance.errors import ArgumentError

if TYPE_CHECKING:
    from avglance.app.budget import Plan
    from avglance.runtime import LoadedGraphs
    from avglance.systems.store import LoadedModel

DONE, UNREADABLE, SOME_FAILED = 0, 3, 6
PLAIN_LINE_S = 30.0  # without a terminal, one line of progress every so many seconds
EPILOG = """The table goes to stdout; --json prints one JSON object in its place; --out keeps that object with
one row a video. What is measured against a known event (moment recall, patch hit, spans) appears where the
dataset holds its truth.
Exit code: 0 all answered, 6 some videos cannot be read (they are named), 3 none can."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``avglance eval``."""
    parser.epilog = EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("model", metavar="MODEL", help="shipped model or model folder")
    parser.add_argument("data", metavar="DATA", type=Path, help="dataset folder, folder of folders, or table")
    parser.add_argument(
        "--split", metavar="NAME", help="only this part (default: test, else validation, else everything)"
    )
    parser.add_argument(
        "--budget",
        metavar="N",
        help="what a video may cost: close looks (4) or multiply-adds on average (8GMAC); default: 4",
    )
    parser.add_argument(
        "--exit",
        dest="exit_early",
        action=argparse.BooleanOptionalAction,
        help="stop looking when sure (default: with a budget in GMAC, where the model can)",
    )
    reading.add_speed(parser)
    parser.add_argument("--out", type=Path, metavar="FILE.json", help="write figures and one row a video")
    parser.add_argument("--force", action="store_true", help="replace FILE.json if it is there")
    parser.add_argument("--limit", type=int, metavar="N", help="only the first N videos of the manifest")
    parser.add_argument(
        "--metric",
        choices=tuple(METRICS),
        default="auto",
        help="the figure that leads (default: mAP where videos have several labels, else top-1)",
    )
    parser.add_argument("--batch", type=int, default=16, metavar="N", help="videos at once (default: 16)")
    steer = parser.add_mutually_exclusive_group()
    steer.add_argument(
        "--swap-sound",
        action="store_true",
        help="control: each video with the sound of another class's video",
    )
    steer.add_argument("--mute", action="store_true", help="control: without sound")
    steer.add_argument(
        "--tell",
        choices=("moments", "patches", "both"),
        help="control: tell the true moments or places, to see what perfect choosing or aiming would give",
    )
    steer.add_argument(
        "--uniform",
        action="store_true",
        help="control: look at evenly spaced moments, to see what choosing is worth",
    )
    parser.add_argument(
        "--cache",
        type=Path,
        metavar="DIR",
        help="read the training cache below DIR (made where it is missing) in place of the files: for many "
        "evaluations of one dataset; says nothing about the clock",
    )
    parser.add_argument(
        "--device", default="auto", choices=("auto", "cpu", "cuda", "mps"), help="where to compute"
    )
    parser.add_argument(
        "--runtime",
        default="torch",
        choices=("torch", "onnx", "openvino"),
        help="what computes; onnx and openvino run the graphs of `avglance export` (default: torch)",
    )
    parser.add_argument(
        "--precision",
        default="float32",
        choices=("float32", "bf16"),
        help="of the encoders; bf16 is faster on some machines, and differs in the third digit",
    )
    parser.add_argument(
        "--threads", type=int, default=0, metavar="N", help="threads in all (default: one a core)"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object in place of the table")
    parser.add_argument("--quiet", action="store_true", help="no progress on stderr")


def run(args: argparse.Namespace) -> int:
    """Evaluate, print the figures, write the file; the exit code."""
    check_values(args)
    from avglance.data.records import TEST, read_dataset

    dataset = read_dataset(args.data, split=args.split, prefer=TEST)
    check_metric(args.metric, dataset)
    from avglance.evaluation import evaluate

    workers = set_threads(args.threads)
    loaded = load(args)
    found = evaluate(
        loaded,
        dataset,
        **spending(planned(args, loaded)),
        batch=args.batch,
        control=control(args),
        grid=args.grid,
        rough=args.rough,
        cache=open_cache(args, dataset, loaded.system.view_settings),
        limit=args.limit,
        workers=workers,
        precision=args.precision,
        progress=None if args.quiet else progress(live=sys.stderr.isatty() and not args.json),
    )
    found = {"command": command(args), "versions": versions(), **found}
    if args.out is not None:
        write_json(args.out, found)
    if args.json:
        print(json.dumps({k: v for k, v in found.items() if k != "rows"}, allow_nan=False), flush=True)
    else:
        print(table(found, Ink(sys.stdout)), flush=True)
    if not found["failed"]:
        return DONE
    return SOME_FAILED if found["videos"] else UNREADABLE


def load(args: argparse.Namespace) -> LoadedModel | LoadedGraphs:
    """The model, for what shall compute; its batches go side by side, with a thread each."""
    from avglance.app import api, runtimes

    folder = api.find_model(args.model)
    if args.runtime != "torch":
        how = {"device": args.device, "precision": args.precision}
        return runtimes.load(folder, runtime=args.runtime, threads=1, **how)
    from avglance.systems.encoders import make_brief
    from avglance.systems.store import load_model

    loaded = load_model(folder, device=str(api.find_device(args.device)))
    if args.precision == "bf16":
        make_brief(loaded.system)
    return loaded


def planned(args: argparse.Namespace, loaded: Any) -> Plan:
    """How the budget is spent; what is told where to look glances at everything."""
    from avglance.app.answer import found_out
    from avglance.app.budget import plan

    asked = (args.budget, args.exit_early, args.glance_pictures)
    return plan(loaded.system, found_out(loaded)[1], *asked, steered=bool(args.tell or args.uniform))


def spending(plan: Plan) -> dict[str, Any]:
    """A plan as ``evaluate`` takes it: the same whatever machine runs it."""
    if plan.seconds is not None:
        hint = "give looks (4) or multiply-adds (8GMAC); `avglance tag` keeps seconds"
        raise ArgumentError("figures by the clock would be this machine's", where="--budget", hint=hint)
    looks = {"budget": plan.looks, "stop": plan.stop(0.0), "exits": plan.words}
    return looks | {"glance_pictures": plan.pictures}


def control(args: argparse.Namespace) -> Any:
    """The control that the options ask for."""
    if args.tell:
        return f"true_{args.tell}"
    words = (("swap_sound", args.swap_sound), ("mute", args.mute), ("uniform", args.uniform))
    return next((name for name, asked in words if asked), "none")


def open_cache(args: argparse.Namespace, dataset: Any, settings: Any) -> Any:
    """The cache of a dataset below ``--cache``, made where it is missing; None without the option."""
    if args.cache is None:
        return None
    from avglance.data.cache import Cache, build_cache

    step = None if args.quiet else progress(live=sys.stderr.isatty() and not args.json)
    tell = None if step is None else lambda done, total: step(done, total, 0)
    build_cache(dataset, settings, args.cache, progress=tell, skip_broken=True)
    return Cache(dataset, settings, args.cache)


def check_values(args: argparse.Namespace) -> None:
    """Refuse what cannot work before anything is loaded."""
    for name, least in (("limit", 1), ("batch", 1), ("threads", 0)):
        value = getattr(args, name)
        if value is not None and value < least:
            raise ArgumentError(f"--{name} must be at least {least}, got {value}", where="eval")
    if args.cache is not None and (args.grid or args.rough):
        hint = "leave --cache away: what it holds was read on the model's own grid, at full cost"
        raise ArgumentError("--grid and --rough are for files", where="eval", hint=hint)
    if args.out is None:
        return
    if args.out.is_dir() or not args.out.parent.is_dir():
        what = "is a folder" if args.out.is_dir() else "lies in a folder that is not there"
        raise ArgumentError(
            f"--out {what}", where=str(args.out), hint="name a file in a folder that is there"
        )
    if args.out.exists() and not args.force:
        raise ArgumentError("--out is there already", where=str(args.out), hint="--force replaces it")


def set_threads(threads: int) -> int:
    """How many batches go at once: one a thread, each with one thread of torch's own."""
    import torch

    count = threads or len(os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else [0]) or 1
    torch.set_num_threads(1)
    return count


def progress(*, live: bool) -> Callable[[int, int, int], None]:
    """What to call with videos done, in all and failed: a line drawn again, or a plain one every 30 s."""
    start = last = time.monotonic()

    def step(done: int, total: int, failed: int) -> None:
        nonlocal last
        now = time.monotonic()
        left = (now - start) / done * (total - done) if done else 0.0
        text = f"{done} of {total} videos, {failed} failed, about {duration(left)} left"
        if live:
            sys.stderr.write(f"\r\x1b[K{text}" if done < total else "\r\x1b[K")
        elif now - last >= PLAIN_LINE_S:
            last = now
            sys.stderr.write(f"avglance: {text}\n")
        sys.stderr.flush()

    return step


def write_json(path: Path, found: dict[str, Any]) -> None:
    """Write the figures beside their name and rename the file when it is whole."""
    part = path.with_name(f"{path.name}.part")
    try:
        part.write_text(json.dumps(found, allow_nan=False, indent=1) + "\n", encoding="utf-8")
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise ArgumentError(f"cannot write: {error.strerror}", where=str(path)) from error


def command(args: argparse.Namespace) -> str:
    """The command that gives these figures again."""
    words = ["avglance", "eval", str(args.model), str(args.data)]
    for name in ("split", "budget", "limit", "batch", "threads"):
        if getattr(args, name):
            words += [f"--{name}", str(getattr(args, name))]
    if args.exit_early is not None:
        words.append("--exit" if args.exit_early else "--no-exit")
    words += (["--grid", args.grid] if args.grid else []) + ["--rough"] * args.rough
    words += [] if args.glance_pictures is None else ["--glance-pictures", str(args.glance_pictures)]
    words += ["--swap-sound"] * args.swap_sound + ["--mute"] * args.mute + ["--uniform"] * args.uniform
    words += ["--tell", args.tell] if args.tell else []
    words += ["--cache", str(args.cache)] if args.cache else []
    words += ["--precision", args.precision] if args.precision != "float32" else []
    words += ["--runtime", args.runtime] if args.runtime != "torch" else []
    return shlex.join(words)


def versions() -> dict[str, str]:
    """Versions of what made the figures."""
    import platform
    from importlib import metadata

    names = ("avglance", "torch", "numpy", "av")
    return {"python": platform.python_version()} | {name: metadata.version(name) for name in names}
