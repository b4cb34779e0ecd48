"""Resize, source square, crop and the way back to the file's pixels."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from avglance.errors import ArgumentError, ShapeError
from avglance.views import (
    ViewSettings,
    crop_patches,
    resize,
    resize_matrix,
    shrinks_to,
    source_square,
    square_to_file,
)

sides = st.integers(1, 60)


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def by_pillow(image: np.ndarray, width: int, height: int, **options) -> np.ndarray:
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR, **options))


# ---------------------------------------------------------------------- the matrix


@given(sides, sides)
@settings(deadline=None)
def test_rows_sum_to_one_and_are_never_negative(n_in: int, n_out: int) -> None:
    weights = resize_matrix(n_in, n_out)
    assert weights.shape == (n_out, n_in)
    assert weights.dtype == np.float32
    assert weights.min() >= 0
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(weights, weights[::-1, ::-1], atol=1e-6)  # left and right alike


def test_known_weights() -> None:
    np.testing.assert_array_equal(resize_matrix(5, 5), np.eye(5))
    np.testing.assert_array_equal(resize_matrix(5, 3, start=1, extent=3), np.eye(5)[1:4])
    np.testing.assert_allclose(resize_matrix(5, 3, start=0.25, extent=3)[0], [0.75, 0.25, 0, 0, 0])
    np.testing.assert_allclose(
        resize_matrix(4, 2), [[3 / 7, 3 / 7, 1 / 7, 0], [0, 1 / 7, 3 / 7, 3 / 7]], rtol=1e-6
    )
    np.testing.assert_allclose(resize_matrix(2, 4), [[1, 0], [0.75, 0.25], [0.25, 0.75], [0, 1]])


@pytest.mark.parametrize(
    ("start", "extent"), [(-0.1, 2), (3, 3), (0, 0), (0, float("nan")), (float("nan"), 1)]
)
def test_windows_outside(start: float, extent: float) -> None:
    with pytest.raises(ArgumentError, match="not inside 5 pixels"):
        resize_matrix(5, 2, start=start, extent=extent)


# ---------------------------------------------------------------------- resize


@pytest.mark.parametrize(
    "size", [(240, 240, 64), (97, 131, 50), (30, 20, 64), (1, 5, 3), (224, 224, 223), (9, 400, 2)]
)
def test_resize_is_pillows(size: tuple[int, int, int]) -> None:
    height, width, side = size
    image = noise(height, width, 3)
    ours = resize(image.transpose(2, 0, 1)[None], side)[0].transpose(1, 2, 0).astype(int)
    theirs = by_pillow(image, side, side).astype(int)
    assert np.abs(ours - theirs).max() <= 1
    if max(height, width) > 5:
        assert (ours == theirs).mean() > 0.6  # Pillow also rounds between its two passes


@given(st.integers(1, 40), st.integers(1, 40), sides, st.integers(0, 255))
@settings(max_examples=40, deadline=None)
def test_a_flat_picture_stays_flat(height: int, width: int, side: int, grey: int) -> None:
    out = resize(np.full((2, 1, 3, height, width), grey, np.uint8), side)
    assert out.shape == (2, 1, 3, side, side)
    assert (out == grey).all()


def test_resize_averages_what_a_pixel_covers() -> None:
    stripes = np.zeros((3, 64, 64), np.uint8)
    stripes[:, :, ::2] = 200  # finer than the glance can show: without antialiasing it would flicker
    inner = resize(stripes, 16)[:, :, 2:-2].astype(int)
    assert np.abs(inner - 100).max() <= 1


def test_resize_keeps_its_input_and_hands_out_its_own() -> None:
    images = noise(1, 3, 20, 20)
    kept = images.copy()
    out = resize(images, 20)
    out[:] = 0
    np.testing.assert_array_equal(images, kept)


@pytest.mark.parametrize(
    "images", [np.zeros((3, 8, 8), np.float32), np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8), np.uint8)]
)
def test_resize_wants_uint8_planes(images: np.ndarray) -> None:
    with pytest.raises(ShapeError, match="images must be"):
        resize(images, 4)


# ---------------------------------------------------------------------- source square


@pytest.mark.parametrize("size", [(720, 1280), (1280, 720), (241, 240), (240, 320), (90, 60), (1080, 1920)])
@pytest.mark.parametrize("pair", [(240, 240), (256, 224)])
def test_source_square_equals_the_matrices(size: tuple[int, int], pair: tuple[int, int]) -> None:
    (height, width), (resized, side) = size, pair
    image = noise(height, width, 3, seed=height)
    square = source_square(image, ViewSettings(resize_side=resized, source_side=side))
    extent = min(height, width) * side / resized
    top, left = (n / 2 if extent != side else n // 2 for n in (height - extent, width - extent))
    rows = resize_matrix(height, side, start=top, extent=extent).astype(float)
    columns = resize_matrix(width, side, start=left, extent=extent).astype(float)
    exact = np.einsum("ij,jkc,lk->cil", rows, image.astype(float), columns, optimize=True)
    assert square.shape == (3, side, side)
    assert square.dtype == np.uint8
    assert np.abs(square - exact).max() <= 1.01


@pytest.mark.parametrize(
    ("fit", "width", "height", "most"),
    [
        ("crop", 1280, 720, 455), ("crop", 720, 1280, 455), ("crop", 511, 512, None), ("crop", 512, 512, 256),
        ("crop", 0, 0, None), ("letterbox", 1280, 720, 224), ("letterbox", 447, 200, None),
    ],
)  # fmt: skip
def test_pictures_shrink_early_only_where_half_is_left(
    fit: str, width: int, height: int, most: int | None
) -> None:
    settings = ViewSettings(resize_side=256, source_side=224, fit=fit)
    assert shrinks_to(width, height, settings) == most


def test_a_picture_of_the_right_size_is_only_cut() -> None:
    image = noise(240, 320, 3)
    np.testing.assert_array_equal(source_square(image, ViewSettings()), image[:, 40:280].transpose(2, 0, 1))


@pytest.mark.parametrize("size", [(100, 200), (200, 100), (64, 64), (3, 900), (900, 1)])
def test_letterbox_keeps_the_whole_picture_between_black_bars(size: tuple[int, int]) -> None:
    height, width = size
    side = 80
    fit = ViewSettings(source_side=side, glance_side=32, patch_side=32, fit="letterbox")
    square = source_square(np.full((height, width, 3), 255, np.uint8), fit)
    rows, columns = (max(1, round(n * side / max(size))) for n in size)
    assert (square > 0).sum() == 3 * rows * columns
    lit = np.argwhere(square[0])
    (top, left), (bottom, right) = lit.min(axis=0), lit.max(axis=0) + 1
    assert (bottom - top, right - left) == (rows, columns)
    assert square_to_file((left / side, top / side, right / side, bottom / side), width, height, fit) == (
        0,
        0,
        width,
        height,
    )


@pytest.mark.parametrize(
    "image", [np.zeros((5, 5), np.uint8), np.zeros((5, 5, 3)), np.zeros((0, 5, 3), np.uint8)]
)
def test_source_square_wants_pictures(image: np.ndarray) -> None:
    with pytest.raises(ShapeError, match="image must be"):
        source_square(image, ViewSettings())


def test_slices_of_larger_arrays_are_fine() -> None:
    image = noise(480, 640, 6)[:, ::-1, ::2]
    np.testing.assert_array_equal(
        source_square(image, ViewSettings()), source_square(image.copy(), ViewSettings())
    )


# ---------------------------------------------------------------------- back to the file


def test_box_in_the_files_pixels() -> None:
    assert square_to_file((0, 0, 1, 1), 1280, 720, ViewSettings()) == (280, 0, 1000, 720)
    assert square_to_file((0.25, 0.5, 0.5, 0.75), 1280, 720, ViewSettings()) == (460, 360, 640, 540)
    paper = ViewSettings(resize_side=256, source_side=224)
    assert square_to_file((0, 0, 1, 1), 512, 512, paper) == (32, 32, 480, 480)
    boxed = ViewSettings(fit="letterbox")
    assert square_to_file((0, 0, 1, 1), 640, 320, boxed) == (0, 0, 640, 320)
    assert square_to_file((0, 0.25, 0.5, 0.5), 640, 320, boxed) == (0, 0, 320, 160)
    assert square_to_file((0, 0, 0.1, 0.1), 640, 320, boxed) == (0, 0, 64, 1)  # on the bar: clipped


@given(
    st.integers(1, 2000),
    st.integers(1, 2000),
    st.tuples(*[st.floats(0, 1)] * 4),
    st.sampled_from(["crop", "letterbox"]),
)
@settings(deadline=None)
def test_boxes_stay_inside_the_picture(width: int, height: int, ends: tuple, fit: str) -> None:
    x0, x1 = sorted(ends[:2])
    y0, y1 = sorted(ends[2:])
    if x1 <= x0 or y1 <= y0:
        return
    box = square_to_file((x0, y0, x1, y1), width, height, ViewSettings(fit=fit))
    assert 0 <= box[0] < box[2] <= width
    assert 0 <= box[1] < box[3] <= height


@given(st.integers(60, 500), st.integers(60, 500), st.data())
@settings(max_examples=30, deadline=None)
def test_a_mark_is_found_again(width: int, height: int, draw: st.DataObject) -> None:
    """A bright block drawn in the file lies, on the square, in the box that maps back to it."""
    short = min(width, height)
    size = short // 4
    x = draw.draw(st.integers(0, short - size)) + (width - short) // 2
    y = draw.draw(st.integers(0, short - size)) + (height - short) // 2
    image = np.zeros((height, width, 3), np.uint8)
    image[y : y + size, x : x + size] = 255
    lit = np.argwhere(source_square(image, ViewSettings())[0] > 127)
    (top, left), (bottom, right) = lit.min(axis=0) / 240, (lit.max(axis=0) + 1) / 240
    back = square_to_file((left, top, right, bottom), width, height, ViewSettings())
    assert np.abs(np.array(back) - (x, y, x + size, y + size)).max() <= short / 240 + 1


# ---------------------------------------------------------------------- crop


@given(st.integers(0, 144), st.integers(0, 144), st.sampled_from([np.float64, np.float32]))
@settings(max_examples=40, deadline=None)
def test_whole_number_corners_reproduce_the_slice(x: int, y: int, kind: type) -> None:
    square = noise(1, 3, 240, 240, seed=x)
    box = (np.array([[x, y, x + 96, y + 96]]) / 240).astype(kind)
    patch = crop_patches(square, box, 96)
    assert patch.dtype == np.float32
    assert np.abs(patch[0] - square[0, :, y : y + 96, x : x + 96]).max() / 255 < 1e-4


@given(st.floats(0, 128), st.floats(0, 128), st.sampled_from([96, 128, 160]))
@settings(max_examples=40, deadline=None)
def test_on_a_ramp_the_mean_is_the_corner_plus_half_a_patch(x: float, y: float, side: int) -> None:
    x, y = min(x, 224 - side), min(y, 224 - side)
    ramp = np.broadcast_to(np.arange(224, dtype=np.uint8), (1, 3, 224, 224)).copy()
    box = np.array([[x, y, x + side, y + side]]) / 224
    assert crop_patches(ramp, box, side).mean(dtype=float) == pytest.approx(x + (side - 1) / 2, abs=2e-3)
    assert crop_patches(ramp.swapaxes(2, 3), box, side).mean(dtype=float) == pytest.approx(
        y + (side - 1) / 2, abs=2e-3
    )


def test_a_shift_blends_four_neighbours() -> None:
    square = noise(1, 3, 40, 40).astype(np.uint8)
    x, y, p = 5.25, 7.5, 16
    patch = crop_patches(square, np.array([[x, y, x + p, y + p]]) / 40, p)[0]
    s = square[0].astype(float)
    top = 0.75 * s[:, 7:23, 5:21] + 0.25 * s[:, 7:23, 6:22]
    bottom = 0.75 * s[:, 8:24, 5:21] + 0.25 * s[:, 8:24, 6:22]
    np.testing.assert_allclose(patch, (top + bottom) / 2, atol=1e-3)


@pytest.mark.parametrize("box", [(0, 0, 240, 240), (10, 20, 202, 180), (100.5, 3.25, 130.5, 60.75)])
def test_other_sizes_are_resized_as_pillow_does(box: tuple[float, ...]) -> None:
    square = noise(3, 240, 240)
    ours = crop_patches(square[None], np.array([box]) / 240, 96)[0]
    theirs = by_pillow(np.ascontiguousarray(square.transpose(1, 2, 0)), 96, 96, box=box).transpose(2, 0, 1)
    assert np.abs(ours - theirs).max() <= 1.01  # Pillow rounds twice


def test_each_square_gets_its_own_box() -> None:
    squares = noise(3, 3, 50, 50)
    boxes = np.array([[0, 0, 20, 20], [30, 30, 50, 50], [10, 0, 30, 20]]) / 50
    out = crop_patches(squares, boxes, 20)
    for row, (x, y, _, _) in enumerate((boxes * 50).round().astype(int)):
        np.testing.assert_allclose(out[row], squares[row, :, y : y + 20, x : x + 20], atol=1e-3)
    assert crop_patches(squares[:0], np.zeros((0, 4)), 20).shape == (0, 3, 20, 20)


@pytest.mark.parametrize(
    "box", [(0.5, 0, 0.5, 1), (0.6, 0, 0.5, 1), (-0.1, 0, 0.5, 0.5), (0, 0, 1.1, 1), (0, float("nan"), 1, 1)]
)
def test_bad_boxes(box: tuple[float, ...]) -> None:
    with pytest.raises(ArgumentError, match="a box is not"):
        crop_patches(noise(1, 3, 8, 8), [box], 4)


def test_shapes_that_do_not_fit() -> None:
    with pytest.raises(ShapeError, match="squares must be"):
        crop_patches(noise(2, 3, 8, 8), [(0, 0, 1, 1)], 4)
    with pytest.raises(ShapeError, match="boxes must be"):
        crop_patches(noise(1, 3, 8, 8), [0, 0, 1, 1], 4)
