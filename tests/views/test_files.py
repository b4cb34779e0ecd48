"""FileView on real files, written here: one clock for sight and sound, lost pictures, odd tracks, cost."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from avglance.views import CLIP_S, RATE_HZ, FileView, ViewSettings, clip_start, source_square

FPS = 25
CLICK = 80  # samples: 5 ms
SETTINGS = ViewSettings(snippets=8, resize_side=64, source_side=64, glance_side=32, patch_side=32)
ALL = np.array([(0, t) for t in range(8)])
CODECS = {
    "mkv": ("mpeg4", "pcm_s16le"),
    "mp4": ("libx264", "aac"),
    "ts": ("libx264", "mp2"),
    "mov": ("mpeg4", "pcm_s16le"),
}


def write(
    path: Path,
    *,
    seconds: float = 8.0,
    event_s: float | None = None,
    picture_s: float = 0.0,
    sound_s: float = 0.0,
    sound_seconds: float | None = None,
    gop: int = 12,
) -> Path:
    """Dim pictures that begin at ``picture_s`` and faint noise at ``sound_s``, on the file's own clock.

    The picture shown at ``event_s`` is white, and a click sounds at the moment that picture appears.
    """
    picture, sound = CODECS[path.suffix[1:]]
    rng = np.random.default_rng(0)
    sound_seconds = seconds if sound_seconds is None else sound_seconds
    with av.open(str(path), "w") as box:
        if seconds:
            video = box.add_stream(picture, rate=FPS)
            video.width, video.height, video.pix_fmt, video.gop_size = 80, 64, "yuv420p", gop
            video.codec_context.time_base = Fraction(1, FPS)
        if sound_seconds:
            audio = box.add_stream(sound, rate=RATE_HZ)
            audio.layout = "mono"
        flash = None if event_s is None else int((event_s - picture_s) * FPS + 1e-6)
        for n in range(round(seconds * FPS)):
            image = np.full((64, 80, 3), 255 if n == flash else 40 + n % 5, np.uint8)
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = n + round(picture_s * FPS), Fraction(1, FPS)
            box.mux(video.encode(frame))
        if seconds:
            box.mux(video.encode(None))
        wave = 1e-3 * rng.standard_normal(round(sound_seconds * RATE_HZ))
        if flash is not None:
            first = round((flash / FPS + picture_s - sound_s) * RATE_HZ)
            wave[first : first + CLICK] = 0.9 * np.sign(rng.standard_normal(CLICK))
        for first in range(0, len(wave), 1024):
            block = (wave[first : first + 1024] * 32_000).astype(np.int16)[None]
            piece = av.AudioFrame.from_ndarray(block, format="s16", layout="mono")
            piece.sample_rate, piece.time_base = RATE_HZ, Fraction(1, RATE_HZ)
            piece.pts = first + round(sound_s * RATE_HZ)
            box.mux(audio.encode(piece))
        if sound_seconds:
            box.mux(audio.encode(None))
    return path


def shown_at(view: FileView, snippet: int) -> bool:
    square = view.square(0, snippet)
    return square is not None and float(square.mean()) > 150


def click_time(view: FileView, snippet: int) -> float:
    """Where in the presentation the loudest sound of a snippet's clip is, from the log-mel alone."""
    loud = np.exp(view.sounds([(0, snippet)])[0, 0].astype(np.float64)).sum(axis=1) ** 2
    loud[loud < 0.1 * loud.max()] = 0
    centres = (np.arange(96) * 160 + 200) / RATE_HZ
    start = clip_start(view.times[0, snippet], view.infos[0].duration_s)
    return start + float((loud * centres).sum() / loud.sum())


def presentation_start(path: Path, picture_s: float) -> float:
    """Zero of the presentation on the clock of ``write``: MPEG-TS shifts all, MP2 begins before its sound."""
    with av.open(str(path)) as box:
        starts = {s.type: float(s.start_time * s.time_base) for s in box.streams}
    return min(0.0, starts["audio"] - starts["video"]) + picture_s


