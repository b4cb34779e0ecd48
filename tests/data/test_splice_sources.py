"""Which clips a splice is made of: every wrong row is named, and training and test never meet."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.data.splice_clips import write_clip

from avglance.data import splice_sources as sources
from avglance.data.splice_settings import Splice
from avglance.data.splice_sources import Clip, choose_background, hold_out, probe, read_clips, share_out
from avglance.errors import ArgumentError, DataError

HEAD = "path,label,group,split\n"


@pytest.fixture
def folder(tmp_path):
    for name in ("a.mp4", "b.mp4", "c.mp4"):
        (tmp_path / name).write_bytes(b"x")
    return tmp_path


def table(folder: Path, text: str, encoding: str = "utf-8") -> Path:
    path = folder / "clips.csv"
    path.write_bytes(text.encode(encoding))
    return path


def test_rows_are_read_with_any_further_columns(folder):
    text = (
        "note,split,path,label,group\nx,train,a.mp4,rain,7\ny,test,b.mp4,rain,\nz,background,c.mp4,hall,s1\n"
    )
    clips = read_clips(table(folder, text, "utf-8-sig"))
    assert [(c.name, c.label, c.group, c.split) for c in clips] == [
        ("a.mp4", "rain", "rain/g7", "train"),
        ("b.mp4", "rain", "rain/b", "test"),
        ("c.mp4", "hall", "s1", "background"),
    ]
    assert clips[0].path == folder / "a.mp4"
    assert clips[0].where.endswith("clips.csv, line 2")


def test_paths_may_begin_in_the_folder_above(folder):
    inner = folder / "inner"
    inner.mkdir()
    clips = read_clips(table(inner, HEAD + "a.mp4,rain,1,train\n"))
    assert clips[0].path.samefile(folder / "a.mp4")


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ("", "has no row"),
        ("a.mp4,rain,1,val\n", "line 2: split must be one of train, test, background, got 'val'"),
        ("a.mp4,,1,train\n", "line 2: the label is empty"),
        (",rain,1,train\n", "line 2: path must be a file name"),
        ("a.mp4\n", "line 2: the label is empty"),
        ("d.mp4,rain,1,train\n", "line 2: d.mp4 is missing"),
        ("../a.mp4,rain,1,train\n", "line 2: path '../a.mp4' leads out"),
        ("/etc/passwd,rain,1,train\n", "line 2: path '/etc/passwd' leads out"),
        ("a.mp4,rain,1,train\na.mp4,snow,1,train\n", "line 3: a.mp4 stands in .*line 2 too"),
        ("a.mp4,rain,1,train\nb.mp4,rain,1,test\n", "line 3: group rain/g1 is in test here and in train in"),
        ("a.mp4,rain,s,train\nb.mp4,snow,s,test\n", "line 3: group s is in test here and in train in"),
        ("a.mp4,rain,1,train\n./a.mp4,rain,2,test\n", r"line 3: \./a.mp4 stands in .*line 2 too"),
        ('a.mp4,"ra\nin",1,train\n', "line 3: the label .* holds a control character"),
        (f"{'n' * 300}.mp4,rain,1,train\n", "is missing"),
        ('a.mp4,"rain,1,train\n', "cannot be read as CSV"),
    ],
)
def test_a_wrong_row_is_named(folder, rows, said):
    with pytest.raises(DataError, match=said):
        read_clips(table(folder, HEAD + rows))


def test_what_is_no_such_table_is_named(folder):
    with pytest.raises(DataError, match="there is no such file"):
        read_clips(folder / "other.csv")
    with pytest.raises(DataError, match="is a folder"):
        read_clips(folder)
    with pytest.raises(DataError, match="has no column 'group'") as error:
        read_clips(table(folder, "path,label,groups,split\n"))
    assert "is 'groups' meant?" in error.value.hint
    with pytest.raises(DataError, match="has no column 'path'"):
        read_clips(table(folder, ""))
    (folder / "clips.csv").write_bytes(HEAD.encode() + b"\xff\xfe\x00\n")
    with pytest.raises(DataError, match="cannot be read as CSV"):
        read_clips(folder / "clips.csv")


def test_a_clip_without_a_group_is_alone_whatever_its_namesakes_are_called(folder):
    for name in ("monday/01.mp4", "tuesday/01.mp4"):
        (folder / name).parent.mkdir()
        (folder / name).write_bytes(b"x")
    clips = read_clips(table(folder, HEAD + "monday/01.mp4,rain,,train\ntuesday/01.mp4,rain,,test\n"))
    assert [c.group for c in clips] == ["rain/monday/01", "rain/tuesday/01"]


def test_one_file_by_two_paths_does_not_get_into_both_splits(folder):
    rows = f"a.mp4,rain,1,train\n{folder.name}/a.mp4,rain,2,test\n"
    with pytest.raises(DataError, match=r"line 3: .*/a.mp4 stands in .*line 2 too"):
        read_clips(table(folder, HEAD + rows))


# --- background -----------------------------------------------------------------------------------


def clip(
    name: str, label: str = "street", split: str = "background", *, sounds: bool = True, group: str = ""
) -> Clip:
    return Clip(Path(name), name, label, group or name, split, name, behind=True, end_s=1.0, sounds=sounds)


def test_a_label_or_a_folder_may_be_the_background(tmp_path):
    rows = [clip("a", "rain", "train"), clip("b", "rain", "test"), clip("c", "snow", "train"), clip("d")]
    events, behind = choose_background(rows, ["rain"])
    assert [c.name for c in events] == ["c"]
    assert [c.name for c in behind] == ["a", "b"]
    for name in ("1.mp4", "sub/2.MKV", "readme.txt", ".hidden.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    events, behind = choose_background(rows, [str(tmp_path)])
    assert [c.name for c in events] == ["a", "b", "c"]
    assert [c.name.removeprefix(tmp_path.name) for c in behind] == ["/1.mp4", "/sub/2.MKV"]
    assert all(c.behind and c.split == "background" for c in behind)


def test_each_background_file_counts_once(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "1.mp4").write_bytes(b"")
    rows = [clip("a", "rain", "train")]
    for named in ([str(tmp_path), str(tmp_path / "in")], [str(tmp_path), str(tmp_path)]):
        _, behind = choose_background(rows, named)
        assert [c.name for c in behind] == [f"{tmp_path.name}/in/1.mp4"]


def test_unknown_is_no_class_but_may_be_background():
    rows = [clip("a", "rain", "train"), clip("b", "unknown", "train"), clip("c")]
    with pytest.raises(DataError, match="'unknown' says that no class is there"):
        choose_background(rows, [])
    events, behind = choose_background(rows, ["unknown"])
    assert ([c.name for c in events], [c.name for c in behind]) == (["a"], ["b"])


def test_what_is_no_background_is_said(tmp_path):
    rows = [clip("a", "rain", "train"), clip("d")]
    with pytest.raises(ArgumentError, match="'rian' is neither a label nor a folder") as error:
        choose_background(rows, ["rian"])
    assert "'rain'" in error.value.hint
    with pytest.raises(DataError, match="no clip is background"):
        choose_background(rows[:1], [])
    with pytest.raises(DataError, match="no clip is background"):
        choose_background(rows, [str(tmp_path)])
    with pytest.raises(DataError, match="e is background and belongs to a class"):
        choose_background([*rows, clip("e", "rain")], [])
    (tmp_path / "x.mp4").write_bytes(b"")
    again = Clip(tmp_path / "x.mp4", "x.mp4", "rain", "g", "train", "line 2")
    with pytest.raises(DataError, match=r"x.mp4 is background and belongs to a class"):
        choose_background([again], [str(tmp_path)])


def test_a_third_of_the_background_is_for_test_always_the_same():
    some = [clip(f"s{n}") for n in range(9)] + [clip(f"m{n}", sounds=False) for n in range(6)]
    train, test = (share_out(some, split) for split in ("train", "test"))
    assert [sum(c.sounds is sounds for c in test) for sounds in (True, False)] == [3, 2]
    assert len(train) == 10
    assert not {c.name for c in train} & {c.name for c in test}
    assert share_out(some[::-1], "test") == test
    assert [c.name for c in share_out([clip("x")], "train")] == ["x"]  # one alone is for training
    kept = [clip("a", split="train"), clip("b", split="test")]
    assert [c.name for c in share_out(kept, "test")] == ["b"]


def test_of_what_trains_a_third_is_for_validation():
    clips = [
        Clip(Path(f"{n}.mp4"), f"{n}.mp4", "street", f"s{n // 2}", "background", "x", True, 0, 3, True)
        for n in range(40)
    ]
    train, test = share_out(clips, "train"), share_out(clips, "test")
    assert hold_out([], test, "test") == ([], test)
    assert hold_out([], train, "train") == ([], train)
    held, rest = (hold_out([], train, split)[1] for split in ("validation", "fit"))
    groups = [{clip.group for clip in some} for some in (train, test, held, rest)]
    assert [len(some) for some in groups] == [13, 7, 4, 9]
    assert groups[2] | groups[3] == groups[0]
    assert not groups[2] & groups[3]
    assert sorted(clip.name for clip in held + rest) == sorted(clip.name for clip in train)


def test_a_source_of_several_classes_and_of_background_is_never_in_both_parts():
    rng = np.random.default_rng(0)
    for salt in range(100):

        def some(label, count, salt=salt, *, behind=False):
            names = [f"{salt}/{n}" for n in rng.choice(20, count, replace=False)]
            clip = Clip(Path("x"), "x", label, "", "train", "x", behind, 0, 3, True)
            return [replace(clip, name=f"{label}{name}", group=name) for name in names]

        events, behind = some("rain", 12) + some("wind", 12), some("street", 8, behind=True)
        parts = [hold_out(events, behind, split) for split in ("validation", "fit")]
        held, rest = ({clip.group for side in part for clip in side} for part in parts)
        assert held
        assert rest
        assert not held & rest
        assert sum(len(side) for part in parts for side in part) == len(events) + len(behind)


def test_background_of_one_split_stays_in_it(folder):
    rows = "a.mp4,background,1,train\nb.mp4,street,,background\nc.mp4,rain,1,train\n"
    events, behind = choose_background(read_clips(table(folder, HEAD + rows)), ())
    assert [clip.name for clip in events] == ["c.mp4"]
    assert {clip.name: clip.split for clip in behind} == {"a.mp4": "train", "b.mp4": "background"}
    mine = [replace(clip, sounds=True) for clip in behind]
    assert [clip.name for clip in share_out(mine, "test")] == []
    assert [clip.name for clip in share_out(mine, "train")] == ["a.mp4", "b.mp4"]


def test_background_of_one_source_is_never_on_both_sides():
    """Also where some clips of a source sound and others do not, or are of a class or have a split."""
    some = [clip(f"{kind}{n}", sounds=kind == "s", group=f"g{n}") for n in range(9) for kind in "sm"]
    train, test = ({c.group for c in share_out(some, split)} for split in ("train", "test"))
    assert len(test) == 3
    assert not train & test
    rows = [clip("e", "rain", split="test", group="film"), clip("x", group="film"), clip("y"), clip("z")]
    _, background = choose_background(rows, [])
    assert "x" in {c.name for c in share_out(background, "test")}
    assert "x" not in {c.name for c in share_out(background, "train")}


# --- what is in a clip ----------------------------------------------------------------------------


def row(path: Path, *, behind: bool = False) -> Clip:
    split = "background" if behind else "train"
    return Clip(path, path.name, "rain", "g", split, "line 2", behind=behind)


def test_a_clip_is_as_long_as_it_is_seen_and_heard(tmp_path):
    (found,) = probe(row(write_clip(tmp_path / "a.mp4", 1, seconds=1.6)))
    assert (found.start_s, found.end_s, found.sounds) == (0.0, pytest.approx(1.6, abs=0.1), True)
    (silent,) = probe(row(write_clip(tmp_path / "b.mp4", 1, level=None), behind=True))
    assert (silent.end_s, silent.sounds) == (pytest.approx(2.0), False)
    (mute,) = probe(row(write_clip(tmp_path / "c.mp4", 1, level=1e-5), behind=True))
    assert not mute.sounds


def test_a_long_clip_comes_in_parts(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "PART_S", 0.7)
    parts = probe(row(write_clip(tmp_path / "a.mp4", 1, seconds=2.0)))
    assert len(parts) == 3
    assert [p.start_s for p in parts[1:]] == [p.end_s for p in parts[:-1]]
    assert np.ptp([p.end_s - p.start_s for p in parts]) < 1e-9


def test_a_clip_that_is_no_event_is_named(tmp_path):
    for level in (None, 1e-5):
        with pytest.raises(DataError, match=r"line 2: a.mp4 has no sound that can be heard"):
            probe(row(write_clip(tmp_path / "a.mp4", 1, level=level)))
    with pytest.raises(DataError, match=r"a.mp4 lasts 0.2\d s, less than 0.5 s"):
        probe(row(write_clip(tmp_path / "a.mp4", 1, seconds=0.24)))
    (tmp_path / "a.mp4").write_bytes(b"not a video")
    with pytest.raises(DataError, match=r"line 2: a.mp4: "):
        probe(row(tmp_path / "a.mp4"))


# --- settings -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ({"share": (0.3, 0.2)}, "share="),
        ({"share": (0.1, 1.2)}, "share="),
        ({"share": (float("nan"), 0.2)}, "share="),
        ({"share": (0.1, 0.2, 0.3)}, "share=.*two numbers"),
        ({"share": (0.9, 0.9), "decoys": "half"}, "spans with gaps"),
        ({"share": (0.01, 0.2)}, "shorter than 1.0 s"),
        ({"seconds": (1, 2)}, "seconds="),
        ({"seconds": (30, 1e9)}, "seconds="),
        ({"decoys": "all"}, "decoys='all'"),
        ({"fps": 0}, "fps=0"),
        ({"fps": float("nan")}, "fps=nan"),
        ({"size": (321, 240)}, "size="),
        ({"size": (0, 0)}, "size="),
        ({"size": (10_000, 10_000)}, "size="),
    ],
)
def test_settings_out_of_range_are_named(bad, said):
    with pytest.raises(ArgumentError, match=said):
        Splice(**bad)


def test_settings_survive_json():
    settings = Splice(share=[0.1, 0.2], decoys="half")
    assert Splice(**settings.fields()) == settings == Splice(share=(0.1, 0.2), decoys="half")


def test_the_longest_settings_are_checked_in_a_moment():
    assert Splice(seconds=(1000, 1800), fps=60, decoys="half").span_frames(27000)[0] == 900
