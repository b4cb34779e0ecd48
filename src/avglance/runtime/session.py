"""One graph, run by onnxruntime; the only file that knows it."""

from __future__ import annotations

import os
from typing import Any

from numpy.typing import NDArray

from avglance.errors import MissingExtra
from avglance.runtime.shared import WEIGHTS

QUIET = 3  # errors alone: what onnxruntime warns of is no user's business


def imported() -> Any:
    """The library, or ``MissingExtra`` that says what is wrong with it."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # or its import writes a device id, and it calls home
    try:
        import onnxruntime
    except ImportError as error:
        first = (str(error).splitlines() or ["no reason given"])[0]
        what, hint = f"onnxruntime cannot be imported ({first})", "pip install onnxruntime"
        raise MissingExtra(what, where="runtime onnx", hint=hint) from error
    return onnxruntime


class OnnxSession:
    """A graph of onnxruntime: see ``graph.Session``.

    Args:
        content: the bytes of the ONNX file.
        weights: those of the file that it names as ``shared.WEIGHTS``; no other is read.
        threads: for one operation; 0: as many as fit.

    Raises:
        MissingExtra: there is no onnxruntime.
        Exception: of onnxruntime's own: it is no graph that it can run.
    """

    def __init__(self, content: bytes, weights: bytes, threads: int) -> None:
        ort = imported()
        options = ort.SessionOptions()
        options.log_severity_level = QUIET
        options.intra_op_num_threads = threads
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # decoding needs the cores
        options.add_external_initializers_from_files_in_memory([WEIGHTS], [weights], [len(weights)])
        self._session = ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        self.inputs = tuple(x.name for x in self._session.get_inputs())

    def run(self, given: dict[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """The outputs in their order."""
        found: list[NDArray[Any]] = self._session.run(None, given)
        return found
