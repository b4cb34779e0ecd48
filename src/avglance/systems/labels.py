"""From logits to the answer: one label a video (softmax), or a yes or no for each class (sigmoid)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from avglance.parts.losses import mean_logits
from avglance.types import Labels


def precise(logits: Tensor, labels: Labels = "one") -> Tensor:
    """``probabilities`` in double precision: in single, many sure videos would share a 1.

    They lie on the CPU where a device has no doubles.
    """
    return probabilities((logits.cpu() if logits.device.type == "mps" else logits).double(), labels)


def probabilities(logits: Tensor, labels: Labels) -> Tensor:
    """Softmax over the classes, or where a video may have several labels a sigmoid for each, (..., C)."""
    return logits.softmax(-1) if labels == "one" else logits.sigmoid()


def certain(scores: Tensor, labels: Labels) -> Tensor:
    """How sure an answer (..., C) is: its largest score, or its least sure yes or no, (...)."""
    return scores.amax(-1) if labels == "one" else torch.maximum(scores, 1 - scores).amin(-1)


@torch.no_grad()
def start_at_share(*heads: nn.Module) -> None:
    """Lets the last layer of each head, fresh, give every one of C classes a probability of about 1 / C.

    For a yes or no for each class: from 1 / 2 the many that are absent would be all that is learned at first.

    Source: the prior of the focal loss (ICCV 2017).
    """
    for head in heads:
        last = [layer for layer in head.modules() if isinstance(layer, nn.Linear)][-1]
        last.bias.fill_(-math.log(last.out_features - 1))


def mean_evidence(parts: list[tuple[Tensor, Tensor]], labels: Labels = "one") -> Tensor:
    """Mean ``probabilities`` of the heads that ran, (B, T, C), of pairs: logits and where it ran (B, T)."""
    return mean_logits([(probabilities(logits, labels), ran) for logits, ran in parts])
