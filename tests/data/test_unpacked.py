"""Raw pixels beside a cache: moved pictures, and files that another build takes away."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np

from avglance.data import unpacked as room
from avglance.data.unpacked import is_unpacked, shift, unpacked, unpacked_path

SHAPE = (2, 3, 3, 4, 4)


def test_a_shift_moves_and_repeats_the_edge():
    picture = np.arange(3 * 5 * 5, dtype=np.uint8).reshape(3, 5, 5)
    moved = np.empty_like(picture)
    for dy, dx in itertools.product(range(-7, 8), repeat=2):
        shift(picture, dy, dx, moved)
        rows, columns = ((np.arange(5) - by).clip(0, 4) for by in (dy, dx))
        assert np.array_equal(moved, picture[:, rows][:, :, columns]), (dy, dx)


def test_pixels_of_another_size_are_not_there(tmp_path):
    entry = tmp_path / "0.safetensors"
    unpacked_path(entry).write_bytes(bytes(287))
    assert unpacked(entry, SHAPE) is None
    unpacked_path(entry).write_bytes(bytes(range(96)) * 3)
    assert unpacked(entry, SHAPE)[0, 0, 0, 1].tolist() == [4, 5, 6, 7]


def test_pixels_that_are_taken_away_while_they_are_looked_for_are_not_there(tmp_path, monkeypatch):
    """A build that makes an entry anew removes them first: a reader then decodes the entry itself."""
    entry = tmp_path / "0.safetensors"
    monkeypatch.setattr(Path, "is_file", lambda self: True)
    assert not is_unpacked(entry, SHAPE)
    monkeypatch.setattr(room, "is_unpacked", lambda *_: True)
    assert unpacked(entry, SHAPE) is None
