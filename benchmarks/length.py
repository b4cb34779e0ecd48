"""Time and memory of ``tag`` against the length of the file: does a longer video cost more?

    python benchmarks/length.py [FOLDER]

Makes H.264 + AAC files of 10 minutes and 3 hours by repeating the packets of one generated clip (1280x720,
30 frames a second, a keyframe every 2 s), in Matroska and in MP4, and tags each in a process of its own: peak
memory above the loaded and warm model, seconds by the clock (median of five). Linux only (it resets the peak
in /proc).
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import av
import numpy as np

from avglance.media import write_mp4

CLIP_S, RATE, RATE_HZ = 20, 30, 16_000
STRIDE_S = CLIP_S + 0.1  # the last sound packet ends a little after the last picture
LENGTHS_S = {"10 min": 600, "3 h": 10_800}
CHILD = """
import statistics, sys, time
import avglance
def status(key):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(key)) / 1024
model = avglance.load("avgn_nano.glanceworld", device="cpu")
model.tag(sys.argv[1])
open("/proc/self/clear_refs", "w").write("5")
before, seconds = status("VmRSS"), []
for _ in range(5):
    start = time.perf_counter()
    result = model.tag(sys.argv[2])
    seconds.append(time.perf_counter() - start)
above, cost = status("VmHWM") - before, result.cost
print(before, above, statistics.median(seconds), result.duration_s, cost.frames_decoded)
"""


def clip(path: Path) -> Path:
    rng = np.random.default_rng(0)
    ground = rng.integers(0, 255, (45, 80, 3), dtype=np.uint8).repeat(16, 0).repeat(16, 1)
    pictures = (np.roll(ground, 4 * n, axis=1) for n in range(CLIP_S * RATE))
    sound = 0.1 * rng.standard_normal(CLIP_S * RATE_HZ).astype(np.float32)
    return write_mp4(path, pictures, rate=RATE, sound=sound, sound_rate_hz=RATE_HZ)


def repeat(source: Path, target: Path, seconds: int, *, stride_s: float = STRIDE_S) -> Path:
    """The packets of ``source`` again and again, each time moved by ``stride_s``."""
    with av.open(str(target), "w") as out:
        with av.open(str(source)) as first:
            streams = [out.add_stream_from_template(stream) for stream in first.streams]
        for turn in range(round(seconds / stride_s)):
            with av.open(str(source)) as again:
                for packet in again.demux():
                    if packet.dts is None:
                        continue
                    move = round(turn * stride_s / packet.time_base)
                    packet.pts, packet.dts = packet.pts + move, packet.dts + move
                    packet.stream = streams[packet.stream_index]
                    out.mux(packet)
    return target


def main(arguments: list[str]) -> int:
    folder = Path(arguments[0]) if arguments else Path(tempfile.mkdtemp())
    folder.mkdir(parents=True, exist_ok=True)
    source = clip(folder / "clip.mp4")
    print("| container | length | peak above the loaded model, MB | median s | frames decoded |")
    print("|---|---|---|---|---|")
    for container in ("mkv", "mp4"):
        for name, seconds in LENGTHS_S.items():
            file = repeat(source, folder / f"{name.replace(' ', '_')}.{container}", seconds)
            run = [sys.executable, "-c", CHILD, str(source), str(file)]
            done = subprocess.run(run, capture_output=True, text=True, check=True)
            _, above, median, length, decoded = map(float, done.stdout.split())
            if abs(length - seconds) > STRIDE_S:
                raise RuntimeError(f"{file} lasts {length} s in place of {seconds}")
            print(f"| {container} | {name} | {above:.1f} | {median:.2f} | {decoded:.0f} |", flush=True)
            file.unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
