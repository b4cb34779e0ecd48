from __future__ import annotations

import pytest
import torch
from tests.training.worlds import Colour

from avglance.errors import ArgumentError
from avglance.systems.base import Group, Stage
from avglance.training.rates import factor, optimisers, set_rates, share_epochs


def test_one_cycle_is_torchs_own():
    parameter = torch.nn.Parameter(torch.zeros(1))
    theirs = torch.optim.SGD([parameter], lr=1.0)
    plan = torch.optim.lr_scheduler.OneCycleLR(
        theirs, 1.0, total_steps=50, div_factor=25, cycle_momentum=False
    )
    for step in range(50):
        assert factor("onecycle", step, 50) == pytest.approx(theirs.param_groups[0]["lr"], rel=1e-9)
        theirs.step()
        plan.step()


def test_rates_begin_peak_and_end_where_they_should():
    cycle = [factor("onecycle", n, 100) for n in range(100)]
    assert cycle[0] == pytest.approx(1 / 25)
    assert max(cycle) == cycle[29] == pytest.approx(1.0)
    assert cycle[-1] == pytest.approx(4e-6)
    assert cycle[:30] == sorted(cycle[:30])
    assert cycle[29:] == sorted(cycle[29:], reverse=True)
    fall = [factor("cosine", n, 10) for n in range(10)]
    assert fall[0] == 1.0
    assert fall == sorted(fall, reverse=True)
    assert 0 < fall[-1] < 0.05
    assert all(0 < factor("onecycle", n, steps) <= 1 for steps in range(1, 9) for n in range(steps))


def test_rates_scale_linearly_with_the_batch():
    system = Colour(rate=0.1)
    names = frozenset(n for n, _ in system.named_parameters())
    adam, sgd = optimisers(system, system.stages()[1], scale=0.5, trainable=names)
    assert (type(adam), type(sgd)) == (torch.optim.AdamW, torch.optim.SGD)
    assert set_rates([sgd], 0, 10) == pytest.approx(0.05)
    assert set_rates([adam], 2, 10) == pytest.approx(0.05)
    assert adam.param_groups[0]["weight_decay"] == 0.01
    assert not system.unused.weight.requires_grad


def test_what_the_system_froze_stays_frozen():
    system = Colour()
    names = frozenset(n for n, _ in system.named_parameters()) - {"head.bias"}
    optimisers(system, system.stages()[0], scale=1.0, trainable=names)
    assert not system.head.bias.requires_grad
    assert system.head.weight.requires_grad


def test_a_parameter_in_two_groups_or_none_at_all_is_an_error():
    system = Colour()
    names = frozenset(n for n, _ in system.named_parameters())
    twice = Stage("x", tuple(Group(p, "adamw", 1.0, 0.0, "cosine") for p in (("head",), ("",))))
    with pytest.raises(ArgumentError, match="shares parameters"):
        optimisers(system, twice, scale=1.0, trainable=names)
    nothing = Stage("x", (Group(("nosuch",), "adamw", 1.0, 0.0, "cosine"),))
    with pytest.raises(ArgumentError, match="trains nothing"):
        optimisers(system, nothing, scale=1.0, trainable=names)


@pytest.mark.parametrize(
    ("shares", "epochs", "want"),
    [((1.0,), 5, [5]), ((0.5, 0.5), 5, [2, 3]), ((0.9, 0.1), 3, [2, 1]), ((0.1, 0.9), 2, [1, 1])],
)
def test_epochs_are_shared_out_without_rest(shares, epochs, want):
    stages = [Stage(str(n), (), share) for n, share in enumerate(shares)]
    assert share_epochs(stages, epochs) == want


def test_fewer_epochs_than_stages_is_an_error():
    with pytest.raises(ArgumentError, match="1 epochs cannot be shared by 2 stages"):
        share_epochs([Stage("a", ()), Stage("b", ())], 1)
