"""Times: every picture carries its number, and is asked for at random times in every order and container."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from tests.media.makers import even, later_from, numbered, read_number, remux, tone, write

from avglance.media import VideoReader, check

RATES = (1.0, 2.0, 5.0, 12.5, 23.976, 30.0, 60.0, 120.0)


class Kind(NamedTuple):
    """How a container is written: file name, codec, tick of its times, and the coding around it."""

    name: str
    codec: str = "libx264"
    tick: Fraction = Fraction(1, 1000)
    b_frames: int = 2
    fragments: bool = False
    pipe: bool = False


KINDS = {
    "mp4": Kind("x.mp4", tick=Fraction(1, 90_000)),
    "mp4 in thousandths": Kind("x.mp4", b_frames=3),
    "fragmented mp4": Kind("x.mp4", fragments=True),
    "mov": Kind("x.mov", tick=Fraction(1, 90_000)),
    "matroska": Kind("x.mkv"),
    "matroska from a pipe": Kind("x.mkv", pipe=True),
    "webm vp8": Kind("x.webm", "libvpx"),
    "webm vp9": Kind("x.webm", "libvpx-vp9"),
    "transport stream": Kind("x.ts", tick=Fraction(1, 90_000)),
    "flv": Kind("x.flv"),
    "gif": Kind("x.gif", "gif", Fraction(1, 100)),
    "avi with empty packets": Kind("x.avi", "mpeg4", Fraction(1, 120)),
}


def mixed(seed: int, seconds: float, tick: Fraction, rates: tuple[float, ...] = RATES) -> list[float]:
    """Times of pictures whose rate changes every second or so, in whole ticks."""
    rng, time, found = np.random.default_rng(seed), 0.0, []
    while time < seconds:
        rate, end = rng.choice(rates), time + rng.uniform(0.3, 1.5)
        while time < end:
            found.append(float(round(time / tick) * tick))
            time += 1 / rate
    return found


def make(folder: Path, kind: Kind, times: list[float]) -> Path:
    """The file of pictures at these times, a keyframe every 20 of them."""
    plain = kind.pipe or kind.fragments
    path = folder / ("w.mp4" if plain else kind.name)
    pixels = "rgb8" if kind.codec == "gif" else "yuv420p"
    write(
        path,
        times,
        codec=kind.codec,
        tick=kind.tick,
        pixels=pixels,
        gop=20,
        b_frames=kind.b_frames,
        last_s=0.5,
    )
    if not plain:
        return path
    options = {"movflags": "frag_keyframe+empty_moov"} if kind.fragments else None
    container = "matroska" if kind.pipe else "mp4"
    return remux(path, folder / kind.name, container=container, options=options, pipe=kind.pipe)


def ask(reader: VideoReader, times: list[float]) -> list[tuple[int, float, float] | None]:
    """(number, begin, end) of the picture at each time, asked for in one call."""
    found: dict[int, tuple[int, float, float] | None] = {}
    for i, frame in reader.frames_at(times):
        found[i] = None if frame is None else (read_number(frame.image), frame.time_s, frame.end_s)
    return [found[i] for i in range(len(times))]


def holds(path: Path, times: list[float], *, seed: int = 1, count: int = 40) -> None:
    """The picture at a time is the one on the screen: in every order, one by one and at once."""
    starts = np.array(times) - times[0]
    rng = np.random.default_rng(seed)
    wanted = rng.uniform(0, starts[-1] + 0.01, count)
    near = np.abs(wanted[:, None] - starts).min(1) < 0.002  # on the edge of a picture rounding decides
    wanted = np.where(near, wanted + 0.0041, wanted)
    truth = np.searchsorted(starts, wanted, "right") - 1
    with VideoReader(path) as reader:
        assert reader.picture_span is not None
        first = reader.picture_span[0]
        for order in (np.argsort(wanted), np.argsort(-wanted), rng.permutation(count)):
            alone = [ask(reader, [first + wanted[i]])[0] for i in order]
            together = ask(reader, list(first + wanted[order]))
            for found in (alone, together):
                assert [None if f is None else f[0] for f in found] == truth[order].tolist()
        for i, f in zip(truth[order], together, strict=True):
            assert f is not None
            assert f[1] - first == pytest.approx(starts[i], abs=0.0011)
            if i + 1 < starts.size and f[2] < reader.info.duration_s:
                assert f[2] > f[1]
        spans = [(low - first, high - first) for low, high, whole in reader.timeline() if whole]
        assert [low for low, _ in spans] == pytest.approx(starts.tolist(), abs=0.0011)
        assert all(a[1] == pytest.approx(b[0], abs=1e-9) for a, b in pairwise(spans))
        assert reader.info.duration_s >= starts[-1] - 1e-6
        assert reader.reasons == []


@pytest.mark.parametrize("name", KINDS)
def test_mixed_rates(tmp_path, name):
    kind = KINDS[name]
    rates = tuple(r for r in RATES if r <= 50) if kind.codec == "gif" else RATES
    if kind.codec == "mpeg4":  # an AVI counts in its own rate and leaves packets empty between
        rates = (1.0, 2.0, 5.0, 12.0, 24.0, 30.0, 60.0, 120.0)
    for seed in (1,) if kind.codec.startswith("libvpx") else (1, 2):
        times = mixed(seed, 7.0, kind.tick, rates)
        holds(make(tmp_path, kind, times), times, seed=seed)


@pytest.mark.parametrize("rate", [1, 12, 25, 60, 120])
@pytest.mark.parametrize(
    ("suffix", "codec"), [(".avi", "libx264"), (".avi", "mpeg4"), (".flv", "flv"), (".gif", "gif")]
)
def test_constant_rates(tmp_path, suffix, codec, rate):
    if suffix == ".gif" and rate > 50:
        pytest.skip("the container or its codec has no such rate")
    tick = {".avi": Fraction(1, rate), ".gif": Fraction(1, 100)}.get(suffix, Fraction(1, 1000))
    times = [float(round(t / tick) * tick) for t in even(6, rate)]
    kind = Kind(f"x{suffix}", codec, tick)
    holds(make(tmp_path, kind, times), times, count=20)


@pytest.mark.parametrize("rate", [25, 50])
def test_a_program_stream_is_right_to_a_picture(tmp_path, rate):
    """After a seek into the middle of a packet the first pictures can be called one too early."""
    tick = Fraction(1, rate)
    path = write(tmp_path / "x.mpg", even(6, rate), codec="mpeg2video", tick=tick, gop=20)
    asked = np.random.default_rng(1).uniform(0, 6, 40)
    with VideoReader(path) as reader:
        for t in [*asked, *np.sort(asked)]:
            assert abs(ask(reader, [t])[0][0] - int(t * rate)) <= 1


@pytest.mark.parametrize("name", ["matroska", "transport stream", "mp4", "webm vp8", "flv"])
def test_times_that_do_not_start_at_zero(tmp_path, name):
    kind = KINDS[name]
    times = mixed(3, 6.0, kind.tick)
    holds(make(tmp_path, kind, [7.5 + t for t in times]), times, count=20)


def test_an_index_in_front_of_uneven_times_names_the_last_picture(tmp_path):
    """MP4 declares the sum of decode times: with B pictures it can end before the last picture begins."""
    times = [*even(6), 6.0, 6.2, 6.4, 6.6, 6.8]
    path = write(tmp_path / "x.mp4", times)
    with VideoReader(path) as reader:
        assert reader.info.duration_s == pytest.approx(6.84, abs=0.01)
        assert ask(reader, [6.82])[0][0] == len(times) - 1


@pytest.mark.parametrize("rate", [1000, 90_000])
def test_an_avi_with_an_absurd_rate(tmp_path, rate):
    """The header's rate is the clock, whatever it says: picture n stands at n / rate."""
    path = write(tmp_path / "x.avi", even(4), codec="mpeg4", tick=Fraction(1, 25))
    raw = bytearray(path.read_bytes())
    at = raw.index(b"strh") + 28
    raw[at : at + 8] = (1).to_bytes(4, "little") + rate.to_bytes(4, "little")
    path.write_bytes(raw)
    asked = [int(n) for n in np.random.default_rng(0).permutation(100)[:30]]
    with VideoReader(path) as reader:
        assert reader.info.duration_s == pytest.approx(100 / rate, rel=0.02)
        for n in asked:
            assert ask(reader, [(n + 0.5) / rate])[0][0] == n
        assert [f[0] for f in ask(reader, [(n + 0.5) / rate for n in asked])] == asked


