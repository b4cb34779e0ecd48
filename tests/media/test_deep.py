"""Two decodings compared: checksums of pixels alone, stretches that differ, and what becomes of them."""

from __future__ import annotations

from collections.abc import Iterator

import av
import numpy as np
import pytest
from tests.media.makers import even, spoil, tone, write

from avglance.errors import ArgumentError, MediaError
from avglance.media import Decoders, SoundPiece, VideoReader, check
from avglance.media.deep import differences, picture_crc, sound_crc

WIDTH, HEIGHT = 31, 17
ROWS = {  # format -> (bytes of a row, rows) of each plane of a 31 x 17 picture
    "gray": [(31, 17)],
    "rgb24": [(93, 17)],
    "rgb565le": [(62, 17)],
    "yuyv422": [(62, 17)],
    "monow": [(4, 17)],
    "yuv420p": [(31, 17), (16, 9), (16, 9)],
    "nv12": [(31, 17), (32, 9)],
    "yuv420p10le": [(62, 17), (32, 9), (32, 9)],
    "gbrp": [(31, 17)] * 3,
    "pal8": [(31, 17), (1024, 1)],
}


def frame(pixels: str, padding: int, *, changed: int | None = None) -> av.VideoFrame:
    """A picture of noise whose rows are filled up with ``padding``; one plane's last byte may be changed."""
    made, rng = av.VideoFrame(WIDTH, HEIGHT, pixels), np.random.default_rng(3)
    for index, (plane, (row, count)) in enumerate(zip(made.planes, ROWS[pixels], strict=True)):
        filled = np.full((count, plane.line_size or row), padding, np.uint8)
        filled[:, :row] = rng.integers(0, 256, (count, row))
        filled[-1, row - 1] += changed == index
        plane.update(filled.tobytes())
    return made


@pytest.mark.parametrize("pixels", ROWS)
def test_the_checksum_is_of_the_pixels_alone(pixels):
    crc = picture_crc(frame(pixels, 0))
    assert picture_crc(frame(pixels, 255)) == crc
    for plane in range(len(ROWS[pixels])):
        assert picture_crc(frame(pixels, 0, changed=plane)) != crc


def test_size_and_format_are_in_the_checksum():
    black = [av.VideoFrame.from_ndarray(np.zeros((h, w), np.uint8), "gray") for w, h in ((32, 16), (16, 32))]
    assert len({picture_crc(one) for one in black}) == 2


