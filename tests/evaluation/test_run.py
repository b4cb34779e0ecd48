"""The figures of a planted world, known beforehand to the last digit, and what is asked of files."""

from __future__ import annotations

import json
import math
import sys
from dataclasses import replace

import numpy as np
import pytest

from avglance.app.eval_table import table
from avglance.app.render import Ink
from avglance.errors import ArgumentError, DataError
from avglance.evaluation import EvaluationSettings, batch, evaluate
from avglance.systems.calibration import Judgement
from avglance.types import Stopping

from .fakes import BOX, CLASSES, FOCUS_MACS, GLANCE_MACS, SNIPPETS, FakeFiles, Planted, model, world


@pytest.fixture(autouse=True)
def _fake_files(monkeypatch):
    monkeypatch.setattr(batch, "FileView", FakeFiles)


def planted(n: int = 20) -> list[Planted]:
    """Class i mod 5, an event of two snippets that moves along."""
    return [Planted(i % 5, (i % 7, i % 7 + 1)) for i in range(n)]


def test_a_perfect_listener_gets_everything():
    found = evaluate(model(), world(planted()), budget=2, batch=8)
    assert (found["videos"], found["failed"], found["labelled"]) == (20, 0, 20)
    assert found["top1"] == found["top5"] == found["map"] == found["moment_recall"] == 1.0
    assert found["absent_classes"] == []
    assert found["ece"] == pytest.approx(0.4)  # always right, always 0.6
    assert found["patch_hit"] == 1.0
    assert found["patch_chances"] == 40
    assert found["patch_area"] == pytest.approx(0.16)
    assert found["looks"] == 2
    low, high = found["top1_interval"]
    assert 0.8 < low < high == 1.0


def test_intervals_are_over_source_groups_where_videos_share_one():
    """A group is right or wrong as a whole: four of ten do not sound, and nothing is heard there."""
    dataset = world([Planted(i % 5, (1,), sounds=i >= 8) for i in range(20)])
    records = [replace(r, group=f"g{n // 2}") for n, r in enumerate(dataset.records)]
    plain, grouped = (
        evaluate(model(), one, budget=2) for one in (dataset, replace(dataset, records=tuple(records)))
    )
    assert (plain["interval_groups"], grouped["interval_groups"]) == (None, 10)
    assert [row["group"] for row in grouped["rows"][:3]] == ["g0", "g0", "g1"]
    assert plain["top1"] == grouped["top1"]
    widths = [high - low for low, high in (plain["top1_interval"], grouped["top1_interval"])]
    assert widths[1] > widths[0]
    told = table({**grouped, "command": ""}, Ink(sys.stdout))
    assert "intervals over 10 source groups" in told
    assert "source groups" not in table({**plain, "command": ""}, Ink(sys.stdout))


def test_recall_divides_by_what_the_budget_reaches_and_the_patch_is_judged_in_the_files_pixels():
    inside, outside = (161.0, 61.0), (159.0, 61.0)  # the patch is x 160..256, y 60..156 in the file
    dataset = world([Planted(0, (1, 2, 3), centre=inside), Planted(1, (4,), centre=outside), Planted(2, ())])
    found = evaluate(model(), dataset, budget=1)
    assert found["moment_recall"] == 1.0
    assert (found["patch_hit"], found["patch_chances"]) == (0.5, 2)
    assert found["rows"][0]["moments"][0]["box_px"] == [160, 60, 256, 156]
    assert [row["patch_hits"] for row in found["rows"]] == [1, 0, None]
    wide = evaluate(model(), dataset, budget=4)
    assert wide["rows"][0]["moment_recall"] == 1.0
    assert wide["patch_chances"] == 4  # three of the first video, one of the second
    assert wide["rows"][2]["moment_recall"] is None
    assert wide["events"] == 2


def test_the_ceiling_of_uniform_looks():
    # of 8 snippets the uniform 2 are 2 and 6
    dataset = world([Planted(0, (2,)), Planted(1, (6,)), Planted(2, (4, 5)), Planted(3, (0, 1))])
    assert evaluate(model(), dataset, budget=2)["uniform_ceiling"] == 0.5
    assert evaluate(model(), dataset, budget=8)["uniform_ceiling"] == 1.0


