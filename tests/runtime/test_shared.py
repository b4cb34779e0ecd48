"""Graphs that name places in a file of weights: the same numbers, and no other file is ever read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save
from tests.conftest import need

from avglance.errors import CheckpointError
from avglance.runtime.graph import Graph
from avglance.runtime.shared import WEIGHTS, places, share

onnx = pytest.importorskip("onnx", reason="onnx is not installed: graphs cannot be made")
need("onnxruntime")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402  (not where onnx is missing)

LARGE = np.linspace(-1, 1, 80, dtype=np.float16).reshape(1, 80)
SMALL = np.array([[3.0]], dtype=np.float32)


def made(*tensors: TensorProto) -> bytes:
    """y = x + large + small, as an ONNX file."""
    nodes = [helper.make_node("Add", ["x", "large"], ["z"]), helper.make_node("Add", ["z", "small"], ["y"])]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["rows", 80]) for name in "xy"]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], list(tensors))
    opset = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString()


@pytest.fixture
def whole() -> bytes:
    both = {"large": LARGE.astype(np.float32), "small": SMALL}
    return made(*(numpy_helper.from_array(x, name) for name, x in both.items()))


@pytest.mark.parametrize("kept", [np.float16, np.float32])
def test_the_numbers_are_those_of_the_file(whole: bytes, kept: type) -> None:
    weights = save({"other": np.ones((1, 80), kept), "large": LARGE.astype(kept), "small": SMALL})
    content = share({"g": whole}, weights)["g"]
    left = {t.name: t.data_location for t in onnx.load_model_from_string(content).graph.initializer}
    name = "large.half" if kept == np.float16 else "large"
    assert left == {name: TensorProto.EXTERNAL, "small": TensorProto.DEFAULT}
    x = np.zeros((2, 80), np.float32)
    (found,) = Graph("g", content, macs={}, weights=weights)(x=x)
    assert np.array_equal(found, x + LARGE.astype(np.float32) + SMALL)
    (found,) = Graph(
        "g",
        content,
        macs={},
        weights=weights.replace(LARGE.astype(kept).tobytes(), bytes(80 * np.dtype(kept).itemsize)),
    )(x=x)
    assert np.array_equal(found, x + SMALL)


def test_equal_numbers_of_another_shape_or_type_are_others(whole: bytes) -> None:
    weights = save({"a": LARGE.astype(np.float32).reshape(80), "b": LARGE.astype(np.float64), "c": LARGE + 1})
    assert share({"g": whole}, weights)["g"] == whole
    assert len(places(weights)) == 2


def test_a_graph_that_names_another_file_or_more_than_there_is_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "near.bin").write_bytes(bytes(1000))
    (tmp_path / WEIGHTS).write_bytes(bytes(1000))  # where a file is, is no matter
    small = numpy_helper.from_array(SMALL, "small")
    for location, length in (("near.bin", 320), (str(tmp_path / "near.bin"), 320), (WEIGHTS, 320)):
        large = TensorProto(name="large", data_type=TensorProto.FLOAT, dims=[1, 80])
        large.data_location = TensorProto.EXTERNAL
        for key, value in (("location", location), ("offset", 0), ("length", length)):
            large.external_data.add(key=key, value=str(value))
        with pytest.raises(CheckpointError, match="onnxruntime cannot run it"):
            Graph("g", made(large, small), macs={}, weights=bytes(100))


def test_a_file_without_weights_has_no_places() -> None:
    assert places((2).to_bytes(8, "little") + b"{}") == {}
