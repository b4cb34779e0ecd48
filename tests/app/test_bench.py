"""`avglance bench`: what it measures and how it says so; never how long anything took."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.conftest import need

from avglance.app import bench
from avglance.app.bench_table import columns, spread, table, times
from avglance.app.cli import main
from avglance.app.render import Ink

NANO = "avgn_nano.glanceworld"
FEW = ["--against", "tsn_seek", "--rounds", "2", "--no-alone", "--quiet", "--threads", "1"]
FLOOR = {"pictures_s", "sounds_s", "compute_s", "seconds", "picture_packets", "sound_packets", "ratio"}


@pytest.fixture(scope="module")
def found(clip: Path, tmp_path_factory: pytest.TempPathFactory) -> dict:
    out = tmp_path_factory.mktemp("bench") / "found.json"
    assert main(["bench", str(clip), "--model", NANO, *FEW, "--out", str(out)]) == 0
    return json.loads(out.read_text(encoding="utf-8"))


def test_the_figures_have_a_place_each(found: dict) -> None:
    assert found["schema"] == bench.SCHEMA
    assert found["failures"] == []
    assert found["alone"] == []
    assert found["setting"] == {
        "model": NANO, "system": "avgn_nano", "random_weights": False, "runtime": "torch", "snippets": 16,
        "budget": 4, "grid": "keyframe", "precision": "bf16", "rounds": 2,
    }  # fmt: skip
    (file,) = found["files"]
    assert (file["width"], file["height"], file["video_codec"]) == (160, 120, "h264")
    assert set(file["floor"]) == FLOOR
    assert [row["rival"] for row in file["rows"]] == ["ours", "tsn_seek"]
    for row in file["rows"]:
        assert len(row["seconds"]["each"]) == len(row["ratio"]["each"]) == 2
        assert row["seconds"]["low"] <= row["seconds"]["median"] <= row["seconds"]["high"]
        assert sum(row["stages"].values()) > 0
    assert file["rows"][0]["ratio"]["each"] == [1.0, 1.0]
    assert {"decode", "glance", "choose", "aim", "focus", "answer", "rest"} == set(file["rows"][0]["stages"])
    assert set(file["rows"][1]["stages"]) == {"decode", "network"}


def test_counts_are_those_of_the_work(found: dict) -> None:
    ours, theirs = found["files"][0]["rows"]
    assert theirs["pictures"] == 16
    assert ours["pictures"] == 2  # keyframes of four seconds
    assert theirs["gmacs"] == pytest.approx(16 * 4.0877, rel=1e-3)
    assert ours["gmacs"] < 1
    assert found["files"][0]["floor"]["picture_packets"] == 2


def test_the_table_names_everyone_and_the_floor(found: dict) -> None:
    text = table(found, Ink(None))
    for words in (*found["rivals"].values(), "floor", "times that", "K = 4 of T = 16"):
        assert words in text


def test_words_for_spread_and_columns() -> None:
    assert spread(None, times) == "-"
    assert spread({"median": 2.0, "low": 2.0, "high": 2.0, "each": [2.0]}, times) == "2.00x (once)"
    assert columns([("a", "b"), ("long", "1")]) == ["  a     b", "  long  1"]


def test_several_files_go_on_past_a_broken_one(
    clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video at all" * 9)
    plot = tmp_path / "bench.svg"
    words = ["bench", str(clip), str(broken), "--model", NANO, "--json", "--plot", str(plot)]
    assert main([*words, *FEW[:1], *FEW[2:]]) == 6
    out, err = capsys.readouterr()
    said = json.loads(out)
    assert [failure["kind"] for failure in said["failures"]] == ["not_media"]
    assert "broken.mp4" in err
    assert plot.read_bytes().startswith(b"<?xml")


def test_where_no_file_can_be_read_nothing_is_drawn(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in "ab":
        (tmp_path / f"{name}.mp4").write_bytes(b"no video at all" * 9)
    plot = tmp_path / "bench.svg"
    files = [str(tmp_path / f"{name}.mp4") for name in "ab"]
    words = ["bench", *files, "--model", NANO, "--json", "--plot", str(plot), "--no-alone", "--quiet"]
    assert main([*words, "--against"]) == 3
    assert not plot.exists()
    assert "nothing to draw" in capsys.readouterr().err


@pytest.mark.parametrize("runtime", ["auto", "openvino"])
def test_ours_is_run_as_by_tag(runtime: str, clip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if runtime == "openvino":
        need("openvino")
    words = ["bench", str(clip), "--model", NANO, "--rounds", "1", "--no-alone", "--quiet", "--json"]
    words += ["--precision", "float32", "--runtime", runtime, "--against"]
    assert main(words) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["setting"]["runtime"] == ("onnx" if runtime == "auto" else runtime)
    assert f"--runtime {runtime}" in said["command"]
    assert f"ours by {said['setting']['runtime']}, on" in table(said, Ink(None))


def test_several_files_are_drawn_as_lines(found: dict) -> None:
    from avglance.app.bench_plot import draw

    one = found["files"][0]
    longer = {**found, "files": [one, {**one, "duration_s": 9 * one["duration_s"]}]}
    assert "seconds of video" in draw(longer).words
    higher = {**found, "files": [one, {**one, "height": 2 * one["height"]}]}
    assert "lines of the picture" in draw(higher).words
    assert draw({**found, "files": []}).render("png")


def test_a_process_of_its_own_tells_start_up_and_memory(
    clip: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["bench", str(clip), "--model", NANO, "--rounds", "1", "--quiet", "--json", "--against"]
    assert main(words) == 0
    (alone,) = json.loads(capsys.readouterr().out)["alone"]
    assert alone["rival"] == "ours"
    assert alone["process_s"] > alone["load_s"] > 0
    assert alone["peak_mb"] is None or alone["peak_mb"] >= alone["before_mb"] > 50


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["missing.mp4"], 3, "missing.mp4"),
        (["{clip}", "--model", "avgm"], 4, "avgm"),
        (["{clip}", "--budget", "0"], 2, "--budget must be 1 to 32, got 0"),
        (["{clip}", "--budget", "33"], 2, "--budget must be 1 to 32, got 33"),
        (["{clip}", "--rounds", "0"], 2, "--rounds must be 1 to 1000, got 0"),
        (["{clip}", "--patience", "nan"], 2, "--patience must be above 0"),
        (["{clip}", "--against", "tsm"], 2, "tsm"),
        (["{clip}", "--out", "no/where.json"], 2, "a folder that is not there"),
        (["{clip}", "--plot", "bench.gif"], 2, "svg or png"),
        (["{clip}", "--threads", "-1"], 2, "--threads must be 0 to 1024"),
        (["{folder}"], 3, ""),
        (["{clip}", "--runtime", "onnx"], 2, "computes in float32, not in bf16"),
        (["{clip}", "--model", "avgn_nano", "--runtime", "onnx"], 2, "has no graphs"),
    ],
)
def test_what_cannot_work_is_said(
    words: list[str], code: int, said: str, clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = {"clip": clip, "folder": tmp_path}
    words = [word.format(**places) for word in words]
    extra = ["--quiet", *(["--model", NANO] if "--model" not in words else [])]
    extra += ["--no-alone"] + (["--against"] if "--against" not in words else [])
    assert main(["bench", *words, *extra]) == code
    err = capsys.readouterr().err
    assert said in err
    assert "Traceback" not in err


def test_a_file_that_is_there_is_kept(clip: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    out.write_text("mine", encoding="utf-8")
    assert main(["bench", str(clip), "--out", str(out)]) == 2
    assert out.read_text(encoding="utf-8") == "mine"
