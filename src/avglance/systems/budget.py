"""What a system's looks cost, so that a budget in multiply-adds becomes a number of looks."""

from __future__ import annotations

import numpy as np
import torch

from avglance.parts.clips import Clips
from avglance.parts.meter import Meter
from avglance.parts.tensorview import TensorView
from avglance.systems.base import System
from avglance.views import MEL_BANDS, MEL_FRAMES


def look_macs(system: System, glance_pictures: int | None = None) -> tuple[int, int]:
    """Multiply-adds of one video before its first look, and of each look.

    Measured on a grey video of which every snippet can be seen and heard: no video costs more. Looks are
    measured where all pictures are glanced at (with one there is no second look), what comes before where
    ``glance_pictures`` are.
    """
    T, S = system.view_settings.snippets, system.view_settings.source_side
    whole, few = torch.ones(1, T, dtype=torch.bool), system.pictures(glance_pictures) < T
    grey = Clips(
        pictures=torch.full((1, T, 3, S, S), 128, dtype=torch.uint8),
        sounds=torch.rand(1, T, 1, MEL_FRAMES, MEL_BANDS, generator=torch.Generator().manual_seed(0)),
        visible=whole,
        audible=whole,
        times=torch.from_numpy(np.arange(T)[None] + 0.5),
        targets=torch.zeros(1, system.classes),
    )

    def spent(k: int, **asked: int | None) -> int:
        meter = Meter(1)
        with torch.inference_mode():
            system.recognise(TensorView(grey, system.view_settings), k, meter=meter, **asked)
        return int(meter.total_macs[0])

    was_training, every = system.training, {"glance_pictures": 0} if few else {}
    system.eval()
    first = spent(1, **every)
    look = spent(2, **every) - first if system.max_k > 1 else first
    before = (spent(1, glance_pictures=glance_pictures) if few else first) - look
    system.train(was_training)
    return before, look
