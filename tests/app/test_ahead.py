"""Several at once, in order, with a queue of a fixed length."""

from __future__ import annotations

import threading
import time

import pytest
import torch

from avglance.app.ahead import cores, in_order


@pytest.mark.parametrize("at_once", [1, 2, 5])
def test_results_come_in_order(at_once: int) -> None:
    threads = torch.get_num_threads()
    assert list(in_order(lambda n: n * n, range(20), at_once=at_once)) == [n * n for n in range(20)]
    assert torch.get_num_threads() == threads
    assert cores() >= 1


def test_they_are_under_way_together() -> None:
    meeting = threading.Barrier(2, timeout=20)  # raises where one comes alone
    assert len(list(in_order(lambda _: meeting.wait(), range(4), at_once=2))) == 4


def test_no_more_is_taken_ahead_than_fits() -> None:
    taken: list[int] = []

    def items():
        for n in range(100):
            taken.append(n)
            yield n

    results = in_order(lambda n: n, items(), at_once=3)
    assert next(results) == 0
    assert len(taken) <= 5
    results.close()
    assert len(taken) <= 5


def test_an_error_comes_in_its_turn() -> None:
    def work(n: int) -> int:
        if n == 3:
            raise ValueError("three")
        return n

    found = []
    with pytest.raises(ValueError, match="three"):
        found.extend(in_order(work, range(10), at_once=2))
    for n in in_order(work, range(3), at_once=2):
        found.append(n)
    assert found[-3:] == [0, 1, 2]


def test_what_is_done_is_given_out_before_more_is_taken():
    taken: list[int] = []

    def slowly():
        for n in range(4):
            taken.append(n)
            yield n
            time.sleep(0.3)

    for answer in in_order(lambda n: n, slowly(), at_once=4):
        assert len(taken) <= answer + 2


@pytest.mark.parametrize("at_once", [1, 2, 3])
def test_where_the_items_raise_what_is_under_way_is_given_out_first(at_once: int) -> None:
    def items():
        yield from range(3)
        raise OSError("the list cannot be read on")

    answers = in_order(lambda n: time.sleep(0.1) or n, items(), at_once=at_once)
    assert [next(answers) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(OSError, match="cannot be read on"):
        next(answers)
