"""A dataset folder is checked whole before work begins; what is wrong is named with its line."""

from __future__ import annotations

import json
import pickle

import pytest

from avglance.data.records import LazyTruth, Truth, read_dataset
from avglance.errors import DataError

TRUTH = {
    "event": {"start_s": 2.0, "end_s": 5.5},
    "boxes": [[2.0, 10, 20, 30, 40], [3.0, 11, 20, 31, 40]],
    "texture": "grating_0",
    "family": "rising",
    "decoys": [{"kind": "picture", "start_s": 7.0}],
    "duration_s": 9.0,
    "rival": {"boxes": [[2.0, 50, 60, 70, 80]]},
}


def write(folder, rows, world=None):
    """A dataset of files that exist (what is in them does not matter) and these rows; a str is a raw line."""
    for name in ("a.mp4", "b.mp4", "c d.mp4"):
        (folder / name).write_bytes(b"x" * 10)
    (folder / "a.json").write_text(json.dumps(TRUTH))
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    (folder / "manifest.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    if world is not None:
        (folder / "dataset.json").write_text(world if isinstance(world, str) else json.dumps(world))
    return folder


GOOD = [
    {"path": "a.mp4", "labels": ["rain"], "group": "g", "truth": "a.json"},
    {"path": "b.mp4", "labels": ["wind", "rain"], "truth": None},
    {"path": "c d.mp4", "labels": ["hail"]},
]


def test_a_dataset_is_read_as_it_was_written(tmp_path):
    found = read_dataset(write(tmp_path, GOOD, {"kind": "glanceworld", "augment": {"translate_px": 8}}))
    assert found.classes == ("hail", "rain", "wind")
    assert [r.path for r in found.records] == [tmp_path / n for n in ("a.mp4", "b.mp4", "c d.mp4")]
    assert [r.labels for r in found.records] == [("rain",), ("wind", "rain"), ("hail",)]
    assert [r.group for r in found.records] == ["g", "", ""]
    assert found.records[1].truth is None
    assert found.kind == "glanceworld"
    assert found.world["augment"] == {"translate_px": 8}
    assert len(found) == 3


def test_truth_is_read_when_it_is_asked_for(tmp_path):
    found = read_dataset(write(tmp_path, GOOD))
    truth = found.records[0].truth
    (tmp_path / "a.json").write_text(json.dumps({**TRUTH, "event": {"start_s": 3, "end_s": 4}}))
    assert isinstance(truth, Truth)
    assert truth.span == (3.0, 4.0)  # the file as it is now
    (tmp_path / "a.json").unlink()
    assert truth.span == (3.0, 4.0)  # and not read again
    assert truth.boxes == ((2.0, 10.0, 20.0, 30.0, 40.0), (3.0, 11.0, 20.0, 31.0, 40.0))
    assert (truth.texture, truth.family) == ("grating_0", "rising")
    assert truth.decoys == ({"kind": "picture", "start_s": 7.0},)
    assert truth.rival_boxes == ((2.0, 50.0, 60.0, 70.0, 80.0),)
    assert truth.rest == {"duration_s": 9.0, "rival": TRUTH["rival"]}
    (tmp_path / "a.json").write_text(json.dumps({"event": {"start_s": 3, "end_s": 4}}))
    assert Truth.read(tmp_path / "a.json").rival_boxes == ()


def test_a_truth_of_several_events_has_all_their_spans(tmp_path):
    events = [{"start_s": 1, "end_s": 2}, {"start_s": 4, "end_s": 5.5}]
    (tmp_path / "t.json").write_text(json.dumps({"event": events[0], "events": events}))
    truth = Truth.read(tmp_path / "t.json")
    assert truth.spans == ((1.0, 2.0), (4.0, 5.5))
    assert truth.span == (1.0, 5.5)
    events[1]["end_s"] = 4
    (tmp_path / "t.json").write_text(json.dumps({"event": events[0], "events": events}))
    with pytest.raises(DataError, match="no span"):
        Truth.read(tmp_path / "t.json")


def test_a_lazy_truth_travels_to_another_process(tmp_path):
    write(tmp_path, GOOD)
    travelled = pickle.loads(pickle.dumps(read_dataset(tmp_path).records[0]))
    assert travelled.truth.span == (2.0, 5.5)
    with pytest.raises(AttributeError):
        travelled.truth.nothing


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"boxes": []}',
        '{"event": {"start_s": 5, "end_s": 2}}',
        '{"event": {"start_s": "x", "end_s": 2}}',
        '{"event": {"start_s": 1, "end_s": 2}, "boxes": [[1, 2, 3]]}',
        '{"event": {"start_s": 1, "end_s": 2}, "rival": {"boxes": [[1, 2, 3]]}}',
        '{"event": {"start_s": 1, "end_s": 2}, "rival": [1]}',
    ],
)
def test_a_wrong_truth_file_is_named(tmp_path, text):
    (tmp_path / "t.json").write_text(text)
    with pytest.raises(DataError) as error:
        LazyTruth(tmp_path / "t.json").span
    assert error.value.where == str(tmp_path / "t.json")


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("{nonsense", "not JSON"),
        ("[1]", "must be a JSON object, got list"),
        ({"path": "b.mp4"}, "labels must be a list"),
        ({"path": "b.mp4", "labels": []}, "labels must be a list"),
        ({"path": "b.mp4", "labels": "rain"}, "labels must be a list"),
        ({"path": "b.mp4", "labels": ["rain", "rain"]}, "stands twice"),
        ({"labels": ["rain"]}, "path must be a file name, got None"),
        ({"path": "", "labels": ["rain"]}, "path must be a file name"),
        ({"path": "b\0.mp4", "labels": ["rain"]}, "path must be a file name"),
        ({"path": "gone.mp4", "labels": ["rain"]}, "'gone.mp4' is missing"),
        ({"path": ".", "labels": ["rain"]}, "is missing"),
        ({"path": "../a.mp4", "labels": ["rain"]}, "leads out"),
        ({"path": "/etc/passwd", "labels": ["rain"]}, "leads out"),
        ({"path": "b.mp4", "labels": ["rain"], "truth": "../t.json"}, "truth '../t.json' leads out"),
        ({"path": "b.mp4", "labels": ["rain"], "truth": "no.json"}, "truth 'no.json' is missing"),
        ({"path": "a.mp4", "labels": ["rain"]}, "stands in line 1 too"),
        ({"path": "b.mp4", "label": ["rain"]}, "no field is called 'label'"),
    ],
)
def test_a_wrong_row_is_named_with_its_line(tmp_path, row, says):
    folder = tmp_path / "data"
    folder.mkdir()
    (tmp_path / "a.mp4").write_bytes(b"x")
    write(folder, [GOOD[0], "", row])
    with pytest.raises(DataError) as error:
        read_dataset(folder)
    assert says in error.value.what
    assert error.value.where == f"{folder / 'manifest.jsonl'}, line 3"


