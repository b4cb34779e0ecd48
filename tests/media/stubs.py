"""Readers that misbehave, served by a decoding process in place of the real one."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from avglance.errors import MediaError
from avglance.media import VideoReader


class Stub(VideoReader):
    """Does what a file's name says as soon as it is opened, or at the first picture; else it reads."""

    def __init__(self, path: str, **reading: Any) -> None:
        name = os.path.basename(path)
        self.bad_picture = name if name.startswith("picture_") else ""
        misbehave(name)
        self.bad_reasons = name if name.startswith("reasons_") else ""
        super().__init__(path, **reading)

    @property
    def reasons(self) -> list[Any]:
        """The reasons, after the trouble."""
        misbehave(self.bad_reasons.removeprefix("reasons_"))
        return super().reasons

    def frames_at(self, times: Any, *, max_side: int | None = None) -> Iterator[Any]:
        """The pictures, after the trouble."""
        misbehave(self.bad_picture.removeprefix("picture_"))
        return super().frames_at(times, max_side=max_side)


def misbehave(name: str) -> None:
    """Do what the name's first word says; other names do nothing."""
    _TROUBLE.get(name.split(".")[0], lambda: None)()


def _spin() -> None:
    while True:
        pass


def _eat() -> None:
    held = []
    while True:
        held.append(np.ones(8 << 20, np.uint8))


def _bug() -> None:
    raise ZeroDivisionError("a defect of ours")


def _typed() -> None:
    raise MediaError("as it says", kind="unsupported", where="somewhere else", hint="leave it")


def _chatter() -> None:
    print("not a message", flush=True)
    sys.stderr.write("nor this\n")


def _unasked() -> None:
    for pipe in range(3, 8):  # the pipe of the answers is among these
        with contextlib.suppress(OSError):
            os.write(pipe, b"\xff" * 64)


_TROUBLE = {
    "sleep": lambda: time.sleep(3600),
    "spin": _spin,
    "abort": os.abort,
    "segfault": lambda: signal.raise_signal(signal.SIGSEGV),
    "exit": lambda: os._exit(7),
    "killed": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "eat": _eat,
    "bug": _bug,
    "typed": _typed,
    "chatter": _chatter,
    "unasked": _unasked,
}
