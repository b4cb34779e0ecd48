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

MOST_QUESTION = 1 << 26
"""Bytes of JSON that a question may have: times are asked for by the hundred thousand."""

MOST_ANSWER = 1 << 22
"""Bytes of JSON that an answer may have."""

_LENGTHS = struct.Struct("<IQ")  # bytes of JSON, bytes of what follows it
_F_SETPIPE_SZ = 1031  # Linux: how much a pipe holds; more means fewer switches between the processes
_PIPE_BYTES = 1 << 20
_LONGEST_WAIT_S = 3600.0  # one wait; longer ones are made of several


class Silence(Exception):
    """No message came, or none was taken, in time."""


class Closed(Exception):
    """The other end is gone, or what it sent is no message."""


def widen(pipe: int) -> None:
    """Let a pipe hold a megabyte, where the system can; elsewhere pictures go in smaller bites."""
    try:
        import fcntl

        fcntl.fcntl(pipe, _F_SETPIPE_SZ, _PIPE_BYTES)
    except (ImportError, OSError, ValueError):
        return


def send(
    pipe: int, head: dict[str, Any], parts: Sequence[memoryview] = (), *, until: float | None = None
) -> None:
    """Write one message.

    Args:
        pipe: where to; with ``until`` one that does not block, where the system has such pipes.
        head: plain values.
        parts: what follows them.
        until: when it must have been taken, by ``time.monotonic``; None: whenever.

    Raises:
        Closed: nobody reads any more.
        Silence: it was not taken in time.
    """
    text = json.dumps(head).encode()
    _write(pipe, memoryview(_LENGTHS.pack(len(text), sum(part.nbytes for part in parts)) + text), until)
    for part in parts:
        _write(pipe, part, until)


def _write(pipe: int, part: memoryview, until: float | None) -> None:
    rest = part.cast("B")
    while rest.nbytes:
        try:
            rest = rest[os.write(pipe, rest) :]
        except BlockingIOError:
            _wait(pipe, until, select.POLLOUT)
        except OSError as error:
            raise Closed from error


def receive(
    pipe: int, *, most_json: int = MOST_ANSWER, most_bytes: int = 0, until: float | None = None
) -> tuple[dict[str, Any], bytearray]:
    """The next message.

    Args:
        pipe: where from.
        most_json: a message with more JSON counts as none.
        most_bytes: a message with more behind its JSON counts as none.
        until: when it must have come whole, by ``time.monotonic``; None: whenever. Where a pipe cannot be
            waited for (Windows) somebody else has to end the other process.

    Raises:
        Silence: it did not come in time.
        Closed: the other end is gone, or what came is no message.
    """
    text_bytes, more = _LENGTHS.unpack(_read(pipe, _LENGTHS.size, until))
    if text_bytes > most_json or more > most_bytes:
        raise Closed
    try:
        head = json.loads(_read(pipe, text_bytes, until))
    except (ValueError, RecursionError) as error:
        raise Closed from error
    if not isinstance(head, dict):
        raise Closed
    return head, _read(pipe, more, until)


def _read(pipe: int, count: int, until: float | None) -> bytearray:
    held = bytearray(count)
    rest = memoryview(held)
    while rest.nbytes:
        if until is not None and hasattr(select, "poll"):
            _wait(pipe, until, select.POLLIN)
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


def _wait(pipe: int, until: float | None, event: int) -> None:
    """Wait until a pipe can be read or written.

    Raises:
        Silence: it could not be in time.
    """
    waiting = select.poll()
    waiting.register(pipe, event)
    while True:
        left = _LONGEST_WAIT_S if until is None else min(until - time.monotonic(), _LONGEST_WAIT_S)
        if waiting.poll(1000 * max(left, 0.0)):
            return
        if until is not None and time.monotonic() >= until:
            raise Silence
