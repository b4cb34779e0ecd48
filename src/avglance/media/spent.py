"""What a reader has spent on one file so far, and the limit on it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from avglance.errors import MediaError
from avglance.types import Reason

_JOIN_S = 1e-3  # spans of one kind closer than this are one span


@dataclass
class Spent:
    """Seconds and frames spent, and the damage met, shared by the tracks of one file."""

    where: str
    limit_s: float
    seconds: float = 0.0
    frames_decoded: int = 0
    frames_delivered: int = 0
    reasons: list[Reason] = field(default_factory=list)
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
        """Raise ``MediaError`` of kind ``timeout`` where the limit is used up."""
        now = self.seconds + (time.perf_counter() - self._since if self._since is not None else 0.0)
        if now > self.limit_s:
            raise MediaError(
                f"reading took longer than {self.limit_s:g} s",
                kind="timeout",
                where=self.where,
                hint="raise Limits.max_decode_s, or cut the file into shorter ones",
            )

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