def test_spans_of_the_true_label_against_the_event():
    found = evaluate(model(), world([Planted(0, (2, 3)), Planted(1, (5,))]), budget=2)
    # snippets last 2 s, the event begins 0.1 s later and ends 0.1 s earlier than they do
    assert found["span_iou"] == pytest.approx((3.8 / 4 + 1.8 / 2) / 2)
    assert found["span_iou_above_half"] == 1.0
    assert found["rows"][0]["spans"] == [[4.0, 8.0, "bell", 0.9]]
    deaf = evaluate(model(span_threshold=0.95), world([Planted(0, (2, 3))]), budget=2)
    assert deaf["span_iou"] == 0.0


def test_with_the_sound_of_another_class_it_is_never_right_and_asks_the_donors():
    found = evaluate(model(), world(planted(30)), budget=2, batch=7, control="swap_sound")
    assert found["donors_sharing_a_label"] == 0
    assert found["top1"] == 0.0
    assert found["moment_recall"] < 0.7
    assert found["settings"]["control"] == "swap_sound"
    own, donors = FakeFiles.made[0::2], FakeFiles.made[1::2]
    assert not any(files.heard.any() for files in own)
    assert all(files.heard.any() for files in donors)
    assert not any(files.frames_delivered.any() for files in donors)
    assert all(files.closed for files in FakeFiles.made)
    again = evaluate(model(), world(planted(30)), budget=2, batch=30, control="swap_sound")
    assert again["moment_recall"] == found["moment_recall"]  # the donors do not depend on the batch


def test_muted_nothing_is_heard():
    found = evaluate(model(), world(planted()), budget=2, control="mute")
    assert found["heard"] == 0
    assert found["top1"] == 0.2  # all scores equal: the first class
    assert not any(files.heard.any() for files in FakeFiles.made)


def test_failed_videos_are_named_and_enter_no_figure():
    videos = planted(6)
    videos[1] = Planted(1, (1,), broken=True)
    videos[4] = Planted(4, (1,), broken=True)
    found = evaluate(model(), world(videos), budget=2, batch=4)
    assert (found["videos"], found["failed"], found["top1"]) == (4, 2, 1.0)
    assert [f["video"] for f in found["failures"]] == ["videos/001.mp4", "videos/004.mp4"]
    assert found["failures"][0]["kind"] == "not_media"
    assert found["gmacs"]["total"] == pytest.approx((GLANCE_MACS * SNIPPETS + 2 * FOCUS_MACS) / 1e9)


def test_nothing_can_be_read():
    found = evaluate(model(), world([Planted(0, (), broken=True)] * 3), budget=2)
    assert (found["videos"], found["failed"]) == (0, 3)
    for name in ("top1", "map", "moment_recall", "patch_hit", "span_iou", "gmacs_distribution"):
        assert found[name] is None
    json.dumps(found, allow_nan=False)


def test_cost_by_stage_is_what_ran():
    found = evaluate(model(), world(planted()), budget=3)
    assert found["gmacs"]["glance"] == pytest.approx(GLANCE_MACS * SNIPPETS / 1e9)
    assert found["gmacs"]["focus"] == pytest.approx(3 * FOCUS_MACS / 1e9)
    assert found["gmacs_distribution"]["std"] == pytest.approx(0, abs=1e-12)
    assert found["rows"][7]["macs"] == {"glance": GLANCE_MACS * SNIPPETS, "focus": 3 * FOCUS_MACS}
    assert list(found["seconds"]) == ["decode", "glance", "focus", "total"]
    assert found["seconds"]["decode"] == pytest.approx(0.25)
    assert found["frames"] == {"delivered": SNIPPETS, "decoded": 2 * SNIPPETS, "whole": 160}
    assert found["whole_gmacs"] == pytest.approx(5e-5)


