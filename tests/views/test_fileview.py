"""FileView over a reader that is made of paper: what is asked of it, and what comes back."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from avglance.errors import ArgumentError, MediaError, ShapeError
from avglance.media import Frame, SoundPiece
from avglance.types import AudioTrack, MediaInfo, Reason
from avglance.views import (
    CLIP_SAMPLES,
    RATE_HZ,
    SILENCE,
    FileView,
    ViewSettings,
    clip_start,
    crop_patches,
    logmel,
    onefile,
    resize,
    source_square,
)

SETTINGS = ViewSettings(snippets=8, resize_side=48, source_side=48, glance_side=16, patch_side=24)


@dataclass
class Paper:
    """A make-believe file: pictures on [p0, p1), sound (a function of the sample number) on [s0, s1)."""

    duration: float = 16.0
    pictures: tuple[float, float] | None = (0.0, 16.0)
    sound: tuple[float, float] | None = (0.0, 16.0)
    lost: tuple[float, float] = (-1.0, -1.0)
    deaf: tuple[float, float] = (-1.0, -1.0)
    gain: float = 0.5
    rate: float = 10.0
    key_s: float | None = 5.0
    piece: int = 1000
    error: MediaError | None = None  # while decoding pictures
    sound_error: MediaError | None = None
    reasons: list[Reason] = field(default_factory=list)
    width: int = 64
    height: int = 48


def painting(time_s: float, paper: Paper) -> np.ndarray:
    seed = round(time_s * 1000)
    return np.random.default_rng(seed).integers(0, 256, (paper.height, paper.width, 3), dtype=np.uint8)


def wave(first: int, last: int, gain: float) -> np.ndarray:
    n = np.arange(first, last, dtype=np.float64)
    return (gain * np.sin(2e-6 * n * n)).astype(np.float32)  # a chirp: every place sounds different


class PaperReader:
    """Keeps to the surface of ``VideoReader``, and notes what it is asked."""

    made: dict[str, PaperReader]
    papers: dict[str, Paper | MediaError]

    def __init__(self, path: Any, **options: Any) -> None:
        paper = self.papers[str(path)]
        if isinstance(paper, MediaError):
            raise paper
        self.paper, self.options = paper, options
        tracks = (AudioTrack("aac", 48_000, 2),) if paper.sound else ()
        shape = (paper.width, paper.height) if paper.pictures else (0, 0)
        self.info = MediaInfo(
            paper.duration, *shape, paper.rate, False, "mp4", "h264", tracks, 0, paper.pictures is not None
        )
        self.picture_span, self.sound_span, self.reasons = paper.pictures, paper.sound, list(paper.reasons)
        self.frames_delivered = self.frames_decoded = 0
        self.decode_s = 0.25
        self.asked_times: list[float] = []
        self.asked_sound: list[tuple[float, float]] = []
        self.closed = 0
        self.made[str(path)] = self

    def close(self) -> None:
        self.closed += 1

    def keyframes_near(self, times: Sequence[float]) -> list[float | None]:
        key = self.paper.key_s
        return [None if key is None else round(time_s / key) * key for time_s in times]

    def frames_at(
        self, times: Sequence[float], *, max_side: int | None = None
    ) -> Iterator[tuple[int, Frame | None]]:
        assert not self.closed
        self.asked_times += list(times)
        for index in np.argsort(times).tolist():
            if self.paper.error is not None and index:
                raise self.paper.error
            time = times[index]
            self.frames_decoded += 3
            if self.paper.lost[0] <= time < self.paper.lost[1]:
                yield index, None
            else:
                self.frames_delivered += 1
                yield index, Frame(time, time + 0.1, painting(time, self.paper))

    def sound(self, start_s: float, end_s: float, *, rate_hz: int = 16_000) -> Iterator[SoundPiece]:
        assert not self.closed
        assert rate_hz == RATE_HZ
        self.asked_sound.append((start_s, end_s))
        if self.paper.sound_error is not None:
            raise self.paper.sound_error
        low, high = (round(s * rate_hz) for s in self.paper.sound)
        first, last = max(round(start_s * rate_hz), low), min(round(end_s * rate_hz), high)
        deaf = [round(s * rate_hz) for s in self.paper.deaf]
        for begin in range(first, last, self.paper.piece):
            end = min(begin + self.paper.piece, last)
            if not (deaf[0] <= begin < deaf[1]):
                yield SoundPiece(begin / rate_hz, wave(begin, end, self.paper.gain))


@pytest.fixture
def shelf(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Paper files by name; the readers made of them are in ``PaperReader.made``."""
    monkeypatch.setattr(onefile, "VideoReader", PaperReader)
    PaperReader.made, PaperReader.papers = {}, {}
    return PaperReader.papers


