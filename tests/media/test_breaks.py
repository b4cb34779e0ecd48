"""Files put one behind the other: streams that come and go, the limit on time, and where sound is sought."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from tests.media.makers import RATE_HZ, even, numbered, read_number, tone, write

from avglance.errors import MediaError
from avglance.media import Limits, VideoReader, breaks, check
from avglance.media.breaks import find_breaks
from avglance.media.spent import Spent

RATE = 25


def joined(path: Path, parts: list[tuple[float, float, float]], *, hz: tuple[float, ...] = ()) -> Path:
    """Parts of (start, seconds, seconds of sound) byte by byte; pictures are numbered through all of them."""
    raw, number = b"", 0
    is_ts = path.suffix == ".ts"
    for i, (start, seconds, heard) in enumerate(parts):
        part = write(
            path.with_name(f"part{path.suffix}"),
            [start + t for t in even(seconds)],
            draw=lambda n, number=number: numbered((n + number) % 4096),
            sound=tone(heard, hz[i] if hz else 440.0) if heard else None,
            sound_start_s=start,
            sound_codec="mp2",
            codec="libx264" if is_ts else "mpeg2video",
            tick=Fraction(1, 90_000) if is_ts else Fraction(1, RATE),
        )
        raw, number = raw + part.read_bytes(), number + round(seconds * RATE)
    path.write_bytes(raw)
    return path


@pytest.mark.parametrize("probed", [False, True])
@pytest.mark.parametrize("suffix", [".ts", ".mpg"])
def test_sound_that_comes_and_goes_in_mid_file(tmp_path, monkeypatch, suffix, probed):
    """What was not known when the file was opened is left out; all pictures are read, the clock rises."""
    if probed:
        monkeypatch.setattr(breaks, "_SMALL_BYTES", 0)
    is_ts = suffix == ".ts"
    path = joined(tmp_path / f"x{suffix}", [(0, 70, 0), (70.2, 4, 4), (74.4, 60, 0)])
    report = check(path)
    assert report.condition.verdict == "ok"
    # some pictures of a program stream are stamped alike: of these one is shown
    assert report.frames_decoded == pytest.approx(134 * RATE, abs=0 if is_ts else 20)
    assert report.info.duration_s == pytest.approx(134.4, abs=1.0)
    assert report.condition.reasons == ()
    with VideoReader(path) as reader:
        for t in (100.5, 2.5, 72.5):
            ((_, frame),) = reader.frames_at([t])
            pause = 0.2 * (t > 70) + 0.2 * (t > 74)
            assert read_number(frame.image) == pytest.approx((t - pause) * RATE, abs=3 if is_ts else 20)


@pytest.mark.parametrize("error", [None, av.error.InvalidDataError(1, "x"), IndexError()])
def test_a_container_is_left_at_its_start(tmp_path, error):
    """Whatever happens on the way, the next packet is the first of the file."""
    path = joined(tmp_path / "x.ts", [(0, 4, 4), (0, 4, 4)])
    with av.open(str(path)) as box:
        first = next(box.demux(box.streams.video[0])).pos

    class Box:
        """A container that fails, once, after 40 packets."""

        def __init__(self, box):
            self._box, self._error = box, error

        def __getattr__(self, name):
            return getattr(self._box, name)

        def demux(self, *streams):
            for n, packet in enumerate(self._box.demux(*streams)):
                if n == 40 and self._error is not None:
                    failure, self._error = self._error, None
                    raise failure
                yield packet

    with av.open(str(path)) as box:
        found = find_breaks(Box(box), lambda: None)
        assert (found is None) == isinstance(error, av.error.FFmpegError)
        assert next(box.demux(box.streams.video[0])).pos == first


@pytest.mark.parametrize("probed", [False, True])
def test_looking_for_breaks_counts_as_time(tmp_path, monkeypatch, probed):
    if probed:
        monkeypatch.setattr(breaks, "_SMALL_BYTES", 0)
    path = joined(tmp_path / "x.ts", [(0, 4, 4), (0, 4, 4)])
    spent = Spent("x", 10.0)
    with av.open(str(path)) as box, spent.working():
        spent.seconds = 11.0
        with pytest.raises(MediaError) as caught:
            spent.look_for_breaks(box)
        assert caught.value.kind == "timeout"
    with pytest.raises(MediaError) as caught:
        VideoReader(path, limits=Limits(max_decode_s=1e-9))
    assert caught.value.kind == "timeout"


def laid_out(reader: VideoReader, start: float, end: float) -> tuple[np.ndarray, np.ndarray]:
    """The samples of a stretch each in its place, and where there are any."""
    samples = np.zeros(round((end - start) * RATE_HZ), np.float32)
    there = np.zeros(samples.size, bool)
    for piece in reader.sound(start, end):
        at = round((piece.start_s - start) * RATE_HZ)
        size = min(piece.samples.size, samples.size - at)
        samples[at : at + size], there[at : at + size] = piece.samples[:size], True
    return samples, there


@pytest.mark.parametrize("suffix", [".ts", ".mpg"])
def test_sound_after_a_break_is_read_from_its_part(tmp_path, suffix):
    """The same samples as when all is read, and of what lies in front one part at most."""
    path = joined(tmp_path / f"x{suffix}", [(0, 8, 8)] * 4, hz=(440.0, 900.0, 1500.0, 700.0))
    with VideoReader(path) as reader:
        whole, there = laid_out(reader, 0.0, 34.0)
        assert there.sum() == pytest.approx(32 * RATE_HZ, abs=8000)
        seen: list[int] = []
        for start in (30.0, 17.0, 8.6, 0.2, 23.9, 25.5, 12.0):
            before, at = reader._sounds.packets, round(start * RATE_HZ)
            sound, heard = laid_out(reader, start, start + 0.5)
            seen.append(reader._sounds.packets - before)
            assert np.abs(heard.astype(int) - there[at : at + heard.size]).sum() <= 4  # at the edges of gaps
            both = heard & there[at : at + heard.size]
            assert np.abs(sound - whole[at : at + heard.size])[both].max() < 0.15  # within a sample
            assert np.sqrt(np.mean(np.square(sound[both]))) == pytest.approx(0.3 / np.sqrt(2), rel=0.1)
        assert max(seen) < 1.2 * 8 * RATE_HZ / 576  # packets of a part
