"""Seeded damage: pure functions that turn the bytes of a media file into bytes that a reader may meet."""

from __future__ import annotations

import numpy as np
from tests.media.mutate_parts import EBML, MP4, OTHERS, RIFF, Change, Mutator, integer, packed, put

HEADER_BYTES = 2048


def mutate(raw: bytes, rng: np.random.Generator, kind: str | None = None, *, other: bytes = b"") -> Change:
    """The bytes with one change, and what was changed; a function of its arguments alone.

    Args:
        raw: a file.
        rng: where all chance comes from.
        kind: one of ``kinds_for(raw)``; None: any of them.
        other: a second file, for ``splice``; empty: the same file.
    """
    for _ in range(8):
        name = kind if kind is not None else _pick(rng, kinds_for(raw))
        if name == "splice":
            changed, text = _splice(raw, rng, other or raw)
        else:
            changed, text = MUTATORS[name](raw, rng)
        if changed != raw:
            return changed, f"{name}: {text}"
    changed, text = _junk(raw, rng)  # a change that did nothing, eight times over: a very small file
    return changed, f"junk: {text}"


def kinds_for(raw: bytes) -> list[str]:
    """The kinds of change that make sense for these bytes; those that know the container count twice."""
    general = [*GENERAL, "splice"]
    special: list[str] = []
    if raw[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"styp", b"moof"):
        special = [*MP4, *MP4, "box_field", "box_field", "box_table", "box_table"]
    elif raw[:4] == b"\x1a\x45\xdf\xa3":
        special = [*EBML] * 3
    elif raw[:4] == b"RIFF":
        special = [*RIFF] * 3
    elif raw[:4] == b"OggS":
        special = ["ogg_page"] * 6
    elif raw[:1] == b"\x47" and raw[188:189] == b"\x47":
        special = ["ts_packet"] * 6
    return general + special


def _pick(rng: np.random.Generator, things: list[str]) -> str:
    return things[int(rng.integers(len(things)))]


def _stretch(raw: bytes, rng: np.random.Generator) -> tuple[int, int]:
    """A random run of bytes, of any scale: [low, high)."""
    if not raw:
        return 0, 0
    length = int(min(len(raw), 2 ** rng.uniform(0, np.log2(max(len(raw), 2)))))
    low = int(rng.integers(0, len(raw) - length + 1))
    return low, low + max(length, 1)


# ---- any bytes ----


def _flip(raw: bytes, rng: np.random.Generator, count: int, end: int) -> Change:
    changed = np.frombuffer(raw, np.uint8).copy()
    if changed.size:
        places = rng.integers(0, min(end, changed.size), count)
        np.bitwise_xor.at(changed, places, (1 << rng.integers(0, 8, count)).astype(np.uint8))
    return changed.tobytes(), f"{count} bits below byte {min(end, len(raw))}"


def _flip_few(raw: bytes, rng: np.random.Generator) -> Change:
    return _flip(raw, rng, int(rng.integers(1, 9)), len(raw))


def _flip_many(raw: bytes, rng: np.random.Generator) -> Change:
    return _flip(raw, rng, max(1, int(len(raw) * 10 ** rng.uniform(-4, -1.3))), len(raw))


def _flip_header(raw: bytes, rng: np.random.Generator) -> Change:
    return _flip(raw, rng, int(rng.integers(1, 17)), HEADER_BYTES)


def _fill(value: int | None) -> Mutator:
    def change(raw: bytes, rng: np.random.Generator) -> Change:
        low, high = _stretch(raw, rng)
        new = rng.bytes(high - low) if value is None else bytes([value]) * (high - low)
        return put(raw, low, new), f"bytes {low}..{high} are {'random' if value is None else value}"

    return change


def _delete(raw: bytes, rng: np.random.Generator) -> Change:
    low, high = _stretch(raw, rng)
    return raw[:low] + raw[high:], f"bytes {low}..{high} are gone"


def _duplicate(raw: bytes, rng: np.random.Generator) -> Change:
    low, high = _stretch(raw, rng)
    high = min(high, low + (1 << 17))
    return raw[:high] + raw[low:], f"bytes {low}..{high} stand twice"


def _swap(raw: bytes, rng: np.random.Generator) -> Change:
    low, high = _stretch(raw, rng)
    at = int(rng.integers(0, max(len(raw) - (high - low), 0) + 1))
    rest = raw[:low] + raw[high:]
    return rest[:at] + raw[low:high] + rest[at:], f"bytes {low}..{high} stand at {at}"


def _truncate(raw: bytes, rng: np.random.Generator) -> Change:
    keep = int(rng.integers(0, len(raw) + 1))
    if rng.random() < 0.3:
        keep = min(keep, HEADER_BYTES)
    return raw[:keep], f"only {keep} of {len(raw)} bytes"


def _junk(raw: bytes, rng: np.random.Generator) -> Change:
    count = int(2 ** rng.uniform(0, 13))
    return (bytes(count) if rng.random() < 0.3 else rng.bytes(count)) + raw, f"{count} bytes in front"


def _splice(raw: bytes, rng: np.random.Generator, other: bytes) -> Change:
    first, second = int(rng.integers(0, len(raw) + 1)), int(rng.integers(0, len(other) + 1))
    return raw[:first] + other[second:], f"{first} bytes, then another file from byte {second}"


def _place_integer(raw: bytes, rng: np.random.Generator, end: int) -> Change:
    width, value = int(rng.choice([1, 2, 4, 8])), integer(rng)
    order = "big" if rng.random() < 0.5 else "little"
    at = int(rng.integers(0, max(min(end, len(raw)) - width, 0) + 1))
    return put(raw, at, packed(value, width, order))[
        : len(raw)
    ], f"{value:#x} at {at}, {width} bytes, {order}"


def _some_integer(raw: bytes, rng: np.random.Generator) -> Change:
    return _place_integer(raw, rng, len(raw))


def _header_integer(raw: bytes, rng: np.random.Generator) -> Change:
    return _place_integer(raw, rng, HEADER_BYTES)


GENERAL: dict[str, Mutator] = {
    "flip_few": _flip_few,
    "flip_many": _flip_many,
    "flip_header": _flip_header,
    "zeros": _fill(0),
    "ones": _fill(0xFF),
    "noise": _fill(None),
    "delete": _delete,
    "duplicate": _duplicate,
    "swap": _swap,
    "truncate": _truncate,
    "junk": _junk,
    "integer": _some_integer,
    "header_integer": _header_integer,
}
MUTATORS: dict[str, Mutator] = GENERAL | MP4 | EBML | RIFF | OTHERS
