"""What decoding in a process of its own costs: 100 short files through ``tag_many``, with and without.

    python benchmarks/isolation.py [ROUNDS]

Makes 100 files (320x240, 25 pictures a second, 3 to 8 s, with sound), then runs both ways in turn, each from
start of the process to its end, and prints the medians and their ratio. Then the same for ``check``.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

import avglance
from avglance.media import Decoders, check, write_mp4
from avglance.types import Recognition

COUNT, RATE, RATE_HZ = 100, 25, 16_000


def make(folder: Path) -> list[Path]:
    files = []
    for n in range(COUNT):
        rng = np.random.default_rng(n)
        seconds = 3 + n % 6
        ground = rng.integers(0, 255, (15, 20, 3), dtype=np.uint8).repeat(16, 0).repeat(16, 1)
        pictures = (np.roll(ground, 3 * k, axis=1) for k in range(seconds * RATE))
        sound = 0.1 * rng.standard_normal(seconds * RATE_HZ).astype(np.float32)
        files.append(write_mp4(folder / f"{n}.mp4", pictures, rate=RATE, sound=sound, sound_rate_hz=RATE_HZ))
    return files


def seconds(work: Callable[[], int]) -> float:
    start = time.perf_counter()
    if work() != COUNT:
        raise RuntimeError("not every file was answered")
    return time.perf_counter() - start


def compare(name: str, apart: Callable[[], int], here: Callable[[], int], rounds: int) -> None:
    pairs = [(seconds(apart), seconds(here)) for _ in range(rounds)]
    ratios = [a / b for a, b in pairs]
    a, b = (statistics.median(column) for column in zip(*pairs, strict=True))
    low, middle, high = min(ratios), statistics.median(ratios), max(ratios)
    print(f"| {name} | {b:.2f} | {a:.2f} | {middle:.3f} ({low:.3f} to {high:.3f}) |", flush=True)


def checked(files: list[Path], *, quick: bool, apart: bool) -> int:
    if not apart:
        return sum(check(path, quick=quick).condition.verdict == "ok" for path in files)
    with Decoders() as decoders:
        return sum(check(path, quick=quick, opener=decoders.open).condition.verdict == "ok" for path in files)


def main(arguments: list[str]) -> int:
    rounds = int(arguments[0]) if arguments else 5
    with tempfile.TemporaryDirectory() as folder:
        files = make(Path(folder))
        model = avglance.load(device="cpu")

        def tagged(*, isolate: bool) -> int:
            return sum(isinstance(a, Recognition) for a in model.tag_many(files, isolate=isolate))

        tagged(isolate=False)  # warm
        print(
            "| 100 files | s, in this process | s, isolated | isolated / in this process |\n|---|---|---|---|"
        )
        compare("tag", lambda: tagged(isolate=True), lambda: tagged(isolate=False), rounds)
        for quick in (True, False):
            compare(
                "check --quick" if quick else "check",
                lambda: checked(files, quick=quick, apart=True),  # noqa: B023 - called in this turn
                lambda: checked(files, quick=quick, apart=False),  # noqa: B023
                rounds,
            )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
