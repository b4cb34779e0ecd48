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
from avglance.app.leading import METRICS, check_metric, leading_rows, modes
from avglance.app.render import Ink, clean, duration, gmacs, share, stage_names
from avglance.errors import ArgumentError

if TYPE_CHECKING:
    from avglance.app.budget import Plan

DONE, UNREADABLE, SOME_FAILED = 0, 3, 6
PLAIN_LINE_S = 30.0  # without a terminal, one line of progress every so many seconds
NAMED = 10  # failures and classes that the table names
SOUND = {"none": "its own", "swap_sound": "of another video", "mute": "none"}
TOLD = {
    "true_moments": "told which moments are the event's",
    "true_patches": "told where the object is",
    "true_both": "told the moments and the places",
    "uniform": "looked at evenly spaced moments, whatever their saliency",
}
SEEN = {
    "trained": "these are the videos of its training: the figures say how well it knows them by heart",
    "chosen": "its training was judged by these videos, and may have kept the epoch that suits them best",
    "calibrated": "these videos calibrated it: its scores are less good on others, and exits less sure",
}
NEVER_UNKNOWN = "nothing is called unknown: the model's card has no calibration"
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
    from avglance.app import api
    from avglance.evaluation import evaluate
    from avglance.systems.encoders import make_brief
    from avglance.systems.store import load_model

    loaded = load_model(api.find_model(args.model), device=str(api.find_device(args.device)))
    if args.precision == "bf16":
        make_brief(loaded.system)
    workers = set_threads(args.threads)
    found = evaluate(
        loaded,
        dataset,
        **spending(api.Model(loaded).plan(args.budget, args.exit_early)),
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


def spending(plan: Plan) -> dict[str, Any]:
    """A plan as ``evaluate`` takes it: the same whatever machine runs it."""
    if plan.seconds is not None:
        hint = "give looks (4) or multiply-adds (8GMAC); `avglance tag` keeps seconds"
        raise ArgumentError("figures by the clock would be this machine's", where="--budget", hint=hint)
    return {"budget": plan.looks, "sure": plan.sure, "exits": plan.words}


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
    words += ["--swap-sound"] * args.swap_sound + ["--mute"] * args.mute + ["--uniform"] * args.uniform
    words += ["--tell", args.tell] if args.tell else []
    words += ["--cache", str(args.cache)] if args.cache else []
    return shlex.join(words)


def versions() -> dict[str, str]:
    """Versions of what made the figures."""
    import platform
    from importlib import metadata

    names = ("avglance", "torch", "numpy", "av")
    return {"python": platform.python_version()} | {name: metadata.version(name) for name in names}


def table(found: dict[str, Any], ink: Ink) -> str:
    """The figures for a person."""
    return "\n".join(_head(found, ink) + _figures(found, ink) + _cost(found, ink) + _failures(found, ink))


def _head(found: dict[str, Any], ink: Ink) -> list[str]:
    model, settings = found["model"], found["settings"]
    lines = [
        f"{ink(clean(model['name']), 'bold')} ({clean(model['system'])}) on {data_name(found['data'])}: "
        f"{found['videos']} videos answered, {found['failed']} failed",
        f"  K = {settings['budget']} of T = {settings['snippets']}, "
        f"{'stops when sure (' + clean(settings['exits']) + '), ' if settings.get('exits') else ''}"
        f"sound: {SOUND.get(settings['control'], 'its own')}, {found['heard']} videos heard",
    ]
    lines += _grid(found)
    if settings["control"] in TOLD:
        lines.append(f"  ! {TOLD[settings['control']]}")
    if settings.get("cached"):
        lines.append("  ! from a cache: the seconds leave decoding out")
    if settings["control"] == "swap_sound" and found["donors_sharing_a_label"]:
        lines.append(
            f"  ! {found['donors_sharing_a_label']} videos got the sound of a video of their own class"
        )
    if found["unknown_classes"]:
        lines.append(f"  ! the model does not know {_names(found['unknown_classes'])}: counted as misses")
    if found["unknown"]["videos"] and not found["calibrated"]:
        lines.append(f"  ! {found['unknown']['videos']} videos show no known class; {NEVER_UNKNOWN}")
    lines += [f"  ! {SEEN[word]}" for word in found.get("seen_before", ())]
    lines += [f"  {line}" for line in modes(found)]
    if "train" in found["data"].get("splits", {}):
        lines.append("  ! all splits together, train among them: --split takes one")
    return lines


def _grid(found: dict[str, Any]) -> list[str]:
    """On which grid the videos were looked at, where it is not simply the exact one."""
    settings, keys = found["settings"], found["keyframes"]
    lines = ["  ! decoded without the loop filter"] if settings.get("rough") else []
    if {settings["grid"], settings["trained_grid"]} == {"exact"} or keys["snippets"] is None:
        return lines
    other = settings["grid"] != settings["trained_grid"]
    trained = f"; the model was trained on the {settings['trained_grid']} grid" if other else ""
    return [
        f"  grid {settings['grid']}: {keys['snippets']:.1f} of {settings['snippets']} snippets on keyframes, "
        f"{keys['pictures']:.1f} different pictures{trained}",
        *lines,
    ]


def data_name(data: dict[str, Any]) -> str:
    """What was evaluated on; how many of the listed videos are there, where a list is known.

    >>> data_name({"kind": "activitynet", "split": "validation", "listed": 9, "videos": 8})
    '8 of 9 videos of activitynet (validation)'
    """
    kind = clean(data["kind"] or "a dataset")
    name = f"{kind} ({clean(data['split'])})" if data.get("split") else kind
    return f"{data['videos']} of {data['listed']} videos of {name}" if data.get("listed") else name


def _figures(found: dict[str, Any], ink: Ink) -> list[str]:
    absent, k = found["absent_classes"], found["settings"]["budget"]
    without = f"without {_names(absent)}: no video shows them" if absent else ""
    area = (
        ""
        if found["patch_area"] is None
        else f", a patch covers {100 * found['patch_area']:.0f} % of the square"
    )
    rows = [
        *leading_rows(found, _between(found["top1_interval"]), without),
        ("calibration error", found["calibration_error"], _scores(found)),
        *(_unknown(found) if found["calibrated"] else ()),
        ("moment recall", found["moment_recall"], _between(found["moment_recall_interval"])),
        ("patch hit", found["patch_hit"], f"of {found['patch_chances']} chosen event snippets{area}"),
        ("span IoU", found["span_iou"], "of the true label's spans with the event"),
        (f"{k} uniform meet", found["uniform_ceiling"], "of the events: the ceiling without choosing"),
    ]
    groups = found["interval_groups"]
    over = f"   intervals over {groups} source groups, not over videos" if groups else ""
    lines = [ink(f"  {'figure':<20}{'%':>6}{over}", "cyan")]
    for name, value, note in rows:
        if value is not None:
            lines.append(f"  {name:<20}{100 * value:>6.1f}   {note}".rstrip())
    return lines


def _scores(found: dict[str, Any]) -> str:
    """What the scores are, whose error is shown."""
    return "of the highest score" + ("" if found["calibrated"] else ", as the system gives it")


def _unknown(found: dict[str, Any]) -> list[tuple[str, float | None, str]]:
    """The lines on what is called unknown: of everything, of what is, and of what is not."""
    said = found["unknown"]
    lost = f"{said['right_lost_videos']} of {said['right']} right answers lost"
    if said["top1_lost"]:
        lost += f", {100 * said['top1_lost']:.1f} points of top-1"
    of = {name: said[f"{name}_videos"] for name in ("said", "recognised", "known_said")}
    return [
        ("called unknown", said["said"], f"{of['said']} of {found['videos']} videos"),
        ("  rightly", said["recognised"], f"{of['recognised']} of {said['videos']} that show no known class"),
        ("  wrongly", said["known_said"], f"{of['known_said']} of {said['known']} that show one; {lost}"),
    ]


def _cost(found: dict[str, Any], ink: Ink) -> list[str]:
    macs, seconds, frames = found["gmacs"], found["seconds"], found["frames"]
    lines = [ink(f"  {'a video':<20}{'GMACs':>8}{'time':>10}", "cyan")]
    for stage in [s for s in stage_names({**macs, **seconds}) if s != "total"] + ["total"]:
        spent = gmacs(macs[stage] * 1e9) if macs.get(stage) else ""
        clock = duration(seconds[stage]) if seconds.get(stage) else ""
        lines.append(f"  {stage:<20}{spent:>8}{clock:>10}".rstrip())
    whole, spread = found["whole_gmacs"], found["gmacs_distribution"]
    if spread:
        lines.append(
            f"  GMACs: {share(macs['total'], whole)} of {gmacs(whole * 1e9)} (a close look at everything); "
            f"smallest {gmacs(spread['min'] * 1e9)}, median {gmacs(spread['p50'] * 1e9)}, "
            f"largest {gmacs(spread['max'] * 1e9)}"
        )
    spread = found["looks_distribution"]
    if spread and found["settings"].get("exits"):
        lines.append(
            f"  looks: {found['looks']:.2f} on average; smallest {spread['min']:.0f}, median "
            f"{spread['p50']:.0f}, nine in ten at most {spread['p90']:.0f}, largest {spread['max']:.0f}"
        )
    if not found["settings"].get("cached"):
        lines.append(
            f"  frames: {frames['delivered']:.1f} of {frames['whole']:.0f} looked at, "
            f"{frames['decoded']:.1f} decoded on the way"
        )
    at_once = found["settings"]["workers"]
    lines.append(f"  wall clock: {duration(found['wall_s_per_video'])} a video, {at_once} batches at once")
    return lines


def _failures(found: dict[str, Any], ink: Ink) -> list[str]:
    failures = found["failures"]
    lines = [f"  {ink('failed', 'red')} {clean(f['video'])}: {clean(f['message'])}" for f in failures[:NAMED]]
    more = len(failures) - NAMED
    return lines + ([f"  ... and {more} more (all in --out)"] if more > 0 else [])


def _between(ends: list[float] | None) -> str:
    return "" if ends is None else f"{100 * ends[0]:.1f} to {100 * ends[1]:.1f} with 95 % confidence"


def _names(names: list[str]) -> str:
    shown = ", ".join(clean(name, 60) for name in names[:NAMED])
    return shown + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")
