"""``avglance info NAME``: what a model says of itself."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from avglance.app.render import TOY_BANNER, Ink, clean
from avglance.errors import CheckpointError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``avglance info``."""
    parser.add_argument("name", metavar="NAME", help="shipped model or model folder")
    parser.add_argument("--json", action="store_true", help="the card and the classes as JSON")


def run(args: argparse.Namespace) -> int:
    """Print the card; the exit code."""
    from avglance.app.api import find_model

    folder = find_model(args.name)
    card, classes = read_card(folder)
    if args.json or not sys.stdout.isatty():
        print(json.dumps({"folder": str(folder), "card": card, "classes": classes}, indent=2))
    else:
        print(card_text(folder, card, classes, Ink(sys.stdout)))
    return 0


def read_card(folder: Path) -> tuple[dict[str, Any], list[str]]:
    """Card and classes of a model folder, without loading its weights.

    Raises:
        CheckpointError: one of them is missing or is not what it should be.
    """
    card, classes = _read_json(folder, "card.json"), _read_json(folder, "classes.json")
    if not isinstance(card, dict) or not isinstance(classes, list):
        raise CheckpointError("card.json must hold an object, and classes.json a list", where=str(folder))
    return card, [str(name) for name in classes]


def _read_json(folder: Path, name: str) -> Any:
    try:
        return json.loads((folder / name).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        hint = "a model folder holds model.safetensors, classes.json, card.json and checksums.json"
        raise CheckpointError(f"{name} cannot be read: {error}", where=str(folder), hint=hint) from error


def card_text(folder: Path, card: dict[str, Any], classes: list[str], ink: Ink) -> str:
    """The card for a person: names first, then every entry, indented."""
    lines = [ink(clean(card.get("name") or folder.name), "bold")]
    if card.get("toy"):
        lines.append(ink(f"  ! {TOY_BANNER}", "yellow", "bold"))
    lines += _entries({k: v for k, v in card.items() if k != "name"}, 1)
    lines.append(f"  classes ({len(classes)})")
    lines += [f"    {clean(name, 100)}" for name in classes]
    lines.append(f"  folder  {clean(folder, 1000)}")
    return "\n".join(lines)


def _entries(values: dict[str, Any], depth: int) -> list[str]:
    lines, pad = [], "  " * depth
    for key, value in values.items():
        if isinstance(value, dict) and value:
            lines += [f"{pad}{clean(key, 60)}", *_entries(value, depth + 1)]
        else:
            lines.append(f"{pad}{clean(key, 60)}  {clean(_plain(value))}")
    return lines


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    return ", ".join(map(_plain, value)) if isinstance(value, list) else str(value)
