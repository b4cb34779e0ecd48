"""Graphs with their weights inside, for a runtime that would look for them in files by itself.

A graph from a stranger may name any file as its external data, or an address in memory. So what lies in the
file of weights is put into the graph here, and a graph that still names a place is refused. ONNX files are
protocol buffers; a few lines read as much of them as this needs, so no library is needed for it.
"""

from __future__ import annotations

from collections.abc import Iterator

from avglance.runtime.shared import WEIGHTS

_VARINT, _EIGHT, _BYTES, _FOUR = 0, 1, 2, 5
_GRAPH, _INITIALIZER = 7, 5  # fields of a model, of a graph
_DIMS, _TYPE, _RAW, _PLACE, _WHERE = 1, 2, 9, 13, 14  # fields of a tensor; _WHERE: 1 is external
_ITEM = {1: 4, 10: 2}  # bytes of a number: float32, float16
_KEY = b"location"  # of every entry that names a place


def made_whole(content: bytes, weights: bytes) -> bytes:
    """The ONNX file with every tensor inside that it has in the file of weights.

    Raises:
        ValueError: it is no ONNX file, or names another place than one in these weights.
    """
    out, rest = bytearray(), bytearray()
    for number, kind, value in _fields(content):
        if number == _GRAPH and kind == _BYTES:
            graph, named = _whole_graph(value, weights)
            out += _field(number, kind, graph)
            rest += named
        else:
            out += _field(number, kind, value)
            rest += value
    if _KEY in rest:
        raise ValueError("it names a place for numbers that is not in its weights")
    return bytes(out)


def _whole_graph(graph: bytes, weights: bytes) -> tuple[bytes, bytes]:
    """The graph with its tensors inside, and all of it but for those numbers."""
    out, rest = bytearray(), bytearray()
    for number, kind, value in _fields(graph):
        tensor = None
        if number == _INITIALIZER and kind == _BYTES:
            tensor = _whole_tensor(value, weights)
        out += _field(number, kind, value if tensor is None else tensor)
        rest += b"" if tensor is not None else value
    return bytes(out), bytes(rest)


def _whole_tensor(tensor: bytes, weights: bytes) -> bytes | None:
    """The tensor with its numbers inside; None where it had them, or has them nowhere."""
    found = list(_fields(tensor))
    if not any(number == _WHERE and value == b"\x01" for number, _, value in found):
        return None
    place = dict(_entry(value) for number, kind, value in found if (number, kind) == (_PLACE, _BYTES))
    first, length = int(place.get("offset", "0")), int(place.get("length", "-1"))
    count = 1
    for number, kind, value in found:
        if number == _DIMS:
            count *= _number(value) if kind == _VARINT else -1  # as onnx writes them, not packed
    item = next((_ITEM.get(_number(value), 0) for number, _, value in found if number == _TYPE), 0)
    if place.get("location") != WEIGHTS or not 0 <= first <= first + length <= len(weights):
        raise ValueError(f"it names bytes {first} to {first + length} of {place.get('location')!r}")
    if length != count * item:
        raise ValueError(f"it names {length} bytes for {count} numbers")
    kept = [_field(*one) for one in found if one[0] not in (_PLACE, _WHERE, _RAW)]
    return b"".join(kept) + _field(_RAW, _BYTES, weights[first : first + length])


def _entry(message: bytes) -> tuple[str, str]:
    """Key and value of an entry."""
    parts = {number: value.decode() for number, _, value in _fields(message)}
    return parts.get(1, ""), parts.get(2, "")


# ---- the format ----


def _fields(message: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Number, kind and content of each field; of a number its bytes as they stand."""
    at = 0
    while at < len(message):
        start, at = at, _behind(message, at)
        number, kind = divmod(_number(message[start:at]), 8)
        start = at
        if kind == _VARINT:
            at = _behind(message, at)
        elif kind == _BYTES:
            start = _behind(message, at)
            at = start + _number(message[at:start])
        elif kind in (_EIGHT, _FOUR):
            at += 8 if kind == _EIGHT else 4
        else:
            raise ValueError(f"there is no field of kind {kind}")
        if at > len(message):
            raise ValueError("it ends too early")
        yield number, kind, message[start:at]


def _behind(message: bytes, at: int) -> int:
    """The place behind the number that begins at ``at``."""
    for end in range(at, min(at + 10, len(message))):
        if message[end] < 0x80:
            return end + 1
    raise ValueError("it ends too early")


def _number(content: bytes) -> int:
    """A number of seven bits a byte, the lowest first."""
    return sum((byte & 0x7F) << (7 * place) for place, byte in enumerate(content))


def _written(number: int) -> bytes:
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*found, number])


def _field(number: int, kind: int, value: bytes) -> bytes:
    size = _written(len(value)) if kind == _BYTES else b""
    return _written(8 * number + kind) + size + value
