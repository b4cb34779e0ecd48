"""Writes the tables of results from the files that ``avglance eval --out`` made: nothing is typed by hand.

python benchmarks/results.py EVAL.json ...     keeps the figures (not the rows) in docs/results first
python benchmarks/results.py                   writes the tables again
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
KEPT = ROOT / "docs" / "results"
PAGES = (ROOT / "README.md", ROOT / "docs" / "glanceworld.md")
BEGIN = "<!-- results: written by benchmarks/results.py from docs/results/*.json -->"
END = "<!-- end of results -->"
HEAD = (
    "model",
    "control",
    "K of T",
    "videos",
    "top-1",
    "95 %",
    "moment recall",
    "patch hit",
    "span IoU",
    "GMACs",
)


def keep(file: Path) -> None:
    found = json.loads(file.read_text())
    found.pop("rows", None)
    KEPT.mkdir(parents=True, exist_ok=True)
    (KEPT / file.name).write_text(json.dumps(found, indent=1) + "\n")


def share(value: float | None, *, digits: int = 1) -> str:
    return "-" if value is None else f"{100 * value:.{digits}f} %"


def row(found: dict[str, Any]) -> list[str]:
    settings, interval = found["settings"], found.get("top1_interval")
    sees_patches = (found.get("patch_area") or 1) < 0.99
    return [
        found["model"]["name"],
        {"none": "", "swap_sound": "sound of another video", "mute": "muted"}[settings["control"]],
        f"{settings['budget']} of {settings['snippets']}",
        str(found["videos"]),
        share(found["top1"]),
        f"{100 * interval[0]:.1f} to {100 * interval[1]:.1f}" if interval else "-",
        share(found["moment_recall"]),
        share(found["patch_hit"]) if sees_patches else "whole picture",
        "-" if found["span_iou"] is None else f"{found['span_iou']:.2f}",
        f"{found['gmacs']['total']:.3f}",
    ]


def table(files: list[Path]) -> str:
    rows = [row(json.loads(file.read_text())) for file in files]
    lines = [HEAD, ["---"] * len(HEAD), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def main(arguments: list[str]) -> int:
    for name in arguments:
        keep(Path(name))
    files = sorted(KEPT.glob("*.json"))
    for page in PAGES:
        text = page.read_text()
        before, rest = text.split(BEGIN)
        after = rest.split(END)[1]
        page.write_text(f"{before}{BEGIN}\n{table(files)}\n{END}{after}")
    print(table(files))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
