from __future__ import annotations

import math

import pytest
import torch

from avglance.errors import ArgumentError, ShapeError
from avglance.parts.losses import (
    NONE,
    classification,
    draw_labels,
    mean_logits,
    ordered_loss,
    range_target,
    rising_loss,
    saliency_loss,
    saliency_range_loss,
    saliency_target,
    teacher_confidence,
    true_probability,
)

CONFIDENCE = torch.tensor([[0.1, 0.2, 0.3, 0.4]])


def test_saliency_target():
    q = saliency_target(CONFIDENCE)
    assert torch.allclose(q, CONFIDENCE)
    assert -(q * q.log()).sum().item() == pytest.approx(1.2799, abs=1e-4)
    sharp = saliency_target(CONFIDENCE, tau=0.5)
    assert torch.allclose(sharp, torch.tensor([[1.0, 4.0, 9.0, 16.0]]) / 30)
    assert torch.allclose(saliency_target(torch.rand(5, 7), tau=0.3).sum(1), torch.ones(5))
    assert torch.isfinite(saliency_target(torch.tensor([[0.0, 1.0]]))).all()


def test_saliency_loss_is_zero_at_the_target_and_pulls_towards_it():
    assert saliency_loss(CONFIDENCE.log(), CONFIDENCE).item() == pytest.approx(0, abs=1e-6)
    assert saliency_loss(torch.zeros(3, 4), torch.full((3, 4), 0.2)).item() == pytest.approx(0, abs=1e-6)
    s = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    confidence = torch.rand(3, 4, dtype=torch.float64)
    (3 * saliency_loss(s, confidence, tau=0.7)).backward()
    assert torch.allclose(s.grad, s.softmax(1).detach() - saliency_target(confidence, 0.7), atol=1e-12)


@pytest.mark.parametrize("fused", [False, True])
def test_no_gradient_reaches_the_teacher(fused):
    heads = [torch.randn(2, 4, 3, requires_grad=True) for _ in range(3)]
    logits = heads[0] if fused else mean_logits([(h, None) for h in heads])
    s = torch.zeros(2, 4, requires_grad=True)
    saliency_loss(s, teacher_confidence(logits, torch.tensor([0, 2]))).backward()
    assert all(h.grad is None for h in heads)
    assert s.grad.abs().sum() > 0


def test_teacher_is_the_softmax_of_the_mean_at_the_true_class():
    heads = [torch.randn(2, 4, 3) for _ in range(3)]
    y = torch.tensor([2, 0])
    expected = sum(heads).div(3).softmax(-1)[torch.arange(2), :, y]
    assert torch.allclose(teacher_confidence(mean_logits([(h, None) for h in heads]), y), expected)


def test_mean_logits_leaves_out_heads_that_are_not_there():
    a, b = torch.randn(1, 3, 2), torch.randn(1, 3, 2)
    here = torch.tensor([[True, True, False]]), torch.tensor([[True, False, False]])
    mean = mean_logits([(a, here[0]), (b, here[1])])
    assert torch.allclose(mean[:, 0], (a + b)[:, 0] / 2)
    assert torch.equal(mean[:, 1], a[:, 1])
    assert torch.equal(mean[:, 2], torch.zeros(1, 2))


def test_ordered_loss_of_nothing_is_the_log_of_the_classes():
    loss = ordered_loss(torch.randn(2, 5), torch.zeros(2, 5, 200), torch.tensor([3, 7]))
    assert loss.item() == pytest.approx(5.2983, abs=1e-4)


def test_ordered_loss_by_hand_with_gradient_to_saliency():
    s = torch.randn(2, 5, dtype=torch.float64, requires_grad=True)
    u, y = torch.randn(2, 5, 3, dtype=torch.float64), torch.tensor([1, 2])
    loss = ordered_loss(s, u, y)
    expected, p = 0.0, s.softmax(1)
    for b in range(2):
        order = sorted(range(5), key=lambda t: -s[b, t].item())
        for j in range(1, 6):
            first = order[:j]
            pooled = sum(p[b, t] * u[b, t] for t in first) / sum(p[b, t] for t in first)
            expected = expected - pooled.log_softmax(0)[y[b]] / 10
    assert loss.item() == pytest.approx(expected.item(), rel=1e-9)
    loss.backward()
    assert s.grad.abs().min() > 0


def test_ordered_loss_survives_extreme_saliency():
    s = torch.tensor([[300.0, 0.0, -300.0]], requires_grad=True)
    loss = ordered_loss(s, torch.randn(1, 3, 4), torch.tensor([0]))
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(s.grad).all()


def test_everything_zero_costs_four_times_the_log_of_the_classes():
    y, zeros = torch.tensor([1, 5]), torch.zeros(2, 16, 200)
    total = sum(classification(zeros, y) for _ in range(4))
    assert total.item() == pytest.approx(4 * math.log(200), abs=1e-4)
    assert saliency_loss(torch.zeros(2, 16), teacher_confidence(zeros, y)).item() == pytest.approx(
        0, abs=1e-6
    )


