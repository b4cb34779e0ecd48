"""The files of a model folder, and how it is written: whole, or not at all."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from avglance.errors import ArgumentError
from avglance.parts.weights import sha256_of

WEIGHTS, CLASSES, CARD, CHECKSUMS = "model.safetensors", "classes.json", "card.json", "checksums.json"
SELFTEST = "selftest.json"
GRAPHS = "graphs.json", "*.onnx"  # of a model that was exported


def files_of(folder: Path, *, graphs: bool) -> list[Path]:
    """The files of a model but for the checksums; with its graphs, or without."""
    names = (WEIGHTS, CLASSES, CARD, SELFTEST, *(GRAPHS if graphs else ()))
    return [file for name in names for file in folder.glob(name)]


def check_free(folder: Path, overwrite: bool) -> None:
    """Raises ArgumentError where a folder is there, but for a model that may be replaced."""
    if folder.exists() and not (overwrite and (folder / WEIGHTS).is_file()):
        raise ArgumentError("the folder exists already", where=str(folder), hint="choose another name")


def write_whole(
    folder: Path, fill: Callable[[Path], None], *, check: Callable[[Path], None] | None = None
) -> Path:
    """A model folder filled and summed under another name, which takes its place when it is whole.

    ``check`` sees it before; where it raises nothing has changed.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        temporary.chmod(0o755)
        fill(temporary)
        sums = {file.name: sha256_of(file) for file in temporary.iterdir()}
        (temporary / CHECKSUMS).write_text(json.dumps(sums, indent=1, sort_keys=True), encoding="utf-8")
        if check is not None:
            check(temporary)
        old = temporary.with_name(f"{temporary.name}.old")
        if folder.exists():
            folder.rename(old)
        temporary.rename(folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    shutil.rmtree(old, ignore_errors=True)
    return folder