def places(video: int, *snippets: int) -> np.ndarray:
    return np.array([(video, t) for t in snippets], dtype=np.int64)


def expected_mel(centre: float, paper: Paper) -> np.ndarray:
    first = round(clip_start(centre, paper.duration) * RATE_HZ)
    clip = np.zeros(CLIP_SAMPLES, np.float32)
    low, high = (round(s * RATE_HZ) for s in paper.sound)
    a, b = max(first, low), min(first + CLIP_SAMPLES, high)
    if a < b:
        clip[a - first : b - first] = wave(a, b, paper.gain)
    return logmel(clip[None])[0]


# ---------------------------------------------------------------------- asking


def test_opening_decodes_nothing(shelf: dict) -> None:
    shelf["a"] = Paper()
    with FileView(["a"], SETTINGS) as view:
        np.testing.assert_array_equal(view.times, [[1, 3, 5, 7, 9, 11, 13, 15]])
        assert view.visible.all()
        assert view.audible.all()
        assert view.times.dtype == np.float64
        assert view.visible.dtype == view.audible.dtype == bool
        reader = PaperReader.made["a"]
        assert reader.asked_times == []
        assert reader.asked_sound == []
        assert view.square(0, 0) is None
    assert reader.closed == 1
    view.close()
    assert reader.closed == 1


def test_each_frame_is_asked_for_once_and_no_other(shelf: dict) -> None:
    shelf["a"], shelf["b"] = Paper(), Paper()
    with FileView(["a", "b"], SETTINGS, threads=3, audio_track=1) as view:
        view.pictures([[1, 6], [1, 2], [1, 6]])
        view.patches([[1, 2], [1, 4]], [[0, 0, 0.5, 0.5], [0.5, 0.5, 1, 1]])
        view.pictures(places(1, 2, 4))
        reader = PaperReader.made["b"]
        assert reader.asked_times == [5.0, 13.0, 9.0]
        assert PaperReader.made["a"].asked_times == []
        assert view.frames_delivered.tolist() == [0, 3]
        assert view.frames_decoded.tolist() == [0, 9]
        assert view.decode_s[0] == 0.25  # of opening alone
        assert 0.25 < view.decode_s[1] < 0.75
        assert reader.asked_sound == []
        assert reader.options["threads"] == 3
        assert reader.options["audio_track"] == 1


def test_pictures_and_patches_are_made_of_the_squares(shelf: dict) -> None:
    shelf["a"], shelf["b"] = Paper(), Paper(width=90, height=120)
    at = np.array([[1, 3], [0, 0], [1, 0], [0, 7]])
    boxes = np.array(
        [[0, 0, 0.5, 0.5], [0.25, 0.125, 0.75, 0.625], [0.1, 0.2, 0.9, 1.0], [0.3, 0.3, 0.8, 0.8]]
    )
    with FileView(["a", "b"], SETTINGS) as view:
        pictures, patches = view.pictures(at), view.patches(at, boxes)
        squares = np.stack([view.square(v, t) for v, t in at.tolist()])
        for (v, t), square in zip(at.tolist(), squares, strict=True):
            np.testing.assert_array_equal(
                square, source_square(painting(view.times[v, t], shelf["ab"[v]]), SETTINGS)
            )
    assert pictures.shape == (4, 3, 16, 16)
    assert pictures.dtype == np.uint8
    assert patches.shape == (4, 3, 24, 24)
    assert patches.dtype == np.float32
    np.testing.assert_array_equal(pictures, resize(squares, 16))
    np.testing.assert_array_equal(patches, crop_patches(squares, boxes, 24))


