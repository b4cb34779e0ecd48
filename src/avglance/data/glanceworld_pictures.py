"""Paints a GlanceWorld video as YUV planes: changing scenes, clutter, and the object with its fine texture.

Cheap on purpose: a scene is painted once, what moves is blended into copies of it in whole pixels and 16-bit
integers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avglance.data.glanceworld_script import HEIGHT, RATE, SHAPES, TEXTURES, WIDTH, Script, Thing, stream

RANGE = 219.0  # luma steps from black to white in limited range: contrasts below are fractions of it
PERIOD_PX, PERIOD_SPREAD = 4.0, 0.07
ANGLE_SPREAD_DEG = 10.0
CONTRAST = 0.2  # peak to peak
BLOTCH_PX, BLOTCH_STD = 1.5, 0.06
EDGE = 96  # the canvas is larger than the picture by this much, so that nothing needs clipping
SCENE_S = (2.5, 7.0)
PALE = 0.3  # where an object may have any hue, all else is paler by this factor
Plane = NDArray[np.uint8]


@dataclass
class Sprite:
    """A shape ready to be blended: luma premultiplied, masks 0..128, chroma by the parity of its place."""

    luma: NDArray[np.int16]
    rest: NDArray[np.int16]
    alpha: NDArray[np.float32]
    chroma: tuple[float, float]
    halves: dict[tuple[int, int], tuple[NDArray[np.int16], ...]] = field(default_factory=dict)

    def half(self, dy: int, dx: int) -> tuple[NDArray[np.int16], ...]:
        """(rest, u, v) at half size, for a place whose row and column have these parities."""
        if (dy, dx) not in self.halves:
            high, wide = self.alpha.shape
            grown = np.zeros((high + 2 - high % 2, wide + 2 - wide % 2), np.float32)
            grown[dy : dy + high, dx : dx + wide] = self.alpha
            small = grown.reshape(grown.shape[0] // 2, 2, -1, 2).mean((1, 3))
            weight = np.rint(small * 128)
            u, v = (np.rint(weight * (128 + c)).astype(np.int16) + 64 for c in self.chroma)
            self.halves[dy, dx] = ((128 - weight).astype(np.int16), u, v)
        return self.halves[dy, dx]


class Canvas:
    """Three planes with a border; shapes are blended in, the picture is cut out."""

    def __init__(self, luma: Plane, u: Plane, v: Plane) -> None:
        self.luma, self.u, self.v = luma, u, v

    def copy(self) -> Canvas:
        """An independent canvas with the same picture."""
        return Canvas(self.luma.copy(), self.u.copy(), self.v.copy())

    def draw(self, sprite: Sprite, x: int, y: int) -> None:
        """Blend a sprite with its upper left corner at pixel (x, y) of the picture; out of sight is fine."""
        high, wide = sprite.rest.shape
        x, y = x + EDGE, y + EDGE
        if x < 0 or y < 0 or x + wide + 2 > WIDTH + 2 * EDGE or y + high + 2 > HEIGHT + 2 * EDGE:
            return
        _blend(self.luma, sprite.rest, sprite.luma, x, y)
        rest, u, v = sprite.half(y % 2, x % 2)
        _blend(self.u, rest, u, x // 2, y // 2)
        _blend(self.v, rest, v, x // 2, y // 2)

    def picture(self) -> Plane:
        """The planes as PyAV stacks them, shape (H * 3 / 2, W)."""
        out = np.empty((HEIGHT * 3 // 2, WIDTH), np.uint8)
        half, quarter = EDGE // 2, HEIGHT // 4
        out[:HEIGHT] = self.luma[EDGE : EDGE + HEIGHT, EDGE : EDGE + WIDTH]
        for n, plane in enumerate((self.u, self.v)):
            rows = out[HEIGHT + n * quarter : HEIGHT + (n + 1) * quarter].reshape(HEIGHT // 2, WIDTH // 2)
            rows[:] = plane[half : half + HEIGHT // 2, half : half + WIDTH // 2]
        return out


def _blend(plane: Plane, rest: NDArray[np.int16], weighted: NDArray[np.int16], x: int, y: int) -> None:
    spot = plane[y : y + rest.shape[0], x : x + rest.shape[1]]
    mixed = spot * rest
    mixed += weighted
    mixed >>= 7
    spot[:] = mixed


@cache
def blur_matrix(side: int, sigma_px: float) -> NDArray[np.float32]:
    """Gaussian blur along one axis as a matrix, shape (side, side)."""
    at = np.arange(side)
    weights = np.exp(-0.5 * ((at[:, None] - at[None]) / sigma_px) ** 2)
    return np.asarray(weights / weights.sum(1, keepdims=True), np.float32)


@cache
def stretch_matrix(few: int, many: int) -> NDArray[np.float32]:
    """Smooth enlargement of ``few`` values to ``many``, shape (many, few)."""
    at = np.linspace(0, few - 1, many)
    low = np.minimum(at.astype(int), few - 2)
    part = at - low
    part = part * part * (3 - 2 * part)
    out = np.zeros((many, few), np.float32)
    out[np.arange(many), low] = 1 - part
    out[np.arange(many), low + 1] = part
    return out


def blotches(rng: np.random.Generator, side: int) -> NDArray[np.float32]:
    """Blurred noise of standard deviation 1, shape (side, side)."""
    blur = blur_matrix(side, BLOTCH_PX)
    field_ = blur @ rng.standard_normal((side, side), np.float32) @ blur.T
    return np.asarray((field_ - field_.mean()) / field_.std(), np.float32)


def grating(side: int, angle_deg: float, period_px: float, phase: float) -> NDArray[np.float32]:
    """A sine grating in -1..1 whose waves run along ``angle_deg``, shape (side, side)."""
    at = np.arange(side, dtype=np.float32) - side / 2
    wave = 2 * np.pi / period_px
    turn = np.radians(angle_deg)
    along = np.cos(turn) * at[None] + np.sin(turn) * at[:, None]
    return np.asarray(np.sin(wave * along + phase), np.float32)


def mask(shape: str, side: int, turn: float) -> NDArray[np.float32]:
    """How much of each pixel a shape covers, 0..1, shape (side, side); the shape is ``side`` across."""
    at = np.arange(side, dtype=np.float32) + 0.5 - side / 2
    x, y = at[None], at[:, None]
    reach = side / 2
    if shape == "box":  # with round corners
        inset = reach * 0.62
        past = np.hypot(np.maximum(abs(x) - inset, 0), np.maximum(abs(y) - inset, 0))
        return np.asarray(np.clip(reach - inset - past + 0.5, 0, 1), np.float32)
    radius, angle = np.hypot(x, y), np.arctan2(y, x) + turn
    if shape == "hexagon":
        turned = np.mod(angle, np.pi / 3) - np.pi / 6
        return np.asarray(
            np.clip(reach * np.cos(np.pi / 6) - radius * np.cos(turned) + 0.5, 0, 1), np.float32
        )
    limit = reach * (1 - 0.1 * (1 - np.cos(5 * angle))) if shape == "flower" else reach
    return np.asarray(np.clip(limit - radius + 0.5, 0, 1), np.float32)


def _sprite(luma: NDArray[Any], cover: NDArray[np.float32], chroma: tuple[float, float]) -> Sprite:
    weight = np.rint(cover * 128)
    weighted = np.rint(weight * np.clip(luma, 16, 235)).astype(np.int16) + 64
    return Sprite(weighted, (128 - weight).astype(np.int16), cover, chroma)


def thing_sprite(rng: np.random.Generator, thing: Thing) -> Sprite:
    """The object: its shape and colour, its class's grating over blotches that are locked to it."""
    angle = 45.0 * TEXTURES.index(thing.texture) + rng.uniform(-ANGLE_SPREAD_DEG, ANGLE_SPREAD_DEG)
    period = PERIOD_PX * rng.uniform(1 - PERIOD_SPREAD, 1 + PERIOD_SPREAD)
    waves = grating(thing.side, angle, period, rng.uniform(0, 2 * np.pi))
    light = CONTRAST / 2 * waves + BLOTCH_STD * blotches(rng, thing.side)
    cover = mask(thing.shape, thing.side, rng.uniform(0, 2 * np.pi))
    return _sprite(thing.luma + RANGE * light, cover, thing.chroma)


