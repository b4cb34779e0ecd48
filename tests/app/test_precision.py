"""In which precision a model answers, and what is kept of finding out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import avglance
from avglance.app import precision
from avglance.app.cli import main
from avglance.errors import ArgumentError
from avglance.systems import build
from avglance.systems.encoders import Brief, encoders_of

NANO = "avgn_nano.glanceworld"


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(precision, "cache_folder", lambda: tmp_path / "cache")
    return tmp_path / "cache" / "precision.json"


def test_finding_out_is_done_once(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    system = build("avgn_nano", classes=3).eval()
    found = precision.found_out(system)
    assert list(json.loads(place.read_text(encoding="utf-8")).values()) == [found]
    monkeypatch.setattr(precision, "_measured", lambda _: pytest.fail("measured again"))
    assert precision.found_out(system) == found
    with pytest.raises(pytest.fail.Exception):  # other networks, another question
        precision.found_out(build("tsn_nano", classes=3).eval())


def test_each_kind_of_gpu_is_found_out_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    device = torch.device("cuda", 1)
    keys = []
    for name in ("H100", "T4"):
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda at, name=name: f"{name} {at.index}")
        keys.append(precision._device(device))
    assert keys == ["cuda:H100 1", "cuda:T4 1"]
    assert precision._device(torch.device("cpu")) == "cpu"


@pytest.mark.parametrize("text", ["", "[1]", '{"x": 1}', "\x00"])
def test_a_spoilt_note_is_measured_again(place: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    place.parent.mkdir()
    place.write_text(text, encoding="utf-8")
    monkeypatch.setattr(precision, "_measured", lambda _: "bf16")
    assert precision.found_out(build("avgn_nano", classes=3).eval()) == "bf16"


def test_a_place_that_cannot_be_written_is_no_error(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place.parent.write_text("a file stands where the folder would be", encoding="utf-8")
    monkeypatch.setattr(precision, "_measured", lambda _: "float32")
    assert precision.found_out(build("avgn_nano", classes=3).eval()) == "float32"


def test_what_is_asked_for_is_done(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "_measured", lambda _: "bf16")
    plain = avglance.load(NANO, device="cpu", runtime="torch")
    assert not any(isinstance(net, Brief) for net in encoders_of(plain._system).values())
    found = plain.tag(clip)
    for word in ("bf16", "auto"):
        brief = avglance.load(NANO, device="cpu", runtime="torch", precision=word)
        assert all(isinstance(net, Brief) for net in encoders_of(brief._system).values())
        near = brief.tag(clip)
        assert near.cost.macs == found.cost.macs
        assert near.labels[0].score == pytest.approx(found.labels[0].score, abs=0.05)
    with pytest.raises(ArgumentError, match="computes in float32, not in bf16"):
        avglance.load(NANO, runtime="onnx", precision="bf16")
    with pytest.raises(ArgumentError, match="precision must be one of auto, float32, bf16"):
        avglance.load(NANO, precision="fp8")


def test_the_command_takes_it(clip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["tag", str(clip), "--model", NANO, "--json", "--device", "cpu", "--precision"]
    assert main([*words, "bf16"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["runtime"], said["precision"]) == ("torch", "bf16")
    assert main([*words, "float32"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["runtime"], said["precision"]) == ("onnx", "float32")
    assert main([*words, "bf17"]) == 2


def test_many_files_at_once_are_answered_as_one_by_one(clip: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"nothing" * 20)
    model = avglance.load(NANO, device="cpu")
    files = [clip, broken, clip, tmp_path / "missing.mp4", clip]
    one = list(model.tag_many(files))
    several = list(model.tag_many(iter(files), at_once=3))
    assert [type(a) for a in one] == [type(a) for a in several]
    assert [a.kind for a in several[1::2]] == ["not_media", "missing"]
    for a, b in zip(one[::2], several[::2], strict=True):
        assert [label.name for label in a.labels] == [label.name for label in b.labels]
        assert a.labels[0].score == pytest.approx(b.labels[0].score, abs=1e-4)
