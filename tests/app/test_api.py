"""Load and tag: from a file to an answer in plain values, or a typed error."""

from __future__ import annotations

import logging
import math
from pathlib import Path

import numpy as np
import pytest

import avglance
from avglance.app import api
from avglance.errors import ArgumentError, CheckpointError, MediaError
from avglance.types import STAGES, Failure, GridUse, Label, Recognition


@pytest.fixture(scope="module")
def model(random_model: Path) -> api.Model:
    return avglance.load(random_model, device="cpu")


@pytest.fixture(scope="module")
def seen(model: api.Model, clip: Path) -> tuple[Recognition, api.Sightings]:
    return model.look(clip, budget=3, top=4)


def test_a_model_says_what_it_is(model: api.Model) -> None:
    assert (model.name, model.system, model.toy, len(model.classes)) == ("random", "avgn_nano", True, 20)
    assert len(model.sha256) == 64


def test_an_answer_has_everything(
    seen: tuple[Recognition, api.Sightings], clip: Path, model: api.Model
) -> None:
    result, _ = seen
    assert result.video == str(clip)
    assert (result.model, result.system, result.toy) == ("random", "avgn_nano", True)
    assert result.weights_sha256 == model.sha256
    assert result.reader.startswith("pyav ")
    assert result.duration_s == pytest.approx(4.0, abs=0.15)
    assert (result.condition.verdict, result.condition.audio, result.condition.coverage) == (
        "ok",
        "present",
        1.0,
    )
    scores = [label.score for label in result.labels]
    assert len(scores) == 4
    assert scores == sorted(scores, reverse=True)
    assert {label.name for label in result.labels} <= set(model.classes)


def test_saliency_is_a_softmax_on_the_grid(seen: tuple[Recognition, api.Sightings]) -> None:
    result, _ = seen
    assert sum(result.saliency) == pytest.approx(1.0)
    assert len(result.saliency) == len(result.times) == 16
    assert np.allclose(result.times, (np.arange(16) + 0.5) * result.duration_s / 16)


def test_moments_are_the_most_salient_in_the_order_of_time(seen: tuple[Recognition, api.Sightings]) -> None:
    result, _ = seen
    times = [moment.time_s for moment in result.moments]
    assert times == sorted(times)
    best = sorted(result.times[t] for t in np.argsort(result.saliency)[-3:])
    assert times == best
    for moment in result.moments:
        assert moment.saliency == result.saliency[result.times.index(moment.time_s)]


def test_boxes_are_pixels_of_the_file(seen: tuple[Recognition, api.Sightings]) -> None:
    result, _ = seen
    for moment in result.moments:
        assert moment.box_px is not None
        x0, y0, x1, y1 = moment.box_px
        assert 20 <= x0 < x1 <= 140, "inside the centre square of 120 px of a picture 160 px wide"
        assert 0 <= y0 < y1 <= 120
        assert abs((x1 - x0) - 48) <= 1, "96 of 240 px of the source square are 48 of 120 px of the file"
        assert abs((y1 - y0) - 48) <= 1


def test_spans_are_of_named_labels_and_in_order(seen: tuple[Recognition, api.Sightings]) -> None:
    result, _ = seen
    assert result.spans, "the threshold of this model lets some through"
    assert {span.label for span in result.spans} <= {label.name for label in result.labels}
    starts = [span.start_s for span in result.spans]
    assert starts == sorted(starts)
    assert all(0 <= s.start_s < s.end_s <= result.duration_s + 1e-9 for s in result.spans)


def test_the_cost_is_whole(seen: tuple[Recognition, api.Sightings]) -> None:
    cost = seen[0].cost
    assert set(cost.seconds) == set(STAGES)
    assert all(s >= 0 and math.isfinite(s) for s in cost.seconds.values())
    assert cost.seconds["decode"] > 0
    assert set(cost.macs) == {"glance", "choose", "aim", "focus", "answer"}
    assert 0 < cost.total_macs < cost.whole_macs
    assert cost.frames_delivered == 16
    assert cost.frames_delivered <= cost.frames_decoded <= cost.whole_frames + 1
    assert cost.whole_frames == 40


def test_a_larger_budget_spends_more(model: api.Model, clip: Path) -> None:
    spent = [model.tag(clip, budget=k).cost.macs["focus"] for k in (1, 2, 4)]
    assert spent == [spent[0], 2 * spent[0], 4 * spent[0]]


