"""Comparisons of made-up runs: every mean, spread, interval and refusal is known beforehand."""

from __future__ import annotations

import json

import numpy as np
import pytest
from tests.evaluation.made_runs import evaluation, hits_of, make_run, row, write

from avglance.errors import ArgumentError, DataError
from avglance.evaluation.compare import compare, plain, spread
from avglance.evaluation.intervals import paired_difference
from avglance.evaluation.runs import read_evaluation

VIDEOS = 100


def labels(found):
    return [row.label for table in found.tables for row in table.rows]


@pytest.fixture
def ablation(tmp_path):
    """Two rows with two seeds each: 60 and 70 of 100 right, 40 and 50 of 100 right, at K = 4 and 16."""
    for name, right in (("full", (60, 70)), ("deaf", (40, 50))):
        for seed, n in enumerate(right):
            four = evaluation(hits_of(n, VIDEOS), moment_recall=0.8 + 0.1 * seed)
            all_of_them = evaluation(hits_of(n + 5, VIDEOS), **{"settings.budget": 16})
            make_run(tmp_path / name / f"seed{seed}", all_of_them, four, seed=seed)
    return tmp_path


def test_means_and_spread_over_seeds(ablation):
    table = compare([ablation]).tables[0]
    assert labels(compare([ablation])) == ["deaf K=4", "deaf K=16", "full K=4", "full K=16"]
    full = table.rows[2]
    assert full.figures["top1"].mean == pytest.approx(0.65)
    assert full.figures["top1"].std == pytest.approx(0.1 / np.sqrt(2))
    assert full.figures["moment_recall"].values == (0.8, 0.9)
    assert full.figures["training_s"].mean == 300.0
    assert full.figures["gmacs"].mean == pytest.approx(0.26)
    assert list(full.seconds) == ["decode", "glance", "total"]
    assert table.videos == VIDEOS
    assert spread([0.5]).std is None
    assert spread([None]).mean is None


def test_the_difference_is_over_videos_with_the_seeds_averaged(ablation):
    table = compare([ablation], baseline="deaf@4").tables[0]
    assert (table.rows[0].label, table.baseline, table.rows[0].difference) == ("deaf K=4", 0, None)
    difference = table.rows[2].difference
    # 40 videos: both right; 10: full 1, deaf 0.5; 10: full 1, deaf 0; 10: full 0.5, deaf 0; 30: both wrong
    d = np.repeat([0.0, 0.5, 1.0, 0.5, 0.0], [40, 10, 10, 10, 30])
    assert difference.value == pytest.approx(d.mean())
    half = 1.96 * d.std() / np.sqrt(VIDEOS)
    assert difference.low == pytest.approx(d.mean() - half, abs=0.01)
    assert difference.high == pytest.approx(d.mean() + half, abs=0.01)
    assert table.rows[2].paired == VIDEOS
    again = compare([ablation], baseline="deaf@4").tables[0]
    assert again.rows[2].difference == difference  # always the same draws


def test_a_constant_difference_has_no_width_and_pairing_needs_common_videos():
    ours, theirs = {"a": 1.0, "b": 1.0}, {"a": 0.0, "b": 0.0, "c": 1.0}
    interval, videos, groups = paired_difference([ours], [theirs])
    assert (tuple(interval), videos, groups) == ((1.0, 1.0, 1.0), 2, 0)
    assert paired_difference([{"a": 1.0}], [{"b": 1.0}]) == (None, 0, 0)


