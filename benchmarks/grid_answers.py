"""What a model answers on other grids than its own: accuracy, and how many answers stay the same.

    python benchmarks/grid_answers.py MODEL DATA [--split NAME] [--limit N] [--budget K]
                                      [--grids exact keyframe auto] [--out FILE.json]

Evaluates the model on the files of the dataset once a grid, as ``avglance eval --grid`` does, and holds
every grid against the first: answers that stay (unknown is an answer too), and videos that are lost and won.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import torch

from avglance.app import api
from avglance.data.records import TEST, read_dataset
from avglance.evaluation import evaluate
from avglance.metrics import proportion_interval
from avglance.systems.store import load_model
from avglance.views import GRIDS

FIGURES = ("top1", "top1_interval", "moment_recall", "patch_hit", "keyframes", "frames", "seconds")


def against(first: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """The answers of one evaluation held against those of another, video by video."""
    mine = {row["video"]: row for row in first["rows"]}
    pairs = [(mine[row["video"]], row) for row in other["rows"] if row["video"] in mine]
    stay = sum(a["labels"][0][0] == b["labels"][0][0] for a, b in pairs)
    judged = [(a["hit1"], b["hit1"]) for a, b in pairs if None not in (a["hit1"], b["hit1"])]
    return {
        "videos": len(pairs),
        "stay": stay / len(pairs) if pairs else None,
        "stay_interval": list(proportion_interval(stay, len(pairs))[1:]) if pairs else None,
        "lost": sum(a and not b for a, b in judged),
        "won": sum(b and not a for a, b in judged),
    }


def show(grids: dict[str, dict[str, Any]]) -> None:
    """Print a row a grid."""
    print(
        "| grid | top-1 % | answers that stay % | lost, won | on keyframes | pictures | decoded | decode s |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for grid, row in grids.items():
        held, keys = row["against_first"], row["keyframes"]
        cells = [grid, f"{100 * (row['top1'] or 0):.1f}", f"{100 * (held['stay'] or 0):.1f}"]
        cells += [f"{held['lost']}, {held['won']}", f"{keys['snippets']:.1f}", f"{keys['pictures']:.1f}"]
        cells += [f"{row['frames']['decoded']:.1f}", f"{row['seconds']['decode']:.3f}"]
        print(f"| {' | '.join(cells)} |")


def main(arguments: list[str]) -> int:
    """Evaluate, compare, print and keep."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model")
    parser.add_argument("data", type=Path)
    parser.add_argument("--split")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--budget", type=int)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--grids", nargs="+", default=GRIDS, choices=GRIDS)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args(arguments)
    torch.set_num_threads(1)
    model = load_model(api.find_model(args.model))
    dataset = read_dataset(args.data, split=args.split, prefer=TEST)
    answers = {
        grid: evaluate(
            model, dataset, budget=args.budget, limit=args.limit, workers=args.workers, grid=grid, batch=8
        )
        for grid in args.grids
    }
    first = answers[args.grids[0]]
    found: dict[str, Any] = {"model": first["model"], "data": first["data"], "budget": args.budget}
    found["grids"] = {
        grid: {name: answer[name] for name in FIGURES} | {"against_first": against(first, answer)}
        for grid, answer in answers.items()
    }
    if args.out is not None:
        args.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    show(found["grids"])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
