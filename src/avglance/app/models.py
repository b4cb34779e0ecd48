"""``avglance models``: the models that are shipped, and the systems that can be trained."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from avglance.app.info import read_card
from avglance.app.render import Ink, clean
from avglance.errors import CheckpointError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``avglance models``."""
    parser.add_argument("--json", action="store_true", help="one JSON object, also on a terminal")


def run(args: argparse.Namespace) -> int:
    """Print both tables; the exit code."""
    found = {"models": shipped(), "systems": systems()}
    if args.json or not sys.stdout.isatty():
        print(json.dumps(found))
    else:
        print(tables(found, Ink(sys.stdout)))
    return 0


def shipped() -> list[dict[str, Any]]:
    """One row for each shipped model: name, system, classes, MiB, toy; a damaged one says so in ``error``."""
    from avglance.app.api import MODELS, shipped_models

    return [_row(MODELS / name) for name in shipped_models()]


def _row(folder: Path) -> dict[str, Any]:
    row: dict[str, Any] = {"name": folder.name}
    try:
        card, classes = read_card(folder)
    except CheckpointError as error:
        return row | {"error": str(error)}
    size = sum(p.stat().st_size for p in folder.iterdir() if p.is_file())
    known = {"system": str(card.get("system", "")), "classes": len(classes), "toy": bool(card.get("toy"))}
    return row | known | {"mib": round(size / 2**20, 2)}


def systems() -> list[dict[str, str]]:
    """One row for each system that can be built and trained: name, file."""
    from avglance.systems import SYSTEMS

    return [
        {"name": name, "class": path.split(":")[-1], "preset": preset, "file": path.split(":")[0]}
        for name, (path, preset) in SYSTEMS.items()
    ]


def tables(found: dict[str, list[dict[str, Any]]], ink: Ink) -> str:
    """Both tables for a person."""
    lines = [ink("models (avglance tag --model NAME)", "bold")]
    if not found["models"]:
        lines.append("  none is shipped with this installation: `avglance train` makes one")
    for row in found["models"]:
        if "error" in row:
            lines.append(f"  {clean(row['name'], 60)}  damaged: {clean(row['error'])}")
            continue
        toy = "  toy classes only" if row["toy"] else ""
        lines.append(f"  {row['name']:<28}{row['system']:<12}{row['classes']} classes  {row['mib']} MiB{toy}")
    lines.append(ink("systems (avglance train --system NAME)", "bold"))
    lines += [f"  {row['name']:<28}{row['class']}, {row['preset']} settings" for row in found["systems"]]
    return "\n".join(lines)
