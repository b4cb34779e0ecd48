"""Seeded damage that knows a container: a box, element, chunk, packet or page changes, the rest is whole."""

from __future__ import annotations

import struct
from collections.abc import Callable

import numpy as np
from tests.media.boxes import Box, Part, all_boxes, ebml_parts, read_boxes, riff_parts, write_boxes

INTEGERS = (
    *(0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 2**63 - 1),
    *(1 << n for n in range(3, 32, 3)),
)
Change = tuple[bytes, str]
Mutator = Callable[[bytes, np.random.Generator], Change]


def integer(rng: np.random.Generator) -> int:
    """A number that is often wrong: a limit of some width, its neighbour, or any."""
    if rng.random() < 0.2:
        return int(rng.integers(0, 2**32))
    return INTEGERS[int(rng.integers(len(INTEGERS)))] + int(rng.integers(-1, 2))


def put(raw: bytes, at: int, new: bytes) -> bytes:
    """``raw`` with ``new`` written over it."""
    return raw[:at] + new + raw[at + len(new) :]


def packed(value: int, width: int, order: str = "big") -> bytes:
    """The lowest bytes of a number."""
    return (value & ((1 << 8 * width) - 1)).to_bytes(width, "big" if order == "big" else "little")


# ---- MP4 boxes ----


def _on_box(change: Callable[[list[Box], int, np.random.Generator], str]) -> Mutator:
    """A change of one box of the tree, as a change of bytes."""

    def mutator(raw: bytes, rng: np.random.Generator) -> Change:
        tree = read_boxes(raw)
        places = all_boxes(tree)
        if not places:
            return raw, "no box"
        siblings, place = places[int(rng.integers(len(places)))]
        name = siblings[place].kind.decode("latin-1")
        text = change(siblings, place, rng)
        return write_boxes(tree), f"{name} {text}"

    return mutator


