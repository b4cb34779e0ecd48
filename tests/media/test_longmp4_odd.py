"""Long MP4 files that are not plain or damaged, and files that are long indeed."""

from __future__ import annotations

import math
import random
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
from tests.media import makers
from tests.media.makers import even, tone
from tests.media.test_longmp4 import moved, of_packet, opened, plain

from avglance.media import Limits, VideoReader, longmp4, mp4head
from avglance.media.longmp4 import LongMp4, open_long
from avglance.media.source import open_media


@pytest.fixture
def long_way(monkeypatch):
    """Every MP4 file counts as long, and libav sees little of it."""
    monkeypatch.setattr(longmp4, "LONG_INDEX", 0)
    monkeypatch.setattr(longmp4, "HEAD_S", 0.3)


def swap(old: bytes, new: bytes):
    """A change that puts ``new`` in the place of ``old`` wherever a table holds it."""
    return lambda path: path.write_bytes(path.read_bytes().replace(old, new))


def tables(change):
    return lambda path: makers.rewritten(path, change)


def two_edits(kind: bytes, body: bytes, track: int) -> bytes:
    return struct.pack(">II", 0, 2) + body[8:] * 2 if kind == b"elst" else body


def slow_edit(kind: bytes, body: bytes, track: int) -> bytes:
    return body[:-4] + struct.pack(">i", 1 << 15) if kind == b"elst" else body


def short_edit(kind: bytes, body: bytes, track: int) -> bytes:
    return body[:8] + struct.pack(">I", 5000) + body[12:] if kind == b"elst" else body


def two_kinds(kind: bytes, body: bytes, track: int) -> bytes:
    return body[:4] + struct.pack(">I", 2) + body[8:] * 2 if kind == b"stsd" else body


def fewer_times(kind: bytes, body: bytes, track: int) -> bytes:
    return body[:8] + struct.pack(">I", 150) + body[12:] if kind == b"stts" and track == 0 else body


def still_pictures(kind: bytes, body: bytes, track: int) -> bytes:
    return body[:12] + bytes(4) + body[16:] if kind == b"stts" else body


def no_keys(kind: bytes, body: bytes, track: int) -> bytes:
    return bytes(8) if kind == b"stss" else body


def late_key(kind: bytes, body: bytes, track: int) -> bytes:
    return makers.rows(makers.table(body, 1) + 3) if kind == b"stss" else body


def elsewhere(kind: bytes, body: bytes, track: int) -> bytes:
    return body[:-1] + bytes(1) if kind == b"dref" else body


def no_times(kind: bytes, body: bytes, track: int) -> bytes | None:
    return None if kind == b"stts" else body


def other_handler(number: int):
    def change(kind: bytes, body: bytes, track: int) -> bytes:
        return body[:8] + b"abcd" + body[12:] if kind == b"hdlr" and track == number else body

    return change


STRANGE = {
    "pictures by another handler": tables(other_handler(0)),
    "sound by another handler": tables(other_handler(1)),
    "two edits": tables(two_edits),
    "slow motion": tables(slow_edit),
    "an edit that ends early": tables(short_edit),
    "two descriptions": tables(two_kinds),
    "times of fewer samples": tables(fewer_times),
    "samples of no time": tables(still_pictures),
    "no keyframes": tables(no_keys),
    "a late keyframe": tables(late_key),
    "another file": tables(elsewhere),
    "no times": tables(no_times),
    "encrypted": swap(b"mp4a", b"enca"),
    "fragments": lambda p: moved(p, p.with_suffix(".f.mp4"), 0.0, movflags="frag_keyframe").replace(p),
    "compressed": swap(b"udta", b"cmov"),
    "a longer file announced": swap(b"udta", b"mvex"),
    "fields": lambda p: makers.write(p, even(8), sound=tone(8), sound_codec="pcm_s16le", container="mov"),
    "no film": lambda p: p.write_bytes(b"\0\0\0\x08free" * 200),
}


