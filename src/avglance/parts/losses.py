"""Losses of AVGN in their default forms, as pure functions; every mean is over rows that are present.

Names in brackets (S1, O1) are those of our notes on the paper, whose own equations are unknown.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from avglance.errors import ArgumentError, ShapeError


def draw_labels(targets: Tensor, rng: torch.Generator) -> Tensor:
    """One of each video's labels, every label alike likely.

    Args:
        targets: multi-hot, shape (B, C).
        rng: makes the draw.

    Returns:
        int64 class indices, shape (B,).

    Raises:
        ArgumentError: a video has no label.
    """
    if targets.ndim != 2:
        raise ShapeError(f"targets must be (B, C), got {tuple(targets.shape)}", where="draw_labels")
    holds = targets > 0
    if not bool(holds.any(1).all()):
        row = int((~holds.any(1)).nonzero()[0])
        raise ArgumentError(f"video {row} of the batch has no label", where="draw_labels")
    noise = torch.rand(targets.shape, generator=rng, device=rng.device).to(targets.device)
    return noise.masked_fill(~holds, -1.0).argmax(1)


def classification(
    logits: Tensor, targets: Tensor, *, rng: torch.Generator | None = None, present: Tensor | None = None
) -> Tensor:
    """Cross-entropy averaged over all rows, the label of a video repeated for each of its rows.

    Args:
        logits: shape (B, C) or (B, ..., C).
        targets: labels, int64 (B,); or multi-hot (B, C), of which one is drawn with ``rng``.
        rng: needed for multi-hot targets.
        present: rows that count, bool, shape of ``logits`` without C. None: all.

    Returns:
        A scalar; 0 where no row is present.

    Source: AdaFocus V2 (several labels: one is drawn at each access).
    """
    if targets.ndim == 2:
        if rng is None:
            raise ArgumentError("multi-hot targets need rng to draw one label", where="classification")
        targets = draw_labels(targets, rng)
    if targets.shape != logits.shape[:1]:
        raise ShapeError(
            f"targets must be ({len(logits)},) for logits {tuple(logits.shape)}, got {tuple(targets.shape)}",
            where="classification",
        )
    rows = logits.flatten(0, -2)
    labels = targets.repeat_interleave(len(rows) // max(len(targets), 1))
    if present is None:
        return F.cross_entropy(rows, labels)
    each = F.cross_entropy(rows, labels, reduction="none")
    mask = present.flatten()
    return each.masked_fill(~mask, 0.0).sum() / mask.sum().clamp(min=1)


def mean_logits(heads: Sequence[tuple[Tensor, Tensor | None]]) -> Tensor:
    """Mean of the heads' logits over the heads that are present at each snippet.

    Args:
        heads: (logits (B, T, C), present bool (B, T) or None for everywhere) of each head.

    Returns:
        (B, T, C); zeros where no head is present.
    """
    total, count = torch.zeros_like(heads[0][0]), torch.zeros_like(heads[0][0][..., :1])
    for logits, present in heads:
        weight = torch.ones_like(count) if present is None else present.unsqueeze(-1).to(count.dtype)
        total, count = total + logits * weight, count + weight
    return total / count.clamp(min=1)


def teacher_confidence(logits: Tensor, labels: Tensor) -> Tensor:
    """How sure the teacher is of the true class at each snippet: softmax(logits)[y], without gradient.

    Args:
        logits: of the teacher, be it ``mean_logits`` of the auxiliary heads or a fused head, shape (B, T, C).
        labels: int64 (B,).

    Returns:
        (B, T) in [0, 1].
    """
    share = logits.detach().softmax(-1)
    return share.gather(-1, labels[:, None, None].expand(-1, logits.shape[1], 1)).squeeze(-1)


def saliency_target(confidence: Tensor, tau: float = 1.0) -> Tensor:
    """What saliency should be (S1): softmax over T of ln(confidence) / tau, without gradient.

    >>> saliency_target(torch.tensor([[0.1, 0.2, 0.3, 0.4]]))
    tensor([[0.1000, 0.2000, 0.3000, 0.4000]])
    """
    if confidence.ndim != 2:
        raise ShapeError(f"confidence must be (B, T), got {tuple(confidence.shape)}", where="saliency_target")
    if tau <= 0:
        raise ArgumentError(f"tau={tau} is not above 0", where="saliency_target")
    tiny = torch.finfo(confidence.dtype).tiny
    return (confidence.detach().clamp(min=tiny).log() / tau).softmax(1)


def saliency_loss(saliency: Tensor, confidence: Tensor, *, tau: float = 1.0) -> Tensor:
    """KL(q || p) with q = ``saliency_target(confidence, tau)``, p = softmax of ``saliency``; video mean.

    Args:
        saliency: logits, shape (B, T); their gradient is (p - q) / B.
        confidence: of the teacher in the true class, shape (B, T); no gradient goes there.
        tau: temperature of the target.
    """
    if confidence.shape != saliency.shape:
        raise ShapeError(
            f"confidence must be {tuple(saliency.shape)}, got {tuple(confidence.shape)}",
            where="saliency_loss",
        )
    return F.kl_div(saliency.log_softmax(1), saliency_target(confidence, tau), reduction="batchmean")


def saliency_range_loss(saliency: Tensor, confidence: Tensor) -> Tensor:
    """Binary cross-entropy of sigmoid(saliency) with the confidence stretched to 0..1 in each video (S2).

    A video whose snippets are all alike gets 1/2 everywhere. Shapes (B, T); ``confidence`` gets no gradient.
    """
    return F.binary_cross_entropy_with_logits(saliency, range_target(confidence))


def range_target(confidence: Tensor) -> Tensor:
    """(confidence - min) / (max - min) of each row, 1/2 where they are equal, without gradient.

    >>> range_target(torch.tensor([[0.1, 0.2, 0.3, 0.4], [0.5, 0.5, 0.5, 0.5]])).round(decimals=2)
    tensor([[0.0000, 0.3300, 0.6700, 1.0000],
            [0.5000, 0.5000, 0.5000, 0.5000]])
    """
    low, high = confidence.detach().aminmax(dim=1, keepdim=True)
    stretched = (confidence.detach() - low) / (high - low)
    return torch.where(high > low, stretched, torch.full_like(stretched, 0.5))


def ordered_loss(saliency: Tensor, class_logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of the AV logits, pooled over every prefix of the saliency order (O1).

    With ranks (1)..(T): U_j = sum_{i<=j} p_(i) u_(i) / sum_{i<=j} p_(i), loss = mean_j CE(U_j, y).
    The weights p carry gradient to saliency, the order does not.

    Args:
        saliency: logits, shape (B, T).
        class_logits: AV logits, shape (B, T, C).
        labels: int64 (B,).
    """
    order = saliency.detach().sort(dim=1, descending=True, stable=True).indices  # (B, T)
    log_share = saliency.log_softmax(1).gather(1, order).unsqueeze(-1)  # (B, T, 1)
    share = (log_share - log_share[:, :1].detach()).exp()  # relative to the best: no 0 / 0
    sorted_logits = class_logits.gather(1, order.unsqueeze(-1).expand_as(class_logits))
    prefix = (share * sorted_logits).cumsum(1) / share.cumsum(1)  # (B, T, C)
    return classification(prefix, labels)


def rising_loss(saliency: Tensor, class_logits: Tensor, labels: Tensor, *, margin: float = 0.0) -> Tensor:
    """What the AV logits' confidence in the true class rises by along the saliency order (O2).

    2 / (T (T - 1)) sum_{i<j} max(0, q_(j) - q_(i) + margin), video mean: 0 where confidence never rises with
    rank, and where T = 1. It teaches the AV logits alone: no gradient reaches saliency.

    Args:
        saliency: logits, shape (B, T).
        class_logits: AV logits, shape (B, T, C).
        labels: int64 (B,).
        margin: by how much confidence must fall.
    """
    order = saliency.detach().sort(dim=1, descending=True, stable=True).indices  # (B, T)
    true = labels[:, None, None].expand(-1, class_logits.shape[1], 1)
    sure = class_logits.softmax(-1).gather(-1, true).squeeze(-1).gather(1, order)  # (B, T)
    i, j = torch.triu_indices(order.shape[1], order.shape[1], offset=1, device=order.device)
    if not len(i):
        return sure.sum() * 0.0
    return (sure[:, j] - sure[:, i] + margin).clamp(min=0).mean()
