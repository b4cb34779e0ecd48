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
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any, Self

import numpy as np

from avglance.errors import ArgumentError, AVGLanceError, MediaError
from avglance.media.asked import check_stretch, wanted_times
from avglance.media.limits import Limits
from avglance.media.process import Child, Gone
from avglance.media.reader import Frame
from avglance.media.sound import SoundPiece
from avglance.media.source import show
from avglance.types import AudioTrack, MediaInfo, Reason

_GRACE_S = 2.0  # a reader sees its limits between packets; after this much more its process is killed
_CLOSE_S = 2.0
_SLACK_BYTES = 1 << 20


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
        self, path: str | os.PathLike[str], *, limits: Limits | None = None, **reading: Any
    ) -> IsolatedReader:
        """A reader of the file; it offers what ``VideoReader`` offers.

        Args:
            path: a local file.
            limits: what the file may declare or cost.
            reading: ``audio_track``, ``audio_file`` and ``threads`` of ``VideoReader``.

        Raises:
            MediaError: nothing can be read from the file; ``timeout``, ``limit`` and ``crashed`` among the
                kinds.
            ArgumentError: the file has sound tracks, but not that one.
        """
        with self._lock:
            if self._closed:
                raise ArgumentError("these decoders are closed", where="Decoders.open", hint="make new ones")
            child = next((one for one in self._idle if one.alive), None)
            self._idle = [one for one in self._idle if one is not child and one.alive]
            child = child or self._start()
        return IsolatedReader(self, child, path, limits or Limits(), reading)

    def take_back(self, child: Child) -> None:
        """Keep a process for the next file."""
        with self._lock:
            if not self._closed and child.alive:
                self._idle.append(child)
                return
        child.leave()

    def close(self) -> None:
        """End the processes; safe to call twice."""
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
        self._most_s = limits.max_decode_s
        self._ids = itertools.count()
        question = {
            "path": os.path.abspath(os.fspath(path)),
            "limits": dataclasses.asdict(limits),
            "reading": reading,
        }
        try:
            head, _ = self._ask("open", limit_s=limits.max_decode_s, **question)
            self.info = _info(head["info"])
        except BaseException:
            self.close()
            raise
        self.picture_span = _span(head["picture_span"])
        self.sound_span = _span(head["sound_span"])
        self._most_s = max(limits.max_decode_s, self.info.duration_s)

    # ---- questions ----

    def _ask(
        self, ask: str, *, limit_s: float | None = None, **question: Any
    ) -> tuple[dict[str, Any], bytearray]:
        if self._gone is not None:
            raise self._gone
        if self._closed:
            raise ArgumentError("this reader is closed", where=show(self.path), hint="open the file again")
        left = max(self._most_s - self._spent[2], 0.0)
        limit_s = min(self.limits.max_seek_s, left) if limit_s is None else limit_s
        most = 4 * self.limits.max_pixels + _SLACK_BYTES
        try:
            head, behind = self._child.ask(
                {"ask": ask} | question, limit_s=limit_s + _GRACE_S, most_bytes=most
            )
        except Gone as gone:
            self._gone = MediaError(gone.what, kind=gone.kind, where=show(self.path), hint=gone.hint)
            raise self._gone from None
        if "spent" in head:
            delivered, decoded, seconds = head["spent"]
            self._spent = (int(delivered), int(decoded), float(seconds))
        if "reasons" in head:
            self._reasons = [Reason(*values) for values in head["reasons"]]
        if "error" in head and "items" not in head:
            raise self._error(head["error"])
        return head, behind

    def _error(self, told: dict[str, Any]) -> AVGLanceError:
        what, hint, where = str(told["what"]), str(told.get("hint", "")), show(self.path)
        if told["name"] == "MediaError":
            return MediaError(what, kind=told["kind"], where=where, hint=hint)
        if told["name"] == "ArgumentError":
            return ArgumentError(what, where=where, hint=hint)
        raise RuntimeError(f"{where}: {what}")  # a defect of ours in the other process

    def _stream(self, what: str, args: list[Any], *, one: bool = False, **kwargs: Any) -> Iterator[Any]:
        """(item, what lies behind the message, where in it the item's numbers begin)."""
        key = next(self._ids)
        self._ask("begin", id=key, what=what, args=args, kwargs=kwargs)
        over = False
        try:
            while not over:
                head, behind = self._ask("next", id=key, one=one)
                over = head["over"]
                rest = memoryview(behind)
                for item in head["items"]:
                    value, rest = _unpacked(what, item, rest)
                    yield value
                if "error" in head:
                    over = True
                    raise self._error(head["error"])
        finally:
            if not over and self._gone is None and not self._closed:
                with contextlib.suppress(AVGLanceError):
                    self._ask("drop", id=key)

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
        """See ``VideoReader``; where the process has gone, what it last told."""
        if self._gone is None and not self._closed:
            with contextlib.suppress(MediaError):
                self._ask("reasons")
        return list(self._reasons)

    def frames_at(
        self, times: Sequence[float], *, max_side: int | None = None
    ) -> Iterator[tuple[int, Frame | None]]:
        """See ``VideoReader.frames_at``."""
        return self._stream("frames_at", [wanted_times(times).tolist()], one=True, max_side=max_side)

    def timeline(self) -> Iterator[tuple[float, float, bool]]:
        """See ``VideoReader.timeline``."""
        return self._stream("timeline", [])

    def digests(self) -> Iterator[tuple[float, float, int | None]]:
        """See ``VideoReader.digests``."""
        return self._stream("digests", [])

    def packets(self) -> Iterator[tuple[float, float, bool, bool]]:
        """See ``VideoReader.packets``."""
        return self._stream("packets", [])

    def keyframe_near(self, time_s: float) -> float:
        """See ``VideoReader.keyframe_near``."""
        return float(self._ask("near", time=float(time_s))[0]["time"])

    def sound(self, start_s: float, end_s: float, *, rate_hz: int = 16_000) -> Iterator[SoundPiece]:
        """See ``VideoReader.sound``."""
        check_stretch(start_s, end_s, rate_hz)
        return self._stream("sound", [float(start_s), float(end_s)], rate_hz=rate_hz)

    def close(self) -> None:
        """Let go of the file; the process is kept for the next one. Safe to call twice."""
        if self._closed:
            return
        if self._gone is None and self._child.alive:
            try:
                self._ask("close", limit_s=_CLOSE_S)
            except (
                AVGLanceError,
                RuntimeError,
            ):  # what was asked has been answered: only the process is lost
                self._gone = None
                self._child.kill()
        if self._gone is None:
            self._decoders.take_back(self._child)
        self._closed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _unpacked(what: str, item: Any, rest: memoryview) -> tuple[Any, memoryview]:
    """An item of a message as the reader gave it, and what lies behind its numbers."""
    if what == "sound":
        start, count = item
        samples = np.frombuffer(rest[: 4 * count], dtype=np.float32)
        return SoundPiece(float(start), samples), rest[4 * count :]
    if what != "frames_at":
        return tuple(item), rest
    index, drawn = item
    if drawn is None:
        return (index, None), rest
    start, end, height, width, colours = drawn
    count = height * width * colours
    image = np.frombuffer(rest[:count], dtype=np.uint8).reshape(height, width, colours)
    return (index, Frame(float(start), float(end), image)), rest[count:]


def _info(told: dict[str, Any]) -> MediaInfo:
    tracks = tuple(AudioTrack(**track) for track in told.pop("audio_tracks"))
    return MediaInfo(**told, audio_tracks=tracks)


def _span(told: Sequence[float] | None) -> tuple[float, float] | None:
    return None if told is None else (float(told[0]), float(told[1]))
