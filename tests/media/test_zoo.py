"""Odd files of every kind: each has a named behaviour, and the pictures carry their numbers."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from tests.media.makers import (
    RATE_HZ,
    even,
    numbered,
    packets_of,
    read_number,
    remux,
    spoil,
    tone,
    write,
)

from avglance.media import CheckReport, VideoReader, check

COUNTED = Fraction(1, 25)  # AVI and MPEG-2 count pictures


def shown(path: Path, times: list[float]) -> list[int | None]:
    """The numbers on the screen at these times after the first picture, one call for each."""
    with VideoReader(path) as reader:
        assert reader.picture_span is not None
        first = reader.picture_span[0]
        frames = [frame for t in times for _, frame in reader.frames_at([first + t])]
        return [None if frame is None else read_number(frame.image) for frame in frames]


def is_whole(path: Path, seconds: float = 6.0) -> CheckReport:
    """Check that all pictures of 25 a second are there, through seeks in both directions too."""
    report = check(path)
    assert (report.condition.verdict, report.condition.reasons) == ("ok", ())
    assert report.condition.coverage == pytest.approx(1.0, abs=0.01)
    assert report.frames_decoded == round(seconds * 25)
    assert report.info is not None
    assert report.info.duration_s == pytest.approx(seconds, abs=0.15)
    times = [seconds - 0.5, 0.02, seconds / 2 + 0.02, 1.02, seconds - 0.02]
    assert shown(path, times) == [int(t * 25) for t in times]
    return report


def failed_as(report: CheckReport) -> str:
    """The kind of a failure that says what to do."""
    assert report.condition.verdict == "failed", report
    assert report.failure is not None
    assert report.failure.hint
    return report.failure.kind


def by_hand(path: Path, codec: str, flags: int, options: dict[str, str]) -> Path:
    """Six seconds of numbered pictures with flags of the encoder."""
    with av.open(str(path), "w") as box:
        video = box.add_stream(codec, rate=25)
        video.width, video.height, video.pix_fmt, video.options = 96, 64, "yuv420p", options
        video.codec_context.flags |= flags
        video.codec_context.gop_size = 25
        for n in range(150):
            frame = av.VideoFrame.from_ndarray(numbered(n), format="rgb24")
            frame.pts, frame.time_base = n, COUNTED
            box.mux(video.encode(frame))
        box.mux(video.encode(None))
    return path


# ---- pictures ----


@pytest.mark.parametrize(("name", "codec"), [("ten.mp4", "libx264"), ("ten.mkv", "libx265")])
def test_ten_bits_a_colour(tmp_path, name, codec):
    try:
        path = write(tmp_path / name, even(6), codec=codec, pixels="yuv420p10le")
    except (av.error.FFmpegError, ValueError):
        pytest.skip(f"{codec} is not built in for ten bits")
    with av.open(str(path)) as box:
        assert box.streams.video[0].codec_context.pix_fmt == "yuv420p10le"
    is_whole(path)


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [("i.mp4", "libx264", {"preset": "veryfast", "crf": "18"}), ("i.ts", "mpeg2video", {"qscale": "2"})],
)
def test_interlaced_pictures_are_whole_pictures(tmp_path, name, codec, options):
    flags = av.codec.context.Flags.interlaced_dct | av.codec.context.Flags.interlaced_me
    path = by_hand(tmp_path / name, codec, flags, options)
    with av.open(str(path)) as box:
        assert next(box.decode(video=0)).interlaced_frame
    is_whole(path)


def test_one_keyframe_in_thirty_seconds_with_b_pictures(tmp_path):
    path = write(tmp_path / "long.mp4", even(30), gop=1000, b_frames=4)
    assert sum(key for *_, key in packets_of(path)) == 1
    is_whole(path, 30)


# ---- times ----


@pytest.mark.parametrize("b_frames", [1, 2, 3])
def test_avi_without_times_of_presentation(tmp_path, b_frames):
    path = write(tmp_path / "b.avi", even(6), b_frames=b_frames, tick=COUNTED)
    with av.open(str(path)) as box:
        assert box.streams.video[0].codec_context.has_b_frames
    is_whole(path)


def test_mpeg4_with_b_pictures_in_avi(tmp_path):
    path = by_hand(tmp_path / "xvid.avi", "mpeg4", 0, {"bf": "2"})
    is_whole(path)


@pytest.mark.parametrize(("name", "codec"), [("raw.h264", "libx264"), ("raw.m4v", "mpeg4")])
def test_a_stream_without_a_container_has_no_times(tmp_path, name, codec):
    path = write(tmp_path / name, even(6), codec=codec, tick=COUNTED)
    assert not is_whole(path).info.audio_tracks


def test_a_header_that_claims_more_than_there_is(tmp_path):
    path = write(tmp_path / "x.mkv", even(6), sound=tone(6))
    raw = bytearray(path.read_bytes())
    struct.pack_into(">d", raw, raw.index(b"\x44\x89\x88") + 3, 60_000.0)
    path.write_bytes(raw)
    for quick in (False, True):
        report = check(path, quick=quick)
        (reason,) = report.condition.reasons
        assert (report.condition.verdict, reason.kind) == ("degraded", "truncated")
        assert (reason.start_s, reason.end_s) == pytest.approx((6.0, 60.0), abs=0.1)
        assert report.condition.coverage == pytest.approx(0.1, abs=0.01)
        assert report.info.duration_s == pytest.approx(6.0, abs=0.1)
    assert shown(path, [5.9, 0.5]) == [147, 12]


@pytest.mark.parametrize("declared_ms", [1000.0, 0.0, -5.0, float("nan")])
def test_a_matroska_header_that_claims_less(tmp_path, declared_ms):
    path = write(tmp_path / "x.mkv", even(6), sound=tone(6))
    raw = bytearray(path.read_bytes())
    struct.pack_into(">d", raw, raw.index(b"\x44\x89\x88") + 3, declared_ms)
    path.write_bytes(raw)
    is_whole(path)


@pytest.mark.parametrize("seconds", [1, 60])
def test_a_false_duration_in_mp4_is_not_believed(tmp_path, seconds):
    path = write(tmp_path / "x.mp4", even(6), sound=tone(6))
    raw = bytearray(path.read_bytes())
    for mark in (b"mvhd", b"mdhd"):
        at = raw.find(mark)
        while at >= 0:
            scale = struct.unpack_from(">I", raw, at + 16)[0]
            struct.pack_into(">I", raw, at + 20, seconds * scale)
            at = raw.find(mark, at + 1)
    path.write_bytes(raw)
    is_whole(path)


def test_the_sound_track_that_is_asked_for(tmp_path):
    path = tmp_path / "two.mkv"
    with av.open(str(path), "w") as box:
        tracks = [box.add_stream("pcm_s16le", rate=RATE_HZ, layout="mono") for _ in range(2)]
        tracks[0].metadata["language"], tracks[1].metadata["language"] = "eng", "deu"
        for track, hz in zip(tracks, (500.0, 1500.0), strict=True):
            wave = (tone(3, hz) * 32767).astype(np.int16)[None]
            frame = av.AudioFrame.from_ndarray(wave, format="s16", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = RATE_HZ, 0, Fraction(1, RATE_HZ)
            box.mux(track.encode(frame))
    for number, hz in enumerate((500.0, 1500.0)):
        with VideoReader(path, audio_track=number) as reader:
            assert [t.language for t in reader.info.audio_tracks] == ["eng", "deu"]
            (piece,) = reader.sound(1.0, 2.0)
        power = np.abs(np.fft.rfft(piece.samples * np.hanning(piece.samples.size)))
        assert np.argmax(power) * RATE_HZ / piece.samples.size == pytest.approx(hz, abs=2)


# ---- the container ----


@pytest.mark.parametrize(
    ("name", "codec", "sound", "tick"),
    [
        ("x.webm", "libvpx", "libopus", Fraction(1, 1000)),
        ("x9.webm", "libvpx-vp9", "libopus", Fraction(1, 1000)),
        ("x.avi", "mpeg4", "pcm_s16le", COUNTED),
        ("x.flv", "libx264", "aac", Fraction(1, 1000)),
        ("x.mov", "libx264", "pcm_s16le", Fraction(1, 1000)),
        ("x.ts", "libx264", "mp2", Fraction(1, 1000)),
        ("x.mpg", "mpeg2video", "mp2", COUNTED),
        ("x.gif", "gif", None, Fraction(1, 100)),
    ],
)
def test_containers_are_whole(tmp_path, name, codec, sound, tick):
    pixels = "rgb8" if codec == "gif" else "yuv420p"
    wave = tone(6) if sound else None
    path = write(
        tmp_path / name,
        even(6),
        codec=codec,
        pixels=pixels,
        sound=wave,
        sound_codec=sound or "aac",
        tick=tick,
    )
    report = is_whole(path)
    assert report.condition.audio == ("present" if sound else "absent")


def test_fragmented_mp4(tmp_path):
    whole = write(tmp_path / "w.mp4", even(6), sound=tone(6))
    options = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}
    is_whole(remux(whole, tmp_path / "f.mp4", options=options))
    is_whole(remux(whole, tmp_path / "p.mp4", container="mp4", options=options, pipe=True))


@pytest.mark.parametrize("container", ["matroska", "webm"])
def test_matroska_from_a_pipe_has_neither_duration_nor_index(tmp_path, container):
    codecs = ("libvpx", "libopus") if container == "webm" else ("libx264", "aac")
    whole = write(tmp_path / "w.mp4", even(6), sound=tone(6), codec="libx264", sound_codec=codecs[1])
    if container == "webm":
        whole = write(tmp_path / "w.webm", even(6), sound=tone(6), codec=codecs[0], sound_codec=codecs[1])
    path = remux(whole, tmp_path / "p.mkv", container=container, pipe=True)
    with av.open(str(path)) as box:
        assert not box.duration
    is_whole(path)


@pytest.mark.parametrize(("name", "mark"), [("x.avi", b"idx1"), ("x.mkv", b"\x1c\x53\xbb\x6b")])
def test_without_an_index(tmp_path, name, mark):
    codec, tick = ("mpeg4", COUNTED) if name.endswith("avi") else ("libx264", Fraction(1, 1000))
    sound = "pcm_s16le" if name.endswith("avi") else "aac"
    path = write(tmp_path / name, even(6), sound=tone(6), codec=codec, sound_codec=sound, tick=tick)
    raw = path.read_bytes()
    path.write_bytes(raw[: raw.rindex(mark)])
    is_whole(path)


def test_mp4_without_its_index_fails_with_advice(tmp_path):
    path = write(tmp_path / "x.mp4", even(6), sound=tone(6))
    raw = path.read_bytes()
    size = struct.unpack_from(">I", raw, raw.rindex(b"mvhd") - 12)[0]
    path.write_bytes(raw[:-size])
    assert failed_as(check(path)) == "truncated"


@pytest.mark.parametrize("name", ["x.mp4", "x.mkv", "x.ts", "x.flv", "x.avi"])
def test_a_span_of_zeros_inside_a_group(tmp_path, name):
    """Nothing between the hole and the next whole keyframe is passed off as a picture."""
    tick = COUNTED if name.endswith("avi") else Fraction(1, 1000)
    path = spoil(write(tmp_path / name, even(6), tick=tick), 2.5, 3.5)  # the keyframe at 3 s among them
    report = check(path)
    assert report.condition.verdict == "degraded"
    assert {reason.kind for reason in report.condition.reasons} == {"damaged"}
    low = min(reason.start_s for reason in report.condition.reasons)
    high = max(reason.end_s for reason in report.condition.reasons)
    assert low == pytest.approx(2.5, abs=0.13)
    assert high == pytest.approx(4.0, abs=0.05)
    assert report.condition.coverage == pytest.approx(0.75, abs=0.03)
    if name in ("x.mkv", "x.ts", "x.flv"):  # the bytes or counters between packets tell
        assert check(path, quick=True).condition.verdict == "degraded"
    times = [n / 25 + 0.02 for n in (20, 54, 65, 80, 95, 101, 140)]
    assert shown(path, times) == [20, 54, None, None, None, 101, 140]


def test_pictures_of_another_size_in_mid_stream(tmp_path):
    """All pictures come in the size of the first one: their numbers can still be read."""
    small = write(tmp_path / "a.ts", even(4))
    later = [4.08 + t for t in even(4)]  # the first file begins 0.08 s late, for its B pictures
    large = write(tmp_path / "b.ts", later, draw=lambda n: numbered(n + 100, 192, 128))
    path = tmp_path / "c.ts"
    path.write_bytes(small.read_bytes() + large.read_bytes())
    report = check(path)
    assert report.frames_decoded == 200
    assert report.condition.coverage == pytest.approx(1.0, abs=0.01)
    assert shown(path, [7.9, 1.02, 4.5]) == [197, 25, 112]
    with VideoReader(path) as reader:
        assert {frame.image.shape for _, frame in reader.frames_at([1.0, 5.0])} == {(64, 96, 3)}


def test_another_codec_in_mid_stream_is_told(tmp_path):
    """The second half is in a codec that the header does not name: it is lost, and that is said."""
    first = write(tmp_path / "a.ts", even(4))
    second = write(tmp_path / "b.ts", [4 + t for t in even(4)], codec="mpeg2video", tick=COUNTED)
    path = tmp_path / "c.ts"
    path.write_bytes(first.read_bytes() + second.read_bytes())
    report = check(path)
    assert report.condition.verdict == "degraded"
    (reason,) = report.condition.reasons
    assert (reason.start_s, reason.end_s) == pytest.approx((4.0, 8.0), abs=0.15)
    assert report.condition.coverage == pytest.approx(0.5, abs=0.02)
    assert shown(path, [1.02, 5.0, 7.5]) == [25, None, None]


@pytest.mark.parametrize("labelled", [True, False])
def test_encrypted(tmp_path, labelled):
    path = write(tmp_path / "e.mp4", even(4), sound=tone(4))
    raw, rng = bytearray(path.read_bytes()), np.random.default_rng(0)
    for kind in ("video", "audio"):
        for position, size, *_ in packets_of(path, kind):
            raw[position + 4 : position + size] = rng.bytes(size - 4)
    if labelled:
        raw = raw.replace(b"avc1", b"encv").replace(b"mp4a", b"enca")
    path.write_bytes(raw)
    report = check(path)
    assert failed_as(report) == "unsupported"
    assert "encrypted" in report.failure.message


# ---- headers that are traps ----

CHILD = """
import json, sys, time
from avglance.media import check
def status(key):
    return next(int(l.split()[1]) * 1024 for l in open("/proc/self/status") if l.startswith(key))