@pytest.mark.usefixtures("long_way")
@pytest.mark.parametrize("name", STRANGE)
def test_files_that_are_not_plain_are_left_to_libav(tmp_path, name):
    file = plain(tmp_path / "strange.mp4")
    STRANGE[name](file)
    assert open_long(file, av.open) is None


@pytest.mark.usefixtures("long_way")
@pytest.mark.parametrize("track", [0, 1])
def test_a_track_is_what_its_description_says(tmp_path, track):
    """libav knows pictures and sound by their description: a handler of no meaning takes nothing away."""
    file = makers.rewritten(plain(tmp_path / "strange.mp4"), other_handler(track))
    with VideoReader(file) as reader:
        assert len(list(reader.timeline())) == 200
        assert sum(piece.samples.size for piece in reader.sound(1.0, 3.0)) == 32_000
        assert reader.reasons == []


@pytest.mark.usefixtures("long_way")
@pytest.mark.parametrize("kind", [b"stbl", b"trak", b"mdia", b"minf", b"moov"])
def test_boxes_in_strange_places(tmp_path, kind):
    """A nest of tables where none belongs: the file is read as libav reads it, or left to libav."""
    file = plain(tmp_path / "strange.mp4")
    file.write_bytes(file.read_bytes().replace(b"udta", kind))
    mine = open_long(file, av.open)
    if mine is not None:
        with mine, av.open(str(file)) as theirs:
            assert to_the_end(mine) == to_the_end(theirs)


def test_short_files_are_left_to_libav(tmp_path):
    assert open_long(plain(tmp_path / "short.mp4"), av.open) is None


@pytest.mark.usefixtures("long_way")
def test_disagreement_leaves_the_file_to_libav(tmp_path, monkeypatch):
    """Where libav's first packets are not what is read here, libav is believed."""
    file = plain(tmp_path / "plain.mp4")
    monkeypatch.setattr(longmp4, "_alike", lambda mine, theirs: False)
    assert open_long(file, av.open) is None
    monkeypatch.undo()
    monkeypatch.setattr(longmp4, "LONG_INDEX", 0)
    monkeypatch.setattr(mp4head, "_table", lambda kind, rows, number=">u4": b"\0\0\0\x08free")
    assert open_long(file, av.open) is None


def to_the_end(box) -> tuple[list[tuple], bool]:
    """All packets, and whether reading failed before the end."""
    packets: list[tuple] = []
    try:
        for packet in box.demux():
            if packet.size:
                packets.append(of_packet(packet))
    except av.error.FFmpegError:
        return packets, True
    return packets, False


