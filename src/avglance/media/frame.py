"""A decoded picture and when it is on the screen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Frame:
    """One picture, on the screen during [time_s, end_s): uint8 RGB (H, W, 3), upright, with square pixels."""

    time_s: float
    end_s: float
    image: NDArray[np.uint8]

    def __repr__(self) -> str:
        return f"Frame({self.time_s:.3f}..{self.end_s:.3f} s, {'x'.join(map(str, self.image.shape))})"
