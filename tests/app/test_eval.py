"""``avglance eval`` over a small generated world: table, JSON, file, exit codes, and what is refused."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest
from tests.conftest import need

from avglance.app import cli
from avglance.app import eval as command
from avglance.app.eval_table import SOUND

VIDEOS = 5


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    from avglance.data.glanceworld import make_world

    return make_world(tmp_path_factory.mktemp("world") / "test", videos=VIDEOS, seed=5, workers=1)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    import torch

    from avglance.data.glanceworld_script import FAMILIES, TEXTURES
    from avglance.systems import build
    from avglance.systems.store import save_model

    classes = sorted(f"{t} {f}" for t in TEXTURES for f in FAMILIES)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        system = build("avgn_nano", classes=len(classes))
    card = {"name": "random.nano", "toy": True, "span_threshold": 0.05}
    return save_model(system, tmp_path_factory.mktemp("models") / "nano", classes=classes, card=card)


@pytest.fixture
def broken_world(world, tmp_path):
    """The world's first two videos and, between them, a text that is named like a video."""
    lines = (world / "manifest.jsonl").read_text().splitlines()[:2]
    (tmp_path / "videos").mkdir()
    (tmp_path / "truth").mkdir()
    for line in lines:
        for name in (json.loads(line)["path"], json.loads(line)["truth"]):
            (tmp_path / name).write_bytes((world / name).read_bytes())
    (tmp_path / "videos" / "bad\x1b[31m.mp4").write_text("this is no video, " * 50)
    bad = json.dumps({"path": "videos/bad\x1b[31m.mp4", "labels": json.loads(lines[0])["labels"]})
    (tmp_path / "manifest.jsonl").write_text("\n".join([lines[0], bad, lines[1]]))
    return tmp_path


def test_table_file_and_exit_code(world, model, tmp_path, capsys):
    out = tmp_path / "figures.json"
    assert cli.main(["eval", str(model), str(world), "--budget", "3", "--batch", "2", "--out", str(out)]) == 0
    shown = capsys.readouterr().out
    assert f"random.nano (avgn_nano) on glanceworld: {VIDEOS} videos answered, 0 failed" in shown
    assert "K = 3 of T = 16, sound: its own" in shown
    for name in (
        "top-1",
        "mAP",
        "moment recall",
        "patch hit",
        "span IoU",
        "3 uniform meet",
        "glance",
        "decode",
        "total",
    ):
        assert re.search(rf"^  {name} +\S", shown, re.MULTILINE), name
    assert "\x1b" not in shown  # no terminal, no colour
    found = json.loads(out.read_text())
    assert len(found["rows"]) == found["videos"] == VIDEOS
    assert found["settings"]["budget"] == 3
    assert found["command"] == f"avglance eval {model} {world} --budget 3 --batch 2"
    assert found["versions"]["av"]
    assert found["frames"]["delivered"] == 16
    assert found["gmacs"]["total"] == pytest.approx(sum(v for k, v in found["gmacs"].items() if k != "total"))
    for row in found["rows"]:
        assert len(row["moments"]) == 3
        assert row["event_snippets"]
        assert row["macs"]["focus"] > 0
    assert list(tmp_path.glob("*.part")) == []


def test_the_row_of_a_video_is_what_tag_says_of_it(world, model, tmp_path):
    from avglance.app import api

    out = tmp_path / "figures.json"
    args = ["eval", str(model), str(world), "--limit", "2", "--budget", "3", "--quiet", "--device", "cpu"]
    assert cli.main([*args, "--out", str(out)]) == 0
    tagger = api.load(model, device="cpu")
    for row in json.loads(out.read_text())["rows"]:
        said = tagger.tag(row["video"], budget=3, threads=1)
        assert [name for name, _ in row["labels"]] == [label.name for label in said.labels]
        assert [score for _, score in row["labels"]] == pytest.approx(
            [x.score for x in said.labels], abs=2e-6
        )
        assert row["macs"] == said.cost.macs
        assert (row["frames_delivered"], row["frames_decoded"]) == (16, said.cost.frames_decoded)
        assert [tuple(m["box_px"]) for m in row["moments"]] == [m.box_px for m in said.moments]
        assert row["verdict"] == said.condition.verdict


