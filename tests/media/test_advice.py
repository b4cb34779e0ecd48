"""Advice: which command for which damage, names that no shell misreads, and whether the commands mend."""

from __future__ import annotations

import os
import shlex
import shutil
import stat
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
from tests.media.makers import cut, even, front_loaded, packets_of, spoil, tone, write

from avglance.media import CheckReport, Limits, check
from avglance.media.advice import advise
from avglance.types import AudioTrack, Condition, Failure, MediaInfo, Reason

AAC = (AudioTrack("aac", 48_000, 2),)
COPY = "ffmpeg -nostdin -i a.mkv -map 0:V -map 0:a -c copy a.mkv.mended.mp4"
SOUND = "-c:a aac -af aresample=async=1"
ANEW = f"ffmpeg -nostdin -i a.mkv -map 0:V -map 0:a -c:v libx264 -crf 18 {SOUND} a.mkv.mended.mp4"
TRUNCATED = Reason("truncated", "the file ends before its header says", 5.0, 10.0)
DAMAGED = Reason("damaged", "pictures are damaged or missing", 2.0, 3.0)
JUMP = Reason("clock_jump", "timestamps go back; the pictures after that are left out")


def found(
    *reasons: Reason, video: str = "a.mkv", verdict: str = "degraded", **changes: object
) -> CheckReport:
    """A report as ``check`` would give it for a film of 10 s, H.264 and AAC."""
    info = MediaInfo(10.0, 96, 64, 25.0, False, "matroska,webm", "h264", AAC)
    condition = Condition(verdict, reasons, "present", 0.5)  # type: ignore[arg-type]  # a test's shorthand
    return CheckReport(video, condition, replace(info, **changes), 10, 1.0, 1.0, None)  # type: ignore[arg-type]


def failed(kind: str, message: str, video: str = "a.mp4") -> CheckReport:
    condition = Condition("failed", (Reason(kind, message),), "absent", 0.0)
    return CheckReport(video, condition, None, 0, 0.0, 0.0, Failure(video, kind, message, "a hint"))


def command(report: CheckReport) -> str:
    """The one command in the advice, which is its last line."""
    *told, last = advise(report)
    assert told
    assert not [line for line in told if line.startswith(("ffmpeg", "chmod"))]
    return last


def test_nothing_for_a_good_file():
    assert advise(found(verdict="ok")) == ()
    assert advise(found(Reason("no_video", "sound only"), verdict="ok", has_video=False)) == ()


def test_a_cut_file_is_copied():
    assert command(found(TRUNCATED)) == COPY


def test_damage_at_the_cut_is_left_out():
    tail = Reason("damaged", "pictures are damaged or missing", 4.8, 5.0)
    assert command(found(TRUNCATED, tail)) == COPY.replace("-c copy", "-c copy -t 4.80")
    assert command(found(TRUNCATED, DAMAGED)) == ANEW
    assert command(found(TRUNCATED, tail, JUMP)) != ANEW


def test_codecs_that_mp4_does_not_take_go_to_matroska():
    tracks = (AudioTrack("vorbis", 48_000, 2),)
    assert command(found(TRUNCATED, video_codec="vp8")).endswith("-c copy a.mended.mkv")
    assert command(found(TRUNCATED, audio_tracks=tracks)).endswith("-c copy a.mended.mkv")
    lost = Reason("damaged_sound", "sound is damaged", 1.0, 2.0)
    assert command(found(lost, audio_tracks=tracks)).endswith(
        "-c:v copy -c:a aac -af aresample=async=1 a.mkv.mended.mp4"
    )
    assert command(found(lost, video_codec="wmv2")).endswith("a.mended.mkv")


def test_damaged_pictures_are_encoded_anew():
    assert command(found(DAMAGED)) == ANEW
    assert command(found(Reason("unstable", "two decodings of the pictures differ", 1.0, 2.0))) == ANEW
    assert "-c:a" not in command(found(DAMAGED, audio_tracks=()))
    assert command(found(DAMAGED, video="a.mp4")) == ANEW.replace("a.mkv.mended", "a.mended").replace(
        "a.mkv", "a.mp4"
    )
    assert "-vf 'pad=ceil(iw/2)*2:ceil(ih/2)*2' -c:v libx264" in command(found(DAMAGED, width=97))