def test_a_link_out_of_the_folder_is_refused(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    (tmp_path / "secret.mp4").write_bytes(b"x")
    write(folder, [{"path": "link.mp4", "labels": ["rain"]}])
    (folder / "link.mp4").symlink_to(tmp_path / "secret.mp4")
    with pytest.raises(DataError, match="leads out"):
        read_dataset(folder)


def test_near_names_help(tmp_path):
    write(tmp_path, [GOOD[0], {"path": "b.mp4", "labels": ["wnid"]}], {"classes": ["wind", "rain", "snow"]})
    with pytest.raises(DataError, match="unknown class 'wnid'") as error:
        read_dataset(tmp_path)
    assert "line 2" in error.value.where
    assert "did you mean 'wind'?" in error.value.hint
    write(tmp_path, [{"path": "b.mp4", "labls": ["rain"]}])
    with pytest.raises(DataError) as error:
        read_dataset(tmp_path)
    assert "did you mean 'labels'?" in error.value.hint


def test_listed_classes_are_kept_although_no_video_has_them(tmp_path):
    write(tmp_path, GOOD, {"classes": ["wind", "snow", "rain", "hail"]})
    assert read_dataset(tmp_path).classes == ("hail", "rain", "snow", "wind")


SPAN = {"path": "b.mp4", "labels": ["rain"]}


def test_spans_may_stand_in_the_row_itself(tmp_path):
    row = {**SPAN, "labels": ["rain", "wind"], "spans": [[1, 2.5, "rain"], [4, 5, "wind"]], "split": "val"}
    (record,) = read_dataset(write(tmp_path, [row])).records
    assert record.truth == Truth(((1.0, 2.5), (4.0, 5.0)), span_labels=("rain", "wind"))
    assert record.truth.span == (1.0, 5.0)
    assert record.split == "validation"


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"spans": [[1, 2, "rain"]], "truth": "a.json"}, "spans and truth exclude each other"),
        ({"spans": [[1, 2, "snow"]]}, "a span is of 'snow', which is not among the labels"),
        ({"spans": [[2, 1, "rain"]]}, "from 2 s to 1 s is no span"),
        ({"spans": [[1, 1e300, "rain"]]}, "is no span"),
        ({"spans": [[1, 2]]}, "spans must be lists"),
        ({"spans": [["a", 2, "rain"]]}, "spans must be lists"),
        ({"spans": "rain"}, "spans must be lists"),
        ({"spans": {"rain": [1, 2]}}, "spans must be lists"),
        ({"spans": 3}, "spans must be lists"),
        ({"spans": [[1, 2, ["rain"]]]}, "a label must be a name"),
        ({"split": 3}, "split must be a name"),
        ({"splt": "test"}, "no field is called 'splt'"),
    ],
)
def test_wrong_spans_and_splits_are_named(tmp_path, more, says):
    with pytest.raises(DataError) as error:
        read_dataset(write(tmp_path, [SPAN | more]))
    assert says in error.value.what
    assert error.value.where == f"{tmp_path / 'manifest.jsonl'}, line 1"


