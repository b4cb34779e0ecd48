"""What is chosen where nobody says: by the size of the data, its lengths, its sound, and its beginning."""

from __future__ import annotations

from itertools import pairwise

import pytest

from avglance.systems import settings_of
from avglance.training import TrainSettings
from avglance.training.plan import DEAF, Base, Facts, choose

NANO = Base("avgn_nano", snippets=16, batch=24)
WARM = Base("avgn_nano", snippets=8, batch=24, start="model", changes={"snippets": 8})


@pytest.mark.parametrize("videos", [1, 2, 5, 30, 100, 1000, 100_000])
@pytest.mark.parametrize("base", [NANO, WARM])
def test_every_plan_is_a_training_that_can_be(videos, base):
    plan = choose(Facts(videos=videos, classes=2), base)
    names = ("epochs", "batch", "budget", "validation", "keep", "patience")
    TrainSettings(plan.system, **{name: getattr(plan, name) for name in names})
    settings_of(plan.system, **{**plan.changes, "snippets": plan.snippets})
    assert plan.budget <= plan.snippets
    assert plan.epochs >= 10
    assert 0.1 <= plan.validation <= 0.3


def test_small_data_gets_more_epochs_smaller_batches_and_a_larger_part_held_out():
    plans = [choose(Facts(videos=n, classes=5), NANO) for n in (30, 100, 300, 1000, 10_000)]
    for small, large in pairwise(plans):
        assert small.epochs >= large.epochs
        assert small.batch <= large.batch
        assert small.validation >= large.validation
    assert (plans[0].batch, plans[-1].batch) == (4, 24)
    assert (plans[0].epochs, plans[-1].epochs) == (80, 15)
    assert plans[1].validation * 100 == 30  # enough to calibrate


def test_a_split_of_its_own_is_what_is_held_out():
    plan = choose(Facts(videos=100, classes=5, split=True), NANO)
    assert plan.validation is None
    assert "its split validation held out" in plan.told(Facts(100, 5, split=True))


def test_a_warm_start_takes_fewer_epochs_keeps_its_snippets_and_leaves_few_encoders_alone():
    fresh, warm = (choose(Facts(videos=100, classes=5, seconds=2.0), base) for base in (NANO, WARM))
    assert warm.epochs < fresh.epochs
    assert (fresh.snippets, warm.snippets) == (8, 8)
    assert choose(Facts(100, 5, seconds=2.0), Base("avgn", 16, 32, start="m")).snippets == 16
    assert warm.changes == {"snippets": 8, "encoder_rate": 0.0}
    assert choose(Facts(5000, 5), WARM).changes["encoder_rate"] == 0.1
    assert fresh.changes == {}


def test_data_without_sound_are_learned_without_sound():
    silent = choose(Facts(videos=100, classes=5, sound=0.0), NANO)
    assert silent.changes == {"drop_sound": 0.0, **DEAF}
    assert not settings_of(silent.system, **silent.changes).switches.listens
    assert choose(Facts(videos=100, classes=5, sound=0.3), NANO).changes == {"drop_sound": 0.0}
    assert choose(Facts(videos=100, classes=5, sound=0.9), NANO).changes == {}
    assert "learns without sound" in silent.told(Facts(100, 5, sound=0.0))


def test_what_was_said_is_not_told_as_chosen():
    facts = Facts(videos=100, classes=5)
    plan = choose(facts, WARM)
    whole = plan.told(facts)
    for name in (
        "system",
        "start",
        "epochs",
        "batch",
        "snippets",
        "budget",
        "validation",
        "keep",
        "patience",
    ):
        assert f"(--{name})" in whole
        assert f"(--{name})" not in plan.told(facts, [name])


def test_encoders_that_stay_as_they_are_are_asked_once():
    base = Base("avgn_mobile", snippets=16, batch=32, start="model", features=3)
    plan = choose(Facts(videos=100, classes=5), base)
    assert (plan.features, plan.changes["encoder_rate"]) == (3, 0.0)
    assert "asked once about 3 pictures a snippet (--features)" in plan.told(Facts(100, 5))
    assert choose(Facts(videos=5000, classes=5), base).features == 0
    fresh = choose(Facts(videos=100, classes=5), Base("avgn_nano", snippets=16, batch=24, features=3))
    assert fresh.features == 0
    assert "--features" not in fresh.told(Facts(100, 5))
