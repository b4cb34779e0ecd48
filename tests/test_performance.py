"""The page of the clock: its tables are those of the kept figures; what makes them works on made-up ones."""

from __future__ import annotations

import importlib
import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
OURS = (
    "length",
    "grid",
    "glanceworld_page",
    "results_rows",
    "grid_answers",
    "performance_answers",
    "performance_page",
    "performance",
)


@pytest.fixture(scope="module")
def made():
    """The modules of benchmarks/, which import each other by their names."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    yield {name: importlib.import_module(name) for name in OURS}
    sys.path.remove(str(ROOT / "benchmarks"))
    for name in OURS:
        del sys.modules[name]


@pytest.fixture(scope="module")
def page(made):
    """The module that writes the page."""
    return made["performance_page"]


def value(median: float) -> dict:
    return {"median": median, "low": median, "high": median, "each": [median] * 3}


def row(name: str, seconds: float) -> dict:
    return {
        "rival": name, "seconds": value(seconds), "ratio": value(seconds / 0.5), "processor": value(seconds),
        "processor_ratio": value(seconds), "decoded": 16, "gmacs": 1.0,
        "stages": {"decode": seconds / 2, "network": seconds / 2}, "pictures": 16,
    }  # fmt: skip


def raced(seconds: dict[str, float], *lengths: float) -> dict:
    floor = {
        "seconds": 0.4, "pictures_s": 0.2, "sounds_s": 0.1, "compute_s": 0.1, "ratio": 1.25,
    }  # fmt: skip
    files = [
        {
            "duration_s": length, "width": 1280, "height": 720, "floor": floor,
            "rows": [row(name, each) for name, each in seconds.items()],
        }
        for length in lengths
    ]  # fmt: skip
    return {
        "made_by": "python benchmarks/performance.py race --rounds 3", "busy_cores": 0.0,
        "machine": {"cores": 2, "machine": "x86_64", "peak_gmacs_s": 200.0},
        "rivals": {name: name.upper() for name in seconds}, "files": files, "setting": {"precision": "bf16"},
    }  # fmt: skip


def test_the_page_says_what_is_kept(page) -> None:
    kept = json.loads(page.KEPT.read_text(encoding="utf-8"))
    assert kept["schema"] == "avglance.performance/1"
    text = page.PAGE.read_text(encoding="utf-8")
    assert page.filled(text, page.tables(kept["parts"]).items(), script=page.SCRIPT) == text


def test_what_was_asked_is_judged(page) -> None:
    others = {"tsn_all": 12.0, "tsn_seek": 1.9, "mvit": 10.0, "mvit_clip": 1.0, "r2plus1d_clip": 0.4}
    parts = {"race": raced({"ours": 0.5, **others}, 180.0)}
    said = page.asked(parts)
    assert "| TSN_ALL, times ours: at least 20 | 24.0x (12.0x of the processor) | met |" in said
    assert "| TSN_SEEK, times ours: at least 4 | 3.80x (1.90x of the processor) | **missed** |" in said
    assert "| R2PLUS1D_CLIP, times ours: above 1 | 0.80x (0.40x of the processor) | **missed** |" in said
    assert "| times the floor: at most 1.6 | 1.25 | met |" in said


def test_ours_is_raced_by_its_graphs_or_by_torch(made, tmp_path, monkeypatch) -> None:
    """The place of the graphs is nobody's business: they are called by the system's name."""
    performance, asked = made["performance"], []

    class Done:
        def __init__(self, words) -> None:
            asked.append(words)
            model = words[words.index("--model") + 1] if "--model" in words else "avgn"
            setting = {"model": model, "random_weights": "--model" not in words}
            files = [{"path": str(tmp_path / "a.mp4")}]
            self.stdout = json.dumps(
                {"command": f"bench {shlex.quote(model)}", "setting": setting, "files": files}
            )

    monkeypatch.setattr(performance.subprocess, "run", lambda words, **_: Done(words))
    graphs = tmp_path / "grün" / "avgn"
    for by in (graphs, None):
        found = performance.bench([tmp_path / "a.mp4"], "--rounds", "1", graphs=by)
        assert found["setting"] == {"model": "avgn", "random_weights": True}
        assert (found["command"], found["files"][0]["path"]) == ("bench avgn", "a.mp4")
    assert asked[0][-4:] == ["--model", str(graphs), "--runtime", "openvino"]
    assert "--runtime" not in asked[1]


def test_growth_is_from_three_minutes_to_an_hour(page) -> None:
    part = raced({"ours": 0.5}, 180.0, 3600.0)
    part["files"][1]["rows"][0]["seconds"] = value(0.6)
    part["memory"] = [{"file": name, "peak_mb": mb} for name, mb in (("a", 100.0), ("b", 104.0))]
    grown, more = page.growth(part)
    assert grown == pytest.approx(1.2)
    assert more == pytest.approx(0.04)


def test_what_is_missing_names_its_command(page) -> None:
    made = page.tables({})
    assert made["many"] == "not run yet: `python benchmarks/performance.py many`"
    assert page.long(60) == "60 s"
    assert (page.long(180), page.long(10_800)) == ("3 min", "3 h")


def evaluation(right: int, *, videos: int = 20, others: int = 0, unknown: int = 0, **changes) -> dict:
    """An evaluation of so many videos, the first ones right, the last ones answered otherwise or unknown."""
    rows = []
    for n in range(videos):
        label = "unknown" if n < unknown else "other" if n >= videos - others else "surf"
        rows.append({"video": f"{n}.mp4", "group": None, "labels": [[label, 0.9]], "hit1": n < right})
    return {
        "model": {"weights_sha256": "abc"}, "data": {"kind": "splice", "sha256": "def", "videos": videos},
        "top1": right / videos, "top1_interval": [0.0, 1.0], "moment_recall": 0.5,
        "keyframes": {"snippets": 12.0, "pictures": 16.0}, "frames": {"decoded": 40.0}, "rows": rows,
    } | changes  # fmt: skip


def test_answers_are_held_against_the_first_way(made, page, tmp_path) -> None:
    answers = made["performance_answers"]
    for way in answers.WAYS:
        one = evaluation(18, others=2, unknown=3) if way == ("bf16", "auto") else evaluation(20)
        answers.out_of(tmp_path, "splices", way).write_text(json.dumps(one))
    found = answers.measured("splices", tmp_path / "none", tmp_path)
    assert found["command"].startswith("avglance eval avgn_mobile.ucf7 ucf/data/plain/test --limit 1000 ")
    rows = {page.way(row): row for row in found["rows"]}
    assert list(rows)[:2] == ["float32, exact", "bf16, exact"]
    auto = rows["bf16, auto"]
    assert (auto["stay"], auto["lost"], auto["won"]) == (0.75, 2, 0)
    assert auto["points_lost"][0] == pytest.approx(10.0)
    assert auto["points_lost"][1] < 10.0 < auto["points_lost"][2]
    assert rows["bf16, exact"]["points_lost"] == [0.0, 0.0, 0.0]
    few = answers.measured("splices", tmp_path / "none", tmp_path, [("bf16", "auto")])
    assert few["rows"] == [found["rows"][0], auto]
    part = {
        "made_by": "python benchmarks/performance.py answers",
        "kinds": {"splices": found, "clips": found},
    }
    table = page.answers(part)
    assert "| bf16, auto | 75.0 % | 2 / 0 | 90.0 % | 10.0 (0.0 to 25.0) | 50.0 % | 12.0 | 40 |" in table
    asked = page.asked({"answers": part})
    assert (
        "spliced real videos, bf16, auto: less than 1 point lost | 10.0 (0.0 to 25.0) | **missed** |" in asked
    )
    assert (
        "real clips of a few seconds, bf16, auto: at least 97 % of the answers stay | 75.0 % of 20 |" in asked
    )
    assert "spliced real videos, bf16, exact: less than 1 point lost | 0.0 (0.0 to 0.0) | met |" in asked
    assert "| GlanceWorld, bf16, auto | not run yet | - |" in asked


def test_intervals_are_over_what_videos_were_cut_from(made) -> None:
    answers = made["performance_answers"]
    first, other = evaluation(20)["rows"], evaluation(10)["rows"]
    for row in first:
        row["group"] = "one"
    assert answers.points_lost(first, other) == [50.0, 50.0, 50.0]
    assert answers.points_lost(first, []) is None
    assert answers.points_lost([row | {"hit1": None} for row in first], other) is None


def test_evaluations_of_other_videos_are_not_mixed(made, tmp_path) -> None:
    answers = made["performance_answers"]
    for n, way in enumerate(answers.WAYS):
        one = evaluation(20, data={"kind": "splice", "sha256": str(n), "videos": 20})
        answers.out_of(tmp_path, "splices", way).write_text(json.dumps(one))
    with pytest.raises(SystemExit, match=r"splices_bf16_exact\.json is of other data: remove it"):
        answers.measured("splices", tmp_path, tmp_path)


def test_an_evaluation_that_gives_nothing_is_told(made, tmp_path) -> None:
    with pytest.raises(SystemExit, match=r"clips, float32, exact: no figures \(exit code \d\)"):
        made["performance_answers"].measured("clips", tmp_path / "none.csv", tmp_path)


def test_videos_and_ways_are_checked_before_any_work(made, tmp_path, monkeypatch, capsys) -> None:
    performance = made["performance"]
    (tmp_path / "dataset.json").write_text("{}")
    assert performance.place(f"splices={tmp_path}") == ("splices", tmp_path)
    assert performance.way("bf16,auto") == ("bf16", "auto")
    for words, told in (
        (["--data", f"clips={tmp_path}"], "is not glanceworld=FOLDER or splices=FOLDER"),
        (["--data", f"glanceworld={tmp_path / 'none'}"], "is no dataset folder: it holds no dataset.json"),
        (["--ways", "bf16"], "'bf16' is none of float32,exact bf16,exact"),
        (["answer"], "no part is called 'answer'"),
    ):
        with pytest.raises(SystemExit):
            performance.main(words)
        assert told in capsys.readouterr().err
    with pytest.raises(SystemExit, match="wants videos: --clips"):
        performance.main(["answers", "--folder", str(tmp_path)])


def test_a_model_in_8_bits_is_made_from_videos_that_trained_it(made, tmp_path, monkeypatch) -> None:
    answers, asked = made["performance_answers"], []

    def run(words, **_):
        asked.append(words)
        out = Path(words[words.index("--out") + 1])
        out.mkdir() if "export" in words else out.write_text(json.dumps(evaluation(20)))
        return subprocess.CompletedProcess(words, 0)

    way = (answers.INT8, "auto")
    with pytest.raises(SystemExit, match="wants videos that trained the model"):
        answers.evaluated("clips", tmp_path / "t.csv", tmp_path, way)
    monkeypatch.setattr(answers.subprocess, "run", run)
    seen = [tmp_path / f"{n}.mp4" for n in range(answers.SEEN)]
    answers.evaluated("clips", tmp_path / "t.csv", tmp_path, way, seen=seen)
    export, evaluate = asked
    assert export[-answers.SEEN :] == [str(path) for path in seen]
    assert evaluate[3:5] == ["eval", str(tmp_path / "int8_avgn_mobile.ucf7")]
    assert evaluate[evaluate.index("--runtime") + 1] == "onnx"
    assert "--precision" not in evaluate


def test_kinds_of_videos_that_are_not_given_stay_as_kept(made, tmp_path, monkeypatch) -> None:
    performance, answers = made["performance"], made["performance_answers"]
    (tmp_path / "dataset.json").write_text("{}")
    kept = tmp_path / "kept.json"
    monkeypatch.setattr(performance, "KEPT", kept)
    monkeypatch.setattr(performance, "busy_cores", lambda: None)
    for name in ("glanceworld", "splices"):
        for way in answers.WAYS:
            answers.out_of(tmp_path, name, way).write_text(json.dumps(evaluation(20)))
        words = ["answers", "--folder", str(tmp_path), "--data", f"{name}={tmp_path}"]
        performance.main(words + (["--ways", "bf16,auto"] if name == "splices" else []))
    part = json.loads(kept.read_text())["parts"]["answers"]
    assert {name: len(kind["rows"]) for name, kind in part["kinds"].items()} == {
        "glanceworld": len(answers.WAYS),
        "splices": 2,
    }
    command = "python benchmarks/performance.py answers --data"
    made = [f"{command} glanceworld=worlds/test", f"{command} splices=ucf/data/plain/test --ways bf16,auto"]
    assert part["made_by"] == "; ".join(made)
