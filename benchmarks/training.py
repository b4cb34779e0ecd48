"""What an epoch of training is made of, and how far it is from the floor that its multiply-adds set.

    python benchmarks/training.py DATA --system avgn_nano [--precision bf16] [--steps 8] [--cache DIR]

Runs a few steps of the very loop that trains, on a dataset and its cache (made where it is missing), and
prints medians: the step of each stage by pieces (time inside a piece that is named itself is counted there
alone), what the reader does beside it on a thread of its own, and the epoch with validation and saved state.
A dataset of few steps an epoch waits more for its reader, which begins anew with each epoch. The floor is the
multiply-adds of a step (convolutions, matrix products and attention, forward and backward, as torch counts
them) over the fastest matrix product measured on this machine in the same precision and threads. On a GPU
every piece waits for the device, so the pieces add up, but to a little more than a step takes unwatched.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from avglance.data import cache as cache_room
from avglance.data.cache import Cache, build_cache
from avglance.data.records import read_dataset
from avglance.parts.clips import Clips
from avglance.systems import build
from avglance.systems.base import Stage
from avglance.training import TrainSettings
from avglance.training.allocator import keep_memory
from avglance.training.batches import Batches, split
from avglance.training.loop import Loop
from avglance.training.machine import accelerator_for, device_name, readers
from avglance.training.rates import set_rates
from avglance.training.resume import save_state
from avglance.training.team import Team
from avglance.training.validate import answers

WARM = 2  # steps before those that count
PARTS = {  # beginnings of the names of a system's parts -> the piece they belong to
    "encode_picture": "glance: picture encoder",
    "encode_sound": "glance: sound encoder",
    "encode_focus": "focus: encoder",
    "encode": "encoder",
    "no_": "glance: missing senses",
    "saliency": "choose: saliency",
    "attention": "aim: attention",
    "policy": "aim: policy",
    "classifier": "answer: classifier",
    "head": "answer: auxiliary heads",
}
FUNCTIONS = {"resize_torch": "glance: resize", "crop": "crop of patches"}  # of the systems' modules
WAIT, MOVE, REST, BACK, STEP, OTHER = (
    "waiting for the reader",
    "to the device",
    "losses, gathering",
    "backward",
    "optimiser",
    "the loop itself",
)


@dataclass
class Clock:
    """Seconds by name, each moment counted once: under the innermost name that runs."""

    device: torch.device
    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    running: list[str] = field(default_factory=list)
    last: float = 0.0

    def _turn(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        now = time.perf_counter()
        if self.running:
            self.seconds[self.running[-1]] += now - self.last
        self.last = now

    @contextmanager
    def named(self, name: str) -> Iterator[None]:
        self._turn()
        self.running.append(name)
        try:
            yield
        finally:
            self._turn()
            self.running.pop()

    def wrap(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **options: Any) -> Any:
            with self.named(name):
                return function(*args, **options)

        return timed

    def take(self) -> dict[str, float]:
        found, self.seconds = dict(self.seconds), defaultdict(float)
        return found


def watch_parts(clock: Clock, system: nn.Module) -> None:
    """Times every call of the system's direct parts (all their methods) and of the functions it uses."""
    for name, part in system.named_children():
        piece = next((said for begin, said in PARTS.items() if name.startswith(begin)), name)
        for inner in part.children() if isinstance(part, (nn.ModuleDict, nn.ModuleList)) else [part]:
            kinds = [kind for kind in type(inner).__mro__ if not kind.__module__.startswith("torch.nn")]
            own = {method for kind in kinds for method in vars(kind)} | {"forward"}
            for method in own:
                found = getattr(inner, method)
                if not method.startswith("_") and callable(found) and not isinstance(found, nn.Module):
                    setattr(inner, method, clock.wrap(piece, found))
    for name, module in list(sys.modules.items()):
        if name.startswith("avglance.systems"):
            for function, piece in FUNCTIONS.items():
                if hasattr(module, function):
                    setattr(module, function, clock.wrap(piece, getattr(module, function)))


