"""Writes MP4 files: H.264 pictures and AAC sound, beside their name and renamed when whole."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from avglance.errors import ArgumentError, ShapeError

SOUND_BLOCK = 16_384  # samples handed to the sound encoder at once: keeps both tracks interleaved in the file
BUFFER_S = 1.0  # in which a constant bit rate is kept
PRESETS = ("ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow")


@dataclass(frozen=True)
class _Coding:
    """How the tracks are coded; checked, so that a bad value is named before a file is begun."""

    rate: Fraction
    crf: int
    bitrate: int | None
    keyframe_frames: int
    scene_cuts: bool
    preset: str
    threads: int


def write_mp4(
    path: str | os.PathLike[str],
    frames: Iterable[NDArray[np.uint8]],
    *,
    rate: float,
    sound: NDArray[np.float32] | None = None,
    sound_rate_hz: int = 16_000,
    crf: int = 23,
    bitrate: int | None = None,
    keyframe_every_s: float = 2.0,
    scene_cuts: bool = False,
    preset: str = "veryfast",
    audio_bitrate: int = 64_000,
    pixels: str = "rgb24",
    threads: int = 0,
) -> Path:
    """The path of the MP4 file that was written: H.264 (yuv420p) and, where sound is given, AAC mono.

    Args:
        path: where the file shall stand; it appears whole or not at all.
        frames: pictures uint8, shape (H, W, 3) with even H and W; or, with ``pixels="yuv420p"``, planes
            stacked as PyAV stacks them, shape (H * 3 / 2, W) (limited range, BT.601).
        rate: pictures a second.
        sound: mono samples in -1..1, shape (n,); None writes no sound track.
        sound_rate_hz: samples a second.
        crf: constant rate factor of x264, 0 (lossless) to 51.
        bitrate: in place of ``crf`` so many bits a second of pictures, no more and no less in any
            ``BUFFER_S``: what needs fewer is padded, so that sizes tell nothing.
        keyframe_every_s: a keyframe stands every so many seconds.
        scene_cuts: whether the encoder may put further keyframes where the picture changes suddenly.
        preset: speed of x264, one of ``PRESETS``.
        audio_bitrate: bits a second of the sound track.
        pixels: how ``frames`` are laid out, "rgb24" or "yuv420p".
        threads: threads of the picture encoder, 0 = as many as it likes.

    Raises:
        ArgumentError: a number is out of range or there is no picture.
        ShapeError: a picture or the sound has the wrong shape or type.
    """
    path = Path(path)
    pictures = iter(frames)
    coding = _check(
        rate, crf, bitrate, keyframe_every_s, scene_cuts=scene_cuts, preset=preset, threads=threads
    )
    _check_sound(sound, sound_rate_hz)
    if pixels not in ("rgb24", "yuv420p"):
        raise ArgumentError(f"pixels={pixels!r} is not known", where="write_mp4", hint="rgb24 or yuv420p")
    first = next(pictures, None)
    if first is None:
        raise ArgumentError("there is no picture to write", where="write_mp4", hint="give at least one frame")
    height, width = _size(first, pixels)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with av.open(str(part), "w", format="mp4", options={"fflags": "+bitexact"}) as box:
            video = _video_stream(box, coding, width, height)
            audio = None if sound is None else box.add_stream("aac", rate=sound_rate_hz)
            if audio is not None:
                audio.layout, audio.bit_rate = "mono", audio_bitrate
                audio.options = {"aac_coder": "fast"}  # faster than the default, and nearer
            _mux(box, (video, audio), _images(first, pictures, pixels, coding.rate), sound)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    return path


def _check(
    rate: float,
    crf: int,
    bitrate: int | None,
    keyframe_every_s: float,
    *,
    scene_cuts: bool,
    preset: str,
    threads: int,
) -> _Coding:
    if not 0 < rate <= 1000:
        raise ArgumentError(f"rate={rate} is outside (0, 1000]", where="write_mp4")
    if preset not in PRESETS:
        raise ArgumentError(f"preset={preset!r} is not known", where="write_mp4", hint=", ".join(PRESETS))
    if not 0 <= crf <= 51:
        raise ArgumentError(f"crf={crf} is outside [0, 51]", where="write_mp4", hint="23 is the usual value")
    if bitrate is not None and bitrate < 1000:
        raise ArgumentError(f"bitrate={bitrate} is below 1000", where="write_mp4", hint="bits a second")
    if not keyframe_every_s > 0:
        raise ArgumentError(f"keyframe_every_s={keyframe_every_s} is not above 0", where="write_mp4")
    every = max(1, round(keyframe_every_s * rate))
    exact = Fraction(rate).limit_denominator(1001)
    return _Coding(exact, crf, bitrate, every, scene_cuts, preset, threads)


def _check_sound(sound: NDArray[np.float32] | None, rate_hz: int) -> None:
    if sound is not None and (sound.ndim != 1 or not np.issubdtype(sound.dtype, np.floating)):
        raise ShapeError(f"sound must be float (n,), got {sound.dtype} {sound.shape}", where="write_mp4")
    if rate_hz <= 0:
        raise ArgumentError(f"sound_rate_hz={rate_hz} is not above 0", where="write_mp4")


def _size(picture: NDArray[np.uint8], pixels: str) -> tuple[int, int]:
    """(height, width) of a picture as it will be shown."""
    good = picture.ndim == 3 and picture.shape[2] == 3 if pixels == "rgb24" else picture.ndim == 2
    if not good or picture.dtype != np.uint8:
        form = "(H, W, 3)" if pixels == "rgb24" else "(H * 3 / 2, W)"
        raise ShapeError(
            f"a picture must be uint8 {form}, got {picture.dtype} {picture.shape}", where="write_mp4"
        )
    height = picture.shape[0] if pixels == "rgb24" else picture.shape[0] * 2 // 3
    width = picture.shape[1]
    if height % 2 or width % 2 or not height or not width:
        raise ShapeError(f"{width}x{height} is odd or empty; H.264 here needs even sides", where="write_mp4")
    return height, width


def _video_stream(box: Any, coding: _Coding, width: int, height: int) -> Any:
    stream = box.add_stream("libx264", rate=coding.rate)
    stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
    stream.codec_context.gop_size = coding.keyframe_frames
    stream.codec_context.thread_count = coding.threads
    every = coding.keyframe_frames
    cuts = "" if coding.scene_cuts else ":scenecut=0"
    params = f"keyint={every}:min-keyint={1 if coding.scene_cuts else every}{cuts}"
    stream.options = {"preset": coding.preset}
    if coding.bitrate is None:
        stream.options |= {"crf": str(coding.crf)}
    else:
        stream.bit_rate = coding.bitrate
        held = {"maxrate": coding.bitrate, "bufsize": round(BUFFER_S * coding.bitrate)}
        stream.options |= {name: str(value) for name, value in held.items()}
        params += ":nal-hrd=cbr"
    stream.options |= {"x264-params": params}
    return stream


def _images(
    first: NDArray[np.uint8], rest: Iterator[NDArray[np.uint8]], pixels: str, rate: Fraction
) -> Iterator[av.VideoFrame]:
    """Encodable frames with their times; every picture must look like the first."""
    for number, picture in enumerate(itertools.chain([first], rest)):
        if picture.shape != first.shape or picture.dtype != np.uint8:
            raise ShapeError(
                f"picture {number} is {picture.dtype} {picture.shape}, the first was {first.shape}",
                where="write_mp4",
            )
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format=pixels)
        frame.pts, frame.time_base = number, 1 / rate
        yield frame


def _mux(
    box: Any, streams: tuple[Any, Any], images: Iterator[av.VideoFrame], sound: NDArray[np.float32] | None
) -> None:
    """Encode both tracks side by side, the one that lags first, so that the file can be read in one pass."""
    video, audio = streams
    samples = np.empty(0, np.float32) if sound is None else np.clip(sound, -1.0, 1.0).astype(np.float32)
    heard = 0
    for number, image in enumerate(images):
        now_s = number / float(video.codec_context.framerate)
        while audio is not None and heard < samples.size and heard / audio.rate <= now_s:
            box.mux(audio.encode(_sound_frame(samples, heard, audio.rate)))
            heard += SOUND_BLOCK
        box.mux(video.encode(image))
    while audio is not None and heard < samples.size:
        box.mux(audio.encode(_sound_frame(samples, heard, audio.rate)))
        heard += SOUND_BLOCK
    box.mux(video.encode(None))
    if audio is not None:
        box.mux(audio.encode(None))


def _sound_frame(samples: NDArray[np.float32], start: int, rate_hz: int) -> av.AudioFrame:
    block = np.ascontiguousarray(samples[None, start : start + SOUND_BLOCK])
    frame = av.AudioFrame.from_ndarray(block, format="fltp", layout="mono")
    frame.sample_rate, frame.pts, frame.time_base = rate_hz, start, Fraction(1, rate_hz)
    return frame
