from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from avglance.errors import ShapeError
from avglance.parts.crop import corner_to_box, crop, resize_torch
from avglance.views import crop_patches, resize


def pictures(n, side, kind=torch.uint8):
    return torch.randint(0, 256, (n, 3, side, side), dtype=torch.uint8).to(kind)


def at(corner, patch, side, kind=torch.float32):
    return corner_to_box(torch.tensor(corner, dtype=kind), patch, side)


@pytest.mark.parametrize(("kind", "tolerance"), [(torch.float32, 1e-4), (torch.float64, 1e-10)])
def test_whole_corners_give_the_slice(kind, tolerance):
    image = torch.rand(1, 3, 224, 224, dtype=kind)
    for y0, x0 in ((0, 0), (17, 95), (128, 0), (128, 128), (1, 127)):
        patch = crop(image, at([[y0 / 128, x0 / 128]], 96, 224, kind), 96)
        assert (patch - image[:, :, y0 : y0 + 96, x0 : x0 + 96]).abs().max() < tolerance


@pytest.mark.parametrize("patch", [96, 128, 160])
def test_gradient_of_a_ramp_is_the_room_to_move(patch):
    ramp = torch.arange(224, dtype=torch.float64).expand(1, 1, 224, 224)
    corner = torch.tensor([[0.3, 0.6]], dtype=torch.float64, requires_grad=True)
    mean = crop(ramp, corner_to_box(corner, patch, 224), patch).mean()
    assert mean.item() == pytest.approx(0.6 * (224 - patch) + (patch - 1) / 2, abs=1e-9)
    mean.backward()
    assert corner.grad[0, 1].item() == pytest.approx(224 - patch, abs=1e-9)
    assert corner.grad[0, 0].item() == pytest.approx(0, abs=1e-9)


def test_gradient_equals_central_differences():
    image = torch.rand(1, 3, 40, 40, dtype=torch.float64)
    weight = torch.randn(1, 3, 16, 16, dtype=torch.float64)

    def score(corner):
        return (crop(image, corner_to_box(corner, 16, 40), 16) * weight).sum()

    corner = torch.tensor([[0.37, 0.81]], dtype=torch.float64, requires_grad=True)
    score(corner).backward()
    for axis in (0, 1):
        step = torch.zeros(1, 2, dtype=torch.float64)
        step[0, axis] = 1e-6
        central = (score(corner.detach() + step) - score(corner.detach() - step)) / 2e-6
        assert corner.grad[0, axis].item() == pytest.approx(central.item(), rel=1e-6)


def test_equals_the_affine_grid_with_unaligned_corners():
    image = torch.rand(5, 3, 60, 60, dtype=torch.float64)
    corner = torch.rand(5, 2, dtype=torch.float64)
    scale = torch.full((5,), 24 / 60, dtype=torch.float64)
    zero = torch.zeros_like(scale)
    y, x = (-1 + (2 * corner[:, axis] * 36 + 24) / 60 for axis in (0, 1))
    theta = torch.stack([torch.stack([scale, zero, x], 1), torch.stack([zero, scale, y], 1)], 1)
    grid = F.affine_grid(theta, [5, 3, 24, 24], align_corners=False)
    sampled = F.grid_sample(image, grid, align_corners=False)
    assert torch.allclose(crop(image, corner_to_box(corner, 24, 60), 24), sampled, atol=1e-9)


@pytest.mark.parametrize("corner", [[0.0, 0.0], [1.0, 1.0], [0.123, 0.777], [0.5, 1.0]])
def test_shift_equals_the_numpy_twin(corner):
    square = pictures(1, 240)
    box = at([corner], 96, 240, torch.float64)
    ours, theirs = crop(square, box, 96), crop_patches(square.numpy(), box.numpy(), 96)
    assert ours.dtype == torch.float64
    assert np.abs(ours.numpy() - theirs).max() < 1e-3
    coarse = box.float()  # a float32 box is only so exact: 1e-5 px of a step of up to 255
    assert (
        np.abs(crop(square, coarse, 96).numpy() - crop_patches(square.numpy(), coarse.numpy(), 96)).max()
        < 5e-3
    )