def clutter_sprite(rng: np.random.Generator, tint: float = 1.0) -> Sprite:
    """A shape that is no object: cool or pale, or warm but small; plain, blotched or with coarse waves."""
    side = int(rng.integers(12, 84))
    if side < 28:
        angle, strength = rng.uniform(0, 360), rng.uniform(10, 50)
    else:
        angle, strength = rng.uniform(175, 395), rng.uniform(8, 50)
    strength *= tint
    chroma = (float(strength * np.cos(np.radians(angle))), float(strength * np.sin(np.radians(angle))))
    light = np.full((side, side), rng.uniform(60, 190), np.float32)
    kind = rng.random()
    if kind < 0.45:
        waves = grating(side, rng.uniform(0, 180), rng.uniform(11, 30), rng.uniform(0, 2 * np.pi))
        light += RANGE * rng.uniform(0.03, 0.12) * waves
    if kind < 0.25 or kind > 0.8:
        light += RANGE * BLOTCH_STD * rng.uniform(0.4, 1.0) * blotches(rng, side)
    cover = mask(SHAPES[int(rng.integers(len(SHAPES)))], side, rng.uniform(0, 2 * np.pi))
    return _sprite(light, cover, chroma)


class Scene:
    """A background with what stands in it, and what moves over it; ``tint`` scales how coloured all is."""

    def __init__(self, rng: np.random.Generator, tint: float = 1.0) -> None:
        high, wide = HEIGHT + 2 * EDGE, WIDTH + 2 * EDGE
        luma = rng.uniform(60, 180) + _cloud(rng, (7, 9), (high, wide), rng.uniform(8, 35))
        luma += _cloud(rng, (37, 45), (high, wide), rng.uniform(1, 6))
        turn, strength = rng.uniform(0, 2 * np.pi), tint * rng.uniform(0, 18)
        u = 128 + strength * np.cos(turn) + _cloud(rng, (4, 5), (high // 2, wide // 2), 5 * tint)
        v = 128 + strength * np.sin(turn) + _cloud(rng, (4, 5), (high // 2, wide // 2), 5 * tint)
        planes = (np.clip(plane, 16, 235).astype(np.uint8) for plane in (luma, u, v))
        self.canvas = Canvas(*planes)
        for _ in range(int(rng.integers(5, 11))):
            self.canvas.draw(
                clutter_sprite(rng, tint), int(rng.integers(-30, WIDTH)), int(rng.integers(-30, HEIGHT))
            )
        self.movers = [_mover(rng, tint) for _ in range(int(rng.integers(2, 6)))]

    def at(self, age_s: float) -> Canvas:
        """The scene ``age_s`` seconds after it began, as a canvas of its own."""
        canvas = self.canvas.copy()
        for sprite, start, speed in self.movers:
            x, y = start + speed * age_s
            canvas.draw(sprite, round(x), round(y))
        return canvas


def _cloud(
    rng: np.random.Generator, few: tuple[int, int], many: tuple[int, int], strength: float
) -> NDArray[np.float32]:
    coarse = rng.standard_normal(few, np.float32) * np.float32(strength)
    return np.asarray(stretch_matrix(few[0], many[0]) @ coarse @ stretch_matrix(few[1], many[1]).T)


def _mover(rng: np.random.Generator, tint: float) -> tuple[Sprite, NDArray[np.float64], NDArray[np.float64]]:
    start = rng.uniform((-20, -20), (WIDTH - 20, HEIGHT - 20))
    turn, speed = rng.uniform(0, 2 * np.pi), rng.uniform(4, 30)
    return clutter_sprite(rng, tint), start, speed * np.array([np.cos(turn), np.sin(turn)])


def paint(script: Script) -> Iterator[Plane]:
    """The pictures of a video in order, yuv420p planes stacked, shape (H * 3 / 2, W)."""
    kind = script.world.kind
    rng = stream(script.seed, script.index, 1, kind)
    shown = [
        (show.span, thing, thing_sprite(rng, thing))
        for show in (script.show, *script.seen)
        for thing in show.things
    ]
    tint = PALE if kind == "rivals" else 1.0
    scene, began, until = None, 0, 0
    for number in range(script.frames):
        if scene is None or number >= until:
            scene, began = Scene(rng, tint), number
            until = number + int(rng.uniform(*SCENE_S) * RATE)
        canvas = scene.at((number - began) / RATE)
        for stretch, thing, sprite in shown:
            if stretch.first <= number < stretch.last:
                x, y = thing.corners[number - stretch.first]
                canvas.draw(sprite, int(x), int(y))
        yield canvas.picture()
