"""Graphs that hold no weights of their own: they name places in the file of weights beside them.

A safetensors file is a header and then the plain bytes of every tensor, which is what ONNX calls external
data. So both runtimes answer from the same bytes, and graphs add little to a model.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

WEIGHTS = "model.safetensors"
TYPES = {"F16": np.float16, "F32": np.float32}
LEAST = 64  # numbers: what is smaller stays in the graph

Place = tuple[str, int, int]
"""Type, first byte in the file and number of bytes of a tensor."""


def share(graphs: Mapping[str, bytes], weights: bytes) -> dict[str, bytes]:
    """The graphs with every tensor left out that is in the file.

    Args:
        graphs: ONNX files by name, in float32.
        weights: the safetensors file; numbers that it keeps in 16 bits are widened in the graph.
    """
    there = places(weights)
    return {name: _shared(content, there) for name, content in graphs.items()}


def places(weights: bytes) -> dict[bytes, Place]:
    """Where each tensor of real numbers lies in a safetensors file, by what it is (``_same``)."""
    behind = 8 + int.from_bytes(weights[:8], "little")
    header: dict[str, Any] = json.loads(weights[8:behind])
    found = {}
    for name, entry in header.items():
        if name != "__metadata__" and entry["dtype"] in TYPES:
            first, last = (behind + byte for byte in entry["data_offsets"])
            x = np.frombuffer(weights[first:last], TYPES[entry["dtype"]]).reshape(entry["shape"])
            found[_same(x)] = (entry["dtype"], first, last - first)
    return found


def _same(x: NDArray[Any]) -> bytes:
    """What two arrays of one shape and the same numbers have in common, and no others."""
    return hashlib.sha256(repr(x.shape).encode() + x.astype(np.float32).tobytes()).digest()


def _shared(content: bytes, there: Mapping[bytes, Place]) -> bytes:
    import onnx
    from onnx import numpy_helper

    model = onnx.load_model_from_string(content)
    wider = []
    for tensor in model.graph.initializer:
        x = numpy_helper.to_array(tensor)
        place = there.get(_same(x)) if x.dtype == np.float32 and x.size >= LEAST else None
        if place is None:
            continue
        kind, first, length = place
        name, half = tensor.name, kind == "F16"
        tensor.Clear()
        tensor.name, tensor.data_location = name, onnx.TensorProto.EXTERNAL
        tensor.dims.extend(x.shape)
        tensor.data_type = onnx.TensorProto.FLOAT16 if half else onnx.TensorProto.FLOAT
        for key, value in (("location", WEIGHTS), ("offset", first), ("length", length)):
            tensor.external_data.add(key=key, value=str(value))
        if half:
            tensor.name = f"{name}.half"
            wider.append(onnx.helper.make_node("Cast", [tensor.name], [name], to=onnx.TensorProto.FLOAT))
    nodes = [*wider, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    found: bytes = model.SerializeToString()
    return found
