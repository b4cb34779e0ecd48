"""The page of the clock: its tables are those of the kept figures; what makes them works on made-up ones."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
OURS = ("glanceworld_page", "results_rows", "performance_page")


@pytest.fixture(scope="module")
def page():
    """The module of benchmarks/ that writes the page."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    yield {name: importlib.import_module(name) for name in OURS}["performance_page"]
    sys.path.remove(str(ROOT / "benchmarks"))
    for name in OURS:
        del sys.modules[name]


def value(median: float) -> dict:
    return {"median": median, "low": median, "high": median, "each": [median] * 3}


def row(name: str, seconds: float) -> dict:
    return {
        "rival": name, "seconds": value(seconds), "ratio": value(seconds / 0.5), "processor": value(seconds),
        "processor_ratio": value(seconds), "decoded": 16, "gmacs": 1.0,
        "stages": {"decode": seconds / 2, "network": seconds / 2}, "pictures": 16,
    }  # fmt: skip


def raced(seconds: dict[str, float], *lengths: float) -> dict:
    floor = {
        "seconds": 0.4, "pictures_s": 0.2, "sounds_s": 0.1, "compute_s": 0.1, "ratio": 1.25,
    }  # fmt: skip
    files = [
        {
            "duration_s": length, "width": 1280, "height": 720, "floor": floor,
            "rows": [row(name, each) for name, each in seconds.items()],
        }
        for length in lengths
    ]  # fmt: skip
    return {
        "made_by": "python benchmarks/performance.py race --rounds 3", "busy_cores": 0.0,
        "machine": {"cores": 2, "machine": "x86_64", "peak_gmacs_s": 200.0},
        "rivals": {name: name.upper() for name in seconds}, "files": files, "setting": {"precision": "bf16"},
    }  # fmt: skip


def test_the_page_says_what_is_kept(page) -> None:
    kept = json.loads(page.KEPT.read_text(encoding="utf-8"))
    assert kept["schema"] == "avglance.performance/1"
    text = page.PAGE.read_text(encoding="utf-8")
    assert page.filled(text, page.tables(kept["parts"]).items(), script=page.SCRIPT) == text


def test_what_was_asked_is_judged(page) -> None:
    others = {"tsn_all": 12.0, "tsn_seek": 1.9, "mvit": 10.0, "mvit_clip": 1.0, "r2plus1d_clip": 0.4}
    parts = {"race": raced({"ours": 0.5, **others}, 180.0)}
    said = page.asked(parts)
    assert "| TSN_ALL, times ours: at least 20 | 24.0x (12.0x of the processor) | met |" in said
    assert "| TSN_SEEK, times ours: at least 4 | 3.80x (1.90x of the processor) | **missed** |" in said
    assert "| R2PLUS1D_CLIP, times ours: above 1 | 0.80x (0.40x of the processor) | **missed** |" in said
    assert "| times the floor: at most 1.6 | 1.25 | met |" in said


def test_growth_is_from_three_minutes_to_an_hour(page) -> None:
    part = raced({"ours": 0.5}, 180.0, 3600.0)
    part["files"][1]["rows"][0]["seconds"] = value(0.6)
    part["memory"] = [{"file": name, "peak_mb": mb} for name, mb in (("a", 100.0), ("b", 104.0))]
    grown, more = page.growth(part)
    assert grown == pytest.approx(1.2)
    assert more == pytest.approx(0.04)


def test_what_is_missing_names_its_command(page) -> None:
    made = page.tables({})
    assert made["many"] == "not run yet: `python benchmarks/performance.py many`"
    assert page.long(60) == "60 s"
    assert (page.long(180), page.long(10_800)) == ("3 min", "3 h")