@pytest.mark.parametrize(("size", "workers"), [(1, 1), (3, 3), (64, 2)])
def test_figures_do_not_depend_on_batch_or_workers(size, workers):
    videos = planted(11)
    videos[3] = Planted(3, (2,), broken=True)
    same = evaluate(model(), world(videos), budget=2, batch=4)
    other = evaluate(model(), world(videos), budget=2, batch=size, workers=workers)
    assert other["rows"] == same["rows"]
    assert other["failures"] == same["failures"]
    clocks = ("seconds", "wall_s", "wall_s_per_video", "settings")
    assert {k: v for k, v in other.items() if k not in clocks} == {
        k: v for k, v in same.items() if k not in clocks
    }


def test_limit_takes_the_first_and_progress_counts_all():
    told = []
    found = evaluate(
        model(), world(planted()), budget=2, batch=4, limit=10, progress=lambda *x: told.append(x)
    )
    assert found["videos"] == 10
    assert told == [(4, 10, 0), (8, 10, 0), (10, 10, 0)]
    assert [row["video"] for row in found["rows"]] == [f"videos/{i:03d}.mp4" for i in range(10)]


def test_the_report_is_plain_json_and_says_what_was_run():
    found = json.loads(json.dumps(evaluate(model(), world(planted())), allow_nan=False))
    assert found["schema"].startswith("avglance.evaluation/")
    assert found["model"] == {
        "name": "ears.planted",
        "system": "ears",
        "weights_sha256": "f" * 64,
        "labels": "one",
        "toy": False,
        "span_threshold": 0.5,
    }
    assert found["data"] == {"kind": "planted", "sha256": "0" * 64, "videos": 20}
    assert found["settings"]["budget"] == 4
    assert found["settings"]["snippets"] == SNIPPETS
    row = found["rows"][0]
    assert row["labels"][0] == ["bell", 0.6]
    assert row["truth"] == ["bell"]
    assert (row["hit1"], row["hit5"], row["heard"]) == (True, True, True)


def test_classes_that_the_model_does_not_know():
    dataset = world(planted(10))
    narrow = model()
    narrow.classes = (*CLASSES[:4], "snow")
    found = evaluate(narrow, dataset, budget=2)
    assert found["unknown_classes"] == ["wind"]
    assert found["top1"] == 0.8
    assert found["absent_classes"] == ["snow"]
    assert found["map"] == 1.0
    assert found["map_empty_as_zero"] == pytest.approx(0.8)
    narrow.classes = ("a", "b", "c", "d", "e")
    with pytest.raises(DataError, match="none of the 5 classes"):
        evaluate(narrow, dataset)


@pytest.mark.parametrize(
    "wrong", [{"budget": 0}, {"budget": 9}, {"batch": 0}, {"limit": 0}, {"workers": 0}, {"control": "shout"}]
)
def test_wrong_values_are_refused_before_a_file_is_opened(wrong):
    dataset = world(planted(3))
    with pytest.raises(ArgumentError):
        evaluate(model(), dataset, **wrong)
    assert FakeFiles.made == []


def test_settings_are_checked_alone():
    assert EvaluationSettings().control == "none"
    with pytest.raises(ArgumentError, match="batch"):
        EvaluationSettings(batch=0)


def test_the_fake_box_is_where_the_tests_say():
    dataset = world([Planted(0, (1,))])
    files = FakeFiles([r.path for r in dataset.records], model().system.view_settings)
    assert tuple(files.box_px(0, np.array(BOX))) == (160, 60, 256, 156)


def test_calibrated_scores_and_videos_of_nothing_known():
    """Everything is said with 0.6; at half the temperature that is surer, below 0.99 it is unknown."""
    dataset = world([*planted(10), Planted(0, ())])
    strange = replace(dataset.records[-1], labels=(), unknown=True)
    dataset = replace(dataset, records=(*dataset.records[:-1], strange))
    judge = Judgement((0.5,), (0.99, *(0.1,) * 4), -math.inf)
    found = evaluate(model(calibration=judge.as_card()), dataset, budget=2)
    assert found["labelled"] == 10
    assert found["calibrated"] is True
    assert found["ece"] == pytest.approx(1 - 0.36 / (0.36 + 4 * 0.01))
    assert found["calibration_error"] == pytest.approx(found["ece"])  # all hit: no scatter to take off
    said = found["unknown"]
    assert [said[n] for n in ("said", "recognised", "known_said", "right_lost", "top1_lost")] == [
        pytest.approx(3 / 11), 1.0, 0.2, 0.2, 0.2
    ]  # fmt: skip
    assert [said[n] for n in ("said_videos", "recognised_videos", "videos")] == [3, 1, 1]
    assert [said[n] for n in ("known_said_videos", "known", "right_lost_videos", "right")] == [2, 10, 2, 10]
    assert found["rows"][0]["labels"][:2] == [["unknown", 1.0], ["bell", 0.9]]
    assert found["rows"][0]["hit1"] is True, "top-1 is of the names behind it"
    assert found["rows"][-1]["truth"] == ["unknown"]
    plain = evaluate(model(), dataset, budget=2)
    assert (plain["calibrated"], plain["unknown"]["said"]) == (False, 0.0)


