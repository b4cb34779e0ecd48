"""Which GlanceWorld: one of three kinds, and the knobs that make it easier or harder.

plain: the class is a texture and a sound family; the event has both.
pointer: the class is the texture alone; the sound, of any family, only tells when.
rivals: two objects at once, each in the colour of a family; the class is the texture of the one that sounds.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from avglance.errors import ArgumentError

TEXTURES = ("grating_0", "grating_45", "grating_90", "grating_135")
FAMILIES = ("rising", "falling", "warble", "two_tone", "pulses")
CLASSES = tuple(sorted(f"{texture} {family}" for texture in TEXTURES for family in FAMILIES))
WIDTH, HEIGHT, RATE = 320, 240, 10  # px, px, pictures a second
GAP_FRAMES = 4  # between two spans, so that no sound clip is torn by three of them
SHORTEST_SPAN = 4  # pictures: every sound repeats within 0.4 s
OBJECT_LIMITS_PX = (24, 100)  # six periods of a texture; two rivals side by side without touching
SECONDS_LIMITS = (4, 600)
BACKGROUND_LIMITS_DB = (-40, 40)
Kind = Literal["plain", "pointer", "rivals"]
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True)
class World:
    """What is drawn for every video of a folder.

    Attributes:
        kind: what decides the class.
        event_share: (low, high) share of the video that the event lasts; every decoy lasts as long.
        object_px: (low, high) side of an object, pixels of the file's picture.
        seconds: (low, high) length of a video.
        decoys: how many pairs of half events a video has: one in pictures and one in sound each.
        background_db: how much louder the background is against the event's sound than in the default
            world; the loudness of both together never changes.

    Raises:
        ArgumentError: a value is out of its range, or the spans do not fit into the shortest video.
    """

    kind: Kind = "plain"
    event_share: tuple[float, float] = (0.12, 0.25)
    object_px: tuple[int, int] = (56, 72)
    seconds: tuple[float, float] = (16, 32)
    decoys: int = 1
    background_db: float = 0.0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ArgumentError(f"kind={self.kind!r} is not one of {', '.join(KINDS)}", where="World")
        for name, limits in (
            ("event_share", (0, 1)),
            ("object_px", OBJECT_LIMITS_PX),
            ("seconds", SECONDS_LIMITS),
        ):
            self._check_range(name, limits)
        if any(side != int(side) or side % 2 for side in self.object_px):
            raise ArgumentError(f"object_px={self.object_px} must be two even numbers", where="World")
        if self.decoys != int(self.decoys) or self.decoys < 0:
            raise ArgumentError(f"decoys={self.decoys} is not a whole number from 0 up", where="World")
        low, high = BACKGROUND_LIMITS_DB
        if not low <= self.background_db <= high:
            raise ArgumentError(
                f"background_db={self.background_db} is outside [{low}, {high}]", where="World"
            )
        self._check_room()

    def _check_range(self, name: str, limits: tuple[float, float]) -> None:
        value = tuple(getattr(self, name))
        if len(value) != 2 or not limits[0] <= value[0] <= value[1] <= limits[1]:
            raise ArgumentError(
                f"{name}={value} must be (low, high) with {limits[0]} <= low <= high <= {limits[1]}",
                where="World",
            )
        object.__setattr__(self, name, value)  # a list, as JSON has it, becomes a pair

    def _check_room(self) -> None:
        first, last = self.frame_limits
        for frames in range(first, last + 1):
            shortest, longest = self.span_limits(frames)
            needed = self.spans * longest + (self.spans - 1) * GAP_FRAMES
            if needed > frames:
                raise ArgumentError(
                    f"{self.spans} spans of {longest / RATE} s with gaps take {needed / RATE} s "
                    f"of a video of {frames / RATE} s",
                    where="World",
                    hint="lower event_share or decoys, or make the videos longer",
                )
            if shortest < SHORTEST_SPAN:
                raise ArgumentError(
                    f"an event of {shortest / RATE} s in a video of {frames / RATE} s is shorter than "
                    f"{SHORTEST_SPAN / RATE} s, the period of the slowest sound",
                    where="World",
                    hint="raise event_share, or make the videos longer",
                )

    @property
    def classes(self) -> tuple[str, ...]:
        """Every class name, sorted."""
        return CLASSES if self.kind == "plain" else tuple(sorted(TEXTURES))

    @property
    def objects(self) -> int:
        """How many objects are shown at once."""
        return 2 if self.kind == "rivals" else 1

    @property
    def spans(self) -> int:
        """How many spans a video has: the event and two for each pair of decoys."""
        return 1 + 2 * self.decoys

    @property
    def frame_limits(self) -> tuple[int, int]:
        """(fewest, most) pictures of a video."""
        return round(self.seconds[0] * RATE), round(self.seconds[1] * RATE)

    def span_limits(self, frames: int) -> tuple[int, int]:
        """(fewest, most) pictures of a span in a video of so many pictures."""
        low, high = math.ceil(self.event_share[0] * frames), math.floor(self.event_share[1] * frames)
        if low > high:  # a narrow share may fall between two whole numbers
            low = high = round(sum(self.event_share) / 2 * frames)
        return low, high

    def fields(self) -> dict[str, Any]:
        """The settings as plain values that JSON gives back unchanged."""
        return {name: list(x) if isinstance(x, tuple) else x for name, x in asdict(self).items()}


PLAIN = World()
