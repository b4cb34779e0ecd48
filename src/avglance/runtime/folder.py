"""Graphs in a model folder: ``graphs.json`` says what they are, ``NAME.onnx`` is each of them.

Beside them lie ``model.safetensors``, where they have their weights from (``shared``), ``classes.json``,
``card.json`` and ``checksums.json`` as in any model folder. Loading is strict: whatever is missing, changed
or unfit is a ``CheckpointError``.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from avglance.errors import ArgumentError, CheckpointError
from avglance.runtime.shared import WEIGHTS
from avglance.types import Labels
from avglance.views import ViewSettings

FORMAT = "avglance-graphs/2"
GRAPHS, CLASSES, CARD, CHECKSUMS = "graphs.json", "classes.json", "card.json", "checksums.json"
MOST_BYTES = 2**31  # of one graph: what its format can hold
AGAIN = "it was damaged or edited; copy it or export the model again"


@dataclass(frozen=True)
class GraphEntry:
    """One graph: the name of its file, and its multiply-adds a row by the stage they are booked on."""

    file: str
    macs: dict[str, int]


@dataclass(frozen=True)
class Manifest:
    """What the graphs are and what the host loop must know.

    Attributes:
        kind: of host loop: "avgn" or "tsn".
        system: name of the system they were made from.
        classes: C.
        max_k: the largest budget.
        view: how videos are to be read.
        weights_sha256: of the weights they were made from.
        whole_macs: of a close look at every snippet's whole picture.
        look_macs: of a video before its first look, and of each look, at most.
        settings: of the host loop.
        graphs: by name.
        made_with: versions.
        labels: whether it gives a video one label or several.
        int8: names of graphs that compute in 8 bits.
    """

    kind: str
    system: str
    classes: int
    max_k: int
    view: ViewSettings
    weights_sha256: str
    whole_macs: int
    look_macs: tuple[int, int]
    settings: dict[str, Any]
    graphs: dict[str, GraphEntry]
    made_with: dict[str, str]
    labels: Labels = "one"
    int8: tuple[str, ...] = ()


@dataclass(frozen=True)
class GraphFolder:
    """A folder with graphs: ``graphs`` by name, and ``weights``, the bytes of the file that they name."""

    manifest: Manifest
    graphs: dict[str, bytes]
    weights: bytes
    classes: tuple[str, ...]
    card: dict[str, Any]


def has_graphs(folder: Path) -> bool:
    """Whether a folder holds graphs."""
    return (folder / GRAPHS).is_file()


def reads_graphs(folder: Path) -> bool:
    """Whether a folder holds graphs in the form that this version reads."""
    try:
        found = json.loads((folder / GRAPHS).read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(found, dict) and found.get("format") == FORMAT


def write_graphs(folder: Path, manifest: Manifest, graphs: Mapping[str, bytes]) -> None:
    """Writes the manifest and the graphs (by its names) into a model folder that is being made."""
    for name, entry in manifest.graphs.items():
        (folder / entry.file).write_bytes(graphs[name])
    text = json.dumps({"format": FORMAT, **dataclasses.asdict(manifest)}, indent=1, sort_keys=True)
    (folder / GRAPHS).write_text(text, encoding="utf-8")


def read_graphs(folder: Path) -> GraphFolder:
    """What a model folder with graphs holds.

    Raises:
        CheckpointError: something is missing, changed since it was written, or not what it should be.
    """
    if not has_graphs(folder):
        hint = "`avglance export` makes a folder with graphs from a model"
        raise CheckpointError("no model folder with graphs", where=str(folder), hint=hint)
    sums = _object(folder, CHECKSUMS, _bytes(folder, CHECKSUMS))

    def whole(name: str) -> bytes:
        return _whole(folder, name, sums)

    manifest = _manifest(_object(folder, GRAPHS, whole(GRAPHS)), str(folder / GRAPHS))
    graphs, weights = {name: whole(e.file) for name, e in manifest.graphs.items()}, whole(WEIGHTS)
    if sums[WEIGHTS] != manifest.weights_sha256:
        what, hint = "its graphs were made from other weights than these", "export the model again"
        raise CheckpointError(what, where=str(folder), hint=hint)
    text = whole(CLASSES)
    card, classes = _object(folder, CARD, whole(CARD)), _json(folder, CLASSES, text)
    if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
        raise CheckpointError("holds no list of names", where=str(folder / CLASSES))
    if len(classes) != manifest.classes:
        what = f"{len(classes)} class names for graphs of {manifest.classes} classes"
        raise CheckpointError(what, where=str(folder / CLASSES))
    if card.get("classes_sha256") not in (None, hashlib.sha256(text).hexdigest()):
        what = "these are not the classes that the card was written with, or not in their order"
        raise CheckpointError(what, where=str(folder / CLASSES), hint=AGAIN)
    return GraphFolder(manifest, graphs, weights, tuple(classes), card)


def _whole(folder: Path, name: str, sums: dict[str, Any]) -> bytes:
    """The bytes of a file of the folder, which are those that were written."""
    content = _bytes(folder, name)
    if name not in sums:
        raise CheckpointError(f"no checksum of {name}", where=str(folder / CHECKSUMS), hint=AGAIN)
    if hashlib.sha256(content).hexdigest() != sums[name]:
        what = f"{name} is not what it was when the model was written"
        raise CheckpointError(what, where=str(folder), hint=AGAIN)
    return content


def _bytes(folder: Path, name: str) -> bytes:
    path = folder / name
    try:
        if path.stat().st_size >= MOST_BYTES:
            raise CheckpointError(f"{name} is too large for what it should be", where=str(folder))
        return path.read_bytes()
    except OSError as error:
        what = f"{name} is missing" if isinstance(error, FileNotFoundError) else f"{name}: {error.strerror}"
        raise CheckpointError(what, where=str(folder), hint="copy it or export the model again") from error


def _manifest(found: dict[str, Any], where: str) -> Manifest:
    if found.get("format") != FORMAT:
        what = f"format {found.get('format')!r} is not known"
        hint = f"this version reads {FORMAT}: `avglance export` makes the graphs of a model anew"
        raise CheckpointError(what, where=where, hint=hint)
    try:
        values = {name: value for name, value in found.items() if name != "format"}
        values["view"] = ViewSettings(**values["view"])
        before, each = (_count(n) for n in values["look_macs"])
        values["look_macs"] = (before, each)
        values["graphs"] = {str(name): _entry(entry) for name, entry in values["graphs"].items()}
        for name in ("classes", "max_k", "whole_macs"):
            _count(values[name])
        if not 1 <= values["max_k"] <= values["view"].snippets:
            raise ValueError(f"{values['max_k']} looks at {values['view'].snippets} snippets")
        values["int8"] = tuple(str(name) for name in values.get("int8", ()))
        if not values["graphs"].keys() >= set(values["int8"]):
            raise ValueError(f"graphs in 8 bits {values['int8']} that there are not")
        if values.get("labels", "one") not in get_args(Labels):
            raise ValueError(f"labels {values['labels']!r}")
        return Manifest(**values)
    except (ArgumentError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"it is no description of graphs ({error!r})", where=where) from error


def _entry(found: dict[str, Any]) -> GraphEntry:
    if not re.fullmatch(r"[a-z_]+\.onnx", found["file"]):
        raise ValueError(f"{found['file']!r} is no name of a graph")
    return GraphEntry(found["file"], {str(stage): _count(macs) for stage, macs in found["macs"].items()})


def _count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**62:
        raise ValueError(f"{value!r} is no count")
    return value


def _object(folder: Path, name: str, content: bytes) -> dict[str, Any]:
    found = _json(folder, name, content)
    if not isinstance(found, dict):
        raise CheckpointError("holds no JSON object", where=str(folder / name))
    return found


def _json(folder: Path, name: str, content: bytes) -> Any:
    try:
        return json.loads(content)
    except ValueError as error:
        raise CheckpointError(f"not readable as JSON ({error})", where=str(folder / name)) from error
