"""Whom `avglance bench` races: which pictures they take, and the rounds."""

from __future__ import annotations

import numpy as np
import pytest

from avglance.evaluation import clock
from avglance.evaluation.rivals import MVIT, R2PLUS1D, RIVALS, Look, every_second, uniform


def test_clips_are_those_of_the_cards() -> None:
    one, five = MVIT.times(180.0, 1), MVIT.times(180.0, 5)
    assert one.shape == (1, 16)
    assert five.shape == (5, 16)
    assert np.diff(one[0]) == pytest.approx(1 / 7.5)
    assert one.mean() == pytest.approx(90.0, abs=0.1)
    assert five[0, 0] == 0.0
    assert five[-1, -1] == pytest.approx(180.0 - 1 / 7.5)
    assert np.diff(R2PLUS1D.times(180.0, 5)[2]) == pytest.approx(1 / 15)
    assert (R2PLUS1D.view().source_side, MVIT.view().source_side) == (112, 224)


def test_a_file_shorter_than_a_clip_has_times_inside_it() -> None:
    times = MVIT.times(0.5, 5)
    assert times.min() >= 0
    assert times.max() < 0.5
    assert (MVIT.times(0.05, 1) == 0).all()


def test_pictures_by_number_and_by_second() -> None:
    assert uniform(160.0)[:, 0].tolist() == [5.0 + 10 * n for n in range(16)]
    assert every_second(3.4)[:, 0].tolist() == [0.5, 1.5, 2.5]
    assert every_second(0.2)[:, 0].tolist() == [0.5]


class Told:
    """A rival whose looks take what they are told to."""

    def __init__(self, name: str, seconds: float, called: list[str]) -> None:
        self.name, self.seconds, self.called = name, seconds, called

    def look(self, path: object) -> Look:
        self.called.append(self.name)
        return Look({"decode": self.seconds / 2, "network": self.seconds / 2}, 3, 4, 10**9)


def test_rivals_take_turns_and_the_slow_one_looks_once() -> None:
    called: list[str] = []
    rivals = {name: Told(name, seconds, called) for name, seconds in (("a", 1.0), ("b", 2.0), ("slow", 99.0))}
    looks = clock.timed("x.mp4", rivals, rounds=3, patience_s=10)
    assert called == ["a", "b", "slow", "b", "a", "a", "b"]
    a, b, slow = clock.rows(looks, "a")
    assert b["ratio"]["each"] == [2.0, 2.0, 2.0]
    assert slow["ratio"]["each"] == [99.0]
    assert a["stages"] == {"decode": 0.5, "network": 0.5}
    assert (b["decoded"], b["pictures"], b["gmacs"]) == (4, 3, 1.0)


def test_names_are_the_commands() -> None:
    from avglance.app.bench import AGAINST, OURS

    assert list(RIVALS) == [OURS, *AGAINST]
