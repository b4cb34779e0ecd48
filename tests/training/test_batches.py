from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tests.training.worlds import SIDE

from avglance.data.records import Record
from avglance.errors import DataError
from avglance.training.batches import Batches, split
from avglance.training.team import Team


def records(groups):
    return [Record(Path(f"{n}.mp4"), ("a",), None, group) for n, group in enumerate(groups)]


def test_a_split_is_whole_repeatable_and_another_for_another_seed():
    train, held = split(records([""] * 50), 0.2, 1)
    assert len(held) == 10
    assert sorted([*train, *held]) == list(range(50))
    again = split(records([""] * 50), 0.2, 1)
    assert np.array_equal(held, again[1])
    assert not np.array_equal(held, split(records([""] * 50), 0.2, 2)[1])


def test_groups_stay_together():
    groups = ["a", "b", "c", "d", "e"] * 6
    train, held = split(records(groups), 0.3, 0)
    assert {groups[n] for n in train} & {groups[n] for n in held} == set()
    assert len(held) == 12  # whole groups of six


def test_no_share_holds_nothing_out_and_a_single_group_cannot_be_split():
    assert len(split(records([""] * 5), 0.0, 0)[1]) == 0
    with pytest.raises(DataError, match="nothing to train on"):
        split(records(["a"] * 5), 0.5, 0)


def as_numbers(batches):
    return [clips.pictures.sum().item() for clips in batches]


def test_an_epoch_is_a_function_of_seed_and_epoch_whatever_the_threads(cache):
    indices = np.arange(len(cache))
    one = Batches(cache, indices, 4, seed=1, translate_px=3, workers=1)
    many = Batches(cache, indices, 4, seed=1, translate_px=3, workers=4)
    assert one.steps == 3
    first = list(one.training(0))
    for a, b in zip(first, many.training(0), strict=True):
        assert torch.equal(a.pictures, b.pictures)
        assert torch.equal(a.targets, b.targets)
    assert as_numbers(one.training(1)) != as_numbers(first)
    assert as_numbers(Batches(cache, indices, 4, seed=2, translate_px=3).training(0)) != as_numbers(first)
    assert as_numbers(one.training(0, start=2)) == as_numbers(first)[2:]


def test_the_shares_of_a_team_are_the_batches_of_one(cache):
    batches = Batches(cache, np.arange(len(cache)), 5, seed=1, translate_px=3)
    whole = list(batches.training(2))
    shares = [list(batches.training(2, team=Team(rank, 3))) for rank in range(3)]
    assert [len(share) for share in next(zip(*shares, strict=True))] == [2, 2, 1]
    for clips, *parts in zip(whole, *shares, strict=True):
        for rank, part in enumerate(parts):
            assert torch.equal(part.pictures, clips.pictures[rank::3])
            assert torch.equal(part.targets, clips.targets[rank::3])


def test_shapes_and_short_batches(cache):
    part = Batches(cache, np.arange(5), 4)
    (clips,) = part.training(0)  # the fifth video waits for another epoch
    assert clips.pictures.shape == (4, 4, 3, SIDE, SIDE)
    assert clips.sounds.shape == (4, 4, 1, 96, 64)
    assert [len(clips) for clips in part.plain()] == [4, 1]
    assert len(next(Batches(cache, np.arange(3), 8).training(0))) == 3


def test_plain_batches_are_the_exact_centres_in_order(cache):
    (clips,) = Batches(cache, np.array([2, 5]), 4, translate_px=8).plain()
    for row, index in enumerate((2, 5)):
        item = cache.item(index)
        assert np.array_equal(clips.pictures[row], item["pictures"])
        assert np.array_equal(clips.times[row], item["times"])


def test_leaving_early_stops_the_readers(cache):
    import threading

    reading = Batches(cache, np.arange(len(cache)), 2, workers=2).training(0)
    next(reading)
    reading.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("read-ahead") and t.is_alive()]


def test_an_error_in_a_reader_reaches_the_loop(cache, monkeypatch):
    monkeypatch.setattr(cache, "item", lambda *a, **k: (_ for _ in ()).throw(DataError("bad entry")))
    with pytest.raises(DataError, match="bad entry"):
        list(Batches(cache, np.arange(4), 2).training(0))
