"""``avglance export``: a folder that answers without torch, as the model does; and what is refused."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tests.conftest import need

import avglance
from avglance.app import api, cli, parity, runtimes
from avglance.errors import ArgumentError, MissingExtra
from avglance.runtime import Host
from avglance.runtime.session import imported
from avglance.systems import selftest
from avglance.systems.folder import SELFTEST

WITHOUT_TORCH = """import sys
from importlib import util
GONE = ("torch", "torchvision", "timm", "accelerate", "onnx")
sys.modules.update(dict.fromkeys(GONE))
find = util.find_spec
util.find_spec = lambda name: None if name in GONE else find(name)
from avglance.app.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def graphs(sure_model: Path, clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with graphs, compared with its system, that knows when to stop."""
    pytest.importorskip("onnx", reason="onnx is not installed: graphs cannot be made")
    need("onnxruntime")
    out = tmp_path_factory.mktemp("graphs") / "g"
    assert cli.main(["export", str(sure_model), "--out", str(out), "--check", str(clip)]) == 0
    return out


def tagged(capsys: pytest.CaptureFixture[str], *args: object) -> dict:
    assert cli.main(["tag", *map(str, args), "--json", "--in-process", "--quiet"]) == 0
    return json.loads(capsys.readouterr().out)


def alike(one: object, other: object) -> None:
    """Two answers as JSON are the same but for the clock and the last digits."""
    if isinstance(one, dict) and isinstance(other, dict):
        assert one.keys() == other.keys()
        for key in one.keys() - {"seconds", "total_s", "whole_s_estimate", "runtime"}:
            alike(one[key], other[key])
    elif isinstance(one, list) and isinstance(other, list):
        assert len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            alike(a, b)
    elif isinstance(one, float):
        assert other == pytest.approx(one, abs=1e-3)
    else:
        assert one == other


@pytest.mark.parametrize(
    "options", [(), ("--budget", "16"), ("--exit", "--budget", "3"), ("--budget", "1GMAC")]
)
def test_both_runtimes_give_the_same_answer(
    graphs: Path, sure_model: Path, clip: Path, options: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    ours = tagged(capsys, clip, "--model", sure_model, "--runtime", "torch", *options)
    alike(ours, tagged(capsys, clip, "--model", graphs, "--runtime", "onnx", *options))
    alike(ours, tagged(capsys, clip, "--model", graphs, "--threads", 1, *options))
    assert ours["cost"]["macs"]
    assert (ours["runtime"], ours["precision"]) == ("torch", "float32")


@pytest.mark.parametrize("options", [(), ("--exit", "--budget", "3")])
def test_openvino_gives_it_too_by_the_same_graphs(
    graphs: Path, clip: Path, options: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    need("openvino")
    pair = [tagged(capsys, clip, "--model", graphs, "--runtime", by, *options) for by in ("onnx", "openvino")]
    alike(*pair)
    assert [one["runtime"] for one in pair] == ["onnx", "openvino"]
    model = api.load(graphs, runtime="openvino", threads=1)
    for answer in model.tag_many([clip] * 4, at_once=3, isolate=False):
        assert [x.name for x in answer.labels] == [
            x["name"] for x in tagged(capsys, clip, "--model", graphs)["labels"]
        ]


@pytest.mark.parametrize("options", [("--grid", "keyframe"), ("--grid", "auto", "--rough")])
def test_another_grid_gives_the_same_answer_too(
    graphs: Path, sure_model: Path, clip: Path, options: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    ours = tagged(capsys, clip, "--model", sure_model, "--runtime", "torch", *options)
    alike(ours, tagged(capsys, clip, "--model", graphs, "--runtime", "onnx", *options))
    assert ours["grid"]["name"] == options[1]


def test_without_torch_there_is_an_answer(graphs: Path, sure_model: Path, clip: Path, tmp_path: Path) -> None:
    def run(*args: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", WITHOUT_TORCH, *map(str, args)]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)

    report = tmp_path / "page.html"
    done = run("tag", clip, "--model", graphs, "--report", report, "--exit", "--budget", "1GMAC")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["labels"]
    assert report.is_file()
    assert "<dt>computed by</dt><dd>onnx, float32</dd>" in report.read_text(encoding="utf-8")
    done = run("tag", clip)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["model"] == api.DEFAULT_MODEL
    done = run("tag", clip, "--model", sure_model)
    assert done.returncode == 5
    assert "torch is not installed" in done.stderr
    assert "avglance export" in done.stderr


@pytest.mark.parametrize(
    ("words", "extra"),
    [
        (["eval", api.DEFAULT_MODEL, "."], "torch"),
        (["selftest", api.DEFAULT_MODEL], "torch"),
        (["tag", "x.mp4", "--runtime", "torch"], "torch"),
        (["export", api.DEFAULT_MODEL], "export"),
        (["train", "."], "train"),
    ],
    ids=lambda x: x[0] if isinstance(x, list) else x,
)
def test_what_needs_torch_names_the_extra(words: list[str], extra: str, clip: Path, tmp_path: Path) -> None:
    for label in "ab":
        (tmp_path / label).mkdir()
        shutil.copyfile(clip, tmp_path / label / f"{label}.mp4")
    command = [sys.executable, "-c", WITHOUT_TORCH, *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, cwd=tmp_path)
    assert done.returncode == 5, done.stderr
    assert "torch" in done.stderr
    assert f"pip install 'avglance[{extra}]'" in done.stderr
    assert done.stderr.count("avglance: ") == done.stderr.count("hint: ") == 1


@pytest.mark.parametrize(("by", "library"), [("onnx", "onnxruntime"), ("openvino", "openvino")])
@pytest.mark.parametrize("name", api.shipped_models())
def test_the_graphs_of_shipped_models_answer_as_their_weights_do(
    name: str, by: str, library: str, clip: Path
) -> None:
    need(library)
    pair = [api.load(name, runtime=runtime, device="cpu") for runtime in ("torch", by)]
    found = list(parity.compare(*pair, [clip]))
    assert len(found) > 3
    assert not [pair.wrong for pair in found if pair.wrong]


def test_the_folder_is_a_model(graphs: Path, sure_model: Path, tmp_path: Path, capsys) -> None:
    model = avglance.load(graphs)
    assert isinstance(model.engine, Host)
    assert model.sha256 == avglance.load(sure_model, device="cpu").sha256
    assert cli.main(["info", str(graphs)]) == 0
    assert "least_contrast" in capsys.readouterr().out
    assert not isinstance(avglance.load(graphs, runtime="torch", device="cpu").engine, Host)
    assert cli.main(["export", str(graphs), "--out", str(tmp_path / "x")]) == 0
    assert avglance.load(tmp_path / "x").sha256 == model.sha256


def test_a_gpu_that_may_be_meant_takes_torch(graphs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtimes, "which", lambda name: "/usr/bin/nvidia-smi")
    assert runtimes.find_runtime(graphs) == "torch"
    assert runtimes.find_runtime(graphs, device="cpu") == "onnx"
    monkeypatch.setattr(runtimes, "find_spec", lambda name: None)
    assert runtimes.find_runtime(graphs) == "onnx"


def test_graphs_are_plain_onnx_files_that_share_the_weights(graphs: Path) -> None:
    need("onnxruntime")
    onnx, ort = pytest.importorskip("onnx"), imported()
    sizes = [file.stat().st_size for file in graphs.glob("*.onnx")]
    assert sum(sizes) < (graphs / "model.safetensors").stat().st_size / 4
    onnx.checker.check_model(graphs / "focus.onnx")
    ort.InferenceSession(graphs / "focus.onnx", providers=["CPUExecutionProvider"])


def test_a_model_may_get_graphs_in_its_own_folder(
    graphs: Path, sure_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "m"
    shutil.copytree(sure_model, folder)
    selftest.record(folder)
    stored = (folder / SELFTEST).read_bytes()
    assert cli.main(["export", str(folder), "--out", str(folder), "--force"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert (folder / SELFTEST).read_bytes() == stored
    assert set(made["bytes"]) >= {"choose", "aim", "focus"}
    assert isinstance(api.load(folder).engine, Host)
    assert not isinstance(api.load(folder, runtime="torch", device="cpu").engine, Host)
    assert cli.main(["export", str(folder), "--out", str(folder)]) == 2
    assert "exists" in capsys.readouterr().err
    assert cli.main(["selftest", str(folder), "--record", "--force"]) == 0  # graphs stay, and fit
    assert isinstance(api.load(folder).engine, Host)


def test_graphs_of_an_earlier_form_are_left_to_torch(
    graphs: Path, clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch
) -> None:
    folder = shutil.copytree(graphs, tmp_path / "old")
    told = json.loads((folder / "graphs.json").read_text()) | {"format": "avglance-graphs/1"}
    (folder / "graphs.json").write_text(json.dumps(told))
    sums = json.loads((folder / "checksums.json").read_text())
    sums["graphs.json"] = hashlib.sha256((folder / "graphs.json").read_bytes()).hexdigest()
    (folder / "checksums.json").write_text(json.dumps(sums))
    assert tagged(capsys, clip, "--model", folder)["runtime"] == "torch"
    assert cli.main(["tag", str(clip), "--model", str(folder), "--runtime", "onnx", "--quiet"]) == 4
    assert "makes the graphs of a model anew" in capsys.readouterr().err
    monkeypatch.setattr(runtimes, "find_spec", lambda name: None)
    assert runtimes.find_runtime(folder) == "onnx"  # without torch the folder says what is wrong with it


def test_a_person_reads_what_was_made(
    sure_model: Path, graphs: Path, tmp_path: Path, terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdout", terminal)
    assert cli.main(["export", str(sure_model)]) == 0
    assert terminal.text.startswith("sure-onnx: 8 graphs, ")
    assert "not compared" in terminal.text
    assert (tmp_path / "sure-onnx" / "graphs.json").is_file()


def test_graphs_that_differ_are_not_written(
    graphs: Path, sure_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.setattr(parity, "TOLERANCE", -1.0)
    out = tmp_path / "out"
    assert cli.main(["export", str(sure_model), "--out", str(out), "--check"]) == 4
    err = capsys.readouterr().err
    assert "the graphs differ from the model" in err
    assert "logits differ by" in err
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    assert cli.main(["export", str(sure_model), "--out", str(out), "--check", str(tmp_path / "no.mp4")]) == 3
    assert list(tmp_path.iterdir()) == []


def test_differences_are_said() -> None:
    scores = np.array([[[0.5, 0.5], [0.9, 0.1]]])
    looked = np.array([[True, False, True]])

    def found(order: list[int], far: float = 0.0) -> parity.Decision:
        boxes = np.full((1, 3, 4), np.nan)
        boxes[looked] = 0.5
        return parity.Decision(
            scores[:, -1],
            np.zeros((1, 3)),
            looked,
            np.array([order]),
            boxes + far,
            np.zeros((1, 3, 2)),
            scores,
        )

    def said(other: parity.Decision) -> str:
        plan = api.budgets.Plan(2, words="2 looks")
        return "; ".join(parity.compared("x", plan, found([2, 0]), other).wrong)

    assert said(found([2, 0])) == ""
    assert "snippets [2, 0], the graphs at [0, 2]" in said(found([0, 2]))
    assert "boxes differ by 0.1" in said(found([2, 0], 0.1))
    assert "boxes differ by inf" in said(found([2, 0], np.nan))


def test_runtimes_that_cannot_be_are_refused(
    graphs: Path, sure_model: Path, clip: Path, capsys: pytest.CaptureFixture[str], monkeypatch
) -> None:
    tag = ["tag", str(clip), "--runtime", "onnx", "--model"]
    assert cli.main([*tag, str(sure_model)]) == 4
    assert "`avglance export` makes" in capsys.readouterr().err
    assert cli.main([*tag, str(graphs), "--device", "cuda"]) == 2
    with pytest.raises(ArgumentError, match="runtime must be"):
        api.load(graphs, runtime="tensorrt")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingExtra, match="onnxruntime cannot be imported"):
        api.load(graphs, runtime="onnx")
    monkeypatch.setitem(sys.modules, "openvino", None)
    capsys.readouterr()
    assert cli.main(["tag", str(clip), "--model", str(graphs), "--runtime", "openvino"]) == 5
    assert "pip install 'avglance[openvino]'" in capsys.readouterr().err
    assert cli.main(["tag", str(clip), "--runtime", "openvino", "--device", "cuda"]) == 2
    assert cli.main(["tag", str(clip), "--runtime", "openvino", "--precision", "bf16"]) == 5
    assert "pip install 'avglance[openvino]'" in capsys.readouterr().err
    assert cli.main(["tag", str(clip), "--runtime", "onnx", "--precision", "bf16"]) == 2


def test_an_export_for_openvino_is_compared_by_it(
    sure_model: Path, clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch
) -> None:
    pytest.importorskip("onnx", reason="onnx is not installed: graphs cannot be made")
    need("openvino")
    monkeypatch.chdir(tmp_path)
    assert cli.main(["export", str(sure_model), "--to", "openvino", "--check"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["folder"], said["runtime"]) == ("sure-openvino", "openvino")
    assert len(said["check"]) > 3
    found = tagged(capsys, clip, "--model", "sure-openvino", "--runtime", "openvino")
    assert found["runtime"] == "openvino"
    monkeypatch.setitem(sys.modules, "openvino", None)
    assert cli.main(["export", str(sure_model), "--to", "openvino", "--out", "other"]) == 5
    assert not (tmp_path / "other").exists()


def test_a_damaged_graph_is_refused(graphs: Path, clip: Path, tmp_path: Path, capsys) -> None:
    folder = tmp_path / "m"
    shutil.copytree(graphs, folder)
    content = bytearray((folder / "aim.onnx").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "aim.onnx").write_bytes(content)
    assert cli.main(["tag", str(clip), "--model", str(folder)]) == 4
    assert "aim.onnx is not what it was" in capsys.readouterr().err