before, began = status("VmRSS"), time.monotonic()
report = check(sys.argv[1])
kind = report.failure.kind if report.failure else report.condition.verdict
print(json.dumps([kind, time.monotonic() - began, status("VmHWM") - before]))
"""


def alone(path: Path) -> tuple[str, float, int]:
    """Kind of failure or verdict, seconds and peak bytes above the start, in a process of its own."""
    if not Path("/proc/self/status").exists():
        pytest.skip("this system does not list memory under /proc")
    source = Path(sys.modules["avglance"].__file__).parents[1]
    env = {**os.environ, "PYTHONPATH": str(source)}
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env=env,
    )
    kind, seconds, size = json.loads(done.stdout)
    return kind, seconds, size


def patched(path: Path, *changes: tuple[bytes, int, bytes]) -> Path:
    """The file with bytes written at an offset from each place where a mark stands."""
    raw = bytearray(path.read_bytes())
    for mark, offset, new in changes:
        at = raw.find(mark)
        assert at >= 0, mark
        while at >= 0:
            raw[at + offset : at + offset + len(new)] = new
            at = raw.find(mark, at + 1)
    path.write_bytes(raw)
    return path


def huge_picture(folder: Path) -> Path:
    square = np.full((256, 256, 3), 90, np.uint8)
    path = write(folder / "x.mkv", even(0.2), draw=lambda _: square, codec="ffv1")
    return patched(path, (b"\xb0\x82\x01\x00", 2, b"\x80\x00"), (b"\xba\x82\x01\x00", 2, b"\x80\x00"))


def huge_rate(folder: Path) -> Path:
    path = write(folder / "x.avi", even(2), codec="mpeg4", tick=COUNTED)
    return patched(path, (b"strh", 28, struct.pack("<II", 1, 1_000_000)))


def many_streams(folder: Path) -> Path:
    raw = write(folder / "x.mp4", even(1)).read_bytes()
    moov, trak = raw.rindex(b"moov") - 4, raw.rindex(b"trak") - 4
    size = struct.unpack_from(">I", raw, trak)[0]
    box = raw[moov:trak] + raw[trak : trak + size] * 1000 + raw[trak + size :]
    (folder / "x.mp4").write_bytes(raw[:moov] + struct.pack(">I", len(box)) + box[4:])
    return folder / "x.mp4"


def long_matroska(folder: Path) -> Path:
    return patched(write(folder / "x.mkv", even(1)), (b"\x44\x89\x88", 3, struct.pack(">d", 1e12)))


def long_mp4(folder: Path) -> Path:
    path = write(folder / "x.mp4", even(1), b_frames=0)
    return patched(path, (b"mdhd", 16, struct.pack(">I", 1)), (b"stts", 16, struct.pack(">I", 40_000_000)))


@pytest.mark.parametrize("trap", [huge_picture, huge_rate, many_streams, long_matroska, long_mp4])
def test_a_header_that_is_a_trap(tmp_path, trap):
    kind, seconds, peak = alone(trap(tmp_path))
    assert kind in ("limit", "unsupported")
    assert seconds < 5
    assert peak < 500_000_000
