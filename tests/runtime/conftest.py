"""Graphs of small systems, run by onnxruntime."""

from __future__ import annotations

import json

import pytest


@pytest.fixture(scope="session")
def host_of():
    """From a system to the host loop of its graphs; skips where the libraries for that are missing."""
    pytest.importorskip("onnx", reason="onnx is not installed: graphs cannot be made")
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: graphs cannot be run")
    from avglance.runtime.hosts import KINDS
    from avglance.runtime.session import Graph
    from avglance.systems.graphs import onnx_bytes, take_apart

    def made(system):
        parts = take_apart(system)
        graphs = {
            name: Graph(name, onnx_bytes(name, stage), macs=stage.macs)
            for name, stage in parts.graphs.items()
        }
        settings = json.loads(json.dumps(parts.settings))
        how = {"view": system.view_settings, "classes": system.classes, "labels": system.labels}
        return KINDS[parts.kind](settings, graphs, **how)

    return made
