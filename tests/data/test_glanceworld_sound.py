"""What GlanceWorld plays: patterns that move as their names say."""

from __future__ import annotations

import numpy as np
import pytest

from avglance.data.glanceworld_script import FAMILIES, draw_script
from avglance.data.glanceworld_sound import LEVEL, PIECE_S, RATE_HZ, level, pattern, play
from avglance.data.glanceworld_world import PLAIN, World


def pitch_track(wave):
    """Frequency of the strongest bin below 3 kHz in windows of 32 ms, every 10 ms."""
    windows = np.lib.stride_tricks.sliding_window_view(wave, 512)[::160] * np.hanning(512)
    return np.abs(np.fft.rfft(windows, 2048))[:, :380].argmax(1) * RATE_HZ / 2048


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("seed", range(4))
def test_a_pattern_moves_as_its_name_says_and_repeats_within_0_4_s(family, seed):
    wave = pattern(np.random.default_rng(seed), family, 3 * RATE_HZ)
    assert np.sqrt(np.mean(wave**2)) == pytest.approx(1, abs=1e-3)
    windows = np.lib.stride_tricks.sliding_window_view(wave, 512)[::80] * np.hanning(512)
    spectra = np.log(np.abs(np.fft.rfft(windows)) + 1)
    spectra -= spectra.mean(0)
    same = [np.sum(spectra[lag:-4] * spectra[: len(spectra) - lag - 4]) for lag in range(30, 90)]
    best = (30 + int(np.argmax(same))) * 80 / RATE_HZ
    assert 0.19 <= best <= 0.41
    assert max(same) > 0.7 * np.sum(spectra[:-90] ** 2)
    steps = np.diff(pitch_track(wave[2000:-2000]))
    up, down, still = (steps > 3).mean(), (steps < -3).mean(), (abs(steps) <= 3).mean()
    if family == "rising":
        assert up > 3 * down
    elif family == "falling":
        assert down > 3 * up
    elif family == "warble":
        assert 0.6 < up / down < 1.6
        assert still < 0.6
    else:
        assert still > 0.6


def test_level_makes_every_half_second_equal_and_keeps_the_shape():
    rng = np.random.default_rng(0)
    swell = np.repeat(10 ** rng.uniform(-2, 0.3, 17), RATE_HZ // 4)
    sound = (swell * rng.standard_normal(swell.size)).astype(np.float32)
    flat = level(sound)
    whole = flat[: flat.size // 8000 * 8000].reshape(-1, 8000)
    assert np.sqrt((whole.astype(float) ** 2).mean(1)) == pytest.approx(0.1, rel=0.01)
    assert np.corrcoef(np.sign(flat), np.sign(sound))[0, 1] > 0.999
    assert np.isfinite(level(np.zeros(20_000, np.float32))).all()


def half_second_levels(sound):
    """Level of each whole half second against ``LEVEL``, dB."""
    whole = sound[: sound.size // 8000 * 8000].reshape(-1, 8000).astype(np.float64)
    return 20 * np.log10(np.sqrt((whole**2).mean(1)) / LEVEL)


def likeness(sound, clear, span):
    """How like the almost bare pattern (``clear``) a span sounds: correlation, 0 to 1."""
    first, last = (round(s * RATE_HZ) for s in (span.start_s + 0.5, span.end_s - 0.5))
    return abs(np.corrcoef(sound[first:last], clear[first:last])[0, 1])


@pytest.mark.parametrize("index", range(3))
def test_a_louder_background_hides_the_event_and_loudness_tells_nothing(index):
    scripts = {db: draw_script(8, index, World(background_db=db)) for db in (-40, 0, 10, 20)}
    assert scripts[0] != scripts[20]
    sounds = {db: play(script) for db, script in scripts.items()}
    assert (sounds[0] == play(draw_script(8, index, PLAIN))).all()
    event = scripts[0].event
    shares = [likeness(sounds[db], sounds[-40], event) for db in (0, 10, 20)]
    assert shares[0] > 0.8 > shares[1] > shares[2] + 0.15
    assert shares[2] < 0.5
    for sound in sounds.values():
        assert np.abs(half_second_levels(sound)[:-1]).max() < 0.3


def test_a_long_sound_is_made_in_pieces_that_nobody_hears():
    script = draw_script(8, 0, World(seconds=(100, 100), event_share=(0.45, 0.45), decoys=0))
    assert script.event.end_s - script.event.start_s > PIECE_S
    sound = play(script)
    assert sound.size == 100 * RATE_HZ
    assert np.abs(half_second_levels(sound)).max() < 0.3
    for seam in (round(100 / 3) * RATE_HZ, round(200 / 3) * RATE_HZ):  # pieces end near here
        assert np.abs(sound[seam - RATE_HZ : seam + RATE_HZ]).max() < 10 * LEVEL
