"""``avglance calibrate``: a model with a card that knows what its scores are worth, by other videos."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from avglance.app.budget import DEFAULT_LOOKS
from avglance.app.render import clean
from avglance.errors import ArgumentError, DataError

ENTRIES = ("calibration", "unknown", "exits")
EPILOG = """The weights stay as they are; the card of the new folder holds a temperature for each number of
looks, the thresholds below which a video is called unknown, and those that let --exit stop early. Training
does the same with the videos it held out: this is for models that were trained before, and for videos of your
own. Videos labelled "unknown" help to choose. Evaluate on videos other than these: of a dataset with splits
the one called validation is taken, or the one that --split names.
With --twin nothing is asked: DATA is a model, and the card takes over what its card says of scores. It is the
same system with the same settings, trained on a part of the videos and calibrated on the rest; MODEL is then
trained on all of them."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``avglance calibrate``."""
    parser.epilog = EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("model", metavar="MODEL", help="shipped model or model folder")
    parser.add_argument(
        "data",
        metavar="DATA",
        type=Path,
        help="dataset folder, folder of folders, or table; not what trained it. With --twin a model",
    )
    parser.add_argument("--twin", action="store_true", help="DATA is a calibrated model of the same kind")
    parser.add_argument(
        "--split", metavar="NAME", help="only this part (default: validation, where there are parts)"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="where the model shall be")
    parser.add_argument("--force", action="store_true", help="replace the model that is in FOLDER")
    parser.add_argument(
        "--budget", type=int, metavar="K", help="looks that the scores are meant for (default: the card's, 4)"
    )
    parser.add_argument(
        "--cache", type=Path, metavar="DIR", help="where the cache lies (default: .cache in DATA)"
    )
    parser.add_argument("--batch", type=int, default=16, metavar="N", help="videos at once (default: 16)")
    parser.add_argument(
        "--device", default="auto", choices=("auto", "cpu", "cuda", "mps"), help="where to compute"
    )
    parser.add_argument("--quiet", action="store_true", help="no progress on stderr")


def run(args: argparse.Namespace) -> int:
    """Calibrate, write the model, say what was found; the exit code."""
    if args.batch < 1:
        raise ArgumentError(f"--batch must be at least 1, got {args.batch}", where="calibrate")
    unused = [name for name in ("split", "budget", "cache") if args.twin and getattr(args, name) is not None]
    if unused:
        raise ArgumentError(
            f"--{unused[0]} means nothing with --twin, which asks no videos", where="calibrate"
        )
    from avglance.app.api import find_device, find_model
    from avglance.systems.folder import check_free
    from avglance.systems.store import load_model, save_with_card

    check_free(args.out, args.force)
    device = find_device(args.device)
    loaded = load_model(find_model(args.model), device=str(device))
    if args.twin:
        return _take_over(args, loaded)
    usual = loaded.card.get("budget")
    usual = usual if isinstance(usual, int) else min(DEFAULT_LOOKS, loaded.system.max_k)
    k = loaded.system.check_budget(usual if args.budget is None else args.budget)
    dataset = _held_out(args, loaded)
    known, strangers = _sides(args, dataset, loaded)
    from avglance.training.calibrate import LEAST_VIDEOS, calibrate

    if len(known.indices) < LEAST_VIDEOS:
        what = f"{len(known.indices)} videos of known classes are too few, it takes {LEAST_VIDEOS}"
        raise DataError(what, where=str(args.data))
    found = calibrate(loaded.system, known, strangers, k, device=device)
    card = {name: value for name, value in loaded.card.items() if name not in ENTRIES}
    about = {"kind": dataset.kind, "sha256": dataset.sha256, "seed": dataset.world.get("seed")}
    about |= {"split": dataset.split} if dataset.split else {}
    found["calibration"]["data"] = about | {"folder": dataset.folder.resolve().name}
    save_with_card(loaded, args.out, card | found, overwrite=args.force)
    print(summary(found, args.out))
    return 0


def _take_over(args: argparse.Namespace, loaded: Any) -> int:
    """Writes the model with what a twin's card says of scores."""
    from avglance.app.api import find_model
    from avglance.systems.store import load_model, save_with_card

    twin = load_model(find_model(str(args.data)))
    for name, mine, other in (
        ("system", loaded.system.name, twin.system.name),
        ("classes", loaded.classes, twin.classes),
        ("settings", loaded.system.settings, twin.system.settings),
    ):
        if mine != other:
            hint = "a twin is trained by the same command on a part of the data"
            raise ArgumentError(f"{args.data} has other {name}", where="calibrate --twin", hint=hint)
    found = {name: twin.card[name] for name in ENTRIES if name in twin.card}
    if not {"calibration", "unknown"} <= found.keys():
        hint = f"avglance calibrate {args.data} DATA --out FOLDER"
        raise ArgumentError(f"{args.data} is not calibrated", where="calibrate --twin", hint=hint)
    card = {name: value for name, value in loaded.card.items() if name not in ENTRIES}
    found["calibration"] = {**found["calibration"], "twin": twin.sha256}
    save_with_card(loaded, args.out, card | found, overwrite=args.force)
    print(summary(found, args.out))
    return 0