def test_json_is_one_object_without_rows(world, model, capsys):
    args = ["eval", str(model), str(world), "--json", "--limit", "2", "--threads", "1"]
    assert cli.main(args) == 0
    streams = capsys.readouterr()
    found = json.loads(streams.out)
    assert "rows" not in found
    assert found["videos"] == 2
    assert found["settings"]["workers"] == 1
    assert streams.err == ""


def test_the_precision_of_the_encoders_is_said(world, model, capsys):
    assert cli.main(["eval", str(model), str(world), "--json", "--limit", "2", "--precision", "bf16"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["settings"]["precision"] == "bf16"
    assert found["command"].endswith("--precision bf16")


@pytest.mark.parametrize(("option", "control"), [("--swap-sound", "swap_sound"), ("--mute", "mute")])
def test_controls_reach_the_model(world, model, capsys, tmp_path, option, control):
    own, other = tmp_path / "own.json", tmp_path / "other.json"
    common = ["eval", str(model), str(world), "--quiet", "--limit", "4"]
    assert cli.main([*common, "--out", str(own)]) == 0
    assert cli.main([*common, "--out", str(other), option]) == 0
    assert f"sound: {SOUND[control]}" in capsys.readouterr().out
    first, second = json.loads(own.read_text()), json.loads(other.read_text())
    assert second["settings"]["control"] == control
    for a, b in zip(first["rows"], second["rows"], strict=True):
        assert a["labels"] != b["labels"]  # another sound gives other scores
        assert a["frames_delivered"] == b["frames_delivered"]
    if control == "mute":
        assert second["gmacs"]["glance"] < first["gmacs"]["glance"]  # no log-mel, no sound encoder
        assert second["heard"] == 0


def test_a_broken_file_is_named_and_the_others_are_answered(broken_world, model, capsys):
    assert cli.main(["eval", str(model), str(broken_world), "--quiet"]) == 6
    shown = capsys.readouterr().out
    assert "2 videos answered, 1 failed" in shown
    assert re.search(r"failed \S*bad\[31m\.mp4: ", shown)
    assert "\x1b" not in shown


def test_nothing_readable_is_exit_code_3(broken_world, model, capsys):
    lines = (broken_world / "manifest.jsonl").read_text().splitlines()
    (broken_world / "manifest.jsonl").write_text(lines[1])
    assert cli.main(["eval", str(model), str(broken_world), "--quiet", "--json"]) == 3
    found = json.loads(capsys.readouterr().out)
    assert (found["videos"], found["failed"], found["top1"]) == (0, 1, None)
    assert cli.main(["eval", str(model), str(broken_world), "--quiet"]) == 3
    assert "0 videos answered, 1 failed" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--budget", "17"], 2, "17"),
        (["--budget", "0"], 2, "below one moment"),
        (["--batch", "0"], 2, "--batch must be at least 1"),
        (["--limit", "0"], 2, "--limit must be at least 1"),
        (["--threads", "-1"], 2, "--threads must be at least 0"),
        (["--swap-sound", "--mute"], 2, "not allowed with"),
        (["--swap-sound", "--limit", "1"], 2, "at least two videos"),
        (["--out", "/nowhere/at/all.json"], 2, "not there"),
        (["--budgets", "3"], 2, "did you mean '--budget'?"),
    ],
)
def test_wrong_usage(world, model, capsys, options, code, message):
    assert cli.main(["eval", str(model), str(world), "--quiet", *options]) == code
    streams = capsys.readouterr()
    assert message in streams.err
    assert streams.out == ""


def test_missing_model_and_data(world, model, capsys, tmp_path):
    assert cli.main(["eval", "no_such_model", str(world)]) == 4
    assert "no model is called 'no_such_model'" in capsys.readouterr().err
    assert cli.main(["eval", str(model), str(tmp_path / "nothing")]) == 2
    assert "no such folder" in capsys.readouterr().err


