"""``avglance data check``: what may be wrong with a dataset, before hours of training."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avglance.app.render import Ink, Progress, clean
from avglance.errors import ArgumentError

if TYPE_CHECKING:
    from avglance.data.health import Finding, Health
    from avglance.data.records import Dataset, Record

SCHEMA = "avglance.data_check/1"
FINE, FOUND = 0, 6
SHOWN, FILES, CLASSES = 10, 3, 30  # findings of a kind, files of a finding, and classes in the table
WORDS = {
    "broken": "files that cannot be read",
    "damaged": "files that can be read in part only",
    "leak": "leaks between splits",
    "double": "files that are there several times",
    "missing_class": "classes that a split lacks",
    "tiny": "classes with very few videos",
    "past_end": "spans that end after their file",
}
HINTS = {
    "broken": "`avglance check FILE` says more; training leaves them out with --skip-broken",
    "damaged": "`avglance check FILE` says more",
    "leak": "what is learned by heart would be measured as if it were understood: keep one side",
    "double": "keep one of each; in one group (field group) they stay on one side when videos are held out",
    "missing_class": "it can be learned or measured, not both",
    "tiny": "more videos, or leave the class out",
    "past_end": "times are in seconds from the beginning of the file: look for another cut, or other units",
}
EPILOG = """Looked for: files that cannot be read (by their packets; --deep decodes them), exact doubles, the
same file or group in several splits, classes with fewer than 5 videos, classes that a split lacks, spans that
end after their file. Files without sound are counted; they are no mistake.
Exit code: 0 nothing found, 6 something found, 2 the dataset itself is wrong (a row that cannot be)."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``avglance data check``."""
    parser.epilog = EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("data", metavar="DATA", type=Path, help="dataset folder, folder of folders, or table")
    parser.add_argument("--deep", action="store_true", help="decode every file; takes long")
    parser.add_argument("--workers", type=int, metavar="W", help="files at once (default: one a core)")
    parser.add_argument("--json", action="store_true", help="one JSON object in place of the table")
    parser.add_argument("--quiet", action="store_true", help="no progress on stderr")


def run(args: argparse.Namespace) -> int:
    """Check, print what was found; the exit code."""
    if args.workers is not None and args.workers < 1:
        raise ArgumentError(f"--workers must be at least 1, got {args.workers}", where="data check")
    from avglance.data.health import check_dataset
    from avglance.data.records import read_dataset

    dataset = read_dataset(args.data)
    progress = Progress(len(dataset), quiet=args.quiet, live=not args.json)

    def step(path: Path, broken: bool) -> None:
        progress.start(str(path), time.monotonic())
        progress.end(failed=broken)

    found = check_dataset(dataset, deep=args.deep, workers=args.workers, progress=step)
    if args.json:
        print(json.dumps(plain(dataset, found, deep=args.deep), allow_nan=False), flush=True)
    else:
        print("\n".join(table(dataset, found, Ink(sys.stdout))), flush=True)
    return FOUND if found.findings else FINE


def plain(dataset: Dataset, found: Health, *, deep: bool) -> dict[str, Any]:
    """Everything as plain values."""
    return {
        "schema": SCHEMA,
        "data": {
            "folder": str(dataset.folder),
            "kind": dataset.kind,
            "sha256": dataset.sha256,
            "videos": len(dataset),
            "listed": dataset.listed,
            "label_mode": dataset.label_mode,
            "notes": list(dataset.notes),
        },
        "deep": deep,
        "splits": [part(name, dataset, found) for name in parts(dataset)],
        "classes": {name: dict(counts) for name, counts in found.classes.items()},
        "findings": [{"kind": f.kind, "text": f.text, "files": list(f.files)} for f in found.findings],
    }


def parts(dataset: Dataset) -> list[str]:
    """The splits, in the order of their first video; one without a name where there are none."""
    return list(dict.fromkeys(record.split for record in dataset.records))


def part(name: str, dataset: Dataset, found: Health) -> dict[str, Any]:
    """Videos, hours and files with sound of one split."""
    states = [s for r, s in zip(dataset.records, found.states, strict=True) if r.split == name]
    return {
        "split": name,
        "videos": len(states),
        "hours": round(sum(state.duration_s for state in states) / 3600, 4),
        "with_sound": sum(state.heard for state in states),
        "with_spans": sum(_has_spans(r) for r in dataset.records if r.split == name),
    }


def _has_spans(record: Record) -> bool:
    return record.truth is not None


def table(dataset: Dataset, found: Health, ink: Ink) -> list[str]:
    """Everything for a person, line by line."""
    listed = f"{len(dataset)} of {dataset.listed}" if dataset.listed else f"{len(dataset)}"
    name = clean(dataset.kind or dataset.folder.resolve().name)
    lines = [f"{ink(name, 'bold')}: {listed} videos, {dataset.labels_told}"]
    lines += [f"  {clean(note)}" for note in dataset.notes]
    lines.append(ink(f"  {'split':<14}{'videos':>8}{'hours':>8}{'sound':>8}{'spans':>8}", "cyan"))
    rest = "no split" if dataset.splits else "all"
    for one in (part(name, dataset, found) for name in parts(dataset)):
        cells = f"{one['videos']:>8}{one['hours']:>8.2f}{one['with_sound']:>8}{one['with_spans']:>8}"
        lines.append(f"  {clean(one['split'] or rest, 14):<14}{cells}")
    lines += _classes(dataset, found, ink)
    for kind in WORDS:
        if alike := [finding for finding in found.findings if finding.kind == kind]:
            lines += _kind(kind, alike, ink)
    return [*lines, "", f"found: {len(found.findings)}" if found.findings else "nothing found"]


def _classes(dataset: Dataset, found: Health, ink: Ink) -> list[str]:
    """The classes with their videos in each split, the smallest first."""
    splits = parts(dataset)
    rest = "no split" if dataset.splits else "videos"
    head = "".join(f"{clean(name or rest, 11):>12}" for name in splits)
    lines = [ink(f"  {'class':<30}{head}", "cyan")]
    ordered = sorted(found.classes.items(), key=lambda item: (item[1].total(), item[0]))
    for name, counts in ordered[:CLASSES]:
        lines.append(f"  {clean(name, 30):<30}" + "".join(f"{counts[split]:>12}" for split in splits))
    more = len(ordered) - CLASSES
    return lines + ([f"  ... and {more} larger ones"] if more > 0 else [])


def _kind(kind: str, findings: Sequence[Finding], ink: Ink) -> list[str]:
    """The findings of one kind, with what to do."""
    lines = ["", ink(f"{WORDS[kind]}: {len(findings)}", "red", "bold")]
    for one in findings[:SHOWN]:
        files = ", ".join(clean(name, 80) for name in one.files[:FILES])
        files += f" and {len(one.files) - FILES} more" if len(one.files) > FILES else ""
        lines.append(f"  {files}: {clean(one.text)}" if files else f"  {clean(one.text)}")
    more = len(findings) - SHOWN
    lines += [f"  ... and {more} more (all with --json)"] if more > 0 else []
    return [*lines, f"  hint: {HINTS[kind]}"]
