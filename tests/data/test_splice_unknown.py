"""Spliced videos without an event: labelled unknown, and told from the others by what is there alone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from benchmarks import splice_leaks
from tests.data.splice_clips import CLASSES, hz_of, pitch, seen_in, write_clips

from avglance.data.records import read_dataset
from avglance.data.splice import Splice, make_plan, make_splice
from avglance.data.splice_script import draw_script
from avglance.data.splice_sound import FADE_S, RATE_HZ
from avglance.media import VideoReader

SEED, FPS = 5, 12.5
TOY = Splice(share=(0.15, 0.2), seconds=(10, 14), decoys="half", size=(96, 64))
ASKED = {"seed": SEED, "split": "train", "settings": TOY, "workers": 1}


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    return write_clips(tmp_path_factory.mktemp("clips"))


@pytest.fixture(scope="module")
def plain(clips, tmp_path_factory):
    """One video of a class."""
    return make_splice(clips[0], tmp_path_factory.mktemp("plain") / "w", videos=1, **ASKED)


@pytest.fixture(scope="module")
def strange(clips, tmp_path_factory):
    """A folder with one video of a class and two without an event."""
    out = tmp_path_factory.mktemp("strange") / "w"
    return make_splice(clips[0], out, videos=1, unknown=2, **ASKED)


def test_videos_without_an_event_leave_the_others_as_they_are(plain, strange):
    for name in ("videos/000000.mp4", "truth/000000.json"):
        assert (strange / name).read_bytes() == (plain / name).read_bytes()
    lines = [(folder / "manifest.jsonl").read_text().splitlines() for folder in (plain, strange)]
    assert (lines[0], len(lines[1])) == (lines[1][:1], 3)
    cards = [json.loads((folder / "dataset.json").read_text()) for folder in (plain, strange)]
    assert cards[1].pop("unknown") == 2
    assert cards[0] == cards[1]


def test_videos_without_an_event_are_unknown_to_a_reader(strange):
    dataset = read_dataset(strange)
    assert [r.unknown for r in dataset.records] == [False, True, True]
    assert [r.truth is None for r in dataset.records] == [False, True, True]
    assert [r.path.name for r in dataset.records[1:]] == ["unknown_000000.mp4", "unknown_000001.mp4"]
    assert dataset.classes == CLASSES
    assert dataset.labels_told.endswith("2 more show none (unknown)")


def test_no_class_is_both_seen_and_heard_without_an_event(clips, strange):
    for n in range(2):
        truth = json.loads((strange / "truth" / f"unknown_{n:06d}.json").read_text())
        assert (truth["label"], truth["events"], "event" in truth) == ("unknown", [], False)
        assert {d["kind"] for d in truth["decoys"]} == {"picture", "sound"}
        assert len({d["label"] for d in truth["decoys"]}) == 2
        assert {p["role"] for p in truth["pieces"]} == {"background", "decoy_picture", "decoy_sound"}
        for piece in truth["pieces"]:
            shown, played = (piece[name]["file"].split("/")[0] for name in ("picture", "sound"))
            assert "behind" in (shown, played)
        video = strange / "videos" / f"unknown_{n:06d}.mp4"
        wave = splice_leaks.listen(video)[0]
        with VideoReader(video, threads=1) as reader:
            times = [(i + 0.5) / FPS for i in range(round(truth["duration_s"] * FPS))]
            images = [frame.image for _, frame in reader.frames_at(times)]
        for piece in truth["pieces"]:
            first, last = (round(piece[edge] * FPS) for edge in ("start_s", "end_s"))
            number = clips[1][piece["picture"]["file"]]
            assert {seen_in(image)[0] for image in images[first:last]} == {number}
            start, end = piece["start_s"] + FADE_S, piece["end_s"] - FADE_S
            if end - start > 0.1:
                tone = pitch(wave[round(start * RATE_HZ) : round(end * RATE_HZ)])
                assert tone == pytest.approx(hz_of(clips[1][piece["sound"]["file"]]), abs=15)


def test_lengths_and_cuts_do_not_tell_what_is_unknown(clips):
    """Drawn by one law: means of so many draws agree to a few standard errors."""
    for settings in (TOY, Splice(share=(0.15, 0.2), seconds=(10, 14), size=(96, 64))):
        plan = make_plan(clips[0], "train", settings)
        told = []
        for unknown in (False, True):
            scripts = [draw_script(plan, 1, n, unknown=unknown) for n in range(400)]
            lengths = [[p.last - p.first for p in s.pieces] for s in scripts]
            told.append(
                np.array(
                    [
                        [s.frames, len(x), max(x), min(x), np.std(x)]
                        for s, x in zip(scripts, lengths, strict=True)
                    ]
                )
            )
        error = np.sqrt(sum(some.var(0) / len(some) for some in told))
        assert (abs(told[0].mean(0) - told[1].mean(0)) < 4 * error + 1e-9).all()
        roles = {p.role for s in scripts for p in s.pieces}
        halves = {"decoy_picture", "decoy_sound"} if settings.decoys == "half" else set()
        assert roles == {"background"} | halves


def test_unknown_videos_may_stand_alone_and_both_kinds_may_grow(clips, strange, tmp_path):
    folder = Path(shutil.copytree(strange, tmp_path / "w"))
    (folder / "videos" / "unknown_000001.mp4").unlink()
    kept = (folder / "videos" / "unknown_000000.mp4").read_bytes()
    told = []
    make_splice(clips[0], folder, videos=0, unknown=2, **ASKED, progress=lambda *at: told.append(at))
    assert told == [(2, 2)]
    assert [r.unknown for r in read_dataset(folder).records] == [True, True]
    assert (folder / "videos" / "unknown_000000.mp4").read_bytes() == kept
    again = folder / "videos" / "unknown_000001.mp4"
    assert again.read_bytes() == (strange / "videos" / again.name).read_bytes()
    make_splice(clips[0], folder, videos=1, unknown=2, **ASKED)
    for name in ("manifest.jsonl", "dataset.json"):
        assert (folder / name).read_bytes() == (strange / name).read_bytes()
