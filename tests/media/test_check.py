"""Verdicts on generated files: ok, degraded with spans and reasons, or failed with a kind and advice."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from tests.media.makers import RATE_HZ, cut, even, front_loaded, packets_of, spoil, tone, write

from avglance.errors import FAILURE_KINDS, MediaError
from avglance.media import CheckReport, Limits, SoundPiece, VideoReader, check


def kinds(report: CheckReport) -> set[str]:
    return {reason.kind for reason in report.condition.reasons}


def failed_as(report: CheckReport, kind: str) -> bool:
    """Whether a file failed with this kind, and says what to do."""
    assert report.condition.verdict == "failed", report
    assert report.failure is not None
    assert report.failure.kind in FAILURE_KINDS
    assert report.failure.message
    assert report.failure.hint
    assert report.failure.video == report.video
    assert report.info is None
    return report.failure.kind == kind


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Ten seconds of pictures and a tone in MP4, its index in front."""
    return front_loaded(
        write(tmp_path_factory.mktemp("check") / "w.mp4", even(10), sound=tone(10))
    ).read_bytes()


def put(folder: Path, raw: bytes, name: str = "x.mp4") -> Path:
    path = folder / name
    path.write_bytes(raw)
    return path


@pytest.mark.parametrize("quick", [False, True])
def test_a_good_file_is_ok(tmp_path, whole, quick):
    report = check(put(tmp_path, whole), quick=quick)
    assert (report.condition.verdict, report.condition.audio, report.condition.reasons) == (
        "ok",
        "present",
        (),
    )
    assert report.condition.coverage == pytest.approx(1.0, abs=0.02)
    assert report.frames_decoded == (0 if quick else 250)
    assert report.picture_s == pytest.approx(10, abs=0.2)
    assert report.sound_s == pytest.approx(10, abs=0.2)
    assert report.failure is None
    assert report.info.duration_s == pytest.approx(10, abs=0.1)


def test_held_pictures_are_covered(tmp_path):
    path = write(tmp_path / "slides.mkv", [0.0, 3.0, 3.1, 9.0], last_s=1.0)
    for quick in (False, True):
        report = check(path, quick=quick)
        assert report.condition.verdict == "ok"
        assert report.condition.coverage == pytest.approx(1.0, abs=0.02)


def test_without_sound(tmp_path):
    report = check(write(tmp_path / "mute.mp4", even(1)))
    assert (report.condition.verdict, report.condition.audio, report.sound_s) == ("ok", "absent", 0.0)


@pytest.mark.parametrize(("level", "state"), [(0.0, "silent"), (1e-4, "silent"), (3e-3, "present")])
def test_silent_sound(tmp_path, level, state):
    sound = tone(3, level=level)
    report = check(write(tmp_path / "quiet.mkv", even(3), sound=sound, sound_codec="pcm_s16le"))
    assert (report.condition.verdict, report.condition.audio) == ("ok", state)


def test_a_short_sound_in_a_long_silence_is_present(tmp_path):
    sound = np.zeros(20 * RATE_HZ, np.float32)
    sound[5 * RATE_HZ : 5 * RATE_HZ + 4_000] = tone(0.25, level=0.05)
    assert check(write(tmp_path / "q.mkv", sound=sound, sound_codec="pcm_s16le")).condition.audio == "present"


def test_sound_only_is_ok_with_a_note(tmp_path):
    report = check(write(tmp_path / "blind.m4a", sound=tone(2)))
    assert report.condition.verdict == "ok"
    assert kinds(report) == {"no_video"}
    assert report.condition.coverage == pytest.approx(1.0, abs=0.05)


def test_an_attached_picture_is_no_video(tmp_path):
    import av

    path = tmp_path / "cover.mp3"
    with av.open(str(path), "w") as box:
        audio = box.add_stream("mp3", rate=RATE_HZ, layout="mono")
        picture = box.add_stream("png", rate=1)
        picture.width = picture.height = 32
        picture.pix_fmt = "rgb24"
        picture.disposition = av.stream.Disposition.attached_pic
        image = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
        frame = av.AudioFrame.from_ndarray(tone(1)[None], format="fltp", layout="mono")
        frame.sample_rate = RATE_HZ
        for packet in [
            *picture.encode(image),
            *picture.encode(None),
            *audio.encode(frame),
            *audio.encode(None),
        ]:
            box.mux(packet)
    report = check(path)
    assert report.condition.verdict == "ok"
    assert not report.info.has_video
    assert kinds(report) == {"no_video"}


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
@pytest.mark.parametrize("index_in_front", [True, False])
def test_truncated(tmp_path, whole, share, index_in_front):
    path = put(tmp_path, whole)
    if not index_in_front:
        path = write(tmp_path / "x.mp4", even(10), sound=tone(10))
    report = check(cut(path, share))
    if not index_in_front:
        assert failed_as(report, "truncated")
        return
    assert report.condition.verdict == "degraded"
    assert kinds(report) & {"truncated", "damaged", "damaged_sound"}
    lost_from = min(r.start_s for r in report.condition.reasons if r.start_s is not None)
    assert lost_from == pytest.approx(10 * share, abs=1.5)
    assert report.condition.coverage == pytest.approx(share, abs=0.15)
    assert report.frames_decoded == pytest.approx(250 * share, abs=35)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.6, 0.99])