def test_a_clock_that_jumps_is_counted_anew():
    assert "-vf setpts=N/29.97/TB -c:v libx264 -crf 18 -c:a aac -af asetpts=N/SR/TB " in command(
        found(JUMP, frame_rate=29.97)
    )
    assert command(found(JUMP, frame_rate=0.0)) == ANEW
    assert command(found(JUMP, container="mpegts")) == COPY  # ffmpeg itself knows that these clocks jump
    assert "setpts" in command(found(JUMP, DAMAGED, container="mpegts"))


def test_one_track_that_cannot_be_decoded():
    lost = found(Reason("no_sound_decoded", "no sound can be decoded"), audio_tracks=())
    assert command(lost) == "ffmpeg -nostdin -i a.mkv -map 0:V -c copy a.mkv.mended.mp4"
    lost = found(Reason("no_picture_decoded", "none can be decoded"), has_video=False, video_codec="")
    assert command(lost) == "ffmpeg -nostdin -i a.mkv -map 0:a -c copy a.mkv.mended.mp4"
    unknown = found(Reason("no_sound_decoded", "the codec of the sound is not known here"), audio_tracks=())
    assert "if your ffmpeg knows" in advise(unknown)[0]


def test_only_tracks_of_a_known_codec_are_named():
    tracks = (*AAC, AudioTrack("unknown", 0, 0), *AAC)
    assert "-map 0:V -map 0:a:0 -map 0:a:2 -c copy" in command(found(TRUNCATED, audio_tracks=tracks))


def test_sound_from_another_file_is_left_alone():
    beside, lost = Reason("side_sound", "the sound is that of a.wav"), Reason("damaged_sound", "x", 1.0, 2.0)
    assert command(found(TRUNCATED, beside)) == COPY.replace(" -map 0:a", "")
    assert advise(found(lost, beside)) == ("the damaged sound is that of the other file: check that one",)
    assert advise(found(DAMAGED, lost, beside))[-1] == ANEW.replace(" -map 0:a", "").replace(f" {SOUND}", "")


def test_what_no_command_mends():
    missing = advise(failed("truncated", "the file is cut off, or its header is damaged"))
    assert missing[0].startswith("no ffmpeg command can mend it")
    secret = advise(failed("unsupported", "nothing in it can be decoded: it is damaged or encrypted"))
    assert secret == (
        "no command can mend an encrypted file: ask whoever made it for one without protection",
    )
    (slow,) = advise(found(Reason("timeout", "reading took longer than 300 s")))
    assert slow == "--limit max_decode_s=SECONDS gives it longer; --quick reads it without decoding"
    for kind in ("missing", "empty", "not_media", "no_video", "refused", "timeout", "limit", "crashed"):
        assert advise(failed(kind, "x")) == ()  # the failure's own hint says it all


def test_a_limit_is_named_as_the_command_line_has_it(tmp_path):
    path = write(tmp_path / "x.mp4", even(1))
    for limits, name in (
        (Limits(max_pixels=100), "max_pixels"),
        (Limits(max_duration_s=0.5), "max_duration_s"),
    ):
        report = check(path, limits=limits)
        assert report.failure is not None
        assert (report.failure.kind, report.advice) == (
            "limit",
            (f"on the command line: --limit {name}=VALUE",),
        )


def test_the_right_to_read():
    assert (
        command(failed("permission", "the file may not be read", "my film.mp4")) == "chmod u+r 'my film.mp4'"
    )
    assert command(failed("permission", "the file may not be read", "-x.mp4")) == "chmod u+r ./-x.mp4"


