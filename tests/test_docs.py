"""The pages' tables are those that the kept figures give: nobody typed a number in."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from pathlib import Path

import pytest

from avglance.app.ablations import ROWS

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def page():
    spec = importlib.util.spec_from_file_location(
        "glanceworld_page", ROOT / "benchmarks" / "glanceworld_page.py"
    )
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def test_the_pages_are_what_the_kept_figures_give(page):
    for file in (page.PAGE, page.README):
        text = file.read_text(encoding="utf-8")
        assert page.filled(text, page.tables().items()) == text, (
            f"run benchmarks/glanceworld_page.py ({file})"
        )


def test_every_table_stands_on_a_page_and_every_mark_is_closed(page):
    text = page.PAGE.read_text(encoding="utf-8") + page.README.read_text(encoding="utf-8")
    begun = re.findall(r"<!-- table (\w+), made by benchmarks/glanceworld_page.py -->", text)
    assert sorted(begun) == sorted(re.findall(r"<!-- end (\w+) -->", text))
    assert set(begun) == set(page.TABLES) | {"knobs"}


def test_figures_of_two_trainings_become_a_row(page):
    figure = {"mean": 0.9811, "std": 0.0123, "values": [0.97, 0.99]}
    row = {"name": "avgn", "budget": 4, "snippets": 16, "control": "none", "cached": True}
    row |= {"trainings": [{}, {}], "top1": figure, "moment_recall": figure, "patch_hit": {"mean": None}}
    row |= {"gmacs": {"mean": 0.311}, "training_s": {"mean": 600.0}, "difference": None}
    other = row | {"name": "tsn", "difference": {"value": -0.5, "low": -0.55, "high": -0.45, "videos": 9}}
    kept = {"tables": [{"data": {"videos": 9}, "baseline": "avgn K=4", "rows": [row, other]}]}
    lines = page.table("main", kept, {}).splitlines()
    assert lines[0] == "9 videos."
    assert lines[4] == (
        f"| `avgn`: {ROWS['avgn'].what} | 2 | 4 of 16 | 98.1 ± 1.2 | 98.1 | - | 0.311 | - | 10 min |"
    )
    assert "| -50.0 (-55.0 to -45.0) |" in lines[5]


def test_the_card_of_the_shipped_model_has_the_figures_of_the_page(page):
    card = json.loads(
        (ROOT / "src/avglance/models/avgn_nano.glanceworld/card.json").read_text(encoding="utf-8")
    )
    kept = json.loads((page.KEPT / "main.json").read_text(encoding="utf-8"))
    rows = [row for row in kept["tables"][0]["rows"] if row["name"] == "avgn" and not row["cached"]]
    assert [row["budget"] for row in rows] == [card["metrics"]["test"]["k"]]
    (member,) = rows[0]["trainings"]
    for name in ("top1", "moment_recall", "patch_hit"):
        assert member[name] == card["metrics"]["test"][name]