@pytest.mark.parametrize(
    ("name", "picture_s", "sound_s"),
    [
        ("plain.mkv", 0.0, 0.0),
        ("plain.mp4", 0.0, 0.0),
        ("plain.mov", 0.0, 0.0),
        ("plain.ts", 0.0, 0.0),
        ("starts at five.mkv", 5.0, 5.0),
        ("starts at five.ts", 5.0, 5.0),
        ("late sound.mkv", 0.0, 0.72),
        ("late sound.mp4", 0.0, 0.72),
        ("late pictures.mkv", 0.72, 0.0),
        ("late pictures.mp4", 0.72, 0.0),
        ("late pictures of a late file.mkv", 5.72, 5.0),
    ],
)
def test_click_and_flash_meet(tmp_path: Path, name: str, picture_s: float, sound_s: float) -> None:
    begin = {"picture_s": picture_s, "sound_s": sound_s}
    with FileView([write(tmp_path / f"probe {name}", **begin)], SETTINGS) as probe:
        asked = float(probe.times[0, 4])  # the same for every file of this making
    zero = presentation_start(tmp_path / f"probe {name}", picture_s)
    event = zero + asked
    with FileView([write(tmp_path / name, event_s=event, **begin)], SETTINGS) as view:
        assert view.times[0, 4] == pytest.approx(asked, abs=1e-6)
        view.pictures(ALL)
        assert [shown_at(view, t) for t in range(8)] == [t == 4 for t in range(8)]
        appears = picture_s + int((event - picture_s) * FPS + 1e-6) / FPS - zero
        assert 0 <= asked - appears < 1 / FPS + 1e-6
        assert click_time(view, 4) == pytest.approx(appears + CLICK / RATE_HZ / 2, abs=0.02)


def test_the_frame_before_and_after_are_not_shown(tmp_path: Path) -> None:
    """A flash one frame off is not seen: the picture is the one on the screen, not a neighbour."""
    for shift in (-1, 1):
        path = write(tmp_path / f"{shift}.mkv", event_s=4.5 + 0.01 + shift / FPS)
        with FileView([path], SETTINGS) as view:
            assert view.times[0, 4] == pytest.approx(4.5)
            view.pictures(ALL)
            assert not shown_at(view, 4)


def spoil(source: Path, target: Path, begin_s: float, end_s: float) -> Path:
    """A copy whose picture packets between two times hold nothing but zeros."""
    with av.open(str(source)) as box, av.open(str(target), "w") as out:
        copies = {s.index: out.add_stream_from_template(s) for s in box.streams}
        for packet in box.demux():
            if packet.dts is None:
                continue
            time_s = float(packet.pts * packet.time_base)
            if packet.stream.type == "video" and begin_s <= time_s < end_s:
                blank = av.Packet(bytes(packet.size))
                blank.pts, blank.dts, blank.time_base = packet.pts, packet.dts, packet.time_base
                blank.duration, blank.is_keyframe = packet.duration, packet.is_keyframe
                blank.stream = copies[packet.stream.index]
                packet = blank
            else:
                packet.stream = copies[packet.stream.index]
            out.mux(packet)
    return target


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_pictures_lost_in_the_middle_third(tmp_path: Path, suffix: str) -> None:
    whole = write(tmp_path / f"whole.{suffix}", seconds=12.0)
    broken = spoil(whole, tmp_path / f"broken.{suffix}", 4.0, 8.0)
    settings = ViewSettings(snippets=12, resize_side=64, source_side=64, glance_side=32, patch_side=32)
    at = np.array([(v, t) for v in (0, 1) for t in range(12)])
    with FileView([whole, broken], settings) as view:
        pictures = view.pictures(at).reshape(2, 12, 3, 32, 32)
        view.sounds(at)
        good, bad = view.condition(0), view.condition(1)
        assert view.errors == [None, None]
        assert view.visible[0].all()
        assert view.visible[1].tolist() == [True] * 4 + [False] * 4 + [True] * 4
        assert view.audible.all()
        assert not pictures[1, 4:8].any()
        np.testing.assert_array_equal(pictures[1, :4], pictures[0, :4])
        np.testing.assert_array_equal(pictures[1, 9:], pictures[0, 9:])
    assert (good.verdict, good.coverage) == ("ok", 1.0)
    assert (bad.verdict, bad.audio) == ("degraded", "present")
    assert bad.coverage == pytest.approx(8 / 12)
    lost = [r for r in bad.reasons if r.kind == "pictures_lost"]
    assert [(round(r.start_s), round(r.end_s)) for r in lost] == [(4, 8)]


