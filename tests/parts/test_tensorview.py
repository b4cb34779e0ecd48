"""A view of clips in memory answers as a view of files would."""

from __future__ import annotations

import math

import numpy as np
import pytest
from tests.checks import S, T, make_clips

from avglance.errors import ArgumentError, ShapeError
from avglance.parts.tensorview import TensorView
from avglance.views import ViewSettings, crop_patches, resize

SETTINGS = ViewSettings(snippets=T, resize_side=S, source_side=S, glance_side=16, patch_side=20)
AT = np.array([[0, 2], [4, 1], [0, 5], [1, 3]])  # the second shows and says nothing, the fourth shows nothing


@pytest.fixture
def clips():
    return make_clips(5)


def test_rows_are_those_asked_for_in_order(clips):
    view = TensorView(clips, SETTINGS)
    pictures, sounds = view.pictures(AT), view.sounds(AT)
    assert (pictures.dtype, pictures.shape) == (np.uint8, (4, 3, 16, 16))
    assert (sounds.dtype, sounds.shape) == (np.float32, (4, 1, 96, 64))
    square = clips.pictures.numpy()
    np.testing.assert_array_equal(pictures[0], resize(square[0, 2], 16))
    np.testing.assert_array_equal(pictures[2], resize(square[0, 5], 16))
    np.testing.assert_array_equal(sounds[3], clips.sounds.numpy()[1, 3])


def test_what_is_missing_is_black_and_silent(clips):
    view = TensorView(clips, SETTINGS)
    assert not view.pictures(AT)[[1, 3]].any()
    assert not view.patches(AT[1:2], np.array([[0.0, 0.0, 0.5, 0.5]])).any()
    np.testing.assert_allclose(view.sounds(AT)[1], math.log(0.001), rtol=1e-6)
    assert clips.pictures[4].any(), "the clips themselves must not change"


def test_patches_are_those_of_the_source(clips):
    view = TensorView(clips, SETTINGS)
    boxes = np.array([[0.25, 0.125, 0.25 + 20 / S, 0.125 + 20 / S], [0.0, 0.0, 1.0, 1.0]])
    patches = view.patches(AT[[0, 2]], boxes)
    assert (patches.dtype, patches.shape) == (np.float32, (2, 3, 20, 20))
    square = clips.pictures.numpy()
    np.testing.assert_allclose(patches[0], square[0, 2][:, 6:26, 12:32], atol=1e-3)
    np.testing.assert_array_equal(patches[1], crop_patches(square[0, 5][None], boxes[1:], 20)[0])


def test_a_glance_as_large_as_the_source_is_the_source(clips):
    view = TensorView(clips, ViewSettings(T, S, S, S, S))
    np.testing.assert_array_equal(view.pictures(AT[:1])[0], clips.pictures.numpy()[0, 2])


def test_nothing_asked_nothing_given(clips):
    view, none = TensorView(clips, SETTINGS), np.zeros((0, 2), dtype=np.int64)
    assert view.sounds(none).shape == (0, 1, 96, 64)
    assert view.pictures(none).shape == (0, 3, 16, 16)
    assert view.patches(none, np.zeros((0, 4))).shape == (0, 3, 20, 20)


def test_it_counts_what_is_asked(clips):
    view = TensorView(clips, SETTINGS)
    view.pictures(AT)
    view.sounds(AT[:1])
    assert view.asked == {"sounds": 1, "pictures": 4, "patches": 0}


def test_masks_are_its_own(clips):
    view = TensorView(clips, SETTINGS)
    view.visible[0] = False
    assert clips.visible[0].all()


def test_wrong_questions(clips):
    view = TensorView(clips, SETTINGS)
    with pytest.raises(ShapeError, match="places must be"):
        view.sounds(np.array([0, 1]))
    with pytest.raises(ArgumentError, match="outside"):
        view.pictures(np.array([[0, T]]))
    with pytest.raises(ShapeError, match="boxes must be"):
        view.patches(AT, np.zeros((1, 4)))
    with pytest.raises(ShapeError, match="settings ask for"):
        TensorView(clips, ViewSettings())
