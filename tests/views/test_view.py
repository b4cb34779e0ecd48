"""Settings and places are checked where they come in."""

import numpy as np
import pytest

from avglance.errors import ArgumentError, ShapeError
from avglance.views import ViewSettings, check_places


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"snippets": 0}, "snippets must be"),
        ({"glance_side": 6.5}, "glance_side must be"),
        ({"snippets": True}, "snippets must be"),
        ({"fit": "stretch"}, "fit must be"),
        ({"grid": "random"}, "grid must be"),
        ({"source_side": 250}, "does not fit into resize_side"),
        ({"patch_side": 241}, "does not fit into source_side"),
    ],
)
def test_bad_settings(change: dict, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        ViewSettings(**change)


def test_letterbox_needs_no_resize_side() -> None:
    assert ViewSettings(fit="letterbox", source_side=320).source_side == 320


def test_places() -> None:
    places = check_places([[0, 3], [1, 0]], 2, 4)
    assert places.dtype == np.int64
    assert places.tolist() == [[0, 3], [1, 0]]
    assert check_places([], 2, 4).shape == (0, 2)
    assert check_places(np.zeros((0, 2), int), 0, 4).shape == (0, 2)


@pytest.mark.parametrize("at", [[[2, 0]], [[0, 4]], [[-1, 0]]])
def test_places_outside(at: list) -> None:
    with pytest.raises(ArgumentError, match="outside 2 videos of 4"):
        check_places(at, 2, 4)


@pytest.mark.parametrize("at", [[0, 1], [[0, 1, 2]], [[0.0, 1.0]]])
def test_places_of_another_shape(at: list) -> None:
    with pytest.raises(ShapeError, match="whole numbers"):
        check_places(at, 2, 4)
