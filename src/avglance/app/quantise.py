"""Encoders in 8 bits: the graphs of an exported model with their convolutions quantised.

Weights get a scale a channel; activations get one a tensor, from the least and the largest that are met while
the model answers for some files. onnxruntime writes the graphs in the form (quantise, dequantise) that both
runtimes compute in whole numbers where the processor can. What chooses, aims and answers stays as it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avglance.app.answer import raise_failure
from avglance.errors import ArgumentError
from avglance.runtime import Host, LoadedGraphs
from avglance.runtime.graph import Graph
from avglance.views import FileView

MOST_ROWS = 384
"""Rows of each graph that are kept, about, evenly of all files."""
MOST_FILES = 192
"""Files that are asked, evenly of those named: more of them say no more."""
LEAST_FILES = 8
"""Below it what is met says little of what is not."""
LEAST_COSINE = 0.98
"""Between what an encoder gives in 8 bits and in float32, the mean over rows of its worst output. One that is
below stays as it was: where a few values are much larger than the rest, 8 bits are too few for the others."""
_LOOKS = 4


@dataclass
class Seen:
    """What the encoders were given, by graph, and the class that came first for each file."""

    rows: dict[str, list[dict[str, NDArray[Any]]]] = field(default_factory=dict)
    labels: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Brief:
    """What became of a model in 8 bits.

    Attributes:
        cosine: of each encoder, see ``LEAST_COSINE``.
        graphs: the encoders that are in 8 bits.
        same: of how many files the label is the same.
        files: how many there were.
    """

    cosine: dict[str, float]
    graphs: tuple[str, ...]
    same: int
    files: int


def check_files(files: Sequence[Path]) -> list[Path]:
    """The files to be asked, each once; too few of them, and those that are not there, before any work.

    Raises:
        ArgumentError: there are too few, or one is not there.
    """
    for file in files:
        if not file.is_file():
            what = "there is no file in it" if file.is_dir() else "there is no such file"
            raise ArgumentError(what, where=str(file), hint="name videos, or folders that hold them")
    each = list({file.resolve(): file for file in files}.values())
    if len(each) < LEAST_FILES:
        what = (
            f"it takes {LEAST_FILES} different files to say what the encoders will be given, got {len(each)}"
        )
        raise ArgumentError(what, where="--int8", hint="name some tens, of all classes")
    at = np.unique(np.linspace(0, len(each) - 1, min(len(each), MOST_FILES)).round().astype(int))
    return [each[n] for n in at.tolist()]


def seen_in(loaded: LoadedGraphs, files: Sequence[Path]) -> Seen:
    """What a model's encoders are given while it answers for these files.

    Raises:
        MediaError: one cannot be read.
    """
    found, each = Seen(), max(1, MOST_ROWS // len(files))
    for graph in loaded.system.encoders.values():
        kept = found.rows.setdefault(graph.name, [])
        graph.watch = lambda rows, kept=kept: kept.append(_some(rows, each))
    try:
        found.labels = labels_of(loaded.system, files)
    finally:
        for graph in loaded.system.encoders.values():
            graph.watch = None
    for name, calls in found.rows.items():
        count = sum(len(next(iter(rows.values()))) for rows in calls)
        found.rows[name] = calls[:: max(1, -(-count // MOST_ROWS))]
    return found


def labels_of(system: Host, files: Sequence[Path]) -> list[int]:
    """The class that comes first for each file, with the usual number of looks.

    Raises:
        MediaError: one cannot be read.
    """
    labels = []
    for file in files:
        with FileView([file], system.view_settings) as view:
            raise_failure(view, str(file))
            decision = system.recognise(view, min(_LOOKS, system.max_k))
            labels.append(int(decision.scores[0].argmax()))
    return labels


def _some(rows: Mapping[str, NDArray[Any]], count: int) -> dict[str, NDArray[Any]]:
    """Evenly spread ones of the rows of a call, copied."""
    size = len(next(iter(rows.values())))
    at = np.unique(np.linspace(0, size - 1, min(count, size)).round().astype(int))
    return {name: x[at].copy() for name, x in rows.items()}


def cosine(plain: Graph, made: bytes, rows: Sequence[dict[str, NDArray[Any]]]) -> float:
    """How alike the outputs of a graph and of what was made of it are: see ``LEAST_COSINE``."""
    other = Graph(plain.name, made, macs={})
    found = [[_cosines(a, b) for a, b in zip(plain(**given), other(**given), strict=True)] for given in rows]
    return min(float(np.concatenate(each).mean()) for each in zip(*found, strict=True))


def _cosines(one: NDArray[Any], other: NDArray[Any]) -> NDArray[np.float64]:
    """Of each row."""
    a, b = (x.reshape(len(x), -1).astype(np.float64) for x in (one, other))
    sizes = np.linalg.norm(a, axis=1), np.linalg.norm(b, axis=1)
    found = (a * b).sum(axis=1) / np.maximum(sizes[0] * sizes[1], 1e-30)
    return np.asarray(np.where((sizes[0] == 0) & (sizes[1] == 0), 1.0, found))