def test_where_videos_share_a_source_the_sources_are_drawn(tmp_path):
    """Ten groups of ten videos; in half of the groups one row has all right, the other none."""
    better = [n < 50 for n in range(VIDEOS)]
    for name, hits in (("full", better), ("deaf", [False] * VIDEOS)):
        found = evaluation(hits)
        for n, one in enumerate(found["rows"]):
            one["group"] = f"g{n // 10}"
        make_run(tmp_path / name / "seed0", found)
    table = compare([tmp_path], baseline="deaf").tables[0]
    (row,) = (row for row in table.rows if row.name == "full")
    assert (row.difference.value, row.paired, row.groups) == (0.5, VIDEOS, 10)
    half = 1.96 * 0.5 / np.sqrt(10)  # as of ten videos, not of a hundred
    assert row.difference.high - row.difference.low == pytest.approx(2 * half, abs=0.1)
    said = plain(compare([tmp_path], baseline="deaf"))["tables"][0]["rows"][1]["difference"]
    assert (said["videos"], said["groups"]) == (VIDEOS, 10)
    found = evaluation([True, False])
    found["rows"][0]["group"] = 3
    with pytest.raises(DataError, match=r"group of 0000\.mp4 must be a name or null"):
        compare([write(tmp_path / "wrong.json", found)])


def test_groups_of_one_video_each_change_no_interval():
    ours = {f"{n:02}": float(n % 3 == 0) for n in range(40)}
    theirs = {name: float(n % 2) for n, name in enumerate(ours)}
    plain_one = paired_difference([ours], [theirs])
    assert paired_difference([ours], [theirs], groups={name: name for name in ours}) == plain_one
    pairs = paired_difference([ours], [theirs], groups={name: name[0] for name in ours})
    assert (pairs.groups, pairs.videos) == (4, 40)
    assert pairs.interval != plain_one.interval


def test_pairing_goes_by_the_name_below_the_common_folder(tmp_path):
    found = evaluation(hits_of(3, 4))
    moved = evaluation([False, True, True, True])
    moved["rows"] = [r | {"video": r["video"].replace("/somewhere", "C:\\else")} for r in moved["rows"][::-1]]
    moved["rows"] = [r | {"video": r["video"].replace("/", "\\")} for r in moved["rows"]]
    moved["model"]["name"] = "moved"
    table = compare([write(tmp_path / "a.json", found), write(tmp_path / "b.json", moved)]).tables[0]
    assert table.rows[1].difference.value == 0.0
    assert table.rows[1].paired == 4
    one = evaluation([True], rows=[row("alone.mp4", True)])
    assert read_evaluation(write(tmp_path / "one.json", one)).videos == {"alone.mp4"}
    deep = evaluation([True, False], rows=[row("w/a/1.mp4", True), row("w/b/1.mp4", False)])
    assert read_evaluation(write(tmp_path / "deep.json", deep)).hits == {"a/1.mp4": 1.0, "b/1.mp4": 0.0}


def test_the_baseline_is_the_first_row_or_the_one_that_is_named(ablation):
    assert compare([ablation]).tables[0].baseline == 0
    assert compare([ablation / "full", ablation]).tables[0].rows[0].name == "full"
    with pytest.raises(ArgumentError, match="names 2 rows") as caught:
        compare([ablation], baseline="full")
    assert "full@4" in caught.value.hint
    with pytest.raises(ArgumentError, match="no row is called so") as caught:
        compare([ablation], baseline="ful@4")
    assert "did you mean full@4?" in caught.value.hint


def test_controls_and_oracles_are_rows_of_their_own_and_no_baseline(tmp_path):
    hits = hits_of(5, 10)
    told = {"settings.oracle": "moments", "settings.order": None, "settings.true_boxes": True}
    make_run(
        tmp_path / "full",
        evaluation(hits, **{"settings.control": "swap_sound"}),
        evaluation(hits, **told),
        evaluation(hits, **{"settings.control": "mute"}),
        evaluation(hits),
    )
    found = compare([tmp_path / "full"], baseline="full")
    assert labels(found) == [
        "full K=4",
        "full (oracle moments, true boxes) K=4",
        "full (muted) K=4",
        "full (swapped) K=4",
    ]
    assert found.tables[0].baseline == 0


def test_a_setting_of_all_rows_leaves_the_baseline_clear(tmp_path):
    """With bf16 throughout, the baseline is still the row without a control or anything else."""
    common = {"settings.precision": "bf16"}
    make_run(
        tmp_path / "full",
        evaluation(hits_of(5, 10), **common, **{"settings.control": "uniform"}),
        evaluation(hits_of(6, 10), **common, **{"settings.exits": "half the looks"}),
        evaluation(hits_of(7, 10), **common),
    )
    table = compare([tmp_path / "full"], baseline="full@4").tables[0]
    assert table.rows[table.baseline].label == "full (precision bf16) K=4"
    usual = evaluation(hits_of(7, 10), **{"settings.precision": "float32"})
    assert labels(compare([write(tmp_path / "usual.json", usual)])) == ["made_up K=4"]


