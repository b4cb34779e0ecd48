"""Where the sound is: a signal that is known at every moment is found again, in every container and codec."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
import pytest
from numpy.typing import NDArray
from tests.media.makers import even, numbered, remux, spoil, tone, write

from avglance.media import VideoReader, check

FINE_HZ = 24_000
_RNG = np.random.default_rng(7)
_HZ, _PHASE = _RNG.uniform(200, 3000, 30), _RNG.uniform(0, 2 * np.pi, 30)


def hum(times: NDArray[np.float64]) -> NDArray[np.float64]:
    """Thirty sines that never repeat: the value at any second is known, and no stretch is like another."""
    total = sum(np.sin(2 * np.pi * hz * times + phase) for hz, phase in zip(_HZ, _PHASE, strict=True))
    return np.clip(0.06 * np.asarray(total), -1, 1)


def lag_s(samples: NDArray[np.float32], start_s: float, most_s: float = 0.2, least: float = 0.7) -> float:
    """By how many seconds a stretch of ``hum`` that claims to begin at ``start_s`` is out, by correlation."""
    samples, most = samples[: FINE_HZ // 2], round(most_s * FINE_HZ)
    wave = hum(np.arange(-most, samples.size + most) / FINE_HZ + start_s)
    size = 1 << int(np.ceil(np.log2(wave.size)))
    match = np.fft.irfft(np.fft.rfft(wave, size) * np.conj(np.fft.rfft(samples, size)), size)[: 2 * most + 1]
    best = int(np.argmax(match))
    quality = match[best] / np.linalg.norm(samples) / np.linalg.norm(wave[best : best + samples.size])
    assert quality > least, "that is another sound"
    return (best - most) / FINE_HZ


class Sound(NamedTuple):
    """A codec, its rate and its channels."""

    codec: str
    rate_hz: int
    layout: str


def write_hum(
    path: Path, sound: Sound, *, seconds: float = 5.0, start_s: float = 0.0, alone: bool = False
) -> int:
    """A file with ``hum`` from ``start_s`` on; returns the samples that the encoder puts in front."""
    suffix = path.suffix
    codec = {".webm": "libvpx", ".flv": "flv", ".ts": "mpeg2video", ".mpg": "mpeg2video"}.get(suffix, "mpeg4")
    tick = Fraction(1, 1000) if suffix in (".mkv", ".webm", ".flv") else Fraction(1, 25)
    with av.open(str(path), "w") as box:
        video = None if alone else box.add_stream(codec, rate=25)
        if video is not None:
            video.width, video.height, video.pix_fmt = 96, 64, "yuv420p"
            video.time_base = video.codec_context.time_base = tick
        audio = box.add_stream(sound.codec, rate=sound.rate_hz, layout=sound.layout)
        wave = hum(np.arange(round(seconds * sound.rate_hz)) / sound.rate_hz).astype(np.float32)
        wave = np.repeat(wave[None], audio.codec_context.layout.nb_channels, 0)
        for at in range(0, wave.shape[1], 4096):
            piece = np.ascontiguousarray(wave[:, at : at + 4096])
            frame = av.AudioFrame.from_ndarray(piece, format="fltp", layout=sound.layout)
            frame.sample_rate, frame.time_base = sound.rate_hz, Fraction(1, sound.rate_hz)
            frame.pts = round(start_s * sound.rate_hz) + at
            box.mux(audio.encode(frame))
        box.mux(audio.encode(None))
        for n in range(round((start_s + seconds) * 25) if video is not None else 0):
            image = av.VideoFrame.from_ndarray(numbered(n), format="rgb24")
            image.pts, image.time_base = round(Fraction(n, 25) / tick), tick
            box.mux(video.encode(image))
        box.mux(video.encode(None) if video is not None else [])
        return int(getattr(audio.codec_context, "initial_padding", 0) or 0)


def errors(path: Path, *, late_s: float = 0.0, seconds: float = 5.0) -> list[float]:
    """How far the sound is out, from the start and after seeks to random stretches, in both directions."""
    found = []
    with VideoReader(path) as reader:
        first = reader.picture_span[0] if reader.picture_span is not None else 0.0
        pieces = list(reader.sound(-np.inf, np.inf, rate_hz=FINE_HZ))
        assert sum(p.samples.size for p in pieces) / FINE_HZ == pytest.approx(seconds, abs=0.4)
        stretches = [p for p in pieces if p.samples.size > FINE_HZ // 2]
        for start in np.random.default_rng(3).uniform(0.1, seconds - 1.2, 7):
            begun = max(start + late_s, 0.0) + first
            (piece,) = reader.sound(begun, begun + 0.975, rate_hz=FINE_HZ)
            assert piece.start_s == pytest.approx(begun, abs=1.1 / FINE_HZ)
            assert piece.samples.size / FINE_HZ == pytest.approx(0.975, abs=1e-3)
            stretches.append(piece)
        for piece in stretches:
            found.append(lag_s(piece.samples, piece.start_s - first - late_s))
    return found


MONO, STEREO, AROUND, FINE = (8_000, "mono"), (44_100, "stereo"), (48_000, "5.1"), (96_000, "stereo")
CASES = [
    *[(".mp4", Sound(c, *f)) for c in ("aac", "flac") for f in (MONO, STEREO, AROUND, FINE)],
    *[(".mp4", Sound(c, *f)) for c, f in (("ac3", STEREO), ("ac3", AROUND), ("libmp3lame", STEREO))],
    *[(".mp4", Sound("libopus", *f)) for f in (MONO, AROUND)],
    *[(".mov", Sound("pcm_s16le", *f)) for f in (MONO, STEREO, AROUND, FINE)],
    *[(".mkv", Sound(c, *f)) for c in ("aac", "pcm_s16le") for f in (MONO, STEREO, AROUND, FINE)],
    *[(".mkv", Sound(c, *f)) for c, f in (("libopus", MONO), ("libmp3lame", STEREO), ("ac3", AROUND))],
    *[(".webm", Sound("libopus", *f)) for f in (MONO, AROUND)],
    *[(".ts", Sound("aac", *f)) for f in (STEREO, AROUND, FINE)],
    *[(".ts", Sound(c, *STEREO)) for c in ("mp2", "ac3", "libmp3lame")],
    *[(".flv", Sound("aac", *f)) for f in (MONO, STEREO, AROUND, FINE)],
    (".flv", Sound("libmp3lame", *STEREO)),
    *[(".avi", Sound("pcm_s16le", *f)) for f in (MONO, STEREO, AROUND, FINE)],
    (".mpg", Sound("mp2", *STEREO)),
    *[(".wav", Sound("pcm_s16le", *f)) for f in (MONO, AROUND, FINE)],
    *[(".m4a", Sound("aac", *f)) for f in (MONO, AROUND)],
    (".mp3", Sound("libmp3lame", *STEREO)),
    (".opus", Sound("libopus", 48_000, "stereo")),
    (".flac", Sound("flac", *STEREO)),
]


@pytest.mark.parametrize(("suffix", "sound"), CASES)
def test_sound_is_where_it_was_put(tmp_path, suffix, sound):
    path = tmp_path / f"x{suffix}"
    write_hum(path, sound, alone=suffix in (".wav", ".m4a", ".mp3", ".opus", ".flac"))
    assert np.abs(errors(path)).max() < 0.001


@pytest.mark.parametrize(
    ("suffix", "sound"),
    [
        (".avi", Sound("libmp3lame", *STEREO)),
        (".avi", Sound("aac", *AROUND)),
        (".aac", Sound("aac", *STEREO)),
        (".ac3", Sound("ac3", *STEREO)),
    ],
)
def test_a_container_that_cannot_say_how_late_the_encoder_was(tmp_path, suffix, sound):
    """What the encoder put in front is played there too: the sound is late by exactly that, everywhere."""
    path = tmp_path / f"x{suffix}"
    padding = write_hum(path, sound, alone=suffix != ".avi")
    delay = {"libmp3lame": 1105, "aac": 1024, "ac3": 256}[sound.codec]
    assert padding in (0, delay)
    wrong = np.array(errors(path)) + delay / sound.rate_hz
    assert np.abs(wrong).max() < 0.002


def test_fragmented_mp4_keeps_sound_and_picture_together(tmp_path):
    write_hum(tmp_path / "w.mp4", Sound("aac", *STEREO))
    options = {"movflags": "frag_keyframe+delay_moov"}
    assert np.abs(errors(remux(tmp_path / "w.mp4", tmp_path / "f.mp4", options=options))).max() < 0.001


def test_matroska_from_a_pipe(tmp_path):
    write_hum(tmp_path / "w.mp4", Sound("aac", *STEREO))
    path = remux(tmp_path / "w.mp4", tmp_path / "p.mkv", container="matroska", pipe=True)
    assert np.abs(errors(path)).max() < 0.001


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".webm", ".ts", ".flv", ".mov"])
def test_sound_that_starts_a_second_and_a_half_late(tmp_path, suffix):
    codec = {".webm": "libopus", ".mov": "pcm_s16le", ".ts": "mp2"}.get(suffix, "aac")
    sound = Sound(codec, *((48_000, "mono") if codec == "libopus" else STEREO))
    path = tmp_path / f"late{suffix}"
    write_hum(path, sound, start_s=1.5)
    assert np.abs(errors(path, late_s=1.5)).max() < 0.001
    with VideoReader(path) as reader:
        first = reader.picture_span[0]
        assert reader.sound_span[0] - first == pytest.approx(1.5, abs=0.06)  # the encoder's lead may be there


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".webm", ".ts", ".flv", ".mov", ".avi"])
@pytest.mark.parametrize("late_s", [0.0, 1.5])
def test_beep_and_flash_are_in_one_bin(tmp_path, suffix, late_s):
    """A flash at 3.2 s and a beep at the same moment, where the track of the beep may begin late."""
    if suffix == ".avi" and late_s:
        pytest.skip("AVI has no place for a late start")
    beep = np.zeros(round((6 - late_s) * 16_000), np.float32)
    at = round((3.2 - late_s) * 16_000)
    beep[at : at + 640] = tone(0.04, 1000, 0.9)
    flash = [np.full((64, 96, 3), 255 if n == 80 else 10, np.uint8) for n in range(150)]
    codec = {".webm": "libvpx", ".avi": "mpeg4"}.get(suffix, "libx264")
    sound = {".webm": "libopus", ".avi": "pcm_s16le", ".mov": "pcm_s16le", ".ts": "mp2"}.get(suffix, "aac")
    path = write(
        tmp_path / f"x{suffix}",
        even(6),
        draw=flash.__getitem__,
        sound=beep,
        sound_start_s=late_s,
        codec=codec,
        sound_codec=sound,
        tick=Fraction(1, 25) if suffix == ".avi" else Fraction(1, 1000),
    )
    with VideoReader(path) as reader:
        frames = [frame for _, frame in reader.frames_at([n / 100 for n in range(600)])]
        (bright,) = {f.time_s for f in frames if f is not None and f.image.mean() > 128}
        wave = np.zeros(6 * FINE_HZ + FINE_HZ)
        for piece in reader.sound(0, 6, rate_hz=FINE_HZ):
            start = round(piece.start_s * FINE_HZ)
            wave[start : start + piece.samples.size] = piece.samples
        loud = np.flatnonzero(np.abs(wave) > 0.4)[0] / FINE_HZ
    assert loud == pytest.approx(bright, abs=0.005)


@pytest.mark.parametrize("ppm", [1000, -1000])
@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
def test_a_clock_that_disagrees_with_the_count_of_samples(tmp_path, suffix, ppm):
    """The timestamps are right: half a minute in, a thousandth is 30 ms, after an hour 3.6 s."""
    codec = "pcm_s16le" if suffix == ".mkv" else "flac"
    write_hum(tmp_path / "w.mkv", Sound(codec, 16_000, "mono"), seconds=30, alone=True)

    def stretch(packet: av.Packet) -> None:
        packet.pts = packet.dts = round(packet.dts * (1 + ppm * 1e-6))

    path = remux(tmp_path / "w.mkv", tmp_path / f"x{suffix}", edit=stretch)
    with VideoReader(path) as reader:
        sequence = [p for p in reader.sound(0, 30, rate_hz=FINE_HZ) if p.samples.size > FINE_HZ // 2]
        sought = [p for t in (25.0, 3.0, 17.0) for p in reader.sound(t, t + 1, rate_hz=FINE_HZ)]
    assert len(sequence) > 25
    for piece in [*sequence, *sought]:
        for at in range(0, piece.samples.size - FINE_HZ // 5, FINE_HZ // 4):
            samples = piece.samples[at : at + FINE_HZ // 5]
            start = piece.start_s + at / FINE_HZ
            middle = start + 0.1
            truth = middle / (1 + ppm * 1e-6)  # the second of the signal that sounds then
            assert abs(lag_s(samples, start + truth - middle, most_s=0.05, least=0.4)) < 0.005
    gaps = [b.start_s - a.start_s - a.samples.size / FINE_HZ for a, b in pairwise(sequence)]
    assert min(gaps) > -1e-6  # no moment is given twice


@pytest.mark.parametrize(("suffix", "codec"), [(".mp4", "aac"), (".mkv", "aac"), (".ts", "mp2")])
def test_a_hole_in_the_sound_moves_nothing_after_it(tmp_path, suffix, codec):
    path = tmp_path / f"x{suffix}"
    write_hum(path, Sound(codec, *STEREO))
    spoil(path, 2.0, 3.0, "audio")
    with VideoReader(path) as reader:
        first = reader.picture_span[0]
        for start in (3.9, 0.5, 3.5):
            (piece,) = reader.sound(start + first, start + first + 1, rate_hz=FINE_HZ)
            assert abs(lag_s(piece.samples, start)) < 0.001
    report = check(path)
    assert report.condition.verdict == "degraded"
    assert report.sound_s < 4.5
    if suffix == ".ts":  # its lost sound leaves no mark but the gap
        return
    spans = [(r.start_s, r.end_s) for r in report.condition.reasons if r.kind == "damaged_sound"]
    assert min(low for low, _ in spans) - first == pytest.approx(2.0, abs=0.15)
    end = 3.4 if suffix == ".mkv" else 3.0  # Matroska finds its way again at the next cluster
    assert max(high for _, high in spans) - first == pytest.approx(end, abs=0.15)
