"""The snippet grid and the sound clips on it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avglance.errors import ArgumentError
from avglance.views import CLIP_S, ViewSettings, clip_start, snap, snippet_centres

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


@given(durations, st.lists(st.floats(0, 1) | st.none(), min_size=1, max_size=32), st.booleans())
@settings(deadline=None)
def test_snapping_keeps_the_order_and_shares_nothing_inside(
    duration: float, places: list[float | None], inside: bool
) -> None:
    keys = np.array([np.nan if p is None else p * duration for p in places])
    times, moved = snap(duration, keys, inside=inside)
    centres = snippet_centres(duration, len(keys))
    assert (np.diff(times) >= 0).all()
    assert not moved[np.isnan(keys)].any()
    if inside:
        np.testing.assert_array_equal(times[~moved], centres[~moved])
        np.testing.assert_array_equal(times[moved], keys[moved])
        if duration > 1e-6:
            assert (np.abs(times - centres) <= duration / len(keys) / 2 * (1 + 1e-9)).all()
            assert len(np.unique(times)) == len(times)
    else:
        assert moved.sum() == np.isfinite(keys).sum()


def test_a_keyframe_between_two_snippets_belongs_to_the_later_one() -> None:
    times, moved = snap(8.0, np.array([2.0, 2.0, 6.0, 8.0]), inside=True)
    assert times.tolist() == [1.0, 2.0, 5.0, 7.0]
    assert moved.tolist() == [False, True, False, False]


def shown(times: np.ndarray, rate: int = 100) -> np.ndarray:
    """The number of the picture that is shown at each time: the last that has begun."""
    return np.floor(np.asarray(times) * rate + 1e-6).astype(int)


def decoded(times: np.ndarray, keys: np.ndarray, rate: int = 100) -> set[int]:
    """The pictures that are decoded for those at ``times``: from the keyframe before each up to there."""
    count = shown(times, rate)
    starts = np.rint(keys * rate).astype(int)
    return {n for end in count.tolist() for n in range(starts[starts <= end].max(), end + 1)}


@given(
    st.lists(st.integers(1, 3000), max_size=40, unique=True),
    st.integers(1, 24),
    st.floats(0.5, 30),
    st.booleans(),
)
@settings(deadline=None)
def test_a_snippet_is_moved_where_that_spares_decoding(
    ticks: list[int], count: int, duration: float, index: bool
) -> None:
    """A centre that is kept in place of a keyframe lies among what the other pictures need."""
    keys = np.array([0.0, *sorted(ticks)]) / 100
    keys, centres = keys[keys < duration], snippet_centres(duration, count)
    if index:
        near = keys[np.abs(keys[None] - centres[:, None]).argmin(axis=1)]
    else:  # that before each centre is all that is known
        near = keys[np.searchsorted(keys, centres, side="right") - 1]
    times, moved = snap(duration, near, inside=True)
    edges = np.arange(count + 1) * duration / count
    every = np.where((near >= edges[:-1]) & (near < edges[1:]), near, centres)
    assert set(times[~moved].tolist()) <= set(centres.tolist())
    for n in np.flatnonzero(times != every):
        others = decoded(np.delete(times, n), keys)
        assert decoded(times[n : n + 1], keys) - others <= {int(shown(times[n]))}


def test_a_short_clip_with_one_keyframe_keeps_its_centres() -> None:
    times, moved = snap(5.0, np.zeros(16), inside=True)
    assert not moved.any()
    assert times.tolist() == snippet_centres(5.0, 16).tolist()


def test_a_keyframe_behind_the_centre_spares_the_way_from_the_one_before() -> None:
    times, moved = snap(8.0, np.array([0.0, 3.5, 3.5, 8.0]), inside=True)
    assert times.tolist() == [0.0, 3.5, 5.0, 7.0]
    assert moved.tolist() == [True, True, False, False]


def test_a_grid_that_is_none() -> None:
    with pytest.raises(ArgumentError, match="exact, keyframe, auto"):
        ViewSettings(grid="keyframes")  # type: ignore[arg-type]
