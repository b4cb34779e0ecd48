"""``avglance train``: from a dataset to a model folder."""

from __future__ import annotations

import argparse
import ast
import os
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avglance.app.render import clean, clock
from avglance.errors import ArgumentError

if TYPE_CHECKING:
    from avglance.data.records import Dataset
    from avglance.training import Told

PLAIN_LINE_S = 30.0  # without a terminal, one line of progress every so many seconds
EPILOG = """RUN holds run.json (settings, seed, versions), data.json (which videos trained), metrics.jsonl,
resume/ and at the end model/, which `avglance tag --model RUN/model` and `avglance eval RUN/model DATA` take.
Ctrl-C (or SIGTERM) saves and leaves with code 130; the same command goes on where it stopped.
In two processes, on the CPU or on two GPUs: torchrun --standalone --nproc_per_node 2 -m avglance train ...
Settings of a system: --setting NAME VALUE, e.g. --setting drop_sound 0.3 --setting policy recurrent.
Pretrained encoders: --setting picture mobilenetv1_050 --weights picture=FILE --setting encoder_rate 0.1"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``avglance train``."""
    parser.epilog = EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add = parser.add_argument
    add("data", metavar="DATA", type=Path, help="dataset folder, folder of folders (classes), or table")
    add(
        "--system",
        required=True,
        metavar="NAME",
        help="avgn_nano, avgn_mobile, avgn, tsn_nano, tsn_mobile or tsn",
    )
    add("--out", required=True, type=Path, metavar="RUN", help="run folder, new or of the same run")
    add("--epochs", type=int, default=15, metavar="N", help="over all stages (default: 15)")
    add("--batch", type=int, metavar="B", help="videos a step (default: what the rates are meant for)")
    add("--seed", type=int, default=0, metavar="S", help="of weights, order and augmentation (default: 0)")
    add("--start", metavar="MODEL", help="begin with this model folder's weights, where they fit")
    add(
        "--weights",
        action="append",
        default=[],
        metavar="SENSE=FILE",
        help="begin the picture, sound or focus encoder with this safetensors file; repeatable",
    )
    add("--rate", type=float, metavar="R", help="learning rate of the system's recipe, before scaling with B")
    add("--snippets", type=int, metavar="T", help="snippets a video is cut into")
    add("--budget", type=int, metavar="K", help="moments a video when validating (default: T / 4)")
    add(
        "--setting",
        nargs=2,
        action="append",
        default=[],
        metavar=("NAME", "VALUE"),
        help="of the system; repeatable",
    )
    add(
        "--validation",
        type=float,
        default=0.1,
        metavar="SHARE",
        help="of the videos, held out (default: 0.1)",
    )
    add(
        "--clip",
        type=float,
        metavar="NORM",
        help="largest norm of the gradient, 0: any (default: the recipe's)",
    )
    add("--precision", default="float32", choices=("float32", "bf16"), help="bf16 is faster on some machines")
    add("--cache", type=Path, metavar="DIR", help="where decoded videos are kept (default: DATA/.cache)")
    add(
        "--unpack",
        action="store_true",
        help="keep decoded videos as raw pixels too: 20 times the room (8 MB a video for avgn_nano), no "
        "JPEG to decode in any epoch",
    )
    add(
        "--features",
        type=int,
        default=0,
        choices=(1, 3),
        help="with frozen encoders: ask them once, about 1 or 3 pictures a snippet; epochs then take seconds",
    )
    add(
        "--workers",
        type=int,
        metavar="W",
        help="processes that decode, threads that read (default: by the cores)",
    )
    add("--save-every", type=float, default=10.0, metavar="MINUTES", help="of the resume state (default: 10)")
    add("--skip-broken", action="store_true", help="leave out videos that cannot be read")
    add("--device", default="auto", choices=("auto", "cpu", "cuda"), help="where to compute")
    add(
        "--threads",
        type=int,
        default=0,
        metavar="N",
        help="of the computation (default: one a core; of several processes each takes its part)",
    )
    add("--quiet", action="store_true", help="nothing on stderr but errors")


def run(args: argparse.Namespace) -> int:
    """Train; prints the model folder."""
    if args.threads < 0 or args.save_every <= 0:
        raise ArgumentError(
            f"--threads {args.threads}, --save-every {args.save_every:g}",
            where="train",
            hint="neither is negative or 0 minutes",
        )
    weights = read_weights(args.weights)
    from avglance.data.records import read_training

    dataset = read_training(args.data)  # a wrong manifest is told before torch is loaded
    from avglance.app.api import find_model
    from avglance.training import TrainSettings, train
    from avglance.training.allocator import keep_memory

    keep_memory()
    settings = TrainSettings(
        system=args.system,
        changes=changes(args),
        epochs=args.epochs,
        batch=args.batch,
        seed=args.seed,
        validation=args.validation,
        budget=args.budget,
        clip=args.clip,
        precision=args.precision,
        start=None if args.start is None else os.fspath(find_model(args.start)),
        weights=weights,
        features=args.features,
    )
    first = os.environ.get("RANK", "0") == "0"  # of the processes that a launcher may have started
    quiet = args.quiet or not first
    if not quiet:
        tell_data(dataset)
    tell, close = silence() if quiet else teller(live=sys.stderr.isatty())
    try:
        model = train(
            args.data,
            settings,
            out=args.out,
            cache=args.cache,
            device=args.device,
            workers=args.workers,
            threads=args.threads or None,
            save_minutes=args.save_every,
            skip_broken=args.skip_broken,
            unpack=args.unpack,
            command="avglance " + shlex.join(sys.argv[1:]),
            tell=tell,
        )
    except KeyboardInterrupt:
        close()
        if not quiet and (args.out / "resume").is_dir():
            print("stopped; the same command goes on from here", file=sys.stderr)
        raise
    finally:
        close()
    if first:
        print(os.fspath(model))
    return 0


