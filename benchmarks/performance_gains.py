"""What each thing that makes an answer quicker gave: with it and without it, in turn, in one process or two.

Seconds are those of the processor, which other work on the machine disturbs least.
"""

from __future__ import annotations

import contextlib
import copy
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import av
import torch
from torch import nn

from avglance.media import sound
from avglance.parts.fold import folded
from avglance.parts.short import ShortCell, ShortLinear
from avglance.systems import build
from avglance.systems.base import System
from avglance.systems.encoders import Brief, encoders_of, probe_of, quick, quicken
from avglance.views import FileView, onefile

COUNT = """
import sys, time, torch
from torch.utils.flop_counter import FlopCounterMode
from avglance.parts.meter import count_macs
net, x = torch.nn.Linear(8, 8), torch.rand(1, 8)
start = time.process_time()
if sys.argv[1] == "before":
    with torch.no_grad(), FlopCounterMode(display=False): net(x)
else:
    count_macs(net, x)
print(time.process_time() - start)
"""
BUSY = "while True: pass"
NETS = """
import sys, time, torch
from avglance.systems import build
from avglance.systems.encoders import quicken
torch.set_num_threads(2)
system = build("avgn", classes=200).eval()
quicken(system, "bf16")
pictures = torch.zeros(16, 3, 224, 224, dtype=torch.uint8)
with torch.inference_mode():
    system.encode_picture(pictures)
    start = time.perf_counter()
    for _ in range(3): system.encode_picture(pictures)
print((time.perf_counter() - start) / 3)
"""

PIECES = """
import sys, time, numpy as np, torch
from avglance.systems import build
from avglance.systems.encoders import quicken
from avglance.views import sound
if sys.argv[1] == "before":
    sound.product = np.matmul
torch.set_num_threads(2)
system = build("avgn", classes=200).eval()
quicken(system, "bf16")
pictures = torch.zeros(16, 3, 224, 224, dtype=torch.uint8)
samples = np.zeros((16, sound.CLIP_SAMPLES), np.float32)
with torch.inference_mode():
    for turn in range(4):
        if turn == 1: start = time.perf_counter()
        sound.logmel(samples)
        system.encode_picture(pictures)
print((time.perf_counter() - start) / 3)
"""


@dataclass(frozen=True)
class Gain:
    """One thing that was done: what is timed without it and with it."""

    what: str
    of: str
    before: Callable[[], float]
    after: Callable[[], float]
    clock: str = "processor"


def measured(file: Path, warm: Path, *, rounds: int) -> list[dict[str, Any]]:
    """Both ways of each, round by round in turn."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    found = []
    for gain in [*_of_processes(), *_of_reading(file, warm), *_of_networks(), *_of_answers(file)]:
        pairs = [(gain.before(), gain.after()) for _ in range(rounds)]
        before, after = zip(*pairs, strict=True)
        found.append(
            {
                "what": gain.what,
                "of": gain.of,
                "clock": gain.clock,
                "before_s": statistics.median(before),
                "after_s": statistics.median(after),
                "ratio": statistics.median(b / a for b, a in pairs),
                "ratios": [b / a for b, a in pairs],
            }
        )
        print(json.dumps(found[-1]), file=sys.stderr, flush=True)
    return found


def spent(work: Callable[[], object]) -> float:
    """Seconds of the processor."""
    start = time.process_time()
    work()
    return time.process_time() - start


def taken(work: Callable[[], object]) -> float:
    """Seconds on the wall: where threads are the gain, those of the processor say little."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


# ---- processes ----


def _of_processes() -> list[Gain]:
    def child(code: str, *words: str, **environment: str) -> float:
        done = subprocess.run(
            [sys.executable, "-c", code, *words], env={**os.environ, **environment}, capture_output=True,
            text=True, check=True,
        )  # fmt: skip
        return float(done.stdout)

    def beside(policy: str) -> float:
        other = subprocess.Popen([sys.executable, "-c", BUSY])
        try:
            return child(NETS, OMP_WAIT_POLICY=policy, OMP_NUM_THREADS="2")
        finally:
            other.kill()
            other.wait()

    return [
        Gain(
            "multiply-adds are counted without torch's compiler", "the first answer of a process",
            lambda: child(COUNT, "before"), lambda: child(COUNT, "after"),
        ),
        Gain(
            "threads that wait sleep", "16 glances in bf16, two threads, beside one other busy process",
            lambda: beside("active"), lambda: beside("passive"), "clock",
        ),
        Gain(
            "products in pieces, for which BLAS wakes no thread", "16 log-mels and 16 glances in bf16",
            lambda: child(PIECES, "before"), lambda: child(PIECES, "after"), "clock",
        ),
    ]  # fmt: skip


# ---- reading ----