def test_only_what_was_asked_is_delivered(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", seconds=16.0, gop=25)
    with FileView([path], SETTINGS, threads=1) as view:
        opening = int(view.frames_decoded[0])  # the header of pictures is their first frame
        assert view.frames_delivered.tolist() == [0]
        assert opening <= 4
        view.sounds(ALL)
        assert view.frames_decoded.tolist() == [opening]
        view.pictures(ALL[[1, 5]])
        assert view.frames_delivered.tolist() == [2]
        view.patches(ALL[[5, 6, 6]], [[0, 0, 0.5, 0.5]] * 3)
        assert view.frames_delivered.tolist() == [3]
        view.pictures(ALL[[1, 5, 6]])
        assert view.frames_delivered.tolist() == [3]
        assert (
            3 <= view.frames_decoded[0] - opening <= 3 * 30
        )  # a frame needs those since its keyframe, not the whole file
        assert view.decode_s[0] > 0


def test_keyframe_grid_decodes_one_frame_a_snippet(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", seconds=16.0, gop=25)
    settings = ViewSettings(
        snippets=8, resize_side=64, source_side=64, glance_side=32, patch_side=32, grid="keyframe"
    )
    with FileView([path], settings, threads=1) as view:
        times = view.times[0]
        np.testing.assert_allclose(times, times.round(), atol=1e-3)  # a keyframe every second
        assert np.abs(times - np.arange(1, 16, 2)).max() <= 1.0
        opening = int(view.frames_decoded[0])
        assert opening <= 4
        assert view.pictures(ALL).any(axis=(1, 2, 3)).all()
        assert view.frames_delivered.tolist() == [8]
        assert view.frames_decoded[0] - opening <= 4 * 8  # B-frames ahead hold the decoder's answer back


def test_squares_are_those_of_a_plain_decode(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mkv", event_s=2.5)
    with av.open(str(path)) as box:
        frames = [(f.time, f.to_ndarray(format="rgb24")) for f in box.decode(video=0)]
    with FileView([path], SETTINGS) as view:
        view.pictures(ALL)
        for t in range(8):
            image = [image for time, image in frames if time <= view.times[0, t] + 1e-6][-1]
            expected = source_square(image, SETTINGS).astype(int)
            assert np.abs(view.square(0, t) - expected).max() <= 2


@pytest.mark.parametrize("suffix", ["mkv", "mp4"])
def test_no_sound_and_sound_only(tmp_path: Path, suffix: str) -> None:
    mute = write(tmp_path / f"mute.{suffix}", sound_seconds=0)
    blind = write(tmp_path / f"blind.{suffix}", seconds=0, sound_seconds=8.0)
    at = np.concatenate([ALL, ALL + np.array([1, 0])])
    with FileView([mute, blind], SETTINGS) as view:
        view.sounds(at)
        view.pictures(at)
        assert view.visible.tolist() == [[True] * 8, [False] * 8]
        assert view.audible.tolist() == [[False] * 8, [True] * 8]
        first, second = view.condition(0), view.condition(1)
    assert (first.verdict, first.audio, first.coverage) == ("ok", "absent", 1.0)
    assert (second.verdict, second.audio, second.coverage) == ("degraded", "present", 1.0)
    assert "no_video" in [r.kind for r in second.reasons]


def test_one_frame(tmp_path: Path) -> None:
    with FileView([write(tmp_path / "one.mkv", seconds=1 / FPS, sound_seconds=0)], SETTINGS) as view:
        assert view.pictures(ALL).any(axis=(1, 2, 3)).all()
        assert view.visible.all()
        assert view.condition(0).verdict == "ok"


def test_sound_shorter_than_a_clip_beside_long_pictures(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mov", seconds=8.0, sound_seconds=0.6)
    with FileView([path], SETTINGS) as view:
        view.sounds(ALL)
        assert view.visible.all()
        assert view.audible.tolist() == [[True] + [False] * 7]  # the clip around 0.5 s begins at 0.0125 s
        assert view.condition(0).verdict == "ok"
        assert view.condition(0).coverage == pytest.approx(1 / 8)  # of what was asked


def test_all_shorter_than_a_clip(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mkv", seconds=0.4, sound_seconds=0.4)
    with FileView([path], SETTINGS) as view:
        out = view.sounds(ALL)
        assert view.visible.all()
        assert view.audible.all()
        assert view.pictures(ALL).any()
        np.testing.assert_array_equal(out[0], out[7])
        assert CLIP_S > 0.4


def test_a_bad_file_among_good_ones(tmp_path: Path) -> None:
    bad = tmp_path / "page.mp4"
    bad.write_text("<!doctype html><title>404</title>")
    good = write(tmp_path / "good.mkv")
    with FileView([bad, good, tmp_path / "nowhere.mp4"], SETTINGS) as view:
        assert [e.kind if e else None for e in view.errors] == ["not_media", None, "missing"]
        at = np.array([(v, 3) for v in range(3)])
        assert [bool(p.any()) for p in view.pictures(at)] == [False, True, False]
        assert [view.condition(v).verdict for v in range(3)] == ["failed", "ok", "failed"]


def test_a_sound_track_that_one_file_lacks(tmp_path: Path) -> None:
    paths = [write(tmp_path / "a.mkv"), write(tmp_path / "mute.mkv", sound_seconds=0)]
    with FileView(paths, SETTINGS, audio_track=1) as view:
        assert [e.kind if e else None for e in view.errors] == ["unsupported", None]
        assert view.visible.tolist() == [[False] * 8, [True] * 8]