def _held_out(args: argparse.Namespace, loaded: Any) -> Any:
    """The videos to calibrate by: never those that a training or an evaluation would take by itself."""
    from avglance.data.records import HELD_OUT, read_dataset
    from avglance.systems.store import saw

    dataset = read_dataset(args.data, split=args.split, prefer=(HELD_OUT,))
    if dataset.splits and not dataset.split:
        there = ", ".join(dataset.splits)
        hint = "--split names one; it must not train the model, and figures are for another one"
        raise DataError(f"the splits are {there}, none is called {HELD_OUT}", where=str(args.data), hint=hint)
    if "trained" in saw(loaded.card, dataset.sha256):
        hint = "its scores on them say nothing of other videos: take some that it has not seen"
        raise DataError("these videos trained the model", where=str(args.data), hint=hint)
    return dataset


def _sides(args: argparse.Namespace, dataset: Any, loaded: Any) -> tuple[Any, Any]:
    """The videos of known classes, and those that show none (None without any), from a cache."""
    import numpy as np

    from avglance.data.cache import Cache, build_cache
    from avglance.training.batches import Batches

    foreign = sorted({label for r in dataset.records for label in r.labels} - set(loaded.classes))
    if foreign:
        hint = 'leave these videos out, or label them "unknown"'
        what = f"the model knows no class {foreign[0]!r}"
        raise DataError(what, where=str(args.data), hint=hint)
    dataset = replace(dataset, classes=tuple(loaded.classes))
    home = args.cache if args.cache is not None else dataset.folder / ".cache"
    build_cache(dataset, loaded.system.view_settings, home, progress=_progress(args), skip_broken=True)
    cache = Cache(dataset, loaded.system.view_settings, home)
    strange = np.array([record.unknown for record in cache.records])
    known, others = (Batches(cache, np.flatnonzero(side), args.batch) for side in (~strange, strange))
    return known, others if len(others.indices) else None


def _progress(args: argparse.Namespace) -> Any:
    from avglance.app.eval import progress

    if args.quiet:
        return None
    step = progress(live=sys.stderr.isatty())
    return lambda done, total: step(done, total, 0)


def summary(found: dict[str, Any], out: Path) -> str:
    """What was found, for a person."""
    scores, said, exits = (found.get(name) for name in ENTRIES)
    assert scores is not None
    assert said is not None
    heat = scores["temperature"][min(scores["k"], len(scores["temperature"])) - 1]
    lines = [
        f"{clean(out, 1000)}: calibrated on {scores['videos']} videos, at {scores['k']} looks",
        f"  temperature {heat:.2f}, calibration error {100 * scores['ece_uncalibrated']:.1f} % before, "
        f"{100 * scores['ece']:.1f} % after",
    ]
    lost = (
        "no right answer is there to lose"
        if said["right_lost"] is None
        else (f"loses {100 * said['right_lost']:.1f} % of right answers")
    )
    met = (
        ""
        if said["recognised"] is None
        else (f", recognises {100 * said['recognised']:.1f} % of {said['examples']} strange videos")
    )
    lines.append(f"  unknown: {lost}{met}")
    if "f1" in scores:
        lines.append(f"  F1 {100 * scores['f1']:.1f} %, of the labels at the threshold of their class")
    if exits:
        lines += _rows_of(exits, exits.get("measure", "top-1"))
        if "in_halves" in exits:
            lines.append("  half of the glance first, the other half where the looks there do not suffice:")
            lines += _rows_of(exits["in_halves"], exits.get("measure", "top-1"))
    return "\n".join(lines)


def _rows_of(exits: dict[str, Any], measure: str) -> list[str]:
    """A table of exits, for a person."""
    rows = zip(exits["looks"], exits["gmacs"], exits["top1"], strict=True)
    return [
        f"  {'looks':>8}{'GMACs':>10}{f'{measure} %':>10}   of these videos, on average",
        *(f"  {looks:>8.2f}{gmacs:>10.3g}{100 * top1:>10.1f}" for looks, gmacs, top1 in rows),
    ]
