"""A folder with graphs is read strictly: whatever is missing, changed or unfit is named."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from avglance.errors import CheckpointError
from avglance.runtime import GraphEntry, GraphFolder, Manifest, has_graphs, read_graphs, write_graphs
from avglance.runtime.folder import CARD, CHECKSUMS, CLASSES, GRAPHS, WEIGHTS
from avglance.systems.folder import files_of
from avglance.views import ViewSettings

NUMBERS = b"numbers"
MANIFEST = Manifest(
    "avgn", "avgn_nano", 2, 16, ViewSettings(), hashlib.sha256(NUMBERS).hexdigest(), 10, (3, 4),
    {"see": True}, {"choose": GraphEntry("choose.onnx", {"choose": 7})}, {"torch": "2.15"},
)  # fmt: skip


def seal(folder: Path) -> None:
    sums = {
        f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in folder.iterdir() if f.name != CHECKSUMS
    }
    (folder / CHECKSUMS).write_text(json.dumps(sums))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / CLASSES).write_text('["a", "b"]')
    (tmp_path / CARD).write_text('{"name": "m"}')
    (tmp_path / WEIGHTS).write_bytes(NUMBERS)
    write_graphs(tmp_path, MANIFEST, {"choose": b"graph"})
    seal(tmp_path)
    return tmp_path


def test_what_was_written_is_read(folder: Path) -> None:
    assert has_graphs(folder)
    assert read_graphs(folder) == GraphFolder(
        MANIFEST, {"choose": b"graph"}, NUMBERS, ("a", "b"), {"name": "m"}
    )
    names = {CARD, CLASSES, WEIGHTS, GRAPHS, "choose.onnx"}
    assert {file.name for file in files_of(folder, graphs=True)} == names
    assert {file.name for file in files_of(folder, graphs=False)} == {CARD, CLASSES, WEIGHTS}


def test_graphs_of_other_weights_are_refused(folder: Path) -> None:
    (folder / WEIGHTS).write_bytes(b"others")
    seal(folder)
    with pytest.raises(CheckpointError, match="other weights"):
        read_graphs(folder)


@pytest.mark.parametrize("name", [GRAPHS, CLASSES, CARD, CHECKSUMS, WEIGHTS, "choose.onnx"])
def test_a_missing_or_changed_file_is_named(folder: Path, name: str) -> None:
    content = (folder / name).read_bytes()
    (folder / name).unlink()
    with pytest.raises(CheckpointError, match="no model folder" if name == GRAPHS else f"{name} is missing"):
        read_graphs(folder)
    (folder / name).write_bytes(content + b" ")
    if name != CHECKSUMS:
        with pytest.raises(CheckpointError, match=f"{name} is not what it was"):
            read_graphs(folder)
    (folder / name).unlink()
    (folder / name).mkdir()
    with pytest.raises(CheckpointError):
        read_graphs(folder)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"format": "avglance-graphs/9"}, "is not known"),
        ({"graphs": {"choose": {"file": "../choose.onnx", "macs": {}}}}, "no name of a graph"),
        ({"graphs": {"choose": {"file": "/etc/passwd", "macs": {}}}}, "no name of a graph"),
        ({"graphs": {"choose": {"file": "choose.onnx", "macs": {"choose": -1}}}}, "no count"),
        ({"graphs": []}, "no description"),
        ({"view": {"snippets": 0}}, "no description"),
        ({"max_k": "many"}, "no count"),
        ({"max_k": 0}, "0 looks at 16 snippets"),
        ({"max_k": 17}, "17 looks at 16 snippets"),
        ({"whole_macs": 2**70}, "no count"),
        ({"look_macs": [1, 2, 3]}, "no description"),
        ({"more": 1}, "no description"),
        ({"classes": 3}, "2 class names"),
    ],
)
def test_a_manifest_that_is_none_is_refused(folder: Path, change: dict, words: str) -> None:
    found = json.loads((folder / GRAPHS).read_text()) | change
    (folder / GRAPHS).write_text(json.dumps(found))
    seal(folder)
    with pytest.raises(CheckpointError, match=words):
        read_graphs(folder)


@pytest.mark.parametrize(
    ("name", "text"), [(CLASSES, '{"a": 1}'), (CLASSES, "["), (CARD, "[]"), (GRAPHS, "7")]
)
def test_json_of_another_kind_is_refused(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(text)
    seal(folder)
    with pytest.raises(CheckpointError):
        read_graphs(folder)


def test_classes_in_another_order_are_refused(folder: Path) -> None:
    sha256 = hashlib.sha256((folder / CLASSES).read_bytes()).hexdigest()
    (folder / CARD).write_text(json.dumps({"classes_sha256": sha256}))
    (folder / CLASSES).write_text('["b", "a"]')
    seal(folder)
    with pytest.raises(CheckpointError, match="not the classes"):
        read_graphs(folder)


def test_the_room_loads_neither_torch_nor_onnxruntime_by_itself() -> None:
    probe = "import sys, avglance.runtime\nassert not {'torch', 'onnxruntime', 'av'} & set(sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", probe], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
