"""A damaged file read as a program might read it: forwards, backwards, at places where nothing is."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from avglance.errors import FAILURE_KINDS, MediaError
from avglance.media import Limits
from avglance.types import Condition, Failure

_PLACES = (0.9, 0.1, 0.5, 0.52, 0.0, 1.0)  # shares of the duration
_SLACK_S = 0.05


@dataclass(frozen=True)
class Roamed:
    """What was met on the way."""

    condition: Condition
    faults: tuple[str, ...]


def roam(path: Path, opener: Any, limits: Limits) -> Roamed | Failure:
    """Ask one reader for pictures, keyframes and sound in an order that makes it seek."""
    try:
        with opener(path, limits=limits) as reader:
            faults = [*_pictures(reader), *_keys(reader), *_sound(reader), *_pictures(reader)]
            reasons = tuple(reader.reasons)
            return Roamed(Condition("degraded" if reasons else "ok", reasons), tuple(faults))
    except MediaError as error:
        return Failure(str(path), error.kind, error.what, error.hint)


def reading_faults(answer: Roamed | Failure) -> list[str]:
    """What is wrong with it."""
    if isinstance(answer, Failure):
        return [] if answer.kind in FAILURE_KINDS else [f"failure of kind {answer.kind}"]
    return list(answer.faults)


def _pictures(reader: Any) -> Iterator[str]:
    found, duration_s = reader.info, reader.info.duration_s
    wanted = [place * duration_s for place in _PLACES] + [-5.0, duration_s + 5.0]
    met = []
    for index, frame in itertools.chain(reader.frames_at(wanted), reader.frames_at(wanted[1:2], max_side=40)):
        met.append(index)
        if frame is None:
            continue
        time_s = wanted[index] if len(met) <= len(wanted) else wanted[1]
        if not (frame.time_s <= frame.end_s and math.isfinite(frame.time_s + frame.end_s)):
            yield f"a picture lasts from {frame.time_s} to {frame.end_s}"
        # one before the first picture is answered with it, if it is near
        step_s = 1 / found.frame_rate if found.frame_rate > 0 else 0.1
        if frame.time_s > max(time_s, 0.0) + step_s + _SLACK_S and time_s > 0:
            yield f"the picture of {frame.time_s} was given for {time_s}"
        height, width = frame.image.shape[:2]
        if frame.image.dtype != np.uint8 or frame.image.shape[2] != 3:
            yield f"a picture of {frame.image.shape} {frame.image.dtype}"
        if len(met) <= len(wanted) and (width, height) != (found.width, found.height):
            yield f"a picture of {width}x{height} in a file of {found.width}x{found.height}"
        if len(met) > len(wanted) and max(width, height) > 40:
            yield f"a picture of {width}x{height} where 40 was the most"
    if sorted(met[:-1]) != list(range(len(wanted))):
        yield f"pictures for {met}, {len(wanted)} were asked for"


def _keys(reader: Any) -> Iterator[str]:
    for place in (0.7, 0.2) if reader.info.has_video else ():
        time_s = reader.keyframes_near([place * reader.info.duration_s])[0]
        if time_s is not None and not -1.0 <= time_s <= reader.info.duration_s + 1.0:
            yield f"a keyframe at {time_s} of {reader.info.duration_s}"


def _sound(reader: Any) -> Iterator[str]:
    duration_s = reader.info.duration_s
    for low, high, rate_hz in ((0.6, 0.8, 16_000), (0.1, 0.3, 8_000), (-1.0, 2.0, 4_000)):
        start_s, end_s, reached = low * duration_s, high * duration_s, -math.inf
        for piece in itertools.islice(reader.sound(start_s, end_s, rate_hz=rate_hz), 200):
            last = piece.start_s + piece.samples.size / rate_hz
            if piece.start_s < start_s - _SLACK_S or last > end_s + _SLACK_S:
                yield f"sound of {piece.start_s}..{last} was given for {start_s}..{end_s}"
            if piece.start_s < reached - _SLACK_S:
                yield f"sound of {piece.start_s} comes after {reached}"
            reached = last
            if piece.samples.dtype != np.float32 or piece.samples.ndim != 1:
                yield f"sound of {piece.samples.shape} {piece.samples.dtype}"
