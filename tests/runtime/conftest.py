"""Graphs of small systems, run by onnxruntime or openvino."""

from __future__ import annotations

import json

import pytest
from tests.conftest import need


@pytest.fixture(scope="session")
def host_of():
    """From a system to the host loop of its graphs; skips where the libraries for that are missing."""
    pytest.importorskip("onnx", reason="onnx is not installed: graphs cannot be made")
    need("onnxruntime")
    from safetensors.torch import save

    from avglance.runtime.graph import Graph
    from avglance.runtime.hosts import KINDS
    from avglance.runtime.shared import share
    from avglance.systems.graphs import onnx_bytes, take_apart

    def made(system, by="onnx"):
        parts = take_apart(system)
        weights = save({name: x.contiguous() for name, x in system.state_dict().items()})
        shared = share({name: onnx_bytes(name, stage) for name, stage in parts.graphs.items()}, weights)
        graphs = {
            name: Graph(name, content, macs=parts.graphs[name].macs, weights=weights, by=by)
            for name, content in shared.items()
        }
        settings = json.loads(json.dumps(parts.settings))
        how = {"view": system.view_settings, "classes": system.classes, "labels": system.labels}
        return KINDS[parts.kind](settings, graphs, **how)

    return made
