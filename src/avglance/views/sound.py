"""Log-mel spectrograms of short sound clips: YAMNet's recipe, in float32 numpy.

Mono 16 kHz; frames of 400 samples every 160 without centre padding; periodic Hann window; magnitudes of a
512-point FFT; 64 triangular bands from 125 to 7500 Hz, equally spaced and linear in
mel(f) = 1127 ln(1 + f / 700), not normalised, no weight on DC; ln(M + 0.001).

Source: AudioSet's YAMNet features (tensorflow/models, research/audioset/yamnet).
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np
from numpy.typing import NDArray

from avglance.errors import ShapeError
from avglance.views.products import product

RATE_HZ = 16_000
CLIP_SAMPLES = 15_600
CLIP_S = CLIP_SAMPLES / RATE_HZ
MEL_FRAMES = 96
MEL_BANDS = 64
LOG_OFFSET = 0.001
SILENCE = math.log(LOG_OFFSET)
"""The value of every cell of the log-mel of digital silence."""

_WINDOW, _HOP, _FFT = 400, 160, 512
_BINS = _FFT // 2 + 1
_LOW_HZ, _HIGH_HZ = 125.0, 7500.0
_CHUNK = 64  # clips at a time: bounds memory (a chunk of frames is about 13 MB)

LOGMEL_MACS = MEL_FRAMES * (_WINDOW + (5 * _FFT * 9) // 4 + 2 * _BINS + _BINS * MEL_BANDS)
"""Multiply-adds of one clip: a frame costs its window (400), a real FFT (2.5 N log2 N operations, two to a
multiply-add), its magnitudes (2 a bin) and the dense band matrix (257 x 64); the logarithm is not counted."""


def _mel(hz: NDArray[np.float64] | float) -> NDArray[np.float64]:
    return 1127.0 * np.log1p(np.asarray(hz, dtype=np.float64) / 700.0)


@cache
def _mel_matrix64() -> NDArray[np.float64]:
    edges = np.linspace(_mel(_LOW_HZ), _mel(_HIGH_HZ), MEL_BANDS + 2)
    bins = _mel(np.linspace(0.0, RATE_HZ / 2, _BINS))[:, None]
    rise = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    fall = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    weights = np.maximum(0.0, np.minimum(rise, fall))
    weights[0] = 0.0
    return weights


def mel_matrix() -> NDArray[np.float32]:
    """Weight of every FFT bin in every band, float32, shape (257, 64); a fresh copy."""
    return _mel_matrix64().astype(np.float32)


@cache
def _constants() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(_WINDOW) / _WINDOW)  # periodic
    return hann.astype(np.float32), mel_matrix()


def logmel(samples: NDArray[np.floating]) -> NDArray[np.float32]:
    """Log-mel spectrograms of clips.

    Args:
        samples: mono at 16 kHz in [-1, 1], shape (n, 15600); other lengths S >= 400 give
            1 + (S - 400) // 160 frames.

    Returns:
        float32, shape (n, 96, 64): rows are time (10 ms each), columns bands. Silence is ln 0.001 everywhere.

    Raises:
        ShapeError: ``samples`` is not (n, S) with S >= 400.
    """
    if samples.ndim != 2 or samples.shape[1] < _WINDOW:
        raise ShapeError(f"samples must be (n, S) with S >= {_WINDOW}, got {samples.shape}", where="logmel")
    frames = 1 + (samples.shape[1] - _WINDOW) // _HOP
    out = np.empty((len(samples), frames, MEL_BANDS), dtype=np.float32)
    hann, bands = _constants()
    for first in range(0, len(samples), _CHUNK):
        clips = np.ascontiguousarray(samples[first : first + _CHUNK], dtype=np.float32)
        windows = np.lib.stride_tricks.sliding_window_view(clips, _WINDOW, axis=1)[:, ::_HOP]
        spectrum = np.fft.rfft(windows * hann, n=_FFT)
        magnitude = np.abs(spectrum).astype(np.float32, copy=False)
        mel = product(magnitude.reshape(-1, _BINS), bands)
        out[first : first + _CHUNK] = np.log(mel + np.float32(LOG_OFFSET)).reshape(-1, frames, MEL_BANDS)
    return out
