"""Every kind of input through every system, here and in another process; files that misbehave among many."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tests import checks

import avglance
from avglance.app import api
from avglance.errors import ArgumentError, AVGLanceError, MediaError
from avglance.media import Decoders, Limits, VideoArray, VideoReader
from avglance.systems import store
from avglance.types import Failure, Recognition

STUB = "tests.media.stubs:Stub"
SHORT = Limits(max_decode_s=3.0, max_seek_s=1.0, max_memory_bytes=1 << 30)


@pytest.fixture(scope="module")
def decoders() -> Iterator[Decoders]:
    with Decoders() as found:
        yield found


@pytest.fixture(scope="module", params=list(checks.SMALL))
def any_model(request, tmp_path_factory: pytest.TempPathFactory) -> api.Model:
    """A small model of each system."""
    folder = tmp_path_factory.mktemp("models") / "m"
    system = checks.small_system(request.param)
    store.save_model(system, folder, classes=[f"class {c}" for c in range(checks.C)], card={"name": "m"})
    return avglance.load(folder, device="cpu")


@pytest.fixture(scope="module")
def model(random_model: Path) -> api.Model:
    return avglance.load(random_model, device="cpu")


def as_array(clip: Path) -> VideoArray:
    """What a file holds, in memory."""
    with VideoReader(clip) as reader:
        starts = [start for start, _, _ in reader.timeline()]
        frames = [frame for _, frame in reader.frames_at(starts)]
        sound = list(reader.sound(0, reader.info.duration_s, rate_hz=16_000))
        return VideoArray(
            np.stack([frame.image for frame in frames]),
            starts,
            end_s=frames[-1].end_s,
            sound=np.concatenate([piece.samples for piece in sound]),
            sound_start_s=sound[0].start_s,
        )


def gist(result: Recognition) -> tuple:
    """An answer without its name and its clock."""
    cost = (result.cost.frames_delivered, result.cost.macs)
    named = [(label.name, round(label.score, 5)) for label in result.labels]
    moments = [(m.time_s, round(m.saliency, 5), m.box_px) for m in result.moments]
    return named, moments, result.condition, cost, result.duration_s


def test_every_kind_of_input_gives_the_same_answer(any_model, clip, decoders):
    raw = clip.read_bytes()
    want = any_model.tag(clip, threads=1)
    assert want.video == str(clip)
    inputs = {"<bytes>": raw, "<stream>": io.BytesIO(raw), str(clip): str(clip)}
    for name, source in inputs.items():
        for isolate in (False, decoders):
            result = any_model.tag(source, isolate=isolate, threads=1)
            assert result.video == name
            assert gist(result) == gist(want)
            if hasattr(source, "seek"):
                source.seek(0)
    with clip.open("rb") as file:
        assert gist(any_model.tag(file, threads=1)) == gist(want)
    answers = list(any_model.tag_many([raw, clip, io.BytesIO(raw)], isolate=decoders, threads=1))
    assert [gist(answer) for answer in answers] == [gist(want)] * 3


def test_an_array_gives_the_answer_of_its_file(any_model, clip):
    of_file, of_array = any_model.tag(clip), any_model.tag(as_array(clip))
    assert of_array.video == "<array>"
    assert [m.time_s for m in of_array.moments] == pytest.approx([m.time_s for m in of_file.moments])
    assert of_array.labels[0].name == of_file.labels[0].name
    assert of_array.labels[0].score == pytest.approx(of_file.labels[0].score, abs=1e-3)
    assert of_array.condition == of_file.condition
    assert next(any_model.tag_many([as_array(clip)])).labels == of_array.labels


def test_an_array_of_sound_or_pictures_alone(model, clip):
    both = as_array(clip)
    heard = model.tag(dataclasses.replace(both, pictures=None, times=(), end_s=None))
    assert (heard.condition.verdict, heard.condition.reasons[0].kind) == ("degraded", "no_video")
    seen = model.tag(dataclasses.replace(both, sound=None))
    assert (seen.condition.verdict, seen.condition.audio) == ("ok", "absent")


@pytest.mark.parametrize("source", [3, None, [1, 2], io.StringIO("text")])
def test_other_things_are_wrong_arguments(model, source):
    with pytest.raises(ArgumentError):
        model.tag(source)
    if hasattr(source, "seek"):
        source.seek(0)
    with pytest.raises(ArgumentError):
        list(model.tag_many([source]))


def test_bad_bytes_are_typed_errors(model):
    with pytest.raises(MediaError) as caught:
        model.tag(b"")
    assert (caught.value.kind, caught.value.where) == ("empty", "<bytes>")
    answers = list(model.tag_many([b"hello\n" * 99, io.BytesIO(b"#EXTM3U\nhttp://x\n")]))
    assert [(a.video, a.kind) for a in answers] == [("<bytes>", "not_media"), ("<stream>", "refused")]


def test_one_bad_file_never_stops_the_others(model, clip, tmp_path):
    words = ["good1", "sleep", "abort", "good2", "eat", "picture_spin", "exit", "bug", "good3"]
    files = []
    for word in words:
        files.append(tmp_path / f"{word}.mp4")
        files[-1].write_bytes(clip.read_bytes())
    with Decoders(reader=STUB) as decoders:
        answers = list(model.tag_many(files, isolate=decoders, limits=SHORT))
        assert decoders.started == 5  # one at first, and one for each that was lost
    kinds = {
        word: answer.kind if isinstance(answer, Failure) else answer.condition.verdict
        for word, answer in zip(words, answers, strict=True)
    }
    assert [answer.video for answer in answers] == [str(path) for path in files]
    assert {k: v for k, v in kinds.items() if k != "picture_spin"} == {
        "good1": "ok", "sleep": "timeout", "abort": "crashed", "good2": "ok", "eat": "limit",
        "exit": "crashed", "bug": "error", "good3": "ok",
    }  # fmt: skip
    spun = answers[words.index("picture_spin")]  # its sound had come before the pictures hung
    assert isinstance(spun, Recognition)
    assert (spun.condition.verdict, spun.condition.reasons[0].kind) == ("degraded", "timeout")
    assert answers[0].labels == answers[3].labels == answers[8].labels


def test_many_are_isolated_unless_told(model, clip, monkeypatch):
    made = []

    class Spy(Decoders):
        def __init__(self, **how):
            made.append(self)
            super().__init__(**how)

    monkeypatch.setattr("avglance.media.Decoders", Spy)
    assert len(list(model.tag_many([clip, clip]))) == 2
    assert [one.started for one in made] == [1]
    assert made[0]._closed
    list(model.tag_many([clip], isolate=False))
    assert len(made) == 1
    model.tag(clip, isolate=True)
    assert len(made) == 2
    answers = model.tag_many([clip, clip])  # left half way: its process ends with it
    next(answers)
    answers.close()
    assert made[2]._closed


def test_a_process_that_cannot_start_stops_the_run_with_advice(model, clip, monkeypatch):
    monkeypatch.setattr("sys.executable", "/nonexistent/python")
    with pytest.raises(AVGLanceError, match="could be started"):
        list(model.tag_many([clip]))
