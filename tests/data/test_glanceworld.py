"""GlanceWorld: the truth is true, the same seed gives the same world, and nothing tells the class that must not."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path

import av
import numpy as np
import pytest

from avglance.data import glanceworld
from avglance.data.glanceworld import CLASSES, FAMILIES, TEXTURES, make_world
from avglance.data.glanceworld_pictures import Scene, grating, mask, paint, thing_sprite
from avglance.data.glanceworld_script import HEIGHT, MARGIN_X, RATE, SHAPES, WIDTH, draw_script, stream
from avglance.data.glanceworld_sound import LEVEL, RATE_HZ, pattern, play
from avglance.errors import ArgumentError, DataError
from avglance.media.writer import write_mp4
from benchmarks import glanceworld_leaks

VIDEOS, SEED = 3, 11


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return make_world(tmp_path_factory.mktemp("world") / "w", videos=VIDEOS, seed=SEED, workers=1)


@pytest.fixture(scope="module")
def decoded(world):
    """(truth, pictures, samples) of every video."""
    found = []
    for index in range(VIDEOS):
        video = world / "videos" / f"{index:06d}.mp4"
        truth = json.loads((world / "truth" / f"{index:06d}.json").read_text())
        found.append((truth, list(glanceworld_leaks.decode(video)), glanceworld_leaks.listen(video)[0]))
    return found


def digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


# --- the script ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def scripts():
    return [draw_script(5, index) for index in range(600)]


def test_the_classes_are_all_pairs_and_come_equally_often(scripts):
    assert len(CLASSES) == len(set(CLASSES)) == len(TEXTURES) * len(FAMILIES) == 20
    assert Counter(f"{s.texture} {s.family}" for s in scripts) == dict.fromkeys(CLASSES, 30)
    first = [tuple(f"{s.texture} {s.family}" for s in scripts[n : n + 20]) for n in (0, 20, 40)]
    assert len(set(first)) == 3  # the order in a block is another one each time


def test_spans_are_equal_apart_and_of_the_right_length(scripts):
    for s in scripts:
        spans = sorted((x.first, x.last) for x in (s.event, s.decoy_seen, s.decoy_heard))
        lengths = {last - first for first, last in spans}
        assert len(lengths) == 1
        assert 0.12 <= lengths.pop() / s.frames <= 0.25
        assert 16 <= s.duration_s <= 32
        assert spans[0][0] >= 0
        assert spans[-1][1] <= s.frames
        assert spans[0][1] < spans[1][0]
        assert spans[1][1] < spans[2][0]


def test_any_span_may_come_first_and_starts_ignore_the_snippet_grid(scripts):
    first = Counter(np.argmin([x.first for x in (s.event, s.decoy_seen, s.decoy_heard)]) for s in scripts)
    assert min(first.values()) > 150
    offsets = np.array([s.event.start_s / (s.duration_s / 16) % 1 for s in scripts])
    assert np.histogram(offsets, 4, (0, 1))[0].min() > 100


def test_decoys_are_never_the_event_and_look_like_it(scripts):
    assert all(s.decoy_thing.texture != s.texture and s.decoy_family != s.family for s in scripts)
    assert set(Counter(s.decoy_thing.texture for s in scripts)) == set(TEXTURES)
    for value in (lambda t: t.side, lambda t: t.luma, lambda t: t.chroma[0], lambda t: SHAPES.index(t.shape)):
        real = np.array([value(s.thing) for s in scripts], float)
        fake = np.array([value(s.decoy_thing) for s in scripts], float)
        error = np.hypot(real.std(), fake.std()) / np.sqrt(len(scripts))
        assert abs(real.mean() - fake.mean()) < 4 * error


def test_the_object_stays_whole_inside_the_central_square_and_moves(scripts):
    travelled = []
    for s in scripts:
        for thing in (s.thing, s.decoy_thing):
            assert 56 <= thing.side <= 72
            assert (thing.corners >= (MARGIN_X, 0)).all()
            assert (thing.corners + thing.side <= (MARGIN_X + HEIGHT, HEIGHT)).all()
            steps = np.abs(np.diff(thing.corners, axis=0))
            assert steps.max() <= 20
            travelled.append(steps.sum())
    assert np.median(travelled) > 40


def test_a_script_depends_on_seed_and_index_alone():
    assert draw_script(3, 7).truth() == draw_script(3, 7).truth()
    assert draw_script(3, 7).truth() != draw_script(4, 7).truth()
    assert draw_script(3, 7).truth() != draw_script(3, 8).truth()


# --- the folder ------------------------------------------------------------------------------------------------


def test_the_folder_is_a_dataset(world):
    lines = [json.loads(line) for line in (world / "manifest.jsonl").read_text().splitlines()]
    assert [line["path"] for line in lines] == [f"videos/{n:06d}.mp4" for n in range(VIDEOS)]
    for line in lines:
        truth = json.loads((world / line["truth"]).read_text())
        assert line["labels"] == [truth["label"]] == [f"{truth['texture']} {truth['family']}"]
        assert line["group"] == ""
        assert [decoy["kind"] for decoy in truth["decoys"]] == ["picture", "sound"]
        assert truth["seed"] == SEED
    card = json.loads((world / "dataset.json").read_text())
    assert card["kind"] == "glanceworld"
    assert (card["seed"], card["videos"], card["classes"]) == (SEED, VIDEOS, sorted(CLASSES))
    assert card["augment"] == {"translate_px": 8, "flip": False, "scale": False}
    assert (card["size"], card["rate"]) == ([320, 240], 10)


def test_the_dataset_reader_takes_it(world):
    records = pytest.importorskip("avglance.data.records")
    dataset = records.read_dataset(world)
    assert dataset.classes == tuple(sorted(CLASSES))
    assert len(dataset.records) == VIDEOS
    truth = json.loads((world / "truth" / "000000.json").read_text())
    assert dataset.records[0].truth.span == (truth["event"]["start_s"], truth["event"]["end_s"])
    assert dataset.world["augment"]["flip"] is False


def test_the_same_seed_gives_the_same_files_whatever_the_workers(world, tmp_path):
    other = make_world(tmp_path / "w", videos=VIDEOS, seed=SEED, workers=2)
    assert digests(other) == digests(world)


def test_a_broken_run_is_gone_on_with(world, tmp_path, monkeypatch):
    folder = make_world(tmp_path / "w", videos=2, seed=SEED, workers=1)
    kept = folder / "videos" / "000000.mp4"
    stamp = kept.stat().st_mtime_ns
    (folder / "truth" / "000001.json").unlink()
    (folder / "manifest.jsonl").unlink()
    seen = []
    make_world(
        folder, videos=VIDEOS, seed=SEED, workers=1, progress=lambda done, total: seen.append((done, total))
    )
    assert kept.stat().st_mtime_ns == stamp
    assert seen == [(2, 3), (3, 3)]
    assert digests(folder) == digests(world)
    monkeypatch.setattr(glanceworld, "make_video", None)  # nothing is left to make
    make_world(folder, videos=VIDEOS, seed=SEED, workers=1)


def test_a_failure_leaves_no_manifest_and_no_half_file(tmp_path, monkeypatch):
    def broken(script):
        yield from [next(paint(script))] * 3
        raise OSError("no space left")

    monkeypatch.setattr(glanceworld, "paint", broken)
    with pytest.raises(OSError, match="no space"):
        make_world(tmp_path / "w", videos=1, seed=1, workers=1)
    assert [p.name for p in (tmp_path / "w").rglob("*") if p.is_file()] == ["dataset.json"]


@pytest.mark.parametrize(("key", "value"), [("seed", 12), ("kind", "other"), ("version", 999)])
def test_a_folder_of_another_world_is_refused(tmp_path, key, value):
    (tmp_path / "videos").mkdir()
    card = {"kind": "glanceworld", "version": glanceworld.VERSION, "seed": SEED, key: value}
    (tmp_path / "dataset.json").write_text(json.dumps(card))
    with pytest.raises(DataError, match=key):
        make_world(tmp_path, videos=1, seed=SEED, workers=1)


def test_a_folder_with_other_things_is_refused(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(DataError, match="something else"):
        make_world(tmp_path, videos=1, seed=1, workers=1)
    with pytest.raises(DataError, match="a file stands"):
        make_world(tmp_path / "thesis.txt", videos=1, seed=1, workers=1)
    (tmp_path / "dataset.json").write_text("{")
    with pytest.raises(DataError, match="JSON"):
        make_world(tmp_path, videos=1, seed=1, workers=1)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["dataset.json", "thesis.txt"]


@pytest.mark.parametrize("bad", [{"videos": 0}, {"seed": -1}, {"workers": -1}, {"workers": 0}])
def test_numbers_out_of_range_are_named(tmp_path, bad):
    with pytest.raises(ArgumentError, match=next(iter(bad))):
        make_world(tmp_path / "w", **{"videos": 1, "seed": 1, "workers": 1, **bad})
    assert not list(tmp_path.iterdir())


# --- the decoded files -----------------------------------------------------------------------------------------


def test_files_are_what_the_card_says(world, decoded):
    for index, (truth, images, wave) in enumerate(decoded):
        assert len(images) == round(truth["duration_s"] * RATE)
        assert images[0].shape == (HEIGHT, WIDTH, 3)
        assert wave.size / RATE_HZ == pytest.approx(truth["duration_s"], abs=0.13)
        with av.open(str(world / "videos" / f"{index:06d}.mp4")) as box:
            assert box.streams.video[0].codec_context.name == "h264"
            assert box.streams.audio[0].codec_context.name == "aac"
            packets = [p for p in box.demux(video=0) if p.is_keyframe]
            times = [round(float(p.pts * p.time_base), 3) for p in packets]
        assert times == [2.0 * n for n in range(len(times))]
        assert len(times) == int(np.ceil(truth["duration_s"] / 2))


def warmth(image, box):
    """How much redder than green the middle of a box is."""
    x0, y0, x1, y1 = (int(value) for value in box)
    middle = image[(3 * y0 + y1) // 4 : (y0 + 3 * y1) // 4, (3 * x0 + x1) // 4 : (x0 + 3 * x1) // 4]
    return float(middle[..., 0].mean() - middle[..., 1].mean())


def test_the_object_is_where_the_truth_says_and_only_then(decoded):
    for truth, images, _ in decoded:
        spans = [(truth["event"], truth["boxes"]), (truth["decoys"][0], truth["decoys"][0]["boxes"])]
        for span, boxes in spans:
            first, last = round(span["start_s"] * RATE), round(span["end_s"] * RATE)
            assert [round(row[0] * RATE) for row in boxes] == list(range(first, last))
            assert all(warmth(images[round(row[0] * RATE)], row[1:]) > 40 for row in boxes)
            if first > 0:
                assert warmth(images[first - 1], boxes[0][1:]) < 40
            if last < len(images):
                assert warmth(images[last], boxes[-1][1:]) < 40


def loudest_turn(patch):
    """Which of the four textures has most energy at a period of about 4 px."""
    luma = patch.astype(float).mean(2)
    power = (
        abs(np.fft.fftshift(np.fft.fft2((luma - luma.mean()) * np.outer(*[np.hanning(len(luma))] * 2)))) ** 2
    )
    at = np.fft.fftshift(np.fft.fftfreq(len(luma)))
    ring = abs(np.hypot(at[:, None], at[None]) - 0.25) < 0.04
    angle = np.degrees(np.arctan2(at[:, None], at[None])) % 180
    away = [abs((angle - 45 * n + 90) % 180 - 90) for n in range(4)]
    return TEXTURES[int(np.argmax([power[ring & (a < 20)].sum() for a in away]))]


def test_event_and_decoy_carry_their_textures(decoded):
    for truth, images, _ in decoded:
        for texture, boxes in (
            (truth["texture"], truth["boxes"]),
            (truth["decoys"][0]["texture"], truth["decoys"][0]["boxes"]),
        ):
            for row in boxes[2::9]:
                patch, _ = glanceworld_leaks.look(images[round(row[0] * RATE)], row[1:])
                assert loudest_turn(patch) == texture


def tonality(wave, span):
    """Median over time of the highest peak over the median of the spectrum, dB."""
    part = wave[round(span["start_s"] * RATE_HZ) : round(span["end_s"] * RATE_HZ)]
    windows = np.lib.stride_tricks.sliding_window_view(part, 512)[::160] * np.hanning(512)
    power = abs(np.fft.rfft(windows))[:, 8:150] ** 2
    return 10 * np.log10(np.median(power.max(1) / np.median(power, 1)))


def test_the_sound_is_in_the_event_and_its_decoy_and_not_with_the_other_object(decoded):
    for truth, _, wave in decoded:
        seen, heard = truth["decoys"]
        quiet = tonality(wave, seen)
        assert tonality(wave, truth["event"]) > quiet + 3
        assert tonality(wave, heard) > quiet + 3


def test_every_half_second_is_equally_loud(decoded):
    for index, (_, _, wave) in enumerate(decoded):
        size = RATE_HZ // 2
        for sound, within in ((play(draw_script(SEED, index)), 0.3), (wave, 0.8)):
            whole = sound[: sound.size // size * size].reshape(-1, size).astype(np.float64)
            levels = 10 * np.log10((whole**2).mean(1)) - 20 * np.log10(LEVEL)
            assert np.abs(levels[:-1]).max() < within


def test_scenes_change_suddenly(decoded):
    for _, images, _ in decoded:
        small = np.array([image[::8, ::8].mean(2) for image in images])
        jumps = np.abs(np.diff(small, axis=0)).mean((1, 2)) > 15
        assert 2 <= jumps.sum() <= 14


# --- the parts -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("turn", [0, 45, 90, 135])
def test_a_grating_has_its_period_along_its_angle(turn):
    wave = grating(64, turn, 4.0, 0.3)
    along = np.array([np.cos(np.radians(turn)), np.sin(np.radians(turn))]) * 4
    if turn in (0, 90):
        dx, dy = np.rint(along).astype(int)
        assert np.allclose(wave[: 64 - dy, : 64 - dx], wave[dy:, dx:], atol=1e-4)
        assert np.ptp(wave) == pytest.approx(2, abs=0.2)
    across = (1, -1) if turn == 45 else (1, 1)
    if turn in (45, 135):
        shifted = np.roll(wave, across, (0, 1))[2:-2, 2:-2]
        assert np.allclose(shifted, wave[2:-2, 2:-2], atol=1e-4)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("side", [12, 56, 72])
def test_a_mask_fills_its_box_and_no_more(shape, side):
    cover = mask(shape, side, 0.0)
    assert cover.shape == (side, side)
    assert cover.min() >= 0
    assert cover.max() == 1
    assert 0.5 < cover.mean() < 0.99
    assert cover[0, 0] < 0.05


def test_contrast_and_blotches_are_as_strong_as_stated():
    script = draw_script(1, 0)
    sprite = thing_sprite(np.random.default_rng(0), script.thing)
    solid = sprite.alpha == 1
    light = sprite.luma[solid].astype(float) / 128
    expected = 219 * np.sqrt(0.1**2 / 2 + 0.06**2)
    assert light.std() == pytest.approx(expected, rel=0.12)


def test_a_sprite_is_blended_where_it_is_put_in_all_planes():
    scene = Scene(np.random.default_rng(0))
    script = draw_script(1, 0)
    sprite = thing_sprite(np.random.default_rng(0), script.thing)
    side = script.thing.side
    for x, y in ((60, 40), (61, 41), (60, 41)):
        canvas = scene.canvas.copy()
        before = canvas.picture()
        canvas.draw(sprite, x, y)
        after = canvas.picture()
        rows, columns = np.nonzero(before[:HEIGHT] != after[:HEIGHT])
        assert abs(rows.min() - y) <= 6
        assert abs(rows.max() + 1 - y - side) <= 6
        assert abs(columns.min() - x) <= 6
        assert abs(columns.max() + 1 - x - side) <= 6
        v = after[HEIGHT * 5 // 4 :].reshape(HEIGHT // 2, WIDTH // 2)
        centre = int(v[(y + side // 2) // 2, (x + side // 2) // 2])
        assert centre == pytest.approx(128 + script.thing.chroma[1], abs=1.5)


def test_a_sprite_out_of_sight_changes_nothing():
    scene = Scene(np.random.default_rng(0))
    sprite = thing_sprite(np.random.default_rng(0), draw_script(1, 0).thing)
    before = scene.canvas.picture()
    for x, y in ((-200, 0), (900, 10), (0, 700), (WIDTH + 1, 0), (0, -90)):
        scene.canvas.draw(sprite, x, y)
    assert (scene.canvas.picture() == before).all()


def pitch_track(wave):
    """Frequency of the strongest bin below 3 kHz in windows of 32 ms, every 10 ms."""
    windows = np.lib.stride_tricks.sliding_window_view(wave, 512)[::160] * np.hanning(512)
    return np.abs(np.fft.rfft(windows, 2048))[:, :380].argmax(1) * RATE_HZ / 2048


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("seed", range(4))
def test_a_pattern_moves_as_its_name_says_and_repeats_within_0_4_s(family, seed):
    wave = pattern(np.random.default_rng(seed), family, 3 * RATE_HZ)
    assert np.sqrt(np.mean(wave**2)) == pytest.approx(1, abs=1e-3)
    windows = np.lib.stride_tricks.sliding_window_view(wave, 512)[::80] * np.hanning(512)
    spectra = np.log(np.abs(np.fft.rfft(windows)) + 1)
    spectra -= spectra.mean(0)
    same = [np.sum(spectra[lag:-4] * spectra[: len(spectra) - lag - 4]) for lag in range(30, 90)]
    best = (30 + int(np.argmax(same))) * 80 / RATE_HZ
    assert 0.19 <= best <= 0.41
    assert max(same) > 0.7 * np.sum(spectra[:-90] ** 2)
    steps = np.diff(pitch_track(wave[2000:-2000]))
    up, down, still = (steps > 3).mean(), (steps < -3).mean(), (abs(steps) <= 3).mean()
    if family == "rising":
        assert up > 3 * down
    elif family == "falling":
        assert down > 3 * up
    elif family == "warble":
        assert 0.6 < up / down < 1.6
        assert still < 0.6
    else:
        assert still > 0.6


# --- leaks -----------------------------------------------------------------------------------------------------


def texture_clips(folder, count):
    """Short H.264 files with nothing but objects: (textures, source patches, glance crops) after decoding."""
    textures, patches, glances = [], [], []
    for index in range(count):
        script = draw_script(21, index)
        rng = stream(21, index, 1)
        sprite, scene = thing_sprite(rng, script.thing), Scene(rng)
        corners = script.thing.corners[:4]
        frames = []
        for x, y in corners:
            canvas = scene.canvas.copy()
            canvas.draw(sprite, int(x), int(y))
            frames.append(canvas.picture())
        path = write_mp4(folder / "clip.mp4", frames, rate=RATE, pixels="yuv420p", threads=1)
        x, y = (int(value) for value in corners[3])
        box = [x, y, x + script.thing.side, y + script.thing.side]
        patch, glance = glanceworld_leaks.look(list(glanceworld_leaks.decode(path))[3], box)
        textures.append(script.texture)
        patches.append(patch)
        glances.append(glance)
    return np.array(textures), np.array(patches), np.array(glances)


def test_the_source_shows_the_texture_and_the_glance_does_not(tmp_path):
    textures, patches, glances = texture_clips(tmp_path, 160)
    assert np.mean([loudest_turn(patch) == t for patch, t in zip(patches, textures, strict=True)]) >= 0.99
    groups = np.arange(len(textures))
    for features in (glanceworld_leaks.pixels(glances), glanceworld_leaks.spectra(glances)):
        assert glanceworld_leaks.accuracy(features, textures, groups) <= 0.35


@pytest.mark.slow
def test_nothing_tells_the_class_that_must_not(tmp_path):
    world = make_world(tmp_path / "w", videos=240, seed=31)
    evidence = glanceworld_leaks.examine(world)
    figures = {figure.name: figure for figure in glanceworld_leaks.leaks(evidence)}
    network = glanceworld_leaks.convolution(evidence)
    assert figures.pop("texture from the source patch").accuracy >= 0.99
    assert network.accuracy <= 0.35
    for name, figure in figures.items():
        bound = 0.35 if "glance" in name else figure.chance + figure.margin
        assert figure.accuracy <= bound, name
    sharper = glanceworld_leaks.convolution(evidence, lines=96)
    assert sharper.accuracy >= 0.6, "the network could not have found a leak"