def test_nothing_is_overwritten_without_force(world, model, tmp_path, capsys):
    out = tmp_path / "figures.json"
    out.write_text("precious")
    args = ["eval", str(model), str(world), "--limit", "1", "--quiet", "--out", str(out)]
    assert cli.main(args) == 2
    assert "--force" in capsys.readouterr().err
    assert out.read_text() == "precious"
    assert cli.main([*args, "--force"]) == 0
    assert json.loads(out.read_text())["videos"] == 1


def test_progress_is_a_line_that_is_drawn_again_or_silence(capsys, monkeypatch):
    live = command.progress(live=True)
    live(3, 10, 1)
    shown = capsys.readouterr().err
    assert shown.startswith("\r\x1b[K3 of 10 videos, 1 failed, about ")
    live(10, 10, 1)
    assert capsys.readouterr().err == "\r\x1b[K"
    plain = command.progress(live=False)
    plain(3, 10, 0)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(command, "PLAIN_LINE_S", 0.0)
    plain(4, 10, 0)
    assert capsys.readouterr().err.startswith("avglance: 4 of 10 videos")


def test_the_command_starts_as_a_process_and_help_loads_no_torch():
    code = "from avglance.app.cli import main\nmain(['eval', '--help'])\n"
    code += "import sys\nassert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--swap-sound" in done.stdout


def test_a_broken_file_is_named_from_a_cache_too(broken_world, model, tmp_path, capsys):
    words = ["eval", str(model), str(broken_world), "--quiet", "--cache", str(tmp_path / "cache")]
    for _ in range(2):  # the second finds the cache made
        assert cli.main(words) == 6
        shown = capsys.readouterr().out
        assert "2 videos answered, 1 failed" in shown
        assert re.search(r"failed \S*bad\[31m\.mp4: ", shown)


def test_nothing_is_told_where_nothing_is_known(broken_world, model, capsys):
    assert cli.main(["eval", str(model), str(broken_world), "--quiet", "--tell", "both"]) == 2
    err = capsys.readouterr().err
    assert "1 of 3 videos have no known event to tell of" in err
    assert "bad" in err


def test_evenly_spaced_moments_are_a_control(world, model, tmp_path, capsys):
    out = tmp_path / "even.json"
    words = ["eval", str(model), str(world), "--quiet", "--limit", "2", "--uniform", "--out", str(out)]
    assert cli.main(words) == 0
    assert "looked at evenly spaced moments" in capsys.readouterr().out
    found = json.loads(out.read_text())
    assert "--uniform" in found["command"]
    assert [sorted(m["snippet"] for m in row["moments"]) for row in found["rows"]] == [[2, 6, 10, 14]] * 2


def test_a_budget_in_multiply_adds_stops_early_and_says_so(world, sure_model, tmp_path, capsys):
    """The card of the model says that three looks are enough; without exits all sixteen are spent."""
    out = tmp_path / "figures.json"
    args = ["eval", str(sure_model), str(world), "--limit", "2", "--budget", "100GMAC", "--quiet"]
    assert cli.main([*args, "--out", str(out)]) == 0
    shown = capsys.readouterr().out
    assert "stops when sure (100 GMACs on average)" in shown
    assert "looks: 3.00 on average; smallest 3" in shown
    assert "called unknown       100.0" in shown
    found = json.loads(out.read_text())
    assert found["settings"]["exits"] == "100 GMACs on average"
    assert found["looks"] == found["looks_distribution"]["p90"] == 3
    said = found["unknown"]
    assert (said["said"], said["videos"], said["recognised"]) == (1.0, 0, None)
    assert (
        f"  wrongly            100.0   2 of 2 that show one; {said['right']} of {said['right']} right"
        in shown
    )
    assert "rightly" not in shown
    assert all(row["looks"] == 3 and row["unknown"] for row in found["rows"])
    assert found["rows"][0]["labels"][0] == ["unknown", 1.0]
    assert len(found["rows"][0]["labels"]) == 5
    assert cli.main([*args, "--no-exit", "--json"]) == 0
    spent = json.loads(capsys.readouterr().out)
    assert spent["looks"] == 16
    assert spent["settings"]["exits"] == ""
    assert spent["command"].endswith("--no-exit")