@pytest.mark.parametrize("suffix", [".mkv", ".ts", ".flv", ".mp4"])
def test_times_that_jump_forward_by_an_hour(tmp_path, suffix):
    """Both sides of the jump are where the file says; between them the last picture is held."""
    source = write(tmp_path / "w.mp4", even(6), sound=tone(6))
    path = remux(source, tmp_path / f"x{suffix}", edit=later_from(3.0, 3600.0))
    with VideoReader(path) as reader:
        first = reader.picture_span[0]
        times = [3605.5, 0.02, 3603.02, 2.5, 1000.0, 3604.9, 1.02]
        found = [ask(reader, [first + t])[0][0] for t in times]
        assert found == [137, 0, 75, 62, 74, 122, 25]
        assert [f[0] for f in ask(reader, [first + t for t in times])] == found
        assert reader.info.duration_s == pytest.approx(3606, abs=0.2)
        assert list(reader.sound(100.0, 200.0)) == []
        assert sum(p.samples.size for p in reader.sound(3603.5, 3605.5)) == pytest.approx(32_000, abs=1100)
    report = check(path)
    assert (report.condition.verdict, report.frames_decoded) == ("ok", 150)
    assert {reason.kind for reason in report.condition.reasons} <= {"gap"}


def test_times_that_start_again(tmp_path):
    """Three recordings put one behind the other: the clock goes on, pictures and sound stay together."""
    parts = [(4, 0, 440.0), (4, 100, 900.0), (6, 200, 1500.0)]
    raw = b""
    for seconds, number, hz in parts:
        path = write(
            tmp_path / "part.ts",
            even(seconds),
            draw=lambda n, number=number: numbered(n + number),
            sound=tone(seconds, hz),
            sound_codec="mp2",
        )
        raw += path.read_bytes()
    path = tmp_path / "all.ts"
    path.write_bytes(raw)
    report = check(path)
    assert report.condition.verdict == "degraded"
    assert {reason.kind for reason in report.condition.reasons} == {"clock_jump"}
    assert report.condition.coverage == pytest.approx(1.0, abs=0.01)
    assert report.frames_decoded == 350
    assert report.sound_s == pytest.approx(14.1, abs=0.1)
    assert report.info.duration_s == pytest.approx(14.2, abs=0.1)
    with VideoReader(path) as reader:
        spans = [(low, high) for low, high, _ in reader.timeline()]
        numbers = [*range(100), *range(100, 200), *range(200, 350)]
        begins = [spans[n][0] for n in (0, 100, 200)]
        assert begins == pytest.approx([0.03, 4.11, 8.19], abs=0.02)
        order = np.random.default_rng(4).permutation(350)[:40]
        for n in order:
            assert ask(reader, [spans[n][0] + 0.01])[0][0] == numbers[n]
        together = ask(reader, [spans[n][0] + 0.01 for n in order])
        assert [f[0] for f in together] == [numbers[n] for n in order]
        for t, hz in ((9.5, 1500), (1.0, 440), (5.0, 900), (12.9, 1500), (2.5, 440)):
            (piece,) = reader.sound(t, t + 1)
            power = np.abs(np.fft.rfft(piece.samples * np.hanning(piece.samples.size)))
            assert np.argmax(power) * 16_000 / piece.samples.size == pytest.approx(hz, abs=2)


def test_times_that_go_back_where_parts_cannot_be_told_apart(tmp_path):
    """No picture is shown at two times, none out of order, and what is left out is said."""
    path = write(tmp_path / "x.flv", even(6), b_frames=0)
    raw, at = bytearray(path.read_bytes()), 13
    while at < len(raw):  # a tag: kind, 3 bytes of length, 3 + 1 bytes of time
        size = int.from_bytes(raw[at + 1 : at + 4], "big")
        time = int.from_bytes(raw[at + 4 : at + 7], "big")
        if raw[at] == 9 and time >= 3000:
            raw[at + 4 : at + 7] = (time - 2000).to_bytes(3, "big")
        at += size + 15
    path.write_bytes(raw)
    report = check(path)
    assert report.condition.verdict == "degraded"
    reason = next(r for r in report.condition.reasons if r.kind == "clock_jump")
    assert "1.00 to 2.96 s" in reason.text
    with VideoReader(path) as reader:
        spans = list(reader.timeline())
        assert all(a[1] == pytest.approx(b[0]) for a, b in pairwise(spans))
        assert len(spans) == 100  # 75 before, and those of the second stretch that come after them
        assert [f[0] for f in ask(reader, [0.5, 3.5])] == [12, 137]
