"""What is known about where a video's event is: the spans, and the boxes of its object."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from avglance.errors import DataError

Box = tuple[float, float, float, float, float]
Stretch = tuple[float, float]


@dataclass(frozen=True)
class Truth:
    """What is known about where a video's event is.

    Attributes:
        spans: (start_s, end_s) of the event, half-open; several where it comes again.
        boxes: (time_s, x0, y0, x1, y1) of the event's object at sampled times, pixels of the file's picture.
        texture: name of the object's texture; may be empty.
        family: name of the sound family; may be empty.
        decoys: what the truth file says about things that only look or sound like the event.
        rival_boxes: like ``boxes``, of an object that stands beside the event's and is not meant.
        rest: every other field of the truth file.
        span_labels: the label that holds in each span; empty where every label does.
    """

    spans: tuple[Stretch, ...]
    boxes: tuple[Box, ...] = field(default_factory=tuple)
    texture: str = field(default_factory=str)
    family: str = field(default_factory=str)
    decoys: tuple[Any, ...] = field(default_factory=tuple)
    rival_boxes: tuple[Box, ...] = field(default_factory=tuple)
    rest: dict[str, Any] = field(default_factory=dict, compare=False)
    span_labels: tuple[str, ...] = field(default_factory=tuple)

    @property
    def span(self) -> Stretch:
        """From the first start to the last end."""
        return min(start for start, _ in self.spans), max(end for _, end in self.spans)

    @classmethod
    def read(cls, path: Path) -> Truth:
        """The truth in a JSON file.

        Raises:
            DataError: the file is missing, is not JSON, or lacks the event.
        """
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            events = found.get("events") or [found["event"]]
            spans = tuple((float(one["start_s"]), float(one["end_s"])) for one in events)
            boxes = tuple(_box(row) for row in found.get("boxes", ()))
            rival_boxes = tuple(_box(row) for row in found.get("rival", {}).get("boxes", ()))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(
                f"not a truth file ({type(error).__name__}: {error})",
                where=str(path),
                hint='it needs {"event": {"start_s": 1, "end_s": 2}, "boxes": [[time_s, x0, y0, x1, y1]]}; '
                "several: events, a list",
            ) from error
        for start_s, end_s in spans:
            if not 0 <= start_s < end_s:
                raise DataError(f"the event from {start_s} s to {end_s} s is no span", where=str(path))
        known = ("event", "events", "boxes", "texture", "family", "decoys")
        return cls(
            spans=spans,
            boxes=boxes,
            texture=str(found.get("texture", "")),
            family=str(found.get("family", "")),
            decoys=tuple(found.get("decoys", ())),
            rival_boxes=rival_boxes,
            rest={k: v for k, v in found.items() if k not in known},
        )


def _box(row: Any) -> Box:
    time_s, x0, y0, x1, y1 = (float(value) for value in row)
    return time_s, x0, y0, x1, y1


class LazyTruth(Truth):
    """A truth that is read from its file when one of its fields is first asked for."""

    def __init__(self, path: Path) -> None:
        object.__setattr__(self, "_path", path)

    def __getattr__(self, name: str) -> Any:  # called only for what is not there yet
        if name.startswith("_") or name not in Truth.__dataclass_fields__:
            raise AttributeError(name)
        vars(self).update(vars(Truth.read(self._path)))
        return vars(self)[name]

    def __reduce__(self) -> tuple[type[LazyTruth], tuple[Path]]:
        return LazyTruth, (self._path,)

    _path: Path
