"""Budgets in looks, multiply-adds and seconds: what is understood, what is refused, what is planned."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from pathlib import Path

import pytest

from avglance.app.budget import Plan, parse, plan
from avglance.errors import ArgumentError
from avglance.systems.budget import look_macs
from avglance.systems.exits import ExitTable
from avglance.systems.store import load_model

ONE, THREE = (-math.inf,) * 16, (0.9, 0.8, *(-math.inf,) * 14)
TABLE = ExitTable((1.0, 2.5), (0.7, 0.9), (ONE, THREE))


@pytest.fixture(scope="module")
def system(random_model: Path):
    return load_model(random_model).system


@pytest.mark.parametrize(
    ("text", "amount", "unit"),
    [
        ("4", 4.0, ""), (4, 4.0, ""), (" 4 ", 4.0, ""), ("8GMAC", 8.0, "GMAC"), ("0.25GMAC", 0.25, "GMAC"),
        (".5GMAC", 0.5, "GMAC"), ("2s", 2.0, "s"), ("1e-1s", 0.1, "s"), ("-3", -3.0, ""), ("0s", 0.0, "s"),
        ("999999999999", 999999999999.0, ""),
    ],
)  # fmt: skip
def test_budgets_that_are_understood(text: object, amount: float, unit: str) -> None:
    assert parse(text) == (amount, unit)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("8 gmac", "write 8GMAC"), ("8gmac", "write 8GMAC"), ("8 GMAC", "write 8GMAC"), ("2 s", "write 2s"),
        ("2S", "write 2s"), ("8GFLOPs", "write 8GMAC"),
        *((wrong, "for example 4") for wrong in (
            "8kg", "nan", "inf", "", "GMAC", "1e999", "1e999GMAC", "1e999s", "4.0", 4.0, True, None,
            "--5", "\u0664", "4\n5", b"4", [4], "2min", "4,5GMAC", "9" * 5000,
        )),
    ],
)  # fmt: skip
def test_budgets_that_are_none(text: object, hint: str) -> None:
    with pytest.raises(ArgumentError) as error:
        parse(text)
    assert error.value.where == "budget"
    assert error.value.hint.startswith(hint)


def test_looks(system) -> None:
    assert plan(system, None) == Plan(4, words="4 looks")
    assert plan(system, TABLE, "4").sure is None, "a plain number is exact"
    early = plan(system, TABLE, "4", True)
    assert (early.looks, early.sure) == (4, THREE)
    assert plan(system, TABLE, 1, True).sure == ONE
    for wrong in (0, -1, 17):
        with pytest.raises(ArgumentError, match="budget"):
            plan(system, None, wrong)


def test_half_of_the_glance_first(system) -> None:
    """Where the card says so, and a budget has room for more looks than come by that."""
    inner = ExitTable((1.0, 3.0), (0.7, 0.9), (ONE, THREE), halves=2, both=(0.0, 0.5))
    table = replace(TABLE, in_halves=inner)
    assert plan(system, table, 2, True).halves == 0
    early = plan(system, table, 8, True)
    assert (early.halves, early.sure, early.stop(0.0).halves) == (2, THREE, 2)
    assert "half of the glance first" in early.words
    assert plan(system, table, 8).halves == 0, "a plain number is exact"
    assert plan(system, table, "9s").halves == 2
    assert plan(system, table, 4, True, 8).halves == 0, "few pictures are chosen from all sounds"
    assert plan(system, table, 8, True, steered=True).halves == 0, "who is told where to look sees everything"
    before, each = look_macs(system)
    least = before / 2 + each
    assert plan(system, table, f"{(least + 1) / 1e9:.12f}GMAC").sure == ONE
    with pytest.raises(ArgumentError, match="below one look") as error:
        plan(system, table, f"{(least - 1e6) / 1e9:.12f}GMAC")
    assert float(error.value.hint.split()[-1].removesuffix("GMAC")) == pytest.approx(least / 1e9, abs=1e-4)
    assert plan(system, table, f"{(0.75 * before + 3 * each + 1) / 1e9:.12f}GMAC").sure == THREE


def test_multiply_adds(system) -> None:
    before, each = look_macs(system)

    def said(looks: float) -> str:
        return f"{(before + looks * each) / 1e9:.9f}GMAC"

    assert plan(system, None, said(3.5)).looks == 3
    assert plan(system, None, said(3.5)).sure is None
    assert plan(system, None, "1000000GMAC").looks == 16
    few, many = plan(system, TABLE, said(1.5)), plan(system, TABLE, said(3))
    assert (few.sure, few.looks) == (ONE, 16)
    assert (many.sure, many.looks) == (THREE, 16)
    assert plan(system, TABLE, said(3.5), False).looks == 3
    for wrong in (said(0.9), "0GMAC", "-1GMAC"):
        with pytest.raises(ArgumentError, match="below one look") as error:
            plan(system, TABLE, wrong)
        smallest = str(error.value.hint).rsplit(" ", 1)[1]
        assert plan(system, TABLE, smallest).looks >= 1


def test_the_smallest_budget_is_enough_whatever_its_size(system, monkeypatch: pytest.MonkeyPatch) -> None:
    for macs in ((100_000, 1), (123_456_249_999, 1), (9_876_543_211_234, 1), (100_000, 0)):
        monkeypatch.setattr("avglance.systems.budget.look_macs", lambda *_, macs=macs: macs)
        with pytest.raises(ArgumentError, match="below one look") as error:
            plan(system, TABLE, "0GMAC")
        assert plan(system, TABLE, str(error.value.hint).rsplit(" ", 1)[1]).looks >= 1


def test_no_more_looks_than_pictures(system) -> None:
    assert plan(system, None, None, None, 2) == Plan(
        2, words="2 looks, 2 of 16 pictures glanced at", pictures=2
    )
    assert plan(system, None, 3, None, 8).looks == 3
    assert plan(system, None, None, None, 0) == Plan(4, words="4 looks", pictures=0)
    assert plan(system, None, "2s", None, 5).looks == 5
    with pytest.raises(ArgumentError, match="more than this model") as error:
        plan(system, None, 4, None, 2)
    assert "2 where it glances at 2 pictures" in str(error.value.hint)
    (before, each), (less, same) = system.look_macs(), system.look_macs(8)
    assert each == same
    assert less < before
    gmacs = f"{(before + 2 * each) / 1e9:.9f}GMAC"
    assert plan(system, None, gmacs, None, 8).looks > plan(system, None, gmacs).looks == 2
    for wrong in (-1, 17):
        with pytest.raises(ArgumentError, match="cannot glance at"):
            plan(system, None, None, None, wrong)


def test_seconds(system) -> None:
    found = plan(system, None, "2s")
    assert (found.looks, found.sure, found.seconds) == (16, None, 2.0)
    assert plan(system, TABLE, "2s").sure == THREE
    now = time.perf_counter()
    stop = found.stop(now)
    assert stop is not None
    assert stop.late is not None
    assert not stop.late()
    over = found.stop(now - 3)
    assert over is not None
    assert over.late is not None
    assert over.late()
    assert plan(system, None, 4).stop(now) is None
    for wrong in ("0s", "-1s", "1e6s"):
        with pytest.raises(ArgumentError, match="outside"):
            plan(system, None, wrong)


def test_who_cannot_stop_says_so(system) -> None:
    from avglance.systems import build

    with pytest.raises(ArgumentError, match="no exit thresholds"):
        plan(system, None, 4, True)
    tsn = build("tsn_nano", classes=3)
    for budget, early in (("2s", None), (4, True)):
        with pytest.raises(ArgumentError, match="at once"):
            plan(tsn, TABLE, budget, early)
    assert plan(tsn, None, "1GMAC").looks >= 1
