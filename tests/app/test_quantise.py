"""``avglance export --int8``: encoders in 8 bits, which answer nearly alike, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from tests.conftest import need

from avglance.app import api, cli, quantise
from avglance.errors import CheckpointError
from avglance.runtime import Host, load_graphs
from avglance.views import FileView

FILES = quantise.LEAST_FILES


@pytest.fixture(scope="module")
def plain(random_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with graphs."""
    need("onnx")
    need("onnxruntime")
    out = tmp_path_factory.mktemp("plain") / "p"
    assert cli.main(["export", str(random_model), "--out", str(out)]) == 0
    return out


@pytest.fixture(scope="module")
def clips(clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of as many files as it takes."""
    folder = tmp_path_factory.mktemp("clips")
    for n in range(FILES):
        shutil.copyfile(clip, folder / f"{n}.mp4")
    return folder


@pytest.fixture(scope="module")
def brief(plain: Path, random_model: Path, clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same model with its encoders in 8 bits."""
    out = tmp_path_factory.mktemp("brief") / "b"
    assert cli.main(["export", str(random_model), "--out", str(out), "--int8", str(clips)]) == 0
    return out


def answered(folder: Path, clip: Path, by: str = "onnx"):
    loaded = load_graphs(folder, by=by)
    with FileView([clip], loaded.system.view_settings) as view:
        return loaded.system.recognise(view, 4)


def test_encoders_are_in_8_bits_and_the_rest_is_as_it_was(plain: Path, brief: Path) -> None:
    import onnx

    told = json.loads((brief / "graphs.json").read_text())
    assert set(told["int8"]) == {"glance_picture", "glance_sound", "focus"}
    assert told["made_with"]["onnxruntime"]
    for name in told["graphs"]:
        one, other = ((folder / f"{name}.onnx").read_bytes() for folder in (plain, brief))
        assert (one == other) == (name not in told["int8"]), name
        if name in told["int8"]:
            graph = onnx.load_model_from_string(other).graph
            kinds = [tensor.data_type for tensor in graph.initializer if len(tensor.dims) == 4]
            assert kinds
            assert set(kinds) == {onnx.TensorProto.INT8}, name


@pytest.mark.parametrize("by", ["onnx", "openvino"])
def test_answers_are_nearly_the_same(plain: Path, brief: Path, clip: Path, by: str) -> None:
    need("onnxruntime" if by == "onnx" else by)
    one, other = answered(plain, clip), answered(brief, clip, by)
    assert not np.array_equal(one.scores, other.scores)
    np.testing.assert_allclose(other.scores, one.scores, atol=0.05)
    np.testing.assert_allclose(other.evidence, one.evidence, atol=0.1)


def test_an_answer_says_that_it_is_from_8_bits(brief: Path, clip: Path, capsys) -> None:
    assert cli.main(["tag", str(clip), "--model", str(brief), "--json", "--in-process", "--quiet"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["runtime"], told["precision"]) == ("onnx", "int8")
    assert not isinstance(
        api.load(brief, runtime="torch", device="cpu").engine, Host
    )  # its weights are whole


def test_how_many_labels_stay_is_told(random_model: Path, clips: Path, tmp_path: Path, capsys) -> None:
    need("onnx")
    words = ["export", str(random_model), "--out", str(tmp_path / "x"), "--check", "--int8", str(clips)]
    assert cli.main(words) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["int8"]["files"] == FILES
    assert 0 <= told["int8"]["same"] <= FILES
    assert told["check"]  # the graphs were compared before they were put into 8 bits


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (["0.mp4"] * FILES, "different files to say what the encoders will be given, got 1"),
        ([f"{n}.mp4" for n in range(FILES - 1)], f"got {FILES - 1}"),
        ([f"{n}.mp4" for n in range(FILES + 1)], "there is no such file"),
        (["empty"], "there is no file in it"),
    ],
)
def test_what_cannot_be_measured_is_refused_and_nothing_is_written(
    random_model: Path, clips: Path, tmp_path: Path, capsys, files: list[str], message: str
) -> None:
    need("onnx")
    (tmp_path / "empty").mkdir()
    named = [str(tmp_path / name if name == "empty" else clips / name) for name in files]
    assert cli.main(["export", str(random_model), "--out", str(tmp_path / "x"), "--int8", *named]) == 2
    assert message in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]


