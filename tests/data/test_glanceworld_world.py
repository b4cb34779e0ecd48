"""Which worlds there are: checked settings, knobs that do what they say, and a default that never changes."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from itertools import islice, pairwise

import numpy as np
import pytest

from avglance.data import glanceworld
from avglance.data.glanceworld import CLASSES, PLAIN, TEXTURES, World, make_world
from avglance.data.glanceworld_pictures import paint
from avglance.data.glanceworld_script import draw_script
from avglance.data.records import read_dataset
from avglance.errors import ArgumentError, DataError

GOLDEN = {  # sha256 of the truth file's text, of the first version of the plain world
    (0, 0): "55fdab065ef85a05",
    (0, 1): "cea5d17668609582",
    (0, 23): "8b81e1aba8efe5cd",
    (7, 5): "3bec1b69bafa2c46",
    (2024, 1999): "ce2d468a1d774777",
}
GOLDEN_500 = "38bda9f5fcd0595b2e026d64be39df8d9ca7f9e9119f34b532932671f399f26a"
GOLDEN_CARD = "9ad3c42a250cc94c0890a4fb4da4ad4ef93b247d94ff427af4f6db79756ef17a"


@pytest.fixture
def quick(monkeypatch):
    """Videos of three pictures: what is written about them is what is tested."""
    monkeypatch.setattr(glanceworld, "paint", lambda script: islice(paint(script), 3))
    monkeypatch.setattr(glanceworld, "play", lambda script: np.zeros(4000, np.float32))


# --- the default ----------------------------------------------------------------------------------


@pytest.mark.parametrize("key", GOLDEN)
def test_the_default_world_is_what_it_always_was(key):
    text = json.dumps(draw_script(*key).truth())
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == GOLDEN[key]


def test_five_hundred_scripts_of_the_default_world_are_what_they_always_were():
    digest = hashlib.sha256()
    for index in range(500):
        digest.update(json.dumps(draw_script(1, index, World()).truth()).encode())
    assert digest.hexdigest() == GOLDEN_500


def test_the_default_card_is_the_same_to_the_byte(tmp_path, quick):
    make_world(tmp_path / "w", videos=2, seed=5, workers=1, world=World())
    assert hashlib.sha256((tmp_path / "w" / "dataset.json").read_bytes()).hexdigest() == GOLDEN_CARD


# --- what is allowed ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"kind": "easy"}, "kind='easy' is not one of plain, pointer, rivals"),
        ({"event_share": (0.3, 0.2)}, r"event_share=\(0.3, 0.2\) must be \(low, high\) with 0 <= low"),
        ({"event_share": (0.1, 1.2)}, "event_share"),
        ({"event_share": (0.1, float("nan"))}, "event_share"),
        ({"event_share": (0.1,)}, "event_share"),
        ({"object_px": (20, 60)}, r"object_px=\(20, 60\) must be \(low, high\) with 24"),
        ({"object_px": (60, 102)}, "100"),
        ({"object_px": (57, 72)}, "even"),
        ({"seconds": (2, 20)}, "seconds"),
        ({"seconds": (20, 601)}, "600"),
        ({"decoys": -1}, "decoys=-1"),
        ({"decoys": 1.5}, "decoys=1.5"),
        ({"background_db": 41}, r"background_db=41 is outside \[-40, 40\]"),
        ({"background_db": float("nan")}, "background_db"),
        ({"decoys": 2}, "5 spans of .* with gaps take .* of a video"),
        ({"event_share": (0.2, 0.34)}, "3 spans"),
        ({"event_share": (0.01, 0.2)}, "shorter than 0.4 s"),
    ],
)
def test_what_cannot_be_is_named(wrong, said):
    with pytest.raises(ArgumentError, match=said):
        World(**wrong)


def test_a_world_survives_json():
    world = World("rivals", (0.1, 0.1), (40, 60), (20, 30.5), 2, 3)
    assert World(**json.loads(json.dumps(world.fields()))) == world


# --- the knobs ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "world",
    [
        World(event_share=(0.05, 0.08), decoys=4),
        World(event_share=(0.1, 0.1), seconds=(17, 18)),
        World(event_share=(0.9, 0.95), decoys=0),
        World("pointer", object_px=(24, 30), decoys=2, event_share=(0.1, 0.15)),
        World("rivals", object_px=(90, 100), decoys=2, event_share=(0.1, 0.15)),
        World("rivals", object_px=(24, 24), seconds=(540, 600)),
    ],
    ids=str,
)
def test_knobs_do_what_they_say(world):
    for index in range(120):
        script = draw_script(9, index, world)
        assert world.seconds[0] <= script.duration_s <= world.seconds[1]
        spans = [x.span for x in (script.show, *script.seen, *script.heard)]
        assert len(script.seen) == len(script.heard) == world.decoys
        spans.sort(key=lambda span: span.first)
        share = (spans[0].last - spans[0].first) / script.frames
        assert world.event_share[0] - 0.5 / script.frames <= share
        assert share <= world.event_share[1] + 0.5 / script.frames
        assert len({span.last - span.first for span in spans}) == 1
        assert spans[0].first >= 0
        assert spans[-1].last <= script.frames
        assert all(b.first - a.last >= 4 for a, b in pairwise(spans))
        for show in (script.show, *script.seen):
            for thing in show.things:
                assert world.object_px[0] <= thing.side <= world.object_px[1]
                assert (thing.corners >= (40, 0)).all()
                assert (thing.corners + thing.side <= (280, 240)).all()


@pytest.mark.parametrize("decoys", [1, 2, 3, 4, 6])
@pytest.mark.parametrize("kind", ["plain", "pointer", "rivals"])
def test_who_sees_every_object_but_no_event_learns_only_how_often_a_texture_came(kind, decoys):
    world = World(kind, event_share=(0.03, 0.06), seconds=(24, 32), decoys=decoys)
    scripts = [draw_script(4, index, world) for index in range(1600)]
    right, hoped = 0, 0.0
    for script in scripts:
        count = Counter(thing.texture for show in (script.show, *script.seen) for thing in show.things)
        most = max(count.values())
        best = [texture for texture in sorted(count) if count[texture] == most]
        right += best[script.index % len(best)] == script.texture
        hoped += most / sum(count.values())
    assert abs(right - hoped) < 4 * np.sqrt(len(scripts) * 0.25)
    if decoys < 4 and kind != "rivals":  # as even as can be
        assert hoped / len(scripts) == pytest.approx(1 / (decoys + 1))
    if kind == "rivals" and decoys in (1, 3):
        assert hoped / len(scripts) == pytest.approx(1 / 4)


# --- the folder -----------------------------------------------------------------------------------


def test_knobs_stand_in_the_card_and_another_world_is_refused(tmp_path, quick):
    world = World(decoys=0, background_db=6)
    folder = make_world(tmp_path / "w", videos=2, seed=5, workers=1, world=world)
    card = json.loads((folder / "dataset.json").read_text())
    assert card["kind"] == "glanceworld"
    assert card["classes"] == list(CLASSES)
    assert World(**card["world"]) == world
    assert json.loads((folder / "truth" / "000001.json").read_text())["decoys"] == []
    make_world(folder, videos=2, seed=5, workers=1, world=world)
    for other in (PLAIN, World(decoys=0, background_db=5), World("pointer", decoys=0, background_db=6)):
        with pytest.raises(DataError, match="begun with"):
            make_world(folder, videos=2, seed=5, workers=1, world=other)


@pytest.mark.parametrize("kind", ["pointer", "rivals"])
def test_a_harder_world_is_a_dataset_of_four_textures(tmp_path, quick, kind):
    folder = make_world(tmp_path / "w", videos=4, seed=5, workers=1, world=World(kind))
    dataset = read_dataset(folder)
    assert dataset.kind == f"glanceworld_{kind}"
    assert dataset.classes == tuple(sorted(TEXTURES))
    assert dataset.world["world"]["kind"] == kind
    assert sorted(record.labels[0] for record in dataset.records) == sorted(TEXTURES)
    for record in dataset.records:
        truth = record.truth
        assert truth.texture == record.labels[0] == truth.rest["label"]
        assert truth.rest["kind"] == kind
        assert [decoy["kind"] for decoy in truth.decoys] == ["picture", "sound"]
        assert len(truth.rival_boxes) == (len(truth.boxes) if kind == "rivals" else 0)
        assert [row[0] for row in truth.rival_boxes] in ([], [row[0] for row in truth.boxes])


def test_another_kind_with_the_same_seed_is_another_video():
    spans = {draw_script(3, 0, World(kind)).event.first for kind in ("plain", "pointer", "rivals")}
    assert len(spans) == 3
