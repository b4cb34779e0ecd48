"""What a reader has spent on one file so far, and the limit on it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from avglance.errors import MediaError
from avglance.media.breaks import Breaks, find_breaks
from avglance.types import Reason

_JOIN_S = 1e-3  # spans of one kind closer than this are one span


@dataclass
class Spent:
    """Seconds and frames spent, and the damage met, shared by the tracks of one file."""

    where: str
    limit_s: float
    seek_limit_s: float = float("inf")
    seconds: float = 0.0
    frames_decoded: int = 0
    frames_delivered: int = 0
    reasons: list[Reason] = field(default_factory=list)
    _breaks: dict[str, Breaks | None] = field(default_factory=dict)  # by file: sound may have its own
    _since: float | None = None

    @contextmanager
    def working(self) -> Iterator[None]:
        """Count the time inside; nested uses count once."""
        if self._since is not None:
            yield
            return
        self._since = time.perf_counter()
        try:
            yield
        finally:
            self.seconds += time.perf_counter() - self._since
            self._since = None

    def check_time(self) -> None:
        """Raise ``MediaError`` of kind ``timeout`` where a limit is used up."""
        now = time.perf_counter() - self._since if self._since is not None else 0.0
        if self.seconds + now > self.limit_s:
            what, setting = f"reading took longer than {self.limit_s:g} s", "max_decode_s"
        elif now > self.seek_limit_s:
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
        self._breaks[name] = find_breaks(box)
        if self._breaks[name] is not None:
            self.note("clock_jump", "timestamps go back to a new start; the clock goes on from there")

    def breaks_of(self, box: Any) -> Breaks | None:
        """Where the timestamps of the file that a container reads start again; None: nowhere."""
        return self._breaks.get(_name_of(box))

    def note_memory(self, error: Exception) -> None:
        """Keep that memory ran out, if that is what the error says."""
        if isinstance(error, MemoryError):
            self.note("limit", "a decoder asked for more memory than it could have")

    def note(self, kind: str, text: str, start_s: float | None = None, end_s: float | None = None) -> None:
        """Keep a reason; a span that touches one of the same kind and text widens it."""
        for i, old in enumerate(self.reasons):
            if (old.kind, old.text) != (kind, text):
                continue
            if start_s is None or end_s is None or old.start_s is None or old.end_s is None:
                if old.start_s == start_s and old.end_s == end_s:
                    return
                continue
            if start_s <= old.end_s + _JOIN_S and end_s >= old.start_s - _JOIN_S:
                self.reasons[i] = Reason(kind, text, min(start_s, old.start_s), max(end_s, old.end_s))
                return
        self.reasons.append(Reason(kind, text, start_s, end_s))


def _name_of(box: Any) -> str:
    return str(getattr(box, "name", ""))
