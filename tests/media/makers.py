"""Small files with known contents, written with PyAV alone: what is on the screen can be read back."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

BITS = 12
RATE_HZ = 16_000


def numbered(number: int, width: int = 96, height: int = 64) -> NDArray[np.uint8]:
    """A picture with ``number`` burnt in as two rows of six black or white blocks: uint8 (H, W, 3)."""
    image = np.full((height, width, 3), 90, np.uint8)
    w, h = width // 6, height // 4
    for bit in range(BITS):
        row, column = divmod(bit, 6)
        image[h * row : h * (row + 1), w * column : w * (column + 1)] = 255 if number >> bit & 1 else 0
    noise = np.random.default_rng(number).integers(
        60, 180, (height - 2 * h, width, 1)
    )  # gives packets a weight
    image[2 * h :] = noise.astype(np.uint8)
    return image


def read_number(image: NDArray[np.uint8]) -> int:
    """The number that ``numbered`` burnt into a picture."""
    height, width = image.shape[:2]
    w, h = width // 6, height // 4
    bits = 0
    for bit in range(BITS):
        row, column = divmod(bit, 6)
        block = image[h * row + 2 : h * (row + 1) - 2, w * column + 2 : w * (column + 1) - 2]
        bits |= int(block.mean() > 128) << bit
    return bits


def tone(seconds: float, hz: float = 440.0, level: float = 0.3) -> NDArray[np.float32]:
    """A sine at ``RATE_HZ``."""
    return (level * np.sin(2 * np.pi * hz * np.arange(round(seconds * RATE_HZ)) / RATE_HZ)).astype(np.float32)


def write(
    path: Path,
    times: Sequence[float] = (),
    *,
    draw: Callable[[int], NDArray[np.uint8]] = numbered,
    sound: NDArray[np.float32] | None = None,
    sound_start_s: float = 0.0,
    codec: str = "libx264",
    pixels: str = "yuv420p",
    sound_codec: str = "aac",
    gop: int = 25,
    b_frames: int = 2,
    aspect: Fraction | None = None,
    container: str | None = None,
    last_s: float = 0.04,
    tick: Fraction = Fraction(1, 1000),
) -> Path:
    """A file whose n-th picture (number n) stands on the screen from ``times[n]`` on."""
    with av.open(str(path), "w", format=container) as box:
        video = audio = None
        if len(times):
            video = box.add_stream(codec, rate=25)
            first = draw(0)
            video.height, video.width = first.shape[:2]
            video.pix_fmt = pixels
            video.time_base = video.codec_context.time_base = tick
            video.codec_context.gop_size = gop
            if codec == "libx264":
                video.codec_context.max_b_frames = b_frames
                video.options = {"preset": "veryfast", "crf": "18", "sc_threshold": "0"}
            if aspect is not None:
                video.codec_context.sample_aspect_ratio = aspect
        if sound is not None:
            audio = box.add_stream(sound_codec, rate=RATE_HZ, layout="mono")
        if audio is not None and sound is not None:
            _put_sound(box, audio, sound, sound_start_s)
        if video is not None:
            ends = [*times[1:], times[-1] + last_s]
            for n, (time, end) in enumerate(zip(times, ends, strict=True)):
                frame = av.VideoFrame.from_ndarray(draw(n), format="rgb24")
                frame.pts, frame.time_base = round(time / tick), tick
                frame.duration = round((end - time) / tick)
                box.mux(video.encode(frame))
            box.mux(video.encode(None))
    return path


def _put_sound(
    box: av.container.OutputContainer, audio: av.AudioStream, sound: NDArray, start_s: float
) -> None:
    start = round(start_s * RATE_HZ)
    for at in range(0, sound.size, 1024):
        samples = np.ascontiguousarray(sound[at : at + 1024])[None]
        if audio.codec_context.format.name.startswith("s16"):
            samples = (samples * 32767).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(samples, format=audio.codec_context.format.name, layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = RATE_HZ, start + at, Fraction(1, RATE_HZ)
        box.mux(audio.encode(frame))
    box.mux(audio.encode(None))


def even(seconds: float, rate: float = 25.0) -> list[float]:
    """The times of a constant rate."""
    return [n / rate for n in range(round(seconds * rate))]


def turned(path: Path, clockwise: int) -> Path:
    """The MP4 file with a display matrix that turns its picture ``clockwise`` degrees."""
    one = 1 << 16
    a, b, c, d = {
        0: (one, 0, 0, one),
        90: (0, one, -one, 0),
        180: (-one, 0, 0, -one),
        270: (0, -one, one, 0),
    }[clockwise]
    raw = bytearray(path.read_bytes())
    at = raw.index(b"tkhd") + 4 + 40
    raw[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(raw)
    return path


def packets_of(path: Path, kind: str = "video") -> list[tuple[int, int, float, bool]]:
    """(position in the file, bytes, presentation time, is a keyframe) of the packets of a stream."""
    with av.open(str(path)) as box:
        stream = next(s for s in box.streams if s.type == kind)
        return [
            (p.pos, p.size, float(p.pts * stream.time_base), p.is_keyframe)
            for p in box.demux(stream)
            if p.size
        ]


def spoil(path: Path, start_s: float, end_s: float, kind: str = "video") -> Path:
    """Overwrite the packets of [start_s, end_s) with zeros."""
    raw = bytearray(path.read_bytes())
    for position, size, time, _ in packets_of(path, kind):
        if start_s <= time < end_s:
            raw[position : position + size] = bytes(size)
    path.write_bytes(raw)
    return path


def cut(path: Path, share: float) -> Path:
    """Keep only this share of the file's bytes."""
    raw = path.read_bytes()
    path.write_bytes(raw[: int(len(raw) * share)])
    return path


