"""What a file is by its first bytes, before any decoder sees it: playlists and pages never reach one."""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path

from avglance.errors import FailureKind

HEAD_BYTES = 4096

# text that makes a reader open other files or hosts: HLS, PLS, SDP, concat scripts, DASH and other XML lists
_PLAYLISTS: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("an HLS or M3U playlist", re.compile(r"#EXT(M3U|INF|-X-)", re.I)),
    ("a concat script", re.compile(r"(ffconcat\s|concat:|(#[^\n]*\n\s*)*file\s+\S)", re.I)),
    (
        "a subfile or other protocol address",
        re.compile(r"(subfile|crypto|cache|async|data|tee|pipe)[,:]", re.I),
    ),
    ("a network address", re.compile(r"[a-z][a-z0-9+.-]{1,15}://", re.I)),
    ("an SDP session description", re.compile(r"v=\d\s*\r?\n", re.I)),
    ("a playlist", re.compile(r"\[(playlist|reference|internetshortcut)\]", re.I)),
    ("a redirection to a stream", re.compile(r"(rtsptext|asf\s+http|smpte)", re.I)),
)
_XML_PLAYLIST = re.compile(r"<\s*(MPD|SmoothStreamingMedia|smil|asx|playlist|WinampAbstract|rss)\b", re.I)
_PAGE = re.compile(r"\s*(<!--.*?-->\s*)*<(!doctype\s+html|html|head|body|script)\b", re.I | re.S)

_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"\x89PNG\r\n\x1a\n", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"BM", "a BMP picture"),
    (b"II*\x00", "a TIFF picture"),
    (b"MM\x00*", "a TIFF picture"),
    (b"\x00\x00\x01\x00\x01\x00", "an icon"),
    (b"8BPS", "a Photoshop picture"),
    (b"\x00\x00\x00\x0cJXL ", "a JPEG XL picture"),
    (b"\x00\x00\x00\x0cjP  ", "a JPEG 2000 picture"),
    (b"%PDF", "a PDF document"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"7z\xbc\xaf", "a 7-Zip archive"),
    (b"Rar!", "a RAR archive"),
    (b"\xfd7zXZ", "an xz archive"),
    (b"\x7fELF", "a program"),
    (b"MZ\x90", "a program"),
    (b"SQLite format 3", "a database"),
)
_STILL_BRANDS = (b"heic", b"heix", b"mif1", b"avif", b"heim", b"heis")


@dataclass(frozen=True)
class Sniffed:
    """What the first bytes say: ``kind`` is None where a demuxer may try, else the kind of failure."""

    kind: FailureKind | None
    what: str = ""
    hint: str = ""


def sniff(path: str | os.PathLike[str]) -> Sniffed:
    """What a file is by its name's target and its first bytes; opens nothing but the file itself.

    Playlists and scripts are ``refused``, pictures, pages, text and archives are ``not_media``; nothing is
    decided by the file's name.
    """
    try:
        state = os.stat(path)
        if stat.S_ISDIR(state.st_mode):
            return Sniffed("not_media", "a directory, not a file", "name the files inside it")
        if not stat.S_ISREG(state.st_mode):
            return Sniffed(
                "refused", "a pipe, socket or device, not a file", "save the stream to a file first"
            )
        with open(path, "rb") as file:
            head = file.read(HEAD_BYTES)
    except PermissionError:
        return Sniffed(
            "permission", "the file may not be read", "give yourself the right to read it (chmod +r)"
        )
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        return Sniffed(
            "missing", f"there is no such file ({_short(error)})", "check the spelling of the path"
        )
    return judge_head(head)


def judge_head(head: bytes) -> Sniffed:
    """The verdict on the first bytes of a file (up to ``HEAD_BYTES``); see ``sniff``."""
    if not head:
        return Sniffed("empty", "an empty file (0 bytes)", "copy or download it again")
    if not head.strip(b"\0"):
        return Sniffed("not_media", "the file begins with nothing but zeros", "copy or download it again")
    for magic, name in _MAGIC:
        if head.startswith(magic):
            return Sniffed("not_media", f"not a video, it is {name}", "name a video or sound file")
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return Sniffed("not_media", "not a video, it is a WebP picture", "name a video or sound file")
    if head[4:8] == b"ftyp" and head[8:12] in _STILL_BRANDS:
        return Sniffed("not_media", "not a video, it is a HEIF or AVIF picture", "name a video or sound file")
    return _judge_text(head)


def _judge_text(head: bytes) -> Sniffed:
    """Playlists, pages and plain text by content; the beginning counts, whatever junk follows."""
    text = _as_text(head)
    start = text.lstrip("\ufeff \t\r\n\0\v\f")
    for name, pattern in _PLAYLISTS:
        if pattern.match(start):
            return _refused(name)
    if start.startswith("<") or "#EXTM3U" in start[:256]:
        if _XML_PLAYLIST.search(start) or "#EXTM3U" in start[:256]:
            return _refused("a playlist")
        if _PAGE.match(start) or re.search(r"<html\b", start, re.I):
            hint = "download it again; the server sent a page in place of the video"
            return Sniffed("not_media", "not a media file, it begins like a web page", hint)
    if _is_plain(head):
        if re.search(r"(?m)^\s*(#EXTINF|#EXT-X-|file\s+['\"])", text):
            return _refused("a playlist")
        return Sniffed("not_media", "not a media file, it is text", "name a video or sound file")
    return Sniffed(None)


def _refused(name: str) -> Sniffed:
    return Sniffed("refused", f"{name}, which names other files or hosts", "name the video files themselves")


def _as_text(head: bytes) -> str:
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return head.decode("utf-16", errors="replace")
    return head.decode("utf-8", errors="replace")


def _is_plain(head: bytes) -> bool:
    """Whether the bytes are printable text (UTF-8 or UTF-16), as no container's first 4 kB are."""
    if head.startswith(b"YUV4MPEG2"):
        return False
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        text = head[: len(head) // 2 * 2].decode("utf-16", errors="replace")
        return text.count("\ufffd") < len(text) // 50 + 1 and sum(map(str.isprintable, text)) > 0.8 * len(
            text
        )
    if b"\0" in head:
        return False
    controls = sum(byte < 32 and byte not in b"\t\n\r\f\x1b" for byte in head)
    if controls:
        return False
    text = head.decode("utf-8", errors="ignore")
    return len(text.encode()) >= len(head) - 3


def looks_truncated(path: str | os.PathLike[str]) -> bool:
    """Whether a file begins as a container does though none can be opened: most likely its end is missing."""
    try:
        with open(Path(path), "rb") as file:
            head = file.read(16)
    except OSError:
        return False
    riff = head[:4] == b"RIFF" and head[8:12] in (b"AVI ", b"WAVE")
    boxes = head[4:8] in (b"ftyp", b"moov", b"mdat", b"free", b"wide", b"skip", b"styp", b"moof")
    ebml = head[:4] == b"\x1a\x45\xdf\xa3"
    asf = head[:4] == b"\x30\x26\xb2\x75"
    return riff or boxes or ebml or asf or head[:3] in (b"FLV", b"ID3", b"GIF") or head[:4] == b"OggS"


def _short(error: BaseException) -> str:
    return getattr(error, "strerror", None) or str(error)
