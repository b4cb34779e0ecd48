"""The trees inside three kinds of container, as far as changing them needs it: MP4, Matroska, RIFF."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

# boxes that hold boxes, and how many bytes of their own come before the first child
CONTAINERS = {
    **dict.fromkeys(
        (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"edts", b"udta", b"mvex", b"moof", b"traf"), 0
    ),
    b"dinf": 0,
    b"ilst": 0,
    b"meta": 4,
}
_DEEPEST = 12
# EBML elements that hold elements
_MASTER_NAMES = "1a45dfa3 18538067 114d9b74 4dbb 1549a966 1654ae6b ae e0 e1 1f43b675 a0 1c53bb6b bb b7"
_MASTERS = frozenset(map(bytes.fromhex, _MASTER_NAMES.split()))


@dataclass
class Box:
    """One MP4 box, or (``kind`` is empty) bytes that are none.

    ``body`` is what it holds, for a container only the bytes before its first child. ``size`` overrides the
    size that is written, ``wide`` writes it in 64 bits, ``open_ended`` writes 0: up to the end of the file.
    """

    kind: bytes
    body: bytes = b""
    children: list[Box] = field(default_factory=list)
    wide: bool = False
    open_ended: bool = False
    size: int | None = None

    def __bytes__(self) -> bytes:
        content = self.body + b"".join(map(bytes, self.children))
        if not self.kind:
            return content
        whole = len(content) + (16 if self.wide else 8)
        size = 0 if self.open_ended else whole
        size = size if self.size is None else self.size
        if self.wide:
            return struct.pack(">I4sQ", 1, self.kind, size & (2**64 - 1)) + content
        return struct.pack(">I4s", size & 0xFFFFFFFF, self.kind) + content


def read_boxes(raw: bytes, depth: int = 0) -> list[Box]:
    """The boxes of a file or of a container's content; what does not fit is kept as bytes of no box."""
    found: list[Box] = []
    at = 0
    while len(raw) - at >= 8:
        size, kind = struct.unpack_from(">I4s", raw, at)
        head, wide, open_ended = 8, size == 1, size == 0
        if wide and len(raw) - at >= 16:
            head, size = 16, struct.unpack_from(">Q", raw, at + 8)[0]
        if open_ended:
            size = len(raw) - at
        if size < head or size > len(raw) - at or (open_ended and depth) or not _is_name(kind):
            break
        content = raw[at + head : at + size]
        box = Box(kind, content, wide=wide, open_ended=open_ended)
        skip = CONTAINERS.get(kind)
        if skip is not None and depth < _DEEPEST and len(content) >= skip:
            box.body, box.children = content[:skip], read_boxes(content[skip:], depth + 1)
        found.append(box)
        at += size
    if at < len(raw):
        found.append(Box(b"", raw[at:]))
    return found


def _is_name(kind: bytes) -> bool:
    return all(32 <= byte < 127 or byte == 0xA9 for byte in kind)


def write_boxes(boxes: list[Box]) -> bytes:
    """The bytes of these boxes: ``write_boxes(read_boxes(raw)) == raw``."""
    return b"".join(map(bytes, boxes))


def all_boxes(boxes: list[Box]) -> list[tuple[list[Box], int]]:
    """Every true box at any depth, as (the list that holds it, its place there)."""
    found: list[tuple[list[Box], int]] = []
    for place, box in enumerate(boxes):
        if box.kind:
            found.append((boxes, place))
            found += all_boxes(box.children)
    return found


@dataclass(frozen=True)
class Part:
    """Where one element or chunk lies: its name at ``start``, its size at ``size_at``, its content."""

    name: bytes
    start: int
    size_at: int
    content_at: int
    end: int


def ebml_parts(raw: bytes) -> list[Part]:
    """The EBML elements of a file, outer ones first; stops at what is none."""
    return _ebml(raw, 0, len(raw), 0)


def _ebml(raw: bytes, at: int, end: int, depth: int) -> list[Part]:
    found: list[Part] = []
    while at < end - 1:
        id_length, size_at = _varint_length(raw[at]), at + _varint_length(raw[at])
        if id_length > 4 or size_at >= end:
            break
        length = _varint_length(raw[size_at])
        content = size_at + length
        if length > 8 or content > end:
            break
        size = int.from_bytes(raw[size_at:content], "big") & ((1 << 7 * length) - 1)
        stop = end if size == (1 << 7 * length) - 1 else min(content + size, end)
        name = raw[at:size_at]
        found.append(Part(name, at, size_at, content, stop))
        if name in _MASTERS and depth < _DEEPEST:
            found += _ebml(raw, content, stop, depth + 1)
        at = stop
    return found


def _varint_length(first: int) -> int:
    return 9 - first.bit_length()


def riff_parts(raw: bytes) -> list[Part]:
    """The RIFF chunks of a file, outer ones first."""
    return _riff(raw, 0, len(raw), 0)


def _riff(raw: bytes, at: int, end: int, depth: int) -> list[Part]:
    found: list[Part] = []
    while at + 8 <= end:
        name, size = raw[at : at + 4], struct.unpack_from("<I", raw, at + 4)[0]
        stop = min(at + 8 + size, end)
        found.append(Part(name, at, at + 4, at + 8, stop))
        if name in (b"RIFF", b"LIST") and depth < _DEEPEST:
            found += _riff(raw, at + 12, stop, depth + 1)
        at = stop + size % 2
    return found
