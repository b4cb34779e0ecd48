"""Plays a GlanceWorld video: background sound throughout, a repeating pattern in two spans, loudness level.

Every pattern repeats within 0.4 s, because a sound clip lasts 0.975 s; pitch, width, timbre and pace are
random, so that the order of pitches in time alone tells the family.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from avglance.data.glanceworld_script import Script, stream

RATE_HZ = 16_000
LEVEL = 0.1  # RMS of every half second
LEVEL_S = 0.5
SEAM_S = 0.02
JITTER_DB = 0.25
PERIOD_S = (0.2, 0.4)
PATTERN_DB = (5.0, 12.0)  # above the background
EDGE_S = 0.02
PIECE_S = 40.0  # no more is made at once
Wave = NDArray[np.float32]


def play(script: Script) -> Wave:
    """The sound of a whole video, shape (n,), RMS ``LEVEL`` within ``JITTER_DB`` in every half second."""
    rng = stream(script.seed, script.index, 2, script.world.kind)
    pieces = _pieces(0, round(script.duration_s * RATE_HZ))
    size = round(LEVEL_S * RATE_HZ)
    sound = np.concatenate([_smooth(background(rng, b - a), size, RATE_HZ // 8) for a, b in pieces])
    for tune in (script.tune, *script.heard):
        span = (round(s * RATE_HZ) for s in (tune.span.start_s, tune.span.end_s))
        for first, last in _pieces(*span):
            wave = pattern(rng, tune.family, last - first)
            gain = 10 ** ((rng.uniform(*PATTERN_DB) - script.world.background_db) / 20)
            sound[first:last] += np.float32(gain * LEVEL) * wave
    for first, last in pieces:
        sound[first:last] = jitter(rng, level(sound[first:last]))
    return sound


def _pieces(first: int, last: int) -> list[tuple[int, int]]:
    """[first, last) cut into equal runs of whole half seconds, so that memory hardly grows with length."""
    count = -(-(last - first) // round(PIECE_S * RATE_HZ))
    step = round(LEVEL_S * RATE_HZ)
    size = -(-(last - first) // (count * step)) * step
    starts = range(first, last, size)
    return [(start, min(start + size, last)) for start in starts]


def pattern(rng: np.random.Generator, family: str, length: int) -> Wave:
    """``length`` samples of a family's repeating pattern, RMS 1 while it sounds, with soft ends."""
    period = rng.uniform(*PERIOD_S) * RATE_HZ
    low, width = rng.uniform(300, 900), rng.uniform(1.8, 3.0)
    turn = np.mod(np.arange(length) / period + rng.uniform(), 1.0)
    height = _height(rng, family, turn)  # place between low (0) and low * width (1), on a log scale
    phase = np.cumsum(2 * np.pi / RATE_HZ * low * width**height)
    timbre = rng.uniform(0, 0.5, 2)
    wave = np.sin(phase) + timbre[0] * np.sin(2 * phase) + timbre[1] * np.sin(3 * phase)
    if family == "pulses":
        wave *= np.clip((np.sin(2 * np.pi * turn) + 0.2) * 8, 0, 1)
    wave *= ends(length)
    return np.asarray(wave / np.sqrt(np.mean(wave**2)), np.float32)


def _height(rng: np.random.Generator, family: str, turn: NDArray[np.float64]) -> NDArray[np.float64]:
    if family == "rising":
        return turn
    if family == "falling":
        return 1 - turn
    if family == "warble":
        return 0.5 + 0.5 * np.sin(2 * np.pi * turn)
    if family == "two_tone":
        return np.where(turn < 0.5, 0.0, 1.0)
    return np.full_like(turn, rng.uniform())


def ends(length: int) -> NDArray[np.float64]:
    """A window of ones that rises and falls softly at its ends, shape (length,)."""
    at = np.arange(length)
    near = np.minimum(at, length - 1 - at) / (EDGE_S * RATE_HZ)
    return np.clip(near, 0, 1)