def test_a_file_belongs_to_the_run_it_lies_in_or_whose_weights_it_measured(tmp_path):
    run = make_run(tmp_path / "full" / "seed3", evaluation(hits_of(5, 10)), seed=3, weights="ee" * 32)
    inside = compare([run / "eval_0.json"])
    assert (labels(inside), inside.waiting) == (["full K=4"], ())
    assert len(compare([run, run / "eval_0.json", tmp_path]).tables[0].rows[0].members) == 1  # read once
    elsewhere = evaluation(hits_of(5, 10), **{"model.weights_sha256": "ee" * 32, "settings.budget": 2})
    file = write(tmp_path / "elsewhere.json", elsewhere)
    assert labels(compare([file])) == ["made_up K=2"]
    assert labels(compare([file, run])) == ["full K=2", "full K=4"]


def test_other_videos_are_refused_unless_asked_for(tmp_path):
    first = write(tmp_path / "a.json", evaluation(hits_of(5, 10)))
    fewer = write(tmp_path / "b.json", evaluation(hits_of(5, 8)))
    other = write(tmp_path / "c.json", evaluation(hits_of(5, 10), **{"data.sha256": "dd" * 32}))
    with pytest.raises(DataError, match="3 different sets of videos") as caught:
        compare([first, fewer, other])
    assert "--each-data" in caught.value.hint
    found = compare([first, fewer, other], each_data=True)
    assert [table.videos for table in found.tables] == [10, 8, 10]
    assert [table.sha256[:2] for table in found.tables][2] == "dd"
    named = evaluation(hits_of(5, 10), **{"data.sha256": "dd" * 32, "settings.budget": 8})
    named["model"]["name"] = "only_here"
    found = compare([first, write(tmp_path / "d.json", named)], baseline="only_here", each_data=True)
    assert [table.baseline for table in found.tables] == [None, 0]
    assert "no row is called only_here here" in found.tables[0].notes[0]


def test_one_seed_twice_is_an_error_and_copied_weights_are_told(tmp_path):
    for place in ("a", "b"):
        make_run(tmp_path / place / "full" / "seed0", evaluation(hits_of(5, 10)))
    with pytest.raises(DataError, match="seed 0 is there twice") as caught:
        compare([tmp_path])
    assert "different names" in caught.value.hint
    make_run(tmp_path / "c" / "full" / "seed1", evaluation(hits_of(5, 10)), seed=1, weights="ee" * 32)
    make_run(tmp_path / "c" / "full" / "seed2", evaluation(hits_of(5, 10)), seed=2, weights="ee" * 32)
    assert "very same weights" in compare([tmp_path / "c"]).tables[0].notes[0]
    bare = evaluation(hits_of(5, 10))
    files = [write(tmp_path / f"{n}.json", bare) for n in range(2)]
    with pytest.raises(DataError, match="the same model is there twice"):
        compare(files)


def test_what_a_reader_must_know_is_told(tmp_path):
    failing = evaluation(hits_of(5, 10), failed=1, failures=[{"video": "/somewhere/test/videos/x.mp4"}])
    whole = evaluation([*hits_of(5, 10), True], device="cuda")
    whole["rows"][-1]["video"] = "/somewhere/test/videos/x.mp4"
    make_run(tmp_path / "full" / "seed0", failing)
    make_run(tmp_path / "full" / "seed1", seed=1, epochs=5, batch=8)
    make_run(tmp_path / "deaf", whole, epochs=3)
    stale = json.loads((tmp_path / "deaf" / "eval_0.json").read_text())
    stale["model"]["weights_sha256"] = "00" * 32
    write(tmp_path / "deaf" / "eval_0.json", stale)
    found = compare([tmp_path])
    told = " | ".join([*found.tables[0].notes, *found.notes])
    assert "full K=4: 1 videos could not be read" in told
    assert "deaf/eval_0.json: evaluated other weights" in told
    assert "seconds were not all taken alike: cuda, 1 batches of 16 at once (deaf K=4); cpu" in told
    assert "the trainings of full differ in more than the seed: batch, epochs" in told
    assert found.tables[0].rows[1].paired == 10  # the video that one of them could not read is left out


