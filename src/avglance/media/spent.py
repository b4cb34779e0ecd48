"""What a reader has spent on one file so far, and the limit on it."""

from __future__ import annotations

import threading
import time
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from avglance.errors import MediaError
from avglance.media.breaks import Breaks, find_breaks
from avglance.types import Reason

_JOIN_S = 1e-3  # spans of one kind closer than this are one span
_MOST_SPANS = 2000  # of one kind and text
_MOST_TEXTS = 200  # of one kind
_MORE = "more of this kind was met than is told"


class Spans:
    """Stretches of time in order; those that touch are one, and there are never more than a few thousand.

    Where there would be more, those that fit together into a short stretch are told as one.

    >>> spans = Spans()
    >>> for start, end in ((4.0, 5.0), (0.0, 1.0), (1.0, 2.0), (4.2, 4.8)):
    ...     spans.add(start, end)
    >>> list(spans)
    [(0.0, 2.0), (4.0, 5.0)]
    """

    def __init__(self) -> None:
        # beginnings and ends: both rise, as no two stretches touch
        self._lows: list[float] = []
        self._highs: list[float] = []
        self._grain = _JOIN_S

    def __iter__(self) -> Iterator[tuple[float, float]]:
        return iter(list(zip(self._lows, self._highs, strict=True)))

    def __len__(self) -> int:
        return len(self._lows)

    def add(self, start: float, end: float) -> None:
        """Keep a stretch; what touches it becomes one with it."""
        end = max(start, end)
        first = bisect_left(self._highs, start - _JOIN_S)
        beyond = bisect_right(self._lows, end + _JOIN_S)
        if first < beyond:
            start, end = min(start, self._lows[first]), max(end, self._highs[beyond - 1])
        self._lows[first:beyond], self._highs[first:beyond] = [start], [end]
        if len(self._lows) > _MOST_SPANS:
            self._coarsen()

    def after(self, time: float) -> Spans:
        """What of them lies after a time."""
        left = Spans()
        for low, high in self:
            if high > time:
                left.add(max(low, time), high)
        return left

    def _coarsen(self) -> None:
        """Join those that fit into one grain; it grows until a half of them is left."""
        while self._grain < float("inf"):
            spans = list(self)
            self._lows, self._highs = [], []
            for low, high in spans:
                if self._lows and high - self._lows[-1] <= self._grain:
                    self._highs[-1] = high
                else:
                    self._lows.append(low)
                    self._highs.append(high)
            if len(self._lows) <= _MOST_SPANS // 2:
                return
            self._grain *= 2


@dataclass
class _Met:
    """What was met of one kind and text: with a span, and without one or with half of one."""

    spans: Spans = field(default_factory=Spans)
    others: dict[tuple[float | None, float | None], None] = field(default_factory=dict)


@dataclass
class Spent:
    """Seconds and frames spent, and the damage met, shared by the tracks of one file.

    Tracks may be at work in threads of their own: the seconds are those in which any of them was.
    """

    where: str
    limit_s: float
    seek_limit_s: float = float("inf")
    seconds: float = 0.0
    frames_decoded: int = 0
    frames_delivered: int = 0
    _met: dict[tuple[str, str], _Met] = field(default_factory=dict)  # by kind and text
    _texts: dict[str, int] = field(default_factory=dict)  # how many by kind
    _breaks: dict[str, Breaks | None] = field(default_factory=dict)  # by file: sound may have its own
    _since: dict[int, float] = field(default_factory=dict)  # by thread
    _began: float = 0.0  # when the first of those at work did
    _lock: Any = field(default_factory=threading.RLock)

    @contextmanager
    def working(self) -> Iterator[None]:
        """Count the time inside; nested uses count once."""
        me = threading.get_ident()
        if me in self._since:
            yield
            return
        with self._lock:
            now = time.perf_counter()
            self._began = self._began if self._since else now
            self._since[me] = now
        try:
            yield
        finally:
            with self._lock:
                del self._since[me]
                if not self._since:
                    self.seconds += time.perf_counter() - self._began

    def check_time(self) -> None:
        """Raise ``MediaError`` of kind ``timeout`` where a limit is used up."""
        with self._lock:
            now = time.perf_counter()
            whole = self.seconds + (now - self._began if self._since else 0.0)
            seek = now - self._since.get(threading.get_ident(), now)
        if whole > self.limit_s:
            what, setting = f"reading took longer than {self.limit_s:g} s", "max_decode_s"
        elif seek > self.seek_limit_s:
            what, setting = f"one seek took longer than {self.seek_limit_s:g} s", "max_seek_s"
        else:
            return
        hint = f"raise Limits.{setting}, or cut the file into shorter ones"
        raise MediaError(what, kind="timeout", where=self.where, hint=hint)

    def look_for_breaks(self, box: Any) -> None:
        """Find out, once a file, whether its timestamps start again; the container is left at its start."""
        name = _name_of(box)
        if name in self._breaks:
            return
        self._breaks[name] = find_breaks(box, self.check_time)
        if self._breaks[name] is not None:
            self.note("clock_jump", "timestamps go back to a new start; the clock goes on from there")

    def breaks_of(self, box: Any) -> Breaks | None:
        """Where the timestamps of the file that a container reads start again; None: nowhere."""
        return self._breaks.get(_name_of(box))

    def note_memory(self, error: Exception) -> bool:
        """Keep that memory ran out, if that is what the error says; whether it does."""
        if isinstance(error, MemoryError):
            self.note("limit", "a decoder asked for more memory than it could have")
        return isinstance(error, MemoryError)

    @property
    def reasons(self) -> list[Reason]:
        """The damage met; of one kind and text in the order of time."""
        found: list[Reason] = []
        with self._lock:
            for (kind, text), met in self._met.items():
                found += [Reason(kind, text, low, high) for low, high in (*met.others, *met.spans)]
        return found

    def note(self, kind: str, text: str, start_s: float | None = None, end_s: float | None = None) -> None:
        """Keep a reason; a span that touches one of the same kind and text widens it."""
        with self._lock:
            self._note(kind, text, start_s, end_s)

    def _note(self, kind: str, text: str, start_s: float | None, end_s: float | None) -> None:
        if (kind, text) not in self._met:
            if self._texts.get(kind, 0) >= _MOST_TEXTS:
                text = _MORE
            else:
                self._texts[kind] = self._texts.get(kind, 0) + 1
        met = self._met.setdefault((kind, text), _Met())
        if start_s is None or end_s is None:
            met.others[(start_s, end_s)] = None
        else:
            met.spans.add(start_s, end_s)


def _name_of(box: Any) -> str:
    return str(getattr(box, "name", ""))