def _of_reading(file: Path, warm: Path) -> list[Gain]:
    settings = replace(build("avgn", classes=200).view_settings, grid="keyframe")
    every = [(0, t) for t in range(settings.snippets)]

    def pictures(grid: str, clock: Callable[..., float] = spent) -> float:
        with FileView([file], replace(settings, grid=grid), threads=1) as view:
            return clock(lambda: view.pictures(every))

    def sounds(clock: Callable[..., float] = spent) -> float:
        with FileView([file], settings, threads=1) as view:
            return clock(lambda: view.sounds(every))

    def with_pools(place: Any, name: str, value: Any, work: Callable[[], float]) -> float:
        with _changed(place, name, value):
            return work()

    with FileView([warm], settings) as view:
        view.pictures(every)
        view.sounds(every)
    return [
        Gain("keyframes in place of exact seeks", "16 pictures of 720p",
             lambda: pictures("exact"), lambda: pictures("keyframe")),
        Gain("sound is resampled in larger pieces, pictures stepped over", "16 sounds of 720p",
             lambda: _in_pieces(sounds), sounds),
        Gain("pictures shrink before they have colours", "16 pictures of 720p",
             lambda: with_pools(onefile, "shrinks_to", lambda *_: None, lambda: pictures("keyframe")),
             lambda: pictures("keyframe")),
        Gain("no threads are started for a second of sound", "16 sounds of 720p",
             lambda: with_pools(sound, "Resampler", _ThreadedResampler, lambda: sounds(taken)),
             lambda: sounds(taken), "clock"),
    ]  # fmt: skip


class _ThreadedResampler:
    """``Resampler`` with the threads that libav starts."""

    def __init__(self, rate_hz: int) -> None:
        self._resampler = av.AudioResampler(format="flt", layout="mono", rate=rate_hz)

    def take(self, frame: Any) -> list[Any]:
        return [out.to_ndarray().reshape(-1) for out in self._resampler.resample(frame)]


def _in_pieces(work: Callable[[], float]) -> float:
    """The work with sound resampled frame by frame, and all packets read."""
    with _changed(sound, "_CHUNK_S", 0.0), _changed(sound, "_leave_out_others", lambda *_: None):
        return work()


@contextlib.contextmanager
def _changed(place: Any, name: str, value: Any) -> Iterator[None]:
    kept = getattr(place, name)
    setattr(place, name, value)
    try:
        yield
    finally:
        setattr(place, name, kept)


# ---- networks ----


def _of_networks() -> list[Gain]:
    system = build("avgn", classes=200).eval()
    gains = _of_large_layers(system)
    for sense, side, rows in (("picture", 224, 16), ("focus", 128, 4)):
        gains += _of_encoder(system, sense, side, rows)
    return gains


def _of_encoder(system: System, sense: str, side: int, count: int) -> list[Gain]:
    plain = encoders_of(system)[sense]
    row = probe_of(plain, sense, side=side)
    rows = row.expand(count, *row.shape[1:]).contiguous()
    fold = folded(plain, row[..., :64, :64])
    brief = Brief(copy.deepcopy(fold))
    ready = quick(copy.deepcopy(plain), sense, "bf16", side=side)
    name = {"picture": "MobileNetV2, 16 glances of 224", "focus": "ResNet-50, 4 patches of 128"}[sense]

    def run(net: nn.Module) -> Callable[[], float]:
        return lambda: spent(lambda: net(rows))

    def turned() -> float:  # weights turned at every call, as autocast does by itself
        with torch.autocast("cpu", torch.bfloat16):
            return spent(lambda: fold(rows))

    with torch.inference_mode():
        for net in (plain, fold, brief, ready):
            net(rows)

    ways = [
        ("batch norm folded into the convolutions", run(plain), run(fold)),
        ("bf16 in place of float32", run(fold), run(brief)),
        ("weights that are bf16 for good, not at every call", turned, run(brief)),
        ("weights laid out once, activations on the way", run(brief), run(ready)),
    ]
    return [Gain(what, name, _without_gradients(a), _without_gradients(b)) for what, a, b in ways]


def _of_large_layers(system: Any) -> list[Gain]:
    """The policy's cell four times and the answer's first layer, as both precisions have them."""
    cell, mix = system.policy.memory, system.classifier.mix
    features, state = torch.rand(4, mix.in_features), torch.rand(1, cell.hidden_size)

    def run(cell: nn.Module, mix: nn.Module) -> Callable[[], float]:
        def work() -> None:
            mix(features)
            for _ in range(4):
                cell(state, state)

        return _without_gradients(lambda: spent(work))

    short = run(ShortCell(cell), ShortLinear(mix.weight, mix.bias))
    return [Gain("large layers in bf16", "the policy's memory, the fusion; 4 moments", run(cell, mix), short)]


def _without_gradients(work: Callable[[], float]) -> Callable[[], float]:
    def inside() -> float:
        with torch.inference_mode():
            return work()

    return inside


# ---- the whole way ----


def _of_answers(file: Path) -> list[Gain]:
    """From the file to the answer, with a decoder beside the networks and without."""
    system = build("avgn", classes=200).eval()
    quicken(system, "bf16")
    settings = replace(system.view_settings, grid="keyframe")

    def answer() -> None:
        with FileView([file], settings) as view, torch.inference_mode():
            system.recognise(view, 4)

    def alone() -> float:
        with _changed(FileView, "expect_pictures", lambda *_: None):
            return taken(answer)

    answer()
    what = "pictures are decoded beside the sound and the glances"
    return [Gain(what, "an answer, networks with one thread", alone, lambda: taken(answer), "clock")]
