"""Losses of AVGN in their default forms, as pure functions; every mean is over rows that are present.

Names in brackets (S1, O1) are those of our notes on the paper, whose own equations are unknown.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from avglance.errors import ArgumentError, ShapeError
from avglance.types import Labels

NONE = -1
"""In place of a class index: of a video that shows none of the classes."""


def draw_labels(targets: Tensor, rng: torch.Generator) -> Tensor:
    """One of each video's labels, every label alike likely.

    Args:
        targets: multi-hot, shape (B, C).
        rng: makes the draw.

    Returns:
        int64 class indices, shape (B,); ``NONE`` of a video without a label.
    """
    if targets.ndim != 2:
        raise ShapeError(f"targets must be (B, C), got {tuple(targets.shape)}", where="draw_labels")
    holds = targets > 0
    noise = torch.rand(targets.shape, generator=rng, device=rng.device).to(targets.device)
    return noise.masked_fill(~holds, -1.0).argmax(1).masked_fill(~holds.any(1), NONE)


def classification(
    logits: Tensor, targets: Tensor, *, rng: torch.Generator | None = None, present: Tensor | None = None
) -> Tensor:
    """Cross-entropy averaged over all rows, the label of a video repeated for each of its rows.

    Args:
        logits: shape (B, C) or (B, ..., C).
        targets: labels, int64 (B,); or multi-hot (B, C), of which one is drawn with ``rng``. Of a video
            without one (``NONE``) every class shall be as likely as any other.
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
    each = F.cross_entropy(rows, labels.clamp(min=0), reduction="none")
    none = labels < 0
    if bool(none.any()):
        each = torch.where(none, -rows.log_softmax(-1).mean(-1), each)
    if present is None:
        return each.mean()
    mask = present.flatten()
    return each.masked_fill(~mask, 0.0).sum() / mask.sum().clamp(min=1)


def taught_labels(targets: Tensor, labels: Labels, rng: torch.Generator) -> Tensor:
    """What the heads are taught: one drawn label of each video (B,), or all of them, multi-hot (B, C).

    The losses below tell the two by the shape: a softmax over the classes, or a sigmoid for each.
    """
    return draw_labels(targets, rng) if labels == "one" else (targets > 0).float()


def label_loss(logits: Tensor, labels: Tensor, *, present: Tensor | None = None) -> Tensor:
    """``classification`` by a label a video (B,), or ``yes_or_no`` by all of them, multi-hot (B, C)."""
    if labels.ndim == 1:
        return classification(logits, labels, present=present)
    return yes_or_no(logits, labels, present=present)


def yes_or_no(logits: Tensor, targets: Tensor, *, present: Tensor | None = None) -> Tensor:
    """Binary cross-entropy, summed over the classes and averaged over all rows.

    The sum is the likelihood of all C answers of a row, as the cross-entropy is that of its one: a mean would
    teach each class C times more slowly than a softmax does.

    Args:
        logits: shape (B, C) or (B, ..., C).
        targets: multi-hot, a video's repeated for each of its rows, shape (B, C); of a video without a label
            every answer is no.
        present: rows that count, bool, shape of ``logits`` without C. None: all.

    Returns:
        A scalar; 0 where no row is present.
    """
    if targets.shape != (len(logits), logits.shape[-1]):
        raise ShapeError(
            f"targets must be {(len(logits), logits.shape[-1])} for logits {tuple(logits.shape)}, "
            f"got {tuple(targets.shape)}",
            where="yes_or_no",
        )
    wanted = beside(targets, logits).to(logits.dtype)
    each = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none").sum(-1)
    if present is None:
        return each.mean()
    return each.masked_fill(~present, 0.0).sum() / present.sum().clamp(min=1)


def beside(targets: Tensor, logits: Tensor) -> Tensor:
    """Targets (B, C) for every row of logits (B, ..., C), as a view."""
    return targets.reshape(len(targets), *(1,) * (logits.ndim - 2), -1).expand_as(logits)


def true_probability(logits: Tensor, labels: Tensor) -> Tensor:
    """What logits (B, T, C) give the true class, or the true classes on average: (B, T) in [0, 1].

    Args:
        logits: shape (B, T, C).
        labels: int64 (B,), of a softmax; or multi-hot (B, C), of sigmoids. Of a video with several events a
            snippet that shows one of them counts, and one that shows all counts most; without any (``NONE``),
            0.
    """
    if labels.ndim == 1:
        true = labels.clamp(min=0)[:, None, None].expand(-1, logits.shape[1], 1)
        return logits.softmax(-1).gather(-1, true).squeeze(-1) * (labels >= 0)[:, None]
    return (logits.sigmoid() * labels[:, None]).sum(-1) / labels.sum(1, keepdim=True).clamp(min=1)


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
    """How sure the teacher is of what is true at each snippet: ``true_probability``, without gradient.

    Args:
        logits: of the teacher, be it ``mean_logits`` of the auxiliary heads or a fused head, shape (B, T, C).
        labels: int64 (B,), or multi-hot (B, C).

    Returns:
        (B, T) in [0, 1].
    """
    return true_probability(logits.detach(), labels)


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
        labels: int64 (B,), or multi-hot (B, C): then CE is ``yes_or_no``.
    """
    order = saliency.detach().sort(dim=1, descending=True, stable=True).indices  # (B, T)
    log_share = saliency.log_softmax(1).gather(1, order).unsqueeze(-1)  # (B, T, 1)
    share = (log_share - log_share[:, :1].detach()).exp()  # relative to the best: no 0 / 0
    sorted_logits = class_logits.gather(1, order.unsqueeze(-1).expand_as(class_logits))
    prefix = (share * sorted_logits).cumsum(1) / share.cumsum(1)  # (B, T, C)
    return label_loss(prefix, labels)


def rising_loss(saliency: Tensor, class_logits: Tensor, labels: Tensor, *, margin: float = 0.0) -> Tensor:
    """What the AV logits' confidence in the true class rises by along the saliency order (O2).

    2 / (T (T - 1)) sum_{i<j} max(0, q_(j) - q_(i) + margin), video mean: 0 where confidence never rises with
    rank, and where T = 1. It teaches the AV logits alone: no gradient reaches saliency.

    Args:
        saliency: logits, shape (B, T).
        class_logits: AV logits, shape (B, T, C).
        labels: int64 (B,), or multi-hot (B, C).
        margin: by how much confidence must fall.
    """
    order = saliency.detach().sort(dim=1, descending=True, stable=True).indices  # (B, T)
    sure = true_probability(class_logits, labels).gather(1, order)  # (B, T)
    i, j = torch.triu_indices(order.shape[1], order.shape[1], offset=1, device=order.device)
    if not len(i):
        return sure.sum() * 0.0
    return (sure[:, j] - sure[:, i] + margin).clamp(min=0).mean()
