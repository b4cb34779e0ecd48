"""A system taken apart into stages."""

from __future__ import annotations

import pytest
import torch
from tests import checks
from torch import nn

from avglance.errors import ArgumentError, MissingExtra
from avglance.systems import graphs
from avglance.systems.base import System


class Odd(nn.Module):
    """Has no form in ONNX."""

    def forward(self, x):
        return torch.linalg.svd(x)[1]


def test_stages_and_their_spend():
    system = checks.small_system("avgn_nano")
    parts = graphs.take_apart(system)
    names = "glance_picture glance_sound choose hear aim focus mix answer"
    assert set(parts.graphs) == set(names.split())
    assert all(macs > 0 for stage in parts.graphs.values() for macs in stage.macs.values())
    assert all(len(x) == 2 for stage in parts.graphs.values() for x in stage.inputs.values())
    assert set(graphs.take_apart(checks.small_system("avgn_nano", see=False)).graphs) == {
        "glance_sound",
        "choose",
    }
    assert set(graphs.take_apart(checks.small_system("tsn")).graphs) == {
        "focus_picture",
        "focus_sound",
        "answer",
    }


def test_what_cannot_be_exported_is_named(monkeypatch: pytest.MonkeyPatch):
    class Other(System):
        name = "other"

    with pytest.raises(ArgumentError, match="other cannot be exported"):
        graphs.take_apart(Other())
    stage = graphs.StageGraph(Odd(), {"x": torch.zeros(2, 2)}, ("y",), {})
    monkeypatch.setattr(graphs, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match="onnx is not installed"):
        graphs.onnx_bytes("aim", stage)


def test_a_norm_without_weights_of_rows_of_unknown_width_is_exported():
    onnx = pytest.importorskip("onnx", reason="onnx is not installed: graphs cannot be made")

    class Bare(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = nn.BatchNorm1d(3, affine=False)

        def forward(self, x):
            return self.norm(nn.functional.normalize(x, dim=-1).flatten(0, 1)).reshape(x.shape)

    bare = Bare()
    content = graphs.onnx_bytes("aim", graphs.StageGraph(bare, {"x": torch.ones(2, 4, 3)}, ("y",), {}))
    onnx.checker.check_model(onnx.load_model_from_string(content))
    assert bare.norm.weight is bare.norm.bias is None
    assert set(bare.state_dict()) == {"norm.running_mean", "norm.running_var", "norm.num_batches_tracked"}


def test_a_layer_without_a_form_in_onnx_is_named():
    pytest.importorskip("onnx", reason="onnx is not installed: graphs cannot be made")
    stage = graphs.StageGraph(Odd(), {"x": torch.zeros(2, 2)}, ("y",), {})
    with pytest.raises(ArgumentError, match="stage aim has no form in ONNX"):
        graphs.onnx_bytes("aim", stage)
