"""What happens in one GlanceWorld video, drawn before anything is painted: the truth.

Everything is a function of (world, seed, index), so a video is the same whoever makes it, in whatever order.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avglance.data.glanceworld_world import (
    CLASSES,
    FAMILIES,
    GAP_FRAMES,
    HEIGHT,
    KINDS,
    PLAIN,
    RATE,
    TEXTURES,
    WIDTH,
    Kind,
    World,
)

__all__ = ["CLASSES", "FAMILIES", "HEIGHT", "RATE", "TEXTURES", "WIDTH", "Script", "draw_script", "stream"]

SHAPES = ("disc", "box", "hexagon", "flower")
MARGIN_X = (WIDTH - HEIGHT) // 2  # the central square begins here
APART_PX = 102  # between the centres of rivals: no patch of 96 px holds both
HUES_DEG = (90.0, 162.0, 234.0, 306.0, 18.0)  # of rivals, one a family, as angles in the plane of chroma
HUE_SPREAD_DEG = 8.0
LUMA = (110, 140)
NOWHERE = np.zeros((0, 2), np.int64)


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
    """An object that drifts: how it looks and where its upper left corner stands, (n, 2) as (x, y).

    ``family`` is the sound family whose colour it has; empty where colour means nothing.
    """

    texture: str
    family: str
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
class Show:
    """What is seen in a span: one object, or two rivals in the order of their places, left or upper first."""

    span: Stretch
    things: tuple[Thing, ...]


@dataclass(frozen=True)
class Tune:
    """A family's sound in a span."""

    span: Stretch
    family: str


@dataclass(frozen=True)
class Script:
    """One video: its length, the event, and the decoys that are exactly half an event each.

    Attributes:
        world: what it was drawn from.
        seed: of the world.
        index: of the video.
        frames: how many pictures.
        show: what is seen in the event.
        tune: what is heard in the event.
        sounding: which object of the event carries the class; of one object: 0.
        seen: the decoys in pictures.
        heard: the decoys in sound.
    """

    world: World
    seed: int
    index: int
    frames: int
    show: Show
    tune: Tune
    sounding: int
    seen: tuple[Show, ...]
    heard: tuple[Tune, ...]

    @property
    def duration_s(self) -> float:
        """Seconds of the whole video."""
        return self.frames / RATE

    @property
    def event(self) -> Stretch:
        """When the event is."""
        return self.show.span

    @property
    def thing(self) -> Thing:
        """The event's object; of two rivals the one that sounds."""
        return self.show.things[self.sounding]

    @property
    def texture(self) -> str:
        """The class's texture."""
        return self.thing.texture

    @property
    def family(self) -> str:
        """The family that sounds in the event."""
        return self.tune.family

    @property
    def label(self) -> str:
        """The name of the class."""
        return f"{self.texture} {self.family}" if self.world.kind == "plain" else self.texture

    def truth(self) -> dict[str, Any]:
        """What the truth file says, as plain values; in the harder worlds ``kind``, of rivals ``rival``."""
        said = {
            "label": self.label,
            "texture": self.texture,
            "family": self.family,
            "duration_s": self.duration_s,
            "event": _times(self.event),
            "boxes": self.thing.boxes(self.event),
            "decoys": [row for pair in zip(self.seen, self.heard, strict=True) for row in _decoys(*pair)],
            "seed": self.seed,
        }
        if self.world.kind != "plain":
            said["kind"] = self.world.kind
        if self.world.objects > 1:
            said["rival"] = _described(self.show.things[1 - self.sounding], self.event)
        return said


def _times(span: Stretch) -> dict[str, float]:
    return {"start_s": span.start_s, "end_s": span.end_s}


def _described(thing: Thing, span: Stretch) -> dict[str, Any]:
    colour = {"family": thing.family} if thing.family else {}
    return {"texture": thing.texture, **colour, "boxes": thing.boxes(span)}


def _decoys(show: Show, tune: Tune) -> tuple[dict[str, Any], dict[str, Any]]:
    first, *others = (_described(thing, show.span) for thing in show.things)
    seen = {"kind": "picture", **_times(show.span), **first, **({"rival": others[0]} if others else {})}
    return seen, {"kind": "sound", **_times(tune.span), "family": tune.family, "boxes": []}


def stream(seed: int, index: int, purpose: int, kind: Kind = "plain") -> np.random.Generator:
    """Random numbers for one purpose (0 script, 1 pictures, 2 sound, 3 the order of classes) of one video."""
    return np.random.default_rng([seed, index, purpose, *([KINDS.index(kind)] if kind != "plain" else [])])


def draw_script(seed: int, index: int, world: World = PLAIN) -> Script:
    """The script of video ``index`` of the world ``seed``.

    The classes come in blocks that hold each class once.
    """
    block, place = divmod(index, len(world.classes))
    order = stream(seed, block, 3, world.kind).permutation(len(world.classes))
    texture, family = (*world.classes[order[place]].split(" "), "")[:2]
    rng = stream(seed, index, 0, world.kind)
    fewest, most = world.frame_limits
    frames = int(rng.integers(fewest, most + 1))
    shortest, longest = world.span_limits(frames)
    long = int(rng.integers(shortest, longest + 1))
    found = _spans(rng, frames, long, world.spans)
    spans = [found[i] for i in rng.permutation(world.spans)]
    textures = _lots(rng, TEXTURES.index(texture), len(TEXTURES), 1 + world.decoys, world.objects)
    if world.kind == "plain":
        families = _lots(rng, FAMILIES.index(family), len(FAMILIES), 1 + world.decoys)[:, 0]
    else:
        families = rng.integers(len(FAMILIES), size=1 + world.decoys)
    sounding = textures[0].tolist().index(TEXTURES.index(texture))
    shows = []
    for n, span in enumerate(spans[: 1 + world.decoys]):
        colours = _colours(rng, int(families[0]), sounding if n == 0 else None) if world.objects > 1 else [""]
        shows.append(Show(span, _things(rng, world, [TEXTURES[i] for i in textures[n]], colours, long)))
    heard = [Tune(span, FAMILIES[i]) for span, i in zip(spans[1 + world.decoys :], families[1:], strict=True)]
    tune = Tune(spans[0], FAMILIES[families[0]])
    return Script(world, seed, index, frames, shows[0], tune, sounding, tuple(shows[1:]), tuple(heard))


