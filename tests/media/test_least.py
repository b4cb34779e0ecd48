"""The dear way through a file, and the least that decoding takes."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.media import makers

from avglance.media import VideoReader, frames_through, least_decoding


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("films") / "film.mp4"
    return makers.write(path, makers.even(4.0), sound=makers.tone(4.0), gop=25)


def test_the_dear_way_gives_the_same_pictures_and_decodes_all(film: Path) -> None:
    times = [3.5, 0.5, 0.5, 2.22]
    with VideoReader(film) as reader:
        straight = {index: makers.read_number(frame.image) for index, frame in reader.frames_at(times)}
    with VideoReader(film) as reader:
        found = dict(frames_through(reader, times))
        assert reader.frames_decoded == 100
    assert {index: makers.read_number(frame.image) for index, frame in found.items()} == straight


def test_times_behind_the_end_have_the_last_picture_or_none(film: Path) -> None:
    with VideoReader(film) as reader:
        found = dict(frames_through(reader, [3.99, 3.0]))
    assert makers.read_number(found[0].image) == 99
    assert makers.read_number(found[1].image) == 75


def test_a_file_without_pictures_gives_none(tmp_path: Path) -> None:
    path = makers.write(tmp_path / "sound.m4a", sound=makers.tone(2.0))
    with VideoReader(path) as reader:
        assert dict(frames_through(reader, [0.5, 1.0])) == {0: None, 1: None}


def test_keyframes_need_one_packet_and_others_the_way_to_them(film: Path) -> None:
    keys = least_decoding(film, [1.0, 2.0, 2.0], [(0.5, 1.0), (0.75, 1.25)])
    assert keys.picture_packets == 2
    between = least_decoding(film, [1.52], [])
    assert (
        13 <= between.picture_packets <= 17
    )  # from the keyframe on, and what is shown later but sent before
    assert between.sound_packets == 0
    assert between.sounds_s == 0.0
    packet_s = 1024 / makers.RATE_HZ
    assert keys.sound_packets == pytest.approx(0.75 / packet_s, abs=2)
    assert keys.pictures_s > 0
    assert keys.sounds_s > 0


def test_a_file_of_sound_alone_has_no_pictures_to_decode(tmp_path: Path) -> None:
    path = makers.write(tmp_path / "sound.m4a", sound=makers.tone(2.0))
    found = least_decoding(path, [0.5], [(0.0, 1.0)])
    assert (found.picture_packets, found.pictures_s) == (0, 0.0)
    assert found.sound_packets > 0
