"""Answers to six videos whose figures are known, for tests of what is reported of a training."""

from __future__ import annotations

import numpy as np

from avglance.training.learned import Judged

CLASSES = ("a", "b", "c")
SCORES = [
    [0.9, 0.1, 0.0],
    [0.2, 0.8, 0.0],
    [0.3, 0.6, 0.1],
    [0.1, 0.9, 0.0],
    [0.4, 0.5, 0.1],
    [0.1, 0.2, 0.7],
]
LABELS = [0, 0, 0, 1, 1, 2]
CARD = {
    "name": "x.y", "toy": False, "settings": {"system": "x"}, "data": {"folder": "y"}, "epochs": 5,
    "epochs_done": 4, "checkpoint": "the last epoch", "budget": 2, "seconds": 1.5, "device": "cpu",
}  # fmt: skip
SIZES = {"trained": 3, "held_out": 6, "groups": 6}


def judged(scores=SCORES, labels=LABELS, **more):
    scores = np.array(scores)
    files = [f"{n}.mp4" for n in range(len(scores))]
    return Judged(files, scores, np.eye(scores.shape[1])[labels], np.ones(len(scores), bool), **more)