def test_a_file_that_is_none_is_named_and_nothing_is_written(
    random_model: Path, clips: Path, tmp_path: Path, capsys
) -> None:
    need("onnx")
    (tmp_path / "bad.mp4").write_text("this is no video, " * 50)
    words = ["export", str(random_model), "--out", str(tmp_path / "x"), "--int8", str(clips)]
    assert cli.main([*words, str(tmp_path / "bad.mp4")]) == 3
    assert "bad.mp4" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_an_encoder_that_is_given_nothing_is_named(
    random_model: Path, make_clip, tmp_path: Path, capsys
) -> None:
    need("onnx")
    mute = [str(make_clip(tmp_path / f"{n}.mp4", sound=False)) for n in range(FILES)]
    assert cli.main(["export", str(random_model), "--out", str(tmp_path / "x"), "--int8", *mute]) == 2
    assert "given nothing" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_an_encoder_that_does_not_bear_it_stays_as_it_was(
    plain: Path, random_model: Path, clips: Path, tmp_path: Path, capsys, monkeypatch, terminal
) -> None:
    right = quantise.cosine

    def cosine(graph, made, rows):
        return 0.5 if graph.name == "glance_sound" else right(graph, made, rows)

    monkeypatch.setattr(quantise, "cosine", cosine)
    words = ["export", str(random_model), "--int8", str(clips)]
    monkeypatch.setattr("sys.stdout", terminal)
    assert cli.main([*words, "--out", str(tmp_path / "x")]) == 0
    assert "glance_sound stays as it is: cosine 0.500" in terminal.text
    assert f"of the {FILES} files" in terminal.text
    for name, same in (("glance_sound", True), ("focus", False)):
        one, other = ((folder / f"{name}.onnx").read_bytes() for folder in (plain, tmp_path / "x"))
        assert (one == other) == same
    monkeypatch.setattr(quantise, "cosine", lambda *_: 0.5)
    assert cli.main([*words, "--out", str(tmp_path / "y")]) == 2
    assert "no encoder gives in 8 bits" in capsys.readouterr().err
    assert not (tmp_path / "y").exists()


def test_vectors_of_nothing_are_alike() -> None:
    one, other = (
        np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0]]),
        np.array([[0.0, 0.0], [0.0, 1.0], [2.0, 2.0]]),
    )
    np.testing.assert_allclose(quantise._cosines(one, other), [1, 0, 1])


def test_rows_are_spread_over_a_call() -> None:
    rows = {"a": np.arange(10), "b": np.arange(10, 20)}
    some = quantise._some(rows, 4)
    assert (some["a"].tolist(), some["b"].tolist()) == ([0, 3, 6, 9], [10, 13, 16, 19])
    assert quantise._some(rows, 99)["a"].tolist() == list(range(10))


def test_graphs_in_8_bits_that_are_not_there_are_refused(brief: Path, tmp_path: Path) -> None:
    import hashlib

    folder = shutil.copytree(brief, tmp_path / "forged")
    told = json.loads((folder / "graphs.json").read_text()) | {"int8": ["other"]}
    (folder / "graphs.json").write_text(json.dumps(told))
    sums = json.loads((folder / "checksums.json").read_text())
    sums["graphs.json"] = hashlib.sha256((folder / "graphs.json").read_bytes()).hexdigest()
    (folder / "checksums.json").write_text(json.dumps(sums))
    with pytest.raises(CheckpointError, match="graphs in 8 bits"):
        load_graphs(folder)
