"""The program of the process that decodes for another one: it opens a file and answers questions about it.

It is started by ``isolated.Decoders`` and speaks ``wire`` on its standard input and output. One file is
open at a time; whatever goes wrong with it, the answer is a message; where the process dies there is none.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

import numpy as np

from avglance.errors import AVGLanceError, MediaError
from avglance.media import wire
from avglance.media.limits import Limits

_ORPHAN_S = 30  # a process that nobody stops at its limit ends itself this much later
_BATCH = 512  # small answers (times, packets) that go into one message
_BATCH_S = 0.05
_BATCH_BYTES = 1 << 20

Answer = tuple[dict[str, Any], list[memoryview]]


class Server:
    """Answers questions about one open file after another; see ``isolated.IsolatedReader`` for them."""

    def __init__(self, opener: Callable[..., Any]) -> None:
        self._opener = opener
        self._reader: Any = None
        self._going: dict[int, Iterator[Any]] = {}
        self._questions: dict[str, Callable[[dict[str, Any]], Answer]] = {
            "open": self._open,
            "begin": self._begin,
            "next": self._next,
            "drop": self._drop,
            "near": self._near,
            "reasons": self._reasons,
            "close": self._close,
        }

    def answer(self, question: dict[str, Any]) -> Answer:
        """The message that answers a question, with what was spent so far; errors are answers too."""
        try:
            head, parts = self._questions[question["ask"]](question)
        except AVGLanceError as error:
            head, parts = {"error": told(error)}, []
        except MemoryError:
            head, parts = {"error": told(out_of_memory())}, []
        except Exception:  # noqa: BLE001 - a defect of ours: told to the process that asked
            head, parts = {"error": {"name": "defect", "what": traceback.format_exc()}}, []
        return head | self._spent() | {"number": question.get("number")}, parts

    def _spent(self) -> dict[str, Any]:
        reader = self._reader
        if reader is None:
            return {}
        return {"spent": [reader.frames_delivered, reader.frames_decoded, reader.decode_s]}

    def _open(self, question: dict[str, Any]) -> Answer:
        self._close(question)
        limits = Limits(**question["limits"])
        bound_memory(limits.max_memory_bytes)
        self._reader = reader = self._opener(question["path"], limits=limits, **question["reading"])
        head = {
            "info": dataclasses.asdict(reader.info),
            "picture_span": reader.picture_span,
            "sound_span": reader.sound_span,
        }
        return head, []

    def _begin(self, question: dict[str, Any]) -> Answer:
        answers = getattr(self._reader, question["what"])(*question["args"], **question["kwargs"])
        self._going[question["id"]] = iter(answers)
        return {}, []

    def _next(self, question: dict[str, Any]) -> Answer:
        """The next picture, or as much sound or as many small values as come in a moment."""
        going = self._going[question["id"]]
        items: list[Any] = []
        parts: list[memoryview] = []
        head: dict[str, Any] = {"items": items, "over": False}
        until = time.monotonic() + _BATCH_S
        while len(items) < _BATCH:
            try:
                value = next(going)
            except StopIteration:
                head["over"] = True
                break
            except AVGLanceError as error:  # what came before it still counts
                head["error"] = told(error)
                break
            items.append(packed(value, parts))
            enough = question["one"] or sum(part.nbytes for part in parts) > _BATCH_BYTES
            if enough or time.monotonic() > until:
                break
        return head, parts

    def _drop(self, question: dict[str, Any]) -> Answer:
        self._going.pop(question["id"], None)
        return {}, []

    def _near(self, question: dict[str, Any]) -> Answer:
        return {"times": self._reader.keyframes_near(question["times"])}, []

    def _reasons(self, question: dict[str, Any]) -> Answer:
        return {"reasons": [dataclasses.astuple(reason) for reason in self._reader.reasons]}, []

    def _close(self, question: dict[str, Any]) -> Answer:
        reader, self._reader = self._reader, None
        self._going.clear()
        if reader is None:
            return {}, []
        reader.close()
        spent = [reader.frames_delivered, reader.frames_decoded, reader.decode_s]
        return {"reasons": [dataclasses.astuple(reason) for reason in reader.reasons], "spent": spent}, []


def packed(value: Any, parts: list[memoryview]) -> Any:
    """A value as JSON can hold it; the numbers of pictures and sounds go to ``parts``."""
    if isinstance(value, tuple):
        return [packed(one, parts) for one in value]
    for name in ("image", "samples"):
        array = getattr(value, name, None)
        if array is not None:
            parts.append(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
            times = [value.time_s, value.end_s] if name == "image" else [value.start_s]
            return [*times, *array.shape]
    return value


def told(error: AVGLanceError) -> dict[str, Any]:
    """An error as plain values."""
    values = {"name": type(error).__name__, "what": error.what, "hint": error.hint}
    return values | ({"kind": error.kind} if isinstance(error, MediaError) else {})


def out_of_memory() -> MediaError:
    """The error of a file that asks for more memory than it may have."""
    hint = "raise Limits.max_memory_bytes if you trust the file"
    return MediaError("decoding it takes more memory than allowed", kind="limit", hint=hint)


def bound_memory(most_bytes: int) -> None:
    """Let this process hold at most so many bytes, where the system can see to it (Linux)."""
    if not sys.platform.startswith("linux"):  # elsewhere the setting is refused or not obeyed
        return
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    soft = min(most_bytes, sys.maxsize if hard == resource.RLIM_INFINITY else hard)
    resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def find(name: str) -> Callable[..., Any]:
    """The reader that ``module:Name`` names."""
    module, _, attribute = name.partition(":")
    return getattr(import_module(module), attribute)  # type: ignore[no-any-return]


def main(reader: str) -> None:
    """Answer until nobody asks any more."""
    with contextlib.suppress(ValueError):  # not the main thread of somebody's program: never so here
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that asks decides when to stop
    pipe_in, pipe_out = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDWR)
    for one in (0, 1, 2):  # what a decoder prints goes nowhere
        os.dup2(nothing, one)
    wire.widen(pipe_out)
    with contextlib.suppress(ImportError):  # loaded late by PyAV: now, as long as there is memory for it
        import_module("av.subtitles.stream")
    server = Server(find(reader))
    wire.send(pipe_out, {"ready": os.getpid()})
    while True:
        try:
            question, _ = wire.receive(pipe_in, most_json=wire.MOST_QUESTION)
        except wire.Closed:
            return
        limit_orphan(question.get("limit_s"))
        head, parts = server.answer(question)
        limit_orphan(None)
        with contextlib.suppress(wire.Closed):  # it will be seen at the next question
            wire.send(pipe_out, head, parts)


def limit_orphan(seconds: float | None) -> None:
    """End this process some time after its limit, should nobody be there to do it."""
    if hasattr(signal, "alarm"):
        signal.alarm(0 if seconds is None else int(min(seconds, 1e6)) + _ORPHAN_S)
