"""A cache in place of the files, and what a system does that is told the truth."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from avglance.data.cache import Cache, build_cache
from avglance.data.glanceworld import make_world
from avglance.data.records import read_dataset
from avglance.errors import ArgumentError, DataError
from avglance.evaluation import evaluate
from avglance.evaluation.cached import CachedView
from avglance.systems import build
from avglance.systems.store import LoadedModel


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A dataset of three videos and its cache."""
    folder = tmp_path_factory.mktemp("world")
    dataset = read_dataset(make_world(folder / "w", videos=3, seed=5, workers=1))
    settings = build("avgn_nano", classes=20).view_settings
    build_cache(dataset, settings, folder / "cache", workers=1)
    return dataset, Cache(dataset, settings, folder / "cache")


@pytest.fixture(scope="module")
def loaded(world):
    torch.manual_seed(0)
    system = build("avgn_nano", classes=20).eval()
    return LoadedModel(system, world[0].classes, {"name": "untrained"}, world[0].folder, "0" * 64)


def test_the_cache_gives_the_figures_of_the_files(world, loaded):
    dataset, cache = world
    files, kept = (evaluate(loaded, dataset, budget=3, cache=c) for c in (None, cache))
    assert (files["settings"]["cached"], kept["settings"]["cached"]) == (False, True)
    assert files["gmacs"] == kept["gmacs"]
    assert kept["frames"]["decoded"] == 0
    for one, other in zip(files["rows"], kept["rows"], strict=True):
        assert [m["snippet"] for m in one["moments"]] == [m["snippet"] for m in other["moments"]]
        scores, again = (dict(row["labels"]) for row in (one, other))
        both = set(scores) & set(again)
        assert both
        assert all(scores[name] == pytest.approx(again[name], abs=2e-2) for name in both)
        assert one["event_snippets"] == other["event_snippets"]


def test_a_video_that_the_cache_does_not_hold_is_named(world):
    with pytest.raises(DataError, match=r"does not hold .*other\.mp4"):
        CachedView(world[1], ["other.mp4"])


def test_truth_that_is_told_is_followed(world, loaded):
    dataset, cache = world
    plain = evaluate(loaded, dataset, budget=4, cache=cache)
    moments = evaluate(loaded, dataset, budget=4, cache=cache, control="true_moments")
    both = evaluate(loaded, dataset, budget=4, cache=cache, control="true_both")
    assert moments["moment_recall"] == both["moment_recall"] == 1.0
    assert both["patch_hit"] == 1.0
    assert both["patch_chances"] == sum(min(4, len(row["event_snippets"])) for row in both["rows"])
    assert plain["moment_recall"] < 1.0, "an untrained system does not find them by itself"
    places = evaluate(loaded, dataset, budget=4, cache=cache, control="true_patches")
    assert [m["snippet"] for m in places["rows"][0]["moments"]] == [
        m["snippet"] for m in plain["rows"][0]["moments"]
    ]
    everywhere = evaluate(loaded, dataset, budget=16, cache=cache, control="true_patches")
    assert everywhere["patch_chances"] > 0
    assert everywhere["patch_hit"] == 1.0


def test_what_shows_nothing_has_nothing_to_be_told(world, loaded):
    """It stays in the run, and out of the figures of what is found; alone it is refused."""
    dataset, cache = world
    strange = replace(dataset.records[-1], labels=(), truth=None, unknown=True)
    mixed = replace(dataset, records=(*dataset.records[:-1], strange))
    told = evaluate(loaded, mixed, budget=4, cache=cache, control="true_moments")
    assert (told["videos"], told["events"], told["moment_recall"]) == (len(dataset), len(dataset) - 1, 1.0)
    with pytest.raises(ArgumentError, match="1 of 1 videos have no known event"):
        evaluate(loaded, replace(dataset, records=(strange,)), cache=cache, control="true_moments")


def test_evenly_spaced_moments_are_looked_at_where_that_is_asked(world, loaded):
    dataset, cache = world
    for k, where in ((4, [2, 6, 10, 14]), (1, [8])):
        even = evaluate(loaded, dataset, budget=k, cache=cache, control="uniform")
        assert all(sorted(m["snippet"] for m in row["moments"]) == where for row in even["rows"])


def test_a_system_that_chooses_nothing_cannot_be_told(world):
    system = build("tsn_nano", classes=20).eval()
    system.name = "tsn_nano"
    model = LoadedModel(system, world[0].classes, {}, world[0].folder, "0" * 64)
    with pytest.raises(ArgumentError, match="tsn_nano neither chooses nor aims"):
        evaluate(model, world[0], control="true_both")
