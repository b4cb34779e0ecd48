"""What is taught where a video may have several labels: a yes or no for each class, by hand."""

from __future__ import annotations

import math

import pytest
import torch

from avglance.errors import ShapeError
from avglance.parts.losses import (
    classification,
    draw_labels,
    label_loss,
    ordered_loss,
    rising_loss,
    saliency_loss,
    saliency_target,
    taught_labels,
    teacher_confidence,
    true_probability,
    yes_or_no,
)

TARGETS = torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]])


def by_hand(logits, targets):
    """-log of the product of the C answers of one row."""
    sure = [1 / (1 + math.exp(-z)) for z in logits]
    return -sum(math.log(p if y else 1 - p) for p, y in zip(sure, targets, strict=True))


def test_binary_cross_entropy_and_its_gradient_by_hand():
    logits = torch.tensor([[0.3, -1.2, 2.0], [-0.4, 0.8, 0.0]], dtype=torch.float64, requires_grad=True)
    loss = yes_or_no(logits, TARGETS)
    rows = [by_hand(z, y) for z, y in zip(logits.tolist(), TARGETS.tolist(), strict=True)]
    assert loss.item() == pytest.approx(sum(rows) / 2, rel=1e-12)
    loss.backward()
    assert torch.allclose(logits.grad, (logits.detach().sigmoid() - TARGETS) / 2, atol=1e-15)


def test_a_label_of_a_video_is_that_of_each_of_its_rows():
    logits = torch.randn(2, 4, 5, 3)
    each = [yes_or_no(logits[:1, i, j], TARGETS[:1]) for i in range(4) for j in range(5)]
    assert yes_or_no(logits[:1], TARGETS[:1]).item() == pytest.approx(
        torch.stack(each).mean().item(), rel=1e-6
    )
    present = torch.zeros(2, 4, 5, dtype=torch.bool)
    present[0, 1, 2] = present[1, 3] = True
    one, five = yes_or_no(logits[:1, 1, 2], TARGETS[:1]), yes_or_no(logits[1:, 3], TARGETS[1:])
    found = yes_or_no(logits, TARGETS, present=present)
    assert found.item() == pytest.approx((one + 5 * five).item() / 6, rel=1e-6)
    bad = logits.masked_fill(~present[..., None], torch.inf).requires_grad_()
    yes_or_no(bad, TARGETS, present=present).backward()
    assert bad.grad[present].isfinite().all()
    assert yes_or_no(logits, TARGETS, present=present & False) == 0


def test_exactly_one_label_is_a_yes_among_noes():
    """At two classes whose logits are each other's negative it is twice the cross-entropy of a softmax."""
    z, y = torch.randn(6), torch.randint(0, 2, (6,))
    hot = torch.nn.functional.one_hot(y, 2).float()
    mirrored = torch.stack([z, -z], 1)
    halves = classification(mirrored / 2, y)  # sigmoid(z) = softmax([z, -z] / 2)[0]
    assert yes_or_no(mirrored, hot).item() == pytest.approx(2 * halves.item(), rel=1e-6)


def test_no_label_is_a_no_to_every_class():
    logits = torch.randn(3, 4)
    want = torch.nn.functional.softplus(logits).sum(1).mean()
    assert yes_or_no(logits, torch.zeros(3, 4)).item() == pytest.approx(want.item(), rel=1e-6)


def test_the_shape_of_the_labels_says_which_loss():
    logits, y = torch.randn(2, 4, 3), torch.tensor([2, 1])
    assert label_loss(logits, y) == classification(logits, y)
    assert label_loss(logits, TARGETS) == yes_or_no(logits, TARGETS)
    with pytest.raises(ShapeError, match=r"targets must be \(2, 3\)"):
        yes_or_no(logits, TARGETS[:, :2])
    with pytest.raises(ShapeError, match="yes_or_no"):
        yes_or_no(logits, y)


def test_one_label_is_drawn_and_several_are_not():
    first, second = torch.Generator().manual_seed(3), torch.Generator().manual_seed(3)
    assert torch.equal(taught_labels(TARGETS, "one", first), draw_labels(TARGETS, second))
    before = first.get_state()
    assert torch.equal(taught_labels(3 * TARGETS, "several", first), TARGETS)
    assert torch.equal(first.get_state(), before)


def test_saliency_learns_from_the_mean_probability_of_what_is_true():
    """A snippet with one of two events counts half of one with both; what is not true counts nothing."""
    big = 40.0
    shows = torch.tensor([[1, 0, 0], [0, 0, 1], [1, 0, 1], [0, 1, 0]])  # of classes 0, 1, 2 at four snippets
    logits = (2.0 * big * shows - big)[None]
    sure = true_probability(logits, TARGETS[:1])
    assert torch.allclose(sure, torch.tensor([[0.5, 0.5, 1.0, 0.0]]))
    assert torch.allclose(saliency_target(sure), torch.tensor([[0.25, 0.25, 0.5, 0.0]]))
    one = torch.tensor([[0.0, 0.0, 1.0]])
    assert torch.equal(true_probability(logits, one), logits[..., 2].sigmoid())
    assert torch.equal(true_probability(logits, 0 * one), torch.zeros(1, 4))
    assert torch.allclose(saliency_target(true_probability(logits, 0 * one)), torch.full((1, 4), 0.25))


def test_no_gradient_reaches_the_teacher():
    logits, saliency = torch.randn(2, 4, 3, requires_grad=True), torch.zeros(2, 4, requires_grad=True)
    saliency_loss(saliency, teacher_confidence(logits, TARGETS)).backward()
    assert logits.grad is None
    assert saliency.grad.abs().sum() > 0


def test_ordered_loss_pools_every_prefix():
    saliency = torch.tensor([[0.5, 2.0, -1.0]], dtype=torch.float64, requires_grad=True)
    logits = torch.randn(1, 3, 3, dtype=torch.float64)
    p, want = saliency.detach().softmax(1)[0], 0.0
    for first in ([1], [1, 0], [1, 0, 2]):
        pooled = sum(p[t] * logits[0, t] for t in first) / sum(p[t] for t in first)
        want += by_hand(pooled.tolist(), TARGETS[0].tolist()) / 3
    loss = ordered_loss(saliency, logits, TARGETS[:1])
    assert loss.item() == pytest.approx(want, rel=1e-9)
    loss.backward()
    assert saliency.grad.abs().min() > 0


def test_confidence_may_not_rise_with_rank():
    saliency = torch.tensor([[4.0, 3.0, 2.0]])
    falling = torch.tensor([[[3.0, 0, 3.0], [3.0, 0, -3.0], [-3.0, 0, -3.0]]])
    assert rising_loss(saliency, falling, TARGETS[:1]) == 0
    assert rising_loss(saliency, falling.flip(1), TARGETS[:1]) > 0.3
