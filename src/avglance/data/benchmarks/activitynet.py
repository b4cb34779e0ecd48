"""ActivityNet 1.3: one JSON file, whose ``database`` has for each video its subset and annotations.

An annotation is a label and a segment in seconds; a video has several. Files are called ``v_ID`` (or ``ID``).
The labels of the testing subset are not published: its videos are left out. Segments that are empty or
backwards (there are some) lose their place, not their label.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from avglance.data.benchmarks.listed import Listed, Listing, Part, only_classes
from avglance.data.rows import check_label, is_span, split_name
from avglance.errors import DataError


def read(kind: str, files: Sequence[Path], classes: Sequence[str]) -> Listing:
    """The videos of the published annotations.

    Raises:
        DataError: there is not one file, or it is something else.
    """
    if len(files) != 1:
        raise DataError(f"{kind} has one file of annotations, got {len(files)}", where="import")
    where = str(files[0])
    try:
        found = json.loads(files[0].read_bytes())
        database = found["database"]
        rows = [(str(name), row["subset"], row["annotations"]) for name, row in database.items()]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        hint = (
            'it needs {"database": {ID: {"subset": ..., "annotations": [{"label": ..., "segment": [s, e]}]}}}'
        )
        what = f"not the annotations of ActivityNet ({type(error).__name__}: {error})"
        raise DataError(what, where=where, hint=hint) from error
    videos, unlabelled, displaced = [], 0, 0
    for name, subset, told in rows:
        if not told:
            unlabelled += 1
            continue
        labels, parts = _annotated(told, f"{where}, {name}")
        displaced += len(told) - len(parts)
        split = split_name(str(subset))
        videos.append(Listed(name, (f"v_{name}", name), labels, split, parts))
    chosen = only_classes(videos, classes, where) if classes else tuple(videos)
    notes = [f"{unlabelled} videos have no published labels"] if unlabelled else []
    notes += [f"{displaced} segments are empty or backwards: only their labels are kept"] if displaced else []
    names = sorted({label for video in chosen for label in video.labels})
    version = re.search(r"\d+(\.\d+)*", str(found.get("version", "")))
    return Listing(f"{kind}-{version[0]}" if version else kind, chosen, tuple(names), tuple(notes))


def _annotated(annotations: Any, where: str) -> tuple[tuple[str, ...], tuple[Part, ...]]:
    """Labels and segments of a video."""
    labels, parts = [], []
    try:
        for one in annotations:
            label = check_label(one["label"], where)
            start_s, end_s = (float(value) for value in one["segment"])
            labels.append(label)
            if is_span(start_s, end_s):
                parts.append((start_s, end_s, label))
    except (TypeError, KeyError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError("an annotation needs a label and a segment [start, end]", where=where) from error
    return tuple(dict.fromkeys(labels)), tuple(parts)
