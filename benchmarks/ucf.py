"""Every figure on real clips in docs/results.md from nothing: data, trainings, evaluations, tables.

    python benchmarks/ucf.py [PART ...] --clips CLIPS.csv --weights picture=P.safetensors
        --weights sound=S.safetensors --weights focus=F.safetensors [--estimate] [--only-keep]

PART is whole, plain, half, exits, calibration, own or model (the shipped one); none: all of them. CLIPS.csv
has the columns path, label, group and split (train, test, background), as `avglance data splice` takes it.
Encoders are frozen, three seeds. Prints first how long what is missing takes, roughly. Each command goes on
where it was broken off, and what is done is not done again. A part that is whole leaves its figures in
docs/results, and benchmarks/results_page.py makes the page of them.
"""

from __future__ import annotations

import argparse
import csv
import os
import shlex
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from glanceworld import Step, command
from results_page import write_pages
from results_rows import WIDE, K, T
from ucf_kept import borrowed, keep_calibration, keep_comparison, uncalibrated
from ucf_model import combined, model_part, ship
from ucf_places import DEAF, SEEDS, SENSES, STRANGERS, TRAIN_S, Places
from ucf_twin import twins

from avglance.app.ablate import cores
from avglance.app.compare_table import long_time
from avglance.data.splice_sources import Clip, read_clips
from avglance.errors import AVGLanceError, DataError

OWN_CLASSES, OWN_CLIPS = 5, 20


# ---- data ----


def whole_clips(at: Places) -> list[Step]:
    """Makes a dataset of the labelled clips as they are, their groups named as those of the splices."""
    root, table, out = labelled(at)[1], at.data / "clips.csv", at.data / "whole"
    words = ("data", "import", "table", "--annotations", str(table), "--videos", str(root), "--out", str(out))
    done = (out / "manifest.jsonl").is_file()
    left = 0.0 if done else 1.0
    return [Step(("clips_table", str(table)), left, done), Step((*words, "--quiet"), left, done)]


def labelled(at: Places) -> tuple[list[Clip], Path]:
    """The labelled clips, and the folder that all of them lie in."""
    clips = [clip for clip in read_clips(at.clips) if clip.split != "background"]
    if not clips:
        raise DataError("no clip has a class, all are background", where=str(at.clips))
    return clips, Path(os.path.commonpath([clip.path.resolve().parent for clip in clips]))


def clips_table(at: Places, table: Path) -> None:
    """Writes the labelled clips as a table of one's own."""
    clips, root = labelled(at)
    table.parent.mkdir(parents=True, exist_ok=True)
    with table.open("w", encoding="utf-8", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(("path", "label", "group", "split"))
        for clip in clips:
            name = clip.path.resolve().relative_to(root).as_posix()
            lines.writerow((name, clip.label, clip.group, clip.split))


def own_clips(at: Places) -> list[tuple[Path, Path]]:
    """Clips of a few classes and where they go, in folders as a person has them: to train on, and to test."""
    found, _ = labelled(at)
    pairs = []
    for label in sorted({clip.label for clip in found})[:OWN_CLASSES]:
        train = [clip for clip in found if (clip.label, clip.split) == (label, "train")]
        test = [clip for clip in found if (clip.label, clip.split) == (label, "test")]
        for name, some in (("own", list(spread(train))[:OWN_CLIPS]), ("own_test", test)):
            pairs += [(clip.path, at.data / name / label / clip.path.name) for clip in some]
    return pairs


def own_folder(at: Places) -> None:
    """Copies the clips of a folder of one's own to where they go."""
    for source, target in own_clips(at):
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f".{target.name}.part")
        shutil.copy(source, part)
        part.replace(target)


def spread(clips: list[Clip]) -> Iterator[Clip]:
    """Clips of as many groups as there are: the first of each, then the second of each ..."""
    groups: dict[str, list[Clip]] = {}
    for clip in clips:
        groups.setdefault(clip.group, []).append(clip)
    while any(groups.values()):
        yield from [some.pop(0) for some in groups.values() if some]


# ---- parts ----


def whole_part(at: Places) -> list[Step]:
    """Real whole clips: AVGN at K = 4 against TSN with sound on all 16 frames."""
    steps = whole_clips(at)
    for seed in SEEDS:
        for row, k in (("avgn", K), ("tsn", T)):
            run = at.run("whole", row, seed)
            steps.append(at.train("whole", row, seed))
            file = run / f"eval_k{k}.json"
            step = at.evaluate(run / "model", at.data / "whole", file, "--budget", str(k), videos=100)
            steps.append(step)
    return steps