@pytest.mark.usefixtures("long_way")
def test_damaged_tables_never_do_harm(tmp_path):
    """A hundred damaged indices: each file is read as libav reads it, or left to libav."""
    raw = plain(tmp_path / "whole.mp4").read_bytes()
    low = raw.index(b"moov")
    rng = random.Random(7)
    file, taken = tmp_path / "damaged.mp4", 0
    for _ in range(100):
        damaged = bytearray(raw)
        for _ in range(rng.choice((1, 1, 2, 8))):
            at = rng.randrange(low + 4, len(raw) - 4)
            damaged[at : at + 4] = rng.choice(
                (b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff", rng.randbytes(4))
            )
        file.write_bytes(damaged)
        mine = open_long(file, av.open)
        if mine is None:
            continue
        taken += 1
        with av.open(str(file)) as theirs, mine:
            (want, failed), (have, _) = to_the_end(theirs), to_the_end(mine)
            assert have[: len(want)] == want
            assert failed or len(have) == len(want)
    assert taken > 20


# ---- length ----


@pytest.fixture(scope="module")
def hours(tmp_path_factory):
    """A file of 10 minutes and one of 10 hours with the same samples."""
    folder = tmp_path_factory.mktemp("hours")
    made, clip = {}, makers.write(folder / "clip.mp4", even(20), sound=tone(20), gop=50)
    for name, times in (("short.mp4", 30), ("long.mp4", 1800)):
        made[name] = makers.repeated(Path(shutil.copy(clip, folder / name)), times)
    return made


def test_ten_hours(hours):
    """Pictures and sound of a file of ten hours are those of its twenty seconds."""
    with open_media(hours["long.mp4"], Limits()) as box:
        assert isinstance(box, LongMp4)
    with VideoReader(hours["long.mp4"]) as reader:
        assert reader.info.duration_s == pytest.approx(36_000, abs=120)  # sound ends a little after pictures
        times = [20.0 * n + (n % 500 + 0.5) / 25 for n in (0, 1, 7, 299, 700, 1234, 1799)]
        for i, frame in reader.frames_at(times):
            assert frame is not None
            assert makers.read_number(frame.image) == math.floor(times[i] % 20.0 * 25)
            assert frame.time_s == pytest.approx(times[i] - 0.02, abs=1e-3)
        for time in (33.3, 30_000.0):
            assert reader.keyframes_near([time])[0] == pytest.approx(2 * round(time / 2), abs=1e-3)
        (piece, *_) = reader.sound(18_000.25, 18_000.75)
        assert np.sqrt(np.mean(np.square(piece.samples))) == pytest.approx(0.3 / math.sqrt(2), rel=0.05)


CHILD = """
import itertools, sys
import numpy as np
from avglance.media import VideoReader
def status(key):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(key)) / 1024
for path in sys.argv[1:]:
    open("/proc/self/clear_refs", "w").write("5")
    before = status("VmRSS")
    with VideoReader(path, threads=1) as reader:
        list(reader.frames_at(np.linspace(1, reader.info.duration_s - 90, 6), max_side=32))
        for pieces in (reader.timeline(), reader.sound(0, 60), reader.packets()):
            for _ in itertools.islice(pieces, 1000):
                pass
    print(status("VmHWM") - before)
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="measures the peak in /proc")
def test_memory_does_not_depend_on_length(hours):
    """After a warm-up on the short file, ten hours take no more than a little above ten minutes."""
    short, long = str(hours["short.mp4"]), str(hours["long.mp4"])
    done = subprocess.run(
        [sys.executable, "-c", CHILD, short, short, long], capture_output=True, text=True, check=True
    )
    _, ten_minutes, ten_hours = map(float, done.stdout.split())
    assert ten_hours < ten_minutes + 4.0


@pytest.mark.skipif(sys.platform != "linux", reason="needs a file with a hole")
def test_samples_beyond_4_gib(tmp_path, monkeypatch):
    """Chunks that lie above 32 bits: the same packets, five gibibytes further."""
    monkeypatch.setattr(longmp4, "LONG_INDEX", 0)
    monkeypatch.setattr(longmp4, "HEAD_S", 0.3)
    hole = 5 << 30
    near, far = plain(tmp_path / "near.mp4"), tmp_path / "far.mp4"
    raw = near.read_bytes()
    begin, index = raw.index(b"mdat") - 4, raw.index(b"moov") - 4

    def further(kind: bytes, body: bytes, track: int) -> bytes:
        return makers.rows(makers.table(body, 1) + hole + 8, ">i8") if kind == b"stco" else body

    makers.rewritten(near, further)
    moov = near.read_bytes()[index:].replace(b"stco", b"co64")
    with far.open("wb") as file:
        file.write(raw[:begin] + struct.pack(">I4sQ", 1, b"mdat", hole + index - begin + 8))
        file.seek(hole + begin + 16)
        file.write(raw[begin + 8 : index] + moov)
    theirs, mine = opened(far)
    with theirs, mine:
        want = [of_packet(packet) for packet in theirs.demux() if packet.size]
        assert [of_packet(packet) for packet in mine.demux()] == want
        assert len(want) > 200
        assert mine.streams[0].index_entries[0].pos > hole


@pytest.mark.usefixtures("long_way")
def test_closed(tmp_path):
    """After ``close`` nothing is read any more, and the file is let go of."""
    mine = open_long(plain(tmp_path / "plain.mp4"), av.open)
    packets = mine.demux(mine.streams[0])
    assert next(packets).size > 0
    mine.close()
    mine.close()
    assert list(packets) == []
