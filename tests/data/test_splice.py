"""Spliced videos: what the truth says is what is seen and heard, and nothing else tells it."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path

import av
import numpy as np
import pytest
from benchmarks import splice_leaks
from tests.data.splice_clips import CLASSES, hz_of, pitch, seen_in, write_clips

from avglance.data import splice
from avglance.data.glanceworld_sound import LEVEL
from avglance.data.records import read_dataset
from avglance.data.splice import Splice, make_plan, make_splice
from avglance.data.splice_script import draw_script
from avglance.data.splice_sound import FADE_S, RATE_HZ, SPREAD_DB
from avglance.data.splice_sources import choose_background, probe, read_clips, share_out
from avglance.errors import ArgumentError, DataError
from avglance.media import VideoReader

VIDEOS, SEED, FPS = 3, 5, 12.5
TOY = Splice(share=(0.15, 0.2), seconds=(10, 14), decoys="half", size=(96, 64))


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    return write_clips(tmp_path_factory.mktemp("clips"))


@pytest.fixture(scope="module")
def made(clips, tmp_path_factory):
    out = tmp_path_factory.mktemp("made") / "w"
    return make_splice(clips[0], out, videos=VIDEOS, seed=SEED, split="train", settings=TOY, workers=1)


@pytest.fixture(scope="module")
def decoded(made):
    """(truth, pictures, samples) of every video."""
    found = []
    for index in range(VIDEOS):
        video = made / "videos" / f"{index:06d}.mp4"
        truth = json.loads((made / "truth" / f"{index:06d}.json").read_text())
        with VideoReader(video, threads=1) as reader:
            count = round(truth["duration_s"] * FPS)
            images = [frame.image for _, frame in reader.frames_at([(n + 0.5) / FPS for n in range(count)])]
        found.append((truth, images, splice_leaks.listen(video)[0]))
    return found


@pytest.fixture(scope="module")
def plan(clips):
    return make_plan(clips[0], "train", TOY)


# --- what is seen and heard -----------------------------------------------------------------------


def test_every_picture_is_the_one_that_the_truth_names(clips, decoded):
    for truth, images, _ in decoded:
        at = 0
        for piece in truth["pieces"]:
            first, last = round(piece["start_s"] * FPS), round(piece["end_s"] * FPS)
            assert first == at
            at = last
            begin = round(piece["picture"]["start_s"] * 25)
            wanted = [(clips[1][piece["picture"]["file"]], begin + 2 * n) for n in range(last - first)]
            assert [seen_in(image) for image in images[first:last]] == wanted
        assert at == len(images)


def test_every_sound_is_the_one_that_the_truth_names(clips, decoded):
    heard = 0
    for truth, _, wave in decoded:
        for piece in truth["pieces"]:
            start, end = piece["start_s"] + FADE_S, piece["end_s"] - FADE_S
            if end - start > 0.1:
                tone = pitch(wave[round(start * RATE_HZ) : round(end * RATE_HZ)])
                assert tone == pytest.approx(hz_of(clips[1][piece["sound"]["file"]]), abs=15)
                heard += 1
    assert heard > 20


def test_a_cut_is_heard_where_it_is_seen(clips, decoded):
    """Before the middle of the fade the old tone is louder, after it the new one, to half a picture."""
    for truth, _, wave in decoded:
        for before, after in zip(truth["pieces"], truth["pieces"][1:], strict=False):
            names = before["sound"]["file"], after["sound"]["file"]
            tones = [hz_of(clips[1][name]) for name in names]
            shortest = min(p["end_s"] - p["start_s"] for p in (before, after))
            if names[0] == names[1] or shortest < 0.3:
                continue
            middle, louder = after["start_s"], []
            for at in (middle - 0.04, middle + 0.04):
                part = wave[round((at - 0.03) * RATE_HZ) : round((at + 0.03) * RATE_HZ)]
                turn = np.exp(-2j * np.pi * np.outer(tones, np.arange(part.size) / RATE_HZ))
                louder.append(int(np.argmax(abs(turn @ (part * np.hanning(part.size))))))
            assert louder == [0, 1]


def test_only_the_event_is_seen_and_heard_at_once(decoded):
    for truth, _, _ in decoded:
        assert truth["event"] == truth["events"][0]
        by_role = {decoy["kind"]: decoy for decoy in truth["decoys"]}
        assert set(by_role) == {"picture", "sound"}
        assert len({truth["label"], by_role["picture"]["label"], by_role["sound"]["label"]}) == 3
        assert {truth["label"], *(d["label"] for d in truth["decoys"])} <= set(CLASSES)
        lasting = [round(s["end_s"] - s["start_s"], 6) for s in (truth["event"], *truth["decoys"])]
        assert len(set(lasting)) == 1
        for piece in truth["pieces"]:
            shown, played = (piece[name]["file"].split("/")[0] for name in ("picture", "sound"))
            wanted = {
                "event": (truth["label"], truth["label"]),
                "background": ("behind", "behind"),
                "decoy_picture": (piece.get("label"), "behind"),
                "decoy_sound": ("behind", piece.get("label")),
            }
            assert (shown, played) == wanted[piece["role"]]
            if piece["role"] == "event":
                assert piece["picture"] == piece["sound"]
                assert piece["picture"]["file"].startswith(truth["group"].replace("/g", "/"))


def test_every_half_second_is_equally_loud_but_for_the_jitter(decoded):
    for _, _, wave in decoded:
        size = RATE_HZ // 2
        whole = wave[: wave.size // size * size].reshape(-1, size).astype(np.float64)
        levels = 10 * np.log10((whole**2).mean(1)) - 20 * np.log10(LEVEL)
        assert np.abs(levels[:-1]).max() < SPREAD_DB + 0.5
        assert np.abs(levels[:-1]).max() > SPREAD_DB / 2


def test_keyframes_come_every_two_seconds_and_not_at_cuts(made, decoded):
    for index, (truth, images, _) in enumerate(decoded):
        with av.open(str(made / "videos" / f"{index:06d}.mp4")) as box:
            assert (box.streams.video[0].codec_context.name, box.streams.audio[0].rate) == ("h264", 16_000)
            assert box.streams.video[0].average_rate == 12.5
            times = [float(p.pts * p.time_base) for p in box.demux(video=0) if p.is_keyframe]
        assert times == pytest.approx([2.0 * n for n in range(int(np.ceil(len(images) / 25)))])
        assert len(truth["pieces"]) > len(times)


# --- the draw -------------------------------------------------------------------------------------


def test_classes_and_groups_come_equally_often(plan):
    scripts = [draw_script(plan, 1, n) for n in range(120)]
    assert Counter(s.label for s in scripts) == dict.fromkeys(CLASSES, 40)
    assert set(Counter(s.group for s in scripts).values()) == {20}
    for s in scripts:
        share = sum(x.last - x.first for x in s.spans if x.role == "event") / s.frames
        assert 0.15 - 0.01 <= share <= 0.2
        assert 10 <= s.frames / FPS <= 14
        edges = [s.pieces[0].first, *(piece.last for piece in s.pieces)]
        assert [piece.first for piece in s.pieces] == edges[:-1]
        assert (edges[0], edges[-1]) == (0, s.frames)
        assert max(np.diff(edges)) <= plan.longest


def test_the_event_is_anywhere_and_before_its_decoys_as_often_as_after(plan):
    scripts = [draw_script(plan, 1, n) for n in range(300)]
    first = Counter(s.spans[0].role for s in scripts)
    assert min(first[role] for role in ("event", "decoy_picture", "decoy_sound")) > 75
    begins = np.array([next(x.first for x in s.spans if x.role == "event") / s.frames for s in scripts])
    assert np.histogram(begins, 4, (0, 0.85))[0].min() > 40


def test_pieces_of_an_event_are_as_long_as_those_of_the_background(plan):
    found = {role: [] for role in ("event", "decoy_picture", "background")}
    for n in range(300):
        for piece in draw_script(plan, 1, n).pieces:
            if piece.role in found:
                found[piece.role].append(piece.last - piece.first)
    means = {role: np.mean(some) / FPS for role, some in found.items()}
    assert means["event"] == pytest.approx(means["decoy_picture"], rel=0.03)
    assert means["event"] == pytest.approx(means["background"], rel=0.2)  # shorter where a gap is short


def test_a_long_video_has_several_spans_of_each_kind(clips):
    long = Splice(share=(0.2, 0.2), seconds=(200, 200), decoys="half", size=(96, 64))
    script = draw_script(make_plan(clips[0], "train", long), 1, 0)
    assert Counter(s.role for s in script.spans) == {"event": 3, "decoy_picture": 3, "decoy_sound": 3}
    assert len({(s.role, s.label) for s in script.spans}) == 3  # a role has one class in a video
    truth = script.truth()
    assert len(truth["events"]) == 3
    assert sum(e["end_s"] - e["start_s"] for e in truth["events"]) == pytest.approx(40)


def test_a_seed_and_a_split_have_their_own_videos(plan, clips):
    other = make_plan(clips[0], "test", TOY)
    truths = [draw_script(p, seed, 0).truth() for p, seed in ((plan, 1), (plan, 2), (other, 1))]
    assert len({json.dumps(t) for t in truths}) == 3
    assert draw_script(plan, 1, 0).truth() == truths[0]


def test_training_and_test_share_no_file(clips):
    plans = [make_plan(clips[0], split, TOY) for split in ("train", "test")]
    for part in ("clips", "background"):
        names = [{clip.name for clip in getattr(p, part)} for p in plans]
        assert not names[0] & names[1]
        assert all(names)
    groups = [{clip.group for clip in p.clips} for p in plans]
    assert not groups[0] & groups[1]
    assert [len(p.background) for p in plans] == [4, 2]  # one of four with sound is test, one of two without
    assert plans[0].longest == plans[1].longest


# --- the folder -----------------------------------------------------------------------------------


def test_every_class_is_in_both_parts_or_that_is_said(clips):
    parts = [make_plan(clips[0], split, TOY) for split in ("validation", "fit")]
    for part in parts:
        assert {clip.label for clip in part.clips} == set(CLASSES)
    groups = [{clip.group for clip in (*part.clips, *part.background)} for part in parts]
    assert not groups[0] & groups[1]
    table = clips[0].with_name("few.csv")
    lines = clips[0].read_text().splitlines()
    table.write_text("\n".join(line for line in lines if not line.startswith("ring/2")))
    assert len(make_plan(table, "train", TOY).clips) == len(make_plan(clips[0], "train", TOY).clips) - 2
    with pytest.raises(DataError, match="ring has no group for validation") as error:
        make_plan(table, "validation", TOY)
    assert "two groups of a class" in error.value.hint


def test_the_folder_is_a_dataset(made, plan):
    dataset = read_dataset(made)
    assert (dataset.kind, dataset.classes, len(dataset)) == ("splice", CLASSES, VIDEOS)
    assert "rights hold" in dataset.world["license"]
    assert dataset.world["background"] == [clip.name for clip in plan.background]
    for n, record in enumerate(dataset.records):
        truth = draw_script(plan, SEED, n).truth()
        assert record.group == truth["group"]
        assert record.labels == (truth["label"],)
        assert record.truth.span == (truth["event"]["start_s"], truth["event"]["end_s"])
        assert len(record.truth.decoys) == 2


def test_a_broken_run_is_gone_on_with_by_any_number_of_processes(clips, made, tmp_path):
    folder = Path(shutil.copytree(made, tmp_path / "w"))
    (folder / "truth" / "000001.json").unlink()
    (folder / "videos" / "000002.mp4").unlink()
    (folder / "manifest.jsonl").unlink()
    kept = (folder / "videos" / "000000.mp4").stat().st_mtime_ns
    told = []
    make_splice(
        clips[0],
        folder,
        videos=VIDEOS,
        seed=SEED,
        split="train",
        settings=TOY,
        workers=2,
        progress=lambda *at: told.append(at),
    )
    assert told == [(2, 3), (3, 3)]
    assert (folder / "videos" / "000000.mp4").stat().st_mtime_ns == kept
    for name in ("manifest.jsonl", "dataset.json", *(f"truth/{n:06d}.json" for n in range(VIDEOS))):
        assert (folder / name).read_bytes() == (made / name).read_bytes()


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"seed": SEED + 1}, "seed"),
        ({"split": "test"}, "split"),
        ({"settings": Splice(share=(0.15, 0.2), seconds=(10, 14), size=(96, 64))}, "options"),
        ({"background": ["ring"]}, "clips_sha256"),
    ],
)
def test_a_folder_begun_otherwise_is_refused(clips, made, changes, named):
    if "background" in changes:
        changes = changes | {"settings": Splice(share=(0.15, 0.2), seconds=(10, 14), size=(96, 64))}
        named = "options"
    asked = {"videos": VIDEOS, "seed": SEED, "split": "train", "settings": TOY, "workers": 1} | changes
    with pytest.raises(DataError, match=f"begun with {named}"):
        make_splice(clips[0], made, **asked)


def test_changed_clips_are_noticed(clips, made, tmp_path):
    table = Path(shutil.copytree(clips[0].parent, tmp_path / "c")) / "clips.csv"
    lines = table.read_text().splitlines()
    table.write_text("\n".join(line for line in lines if "blow/1_1" not in line))
    with pytest.raises(DataError, match="begun with clips_sha256"):
        make_splice(table, made, videos=VIDEOS, seed=SEED, split="train", settings=TOY, workers=1)


def test_what_cannot_be_made_is_an_error_before_anything_is_written(clips, tmp_path):
    out = tmp_path / "w"
    for bad in ({"videos": 0}, {"videos": -1, "unknown": 2}, {"seed": -1}, {"workers": 0}, {"split": "val"}):
        asked = {"videos": 1, "seed": 1, "split": "train", "settings": TOY, "workers": 1} | bad
        with pytest.raises(ArgumentError, match=next(iter(bad))):
            make_splice(clips[0], out, **asked)
    with pytest.raises(ArgumentError, match="three classes, train has 2"):
        make_splice(
            clips[0], out, videos=1, seed=1, split="train", settings=TOY, background=["ring"], workers=1
        )
    assert not out.exists()
    (tmp_path / "file").write_text("mine")
    with pytest.raises(DataError, match="cannot be made: Not a directory"):
        make_splice(clips[0], tmp_path / "file" / "w", videos=1, seed=1, split="train", settings=TOY)


def test_a_failure_leaves_no_manifest_and_no_half_file(clips, tmp_path, monkeypatch):
    def broken(script, sound_of):
        raise OSError("no space left")

    monkeypatch.setattr(splice, "mix", broken)
    with pytest.raises(OSError, match="no space"):
        make_splice(clips[0], tmp_path / "w", videos=1, seed=1, split="train", settings=TOY, workers=1)
    assert [p.name for p in (tmp_path / "w").rglob("*") if p.is_file()] == ["dataset.json"]


# --- real clips -----------------------------------------------------------------------------------


def test_real_clips_are_shared_out_as_said(shared_data):
    rows = read_clips(shared_data / "clips" / "clips.csv")
    events, behind = choose_background(rows, [])
    assert Counter(clip.split for clip in events) == {"train": 246, "test": 98}
    assert len({clip.label for clip in events}) == 7
    probed = [part for clip in behind for part in probe(clip)]
    both = [share_out(probed, split) for split in ("train", "test")]
    assert [len(some) for some in both] == [18, 9]
    assert [sum(clip.sounds for clip in some) for some in both] == [13, 6]


@pytest.mark.slow
def test_nothing_tells_when_that_must_not(shared_data, tmp_path):
    table = shared_data / "clips" / "clips.csv"
    out = make_splice(table, tmp_path / "w", videos=42, seed=3, split="train", settings=Splice(size=(64, 48)))
    evidence = splice_leaks.examine(out)
    assert all(e.on_grid for e in evidence)
    assert min(e.loudness.min() for e in evidence) > splice_leaks.QUIET_DB
    figures = {figure.name: figure for figure in splice_leaks.areas(evidence)}
    for kind in ("linear", "trees"):
        figure = figures[f"event or not from loudness, {kind} (AUC)"]
        assert abs(figure.value - 0.5) < max(figure.margin, 0.08)
        assert figures[f"event or not from spectrum of the sound, {kind} (AUC)"].value > 0.6
