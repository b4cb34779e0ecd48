"""Messages between a program and the process that decodes for it: JSON, and raw numbers behind it.

No pickle: what comes from a process that has read a hostile file is plain values, checked for size.
"""

from __future__ import annotations

import json
import os
import select
import struct
import time
from collections.abc import Sequence
from typing import Any

_LENGTHS = struct.Struct("<IQ")  # bytes of JSON, bytes of what follows it
_MOST_JSON = 1 << 26
_F_SETPIPE_SZ = 1031  # Linux: how much a pipe holds; more means fewer switches between the processes
_PIPE_BYTES = 1 << 20


class Silence(Exception):
    """No message came in time."""


class Closed(Exception):
    """The other end is gone, or what it sent is no message."""


def widen(pipe: int) -> None:
    """Let a pipe hold a megabyte, where the system can."""
    try:
        import fcntl

        fcntl.fcntl(pipe, _F_SETPIPE_SZ, _PIPE_BYTES)
    except (
        ImportError,
        OSError,
        ValueError,
    ):  # only Linux has this; elsewhere pictures come in smaller bites
        return


def send(pipe: int, head: dict[str, Any], parts: Sequence[memoryview] = ()) -> None:
    """Write one message.

    Raises:
        Closed: nobody reads any more.
    """
    text = json.dumps(head).encode()
    try:
        _write(pipe, memoryview(_LENGTHS.pack(len(text), sum(part.nbytes for part in parts)) + text))
        for part in parts:
            _write(pipe, part)
    except OSError as error:
        raise Closed from error


def _write(pipe: int, part: memoryview) -> None:
    rest = part.cast("B")
    while rest.nbytes:
        rest = rest[os.write(pipe, rest) :]


def receive(
    pipe: int, *, most_bytes: int = 0, seconds: float | None = None
) -> tuple[dict[str, Any], bytearray]:
    """The next message.

    Args:
        pipe: where from.
        most_bytes: a message with more behind its JSON counts as none.
        seconds: how long it may take to come whole; None: for ever. Where a pipe cannot be waited for
            (Windows) somebody else has to end the process.

    Raises:
        Silence: it did not come in time.
        Closed: the other end is gone, or what came is no message.
    """
    until = None if seconds is None else time.monotonic() + seconds
    text_bytes, more = _LENGTHS.unpack(_read(pipe, _LENGTHS.size, until))
    if text_bytes > _MOST_JSON or more > most_bytes:
        raise Closed
    text = _read(pipe, text_bytes, until)
    try:
        head = json.loads(text)
    except ValueError as error:
        raise Closed from error
    if not isinstance(head, dict):
        raise Closed
    return head, _read(pipe, more, until)


def _read(pipe: int, count: int, until: float | None) -> bytearray:
    held = bytearray(count)
    rest = memoryview(held)
    while rest.nbytes:
        if until is not None and hasattr(select, "poll"):
            waiting = select.poll()
            waiting.register(pipe, select.POLLIN)
            if not waiting.poll(1000 * max(0.0, until - time.monotonic())):
                raise Silence
        try:
            got = os.readv(pipe, [rest]) if hasattr(os, "readv") else _read_some(pipe, rest)
        except OSError as error:
            raise Closed from error
        if not got:
            raise Closed
        rest = rest[got:]
    return held


def _read_some(pipe: int, rest: memoryview) -> int:
    got = os.read(pipe, min(rest.nbytes, _PIPE_BYTES))
    rest[: len(got)] = got
    return len(got)
