"""Peak memory of ``VideoReader`` against the length of the file: is ten hours as cheap as ten minutes?

    python benchmarks/long.py [FOLDER]

Makes H.264 + AAC files of 10 minutes and 10 hours by repeating the packets of one generated clip (320x240,
30 frames a second, a keyframe every 2 s, sound of 48 kHz), in Matroska and in MP4, and reads each in a
process of its own that has loaded nothing but the reader: 16 pictures over the whole file; then every
picture, with a pause after each thousand (a slow consumer); then all sound; then all packets. Prints the
resident memory before and, after each step, the peak above it and the seconds since the start. Linux only (it
resets the peak in /proc). A file of 10 hours takes 550 MB; there is one at a time.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from length import STRIDE_S, repeat

from avglance.media import write_mp4

CLIP_S, RATE, RATE_HZ = 20, 30, 48_000
LENGTHS_S = {"10 min": 600, "10 h": 36_000}
CHILD = """
import math, sys, time
import numpy as np
from avglance.media import Limits, VideoReader
def status(key):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(key)) / 1024
def peak():
    return status("VmHWM") - before
limits = Limits(max_decode_s=1e5)
with VideoReader(sys.argv[1], limits=limits, threads=1) as reader:
    for _ in reader.frames_at([0.0, 5.0]):
        pass
    for _ in reader.sound(0.0, 2.0):
        pass
open("/proc/self/clear_refs", "w").write("5")
before, start, told = status("VmRSS"), time.perf_counter(), []
def tell():
    told.append((peak(), time.perf_counter() - start))
with VideoReader(sys.argv[2], limits=limits, threads=1) as reader:
    tell()
    pictures = list(reader.frames_at(np.linspace(1.0, reader.info.duration_s - 1.0, 16), max_side=64))
    tell()
    shown = 0
    for shown, _ in enumerate(reader.timeline(), 1):
        if shown % 1000 == 0:
            time.sleep(0.002)
    tell()
    heard = sum(piece.samples.size for piece in reader.sound(-math.inf, math.inf))
    tell()
    packets = sum(1 for _ in reader.packets())
    tell()
    whole = sum(picture is not None for _, picture in pictures)
    print(before, reader.info.duration_s, whole, shown, heard / 16000, packets)
    print(*(number for pair in told for number in pair))
"""


def clip(path: Path) -> Path:
    """20 seconds of a moving pattern and noise."""
    rng = np.random.default_rng(0)
    ground = rng.integers(0, 255, (15, 20, 3), dtype=np.uint8).repeat(16, 0).repeat(16, 1)
    pictures = (np.roll(ground, 2 * n, axis=1) for n in range(CLIP_S * RATE))
    sound = 0.1 * rng.standard_normal(CLIP_S * RATE_HZ).astype(np.float32)
    return write_mp4(path, pictures, rate=RATE, sound=sound, sound_rate_hz=RATE_HZ)


def main(arguments: list[str]) -> int:
    """Print the table."""
    folder = Path(arguments[0]) if arguments else Path(tempfile.mkdtemp())
    folder.mkdir(parents=True, exist_ok=True)
    source = clip(folder / "clip.mp4")
    steps = ("open", "16 pictures", "timeline", "sound", "packets")
    print(
        "| container | length | MB of file | MB before | " + " | ".join(f"{s}: +MB, s" for s in steps) + " |"
    )
    print("|---" * (4 + len(steps)) + "|")
    for container in ("mp4", "mkv"):
        for name, seconds in LENGTHS_S.items():
            file = repeat(source, folder / f"{name.replace(' ', '_')}.{container}", seconds)
            run = [sys.executable, "-c", CHILD, str(source), str(file)]
            done = subprocess.run(run, capture_output=True, text=True, check=True)
            before, length, whole, shown, heard, _, *told = map(float, done.stdout.split())
            if (
                abs(length - seconds) > STRIDE_S
                or whole < 16
                or shown < 0.99 * RATE * seconds * CLIP_S / STRIDE_S
            ):
                raise RuntimeError(
                    f"{file}: {length} s, {whole} pictures of 16, {shown} shown, {heard} s heard"
                )
            row = [container, name, f"{file.stat().st_size / 1e6:.0f}", f"{before:.1f}"]
            row += [f"{above:.1f}, {s:.1f}" for above, s in zip(told[::2], told[1::2], strict=True)]
            print("| " + " | ".join(row) + " |", flush=True)
            file.unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
