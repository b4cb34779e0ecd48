"""Graphs with their weights inside: the same numbers, and no other place is ever named."""

from __future__ import annotations

import numpy as np
import pytest
from safetensors.numpy import save
from tests.conftest import need

from avglance.errors import CheckpointError
from avglance.runtime.graph import Graph
from avglance.runtime.shared import WEIGHTS, share
from avglance.runtime.whole import made_whole

onnx = pytest.importorskip("onnx", reason="onnx is not installed: graphs cannot be made")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402  (not where onnx is missing)

LARGE = np.linspace(-1, 1, 80, dtype=np.float16).reshape(1, 80)
ADDRESS = "*/_ORT_MEM_ADDR_/*"  # what openvino takes for a place in memory


def graph_of(*tensors: TensorProto, nodes: list | None = None) -> bytes:
    """y = x + large, as an ONNX file."""
    nodes = nodes or [helper.make_node("Add", ["x", "large"], ["y"])]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["rows", 80]) for name in "xy"]
    made = helper.make_graph(nodes, "g", ends[:1], ends[1:], list(tensors))
    opset = [helper.make_opsetid("", 17)]
    return helper.make_model(made, opset_imports=opset, ir_version=8).SerializeToString()


def elsewhere(
    location: str = WEIGHTS, *, first: int = 0, length: int = 320, kind: int = TensorProto.FLOAT
) -> TensorProto:
    large = TensorProto(name="large", data_type=kind, dims=[1, 80], data_location=TensorProto.EXTERNAL)
    for key, value in (("location", location), ("offset", first), ("length", length)):
        large.external_data.add(key=key, value=str(value))
    return large


@pytest.mark.parametrize("kept", [np.float16, np.float32])
def test_the_numbers_are_put_inside(kept: type) -> None:
    whole = graph_of(numpy_helper.from_array(LARGE.astype(np.float32), "large"))
    weights = save({"other": np.ones((1, 80), kept), "large": LARGE.astype(kept)})
    content = share({"g": whole}, weights)["g"]
    found = onnx.load_model_from_string(made_whole(content, weights))
    onnx.checker.check_model(found)
    (tensor,) = found.graph.initializer
    assert tensor.data_location == TensorProto.DEFAULT
    assert np.array_equal(numpy_helper.to_array(tensor), LARGE.astype(kept))
    assert made_whole(whole, b"") == whole
    need("openvino")
    x = np.zeros((3, 80), np.float32)
    (said,) = Graph("g", content, macs={}, weights=weights, by="openvino")(x=x)
    assert np.array_equal(said, x + LARGE.astype(np.float32))


@pytest.mark.parametrize(
    "tensor",
    [
        elsewhere("near.bin"), elsewhere("/etc/passwd"), elsewhere(f"../{WEIGHTS}"), elsewhere(ADDRESS),
        elsewhere(first=1), elsewhere(first=-1), elsewhere(length=321), elsewhere(length=316),
        elsewhere(length=-320), elsewhere(first=2**63), elsewhere(kind=TensorProto.FLOAT16),
        elsewhere(kind=TensorProto.STRING),
        TensorProto(name="large", dims=[1, 80], data_type=1, data_location=TensorProto.EXTERNAL),
    ],
    ids=lambda tensor: " ".join(entry.value for entry in tensor.external_data) or "nowhere",
)  # fmt: skip
def test_a_place_that_is_not_in_the_weights_is_refused(tensor: TensorProto) -> None:
    need("openvino")
    with pytest.raises(ValueError, match="it names"):
        made_whole(graph_of(tensor), bytes(320))
    with pytest.raises(CheckpointError, match="openvino cannot run it") as error:
        Graph("g", graph_of(tensor), macs={}, weights=bytes(320), by="openvino", folder="m")
    assert str(error.value).startswith("m: graph g: ")


def test_a_place_that_is_named_elsewhere_in_the_graph_is_refused() -> None:
    constant = helper.make_node("Constant", [], ["large"], value=elsewhere())
    nodes = [constant, helper.make_node("Add", ["x", "large"], ["y"])]
    with pytest.raises(ValueError, match="names a place"):
        made_whole(graph_of(nodes=nodes), bytes(320))


def test_what_is_no_onnx_file_is_refused() -> None:
    content = graph_of(elsewhere())
    weights = bytes(320)
    assert made_whole(content, weights)
    for end in range(1, len(content)):
        try:
            made_whole(content[:end], weights)
        except ValueError:
            continue
    rng = np.random.default_rng(0)
    for _ in range(300):
        spoilt = bytearray(content)
        spoilt[rng.integers(len(spoilt))] = rng.integers(256)
        try:
            found = made_whole(bytes(spoilt), weights)
        except ValueError:
            continue
        assert b"location" not in found
