"""What may be wrong with a dataset before anybody trains on it: files, doubles, leaks, classes, spans."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from avglance.data.records import TRAIN, Dataset, Record
from avglance.errors import ArgumentError
from avglance.media import CheckReport, Decoders, check
from avglance.types import UNKNOWN

Kind = Literal["broken", "damaged", "leak", "double", "tiny", "missing_class", "past_end"]
FEWEST = 5  # videos of a class, below which neither learning nor measuring it means much
_NICE = 10
_SLACK_S = 1.0  # a span may end so much after its file: lists round
_BLOCK = 1 << 20


@dataclass(frozen=True)
class FileState:
    """What is known of one file: its hash is taken only where another one is as long.

    Attributes:
        verdict: ``ok``, ``degraded`` or ``failed``.
        why: what is wrong; empty where nothing is.
        duration_s: its length; 0 where it is not known.
        heard: whether it declares sound.
        sha256: of its bytes, or empty.
    """

    verdict: str
    why: str
    duration_s: float
    heard: bool
    sha256: str = ""


@dataclass(frozen=True)
class Finding:
    """One thing that may be wrong: its kind, a sentence, and the files that it is about."""

    kind: Kind
    text: str
    files: tuple[str, ...] = ()


@dataclass(frozen=True)
class Health:
    """A dataset's findings, the states of its files in the order of its records, and its classes by split."""

    findings: tuple[Finding, ...]
    states: tuple[FileState, ...]
    classes: dict[str, Counter[str]]


def check_dataset(
    dataset: Dataset,
    *,
    deep: bool = False,
    workers: int | None = None,
    progress: Callable[[Path, bool], None] | None = None,
) -> Health:
    """Looks at every file, and at what the dataset says of them.

    Args:
        dataset: all of it, with its splits.
        deep: decode the files, in place of reading their packets.
        workers: files looked at at once; None: one a core.
        progress: called with each file when it was looked at, and whether it is broken.

    Raises:
        ArgumentError: ``workers`` is below 1.
        DataError: a truth file is wrong.
    """
    count = workers if workers is not None else min(os.cpu_count() or 1, 16)
    if count < 1:
        raise ArgumentError(f"workers={count} is below 1", where="check_dataset")
    for record in dataset.records:
        _ = getattr(record.truth, "span", None)  # a wrong truth file is told now, not after hours
    sizes = Counter(_size(record.path) for record in dataset.records)
    twins = {size for size, files in sizes.items() if size and files > 1}
    states = []
    with contextlib.ExitStack() as stack:
        decoders = stack.enter_context(Decoders())
        pool = ThreadPoolExecutor(min(count, len(dataset)), thread_name_prefix="check", initializer=_be_nice)
        stack.callback(pool.shutdown, cancel_futures=True)
        look = functools.partial(_look, deep=deep, decoders=decoders, twins=twins)
        for record, state in zip(dataset.records, pool.map(look, dataset.records), strict=True):
            states.append(state)
            if progress is not None:
                progress(record.path, state.verdict == "failed")
    classes = {name: Counter[str]() for name in dataset.classes}
    for record in dataset.records:
        for label in record.labels:
            classes[label][record.split] += 1
    found = [*_files(dataset, states), *_doubles(dataset, states), *_group_leaks(dataset)]
    found += [*_few(dataset, classes), *_past_end(dataset, states)]
    return Health(tuple(found), tuple(states), classes)


def _be_nice() -> None:
    """Let whatever else runs go first; the decoding processes that a thread starts inherit it."""
    if sys.platform == "linux":  # elsewhere it would hold for the whole process, and for ever
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, 0, min(os.getpriority(os.PRIO_PROCESS, 0) + _NICE, 19))


def _size(path: Path) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return 0


