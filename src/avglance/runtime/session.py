"""One graph, run by onnxruntime; the only file that knows it."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avglance.errors import CheckpointError, MissingExtra
from avglance.runtime.shared import WEIGHTS

QUIET = 3  # errors alone: what onnxruntime warns of is no user's business


def _onnxruntime() -> Any:
    """The library, or ``MissingExtra`` that says what is wrong with it."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # or its import writes a device id, and it calls home
    try:
        import onnxruntime
    except ImportError as error:
        first = (str(error).splitlines() or ["no reason given"])[0]
        what, hint = f"onnxruntime cannot be imported ({first})", "pip install onnxruntime"
        raise MissingExtra(what, where="runtime onnx", hint=hint) from error
    return onnxruntime


class Graph:
    """A static graph: arrays by name in, arrays out, the first axis of each being the rows.

    Args:
        name: for messages.
        content: the bytes of the ONNX file.
        weights: those of the file that it names as ``shared.WEIGHTS``; no other is read.
        macs: multiply-adds of one row, by stage.
        threads: for one operation; 0: as many as fit.

    Raises:
        MissingExtra: there is no onnxruntime.
        CheckpointError: it is no graph that onnxruntime can run.
    """

    def __init__(
        self, name: str, content: bytes, *, macs: dict[str, int], weights: bytes = b"", threads: int = 0
    ) -> None:
        ort = _onnxruntime()
        options = ort.SessionOptions()
        options.log_severity_level = QUIET
        options.intra_op_num_threads = threads
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # decoding needs the cores
        options.add_external_initializers_from_files_in_memory([WEIGHTS], [weights], [len(weights)])
        self.name, self.macs = name, macs
        try:
            self._session = ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except Exception as error:
            first = (str(error).splitlines() or ["no reason given"])[0]
            raise CheckpointError(f"onnxruntime cannot run it ({first})", where=f"graph {name}") from error
        self.inputs = tuple(x.name for x in self._session.get_inputs())

    def __call__(self, **rows: NDArray[Any]) -> list[NDArray[Any]]:
        """The outputs in their order; rows that the graph has no use for are left aside."""
        given = {name: np.ascontiguousarray(rows[name]) for name in self.inputs}
        found: list[NDArray[Any]] = self._session.run(None, given)
        return found
