"""How spliced videos are put together: how long, how much of them is the event, and what else is in them."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from avglance.errors import ArgumentError

Split = Literal["train", "test", "validation", "fit"]
SPLITS: tuple[Split, ...] = get_args(Split)
"""Training is shared out further: ``validation`` is a part of it, ``fit`` the rest."""
Decoys = Literal["none", "half"]
DECOYS: tuple[Decoys, ...] = get_args(Decoys)
SPAN_S = 15.0  # an event that lasts longer comes in several spans
GAP_S = 1.0  # of background, at least, between two spans
SHORTEST_EVENT_S = 1.0  # a sound clip of 0.96 s fits in
SECONDS_LIMITS = (4.0, 1800.0)
FPS_LIMITS = (2.0, 60.0)
SIDE_LIMITS_PX = (32, 1280)


@dataclass(frozen=True)
class Splice:
    """How videos are put together from clips.

    Attributes:
        share: (low, high) share of a video that the event lasts.
        seconds: (low, high) length of a video.
        decoys: "half": for each span of the event also one in which another class is only seen and one in
            which a third class is only heard, each as long as the event's; "none": background alone.
        fps: pictures a second of what is written; 12.5 is every second picture of a clip with 25.
        size: (width, height) of what is written, even; clips are scaled to fill it and cropped.
        vary: every clip, event and background alike, looks and sounds a little different in each video.

    Raises:
        ArgumentError: a value is out of its range, or the spans do not fit into a video.
    """

    share: tuple[float, float] = (0.10, 0.25)
    seconds: tuple[float, float] = (30.0, 60.0)
    decoys: Decoys = "none"
    fps: float = 12.5
    size: tuple[int, int] = (320, 240)
    vary: bool = False

    def __post_init__(self) -> None:
        if self.decoys not in DECOYS:
            raise ArgumentError(f"decoys={self.decoys!r} is not one of {', '.join(DECOYS)}", where="Splice")
        for name, limits in (("share", (0, 1)), ("seconds", SECONDS_LIMITS)):
            low, high = self._pair(name)
            if not limits[0] <= low <= high <= limits[1]:  # also where one is not a number
                raise ArgumentError(
                    f"{name}={(low, high)} must be two rising numbers from {limits[0]} to {limits[1]}",
                    where="Splice",
                )
        if not FPS_LIMITS[0] <= self.fps <= FPS_LIMITS[1]:
            raise ArgumentError(f"fps={self.fps} is outside {list(FPS_LIMITS)}", where="Splice")
        low_px, high_px = SIDE_LIMITS_PX
        if any(side % 2 or not low_px <= side <= high_px for side in self._pair("size")):
            raise ArgumentError(
                f"size={self.size} must be two even numbers from {low_px} to {high_px}", where="Splice"
            )
        self._check_room()

    def _pair(self, name: str) -> tuple[Any, Any]:
        """A field of two values; a list, as JSON has it, becomes a pair."""
        value = tuple(getattr(self, name))
        if len(value) != 2:
            raise ArgumentError(f"{name}={value} must be two numbers", where="Splice")
        object.__setattr__(self, name, value)
        return value

    def _check_room(self) -> None:
        if self.share[0] * self.seconds[0] < SHORTEST_EVENT_S:
            raise ArgumentError(
                f"an event of {self.share[0]} of {self.seconds[0]} s is shorter than {SHORTEST_EVENT_S} s",
                where="Splice",
                hint="raise share, or make the videos longer",
            )
        first, last = self.frame_limits
        for frames in range(first, last + 1):
            event = self.event_limits(frames)[1]
            spans = self.kinds * self._span_count(event)
            needed = self.kinds * event + (spans - 1) * self.gap_frames
            if needed > frames:
                raise ArgumentError(
                    f"{spans} spans with gaps take {needed / self.fps:.1f} s of a video "
                    f"of {frames / self.fps:.1f} s",
                    where="Splice",
                    hint="lower share, do without decoys, or make the videos longer",
                )

    @property
    def kinds(self) -> int:
        """How many spans stand for each span of the event, itself among them."""
        return 3 if self.decoys == "half" else 1

    @property
    def gap_frames(self) -> int:
        """Background between two spans, pictures."""
        return math.ceil(GAP_S * self.fps)

    @property
    def frame_limits(self) -> tuple[int, int]:
        """(fewest, most) pictures of a video."""
        fewest = math.ceil(self.seconds[0] * self.fps)
        return fewest, max(fewest, math.floor(self.seconds[1] * self.fps))

    def event_limits(self, frames: int) -> tuple[int, int]:
        """(fewest, most) pictures of the event in a video of so many pictures."""
        low, high = math.ceil(self.share[0] * frames), math.floor(self.share[1] * frames)
        if low > high:  # a narrow share may fall between two whole numbers
            low = high = round(sum(self.share) / 2 * frames)
        return low, high

    def span_frames(self, event: int) -> list[int]:
        """Pictures of each span of an event that has so many: equal but for one."""
        count = self._span_count(event)
        return [event // count + (n < event % count) for n in range(count)]

    def _span_count(self, event: int) -> int:
        return math.ceil(event / (SPAN_S * self.fps))

    def fields(self) -> dict[str, Any]:
        """The settings as plain values that JSON gives back unchanged."""
        fields = {name: list(x) if isinstance(x, tuple) else x for name, x in asdict(self).items()}
        return fields if self.vary else {name: x for name, x in fields.items() if name != "vary"}
