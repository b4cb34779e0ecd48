"""Hostile files and names: nothing but the named file is touched, nothing is allocated beyond the limits."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tests.media.makers import even, tone, write

from avglance.errors import ArgumentError, MediaError
from avglance.media import Limits, VideoReader, check, sniff

HTML = b"<!DOCTYPE html>\n<html><head><title>404</title></head><body>not found</body></html>"
PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(64)


class Listener:
    """A server on this machine that counts who knocks."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self.knocks = 0
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                peer, _ = self._socket.accept()
            except OSError:
                return
            self.knocks += 1
            peer.close()

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def listener() -> Iterator[Listener]:
    server = Listener()
    yield server
    server.close()


def playlists(canary: Path, port: int) -> dict[str, str]:
    """Texts that would make a careless reader open ``canary`` and knock at ``port``."""
    url = f"http://127.0.0.1:{port}/x.ts"
    return {
        "hls": f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{canary}\n#EXTINF:9,\n{url}\n#EXT-X-ENDLIST\n",
        "hls with a mark": f"\ufeff\n#EXTM3U\n#EXTINF:9,\n{url}\n",
        "hls after junk": f"GIF\n#EXTM3U\n#EXT-X-MEDIA-SEQUENCE:0\n#EXTINF:1.0,\n{url}\n",
        "concat": f"ffconcat version 1.0\nfile '{canary}'\nfile '{url}'\n",
        "concat without a head": f"# a list\nfile '{canary}'\n",
        "dash": f'<?xml version="1.0"?>\n<MPD><Period><BaseURL>{url}</BaseURL></Period></MPD>',
        "sdp": f"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nm=video {port} RTP/AVP 96\r\n",
        "subfile": f"subfile,,start,0,end,99,,:{canary}",
        "protocol": f"concat:{canary}|{url}",
        "address": url,
        "pls": f"[playlist]\nFile1={url}\n",
        "asx": f'<asx version="3"><entry><ref href="{url}"/></entry></asx>',
        "smil": f'<smil><body><video src="{url}"/></body></smil>',
    }


@pytest.mark.parametrize("name", sorted(playlists(Path("/x"), 1)))
def test_playlists_touch_nothing(tmp_path, listener, name):
    canary = write(tmp_path / "canary.mp4", even(1))
    old = time.time() - 30 * 86_400
    import os

    os.utime(canary, (old, old))
    before = canary.stat().st_atime_ns
    path = tmp_path / "video.mp4"
    path.write_text(playlists(canary, listener.port)[name])
    report = check(path)
    assert report.condition.verdict == "failed"
    assert report.failure.kind == "refused"
    assert report.failure.hint
    assert canary.stat().st_atime_ns == before
    assert listener.knocks == 0


def test_the_listener_and_the_canary_would_tell(tmp_path, listener):
    socket.create_connection(("127.0.0.1", listener.port)).close()
    deadline = time.monotonic() + 5
    while not listener.knocks and time.monotonic() < deadline:
        time.sleep(0.01)
    assert listener.knocks == 1


@pytest.mark.parametrize("name", sorted(playlists(Path("/x"), 1)))
def test_playlists_are_stopped_a_second_time_behind_the_sniffing(tmp_path, listener, name, monkeypatch):
    """Even if the first bytes were misjudged, no list of formats or protocols lets a playlist through."""
    from avglance.media import source
    from avglance.media.sniff import Sniffed

    monkeypatch.setattr(source, "sniff", lambda _: Sniffed(None))
    path = tmp_path / "video.mp4"
    path.write_text(playlists(tmp_path / "canary.mp4", listener.port)[name])
    with pytest.raises(MediaError):
        VideoReader(path)
    assert listener.knocks == 0


@pytest.mark.parametrize(
    ("raw", "kind"),
    [
        (b"just some words, no video\n" * 50, "not_media"),
        ("Grüße, ein Text in UTF-8 ✓\n".encode() * 20, "not_media"),
        ("a text in UTF-16\n".encode("utf-16") * 20, "not_media"),
        (HTML, "not_media"),
        (b"\r\n  <html>x</html>", "not_media"),
        (PNG, "not_media"),
        (b"\xff\xd8\xff\xe0" + bytes(200), "not_media"),
        (b"RIFF\x10\0\0\0WEBPVP8 " + bytes(50), "not_media"),
        (b"\0\0\0\x18ftypheic" + bytes(50), "not_media"),
        (b"PK\x03\x04" + bytes(50), "not_media"),
        (b"%PDF-1.7\n" + bytes(50), "not_media"),
        (b'{"a": [1, 2, 3]}', "not_media"),
        (bytes(5000), "not_media"),
        (b"", "empty"),
        (bytes(np.random.default_rng(0).integers(0, 256, 5000, np.uint8)), "not_media"),
        (b"\0\0\0\x20ftypisom\0\0\2\0isomiso2avc1mp41\0\0\x10\0mdat" + bytes(4000), "truncated"),
        (b"\x1a\x45\xdf\xa3" + bytes(300), "truncated"),
        (b"RIFF\xff\xff\0\0AVI LIST" + bytes(100), "truncated"),
    ],
)
def test_what_is_no_video_has_a_kind(tmp_path, raw, kind):
    path = tmp_path / "video.mp4"
    path.write_bytes(raw)
    report = check(path)
    assert report.condition.verdict == "failed"
    assert report.failure.kind == kind, report.failure
    assert report.failure.hint


def test_a_pipe_is_refused_and_never_waited_for(tmp_path):
    import os

    if not hasattr(os, "mkfifo"):
        pytest.skip("no named pipes on this system")
    os.mkfifo(tmp_path / "pipe.mp4")
    assert sniff(tmp_path / "pipe.mp4").kind == "refused"
    assert check("/dev/zero").failure.kind == "refused"


