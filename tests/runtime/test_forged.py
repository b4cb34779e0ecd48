"""Graphs that were edited, checksums and all, end in an error that names their folder, whatever runs them."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from tests import checks
from tests.conftest import need

from avglance.errors import CheckpointError
from avglance.runtime import load_graphs
from avglance.runtime.folder import CHECKSUMS, GRAPHS

onnx = pytest.importorskip("onnx", reason="onnx is not installed: graphs cannot be made")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402  (not where onnx is missing)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model with its graphs."""
    from avglance.app import cli
    from avglance.systems.store import save_model

    folder = tmp_path_factory.mktemp("forged")
    names = [f"class {n}" for n in range(checks.C)]
    save_model(checks.small_system("avgn_nano"), folder / "m", classes=names, card={})
    assert cli.main(["export", str(folder / "m"), "--out", str(folder / "g"), "--json"]) == 0
    return folder / "g"


def forged(
    whole: Path, stage: str, *, value: float = 0.5, wide: int = 0, asked: str = "", outputs: int = 9
) -> bytes:
    """A graph with the inputs of a stage that gives one value, in arrays as wide as its outputs."""
    old, shapes = (
        onnx.load(whole / f"{stage}.onnx", load_external_data=False).graph,
        load_graphs(whole).system._loop.shapes(stage),
    )
    named = list(old.input)
    if asked:
        named[0].name = asked
    nodes = [
        helper.make_node("Cast", [named[0].name], ["x"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["x"], ["flat"], axis=1),
        helper.make_node("ReduceSum", ["flat", "one"], ["sum"], keepdims=1),
        helper.make_node("Mul", ["sum", "none"], ["row"]),
    ]
    kept = [
        numpy_helper.from_array(np.array([1]), "one"),
        numpy_helper.from_array(np.zeros(1, np.float32), "none"),
    ]
    for n, out in enumerate(old.output[:outputs]):
        shape = [*shapes[n][:-1], shapes[n][-1] + wide]
        kept.append(numpy_helper.from_array(np.full((1, int(np.prod(shape))), value, np.float32), f"v{n}"))
        kept.append(numpy_helper.from_array(np.array([-1, *shape]), f"s{n}"))
        nodes.append(helper.make_node("Add", ["row", f"v{n}"], [f"f{n}"]))
        nodes.append(helper.make_node("Reshape", [f"f{n}", f"s{n}"], [out.name]))
        del out.type.tensor_type.shape.dim[:]
        out.type.tensor_type.shape.dim.add(dim_param="rows")
        for side in shape:
            out.type.tensor_type.shape.dim.add(dim_value=side)
    made = helper.make_graph(nodes, "g", named, list(old.output[:outputs]), kept)
    return helper.make_model(
        made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    ).SerializeToString()


def answer(whole: Path, folder: Path, stage: str, content: bytes, by: str) -> None:
    """Answer with one graph replaced and the checksums made to fit."""
    shutil.copytree(whole, folder)
    (folder / f"{stage}.onnx").write_bytes(content)
    sums = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.iterdir()}
    (folder / CHECKSUMS).write_text(json.dumps({k: v for k, v in sums.items() if k != CHECKSUMS}))
    host = load_graphs(folder, by=by).system
    host.recognise(checks.RecordingView(checks.make_clips(5), host.view_settings), 3)


STAGES = ("glance_picture", "glance_sound", "choose", "aim", "focus", "answer")


@pytest.mark.parametrize(
    ("stage", "by"), [*((stage, "onnx") for stage in STAGES), ("choose", "openvino"), ("focus", "openvino")]
)
def test_an_edited_graph_is_an_error_with_the_name_of_its_folder(
    stage: str, by: str, whole: Path, tmp_path: Path
) -> None:
    need({"onnx": "onnxruntime"}.get(by, by))
    content = (whole / f"{stage}.onnx").read_bytes()
    answer(whole, tmp_path / "good", stage, forged(whole, stage), by)
    spoilt = {
        "truncated": content[: len(content) // 2],
        "empty": b"",
        "another": (whole / f"{STAGES[STAGES.index(stage) - 1]}.onnx").read_bytes(),
        "nan": forged(whole, stage, value=float("nan")),
        "wide": forged(whole, stage, wide=1),
        "asks": forged(whole, stage, asked="elsewhere"),
        "less": forged(whole, stage, outputs=0) if stage == "aim" else forged(whole, stage, outputs=1),
    }
    if stage == "choose":
        spoilt["less"] = forged(whole, stage, outputs=2)
    for name, made in spoilt.items():
        with pytest.raises(CheckpointError) as error:
            answer(whole, tmp_path / name, stage, made, by)
        assert str(error.value).startswith(f"{tmp_path / name}: graph {stage}: "), name


def test_a_policy_that_aims_outside_the_picture_is_refused(whole: Path, tmp_path: Path) -> None:
    need("onnxruntime")
    stage = "aim"
    for n, value in enumerate((-0.5, 1e9)):
        with pytest.raises(CheckpointError, match="aims outside"):
            answer(whole, tmp_path / str(n), stage, forged(whole, stage, value=value), "onnx")


def test_values_without_end_are_refused(whole: Path, tmp_path: Path) -> None:
    need("onnxruntime")
    for stage in STAGES:
        with pytest.raises(CheckpointError, match=f"graph {stage}: it gives what is no finite number"):
            answer(whole, tmp_path / stage, stage, forged(whole, stage, value=float("-inf")), "onnx")
        with contextlib.suppress(CheckpointError):
            answer(whole, tmp_path / f"{stage} large", stage, forged(whole, stage, value=3e38), "onnx")


@pytest.mark.parametrize("settings", [{"widths": None}, {"map": [1, 2, "x"]}, {"patch": 3}])
def test_edited_settings_are_refused(settings: dict, whole: Path, tmp_path: Path) -> None:
    manifest = json.loads((whole / GRAPHS).read_text())
    folder = tmp_path / "g"
    shutil.copytree(whole, folder)
    manifest["settings"] |= settings
    (folder / GRAPHS).write_text(json.dumps(manifest))
    sums = json.loads((folder / CHECKSUMS).read_text())
    sums[GRAPHS] = hashlib.sha256((folder / GRAPHS).read_bytes()).hexdigest()
    (folder / CHECKSUMS).write_text(json.dumps(sums))
    with pytest.raises(CheckpointError):
        load_graphs(folder)