EACH = {
    "plain": {"avgn": 3, "tsn": 1, "deaf": 1, "lines": 1},
    "half": {"avgn": 3, "tsn": 0, "deaf": 1, "avtest": 1},
}
"""How many evaluations of a row each seed has; those behind are of the first seed alone."""


def spliced_part(name: str, *options: str) -> Callable[[Places], list[Step]]:
    """Spliced videos: chosen, evenly spaced and true moments, all frames, and without sound."""
    looks = {
        "avgn": (
            ("--budget", str(K)),
            ("--budget", str(K), "--uniform"),
            ("--budget", str(K), "--tell", "moments"),
        ),
        "tsn": (("--budget", str(T)), ("--budget", str(K))),
        "deaf": (("--budget", str(K)),),
        "lines": (("--budget", str(K)),),
        "avtest": (("--budget", str(K)),),
    }

    def steps(at: Places) -> list[Step]:
        made = [at.splice(name, "test", *options)]
        if name != "plain":
            made.append(at.splice(name, "train", *options))
        for seed in SEEDS:
            made += twins(at, seed) if name == "plain" else []
            for row, asked in looks.items():
                if row not in EACH[name]:
                    continue
                some = asked if seed == SEEDS[0] else asked[: EACH[name][row]]
                made += [at.train(name, row, seed)] if some and (name, row) != ("plain", "avgn") else []
                made += [look(at, name, row, seed, *words) for words in some]
        return made

    return steps


def look(at: Places, name: str, row: str, seed: int, *options: str) -> Step:
    """Evaluates a row on its test videos, into its run folder."""
    file = at.run(name, row, seed) / f"eval_k{'_'.join(word.lstrip('-') for word in options[1:])}.json"
    return at.evaluate(at.model(name, row, seed), at.data / name / "test", file, *options)


def exits_part(at: Places) -> list[Step]:
    """Always eight looks against stopping when sure, on plain splices."""
    steps = [at.splice("plain", "test")]
    for seed in SEEDS:
        steps += twins(at, seed)
        steps += [
            look(at, "plain", "avgn", seed, "--budget", str(WIDE), *exits) for exits in ((), ("--exit",))
        ]
    return steps


def calibration_part(at: Places) -> list[Step]:
    """Scores with and without the temperatures of the card, and what is called unknown."""
    steps = [at.splice("plain", "test")]
    steps.append(at.splice("background", "test", "--unknown", str(STRANGERS), videos=0))
    for seed in SEEDS:
        model, out = at.model("plain", "avgn", seed), at.runs / "calibration" / f"seed{seed}"
        steps += [*twins(at, seed), look(at, "plain", "avgn", seed, "--budget", str(K))]
        bare = out / "uncalibrated"
        steps.append(Step(("uncalibrated", str(model), str(bare)), 1.0, bare.is_dir()))
        options = ("--budget", str(K))
        steps.append(at.evaluate(bare, at.data / "plain/test", out / "before.json", *options))
        data = at.data / "background/test"
        steps.append(at.evaluate(model, data, out / "background.json", *options, videos=STRANGERS))
    return steps


def own_part(at: Places) -> list[Step]:
    """A folder of one's own: the one command, the same without sound, test clips with and without sound."""
    done = all(target.is_file() for _, target in own_clips(at))
    steps = [Step(("own_folder",), 0.0 if done else 1.0, done)]
    for row in ("own", "own_deaf"):
        out = at.run("own", row, 0)
        deaf = [word for name in DEAF if row == "own_deaf" for word in ("--setting", name, "false")]
        done = (out / "model").is_dir()
        words = ("train", str(at.data / "own"), "--out", str(out), *deaf)
        steps.append(Step(words, 0.0 if done else TRAIN_S, done))
        for mute in ((), ("--mute",)) if row == "own" else ((),):
            file = out / f"eval_k{K}{'_mute' * bool(mute)}.json"
            options = ("--budget", str(K), *mute)
            steps.append(at.evaluate(out / "model", at.data / "own_test", file, *options, videos=70))
    return steps


def keep_own(at: Places) -> None:
    """Keeps the comparison, and how long the one command took."""
    folders = [folder for folder in (at.data / "own").iterdir() if folder.is_dir() and folder.name[0] != "."]
    counts = [len(list(folder.iterdir())) for folder in folders]
    took = clock_of(at.run("own", "own", 0))
    about = {"classes": len(counts), "clips": sum(counts), "wall_s": float(took.read_text())}
    keep_comparison("own", at, f"own_deaf@{K}", about=about)