def test_sightings_are_the_squares_that_were_seen(seen: tuple[Recognition, api.Sightings]) -> None:
    result, sightings = seen
    assert len(sightings.moments) == len(result.moments)
    assert all(s is not None and s.picture.shape == (240, 240, 3) for s in sightings.moments)
    for sighting, moment in zip(sightings.moments, result.moments, strict=True):
        bright = 2.0 <= moment.time_s < 3.0
        assert sighting is not None
        assert (sighting.picture[90:150, 90:150].mean() > 200) == bright
    levels = np.array([math.nan if db is None else db for db in sightings.levels_db])
    assert 8 <= int(np.nanargmax(levels)) < 12, "the tone stands in the third second"
    assert all(sightings.visible)


def test_the_default_budget(model: api.Model, clip: Path) -> None:
    assert len(model.tag(clip).moments) == 4
    assert model.budget("4") == model.budget(4) == model.budget(" 4 ") == 4
    assert model.budget(model.max_budget) == 16


@pytest.mark.parametrize("budget", ["--5", "9" * 5000, "4.0", "", True])
def test_a_budget_that_is_no_number(model: api.Model, budget: object) -> None:
    with pytest.raises(ArgumentError, match="budget"):
        model.budget(budget)


@pytest.mark.parametrize("budget", [0, -1, "0", "-3"])
def test_a_budget_below_one_step_names_the_smallest(model: api.Model, clip: Path, budget: int | str) -> None:
    with pytest.raises(ArgumentError, match="the smallest budget is 1"):
        model.tag(clip, budget=budget)


@pytest.mark.parametrize("budget", [17, "999", 2.0, True, "", "four", "0.1GMAC", "0s", "\u0664x"])
def test_a_budget_that_is_none_is_refused(model: api.Model, clip: Path, budget: object) -> None:
    with pytest.raises(ArgumentError, match="budget"):
        model.tag(clip, budget=budget)  # type: ignore[arg-type]  # that is what is tested
    with pytest.raises(ArgumentError, match="budget"):
        next(model.tag_many([clip], budget=budget))  # type: ignore[arg-type]


def test_budgets_of_every_unit_are_kept(sure_model: Path, clip: Path) -> None:
    """By the card three looks are enough; at a tenth of a millisecond the first look still happens."""
    sure = api.load(sure_model, device="cpu")
    looks = {
        budget: len(sure.tag(clip, budget=budget).moments) for budget in (5, "100GMAC", "600s", "0.0001s")
    }
    assert looks == {5: 5, "100GMAC": 3, "600s": 3, "0.0001s": 1}
    assert len(sure.tag(clip, budget=5, exit_early=True).moments) == 3
    assert len(sure.tag(clip, budget="100GMAC", exit_early=False).moments) == 16
    least = sure.tag(clip, budget=1).cost.total_macs
    told = sure.tag(clip, budget=f"{1.001 * least / 1e9}GMAC")
    assert len(told.moments) == 1
    assert told.cost.total_macs == least
    assert told.budget == f"{1.001 * least / 1e9:g} GMACs on average"


def test_nothing_known_is_unknown_first(sure_model: Path, model: api.Model, clip: Path) -> None:
    sure = api.load(sure_model, device="cpu")
    found, plain = sure.tag(clip, top=3), model.tag(clip, top=3)
    assert found.unknown
    assert not plain.unknown
    assert found.labels[0] == Label("unknown", 1.0)
    assert [label.name for label in found.labels[1:]] == [label.name for label in plain.labels[:2]]
    assert found.labels[1].score > plain.labels[0].score, "at a temperature below 1"
    assert found.spans == ()
    assert sure.tag(clip, top=1).labels == (Label("unknown", 1.0),)


@pytest.mark.parametrize("entry", ["calibration", "exits"])
def test_a_card_with_a_wrong_entry_is_refused(random_model: Path, tmp_path: Path, entry: str) -> None:
    from avglance.systems import store

    loaded = store.load_model(random_model)
    folder = store.save_model(
        loaded.system, tmp_path / "odd", classes=loaded.classes, card={entry: {"temperature": "warm"}}
    )
    with pytest.raises(CheckpointError, match=entry):
        api.load(folder, device="cpu")


@pytest.mark.parametrize("top", [0, -1, True, 2.5])
def test_top_must_be_a_number_of_labels(model: api.Model, clip: Path, top: object) -> None:
    with pytest.raises(ArgumentError, match="top"):
        model.tag(clip, top=top)  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="top"):
        next(model.tag_many([clip], top=top))  # type: ignore[arg-type]


def test_a_file_without_sound_is_answered_and_says_so(model: api.Model, make_clip, tmp_path: Path) -> None:
    result, seen = model.look(make_clip(tmp_path / "mute.mp4", sound=False))
    assert result.condition.audio == "absent"
    assert len(result.moments) == 4
    assert set(seen.levels_db) == {None}


