"""What the scores of AVGN on plain splices are worth, by a twin that is trained on a part of what trains it.

The rest, of other groups and with other backgrounds, calibrates the twin, and the model takes over what the
twin's card says. Thresholds solved on videos whose backgrounds the training knows promise too much.
"""

from __future__ import annotations

from glanceworld import Step
from ucf_places import EVAL_S, STRANGERS, Places

FIT, FIT_STRANGERS = 500, 100  # videos that train a twin: with an event, without one
HELD, HELD_STRANGERS = 300, 150  # and that calibrate it


def twins(at: Places, seed: int) -> list[Step]:
    """The steps from clips to a model whose card says what its scores are worth."""
    strangers = ("--unknown", str(STRANGERS))
    run, twin = at.run("plain", "avgn", seed), at.runs / "twin" / f"seed{seed}"
    cached = ("--cache", str(at.data / "cache"), "--quiet")
    held, sure = at.data / "plain/validation", twin / "sure"
    ask = ("calibrate", str(twin / "model"), str(held), *cached, "--out", str(sure))
    take = ("calibrate", str(run / "model"), str(sure), "--twin", "--out", str(run / "sure"))
    return [
        at.splice("plain", "train", *strangers),
        at.splice("plain", "fit", "--unknown", str(FIT_STRANGERS), videos=FIT),
        at.splice("plain", "validation", "--unknown", str(HELD_STRANGERS), videos=HELD),
        at.train("plain", "avgn", seed),
        at.train("plain", "avgn", seed, split="fit", out=twin),
        Step(ask, 0.0 if sure.is_dir() else EVAL_S * (HELD + HELD_STRANGERS), sure.is_dir()),
        Step(take, 0.0 if (run / "sure").is_dir() else 5.0, (run / "sure").is_dir()),
    ]
