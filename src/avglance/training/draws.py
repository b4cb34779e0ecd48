"""Every draw of a training is a function of (seed, kind, number): nothing random needs to be saved."""

from __future__ import annotations

import numpy as np

ORDER, ITEM, SPLIT, LOSSES, DROPOUT, WEIGHTS = 1, 2, 3, 4, 5, 6


def draws(seed: int, kind: int, *numbers: int) -> np.random.Generator:
    """A generator of its own for a kind of draw and its numbers (an epoch, an item)."""
    return np.random.default_rng([seed, kind, *numbers])


def seed_of(seed: int, kind: int, number: int = 0) -> int:
    """A seed in 32 bits for torch."""
    return int(np.random.SeedSequence([seed, kind, number]).generate_state(1)[0])
