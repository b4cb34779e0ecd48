"""``avglance selftest MODEL``: whether a model answers here as it did where it was made."""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import TYPE_CHECKING, Any

from avglance.app.render import Ink, clean, duration
from avglance.errors import ArgumentError

if TYPE_CHECKING:
    from avglance.systems.selftest import Answer
    from avglance.systems.store import LoadedModel

SAME, OTHER = 0, 4
EPILOG = """The model answers for the clip of the package on the CPU; its scores, saliency, moments and boxes
must be those that training stored in its folder, to 0.001. Checksums of the folder are checked first.
Exit code: 0 the same, 4 something differs, nothing is stored, or the model cannot be loaded."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``avglance selftest``."""
    parser.epilog = EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("model", metavar="MODEL", help="shipped model or model folder")
    parser.add_argument(
        "--record", action="store_true", help="store what it answers here: for a model known to be right"
    )
    parser.add_argument("--force", action="store_true", help="with --record: replace what is stored")
    parser.add_argument("--json", action="store_true", help="one JSON object")


def run(args: argparse.Namespace) -> int:
    """Answer, compare (or store), say what differs; the exit code."""
    from avglance.app.api import find_model
    from avglance.systems import selftest, store
    from avglance.systems.folder import SELFTEST

    if args.force and not args.record:
        raise ArgumentError("--force is for --record", where="selftest")
    begun, folder = time.perf_counter(), find_model(args.model)
    if args.record and (folder / SELFTEST).exists() and not args.force:
        hint = "`avglance selftest MODEL` compares with it; --force replaces it"
        raise ArgumentError("an answer is stored already", where=str(folder), hint=hint)
    if args.record:
        selftest.record(folder)
    model = store.load_model(folder)
    old = selftest.stored(model)
    new = selftest.answer(model.system, model.classes, old.looks)
    found = outcome(model, old, new, time.perf_counter() - begun)
    print(json.dumps(found) if args.json else text(found, Ink(sys.stdout)))
    return SAME if found["passed"] else OTHER


def outcome(model: LoadedModel, old: Answer, new: Answer, seconds: float) -> dict[str, Any]:
    """What the test found, as plain values."""
    from avglance.systems import selftest

    differing = selftest.differences(old, new)
    return {
        "model": str(model.card.get("name") or model.folder.name),
        "folder": str(model.folder),
        "weights_sha256": model.sha256,
        "passed": not differing,
        "differences": [{"of": one.of, "text": one.text} for one in differing],
        "largest": selftest.largest(old, new) if old.scores.keys() == new.scores.keys() else None,
        "tolerance": selftest.TOLERANCE,
        "looks": old.looks,
        "scores": len(old.scores),
        "moments": len(old.moments_s),
        "versions": {"stored": old.versions, "here": new.versions},
        "seconds": round(seconds, 2),
    }


def text(found: dict[str, Any], ink: Ink) -> str:
    """What the test found, for a person."""
    name = clean(found["model"], 100)
    if found["passed"]:
        said = f"{found['scores']} scores (largest difference {found['largest']:.1g}), "
        said += f"{found['moments']} moments, {duration(found['seconds'])}"
        return f"{name}: {ink('answers as stored', 'green')}: {said}"
    lines = [f"{name}: {ink('does not answer as stored', 'red')} (by more than {found['tolerance']:g})"]
    lines += [f"  {one['of']}: {clean(one['text'], 1000)}" for one in found["differences"]]
    old, here = found["versions"]["stored"], found["versions"]["here"]
    other = [f"{n} {v} there, {here.get(n) or 'none'} here" for n, v in old.items() if v != here.get(n)]
    told = ", ".join(other) or "the same: weights or classes were changed, or the processor counts otherwise"
    return "\n".join([*lines, f"  libraries: {clean(told, 500)}"])
