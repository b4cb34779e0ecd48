"""The plain values that go in and out of AVGLance: no torch, no decoder, nothing but dataclasses.

Times are seconds on the clock of the presentation (0 = the earlier of first picture and first sound),
ranges are half-open, boxes are (x0, y0, x1, y1).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Verdict = Literal["ok", "degraded", "failed"]
AudioState = Literal["present", "silent", "absent"]
Runtime = Literal["torch", "onnx", "openvino"]
"""What computes: torch, or graphs run by onnxruntime or openvino."""
Precision = Literal["float32", "bf16"]
"""Of encoders, as it may be asked for."""
Computed = Literal["float32", "bf16", "int8"]
"""Of encoders, as they compute: in 8 bits where they were exported so."""
Labels = Literal["one", "several"]
"""How many labels a system gives a video: the likeliest class, or a yes or no for each."""
NOTES = frozenset({"side_sound", "gap"})
"""Kinds of reasons that are worth saying and leave a file ok: sound from beside, a picture held long."""
UNKNOWN = "unknown"
"""What a video is labelled that shows none of the classes: a reserved word, never the name of a class."""
STAGES = ("decode", "glance", "choose", "aim", "focus", "answer")


@dataclass(frozen=True)
class Reason:
    """Why a file is not simply ok: a short ``kind``, a sentence, and where it holds (None: everywhere)."""

    kind: str
    text: str
    start_s: float | None = None
    end_s: float | None = None


@dataclass(frozen=True)
class Condition:
    """In what state a file was found.

    ``coverage``, 0..1: share of the duration that was truly decoded (after ``tag``: of what was asked for).
    """

    verdict: Verdict = "ok"
    reasons: tuple[Reason, ...] = ()
    audio: AudioState = "present"
    coverage: float = 1.0


@dataclass(frozen=True)
class AudioTrack:
    """One sound track as the container declares it."""

    codec: str
    rate_hz: int
    channels: int
    language: str = ""


@dataclass(frozen=True)
class MediaInfo:
    """What a file is, as far as its header and index tell; sizes after rotation and pixel shape."""

    duration_s: float
    width: int
    height: int
    frame_rate: float
    variable_rate: bool
    container: str
    video_codec: str
    audio_tracks: tuple[AudioTrack, ...] = ()
    rotation: int = 0
    has_video: bool = True

    @property
    def has_audio(self) -> bool:
        """Whether the container declares a sound track."""
        return bool(self.audio_tracks)


@dataclass(frozen=True)
class Label:
    """A class name and its score in 0..1."""

    name: str
    score: float


@dataclass(frozen=True)
class Span:
    """Where a label holds."""

    start_s: float
    end_s: float
    label: str
    score: float


@dataclass(frozen=True)
class Moment:
    """A snippet chosen for a close look; ``box_px`` in pixels of the file's own (upright) picture."""

    time_s: float
    saliency: float
    box_px: tuple[int, int, int, int] | None


@dataclass(frozen=True)
class Cost:
    """What was truly spent on one video.

    ``seconds`` and ``macs`` (multiply-adds) are by stage (``STAGES``); ``whole_macs`` is what the same
    encoders would have spent on a close look at every snippet's whole picture, ``whole_frames`` how many
    frames the file has.
    """

    frames_delivered: int = 0
    frames_decoded: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    macs: dict[str, int] = field(default_factory=dict)
    whole_frames: int = 0
    whole_macs: int = 0

    @property
    def total_s(self) -> float:
        """Seconds over all stages."""
        return sum(self.seconds.values())

    @property
    def total_macs(self) -> int:
        """Multiply-adds over all stages."""
        return sum(self.macs.values())


@dataclass(frozen=True)
class GridUse:
    """On which grid a video was looked at (``ViewSettings.grid``), and on which the model was trained.

    Of T snippets ``on_keyframes`` were looked at where a keyframe is; ``pictures`` different times remain.
    """

    name: str = "exact"
    trained: str = "exact"
    on_keyframes: int = 0
    pictures: int = 0


@dataclass(frozen=True)
class Stopping:
    """What ends the looks at a video before its budget is spent; its first look always happens.

    Args:
        sure: after look j a video stops whose confidence (its largest score; of several labels its least sure
            yes or no) is at least ``sure[j - 1]``, and behind the last of them in any case, shape (K,);
            None: never.
        late: asked before each further look; once it says yes no video is looked at any more.
        halves: looks that come after a glance at every second snippet alone; the others are glanced at where
            these do not suffice. 0: all are glanced at first.
    """

    sure: Sequence[float] | None = None
    late: Callable[[], bool] | None = None
    halves: int = 0

    def least(self, look: int) -> float:
        """The confidence at which a video is sure enough after its look number ``look`` (from 1)."""
        if self.sure is None:
            return math.inf
        return self.sure[look - 1] if look <= len(self.sure) else -math.inf


@dataclass(frozen=True)
class Recognition:
    """The answer for one video. ``saliency`` (softmax) and ``times`` have one value a snippet.

    Where ``unknown``, nothing that the model knows is there: the first label is ``UNKNOWN`` (its score of 1
    is a decision, no probability), those behind it are what the model would say if it had to. ``budget`` says
    in words what was allowed. ``label_mode`` says whether ``labels`` are the likeliest of which one is there
    ("one"), or all that are said to be there ("several"). ``runtime`` is what computed it (``Runtime``),
    ``precision`` that of the encoders: "float32", "bf16" or "int8".
    """

    video: str
    labels: tuple[Label, ...]
    spans: tuple[Span, ...]
    moments: tuple[Moment, ...]
    saliency: tuple[float, ...]
    times: tuple[float, ...]
    cost: Cost
    condition: Condition
    duration_s: float
    model: str
    system: str
    weights_sha256: str = ""
    reader: str = ""
    toy: bool = False
    unknown: bool = False
    budget: str = ""
    label_mode: Labels = "one"
    grid: GridUse = GridUse()
    runtime: str = ""
    precision: str = ""


@dataclass(frozen=True)
class Failure:
    """A video that was not answered: ``kind`` is one of ``errors.FAILURE_KINDS``, or ``error`` (our bug)."""

    video: str
    kind: str
    message: str
    hint: str = ""


def as_json(value: Any) -> Any:
    """The value as plain lists, dicts, numbers and strings (dataclasses by field, tuples as lists)."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: as_json(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(k): as_json(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_json(v) for v in value]
    return value
