"""What a container declares, and how far that can be believed."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from avglance.errors import ArgumentError, MediaError
from avglance.media.pictures import RAW_FORMATS, PictureTrack
from avglance.media.sound import SoundTrack
from avglance.media.source import show
from avglance.types import AudioTrack, MediaInfo

_INDEX_SAMPLE = 1000  # index entries looked at to see whether the rate varies
_NO_RATE = 1000.0
_ATTACHED = 0x0400  # libav's disposition bit of cover art


@dataclass(frozen=True)
class Declared:
    """The streams that are read: the first video that is no cover art, and the chosen sound track."""

    video: Any | None
    audio_index: int | None
    tracks: tuple[AudioTrack, ...]
    container: str


def first_streams(box: Any, audio_track: int, where: str) -> Declared:
    """Choose the streams to read; see ``Declared``.

    Raises:
        ArgumentError: there are sound tracks, but not that one.
        MediaError: there is neither a picture nor a sound stream (kind ``no_video``).
    """
    videos = [s for s in box.streams if s.type == "video" and not int(s.disposition) & _ATTACHED]
    audios = [s for s in box.streams if s.type == "audio"]
    if not videos and not audios:
        raise MediaError(
            "neither pictures nor sound in it",
            kind="no_video",
            where=where,
            hint="name a file with pictures or sound",
        )
    if audios and not 0 <= audio_track < len(audios):
        raise ArgumentError(
            f"audio_track={audio_track}, but there are {len(audios)} sound tracks",
            where=where,
            hint=f"use 0 to {len(audios) - 1}",
        )
    tracks = tuple(
        AudioTrack(
            codec=codec_name(s),
            rate_hz=s.codec_context.sample_rate or 0,
            channels=s.codec_context.channels or 0,
            language=str(s.language or ""),
        )
        for s in audios
    )
    return Declared(
        video=videos[0] if videos else None,
        audio_index=audios[audio_track].index if audios else None,
        tracks=tracks,
        container=box.format.name,
    )


def codec_name(stream: Any) -> str:
    """The codec's short name, or ``unknown``."""
    context = stream.codec_context
    return str(context.name) if context is not None else "unknown"


def describe(
    declared: Declared, pictures: PictureTrack | None, sounds: SoundTrack | None, duration_s: float
) -> MediaInfo:
    """The public summary of a file; sizes after rotation and pixel shape."""
    width = height = 0
    rate, variable, rotation = 0.0, False, 0
    if pictures is not None:
        width, height = pictures.size
        if pictures.turn.quarters % 2:
            width, height = height, width
        rate, variable = mean_rate(pictures.stream)
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


def mean_rate(stream: Any) -> tuple[float, bool]:
    """Mean pictures a second as the header or the index tells, and whether the rate varies."""
    mean = float(stream.average_rate) if stream.average_rate else 0.0
    mean = mean if mean < _NO_RATE else 0.0  # a container in milliseconds with nothing to go by says 1000
    if stream.container.format.name in RAW_FORMATS:
        guess = stream.guessed_rate or stream.average_rate
        return (float(guess) if guess else 0.0), False
    entries = stream.index_entries
    if len(entries) > 2 and len(entries) == stream.frames and stream.time_base:
        sample = entries[:_INDEX_SAMPLE]
        steps = [b.timestamp - a.timestamp for a, b in zip(sample, sample[1:], strict=False)]
        rounding = max(1.0, 0.0015 / float(stream.time_base))
        return mean, max(steps) - min(steps) > 2 * rounding
    base = float(stream.base_rate) if stream.base_rate else 0.0
    return mean, bool(mean and base and abs(mean - base) > 0.02 * base)


def no_content(
    path: str | os.PathLike[str], pictures: PictureTrack | None, sounds: SoundTrack | None
) -> MediaError:
    """The error for a file that opens but gives neither a picture nor a sound sample."""
    packets = sum(track.packets for track in (pictures, sounds) if track is not None)
    if packets == 0:
        return MediaError(
            "only a header: it holds no picture and no sound",
            kind="truncated",
            where=show(path),
            hint="copy or download it again; the rest of the file is missing",
        )
    return MediaError(
        "nothing in it can be decoded: it is damaged or encrypted",
        kind="unsupported",
        where=show(path),
        hint="check the file in a player; a protected file has to be unlocked by its owner",
    )
