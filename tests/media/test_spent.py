"""What is kept of damage: stretches that touch are one, in little time however many, and never too many."""

from __future__ import annotations

import random
import threading
import time
from itertools import pairwise

import pytest

from avglance.errors import MediaError
from avglance.media import spent
from avglance.media.spent import Spans, Spent

JOIN_S = 1e-3


def noted_one_by_one(spans: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Each span widens the first of those kept that it touches, or is kept."""
    kept: list[tuple[float, float]] = []
    for start, end in spans:
        for i, (low, high) in enumerate(kept):
            if start <= high + JOIN_S and end >= low - JOIN_S:
                kept[i] = (min(start, low), max(end, high))
                break
        else:
            kept.append((start, end))
    return kept


def noted_until_nothing_touches(spans: list[tuple[float, float]]) -> list[tuple[float, float]]:
    kept = noted_one_by_one(spans)
    while len(kept) > len(kept := noted_one_by_one(kept)):
        pass
    return sorted(kept)


def random_spans(seed: int) -> list[tuple[float, float]]:
    """Stretches on a grid, some of them empty, with edges that meet, nearly meet, or lie inside others."""
    rng = random.Random(seed)
    found = []
    for _ in range(rng.randrange(1, 120)):
        start = rng.randrange(2000) / 16 + rng.choice((0.0, 0.0, 5e-4, 2e-3))
        found.append((start, start + rng.choice((0.0, 1 / 16, 1 / 8, 3.0)) * rng.random() ** 2))
    return found


@pytest.mark.parametrize("seed", range(40))
def test_stretches_are_those_of_comparing_each_with_each(seed):
    spans, met = random_spans(seed), Spent("x", 1.0)
    for _ in range(2):  # noting them again changes nothing
        for start, end in spans:
            met.note("damaged", "lost", start, end)
        told = [(r.start_s, r.end_s) for r in met.reasons]
        assert told == noted_until_nothing_touches(spans)
    in_order, met = sorted(spans), Spent("x", 1.0)
    for start, end in in_order:
        met.note("damaged", "lost", start, end)
    assert [(r.start_s, r.end_s) for r in met.reasons] == noted_one_by_one(in_order)


def test_twenty_thousand_lost_pictures_are_noted_in_little_time():
    spans, met = [(n * 0.08, n * 0.08 + 0.04) for n in range(20_000)], Spent("x", 1.0)
    told = []
    began = time.process_time()
    for _ in range(3):
        for start, end in spans:
            met.note("damaged", "lost", start, end)
        told.append(met.reasons)
    assert time.process_time() - began < 1.0  # it took half a minute when each was compared with each
    assert told[0] == told[1] == told[2]


@pytest.mark.parametrize("order", ["forward", "backward", "mixed"])
def test_there_are_never_too_many_stretches(order):
    """Every stretch is inside one that is told, and what is told reaches little further."""
    spans = [(n * 0.08, n * 0.08 + 0.04) for n in range(9000)]
    shown = {"forward": spans, "backward": spans[::-1], "mixed": random.Random(1).sample(spans, 9000)}[order]
    kept = Spans()
    for start, end in shown:
        kept.add(start, end)
        assert len(kept) <= spent._MOST_SPANS
    told = list(kept)
    assert len(told) > 500
    assert max(high - low for low, high in told) < 9000 * 0.08 / 500
    assert all(a[1] < b[0] for a, b in pairwise(told))
    assert all(any(low <= start and end <= high for low, high in told) for start, end in spans[::37])
    for start, end in shown:
        kept.add(start, end)
    assert list(kept) == told


def test_the_widest_numbers_are_no_harm():
    kept = Spans()
    for n in range(3000):
        kept.add(-(10.0**300) + n * 1e298, -(10.0**300) + n * 1e298)
        kept.add(n * 1e10, n * 1e10 - 5.0)
    kept.add(float("-inf"), float("inf"))
    assert list(kept) == [(float("-inf"), float("inf"))]


def test_reasons_without_a_span_are_told_once():
    met = Spent("x", 1.0)
    for _ in range(3):
        met.note("limit", "memory")
        met.note("truncated", "it ends early", 3.0, 4.0)
        met.note("truncated", "it ends early")
    told = [(r.kind, r.start_s, r.end_s) for r in met.reasons]
    assert told == [("limit", None, None), ("truncated", None, None), ("truncated", 3.0, 4.0)]


def test_of_one_kind_a_few_hundred_texts_are_told():
    met = Spent("x", 1.0)
    for _ in range(2):
        for n in range(5000):
            met.note("clock_jump", f"it jumps at {n} s")
    met.note("limit", "memory")
    told = [r.text for r in met.reasons]
    assert told[:2] == ["it jumps at 0 s", "it jumps at 1 s"]
    assert told[-2:] == ["more of this kind was met than is told", "memory"]
    assert len(told) == 202


def test_two_tracks_at_work_at_once_spend_the_time_once(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    both = Spent("x", limit_s=3.5)
    inside, leave = threading.Event(), threading.Event()

    def other():
        with both.working():
            inside.set()
            leave.wait(5)

    thread = threading.Thread(target=other)
    with both.working():
        clock[0] = 1.0
        thread.start()
        assert inside.wait(5)
        clock[0] = 3.0
        both.check_time()
    both.check_time()  # the other is still at work: three seconds, not five
    leave.set()
    thread.join()
    assert both.seconds == 3.0
    clock[0] = 10.0
    both.check_time()  # nobody was at work
    with both.working():
        clock[0] = 10.6
        with pytest.raises(MediaError, match=r"longer than 3.5 s"):
            both.check_time()