def test_digests_follow_the_timeline(tmp_path):
    path = spoil(
        write(tmp_path / "x.mp4", even(4), draw=lambda n: np.full((32, 32, 3), n // 50, np.uint8)), 1, 2
    )
    with VideoReader(path) as reader:
        timeline, digests = list(reader.timeline()), list(reader.digests())
    assert [(start, end, crc is not None) for start, end, crc in digests] == timeline
    assert {whole for _, _, whole in timeline} == {True, False}
    assert len({crc for start, _, crc in digests if crc is not None and start < 1}) == 1  # all of one grey


def test_a_file_without_pictures_has_no_digests(tmp_path):
    with VideoReader(write(tmp_path / "x.m4a", sound=tone(1))) as reader:
        assert list(reader.digests()) == []


def test_differences_are_stretches():
    left = [(0.04 * n, 0.04 * n + 0.04, n) for n in range(250)]
    right = [(s, e, -1 if 50 <= n < 75 or n == 200 else n) for s, e, n in left if not 100 <= n < 110]
    assert list(differences(left, left)) == []
    found = list(differences(left, right))
    assert [pytest.approx(span) for span in found] == [(2.0, 3.0), (4.0, 4.4), (8.0, 8.04)]
    assert [pytest.approx(span) for span in differences(right, left)] == found
    assert list(differences([], left)) == [pytest.approx((0.0, 10.0))]
    assert list(differences([(0.0, 1.0, None)], [(0.0, 1.0, None)])) == []  # lost in both is no difference


def test_differences_keep_nothing():
    """Neither side runs ahead of the other, however many pictures there are."""
    ahead = {"left": 0, "right": 0}

    def pictures(side: str) -> Iterator[tuple[float, float, int | None]]:
        for n in range(100_000):
            ahead[side] += 1
            assert abs(ahead["left"] - ahead["right"]) <= 2
            yield n / 25, (n + 1) / 25, n

    assert list(differences(pictures("left"), pictures("right"))) == []


class Unsteady(VideoReader):
    """Decodes the pictures of [1, 2) and the sound of [3, 4) differently with one thread."""

    def __init__(self, *args: object, threads: int = 0, **kwargs: object) -> None:
        super().__init__(*args, threads=threads, **kwargs)  # type: ignore[arg-type]  # passed on
        self._alone = threads == 1

    def digests(self) -> Iterator[tuple[float, float, int | None]]:
        for start, end, crc in super().digests():
            yield start, end, 0 if self._alone and 1 <= start < 2 else crc

    def sound(self, start_s: float, end_s: float, *, rate_hz: int = 16_000) -> Iterator[SoundPiece]:
        for piece in super().sound(start_s, end_s, rate_hz=rate_hz):
            middle = piece.start_s + piece.samples.size / rate_hz / 2
            yield SoundPiece(piece.start_s, piece.samples * (0.5 if self._alone and 3 <= middle < 4 else 1.0))


def test_two_decodings_that_differ_are_unstable(tmp_path):
    path = write(tmp_path / "x.mp4", even(5), sound=tone(5))
    report = check(path, deep=True, opener=Unsteady)
    assert (report.condition.verdict, report.condition.audio) == ("degraded", "present")
    pictures, sound = report.condition.reasons
    assert (pictures.kind, pictures.text) == ("unstable", "two decodings of the pictures differ")
    assert (pictures.start_s, pictures.end_s) == pytest.approx((1.0, 2.0))
    assert (sound.kind, sound.text) == ("unstable", "two decodings of the sound differ")
    assert (sound.start_s, sound.end_s) == pytest.approx((3.0, 4.0), abs=0.6)  # pieces of a second
    assert report.condition.coverage == 1.0
    assert report.advice[-1].startswith("ffmpeg ")
    assert check(path, opener=Unsteady).condition.verdict == "ok"


def test_deep_counts_what_one_decoding_gives(tmp_path):
    path = spoil(write(tmp_path / "x.mp4", even(6), sound=tone(6)), 2.0, 4.0)
    once, deep = check(path), check(path, deep=True)
    with Decoders() as decoders:
        apart = check(path, deep=True, opener=decoders.open)
    assert deep.condition.coverage == once.condition.coverage
    assert (deep.frames_decoded, deep.picture_s, deep.sound_s) == (
        once.frames_decoded,
        once.picture_s,
        once.sound_s,
    )
    assert "damaged" in {reason.kind for reason in deep.condition.reasons}
    assert apart == deep


def test_deep_finds_a_good_file_ok(tmp_path):
    for name in ("x.mp4", "x.mkv", "x.ts"):
        report = check(write(tmp_path / name, even(3), sound=tone(3)), deep=True)
        assert (report.condition.verdict, report.condition.reasons) == ("ok", ())


def test_a_second_decoding_that_fails_is_said(tmp_path):
    def opener(*args: object, threads: int = 0, **kwargs: object) -> VideoReader:
        if threads == 1:
            raise MediaError("it fell over", kind="crashed", hint="mend it")
        return VideoReader(*args, threads=threads, **kwargs)  # type: ignore[arg-type]  # passed on

    report = check(write(tmp_path / "x.mp4", even(2)), deep=True, opener=opener)
    assert report.condition.verdict == "degraded"
    assert [(r.kind, r.text) for r in report.condition.reasons] == [("crashed", "it fell over")]


def test_quick_and_deep_exclude_each_other(tmp_path):
    with pytest.raises(ArgumentError, match="exclude each other") as caught:
        check(tmp_path / "x.mp4", quick=True, deep=True)
    assert caught.value.hint


def test_sound_checksum():
    samples = np.arange(10, dtype=np.float32)
    assert sound_crc(samples) == sound_crc(samples.copy())
    assert sound_crc(samples[::2]) == sound_crc(np.array([0, 2, 4, 6, 8], np.float32))
    assert sound_crc(samples) != sound_crc(samples[::-1])