@pytest.mark.parametrize("world", ["{", "[]", {"classes": []}, {"classes": "rain"}])
def test_a_wrong_dataset_json_is_named(tmp_path, world):
    with pytest.raises(DataError) as error:
        read_dataset(write(tmp_path, GOOD, world))
    assert error.value.where == str(tmp_path / "dataset.json")


def test_no_folder_no_manifest_no_rows(tmp_path):
    with pytest.raises(DataError, match="no such folder"):
        read_dataset(tmp_path / "gone")
    with pytest.raises(DataError, match=r"no manifest\.jsonl"):
        read_dataset(tmp_path)
    with pytest.raises(DataError, match="has no row"):
        read_dataset(write(tmp_path, [""]))


def test_the_hash_knows_rows_world_and_files(tmp_path):
    write(tmp_path, GOOD, {"kind": "x"})
    first = read_dataset(tmp_path).sha256
    assert read_dataset(tmp_path).sha256 == first
    found = {first}
    write(tmp_path, GOOD[:2], {"kind": "x"})
    found.add(read_dataset(tmp_path).sha256)
    write(tmp_path, GOOD, {"kind": "y"})
    found.add(read_dataset(tmp_path).sha256)
    write(tmp_path, GOOD, {"kind": "x"})
    (tmp_path / "b.mp4").write_bytes(b"longer than before")
    found.add(read_dataset(tmp_path).sha256)
    assert len(found) == 4


def test_the_hash_of_a_dataset_without_splits_is_what_it_always_was(tmp_path):
    """Caches, runs and published figures are known by it."""
    write(tmp_path, GOOD, {"kind": "x", "seed": 3})
    assert read_dataset(tmp_path).sha256.startswith("19dfbd4cea09eead")


def test_names_of_any_language_and_odd_separators_survive(tmp_path):
    name = "日本\u2028語 😀.mp4"
    write(tmp_path, [{"path": name, "labels": ["雨"]}])
    (tmp_path / name).write_bytes(b"x")
    (tmp_path / "manifest.jsonl").write_text(
        json.dumps({"path": name, "labels": ["雨"]}, ensure_ascii=False), encoding="utf-8"
    )
    found = read_dataset(tmp_path)
    assert found.records[0].path.name == name
    assert found.classes == ("雨",)
