"""Pictures decoded in a thread before they are asked for: the same ones, the same errors, and an end."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from tests.views.test_fileview import SETTINGS, Paper, PaperReader, places

from avglance.errors import MediaError
from avglance.views import FileView, ask_all, ask_pictures, expect_pictures, onefile
from avglance.views.ahead import Ahead

EVERY = places(0, *range(8))


@pytest.fixture
def shelf(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setattr(onefile, "VideoReader", PaperReader)
    PaperReader.made, PaperReader.papers = {}, {}
    return PaperReader.papers


def threads() -> int:
    return sum(one.name == "pictures" for one in threading.enumerate())


def test_items_come_in_order_from_another_thread() -> None:
    def made() -> Iterator[tuple[int, int]]:
        for n in range(5):
            yield n, threading.get_ident()

    found = list(ahead := Ahead(made(), "items"))
    assert [n for n, _ in found] == list(range(5))
    assert threading.get_ident() not in {where for _, where in found}
    assert list(ahead) == []
    ahead.close()
    ahead.close()


def test_an_error_is_raised_where_its_turn_comes() -> None:
    def made() -> Iterator[int]:
        yield 1
        raise ValueError("broken")

    ahead = Ahead(made(), "items")
    assert next(ahead) == 1
    with pytest.raises(ValueError, match="broken"):
        next(ahead)
    assert list(ahead) == []


def test_closing_ends_the_work_after_the_item_at_hand() -> None:
    done, closed = [], threading.Event()

    def made() -> Iterator[int]:
        try:
            for n in range(10_000):
                done.append(n)
                time.sleep(0.001)
                yield n
        finally:
            closed.set()

    ahead = Ahead(made(), "items")
    next(ahead)
    ahead.close()
    assert closed.is_set()
    assert len(done) < 10_000
    assert len(list(ahead)) < 10_000  # what was made is there, and an end behind it


def test_expected_pictures_are_the_same_and_decoded_once(shelf: dict) -> None:
    shelf["a"] = Paper(lost=(6.0, 8.0))
    with FileView(["a"], SETTINGS) as plain:
        one = plain.pictures(EVERY), plain.visible, plain.sounds(EVERY)
    with FileView(["a"], SETTINGS) as view:
        view.expect_pictures(EVERY)
        sounds = view.sounds(EVERY)
        first = view.pictures(EVERY[:2])
        assert view.visible[0].all()  # the lost one is further on
        rest = view.pictures(EVERY[2:])
        assert np.array_equal(np.concatenate([first, rest]), one[0])
        assert np.array_equal(view.visible, one[1])
        assert np.array_equal(sounds, one[2])
        assert PaperReader.made["a"].asked_times == view.times[0].tolist()
        assert view.patches(EVERY[:1], [[0, 0, 0.5, 0.5]]).any()
        assert view.frames_delivered[0] == 7
        assert view.condition(0).coverage == plain.condition(0).coverage
    assert threads() == 0


def test_what_was_not_expected_is_read_when_the_thread_is_done(shelf: dict) -> None:
    shelf["a"] = Paper()
    with FileView(["a"], SETTINGS) as view:
        view.expect_pictures(EVERY[:4])
        assert view.pictures(EVERY[[1, 6]]).any(axis=(1, 2, 3)).all()
        assert sorted(PaperReader.made["a"].asked_times) == view.times[0, [0, 1, 2, 3, 6]].tolist()
        assert view.pictures(EVERY[:4]).any(axis=(1, 2, 3)).all()


def test_an_error_keeps_what_had_come_and_is_told(shelf: dict) -> None:
    shelf["a"] = Paper(error=MediaError("no more time", kind="timeout"))
    with FileView(["a"], SETTINGS) as view:
        view.expect_pictures(EVERY)
        for at in (EVERY[:4], EVERY[4:]):
            view.pictures(at)
        assert view.visible[0].tolist() == [True] + 7 * [False]
        assert any(reason.kind == "timeout" for reason in view.condition(0).reasons)
        assert view.errors == [None]


def test_a_defect_in_the_thread_is_raised(shelf: dict) -> None:
    shelf["a"] = Paper(error=ZeroDivisionError("a defect"))  # type: ignore[arg-type]
    with FileView(["a"], SETTINGS) as view:
        view.expect_pictures(EVERY)
        with pytest.raises(ZeroDivisionError):
            view.pictures(EVERY)
    assert threads() == 0


def test_a_view_may_be_closed_while_pictures_come(shelf: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    def slowly(self: PaperReader, times: Any, **_: Any) -> Iterator[tuple[int, None]]:
        for index in range(len(times)):
            time.sleep(0.05)
            assert not self.closed
            yield index, None

    monkeypatch.setattr(PaperReader, "frames_at", slowly)
    shelf["a"] = Paper()
    start = time.perf_counter()
    with FileView(["a"], SETTINGS) as view:
        view.expect_pictures(EVERY)
    assert time.perf_counter() - start < 0.3
    assert threads() == 0
    assert PaperReader.made["a"].closed == 1


@pytest.mark.parametrize(("files", "reading"), [(["a"], {"threads": 1}), (["a", "b"], {})])
def test_one_thread_and_several_files_expect_nothing(shelf: dict, files: list[str], reading: dict) -> None:
    shelf["a"] = shelf["b"] = Paper()
    with FileView(files, SETTINGS, **reading) as view:
        view.expect_pictures(EVERY)
        assert PaperReader.made["a"].asked_times == []
        assert view.pictures(EVERY).any()


def test_pictures_of_one_video_come_in_quarters(shelf: dict) -> None:
    shelf["a"], shelf["b"] = Paper(lost=(6.0, 8.0)), Paper()
    with FileView(["a"], SETTINGS) as view:
        expect_pictures(view)
        parts = list(ask_pictures(view))
        whole, mask = ask_all(view, "pictures")
    assert [len(rows) for rows, _ in parts] == [2, 1, 2, 2]
    assert np.array_equal(np.concatenate([rows for rows, _ in parts]), whole)
    assert np.array_equal(np.logical_or.reduce([part for _, part in parts]), mask)
    few = np.array([[5, 1]])
    with FileView(["a"], SETTINGS) as view:
        expect_pictures(view, among=few)
        assert [part[0].nonzero()[0].tolist() for _, part in ask_pictures(view, among=few)] == [[1], [5]]
        assert len(PaperReader.made["a"].asked_times) == 2
    with FileView(["a", "b"], SETTINGS) as view:
        assert [len(rows) for rows, _ in ask_pictures(view)] == [15]
        none = np.zeros((2, 0), dtype=np.int64)
        assert [len(rows) for rows, _ in ask_pictures(view, among=none)] == [0]


@pytest.mark.parametrize("reading", [{}, {"threads": 1}])
def test_snippets_that_share_a_lost_picture_are_all_told(shelf: dict, reading: dict) -> None:
    shelf["a"] = Paper(key_s=8.0, lost=(8.0, 9.0))
    settings = replace(SETTINGS, grid="keyframe")
    with FileView(["a"], settings, **reading) as view:
        ask_all(view, "pictures")
        whole = view.condition(0)
    with FileView(["a"], settings, **reading) as view:
        expect_pictures(view)
        for _ in ask_pictures(view):
            pass
        assert view.condition(0) == whole
    assert [reason.kind for reason in whole.reasons] == ["pictures_lost"]
