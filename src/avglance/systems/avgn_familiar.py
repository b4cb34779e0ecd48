"""AVGN and what it does not know: how much an answer's looks are like those that training showed.

A softmax is sure of something in every video. What tells videos of none of the classes apart is how large the
logits are together and how near the best look lies to the looks of its class in training
(``parts.familiar``): together they carried over to unseen backgrounds where scores and saliency did not
(docs/results.md). Ours.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from avglance.parts.clips import Clips
from avglance.parts.familiar import directions
from avglance.parts.meter import Meter, Unmetered
from avglance.systems.base import along, spread

if TYPE_CHECKING:
    from avglance.systems.avgn import AVGN
    from avglance.systems.avgn_looks import Glimpse, Looks

WEIGHT, RANK = 0.14, 192
"""What a nat of distance weighs beside one of the logits, in a space of so many axes."""
SURE = 0.9
"""From this score of its class on, a look of training shows it."""


def weight(system: AVGN) -> float:
    """What distances weigh: they grow with the axes; 0 where there are none."""
    return 0.0 if system.familiar is None else float(WEIGHT * (RANK / system.familiar.rank) ** 0.5)


def how_known(
    system: AVGN, seen: Glimpse, found: Looks, logits: Tensor, *, spend: Meter | Unmetered
) -> Tensor | None:
    """How known the answer after each look is, (B, K), the higher the better; None where nobody can say.

    The log of the sum of the logits' powers, and the distance of the best look so far to the class that is
    answered. An answer by ear alone counts as known: infinity.
    """
    if system.familiar is None:
        return None
    looked, vectors = found.looked, [along(x, found.order) for x in (seen.picture, seen.sound)]
    rows = [x[looked] for x in (*vectors, found.near)]
    near = spend.run("answer", system.familiar, *rows, rows=looked.nonzero()[:, 0])
    best = spread(near, looked).masked_fill(~looked[..., None], -torch.inf).cummax(1).values  # (B, K, C)
    said = best.gather(2, logits.argmax(2, keepdim=True))[..., 0]
    known = logits.float().logsumexp(2) + weight(system) * said
    return known.masked_fill(~looked.any(1, keepdim=True), torch.inf)


@torch.no_grad()
def fit_familiar(system: AVGN, batches: Iterable[Clips], k: int) -> None:
    """Sets the space by ``k`` looks at each of the videos that trained a system, where it has one."""
    if system.familiar is None:
        return
    found = [looks_at(system, clips, k) for clips in batches]
    x, y = (torch.cat(part) for part in zip(*found, strict=True))
    if bool((y >= 0).any()):
        system.familiar.fit(x, y)


def looks_at(system: AVGN, clips: Clips, k: int) -> tuple[Tensor, Tensor]:
    """``directions`` of the looks at clips (N, D), and of each the class that it shows or -1, (N,).

    Looks at videos of a class that do not show it are left out; -1 are those at videos of none.
    """
    seen, _, _, found = system.look(clips, k)
    vectors = [along(x, found.order) for x in (seen.picture, seen.sound)]
    x = directions(*(v[found.looked] for v in (*vectors, found.near)))
    said = system.classifier(system.fuse(seen, found.order, found.near).flatten(0, 1)[:, None])
    said = said[:, 0].unflatten(0, found.looked.shape)[found.looked].softmax(-1)  # each look by itself
    targets = clips.targets[found.looked.nonzero()[:, 0]].to(said)
    shows, none = (said * targets).sum(1) > SURE, targets.sum(1) == 0
    y = torch.where(none, -1, (said * targets).argmax(1))
    return x[shows | none], y[shows | none]