def _resize(siblings: list[Box], place: int, rng: np.random.Generator) -> str:
    box = siblings[place]
    size = len(bytes(box))
    options = [0, 1, 7, 8, size - 1, size + 1, size + 8, size // 2, size * 2, 0x7FFFFFFF, 0xFFFFFFFF]
    box.size = int(options[int(rng.integers(len(options)))])
    box.wide = box.wide or rng.random() < 0.1
    return f"has the size {box.size}{' in 64 bits' if box.wide else ''}"


def _rename(siblings: list[Box], place: int, rng: np.random.Generator) -> str:
    names = (
        b"free",
        b"moov",
        b"trak",
        b"mdat",
        b"stsd",
        b"stsz",
        b"moof",
        b"uuid",
        b"meta",
        b"cmov",
        b"sidx",
    )
    siblings[place].kind = rng.bytes(4) if rng.random() < 0.2 else names[int(rng.integers(len(names)))]
    return f"is called {siblings[place].kind!r}"


def _drop(siblings: list[Box], place: int, rng: np.random.Generator) -> str:
    del siblings[place]
    return "is gone"


def _repeat(siblings: list[Box], place: int, rng: np.random.Generator) -> str:
    count = 1 if len(bytes(siblings[place])) > 4096 else int(2 ** rng.uniform(0, 8))
    siblings[place:place] = [siblings[place]] * count
    return f"stands {count + 1} times"


def _reorder(siblings: list[Box], place: int, rng: np.random.Generator) -> str:
    box, to = siblings.pop(place), int(rng.integers(0, len(siblings) + 1))
    siblings.insert(to, box)
    return f"moves to place {to}"


def _nest(siblings: list[Box], place: int, rng: np.random.Generator) -> str:
    box, depth = siblings[place], int(2 ** rng.uniform(0, 11))
    kind = box.kind if rng.random() < 0.5 else b"moov"
    heads = [struct.pack(">I4s", (len(bytes(box)) + 8 * n) & 0xFFFFFFFF, kind) for n in range(depth, 0, -1)]
    siblings[place] = Box(b"", b"".join(heads) + bytes(box))
    return f"lies inside {depth} boxes {kind.decode('latin-1')}"


# name: fixed fields as (offset, width) in the body of version 0
_FIELDS: dict[bytes, list[tuple[int, int]]] = {
    b"ftyp": [(0, 4), (4, 4), (8, 4)],
    b"mvhd": [(0, 1), (12, 4), (12, 4), (16, 4), (16, 4), (20, 4)],
    b"mdhd": [(0, 1), (12, 4), (12, 4), (16, 4), (16, 4), (20, 2)],
    b"tkhd": [(0, 4), (12, 4), (20, 4), *((40 + 4 * n, 4) for n in range(9)), (76, 4), (80, 4)],
    b"hdlr": [(8, 4)],
    b"stsd": [
        (4, 4),
        (8, 4),
        (12, 4),
        (24, 2),
        (32, 2),
        (34, 2),
        (40, 2),
        (40, 4),
        (42, 2),
        (56, 2),
        (90, 2),
    ],
    b"tfhd": [(0, 4), (4, 4), (8, 4), (12, 4), (16, 4)],
    b"tfdt": [(0, 1), (4, 4), (8, 4)],
    b"trex": [(4, 4), (8, 4), (12, 4), (16, 4)],
    b"trun": [(0, 4), (8, 4), (12, 4)],
    b"mfhd": [(4, 4)],
    b"stsz": [(4, 4)],
    b"mehd": [(4, 4)],
    b"sidx": [(4, 4), (8, 4), (12, 4), (16, 4), (22, 2)],
}
# name: where the count stands, where the entries begin, the width of their numbers
_TABLES = {
    b"stts": (4, 8, 4),
    b"ctts": (4, 8, 4),
    b"stsc": (4, 8, 4),
    b"stsz": (8, 12, 4),
    b"stco": (4, 8, 4),
    b"co64": (4, 8, 8),
    b"stss": (4, 8, 4),
    b"elst": (4, 8, 4),
    b"trun": (4, 8, 4),
    b"dref": (4, 8, 4),
}


def _boxes_called(tree: list[Box], names: dict[bytes, object], rng: np.random.Generator) -> Box | None:
    found = [siblings[place] for siblings, place in all_boxes(tree)]
    found = [box for box in found if box.kind in names]
    return found[int(rng.integers(len(found)))] if found else None


def _box_field(raw: bytes, rng: np.random.Generator) -> Change:
    """One fixed field of a known box: a time scale, a duration, a matrix, a size, a codec's setting."""
    tree = read_boxes(raw)
    box = _boxes_called(tree, dict(_FIELDS), rng)
    if box is None:
        return raw, "no known box"
    offset, width = _FIELDS[box.kind][int(rng.integers(len(_FIELDS[box.kind])))]
    if box.kind == b"stsd" and rng.random() < 0.4:  # what is set up for the decoder
        offset, width = int(rng.integers(0, len(box.body) + 1)), 1
    value = integer(rng)
    box.body = put(box.body, offset, packed(value, width))[: max(len(box.body), 1)]
    return write_boxes(tree), f"{box.kind.decode()} has {value:#x} at {offset}"


def _box_table(raw: bytes, rng: np.random.Generator) -> Change:
    """The count, one value or many values of a table of samples, chunks, times or edits."""
    tree = read_boxes(raw)
    box = _boxes_called(tree, dict(_TABLES), rng)
    if box is None:
        return raw, "no known table"
    count_at, start, width = _TABLES[box.kind]
    name, value = box.kind.decode(), integer(rng)
    body = bytearray(box.body)
    places = range(start, len(body) - width + 1, width)
    if rng.random() < 0.25 or not places:
        body[count_at : count_at + 4] = packed(value, 4)
        text = f"{name} counts {value:#x}"
    elif rng.random() < 0.7:
        at = places[int(rng.integers(len(places)))]
        if rng.random() < 0.4:
            value = int.from_bytes(body[at : at + width], "big") + int(rng.choice([-1, 1, -1000, 1000]))
        body[at : at + width] = packed(value, width)
        text = f"{name} has {value:#x} at {at}"
    else:
        low, high = sorted(int(n) for n in rng.integers(0, len(places) + 1, 2))
        for at in places[low:high]:
            body[at : at + width] = packed(value, width)
        text = f"{name} has {value:#x} {high - low} times"
    box.body = bytes(body)
    return write_boxes(tree), text


# ---- Matroska, RIFF, MPEG-TS, Ogg ----


def _part(parts: list[Part], rng: np.random.Generator) -> Part | None:
    """One part: small names (the header) are as likely as the many blocks."""
    if not parts:
        return None
    names = sorted({part.name for part in parts})
    name = names[int(rng.integers(len(names)))]
    same = [part for part in parts if part.name == name]
    return same[int(rng.integers(len(same)))]


def _ebml_size(raw: bytes, rng: np.random.Generator) -> Change:
    part = _part(ebml_parts(raw), rng)
    if part is None:
        return raw, "no element"
    length = part.content_at - part.size_at
    full = (1 << 7 * length) - 1  # all ones: the size is not known
    now = part.end - part.content_at
    size = int(rng.choice([0, 1, max(now - 1, 0), now + 1, now * 2 + 1, full - 1, full])) & full
    new = packed(size | 1 << 7 * length, length)
    return put(raw, part.size_at, new), f"{part.name.hex()} at {part.start} has the size {size}"


def _ebml_id(raw: bytes, rng: np.random.Generator) -> Change:
    parts = ebml_parts(raw)
    part, giver = _part(parts, rng), _part(parts, rng)
    if part is None or giver is None:
        return raw, "no element"
    new = giver.name if len(giver.name) == len(part.name) else rng.bytes(len(part.name))
    return put(raw, part.start, new), f"{part.name.hex()} at {part.start} is called {new.hex()}"


def _ebml_value(raw: bytes, rng: np.random.Generator) -> Change:
    """A number or the beginning of an element's content."""
    part = _part([p for p in ebml_parts(raw) if p.end > p.content_at], rng)
    if part is None:
        return raw, "no element"
    value, width = integer(rng), min(part.end - part.content_at, 8)
    new = struct.pack(">d", 10.0 ** rng.integers(-30, 300)) if rng.random() < 0.1 else packed(value, width)
    return put(
        raw, part.content_at, new[:width]
    ), f"{part.name.hex()} at {part.start} holds {new[:width].hex()}"


def _riff_size(raw: bytes, rng: np.random.Generator) -> Change:
    part = _part(riff_parts(raw), rng)
    if part is None:
        return raw, "no chunk"
    now = part.end - part.content_at
    size = int(rng.choice([0, 1, max(now - 1, 0), now + 1, now * 2, 0x7FFFFFFF, 0xFFFFFFFF]))
    return put(raw, part.size_at, packed(size, 4, "little")), f"{part.name!r} has the size {size}"


def _riff_name(raw: bytes, rng: np.random.Generator) -> Change:
    parts = riff_parts(raw)
    part, giver = _part(parts, rng), _part(parts, rng)
    if part is None or giver is None:
        return raw, "no chunk"
    return put(raw, part.start, giver.name), f"{part.name!r} at {part.start} is called {giver.name!r}"


def _riff_value(raw: bytes, rng: np.random.Generator) -> Change:
    """A number of a header chunk."""
    part = _part([p for p in riff_parts(raw) if p.end - p.content_at >= 4], rng)
    if part is None:
        return raw, "no chunk"
    at = part.content_at + 2 * int(rng.integers(0, min(part.end - part.content_at, 64) // 2))
    value = integer(rng)
    return put(raw, at, packed(value, 4, "little"))[: len(raw)], f"{part.name!r} has {value:#x} at {at}"


def _ts_packet(raw: bytes, rng: np.random.Generator) -> Change:
    """The head of a transport packet (its stream, its counter, its clock), or packets in another order."""
    count = len(raw) // 188
    if not count:
        return raw, "no packet"
    packet = int(rng.integers(0, min(count, 8) if rng.random() < 0.5 else count))
    if rng.random() < 0.3:
        other = int(rng.integers(0, count))
        one, two = raw[packet * 188 :][:188], raw[other * 188 :][:188]
        return put(
            put(raw, packet * 188, two), other * 188, one
        ), f"packets {packet} and {other} change places"
    at = packet * 188 + int(rng.integers(1, 32))
    return put(raw, at, rng.bytes(1)), f"packet {packet}, byte {at - packet * 188}"


def _ogg_page(raw: bytes, rng: np.random.Generator) -> Change:
    """One byte of a page, with a checksum that fits: a page whose checksum is wrong is never looked at."""
    starts = [at for at in range(len(raw) - 27) if raw[at : at + 5] == b"OggS\0"]
    if not starts:
        return raw, "no page"
    which = int(rng.integers(len(starts)))
    start, end = starts[which], [*starts[1:], len(raw)][which]
    page = bytearray(raw[start:end])
    at = int(rng.integers(5, len(page) if rng.random() < 0.5 else min(len(page), 40)))
    page[at : at + 1] = rng.bytes(1)
    page[22:26] = bytes(4)
    page[22:26] = ogg_checksum(bytes(page)).to_bytes(4, "little")
    return raw[:start] + bytes(page) + raw[end:], f"page at {start}, byte {at}"


def ogg_checksum(page: bytes) -> int:
    """CRC-32 of polynomial 0x04c11db7, highest bit first, beginning with 0."""
    crc = 0
    for byte in page:
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1 ^ 0x04C11DB7 if crc & 0x80000000 else crc << 1) & 0xFFFFFFFF
    return crc


MP4: dict[str, Mutator] = {
    "box_size": _on_box(_resize),
    "box_name": _on_box(_rename),
    "box_drop": _on_box(_drop),
    "box_repeat": _on_box(_repeat),
    "box_reorder": _on_box(_reorder),
    "box_nest": _on_box(_nest),
    "box_field": _box_field,
    "box_table": _box_table,
}
EBML: dict[str, Mutator] = {"ebml_size": _ebml_size, "ebml_id": _ebml_id, "ebml_value": _ebml_value}
RIFF: dict[str, Mutator] = {"riff_size": _riff_size, "riff_name": _riff_name, "riff_value": _riff_value}
OTHERS: dict[str, Mutator] = {"ts_packet": _ts_packet, "ogg_page": _ogg_page}
