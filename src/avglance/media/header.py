"""What a container declares, and how far that can be believed."""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from avglance.errors import ArgumentError, MediaError
from avglance.media.limits import Limits
from avglance.media.pictures import PictureTrack
from avglance.media.shots import RAW_FORMATS
from avglance.media.sound import SoundTrack
from avglance.media.source import show
from avglance.types import AudioTrack, MediaInfo

_INDEX_SAMPLE = 1000  # index entries looked at to see whether the rate varies
_NO_RATE = 1000.0
_LONGEST_STEPS = 1000
_ROUNDING_S = 0.0015  # containers that round times to a millisecond are off by this much
_ATTACHED = 0x0400  # libav's disposition bit of cover art


@dataclass(frozen=True)
class Declared:
    """The streams that are read: the first video that is no cover art, and the chosen sound track.

    Where nothing here can decode a stream, its index is None and ``unknown`` says so.
    """

    video_index: int | None
    audio_index: int | None
    tracks: tuple[AudioTrack, ...]
    container: str
    unknown: tuple[str, ...]


def first_streams(box: Any, audio_track: int, where: str) -> Declared:
    """Choose the streams to read; see ``Declared``.

    Raises:
        ArgumentError: there are sound tracks, but not that one.
        MediaError: there is no picture and no sound stream (kind ``no_video``), or none that can be decoded
            (``unsupported``).
    """
    videos = [s for s in box.streams if s.type == "video" and not int(s.disposition) & _ATTACHED]
    audios = [s for s in box.streams if s.type == "audio"]
    if not videos and not audios:
        hint = "name a file with pictures or sound"
        raise MediaError(
            "there are neither pictures nor sound in it", kind="no_video", where=where, hint=hint
        )
    if audios and not 0 <= audio_track < len(audios):
        what = f"audio_track={audio_track}, but there are {len(audios)} sound tracks"
        raise ArgumentError(what, where=where, hint=f"use 0 to {len(audios) - 1}")
    video = next((s for s in videos if s.codec_context is not None), None)
    audio = audios[audio_track] if audios and audios[audio_track].codec_context is not None else None
    if video is None and audio is None:
        hint = "convert it to H.264 and AAC in MP4"
        raise MediaError("its codecs are not known here", kind="unsupported", where=where, hint=hint)
    unknown = (("pictures",) if videos and video is None else ()) + (
        ("sound",) if audios and audio is None else ()
    )
    return Declared(
        video_index=None if video is None else video.index,
        audio_index=None if audio is None else audio.index,
        tracks=tuple(map(_track, audios)),
        container=box.format.name,
        unknown=unknown,
    )


def _track(stream: Any) -> AudioTrack:
    context = stream.codec_context
    return AudioTrack(
        codec=codec_name(stream),
        rate_hz=(context.sample_rate or 0) if context is not None else 0,
        channels=(context.channels or 0) if context is not None else 0,
        language=str(stream.language or ""),
    )


def codec_name(stream: Any) -> str:
    """The codec's short name, or ``unknown``."""
    context = stream.codec_context
    return str(context.name) if context is not None else "unknown"


def describe(
    declared: Declared,
    pictures: PictureTrack | None,
    sounds: SoundTrack | None,
    duration_s: float,
    sample: Sequence[float] = (),
) -> MediaInfo:
    """The public summary of a file; sizes after rotation and pixel shape."""
    width = height = 0
    rate, variable, rotation = 0.0, False, 0
    if pictures is not None:
        width, height = pictures.size
        if pictures.turn.quarters % 2:
            width, height = height, width
        rate, variable = mean_rate(pictures.stream, sample)
        rotation = pictures.turn.clockwise
    return MediaInfo(
        duration_s=duration_s,
        width=width,
        height=height,
        frame_rate=rate,
        variable_rate=variable,
        container=declared.container,
        video_codec=codec_name(pictures.stream) if pictures is not None else "",
        audio_tracks=declared.tracks if sounds is not None else (),
        rotation=rotation,
        has_video=pictures is not None,
    )


def mean_rate(stream: Any, sample: Sequence[float]) -> tuple[float, bool]:
    """Mean pictures a second as the header or the index tells, and whether the rate varies.

    ``sample`` holds when the first pictures are shown, for containers whose index does not name them all.
    """
    mean = float(stream.average_rate) if stream.average_rate else 0.0
    mean = mean if mean < _NO_RATE else 0.0  # a container in milliseconds with nothing to go by says 1000
    if stream.container.format.name in RAW_FORMATS:
        guess = stream.guessed_rate or stream.average_rate
        return (float(guess) if guess else 0.0), False
    entries = stream.index_entries
    tick = float(stream.time_base) if stream.time_base else 1e-3
    times = list(sample)
    if len(entries) > 2 and len(entries) == stream.frames:
        times = [entry.timestamp * tick for entry in entries[:_INDEX_SAMPLE]]
    steps = [b - a for a, b in itertools.pairwise(times) if b - a > _ROUNDING_S]  # VP8 hides pictures between
    if len(steps) < 2:
        return mean, False
    usual = sorted(steps)[len(steps) // 2]
    steps = [step for step in steps if step <= _LONGEST_STEPS * usual]  # a clock that jumps is no rate
    varies = max(steps) - min(steps) > 2 * max(tick, _ROUNDING_S)
    if not mean or (varies and sample):
        mean = len(steps) / sum(steps)
    return mean, varies


def no_content(
    path: str | os.PathLike[str],
    pictures: PictureTrack | None,
    sounds: SoundTrack | None,
    limits: Limits,
) -> MediaError:
    """The error for a file that opens but gives neither a picture nor a sound sample."""
    where = show(path)
    if sum(track.packets for track in (pictures, sounds) if track is not None) == 0:
        hint = "copy or download it again; the rest of the file is missing"
        return MediaError("only a header, no picture and no sound", kind="truncated", where=where, hint=hint)
    if pictures is not None and pictures.too_large:
        what = f"its pictures are above {limits.max_pixels} pixels, or have no size"
        hint = "raise Limits.max_pixels if you trust the file"
        return MediaError(what, kind="limit", where=where, hint=hint)
    what = "nothing in it can be decoded: it is damaged or encrypted"
    hint = "check the file in a player; a protected file has to be unlocked by its owner"
    return MediaError(what, kind="unsupported", where=where, hint=hint)
