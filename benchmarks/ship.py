"""Puts a trained model into the package, with the figures of an evaluation on its card.

    python benchmarks/ship.py RUN EVAL.json NAME [--worlds DIR] [--runs DIR]

RUN is a run folder of ``avglance train``, EVAL.json what ``avglance eval RUN/model TEST --out`` wrote of it,
NAME the folder in the package. Folders of this machine are written as "worlds" and "runs".
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from hashlib import sha256
from pathlib import Path

MODELS = Path(__file__).resolve().parents[1] / "src" / "avglance" / "models"
FIGURES = ("top1", "top1_interval", "top5", "map", "moment_recall", "patch_hit", "span_iou", "videos")
USE = "Shows how AVGN works on GlanceWorld, a generated toy world; it knows no real-world class."


def shortened(text: str, worlds: Path, runs: Path) -> str:
    """The text with the folders of this machine called what `make glanceworld` calls them."""
    for folder, name in ((worlds, "worlds"), (runs, "runs")):
        text = text.replace(str(folder.resolve()), name).replace(str(folder), name)
    return text


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("evaluation", type=Path)
    parser.add_argument("name")
    parser.add_argument("--worlds", type=Path, default=Path("worlds"))
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    args = parser.parse_args(arguments)
    source, target = args.run / "model", MODELS / args.name
    found = json.loads(args.evaluation.read_text(encoding="utf-8"))
    weights = sha256((source / "model.safetensors").read_bytes()).hexdigest()
    if found["model"]["weights_sha256"] != weights:
        sys.exit(f"{args.evaluation} measured other weights than those of {source}")
    if found["settings"].get("cached") or found["settings"]["control"] != "none":
        sys.exit(f"{args.evaluation} is of a cache or a control: the card has what the files give")
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target)
    card = json.loads((target / "card.json").read_text(encoding="utf-8"))
    card["intended_use"] = USE
    card["metrics"]["test"] = {name: found[name] for name in FIGURES} | {
        "k": found["settings"]["budget"],
        "gmacs": found["gmacs"]["total"],
        "data": "GlanceWorld, generator seed 2",
        "command": found["command"],
    }
    text = shortened(json.dumps(card, indent=1, sort_keys=True), args.worlds, args.runs) + "\n"
    (target / "card.json").write_text(text, encoding="utf-8")
    sums = json.loads((target / "checksums.json").read_text(encoding="utf-8"))
    sums["card.json"] = sha256(text.encode()).hexdigest()
    (target / "checksums.json").write_text(
        json.dumps(sums, indent=1, sort_keys=True) + "\n", encoding="utf-8"
    )
    for file in target.iterdir():
        file.chmod(0o644)
    print(target)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
