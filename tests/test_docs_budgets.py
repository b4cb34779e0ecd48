"""The page on budgets: its commands are understood, and its figures are those that were kept."""

from __future__ import annotations

import json
import re
from importlib import import_module
from pathlib import Path

from avglance.app.cli import COMMANDS, Parser

DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGE, KEPT = DOCS / "budgets.md", DOCS / "results" / "budgets.json"


def line(row: dict) -> str:
    """A row of the page's table."""
    shares = (f"{100 * row[name]:.1f}" if row[name] is not None else "-" for name in ("top1", "error"))
    unknown = f"{100 * row['unknown']:.1f}"
    return f"| {row['videos']} | `{row['options']}` | {row['looks']:.2f} | {row['gmacs']:.3f} | " + (
        f"{' | '.join(shares)} | {unknown} |"
    )


def test_every_command_of_the_page_is_understood():
    (block,) = re.findall(r"```sh\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    lines = [text.split() for text in block.splitlines()]
    assert len(lines) >= 5
    for words in lines:
        assert words[0] == "avglance"
        parser = Parser(prog=f"avglance {words[1]}")
        import_module(COMMANDS[words[1]][0]).add_arguments(parser)
        parser.parse_all(words[2:])


def test_the_figures_of_the_page_were_kept():
    kept, text = json.loads(KEPT.read_text(encoding="utf-8")), PAGE.read_text(encoding="utf-8")
    table = re.findall(r"^\| [a-z].*(?:\d|-) \|$", text, re.MULTILINE)
    assert [row for row in table if row.count("|") == 8] == [line(row) for row in kept["rows"]]
    assert kept["calibrated_on"]["seed"] not in (kept["seed"], 1), "thresholds are of other videos"
