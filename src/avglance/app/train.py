"""``avglance train``: from a dataset to a model folder."""

from __future__ import annotations

import argparse
import ast
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avglance.app import recipe
from avglance.app.progress import silence, teller
from avglance.app.render import clean
from avglance.errors import ArgumentError

if TYPE_CHECKING:
    from avglance.app.cli import Parser
    from avglance.data.records import Dataset
    from avglance.training import TrainSettings

EPILOG = """Nothing but DATA is needed: what is not said is chosen by the data, and told with its option.
RUN holds run.json (settings, seed, versions), data.json (which videos trained), metrics.jsonl, resume/, at
its end report.html (what was learned, what is confused, which labels may be wrong) with report.json, and
model/, which `avglance tag --model RUN/model` and `avglance eval RUN/model DATA` take.
Ctrl-C (or SIGTERM) saves and leaves with code 130; the same command goes on where it stopped.
In two processes, on the CPU or on two GPUs: torchrun --standalone --nproc_per_node 2 -m avglance train ...
Settings of a system: --setting NAME VALUE, e.g. --setting drop_sound 0.3 --setting policy recurrent.
A recipe is a TOML file of these options (epochs = 50), with [settings] and [weights]; what the command line
says wins: avglance train DATA --recipe activitynet --batch 8 --out RUN
Pretrained encoders: --setting picture mobilenetv1_050 --weights picture=FILE --setting encoder_rate 0.1"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``avglance train``."""
    parser.epilog = EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add = parser.add_argument
    add(
        "data",
        nargs="?",
        metavar="DATA",
        type=Path,
        help="dataset folder, folder of folders (classes), or table",
    )
    add(
        "--system",
        metavar="NAME",
        help="avgn_nano, avgn_mobile, avgn, tsn_nano, tsn_mobile or tsn (default: all is chosen by the data)",
    )
    add(
        "--out",
        type=Path,
        metavar="RUN",
        help="run folder, new or of the same run (default: runs/NAME of DATA)",
    )
    add("--recipe", metavar="NAME", help="options from a file, or from a recipe of ours (--recipes)")
    add("--recipes", action="store_true", help="list our recipes and stop")
    add("--dump-config", action="store_true", help="print what is resolved as a recipe and stop")
    add("--epochs", type=int, metavar="N", help="over all stages (default: 15)")
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
        metavar="SHARE",
        help="of the videos, held out (default: the data's split validation, else 0.1)",
    )
    add(
        "--teach-unknown",
        action="store_true",
        help='videos labelled "unknown" train too: that no class is likelier there than another',
    )
    add_keeping(parser)
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
        choices=(0, 1, 3),
        help="with frozen encoders: ask them once, about 1 or 3 pictures a snippet; epochs then take seconds "
        "(default: 0, anew in each epoch; by the data where no system is named)",
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


def add_keeping(parser: argparse.ArgumentParser) -> None:
    """The options on which epoch becomes the model."""
    add = parser.add_argument
    add("--validate-every", type=int, default=1, metavar="N", help="epochs between validations (default: 1)")
    add(
        "--validate-last",
        type=int,
        default=1,
        metavar="N",
        help="epochs at the end that are all validated (default: 1)",
    )
    add("--keep", choices=("last", "best"), help="epoch that becomes the model, best on the held-out videos")
    add(
        "--patience",
        type=int,
        metavar="N",
        help="validations without a better one that end a training of --keep best (default: 0, none do)",
    )


def parse(parser: Parser, argv: Sequence[str]) -> argparse.Namespace:
    """The options, where the command line leaves them out those of its recipe (``recipe.Recipe``).

    Raises:
        ArgumentError: an option, or a key of the recipe, is not what it should be.
    """
    args = parser.parse_all(argv)
    if args.recipe is not None:
        found = recipe.read(args.recipe, recipe.options(parser))
        parser.set_defaults(**found.options)
        args = parser.parse_all(argv)
        args.recipe = found
    return args


def run(args: argparse.Namespace) -> int:
    """Train and print the model folder; or print our recipes, or the one that the options make."""
    if args.recipes:
        found = recipe.shipped()
        print("\n".join(f"{name:<{max(map(len, found))}}  {line}" for name, line in found.items()))
        return 0
    check_given(args)
    from avglance.data.records import read_training

    # a wrong manifest is told before torch is loaded; what is to be written needs none with a system
    dataset = None if args.dump_config and args.system else read_training(args.data)
    from avglance.app import chosen

    if args.dump_config:
        args = chosen.complete(args, dataset, quiet=args.quiet)
        print(dump(args, train_settings(args)))
        return 0
    assert dataset is not None
    return work(args, dataset)