def front_loaded(path: Path) -> Path:
    """The MP4 file again with its index before its pictures."""
    moved = path.with_suffix(".front.mp4")
    with av.open(str(path)) as source, av.open(str(moved), "w", options={"movflags": "faststart"}) as target:
        streams = {s.index: target.add_stream_from_template(s) for s in source.streams}
        for packet in source.demux():
            if packet.dts is not None:
                packet.stream = streams[packet.stream_index]
                target.mux(packet)
    moved.replace(path)
    return path


def remux(
    source: Path,
    target: Path,
    *,
    edit: Callable[[av.Packet], object] | None = None,
    container: str | None = None,
    options: dict[str, str] | None = None,
    pipe: bool = False,
) -> Path:
    """The packets of ``source`` in another container.

    ``edit`` may change a packet's times, and returns False to leave it out. ``pipe``: the target cannot be
    sought, so that nothing in its header is filled in afterwards.
    """
    with target.open("wb") as raw:
        # an object that can only write; PyAV asks for its name
        out = type("Pipe", (), {"write": raw.write, "name": "pipe"})() if pipe else str(target)
        with av.open(str(source)) as box, av.open(out, "w", format=container, options=options or {}) as made:
            streams = {s.index: made.add_stream_from_template(s) for s in box.streams}
            for packet in box.demux():
                if packet.size and (edit is None or edit(packet) is not False):
                    packet.stream = streams[packet.stream_index]
                    made.mux(packet)
    return target


def later_from(at_s: float, shift_s: float) -> Callable[[av.Packet], None]:
    """An edit for ``remux``: from the keyframe at ``at_s`` on, pictures and sound are ``shift_s`` later."""
    begun = [False]

    def edit(packet: av.Packet) -> None:
        time, is_video = float(packet.pts * packet.time_base), packet.stream.type == "video"
        begun[0] |= is_video and packet.is_keyframe and time >= at_s - 1e-6
        if begun[0] if is_video else time >= at_s:
            shift = round(shift_s / packet.time_base)
            packet.pts, packet.dts = packet.pts + shift, packet.dts + shift

    return edit


_NESTS = frozenset({b"moov", b"trak", b"edts", b"mdia", b"minf", b"dinf", b"stbl"})


def rewritten(path: Path, change: Callable[[bytes, bytes, int], bytes | None]) -> Path:
    """The MP4 file (its index at the end) with other contents of its boxes.

    ``change(kind, content, track)`` gives the new content of a box that holds no others, None: leave it out;
    ``track`` counts from 0.
    """
    raw = path.read_bytes()
    track = -1

    def again(start: int, end: int) -> bytes:
        nonlocal track
        made = b""
        while start < end:
            size, kind = struct.unpack_from(">I4s", raw, start)
            track += kind == b"trak"
            body: bytes | None = raw[start + 8 : start + size]
            if kind in _NESTS:
                body = again(start + 8, start + size)
            elif kind not in (b"mdat", b"ftyp"):
                body = change(kind, raw[start + 8 : start + size], track)
            made += b"" if body is None else struct.pack(">I4s", 8 + len(body), kind) + body
            start += size
        return made

    path.write_bytes(again(0, len(raw)))
    return path


def table(body: bytes, columns: int, number: str = ">u4") -> NDArray[np.int64]:
    """The rows of a sample table that begins with its version and number of rows."""
    return np.frombuffer(body, number, offset=8).astype(np.int64).reshape(-1, columns)


def rows(values: NDArray[np.int64], number: str = ">u4") -> bytes:
    """The content of a sample table with these rows."""
    return struct.pack(">II", 0, len(values)) + values.astype(number).tobytes()


def repeated(path: Path, times: int) -> Path:
    """The MP4 file that plays its samples again and again; only its index grows."""
    samples: dict[int, int] = {}
    chunks: dict[int, int] = {}

    def count(kind: bytes, body: bytes, track: int) -> bytes:
        if kind == b"stsz":
            (samples[track],) = struct.unpack_from(">I", body, 8)
        if kind == b"stco":
            chunks[track] = len(table(body, 1))
        return body

    def longer(kind: bytes, body: bytes, track: int) -> bytes:
        if kind in (b"stts", b"ctts", b"stco"):
            return rows(np.tile(table(body, 1 if kind == b"stco" else 2), (times, 1)))
        if kind == b"stsz":
            return body[:8] + struct.pack(">I", samples[track] * times) + body[12:] * times
        if kind in (b"stss", b"stsc"):
            step = np.array([chunks[track], 0, 0]) if kind == b"stsc" else np.array([samples[track]])
            return rows(np.concatenate([table(body, step.size) + step * n for n in range(times)]))
        at = {b"mvhd": 16, b"mdhd": 16, b"tkhd": 20, b"elst": 8}.get(kind)
        if at is None:
            return body
        (length,) = struct.unpack_from(">I", body, at)
        longest = times * (2 if kind == b"elst" else 1)  # an edit may be longer than what it shows
        return body[:at] + struct.pack(">I", length * longest) + body[at + 4 :]

    return rewritten(rewritten(path, count), longer)
