"""What GlanceWorld paints: gratings, masks, sprites."""

from __future__ import annotations

import numpy as np
import pytest

from avglance.data.glanceworld_pictures import Scene, grating, mask, thing_sprite
from avglance.data.glanceworld_script import HEIGHT, SHAPES, WIDTH, draw_script


@pytest.mark.parametrize("turn", [0, 45, 90, 135])
def test_a_grating_has_its_period_along_its_angle(turn):
    wave = grating(64, turn, 4.0, 0.3)
    along = np.array([np.cos(np.radians(turn)), np.sin(np.radians(turn))]) * 4
    if turn in (0, 90):
        dx, dy = np.rint(along).astype(int)
        assert np.allclose(wave[: 64 - dy, : 64 - dx], wave[dy:, dx:], atol=1e-4)
        assert np.ptp(wave) == pytest.approx(2, abs=0.2)
    across = (1, -1) if turn == 45 else (1, 1)
    if turn in (45, 135):
        shifted = np.roll(wave, across, (0, 1))[2:-2, 2:-2]
        assert np.allclose(shifted, wave[2:-2, 2:-2], atol=1e-4)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("side", [28, 56, 72])
def test_a_mask_fills_its_box_and_no_more(shape, side):
    cover = mask(shape, side, 0.0)
    assert cover.shape == (side, side)
    assert cover.min() >= 0
    assert cover.max() == 1
    assert 0.5 < cover.mean() < 0.99
    assert cover[0, 0] < 0.05


def test_contrast_and_blotches_are_as_strong_as_stated():
    script = draw_script(1, 0)
    sprite = thing_sprite(np.random.default_rng(0), script.thing)
    solid = sprite.alpha == 1
    light = sprite.luma[solid].astype(float) / 128
    expected = 219 * np.sqrt(0.1**2 / 2 + 0.06**2)
    assert light.std() == pytest.approx(expected, rel=0.12)


def test_a_sprite_is_blended_where_it_is_put_in_all_planes():
    scene = Scene(np.random.default_rng(0))
    script = draw_script(1, 0)
    sprite = thing_sprite(np.random.default_rng(0), script.thing)
    side = script.thing.side
    for x, y in ((60, 40), (61, 41), (60, 41)):
        canvas = scene.canvas.copy()
        before = canvas.picture()
        canvas.draw(sprite, x, y)
        after = canvas.picture()
        rows, columns = np.nonzero(before[:HEIGHT] != after[:HEIGHT])
        assert abs(rows.min() - y) <= 6
        assert abs(rows.max() + 1 - y - side) <= 6
        assert abs(columns.min() - x) <= 6
        assert abs(columns.max() + 1 - x - side) <= 6
        v = after[HEIGHT * 5 // 4 :].reshape(HEIGHT // 2, WIDTH // 2)
        centre = int(v[(y + side // 2) // 2, (x + side // 2) // 2])
        assert centre == pytest.approx(128 + script.thing.chroma[1], abs=1.5)


def test_a_sprite_out_of_sight_changes_nothing():
    scene = Scene(np.random.default_rng(0))
    sprite = thing_sprite(np.random.default_rng(0), draw_script(1, 0).thing)
    before = scene.canvas.picture()
    for x, y in ((-200, 0), (900, 10), (0, 700), (WIDTH + 1, 0), (0, -90)):
        scene.canvas.draw(sprite, x, y)
    assert (scene.canvas.picture() == before).all()
