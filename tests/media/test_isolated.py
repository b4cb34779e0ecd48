"""Decoding in another process: the same answers; what hangs, crashes or eats memory costs one file."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tests.media import makers

from avglance.errors import ArgumentError, AVGLanceError, MediaError
from avglance.media import Decoders, Limits, VideoReader, check
from avglance.media.child import Child

STUB = "tests.media.stubs:Stub"
SHORT = Limits(max_decode_s=2.0, max_seek_s=1.0, max_memory_bytes=1 << 30)
LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the system must bound memory")


@pytest.fixture(scope="module")
def decoders() -> Iterator[Decoders]:
    with Decoders() as found:
        yield found


@pytest.fixture(scope="module")
def stubs() -> Iterator[Decoders]:
    with Decoders(reader=STUB) as found:
        yield found


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return makers.write(
        tmp_path_factory.mktemp("clips") / "clip.mp4", makers.even(4), sound=makers.tone(4), gop=25
    )


def put(clip: Path, folder: Path, name: str) -> Path:
    target = folder / name
    target.write_bytes(clip.read_bytes())
    return target


def same_pictures(a: list, b: list) -> bool:
    return [(i, f and (f.time_s, f.end_s)) for i, f in a] == [
        (i, f and (f.time_s, f.end_s)) for i, f in b
    ] and all(
        (x is None) == (y is None) and (x is None or np.array_equal(x.image, y.image))
        for (_, x), (_, y) in zip(a, b, strict=True)
    )


def test_answers_are_those_of_a_reader_here(decoders, clip):
    times = np.random.default_rng(0).uniform(-0.5, 5.0, 30)
    with decoders.open(clip, threads=1) as there, VideoReader(clip, threads=1) as here:
        assert there.info == here.info
        assert (there.picture_span, there.sound_span) == (here.picture_span, here.sound_span)
        assert same_pictures(list(there.frames_at(times)), list(here.frames_at(times)))
        small = [next(r.frames_at([1.0], max_side=20))[1].image for r in (there, here)]
        assert np.array_equal(*small)
        assert small[0].shape == (13, 20, 3)
        for rate in (8_000, 16_000):
            a, b = (list(r.sound(0.3, 2.7, rate_hz=rate)) for r in (there, here))
            assert [p.start_s for p in a] == [p.start_s for p in b]
            assert all(np.array_equal(x.samples, y.samples) for x, y in zip(a, b, strict=True))
        assert [there.keyframes_near([t])[0] for t in (0.4, 1.7, 3.9)] == [
            here.keyframes_near([t])[0] for t in (0.4, 1.7, 3.9)
        ]
        assert list(there.timeline()) == list(here.timeline())
        assert list(there.digests()) == list(here.digests())
        assert list(there.packets()) == list(here.packets())
        assert there.frames_decoded == here.frames_decoded
        assert there.frames_delivered == here.frames_delivered
        assert there.decode_s > 0
        assert there.reasons == here.reasons == []
        assert there.frames_at([1.0]).__next__()[1].image.flags.writeable


def test_damage_is_told_in_the_same_words(decoders, clip, tmp_path):
    spoilt = makers.spoil(put(clip, tmp_path, "spoilt.mp4"), 1.0, 1.5)
    with decoders.open(spoilt) as there, VideoReader(spoilt) as here:
        assert len(list(there.timeline())) == len(list(here.timeline()))
        assert there.reasons == here.reasons != []
    assert there.reasons == here.reasons
    reports = [check(spoilt), check(spoilt, opener=decoders.open)]
    assert reports[0] == reports[1]


@pytest.mark.parametrize("name", ["empty.mp4", "missing.mp4", "text.mp4", "odd\nname\x1b.mp4"])
def test_errors_name_the_file_as_it_was_asked_for(decoders, clip, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    if not name.startswith("missing"):
        Path(name).write_bytes(b"" if name.startswith("empty") else b"hello world\n" * 40)
    errors = []
    for opener in (decoders.open, VideoReader):
        with pytest.raises(MediaError) as caught:
            opener(name)
        errors.append((caught.value.kind, str(caught.value)))
    assert errors[0] == errors[1]


def test_a_sound_track_that_is_not_there_is_a_wrong_argument(decoders, clip):
    with pytest.raises(ArgumentError, match="1 sound tracks"):
        decoders.open(clip, audio_track=3)
    with decoders.open(clip) as reader, pytest.raises(ArgumentError, match="finite"):
        reader.frames_at([np.nan])
    with decoders.open(clip) as reader, pytest.raises(ArgumentError, match="rate_hz"):
        reader.sound(0, 1, rate_hz=0)


def test_questions_may_be_interleaved_and_left_half_answered(decoders, clip):
    with decoders.open(clip) as reader:
        sounds, pictures = reader.sound(0, 4), reader.frames_at([3.0, 1.0, 2.0])
        found = [next(pictures), next(sounds), next(pictures), next(sounds)]
        assert [makers.read_number(found[k][1].image) for k in (0, 2)] == [25, 50]
        sounds.close()
        assert makers.read_number(next(pictures)[1].image) == 75
        del pictures
        gc.collect()
        assert makers.read_number(next(reader.frames_at([0.0]))[1].image) == 0


def test_one_process_serves_one_file_after_another(clip):
    with Decoders(ready=1) as decoders:
        for _ in range(5):
            with decoders.open(clip) as reader:
                assert next(reader.frames_at([1.0]))[1] is not None
        assert decoders.started == 1
        with decoders.open(clip) as one, decoders.open(clip) as other:  # two at once need two
            assert one.info == other.info
        assert decoders.started == 2
    with pytest.raises(ArgumentError, match="closed"):
        decoders.open(clip)
    with pytest.raises(ArgumentError, match="closed"):
        list(reader.frames_at([1.0]))


def test_a_process_is_replaced_before_it_grows_old(clip, monkeypatch):
    monkeypatch.setattr("avglance.media.isolated._MOST_SERVED", 3)
    with Decoders() as decoders:
        for _ in range(7):
            with decoders.open(clip) as reader:
                assert reader.info.has_video
        assert decoders.started == 3


def test_threads_may_share_the_decoders(decoders, clip):
    found: list[int] = []

    def read(number: int) -> None:
        for _ in range(3):
            with decoders.open(clip) as reader:
                found.append(makers.read_number(next(reader.frames_at([number / 25]))[1].image) - number)

    threads = [threading.Thread(target=read, args=(n,)) for n in (3, 40, 77)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert found == [0] * 9


# ---------------------------------------------------------------------- trouble


@pytest.mark.parametrize("word", ["sleep", "spin", "picture_sleep", "picture_spin"])
def test_a_decoder_that_never_answers_is_stopped(stubs, clip, tmp_path, word):
    began = time.monotonic()
    with pytest.raises(MediaError, match="hung and was stopped") as caught:  # noqa: SIM117
        with stubs.open(put(clip, tmp_path, f"{word}.mp4"), limits=SHORT) as reader:
            list(reader.frames_at([1.0]))
    assert caught.value.kind == "timeout"
    assert caught.value.where.endswith(f"{word}.mp4")
    assert 0.9 < time.monotonic() - began < 20


@pytest.mark.parametrize(
    ("word", "kind", "how"),
    [
        ("abort", "crashed", "SIGABRT"),
        ("segfault", "crashed", "SIGSEGV"),
        ("exit", "crashed", "exit code 7"),
        ("killed", "limit", "ended the process"),
        ("picture_abort", "crashed", "SIGABRT"),
        ("typed", "unsupported", "as it says"),
    ],
)
def test_a_decoder_that_dies_is_an_error_of_that_file(stubs, clip, tmp_path, word, kind, how):
    with pytest.raises(MediaError, match=how) as caught:  # noqa: SIM117
        with stubs.open(put(clip, tmp_path, f"{word}.mp4")) as reader:
            list(reader.frames_at([1.0]))
    assert caught.value.kind == kind
    assert caught.value.where.endswith(f"{word}.mp4")
    with stubs.open(put(clip, tmp_path, "good.mp4")) as reader:
        assert makers.read_number(next(reader.frames_at([1.0]))[1].image) == 25


@LINUX
@pytest.mark.parametrize("word", ["eat", "picture_eat"])
def test_a_decoder_that_eats_memory_is_stopped_at_its_limit(stubs, clip, tmp_path, word):
    with pytest.raises(MediaError, match="more memory than allowed") as caught:  # noqa: SIM117
        with stubs.open(put(clip, tmp_path, f"{word}.mp4"), limits=SHORT) as reader:
            list(reader.frames_at([1.0]))
    assert caught.value.kind == "limit"


def test_a_defect_of_ours_is_told_as_one(stubs, clip, tmp_path):
    with pytest.raises(RuntimeError, match="ZeroDivisionError: a defect of ours"):
        stubs.open(put(clip, tmp_path, "bug.mp4"))


@pytest.mark.parametrize("word", ["chatter", "unasked"])
def test_what_a_decoder_prints_disturbs_nothing(stubs, clip, tmp_path, word):
    path = put(clip, tmp_path, f"{word}.mp4")
    with contextlib.suppress(MediaError), stubs.open(path, limits=SHORT) as reader:  # or it counts as a crash
        assert makers.read_number(next(reader.frames_at([1.0]))[1].image) == 25
    with stubs.open(put(clip, tmp_path, "good.mp4")) as reader:
        assert makers.read_number(next(reader.frames_at([1.0]))[1].image) == 25


def test_what_came_before_the_end_is_kept(stubs, clip, tmp_path):
    with stubs.open(put(clip, tmp_path, "picture_abort.mp4")) as reader:
        heard = sum(piece.samples.size for piece in reader.sound(0, 4))
        with pytest.raises(MediaError):
            list(reader.frames_at([1.0]))
        with pytest.raises(MediaError, match="SIGABRT"):  # and again: there is nobody to ask
            list(reader.sound(0, 4))
        assert heard > 60_000
        assert reader.frames_decoded > 0
    report = check(put(clip, tmp_path, "abort.mp4"), opener=stubs.open)
    assert (report.condition.verdict, report.failure.kind) == ("failed", "crashed")


def test_a_process_that_dies_between_two_files_is_replaced(clip):
    with Decoders() as decoders:
        with decoders.open(clip) as reader:
            child = reader._child
        child._popen.kill()
        child._popen.wait()
        with decoders.open(clip) as reader:
            assert reader.info.has_video
        assert decoders.started == 2


def test_no_process_and_no_handle_is_left(clip):
    def handles() -> int:
        return len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0

    with Decoders(reader=STUB) as warm, warm.open(clip):
        pass
    before, children = handles(), []
    for _ in range(3):
        with Decoders(ready=2, reader=STUB) as decoders:
            children += decoders._idle
            with decoders.open(clip):
                pass
    assert all(isinstance(child, Child) and not child.alive for child in children)
    assert handles() == before


def test_a_process_whose_program_was_killed_ends_by_itself(clip):
    code = (
        "import os, sys, time\nfrom avglance.media import Decoders\n"
        f"reader = Decoders().open({str(clip)!r})\n"
        "print(reader._child.pid, flush=True)\ntime.sleep(60)"
    )
    program = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    pid = int(program.stdout.readline())
    program.kill()
    program.wait()
    program.stdout.close()
    for _ in range(200):
        if not alive(pid):
            return
        time.sleep(0.05)
    os.kill(pid, signal.SIGKILL)
    pytest.fail("the decoding process outlived its program by 10 s")


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_no_process_can_be_started(monkeypatch, clip):
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    with Decoders() as decoders, pytest.raises(AVGLanceError, match="could be started") as caught:
        decoders.open(clip)
    assert "--in-process" in caught.value.hint
    monkeypatch.undo()
    with Decoders(reader="no.such:Thing") as decoders, pytest.raises(AVGLanceError, match="could be started"):
        decoders.open(clip)


def test_a_folder_full_of_traps_is_not_imported(tmp_path, monkeypatch, clip):
    for name in ("json", "numpy", "av", "avglance", "sitecustomize"):
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'touched')!r}, 'w')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    with Decoders() as decoders, decoders.open(clip) as reader:
        assert reader.info.has_video
    assert not (tmp_path / "touched").exists()


@pytest.mark.parametrize("seconds", [1e9, 1e18, float("inf")])
def test_limits_may_be_as_good_as_none(decoders, clip, seconds):
    none = Limits(max_decode_s=seconds, max_seek_s=seconds, max_pixels=10**12, max_memory_bytes=8e9)
    with decoders.open(clip, limits=none) as reader:
        assert makers.read_number(next(reader.frames_at([1.0]))[1].image) == 25
        assert reader.reasons == []


def test_small_pictures_do_not_bound_the_sound(decoders, tmp_path):
    path = makers.write(tmp_path / "long.wav", sound=makers.tone(90), sound_codec="pcm_s16le")
    report = check(path, opener=decoders.open, limits=Limits(max_pixels=100))
    assert (report.condition.verdict, report.condition.coverage) == ("ok", 1.0)


def test_sound_of_a_few_samples_a_second_comes_in_pieces(decoders, tmp_path):
    path = makers.write(tmp_path / "slow.wav", sound=makers.tone(1), sound_codec="pcm_s16le")
    raw = bytearray(path.read_bytes())
    at = raw.index(b"fmt ")
    raw[at + 12 : at + 16] = (9).to_bytes(4, "little")  # sixteen thousand samples in half an hour
    path.write_bytes(raw)
    with decoders.open(path) as there, VideoReader(path) as here:
        sizes = [piece.samples.size for piece in there.sound(0, 1e6)]
        assert sizes == [piece.samples.size for piece in here.sound(0, 1e6)]
        assert max(sizes) <= 2 * makers.RATE_HZ
        assert sum(sizes) == pytest.approx(makers.RATE_HZ / 9 * makers.RATE_HZ, rel=0.01)


def test_a_death_on_the_last_question_is_told(stubs, clip, tmp_path):
    path = put(clip, tmp_path, "reasons_exit.mp4")
    report = check(path, opener=stubs.open)
    assert (report.condition.verdict, report.condition.reasons[-1].kind) == ("degraded", "crashed")


def test_arguments_of_any_kind_of_number_and_path(decoders, clip, tmp_path):
    wav = makers.write(tmp_path / "x.wav", sound=makers.tone(4), sound_codec="pcm_s16le")
    with decoders.open(clip, audio_file=wav, audio_track=np.int64(0), threads=np.int64(1)) as reader:
        assert next(reader.frames_at([1.0], max_side=np.int64(32)))[1].image.shape == (21, 32, 3)
        assert [r.kind for r in reader.reasons] == ["side_sound"]
        for wrong in (0, -5, "3", 1.5, True):
            with pytest.raises(ArgumentError, match="max_side"):
                reader.frames_at([1.0], max_side=wrong)
        for wrong in (np.nan, np.inf):
            with pytest.raises(ArgumentError, match="finite"):
                reader.keyframes_near([wrong])[0]
        assert reader.keyframes_near([1e300])[0] == 3.0