def test_sound_alone_is_answered_from_the_sound_head(model: api.Model, tmp_path: Path) -> None:
    path = write_wav(tmp_path / "tone.wav")
    result, seen = model.look(path)
    assert result.condition.verdict == "degraded"
    assert "no_video" in [reason.kind for reason in result.condition.reasons]
    assert result.moments == seen.moments == ()
    assert sum(label.score for label in model.tag(path, top=20).labels) == pytest.approx(1.0)
    assert "focus" not in {name for name, macs in result.cost.macs.items() if macs}
    assert not any(seen.visible)


def test_sound_alone_fails_where_a_system_hears_nothing(
    model: api.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = model._system.recognise

    def deaf(*args: object, **kwargs: object) -> object:
        decision = real(*args, **kwargs)
        decision.evidence.zero_()
        return decision

    path = write_wav(tmp_path / "tone.wav")
    monkeypatch.setattr(model._system, "recognise", deaf)
    with pytest.raises(MediaError) as error:
        model.tag(path)
    assert error.value.kind == "no_video"
    assert error.value.where == str(path)


def write_wav(path: Path, seconds: int = 3) -> Path:
    import wave

    t = np.arange(seconds * 16_000) / 16_000
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes((12_000 * np.sin(2 * np.pi * 440 * t)).astype("<i2").tobytes())
    return path


def bad_files(folder: Path) -> dict[str, Path]:
    """One file for each kind that is easily made."""
    (folder / "empty.mp4").touch()
    (folder / "text.mp4").write_text("this is no video\n" * 50)
    (folder / "list.mp4").write_text("#EXTM3U\n#EXTINF:10,\nhttp://127.0.0.1:9/x.ts\n")
    return {
        "missing": folder / "gone.mp4",
        "empty": folder / "empty.mp4",
        "not_media": folder / "text.mp4",
        "refused": folder / "list.mp4",
    }


@pytest.mark.parametrize("kind", ["missing", "empty", "not_media", "refused"])
def test_what_cannot_be_read_raises_its_kind(model: api.Model, tmp_path: Path, kind: str) -> None:
    path = bad_files(tmp_path)[kind]
    with pytest.raises(MediaError) as error:
        model.tag(path)
    assert error.value.kind == kind
    assert str(path) in str(error.value)
    assert error.value.hint


def test_many_are_answered_in_order_and_one_never_stops_the_others(
    model: api.Model, clip: Path, tmp_path: Path
) -> None:
    bad = bad_files(tmp_path)
    paths = [bad["missing"], clip, bad["empty"], str(clip), bad["not_media"], clip]
    answers = list(model.tag_many(paths, budget=2))
    assert [a.video for a in answers] == list(map(str, paths))
    assert [getattr(a, "kind", "") for a in answers] == ["missing", "", "empty", "", "not_media", ""]
    assert answers[1].labels == answers[3].labels == answers[5].labels == model.tag(clip, budget=2).labels


def test_many_come_one_by_one(model: api.Model, clip: Path) -> None:
    asked = []

    def paths():
        for name in (clip, clip):
            asked.append(name)
            yield name

    answers = model.tag_many(paths())
    next(answers)
    assert len(asked) == 1


def test_a_bug_of_ours_is_a_failure_with_its_trace_in_the_log(
    model: api.Model, clip: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real, calls = model._system.recognise, []

    def sometimes(*args: object, **kwargs: object) -> object:
        calls.append(1)
        if len(calls) == 1:
            raise ZeroDivisionError("oh")
        return real(*args, **kwargs)

    monkeypatch.setattr(model._system, "recognise", sometimes)
    with caplog.at_level(logging.ERROR, logger="avglance"):
        first, second = model.tag_many([clip, clip])
    assert isinstance(first, Failure)
    assert (first.kind, first.message) == ("error", "ZeroDivisionError: oh")
    assert "report" in first.hint
    assert isinstance(second, Recognition)
    assert caplog.records[0].exc_info is not None


def test_one_path_in_place_of_many_is_refused(model: api.Model, clip: Path) -> None:
    with pytest.raises(ArgumentError, match="several videos"):
        next(model.tag_many(str(clip)))


def test_an_unknown_model_gets_near_names(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = tmp_path / "avgn_nano.glanceworld"
    folder.mkdir()
    (folder / "model.safetensors").touch()
    (tmp_path / "notes").mkdir()
    monkeypatch.setattr(api, "MODELS", tmp_path)
    assert api.shipped_models() == ["avgn_nano.glanceworld"]
    assert api.find_model("avgn_nano.glanceworld") == folder
    assert api.find_model(str(folder)) == folder
    with pytest.raises(CheckpointError) as error:
        api.find_model("avgn_nano.glanceword")
    assert "did you mean 'avgn_nano.glanceworld'?" in error.value.hint
    monkeypatch.setattr(api, "MODELS", tmp_path / "nothing")
    with pytest.raises(CheckpointError, match="ships no model"):
        api.load("avgn_nano.glanceworld")


@pytest.mark.parametrize("device", ["gpu", "", "cuda:0"])
def test_a_device_that_is_none_is_refused(random_model: Path, device: str) -> None:
    with pytest.raises(ArgumentError, match="device must be one of"):
        avglance.load(random_model, device=device)


def test_a_device_that_is_not_here_is_named(random_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ArgumentError, match="torch sees no cuda device"):
        avglance.load(random_model, device="cuda")
    assert api.find_device("auto").type == "cpu"


@pytest.mark.gpu
def test_a_gpu_answers_as_the_cpu_does(random_model: Path, clip: Path, model: api.Model) -> None:
    ours, theirs = model.tag(clip, top=20), avglance.load(random_model, device="cuda").tag(clip, top=20)
    mine = {label.name: label.score for label in ours.labels}
    assert all(abs(mine[label.name] - label.score) < 1e-3 for label in theirs.labels)


def test_the_grid_is_a_choice_of_the_call_or_of_the_model(
    random_model: Path, model: api.Model, clip: Path
) -> None:
    """The clip of 4 s has keyframes at 0 and 2 s; a snippet lasts a quarter of a second."""
    assert model.tag(clip).grid == GridUse("exact", "exact", 0, 16)
    keys = model.tag(clip, grid="keyframe", rough=True)
    assert keys.grid == GridUse("keyframe", "exact", 16, 2)
    assert keys.times == pytest.approx((0.0,) * 4 + (2.0,) * 12)
    assert {m.time_s for m in keys.moments} <= set(keys.times)
    assert keys.cost.frames_delivered == 2
    auto = avglance.load(random_model, device="cpu", grid="auto")
    found = auto.tag(clip)
    assert found.grid == GridUse("auto", "exact", 0, 16)  # in so short a clip keyframes spare nothing
    assert found.times == model.tag(clip).times
    assert auto.tag(clip, grid="exact").grid.on_keyframes == 0


def test_few_pictures_are_a_choice_of_the_call(model: api.Model, clip: Path) -> None:
    whole = model.tag(clip)
    few, seen = model.look(clip, glance_pictures=3)
    assert (few.cost.frames_delivered, whole.cost.frames_delivered) == (3, 16)
    assert few.cost.frames_decoded <= whole.cost.frames_decoded
    assert sum(few.cost.macs.values()) < sum(whole.cost.macs.values())
    assert few.budget == "3 looks, 3 of 16 pictures glanced at"
    assert (len(few.moments), seen.unseen, sum(seen.visible)) == (3, 13, 16)
    assert few.condition == whole.condition
    assert model.tag(clip, glance_pictures=0).labels == whole.labels
    (many,) = model.tag_many([clip], glance_pictures=3)
    assert many.labels == few.labels
    with pytest.raises(ArgumentError, match="more than this model can spend"):
        model.tag(clip, budget=4, glance_pictures=3)
    for wrong in (-1, 2.5, "3", True):
        with pytest.raises(ArgumentError, match="glance_pictures must be a whole number"):
            model.tag(clip, glance_pictures=wrong)
    with pytest.raises(ArgumentError, match="cannot glance at 17 of 16"):
        next(model.tag_many([clip], glance_pictures=17))


def test_a_model_may_glance_at_few_pictures_by_itself(tmp_path: Path, clip: Path) -> None:
    from avglance.app import parity
    from avglance.systems import build, store

    system = build("avgn_nano", classes=3, glance_pictures=2)
    folder = store.save_model(system, tmp_path / "few", classes=list("abc"), card={})
    few = avglance.load(folder, device="cpu")
    assert (few.max_budget, few.tag(clip).budget) == (2, "2 looks, 2 of 16 pictures glanced at")
    assert few.tag(clip).cost.frames_delivered == 2
    assert few.tag(clip, budget=5, glance_pictures=0).cost.frames_delivered == 16
    assert [plan.looks for plan in parity.plans(few)] == [1, 2]


def test_a_grid_that_is_none_is_refused(random_model: Path, model: api.Model, clip: Path) -> None:
    for call in (
        lambda: model.tag(clip, grid="keyframes"),  # type: ignore[arg-type]
        lambda: next(model.tag_many([clip], grid="")),  # type: ignore[arg-type]
        lambda: avglance.load(random_model, grid="fast"),  # type: ignore[arg-type]
    ):
        with pytest.raises(ArgumentError, match="grid must be one of exact, keyframe, auto"):
            call()
    with pytest.raises(ArgumentError, match="rough must be True or False"):
        model.tag(clip, rough="yes")
