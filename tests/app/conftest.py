"""A model with random weights, small clips, and a made-up answer, for the tests of the command."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from avglance.types import Condition, Cost, Label, Moment, Reason, Recognition, Span

NAMES = tuple(
    f"{texture} {family}"
    for texture in ("grating_0", "grating_45", "grating_90", "grating_135")
    for family in ("rising", "falling", "warble", "two_tone", "pulses")
)


@pytest.fixture(scope="session")
def random_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an untrained ``avgn_nano`` of twenty toy classes."""
    import torch

    from avglance.systems import build, store

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        system = build("avgn_nano", classes=len(NAMES))
    card = {"name": "random", "toy": True, "span_threshold": 0.02}
    return Path(
        store.save_model(system, tmp_path_factory.mktemp("models") / "random", classes=NAMES, card=card)
    )


@pytest.fixture(scope="session")
def sure_model(random_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, with a card that knows when to stop (after one look, or three) and that nothing is known."""
    from avglance.systems import store
    from avglance.systems.calibration import Judgement
    from avglance.systems.exits import ExitTable

    one, three = (-math.inf,) * 16, (2.0, 2.0, *(-math.inf,) * 14)
    loaded = store.load_model(random_model)
    card = {key: value for key, value in loaded.card.items() if key != "classes_sha256"}
    card["exits"] = ExitTable((1.0, 3.0), (0.7, 0.9), (one, three)).as_card()
    card["calibration"] = Judgement((0.1, 0.2), (1.5,) * len(NAMES)).as_card()
    folder = tmp_path_factory.mktemp("models") / "sure"
    return Path(store.save_model(loaded.system, folder, classes=NAMES, card=card))


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four seconds of moving noise with a white square and a tone in the third second."""
    return write_clip(tmp_path_factory.mktemp("clips") / "clip.mp4")


def write_clip(path: Path, *, sound: bool = True, seconds: int = 4) -> Path:
    """A small MP4 file, 160 x 120 at 10 frames a second."""
    from avglance.media import write_mp4

    rng = np.random.default_rng(0)
    frames = rng.integers(90, 120, (seconds * 10, 120, 160, 3), dtype=np.uint8)
    frames[20:30, 40:80, 60:100] = 255
    t = np.arange(seconds * 16_000) / 16_000
    wave = 0.01 * rng.standard_normal(t.size) + 0.5 * np.sin(2 * np.pi * 440 * t) * ((t >= 2) & (t < 3))
    return Path(write_mp4(path, frames, rate=10, sound=wave.astype(np.float32) if sound else None))


def made_up(video: str = "films/my clip.mp4", **changes: object) -> Recognition:
    """An answer with every field filled, no file and no model behind it."""
    times = tuple((t + 0.5) * 1.5 for t in range(16))
    weights = np.where(np.isin(np.arange(16), (8, 9, 10)), 8.0, 1.0)
    saliency = tuple(float(w) for w in weights / weights.sum())
    values = {
        "video": video,
        "labels": (Label("grating_45 warble", 0.7312), Label("grating_0 pulses", 0.121)),
        "spans": (Span(12.0, 16.5, "grating_45 warble", 0.61),),
        "moments": tuple(Moment(times[t], saliency[t], (100, 60, 196, 156)) for t in (8, 9, 10)),
        "saliency": saliency,
        "times": times,
        "cost": Cost(
            16,
            231,
            {"decode": 0.132, "glance": 0.041, "focus": 0.061},
            {"glance": 38_000_000, "focus": 88_000_000},
            240,
            2_204_000_000,
        ),
        "condition": Condition(
            "degraded", (Reason("pictures_lost", "no picture came", 4.5, 9.0),), "present", 0.9
        ),
        "duration_s": 24.0,
        "model": "avgn_nano.glanceworld",
        "system": "avgn_nano",
        "weights_sha256": "3f" * 32,
        "reader": "pyav 18.1.0",
        "runtime": "onnx",
        "precision": "float32",
        "toy": True,
    }
    return Recognition(**(values | changes))  # type: ignore[arg-type]  # a test's shorthand


class Terminal:
    """A text stream that says it is a terminal."""

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> int:
        self.text += text
        return len(text)

    def flush(self) -> None: ...

    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal() -> Terminal:
    return Terminal()


@pytest.fixture
def answer() -> Recognition:
    return made_up()


@pytest.fixture
def make_answer():
    return made_up


@pytest.fixture
def make_clip():
    return write_clip
