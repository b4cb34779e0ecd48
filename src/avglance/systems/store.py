"""A model is a folder: weights with their settings, classes, a card, and checksums of all of them.

``model.safetensors`` (header: format, system, settings as JSON), ``classes.json``, ``card.json`` and
``checksums.json``; and ``selftest.json``, what it answers for the clip of the package (``selftest``), which
older models have not. Loading is strict: whatever is missing, changed or unfit is named in a
``CheckpointError``. Pickled weights are refused.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from avglance.errors import ArgumentError, CheckpointError
from avglance.parts.weights import refuse_pickle, sha256_of
from avglance.systems import SYSTEMS, settings_of, system_class
from avglance.systems.base import System
from avglance.systems.folder import (
    CARD,
    CHECKSUMS,
    CLASSES,
    SELFTEST,
    WEIGHTS,
    check_free,
    files_of,
    write_whole,
)
from avglance.types import UNKNOWN

FORMAT = "avglance-model/1"


@dataclass(frozen=True)
class LoadedModel:
    """A trained system with what belongs to it; ``sha256`` is that of its weights."""

    system: System
    classes: tuple[str, ...]
    card: dict[str, Any]
    folder: Path
    sha256: str


def save_model(
    system: System,
    folder: str | Path,
    *,
    classes: Sequence[str],
    card: dict[str, Any],
    overwrite: bool = False,
) -> Path:
    """Writes a model folder: beside its place under a temporary name, renamed when whole.

    Args:
        system: with a name of ``SYSTEMS``.
        folder: where the model shall be; must not exist, unless ``overwrite`` and it holds a model.
        classes: names of the C classes, in the order of the scores.
        card: what a person should know, plain JSON values.
        overwrite: replace an older model.

    Raises:
        ArgumentError: names and classes do not fit, the card is no JSON, or the folder exists.
    """
    folder = Path(folder)
    if system.name not in SYSTEMS:
        raise ArgumentError(f"the system has no known name, got {system.name!r}", where="save_model")
    if len(classes) != system.classes or len(set(classes)) != len(classes):
        what = f"{len(set(classes))} different class names for a system of {system.classes} classes"
        raise ArgumentError(what, where="save_model")
    if UNKNOWN in classes:
        what = f"a class must not be called {UNKNOWN!r}: it says that none is there"
        raise ArgumentError(what, where="save_model")
    check_free(folder, overwrite)
    settings = json.dumps(dataclasses.asdict(system.settings), sort_keys=True)
    names = json.dumps(list(classes), indent=1, ensure_ascii=False)
    full = {
        **card,
        "name": card.get("name", system.name),
        "system": system.name,
        "toy": bool(card.get("toy")),
    }
    full["classes_sha256"] = hashlib.sha256(names.encode()).hexdigest()
    card_text = _card_text(full)

    def fill(temporary: Path) -> None:
        tensors = {name: x.detach().cpu().contiguous() for name, x in system.state_dict().items()}
        header = {"format": FORMAT, "system": system.name, "settings": settings}
        save_file(tensors, temporary / WEIGHTS, metadata=header)
        (temporary / CLASSES).write_text(names, encoding="utf-8")
        (temporary / CARD).write_text(card_text, encoding="utf-8")

    return write_whole(folder, fill)


def save_with_card(
    model: LoadedModel, folder: str | Path, card: dict[str, Any], *, overwrite: bool = False
) -> Path:
    """Writes a model again with another card: its weights and classes byte for byte as they are.

    Args:
        model: as ``load_model`` gives it.
        folder: as for ``save_model``; it may be the model's own.
        card: what the card shall hold.
        overwrite: as for ``save_model``.

    Raises:
        ArgumentError: the card is no JSON, or the folder exists or cannot be written.
    """
    check_free(Path(folder), overwrite)
    return copy_with(model, Path(folder), CARD, _card_text(card))


def copy_with(model: LoadedModel, folder: Path, changed: str, text: str) -> Path:
    """Writes a model again: one of its files with another text, the others byte for byte as they are.

    Raises:
        ArgumentError: the folder cannot be written.
    """

    def fill(temporary: Path) -> None:
        for file in files_of(model.folder, graphs=True):
            if file.name != changed:
                shutil.copyfile(file, temporary / file.name)
        (temporary / changed).write_text(text, encoding="utf-8")

    try:
        return write_whole(folder, fill)
    except OSError as error:
        hint = "make room, or name another folder"
        raise ArgumentError(f"cannot be written: {error.strerror}", where=str(folder), hint=hint) from error


def _card_text(card: dict[str, Any]) -> str:
    try:
        return json.dumps(card, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as e:
        raise ArgumentError(f"the card is not plain JSON: {e}", where="save_model") from e


def load_model(folder: str | Path, device: torch.device | str = "cpu") -> LoadedModel:
    """The model of a folder, in evaluation mode.

    Args:
        folder: as written by ``save_model``.
        device: where to put it.

    Raises:
        CheckpointError: something is missing, changed since it was written, pickled, or does not fit.
    """
    folder = Path(folder)
    sums = _check_files(folder)
    header = _header(folder / WEIGHTS)
    classes = tuple(_json(folder / CLASSES, list))
    card: dict[str, Any] = _json(folder / CARD, dict)
    system = _rebuild(header, str(folder / WEIGHTS))
    if len(classes) != system.classes or not all(isinstance(c, str) for c in classes):
        what = f"{len(classes)} class names for a system of {system.classes} classes"
        raise CheckpointError(what, where=str(folder / CLASSES))
    _check_classes(folder)
    _fill(system, folder / WEIGHTS)
    system.toy = bool(card.get("toy", False))
    return LoadedModel(system.to(device).eval(), classes, card, folder, sums[WEIGHTS])


def saw(card: Mapping[str, Any], sha256: str) -> tuple[str, ...]:
    """What a model of this card did with the data of this hash: ``trained``, ``chosen``, ``calibrated``."""
    data, calibration = card.get("data"), card.get("calibration")
    told = {
        "trained": data,
        "chosen": data.get("held_out") if isinstance(data, dict) else None,
        "calibrated": calibration.get("data") if isinstance(calibration, dict) else None,
    }
    return tuple(word for word, x in told.items() if isinstance(x, dict) and x.get("sha256") == sha256)


def begin_from(system: System, folder: str | Path, *, heads: Collection[str] = ()) -> tuple[int, list[str]]:
    """Copies a model's weights into a system where name and shape fit: a warm start.

    Args:
        system: what shall begin with them.
        folder: of the model.
        heads: names of weights that are one's own for each class, kept fresh where the model's classes are
            others.

    Returns:
        How many weight tensors were taken, and the names of those that stay as they were.

    Raises:
        CheckpointError: the model cannot be read (as ``load_model``), or no weight matrix of it fits.
    """
    folder = Path(folder)
    _check_files(folder)
    _header(folder / WEIGHTS)
    own = system.state_dict()
    with safe_open(folder / WEIGHTS, framework="pt") as file:
        given = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (no mapping)
    fit = {
        name: x
        for name, x in given.items()
        if name in own and own[name].shape == x.shape and name not in heads
    }
    if not any(x.ndim > 1 for x in fit.values()):  # counters and biases of one number fit everywhere
        raise CheckpointError(
            f"none of its {len(given)} weights fits {system.name}",
            where=str(folder),
            hint="start from a model of the same system and sizes, or without --start",
        )
    system.load_state_dict(fit, strict=False)
    return len(fit), [name for name in own if name not in fit]


def built_as(folder: str | Path) -> tuple[str, dict[str, Any]]:
    """The system of a model, and its settings that differ from that system's preset, apart from its classes.

    Raises:
        CheckpointError: as ``load_model``, as far as can be known without building the system.
    """
    folder = Path(folder)
    _check_files(folder)
    header = _header(folder / WEIGHTS)
    system = _rebuild(header, str(folder / WEIGHTS))
    preset = settings_of(header["system"])
    found: dict[str, Any] = {}
    for own, usual in ((system.settings, preset), *_switches(system.settings, preset)):
        for entry in dataclasses.fields(own):
            value = getattr(own, entry.name)
            if value != getattr(usual, entry.name) and not dataclasses.is_dataclass(value):
                found[entry.name] = value
    return header["system"], {k: v for k, v in found.items() if k not in ("classes", "pretrained")}


def _switches(own: Any, usual: Any) -> list[tuple[Any, Any]]:
    return [(own.switches, usual.switches)] if hasattr(own, "switches") else []


def weights_of(folder: str | Path) -> tuple[str, tuple[str, ...]]:
    """The checksum of a model's weights, and its classes.

    Raises:
        CheckpointError: as ``load_model``, as far as can be known without building the system.
    """
    folder = Path(folder)
    sums, classes = _check_files(folder), tuple(_json(folder / CLASSES, list))
    _check_classes(folder)
    return sums[WEIGHTS], classes


def _check_files(folder: Path) -> dict[str, str]:
    """The checksums of a model folder, all of which hold."""
    if folder.is_file():
        refuse_pickle(folder)
    if not folder.is_dir():
        raise CheckpointError(
            "not a folder" if folder.exists() else "no such model folder",
            where=str(folder),
            hint=f"a model is a folder with {WEIGHTS}, {CLASSES}, {CARD} and {CHECKSUMS}",
        )
    for name in (WEIGHTS, CLASSES, CARD, CHECKSUMS):
        _check_there(folder, name)
    refuse_pickle(folder / WEIGHTS)
    sums: dict[str, str] = _json(folder / CHECKSUMS, dict)
    told = (SELFTEST,) if SELFTEST in sums or (folder / SELFTEST).exists() else ()
    for name in (WEIGHTS, CLASSES, CARD, *told):
        if name not in sums:
            raise CheckpointError(f"no checksum of {name}", where=str(folder / CHECKSUMS))
        _check_there(folder, name)
        if sha256_of(folder / name) != sums[name]:
            raise CheckpointError(
                f"{name} is not what it was when the model was written",
                where=str(folder),
                hint="it was damaged or edited; copy or train the model again",
            )
    return sums


def _check_there(folder: Path, name: str) -> None:
    if not (folder / name).is_file():
        raise CheckpointError(f"{name} is missing", where=str(folder), hint="copy or train the model again")


def _check_classes(folder: Path) -> None:
    """Raises CheckpointError if the classes, or their order, are not those that the card was written with."""
    text, card = (folder / CLASSES).read_text(encoding="utf-8"), _json(folder / CARD, dict)
    if card.get("classes_sha256") not in (None, hashlib.sha256(text.encode()).hexdigest()):
        raise CheckpointError(
            "these are not the classes that the card was written with, or not in their order",
            where=str(folder / CLASSES),
            hint="copy or train the model again",
        )


def _header(path: Path) -> dict[str, str]:
    try:
        with safe_open(path, framework="pt") as file:
            header: dict[str, str] = file.metadata() or {}
    except (SafetensorError, OSError) as e:
        raise CheckpointError(f"not a safetensors file ({e})", where=str(path)) from e
    if header.get("format") != FORMAT:
        what, hint = f"format {header.get('format')!r} is not known", f"this version reads {FORMAT}"
        raise CheckpointError(what, where=str(path), hint=hint)
    return header


def _rebuild(header: dict[str, str], where: str) -> System:
    """The untrained system that a header names."""
    name = header.get("system", "")
    if name not in SYSTEMS:
        raise CheckpointError(f"made for a system called {name!r}, which is not known", where=where)
    cls = system_class(name)
    try:
        values = json.loads(header["settings"])
        settings = _settings(cls.Settings, values)
    except (KeyError, TypeError, ValueError) as e:  # ArgumentError is a ValueError
        raise CheckpointError(f"its settings do not fit {name}: {e}", where=where) from e
    system = cls(settings)
    system.name = name
    return system


def _settings(kind: type, values: dict[str, Any]) -> Any:
    """A settings dataclass from JSON, those that are dataclasses themselves included.

    A field that the model was written without is newer than it, and gets its default: fields come with the
    default that leaves a system as it was.
    """
    default = kind()
    known = {f.name for f in dataclasses.fields(default)}
    if set(values) - known:
        raise ValueError(f"unknown {sorted(set(values) - known)}: made by a newer version?")
    given = dict(values)
    for name in known & set(values):
        inner = getattr(default, name)
        if dataclasses.is_dataclass(inner) and not isinstance(inner, type):
            given[name] = _settings(type(inner), values[name])
    if "pretrained" in known:
        given["pretrained"] = False  # the weights come from the folder
    return kind(**given)


def _fill(system: System, path: Path) -> None:
    """Loads the weights; every name, shape and type must fit, but for real numbers kept in 16 bits."""
    want = system.state_dict()
    with safe_open(path, framework="pt") as file:
        kept = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (no mapping)
    got = {name: x.float() if x.dtype == torch.float16 else x for name, x in kept.items()}
    if missing := sorted(want.keys() - got.keys()):
        raise CheckpointError(f"{len(missing)} weights are missing, first {missing[0]!r}", where=str(path))
    if extra := sorted(got.keys() - want.keys()):
        what = f"{len(extra)} weights are not of this system, first {extra[0]!r}"
        raise CheckpointError(what, where=str(path))
    for name, x in want.items():
        if (got[name].shape, got[name].dtype) != (x.shape, x.dtype):
            raise CheckpointError(
                f"{name} is {got[name].dtype} {tuple(got[name].shape)}, "
                f"settings ask for {x.dtype} {tuple(x.shape)}",
                where=str(path),
            )
    system.load_state_dict(got)


def _json(path: Path, kind: type) -> Any:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as e:
        raise CheckpointError(f"not readable as JSON ({e})", where=str(path)) from e
    if not isinstance(value, kind):
        raise CheckpointError(f"holds no JSON {kind.__name__}", where=str(path))
    return value
