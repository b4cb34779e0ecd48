"""Frames of sound to mono at a rate, without threads: libav would start as many for each stretch of sound."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import av.error
import av.filter
import numpy as np
from numpy.typing import NDArray

_LAYOUT, _FORMAT = "mono", "flt"


class Resampler:
    """What ``av.AudioResampler`` gives for mono floats; it takes frames of one kind.

    That one lets libav start a thread a core, which takes longer than the second of sound between them.
    """

    def __init__(self, rate_hz: int) -> None:
        self.rate_hz = rate_hz
        self._graph: Any = None  # made for the first frame
        self._passes = False  # frames are what is wanted already

    def take(self, frame: Any | None) -> list[NDArray[np.float32]]:
        """The samples that come out when a frame goes in (None: there is no other).

        Raises:
            av.error.FFmpegError, ValueError: the frame cannot be turned.
        """
        if self._graph is None and not self._passes:
            if frame is None:
                return []
            self._passes = _kind(frame) == (self.rate_hz, _LAYOUT, _FORMAT)
            self._graph = None if self._passes else _graph(frame, self.rate_hz)
        if self._passes:
            return [] if frame is None else [_samples(frame)]
        self._graph.push(frame)
        return [_samples(out) for out in self._pulled()]

    def _pulled(self) -> Iterator[Any]:
        while True:
            try:
                yield self._graph.pull()
            except (av.error.EOFError, av.error.BlockingIOError):  # nothing more, or not yet
                return


def _kind(frame: Any) -> tuple[int, str, str]:
    return frame.sample_rate, frame.layout.name, frame.format.name


def _samples(frame: Any) -> NDArray[np.float32]:
    return np.asarray(frame.to_ndarray(), dtype=np.float32).reshape(-1)


def _graph(frame: Any, rate_hz: int) -> Any:
    """A filter graph from frames like this one to mono floats."""
    graph = av.filter.Graph()
    if hasattr(graph, "threads"):  # as PyAV has it in its later versions
        graph.threads = 1
    rate, layout, kind = _kind(frame)
    time_base = {} if frame.time_base is None else {"time_base": str(frame.time_base)}
    source = graph.add("abuffer", sample_rate=str(rate), sample_fmt=kind, channel_layout=layout, **time_base)
    wanted = graph.add("aformat", sample_rates=str(rate_hz), sample_fmts=_FORMAT, channel_layouts=_LAYOUT)
    graph.link_nodes(source, wanted, graph.add("abuffersink"))
    graph.configure()
    return graph
