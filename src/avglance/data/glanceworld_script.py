"""What happens in one GlanceWorld video, drawn before anything is painted: the truth.

Everything is a function of (seed, index), so a video is the same whoever makes it and in whatever order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

TEXTURES = ("grating_0", "grating_45", "grating_90", "grating_135")
FAMILIES = ("rising", "falling", "warble", "two_tone", "pulses")
CLASSES = tuple(sorted(f"{texture} {family}" for texture in TEXTURES for family in FAMILIES))
WIDTH, HEIGHT, RATE = 320, 240, 10  # px, px, pictures a second
SHORTEST_S, LONGEST_S = 16, 32
EVENT_SHARE = (0.12, 0.25)
OBJECT_PX = (56, 72)
SHAPES = ("disc", "box", "hexagon", "flower")
GAP_FRAMES = 4  # between two spans, so that no sound clip is torn by three of them
MARGIN_X = (WIDTH - HEIGHT) // 2  # the central square begins here


@dataclass(frozen=True)
class Stretch:
    """A run of pictures [first, last), in frame numbers."""

    first: int
    last: int

    @property
    def start_s(self) -> float:
        """Seconds of the first picture."""
        return self.first / RATE

    @property
    def end_s(self) -> float:
        """Seconds at which the last picture leaves the screen."""
        return self.last / RATE


@dataclass(frozen=True)
class Thing:
    """An object that drifts: how it looks and where its upper left corner stands, (n, 2) as (x, y)."""

    texture: str
    shape: str
    side: int
    luma: float
    chroma: tuple[float, float]
    corners: NDArray[np.int64]

    def boxes(self, stretch: Stretch) -> list[list[float]]:
        """[time_s, x0, y0, x1, y1] at each picture, pixels of the file's picture."""
        return [
            [(stretch.first + n) / RATE, int(x), int(y), int(x) + self.side, int(y) + self.side]
            for n, (x, y) in enumerate(self.corners)
        ]


@dataclass(frozen=True)
class Script:
    """One video: its length, the event, and the two decoys that are exactly half an event each."""

    seed: int
    index: int
    frames: int
    texture: str
    family: str
    event: Stretch
    thing: Thing
    decoy_seen: Stretch
    decoy_thing: Thing
    decoy_heard: Stretch
    decoy_family: str

    @property
    def duration_s(self) -> float:
        """Seconds of the whole video."""
        return self.frames / RATE

    def truth(self) -> dict[str, Any]:
        """What the truth file says, as plain values."""
        return {
            "label": f"{self.texture} {self.family}",
            "texture": self.texture,
            "family": self.family,
            "duration_s": self.duration_s,
            "event": {"start_s": self.event.start_s, "end_s": self.event.end_s},
            "boxes": self.thing.boxes(self.event),
            "decoys": [
                {
                    "kind": "picture",
                    "start_s": self.decoy_seen.start_s,
                    "end_s": self.decoy_seen.end_s,
                    "texture": self.decoy_thing.texture,
                    "boxes": self.decoy_thing.boxes(self.decoy_seen),
                },
                {
                    "kind": "sound",
                    "start_s": self.decoy_heard.start_s,
                    "end_s": self.decoy_heard.end_s,
                    "family": self.decoy_family,
                    "boxes": [],
                },
            ],
            "seed": self.seed,
        }


def stream(seed: int, index: int, purpose: int) -> np.random.Generator:
    """Random numbers for one purpose (0 script, 1 pictures, 2 sound, 3 the order of classes) of one video."""
    return np.random.default_rng([seed, index, purpose])


def draw_script(seed: int, index: int) -> Script:
    """The script of video ``index`` of the world ``seed``.

    The classes come in blocks of 20 that hold each class once.
    """
    block, place = divmod(index, len(CLASSES))
    texture, family = CLASSES[stream(seed, block, 3).permutation(len(CLASSES))[place]].split(" ")
    rng = stream(seed, index, 0)
    frames = int(rng.integers(SHORTEST_S * RATE, LONGEST_S * RATE + 1))
    long = int(rng.integers(np.ceil(EVENT_SHARE[0] * frames), np.floor(EVENT_SHARE[1] * frames) + 1))
    spans = _spans(rng, frames, long)
    event, seen, heard = (spans[i] for i in rng.permutation(3))
    other_texture = TEXTURES[(TEXTURES.index(texture) + int(rng.integers(1, 4))) % 4]
    other_family = FAMILIES[(FAMILIES.index(family) + int(rng.integers(1, 5))) % 5]
    thing, decoy = _thing(rng, texture, long), _thing(rng, other_texture, long)
    return Script(seed, index, frames, texture, family, event, thing, seen, decoy, heard, other_family)


def _spans(rng: np.random.Generator, frames: int, long: int) -> list[Stretch]:
    """Three stretches of ``long`` pictures that do not touch, in time order, free time shared at random."""
    free = frames - 3 * long - 2 * GAP_FRAMES
    before = np.sort(rng.integers(0, free + 1, 3))  # free pictures before each stretch
    firsts = [int(before[i]) + i * (long + GAP_FRAMES) for i in range(3)]
    return [Stretch(first, first + long) for first in firsts]


def _thing(rng: np.random.Generator, texture: str, long: int) -> Thing:
    side = 2 * int(rng.integers(OBJECT_PX[0] // 2, OBJECT_PX[1] // 2 + 1))
    angle, strength = (
        np.radians(rng.uniform(70, 140)),
        rng.uniform(36, 50),
    )  # warm and strong: only objects are
    chroma = (float(strength * np.cos(angle)), float(strength * np.sin(angle)))
    shape = SHAPES[int(rng.integers(len(SHAPES)))]
    return Thing(texture, shape, side, float(rng.uniform(110, 140)), chroma, _path(rng, long, side))


def _path(rng: np.random.Generator, long: int, side: int) -> NDArray[np.int64]:
    """A bent drift of the corner inside the central square, (long, 2) whole pixels as (x, y)."""
    room = HEIGHT - side
    at = rng.uniform(0, room, 2)
    knots = np.stack([at, at + rng.uniform(-70, 70, 2), at + rng.uniform(-90, 90, 2)])
    t = np.linspace(0, 1, long)[:, None]
    path = (1 - t) ** 2 * knots[0] + 2 * t * (1 - t) * knots[1] + t**2 * knots[2]
    path = np.abs(path)  # a path that would leave the square is mirrored at its edge
    path = room - np.abs(room - path)
    return np.asarray(np.rint(path).astype(np.int64) + np.array([MARGIN_X, 0]))
