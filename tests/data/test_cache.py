"""The cache holds what a view of the files would have given, and is never used for anything else."""

from __future__ import annotations

import dataclasses
import json
import os
import wave
from concurrent.futures.process import BrokenProcessPool

import numpy as np
import pytest

from avglance.data import cache as room
from avglance.data.cache import Cache, build_cache, cache_key
from avglance.data.records import read_dataset
from avglance.errors import ArgumentError, DataError
from avglance.media import write_mp4
from avglance.views import SILENCE, FileView, ViewSettings, logmel

SIDE, RATE, SECONDS = 96, 12, 6
VIEW = ViewSettings(snippets=4, resize_side=64, source_side=64, glance_side=32, patch_side=32)


def write_clip(path, *, seed=0, sound=True):
    """Each picture is a smooth ramp whose level rises with time, so that a picture tells its second."""
    ramp = np.linspace(0, 60, SIDE)[None, :, None] + np.zeros((SIDE, SIDE, 3))
    frames = [np.uint8(ramp + 2 * n + seed) for n in range(SECONDS * RATE)]
    t = np.arange(SECONDS * 16_000) / 16_000
    wave = (0.3 * np.sin(2 * np.pi * 440 * t)).astype(np.float32) if sound else None
    return write_mp4(path, frames, rate=RATE, sound=wave, crf=10)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    write_clip(root / "a.mp4")
    write_clip(root / "b.mp4", seed=40, sound=False)
    write_clip(root / "c.mp4", seed=20)
    rows = [{"path": f"{n}.mp4", "labels": [label]} for n, label in (("a", "x"), ("b", "y"), ("c", "x"))]
    (root / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return root


@pytest.fixture(scope="module")
def dataset(folder):
    return read_dataset(folder)


@pytest.fixture(scope="module")
def built(dataset, tmp_path_factory):
    home = tmp_path_factory.mktemp("cache")
    told = []
    found = build_cache(dataset, VIEW, home, workers=1, progress=lambda *now: told.append(now))
    return home, found, told


def test_the_work_is_told_and_done_once(built, dataset):
    home, found, told = built
    assert (found.made, found.found, found.broken) == (3, 0, {})
    assert told == [(0, 3), (1, 3), (2, 3), (3, 3)]
    again = build_cache(dataset, VIEW, home, workers=1)
    assert (again.made, again.found) == (0, 3)
    assert not list(found.folder.glob("*.part"))


def test_centres_equal_the_view_that_inference_uses(built, dataset):
    cache = Cache(dataset, VIEW, built[0])
    assert len(cache) == 3
    places = np.array([(b, t) for b in range(3) for t in range(4)])
    with FileView([record.path for record in dataset.records], VIEW) as view:
        sounds = view.sounds(places).reshape(3, 4, 1, 96, 64)
        view.pictures(places)
        for b in range(3):
            item = cache.item(b)
            assert np.allclose(item["times"], view.times[b])
            assert np.array_equal(item["visible"], view.visible[b])
            assert np.array_equal(item["audible"], view.audible[b])
            assert np.abs(item["sounds"] - sounds[b]).max() < 0.005  # float16
            for t in range(4):
                error = np.abs(item["pictures"][t].astype(int) - view.square(b, t))
                assert error.mean() < 1.0  # JPEG
                assert error.max() < 12
    assert cache.item(0)["audible"].all()
    assert not cache.item(1)["audible"].any()
    assert np.allclose(cache.item(1)["sounds"], SILENCE, atol=0.005)


def test_the_sound_is_the_planted_one(built, dataset):
    item = Cache(dataset, VIEW, built[0]).item(0)
    t = np.arange(15_600) / 16_000
    tone = logmel((0.3 * np.sin(2 * np.pi * 440 * t)).astype(np.float32)[None])[0]
    assert item["sounds"][1, 0].mean(0).argmax() == tone.mean(0).argmax()


def test_types_and_shapes(built, dataset):
    item = Cache(dataset, VIEW, built[0]).item(2, np.random.default_rng(0), translate_px=3)
    kinds = {name: (value.dtype.name, value.shape) for name, value in item.items()}
    assert kinds == {
        "pictures": ("uint8", (4, 3, 64, 64)),
        "sounds": ("float32", (4, 1, 96, 64)),
        "visible": ("bool", (4,)),
        "audible": ("bool", (4,)),
        "times": ("float64", (4,)),
        "targets": ("float32", (2,)),
    }
    assert item["targets"].tolist() == [1.0, 0.0]


def test_training_draws_the_middles_of_thirds(built, dataset):
    cache = Cache(dataset, VIEW, built[0])
    length = SECONDS / 4
    grid = (np.arange(4)[:, None] + np.array([1 / 6, 1 / 2, 5 / 6])) * length
    levels, met = {}, np.zeros((4, 3), int)
    for n in range(40):
        item = cache.item(0, np.random.default_rng(n))
        for t in range(4):
            near = np.abs(grid[t] - item["times"][t])
            assert near.min() < 0.05
            met[t, near.argmin()] += 1
            levels.setdefault(round(float(item["times"][t]), 2), item["pictures"][t].mean())
    assert met.min() >= 4  # each of the three, everywhere
    ordered = [levels[time] for time in sorted(levels)]
    assert len(ordered) == 12
    assert np.all(np.diff(ordered) > 4)  # pictures belong to their times: the level rises


def test_an_item_is_a_function_of_its_generator(built, dataset):
    cache = Cache(dataset, VIEW, built[0])
    one, same, other = (cache.item(0, np.random.default_rng(s), translate_px=4) for s in (1, 1, 2))
    assert np.array_equal(one["pictures"], same["pictures"])
    assert not np.array_equal(one["pictures"], other["pictures"])
    still = cache.item(0, None, translate_px=4)
    assert np.array_equal(still["pictures"], cache.item(0)["pictures"])


def test_translation_stays_within_its_bound(built, dataset):
    cache = Cache(dataset, VIEW, built[0])
    ramp = cache.item(0)["pictures"][:, 0, 32].astype(float)  # brightness rises along the row
    slope = (ramp[:, -1] - ramp[:, 0]) / 63
    moves = []
    for n in range(30):
        rng = np.random.default_rng(n)
        drawn = cache.item(0, rng, translate_px=6)
        plain = cache.item(0, np.random.default_rng(n), translate_px=0)
        change = plain["pictures"][:, 0, 32, 32].astype(float) - drawn["pictures"][:, 0, 32, 32]
        moves += (change / slope).tolist()
    assert 4 < max(moves) < 9
    assert -9 < min(moves) < -4


def test_two_processes_make_the_same(built, dataset, tmp_path):
    found = build_cache(dataset, VIEW, tmp_path, workers=2)
    assert found.made == 3
    one, two = Cache(dataset, VIEW, built[0]), Cache(dataset, VIEW, tmp_path)
    for i in range(3):
        a, b = one.item(i), two.item(i)
        assert all(np.array_equal(a[name], b[name]) for name in a)


def test_a_build_goes_on_where_it_stopped(dataset, tmp_path, monkeypatch):
    def stop(done, total):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_cache(dataset, VIEW, tmp_path, workers=1, progress=stop)
    home = tmp_path / cache_key(dataset, VIEW)
    left, fresh = (home / f"0000002.safetensors.{name}.part" for name in ("left", "fresh"))
    left.write_bytes(b"half")
    fresh.write_bytes(b"of another build that runs now")
    os.utime(left, (0, 0))
    made = []
    make = room._make_entry
    monkeypatch.setattr(room, "_make_entry", lambda *a: made.append(a[1]) or make(*a))
    found = build_cache(dataset, VIEW, tmp_path, workers=1)
    assert (found.made, found.found) == (1, 2)
    assert made == [str(dataset.records[2].path)]
    assert list(home.glob("*.part")) == [fresh]


def test_two_builds_at_once_leave_one_whole_cache(dataset, tmp_path):
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(2) as pool:
        builds = [pool.submit(build_cache, dataset, VIEW, tmp_path, workers=1) for _ in range(2)]
        assert all(not build.result().broken for build in builds)
    cache = Cache(dataset, VIEW, tmp_path)
    assert len(cache) == len(dataset)
    assert not list(cache.folder.glob("*.part"))
    assert all(cache.item(n)["visible"].any() for n in range(len(cache)))


@pytest.mark.parametrize("workers", [1, 2])
def test_unpacked_pictures_are_the_same_to_the_bit(dataset, built, tmp_path, workers):
    packed = Cache(dataset, VIEW, built[0])
    build_cache(dataset, VIEW, tmp_path, workers=1)
    assert not list(tmp_path.glob("*/*.pixels"))
    found = build_cache(dataset, VIEW, tmp_path, workers=workers, unpack=True)
    assert (found.made, found.found) == (3, 0)  # each lacked its pixels
    assert build_cache(dataset, VIEW, tmp_path, workers=1, unpack=True).found == 3
    raw = Cache(dataset, VIEW, tmp_path)
    assert len(list(raw.folder.glob("*.pixels"))) == 3
    for n in range(3):
        for rng, px in ((None, 0), (7, 0), (7, 5)):
            draws = [None if rng is None else np.random.default_rng(rng) for _ in range(2)]
            one, other = (c.item(n, d, translate_px=px) for c, d in zip((packed, raw), draws, strict=True))
            assert all(np.array_equal(one[name], other[name]) for name in one)


def test_unpacked_pictures_are_read_in_place_of_the_jpegs_and_made_anew_with_them(dataset, tmp_path):
    build_cache(dataset, VIEW, tmp_path, workers=1, unpack=True)
    cache = Cache(dataset, VIEW, tmp_path)
    before = cache.item(0)["pictures"]
    pixels, entry = (sorted(cache.folder.glob(f"*.{end}"))[0] for end in ("pixels", "safetensors"))
    pixels.write_bytes(bytes(pixels.stat().st_size))
    assert not cache.item(0)["pictures"].any()
    pixels.write_bytes(b"cut")  # of another size: not what it should be
    assert np.array_equal(cache.item(0)["pictures"], before)
    entry.unlink()
    assert build_cache(dataset, VIEW, tmp_path, workers=1).made == 1
    assert not pixels.exists()  # what was there was of the entry before
    build_cache(dataset, VIEW, tmp_path, workers=1, unpack=True)
    assert np.array_equal(cache.item(0)["pictures"], before)


def test_what_a_full_disk_broke_off_takes_no_room(dataset, tmp_path, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(DataError, match="No space left"):
        build_cache(dataset, VIEW, tmp_path, workers=1)
    assert not list((tmp_path / cache_key(dataset, VIEW)).glob("*.part"))


@pytest.mark.parametrize("damage", ["cut", "gone", "no metadata", "no number", "of another shape"])
def test_facts_and_items_of_a_damaged_entry_are_errors_that_name_it(dataset, tmp_path, damage):
    from safetensors.numpy import load_file, save_file

    build_cache(dataset, VIEW, tmp_path, workers=1)
    cache = Cache(dataset, VIEW, tmp_path)
    entry = sorted(cache.folder.glob("*.safetensors"))[1]
    arrays = load_file(entry)
    if damage == "cut":
        entry.write_bytes(entry.read_bytes()[:99])
    elif damage == "gone":
        entry.unlink()
    elif damage == "no metadata":
        save_file(arrays, entry)
    elif damage == "no number":
        save_file(arrays, entry, metadata={"width": "x", "height": "1"})
    else:
        arrays["duration_s"] = arrays["duration_s"][:0]
        arrays["sounds"] = arrays["sounds"][..., 1:].copy()
        save_file(arrays, entry, metadata={"width": "1", "height": "1"})
    with pytest.raises(DataError, match="cannot be read") as error:
        cache.facts(1)
    assert error.value.where == str(entry)
    if damage in ("cut", "gone", "of another shape"):
        with pytest.raises(DataError, match="cannot be read"):
            cache.item(1)


@pytest.mark.parametrize(
    "change", [{"snippets": 5}, {"source_side": 48}, {"fit": "letterbox"}, {"grid": "keyframe"}]
)
def test_a_cache_of_another_view_is_not_used(built, dataset, change):
    other = dataclasses.replace(VIEW, **change)
    with pytest.raises(DataError, match="no cache of this dataset and these settings"):
        Cache(dataset, other, built[0])


def test_the_glance_and_the_patch_do_not_matter_to_the_cache(built, dataset):
    Cache(dataset, dataclasses.replace(VIEW, glance_side=16, patch_side=24), built[0])


def test_a_cache_of_another_dataset_is_not_used(built, dataset):
    with pytest.raises(DataError):
        Cache(dataclasses.replace(dataset, sha256="0" * 64), VIEW, built[0])


def test_a_file_that_changed_in_place_is_read_again(dataset, tmp_path, folder):
    build_cache(dataset, VIEW, tmp_path, workers=1)
    path = dataset.records[2].path
    before = path.read_bytes()
    try:
        path.write_bytes(before[:-4] + bytes(4))  # the same size, other contents
        found = build_cache(dataset, VIEW, tmp_path, workers=1)
    finally:
        path.write_bytes(before)
    assert (found.made, found.found) == (1, 2)


def test_a_damaged_entry_is_made_again_and_never_read(dataset, tmp_path):
    build_cache(dataset, VIEW, tmp_path, workers=1)
    entry = tmp_path / cache_key(dataset, VIEW) / "0000001.safetensors"
    entry.write_bytes(entry.read_bytes()[:200])
    with pytest.raises(DataError, match="cannot be read") as error:
        Cache(dataset, VIEW, tmp_path).item(1)
    assert error.value.where == str(entry)
    assert build_cache(dataset, VIEW, tmp_path, workers=1).made == 1
    assert Cache(dataset, VIEW, tmp_path).item(1)["visible"].all()


@pytest.fixture
def broken(folder, tmp_path):
    for name in ("a.mp4", "c.mp4"):
        os.link(folder / name, tmp_path / name)
    (tmp_path / "b.mp4").write_text("this is no video at all " * 20)
    rows = [{"path": f"{n}.mp4", "labels": [label]} for n, label in (("a", "x"), ("b", "y"), ("c", "x"))]
    (tmp_path / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return read_dataset(tmp_path)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_broken_video_is_named_after_all_others_were_made(broken, tmp_path, workers):
    home = tmp_path / f"cache{workers}"
    with pytest.raises(DataError, match=r"1 of 3 videos cannot be read: .*b\.mp4") as error:
        build_cache(broken, VIEW, home, workers=workers)
    assert "--skip-broken" in error.value.hint
    found = build_cache(broken, VIEW, home, workers=1, skip_broken=True)
    assert (found.made, found.found, list(found.broken)) == (0, 2, [1])
    cache = Cache(broken, VIEW, home)
    assert [record.path.name for record in cache.records] == ["a.mp4", "c.mp4"]
    assert cache.item(1)["targets"].tolist() == [1.0, 0.0]
    assert cache.facts(1) == (pytest.approx(SECONDS, abs=0.1), SIDE, SIDE)


def test_the_entry_of_a_file_that_broke_later_is_not_used(folder, tmp_path):
    for name in ("a.mp4", "c.mp4"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    rows = [{"path": f"{n}.mp4", "labels": ["x"]} for n in "ac"]
    (tmp_path / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    dataset, home = read_dataset(tmp_path), tmp_path / "cache"
    build_cache(dataset, VIEW, home, workers=1)
    (tmp_path / "a.mp4").write_bytes(b"?" * (tmp_path / "a.mp4").stat().st_size)
    assert list(build_cache(dataset, VIEW, home, workers=1, skip_broken=True).broken) == [0]
    assert [record.path.name for record in Cache(dataset, VIEW, home).records] == ["c.mp4"]


def test_nothing_but_broken_videos_is_an_error_whatever_was_asked(tmp_path):
    (tmp_path / "b.mp4").write_text("no video")
    (tmp_path / "manifest.jsonl").write_text('{"path": "b.mp4", "labels": ["x"]}\n')
    with pytest.raises(DataError, match="1 of 1"):
        build_cache(read_dataset(tmp_path), VIEW, tmp_path / "cache", workers=1, skip_broken=True)


def test_wrong_arguments(dataset, tmp_path):
    with pytest.raises(ArgumentError, match="workers=0"):
        build_cache(dataset, VIEW, tmp_path, workers=0)
    (tmp_path / "file").write_text("x")
    with pytest.raises(DataError, match="cannot be written"):
        build_cache(dataset, VIEW, tmp_path / "file", workers=1)


def test_sound_without_pictures_is_kept_as_such(tmp_path):
    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes((np.random.default_rng(0).standard_normal(64_000) * 3000).astype("<i2").tobytes())
    (tmp_path / "manifest.jsonl").write_text('{"path": "a.wav", "labels": ["x"]}\n')
    dataset = read_dataset(tmp_path)
    build_cache(dataset, VIEW, tmp_path / "cache", workers=1)
    item = Cache(dataset, VIEW, tmp_path / "cache").item(0, np.random.default_rng(0), translate_px=4)
    assert not item["visible"].any()
    assert not item["pictures"].any()
    assert item["audible"].all()
    assert np.ptp(item["sounds"]) > 1


def test_a_worker_that_dies_is_named(dataset, tmp_path, monkeypatch):
    def dying(*args):
        raise BrokenProcessPool("killed")
        yield

    monkeypatch.setattr(room, "_work", dying)
    with pytest.raises(DataError, match="process of the cache died"):
        build_cache(dataset, VIEW, tmp_path, workers=2)


def test_a_full_disk_is_named(dataset, tmp_path, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(room, "_make_entry", full)
    with pytest.raises(DataError, match=r"cannot be written .*No space left") as error:
        build_cache(dataset, VIEW, tmp_path, workers=1)
    assert "--cache" in error.value.hint


def test_all_frames_are_decoded_once(folder, monkeypatch):
    """Three candidates a snippet, and yet one forward pass."""
    counted = []
    close = FileView.close

    def closing(self):
        counted.append((int(self.frames_delivered[0]), int(self.frames_decoded[0])))
        close(self)

    monkeypatch.setattr(FileView, "close", closing)
    room._look(str(folder / "a.mp4"), VIEW)
    assert counted[0][0] == 12
    assert counted[0][1] <= SECONDS * RATE
