"""The snippet grid and the sound clips on it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avglance.errors import ArgumentError
from avglance.views import CLIP_S, clip_start, snippet_centres

durations = st.floats(0, 1e6, allow_nan=False)


def test_centres() -> None:
    np.testing.assert_array_equal(snippet_centres(16.0, 4), [2.0, 6.0, 10.0, 14.0])
    np.testing.assert_array_equal(snippet_centres(3.0, 1), [1.5])


@given(durations, st.integers(1, 64))
@settings(deadline=None)
def test_centres_are_even_and_inside(duration: float, count: int) -> None:
    centres = snippet_centres(duration, count)
    assert centres.shape == (count,)
    assert centres[0] >= 0
    assert centres[-1] <= duration
    np.testing.assert_allclose(centres + centres[::-1], duration, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(np.diff(centres), duration / count, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(("duration", "count"), [(-1, 4), (float("nan"), 4), (float("inf"), 4), (1.0, 0)])
def test_bad_grids(duration: float, count: int) -> None:
    with pytest.raises(ArgumentError):
        snippet_centres(duration, count)


@given(durations, st.floats(0, 1))
@settings(deadline=None)
def test_a_clip_is_centred_or_shifted_inward_by_half_a_clip_at_most(duration: float, where: float) -> None:
    centre = where * duration
    start = clip_start(centre, duration)
    assert start >= 0
    assert abs(start + CLIP_S / 2 - centre) <= CLIP_S / 2 + 1e-6
    if duration >= CLIP_S:
        assert start + CLIP_S <= duration + 1e-6
    if CLIP_S / 2 <= centre <= duration - CLIP_S / 2:
        assert start == pytest.approx(centre - CLIP_S / 2, abs=1e-9)
