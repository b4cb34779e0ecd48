"""What every reader offers, whether it decodes here, in another process, or has its pictures in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Protocol, Self

from avglance.media.frame import Frame
from avglance.media.sound import SoundPiece
from avglance.types import MediaInfo, Reason


class Reader(Protocol):
    """The surface of ``VideoReader``; see there."""

    info: MediaInfo
    picture_span: tuple[float, float] | None
    sound_span: tuple[float, float] | None

    @property
    def frames_delivered(self) -> int:
        """Pictures handed out."""

    @property
    def frames_decoded(self) -> int:
        """Coded pictures given to the decoder."""

    @property
    def decode_s(self) -> float:
        """Seconds spent."""

    @property
    def reasons(self) -> list[Reason]:
        """Damage met so far."""

    def frames_at(
        self, times: Sequence[float], *, max_side: int | None = None
    ) -> Iterator[tuple[int, Frame | None]]:
        """The pictures on the screen at times."""

    def timeline(self) -> Iterator[tuple[float, float, bool]]:
        """(start, end, whole) of every picture."""

    def digests(self) -> Iterator[tuple[float, float, int | None]]:
        """(start, end, checksum) of every picture."""

    def packets(self) -> Iterator[tuple[float, float, bool, bool]]:
        """(start, end, is a picture, whole) of every packet."""

    def keyframes_near(self, times: Sequence[float]) -> list[float | None]:
        """The times of the keyframes nearest to times."""

    def sound(self, start_s: float, end_s: float, *, rate_hz: int = 16_000) -> Iterator[SoundPiece]:
        """A stretch of sound in pieces."""

    def close(self) -> None:
        """Let go of the file."""

    def __enter__(self) -> Self:
        """The reader."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""


Opener = Callable[..., Reader]
"""Opens a file: ``VideoReader`` itself, or ``Decoders.open``; called with the same arguments."""
