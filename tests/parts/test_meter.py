"""Seconds and multiply-adds, by stage and video."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from avglance.errors import ArgumentError
from avglance.parts.meter import Meter, Unmetered, count_macs, crop_macs, resize_macs, row_macs
from avglance.views import resize_matrix


class Layer(nn.Module):
    """4 -> 6, 24 multiply-adds a row; counts its calls."""

    def __init__(self):
        super().__init__()
        self.linear, self.norm, self.calls = nn.Linear(4, 6), nn.BatchNorm1d(6), 0

    def forward(self, x, bias=None):
        self.calls += 1
        return self.norm(self.linear(x)) + (0 if bias is None else bias)

    def twice(self, x):
        return self.linear(x) + self.linear(x)


def test_rows_are_booked_on_their_videos():
    meter, layer = Meter(3), Layer().eval()
    out = meter.run("focus", layer, torch.ones(4, 4), rows=torch.tensor([0, 2, 2, 2]))
    assert out.shape == (4, 6)
    meter.run("focus", layer, torch.ones(1, 4), None, rows=np.array([1]))
    meter.run("aim", layer, torch.ones(2, 4), rows=np.array([0, 1]), method="twice")
    assert meter.macs["focus"].tolist() == [24, 24, 72]
    assert meter.macs["aim"].tolist() == [48, 48, 0]
    assert meter.total_macs.tolist() == [72, 72, 72]
    assert meter.macs["focus"].dtype == np.int64


def test_a_row_may_be_given():
    """Four steps in one call, of which video 0 made one and video 1 three."""
    meter, layer = Meter(2), nn.Linear(4, 6)
    x = torch.ones(2, 3, 4)
    meter.run("aim", layer, x, rows=torch.tensor([0, 1, 1, 1]), row=(x[:1, :1],))
    assert meter.macs["aim"].tolist() == [24, 72]


def test_no_rows_cost_nothing():
    meter = Meter(2)
    meter.run("focus", nn.Linear(4, 6), torch.ones(0, 4), rows=np.zeros(0, dtype=np.int64))
    assert meter.total_macs.tolist() == [0, 0]


def test_one_shape_is_counted_once_and_leaves_no_trace():
    layer = Layer().train()
    before = {name: x.clone() for name, x in layer.state_dict().items()}
    assert row_macs(layer, torch.ones(1, 4)) == 24
    assert row_macs(layer, torch.zeros(1, 4)) == 24
    assert layer.calls == 1
    assert row_macs(layer, torch.ones(1, 4), torch.zeros(1)) == 24
    assert layer.calls == 2
    assert layer.training
    assert layer.norm.training
    assert all(torch.equal(before[name], x) for name, x in layer.state_dict().items())


def test_what_torch_counts():
    assert count_macs(nn.Conv2d(3, 8, 3, 2, 1), torch.zeros(1, 3, 16, 16)) == 8 * 8 * 8 * 3 * 9
    assert count_macs(nn.GRUCell(5, 7), torch.zeros(2, 5), torch.zeros(2, 7)) == 2 * 3 * 7 * (5 + 7)
    q = torch.zeros(1, 2, 10, 4)
    assert count_macs(nn.functional.scaled_dot_product_attention, q, q, q) == 2 * 2 * 10 * 10 * 4


def test_formulas():
    assert crop_macs(96) == 110_592
    assert resize_macs(224, 224) == 0
    down = resize_matrix(240, 64)
    by_hand = sum(np.count_nonzero(row) for row in down) * 3 * (240 + 64)
    assert resize_macs(240, 64) == by_hand
    assert resize_macs(240, 64) < 3 * (64 * 240 * 240 + 64 * 64 * 240), "a band, not a full matrix"


@pytest.fixture
def wait(monkeypatch):
    """A clock that only moves when told to."""
    now = [100.0]
    monkeypatch.setattr(Meter, "_now", staticmethod(lambda: now[0]))

    def pass_by(seconds):
        now[0] += seconds

    return pass_by


def test_clocks_within_clocks_are_not_counted_twice(wait):
    meter = Meter(1)
    with meter.clock("glance"):
        wait(2)
        with meter.clock("aim"):
            wait(5)
            with meter.clock(""):
                wait(7)  # belongs to nobody
        wait(1)
    with meter.clock("glance"):
        wait(4)
    assert meter.seconds == pytest.approx({"glance": 7, "aim": 5})


def test_decoding_has_its_own_seconds(wait):
    class Decoder:
        decode_s = np.zeros(2)

    meter, view = Meter(2), Decoder()
    with meter.clock("glance", view):
        wait(3)
        view.decode_s = view.decode_s + np.array([0.5, 1.5])
    assert meter.seconds == pytest.approx({"glance": 1, "decode": 2})


def test_a_clock_stops_when_something_breaks(wait):
    meter = Meter(1)

    def breaks():
        with meter.clock("aim"):
            wait(2)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        breaks()
    wait(9)
    with meter.clock("glance"):
        wait(1)
    assert meter.seconds == pytest.approx({"aim": 2, "glance": 1})


def test_real_seconds_pass():
    meter = Meter(1)
    with meter.clock("aim"):
        sum(range(100_000))
    assert 0 < meter.seconds["aim"] < 600


def test_unmetered_runs_the_same():
    layer, free = Layer().eval(), Unmetered()
    x = torch.ones(2, 4)
    with free.clock("aim"):
        assert torch.equal(free.run("aim", layer, x, rows=np.array([0, 1])), layer(x))
        assert torch.equal(free.run("aim", layer, x, rows=np.array([0, 1]), method="twice"), layer.twice(x))
    free.add("aim", 3, np.array([0]))


def test_a_meter_needs_a_video():
    with pytest.raises(ArgumentError, match="at least one"):
        Meter(0)
