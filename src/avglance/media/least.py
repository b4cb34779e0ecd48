"""The least that decoding can cost: the codec alone, on the packets that some pictures and sounds need."""

from __future__ import annotations

import contextlib
import itertools
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import av
import av.error

from avglance.media.limits import Limits
from avglance.media.reader import VideoReader
from avglance.media.shots import EPS_S

_THREADS = (1, 0)
_TRIES = 3


@dataclass(frozen=True)
class Least:
    """Seconds of the codecs for the pictures and the sounds, and how many packets went to each."""

    pictures_s: float
    sounds_s: float
    picture_packets: int
    sound_packets: int


def least_decoding(
    path: str | os.PathLike[str],
    times: Sequence[float],
    stretches: Sequence[tuple[float, float]],
    *,
    limits: Limits | None = None,
) -> Least:
    """What the codecs alone take for the pictures at ``times`` and the sound in ``stretches``.

    Nothing else is counted: no opening, no seeking, no reading, no colours, no resampling. The best of a few
    tries, with one thread and with as many as fit.

    Args:
        path: the file.
        times: of pictures, seconds on the clock.
        stretches: (start, end) of sounds, seconds on the clock; those that overlap are decoded once.
        limits: as for reading.

    Raises:
        MediaError: the file cannot be opened.
    """
    with VideoReader(path, limits=limits) as reader:
        origin, pictures, sounds = reader._origin, reader._pictures, reader._sounds
        groups, spoken = list[list[Any]](), list[Any]()
        pictures_s = sounds_s = 0.0
        if pictures is not None:
            groups = [_up_to(pictures.box, pictures.stream, t + origin) for t in sorted(set(times))]
            pictures_s = _best(pictures.stream, groups) if groups else 0.0
        if sounds is not None and reader._side is None:
            heard = [(start + origin, end + origin) for start, end in stretches]
            spoken = _inside(sounds.box, sounds.stream, heard)
            sounds_s = _best(sounds.stream, [spoken]) if spoken else 0.0
    return Least(pictures_s, sounds_s, sum(map(len, groups)), len(spoken))


def _up_to(box: Any, stream: Any, time_s: float) -> list[Any]:
    """Packets from the keyframe before a time up to it; the keyframe alone where it is meant."""
    tick = float(stream.time_base)
    box.seek(int((time_s + EPS_S) / tick), stream=stream, backward=True)
    found: list[Any] = []
    for packet in box.demux(stream):
        if packet.dts is None or packet.pts is None or (not found and not packet.is_keyframe):
            continue
        if found and packet.dts * tick > time_s + EPS_S:
            break
        found.append(packet)
        if abs(packet.pts * tick - time_s) <= 2 * EPS_S and packet.is_keyframe:
            return [packet]
    return found


def _inside(box: Any, stream: Any, stretches: Sequence[tuple[float, float]]) -> list[Any]:
    """Packets that sound within some of the stretches, each once, in the order of the file."""
    tick, found = float(stream.time_base), dict[int, Any]()
    for start, end in sorted(stretches):
        box.seek(int(max(start, 0) / tick), stream=stream, backward=True)
        for packet in box.demux(stream):
            if packet.pts is None:
                continue
            if packet.pts * tick >= end:
                break
            if (packet.pts + (packet.duration or 0)) * tick > start:
                found.setdefault(packet.pts, packet)
    return [found[pts] for pts in sorted(found)]


def _best(stream: Any, groups: Sequence[Sequence[Any]]) -> float:
    """Seconds of the quickest try, each with a decoder of its own."""
    found = []
    for threads in _THREADS * _TRIES:
        codec = av.CodecContext.create(stream.codec_context.name, "r")
        codec.extradata = stream.codec_context.extradata
        codec.thread_count, codec.thread_type = threads, "AUTO"
        start = time.perf_counter()
        for packet in [*itertools.chain.from_iterable(groups), None]:
            with contextlib.suppress(av.error.FFmpegError):
                codec.decode(packet)
        found.append(time.perf_counter() - start)
    return min(found)
