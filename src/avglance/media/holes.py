"""Stretches of a file that hold nothing: some containers skip them without a word, but the bytes tell."""

from __future__ import annotations

from typing import Any

_COUNTED = ("matroska", "flv")  # containers whose packets lie one behind the other, with a few bytes between
_MOST_BETWEEN = 4096  # bytes of headers between two packets


class Holes:
    """Looks at where packets lie; ``met`` is True once bytes were skipped, until somebody asks.

    >>> from types import SimpleNamespace as Packet
    >>> holes = Holes(None)
    >>> holes.counts = True
    >>> for pos in (0, 110, 90_000):
    ...     holes.see(Packet(pos=pos, size=100, is_corrupt=False))
    >>> holes.take(), holes.take()
    (True, False)
    """

    def __init__(self, box: Any) -> None:
        name = box.format.name if box is not None else ""
        # pictures with transparency carry a second picture that is not counted in the packet's size
        self.counts = name.startswith(_COUNTED) and not any("alpha_mode" in s.metadata for s in box.streams)
        self._met = self._corrupt = False
        self._at: int | None = None
        self._end = 0

    def restart(self) -> None:
        """Begin anew: the container was sought."""
        self._met, self._corrupt, self._at = False, False, None

    def see(self, packet: Any) -> None:
        """Look at the next packet of the file, of whatever stream."""
        self._met |= packet.is_corrupt or self._corrupt  # what is cut off stands before the hole
        self._corrupt = bool(packet.is_corrupt)
        if not self.counts or packet.pos is None or packet.pos < 0:
            return
        if packet.pos == self._at:  # several packets in one block
            self._end += packet.size
            return
        self._met |= self._at is not None and packet.pos > self._end + _MOST_BETWEEN
        self._at, self._end = (
            packet.pos,
            max(self._end if self._at is not None else 0, packet.pos + packet.size),
        )

    def take(self) -> bool:
        """Whether something was skipped since the last question."""
        met, self._met = self._met, False
        return met
