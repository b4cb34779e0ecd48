"""A decoding process that is not to be believed, is not there any more, or does not listen."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from tests.media import makers

from avglance.errors import MediaError
from avglance.media import Decoders, Limits, child, wire

SHORT = Limits(max_decode_s=2.0, max_seek_s=1.0)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return makers.write(tmp_path_factory.mktemp("clips") / "clip.mp4", makers.even(4), gop=25)


LIE = """
import os, time
from avglance.media import wire
def main(kind):
    wire.send(1, {"ready": 1})
    while True:
        question, _ = wire.receive(0, most_json=wire.MOST_QUESTION)
        number, ask = question["number"], question["ask"]
        info = {"duration_s": 4.0, "width": 4, "height": 4, "frame_rate": 1.0, "variable_rate": False,
                "container": "x", "video_codec": "x", "audio_tracks": [], "rotation": 0, "has_video": True}
        head, behind = {"number": number}, []
        if ask == "open":
            head |= {"info": info, "picture_span": [0, 4], "sound_span": None}
            head |= {"info": {}} if kind == "empty" else {}
            head |= {"info": info | {"duration_s": float("inf")}} if kind == "endless" else {}
            head |= {"kind": {"error": {"name": "MediaError", "what": "x", "kind": "pwned"}}}.get(kind, {})
        if ask == "next":
            nan = float("nan")
            item = {"shape": [0, [0, 1, -1, 64, 3]], "pixels": [0, [0, 1, 64, 64, 3]]}
            item |= {"nan": [0, [0, nan, 1, 1, 3]]}
            head |= {"items": [item.get(kind, [0, None])], "over": False}
            head |= {"items": []} if kind == "nothing" else {}
            head |= {"number": number - 1} if kind == "late" else {}
        if ask == "next" and kind == "nested":
            text = b"[" * 1_000_000
            os.write(1, wire._LENGTHS.pack(len(text), 0))
            os.write(1, text)
            continue
        if ask == "next" and kind == "giant":
            os.write(1, wire._LENGTHS.pack(1 << 31, 0))
            time.sleep(60)
        wire.send(1, head)
"""


@pytest.mark.parametrize(
    "kind", ["empty", "endless", "kind", "shape", "pixels", "nan", "nothing", "late", "nested", "giant"]
)
def test_nonsense_from_a_process_is_a_crash_of_its_file(tmp_path, clip, monkeypatch, kind):
    (tmp_path / "liar.py").write_text(LIE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(child, "_START", child._START.replace("avglance.media.serve", "liar"))
    with Decoders(reader=kind) as decoders:
        with pytest.raises(MediaError, match="no message") as caught, decoders.open(clip) as reader:
            list(reader.frames_at([0.0]))
        assert caught.value.kind == "crashed"
        assert not decoders._idle


def test_a_process_that_takes_no_question_is_stopped(tmp_path, clip, monkeypatch):
    deaf = "import time\nfrom avglance.media import wire\ndef main(_): wire.send(1, {}), time.sleep(60)\n"
    (tmp_path / "deaf.py").write_text(deaf)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(child, "_START", child._START.replace("avglance.media.serve", "deaf"))
    began = time.monotonic()
    one = child.Child("x")
    with pytest.raises(child.Gone, match="hung"):
        one.ask({"times": [0.5] * 1_000_000}, limit_s=1.0, most_bytes=0)
    assert time.monotonic() - began < 30
    assert not one.alive


def test_an_interrupted_question_spoils_no_later_one(clip, monkeypatch):
    with Decoders() as decoders:
        with decoders.open(clip) as reader:
            receive, calls = wire.receive, []

            def interrupted(*args, **how):
                calls.append(args)
                raise KeyboardInterrupt

            monkeypatch.setattr(wire, "receive", interrupted)
            with pytest.raises(KeyboardInterrupt):
                next(reader.frames_at([1.0]))
            monkeypatch.setattr(wire, "receive", receive)
        assert calls
        for _ in range(2):
            with decoders.open(clip) as reader:
                assert makers.read_number(next(reader.frames_at([1.0]))[1].image) == 25
        assert decoders.started == 2


def test_where_pipes_cannot_be_waited_for(clip, tmp_path, monkeypatch):
    """As on Windows: no poll, no alarm; a timer ends the process, and it is told as a timeout."""
    monkeypatch.delattr("select.poll")
    monkeypatch.delattr("signal.SIGALRM")
    monkeypatch.setattr(child, "_waits", lambda: False)
    for word, kind in (("sleep", "timeout"), ("abort", "crashed")):
        bad = tmp_path / f"{word}.mp4"
        bad.write_bytes(clip.read_bytes())
        with Decoders(reader="tests.media.stubs:Stub") as decoders, pytest.raises(MediaError) as caught:
            decoders.open(bad, limits=SHORT)
        assert caught.value.kind == kind
