"""The sound of a spliced video: pieces of clips, faded into each other, one loudness from start to end."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

from avglance.data.glanceworld_sound import RATE_HZ, jitter, level
from avglance.data.splice_script import Script, Take, stream

__all__ = ["RATE_HZ", "mix"]

FADE_S = 0.1  # of two pieces into each other, centred on the cut
BED_DB = -20.0  # of the sound under everything against a piece's own: heard where the piece is silent
SPREAD_DB = 2.0  # of the half seconds: real sounds come out of the coder up to 1 dB off, each its own way
QUIET = 1e-4  # RMS of a piece that has nothing to be made louder, -80 dBFS
Wave = NDArray[np.float32]


def mix(script: Script, sound_of: Callable[[Take], Wave]) -> Wave:
    """The sound of a whole video, shape (n,): the same RMS in every half second, within the jitter.

    Every piece has the same loudness over its length, then every half second: how loud a moment is says
    nothing about what it is. The bed keeps what is silent in a clip from being made loud as noise.

    Args:
        script: of the video.
        sound_of: the whole sound of a take's clip at ``RATE_HZ``, from the clip's first second on.
    """
    fps = script.plan.settings.fps
    length = round(script.frames / fps * RATE_HZ)
    sound = _laid(((p.first, p.last, p.heard) for p in script.pieces), sound_of, fps, length)
    sound += np.float32(10 ** (BED_DB / 20)) * _laid(script.bed, sound_of, fps, length)
    rng = stream(script.plan, script.seed, 5 if script.unknown else 1, script.index)
    return jitter(rng, level(sound), SPREAD_DB)


def _laid(
    pieces: Iterable[tuple[int, int, Take]], sound_of: Callable[[Take], Wave], fps: float, length: int
) -> Wave:
    """Pieces one after the other, each of RMS 1, faded into each other with equal power."""
    track = np.zeros(length, np.float32)
    half = round(FADE_S * RATE_HZ / 2)
    for first, last, take in pieces:
        start, end = round(first / fps * RATE_HZ), round(last / fps * RATE_HZ)
        whole, begin = sound_of(take), take.first / fps * RATE_HZ
        if take.look is not None:
            whole, begin = _at_speed(whole, take.look.speed), begin / take.look.speed
        wave = _window(whole, round(begin), end - start)
        loud = float(np.sqrt(np.mean(wave[half : half + end - start].astype(np.float64) ** 2)))
        gain = 1 / loud if loud > QUIET else 0.0
        wave = wave * _fades(wave.size, half) * np.float32(gain)
        low, high = max(0, start - half), min(length, end + half)
        track[low:high] += wave[low - start + half : high - start + half]
    return track


def _at_speed(wave: Wave, speed: float) -> Wave:
    """Played faster, and so higher; by a tenth at most, so straight lines between samples will do."""
    at = np.arange(0, wave.size - 1, speed)
    return np.asarray(np.interp(at, np.arange(wave.size), wave), np.float32)


def _window(wave: Wave, begin: int, count: int) -> Wave:
    """``count`` samples from ``begin`` on and half a fade on both sides, mirrored where the clip ends."""
    half = round(FADE_S * RATE_HZ / 2)
    wave = wave[max(0, begin - half) : begin + count + half]
    before = max(0, half - begin)
    after = count + 2 * half - before - wave.size
    return np.pad(wave, (before, max(0, after)), mode="symmetric" if wave.size else "constant")


def _fades(count: int, half: int) -> Wave:
    """Rises over the first and falls over the last two halves; two that meet add up to the same power."""
    rise = np.sin(np.linspace(0, np.pi / 2, 2 * half, endpoint=False), dtype=np.float32)
    window = np.ones(count, np.float32)
    edge = min(2 * half, count)
    window[:edge] *= rise[:edge]
    window[count - edge :] *= rise[:edge][::-1]
    return window
