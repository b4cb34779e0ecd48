"""Results as text: what leads, what is stripped, and JSON lines that any reader takes."""

from __future__ import annotations

import dataclasses
import io
import json
import math

import pytest

from avglance.app import render
from avglance.types import STAGES, Condition, Cost, Failure, GridUse, Label, Reason


def test_every_control_character_is_stripped() -> None:
    bad = "".join(map(chr, [*range(32), *range(127, 160)])) + "\u202e\u2066\u200f\ufeff\ud800"
    shown = render.clean(f"a{bad}b")
    assert shown.replace(" ", "") == "ab"
    assert (
        render.clean("f\u00fcr \u00e9t\u00e9 \U0001f3a5 \u65e5\u672c")
        == "f\u00fcr \u00e9t\u00e9 \U0001f3a5 \u65e5\u672c"
    )


def test_long_text_is_cut_in_its_middle() -> None:
    shown = render.clean("a" * 500 + "b" * 500, 100)
    assert len(shown) == 100
    assert shown.startswith("aaa")
    assert shown.endswith("bbb")


@pytest.mark.parametrize(
    ("time_s", "shown"),
    [(0, "00:00.0"), (59.96, "01:00.0"), (83.26, "01:23.3"), (3683, "1:01:23.0"), (-1, "00:00.0")],
)
def test_times_are_shown_as_a_player_does(time_s: float, shown: str) -> None:
    assert render.clock(time_s) == shown


def test_the_table_leads_with_moments_then_spans_labels_and_cost(make_answer, terminal) -> None:
    text = render.table(make_answer(), render.Ink(terminal, {"NO_COLOR": "1"}))
    lines = text.splitlines()
    assert lines[0] == "films/my clip.mp4  00:24.0  degraded"
    assert lines[1] == f"  ! {render.TOY_BANNER}"
    assert lines[2] == "  ! pictures_lost: no picture came (00:04.5 - 00:09.0)"
    heads = [text.index(f"\n  {word}") for word in ("moments", "spans", "labels", "spent")]
    assert heads == sorted(heads)
    assert any(
        line.startswith("  00:12.8     0.216 ") and line.endswith(" 100   60  196  156") for line in lines
    )
    assert "  00:12.0 - 00:16.5       0.610 grating_45 warble" in lines
    assert any(line.startswith("  0.731 ") and line.endswith("grating_45 warble") for line in lines)
    assert "  GMACs   0.126 of 2.2  5.7 %" in lines
    assert "  frames  16 of 240 looked at, 231 decoded on the way" in lines
    # 0.132 * 240 / 231 + 0.061 * 2204 / 88 = 1.665
    assert any(line.startswith("  time    0.23 s of about 1.66 s  14 %  (decode 0.13 s, ") for line in lines)


def test_the_banner_is_shown_for_toy_models_only(make_answer, terminal) -> None:
    ink = render.Ink(terminal, {})
    assert render.TOY_BANNER in render.table(make_answer(), ink)
    assert render.TOY_BANNER not in render.table(make_answer(toy=False), ink)
    assert render.as_record(make_answer())["banner"] == render.TOY_BANNER
    assert "banner" not in render.as_record(make_answer(toy=False))


def test_an_answer_from_sound_alone_says_so(make_answer, terminal) -> None:
    heard = make_answer(moments=(), spans=(), cost=Cost(0, 0, {"decode": 0.01}, {"glance": 10}, 0, 100))
    text = render.table(heard, render.Ink(terminal, {}))
    assert "none: there was no picture to look at closely" in text
    assert "none: no label stands out" in text
    assert "of about" not in text