def background(rng: np.random.Generator, length: int) -> Wave:
    """Two colours of noise that take turns, a few steady tones, and single sounds now and then."""
    turns = _slow(rng, length)
    sound = turns * _noise(rng, length) + (1 - turns) * _noise(rng, length)
    time = np.arange(length) / RATE_HZ
    for _ in range(int(rng.integers(1, 4))):
        loud, pitch = rng.uniform(0.1, 0.5), np.exp(rng.uniform(5, 8))
        sound += np.float32(loud) * _slow(rng, length) * np.sin(2 * np.pi * pitch * time).astype(np.float32)
    for _ in range(rng.poisson(0.5 * length / RATE_HZ)):
        long = int(rng.uniform(0.06, 0.3) * RATE_HZ)
        first = int(rng.integers(0, length - long))
        pitches = np.exp(rng.uniform(5.7, 7.9)) * np.linspace(1, rng.uniform(0.7, 1.4), long)
        tone = np.sin(np.cumsum(2 * np.pi / RATE_HZ * pitches)) * ends(long)
        sound[first : first + long] += (rng.uniform(0.5, 2.0) * tone).astype(np.float32)
    return sound


def _slow(rng: np.random.Generator, length: int) -> Wave:
    """A curve in 0..1 that changes its way every two seconds, shape (length,)."""
    count = max(2, length // (2 * RATE_HZ))
    curve = np.interp(np.arange(length), np.linspace(0, length, count), rng.uniform(0, 1, count))
    return curve.astype(np.float32)


def _noise(rng: np.random.Generator, length: int) -> Wave:
    """Noise with a random smooth spectrum, RMS 1, shape (n,)."""
    whole = 1 << (length - 1).bit_length()
    octave = _octaves(whole)
    knots = np.linspace(octave[0], octave[-1], 7)
    weight = 10 ** (np.interp(octave, knots, rng.uniform(-22, 0, 7)) / 20)
    spectrum = rng.standard_normal((octave.size, 2), np.float32) * weight.astype(np.float32)[:, None]
    wave = np.fft.irfft(spectrum.view(np.complex64)[:, 0])[:length]
    return np.asarray(wave / wave.std(), np.float32)


@cache
def _octaves(whole: int) -> NDArray[np.float64]:
    """Pitch of each bin of a spectrum in octaves, flattened below 40 Hz, shape (whole / 2 + 1,)."""
    return np.asarray(np.log2(np.fft.rfftfreq(whole, 1 / RATE_HZ) + 40))


def level(sound: Wave) -> Wave:
    """The sound with RMS ``LEVEL`` in every half second from its start, near it in any other."""
    size = round(LEVEL_S * RATE_HZ)
    quarter = size // 4
    sound = _smooth(_smooth(sound, size, quarter), size, quarter)
    for _ in range(3):  # the soft seams disturb the level a little: three rounds leave 0.01 dB
        sound = sound * _steps(LEVEL / _rms(sound, size), sound.size, size)
    return sound


def jitter(rng: np.random.Generator, sound: Wave, spread_db: float = JITTER_DB) -> Wave:
    """The sound a little louder or softer in each half second: hides what coding does to levels."""
    size = round(LEVEL_S * RATE_HZ)
    gains = 10 ** (rng.uniform(-spread_db, spread_db, -(-sound.size // size)) / 20)
    return sound * _steps(gains, sound.size, size)


def _rms(sound: Wave, size: int) -> NDArray[np.float64]:
    """RMS of each run of ``size`` samples, the last may be shorter, shape (ceil(n / size),)."""
    starts = np.arange(0, sound.size, size)
    counts = np.diff(np.append(starts, sound.size))
    return np.maximum(np.sqrt(np.add.reduceat(sound * sound, starts, dtype=np.float64) / counts), 1e-6)


def _steps(gains: NDArray[np.float64], length: int, size: int) -> Wave:
    """One gain for each run of ``size`` samples, with soft seams, shape (length,)."""
    seam = round(SEAM_S * RATE_HZ) // 2
    starts = np.arange(gains.size) * size
    knots = np.stack([starts + seam, starts + size - seam], 1).ravel()
    return np.interp(np.arange(length), knots, np.repeat(gains, 2)).astype(np.float32)


def _smooth(sound: Wave, size: int, step: int) -> Wave:
    """The sound divided by its RMS around each sample, so that hardly a step is left to take."""
    power = np.concatenate([[0.0], np.cumsum(sound * sound, dtype=np.float64)])
    centres = np.arange(0, sound.size + step, step)
    first, last = np.maximum(centres - size // 2, 0), np.minimum(centres + size // 2, sound.size)
    first = np.minimum(first, last - size // 4)
    gain = LEVEL / np.maximum(np.sqrt((power[last] - power[first]) / (last - first)), 1e-6)
    return np.asarray(sound * np.interp(np.arange(sound.size), centres, gain).astype(np.float32))
