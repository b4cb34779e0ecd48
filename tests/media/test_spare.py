"""Pictures that no other needs are left out on the way to a later one; what is shown stays the same."""

from __future__ import annotations

import av
import numpy as np
import pytest
from tests.media.makers import even, read_number, remux, write

from avglance.media import VideoReader
from avglance.media.spare import spare_of

SECONDS, GOP = 6, 75


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """Keyframes every three seconds, and two pictures of three that nothing needs."""
    return write(tmp_path_factory.mktemp("films") / "x.mp4", even(SECONDS), gop=GOP)


def spare_packets(path):
    with av.open(str(path)) as box:
        stream = box.streams.video[0]
        is_spare = spare_of(stream)
        assert is_spare is not None
        return sum(is_spare(packet) for packet in box.demux(stream) if packet.size)


def decoded_by_libav(path):
    """How many pictures libav has left after leaving out those that no other needs."""
    with av.open(str(path)) as box:
        box.streams.video[0].codec_context.skip_frame = "NONREF"
        return sum(1 for _ in box.decode(video=0))


@pytest.mark.parametrize("container", ["mp4", "mkv", "ts"])
def test_spare_pictures_are_those_that_libav_leaves_out(film, tmp_path, container):
    path = film if container == "mp4" else remux(film, tmp_path / f"x.{container}")
    spare = spare_packets(path)
    assert spare >= SECONDS * 25 / 3
    assert spare == SECONDS * 25 - decoded_by_libav(path)


@pytest.mark.parametrize("container", ["mp4", "mkv", "ts"])
@pytest.mark.parametrize("threads", [1, 0])
def test_what_is_shown_is_what_a_reader_of_everything_shows(film, tmp_path, container, threads):
    path = film if container == "mp4" else remux(film, tmp_path / f"x.{container}")
    with VideoReader(path, threads=threads) as all_of_it:
        shown = dict(all_of_it.frames_at(np.arange(150) / 25 + 0.01))
    times = np.random.default_rng(1).uniform(0, SECONDS, 12)
    with VideoReader(path, threads=threads) as reader:
        for i, frame in reader.frames_at(times):
            whole = shown[int(times[i] * 25 + 1e-6)]
            assert (frame.time_s, frame.end_s) == pytest.approx((whole.time_s, whole.end_s))
            np.testing.assert_array_equal(frame.image, whole.image)
        assert not reader.reasons


def test_fewer_pictures_are_decoded(film):
    with VideoReader(film, threads=1) as reader:
        before = reader.frames_decoded
        ((_, frame),) = reader.frames_at([2.9])
        assert read_number(frame.image) == 72
        assert reader.frames_decoded - before < 0.7 * 73
        before = reader.frames_decoded
        assert len(list(reader.timeline())) == SECONDS * 25  # who wants all of them gets all of them
        assert reader.frames_decoded - before == SECONDS * 25


def test_a_spare_picture_that_is_held_for_seconds_is_shown(tmp_path):
    """One picture stands for two seconds: what is wanted may be one that nothing needs, long before."""
    for held in range(20, 26):
        times = [n / 25 + 2.0 * (n > held) for n in range(60)]
        path = write(tmp_path / f"{held}.mp4", times, gop=100)
        with VideoReader(path, threads=1) as reader:
            ((_, frame),) = reader.frames_at([held / 25 + 1.5])
            assert read_number(frame.image) == held
            assert frame.time_s == pytest.approx(held / 25, abs=2e-3)


def test_the_last_picture_of_a_file_is_shown(film):
    with VideoReader(film, threads=1) as reader:
        assert [read_number(f.image) for _, f in reader.frames_at([SECONDS - 0.02])] == [SECONDS * 25 - 1]


@pytest.mark.parametrize("container", ["mkv", "mp4"])
def test_far_times_are_sought_in_matroska_as_in_mp4(film, tmp_path, container):
    """Matroska's index comes with the first seek: before that, pictures were decoded one after another."""
    long = write(tmp_path / "long.mp4", even(60, 10.0), gop=20)
    path = long if container == "mp4" else remux(long, tmp_path / "long.mkv")
    with VideoReader(path, threads=1) as reader:
        before = reader.frames_decoded
        assert [read_number(f.image) for _, f in reader.frames_at([5.05, 20.05, 35.05, 50.05])] == [
            50,
            200,
            350,
            500,
        ]
        assert reader.frames_decoded - before <= 4 * 16


def test_rough_pictures_are_nearly_the_same(film):
    with VideoReader(film) as reader, VideoReader(film, rough=True) as rough:
        ((_, fine),), ((_, coarse),) = reader.frames_at([1.5]), rough.frames_at([1.5])
        assert read_number(coarse.image) == read_number(fine.image)
        apart = np.abs(fine.image.astype(int) - coarse.image).mean()
        assert 0 < apart < 6
