"""A tiny dataset with planted evidence, and a tiny system with two stages, for tests of training."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from avglance.media import write_mp4
from avglance.systems.base import Decision, Group, Stage, System
from avglance.training import TrainSettings
from avglance.training.batches import Batches, split
from avglance.training.loop import Loop
from avglance.views import ViewSettings

SIDE, RATE, SECONDS = 64, 6, 4
VIEW = ViewSettings(snippets=4, resize_side=SIDE, source_side=SIDE, glance_side=16, patch_side=32)
NANO = {"snippets": 4, "resize_side": SIDE, "source_side": SIDE, "glance_side": 32, "patch_side": 32}
CLASSES = ("blue", "red")
EPOCHS = 4


def write_tiny(path: Path, label: str, second: int, *, seed: int = 0) -> tuple[int, int]:
    """A grey clip; during second ``second`` a square of the label's colour stands and a tone sounds."""
    rng = np.random.default_rng(seed)
    x, y = (int(v) for v in rng.integers(4, SIDE - 28, 2))
    frames = []
    for n in range(SECONDS * RATE):
        image = rng.integers(100, 116, (SIDE, SIDE, 3), dtype=np.uint8)
        if n // RATE == second:
            image[y : y + 24, x : x + 24] = (255, 0, 0) if label == "red" else (0, 0, 255)
        frames.append(image)
    t = np.arange(SECONDS * 16_000) / 16_000
    sound = 0.01 * rng.standard_normal(t.size)
    sound[(t >= second) & (t < second + 1)] += 0.4 * np.sin(2 * np.pi * 880 * t[:16_000])
    write_mp4(path, frames, rate=RATE, sound=sound.astype(np.float32))
    return x, y


def write_dataset(folder: Path, *, videos: int = 12) -> Path:
    """A folder of tiny videos, half of each class, with truth files."""
    (folder / "videos").mkdir(parents=True)
    (folder / "truth").mkdir()
    rows = []
    for n in range(videos):
        label, second = CLASSES[n % 2], n % SECONDS
        x, y = write_tiny(folder / f"videos/{n}.mp4", label, second, seed=n)
        truth = {
            "event": {"start_s": float(second), "end_s": second + 1.0},
            "boxes": [[float(second), x, y, x + 24, y + 24]],
        }
        (folder / f"truth/{n}.json").write_text(json.dumps(truth))
        rows.append({"path": f"videos/{n}.mp4", "labels": [label], "truth": f"truth/{n}.json"})
    (folder / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    world = {"kind": "glanceworld", "seed": 1, "augment": {"translate_px": 2}}
    (folder / "dataset.json").write_text(json.dumps(world))
    return folder


@dataclass(frozen=True)
class ColourSettings:
    classes: int = 2


class Colour(System):
    """Mean colour through two layers, dropout and batch norm; two stages, two optimisers."""

    Settings = ColourSettings

    def __init__(self, *, rate: float = 0.05) -> None:
        super().__init__()
        self.name, self.settings, self.classes = "colour", ColourSettings(), len(CLASSES)
        self.view_settings, self.max_k, self.rate = VIEW, VIEW.snippets, rate
        self.body = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.2))
        self.head = nn.Linear(8, len(CLASSES))
        self.unused = nn.Linear(2, 2)

    def per_snippet(self, clips):
        mean = clips.pictures.float().mean((-2, -1)) / 255  # (B, T, 3)
        return self.head(self.body(mean.flatten(0, 1)).unflatten(0, mean.shape[:2]))

    def losses(self, clips, *, rng, epoch):
        logits = self.per_snippet(clips)
        noise = 0.01 * torch.randn(logits.shape, generator=rng)
        loss = nn.functional.cross_entropy((logits + noise).mean(1), clips.targets.argmax(1))
        return {"class": loss, "small": 1e-3 * logits.square().mean()}

    def forward(self, clips, k):
        logits = self.per_snippet(clips)
        saliency = logits.max(-1).values
        order = saliency.argsort(dim=1, descending=True)[:, :k]
        looked = torch.zeros_like(clips.visible).scatter(1, order, True)
        boxes = torch.tensor([0.25, 0.25, 0.75, 0.75]).expand(*looked.shape, 4)
        boxes = boxes.masked_fill(~looked[..., None], torch.nan)
        return Decision(logits.mean(1).softmax(-1), saliency, looked, order, boxes, logits.softmax(-1))

    def stages(self):
        return [
            Stage("head", (Group(("head",), "sgd", self.rate, 0.0, "cosine"),), 0.5, batch=4),
            Stage(
                "all",
                (
                    Group(("body",), "adamw", self.rate, 0.01, "onecycle"),
                    Group(("head",), "sgd", self.rate, 0.0, "cosine"),
                ),
                0.5,
                batch=4,
                clip=1.0,
            ),
        ]


def make_loop(
    cache, out, *, tell=None, save_s=1e9, rate=0.05, held=True, batch=4, epochs=EPOCHS, seed=3, **how
):
    """A training of the tiny system; without a launcher in this process alone. ``how``: more settings."""
    from accelerate import Accelerator

    out.mkdir(exist_ok=True)
    training, held_out = split(cache.records, 0.25, 3)
    with torch.random.fork_rng():
        torch.manual_seed(7)
        system = Colour(rate=rate)
    settings = TrainSettings(system="colour", epochs=epochs, seed=seed, **how)
    return Loop(
        system,
        Accelerator(cpu=True),
        settings,
        out,
        training=Batches(cache, training, batch, seed=3, translate_px=2),
        held_out=Batches(cache, held_out, 4, seed=3) if held else None,
        k=2,
        save_s=save_s,
        tell=tell or (lambda told: None),
    )


def weights(system):
    return {name: x.clone() for name, x in system.state_dict().items()}


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[n], second[n]) for n in first)