def strangers(count, *, of=()):
    """Videos without an event, ``unknown``, behind others."""
    dataset = world([*of, *(Planted(0, ()) for _ in range(count))])
    last = (replace(r, labels=(), truth=None, unknown=True) for r in dataset.records[len(of) :])
    return replace(dataset, records=(*dataset.records[: len(of)], *last))


def test_videos_of_nothing_known_alone():
    judge = Judgement((0.5,), (0.99, *(0.1,) * 4), -math.inf)
    found = json.loads(json.dumps(evaluate(model(calibration=judge.as_card()), strangers(4), budget=2)))
    said = found["unknown"]
    assert (found["labelled"], found["events"], said["videos"], said["recognised_videos"]) == (0, 0, 4, 4)
    for name in ("top1", "map", "calibration_error", "moment_recall", "span_iou", "uniform_ceiling"):
        assert found[name] is None
    for name in ("known_said", "right_lost", "top1_lost"):
        assert said[name] is None
    assert [row["truth"] for row in found["rows"]] == [["unknown"]] * 4


def test_videos_of_nothing_known_enter_no_figure_of_what_is():
    """Nor do videos of a class that the model has not learned count as known to it."""
    mixed, alone = (evaluate(model(), strangers(n, of=planted(10)), budget=2) for n in (5, 0))
    for name in ("top1", "map", "events", "moment_recall", "patch_hit", "span_iou", "uniform_ceiling"):
        assert mixed[name] == alone[name]
    narrow = model()
    narrow.classes = (*CLASSES[:4], "snow")
    assert evaluate(narrow, world(planted(10)), budget=2)["unknown"]["known"] == 8


def test_who_cannot_stop_early_says_so():
    with pytest.raises(ArgumentError, match="cannot stop early"):
        evaluate(model(), world(planted(2)), budget=2, stop=Stopping((0.5, 0.5)))


def test_evenly_spaced_moments_are_of_a_fixed_number_of_looks():
    """With exits the most salient of them would come first, and with a budget in GMACs all are even."""
    with pytest.raises(ArgumentError, match="evenly spaced moments take a fixed number of looks") as error:
        evaluate(model(), world(planted(2)), budget=2, control="uniform", stop=Stopping((0.5, 0.5)))
    assert "--no-exit" in error.value.hint


def test_another_grid_than_the_models_own_is_asked_of_files_and_noted():
    own = evaluate(model(), world(planted()))
    assert {FakeFiles.made[-1].settings.grid, own["settings"]["grid"], own["settings"]["trained_grid"]} == {
        "exact"
    }
    assert own["keyframes"] == {"snippets": 0.0, "pictures": float(SNIPPETS)}
    found = evaluate(model(), world(planted()), grid="auto", rough=True)
    assert (FakeFiles.made[-1].settings.grid, FakeFiles.made[-1].rough) == ("auto", True)
    settings = found["settings"]
    assert (settings["grid"], settings["trained_grid"], settings["rough"]) == ("auto", "exact", True)
    assert found["keyframes"]["snippets"] == SNIPPETS * 3 / 4
    assert found["rows"][0]["on_keyframes"] == SNIPPETS * 3 // 4
    with pytest.raises(ArgumentError, match="grid must be one of exact, keyframe, auto"):
        evaluate(model(), world(planted()), grid="keyframes")
