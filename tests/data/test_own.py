"""Folders, tables and JSON lines of one's own become the same records, or an error that names the line."""

from __future__ import annotations

import json
import os

import pytest

from avglance.data.lists import seconds
from avglance.data.records import read_dataset, read_training
from avglance.errors import DataError

FILES = {"rain/a.mp4": "rain", "rain/deep/b c.mkv": "rain", "wind/d.webm": "wind", "wind/é.mov": "wind"}


def lay(folder, names=FILES):
    """Files whose contents do not matter."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x" * 10)
    return folder


def table(folder, text, name="list.csv"):
    (folder / name).write_bytes(text.encode() if isinstance(text, str) else text)
    return folder / name


def by_name(dataset):
    return {
        r.path.relative_to(dataset.root).as_posix(): (r.labels, r.truth, r.group, r.split)
        for r in dataset.records
    }


def test_each_form_of_one_toy_set_gives_equal_records_and_one_hash(tmp_path):
    lay(tmp_path)
    folders = read_dataset(tmp_path)
    rows = sorted(FILES.items())
    comma = table(tmp_path, "path,label\n" + "".join(f"{p},{c}\n" for p, c in rows))
    excel = table(tmp_path, "\ufefffile;labels\r\n" + "".join(f"{p};{c}\r\n" for p, c in rows), "excel.csv")
    tabs = table(tmp_path, "label\tfile\n" + "".join(f"{c}\t{p}\n" for p, c in rows), "tabs.tsv")
    lines = table(
        tmp_path, "".join(json.dumps({"path": p, "labels": [c]}) + "\r\n" for p, c in rows), "l.jsonl"
    )
    manifest = table(
        tmp_path, "".join(json.dumps({"path": p, "labels": [c]}) + "\n" for p, c in rows), "manifest.jsonl"
    )
    found = [read_dataset(path) for path in (comma, excel, tabs, lines)]
    assert folders.classes == ("rain", "wind")
    assert len(folders) == 4
    for other in (*found, read_dataset(manifest), read_dataset(tmp_path)):
        assert by_name(other) == by_name(folders)
        assert other.classes == folders.classes
    assert {other.sha256 for other in found} == {folders.sha256}


def test_what_is_left_out_of_folders_is_counted(tmp_path):
    lay(tmp_path, (*FILES, "rain/notes.txt", "rain/.hidden.mp4", ".git/x.mp4", "loose.mp4", "rain/a.wav"))
    lay(tmp_path, ("wind/gust.wav", "readme.txt", "empty/x.txt"))
    (tmp_path / "link").symlink_to(tmp_path / "rain")
    found = read_dataset(tmp_path)
    assert len(found) == 5  # gust.wav has no video of its name beside it
    assert found.classes == ("rain", "wind")
    told = found.notes[1]
    assert told.startswith("left out: 3 .txt, 1 ")
    assert told.endswith(", 1 more")
    assert "groups: none given" in found.notes[-1]


def test_folders_called_like_splits_are_splits_only_above_classes(tmp_path):
    lay(tmp_path / "a", [f"{part}/{name}" for part in ("Train", "val", "test") for name in FILES])
    found = read_dataset(tmp_path / "a")
    assert found.classes == ("rain", "wind")
    assert found.splits == {"train": 4, "validation": 4, "test": 4}
    assert {r.split for r in found.records} == {"train", "validation", "test"}
    lay(tmp_path / "b", ["train/1.mp4", "test/2.mp4"])  # means of transport, and what is done in a laboratory
    assert read_dataset(tmp_path / "b").classes == ("test", "train")


def test_a_part_has_all_classes_and_a_hash_of_its_own(tmp_path):
    lay(tmp_path)
    file = table(
        tmp_path, "path,label,split\nrain/a.mp4,rain,training\nwind/d.webm,wind,TEST\nwind/é.mov,hail,test\n"
    )
    whole, train, test = (read_dataset(file, split=split) for split in (None, "train", "testing"))
    assert [len(d) for d in (whole, train, test)] == [3, 1, 2]
    assert whole.classes == train.classes == test.classes == ("hail", "rain", "wind")
    assert (whole.split, train.split, test.split) == ("", "train", "test")
    assert len({whole.sha256, train.sha256, test.sha256}) == 3
    assert read_training(file).sha256 == train.sha256
    assert read_dataset(file, prefer=("test",)).sha256 == test.sha256
    assert read_dataset(file, prefer=("validation",)).sha256 == whole.sha256
    with pytest.raises(DataError, match="no video is of the split 'dev'") as error:
        read_dataset(file, split="dev")
    assert "there are train, test" in error.value.hint
    with pytest.raises(DataError, match="no video is of the split"):
        read_dataset(tmp_path, split="test")
    file.write_text("path,label,split\nrain/a.mp4,rain,test\n")
    with pytest.raises(DataError, match="none to train on"):
        read_training(file)


def test_the_hash_of_a_part_does_not_change_with_the_other_part(tmp_path):
    lay(tmp_path)
    text = "path,label,split\nrain/a.mp4,rain,train\nwind/d.webm,wind,test\n"
    before = read_dataset(table(tmp_path, text), split="train").sha256
    (tmp_path / "wind/d.webm").write_bytes(b"longer than before")
    assert read_dataset(table(tmp_path, text), split="train").sha256 == before
    (tmp_path / "rain/a.mp4").write_bytes(b"longer than before")
    assert read_dataset(table(tmp_path, text), split="train").sha256 != before


def test_several_rows_of_a_file_are_one_record_with_its_spans(tmp_path):
    lay(tmp_path)
    text = """file,label,start,end,group
