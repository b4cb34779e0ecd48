"""Kinds of input: a path, bytes, a file object, pictures with their times; sound in a file of its own."""

from __future__ import annotations

import io
import os
import tempfile
import threading
from pathlib import Path

import numpy as np
import pytest
from tests.media import makers

from avglance.errors import ArgumentError, MediaError, ShapeError
from avglance.media import ArrayReader, Decoders, Limits, VideoArray, VideoReader, check, local, source_name


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    return makers.write(folder / "clip.mp4", makers.even(2), sound=makers.tone(2), gop=25)


@pytest.fixture
def scratch(tmp_path, monkeypatch) -> Path:
    """Where temporary copies are made."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


class Slow(io.RawIOBase):
    """A stream that cannot seek and gives a few bytes at a time."""

    def __init__(self, raw: bytes) -> None:
        self._rest = raw

    def readable(self) -> bool:
        return True

    def readinto(self, target) -> int:
        got, self._rest = self._rest[:1000], self._rest[1000:]
        target[: len(got)] = got
        return len(got)


def test_bytes_and_streams_are_copied_and_the_copy_is_removed(clip, scratch):
    raw = clip.read_bytes()
    for source, name in [
        (raw, "<bytes>"),
        (bytearray(raw), "<bytes>"),
        (memoryview(raw), "<bytes>"),
        (io.BytesIO(raw), "<stream>"),
        (Slow(raw), "<stream>"),
    ]:
        assert source_name(source) == name
        with local(source) as path:
            assert path.read_bytes() == raw
            assert path.is_relative_to(scratch)
        assert list(scratch.iterdir()) == []


def test_a_whole_file_on_disk_is_not_copied(clip, scratch):
    with clip.open("rb") as file, local(file) as path:
        assert path.samefile(clip)
        assert source_name(file) == str(clip)
    with clip.open("rb") as file:
        file.seek(100)  # read from where it stands
        with local(file) as path:
            assert path.read_bytes() == clip.read_bytes()[100:]
    assert list(scratch.iterdir()) == []


def test_a_file_that_was_replaced_under_its_name_is_copied(clip, scratch, tmp_path):
    path = tmp_path / "moved.mp4"
    path.write_bytes(clip.read_bytes())
    with path.open("rb") as file:
        path.unlink()
        path.write_bytes(b"something else")
        with local(file) as found:
            assert found.read_bytes() == clip.read_bytes()


def test_the_end_of_a_pipe_is_a_stream(clip, scratch):
    reading, writing = os.pipe()

    def fill() -> None:
        with os.fdopen(writing, "wb") as pipe:
            pipe.write(clip.read_bytes())

    thread = threading.Thread(target=fill)
    thread.start()
    with os.fdopen(reading, "rb") as pipe, local(pipe) as path:
        assert path.read_bytes() == clip.read_bytes()
    thread.join()


def test_an_endless_stream_stops_at_its_limit(scratch):
    few = Limits(max_copy_bytes=10_000_000)
    with (
        open("/dev/zero", "rb") as endless,
        pytest.raises(MediaError, match="it is longer than") as caught,
        local(endless, few),
    ):
        pass
    assert caught.value.kind == "limit"
    assert list(scratch.iterdir()) == []


@pytest.mark.parametrize("source", [3, None, ["a.mp4"], io.StringIO("text")])
def test_what_is_no_video_is_a_wrong_argument(source):
    with pytest.raises(ArgumentError), local(source):
        pass


# ---------------------------------------------------------------------- arrays


def array(seconds: float = 2.0, rate: float = 10.0, **changes) -> VideoArray:
    times = makers.even(seconds, rate)
    pictures = np.stack([makers.numbered(n) for n in range(len(times))])
    return VideoArray(**{"pictures": pictures, "times": times, "sound": makers.tone(seconds)} | changes)


def test_an_array_reads_like_a_file():
    reader = ArrayReader(array())
    assert (reader.info.width, reader.info.height, reader.info.frame_rate) == (96, 64, 10.0)
    assert reader.info.duration_s == pytest.approx(2.0)
    found = dict(reader.frames_at([1.95, 0.0, 0.55, 2.5, -1.0, 0.5]))
    numbers = {i: None if f is None else makers.read_number(f.image) for i, f in found.items()}
    assert numbers == {0: 19, 1: 0, 2: 5, 3: None, 4: None, 5: 5}
    assert found[2] is found[5]
    assert (found[2].time_s, found[2].end_s) == (0.5, 0.6)
    assert reader.frames_delivered == 3
    assert [s for s, _, _ in reader.timeline()] == makers.even(2, 10)
    assert len(list(reader.digests())) == 20
    assert sum(is_picture for _, _, is_picture, _ in reader.packets()) == 20
    assert reader.keyframes_near([0.52])[0] == pytest.approx(0.5)
    sound = np.concatenate([p.samples for p in reader.sound(0.5, 1.0)])
    assert np.array_equal(sound, makers.tone(2)[8_000:16_000])
    report = check("x", opener=lambda path, **reading: ArrayReader(array()))
    assert (report.condition.verdict, report.condition.coverage, report.frames_decoded) == ("ok", 1.0, 20)


def test_the_clock_of_an_array_begins_at_its_first_sound_or_picture():
    late = ArrayReader(array(times=[t + 7.0 for t in makers.even(2, 10)], sound_start_s=6.5))
    assert late.picture_span == pytest.approx((0.5, 2.5))
    assert late.sound_span == pytest.approx((0.0, 2.0))
    assert next(late.sound(0, 1)).start_s == 0.0
    assert makers.read_number(next(late.frames_at([1.0]))[1].image) == 5


def test_sound_of_an_array_is_resampled_and_mixed_down():
    seconds, rate = 1.0, 48_000
    wave = np.sin(2 * np.pi * 440 * np.arange(round(seconds * rate)) / rate)
    stereo = np.stack([wave, 0 * wave], axis=1)
    reader = ArrayReader(VideoArray(None, sound=stereo, sound_rate_hz=rate))
    assert not reader.info.has_video
    heard = np.concatenate([p.samples for p in reader.sound(0, 1)])
    want = 0.5 * np.sin(2 * np.pi * 440 * np.arange(heard.size) / 16_000)
    assert heard.size == pytest.approx(16_000, abs=2)
    assert np.abs(heard - want)[200:-200].max() < 0.01


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"pictures": np.zeros((20, 3, 4, 4), np.uint8)}, ShapeError),
        ({"pictures": np.zeros((20, 4, 4, 3), np.float32)}, ShapeError),
        ({"pictures": np.zeros((20, 0, 4, 3), np.uint8)}, ShapeError),
        ({"times": [0.0, 1.0]}, ShapeError),
        ({"times": [0.0] * 20}, ArgumentError),
        ({"times": [np.nan] * 20}, ArgumentError),
        ({"end_s": 1.0}, ArgumentError),
        ({"sound": np.zeros(10, np.int16)}, ShapeError),
        ({"sound_rate_hz": 0}, ArgumentError),
        ({"sound_start_s": np.inf}, ArgumentError),
        ({"pictures": None, "times": (), "sound": None}, ArgumentError),
    ],
)
def test_arrays_of_the_wrong_kind_are_refused(changes, error):
    with pytest.raises(error):
        array(**changes)


# ---------------------------------------------------------------------- sound in a file of its own


@pytest.fixture
def pair(tmp_path) -> Path:
    """A silent video with a number a frame, and x.wav beside it: a click at 1.00 s."""
    click = np.zeros(2 * makers.RATE_HZ, np.float32)
    click[makers.RATE_HZ] = 0.9
    makers.write(tmp_path / "x.mp4", makers.even(2))
    makers.write(tmp_path / "x.wav", sound=click, sound_codec="pcm_s16le")
    return tmp_path / "x.mp4"


def peak_s(reader) -> float:
    pieces = list(reader.sound(0, 9))
    return pieces[0].start_s + np.abs(np.concatenate([p.samples for p in pieces])).argmax() / 16_000


def test_a_sound_file_beside_a_silent_video_is_heard(pair):
    with VideoReader(pair) as reader:
        assert reader.info.has_audio
        assert reader.sound_span == pytest.approx((0.0, 2.0))
        assert peak_s(reader) == pytest.approx(1.0, abs=1e-3)
        assert [(r.kind, r.text) for r in reader.reasons] == [("side_sound", "the sound is that of x.wav")]
        assert sum(not is_picture for _, _, is_picture, _ in reader.packets()) > 0
    for quick in (True, False):
        report = check(pair, quick=quick)
        assert (report.condition.verdict, report.condition.audio) == ("ok", "present")
        assert report.sound_s == pytest.approx(2.0, abs=0.02)
    with VideoReader(pair, audio_file="none") as reader:
        assert not reader.info.has_audio
        assert reader.reasons == []
    with Decoders() as decoders, decoders.open(pair) as reader:
        assert peak_s(reader) == pytest.approx(1.0, abs=1e-3)


def test_the_videos_own_sound_comes_first_and_a_named_file_before_it(pair, clip, tmp_path):
    own = tmp_path / "own.mp4"
    own.write_bytes(clip.read_bytes())
    (tmp_path / "own.wav").write_bytes(pair.with_suffix(".wav").read_bytes())
    with VideoReader(own) as reader:
        assert reader.reasons == []
    with VideoReader(own, audio_file=tmp_path / "own.wav") as reader:
        assert peak_s(reader) == pytest.approx(1.0, abs=1e-3)
        assert makers.read_number(next(reader.frames_at([1.0]))[1].image) == 25
    with pytest.raises(MediaError, match=r"missing\.wav"):
        VideoReader(own, audio_file=tmp_path / "missing.wav")
    with pytest.raises(MediaError, match="no sound"):
        VideoReader(own, audio_file=makers.write(tmp_path / "mute.mp4", makers.even(1)))


def test_a_broken_sound_file_beside_is_named_and_does_no_harm(pair):
    pair.with_suffix(".wav").write_bytes(b"not a sound at all, only words\n" * 9)
    with VideoReader(pair) as reader:
        assert not reader.info.has_audio
        assert "x.wav lies beside it, but cannot be heard" in reader.reasons[0].text
    assert check(pair).condition.verdict == "ok"


def test_pictures_that_start_late_keep_step_with_the_sound_beside(tmp_path):
    click = np.zeros(3 * makers.RATE_HZ, np.float32)
    click[makers.RATE_HZ] = 0.9
    makers.write(tmp_path / "y.mkv", [t + 5.0 for t in makers.even(2)])
    makers.write(tmp_path / "y.flac", sound=click, sound_codec="flac")
    with VideoReader(tmp_path / "y.mkv") as reader:
        assert peak_s(reader) == pytest.approx(1.0, abs=1e-3)
        assert makers.read_number(next(reader.frames_at([1.0]))[1].image) == 25
        assert reader.info.duration_s == pytest.approx(3.0, abs=0.01)