@pytest.mark.parametrize(
    ("name", "source", "target"),
    [
        ("a b.mkv", "'a b.mkv'", "'a b.mkv.mended.mp4'"),
        (
            "it's; rm -rf $HOME.mkv",
            "'it'\"'\"'s; rm -rf $HOME.mkv'",
            "'it'\"'\"'s; rm -rf $HOME.mkv.mended.mp4'",
        ),
        ("-i.mkv", "./-i.mkv", "./-i.mkv.mended.mp4"),
        ("concat:a.mkv", "./concat:a.mkv", "./concat:a.mkv.mended.mp4"),
        ("d.x/film", "d.x/film", "d.x/film.mended.mp4"),
        ("ein schöner\u00a0Tag.mkv", "'ein schöner\u00a0Tag.mkv'", "'ein schöner\u00a0Tag.mkv.mended.mp4'"),
    ],
)
def test_names_are_quoted(name, source, target):
    line = command(found(TRUNCATED, video=name))
    assert line == COPY.replace("a.mkv.mended.mp4", target).replace("-i a.mkv", f"-i {source}")
    words = shlex.split(line)
    assert words[3] != words[-1]  # never onto itself


@pytest.mark.parametrize("name", ["a\nb.mkv", "a\x1b[31m.mkv", "\u202egpj.mkv", "a\udcff.mkv"])
def test_a_name_that_cannot_be_typed(name):
    first, _, line = advise(found(TRUNCATED, video=name))
    assert first.startswith("rename the file first")
    assert line == COPY.replace("a.mkv.mended.mp4", "INPUT.mended.mp4").replace("-i a.mkv", "-i INPUT")


# ---- with a real ffmpeg ----


def both(path: Path, **options: object) -> Path:
    """Ten seconds of pictures and a tone."""
    return write(path, even(10), sound=tone(10), **options)  # type: ignore[arg-type]


def front_cut(folder: Path) -> Path:
    return cut(front_loaded(both(folder / "x.mp4")), 0.5)


def joined(path: Path, skip: int = 0, **options: object) -> Path:
    """Two recordings of 4 s in one file, the second with a clock of its own."""
    parts = [write(path.with_stem(name), even(4), **options) for name in "ab"]  # type: ignore[arg-type]
    path.write_bytes(parts[0].read_bytes() + parts[1].read_bytes()[skip:])
    return path


