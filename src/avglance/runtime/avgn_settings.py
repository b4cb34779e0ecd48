"""What AVGN's host loop must know of the system that its graphs were made from."""

from __future__ import annotations

import math
from dataclasses import dataclass

from avglance.errors import ArgumentError
from avglance.runtime.graph import check_widths

PATCHES = ("policy", "random", "centre", "whole", "none")


@dataclass(frozen=True)
class AVGNHostSettings:
    """What the host loop must know.

    Attributes:
        see: pictures are asked for.
        listen: sounds are asked for.
        patch: where to look, one of ``PATCHES``.
        hear_aim: graph ``aim`` hears.
        whole_video: it hears what ``hear`` keeps of the whole video, not the snippet's own sound.
        recurrent: graph ``recall`` remembers the moments before.
        order: snippets in a fixed order; empty: by saliency.
        corners: of each snippet, for random patches.
        map: channels, rows and columns of the glance map.
        widths: of "picture", "sound", "near", "state" (the policy's), "best" (the classifier's).
        hear_choose: graph ``choose`` hears.
        glance_pictures: how many pictures a video are asked for, chosen by sound; 0: all.
        familiar: what the nearness that graph ``familiar`` gives weighs beside a logit; 0: there is none.
    """

    see: bool
    listen: bool
    patch: str
    hear_aim: bool
    whole_video: bool
    recurrent: bool
    order: tuple[int, ...]
    corners: tuple[tuple[float, float], ...]
    map: tuple[int, int, int]
    widths: dict[str, int]
    hear_choose: bool = True
    glance_pictures: int = 0
    familiar: float = 0.0

    def __post_init__(self) -> None:
        if self.patch not in PATCHES:
            raise ArgumentError(f"patch must be one of {', '.join(PATCHES)}, got {self.patch!r}")
        if len(self.map) != 3 or set(self.widths) != {"picture", "sound", "near", "state", "best"}:
            raise ArgumentError(f"map {self.map} and widths {self.widths} are not those of AVGN")
        check_widths((*self.map, *self.widths.values()))
        if not 0 <= self.familiar < math.inf:
            raise ArgumentError(f"{self.familiar} is no weight")
        if not all(0 <= y <= 1 and 0 <= x <= 1 for y, x in self.corners):
            raise ArgumentError("corners are fractions")

    @property
    def graphs(self) -> set[str]:
        """Names of the graphs that are needed."""
        names = {"glance_picture": self.see, "glance_sound": self.listen, "choose": True}
        names["mix"] = names["answer"] = self.see
        names["focus"] = self.see and self.patch != "none"
        names["aim"] = self.see and self.patch == "policy"
        names["familiar"] = self.see and self.familiar > 0
        names["recall"] = names["aim"] and self.recurrent
        names["hear"] = names["aim"] and self.hear_aim and self.whole_video
        return {name for name, needed in names.items() if needed}
