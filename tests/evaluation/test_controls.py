"""Swapped and muted sound: the right donor, nothing else changed, nothing asked that is not needed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avglance.errors import ArgumentError
from avglance.evaluation.controls import Muted, SwappedSound, shared_labels, sound_donors
from avglance.views import SILENCE, ViewSettings

from .fakes import FakeFiles, Planted, world


@settings(max_examples=80, deadline=None, derandomize=True)
@given(st.lists(st.integers(0, 4), min_size=2, max_size=40), st.integers(0, 1000))
def test_donors_are_a_permutation_without_fixed_points_and_of_another_class_where_that_can_be(labels, seed):
    donor = sound_donors([(str(c),) for c in labels], np.random.default_rng(seed))
    assert sorted(donor.tolist()) == list(range(len(labels)))
    assert (donor != np.arange(len(labels))).all()
    largest = max(np.bincount(labels))
    left = shared_labels([(str(c),) for c in labels], donor)
    if 2 * largest <= len(labels):
        assert left == 0
    else:
        assert left >= 2 * largest - len(labels)  # more of one class than others: some must share


def test_donors_are_the_same_for_the_same_seed_and_differ_for_another():
    labels = [(str(i % 5),) for i in range(50)]
    first = sound_donors(labels, np.random.default_rng(0))
    assert np.array_equal(first, sound_donors(labels, np.random.default_rng(0)))
    assert not np.array_equal(first, sound_donors(labels, np.random.default_rng(1)))


def test_donors_with_several_labels_share_none():
    labels = [("a", "b"), ("b", "c"), ("d",), ("e",), ("d", "e"), ("f",), ("a",), ("f",)]
    donor = sound_donors(labels, np.random.default_rng(0))
    assert shared_labels(labels, donor) == 0
    assert shared_labels(labels, np.arange(8)) == 8


def test_donors_refuse_a_single_video():
    with pytest.raises(ArgumentError, match="at least two"):
        sound_donors([("a",)], np.random.default_rng(0))


def _views():
    world([Planted(0, (1,)), Planted(1, (2, 3)), Planted(2, (5,), sounds=False)])
    names = ["000.mp4", "001.mp4", "002.mp4"]
    grid = ViewSettings(snippets=8)
    return FakeFiles(names, grid), FakeFiles([names[1], names[2], names[0]], grid)


def test_swapped_sound_hears_the_donor_and_sees_itself():
    own, other = _views()
    view = SwappedSound(own, other)
    at = np.array([[0, 2], [0, 1], [2, 1]])
    assert view.sounds(at).mean(axis=(1, 2, 3)) == pytest.approx([2, SILENCE, 1])
    assert not own.heard.any()
    assert view.audible[:, 0].tolist() == [True, False, True]
    assert view.visible.all()
    view.pictures(at)
    assert own.frames_delivered.tolist() == [2, 0, 1]
    assert not other.frames_delivered.any()
    assert view.decode_s.tolist() == [0.5] * 3
    assert np.array_equal(view.times, own.times)
    assert view.patches(at, np.zeros((3, 4))).shape == (3, 3, 96, 96)


def test_swapped_sound_refuses_another_number_of_videos():
    own, _ = _views()
    with pytest.raises(ArgumentError):
        SwappedSound(own, FakeFiles(["000.mp4"], ViewSettings(snippets=8)))


def test_muted_view_is_not_audible_and_leaves_the_files_alone():
    own, _ = _views()
    view = Muted(own)
    assert not view.audible.any()
    assert own.audible.any()
    sounds = view.sounds(np.array([[0, 1], [1, 2]]))
    assert sounds.shape == (2, 1, 96, 64)
    assert np.allclose(sounds, SILENCE)
    assert not own.heard.any()
    assert view.pictures(np.array([[0, 1]])).shape == (1, 3, 64, 64)
    assert view.patches(np.array([[0, 1]]), np.zeros((1, 4))).shape == (1, 3, 96, 96)
    assert np.array_equal(view.visible, own.visible)
    assert np.array_equal(view.times, own.times)
    assert np.array_equal(view.decode_s, own.decode_s)
