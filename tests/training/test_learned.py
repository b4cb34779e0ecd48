"""What was learned, on answers whose figures are known."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from tests.training.judged import CARD, CLASSES, SIZES, judged

from avglance.training.learned import accuracy, confusions, doubtful, doubtful_several, matrix, report


def made(held, trained=None, *, several=False, **card):
    how = {"classes": CLASSES, "counts": [1, 1, 1], "sizes": SIZES, "gmacs": 0.5}
    found = report(held, trained, several=several, card=CARD | card, **how)
    json.dumps(found, allow_nan=False)
    return found


def test_the_share_that_is_right_with_its_interval():
    found = accuracy(judged())
    assert (found["right"], found["videos"], found["top1"], found["guess"]) == (4, 6, 4 / 6, 0.5)
    assert found["low"] < 0.31
    assert found["high"] > 0.89


def test_confusions_name_the_surest_errors_first():
    assert matrix(judged()).tolist() == [[1, 2, 0], [0, 2, 0], [0, 0, 1]]
    (row,) = confusions(judged(), CLASSES)
    assert (row["label"], row["said"], row["count"], row["of"]) == ("a", "b", 2, 3)
    assert row["examples"] == [{"file": "1.mp4", "score": 0.8}, {"file": "2.mp4", "score": 0.6}]


def test_a_label_is_doubted_where_the_other_class_is_as_sure_as_its_own_videos():
    trained = judged([[0.05, 0.95, 0.0], [0.6, 0.4, 0.0]], [2, 2], trained=True)
    found = doubtful([judged(), trained], CLASSES)
    assert [(row["file"], row["said"], row["trained"]) for row in found] == [
        ("0.mp4", "b", True),  # 0.95
        ("1.mp4", "b", False),  # 0.8: b's own are called b with 0.7 on average; 0.6 of number 2 is less
        ("1.mp4", "a", True),  # 0.6: a's own have 0.47, but half is the least
    ]
    assert found[0]["labels"] == ["c"]
    assert found[1]["score_of_label"] == 0.2


def test_of_several_labels_missing_ones_are_looked_for():
    held = judged([[0.9, 0.8, 0.1], [0.1, 0.7, 0.1], [0.2, 0.1, 0.9]], [0, 1, 2])
    (row,) = doubtful_several([held], CLASSES)
    assert (row["file"], row["labels"], row["said"]) == ("0.mp4", ["a"], "b")
    found = made(
        held, several=True, calibration={"threshold": [0.4, 0.5, 0.6], "temperature": [3.0], "ece": 0.1}
    )
    assert found["accuracy"] is None
    assert found["confusions"] == []
    assert [row["threshold"] for row in found["classes"]] == [0.4, 0.5, 0.6]
    assert [row["recall"] for row in found["classes"]] == [None] * 3
    assert found["doubtful"][0]["score"] == 0.8  # a yes or no is no share of a whole: as it is


def test_a_report_has_all_and_its_scores_are_calibrated():
    found = made(
        judged(), judged(trained=True), calibration={"temperature": [1.0, 2.0], "least_score": [None] * 3}
    )
    assert found["sound"] == {"heard": 12, "of": 12}
    assert found["cost"] == {"seconds": 1.5, "device": "cpu", "gmacs": 0.5}
    first = found["confusions"][0]["examples"][0]["score"]
    assert first == pytest.approx(0.8**0.5 / (0.8**0.5 + 0.2**0.5))
    assert [row["recall"] for row in found["classes"]] == [pytest.approx(1 / 3), 1.0, 1.0]
    assert made(judged())["calibration"] is None


def test_a_class_without_a_held_out_video_and_a_video_of_nothing_are_no_trouble():
    held = judged([[0.9, 0.1, 0.0], [0.2, 0.8, 0.0]], [0, 1])
    row = made(held)["classes"][2]
    assert (row["held_out"], row["recall"], row["average_precision"]) == (0, None, None)
    none = replace(held, targets=np.zeros((2, 3)))
    assert made(none, several=True)["map"] is None


def test_of_many_classes_there_is_no_matrix():
    labels = list(range(30))
    held = judged(np.eye(30), labels)
    how = {"classes": list("abcdefghijklmnopqrstuvwxyzABCD"), "counts": [1] * 30, "sizes": SIZES, "gmacs": 1}
    assert report(held, None, several=False, card=CARD, **how)["matrix"] is None
