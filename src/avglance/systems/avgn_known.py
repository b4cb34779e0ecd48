"""All that AVGN's frozen encoders can be asked about a batch, asked beforehand.

The glance is the same for every order and policy. Of close looks there are those at the cells of the map,
where the heat-map policy puts its patches, and at whole squares: from these the focus learns before the
policy does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from avglance.errors import ArgumentError
from avglance.parts.clips import Clips
from avglance.parts.crop import corner_to_box
from avglance.parts.meter import Unmetered
from avglance.parts.policy import cell_corner

if TYPE_CHECKING:
    from avglance.systems.avgn import AVGN


@torch.no_grad()
def ask_beforehand(system: AVGN, clips: Clips) -> dict[str, Tensor]:
    """Light features (map, picture, sound), and close ones of whole squares and of the map's cells.

    Shapes (B, T, Dv, h, w), (B, T, Dv), (B, T, Da), (B, T, Dl) and (B, T, h w, Dl).

    Raises:
        ArgumentError: patches may lie anywhere (recurrent policy), or are no patches (whole).
    """
    s, B, T = system.settings, len(clips), clips.snippets
    if s.policy != "heatmap" or s.switches.patch == "whole":
        raise ArgumentError(
            f"policy {s.policy} with patch {s.switches.patch} looks at other places than the map's cells",
            where=system.name or "AVGN",
            hint="policy heatmap, or train without --features",
        )
    everywhere = torch.ones_like(clips.visible)
    seen = system.glance_clips(clips, everywhere, everywhere)
    h, w = system.policy.size
    boxes = corner_to_box(cell_corner(torch.arange(h * w), (h, w)), s.patch_side, s.source_side)
    index = torch.arange(B * T, device=clips.device)
    cells = [system.focus_clips(clips, box.to(clips.device).expand(B * T, 4), index) for box in boxes]
    whole = cells[0]  # a stand-in where the encoder takes no whole squares: nobody asks for them then
    if system.sees_squares:
        whole = system.focus(clips.pictures.flatten(0, 1), rows=index, spend=Unmetered())
    near = {"whole": whole.reshape(B, T, -1), "cells": torch.stack(cells, 1).reshape(B, T, h * w, -1)}
    return {"map": seen.map, "picture": seen.picture, "sound": seen.sound} | near