def test_sounds_are_the_clips_around_the_centres(shelf: dict) -> None:
    shelf["a"] = paper = Paper()
    with FileView(["a"], SETTINGS) as view:
        out = view.sounds(places(0, 5, 0, 7, 5))
        assert out.shape == (4, 1, 96, 64)
        assert out.dtype == np.float32
        for row, t in enumerate((5, 0, 7, 5)):
            np.testing.assert_allclose(out[row, 0], expected_mel(view.times[0, t], paper), atol=1e-5)
        before = list(PaperReader.made["a"].asked_sound)
        view.sounds(places(0, 0, 7))
        assert PaperReader.made["a"].asked_sound == before  # heard once, kept
        read = sum(end - start for start, end in before)
    assert read == pytest.approx(3 * 0.975)


@given(st.floats(0.02, 40), st.floats(0, 1), st.floats(0, 1), st.integers(1, 16), st.integers(37, 30_000))
@hypothesis_settings(max_examples=25, deadline=None)
def test_any_track_gives_the_clips_that_are_there(
    duration: float, late: float, long: float, count: int, piece: int
) -> None:
    begin = late * duration
    end = begin + long * (duration - begin)
    paper = Paper(duration, None, (begin, end), piece=piece)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(onefile, "VideoReader", PaperReader)
        PaperReader.made, PaperReader.papers = {}, {"a": paper}
        with FileView(["a"], replace(SETTINGS, snippets=count)) as view:
            at = places(0, *range(count))
            out = view.sounds(at)
            for t in range(count):
                np.testing.assert_allclose(out[t, 0], expected_mel(view.times[0, t], paper), atol=1e-5)
            reads = PaperReader.made["a"].asked_sound
    assert (np.isfinite(view.levels_db) == view.audible).all()
    assert all(a[1] < b[0] for a, b in pairwise(reads))  # forward, never twice
    assert sum(b - a for a, b in reads) <= count * 1.975 + 1e-6


def test_clips_that_lie_close_are_read_in_one_go(shelf: dict) -> None:
    shelf["a"] = Paper(8.0, sound=(0.0, 8.0))
    with FileView(["a"], SETTINGS) as view:
        view.sounds(places(0, 7, 0, 1, 2))
        assert PaperReader.made["a"].asked_sound == [
            (pytest.approx(0.0125), pytest.approx(2.9875)),
            (pytest.approx(7.0125), pytest.approx(7.9875)),
        ]


