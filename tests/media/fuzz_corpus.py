"""The whole files that fuzzing begins with: small ones made here, and real ones where there are any."""

from __future__ import annotations

import io
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
from PIL import Image
from tests.media.makers import RATE_HZ, even, front_loaded, numbered, tone, turned, write

REAL = Path(__file__).resolve().parents[3] / "shared" / "data" / "media"
LARGEST_REAL = 150_000
_BEEP = tone(2.0)


def _mp4(path: Path) -> None:
    write(path, even(2.0), sound=_BEEP)


def _front(path: Path) -> None:
    front_loaded(write(path, even(2.0), sound=_BEEP))


def _turned(path: Path) -> None:
    turned(write(path, even(1.0), sound=tone(1.0), aspect=Fraction(4, 3)), 90)


def _uneven(path: Path) -> None:
    write(path, [0.0, 0.04, 0.5, 0.52, 0.9, 1.6], sound=tone(1.5), sound_start_s=0.3, last_s=0.3)


def _plain(**options: str) -> Callable[[Path], None]:
    """A maker of two seconds with sound in whatever the name of the file asks for."""

    def make(path: Path) -> None:
        write(path, even(2.0), sound=_BEEP, **options)

    return make


def _remuxed(**options: str) -> Callable[[Path], None]:
    """A maker of an MP4 whose packets are written again with options of the muxer."""

    def make(path: Path) -> None:
        whole = write(path.with_name("whole.mp4"), even(2.0), sound=_BEEP)
        with av.open(str(whole)) as source, av.open(str(path), "w", options=options) as target:
            streams = {s.index: target.add_stream_from_template(s) for s in source.streams}
            for packet in source.demux():
                if packet.dts is not None:
                    packet.stream = streams[packet.stream_index]
                    target.mux(packet)
        whole.unlink()

    return make


def _two_tracks(path: Path) -> None:
    one, two = write(path.with_name("one.mp4"), even(1.0), sound=tone(1.0)), path.with_name("two.mp4")
    write(two, sound=tone(1.0, 880.0))
    with av.open(str(one)) as first, av.open(str(two)) as second, av.open(str(path), "w") as target:
        for source in (first, second):
            for stream in source.streams:
                target.add_stream_from_template(stream)
        places = iter(target.streams)
        for source in (first, second):
            streams = {s.index: next(places) for s in source.streams}
            for packet in source.demux():
                if packet.dts is not None:
                    packet.stream = streams[packet.stream_index]
                    target.mux(packet)
    one.unlink()
    two.unlink()


def _sound(codec: str) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        write(path, sound=_BEEP, sound_codec=codec)

    return make


def _mp3(path: Path) -> None:
    with av.open(str(path), "w") as box:
        stream = box.add_stream("libmp3lame", rate=RATE_HZ, layout="mono")
        frame = av.AudioFrame.from_ndarray(_BEEP[None], format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = RATE_HZ, 0, Fraction(1, RATE_HZ)
        resampler = av.AudioResampler("s16p", "mono", RATE_HZ, frame_size=1152)
        for piece in (frame, None):
            for converted in resampler.resample(piece):
                box.mux(stream.encode(converted))
        box.mux(stream.encode(None))


def _pictures(codec: str, pixels: str = "yuv420p", container: str | None = None) -> Callable[[Path], None]:
    """A maker of 1.2 s without sound, at a constant rate."""

    def make(path: Path) -> None:
        with av.open(str(path), "w", format=container) as box:
            stream = box.add_stream(codec, rate=25)
            stream.width, stream.height, stream.pix_fmt = 96, 64, pixels
            stream.options = {"x265-params": "log-level=none"} if codec == "libx265" else {}
            for n in range(30):
                box.mux(stream.encode(av.VideoFrame.from_ndarray(numbered(n), format="rgb24")))
            box.mux(stream.encode(None))

    return make


def photos(path: Path, orientation: int = 6) -> None:
    """Ten JPEG pictures with EXIF, as cameras write them; 6: to be turned by 90 degrees clockwise."""
    marks, jpeg = Image.Exif(), io.BytesIO()
    marks[0x0112], marks[0x010E] = orientation, "made here"
    Image.fromarray(numbered(5)).save(jpeg, "JPEG", exif=marks, quality=95)
    with av.open(str(path), "w") as box:
        stream = box.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuvj420p"
        for n in range(10):
            packet = av.Packet(jpeg.getvalue())
            packet.pts = packet.dts = n
            packet.time_base, packet.stream, packet.is_keyframe = Fraction(1, 25), stream, True
            box.mux(packet)


MAKERS: dict[str, Callable[[Path], None]] = {
    "index_last.mp4": _mp4,
    "index_first.mp4": _front,
    "turned.mp4": _turned,
    "uneven.mp4": _uneven,
    "two_tracks.mp4": _two_tracks,
    "fragments.mp4": _remuxed(movflags="frag_keyframe+empty_moov"),
    "fragments_moof.mp4": _remuxed(movflags="default_base_moof", frag_duration="200000"),
    "hevc.mp4": _pictures("libx265"),
    "av1.mp4": _pictures("libsvtav1"),
    "apple.mov": _plain(sound_codec="pcm_s16le"),
    "h264.mkv": _plain(),
    "uneven.mkv": _uneven,
    "vp8.webm": _plain(codec="libvpx", sound_codec="libopus"),
    "vp9.webm": _plain(codec="libvpx-vp9", sound_codec="libopus"),
    "mpeg4.avi": _pictures("mpeg4"),
    "mjpeg.avi": _pictures("mjpeg", "yuvj420p"),
    "h264.ts": _plain(),
    "mpeg2.mpg": _pictures("mpeg2video"),
    "h264.flv": _plain(),
    "flv1.flv": _pictures("flv"),
    "wmv.asf": _pictures("wmv2"),
    "short.gif": _pictures("gif", "rgb8"),
    "raw.h264": _pictures("libx264"),
    "raw.hevc": _pictures("libx265"),
    "vp9.ivf": _pictures("libvpx-vp9"),
    "plain.y4m": _pictures("wrapped_avframe"),
    "packets.nut": _plain(),
    "film.mxf": _pictures("mpeg2video"),
    "tone.wav": _sound("pcm_s16le"),
    "tone.mp3": _mp3,
    "tone.ogg": _sound("libopus"),
    "tone.flac": _sound("flac"),
    "tone.m4a": _sound("aac"),
    "tone.aac": _sound("aac"),
    "tone.aiff": _sound("pcm_s16be"),
    "tone.w64": _sound("pcm_s16le"),
    "tone.au": _sound("pcm_s16be"),
    "photos.mkv": photos,
}


def make_corpus(folder: Path) -> list[Path]:
    """The generated files, in ``folder``; those that this build of libav cannot write are left out."""
    made = []
    for name, make in MAKERS.items():
        path = folder / name
        try:
            make(path)
        except (av.error.FFmpegError, ValueError) as error:
            print(f"left out: {name} ({error})")
            path.unlink(missing_ok=True)
            continue
        made.append(path)
    return made


def real_files(folder: Path = REAL) -> list[Path]:
    """Real files below ``LARGEST_REAL`` bytes, where there is such a folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return [path for path in files if 0 < path.stat().st_size < LARGEST_REAL and path.suffix != ".csv"]
