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
SURE, LEAST = 0.9, 8
"""From this score of its class on, a look of training shows it; the best of a class do, up to so many."""


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
    looked, order = found.looked, found.order
    parts = along(seen.picture, order), along(seen.sound, order), found.near, along(seen.audible, order)
    rows = [x[looked] for x in parts]
    near = spend.run("answer", system.familiar, *rows, rows=looked.nonzero()[:, 0])
    best = spread(near, looked).masked_fill(~looked[..., None], -torch.inf).cummax(1).values  # (B, K, C)
    said = best.gather(2, logits.argmax(2, keepdim=True))[..., 0]
    known = logits.float().logsumexp(2) + weight(system) * said
    return known.masked_fill(~looked.any(1, keepdim=True), torch.inf)


@torch.no_grad()
def fit_familiar(system: AVGN, batches: Iterable[Clips], k: int) -> None:
    """Sets the space by ``k`` looks at each of the videos that trained a system, where it has one.

    A class is told by the looks that show it by themselves; where these are few, by those that do so best.
    """
    found = [] if system.familiar is None else [looks_at(system, clips, k) for clips in batches]
    if system.familiar is None or not found:
        return
    x, audible, y, shown = (torch.cat(part) for part in zip(*found, strict=True))
    kept = y < 0
    for c in range(system.classes):
        of_class = (y == c).nonzero()[:, 0]
        sure = int((shown[of_class] > SURE).sum())
        best = shown[of_class].argsort(descending=True)[: max(sure, LEAST)]
        kept[of_class[best]] = True
    system.familiar.fit(x[kept], y[kept], audible[kept])


def looks_at(system: AVGN, clips: Clips, k: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The looks at clips: ``directions`` (N, D), whether there is sound, the video's class, its score.

    The class is -1 where the video shows none; of several the one that the look shows best. The score is that
    of the look by itself. All on the processor.
    """
    seen, _, _, found = system.look(clips, k)
    looked, order = found.looked, found.order
    vectors = along(seen.picture, order), along(seen.sound, order), found.near
    x = directions(*(v[looked] for v in vectors))
    said = system.classifier(system.fuse(seen, order, found.near).flatten(0, 1)[:, None])
    said = said[:, 0].unflatten(0, looked.shape)[looked].float().softmax(-1)
    targets = clips.targets[looked.nonzero()[:, 0]].to(said)
    shown, best = (said * targets).max(1)
    y = torch.where(targets.sum(1) == 0, -1, best)
    return x.cpu(), along(seen.audible, order)[looked].cpu(), y.cpu(), shown.cpu()