def tell_data(dataset: Dataset) -> None:
    """Says on stderr how the dataset was read, which part of it is used, and whether it is multi label."""
    if dataset.split:
        parts = ", ".join(f"{name} {count}" for name, count in dataset.splits.items())
        print(clean(f"split {dataset.split} of: {parts}", 500), file=sys.stderr)
    for note in (*dataset.notes, dataset.labels_told):
        print(clean(note, 500), file=sys.stderr, flush=True)


def read_weights(said: Sequence[str]) -> dict[str, str]:
    """Files of weights by the sense of their encoder, from words like ``picture=net.safetensors``.

    Raises:
        ArgumentError: a word has no sense or no file, or a sense is named twice.
    """
    found: dict[str, str] = {}
    for word in said:
        sense, _, file = word.partition("=")
        if not sense or not file or sense in found:
            raise ArgumentError(
                f"--weights {word}: " + (f"{sense} is named twice" if sense in found else "not SENSE=FILE"),
                where="train",
                hint="for example --weights picture=mobilenet.safetensors --weights sound=yamnet.safetensors",
            )
        found[sense] = file
    return found


def changes(args: argparse.Namespace) -> dict[str, Any]:
    """The settings of the system that the options change, values read as Python writes them, else as words.

    Raises:
        ArgumentError: a name is unknown, or a value is of another kind than the preset's.
    """
    from avglance.systems import settings_of

    said = dict(args.setting)
    wanted: dict[str, Any] = {name: read_value(value) for name, value in said.items()}
    for name in ("rate", "snippets"):
        value = getattr(args, name)
        if value is not None:
            wanted[name] = value
    if "classes" in wanted:
        raise ArgumentError("classes is no setting, they come from the dataset", where="train")
    preset = settings_of(args.system)
    for name, value in wanted.items():
        usual = getattr(preset, name, getattr(getattr(preset, "switches", None), name, None))
        wanted[name] = (
            said[name] if isinstance(usual, str) and name in said else same_kind(name, value, usual)
        )
    settings_of(args.system, **wanted)
    return wanted


def read_value(text: str) -> Any:
    """A word of the command line as number, truth, None or string.

    >>> read_value("0.5"), read_value("true"), read_value("none"), read_value("heatmap")
    (0.5, True, None, 'heatmap')
    """
    words = {"true": True, "yes": True, "false": False, "no": False, "none": None}
    if text.lower() in words:
        return words[text.lower()]
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
    return value if isinstance(value, (int, float)) else text


def same_kind(name: str, value: Any, usual: Any) -> Any:
    """``value`` as the kind of the preset's ``usual`` one (None: anything).

    Raises:
        ArgumentError: it is of another kind.
    """
    if isinstance(usual, float) and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if usual is None or value is None or type(value) is type(usual):
        return value
    raise ArgumentError(
        f"setting {name} must be like {usual!r}, got {value!r}",
        where="train",
        hint="see `avglance train --help`",
    )


def silence() -> tuple[None, Callable[[], None]]:
    """What ``teller`` gives where nothing shall be told."""
    return None, lambda: None


def teller(*, live: bool) -> tuple[Callable[[Told], None], Callable[[], None]]:
    """(what hears how a training goes, what ends it): a bar on a terminal, else one line every 30 s."""
    return _bars() if live else _lines()


def _bars() -> tuple[Callable[[Told], None], Callable[[], None]]:
    from tqdm import tqdm

    bars: dict[str, Any] = {}

    def close() -> None:
        for bar in bars.values():
            bar.close()
        bars.clear()

    def hear(told: Told) -> None:
        if told.phase == "note":
            tqdm.write(clean(told.text, 500), file=sys.stderr)
            return
        if told.phase not in bars:
            close()
            unit = "step" if told.phase == "train" else "video"
            bars[told.phase] = tqdm(
                total=told.total, initial=told.done, desc=told.phase, unit=unit, file=sys.stderr
            )
        bar = bars[told.phase]
        bar.set_postfix_str(told.text, refresh=False)
        bar.update(told.done - bar.n)

    return hear, close


def _lines() -> tuple[Callable[[Told], None], Callable[[], None]]:
    begun: dict[str, tuple[float, int]] = {}
    last = time.monotonic()

    def hear(told: Told) -> None:
        nonlocal last
        if told.phase == "note":
            print(clean(told.text, 500), file=sys.stderr, flush=True)
            return
        now = time.monotonic()
        start_s, start = begun.setdefault(told.phase, (now, told.done))
        if now - last < PLAIN_LINE_S or told.done == start:
            return
        last = now
        left_s = (now - start_s) / (told.done - start) * (told.total - told.done)
        said = f"{told.phase}: {told.done} of {told.total}, {clock(round(left_s)).removesuffix('.0')} left"
        print(f"{said}, {told.text}" if told.text else said, file=sys.stderr, flush=True)

    return hear, lambda: None