def test_boxes_of_other_sizes_equal_the_numpy_twin():
    squares = pictures(4, 120)
    boxes = [[0, 0, 1, 1], [0.1, 0.2, 0.9, 0.8], [0.5, 0.5, 0.6, 0.7], [0.2, 0.2, 0.6, 0.6]]
    boxes = torch.tensor(boxes, dtype=torch.float64)  # the last is 48 px: shifted, the others resized
    ours = crop(squares, boxes, 48)
    assert np.abs(ours.numpy() - crop_patches(squares.numpy(), boxes.numpy(), 48)).max() < 1e-3
    assert torch.allclose(ours[3], squares[3, :, 24:72, 24:72].double(), atol=1e-4)


def test_a_patch_as_large_as_the_source_is_the_source():
    square = pictures(2, 32)
    assert torch.equal(crop(square, at([[0.0, 0.0], [0.7, 0.2]], 32, 32), 32), square.float())


def test_index_names_the_image_of_each_box():
    squares, index = pictures(3, 64), torch.tensor([2, 0, 0, 1])
    boxes = corner_to_box(torch.rand(4, 2), 24, 64)
    assert torch.equal(crop(squares, boxes, 24, index=index), crop(squares[index], boxes, 24))
    wide = torch.tensor([[0.0, 0.0, 1.0, 1.0]]).expand(4, 4)
    assert torch.equal(crop(squares, wide, 24, index=index), crop(squares[index], wide, 24))


def test_gradient_reaches_the_image():
    image = torch.rand(1, 3, 20, 20, requires_grad=True)
    crop(image, at([[0.25, 0.5]], 8, 20), 8).sum().backward()
    assert image.grad.sum().item() == pytest.approx(3 * 64, rel=1e-5)
    assert torch.allclose(image.grad[0, :, 3:11, 6:14], torch.tensor(1.0), atol=1e-5)


def test_corner_is_row_then_column_and_always_inside():
    assert torch.allclose(at([1.0, 0.0], 60, 240), torch.tensor([0.0, 0.75, 0.25, 1.0]))
    boxes = corner_to_box(torch.rand(4000, 2, generator=torch.Generator().manual_seed(0)), 96, 224)
    assert boxes.min() >= 0
    assert boxes.max() <= 1 + 1e-6
    assert torch.allclose(boxes[:, 2:] - boxes[:, :2], torch.tensor(96 / 224), atol=1e-6)
    assert (boxes[:, :2].mean(0) * 224 / 128 - 0.5).abs().max() < 0.02


def test_no_boxes_give_no_patches():
    assert crop(pictures(0, 30), torch.zeros(0, 4), 10).shape == (0, 3, 10, 10)


def test_wrong_shapes_are_named():
    with pytest.raises(ShapeError, match=r"images must be \(m, c, S, S\)"):
        crop(torch.zeros(1, 3, 20, 30), torch.zeros(1, 4), 8)
    with pytest.raises(ShapeError, match=r"boxes must be \(2, 4\)"):
        crop(torch.zeros(2, 3, 20, 20), torch.zeros(1, 4), 8)
    with pytest.raises(ShapeError, match="a patch of 30 px in a source of 20"):
        corner_to_box(torch.zeros(2), 30, 20)
    with pytest.raises(ShapeError):
        corner_to_box(torch.zeros(3), 10, 20)


@pytest.mark.parametrize(("size", "side"), [((240, 240), 64), ((37, 53), 16), ((20, 20), 33)])
def test_resize_equals_the_numpy_twin(size, side):
    images = torch.randint(0, 256, (2, 2, 3, *size), dtype=torch.uint8)
    theirs = resize(images.numpy(), side)
    assert np.array_equal(resize_torch(images, side).numpy(), theirs)
    exact = resize_torch(images.double(), side)
    assert exact.shape == (2, 2, 3, side, side)
    assert np.abs(exact.numpy() - theirs).max() <= 0.5 + 1e-3
    assert torch.autograd.gradcheck(
        lambda x: resize_torch(x, 3), torch.rand(1, 3, 5, 4).double().requires_grad_()
    )


@pytest.mark.gpu
def test_twins_agree_on_the_gpu():
    squares = pictures(3, 240)
    boxes = corner_to_box(torch.rand(3, 2), 96, 240)
    on_gpu = crop(squares.cuda(), boxes.cuda(), 96).cpu()
    assert torch.allclose(on_gpu, crop(squares, boxes, 96), atol=1e-3)
    levels = resize_torch(squares.cuda(), 64).cpu().int() - resize_torch(squares, 64).int()
    assert levels.abs().max() <= 1
    assert levels.ne(0).float().mean() < 1e-3
