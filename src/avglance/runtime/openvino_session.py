"""One graph, run by openvino on the processor; the only file that knows it."""

from __future__ import annotations

import math
import sys
from functools import cache
from typing import Any

from numpy.typing import NDArray

from avglance.errors import MissingExtra
from avglance.runtime.whole import made_whole

_TELEMETRY = "openvino_telemetry"


def imported() -> Any:
    """The library, or ``MissingExtra`` that says what is wrong with it.

    Its import would count itself in the user's home and call home. It does without the package that does
    that: so that is hidden while it is imported.
    """
    hidden = "openvino" not in sys.modules
    kept = sys.modules.get(_TELEMETRY)
    try:
        if hidden:
            sys.modules[_TELEMETRY] = None  # type: ignore[assignment]  # an import of it fails
        import openvino
    except ImportError as error:
        first = (str(error).splitlines() or ["no reason given"])[0]
        what, hint = f"openvino cannot be imported ({first})", "pip install 'avglance[openvino]'"
        raise MissingExtra(what, where="runtime openvino", hint=hint) from error
    finally:
        if hidden:
            sys.modules.pop(_TELEMETRY)
            if kept is not None:
                sys.modules[_TELEMETRY] = kept
    return openvino


@cache
def core(library: Any) -> Any:
    """What compiles graphs; one for the life of the process.

    With the last one it would unload its code for the processor, under threads that wait in it: the next
    signal that woke one of them would end the process.
    """
    return library.Core()


def computes_briefly() -> bool:
    """Whether this processor computes in bfloat16 by itself.

    Raises:
        MissingExtra: there is no openvino, or it finds no processor.
    """
    try:
        return "BF16" in core(imported()).get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    except RuntimeError as error:
        first, hint = (str(error).splitlines() or ["no reason given"])[0], "install openvino again"
        what = f"openvino cannot use the processor ({first})"
        raise MissingExtra(what, where="runtime openvino", hint=hint) from error


def _numbers(model: Any) -> int:
    """How many numbers the constants of a model have."""
    constants = (op for op in model.get_ops() if op.get_type_name() == "Constant")
    return sum(math.prod(op.get_output_shape(0)) for op in constants)


class OpenVINOSession:
    """A graph of openvino: see ``graph.Session``.

    Args:
        content: the bytes of the ONNX file.
        weights: those of the file that it names as ``shared.WEIGHTS``; no other is read.
        threads: for one operation; 0: as many as fit.
        brief_from: it computes in bfloat16 if it has so many weights; None: never.

    Raises:
        MissingExtra: there is no openvino.
        Exception: of openvino's own, or ValueError: it is no graph that it can run.
    """

    def __init__(
        self, content: bytes, weights: bytes, threads: int, *, brief_from: int | None = None
    ) -> None:
        self._core = core(imported())
        self._model = self._core.read_model(made_whole(content, weights))
        brief = brief_from is not None and (not brief_from or _numbers(self._model) >= brief_from)
        self._settings: dict[str, Any] = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "bf16" if brief else "f32",  # its own choice would be the processor's
            "ENABLE_CPU_PINNING": False,  # decoding needs the cores
        }  # fmt: skip
        if threads:
            self._settings["INFERENCE_NUM_THREADS"] = threads
        self.inputs = tuple(x.get_any_name() for x in self._model.inputs)
        self._free = [self._request()]

    def _request(self) -> Any:
        """What computes one call at a time."""
        compiled = self._core.compile_model(self._model, "CPU", self._settings)
        return compiled.create_infer_request()

    def run(self, given: dict[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """The outputs in their order; calls side by side have a compiled graph each, with its threads."""
        try:
            request = self._free.pop()
        except IndexError:
            request = self._request()
        try:
            found = request.infer(given, share_inputs=True)
            return [found[port] for port in request.model_outputs]
        finally:
            self._free.append(request)
