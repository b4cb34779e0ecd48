"""What frozen encoders say of a dataset, asked once before the first epoch in place of in each.

An epoch then takes seconds. What is lost: pictures are no longer moved at random, and patches lie on the
cells of the map alone (where the heat-map policy puts them anyway).
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from avglance.data.cache import CANDIDATES, CENTRE, Cache, draw_candidates
from avglance.errors import ArgumentError, DataError
from avglance.parts.clips import Clips
from avglance.systems.base import System
from avglance.systems.encoders import encoders_of
from avglance.training.batches import Batches
from avglance.training.machine import readers
from avglance.training.resume import load_state
from avglance.training.settings import Told, TrainSettings
from avglance.training.team import Team
from avglance.views import MEL_BANDS, MEL_FRAMES

VERSION = 1
ASKED = ("picture", "sound", "focus", "policy", "cells")
"""Settings on which it depends what encoders say, beside their weights and sizes."""
SWITCHED = ("see", "listens", "patch")
"""Switches on which that depends: a sense that is off says what stands for a missing one."""
AT_ONCE = 2  # videos a call of the encoders


def features_folder(system: System, cache: Cache, *, pictures: int, precision: str) -> Path:
    """Where features lie beside a cache: named by encoders, what they are asked, and that cache."""
    digest = hashlib.sha256()
    for encoder in encoders_of(system).values():
        for name, tensor in encoder.state_dict().items():
            digest.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
    view, s = system.view_settings, system.settings
    said = [getattr(s, name, None) for name in ASKED]
    said += [getattr(getattr(s, "switches", None), name, None) for name in SWITCHED]
    held = [VERSION, type(system).__name__, view.glance_side, view.patch_side, *said, pictures, precision]
    digest.update(json.dumps([*held, cache.folder.name]).encode())
    return cache.folder.parent / f"features-{digest.hexdigest()[:16]}"


def check_features(system: System) -> None:
    """Raises ArgumentError where encoders are not frozen: what they say changes from step to step."""
    awake = [sense for sense, part in encoders_of(system).items() if f"encode_{sense}" not in system.frozen]
    if awake:
        raise ArgumentError(
            f"features are kept of frozen encoders alone, and {' and '.join(awake)} will be trained",
            where="train",
            hint="--setting encoder_rate 0, or without --features",
        )


@torch.no_grad()
def build_features(
    system: System,
    cache: Cache,
    *,
    pictures: int,
    device: torch.device,
    precision: str = "float32",
    workers: int = 1,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> bool:
    """Asks a system's frozen encoders about all videos of a cache; what is there is not asked again.

    Args:
        system: on ``device``; its encoders are frozen.
        cache: of the dataset; features lie beside it.
        pictures: of each snippet: 1, the middle one, or 3, all from which training draws.
        device: where to compute.
        precision: "float32" or "bf16"; kept are 16 bits in either case.
        workers: threads that read.
        progress: called with (videos done, videos in all).

    Returns:
        True.

    Raises:
        ArgumentError: the system looks where it cannot be known before.
        DataError: an entry of the cache is damaged, or the folder cannot be written.
    """
    check_features(system)
    folder = features_folder(system, cache, pictures=pictures, precision=precision)
    todo = [n for n in range(len(cache)) if not _is_made(_entry(folder, cache, n), cache.source(n))]
    total = len(cache)
    progress(total - len(todo), total)
    was_training = system.training
    system.eval()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for done, (numbers, batches) in enumerate(_ahead(cache, todo, _candidates(pictures), workers), 1):
            with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
                known = [_known(system, clips.to(device)) for clips in batches]
            for row, n in enumerate(numbers):
                found = {name: torch.stack([one[name][row] for one in known]) for name in known[0]}
                _write(_entry(folder, cache, n), found, cache.source(n))
            progress(total - len(todo) + min(done * AT_ONCE, len(todo)), total)
    except OSError as error:
        hint = "make room, or name another place (--cache)"
        raise DataError(f"features cannot be written ({error})", where=str(folder), hint=hint) from error
    finally:
        system.train(was_training)
    return True


def _known(system: System, clips: Clips) -> dict[str, Tensor]:
    """Features in 16 bits, and what a batch needs beside them, by name: each (B, T, ...)."""
    found = {name: x.half() for name, x in system.know(clips).items()}
    return found | {"visible": clips.visible, "audible": clips.audible, "times": clips.times}


def _candidates(pictures: int) -> list[int]:
    return [CENTRE] if pictures == 1 else list(range(CANDIDATES))


def _ahead(
    cache: Cache, todo: list[int], candidates: list[int], workers: int
) -> Iterator[tuple[list[int], list[Clips]]]:
    """Numbers of a few videos, and a batch of them for each candidate picture; read ahead."""
    reading = Batches(cache, np.array(todo, dtype=np.int64), AT_ONCE, workers=workers)
    each = zip(*(reading.plain(candidate=c) for c in candidates), strict=True)
    for first, batches in zip(range(0, len(todo), AT_ONCE), each, strict=True):
        yield todo[first : first + AT_ONCE], list(batches)


def _entry(folder: Path, cache: Cache, i: int) -> Path:
    return folder / f"{cache.numbers[i]:07d}.safetensors"


def _is_made(entry: Path, source: str) -> bool:
    if not entry.is_file():
        return False
    try:
        with safe_open(entry, framework="numpy") as held:
            return bool(held.metadata()["source"] == source)
    except (SafetensorError, OSError, KeyError, TypeError):
        return False  # damaged, or of a video that has changed: made anew


def _write(entry: Path, found: dict[str, Tensor], source: str) -> None:
    part = entry.with_name(f"{entry.name}.{secrets.token_hex(8)}.part")
    try:
        save_file(
            {name: x.cpu().contiguous() for name, x in found.items()}, part, metadata={"source": source}
        )
        os.replace(part, entry)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


class FeatureCache(Cache):
    """A cache that hands out features; pictures and sounds are blank.

    Args:
        cache: of the dataset.
        folder: what ``build_features`` made of it.
    """

    def __init__(self, cache: Cache, folder: Path) -> None:
        super().__init__(cache.dataset, cache.settings, cache.folder.parent)
        self.features = folder

    def item(
        self,
        i: int,
        rng: np.random.Generator | None = None,
        *,
        translate_px: int = 0,
        candidate: int = CENTRE,
    ) -> dict[str, Any]:
        """As ``Cache.item``, with ``known``; nothing is moved, ``translate_px`` has no effect.

        Where the features are of the middle pictures alone, ``rng`` and ``candidate`` have none either.
        """
        entry = _entry(self.features, self, i)
        try:
            with safe_open(entry, framework="numpy") as held:
                found = {name: held.get_tensor(name) for name in held.keys()}  # noqa: SIM118
            visible, times = found.pop("visible"), found.pop("times")
            audible = found.pop("audible")[0]
        except (SafetensorError, OSError, KeyError) as error:
            raise DataError(
                f"features of {self.records[i].path} cannot be read ({error})",
                where=str(entry),
                hint="remove this file; the next training makes it again",
            ) from error
        if len(visible) == 1:
            drawn = np.zeros(visible.shape[1], dtype=np.int64), np.arange(visible.shape[1])
        else:
            snippets, numbers = draw_candidates(visible.T, rng, candidate)
            drawn = numbers, snippets
        T, side = visible.shape[1], self.settings.source_side
        return {
            "pictures": np.broadcast_to(np.uint8(0), (T, 3, side, side)),
            "sounds": np.broadcast_to(np.float32(0), (T, 1, MEL_FRAMES, MEL_BANDS)),
            "visible": visible[drawn],
            "audible": audible,
            "times": times[drawn],
            "targets": self.targets[i],
            "known": {name: array[drawn] for name, array in found.items()},
        }


def ask_once(
    system: System,
    kept: Sequence[Cache],
    settings: TrainSettings,
    team: Team,
    hear: Callable[[Told], None],
    *,
    state: Path | None = None,
) -> list[Cache]:
    """Caches that hand out what the encoders say; the first process asks them.

    ``state`` is that of a run that goes on: the model that its encoders came from is not read again.

    Raises:
        CheckpointError: the state is damaged or of another system.
    """
    if state is not None:
        load_state(state, system, [])
    how: dict[str, Any] = {"pictures": settings.features, "precision": settings.precision}
    found: list[Cache] = []
    for cache in kept:
        build = partial(build_features, system, cache, **how, device=team.device, workers=readers(team))
        team.ask_first(partial(build, progress=lambda done, total: hear(Told("features", done, total))))
        found.append(FeatureCache(cache, features_folder(system, cache, **how)))
    return found