def _look(record: Record, *, deep: bool, decoders: Decoders, twins: set[int]) -> FileState:
    def opener(*args: object, **options: object) -> object:
        return decoders.open(*args, **(options | {"threads": 1}))  # type: ignore[arg-type]  # passed on as they are

    report: CheckReport = check(record.path, quick=not deep, opener=opener)  # type: ignore[arg-type]
    sha256 = _hash(record.path) if _size(record.path) in twins else ""
    seen = report.info
    return FileState(
        verdict=report.condition.verdict,
        why=_why(report),
        duration_s=seen.duration_s if seen is not None else 0.0,
        heard=seen is not None and seen.has_audio and report.condition.audio != "absent",
        sha256=sha256,
    )


def _why(report: CheckReport) -> str:
    if report.failure is not None:
        return f"{report.failure.kind}: {report.failure.message}"
    if report.condition.verdict == "ok":
        return ""
    return "; ".join(dict.fromkeys(f"{r.kind}: {r.text}" for r in report.condition.reasons))


def _hash(path: Path) -> str:
    """Of the whole file; empty where it cannot be read, which the check says."""
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            while block := file.read(_BLOCK):
                digest.update(block)
    except OSError:
        return ""
    return digest.hexdigest()


def _files(dataset: Dataset, states: Sequence[FileState]) -> Iterator[Finding]:
    kinds: dict[str, Kind] = {"failed": "broken", "degraded": "damaged"}
    for record, state in zip(dataset.records, states, strict=True):
        if state.verdict in kinds:
            yield Finding(kinds[state.verdict], state.why, (dataset.name(record),))


def _doubles(dataset: Dataset, states: Sequence[FileState]) -> Iterator[Finding]:
    """Files of the same bytes: across splits they leak, with other labels one is wrong."""
    alike: dict[str, list[Record]] = {}
    for record, state in zip(dataset.records, states, strict=True):
        if state.sha256:
            alike.setdefault(state.sha256, []).append(record)
    for records in (found for found in alike.values() if len(found) > 1):
        files = tuple(dataset.name(record) for record in records)
        splits = sorted({record.split for record in records})
        same = len({frozenset(record.labels) for record in records}) == 1
        labels = "" if same else f", with different labels ({_told(records)})"
        if len(splits) > 1:
            yield Finding("leak", f"one file in {' and '.join(map(_split, splits))}{labels}", files)
        else:
            yield Finding("double", f"the same file {len(files)} times{labels}", files)


def _told(records: Sequence[Record]) -> str:
    return ", ".join(dict.fromkeys("+".join(record.labels) or UNKNOWN for record in records))


def _split(name: str) -> str:
    return name or "no split"


def _group_leaks(dataset: Dataset) -> Iterator[Finding]:
    groups: dict[str, list[Record]] = {}
    for record in dataset.records:
        if record.group:
            groups.setdefault(record.group, []).append(record)
    for name, records in groups.items():
        splits = sorted({record.split for record in records})
        if len(splits) > 1:
            files = tuple(dataset.name(record) for record in records)
            yield Finding("leak", f"group {name} is in {' and '.join(map(_split, splits))}", files)


def _few(dataset: Dataset, classes: dict[str, Counter[str]]) -> Iterator[Finding]:
    """Classes with too few videos to learn from, and those that a split lacks."""
    learns = TRAIN if TRAIN in dataset.splits else None
    if not classes:
        yield Finding("tiny", "no video shows a class")
    for name, counts in classes.items():
        here = counts.total() if learns is None else counts[learns]
        lacking = [split for split in dataset.splits if not counts[split]]
        if lacking:
            yield Finding("missing_class", f"{name} has no video in {' and '.join(lacking)}")
        if here < FEWEST and learns not in lacking:
            videos = f"{here} video{'s' * (here != 1)}"
            yield Finding("tiny", f"{name} has {videos}{' to train on' if learns else ''}")


def _past_end(dataset: Dataset, states: Sequence[FileState]) -> Iterator[Finding]:
    """Spans that end after their file: of another cut, or in other units than seconds."""
    for record, state in zip(dataset.records, states, strict=True):
        if (
            record.truth is not None
            and state.duration_s
            and record.truth.span[1] > state.duration_s + _SLACK_S
        ):
            end_s = record.truth.span[1]
            what = f"a span ends at {end_s:g} s, the file after {state.duration_s:.1f} s"
            yield Finding("past_end", what, (dataset.name(record),))