def test_runs_without_an_evaluation_are_listed_with_their_last_figures(tmp_path):
    run = make_run(tmp_path / "young", epochs=9, top1=(0.1, 0.25))
    with open(run / "metrics.jsonl", "a") as file:
        file.write('{"kind": "train", "step": 250, "epoch": 2, "loss": 2.0, "seconds": 260.0}\n{"kind": "va')
    found = compare([tmp_path])
    (young,) = found.waiting
    assert (found.tables, young.finished, young.epochs_done, young.seconds) == ((), False, 2.5, 260.0)
    assert young.held_out == {"top1": 0.25, "moment_recall": 0.45, "patch_hit": 0.35}
    assert young.curves["top1"].epochs == (1.0, 2.0)
    assert young.curves["top1"].seconds == (100.0, 200.0)  # of the training line before
    assert young.curves["loss"].epochs == (0.5, 1.0, 1.5, 2.0, 2.5)
    assert found.notes == ()  # the last line is being written
    (run / "metrics.jsonl").write_text('{"kind": "train", "step": 1, "epoch": 0, "loss": 1.0}\nbroken\n{}\n')
    assert "line 2 is not JSON" in compare([tmp_path]).notes[0]


def test_folders_are_searched_four_levels_deep_in_the_order_of_their_numbers(tmp_path):
    for name in ("a/b/c/row2", "row10", "row9", ".hidden/row", "a/b/c/d/too_deep"):
        make_run(tmp_path / name, evaluation(hits_of(5, 10)))
    assert labels(compare([tmp_path])) == ["row9 K=4", "row10 K=4", "row2 K=4"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": "avglance.evaluation/2"}, "its schema is 'avglance.evaluation/2'"),
        ({"rows": None}, "it has no rows"),
        ({"rows": []}, "no video was answered"),
        ({"rows": [{"hit1": True}]}, "a row has no video"),
        ({"rows": ["a"]}, "a row has no video"),
        ({"rows": [row("a.mp4", True)] * 2}, "a video stands in two rows"),
        ({"rows": [row("a.mp4", 1)]}, "hit1 of a.mp4 must be true, false or null"),
        ({"top1": 0.9}, "its top1 is 0.9, its 10 labelled rows give 0.5"),
        ({"top1": None}, "its top1 is None"),
        ({"patch_hit": 7}, "patch_hit must be a share"),
        ({"patch_hit": float("nan")}, "patch_hit must be a share"),
        ({"span_iou": "0.5"}, "span_iou must be a share"),
        ({"settings": {}}, "it lacks settings.budget"),
        ({"settings": 3}, "it lacks settings.budget"),
        ({"settings.budget": True}, "it lacks settings.budget"),
        ({"gmacs": 3}, "it has no gmacs by stage"),
    ],
)
def test_what_is_no_evaluation_is_refused(tmp_path, change, message):
    file = write(tmp_path / "wrong.json", evaluation(hits_of(5, 10), **change))
    with pytest.raises(DataError, match=message) as caught:
        compare([file])
    assert "wrong.json" in caught.value.where


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "\xff", "[" * 100_000, "1" * 5000])
def test_broken_files_are_named(tmp_path, text):
    (tmp_path / "bad.json").write_text(text, encoding="latin-1")
    with pytest.raises(DataError, match=r"not JSON|must be one JSON object"):
        compare([tmp_path / "bad.json"])
    run = make_run(tmp_path / "run")
    (run / "eval_bad.json").write_text(text, encoding="latin-1")
    with pytest.raises(DataError) as caught:
        compare([run])
    assert "eval_bad.json" in caught.value.where
    (run / "run.json").write_text(text, encoding="latin-1")
    with pytest.raises(DataError) as caught:
        compare([run])
    assert "run.json" in caught.value.where