def watch_loop(clock: Clock, loop: Loop) -> None:
    """Times what the loop calls: the losses, the way back, the way to the device."""
    watch_parts(clock, loop.system)
    loop.system.losses = clock.wrap(REST, loop.system.losses)
    loop.accelerator.backward = clock.wrap(BACK, loop.accelerator.backward)
    Clips.to = clock.wrap(MOVE, Clips.to)  # type: ignore[method-assign]
    torch.nn.utils.clip_grad_norm_ = clock.wrap(STEP, torch.nn.utils.clip_grad_norm_)


def begin(loop: Loop, stage: Stage) -> None:
    loop._begin_stage(stage)
    set_rates(loop.found, 0, 1000)  # small steps: weights that blow up would take other times


def steps_of(loop: Loop, clock: Clock, stage: Stage, count: int) -> list[dict[str, float]]:
    """Seconds by piece of ``count`` steps after those that warm up, each with the wait for its batch."""
    begin(loop, stage)
    for optimiser in loop.found:
        for name in ("step", "zero_grad"):
            setattr(optimiser, name, clock.wrap(STEP, getattr(optimiser, name)))
    found: list[dict[str, float]] = []
    epoch = loop.settings.epochs  # whatever the first epochs do otherwise is over
    ahead = loop.training.training(epoch)
    while len(found) < WARM + count:
        with clock.named(WAIT):
            clips = next(ahead, None)
        if clips is None:
            epoch += 1
            ahead = loop.training.training(epoch)
            continue
        with clock.named(OTHER):
            loop._step(clips, stage, epoch)
        loop.place = replace(loop.place, step=loop.place.step + 1)
        found.append(clock.take())
    return found[WARM:]


def reading(loop: Loop, count: int) -> list[dict[str, float]]:
    """Seconds by piece of reading ``count`` batches, one after the other, with nothing beside it."""
    clock, cache = Clock(torch.device("cpu")), loop.training.cache
    kept = cache_room.shift, Clips.stack
    cache_room.shift = clock.wrap("moving", cache_room.shift)
    Clips.stack = clock.wrap("collating", Clips.stack)  # type: ignore[method-assign]
    if hasattr(cache, "_pictures"):
        cache._pictures = clock.wrap("decoding pictures, or finding unpacked ones", cache._pictures)
    found = []
    for n in range(count + 1):
        rows = loop.training.indices[: loop.training.size].tolist()
        with clock.named("opening, sound, masks"):
            items = [loop.training._item(index, n) for index in rows]
        Clips.stack(items)
        found.append(clock.take())
    cache_room.shift, Clips.stack = kept  # type: ignore[method-assign]
    vars(cache).pop("_pictures", None)
    return found[1:]


def peak(device: torch.device, precision: str) -> float:
    """Multiply-adds a second of the fastest square matrix product."""
    kind = torch.bfloat16 if precision == "bf16" else torch.float32
    best = 0.0
    for side in (512, 1024, 2048) if device.type == "cpu" else (4096, 8192):
        a, b = (torch.randn(side, side, device=device).to(kind) for _ in range(2))
        for _ in range(6):
            clock = Clock(device)
            with clock.named("product"):
                a @ b
            best = max(best, side**3 / clock.seconds["product"])
    return best


def macs_of_step(loop: Loop, stage: Stage) -> int:
    begin(loop, stage)
    clips = next(loop.training.training(0))
    with FlopCounterMode(display=False) as counter:
        loop._step(clips, stage, loop.settings.epochs)
    return int(counter.get_total_flops()) // 2


def medians(rows: list[dict[str, float]]) -> dict[str, float]:
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: statistics.median(row.get(name, 0.0) for row in rows) for name in names}


def table(title: str, pieces: dict[str, float], whole: float) -> None:
    print(f"\n| {title} | seconds | share |\n|---|---|---|")
    for name, seconds in sorted(pieces.items(), key=lambda piece: -piece[1]):
        print(f"| {name} | {seconds:.4f} | {100 * seconds / whole:.1f} % |")
    print(f"| **together** | {sum(pieces.values()):.4f} | {100 * sum(pieces.values()) / whole:.1f} % |")


