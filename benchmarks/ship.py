"""Puts a trained model into the package, with the figures of an evaluation on its card.

    python benchmarks/ship.py RUN EVAL.json NAME [--worlds DIR] [--runs DIR] [--half] [--use TEXT]
        [--test TEXT] [--license TEXT] [--command TEXT]

RUN is a run folder of ``avglance train``, EVAL.json what ``avglance eval RUN/model TEST --out`` wrote of it,
NAME the folder in the package. Folders of this machine are written as "worlds" and "runs". With --half the
weights are kept in 16 bits; then record the answer of `avglance selftest` again. Graphs come last:
`avglance export NAME --out src/avglance/models/NAME --force --check`.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import load_file, save_file

MODELS = Path(__file__).resolve().parents[1] / "src" / "avglance" / "models"
FIGURES = ("top1", "top1_interval", "top5", "map", "moment_recall", "patch_hit", "span_iou", "videos")
USE = "Shows how AVGN works on GlanceWorld, a generated toy world; it knows no real-world class."


def shortened(text: str, worlds: Path, runs: Path) -> str:
    """The text with the folders of this machine called what `make glanceworld` calls them."""
    for folder, name in ((worlds, "worlds"), (runs, "runs")):
        text = text.replace(str(folder.resolve()), name).replace(str(folder), name)
    return text


def halve(file: Path) -> None:
    """Keeps the real numbers of a file of weights in 16 bits."""
    with safe_open(file, "pt") as held:
        header = held.metadata()
    tensors = {name: x.half() if x.is_floating_point() else x for name, x in load_file(file).items()}
    save_file(tensors, file, metadata=header)


def checked(args: argparse.Namespace, source: Path) -> dict[str, Any]:
    """The evaluation, which is of these weights and of files."""
    found: dict[str, Any] = json.loads(args.evaluation.read_text(encoding="utf-8"))
    weights = sha256((source / "model.safetensors").read_bytes()).hexdigest()
    if found["model"]["weights_sha256"] != weights:
        sys.exit(f"{args.evaluation} measured other weights than those of {source}")
    if found["settings"].get("cached") or found["settings"]["control"] != "none":
        sys.exit(f"{args.evaluation} is of a cache or a control: the card has what the files give")
    return found


def shipped_card(args: argparse.Namespace, card: dict[str, Any], found: dict[str, Any]) -> dict[str, Any]:
    """The card with what is said and what was measured."""
    card = card | {"name": args.name, "intended_use": args.use}
    card |= {"license": args.license} if args.license else {}
    card |= {"made_by": args.command} if args.command else {}
    test = {name: found[name] for name in FIGURES} | {
        "k": found["settings"]["budget"],
        "gmacs": found["gmacs"]["total"],
        "data": args.test,
        "command": found["command"],
    }
    card["metrics"] = card["metrics"] | {"test": test}
    return card


def sum_up(folder: Path) -> None:
    """Writes the checksums of a model folder again."""
    sums = json.loads((folder / "checksums.json").read_text(encoding="utf-8"))
    for name in sums:
        sums[name] = sha256((folder / name).read_bytes()).hexdigest()
    (folder / "checksums.json").write_text(
        json.dumps(sums, indent=1, sort_keys=True) + "\n", encoding="utf-8"
    )


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("evaluation", type=Path)
    parser.add_argument("name")
    parser.add_argument("--worlds", type=Path, default=Path("worlds"))
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--half", action="store_true", help="weights in 16 bits")
    parser.add_argument("--use", default=USE, help="what it is for, and what it does not know")
    parser.add_argument("--test", default="GlanceWorld, generator seed 2", help="what EVAL.json measured on")
    parser.add_argument("--license", help="of the model, where its data bind it")
    parser.add_argument("--command", help="that makes the model from nothing")
    args = parser.parse_args(arguments)
    source, target = args.run / "model", MODELS / args.name
    found = checked(args, source)
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target)
    card = json.loads((target / "card.json").read_text(encoding="utf-8"))
    card = shipped_card(args, card, found)
    text = shortened(json.dumps(card, indent=1, sort_keys=True), args.worlds, args.runs) + "\n"
    (target / "card.json").write_text(text, encoding="utf-8")
    if args.half:
        halve(target / "model.safetensors")
    sum_up(target)
    for file in target.iterdir():
        file.chmod(0o644)
    print(target)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
