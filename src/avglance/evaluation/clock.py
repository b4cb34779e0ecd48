"""Rivals timed side by side: rounds in turn, ratios within a round, the floor, and fresh processes."""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from avglance.evaluation.rivals import RIVALS, Look, Ours, Rival, Setting
from avglance.media import least_decoding
from avglance.types import Precision
from avglance.views import CLIP_S, clip_start

Step = Callable[[str, int], None]
"""Told of each rival (its name) and round (from 0) before it begins."""
_PEAK_SIDE, _PEAK_TRIES = 2048, 7


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Median and quartiles of some values, and the values themselves.

    >>> spread([3.0, 1.0, 2.0])["median"]
    2.0
    """
    low, middle, high = np.quantile(np.asarray(values, dtype=np.float64), [0.25, 0.5, 0.75]).tolist()
    return {"median": middle, "low": low, "high": high, "each": [float(v) for v in values]}


def timed(
    path: str | Path, rivals: Mapping[str, Rival], *, rounds: int, patience_s: float, step: Step | None = None
) -> dict[str, list[Look]]:
    """Looks of every rival at a file, round by round in turn; the first of a round changes with the round.

    A rival that takes longer than ``patience_s`` looks once.

    Raises:
        MediaError: the file cannot be read.
    """
    found: dict[str, list[Look]] = {name: [] for name in rivals}
    names = list(rivals)
    for number in range(rounds):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            if found[name] and whole(found[name][0]) > patience_s:
                continue
            if step is not None:
                step(name, number)
            start = time.process_time()
            look = rivals[name].look(path)
            found[name].append(replace(look, processor_s=time.process_time() - start))
    return found


def whole(look: Look) -> float:
    """Seconds from the file to the answer."""
    return sum(look.seconds.values())


def rows(looks: Mapping[str, Sequence[Look]], base: str) -> list[dict[str, Any]]:
    """One row a rival: its seconds, their stages, and how many times those of ``base`` they are."""
    return [_row(name, found, looks.get(base, [])) for name, found in looks.items()]


def _row(name: str, found: Sequence[Look], base: Sequence[Look]) -> dict[str, Any]:
    stages = dict.fromkeys(stage for look in found for stage in look.seconds)
    pairs = list(zip(found, base, strict=False))
    ratios = [whole(theirs) / whole(ours) for theirs, ours in pairs]
    worked = [theirs.processor_s / ours.processor_s for theirs, ours in pairs if ours.processor_s]
    return {
        "rival": name,
        "seconds": spread([whole(look) for look in found]),
        "stages": {s: statistics.median(look.seconds.get(s, 0.0) for look in found) for s in stages},
        "ratio": spread(ratios) if ratios else None,
        "processor": spread([look.processor_s for look in found]),
        "processor_ratio": spread(worked) if worked else None,
        "pictures": found[0].delivered,
        "decoded": found[0].decoded,
        "gmacs": found[0].macs / 1e9,
    }


def matrix_peak(precision: Precision, device: torch.device) -> float:
    """Multiply-adds a second of one large matrix product, the best of a few."""
    kind = torch.bfloat16 if precision == "bf16" else torch.float32
    a, b = (torch.rand(_PEAK_SIDE, _PEAK_SIDE, device=device).to(kind) for _ in range(2))
    best = float("inf")
    for _ in range(_PEAK_TRIES):
        start = time.perf_counter()
        product = a @ b
        product[0, 0].item()  # on a GPU: until it is there
        best = min(best, time.perf_counter() - start)
    return float(_PEAK_SIDE**3 / best)


def floor(path: str | Path, look: Look, duration_s: float, peak: float) -> dict[str, Any]:
    """What a look must cost: decoding what it used, and its multiply-adds at the machine's best.

    Args:
        path: the file.
        look: at it, of a rival that hears a clip at each of its times.
        duration_s: of the file.
        peak: multiply-adds a second.
    """
    starts = [clip_start(t, duration_s) for t in look.times]
    least = least_decoding(path, look.times, [(s, s + CLIP_S) for s in starts])
    compute_s = look.macs / peak
    return {
        "pictures_s": least.pictures_s,
        "sounds_s": least.sounds_s,
        "compute_s": compute_s,
        "seconds": least.pictures_s + least.sounds_s + compute_s,
        "picture_packets": least.picture_packets,
        "sound_packets": least.sound_packets,
    }


def build_rivals(names: Sequence[str], setting: Setting, warm: str | Path) -> dict[str, Rival]:
    """Rivals by name, each of which has looked at the file ``warm`` once."""
    found = {name: RIVALS[name].build(setting) for name in names}
    for rival in found.values():
        rival.look(warm)
    return found


def is_ours(rival: Rival) -> bool:
    """Whether a rival is a system of ours."""
    return isinstance(rival, Ours)


# ---- one process, one rival: start-up and memory ----


def memory_mb(key: str) -> float | None:
    """Megabytes of this process now (``VmRSS``) or at their peak (``VmHWM``); None: not told here."""
    try:
        text = Path("/proc/self/status").read_text(encoding="ascii")
    except OSError:
        return _peak_mb() if key == "VmHWM" else None
    return next((int(line.split()[1]) / 1024 for line in text.splitlines() if line.startswith(key)), None)


def _peak_mb() -> float | None:
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def forget_peak() -> None:
    """Let the peak of memory begin anew, where the system can (Linux)."""
    if os.access("/proc/self/clear_refs", os.W_OK):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def alone(path: str | Path, name: str, make: Callable[[], Setting]) -> dict[str, Any]:
    """What one rival takes in this process, which has loaded nothing yet but torch: start-up and memory."""
    start = time.perf_counter()
    rival = RIVALS[name].build(make())
    loaded = time.perf_counter()
    before = memory_mb("VmRSS")
    forget_peak()
    rival.look(path)
    return {
        "rival": name,
        "load_s": loaded - start,
        "first_look_s": time.perf_counter() - loaded,
        "before_mb": before,
        "peak_mb": memory_mb("VmHWM"),
    }
