"""Timestamps of sound that jitter about the count of samples lose nothing; lasting ones are followed."""

from __future__ import annotations

from itertools import cycle, pairwise
from types import SimpleNamespace

import numpy as np
import pytest
from tests.media.makers import remux
from tests.media.test_sounds import FINE_HZ, Sound, lag_s, write_hum

from avglance.media import VideoReader
from avglance.media.sound import _Stretches

JITTER_MS = (
    0,
    0,
    -10.5,
    -20.6,
    -9.8,
    0.1,
    0.1,
    0,
    -20.5,
    -9.8,
    0.1,
    0,
    -20.3,
    -10.5,
    -0.5,
    -20.3,
    -10.7,
    0.3,
)
STEREO = Sound("aac", 44_100, "stereo")


def shaken(path, target, offsets_ms=JITTER_MS):
    """The same packets, their times moved by offsets that come again and again."""
    moves = cycle(offsets_ms)

    def edit(packet):
        packet.pts = packet.dts = packet.pts + round(next(moves) / 1000 / packet.time_base)

    return remux(path, target, edit=edit)


def whole(path):
    with VideoReader(path) as reader:
        return list(reader.sound(-np.inf, np.inf, rate_hz=FINE_HZ))


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_jitter_takes_no_sample_away(tmp_path, suffix):
    write_hum(tmp_path / f"plain{suffix}", STEREO, alone=True)
    path = shaken(tmp_path / f"plain{suffix}", tmp_path / f"x{suffix}")
    pieces, plain = whole(path), whole(tmp_path / f"plain{suffix}")
    sizes = [sum(piece.samples.size for piece in some) for some in (pieces, plain)]
    assert abs(sizes[0] - sizes[1]) < 0.001 * sizes[1]
    for a, b in pairwise(pieces):
        assert a.start_s + a.samples.size / FINE_HZ == pytest.approx(b.start_s, abs=1e-6)
    assert max(abs(lag_s(p.samples, p.start_s)) for p in pieces if p.samples.size > FINE_HZ // 2) < 0.002
    with VideoReader(
        path
    ) as reader:  # a stretch that begins amid the jitter is as far out as its first frame
        for start in (1.3, 2.7, 3.1, 0.6):
            some = list(reader.sound(start, start + 0.975, rate_hz=FINE_HZ))
            assert sum(p.samples.size for p in some) / FINE_HZ == pytest.approx(0.975, abs=0.022)
            assert all(abs(lag_s(p.samples, p.start_s)) < 0.022 for p in some if p.samples.size > 4096)


def test_a_lost_frame_is_a_gap_from_its_first_moment_on(tmp_path):
    """23 ms are no more than jitter, but they last: what follows is in its place at once."""
    write_hum(tmp_path / "plain.mkv", STEREO, alone=True)
    count = iter(range(400))
    path = remux(tmp_path / "plain.mkv", tmp_path / "x.mkv", edit=lambda _: next(count) != 100)
    pieces = whole(path)
    gaps = [b.start_s - a.start_s - a.samples.size / FINE_HZ for a, b in pairwise(pieces)]
    assert max(gaps) == pytest.approx(1024 / 44_100, abs=0.002)
    after = pieces[int(np.argmax(gaps)) + 1]
    assert after.start_s == pytest.approx(101 * 1024 / 44_100, abs=0.03)
    late = round(0.03 * FINE_HZ)  # the codec needs a frame to settle
    found = lag_s(
        after.samples[late : late + FINE_HZ // 4], after.start_s + late / FINE_HZ, most_s=0.05, least=0.5
    )
    assert abs(found) < 0.002


def frame(samples, rate=48_000):
    kinds = {name: SimpleNamespace(name=name) for name in ("mono", "flt")}
    return SimpleNamespace(samples=samples, sample_rate=rate, layout=kinds["mono"], format=kinds["flt"])


def begins(offsets_ms, *, samples=960):
    """Numbers of the frames with which a stretch begins, where frames of 20 ms are so far out."""
    frames = [(n * samples / 48_000 + off / 1000, frame(samples)) for n, off in enumerate(offsets_ms)]
    found = list(_Stretches(iter(frames)))
    assert [time for time, _, _ in found] == [time for time, _ in frames], "each frame once, in order"
    return [n for n, (_, _, first) in enumerate(found) if first]


@pytest.mark.parametrize(
    ("offsets_ms", "wanted"),
    [
        ([0] * 50, [0]),
        ([0, 0, -20, -20, -20, -20, 0, 0], [0]),
        ([0, 0, 15, 15, 0, 0, -15, 2, -2, 0], [0]),
        ([0] * 10 + [20] * 40, [0, 10]),
        ([0] * 10 + [-20] * 40, [0, 10]),
        ([0] * 10 + [20] * 5, [0, 10]),  # at the end: sound that came late is a gap,
        ([0] * 10 + [-20] * 5, [0]),  # sound that came early goes on
        ([0] * 10 + [60] * 5, [0, 10]),
        ([0] * 10 + [20] * 5 + [60] * 5, [0, 10, 15]),
        ([0] * 10 + [-20] * 5 + [60] * 5, [0, 15]),
        ([0] * 10 + [-5000] * 40, [0, 10]),  # time starts again
        ([0.4 * n for n in range(40)], [0, 8, 16, 24, 32]),  # a clock that drifts by a fiftieth
        ([], []),
        ([7], [0]),
    ],
)
def test_where_a_stretch_begins(offsets_ms, wanted):
    assert begins(offsets_ms) == wanted


def test_another_format_begins_a_stretch_at_once():
    frames = [(0.0, frame(960)), (0.02, frame(960)), (0.045, frame(960)), (0.06, frame(960, 44_100))]
    assert [first for _, _, first in _Stretches(iter(frames))] == [True, False, True, True]


def test_tiny_frames_are_not_held_for_long():
    """A file made in spite: frames of one sample whose times never agree."""
    count, seen = 3000, 0
    frames = ((n / 48_000 - 0.01 * (n % 7), frame(1)) for n in range(count))
    for _ in _Stretches(frames):
        seen += 1
    assert seen == count
