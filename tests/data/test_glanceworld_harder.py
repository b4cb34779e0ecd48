"""The harder worlds: what is independent of what, and what a picture shows of it."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from benchmarks import glanceworld_leaks
from PIL import Image

from avglance.data.glanceworld import FAMILIES, TEXTURES, World, make_world
from avglance.data.glanceworld_pictures import PALE, Scene, paint, thing_sprite
from avglance.data.glanceworld_script import HUES_DEG, SHAPES, draw_script, stream
from avglance.media.writer import write_mp4

COUNT = 4000


@pytest.fixture(scope="module")
def pointer():
    return [draw_script(6, index, World("pointer")) for index in range(COUNT)]


@pytest.fixture(scope="module")
def rivals():
    return [draw_script(6, index, World("rivals")) for index in range(COUNT)]


def independent(first, second):
    """Whether a table of counts is what independence gives, by chi-square (four standard deviations)."""
    rows, columns = (np.unique(np.array(x), return_inverse=True)[1] for x in (first, second))
    table = np.zeros((rows.max() + 1, columns.max() + 1))
    np.add.at(table, (rows, columns), 1)
    expected = table.sum(1, keepdims=True) * table.sum(0) / table.sum()
    freedom = (table.shape[0] - 1) * (table.shape[1] - 1)
    assert freedom > 0
    return ((table - expected) ** 2 / expected).sum() < freedom + 4 * np.sqrt(2 * freedom) + 2


def even(values, kinds):
    """Whether every one of ``kinds`` values came equally often, within four standard deviations."""
    counts = Counter(values)
    share = 1 / kinds
    assert len(counts) == kinds
    return max(abs(n - len(values) * share) for n in counts.values()) < 4 * np.sqrt(
        len(values) * share * (1 - share)
    )


def test_the_check_of_independence_finds_what_is_not():
    rng = np.random.default_rng(0)
    one = rng.integers(4, size=COUNT)
    assert independent(one, rng.integers(5, size=COUNT))
    assert not independent(one, np.where(rng.random(COUNT) < 0.1, one, rng.integers(4, size=COUNT)))


def eighth(script):
    return int(8 * script.event.first / script.frames)


# --- both -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["pointer", "rivals"])
def test_the_label_is_a_texture_dealt_evenly_and_nothing_else_follows_it(kind, request):
    scripts = request.getfixturevalue(kind)
    labels = [s.label for s in scripts]
    assert Counter(labels) == dict.fromkeys(TEXTURES, COUNT // 4)
    assert all(s.label == s.texture == s.thing.texture for s in scripts)
    for value in (
        lambda s: s.family,
        lambda s: s.heard[0].family,
        lambda s: s.family == s.heard[0].family,
        eighth,
        lambda s: s.frames // 40,
        lambda s: 40 * (s.event.last - s.event.first) // s.frames,
        lambda s: s.thing.side,
        lambda s: s.thing.shape,
        lambda s: int(s.thing.luma) // 5,
        lambda s: s.thing.corners[0][0] // 40,
        lambda s: s.seen[0].span.first < s.event.first,
        lambda s: s.heard[0].span.first < s.event.first,
        lambda s: s.sounding if s.world.objects > 1 else s.index % 3,
    ):
        assert independent(labels, [value(s) for s in scripts])


@pytest.mark.parametrize("kind", ["pointer", "rivals"])
def test_an_event_is_neither_heard_nor_seen_apart_from_its_decoys(kind, request):
    scripts = request.getfixturevalue(kind)
    for event, decoy in (
        ([s.family for s in scripts], [s.heard[0].family for s in scripts]),
        ([s.event.first // 20 for s in scripts], [s.heard[0].span.first // 20 for s in scripts]),
        ([s.event.first // 20 for s in scripts], [s.seen[0].span.first // 20 for s in scripts]),
        *(
            ([look(s.show) for s in scripts], [look(s.seen[0]) for s in scripts])
            for look in (
                lambda show: show.things[0].texture,
                lambda show: tuple(thing.family for thing in show.things),
                lambda show: show.things[-1].side,
                lambda show: show.things[0].shape,
                lambda show: int(show.things[0].luma) // 5,
            )
        ),
    ):
        is_event = [1] * COUNT + [0] * COUNT
        values = [str(value) for value in event + decoy]
        assert len(set(values)) == 1 or independent(values, is_event)


def test_the_sound_of_pointer_is_of_any_family(pointer):
    assert even([s.family for s in pointer], 5)
    assert even([s.heard[0].family for s in pointer], 5)
    assert independent([s.family for s in pointer], [s.heard[0].family for s in pointer])
    assert all(s.seen[0].things[0].texture != s.texture for s in pointer)
    assert all(thing.family == "" for s in pointer for thing in s.show.things)


# --- rivals: the script -----------------------------------------------------------------------------


def test_rivals_differ_and_never_meet(rivals):
    sides = Counter()
    for script in rivals:
        for show in (script.show, *script.seen):
            one, other = show.things
            assert one.texture != other.texture
            assert one.family != other.family
            apart = (other.corners + other.side / 2) - (one.corners + one.side / 2)
            split = (apart > 100).all(0)  # the first is always left or above
            assert split.any()
            sides[tuple(split.tolist())] += 1
            gap = other.corners - (one.corners + one.side)
            assert (gap.max(1) >= 0).all()  # they do not touch
    assert min(sides[True, False], sides[False, True]) > 0.4 * 2 * COUNT


def test_all_four_textures_come_once_so_that_the_decoy_tells_nothing(rivals):
    for script in rivals:
        things = [thing for show in (script.show, *script.seen) for thing in show.things]
        assert sorted(thing.texture for thing in things) == sorted(TEXTURES)


def test_nothing_seen_tells_which_of_the_two_sounds(rivals):
    assert even([s.sounding for s in rivals], 2)
    sounds = [n == s.sounding for s in rivals for n in (0, 1)]
    things = [thing for s in rivals for thing in s.show.things]
    for value in (
        lambda t: t.family,
        lambda t: t.texture,
        lambda t: t.side,
        lambda t: t.shape,
        lambda t: int(t.luma) // 5,
        lambda t: int(np.hypot(*t.chroma)) // 3,
        lambda t: (t.corners[0] // 60).tolist(),
        lambda t: (t.corners[-1] // 60).tolist(),
        lambda t: int(np.abs(np.diff(t.corners, axis=0)).sum()) // 20,
    ):
        assert independent([str(value(thing)) for thing in things], sounds)


def test_the_sound_is_of_the_one_it_should_be_and_colours_are_independent_of_textures(rivals):
    assert all(s.family == s.thing.family for s in rivals)
    assert even([s.family for s in rivals], 5)
    for n in (0, 1):
        things = [s.show.things[n] for s in rivals]
        assert independent([t.family for t in things], [t.texture for t in things])
    pairs = Counter(tuple(thing.family for thing in s.show.things) for s in rivals)
    assert even(list(pairs.elements()), 20)


def test_the_truth_of_rivals_says_both(rivals):
    script = rivals[0]
    truth = script.truth()
    other = script.show.things[1 - script.sounding]
    assert (truth["kind"], truth["label"], truth["family"]) == ("rivals", script.texture, script.family)
    assert truth["rival"]["texture"] == other.texture != truth["texture"]
    assert truth["rival"]["family"] == other.family != truth["family"]
    assert truth["rival"]["boxes"] == other.boxes(script.event)
    assert truth["boxes"] == script.thing.boxes(script.event)
    decoy = truth["decoys"][0]
    assert (decoy["family"], decoy["rival"]["family"]) == tuple(t.family for t in script.seen[0].things)


# --- rivals: the picture ----------------------------------------------------------------------------


def glances(folder, count):
    """(things, glance pictures, source crops, glance crops) of rivals alone in a scene, after H.264."""
    things, lines, patches, crops = [], [], [], []
    for index in range(count):
        script = draw_script(22, index, World("rivals"))
        rng = stream(22, index, 1, "rivals")
        sprites, scene = [thing_sprite(rng, thing) for thing in script.show.things], Scene(rng, PALE)
        frames = []
        for n in range(4):
            canvas = scene.canvas.copy()
            for thing, sprite in zip(script.show.things, sprites, strict=True):
                canvas.draw(sprite, *(int(value) for value in thing.corners[n]))
            frames.append(canvas.picture())
        path = write_mp4(folder / "clip.mp4", frames, rate=10, pixels="yuv420p", threads=1)
        image = list(glanceworld_leaks.decode(path))[3]
        square = Image.fromarray(image[:, 40:280]).resize((64, 64), Image.Resampling.BILINEAR)
        lines.append(np.asarray(square))
        for thing in script.show.things:
            x, y = (int(value) for value in thing.corners[3])
            patch, crop = glanceworld_leaks.look(image, [x, y, x + thing.side, y + thing.side])
            things.append(thing)
            patches.append(patch)
            crops.append(crop)
    return things, np.array(lines), np.array(patches), np.array(crops)


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    return glances(tmp_path_factory.mktemp("clips"), 120)


def hue_and_strength(pixels):
    """Angle in degrees and length in the plane of chroma, of RGB values (..., 3)."""
    red, green, blue = np.moveaxis(pixels.astype(float), -1, 0)
    u = -0.148 * red - 0.291 * green + 0.439 * blue
    v = 0.439 * red - 0.368 * green - 0.071 * blue
    return np.degrees(np.arctan2(v, u)) % 360, np.hypot(u, v)


def test_the_family_is_the_colour_in_a_glance_of_64_lines(seen):
    things, lines, _, crops = seen
    hues, strengths = hue_and_strength(crops.mean((1, 2)))
    away = np.abs((hues[:, None] - np.array(HUES_DEG) + 180) % 360 - 180)
    assert [FAMILIES[n] for n in away.argmin(1)] == [thing.family for thing in things]
    assert away.min(1).max() < 20  # 72 degrees lie between two families
    assert strengths.min() > 28
    _, around = hue_and_strength(lines)
    objects = sum(thing.side**2 for thing in things) / (240**2 * len(lines))
    assert (around > 28).mean() < objects  # nothing but objects is as strong


def test_a_glance_shows_no_texture_of_rivals_and_the_source_does(seen):
    things, _, patches, crops = seen
    textures = np.array([thing.texture for thing in things])
    pairs = np.arange(len(textures)) // 2
    assert glanceworld_leaks.accuracy(glanceworld_leaks.spectra(patches), textures, pairs) >= 0.95
    for features in (glanceworld_leaks.pixels(crops), glanceworld_leaks.spectra(crops)):
        assert glanceworld_leaks.accuracy(features, textures, pairs) <= 0.38  # 240 guesses at 0.25


def test_both_rivals_are_painted_in_the_event_and_none_where_only_sound_is():
    script = draw_script(6, 3, World("rivals"))
    wanted = {script.event.first: script.show, script.seen[0].span.last - 1: script.seen[0]}
    heard = script.heard[0].span
    for number, picture in enumerate(paint(script)):
        u, v = (plane.astype(float) - 128 for plane in picture[240:].reshape(2, 120, 160))
        if number in wanted:
            show = wanted[number]
            for thing in show.things:
                x, y = thing.corners[number - show.span.first] + thing.side // 2
                at = np.array([u[y // 2, x // 2], v[y // 2, x // 2]])
                assert at == pytest.approx(thing.chroma, abs=1.5)
        if heard.first <= number < heard.last:
            assert np.hypot(u, v).max() < 34  # objects begin at 36
    assert all(thing.shape in SHAPES for show in wanted.values() for thing in show.things)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["pointer", "rivals"])
def test_neither_sense_alone_tells_the_class_nor_which_rival_sounds(tmp_path, kind):
    world = make_world(tmp_path / "w", videos=160, seed=31, world=World(kind))
    figures = glanceworld_leaks.leaks(glanceworld_leaks.examine(world))
    assert any("which rival" in figure.name for figure in figures) == (kind == "rivals")
    for figure in figures:
        if figure.tells:
            assert figure.accuracy >= 0.8, figure.name
        elif not figure.name.startswith("family"):  # the family is no part of the class
            assert figure.accuracy <= figure.chance + figure.margin, figure.name
