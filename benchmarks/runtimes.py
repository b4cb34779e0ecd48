"""What torch, onnxruntime and openvino take for the networks of the shipped models, in turns.

    python benchmarks/runtimes.py [VIDEO] [--rounds 9] [--out FILE.json]

VIDEO: the bundled sample, if none is named. It is decoded before, so that an answer is networks and choices
alone, with 4 looks, in float32 where nothing else is said, on as many threads as fit. In 8 bits the encoders
have their ranges from VIDEO, which is no matter for the clock. In every round each loads the model and
answers: the first answer, for which kernels are made, and the median of five after it. Ratios are medians
of those within a round; the first round only warms. Seconds are by the clock and by the processor.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from results_others import RUNTIMES, ran

from avglance.app import api, runtimes
from avglance.app.parity import SAMPLE
from avglance.app.quantise import LEAST_FILES
from avglance.views import FileView

LIBRARIES = ("torch", "onnxruntime", "openvino")
BY = {  # in words -> runtime, precision, whether its encoders are in 8 bits
    "torch": ("torch", "float32", False),
    "onnxruntime": ("onnx", "float32", False),
    "onnxruntime, 8 bits": ("onnx", "float32", True),
    "openvino": ("openvino", "float32", False),
    "openvino, bf16": ("openvino", "bf16", False),
    "openvino, 8 bits": ("openvino", "float32", True),
}
LOOKS, AGAIN = 4, 5
Spent = tuple[float, float]
"""Seconds by the clock and by the processor."""


class Decoded:
    """A view that decodes each place once, and answers from memory after that."""

    def __init__(self, view: FileView) -> None:
        self._view, self._kept = view, dict[Any, Any]()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._view, name)

    def _ask(self, kind: str, *given: np.ndarray) -> np.ndarray:
        key = (kind, *(np.round(x, 3).tobytes() for x in given))
        if key not in self._kept:
            self._kept[key] = getattr(self._view, kind)(*given)
        return self._kept[key]

    def sounds(self, at: np.ndarray) -> np.ndarray:
        return self._ask("sounds", at)

    def pictures(self, at: np.ndarray) -> np.ndarray:
        return self._ask("pictures", at)

    def patches(self, at: np.ndarray, boxes: np.ndarray) -> np.ndarray:
        return self._ask("patches", at, boxes)


def spent(work: Callable[[], Any]) -> Spent:
    """What a call takes."""
    clock, processor = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - clock, time.process_time() - processor


def once(name: str, by: str, small: Path, view: Decoded) -> dict[str, Spent]:
    """One round of one runtime; ``small`` is the model in 8 bits."""
    made: list[api.Model] = []
    runtime, precision, brief = BY[by]
    how: dict[str, Any] = {"runtime": runtime, "device": "cpu", "precision": precision}
    found = {"load": spent(lambda: made.append(api.load(small if brief else name, **how)))}

    def answer() -> None:
        runtimes.recognise(made[0].engine, view, LOOKS, None)

    found["first"] = spent(answer)
    clock, processor = zip(*(spent(answer) for _ in range(AGAIN)), strict=True)
    return found | {"answer": (statistics.median(clock), statistics.median(processor))}


def row(name: str, by: str, rounds: list[dict[str, Spent]], base: list[dict[str, Spent]]) -> dict[str, Any]:
    """Medians of the rounds, and how many times those of torch they are."""
    kept: dict[str, Any] = {"model": name, "runtime": by}
    for what in ("load", "first", "answer"):
        for n, measure in enumerate(("s", "processor_s")):
            kept[f"{what}_{measure}"] = statistics.median(one[what][n] for one in rounds)
    for n, measure in enumerate(("clock", "processor")):
        pairs = zip(base, rounds, strict=True)
        kept[f"torch_takes_{measure}"] = statistics.median(a["answer"][n] / b["answer"][n] for a, b in pairs)
    return kept


def main(arguments: list[str]) -> int:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("video", type=Path, nargs="?", default=SAMPLE)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args(arguments)
    busy = os.getloadavg()[0]
    machine = f"{os.cpu_count()} cores ({platform.machine()}), a load of {busy:.1f} from other work"
    rows: list[dict[str, Any]] = []
    for name in api.shipped_models():
        found: dict[str, list[dict[str, Spent]]] = {by: [] for by in BY}
        with (
            TemporaryDirectory() as place,
            FileView([args.video], api.load(name, runtime="onnx").view_settings) as view,
        ):
            decoded, small = Decoded(view), Path(place) / "small"
            words = ["export", name, "--out", str(small), "--int8", *[str(args.video)] * LEAST_FILES]
            subprocess.run([sys.executable, "-m", "avglance", *words], stdout=subprocess.DEVNULL, check=True)
            for turn in range(args.rounds + 1):
                for by in BY:
                    one = once(name, by, small, decoded)
                    found[by] += [one] if turn else []
        rows += [row(name, by, rounds, found["torch"]) for by, rounds in found.items()]
    versions = {library: metadata.version(library) for library in LIBRARIES}
    kept: dict[str, Any] = {"command": RUNTIMES, "machine": machine, "rounds": args.rounds}
    kept |= {"versions": versions, "rows": rows}
    print(ran(kept))
    if args.out is not None:
        args.out.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
