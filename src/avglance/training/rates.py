"""From stages to optimisers, and the learning rate as a pure function of the step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import nn
from torch.optim import Optimizer

from avglance.errors import ArgumentError
from avglance.systems.base import Group, Stage, System

WARM, START, END = 0.3, 1 / 25, 4e-6
"""One cycle: share of the steps that rise, first and last rate as shares of the highest (as in torch)."""


def factor(schedule: Literal["onecycle", "cosine"], step: int, steps: int) -> float:
    """What a rate is multiplied by at a step of a stage.

    Args:
        schedule: "onecycle" rises along half a cosine and falls along another; "cosine" falls towards 0.
        step: 0 <= step < steps.
        steps: of the stage.

    Source: Smith 2018, in the form of torch's ``OneCycleLR``, as a pure function.

    >>> factor("cosine", 0, 10), factor("onecycle", 2, 10), round(factor("onecycle", 0, 10), 6)
    (1.0, 1.0, 0.04)
    """
    if schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * step / steps))
    peak = WARM * steps - 1
    if step <= peak:
        return _between(START, 1.0, step / max(peak, 1e-9))
    return _between(1.0, END, (step - peak) / max(steps - 1 - peak, 1e-9))


def _between(first: float, last: float, share: float) -> float:
    return last + (first - last) * 0.5 * (1 + math.cos(math.pi * min(share, 1.0)))


def optimisers(system: System, stage: Stage, *, scale: float, trainable: frozenset[str]) -> list[Optimizer]:
    """One optimiser a kind that the stage names; parameters in none of its groups are frozen.

    Args:
        system: whose parameters are trained.
        stage: what, how.
        scale: of every rate (linear scaling with the batch).
        trainable: names that may be trained at all.

    Raises:
        ArgumentError: a parameter is in two groups, or nothing is left to train.
    """
    for name, parameter in system.named_parameters():
        parameter.requires_grad_(name in trainable)
    taken: dict[int, str] = {}
    kinds: dict[str, list[dict[str, object]]] = {}
    for group in stage.groups:
        parameters = list(system.group_parameters(group))
        if not parameters:
            continue  # a switch may have taken the part away
        if any(id(p) in taken for p in parameters):
            raise ArgumentError(
                f"{', '.join(group.part)} shares parameters with another group", where=stage.name
            )
        taken.update((id(p), stage.name) for p in parameters)
        kinds.setdefault(group.optimiser, []).append(_options(group, parameters, scale))
    if not taken:
        raise ArgumentError("the stage trains nothing", where=stage.name)
    for parameter in system.parameters():
        parameter.requires_grad_(id(parameter) in taken)
    makers = {"adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}
    return [makers[kind](groups) for kind, groups in sorted(kinds.items())]


def _options(group: Group, parameters: list[nn.Parameter], scale: float) -> dict[str, object]:
    common = {"params": parameters, "weight_decay": group.decay, "schedule": group.schedule}
    rate = group.rate * scale
    extra = {"momentum": group.momentum} if group.optimiser == "sgd" else {}
    return {**common, **extra, "lr": rate, "highest": rate}


def set_rates(found: Sequence[Optimizer], step: int, steps: int) -> float:
    """Sets every group's rate for a step of a stage; the highest of them."""
    highest = 0.0
    for optimiser in found:
        for group in optimiser.param_groups:
            group["lr"] = group["highest"] * factor(group["schedule"], step, steps)
            highest = max(highest, group["lr"])
    return highest


def share_epochs(stages: Sequence[Stage], epochs: int) -> list[int]:
    """How many epochs each stage gets: by their shares, at least one each, ``epochs`` in all.

    Raises:
        ArgumentError: there are more stages than epochs, or a stage's rate is not above 0.
    """
    for stage in stages:
        for group in stage.groups:
            if not 0 < group.rate < math.inf:
                raise ArgumentError(f"the rate must be above 0, got {group.rate}", where=stage.name)
    if not stages or epochs < len(stages):
        raise ArgumentError(
            f"{epochs} epochs cannot be shared by {len(stages)} stages",
            where="share_epochs",
            hint=f"give at least {len(stages)} epochs",
        )
    whole = sum(stage.epochs_share for stage in stages)
    given, spent, so_far = [], 0, 0.0
    for n, stage in enumerate(stages):
        so_far += stage.epochs_share
        left = len(stages) - n - 1
        end = min(max(round(epochs * so_far / whole), spent + 1), epochs - left)
        given.append(end - spent)
        spent = end
    return given