def test_what_eval_cannot_spend_is_refused(world, model, sure_model, capsys):
    for folder, budget, said in (
        (sure_model, ["--budget", "2s"], "figures by the clock"),
        (model, ["--budget", "4", "--exit"], "no exit thresholds"),
        (model, ["--budget", "0.001GMAC"], "the smallest budget of avgn_nano is 0."),
    ):
        assert cli.main(["eval", str(folder), str(world), "--limit", "1", "--quiet", *budget]) == 2
        assert said in capsys.readouterr().err


def test_few_pictures_are_kept_with_the_figures(world, model, tmp_path, capsys):
    out = tmp_path / "few.json"
    words = ["eval", str(model), str(world), "--quiet", "--limit", "2", "--glance-pictures", "2"]
    assert cli.main([*words, "--out", str(out)]) == 0
    found = json.loads(out.read_text())
    assert found["command"].endswith("--batch 16 --glance-pictures 2")
    assert (found["settings"]["glance_pictures"], found["settings"]["budget"]) == (2, 2)
    assert {row["frames_delivered"] for row in found["rows"]} == {2}
    assert cli.main([*words, "--budget", "4"]) == 2
    assert "more than this model can spend" in capsys.readouterr().err


def test_another_grid_is_told_in_the_table_and_kept(world, model, tmp_path, capsys):
    out = tmp_path / "keys.json"
    words = ["eval", str(model), str(world), "--quiet", "--limit", "2", "--grid", "keyframe", "--rough"]
    assert cli.main([*words, "--out", str(out)]) == 0
    shown = capsys.readouterr().out
    assert re.search(r"grid keyframe: 16\.0 of 16 snippets on keyframes, \d+\.\d different pictures; ", shown)
    assert "the model was trained on the exact grid" in shown
    assert "decoded without the loop filter" in shown
    found = json.loads(out.read_text())
    assert found["command"].endswith("--batch 16 --grid keyframe --rough")
    assert found["settings"]["grid"] == "keyframe"
    for row in found["rows"]:
        assert row["frames_delivered"] == row["pictures"] < row["on_keyframes"] == 16
    assert cli.main([*words, "--cache", str(tmp_path / "cache")]) == 2
    assert "--grid and --rough are for files" in capsys.readouterr().err


def test_graphs_have_the_figures_of_the_system(world, model, tmp_path, capsys):
    need("onnx")
    need("onnxruntime")
    graphs = tmp_path / "graphs"
    assert cli.main(["export", str(model), "--out", str(graphs)]) == 0
    found = {}
    for by in ("torch", "onnx"):
        words = ["eval", str(graphs), str(world), "--budget", "3", "--runtime", by, "--quiet"]
        assert cli.main([*words, "--out", str(tmp_path / f"{by}.json"), "--json"]) == 0
        found[by] = json.loads((tmp_path / f"{by}.json").read_text())
    one, other = found["torch"], found["onnx"]
    assert (other["runtime"], other["computed"], other["device"]) == ("onnx", "float32", "cpu")
    assert "runtime" not in one
    assert other["command"].endswith("--budget 3 --batch 16 --runtime onnx")
    for name in ("top1", "moment_recall", "gmacs", "videos", "model", "data"):
        assert one[name] == other[name], name
    for a, b in zip(one["rows"], other["rows"], strict=True):
        assert [m["snippet"] for m in a["moments"]] == [m["snippet"] for m in b["moments"]]
    capsys.readouterr()
    told = ["eval", str(graphs), str(world), "--runtime", "onnx", "--quiet"]
    for words, message in (  # an exit code of 4: the model is at fault
        ([*told, "--tell", "moments"], "cannot be told where to look"),
        ([*told, "--uniform"], "cannot be told where to look"),
        ([*told, "--precision", "bf16"], "computes in float32"),
        ([*told, "--device", "cuda"], "computes on the CPU"),
        (["eval", str(model), str(world), "--runtime", "onnx"], "no model folder with graphs"),
    ):
        assert cli.main(words) == (4 if words[1] == str(model) else 2), words
        assert message in capsys.readouterr().err
