"""What a system's looks cost, so that a budget in multiply-adds becomes a number of looks."""

from __future__ import annotations

import numpy as np
import torch

from avglance.parts.clips import Clips
from avglance.parts.meter import Meter
from avglance.parts.tensorview import TensorView
from avglance.systems.base import System
from avglance.views import MEL_BANDS, MEL_FRAMES


def look_macs(system: System) -> tuple[int, int]:
    """Multiply-adds of one video before its first look, and of each look.

    Measured on a grey video of which every snippet can be seen and heard: no video costs more.
    """
    T, S = system.view_settings.snippets, system.view_settings.source_side
    whole = torch.ones(1, T, dtype=torch.bool)
    grey = Clips(
        pictures=torch.full((1, T, 3, S, S), 128, dtype=torch.uint8),
        sounds=torch.zeros(1, T, 1, MEL_FRAMES, MEL_BANDS),
        visible=whole,
        audible=whole,
        times=torch.from_numpy(np.arange(T)[None] + 0.5),
        targets=torch.zeros(1, system.classes),
    )
    spent, was_training = [], system.training
    system.eval()
    for k in range(1, min(2, system.max_k) + 1):
        meter = Meter(1)
        with torch.inference_mode():
            system.recognise(TensorView(grey, system.view_settings), k, meter=meter)
        spent.append(int(meter.total_macs[0]))
    system.train(was_training)
    look = spent[-1] - spent[0] if len(spent) > 1 else spent[0]
    return spent[0] - look, look