PARTS: dict[str, tuple[Callable[[Places], list[Step]], Callable[[Places], None]]] = {
    "whole": (whole_part, lambda at: keep_comparison("whole", at, f"tsn@{T}")),
    "plain": (spliced_part("plain"), lambda at: keep_comparison("plain", at, f"avgn@{K}")),
    "half": (spliced_part("half", "--decoys", "half"), lambda at: keep_comparison("half", at, f"avgn@{K}")),
    "exits": (exits_part, lambda at: keep_comparison("exits", at, f"avgn@{WIDE}", runs="plain")),
    "calibration": (calibration_part, lambda at: keep_calibration(at, SEEDS)),
    "own": (own_part, keep_own),
    "model": (model_part, ship),
}


OURS: dict[str, Callable[..., None]] = {
    "clips_table": clips_table,
    "combined": combined,
    "own_folder": own_folder,
    "borrowed": lambda at, *folders: borrowed(*folders),
    "uncalibrated": lambda at, model, out: uncalibrated(model, out),
}
"""Steps that are no command."""


# ---- running ----


def clock_of(run: Path) -> Path:
    """The file beside a run folder that holds the seconds of its training, all attempts together."""
    return run.with_name(f"{run.name}.seconds")


def go(at: Places, step: Step) -> None:
    """Runs a step; of a training the seconds are kept, those of an attempt that broke off too."""
    if step.words[0] in OURS:
        OURS[step.words[0]](at, *map(Path, step.words[1:]))
        return
    out = Path(step.words[step.words.index("--out") + 1]) if "--out" in step.words else None
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
    begun = time.monotonic()
    try:
        command(step.words)
    finally:
        if step.words[0] == "train" and out is not None:
            clock = clock_of(out)
            before = float(clock.read_text()) if clock.is_file() else 0.0
            clock.write_text(f"{before + time.monotonic() - begun:.1f}\n")


def arguments(words: list[str]) -> tuple[list[str], Places, argparse.Namespace]:
    """The parts, where everything lies, and all that was said."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--clips", type=Path, required=True, metavar="CLIPS.csv")
    parser.add_argument(
        "--weights", action="append", default=[], metavar="SENSE=FILE", help="of each encoder"
    )
    parser.add_argument("--data", type=Path, default=Path("ucf/data"), help="datasets (default: %(default)s)")
    parser.add_argument(
        "--runs", type=Path, default=Path("ucf/runs"), help="trainings (default: %(default)s)"
    )
    parser.add_argument("--train", default="", metavar="WORDS", help='every training: "--epochs 12"')
    parser.add_argument("--eval", default="", metavar="WORDS", help='every evaluation: "--precision bf16"')
    parser.add_argument("--estimate", action="store_true", help="say how long it takes, and stop")
    parser.add_argument("--only-keep", action="store_true", help="run nothing, keep figures of what is there")
    args = parser.parse_args(words)
    for name in args.parts:
        if name not in PARTS:
            parser.error(f"no part is called {name!r}: {', '.join(PARTS)}")
    weights = dict(word.partition("=")[::2] for word in args.weights)
    parts = args.parts or list(PARTS)
    known = SENSES["avgn"]
    for sense in sorted(weights.keys() - set(known)):
        parser.error(f"--weights {sense}=...: no encoder is called so: {', '.join(known)}")
    for sense in known if set(parts) - {"own"} and not args.only_keep else ():
        if not weights.get(sense) or not Path(weights[sense]).is_file():
            parser.error(f"--weights {sense}=FILE: {weights.get(sense) or 'it'} is not there")
    further = (tuple(shlex.split(given)) for given in (args.train, args.eval))
    return parts, Places(args.clips, weights, args.data, args.runs, *further), args


def tell_left(parts: Sequence[str], at: Places) -> None:
    """Says how long what is missing takes, roughly."""
    whole: dict[tuple[str, ...], float] = {}
    for name in parts:
        steps = PARTS[name][0](at)
        whole |= {step.words: step.left_s for step in steps}
        left = long_time(sum(step.left_s for step in steps) / cores())
        print(f"{name}: {sum(not step.done for step in steps)} of {len(steps)} commands, about {left}")
    print(f"together about {long_time(sum(whole.values()) / cores())} on {cores()} cores", flush=True)


def work(name: str, at: Places, *, only_keep: bool = False) -> None:
    """Runs what is missing of a part, keeps its figures, and writes the pages."""
    steps, keep = PARTS[name]
    for step in () if only_keep else steps(at):
        if not step.done:
            print(f"$ {'' if step.words[0] in OURS else 'avglance '}{shlex.join(step.words)}", flush=True)
            go(at, step)
    keep(at)
    write_pages()


def main(words: list[str]) -> int:
    parts, at, args = arguments(words)
    try:
        if not args.only_keep:
            tell_left(parts, at)
        for name in parts if not args.estimate else ():
            work(name, at, only_keep=args.only_keep)
    except (AVGLanceError, OSError) as error:
        sys.exit(f"ucf: {error}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
