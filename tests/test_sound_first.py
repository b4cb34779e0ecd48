"""The page of sound first: its table is that of the kept figures; what makes them works on made-up videos."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import pytest
import torch

from avglance.data.records import Record
from tests import checks

ROOT = Path(__file__).resolve().parents[1]
OURS = ("glanceworld_page", "results_rows", "sound_first")


@pytest.fixture(scope="module")
def made():
    """The module of benchmarks/ that measures and writes the page."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    yield {name: importlib.import_module(name) for name in OURS}["sound_first"]
    sys.path.remove(str(ROOT / "benchmarks"))
    for name in OURS:
        del sys.modules[name]


def test_the_page_is_what_the_kept_figures_give(made):
    kept = json.loads(made.KEPT.read_text(encoding="utf-8"))
    assert kept["schema"] == made.SCHEMA
    assert "/work" not in json.dumps(kept)
    text = made.PAGE.read_text(encoding="utf-8")
    for name, words in made.tables(kept["parts"]).items():
        assert made.filled(text, [(name, words)], script=made.SCRIPT) == text, f"run {made.SCRIPT}"
        assert words in text
    pytest.importorskip("matplotlib", reason="matplotlib is not installed: nothing can be drawn")
    assert made.draw(kept["parts"]).render("png").startswith(b"\x89PNG")


def test_encoders_that_remember_answer_alike(made):
    clips = checks.make_clips(1, missing=False)
    systems = [checks.small_system("avgn_nano", chooser=chooser) for chooser in ("avtest", "evidence")]
    view = checks.view_of(systems[0], clips)
    plain = [system.recognise(view, 2, glance_pictures=2) for system in systems]
    kept = made.remember(*systems)
    again = [system.recognise(view, 2, glance_pictures=2) for system in systems for _ in range(2)]
    for one, other in zip((plain[0], plain[0], plain[1], plain[1]), again, strict=True):
        checks.assert_same(one, other)
    assert 3 <= len(kept) <= 6
    assert all(encoder.known for encoder in kept)


def test_every_way_is_asked_about_a_video(made, monkeypatch):
    monkeypatch.setattr(made, "PICTURES", (2, 4, checks.T))
    system, clips = checks.small_system("avgn_nano"), checks.make_clips(1, missing=False)
    record = Record(path=Path("a.mp4"), labels=("1",))
    classes = [str(c) for c in range(checks.C)]
    row = made.answers({"sound": system, "evenly": system}, classes, checks.view_of(system, clips), record)
    ways = [(one["pictures"], one["way"], len(one["hits"])) for one in row]
    assert ways == [
        (2, "sound", 2), (2, "evenly", 2), (4, "sound", 4), (4, "evenly", 4), (6, "sound", 6),
    ]  # fmt: skip
    with torch.inference_mode():
        first = system(clips, checks.T).prefix[0].argmax(1)
    assert row[-1]["hits"] == [int(c) == 1 for c in first]
    rows = made.accuracy([row, row], [record, record])
    assert {(r["pictures"], r["looks"]) for r in rows} >= {(2, 1), (2, 2), (4, 4), (6, 4)}
    assert all(r["videos"] == 2 and r["met"] is None for r in rows)
