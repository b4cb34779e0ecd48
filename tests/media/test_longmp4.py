"""Long MP4 files are read as libav reads them: here every small file takes the long way, then libav's."""

from __future__ import annotations

import math
import random
import struct
from pathlib import Path

import av
import numpy as np
import pytest
from tests.media import makers
from tests.media.makers import even, tone

from avglance.media import Limits, VideoReader, longmp4, longtrack, mp4tables
from avglance.media.longmp4 import LongMp4, open_long
from avglance.media.source import open_media, opening_again

NEVER = 1 << 62


def moved(source: Path, target: Path, shift_s: float, **options: str) -> Path:
    """The packets of a file, earlier or later, written anew."""
    with av.open(str(source)) as old, av.open(str(target), "w", options=options) as new:
        streams = {s.index: new.add_stream_from_template(s) for s in old.streams}
        for packet in old.demux():
            if packet.dts is not None:
                shift = round(shift_s / packet.time_base)
                packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
                packet.stream = streams[packet.stream_index]
                new.mux(packet)
    return target


def plain(path: Path, **settings) -> Path:
    return makers.write(path, even(8), sound=tone(8), **settings)


def twisted(path: Path, params: str) -> Path:
    """Pictures that are decoded long before they are shown."""
    with av.open(str(path), "w") as box:
        video = box.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = 96, 64, "yuv420p"
        video.codec_context.gop_size = 20
        video.options = {"x264-params": params}
        for n in range(200):
            frame = av.VideoFrame.from_ndarray(makers.numbered(n), format="rgb24")
            frame.pts = n
            box.mux(video.encode(frame))
        box.mux(video.encode(None))
    return path


def uneven(path: Path) -> Path:
    times = np.cumsum(np.random.default_rng(0).choice([0.01, 0.04, 0.1, 0.5], 150)).round(3)
    return makers.write(path, [0.0, *times.tolist()], sound=tone(20))


def again(path: Path, shift_s: float = 0.0, *, gop: int = 25, **options: str) -> Path:
    return moved(plain(path.with_suffix(".first.mp4"), gop=gop), path, shift_s, **options)


