"""What is seen and heard when in one spliced video, drawn before anything is decoded: the truth.

Everything is a function of (plan, seed, index). How long a video, its event and the pieces between two cuts
are is drawn without regard to the class, and background comes in spans as long and as often cut as an event:
none of this tells anything.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Any, Literal

import numpy as np

from avglance.data.splice_settings import SPLITS, Splice, Split
from avglance.data.splice_sources import Clip
from avglance.types import UNKNOWN

Role = Literal["event", "background", "decoy_picture", "decoy_sound"]
LONGEST_PIECE_S = 8.0
LEAST_SIDE = 0.6  # of a picture that is seen where clips vary
MEAN_PIECE = 0.75  # of the longest: leaves the cuts room to move


@dataclass(frozen=True)
class Plan:
    """Everything that a script is drawn from.

    Attributes:
        settings: how videos are put together.
        split: whose clips these are.
        classes: every class name, sorted.
        clips: of the classes, in the order of their names.
        background: likewise.
        longest: the most pictures between two cuts.
    """

    settings: Splice
    split: Split
    classes: tuple[str, ...]
    clips: tuple[Clip, ...]
    background: tuple[Clip, ...]
    longest: int

    @cached_property
    def groups(self) -> dict[str, dict[str, list[Clip]]]:
        """The clips of each group of each class, in the order of names."""
        found: dict[str, dict[str, list[Clip]]] = {}
        for clip in sorted(self.clips, key=lambda c: (c.label, c.group)):
            found.setdefault(clip.label, {}).setdefault(clip.group, []).append(clip)
        return found


def frames_of(clip: Clip, fps: float) -> int:
    """How many pictures can be cut from a clip."""
    return max(1, math.floor((clip.end_s - clip.start_s) * fps + 1e-6))


def longest_piece(clips: Sequence[Clip], background: Sequence[Clip], fps: float) -> int:
    """The most pictures between two cuts: so many that half of the clips of every class have them.

    How long the clips of a class are then hardly tells in how many pieces they are shown.
    """
    lengths: dict[str, list[int]] = {}
    for clip in (*clips, *background):
        lengths.setdefault("" if clip.behind else clip.label, []).append(frames_of(clip, fps))
    middle = min(sorted(some)[len(some) // 2] for some in lengths.values())
    return max(2, min(middle, math.floor(LONGEST_PIECE_S * fps)))


@dataclass(frozen=True)
class Take:
    """A window of a clip: its pictures or its sound from picture number ``first`` on."""

    clip: Clip
    first: int
    look: Look | None = None


@dataclass(frozen=True)
class Look:
    """How a clip differs from itself in one video.

    Attributes:
        mirrored: left and right change places.
        box: (left, top, right, bottom) of what is seen of a picture, shares of its sides.
        contrast: of lightness about the middle grey, factor.
        light: added to lightness, of 255.
        colour: factor of the colour differences.
        speed: of the sound, factor: above 1 it is higher.
    """

    mirrored: bool
    box: tuple[float, float, float, float]
    contrast: float
    light: float
    colour: float
    speed: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Look:
        """Half of all are mirrored; at least six tenths of each side are seen."""
        side = rng.uniform(LEAST_SIDE, 1.0)
        left, top = rng.uniform(0, 1 - side, 2).tolist()
        contrast, light, colour = rng.uniform(0.8, 1.25), rng.uniform(-20, 20), rng.uniform(0.6, 1.4)
        mirrored, speed = bool(rng.random() < 0.5), rng.uniform(0.9, 1.1)
        return cls(mirrored, (left, top, left + side, top + side), contrast, light, colour, speed)

    def told(self) -> dict[str, Any]:
        """For the truth, plain values."""
        return {
            "mirrored": self.mirrored,
            "box": [round(x, 4) for x in self.box],
            **{name: round(getattr(self, name), 4) for name in ("contrast", "light", "colour", "speed")},
        }


@dataclass(frozen=True)
class Piece:
    """What is seen and heard between two cuts, pictures [first, last) of the video."""

    first: int
    last: int
    role: Role
    label: str
    seen: Take
    heard: Take


@dataclass(frozen=True)
class Span:
    """A run of pieces of one role; of the background everything between two other spans."""

    first: int
    last: int
    role: Role
    label: str


@dataclass(frozen=True)
class Script:
    """One video.

    Attributes:
        plan: what it was drawn from.
        seed: of the folder.
        index: of the video, among those with an event or among those without.
        frames: how many pictures.
        label: its class; ``unknown`` without an event.
        group: what the event's clips were cut from; empty without an event.
        spans: the event and its decoys, in the order of time.
        pieces: all of it, in the order of time.
        bed: sound that lies faintly under everything, (first, last, what is heard).
    """

    plan: Plan
    seed: int
    index: int
    frames: int
    label: str
    group: str
    spans: tuple[Span, ...]
    pieces: tuple[Piece, ...]
    bed: tuple[tuple[int, int, Take], ...]

    @property
    def unknown(self) -> bool:
        """Whether it has no event."""
        return self.label == UNKNOWN

    def truth(self) -> dict[str, Any]:
        """What the truth file says, as plain values; ``event`` is the first of ``events``, where any is."""
        events = [self._times(s.first, s.last) for s in self.spans if s.role == "event"]
        return {
            "label": self.label,
            "group": self.group,
            "duration_s": self.frames / self.plan.settings.fps,
            **({"event": events[0]} if events else {}),
            "events": events,
            "boxes": [],
            "decoys": [
                {"kind": s.role.removeprefix("decoy_"), **self._times(s.first, s.last), "label": s.label}
                for s in self.spans
                if s.role != "event"
            ],
            "pieces": [self._told(piece) for piece in self.pieces],
            "bed": [
                {**self._times(first, last), "file": take.clip.name, **self._inside(take, last - first)}
                for first, last, take in self.bed
            ],
            "split": self.plan.split,
            "seed": self.seed,
        }

    def _told(self, piece: Piece) -> dict[str, Any]:
        frames = piece.last - piece.first
        said: dict[str, Any] = {"role": piece.role, **self._times(piece.first, piece.last)}
        if piece.label:
            said["label"] = piece.label
        for name, take in (("picture", piece.seen), ("sound", piece.heard)):
            said[name] = {"file": take.clip.name, **self._inside(take, frames)}
            said[name] |= {"look": take.look.told()} if take.look else {}
        return said

    def _times(self, first: int, last: int) -> dict[str, float]:
        fps = self.plan.settings.fps
        return {"start_s": first / fps, "end_s": last / fps}

    def _inside(self, take: Take, frames: int) -> dict[str, float]:
        """Seconds of the source that a window takes."""
        start = take.clip.start_s + take.first / self.plan.settings.fps
        end = start + frames / self.plan.settings.fps
        return {"start_s": round(start, 6), "end_s": round(end, 6)}


def stream(plan: Plan, seed: int, *numbers: int) -> np.random.Generator:
    """Random numbers for one purpose of one video; another split has others."""
    return np.random.default_rng([seed, SPLITS.index(plan.split), *numbers])


def draw_script(plan: Plan, seed: int, index: int, *, unknown: bool = False) -> Script:
    """The script of video ``index``; classes come in blocks that hold each once, groups likewise.

    One that is ``unknown`` is drawn like the others, with background in place of the event: how long it is
    and where it is cut does not tell it from them.
    """
    rng = stream(plan, seed, 4 if unknown else 0, index)
    label, group = _turn(plan, seed, index)
    low, high = plan.settings.frame_limits
    frames = int(rng.integers(low, high + 1))
    fewest, most = plan.settings.event_limits(frames)
    lengths = plan.settings.span_frames(int(rng.integers(fewest, most + 1)))
    cast = _cast(rng, plan, label, group)
    spans = _spans(rng, plan, frames, lengths, [(role, name) for role, (name, _) in cast.items()])
    every = _with_background(rng, spans, frames)
    fill = _Filling(rng, plan, {role: clips for role, (_, clips) in cast.items()})
    if unknown:
        label, group, spans = UNKNOWN, "", [span for span in spans if span.role != "event"]
        every = [replace(x, role="background", label="") if x.role == "event" else x for x in every]
    pieces = tuple(piece for span in every for piece in fill.pieces(span))
    bed = fill.bed(frames)
    if plan.settings.vary:
        pieces = _varied(pieces, stream(plan, seed, 7 if unknown else 6, index))
    return Script(plan, seed, index, frames, label, group, tuple(spans), pieces, bed)


def _varied(pieces: Sequence[Piece], rng: np.random.Generator) -> tuple[Piece, ...]:
    """The pieces, each clip with a look of its own that is the same wherever the video shows it."""
    looks: dict[str, Look] = {}
    for take in (take for piece in pieces for take in (piece.seen, piece.heard)):
        if take.clip.name not in looks:
            looks[take.clip.name] = Look.draw(rng)
    return tuple(
        replace(
            piece,
            seen=replace(piece.seen, look=looks[piece.seen.clip.name]),
            heard=replace(piece.heard, look=looks[piece.heard.clip.name]),
        )
        for piece in pieces
    )


def _turn(plan: Plan, seed: int, index: int) -> tuple[str, str]:
    """(class, group) of a video."""
    labels = sorted(plan.groups)
    block, place = divmod(index, len(labels))
    number = int(stream(plan, seed, 2, block).permutation(len(labels))[place])
    groups = list(plan.groups[labels[number]])
    cycle, place = divmod(block, len(groups))
    return labels[number], groups[stream(plan, seed, 3, number, cycle).permutation(len(groups))[place]]


def _cast(rng: np.random.Generator, plan: Plan, label: str, group: str) -> dict[Role, tuple[str, list[Clip]]]:
    """The class and the clips of each role but the background.

    All spans of a role have the same: were the decoys of several classes, the event's would be the one that
    is seen most often.
    """
    cast: dict[Role, tuple[str, list[Clip]]] = {"event": (label, plan.groups[label][group])}
    if plan.settings.decoys == "half":
        others = [name for name in sorted(plan.groups) if name != label]
        seen, heard = (others[n] for n in rng.permutation(len(others))[:2])
        for role, name in (("decoy_picture", seen), ("decoy_sound", heard)):
            groups = list(plan.groups[name].values())
            cast[role] = (name, groups[int(rng.integers(len(groups)))])  # type: ignore[index]
    return cast


def _spans(
    rng: np.random.Generator,
    plan: Plan,
    frames: int,
    lengths: list[int],
    roles: list[tuple[Role, str]],
) -> list[Span]:
    """A span of each length for each role, in random order, free time shared at random."""
    slots = [(length, role, name) for length in lengths for role, name in roles]
    gap = plan.settings.gap_frames
    free = frames - sum(length for length, _, _ in slots) - gap * (len(slots) - 1)
    before = np.sort(rng.integers(0, free + 1, len(slots)))  # free pictures before each span
    spans, used = [], 0
    for at, number in zip(before, rng.permutation(len(slots)), strict=True):
        length, role, name = slots[number]
        spans.append(Span(int(at) + used, int(at) + used + length, role, name))
        used += length + gap
    return spans


def _with_background(rng: np.random.Generator, spans: list[Span], frames: int) -> list[Span]:
    """The spans with those of background between them, about as long as they are."""
    edges = [0, *(edge for span in spans for edge in (span.first, span.last)), frames]
    usual = math.floor((spans[0].last - spans[0].first) / MEAN_PIECE)
    found = list(spans)
    for start, end in zip(edges[::2], edges[1::2], strict=True):
        found += [Span(start + a, start + b, "background", "") for a, b in cuts(rng, end - start, usual)]
    return sorted(found, key=lambda span: span.first)


def cuts(rng: np.random.Generator, frames: int, longest: int) -> list[tuple[int, int]]:
    """[first, last) of pieces of at most ``longest`` pictures that fill ``frames``, cut at random places."""
    if frames < 1:
        return []
    count = math.ceil(frames / (MEAN_PIECE * longest))
    moved = np.arange(1, count) + rng.uniform(-1, 1, count - 1) * (1 / MEAN_PIECE - 1) / 2
    inner = [math.floor(at * frames / count) for at in moved]
    return list(pairwise(sorted({0, *inner, frames})))


class _Deck:
    """Clips in random order, each once before any comes again; one too short for a piece waits."""

    def __init__(self, rng: np.random.Generator, fps: float, clips: Sequence[Clip]) -> None:
        self._rng, self._fps, self._clips = rng, fps, clips
        self._left: list[Clip] = []
        self.longest = max(frames_of(clip, fps) for clip in clips)

    def next(self, frames: int) -> Clip:
        """The next clip that has so many pictures, at most ``longest``."""
        while (fits := next((c for c in self._left if frames_of(c, self._fps) >= frames), None)) is None:
            self._left += [self._clips[n] for n in self._rng.permutation(len(self._clips))]
        self._left.remove(fits)
        return fits

    def take(self, frames: int) -> Take:
        """A random window of the next clip."""
        clip = self.next(frames)
        return Take(clip, int(self._rng.integers(frames_of(clip, self._fps) - frames + 1)))


class _Filling:
    """Fills spans with pieces: those of one span are of one group or, of background, of one clip.

    In one video the longest piece is the same everywhere, one that everything in it can fill.
    """

    def __init__(self, rng: np.random.Generator, plan: Plan, cast: dict[Role, list[Clip]]) -> None:
        fps = plan.settings.fps
        self._rng, self._fps, self._cast = rng, fps, cast
        self._behind = _Deck(rng, fps, plan.background)
        self._dub = _Deck(rng, fps, [clip for clip in plan.background if clip.sounds])
        reach = [_Deck(rng, fps, clips).longest for clips in cast.values()]
        self._longest = min(plan.longest, self._behind.longest, self._dub.longest, *reach)

    def pieces(self, span: Span) -> list[Piece]:
        """The pieces of one span."""
        clips, others = self._clips(span.role)
        seen = _Deck(self._rng, self._fps, clips)
        heard = None if others is None else _Deck(self._rng, self._fps, others)
        pieces = []
        for a, b in cuts(self._rng, span.last - span.first, self._longest):
            look = seen.take(b - a)
            sound = look if heard is None else heard.take(b - a)
            pieces.append(Piece(span.first + a, span.first + b, span.role, span.label, look, sound))
        return pieces

    def _clips(self, role: Role) -> tuple[Sequence[Clip], Sequence[Clip] | None]:
        """(seen, heard) in a span; None: what is seen."""
        if role == "event":
            return self._cast[role], None
        if role == "decoy_picture":
            return self._cast[role], [self._dub.next(self._longest)]
        behind = self._behind.next(self._longest)
        if role == "decoy_sound":
            return [behind], self._cast[role]
        return [behind], None if behind.sounds else [self._dub.next(self._longest)]

    def bed(self, frames: int) -> tuple[tuple[int, int, Take], ...]:
        """Background sound for the whole video."""
        return tuple((a, b, self._dub.take(b - a)) for a, b in cuts(self._rng, frames, self._longest))