def work(args: argparse.Namespace, dataset: Dataset) -> int:
    """Train; prints the model folder."""
    from avglance.app import chosen, learned
    from avglance.training import train
    from avglance.training.allocator import keep_memory

    keep_memory()
    first = os.environ.get("RANK", "0") == "0"  # of the processes that a launcher may have started
    quiet = args.quiet or not first
    if not quiet:
        tell_data(dataset)
    args = chosen.complete(args, dataset, quiet=quiet)
    settings = train_settings(args)
    out = args.out or chosen.place(args.data, settings, dataset)
    tell, close = silence() if quiet else teller(live=sys.stderr.isatty())
    try:
        model = train(
            args.data,
            settings,
            out=out,
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
        if not quiet and (out / "resume").is_dir():
            print("stopped; the same command goes on from here", file=sys.stderr)
        raise
    finally:
        close()
    if first:
        learned.show(out, quiet=quiet)
        print(os.fspath(model))
    return 0


def check_given(args: argparse.Namespace) -> None:
    """Raises ArgumentError where something is missing, or is known to be wrong without torch."""
    if args.data is None and not (args.dump_config and args.system):
        hint = "see `avglance train --help`"
        raise ArgumentError("the following arguments are required: DATA", where="train", hint=hint)
    if args.threads < 0 or not args.save_every > 0:
        raise ArgumentError(
            f"--threads {args.threads}, --save-every {args.save_every:g}",
            where="train",
            hint="neither is negative or 0 minutes",
        )
    read_weights(args.weights)


def train_settings(args: argparse.Namespace) -> TrainSettings:
    """What decides the weights, as the command line and its recipe say it.

    Raises:
        ArgumentError: a value is not allowed.
        CheckpointError: there is no such model to start from.
    """
    from avglance.app.api import find_model
    from avglance.training import TrainSettings

    return TrainSettings(
        system=args.system,
        changes=args.chosen | changes(args),
        epochs=args.epochs,
        batch=args.batch,
        seed=args.seed,
        validation=args.validation,
        budget=args.budget,
        clip=args.clip,
        precision=args.precision,
        start=None if args.start is None else os.fspath(find_model(args.start)),
        weights=(args.recipe.weights if args.recipe else {}) | read_weights(args.weights),
        features=args.features,
        validate_every=args.validate_every,
        validate_last=args.validate_last,
        keep=args.keep,
        patience=args.patience,
        teach_unknown=args.teach_unknown,
    )


def dump(args: argparse.Namespace, settings: TrainSettings) -> str:
    """The recipe that the command line and its recipe make together."""
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return recipe.resolved(args, recipe.options(parser), settings.changes, settings.weights)


def tell_data(dataset: Dataset) -> None:
    """Says on stderr how the dataset was read, which part of it is used, and whether it is multi label."""
    if dataset.split:
        parts = ", ".join(f"{name} {count}" for name, count in dataset.splits.items())
        print(clean(f"split {dataset.split} of: {parts}", 500), file=sys.stderr)
    for note in (*dataset.notes, dataset.labels_told):
        print(clean(note, 500), file=sys.stderr, flush=True)


def read_weights(said: Sequence[str], *, where: str = "train") -> dict[str, str]:
    """Files of weights by the sense of their encoder, from words like ``picture=net.safetensors``.

    ``where`` is the command that they were given to.

    Raises:
        ArgumentError: a word has no sense or no file, or a sense is named twice.
    """
    found: dict[str, str] = {}
    for word in said:
        sense, _, file = word.partition("=")
        if not sense or not file or sense in found:
            raise ArgumentError(
                f"--weights {word}: " + (f"{sense} is named twice" if sense in found else "not SENSE=FILE"),
                where=where,
                hint="for example --weights picture=mobilenet.safetensors --weights sound=yamnet.safetensors",
            )
        found[sense] = file
    return found


def changes(args: argparse.Namespace) -> dict[str, Any]:
    """The settings of the system that the options change, values read as Python writes them, else as words.

    Those of a recipe come first, and those of the command line over them.

    Raises:
        ArgumentError: a name is unknown or said twice, or a value is of another kind than the preset's.
    """
    from avglance.systems import settings_of

    said = once(args)
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
        if value is None and usual is not None and not recipe.may_be_none(preset, name):
            value = said[name]
        wanted[name] = (
            said[name] if isinstance(usual, str) and name in said else same_kind(name, value, usual)
        )
    if args.recipe is not None:
        wanted = recipe.check_settings(args.recipe, preset, args.system) | wanted
    settings_of(args.system, **wanted)
    return wanted


def once(args: argparse.Namespace) -> dict[str, str]:
    """The words of ``--setting`` by name.

    Raises:
        ArgumentError: a setting is said twice.
    """
    names = [name for name, _ in args.setting]
    names += [name for name in ("rate", "snippets") if getattr(args, name) is not None]
    if twice := [name for name in names if names.count(name) > 1]:
        what = f"setting {twice[0]} is said twice"
        raise ArgumentError(what, where="train", hint="leave one of them out: neither is preferred")
    return dict(args.setting)


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
