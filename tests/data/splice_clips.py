"""Toy clips to splice: each picture says which clip and which frame it is, each clip has its own tone."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tests.media.makers import RATE_HZ, numbered, read_number, tone

from avglance.media.writer import write_mp4

WIDTH, HEIGHT, FPS = 96, 64, 25
FRAME_BITS = 7  # of the number that a picture shows; the rest is the clip's
CLASSES = ("blow", "knock", "ring")
SECONDS = (2.0, 2.6, 3.2)


def hz_of(number: int) -> float:
    """The tone of a clip."""
    return 400.0 + 170.0 * number


def seen_in(image: NDArray[np.uint8]) -> tuple[int, int]:
    """(clip, frame) that a picture shows."""
    return divmod(read_number(image), 1 << FRAME_BITS)


def pitch(wave: NDArray[np.float32]) -> float:
    """The strongest tone of samples at 16 kHz, Hz."""
    power = abs(np.fft.rfft(wave * np.hanning(wave.size), 1 << 15))
    return float(np.argmax(power)) * RATE_HZ / (1 << 15)


def write_clip(path: Path, number: int, *, seconds: float = 2.0, level: float | None = 0.3) -> Path:
    """A clip; ``level`` None: without a sound track."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pictures = (numbered(number << FRAME_BITS | n, WIDTH, HEIGHT) for n in range(round(seconds * FPS)))
    sound = None if level is None else tone(seconds, hz_of(number), level)
    return write_mp4(path, pictures, rate=FPS, sound=sound, sound_rate_hz=RATE_HZ, crf=18, threads=1)


def write_clips(folder: Path) -> tuple[Path, dict[str, int]]:
    """(CSV file, the number of each clip by its name): three classes of three groups, the first for test."""
    rows, numbers = [], dict[str, int]()

    def add(name: str, label: str, group: str, split: str, level: float | None) -> None:
        numbers[name] = number = len(numbers)
        write_clip(folder / name, number, seconds=SECONDS[number % 3], level=level)
        rows.append({"path": name, "label": label, "group": group, "split": split, "note": "x"})

    for c, label in enumerate(CLASSES):
        for group in range(3):
            split = "train" if group else "test"
            for n in range(2 if group else 1):
                add(f"{label}/{group}_{n}.mp4", label, str(group), split, 0.05 * (1 + c))
    for n in range(6):
        add(f"behind/{n}.mp4", "street", "", "background", None if n > 3 else 0.4 / (1 + n))
    table = folder / "clips.csv"
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return table, numbers
