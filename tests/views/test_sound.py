"""Log-mel against the published check figures, a slow DFT in float64, and librosa's pieces."""

import math

import numpy as np
import pytest

from avglance.errors import ShapeError
from avglance.views import (
    CLIP_SAMPLES,
    LOGMEL_MACS,
    MEL_BANDS,
    MEL_FRAMES,
    RATE_HZ,
    SILENCE,
    logmel,
    mel_matrix,
)


def tone(hz: float, seconds: float, peak: float = 1.0) -> np.ndarray:
    return peak * np.sin(2 * np.pi * hz * np.arange(round(seconds * RATE_HZ)) / RATE_HZ)


def slow_logmel(clip: np.ndarray) -> np.ndarray:
    """The recipe written down again, word for word, in float64: loops, a DFT as defined, bands by hand."""
    n = np.arange(400)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * n / 400)
    k = np.arange(257)
    dft = np.exp(-2j * np.pi * np.outer(n, k) / 512)
    mel = lambda f: 1127.0 * math.log(1.0 + f / 700.0)  # noqa: E731
    edge = [mel(125) + (mel(7500) - mel(125)) * i / 65 for i in range(66)]
    rows = []
    for start in range(0, len(clip) - 400 + 1, 160):
        magnitude = np.abs((clip[start : start + 400] * window) @ dft)
        row = []
        for i in range(64):
            total = 0.0
            for b in range(1, 257):
                m = mel(b * 8000 / 256)
                up = (m - edge[i]) / (edge[i + 1] - edge[i])
                down = (edge[i + 2] - m) / (edge[i + 2] - edge[i + 1])
                total += max(0.0, min(up, down)) * magnitude[b]
            row.append(math.log(total + 0.001))
        rows.append(row)
    return np.array(rows)


def test_shape_and_silence() -> None:
    out = logmel(np.zeros((2, CLIP_SAMPLES), np.float32))
    assert out.shape == (2, 96, 64) == (2, MEL_FRAMES, MEL_BANDS)
    assert out.dtype == np.float32
    np.testing.assert_allclose(out, -6.907755, atol=1e-5)
    assert pytest.approx(-6.907755, abs=1e-6) == SILENCE


@pytest.mark.parametrize(("hz", "band"), [(440, 8), (1000, 19), (4000, 48)])
def test_strongest_band_of_a_tone(hz: float, band: int) -> None:
    out = logmel(tone(hz, CLIP_SAMPLES / RATE_HZ, 0.5)[None])
    assert (out[0].argmax(axis=1) == band).all()


def test_check_figures_of_a_440_hz_sine() -> None:
    out = logmel(tone(440, 3.0)[None])
    assert out.shape == (1, 298, 64)
    assert out[0, 0].argmax() == 8
    assert out[0, 0, 8] == pytest.approx(4.78215, abs=2e-5)
    assert out.mean(dtype=np.float64) == pytest.approx(-4.56052, abs=1e-4)


def test_check_figures_of_the_mel_matrix() -> None:
    bands = mel_matrix()
    assert bands.shape == (257, 64)
    assert bands.dtype == np.float32
    assert np.count_nonzero(bands) == 461
    assert bands.sum(dtype=np.float64) == pytest.approx(230.9136, abs=1e-3)
    sums = bands.sum(axis=0)
    assert sums.min() > 0
    assert sums[0] == pytest.approx(0.94769, abs=1e-5)
    assert sums[-1] == pytest.approx(8.94418, abs=1e-4)
    assert not bands[0].any()


def test_no_one_can_spoil_the_constants() -> None:
    clip = tone(300, 0.975, 0.1)[None]
    before = logmel(clip)
    mel_matrix()[:] = 0
    np.testing.assert_array_equal(logmel(clip), before)


def test_against_a_slow_dft() -> None:
    rng = np.random.default_rng(3)
    clip = 0.3 * rng.standard_normal(400 + 160 * 5) + tone(700, 0.075, 0.2)
    np.testing.assert_allclose(logmel(clip[None])[0], slow_logmel(clip), atol=2e-4)


def test_against_pieces_of_librosa() -> None:
    librosa = pytest.importorskip("librosa")
    rng = np.random.default_rng(5)
    clip = (0.2 * rng.standard_normal(CLIP_SAMPLES)).astype(np.float32)
    frames = librosa.util.frame(clip, frame_length=400, hop_length=160).T
    window = librosa.filters.get_window("hann", 400, fftbins=True)
    magnitude = np.abs(np.fft.rfft(frames * window, n=512))
    edges = librosa.mel_frequencies(66, fmin=125, fmax=7500, htk=True)  # 2595 log10 = 1126.99 ln
    to_mel = lambda hz: librosa.hz_to_mel(hz, htk=True)  # noqa: E731
    bins, ends = to_mel(librosa.fft_frequencies(sr=16_000, n_fft=512)), to_mel(edges)
    bands = np.stack([np.interp(bins, ends[i : i + 3], [0, 1, 0]) for i in range(64)], axis=1)
    np.testing.assert_allclose(logmel(clip[None])[0], np.log(magnitude @ bands + 0.001), atol=2e-3)


def test_many_clips_equal_one_by_one() -> None:
    rng = np.random.default_rng(1)
    clips = rng.uniform(-1, 1, (67, CLIP_SAMPLES)).astype(np.float32)
    whole = logmel(clips)
    for n in (0, 40, 63, 64, 66):
        np.testing.assert_allclose(whole[n], logmel(clips[n : n + 1])[0], atol=1e-5)


def test_rows_are_time() -> None:
    clip = np.zeros((1, CLIP_SAMPLES), np.float32)
    clip[0, 8000:8010] = 1.0  # a click at 0.5 s: frames that hold sample 8000 begin in (7600, 8000]
    loud = np.flatnonzero(logmel(clip)[0].max(axis=1) > SILENCE + 0.1)
    assert loud.min() >= 47
    assert loud.max() <= 50
    assert 48 in loud
    assert 49 in loud


def test_macs_are_counted() -> None:
    assert LOGMEL_MACS == 96 * (400 + 5760 + 514 + 16_448)


@pytest.mark.parametrize("shape", [(15_600,), (2, 399), (1, 1, 15_600)])
def test_wrong_shapes(shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match="samples must be"):
        logmel(np.zeros(shape, np.float32))


def test_no_clips() -> None:
    assert logmel(np.zeros((0, CLIP_SAMPLES), np.float32)).shape == (0, 96, 64)


def test_the_mel_matrix_is_the_one_that_the_public_weights_want(shared_data) -> None:
    public = np.loadtxt(shared_data / "weights" / "yamnet_mel_matrix.csv", delimiter=",")
    np.testing.assert_allclose(mel_matrix(), public, atol=1e-4)
