"""Run folders and evaluations with planted hits, as ``avglance train`` and ``avglance eval`` leave them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

DATA = hashlib.sha256(b"held out").hexdigest()
STAGES = {"glance": 0.2, "focus": 0.05, "answer": 0.01}


def evaluation(hits: Sequence[bool | None], **changes: Any) -> dict[str, Any]:
    """What ``avglance eval --out`` writes, of videos with these hits; ``settings`` are merged.

    Dotted names change what lies inside: ``evaluation(hits, **{"data.sha256": "..."})``.
    """
    known = [hit for hit in hits if hit is not None]
    found: dict[str, Any] = {
        "schema": "avglance.evaluation/1",
        "model": {"name": "made_up", "system": "avgn_nano", "weights_sha256": "aa" * 32},
        "data": {"kind": "glanceworld", "sha256": DATA, "videos": len(hits)},
        "device": "cpu",
        "settings": {
            "budget": 4,
            "batch": 16,
            "control": "none",
            "limit": None,
            "workers": 1,
            "seed": 0,
            "snippets": 16,
        },
        "videos": len(hits),
        "failed": 0,
        "failures": [],
        "top1": sum(known) / len(known) if known else None,
        "moment_recall": 0.9,
        "patch_hit": 0.8,
        "span_iou": 0.7,
        "gmacs": STAGES | {"total": sum(STAGES.values())},
        "seconds": {"decode": 0.1, "glance": 0.05, "total": 0.15},
        "rows": [row(f"/somewhere/test/videos/{n:04d}.mp4", hit) for n, hit in enumerate(hits)],
    }
    for name, value in changes.items():
        outer, _, inner = name.rpartition(".")
        (found[outer] if outer else found)[inner] = value
    return found


def row(video: str, hit: bool | None) -> dict[str, Any]:
    """One video's row, as far as a comparison reads it."""
    return {"video": video, "verdict": "ok", "hit1": hit, "moment_recall": 0.9}


def write(path: Path, found: dict[str, Any]) -> Path:
    """A JSON file, and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found))
    return path


def make_run(
    folder: Path,
    *evaluations: dict[str, Any],
    seed: int = 0,
    epochs: int = 3,
    top1: Sequence[float] = (0.1, 0.4, 0.5),
    weights: str = "",
    **settings: Any,
) -> Path:
    """A run folder of 100 steps an epoch and a second a step, with evaluations ``eval_0.json`` and so on.

    Args:
        folder: where.
        evaluations: what lies in it.
        seed: of the training.
        epochs: that were asked for.
        top1: of the held-out videos after each epoch that is done.
        weights: checksum of the model; empty: one of its own.
        settings: of the training.
    """
    weights = weights or hashlib.sha256(str(folder).encode()).hexdigest()
    card = {
        "command": "avglance train DATA",
        "settings": {"system": "avgn_nano", "changes": {}, "epochs": epochs, "seed": seed} | settings,
        "system_settings": {"snippets": 16, "switches": {"hear_choose": True}},
        "seed": seed,
        "data": {"sha256": "cc" * 32},
    }
    write(folder / "run.json", card)
    lines: list[dict[str, Any]] = []
    for epoch, value in enumerate(top1):
        for step in (100 * epoch + 50, 100 * epoch + 100):
            loss = 3.0 - step / 200
            lines.append({"kind": "train", "step": step, "epoch": epoch, "loss": loss, "seconds": 1.0 * step})
        shown = {"top1": value, "moment_recall": min(1.0, value + 0.2), "patch_hit": min(1.0, value + 0.1)}
        lines.append({"kind": "validation", "step": 100 * epoch + 100, "epoch": epoch, "k": 4, **shown})
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    if len(top1) == epochs:
        write(folder / "model" / "checksums.json", {"model.safetensors": weights})
    for n, found in enumerate(evaluations):
        found["model"] = found["model"] | {"weights_sha256": weights}
        write(folder / f"eval_{n}.json", found)
    return folder


def hits_of(right: int, videos: int) -> list[bool]:
    """The first so many right, the others wrong."""
    return [n < right for n in range(videos)]
