"""Imports point down only, heavy libraries stay in their room, and starting up loads none of them."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

SRC = Path(__file__).resolve().parents[1] / "src" / "avglance"
BELOW = {
    "errors": [],
    "types": ["errors"],
    "metrics": ["errors"],
    "media": ["errors", "types"],
    "views": ["media"],
    "data": ["views"],
    "parts": ["views", "metrics"],
    "systems": ["parts"],
    "training": ["systems", "data"],
    "runtime": ["views"],
    "evaluation": ["systems", "data", "runtime"],
    "app": ["training", "evaluation"],
}
NO_TORCH = ("errors", "types", "metrics", "media", "views", "data", "runtime")


def allowed(layer: str) -> set[str]:
    return {layer}.union(*(allowed(below) for below in BELOW[layer]))


def imported(tree: ast.AST) -> list[str]:
    names: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names


def layer_of(file: Path) -> str:
    return file.relative_to(SRC).with_suffix("").parts[0]


FILES = sorted(SRC.rglob("*.py"))


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(SRC)))
def test_imports_only_point_down(file: Path) -> None:
    layer = layer_of(file)
    for name in imported(ast.parse(file.read_text())):
        parts = name.split(".")
        if layer in BELOW and parts[0] == "avglance" and len(parts) > 1 and parts[1] in BELOW:
            assert parts[1] in allowed(layer), f"{layer} must not import {name}"
        if parts[0] == "av":
            assert layer == "media", "only media knows av"
        if parts[0] in ("onnx", "onnxruntime", "openvino"):
            assert layer == "runtime", "only runtime knows onnxruntime"
        if parts[0] in ("torch", "timm", "accelerate"):
            assert layer not in NO_TORCH, f"{layer} must work on a machine without {parts[0]}"


def test_no_test_imports_what_calls_home() -> None:
    """onnxruntime and openvino are imported by the files alone that forbid them to: ``conftest.need``."""
    for file in Path(__file__).parent.rglob("*.py"):
        text = file.read_text(encoding="utf-8")
        assert not re.search(r"importorskip\(.(onnxruntime|openvino)", text), file
        names = {name.split(".")[0] for name in imported(ast.parse(text))}
        assert not names & {"onnxruntime", "openvino"}, file


def test_the_check_of_directions_sees_a_wrong_import() -> None:
    names = imported(ast.parse("def f():\n    from avglance.app import cli\n"))
    assert names == ["avglance.app.cli"]
    assert "app" not in allowed("views")


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(SRC)))
def test_no_file_is_longer_than_one_reads_in_a_sitting(file: Path) -> None:
    assert len(file.read_text().splitlines()) <= 400


@pytest.mark.parametrize(
    "code",
    [
        "import avglance",
        "import avglance.media, avglance.views, avglance.metrics, avglance.types",
        "import avglance.app.cli as c\ntry: c.main(['--help'])\nexcept SystemExit: pass",
    ],
)
def test_starting_up_loads_no_torch(code: str) -> None:
    probe = code + "\nimport sys\nassert not {'torch', 'timm', 'accelerate', 'matplotlib'} & set(sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", probe], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
