"""Crop and resize in torch, where gradients flow: twins of those in ``views``, made from the same weights."""

from __future__ import annotations

import torch
from torch import Tensor

from avglance.errors import ShapeError
from avglance.views import resize, resize_matrix

SAME_SIZE_PX = 1e-3  # a box that differs from the patch by less than this is a pure shift


def corner_to_box(corner: Tensor, patch_side: int, source_side: int) -> Tensor:
    """The box of a corner action.

    Args:
        corner: (a_y, a_x) in [0, 1], fractions of (source - patch), shape (..., 2).
        patch_side: P in px.
        source_side: S in px, S >= P.

    Returns:
        (x0, y0, x1, y1) as fractions of the source square, shape (..., 4); always inside it.

    >>> corner_to_box(torch.tensor([0.0, 1.0]), 60, 240)
    tensor([0.7500, 0.0000, 1.0000, 0.2500])
    """
    if corner.shape[-1] != 2:
        raise ShapeError(f"corner must be (..., 2), got {tuple(corner.shape)}", where="corner_to_box")
    if not 0 < patch_side <= source_side:
        raise ShapeError(f"a patch of {patch_side} px in a source of {source_side}", where="corner_to_box")
    first = corner.flip(-1) * ((source_side - patch_side) / source_side)  # (x0, y0)
    return torch.cat([first, first + patch_side / source_side], dim=-1)


def crop(images: Tensor, boxes: Tensor, patch_side: int, *, index: Tensor | None = None) -> Tensor:
    """Patches of the images, bilinear; twin of ``views.crop_patches``.

    A box of exactly P px is a pure shift: patch[i, j] = bilinear(image, y0 + i, x0 + j), the sampling of
    ``grid_sample`` with ``align_corners=False``, with gradient to the box and to the image. A box of another
    size is resized with antialiasing, with gradient to the image alone.

    Args:
        images: squares, any real type, shape (m, c, S, S).
        boxes: (x0, y0, x1, y1) as fractions of the square, shape (n, 4).
        patch_side: P in px.
        index: int64 (n,), the image of each box; None: n = m, one box an image. Saves copies of the images.

    Returns:
        (n, c, P, P), of the boxes' floating type.

    Raises:
        ShapeError: ``images`` and ``boxes`` do not fit together.

    Source: AdaFocus V2, differentiable crop.
    """
    if images.ndim != 4 or images.shape[-1] != images.shape[-2]:
        raise ShapeError(f"images must be (m, c, S, S), got {tuple(images.shape)}", where="crop")
    if index is None:
        index = torch.arange(len(images), device=images.device)
    if boxes.shape != (len(index), 4):
        raise ShapeError(f"boxes must be ({len(index)}, 4), got {tuple(boxes.shape)}", where="crop")
    exact = boxes.double() * images.shape[-1]  # px; in float32 a position would err by 1e-5 px
    same = ((exact[:, 2:] - exact[:, :2]).detach() - patch_side).abs().amax(1) < SAME_SIZE_PX
    if bool(same.all()):
        return _shift(images, index, exact[:, :2], patch_side).to(boxes.dtype)
    out = boxes.new_zeros(len(boxes), images.shape[1], patch_side, patch_side)
    shifted, scaled = same.nonzero()[:, 0], (~same).nonzero()[:, 0]
    out = out.index_copy(
        0, shifted, _shift(images, index[shifted], exact[shifted, :2], patch_side).to(boxes.dtype)
    )
    weights = exact[scaled].detach().cpu(), patch_side, boxes.dtype
    return out.index_copy(0, scaled, _resized(images[index[scaled]], *weights))


def _shift(images: Tensor, index: Tensor, corners: Tensor, patch_side: int) -> Tensor:
    """Windows of P px at corners (x0, y0) in px, float64 (n, 2); float32 unless the images are float64."""
    kind = torch.float64 if images.dtype == torch.float64 else torch.float32
    room = images.shape[-1] - patch_side
    if room == 0 or not len(index):
        return images[index].to(kind)[..., :patch_side, :patch_side]
    first = corners.detach().floor().clamp(0, room - 1)  # at the far edge the weight is 1, not the next pixel
    x, y = (corners - first).to(kind)[:, :, None, None, None].unbind(1)  # (n, 1, 1, 1), carry the gradient
    size = patch_side + 1
    places = zip(index.tolist(), first.long().tolist(), strict=True)
    slices = [images[i, :, row : row + size, column : column + size] for i, (column, row) in places]
    window = torch.stack(slices).to(kind)  # (n, c, P + 1, P + 1): slices are far quicker than indexing
    window = torch.lerp(window[:, :, :-1], window[:, :, 1:], y)
    return torch.lerp(window[..., :-1], window[..., 1:], x)


def _resized(images: Tensor, corners: Tensor, patch_side: int, kind: torch.dtype) -> Tensor:
    """Windows (x0, y0, x1, y1) in px, float64 (n, 4), resized to P px."""
    side = images.shape[-1]

    def matrices(axis: int) -> Tensor:
        ends, which = torch.unique(corners[:, [axis, axis + 2]], dim=0, return_inverse=True)
        rows = [
            torch.from_numpy(resize_matrix(side, patch_side, start=low, extent=high - low))
            for low, high in ends.tolist()
        ]
        each = torch.stack(rows).to(images.device, kind)[:, None]  # (distinct, 1, P, S)
        return each if len(rows) == 1 else each[which.to(images.device)]  # (n or 1, 1, P, S)

    return matrices(1) @ images.to(kind) @ matrices(0).mT


def resize_torch(images: Tensor, side: int) -> Tensor:
    """Images resized with antialiasing; twin of ``views.resize``.

    Args:
        images: shape (..., 3, H, W), any real type.
        side: of the square result, in px.

    Returns:
        (..., 3, side, side): uint8, rounded (halves up), from uint8; else of the type of ``images``, with
        gradient. uint8 on the CPU is answered by ``views.resize`` itself: both round alike to the bit.
    """
    if images.dtype == torch.uint8 and images.device.type == "cpu":
        return torch.from_numpy(resize(images.numpy(), side))
    exact = images if images.is_floating_point() else images.float()
    down, across = (
        torch.from_numpy(resize_matrix(n, side)).to(images.device, exact.dtype) for n in images.shape[-2:]
    )
    small = down @ exact @ across.mT
    return small if images.is_floating_point() else (small + 0.5).floor().clamp(0, 255).to(torch.uint8)