def test_paths_that_lead_to_nothing(tmp_path):
    (tmp_path / "empty").mkdir()
    write(tmp_path / "model" / "model.safetensors", {})
    write(tmp_path / "odd" / "run.json", {"command": "x"})
    for path, message in (
        ("missing", "no such file or folder"),
        ("empty", "no run folder"),
        ("model", "a model folder, not a run"),
        ("odd", "it has no settings"),
    ):
        with pytest.raises(DataError, match=message):
            compare([tmp_path / path])


def test_videos_without_labels_leave_the_difference_open(tmp_path):
    first = write(tmp_path / "a.json", evaluation([None, None]))
    second = evaluation([None, None], **{"settings.budget": 8})
    table = compare([first, write(tmp_path / "b.json", second)]).tables[0]
    assert table.rows[1].figures["top1"].mean is None
    assert table.rows[1].difference is None


def test_plain_values_are_json_and_say_where_they_come_from(ablation):
    make_run(ablation / "young", epochs=9, top1=())
    said = json.loads(json.dumps(plain(compare([ablation], baseline="full@4")), allow_nan=False))
    assert said["schema"] == "avglance.comparison/1"
    (table,) = said["tables"]
    assert (table["baseline"], table["data"]["videos"]) == ("full K=4", VIDEOS)
    deaf = table["rows"][0]
    assert (deaf["name"], deaf["budget"], deaf["top1"]["values"]) == ("deaf", 4, [0.4, 0.5])
    assert [one["seed"] for one in deaf["trainings"]] == [0, 1]
    assert deaf["difference"]["value"] == pytest.approx(-0.2)
    assert deaf["difference"]["low"] < -0.2 < deaf["difference"]["high"]
    assert said["not_evaluated"][0]["name"] == "young"
    assert said["not_evaluated"][0]["held_out"] == {}


def test_the_baseline_is_the_row_of_more_trainings_whatever_the_cache(tmp_path):
    """As an ablation leaves it: rows from a cache with controls, and one seed from the files."""
    for name, right in (("full", (60, 70)), ("deaf", (40, 50))):
        for seed, n in enumerate(right):
            cached = {"settings.cached": True}
            plain = evaluation(hits_of(n, VIDEOS), **cached)
            swapped = evaluation(hits_of(5, VIDEOS), **cached, **{"settings.control": "swap_sound"})
            files = [evaluation(hits_of(n - 1, VIDEOS))] if seed == 0 else []
            make_run(tmp_path / name / f"seed{seed}", plain, swapped, *files, seed=seed)
    for wanted in ("full", "full@4"):
        table = compare([tmp_path], baseline=wanted).tables[0]
        base = table.rows[table.baseline]
        assert (base.name, base.cached, base.control, len(base.members)) == ("full", True, "none", 2)
    assert [row.condition for row in table.rows if row.name == "deaf"] == ["", "cached", "swapped, cached"]
    note = next(note for note in table.notes if "not all taken alike" in note)
    assert "from a cache" in note
    one = compare([tmp_path / "deaf" / "seed0"], baseline="deaf@4").tables[0]
    assert not one.rows[one.baseline].cached, "with as many trainings the row from the files"


def test_unlike_grids_are_rows_of_their_own(tmp_path):
    hits = hits_of(6, 10)
    grid = {"settings.grid": "exact", "settings.trained_grid": "exact", "settings.rough": False}
    own = write(tmp_path / "eval_own.json", evaluation(hits))  # as it was before there were grids
    named = evaluation(hits, **grid | {"settings.budget": 8})
    keys = evaluation(hits, **grid | {"settings.grid": "keyframe", "settings.rough": True})
    files = [own, write(tmp_path / "eval_k8.json", named), write(tmp_path / "eval_keys.json", keys)]
    assert [read_evaluation(file).extras for file in files] == [(), (), ("grid keyframe", "rough")]
