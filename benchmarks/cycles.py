"""Opening, reading and closing again and again: do memory and open handles stay where they were?

    python benchmarks/cycles.py [CYCLES]

Makes five small files (MP4, Matroska, MPEG-TS, FLV, WAV), goes through them in turn, each time four pictures
at random places and a second of sound, in this process and then in a decoding process; prints resident
memory and open handles after 5 % of the cycles (warm) and at the end. Linux only (it reads /proc).
"""

from __future__ import annotations

import gc
import os
import sys
import tempfile
import time
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np

from avglance.media import Decoders, VideoReader, write_mp4

RATE_HZ = 16_000


def make(folder: Path) -> list[Path]:
    rng = np.random.default_rng(0)
    ground = rng.integers(0, 255, (15, 20, 3), dtype=np.uint8).repeat(16, 0).repeat(16, 1)
    pictures = (np.roll(ground, 3 * k, axis=1) for k in range(75))
    sound = 0.1 * rng.standard_normal(3 * RATE_HZ).astype(np.float32)
    first = write_mp4(folder / "x.mp4", pictures, rate=25, sound=sound, sound_rate_hz=RATE_HZ)
    files = [first, *(remux(first, folder / f"x.{suffix}") for suffix in ("mkv", "ts", "flv"))]
    return [*files, plain_sound(folder / "x.wav", sound)]


def remux(source: Path, target: Path) -> Path:
    with av.open(str(source)) as box, av.open(str(target), "w") as out:
        streams = [out.add_stream_from_template(stream) for stream in box.streams]
        for packet in box.demux():
            if packet.dts is not None:
                packet.stream = streams[packet.stream_index]
                out.mux(packet)
    return target


def plain_sound(target: Path, sound: np.ndarray) -> Path:
    with wave.open(str(target), "wb") as out:
        out.setparams((1, 2, RATE_HZ, 0, "NONE", ""))
        out.writeframes((32_767 * np.clip(sound, -1, 1)).astype("<i2").tobytes())
    return target


def cycle(opener: Callable[..., Any], path: Path, rng: np.random.Generator) -> int:
    with opener(path, threads=1) as reader:
        end = reader.info.duration_s
        seen = sum(frame is not None for _, frame in reader.frames_at(rng.uniform(0, end, 4)))
        start = float(rng.uniform(0, end - 1))
        heard = sum(piece.samples.size for piece in reader.sound(start, start + 1))
        return seen + (heard > 0)


def state(pid: int | str) -> tuple[float, int]:
    """Resident memory in MB and open handles of a process."""
    with open(f"/proc/{pid}/status") as file:
        resident = next(int(line.split()[1]) for line in file if line.startswith("VmRSS"))
    return resident / 1024, len(os.listdir(f"/proc/{pid}/fd"))


def run(
    name: str, opener: Callable[..., Any], pid: Callable[[], int | str], files: list[Path], cycles: int
) -> None:
    rng = np.random.default_rng(0)
    warm, before = cycles // 20, (0.0, 0)
    start = time.perf_counter()
    for n in range(cycles):
        if not cycle(opener, files[n % len(files)], rng):
            raise RuntimeError(f"{files[n % len(files)]} gave nothing")
        if n == warm:
            gc.collect()
            before = state(pid())
    gc.collect()
    seconds, after = time.perf_counter() - start, state(pid())
    ms = 1000 * seconds / cycles
    print(
        f"| {name} | {cycles} | {before[0]:.1f} -> {after[0]:.1f} | {before[1]} -> {after[1]} | {ms:.1f} |",
        flush=True,
    )


def main(arguments: list[str]) -> int:
    cycles = int(arguments[0]) if arguments else 2_000
    print("| where | cycles | MB, warm -> end | handles, warm -> end | ms each |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        files = make(Path(folder))
        run("in this process", VideoReader, lambda: "self", files, cycles)
        with Decoders() as decoders:
            run("a process apart: this one", decoders.open, lambda: "self", files, cycles)
            run("a process apart: that one", decoders.open, lambda: child_of(os.getpid()), files, cycles)
    return 0


def child_of(pid: int) -> int:
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return int(file.read().split()[0])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