def test_pieces_between_samples_leave_no_hole(shelf: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf["a"] = paper = Paper(piece=333)
    exact = PaperReader.sound

    def off_grid(self: PaperReader, *times: float, rate_hz: int) -> Iterator[SoundPiece]:
        for piece in exact(self, *times, rate_hz=rate_hz):
            yield SoundPiece(piece.start_s + 0.5 / RATE_HZ, piece.samples)

    monkeypatch.setattr(PaperReader, "sound", off_grid)
    with FileView(["a"], SETTINGS) as view:
        out = view.sounds(places(0, 4))[0, 0]
        np.testing.assert_allclose(out, expected_mel(view.times[0, 4], paper), atol=0.2)
        assert view.levels_db[0, 4] == pytest.approx(20 * np.log10(0.5 / np.sqrt(2)), abs=0.3)


def test_nothing_asked(shelf: dict) -> None:
    shelf["a"] = Paper()
    with FileView(["a"], SETTINGS) as view:
        assert view.sounds([]).shape == (0, 1, 96, 64)
        assert view.pictures(np.zeros((0, 2), int)).shape == (0, 3, 16, 16)
        assert view.patches([], []).shape == (0, 3, 24, 24)
        assert view.condition(0).coverage == 1.0
    with FileView([], SETTINGS) as none:
        assert none.times.shape == none.visible.shape == (0, 8)
        assert none.pictures([]).shape == (0, 3, 16, 16)


def test_wrong_requests(shelf: dict) -> None:
    shelf["a"] = Paper()
    with pytest.raises(ArgumentError, match="sequence of paths"):
        FileView("a", SETTINGS)
    with FileView(["a"], SETTINGS) as view:
        with pytest.raises(ArgumentError, match="outside 1 videos"):
            view.pictures([[1, 0]])
        with pytest.raises(ShapeError, match=r"boxes must be \(1, 4\)"):
            view.patches([[0, 0]], [[0, 0, 1, 1], [0, 0, 1, 1]])
        with pytest.raises(ArgumentError, match="a box is not"):
            view.patches([[0, 0]], [[np.nan] * 4])


# ---------------------------------------------------------------------- keyframes


def test_keyframe_grid_is_known_before_decoding_and_shares_frames(shelf: dict) -> None:
    shelf["a"] = paper = Paper(key_s=5.0)
    with FileView(["a"], replace(SETTINGS, grid="keyframe")) as view:
        assert view.times.tolist() == [[0, 5, 5, 5, 10, 10, 15, 15]]
        assert view.on_keyframes.all()
        assert PaperReader.made["a"].asked_times == []
        out = view.pictures(places(0, *range(8)))
        assert PaperReader.made["a"].asked_times == [0, 5, 10, 15]
        assert view.frames_delivered.tolist() == [4]
        np.testing.assert_array_equal(out[1], out[3])
        assert not np.array_equal(out[3], out[4])
        mels = view.sounds(places(0, 4))
        np.testing.assert_allclose(mels[0, 0], expected_mel(10.0, paper), atol=1e-5)


@pytest.mark.parametrize("grid", ["keyframe", "auto"])
@pytest.mark.parametrize("lacking", [{"pictures": None}, {"key_s": None}])
def test_without_pictures_or_known_keyframes_the_grid_is_the_exact_one(
    shelf: dict, grid: str, lacking: dict
) -> None:
    shelf["a"] = Paper(**lacking)
    with FileView(["a"], replace(SETTINGS, grid=grid)) as view:
        assert view.times.tolist() == [[1, 3, 5, 7, 9, 11, 13, 15]]
        assert not view.on_keyframes.any()


def test_the_auto_grid_takes_keyframes_inside_the_snippet_only(shelf: dict) -> None:
    shelf["a"] = paper = Paper(key_s=5.0)
    with FileView(["a"], replace(SETTINGS, grid="auto")) as view:
        assert view.times.tolist() == [[1, 3, 5, 7, 9, 11, 13, 15]]
        assert np.flatnonzero(view.on_keyframes[0]).tolist() == [2, 7]  # those at 0 and 10 spare nothing
    shelf["a"] = paper = Paper(key_s=2.5)
    with FileView(["a"], replace(SETTINGS, grid="auto")) as view:
        assert view.times.tolist() == [[0, 2.5, 5, 7.5, 9, 10, 12.5, 15]]
        assert np.flatnonzero(view.on_keyframes[0]).tolist() == [0, 1, 2, 3, 5, 6, 7]
        view.pictures(places(0, *range(8)))
        view.patches(places(0, 2, 3), [[0, 0, 0.5, 0.5]] * 2)
        assert PaperReader.made["a"].asked_times == [0, 2.5, 5, 7.5, 9, 10, 12.5, 15]  # once for both looks
        mels = view.sounds(places(0, 5))
        np.testing.assert_allclose(mels[0, 0], expected_mel(10.0, paper), atol=1e-5)  # of the picture's time


# ---------------------------------------------------------------------- missing and broken


def test_tracks_that_end_early_are_known_from_the_grid(shelf: dict) -> None:
    shelf["a"] = Paper(pictures=(0.0, 8.0), sound=(4.6, 12.4))
    with FileView(["a"], SETTINGS) as view:
        assert view.visible.tolist() == [[True] * 4 + [False] * 4]
        # clips reach 0.4875 s around 1, 3, 5, ...: the last one with sound is that around 11
        assert view.audible.tolist() == [[False, False, True, True, True, True, False, False]]
        pictures, mels = view.pictures(places(0, 3, 4)), view.sounds(places(0, 1, 2))
        assert pictures[0].any()
        assert not pictures[1].any()
        assert (mels[0] == np.float32(SILENCE)).all()
        assert (mels[1] != np.float32(SILENCE)).any()
        assert PaperReader.made["a"].asked_times == [7.0]
        assert len(PaperReader.made["a"].asked_sound) == 1
        found = view.condition(0)
    assert (found.verdict, found.reasons) == ("ok", ())  # a short track is no damage
    assert found.coverage == pytest.approx(2 / 4)  # of the snippets asked: 3 and 2 came, 4 and 1 did not


def test_memory_does_not_depend_on_length(shelf: dict) -> None:
    peaks = []
    for hours in (0.1, 30.0):
        end = hours * 3600
        shelf["a"] = Paper(end, (0.0, end), (0.0, end), piece=16_000)
        tracemalloc.start()
        with FileView(["a"], SETTINGS) as view:
            view.sounds(places(0, *range(8)))
            view.pictures(places(0, *range(8)))
            peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.1 * peaks[0] < 30e6


def test_lost_pictures_turn_invisible_and_are_told(shelf: dict) -> None:
    shelf["a"] = Paper(lost=(5.5, 10.5))
    at = places(0, *range(8))
    with FileView(["a"], SETTINGS) as view:
        assert view.visible.all()
        first = view.pictures(at)
        assert view.visible.tolist() == [[True] * 3 + [False] * 2 + [True] * 3]
        assert [bool(p.any()) for p in first] == view.visible[0].tolist()
        assert not view.patches(places(0, 3), [[0, 0, 1, 1]]).any()
        view.sounds(at)
        assert len(PaperReader.made["a"].asked_times) == 8  # what is lost is not asked for again
        found = view.condition(0)
    assert found.verdict == "degraded"
    assert found.audio == "present"
    assert found.coverage == pytest.approx(6 / 8)
    (reason,) = found.reasons
    assert reason == Reason("pictures_lost", "no picture came at 2 of 8 snippets", 6.0, 10.0)


def test_lost_sound_turns_inaudible_and_is_told(shelf: dict) -> None:
    shelf["a"] = Paper(deaf=(0.0, 4.0))
    with FileView(["a"], SETTINGS) as view:
        out = view.sounds(places(0, 0, 1, 2))
        assert view.audible.tolist() == [[False] * 2 + [True] * 6]
        assert (out[:2] == np.float32(SILENCE)).all()
        assert np.isnan(view.levels_db[0, :2]).all()
        found = view.condition(0)
    assert (found.verdict, found.audio) == ("degraded", "present")
    assert found.coverage == pytest.approx(1 / 3)
    assert found.reasons == (Reason("sound_lost", "no sound came at 2 of 8 snippets", 0.0, 4.0),)


@pytest.mark.parametrize(
    ("gain", "state"), [(0.5, "present"), (1e-3, "present"), (3e-4, "silent"), (0.0, "silent")]
)
def test_silence_is_real_sound(shelf: dict, gain: float, state: str) -> None:
    shelf["a"] = Paper(gain=gain)
    with FileView(["a"], SETTINGS) as view:
        assert view.condition(0).audio == "present"  # nothing heard yet
        view.sounds(places(0, *range(8)))
        assert view.audible.all()
        found = view.condition(0)
    assert (found.verdict, found.audio, found.coverage) == ("ok", state, 1.0)
    assert view.levels_db.min() == pytest.approx(
        max(-120, 20 * np.log10(max(gain, 1e-9) / np.sqrt(2))), abs=0.2
    )


def test_no_sound(shelf: dict) -> None:
    shelf["a"] = Paper(sound=None)
    at = places(0, *range(8))
    with FileView(["a"], SETTINGS) as view:
        assert not view.audible.any()
        assert (view.sounds(at) == np.float32(SILENCE)).all()
        view.pictures(at)
        found = view.condition(0)
    assert (found.verdict, found.audio, found.coverage, found.reasons) == ("ok", "absent", 1.0, ())


def test_sound_only(shelf: dict) -> None:
    shelf["a"] = Paper(pictures=None)
    at = places(0, *range(8))
    with FileView(["a"], SETTINGS) as view:
        assert not view.visible.any()
        assert not view.pictures(at).any()
        assert view.sounds(at).any()
        found = view.condition(0)
        with pytest.raises(ArgumentError, match="no pictures to draw"):
            view.box_px(0, (0, 0, 1, 1))
    assert (found.verdict, found.audio, found.coverage) == ("degraded", "present", 1.0)
    assert [r.kind for r in found.reasons] == ["no_video"]


def test_one_frame_and_sound_shorter_than_a_clip(shelf: dict) -> None:
    shelf["a"] = paper = Paper(0.3, (0.0, 0.1), (0.0, 0.3))
    with FileView(["a"], SETTINGS) as view:
        assert view.visible.tolist() == [[True] * 3 + [False] * 5]
        assert view.audible.all()
        mels = view.sounds(places(0, 0, 7))
        np.testing.assert_allclose(mels[0, 0], expected_mel(0.0, paper), atol=1e-5)
        np.testing.assert_array_equal(mels[0], mels[1])
        assert (mels[0, 0, 40:] == np.float32(SILENCE)).all()  # what is missing is silence
        assert view.levels_db[0, 0] > -12  # the level is that of what there is


def test_no_length_at_all(shelf: dict) -> None:
    shelf["a"] = Paper(0.0, (0.0, 0.0), None)
    with FileView(["a"], SETTINGS) as view:
        assert view.visible.all()
        assert view.pictures(places(0, 0, 7)).any(axis=(1, 2, 3)).all()
        assert view.frames_delivered.tolist() == [1]


def test_one_bad_file_does_not_stop_the_others(shelf: dict) -> None:
    bad = MediaError("it begins like a web page", kind="not_media", where="b")
    shelf["a"], shelf["b"], shelf["c"] = Paper(), bad, Paper(duration=8.0)
    at = np.array([[0, 0], [1, 0], [2, 0]])
    with FileView(["a", "b", "c"], SETTINGS) as view:
        assert view.errors == [None, bad, None]
        assert [i is None for i in view.infos] == [False, True, False]
        assert (view.times[1] == 0).all()
        assert not view.visible[1].any()
        assert not view.audible[1].any()
        seen = view.pictures(at)
        assert [bool(p.any()) for p in seen] == [True, False, True]
        assert (view.sounds(at)[1] == np.float32(SILENCE)).all()
        assert not view.patches(at, [[0, 0, 1, 1]] * 3)[1].any()
        assert view.frames_delivered.tolist() == [1, 0, 1]
        failed = view.condition(1)
        assert view.square(1, 0) is None
    assert (failed.verdict, failed.audio, failed.coverage) == ("failed", "absent", 0.0)
    assert failed.reasons[0].kind == "not_media"
    assert PaperReader.made["a"].closed == PaperReader.made["c"].closed == 1


def test_an_error_on_the_way_keeps_what_had_come(shelf: dict) -> None:
    late = MediaError("decoding took longer than 300 s", kind="timeout", where="a")
    shelf["a"] = Paper(error=late)
    with FileView(["a"], SETTINGS) as view:
        out = view.pictures(places(0, *range(8)))
        assert out[0].any()
        assert view.visible.tolist() == [[True] + [False] * 7]
        assert view.errors == [None]
        found = view.condition(0)
    assert found.verdict == "degraded"
    assert [r.kind for r in found.reasons] == ["timeout", "pictures_lost"]
    assert found.coverage == pytest.approx(1 / 8)


def test_an_error_before_anything_came_is_the_files(shelf: dict) -> None:
    deaf = MediaError("the sound cannot be decoded", kind="unsupported", where="a")
    shelf["a"] = Paper(pictures=None, sound_error=deaf)
    with FileView(["a"], SETTINGS) as view:
        view.sounds(places(0, *range(8)))
        assert not view.audible.any()
        assert view.errors == [deaf]
        assert view.condition(0).verdict == "failed"


def test_what_the_reader_met_is_told(shelf: dict) -> None:
    met = Reason("truncated", "the file ends in the middle of a packet", 12.0, None)
    shelf["a"] = Paper(reasons=[met])
    with FileView(["a"], SETTINGS) as view:
        view.pictures(places(0, 0))
        found = view.condition(0)
    assert (found.verdict, found.reasons, found.coverage) == ("degraded", (met,), 1.0)


def test_boxes_in_the_files_pixels(shelf: dict) -> None:
    shelf["a"] = Paper(width=640, height=480)
    with FileView(["a"], SETTINGS) as view:
        assert view.box_px(0, (0, 0, 1, 1)) == (80, 0, 560, 480)
        assert view.box_px(0, (0.5, 0.5, 1, 1)) == (320, 240, 560, 480)


def test_batch_order_does_not_matter(shelf: dict) -> None:
    shelf["a"], shelf["b"] = Paper(), Paper(duration=9.0, gain=0.1)
    at = np.array([[0, 2], [1, 5], [0, 7]])
    with FileView(["a", "b"], SETTINGS) as one, FileView(["b", "a"], SETTINGS) as other:
        turned = at * [-1, 1] + [1, 0]
        np.testing.assert_array_equal(one.pictures(at), other.pictures(turned))
        np.testing.assert_array_equal(one.sounds(at), other.sounds(turned))