@pytest.mark.parametrize("env", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_no_colour_where_none_is_wanted(make_answer, terminal, env: dict[str, str]) -> None:
    assert "\x1b" not in render.table(make_answer(), render.Ink(terminal, env))
    assert "\x1b[" in render.table(make_answer(), render.Ink(terminal, {"NO_COLOR": "", "TERM": "xterm"}))


def test_names_from_outside_cannot_steer_a_terminal(make_answer, terminal) -> None:
    nasty = "\x1b]0;owned\x07\x1b[2J\r\u202e.mp4"
    evil = make_answer(
        nasty, labels=(Label(nasty, 1.0),), condition=Condition("degraded", (Reason(nasty, nasty),), "absent")
    )
    failure = Failure(nasty, nasty, nasty, nasty)
    ink = render.Ink(terminal, {"NO_COLOR": "1"})
    for text in (render.table(evil, ink), render.failure_text(failure, ink)):
        assert not set(text) & {"\x1b", "\x07", "\r", "\u202e"}
    for line in (render.json_line(evil), render.json_line(failure)):
        assert line.isascii()
        assert line.isprintable()
        assert json.loads(line)["video"] == nasty, "a reader of JSON gets the exact name"


def test_a_json_line_has_the_promised_fields(make_answer) -> None:
    record = json.loads(render.json_line(make_answer()))
    promised = "schema video verdict labels spans moments cost system weights_sha256 reader"
    assert set(promised.split()) <= record.keys()
    assert record["verdict"] == "degraded"
    assert record["moments"][0] == {"time_s": 12.75, "saliency": 0.216216, "box_px": [100, 60, 196, 156]}
    assert record["spans"] == [{"start_s": 12.0, "end_s": 16.5, "label": "grating_45 warble", "score": 0.61}]
    assert record["cost"]["total_macs"] == 126_000_000
    failure = json.loads(render.json_line(Failure("a.mp4", "empty", "an empty file", "copy it again")))
    assert failure == {
        "schema": 1,
        "video": "a.mp4",
        "verdict": "failed",
        "kind": "empty",
        "message": "an empty file",
        "hint": "copy it again",
    }


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_json_line_has_no_nan(make_answer, value: float) -> None:
    line = render.json_line(make_answer(duration_s=value, labels=(Label("a", value),)))
    assert "NaN" not in line
    assert "Infinity" not in line
    assert json.loads(line)["labels"] == [{"name": "a", "score": None}]


def test_like_reasons_share_a_line(make_answer) -> None:
    many = tuple(Reason("damaged", "pictures are damaged", float(t), t + 0.5) for t in range(5))
    result = make_answer(condition=Condition("degraded", (*many, Reason("no_video", "no pictures"))))
    assert render.reasons(result) == [
        "damaged: pictures are damaged (00:00.0 - 00:00.5, 00:01.0 - 00:01.5, 00:02.0 - 00:02.5, and 2 more)",
        "no_video: no pictures",
    ]


def test_the_estimate_of_looking_at_everything_needs_figures() -> None:
    cost = Cost(4, 100, {"decode": 1.0, "focus": 0.5}, {"focus": 10}, 200, 40)
    assert render.whole_seconds(cost) == pytest.approx(1.0 * 2 + 0.5 * 4)
    for lack in ({"frames_decoded": 0}, {"macs": {}}, {"whole_macs": 0}, {"whole_frames": 0}):
        assert render.whole_seconds(dataclasses.replace(cost, **lack)) is None


def test_stages_stand_in_the_order_of_the_work() -> None:
    assert render.stage_names({"focus": 1, "zeal": 1, "decode": 1}) == ["decode", "focus", "zeal"]
    assert render.stage_names(dict.fromkeys(reversed(STAGES))) == list(STAGES)


def test_progress_draws_on_a_terminal_only(terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    progress = render.Progress(2, quiet=False, live=True, stream=terminal)
    progress.start("a\x1bb.mp4", 0.0)
    progress.end(failed=False)
    assert terminal.text == "\r\x1b[K[1/2] ab.mp4\r\x1b[K"


def test_progress_elsewhere_is_a_line_every_half_minute(terminal) -> None:
    progress = render.Progress(9, quiet=False, live=False, stream=terminal)
    for now_s in (0.0, 10.0, 29.0, 31.0, 40.0, 62.0):
        progress.start("a", now_s)
        progress.end(failed=now_s == 10.0)
    assert terminal.text == "avglance: 3 of 9 done, 1 failed\navglance: 5 of 9 done, 1 failed\n"


def test_progress_keeps_quiet(terminal) -> None:
    progress = render.Progress(2, quiet=True, live=True, stream=terminal)
    for now_s in (0.0, 100.0):
        progress.start("a", now_s)
        progress.end(failed=False)
    assert terminal.text == ""


def test_unknown_comes_first_and_without_a_number(make_answer) -> None:
    names = (Label("unknown", 1.0), Label("grating_45 warble", 0.41))
    result = make_answer(labels=names, unknown=True, spans=(), budget="8 GMACs on average")
    text = render.table(result, render.Ink(io.StringIO()))
    assert (
        "  unknown: nothing that this model knows is there\n  if it had to name something:\n  0.410" in text
    )
    assert "1.000" not in text
    assert "  looks   3 of 16, allowed: 8 GMACs on average" in text
    record = render.as_record(result)
    assert (record["unknown"], record["budget"]) == (True, "8 GMACs on average")
    assert record["labels"][0] == {"name": "unknown", "score": 1.0}
    alone = render.table(make_answer(labels=names[:1], unknown=True), render.Ink(io.StringIO()))
    assert "if it had to" not in alone


def test_the_grid_is_told_where_it_is_not_simply_the_exact_one(make_answer, terminal) -> None:
    ink = render.Ink(terminal, {"NO_COLOR": "1"})
    assert "  grid" not in render.table(make_answer(), ink)
    answer = make_answer(grid=GridUse("auto", "exact", 12, 16))
    shown = render.table(answer, ink)
    assert "  grid    auto: 12 of 16 on keyframes (the model was trained on the exact grid)" in shown
    told = {"name": "auto", "trained": "exact", "on_keyframes": 12, "pictures": 16}
    assert json.loads(render.json_line(answer))["grid"] == told
    back = make_answer(grid=GridUse("exact", "keyframe", 0, 16))
    assert "trained on the keyframe grid" in render.table(back, ink)