def _spans(rng: np.random.Generator, frames: int, long: int, count: int) -> list[Stretch]:
    """Stretches of ``long`` pictures that do not touch, in time order, free time shared at random."""
    free = frames - count * long - (count - 1) * GAP_FRAMES
    before = np.sort(rng.integers(0, free + 1, count))  # free pictures before each stretch
    firsts = [int(before[i]) + i * (long + GAP_FRAMES) for i in range(count)]
    return [Stretch(first, first + long) for first in firsts]


def _lots(rng: np.random.Generator, own: int, of: int, spans: int, together: int = 1) -> NDArray[np.int64]:
    """Which of ``of`` kinds each span has, shape (spans, together); ``own`` is in row 0, anywhere in it.

    All are dealt from packs that hold each kind once, then one is taken for the event at random: who sees all
    of them, and not which is the event, learns no more than how often each kind was dealt.
    """
    if (spans, together) == (2, 1):  # the same in one draw
        return np.array([[own], [(own + int(rng.integers(1, of))) % of]])
    count = spans * together
    dealt = np.concatenate([rng.permutation(of) for _ in range(-(-count // of))])[:count]
    place = int(rng.integers(count))
    rows = ((dealt + own - dealt[place]) % of).reshape(spans, together)
    return np.roll(rows, -(place // together), axis=0)


def _colours(rng: np.random.Generator, family: int, sounding: int | None) -> list[str]:
    """The families of two rivals' colours: never the same; in the event the sounding one has ``family``."""
    two = rng.permutation(len(FAMILIES))[:2]
    if sounding is not None:
        two = (two + family - two[sounding]) % len(FAMILIES)
    return [FAMILIES[i] for i in two]


def _things(
    rng: np.random.Generator, world: World, textures: list[str], families: list[str], long: int
) -> tuple[Thing, ...]:
    looks = [_look(rng, world, *both) for both in zip(textures, families, strict=True)]
    if len(looks) == 1:
        room = HEIGHT - looks[0].side
        rooms = [(np.zeros(2, np.int64), np.array([room, room]))]
    else:
        rooms = _rooms(rng, looks[0].side, looks[1].side)
    margin = np.array([MARGIN_X, 0])
    return tuple(
        replace(look, corners=margin + first + _path(rng, long, room))
        for look, (first, room) in zip(looks, rooms, strict=True)
    )


def _look(rng: np.random.Generator, world: World, texture: str, family: str) -> Thing:
    low, high = world.object_px
    side = 2 * int(rng.integers(low // 2, high // 2 + 1))
    if family:
        hue = HUES_DEG[FAMILIES.index(family)]
        angle = np.radians(rng.uniform(hue - HUE_SPREAD_DEG, hue + HUE_SPREAD_DEG))
    else:
        angle = np.radians(rng.uniform(70, 140))  # warm and strong: only objects are
    strength = rng.uniform(36, 50)
    chroma = (float(strength * np.cos(angle)), float(strength * np.sin(angle)))
    shape = SHAPES[int(rng.integers(len(SHAPES)))]
    return Thing(texture, family, shape, side, float(rng.uniform(*LUMA)), chroma, NOWHERE)


def _rooms(rng: np.random.Generator, *sides: int) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Where the corners of two rivals may be, (first, how much further), each as (x, y).

    The square is split left and right or above and below, so that the centres stay ``APART_PX`` apart.
    """
    axis = int(rng.integers(2))
    free = HEIGHT - sum(sides) // 2 - APART_PX
    before = round(rng.uniform(0.25, 0.75) * free)
    rooms = []
    for side, first, room in (
        (sides[0], 0, before),
        (sides[1], HEIGHT - sides[1] - free + before, free - before),
    ):
        corner, reach = np.zeros(2, np.int64), np.full(2, HEIGHT - side)
        corner[axis], reach[axis] = first, room
        rooms.append((corner, reach))
    return rooms


def _path(rng: np.random.Generator, long: int, room: NDArray[np.int64]) -> NDArray[np.int64]:
    """A bent drift within ``room`` (x, y) from 0, (long, 2) whole pixels."""
    at = rng.uniform(0, room)
    near, far = np.minimum(70, room), np.minimum(90, room)
    knots = np.stack([at, at + rng.uniform(-near, near), at + rng.uniform(-far, far)])
    t = np.linspace(0, 1, long)[:, None]
    path = (1 - t) ** 2 * knots[0] + 2 * t * (1 - t) * knots[1] + t**2 * knots[2]
    path = np.abs(path)  # a path that would leave the square is mirrored at its edge
    path = room - np.abs(room - path)
    return np.asarray(np.rint(path).astype(np.int64))
