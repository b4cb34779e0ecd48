"""Decoding in other processes: a file that hangs, crashes or eats memory costs one answer, not the run.

with Decoders() as decoders:
    with decoders.open("my.mp4") as reader:   # offers what VideoReader offers
        ...

A process serves one file after another. One that does not answer in time is killed, one that died is replaced
at the next file; what happened is a ``MediaError`` of the file: ``timeout``, ``limit`` or ``crashed``.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import os
import threading
import time
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any, Self

from avglance.errors import ArgumentError, AVGLanceError, MediaError
from avglance.media import told
from avglance.media.asked import check_stretch, known_times, longest_side, wanted_times
from avglance.media.child import Child, Gone
from avglance.media.frame import Frame
from avglance.media.limits import Limits
from avglance.media.side import BESIDE, NO_FILE
from avglance.media.sound import SoundPiece
from avglance.media.source import absolute, show
from avglance.types import Reason

_GRACE_S = 2.0  # a reader sees its limits between packets; after this much more its process is killed
_CLOSE_S = 2.0
_MOST_SERVED = 1000  # files for one process: what decoders leave behind in memory goes with it
_SLACK_BYTES = 1 << 20
_SOUND_BYTES = 2 << 20  # a message of sound ends after one megabyte and the piece that fills it
_PIECE_BYTES = 64  # at most, by sample a second: pieces hold about a second


class Decoders:
    """A few processes that decode; each serves one open file at a time. A context manager.

    Args:
        ready: how many to start at once, so that the first file need not wait; others start when needed.
        reader: what serves the files in them, as ``module:Name``.
    """

    def __init__(self, *, ready: int = 0, reader: str = "avglance.media.reader:VideoReader") -> None:
        self._reader, self._lock, self._closed = reader, threading.Lock(), False
        self._idle: list[Child] = []
        self._started = 0
        self._idle = [self._start() for _ in range(ready)]

    @property
    def started(self) -> int:
        """How many processes have been started so far."""
        return self._started

    def _start(self) -> Child:
        child = Child(self._reader)
        self._started += 1
        return child

    def open(
        self,
        path: str | os.PathLike[str],
        *,
        limits: Limits | None = None,
        audio_track: int = 0,
        audio_file: str | os.PathLike[str] = BESIDE,
        threads: int = 0,
        rough: bool = False,
        apart: bool = False,
    ) -> IsolatedReader:
        """A reader of the file, with the arguments of ``VideoReader``; it offers what that offers.

        A file that crashes a process which had served others is tried once more in a fresh one: what broke it
        may have been left behind by another file.

        Raises:
            MediaError: nothing can be read from the file; ``timeout``, ``limit`` and ``crashed`` among the
                kinds.
            ArgumentError: the file has sound tracks, but not that one.
        """
        beside = os.fspath(audio_file)
        reading = {
            "audio_track": int(audio_track),
            "audio_file": beside if beside in (BESIDE, NO_FILE) else absolute(beside),
            "threads": int(threads),
            "rough": bool(rough),
            "apart": bool(apart),
        }
        child = self._take()
        fresh = child.served == 0
        try:
            return IsolatedReader(self, child, path, limits or Limits(), reading)
        except MediaError as error:
            if fresh or error.kind != "crashed":
                raise
        except ArgumentError:
            raise
        except AVGLanceError:  # it was ended while it started: the next one may come up
            pass
        return IsolatedReader(self, self._start(), path, limits or Limits(), reading)

    def _take(self) -> Child:
        """An idle process, or a new one."""
        with self._lock:
            if self._closed:
                raise ArgumentError("these decoders are closed", where="Decoders.open", hint="make new ones")
            child = next((one for one in self._idle if one.alive), None)
            dead = [one for one in self._idle if not one.alive]
            self._idle = [one for one in self._idle if one is not child and one not in dead]
        for one in dead:
            one.kill()
        return child or self._start()

    def take_back(self, child: Child) -> None:
        """Keep a process for the next file."""
        with self._lock:
            if not self._closed and child.alive and child.served < _MOST_SERVED:
                self._idle.append(child)
                return
        child.leave()

    def close(self) -> None:
        """End the idle processes, the others when their reader is closed; safe to call twice."""
        with self._lock:
            self._closed, idle = True, self._idle
            self._idle = []
        for child in idle:
            child.leave()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class IsolatedReader:
    """``VideoReader`` in another process: the same answers, errors and counts; see there.

    After the process has gone, every question raises the same ``MediaError``; what was counted stays.
    """

    def __init__(
        self,
        decoders: Decoders,
        child: Child,
        path: str | os.PathLike[str],
        limits: Limits,
        reading: dict[str, Any],
    ) -> None:
        self.path, self.limits = path, limits
        self._decoders, self._child = decoders, child
        self._gone: MediaError | None = None
        self._closed = False
        self._spent: tuple[int, int, float] = (0, 0, 0.0)
        self._reasons: list[Reason] = []
        self._waited_s, self._most_s = 0.0, limits.max_decode_s
        self._ids, self._lock = itertools.count(), threading.RLock()
        self._coming: tuple[int, int] | None = None  # what was asked ahead: stream, most bytes
        self._early: dict[int, tuple[dict[str, Any], bytearray]] = {}  # came before its turn
        child.served += 1
        question: dict[str, Any] = {
            "path": absolute(path),
            "limits": dataclasses.asdict(limits),
            "reading": reading,
        }
        try:
            head, _ = self._ask("open", limit_s=limits.max_decode_s, **question)
            with self._believing():
                self.info = told.info(head["info"], limits.max_duration_s)
                self.picture_span = told.span(head["picture_span"])
                self.sound_span = told.span(head["sound_span"])
        except BaseException:
            self.close()
            raise
        self._most_s = max(limits.max_decode_s, self.info.duration_s)

    # ---- questions ----

    def _ask(
        self, ask: str, *, limit_s: float | None = None, most_bytes: int = 0, **question: Any
    ) -> tuple[dict[str, Any], bytearray]:
        """The answer to a question; one that was put before is waited for first."""
        with self._lock:  # threads that share a reader wait for each other
            self._collect()
            self._put({"ask": ask} | question, limit_s)
            head, behind = self._get(most_bytes, limit_s)
        self._raise_error(head)
        return head, behind

    def _limit(self) -> float:
        """Seconds that one answer may take now."""
        return max(min(self.limits.max_seek_s, self._most_s - self._waited_s), 0.0)

    def _put(self, question: dict[str, Any], limit_s: float | None = None) -> None:
        if self._gone is not None:
            raise self._gone
        if self._closed:
            raise ArgumentError("this reader is closed", where=show(self.path), hint="open the file again")
        with self._counting():
            self._child.put(question, limit_s=(self._limit() if limit_s is None else limit_s) + _GRACE_S)

    def _get(self, most_bytes: int, limit_s: float | None = None) -> tuple[dict[str, Any], bytearray]:
        with self._counting():
            left = (self._limit() if limit_s is None else limit_s) + _GRACE_S
            head, behind = self._child.get(limit_s=left, most_bytes=most_bytes)
        with self._believing():
            if "spent" in head:
                self._spent = told.spent(head["spent"])
            if "reasons" in head:
                self._reasons = told.reasons(head["reasons"])
        return head, behind

    @contextlib.contextmanager
    def _counting(self) -> Iterator[None]:
        """The process is talked to inside; the time counts, and where it has gone the file has failed."""
        began = time.monotonic()
        try:
            yield
        except Gone as gone:
            raise self._lose(gone) from None
        finally:
            self._waited_s += time.monotonic() - began

    def _collect(self) -> None:
        """Get the answer that was asked for ahead, if there is one, and keep it for its stream."""
        if self._coming is not None:
            (key, most_bytes), self._coming = self._coming, None
            self._early[key] = self._get(most_bytes)

    def _raise_error(self, head: dict[str, Any]) -> None:
        if "error" in head and "items" not in head:
            with self._believing():
                raise told.error(head["error"], show(self.path))

    def _lose(self, gone: Gone) -> MediaError:
        self._gone = MediaError(gone.what, kind=gone.kind, where=show(self.path), hint=gone.hint)
        return self._gone

    @contextlib.contextmanager
    def _believing(self) -> Iterator[None]:
        """Values of a message are read inside; one that is nonsense costs the process."""
        try:
            yield
        except AVGLanceError:  # an ``ArgumentError`` is a ``ValueError`` as well, and no nonsense
            raise
        except told.NONSENSE:
            raise self._lose(self._child.no_message()) from None

    def _stream(self, what: str, args: list[Any], most_bytes: int = 0, **kwargs: Any) -> Iterator[Any]:
        key = next(self._ids)
        self._ask("begin", id=key, what=what, args=args, kwargs=kwargs)
        over = False
        try:
            while not over:
                head, behind = self._next(key, what, most_bytes)
                with self._believing():
                    found = told.items(what, head["items"], memoryview(behind), self.limits.max_pixels)
                    over = bool(head["over"]) or "error" in head
                    if not found and not over:
                        raise ValueError("an answer that says nothing")
                if what == "frames_at" and not over:
                    self._ahead(key, what, most_bytes)
                yield from found
                if "error" in head:
                    with self._believing():
                        raise told.error(head["error"], show(self.path))
        finally:
            if not over and self._gone is None and not self._closed:
                with contextlib.suppress(AVGLanceError):
                    self._ask("drop", id=key)
                self._early.pop(key, None)

    def _next(self, key: int, what: str, most_bytes: int) -> tuple[dict[str, Any], bytearray]:
        """The next answer of a stream, which may have come already."""
        with self._lock:
            if self._coming is not None and self._coming[0] == key:
                self._collect()
            answer = self._early.pop(key, None)
        if answer is None:
            return self._ask("next", id=key, one=what == "frames_at", most_bytes=most_bytes)
        self._raise_error(answer[0])
        return answer

    def _ahead(self, key: int, what: str, most_bytes: int) -> None:
        """Let the process decode the next picture while this one is looked at."""
        with self._lock:
            if self._coming is None:
                self._put({"ask": "next", "id": key, "one": what == "frames_at"})
                self._coming = key, most_bytes

    # ---- what VideoReader offers ----

    @property
    def frames_delivered(self) -> int:
        """See ``VideoReader``."""
        return self._spent[0]

    @property
    def frames_decoded(self) -> int:
        """See ``VideoReader``."""
        return self._spent[1]

    @property
    def decode_s(self) -> float:
        """See ``VideoReader``; the way between the processes is not in it."""
        return self._spent[2]

    @property
    def reasons(self) -> list[Reason]:
        """See ``VideoReader``; where the process has gone, what it last told, and how it went."""
        if self._gone is None and not self._closed:
            with contextlib.suppress(MediaError):
                self._ask("reasons")
        gone = [] if self._gone is None else [Reason(self._gone.kind, self._gone.what)]
        return [*self._reasons, *gone]

    def frames_at(
        self, times: Sequence[float], *, max_side: int | None = None
    ) -> Iterator[tuple[int, Frame | None]]:
        """See ``VideoReader.frames_at``."""
        most = 3 * self.limits.max_pixels + _SLACK_BYTES
        return self._stream(
            "frames_at", [wanted_times(times).tolist()], most, max_side=longest_side(max_side)
        )

    def timeline(self) -> Iterator[tuple[float, float, bool]]:
        """See ``VideoReader.timeline``."""
        return self._stream("timeline", [])

    def digests(self) -> Iterator[tuple[float, float, int | None]]:
        """See ``VideoReader.digests``."""
        return self._stream("digests", [])

    def packets(self) -> Iterator[tuple[float, float, bool, bool]]:
        """See ``VideoReader.packets``."""
        return self._stream("packets", [])

    def keyframes_near(self, times: Sequence[float]) -> list[float | None]:
        """See ``VideoReader.keyframes_near``."""
        wanted = known_times(times, "keyframes_near").tolist()
        head, _ = self._ask("near", times=wanted)
        with self._believing():
            return told.keyframes(head["times"], len(wanted))

    def sound(self, start_s: float, end_s: float, *, rate_hz: int = 16_000) -> Iterator[SoundPiece]:
        """See ``VideoReader.sound``."""
        check_stretch(start_s, end_s, rate_hz)
        rate = int(rate_hz)
        most = _SOUND_BYTES + _PIECE_BYTES * rate
        return self._stream("sound", [float(start_s), float(end_s)], most, rate_hz=rate)

    def close(self) -> None:
        """Let go of the file; the process is kept for the next one. Safe to call twice."""
        if self._closed:
            return
        if self._gone is None and self._child.alive:
            with contextlib.suppress(AVGLanceError, RuntimeError):  # what was asked has been answered
                self._ask("close", limit_s=_CLOSE_S)
        self._closed = True
        if self._gone is None and self._child.alive:
            self._decoders.take_back(self._child)
        else:
            self._child.kill()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