def narrow_sizes(path: Path) -> Path:
    """Sound whose sizes are kept in 16 bits each."""

    def change(kind: bytes, body: bytes, track: int) -> bytes:
        return body

    makers.write(path, sound=tone(20), container="mp4")
    makers.rewritten(path, change)
    raw = path.read_bytes()
    at = raw.index(b"stsz") - 4
    (size,) = struct.unpack_from(">I", raw, at)
    sizes = np.frombuffer(raw[at + 20 : at + size], ">u4").astype(">u2").tobytes()
    box = struct.pack(">I4sIII", 20 + len(sizes), b"stz2", 0, 16, len(sizes) // 2) + sizes
    gap = struct.pack(">I4s", size - len(box), b"free") + bytes(size - len(box) - 8)
    path.write_bytes(raw[:at] + box + gap + raw[at + size :])
    return path


FILES = {
    "plain.mp4": plain,
    "gop.mp4": lambda p: plain(p, gop=250, b_frames=3),
    "no_b.mp4": lambda p: plain(p, b_frames=0),
    "intra.mp4": lambda p: makers.write(p, even(8), gop=1, b_frames=0),
    "uneven.mp4": uneven,
    "late_sound.mp4": lambda p: plain(p, sound_start_s=1.5),
    "late_pictures.mp4": lambda p: makers.write(p, even(8) + np.array(1.5), sound=tone(8)),
    "late.mp4": lambda p: again(p, 3.3),
    "sound.m4a": lambda p: makers.write(p, sound=tone(20), container="mp4"),
    "narrow.m4a": narrow_sizes,
    "pictures.mov": lambda p: makers.write(p, even(8)),
    "mpeg4.mp4": lambda p: plain(p, codec="mpeg4"),
    "jpeg.mov": lambda p: makers.write(p, even(8), codec="mjpeg", pixels="yuvj420p"),
    "open_gop.mp4": lambda p: twisted(p, "open-gop=1:bframes=3:b-pyramid=normal"),
    "deep.mp4": lambda p: twisted(p, "bframes=8:b-pyramid=normal:b-adapt=0"),
    "hevc.mp4": lambda p: makers.write(p, even(6), codec="libx265"),
    "vp9.mp4": lambda p: makers.write(p, even(6), codec="libvpx-vp9"),
    "opus.mp4": lambda p: plain(p, sound_codec="libopus"),
    "front.mp4": lambda p: makers.front_loaded(plain(p)),
    "turned.mp4": lambda p: makers.turned(plain(p), 90),
    "below_zero.mp4": lambda p: again(p, movflags="negative_cts_offsets"),
    "below_zero.mov": lambda p: again(p, gop=250, movflags="negative_cts_offsets"),
    "no_edit.mp4": lambda p: again(p, use_editlist="0"),
    "cut_in.mp4": lambda p: again(p, -0.53, avoid_negative_ts="disabled"),
    "cut_in_late.mp4": lambda p: again(p, -3.53, avoid_negative_ts="disabled"),
    "cut_in_gop.mp4": lambda p: again(p, -1.7, gop=250, avoid_negative_ts="disabled"),
    "time_code.mov": lambda p: again(p, write_tmcd="1"),
    "hints.mp4": lambda p: again(p, movflags="rtphint"),
    "ticks.mp4": lambda p: again(p, movie_timescale="600", video_track_timescale="90000"),
    "cut_off_half.mp4": lambda p: makers.cut(makers.front_loaded(plain(p)), 0.5),
    "cut_off_late.mp4": lambda p: makers.cut(makers.front_loaded(plain(p)), 0.97),
}


@pytest.fixture(scope="module")
def file_of(tmp_path_factory):
    """A generated file by its name, made once."""
    folder, made = tmp_path_factory.mktemp("long"), {}

    def file(name: str) -> Path:
        if name not in made:
            made[name] = FILES[name](folder / name)
        return made[name]

    return file


@pytest.fixture
def long_way(monkeypatch):
    """Every MP4 file counts as long, and libav sees little of it."""
    monkeypatch.setattr(longmp4, "LONG_INDEX", 0)
    monkeypatch.setattr(longmp4, "HEAD_S", 0.3)


@pytest.fixture(params=[None, 5], ids=["blocks", "small blocks"])
def borders(request, monkeypatch) -> None:
    """Tables in pieces as they are, and in pieces so small that everything crosses their borders."""
    if request.param:
        monkeypatch.setattr(mp4tables, "STEP", request.param)
        monkeypatch.setattr(mp4tables, "_PIECE", 2 * request.param)
        monkeypatch.setattr(longtrack, "BLOCK", request.param + 2)


def opened(path: Path) -> tuple[av.container.InputContainer, LongMp4]:
    mine = open_long(path, av.open)
    assert isinstance(mine, LongMp4), f"{path.name} is left to libav"
    return av.open(str(path)), mine


def of_packet(packet) -> tuple:
    told = (packet.pts, packet.dts, packet.duration, packet.size, packet.is_keyframe, packet.is_discard)
    side = [(each.data_type, bytes(each)) for each in packet.iter_sidedata()]
    return packet.stream_index, *told, packet.is_corrupt, side, hash(bytes(packet))


def of_entry(entry) -> tuple:
    return entry.pos, entry.timestamp, entry.size, entry.is_keyframe, entry.is_discard


def first(count: int, box, *streams) -> list[tuple]:
    return [
        of_packet(packet) for packet, _ in zip(box.demux(*streams), range(count), strict=False) if packet.size
    ]


@pytest.mark.usefixtures("long_way", "borders")
@pytest.mark.parametrize("name", FILES)
def test_streams_index_and_packets_are_those_of_libav(file_of, name):
    theirs, mine = opened(file_of(name))
    with theirs, mine:
        assert (mine.duration, mine.start_time) == (theirs.duration, theirs.start_time)
        assert (mine.format.name, len(mine.streams)) == (theirs.format.name, len(theirs.streams))
        for a, b in zip(theirs.streams, mine.streams, strict=True):
            names = [
                "index",
                "type",
                "time_base",
                "start_time",
                "duration",
                "frames",
                "disposition",
                "language",
            ]
            names += ["average_rate", "guessed_rate", "sample_aspect_ratio"] * (a.type == "video")
            assert [getattr(b, n) for n in names] == [getattr(a, n) for n in names]
            if a.type == "video":
                assert b.codec_context.reorder_depth == a.codec_context.reorder_depth
            assert list(map(of_entry, b.index_entries)) == list(map(of_entry, a.index_entries))
        packets = [of_packet(packet) for packet in theirs.demux() if packet.size]
        known = [s for s in mine.streams if s.type in ("video", "audio")]
        packets = [packet for packet in packets if packet[0] in [s.index for s in known]]
        assert [of_packet(packet) for packet in mine.demux(*known)] == packets
        assert len(packets) > 100


@pytest.mark.usefixtures("long_way", "borders")
@pytest.mark.parametrize("name", FILES)
def test_seeks_and_searches_are_those_of_libav(file_of, name):
    theirs, mine = opened(file_of(name))
    rng = random.Random(name)
    with theirs, mine:
        known = [s.index for s in mine.streams if s.type in ("video", "audio")]
        for i in known:
            a, b = theirs.streams[i], mine.streams[i]
            low, high = a.index_entries[0].timestamp, a.index_entries[len(a.index_entries) - 1].timestamp
            wide = [rng.randint(low - (high - low) // 20, high + (high - low) // 20) for _ in range(60)]
            for time in wide + [entry.timestamp for entry in a.index_entries[:20]]:
                for way in ({"backward": x, "any_frame": y} for x in (True, False) for y in (True, False)):
                    want = a.index_entries.search_timestamp(time, **way)
                    assert b.index_entries.search_timestamp(time, **way) == want, (time, way)
            for time in [a.start_time, *(max(time, a.start_time) for time in wide[:15])]:
                for j in known:
                    theirs.seek(time, stream=a)
                    mine.seek(time, stream=b)
                    assert first(3, mine, mine.streams[j]) == first(3, theirs, theirs.streams[j]), (
                        i,
                        j,
                        time,
                    )
        for time in (rng.randint(0, theirs.duration) for _ in range(10)):
            theirs.seek(time)
            mine.seek(time)
            want = first(12, theirs, [theirs.streams[i] for i in known])
            assert first(12, mine, *(mine.streams[i] for i in known)) == want, time


def everything(path: Path) -> list:
    """All that a reader says about a file, asked in an order that seeks back and forth."""
    rng = random.Random(path.name)
    told: list = []
    with VideoReader(path, threads=1) as reader:
        length = reader.info.duration_s
        told += [reader.info, reader.picture_span, reader.sound_span]
        times = [rng.uniform(-0.1, length + 0.1) for _ in range(12)]
        for some in (
            times,
            sorted(times, reverse=True),
            [0.0],
            [length / 2],
            [0.2, 0.24, 0.28, length - 0.2],
        ):
            for i, frame in reader.frames_at(some):
                told.append((i, frame and (frame.time_s, frame.end_s, hash(frame.image.tobytes()))))
        if reader.info.has_video:
            told.append([reader.keyframes_near([time])[0] for time in times])
        told.append(list(reader.timeline()))
        for start, end in ((-math.inf, math.inf), (0.0, 0.5), (length / 2, length), (1.7, 2.1)):
            told.append([(p.start_s, hash(p.samples.tobytes())) for p in reader.sound(start, end)])
        told += [list(reader.packets()), reader.frames_decoded, reader.frames_delivered, reader.reasons]
    return told


@pytest.mark.usefixtures("long_way")
@pytest.mark.parametrize("name", FILES)
def test_a_reader_says_what_it_says_with_libav(file_of, name, monkeypatch):
    file = file_of(name)
    with open_media(file, Limits()) as box:
        assert isinstance(box, LongMp4)
    mine = everything(file)
    monkeypatch.setattr(longmp4, "LONG_INDEX", NEVER)
    with open_media(file, Limits()) as box:
        assert not isinstance(box, LongMp4)
    assert mine == everything(file)


@pytest.mark.usefixtures("long_way")
@pytest.mark.parametrize("name", FILES)
def test_opened_again_it_has_the_same_packets_and_outlives_the_first(file_of, name):
    with open_media(file_of(name), Limits()) as box:
        begun = first(3, box)
        again = opening_again(box, file_of(name), Limits())
    twin = again()
    assert isinstance(twin, LongMp4)
    with twin, open_media(file_of(name), Limits()) as other:
        assert twin.name == other.name
        for stream in twin.streams:
            assert [of_entry(e) for e in stream.index_entries[:5]] == [
                of_entry(e) for e in other.streams[stream.index].index_entries[:5]
            ]
        packets = first(10_000, twin)
        assert packets[:3] == begun
        assert packets == first(10_000, other)
        source = twin._source
        assert source.some(0, 4)
    assert not source.some(0, 4)  # both have let go of it


@pytest.mark.usefixtures("long_way")
def test_a_file_cut_off_says_so(file_of):
    with VideoReader(file_of("cut_off_half.mp4")) as reader:
        (reason,) = (reason for reason in reader.reasons if reason.kind == "truncated")
        assert 2.0 < reader.info.duration_s < 6.0
        assert reason.start_s == reader.info.duration_s
        assert reason.end_s == pytest.approx(8.0, abs=0.1)
        assert len(list(reader.timeline())) == pytest.approx(25 * reader.info.duration_s, abs=3)


@pytest.mark.usefixtures("long_way")
def test_real_files(shared_data, monkeypatch):
    """The MP4 and MOV files beside the project: those that are not left to libav have its packets."""
    known = {".mp4", ".mov", ".m4a", ".m4v", ".3gp"}
    files = [p for p in sorted((shared_data / "media").rglob("*")) if p.suffix.lower() in known]
    files += [p for p in sorted((shared_data / "clips").rglob("*")) if p.suffix.lower() in known][::25]
    taken = 0
    for file in files:
        mine = open_long(file, av.open)
        if mine is None:
            continue
        taken += 1
        with av.open(str(file)) as theirs, mine:
            known_here = [s.index for s in mine.streams if isinstance(s, longmp4.LongStream)]
            want = [of_packet(packet) for packet in theirs.demux([theirs.streams[i] for i in known_here])]
            have = [of_packet(packet) for packet in mine.demux(*(mine.streams[i] for i in known_here))]
            assert have == [packet for packet in want if packet[4]], file
    assert taken >= 10