def test_truncated_matroska(tmp_path, share):
    report = check(cut(write(tmp_path / "x.mkv", even(10), sound=tone(10)), share))
    if report.frames_decoded >= 248 and share > 0.9:  # hardly more than the index at the end is gone
        return
    assert report.condition.verdict == "degraded"
    (reason,) = [r for r in report.condition.reasons if r.kind == "truncated"]
    assert reason.start_s == pytest.approx(10 * share, abs=1.6)
    assert reason.end_s == pytest.approx(10, abs=0.15)
    assert report.condition.coverage == pytest.approx(reason.start_s / 10, abs=0.1)
    assert report.info.duration_s == pytest.approx(reason.start_s, abs=0.1)


def test_only_the_header_is_left(tmp_path, whole):
    first = min(position for position, *_ in packets_of(put(tmp_path, whole)))
    assert failed_as(check(put(tmp_path, whole[: first + 5])), "truncated")


def test_flipped_bytes(tmp_path, whole):
    path = put(tmp_path, whole)
    raw, rng = bytearray(whole), np.random.default_rng(5)
    for position, size, time, _ in packets_of(path):
        if 4.0 <= time < 6.0:
            for at in rng.integers(position + 5, position + size, max(2, size // 20)):
                raw[at] ^= int(rng.integers(1, 256))
    report = check(put(tmp_path, bytes(raw)))
    assert report.condition.verdict == "degraded"
    spans = [(r.start_s, r.end_s) for r in report.condition.reasons if r.kind == "damaged"]
    assert spans
    assert min(low for low, _ in spans) >= 3.9
    assert max(high for _, high in spans) <= 7.1  # up to the next keyframe
    assert 0.7 < report.condition.coverage < 1.0


@pytest.mark.parametrize("seed", range(12))
def test_bytes_flipped_anywhere_never_crash(tmp_path, whole, seed, capfd):
    rng = np.random.default_rng(seed)
    raw = np.frombuffer(whole, np.uint8).copy()
    where = rng.integers(0, raw.size if seed % 2 else 6_000, 40)
    raw[where] ^= rng.integers(1, 256, where.size, dtype=np.uint8)
    report = check(put(tmp_path, raw.tobytes()))
    assert report.condition.verdict in ("ok", "degraded", "failed")
    if report.condition.verdict == "failed":
        assert report.failure.kind in FAILURE_KINDS
        assert report.failure.hint
    assert capfd.readouterr() == ("", "")  # the decoders' own messages stay inside


def test_a_hole_of_zeros(tmp_path, whole):
    report = check(spoil(put(tmp_path, whole), 3.0, 6.0))
    (reason,) = report.condition.reasons
    assert (report.condition.verdict, reason.kind) == ("degraded", "damaged")
    assert (reason.start_s, reason.end_s) == pytest.approx((3.0, 6.0), abs=0.15)
    assert report.condition.coverage == pytest.approx(0.7, abs=0.03)


def test_damaged_sound(tmp_path, whole):
    report = check(spoil(put(tmp_path, whole), 3.0, 6.0, "audio"))
    assert report.condition.verdict == "degraded"
    (reason,) = [r for r in report.condition.reasons if r.kind == "damaged_sound"]
    assert (reason.start_s, reason.end_s) == pytest.approx((3.0, 6.0), abs=0.2)


def test_one_picture(tmp_path):
    report = check(write(tmp_path / "one.mp4", [0.0]))
    assert (report.condition.verdict, report.frames_decoded) == ("ok", 1)


def test_a_declared_sound_track_without_sound(tmp_path):
    path = write(tmp_path / "x.mkv", even(2), sound=tone(2), sound_codec="pcm_s16le")
    import av

    bare = tmp_path / "bare.mkv"
    with av.open(str(path)) as source, av.open(str(bare), "w") as target:
        streams = {s.index: target.add_stream_from_template(s) for s in source.streams}
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = streams[packet.stream_index]
                target.mux(packet)
    report = check(bare)
    assert (report.condition.verdict, report.condition.audio) == ("degraded", "absent")
    assert "no_sound_decoded" in kinds(report)


def test_too_slow_is_said(tmp_path, whole):
    path = put(tmp_path, whole)
    assert failed_as(check(path, limits=Limits(max_decode_s=1e-9)), "timeout")


def test_empty_missing_and_directory(tmp_path):
    assert failed_as(check(put(tmp_path, b"")), "empty")
    assert failed_as(check(tmp_path / "nothing.mp4"), "missing")
    assert failed_as(check(f"{tmp_path}/nul\0.mp4"), "missing")
    folder = tmp_path / "folder.mp4"
    folder.mkdir()
    assert failed_as(check(folder), "not_media")


def test_no_right_to_read(tmp_path, whole):
    path = put(tmp_path, whole)
    path.chmod(0)
    try:
        path.open("rb").close()
    except PermissionError:
        assert failed_as(check(path), "permission")
    else:
        pytest.skip("this user may read everything")


def test_many_stretches_are_told_as_one(tmp_path):
    path = write(tmp_path / "x.mp4", even(10), gop=10, b_frames=0)
    for n in range(1, 24, 2):  # every other group of pictures lasts 0.4 s and loses its keyframe
        spoil(path, 0.4 * n - 0.01, 0.4 * n + 0.01)
    with VideoReader(path) as reader:
        lost = sum(end - start for start, end, whole in reader.timeline() if not whole)
        assert len(reader.reasons) == 12
    report = check(path)
    (reason,) = report.condition.reasons
    assert reason.kind == "damaged"
    assert reason.text == f"pictures are damaged or missing: 12 stretches, {lost:.1f} s in all"
    assert (reason.start_s, reason.end_s) == pytest.approx((0.4, 9.6))
    assert report.condition.coverage == pytest.approx(1 - lost / 10)
    spoilt = spoil(write(tmp_path / "y.mp4", even(10), gop=10, b_frames=0), 0.39, 0.41)
    assert check(spoilt).condition.reasons[0].text == "pictures are damaged or missing"


def test_size_time_and_advice(tmp_path, whole):
    path = put(tmp_path, whole)
    report = check(path)
    assert (report.bytes, report.advice) == (len(whole), ())
    assert 0 < report.seconds < 60
    assert report == check(path)  # the seconds do not count
    assert check(cut(path, 0.5)).advice[-1].startswith("ffmpeg ")
    assert [check(tmp_path / name).bytes for name in ("missing.mp4", ".")] == [0, 0]


def test_reading_may_last_as_long_as_the_file(tmp_path):
    """Three seconds of work, two of them allowed: enough for ten seconds of pictures, not for one."""

    def slow(*args: object, **kwargs: object) -> VideoReader:
        reader = VideoReader(*args, **kwargs)  # type: ignore[arg-type]  # passed on
        reader._spent.seconds += 3.0
        return reader

    for seconds, verdict in ((10, "ok"), (1, "degraded")):
        path = write(tmp_path / f"{seconds}.mp4", even(seconds), sound=tone(seconds))
        report = check(path, limits=Limits(max_decode_s=2.0), opener=slow)
        assert report.condition.verdict == verdict
        assert report.condition.audio == "present"  # what was never heard is not called silent
    assert kinds(report) == {"timeout"}
    assert report.condition.coverage < 0.1


def test_an_error_in_the_sound_is_placed_there(tmp_path):
    class Fragile(VideoReader):
        def sound(self, start_s: float, end_s: float, *, rate_hz: int = 16_000):
            yield SoundPiece(0.0, np.zeros(rate_hz, np.float32))
            raise MediaError("it fell over", kind="crashed")

    report = check(write(tmp_path / "x.mp4", even(3), sound=tone(3)), opener=Fragile)
    (reason,) = report.condition.reasons
    assert (reason.kind, reason.text) == ("crashed", "it fell over")
    assert (reason.start_s, reason.end_s) == pytest.approx((1.0, report.info.duration_s))
    assert (report.condition.verdict, report.condition.audio, report.frames_decoded) == (
        "degraded",
        "present",
        75,
    )


def test_everything_is_read_through_the_opener(tmp_path, whole):
    asked, limits = [], Limits(max_pixels=1_000_000)

    def opener(path, **how):
        asked.append((path, how))
        return VideoReader(path, **how)

    path = put(tmp_path, whole)
    check(path, opener=opener, limits=limits)
    check(path, opener=opener, quick=True)
    check(path, opener=opener, deep=True)
    assert [where for where, _ in asked] == [path] * 4
    assert asked[0][1] == {"limits": limits, "audio_track": 0, "threads": 0}
    assert [how["threads"] for _, how in asked] == [0, 0, 0, 1]


@pytest.mark.parametrize("how", [{}, {"quick": True}, {"deep": True}])
def test_how_far_it_has_come(tmp_path, whole, how):
    shares: list[float] = []
    check(put(tmp_path, whole), on_share=shares.append, **how)
    assert len(shares) >= 250
    assert shares[0] < 0.01
    assert max(shares) > 0.99
    assert all(0 <= share <= 1 for share in shares)
    if "quick" not in how:  # packets are not in the order of time
        assert shares == sorted(shares)


def test_the_table_of_real_files(shared_data):
    """At least 95 % of the verdicts on real odd and broken files agree with another reader's."""
    table = shared_data / "media" / "MEDIA.csv"
    if not table.is_file():
        pytest.skip("no media/MEDIA.csv in the shared data")
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    differ = []
    for row in rows:
        report = check(shared_data / row["path"])
        if report.condition.verdict == "failed":
            assert report.failure.kind in FAILURE_KINDS
            assert report.failure.hint
        if report.condition.verdict != row["verdict"]:
            differ.append((row["path"], row["verdict"], report.condition.verdict))
    assert len(differ) <= 0.05 * len(rows), differ