def make_loop(args: argparse.Namespace, out: Path) -> Loop:
    dataset = read_dataset(args.data)
    settings = TrainSettings(system=args.system, batch=args.batch, precision=args.precision)
    system = build(args.system, classes=len(dataset.classes))
    home = args.cache or dataset.folder / ".cache"
    build_cache(dataset, system.view_settings, home, workers=args.workers, unpack=args.unpack)
    cache = Cache(dataset, system.view_settings, home)
    training, held_out = split(cache.records, settings.validation, settings.seed)
    accelerator = accelerator_for(args.device)
    move = int(dataset.world.get("augment", {}).get("translate_px", 0))
    size = min(args.batch or system.stages()[0].batch, len(training))
    shared = {"translate_px": move, "workers": args.workers or readers(Team.of(accelerator))}
    k = max(1, round(system.max_k / 4))
    loop = Loop(
        system,
        accelerator,
        settings,
        out,
        training=Batches(cache, training, size, **shared),
        held_out=Batches(cache, held_out, size, **shared),
        k=k,
        save_s=1e9,
        tell=lambda told: None,
    )
    accelerator.prepare_model(system, evaluation_mode=True)
    return loop


def validation_s(loop: Loop) -> float:
    """Seconds of a validation, by the median of two batches of the held-out videos after a first one."""
    held = loop.held_out
    assert held is not None
    some = replace(held, indices=held.indices[: held.size])
    clock = Clock(loop.accelerator.device)
    rows = []
    for _ in range(3):
        with clock.named("validation"):
            answers(loop.system, some, loop.k, device=loop.accelerator.device)
        rows.append(clock.take()["validation"])
    return statistics.median(rows[1:]) * len(held.indices) / len(some.indices)


def report(loop: Loop, args: argparse.Namespace, out: Path) -> None:
    device, size, steps = loop.accelerator.device, loop.training.size, loop.training.steps
    macs, fastest = [macs_of_step(loop, stage) for stage in loop.stages], peak(device, args.precision)
    checked = validation_s(loop)
    start = time.perf_counter()
    save_state(out / "resume", loop.place, loop.system, loop.found)
    saved = time.perf_counter() - start
    beside = medians(reading(loop, min(args.steps, 3)))
    clock = Clock(device)
    watch_loop(clock, loop)
    print(
        f"{args.system} on {device_name(device)}, {torch.get_num_threads()} threads, {args.precision}, "
        f"{size} videos a step, {loop.training.workers} reading threads, median of {args.steps} steps"
    )
    print(f"Fastest matrix product: {fastest / 1e9:.0f} GMAC/s.")
    for stage, count in zip(loop.stages, macs, strict=True):
        rows = steps_of(loop, clock, stage, args.steps)
        step = statistics.median(sum(row.values()) for row in rows)
        table(f"a step of stage {stage.name}", medians(rows), step)
        floor = count / fastest
        print(
            f"\n{count / 1e9:.2f} GMACs a step, floor {floor:.3f} s: it takes {step / floor:.1f} times that."
        )
        parts = {"steps": steps * step, "validation": checked, "saved state": saved}
        table(f"an epoch of stage {stage.name}: {steps} steps", parts, sum(parts.values()))
    table("reading a batch, on its own threads", beside, sum(beside.values()))


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--system", default="avgn_nano")
    parser.add_argument("--precision", default="float32", choices=("float32", "bf16"))
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--batch", type=int)
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--unpack", action="store_true", help="as in `avglance train`")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--threads", type=int)
    parser.add_argument("--workers", type=int, help="that fill the cache and read it")
    args = parser.parse_args(arguments)
    keep_memory()
    if args.threads:
        torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory() as folder:
        report(make_loop(args, Path(folder)), args, Path(folder))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
