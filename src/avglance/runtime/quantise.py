"""Graphs with their convolutions in 8 bits, written by onnxruntime; see ``app.quantise`` for whole models."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avglance.errors import ArgumentError
from avglance.runtime.session import imported
from avglance.runtime.whole import made_whole

QUANTISED = ("Conv", "Clip", "Relu")
"""Operations: the rest of an encoder is small, and sums of 8 bits cost accuracy where blocks are joined."""
_BATCH = 8


def quantised(content: bytes, weights: bytes, rows: Sequence[dict[str, NDArray[Any]]]) -> bytes:
    """An encoder's graph with its convolutions in 8 bits and its weights inside.

    Args:
        content: the ONNX file.
        weights: those of the file that it names as ``shared.WEIGHTS``.
        rows: what it is given, by name, as it is called.

    Raises:
        ArgumentError: it was given nothing.
        MissingExtra: there is no onnxruntime.
    """
    if not rows:
        what = "an encoder was given nothing by these files"
        raise ArgumentError(what, where="--int8", hint="name files with pictures and sound")
    imported()  # in the way that keeps it from calling home
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Given(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
        """The rows in batches."""

        def __init__(self) -> None:
            self._batches = _batches(rows)

        def get_next(self) -> dict[str, NDArray[Any]] | None:
            """The next ones; None: there are no more."""
            return next(self._batches, None)

    said = logging.getLogger().level
    with tempfile.TemporaryDirectory() as folder:
        plain, ready, made = (Path(folder) / f"{name}.onnx" for name in ("plain", "ready", "made"))
        plain.write_bytes(made_whole(content, weights))
        logging.getLogger().setLevel(logging.ERROR)  # it recommends what is done here, or does not apply
        try:
            quant_pre_process(str(plain), str(ready), skip_symbolic_shape=True)
            quantize_static(
                str(ready), str(made), Given(), quant_format=QuantFormat.QDQ, per_channel=True,
                activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
                op_types_to_quantize=list(QUANTISED),
            )  # fmt: skip
        finally:
            logging.getLogger().setLevel(said)
        return made.read_bytes()


def _batches(calls: Sequence[dict[str, NDArray[Any]]]) -> Iterator[dict[str, NDArray[Any]]]:
    """The rows of all calls, a few at a time."""
    joined = {name: np.concatenate([rows[name] for rows in calls]) for name in calls[0]}
    for first in range(0, len(next(iter(joined.values()))), _BATCH):
        yield {name: x[first : first + _BATCH] for name, x in joined.items()}