def test_classification_counts_rows_that_are_present():
    logits, y = torch.randn(2, 3, 4), torch.tensor([1, 3])
    each = -logits.log_softmax(-1)[torch.arange(2), :, y]
    assert classification(logits, y).item() == pytest.approx(each.mean().item(), rel=1e-6)
    present = torch.tensor([[True, False, False], [True, True, False]])
    assert classification(logits, y, present=present).item() == pytest.approx(
        each[present].mean().item(), rel=1e-6
    )
    bad = logits.masked_fill(~present[..., None], torch.nan).requires_grad_()
    classification(bad, y, present=present).backward()
    assert torch.isfinite(bad.grad[present]).all()
    assert classification(logits, y, present=torch.zeros(2, 3) > 0) == 0
    assert classification(logits[:, 0], y).item() == pytest.approx(each[:, 0].mean().item(), rel=1e-6)


def test_one_of_several_labels_is_drawn_evenly():
    targets = torch.zeros(6000, 5)
    targets[:3000, [1, 4]] = 1
    targets[3000:, [0, 2, 3]] = 1
    drawn = draw_labels(targets, torch.Generator().manual_seed(0))
    assert targets[torch.arange(6000), drawn].all()
    two, three = drawn[:3000].bincount(minlength=5) / 3000, drawn[3000:].bincount(minlength=5) / 3000
    assert torch.allclose(two, torch.tensor([0, 1 / 2, 0, 0, 1 / 2]), atol=0.03)
    assert torch.allclose(three, torch.tensor([1 / 3, 0, 1 / 3, 1 / 3, 0]), atol=0.03)
    logits = torch.randn(6000, 5)
    rng = torch.Generator().manual_seed(0)
    assert classification(logits, targets, rng=rng) == classification(logits, drawn)


def test_a_video_without_a_label_makes_no_class_likelier_than_another():
    drawn = draw_labels(torch.tensor([[0.0, 1.0, 0.0], [0.0, 0.0, 0.0]]), torch.Generator())
    assert drawn.tolist() == [1, NONE]
    logits = torch.randn(2, 4, 3, requires_grad=True)
    parts = logits.log_softmax(-1)
    wanted = torch.stack([-parts[0, :, 1], -parts[1].mean(-1)])
    assert torch.allclose(classification(logits, drawn), wanted.mean())
    here = torch.tensor([[True, False, False, True], [False, True, True, True]])
    assert torch.allclose(classification(logits, drawn, present=here), wanted[here].mean())
    even = torch.full((1, 3), 2.5, requires_grad=True)
    classification(even, drawn[1:]).backward()
    assert even.grad is not None
    assert even.grad.abs().max() < 1e-7  # nothing is wanted beyond equal scores
    assert (true_probability(logits, drawn)[1] == 0).all()
    assert torch.allclose(true_probability(logits, drawn)[0], parts[0, :, 1].exp())


def test_wrong_values_are_named():
    with pytest.raises(ArgumentError, match="need rng"):
        classification(torch.zeros(1, 2), torch.ones(1, 2))
    with pytest.raises(ShapeError, match=r"targets must be \(2,\)"):
        classification(torch.zeros(2, 3), torch.zeros(3, dtype=torch.long))
    with pytest.raises(ArgumentError, match="tau=0"):
        saliency_target(CONFIDENCE, tau=0)
    with pytest.raises(ShapeError, match=r"confidence must be \(1, 4\)"):
        saliency_loss(torch.zeros(1, 4), torch.zeros(4))


def test_the_stretched_target():
    confidence = torch.tensor([[0.1, 0.2, 0.3, 0.4], [0.2, 0.2, 0.2, 0.2]], requires_grad=True)
    target = range_target(confidence)
    assert torch.allclose(target, torch.tensor([[0, 1 / 3, 2 / 3, 1], [0.5, 0.5, 0.5, 0.5]]))
    saliency = torch.zeros(2, 4, requires_grad=True)
    saliency_range_loss(saliency, confidence).backward()
    assert torch.allclose(saliency.grad, (0.5 - target) / 8)
    assert confidence.grad is None


def test_confidence_may_not_rise_with_rank():
    """O2 on confidences in saliency order; two classes, so that a logit gives each confidence exactly."""
    saliency = torch.tensor([[4.0, 3.0, 2.0, 1.0]])
    for sure, loss in [
        ((0.9, 0.7, 0.4, 0.1), 0.0),
        ((0.1, 0.4, 0.7, 0.9), 0.45),
        ((0.7, 0.9, 0.4, 0.1), 1 / 30),
    ]:
        logits = torch.stack([torch.tensor(sure).logit(), torch.zeros(4)], -1)[None].requires_grad_()
        order = saliency.clone().requires_grad_()
        found = rising_loss(order, logits, torch.tensor([0]))
        assert float(found) == pytest.approx(loss, abs=1e-6)
        found.backward()
        assert order.grad is None
    shuffled = torch.tensor([[1.0, 4.0, 2.0, 3.0]])  # the order is that of saliency, not of time
    logits = torch.stack([torch.tensor((0.1, 0.9, 0.4, 0.7)).logit(), torch.zeros(4)], -1)[None]
    assert float(rising_loss(shuffled, logits, torch.tensor([0]))) == pytest.approx(0.0, abs=1e-6)
    assert float(rising_loss(saliency[:, :1], logits[:, :1], torch.tensor([0]))) == 0.0