def flipped(path: Path) -> Path:
    raw, rng = bytearray(path.read_bytes()), np.random.default_rng(5)
    for position, size, time, _ in packets_of(path):
        if 4.0 <= time < 6.0:
            for at in rng.integers(position + 5, position + size, max(2, size // 20)):
                raw[at] ^= int(rng.integers(1, 256))
    path.write_bytes(raw)
    return path


def hollow(path: Path, kept: str) -> Path:
    """A file that declares pictures and sound, and holds packets of one of them."""
    whole = write(path.with_stem("whole"), even(2), sound=tone(2), sound_codec="pcm_s16le")
    with av.open(str(whole)) as source, av.open(str(path), "w") as target:
        streams = {s.index: target.add_stream_from_template(s) for s in source.streams}
        for packet in source.demux(next(s for s in source.streams if s.type == kept)):
            if packet.size:
                packet.stream = streams[packet.stream_index]
                target.mux(packet)
    return path


def odd_size(path: Path) -> Path:
    def draw(number: int) -> np.ndarray:
        return np.random.default_rng(number).integers(0, 256, (65, 97, 3), dtype=np.uint8)

    return spoil(write(path, even(4), draw=draw, codec="mpeg4"), 1.0, 2.0)


Maker = Callable[[Path], Path]
DAMAGE: dict[str, tuple[Maker, float, float]] = {  # maker, seconds of pictures and of sound once mended
    "index in front, cut": (front_cut, 4.9, 4.8),
    "mkv cut": (lambda d: cut(both(d / "x.mkv"), 0.5), 5.0, 4.9),
    "webm cut": (lambda d: cut(write(d / "x.webm", even(3), codec="libvpx"), 0.5), 1.4, 0.0),
    "flv cut": (lambda d: cut(write(d / "x.flv", even(10), b_frames=0), 0.5), 5.0, 0.0),
    "hole in pictures": (lambda d: spoil(both(d / "x.mp4"), 3.0, 6.0), 10.0, 10.0),
    "hole in sound": (lambda d: spoil(both(d / "x.mp4"), 3.0, 6.0, "audio"), 10.0, 10.0),
    "hole in both": (
        lambda d: spoil(spoil(both(d / "x.mp4"), 3.0, 6.0, "audio"), 5.0, 7.0),
        10.0,
        10.0,
    ),
    "flipped bytes": (lambda d: flipped(both(d / "x.mp4")), 10.0, 10.0),
    "ts, clock jumps": (lambda d: joined(d / "x.ts", sound=tone(4)), 8.0, 8.2),
    "flv, clock jumps": (lambda d: joined(d / "x.flv", 13, b_frames=0), 8.0, 0.0),
    "no sound": (lambda d: hollow(d / "x.mkv", "video"), 2.0, 0.0),
    "no pictures": (lambda d: hollow(d / "x.mkv", "audio"), 0.0, 2.0),
    "sound spoilt": (lambda d: spoil(both(d / "x.mp4"), -1.0, 99.0, "audio"), 10.0, 0.0),
    "pictures spoilt": (lambda d: spoil(both(d / "x.mp4"), -1.0, 99.0), 0.0, 10.0),
    "sound only, cut": (lambda d: cut(front_loaded(write(d / "x.mp4", sound=tone(10))), 0.5), 0.0, 4.9),
    "sound only, hole": (lambda d: spoil(write(d / "x.m4a", sound=tone(10)), 3.0, 6.0, "audio"), 0.0, 10.0),
    "odd size": (lambda d: odd_size(d / "x.mkv"), 4.0, 0.0),
}


def run_command(line: str, folder: Path) -> int:
    """Give the line to a shell, as a person would."""
    return subprocess.run(["sh", "-c", line], cwd=folder, capture_output=True, timeout=120).returncode


@pytest.mark.parametrize("name", DAMAGE)
def test_the_command_mends(name, tmp_path, monkeypatch):
    if shutil.which("ffmpeg") is None:
        pytest.skip("no ffmpeg on PATH: the advised commands cannot be run")
    maker, picture_s, sound_s = DAMAGE[name]
    damaged = tmp_path / f"it's -damaged-{maker(tmp_path).suffix}"
    (tmp_path / f"x{damaged.suffix}").rename(damaged)
    monkeypatch.chdir(tmp_path)
    report = check(damaged.name)
    assert report.condition.verdict == "degraded"
    before = damaged.read_bytes()
    line = report.advice[-1]
    run_command(line, tmp_path)
    mended = check(shlex.split(line)[-1])
    assert (mended.condition.verdict, mended.advice) == ("ok", ())
    assert mended.picture_s == pytest.approx(picture_s, abs=0.11)
    assert mended.sound_s == pytest.approx(sound_s, abs=0.2)
    assert damaged.read_bytes() == before
    made = Path(shlex.split(line)[-1]).stat().st_mtime_ns
    run_command(line, tmp_path)  # a second time it stops: nothing is overwritten
    assert Path(shlex.split(line)[-1]).stat().st_mtime_ns == made


def test_ffmpeg_indeed_cannot_mend_a_file_without_index(tmp_path):
    if shutil.which("ffmpeg") is None:
        pytest.skip("no ffmpeg on PATH: the advised commands cannot be run")
    path = cut(both(tmp_path / "x.mp4"), 0.6)
    assert check(path).advice[0].startswith("no ffmpeg command can mend it")
    for wanted in ("-c copy", "-c:v libx264 -c:a aac"):
        assert run_command(f"ffmpeg -nostdin -err_detect ignore_err -i x.mp4 {wanted} y.mkv", tmp_path) != 0


def test_chmod_gives_the_right_to_read(tmp_path, monkeypatch):
    path = write(tmp_path / "-my film.mp4", even(1))
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user may read everything")
    monkeypatch.chdir(tmp_path)
    assert run_command(check(path.name).advice[-1], tmp_path) == 0
    assert path.stat().st_mode & stat.S_IRUSR
    assert check(path.name).condition.verdict == "ok"