@pytest.mark.parametrize(
    "name",
    [
        "with space.mp4",
        "two\nlines.mp4",
        "film 🎬.mp4",
        "-i.mp4",
        "--json.mp4",
        "concat:a",
        "file:x.mp4",
        "http:x.mp4",
        "subfile,,start,0,end,9,,:x",
        "a;b|c&d$(e)`f`'g'\"h\".mp4",
        "%03d.mp4",
        "*.mp4",
        "ünïcode-日本.mp4",
        ".hidden",
        "no_suffix",
        "a.m3u8",
        "a.ffconcat",
        "a.txt",
    ],
)
def test_names_are_only_names(tmp_path, monkeypatch, name):
    raw = write(tmp_path / "plain.mp4", even(0.4), sound=tone(0.4)).read_bytes()
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / name).write_bytes(raw)
    monkeypatch.chdir(folder)
    for path in (name, Path(name), folder / name):
        report = check(path)
        assert report.condition.verdict == "ok", (path, report)
        assert report.frames_decoded == 10
    assert [p.name for p in folder.iterdir()] == [name]


def test_a_name_that_is_no_text(tmp_path):
    import os

    raw = write(tmp_path / "plain.mp4", even(0.4)).read_bytes()
    path = os.fsdecode(os.fsencode(str(tmp_path)) + b"/\xff\xfe.mp4")
    try:
        Path(path).write_bytes(raw)
    except OSError:
        pytest.skip("this file system takes no such names")
    assert check(path).condition.verdict == "ok"


def peak_bytes() -> int:
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def claims(path: Path, width: int = 65535, height: int = 65535) -> Path:
    """The file with this size written into its headers, and in VP8 into the keyframes themselves."""
    raw = bytearray(path.read_bytes())
    for mark, skip, form in (
        (b"tkhd", 80, ">II"),
        (b"mp4v", 28, ">HH"),
        (b"strf", 12, "<ii"),
        (b"\x9d\x01\x2a", 3, "<HH"),
    ):
        shift = 16 if form == ">II" else 0
        at = raw.find(mark)
        while at >= 0 and not (mark == b"\x9d\x01\x2a" and path.suffix != ".webm"):
            small = (
                (min(width, 16383), min(height, 16383))
                if form == "<HH"
                else (width << shift, height << shift)
            )
            struct.pack_into(form, raw, at + skip, *small)
            at = raw.find(mark, at + 1)
    path.write_bytes(raw)
    return path


@pytest.mark.parametrize(
    ("name", "codec", "pixels", "outcome"),
    [
        ("x.avi", "ffv1", "yuv420p", "limit"),  # the container's word counts: nothing is allocated
        ("x.avi", "rawvideo", "yuv420p", "limit"),
        ("x.webm", "libvpx", "yuv420p", "limit"),  # the size inside the pictures
        ("x.mp4", "mpeg4", "yuv420p", "ok"),  # the pictures say 96 x 64, and they are right
    ],
)
def test_a_header_that_claims_65535_by_65535(tmp_path, name, codec, pixels, outcome):
    path = claims(write(tmp_path / name, even(0.4), codec=codec, pixels=pixels))
    before, began = peak_bytes(), time.monotonic()
    report = check(path)
    assert peak_bytes() - before < 300_000_000
    assert time.monotonic() - began < 20
    if outcome == "ok":
        assert report.condition.verdict == "ok"
        assert report.info.width * report.info.height < 20_000
    else:
        assert report.condition.verdict == "failed"
        assert report.failure.kind == "limit"
        assert "max_pixels" in report.failure.hint


def test_limits_are_settings(tmp_path):
    path = write(tmp_path / "x.mkv", even(2), sound=tone(2))
    assert check(path).condition.verdict == "ok"
    for limits, word in (
        (Limits(max_pixels=1000), "max_pixels"),
        (Limits(max_streams=1), "max_streams"),
        (Limits(max_duration_s=1.0), "max_duration_s"),
        (Limits(max_rate_hz=8000), "max_rate_hz"),
        (Limits(max_frame_rate=5), "max_frame_rate"),
    ):
        report = check(path, limits=limits)
        assert report.condition.verdict == "failed", word
        assert report.failure.kind == "limit"
        assert word in report.failure.hint
    with pytest.raises(ArgumentError, match="max_pixels"):
        Limits(max_pixels=0)


def test_a_picture_that_grows_in_the_middle_is_stopped(tmp_path):
    """The size in the header is small; a later keyframe brings its own, which is over the limit."""
    small = write(tmp_path / "a.ts", even(1), draw=lambda _: np.full((64, 96, 3), 90, np.uint8))
    large = write(tmp_path / "b.ts", even(1), draw=lambda _: np.full((640, 960, 3), 90, np.uint8))
    (tmp_path / "c.ts").write_bytes(small.read_bytes() + large.read_bytes())
    report = check(tmp_path / "c.ts", limits=Limits(max_pixels=50_000))
    assert report.condition.verdict in ("degraded", "failed")


def test_a_stream_that_appears_in_the_middle_is_left_out():
    class Box:
        """PyAV's container meets a packet of a stream it does not know."""

        def __init__(self):
            self.left = ["a", IndexError(), "b", IndexError(), "c"]

        def demux(self, *_streams):
            while self.left:
                item = self.left.pop(0)
                if isinstance(item, Exception):
                    raise item
                yield item

    from avglance.media.shots import demux

    assert list(demux(Box(), None)) == ["a", "b", "c"]


def test_a_name_is_shown_on_one_line(tmp_path):
    with pytest.raises(MediaError) as caught:
        VideoReader(tmp_path / "two\nlines\x1b[31m.mp4")
    assert "\n" not in caught.value.where
    assert "\x1b" not in caught.value.where
