"""TSN taken apart: an encoder of each sense, and the head on one snippet; it is averaged outside."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from avglance.parts.meter import row_macs
from avglance.systems.graphs import Encoded, Exported, StageGraph
from avglance.views import MEL_BANDS, MEL_FRAMES

if TYPE_CHECKING:
    from avglance.systems.tsn import TSN


class SnippetAnswer(nn.Module):
    """Vectors of a snippet and whether they are there -> its logits (n, C)."""

    def __init__(self, system: TSN) -> None:
        super().__init__()
        self.no_picture, self.no_sound, self.head = system.no_picture, system.no_sound, system.head

    def forward(self, picture: Tensor, sound: Tensor, visible: Tensor, audible: Tensor) -> Tensor:
        """The logits."""
        both = [self.no_picture(picture, visible), self.no_sound(sound, audible)]
        logits: Tensor = self.head(torch.cat(both, dim=-1))
        return logits


def tsn_graphs(system: TSN) -> Exported:
    """The stages of a TSN."""
    side = system.view_settings.source_side
    pictures = torch.zeros(2, 3, side, side, dtype=torch.uint8)
    sounds = torch.zeros(2, 1, MEL_FRAMES, MEL_BANDS)
    picture, sound = system.encode_focus(pictures)[1], system.encode_sound(sounds)[1]
    there = torch.ones(2, dtype=torch.bool)
    inputs = {"picture": picture, "sound": sound, "visible": there, "audible": there}
    head = {"answer": row_macs(system.head, torch.cat([picture, sound], dim=-1)[:1])}
    graphs = {"answer": StageGraph(SnippetAnswer(system), inputs, ("logits",), head)}
    for sense, encoder, rows in (
        ("picture", system.encode_focus, pictures),
        ("sound", system.encode_sound, sounds),
    ):
        if sense == "picture" or system.settings.listen:
            macs = {"focus": row_macs(encoder, rows[:1])}
            graphs[f"focus_{sense}"] = StageGraph(Encoded(encoder), {f"{sense}s": rows}, (sense,), macs)
    widths = {"picture": picture.shape[-1], "sound": sound.shape[-1]}
    return Exported("tsn", {"listen": system.settings.listen, "widths": widths}, graphs)
