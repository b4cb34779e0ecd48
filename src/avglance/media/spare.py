"""Packets that no other picture is decoded from: on the way to a later picture they can be left out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

_H264_PICTURES = range(1, 6)  # kinds of units that hold pictures
_HEVC_PICTURES = range(32)
_HEVC_REFERENCES = range(16)  # below this, even kinds are of pictures that their own layer does not need
_CONFIGURED = 1  # the first byte of a header that says how long the lengths of units are
_START = b"\x00\x00\x01"

Spare = Callable[[Any], bool]


def spare_of(stream: Any) -> Spare | None:
    """What tells the packets of a stream whose picture no other one needs; None: that cannot be told.

    H.264 marks each picture; HEVC does, and all such pictures can be left out where there is one temporal
    layer. A frame of two fields is spare if both are.
    """
    codec = stream.codec_context
    head = bytes(codec.extradata or b"")
    if codec.name == "h264":
        length = (head[4] & 3) + 1 if len(head) > 6 and head[0] == _CONFIGURED else 0
        return lambda packet: _all(map(_h264_is_spare, _units(memoryview(packet), length)))
    if codec.name == "hevc" and len(head) > 22 and head[0] == _CONFIGURED and head[21] >> 3 & 7 == 1:
        length = (head[21] & 3) + 1
        return lambda packet: _all(map(_hevc_is_spare, _units(memoryview(packet), length)))
    return None


def _all(marks: Iterator[bool | None]) -> bool:
    """Whether there are units with pictures, and all of them are spare."""
    found = [mark for mark in marks if mark is not None]
    return bool(found) and all(found)


def _h264_is_spare(first: int) -> bool | None:
    return not first >> 5 & 3 if first & 31 in _H264_PICTURES else None


def _hevc_is_spare(first: int) -> bool | None:
    kind = first >> 1 & 63
    return kind in _HEVC_REFERENCES and kind % 2 == 0 if kind in _HEVC_PICTURES else None


def _units(packet: memoryview, length: int) -> Iterator[int]:
    """The first byte of each unit; ``length``: bytes of the number before it, 0: they begin with a mark."""
    at = 0
    if not length:
        held = bytes(packet)
        while 0 <= (at := held.find(_START, at)) < len(held) - 3:
            at += 3
            yield held[at]
        return
    while at + length < len(packet):
        size = int.from_bytes(packet[at : at + length], "big")
        yield packet[at + length]
        at += length + size
