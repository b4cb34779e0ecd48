"""One static graph, whatever library runs it: arrays by name in, arrays out, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from avglance.errors import ArgumentError, CheckpointError, MissingExtra
from avglance.runtime.openvino_session import OpenVINOSession
from avglance.runtime.session import OnnxSession

By = Literal["onnx", "openvino"]
BY: tuple[By, ...] = get_args(By)
"""What can run a graph: onnxruntime, or openvino."""
WIDEST = 2**16  # of a vector; a wider one is no vector of ours
AGAIN = "it was damaged or edited; copy it or export the model again"


class Session(Protocol):
    """A graph that a library has made ready; it may be called from several threads at once."""

    inputs: tuple[str, ...]

    def run(self, given: dict[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """The outputs in their order."""
        ...


class Graph:
    """A static graph: arrays by name in, arrays out, the first axis of each being the rows.

    Args:
        name: for messages.
        content: the bytes of the ONNX file.
        weights: those of the file that it names as ``shared.WEIGHTS``; no other is read.
        macs: multiply-adds of one row, by stage.
        threads: for one operation; 0: as many as fit.
        by: what runs it.
        brief_from: it computes in bfloat16 if it has so many weights (openvino alone); None: never.
        folder: where it lies, for messages.

    Raises:
        MissingExtra: what shall run it is not installed.
        CheckpointError: it is no graph that this can run.
    """

    def __init__(
        self,
        name: str,
        content: bytes,
        *,
        macs: dict[str, int],
        weights: bytes = b"",
        threads: int = 0,
        by: By = "onnx",
        brief_from: int | None = None,
        folder: str = "",
    ) -> None:
        self.name, self.macs, self.by = name, macs, by
        self.watch: Callable[[dict[str, NDArray[Any]]], None] | None = None  # is told what it is given
        self.where = f"{folder}: graph {name}" if folder else f"graph {name}"
        if by not in BY:
            raise ArgumentError(f"graphs are run by {' or '.join(BY)}, got {by!r}", where="runtime")
        try:
            self._session: Session = (
                OnnxSession(content, weights, threads)
                if by == "onnx"
                else OpenVINOSession(content, weights, threads, brief_from=brief_from)
            )
        except MissingExtra:
            raise
        except Exception as error:
            raise self._unfit(f"cannot run it ({_first(error)})") from error

    def __call__(self, **rows: NDArray[Any]) -> list[NDArray[Any]]:
        """The outputs in their order; rows that the graph has no use for are left aside.

        Raises:
            CheckpointError: it does not take these rows.
        """
        if strange := [name for name in self._session.inputs if name not in rows]:
            raise CheckpointError(
                f"it asks for {strange[0]!r}, which there is not", where=self.where, hint=AGAIN
            )
        given = {name: np.ascontiguousarray(rows[name]) for name in self._session.inputs}
        if self.watch is not None:
            self.watch(given)
        try:
            return self._session.run(given)
        except Exception as error:
            raise self._unfit(f"cannot run it ({_first(error)})") from error

    def checked(
        self, found: list[NDArray[Any]], rows: int, shapes: Sequence[tuple[int | None, ...]]
    ) -> list[NDArray[Any]]:
        """What it gave for so many rows, if that is float32 of these shapes (None: any) and finite.

        Raises:
            CheckpointError: it is not.
        """
        if len(found) != len(shapes):
            raise CheckpointError(
                f"it gives {len(found)} arrays, not {len(shapes)}", where=self.where, hint=AGAIN
            )
        for x, shape in zip(found, shapes, strict=True):
            want = (rows, *shape)
            fits = x.ndim == len(want) and all(n in (None, m) for n, m in zip(want, x.shape, strict=True))
            if not fits or x.dtype != np.float32:
                what = f"it gives {x.dtype} {x.shape}, not float32 {want}"
                raise CheckpointError(what, where=self.where, hint=AGAIN)
            if not np.isfinite(x).all():
                raise CheckpointError("it gives what is no finite number", where=self.where, hint=AGAIN)
        return found

    def _unfit(self, what: str) -> CheckpointError:
        library = "onnxruntime" if self.by == "onnx" else "openvino"
        return CheckpointError(f"{library} {what}", where=self.where, hint=AGAIN)


def check_widths(widths: Iterable[Any]) -> None:
    """Refuse what is no number of channels.

    Raises:
        ArgumentError: it is none.
    """
    for width in widths:
        if isinstance(width, bool) or not isinstance(width, int) or not 0 <= width <= WIDEST:
            raise ArgumentError(f"{width!r} is no width")


def _first(error: Exception) -> str:
    return (str(error).splitlines() or ["no reason given"])[0]
