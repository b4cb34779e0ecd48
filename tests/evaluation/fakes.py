"""Videos, a view and a system of our own making, whose every figure is known beforehand."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import torch
from torch import nn

from avglance.data.records import Dataset, Record, Truth
from avglance.errors import MediaError
from avglance.systems.base import Decision, System
from avglance.types import Condition, MediaInfo
from avglance.views import MEL_BANDS, MEL_FRAMES, SILENCE, ViewSettings, snippet_centres, square_to_file

CLASSES = ("bell", "dog", "rain", "train", "wind")
SNIPPETS, DURATION_S, GLANCE_MACS, FOCUS_MACS = 8, 16.0, 1000, 70
BOX = (
    0.5,
    0.25,
    0.9,
    0.65,
)  # what the fake system always looks at: x 160..256, y 60..156 of a 320 x 240 file


@dataclass(frozen=True)
class Planted:
    """A video: its class, the snippets of its event, and whether it sounds and can be read."""

    label: int
    event: tuple[int, ...]
    sounds: bool = True
    broken: bool = False
    centre: tuple[float, float] = (200.0, 100.0)


class FakeFiles:
    """Stands in for ``FileView``: the sound of an event's snippet says the class, the picture the snippet."""

    made: ClassVar[list[FakeFiles]] = []
    world: ClassVar[dict[str, Planted]] = {}

    def __init__(self, paths, settings: ViewSettings, *, threads: int = 0, rough: bool = False) -> None:
        self.planted = [self.world[Path(p).name] for p in paths]
        self.settings, n = settings, len(paths)
        self.times = np.tile(snippet_centres(DURATION_S, settings.snippets), (n, 1))
        ok = np.array([[not p.broken] for p in self.planted])
        self.visible = np.tile(ok, settings.snippets)
        self.audible = self.visible & np.array([[p.sounds] for p in self.planted])
        self.errors = [
            MediaError("no video here", kind="not_media", hint="look") if p.broken else None
            for p in self.planted
        ]
        info = MediaInfo(DURATION_S, 320, 240, 10.0, False, "mp4", "h264")
        self.infos = [None if p.broken else info for p in self.planted]
        self.frames_delivered, self.frames_decoded = np.zeros(n, np.int64), np.zeros(n, np.int64)
        self.decode_s, self.rough = np.full(n, 0.25), rough
        moved = (
            np.arange(settings.snippets) % 4 > 0 if settings.grid != "exact" else np.zeros(settings.snippets)
        )
        self.on_keyframes = np.tile(moved.astype(bool), (n, 1))
        self.heard = np.zeros((n, settings.snippets), bool)
        self.closed = False
        self.made.append(self)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.closed = True

    def sounds(self, at):
        out = np.full((len(at), 1, MEL_FRAMES, MEL_BANDS), SILENCE, np.float32)
        for row, (b, t) in enumerate(at.tolist()):
            self.heard[b, t] = True
            if t in self.planted[b].event:
                out[row] = 1 + self.planted[b].label
        return out

    def pictures(self, at):
        self.frames_delivered += np.bincount(at[:, 0], minlength=len(self.planted))
        self.frames_decoded += 2 * np.bincount(at[:, 0], minlength=len(self.planted))
        return np.zeros((len(at), 3, self.settings.glance_side, self.settings.glance_side), np.uint8)

    def patches(self, at, boxes):
        return np.zeros((len(at), 3, self.settings.patch_side, self.settings.patch_side), np.float32)

    def condition(self, video):
        return Condition("ok" if self.planted[video].sounds else "degraded")

    def box_px(self, video, box):
        return square_to_file(box, 320, 240, self.settings)


class Ears(System):
    """Looks where it hears something, says the class that it hears there, and always at the same patch."""

    name = "ears"

    def __init__(self, classes: int = len(CLASSES)) -> None:
        super().__init__()
        self.view_settings = ViewSettings(snippets=SNIPPETS)
        self.classes, self.max_k = classes, SNIPPETS
        self.weight = nn.Parameter(torch.zeros(1))

    def recognise(self, view, k, *, meter=None):
        B, T = view.visible.shape
        level = np.zeros((B, T))
        with meter.clock("glance", view):
            at = np.argwhere(view.audible)
            level[at[:, 0], at[:, 1]] = np.maximum(view.sounds(at).mean(axis=(1, 2, 3)), 0)
            seen = np.argwhere(view.visible)
            view.pictures(seen)
            meter.add("glance", GLANCE_MACS, seen[:, 0])
        order = np.argsort(-level, axis=1, kind="stable")[:, :k]
        looked = np.zeros((B, T), bool)
        np.put_along_axis(looked, order, True, axis=1)
        looked &= view.visible
        with meter.clock("focus", view):
            at = np.argwhere(looked)
            view.patches(at, np.tile(BOX, (len(at), 1)))
            meter.add("focus", FOCUS_MACS, at[:, 0])
        scores, evidence = np.full((B, self.classes), 0.1), np.zeros((B, T, self.classes))
        for b, t in np.argwhere(level > 0):
            evidence[b, t, round(level[b, t]) - 1] = 0.9
            scores[b, round(level[b, t]) - 1] = 0.6
        boxes = np.where(looked[..., None], np.array(BOX), np.nan)
        as_tensors = (
            torch.from_numpy(x)
            for x in (scores, 5 * (level > 0).astype(float), looked, order, boxes, evidence)
        )
        return Decision(*as_tensors)

    def whole_macs(self) -> int:
        return 50_000


def world(planted: list[Planted]) -> Dataset:
    """A dataset of these videos; nothing is written anywhere."""
    FakeFiles.world = {f"{i:03d}.mp4": p for i, p in enumerate(planted)}
    FakeFiles.made = []
    centres = snippet_centres(DURATION_S, SNIPPETS)
    records = []
    for name, p in FakeFiles.world.items():
        truth = None
        if p.event:
            span = (float(centres[p.event[0]]) - 0.9, float(centres[p.event[-1]]) + 0.9)
            x, y = p.centre
            truth = Truth(
                (span,),
                ((span[0], x - 30, y - 30, x + 30, y + 30), (span[1], x - 30, y - 30, x + 30, y + 30)),
            )
        records.append(Record(Path("videos") / name, (CLASSES[p.label],), truth))
    return Dataset(tuple(records), CLASSES, {"kind": "planted"}, "0" * 64)


def model(**card) -> SimpleNamespace:
    """A loaded model around the fake system."""
    system = Ears()
    return SimpleNamespace(
        system=system,
        classes=CLASSES,
        card={"name": "ears.planted", "span_threshold": 0.5} | card,
        folder=Path("ears.planted"),
        sha256="f" * 64,
    )
