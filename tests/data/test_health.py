"""What is planted in a dataset is found: broken files, doubles, leaks, small classes, spans past the end."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from avglance.data.health import check_dataset
from avglance.data.records import read_dataset
from avglance.errors import ArgumentError, DataError
from avglance.media import write_mp4


def clip(path, *, seed=0, sound=True, seconds=2):
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    frames = rng.integers(0, 255, (seconds * 5, 32, 32, 3), dtype=np.uint8)
    wave = rng.standard_normal(seconds * 16_000).astype(np.float32) / 9
    write_mp4(path, frames, rate=5, sound=wave if sound else None)
    return path


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Six clips of different contents; the last is silent for want of a track."""
    home = tmp_path_factory.mktemp("clips")
    return [clip(home / f"{n}.mp4", seed=n, sound=n != 5) for n in range(6)]


def table(folder, rows):
    (folder / "list.csv").write_text("path,label,start_s,end_s,group,split\n" + "\n".join(rows) + "\n")
    return read_dataset(folder / "list.csv")


def by_kind(found):
    kinds = {}
    for one in found.findings:
        kinds.setdefault(one.kind, []).append((one.text, one.files))
    return kinds


def test_a_good_dataset_has_no_finding(tmp_path, clips):
    for n, path in enumerate(clips[:5]):
        shutil.copy(path, tmp_path / f"{n}.mp4")
    found = check_dataset(table(tmp_path, [f"{n}.mp4,rain,0,2,," for n in range(5)]), workers=2)
    assert found.findings == ()
    assert [state.verdict for state in found.states] == ["ok"] * 5
    assert all(state.heard and 1.9 < state.duration_s < 2.2 for state in found.states)
    assert found.classes == {"rain": {"": 5}}


def test_what_is_planted_is_found(tmp_path, clips):
    for n, path in enumerate(clips):
        shutil.copy(path, tmp_path / f"{n}.mp4")
    shutil.copy(clips[0], tmp_path / "again.mp4")
    shutil.copy(clips[1], tmp_path / "other.mp4")
    (tmp_path / "page.mp4").write_bytes(b"<html>")
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "void.mp4").write_bytes(b"")
    raw = clips[2].read_bytes()
    (tmp_path / "cut.mp4").write_bytes(raw[: len(raw) // 2])
    rows = [
        "0.mp4,rain,,,,train",
        "again.mp4,rain,,,,test",
        "1.mp4,rain,,,,train",
        "other.mp4,wind,,,,train",
        "2.mp4,rain,1,9,room,train",
        "3.mp4,rain,,,room,test",
        "4.mp4,wind,,,,train",
        "5.mp4,rain,,,,train",
        "page.mp4,rain,,,,train",
        "empty.mp4,wind,,,,train",
        "void.mp4,wind,,,,train",
        "cut.mp4,wind,,,,train",
    ]
    seen = []
    found = check_dataset(table(tmp_path, rows), workers=2, progress=lambda path, bad: seen.append(bad))
    kinds = by_kind(found)
    assert {files[0] for _, files in kinds["broken"]} >= {"page.mp4", "empty.mp4", "void.mp4"}
    assert "cut.mp4" in {files[0] for kind in ("broken", "damaged") for _, files in kinds.get(kind, [])}
    assert ("one file in test and train", ("0.mp4", "again.mp4")) in kinds["leak"]
    assert ("group room is in test and train", ("2.mp4", "3.mp4")) in kinds["leak"]
    assert kinds["double"] == [
        ("the same file 2 times, with different labels (rain, wind)", ("1.mp4", "other.mp4"))
    ]
    assert kinds["missing_class"] == [("wind has no video in test", ())]
    assert "tiny" not in kinds  # five of each to train on
    assert kinds["past_end"][0][1] == ("2.mp4",)
    assert found.states[7].heard is False
    assert len(seen) == len(rows)
    assert sum(seen) >= 3


def test_small_classes_are_told(tmp_path, clips):
    for n, path in enumerate(clips):
        shutil.copy(path, tmp_path / f"{n}.mp4")
    rows = [f"{n}.mp4,{'rain' if n < 5 else 'wind'},,,," for n in range(6)]
    assert by_kind(check_dataset(table(tmp_path, rows), workers=1)) == {"tiny": [("wind has 1 video", ())]}


def test_damage_inside_is_seen_when_files_are_decoded(tmp_path):
    path = clip(tmp_path / "0.mp4", seconds=4)
    raw = bytearray(path.read_bytes())
    middle = len(raw) // 2
    raw[middle : middle + 3000] = bytes(3000)
    path.write_bytes(raw)
    dataset = table(tmp_path, ["0.mp4,rain,,,,"])
    assert "damaged" not in by_kind(check_dataset(dataset, workers=1))
    assert "damaged" in by_kind(check_dataset(dataset, workers=1, deep=True))


def test_wrong_values_are_told_before_work(tmp_path, clips):
    shutil.copy(clips[0], tmp_path / "0.mp4")
    with pytest.raises(ArgumentError, match="workers=0"):
        check_dataset(table(tmp_path, ["0.mp4,rain,,,,"]), workers=0)
    (tmp_path / "t.json").write_text("{}")
    (tmp_path / "manifest.jsonl").write_text('{"path": "0.mp4", "labels": ["rain"], "truth": "t.json"}\n')
    with pytest.raises(DataError, match="not a truth file"):
        check_dataset(read_dataset(tmp_path))


def test_videos_that_show_no_class_are_a_finding(tmp_path, clips):
    shutil.copy(clips[0], tmp_path / "0.mp4")
    found = check_dataset(table(tmp_path, ["0.mp4,unknown,,,,"]), workers=1)
    assert by_kind(found) == {"tiny": [("no video shows a class", ())]}