rain/a.mp4,rain,1.5,4,x
rain/a.mp4,"wind | hail",00:00:05,0:06.5s,
rain/a.mp4,rain,8,9,x
rain/a.mp4,snow,,,
wind/d.webm,wind,,,
"""
    found = read_dataset(table(tmp_path, text))
    assert len(found) == 2
    record = found.records[0]
    assert record.labels == ("rain", "wind", "hail", "snow")
    assert record.truth.spans == ((1.5, 4.0), (5.0, 6.5), (5.0, 6.5), (8.0, 9.0))
    assert record.truth.span_labels == ("rain", "wind", "hail", "rain")
    assert record.truth.span == (1.5, 9.0)
    assert record.truth.boxes == ()
    assert record.group == "x"
    assert found.records[1].truth is None
    assert found.label_mode == "multi"
    assert found.labels_told == "multi label: 2 videos show 2.5 of 4 classes on average"
    assert "groups: 1 files have one that was given" in found.notes
    rows = [{"path": "rain/a.mp4", "label": "rain", "start_s": 1.5, "end_s": 4, "group": None}]
    other = read_dataset(table(tmp_path, json.dumps(rows[0]) + "\n", "l.jsonl"))
    assert other.records[0].truth.spans == ((1.5, 4.0),)
    assert other.labels_told == "single label: each of 1 videos shows one of 1 class"


def test_what_shows_none_of_the_classes_has_no_place(tmp_path):
    lay(tmp_path, ("a.mp4", "b.mp4"))
    rows = "path,label,start,end\na.mp4,rain,1,2\nb.mp4,unknown,{}\n"
    assert read_dataset(table(tmp_path, rows.format(","))).records[1].unknown
    with pytest.raises(DataError, match=r"'unknown' .* holds nowhere"):
        read_dataset(table(tmp_path, rows.format("1,2")))
    (tmp_path / "b.json").write_text('{"event": {"start_s": 1, "end_s": 2}}')
    for told in ({"spans": [[1, 2, "unknown"]]}, {"truth": "b.json"}):
        (tmp_path / "manifest.jsonl").write_text(json.dumps({"path": "b.mp4", "labels": ["unknown"], **told}))
        with pytest.raises(DataError, match=r"line 1: .*holds nowhere"):
            read_dataset(tmp_path)


def test_only_the_official_names_of_ucf_make_groups(tmp_path):
    names = ["Dive/v_Dive_g01_c01.avi", "Dive/v_Dive_g01_c02.avi", "Dive/v_Dive_g02_c01.avi"]
    lay(tmp_path, [*names, "Dive/clip_01.mp4", "Dive/clip_02.mp4"])
    found = read_dataset(tmp_path)
    assert [r.group for r in found.records] == ["", "", "v_dive_g01", "v_dive_g01", "v_dive_g02"]
    assert "2 by the official names of UCF-101" in found.notes[-1]


GOOD = "rain/a.mp4,rain,1,2,g,train"


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("gone.mp4,rain,,,,", "'gone.mp4' is missing"),
        ("rain,rain,,,,", "'rain' is missing"),
        (",rain,,,,", "path must be a file name"),
        ("../a.mp4,rain,,,,", "leads out"),
        ("rain/../../a.mp4,rain,,,,", "leads out"),
        ("..\\a.mp4,rain,,,,", "leads out"),
        ("/etc/passwd,rain,,,,", "leads out"),
        ("C:\\clips\\a.mp4,rain,,,,", "leads out"),
        ("C:a.mp4,rain,,,,", "leads out"),
        ("\\\\server\\share\\a.mp4,rain,,,,", "leads out"),
        ("//server/share/a.mp4,rain,,,,", "leads out"),
        ("out.mp4,rain,,,,", "leads out"),
        ("ring.mp4,rain,,,,", "ring.mp4"),
        ("rain/a.mp4\0.mp4,rain,,,,", "path must be a file name"),
        (f"{'a' * 5000}.mp4,rain,,,,", "aaa"),
        ("rain/a.mp4,,,,,", "no label"),
        ("rain/a.mp4,;|,,,,", "no label"),
        ('rain/a.mp4,"ra\nin",,,,', "control character"),
        ("rain/a.mp4,rain,5,2,,", "from 5 s to 2 s is no span"),
        ("rain/a.mp4,rain,2,2,,", "is no span"),
        ("rain/a.mp4,rain,-1,2,,", "start_s '-1' is no time"),
        ("rain/a.mp4,rain,nan,2,,", "start_s 'nan' is no time"),
        ("rain/a.mp4,rain,1,inf,,", "end_s 'inf' is no time"),
        ("rain/a.mp4,rain,1,1e99,,", "is no span"),
        ("rain/a.mp4,rain,1_0,20,,", "start_s '1_0' is no time"),
        ('rain/a.mp4,rain,"1,234",2000,,', "start_s '1,234' may be read in two ways"),
        ("rain/a.mp4,rain,1,,,", "end_s is missing"),
        ("rain/a.mp4,rain,,1,,", "start_s is missing"),
        ("rain/a.mp4,rain,,,other,", "group is 'other' here and 'g' in"),
        ("rain/a.mp4,rain,,,,val", "split is 'validation' here and 'train' in"),
        ("rain/a.mp4,rain,,,,,more", "7 cells under 6 names"),
    ],
)
def test_a_wrong_row_is_named_with_its_line(tmp_path, row, says):
    data = tmp_path / "data"
    lay(data)
    (tmp_path / "a.mp4").write_bytes(b"x")
    (data / "out.mp4").symlink_to(tmp_path / "a.mp4")
    (data / "ring.mp4").symlink_to("ring.mp4")
    file = table(data, f"path,label,start_s,end_s,group,split\n{GOOD}\n\n{row}\n")
    with pytest.raises(DataError) as error:
        read_dataset(file)
    assert says in error.value.what
    assert error.value.where.startswith(f"{file}, line ")
    assert int(error.value.where.rsplit(" ", 1)[1]) in (4, 5)  # a quoted line break counts


@pytest.mark.parametrize(
    ("text", "says", "hint"),
    [
        ("path,lable\n", "no field is called 'lable'", "did you mean 'label'?"),
        ("path,label,file\n", "two fields for one thing: path and file", ""),
        ("path\n", "no column is called labels or label", "path,label"),
        ("a.mp4,rain\n", "none of these names a column: a.mp4, rain", "such as path,label; known: "),
        ("", "the table is empty", "path,label"),
        ("path,label\n", "has no row", ""),
        (b"path,label\nrain/a.mp4,caf\xe9\n", "not text in UTF-8", "save it again"),
        ("path,label\n".encode("utf-16"), "not text in UTF-8", "save it again"),
        ('path,label\nrain/a.mp4,"' + "x" * 200_000, "not a table", "quote"),
    ],
)
def test_a_wrong_table_is_named(tmp_path, text, says, hint):
    file = table(lay(tmp_path), text)
    with pytest.raises(DataError) as error:
        read_dataset(file)
    assert says in error.value.what
    assert hint in error.value.hint
    assert str(file) in error.value.where


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{", "not JSON"),
        ("[" * 100_000, "nested too deep"),
        ("[1]", "must be a JSON object, got list"),
        ('{"path": "rain/a.mp4", "label": 3}', "label must be a name, got 3"),
        ('{"path": "rain/a.mp4", "label": [3]}', "a label must be a name, got 3"),
        ('{"path": "rain/a.mp4", "label": null}', "label must be a name, got None"),
        ('{"path": 3, "label": "rain"}', "path must be a file name, got 3"),
        ('{"path": "rain/a.mp4", "label": "rain", "start": NaN, "end": 3}', "start_s nan is no time"),
        ('{"path": "rain/a.mp4", "label": "rain", "start": true, "end": 3}', "start_s True is no time"),
        ('{"path": "rain/a.mp4", "label": "rain", "strat": 2}', "no field is called 'strat'"),
        ('{"path": "rain/a.mp4", "label": "rain", "labels": ["rain"]}', "two fields for one thing"),
        ('{"path": "rain/a.mp4", "label": "rain", "group": ["x"]}', "group must be a word"),
        ('{"path": "\\ud800.mp4", "label": "rain"}', "is no file name here"),
    ],
)
def test_a_wrong_json_line_is_named(tmp_path, line, says):
    file = table(lay(tmp_path), f'{{"path": "rain/a.mp4", "label": "rain"}}\n{line}\n', "l.jsonl")
    with pytest.raises(DataError) as error:
        read_dataset(file)
    assert says in error.value.what
    assert error.value.where == f"{file}, line 2"


def test_backslashes_are_read_as_folders_unless_they_are_in_a_name(tmp_path):
    lay(tmp_path)
    (tmp_path / "rain\\odd.mp4").write_bytes(b"x")
    file = table(tmp_path, "path,label\nrain\\a.mp4,rain\nrain\\odd.mp4,rain\n")
    assert set(by_name(read_dataset(file))) == {"rain/a.mp4", "rain\\odd.mp4"}


def test_a_link_out_of_folders_is_an_error_and_one_inside_is_read(tmp_path):
    lay(tmp_path / "data")
    (tmp_path / "data/wind/same.mp4").symlink_to(tmp_path / "data/rain/a.mp4")
    assert len(read_dataset(tmp_path / "data")) == 5
    (tmp_path / "secret.mp4").write_bytes(b"x")
    (tmp_path / "data/wind/out.mp4").symlink_to(tmp_path / "secret.mp4")
    with pytest.raises(DataError, match="leads out") as error:
        read_dataset(tmp_path / "data")
    assert error.value.where.endswith("out.mp4")


def test_what_is_no_file_is_left_out_and_counted(tmp_path):
    lay(tmp_path)
    (tmp_path / "rain/lost.mp4").symlink_to("gone.mp4")
    os.mkfifo(tmp_path / "rain/pipe.mp4")
    (tmp_path / "rain/folder.mp4").mkdir()
    found = read_dataset(tmp_path)
    assert len(found) == 4
    assert found.notes[1] == "left out: 2 links to nothing, or no files"


def test_names_that_are_no_unicode_are_read(tmp_path):
    lay(tmp_path)
    with open(os.fsencode(tmp_path / "wind") + b"/\xff.mp4", "wb") as file:
        file.write(b"x")
    assert len(read_dataset(tmp_path)) == 5


def test_other_files_are_no_dataset(tmp_path):
    (tmp_path / "a.json").write_text("{}")
    with pytest.raises(DataError, match="no kind of dataset ends like this") as error:
        read_dataset(tmp_path / "a.json")
    assert "avglance data import" in error.value.hint
    with pytest.raises(DataError, match="no such folder or file"):
        read_dataset(tmp_path / "gone.csv")
    lay(tmp_path, ["loose.mp4"])
    with pytest.raises(DataError, match="nor folders with videos"):
        read_dataset(tmp_path)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("12.5", 12.5),
        ("12,5", 12.5),
        ("0,250", 0.25),
        ("1234,567", 1234.567),
        ("1,2345", 1.2345),
        ("00:01:02,500", 62.5),
        (1.234, 1.234),
        ("1:00:00", 3600),
        ("2:03.25", 123.25),
        (7, 7.0),
        ("", None),
        (None, None),
    ],
)
def test_times_as_people_write_them(text, value):
    assert seconds(text, "start_s", "here") == value


@pytest.mark.parametrize(("text", "hint"), [("1,234", "1.234 or 1234"), ("12,500 s", "12.500 or 12500")])
def test_a_comma_that_may_stand_for_thousands_is_refused(text, hint):
    with pytest.raises(DataError, match="may be read in two ways") as error:
        seconds(text, "start_s", "here")
    assert hint in error.value.hint


def test_what_is_in_no_split_is_told_and_left_out(tmp_path):
    lay(tmp_path)
    rows = "rain/a.mp4,rain,train\nwind/d.webm,wind,train\nrain/deep/b c.mkv,rain,\n"
    file = table(tmp_path, "path,label,split\n" + rows)
    dataset = read_training(file)
    assert len(dataset) == 2
    assert "left out: 1 videos that are in no split" in dataset.notes
    assert not any("left out" in note for note in read_dataset(file).notes)


def test_a_training_takes_two_classes_and_unknown_is_none(tmp_path):
    lay(tmp_path)
    file = table(tmp_path, "path,label\nrain/a.mp4,rain\nwind/d.webm,unknown\n")
    assert read_dataset(file).labels_told == (
        "single label: each of 1 videos shows one of 1 class; 1 more show none (unknown)"
    )
    with pytest.raises(DataError, match="takes two classes, here is 'rain'") as error:
        read_training(file)
    assert "'unknown'" in error.value.hint
