"""Recipes: options of ``avglance train`` in one TOML file, read, checked and written.

A key is an option by its long name (``epochs = 50`` is ``--epochs 50``); ``[settings]`` holds those of the
system (``--setting``), ``[weights]`` a file for each encoder (``--weights``). The command line wins.
"""

from __future__ import annotations

import argparse
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from avglance.errors import ArgumentError

FOLDER = Path(__file__).resolve().parents[1] / "recipes"
SETTINGS, WEIGHTS = "settings", "weights"
APART = ("help", "recipe", "recipes", "dump-config", "setting", "weights")  # options that no recipe holds
PLACE = ("out", "quiet")  # options of one run, that a resolved recipe leaves out
MOST_BYTES = 1 << 20
SENSES = ("picture", "sound", "focus")  # settings that name an encoder
NONE = "none"  # TOML has no word for it


@dataclass(frozen=True)
class Recipe:
    """What a file says.

    Attributes:
        file: where it lies.
        options: values by the name that the parser keeps them under.
        settings: of the system, ``rate`` and ``snippets`` among them where they stand as options.
        weights: a file for each encoder.
        lines: where each key stands, by table ("" for options) and name.
    """

    file: Path
    options: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    weights: dict[str, str] = field(default_factory=dict)
    lines: dict[tuple[str, str], int] = field(default_factory=dict)

    def where(self, key: str, table: str = "") -> str:
        """File and line of a key."""
        line = self.lines.get((table, key))
        return str(self.file) if line is None else f"{self.file}, line {line}"


def shipped() -> dict[str, str]:
    """The recipes of the package: name -> its first sentence."""
    files = sorted(FOLDER.glob("*.toml"))
    return {file.stem: file.read_text(encoding="utf-8").partition("\n")[0].strip("# ") for file in files}


def find(name_or_file: str) -> Path:
    """The file of a recipe: a name of the package's, or a file (write ``./name`` where both exist).

    Raises:
        ArgumentError: there is neither.
    """
    names = [file.stem for file in sorted(FOLDER.glob("*.toml"))]
    if name_or_file in names:
        return FOLDER / f"{name_or_file}.toml"
    if os.path.isfile(name_or_file):  # a pathlib path raises where the name is too long
        return Path(name_or_file)
    near = get_close_matches(name_or_file.removesuffix(".toml"), names, n=1)
    guess = f"did you mean {near[0]!r}? " if near else ""
    raise ArgumentError(
        f"no recipe is called {name_or_file!r}, and no file either",
        where="--recipe",
        hint=f"{guess}known: {', '.join(names)}; or name a TOML file",
    )


def options(parser: argparse.ArgumentParser) -> dict[str, argparse.Action]:
    """The options that a recipe may hold, by their long names."""
    found = {word[2:]: action for word, action in parser._option_string_actions.items() if word[:2] == "--"}
    return {name: action for name, action in found.items() if name not in APART}


def read(name_or_file: str, known: Mapping[str, argparse.Action]) -> Recipe:
    """A recipe, its keys and the kinds of its values checked.

    Args:
        name_or_file: as for :func:`find`.
        known: the options that it may hold.

    Raises:
        ArgumentError: there is no such file, it is no TOML, or a key or a value is not what it should be.
    """
    file = find(name_or_file)
    text = _text(file)
    found = _parsed(text, file)
    recipe = Recipe(file, lines=_lines(text))
    for table in (SETTINGS, WEIGHTS):
        inner = found.pop(table, {})
        if not isinstance(inner, dict):
            raise ArgumentError(f"{table} must be a table: [{table}]", where=recipe.where(table))
        getattr(recipe, table).update(inner)
    for key, value in found.items():
        _check_option(recipe, key, value, known)
        if key in ("rate", "snippets"):  # they are settings with an option of their own
            _check_once(recipe, key)
            recipe.settings[key] = value
        else:
            recipe.options[known[key].dest] = value
    _check_tables(recipe)
    return recipe


def _text(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            content = opened.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise ArgumentError("is too long for a recipe", where=str(file), hint="name a TOML file")
        return content.decode("utf-8-sig").replace("\r\n", "\n")
    except OSError as error:
        raise ArgumentError(f"cannot be read: {error.strerror}", where=str(file)) from error
    except UnicodeDecodeError as error:
        raise ArgumentError("is no text in UTF-8", where=str(file), hint="name a TOML file") from error


def _parsed(text: str, file: Path) -> dict[str, Any]:
    import tomllib

    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        hint = 'one option a line, like epochs = 50 or system = "avgn"'
        raise ArgumentError(f"is no TOML: {error}", where=str(file), hint=hint) from error


def _lines(text: str) -> dict[tuple[str, str], int]:
    """The line of each key (table, name); one that is written in an unusual way may have none."""
    found: dict[tuple[str, str], int] = {}
    table = ""
    for number, line in enumerate(text.split("\n"), 1):
        if head := re.match(r"\s*\[+\s*([\w-]+)\s*\]", line):
            table = head[1]
            found.setdefault(("", table), number)
        elif key := re.match(r"""\s*(?:([\w-]+)\s*\.\s*)?["']?([\w-]+)["']?\s*=""", line):
            found.setdefault((key[1] or table, key[2]), number)
    return found


def _check_option(recipe: Recipe, key: str, value: Any, known: Mapping[str, argparse.Action]) -> None:
    """Raises ArgumentError where an option is unknown, or its value is of another kind."""
    if key not in known:
        near = get_close_matches(key.replace("_", "-"), [*known, SETTINGS, WEIGHTS], n=1)
        guess = f"did you mean {near[0]!r}? " if near else ""
        hint = (
            f"{guess}keys are the long options of `avglance train`; the system's settings stand in [settings]"
        )
        raise ArgumentError(f"no option is called {key!r}", where=recipe.where(key), hint=hint)
    action = known[key]
    want = _kind(action)
    fits = {
        "true or false": isinstance(value, bool),
        "a whole number": isinstance(value, int) and not isinstance(value, bool),
        "a number": isinstance(value, (int, float)) and not isinstance(value, bool),
        "text": isinstance(value, str),
    }
    if not fits[want]:
        raise ArgumentError(f"{key} must be {want}, got {value!r}", where=recipe.where(key))
    if action.choices is not None and value not in (*action.choices, action.default):
        near = get_close_matches(str(value), map(str, action.choices), n=1)
        what = f"{key} must be one of {', '.join(map(str, action.choices))}, got {value!r}"
        hint = f"did you mean {near[0]!r}?" if near else ""
        raise ArgumentError(what, where=recipe.where(key), hint=hint)


def _kind(action: argparse.Action) -> str:
    """What the value of an option must be."""
    if action.nargs == 0:
        return "true or false"
    kinds: dict[Any, str] = {int: "a whole number", float: "a number"}
    return kinds.get(action.type, "text")


def _check_once(recipe: Recipe, key: str) -> None:
    if key in recipe.settings:
        what = f"{key} is said twice, as an option and in [{SETTINGS}]"
        raise ArgumentError(what, where=recipe.where(key), hint="leave one of them out")


def _check_tables(recipe: Recipe) -> None:
    """Raises ArgumentError where a setting or a file of weights is no plain value."""
    for name, value in recipe.settings.items():
        if not isinstance(value, (bool, int, float, str)):
            what = f"setting {name} must be a number, true, false or text, got {value!r}"
            raise ArgumentError(what, where=recipe.where(name, SETTINGS))
    for sense, file in recipe.weights.items():
        if not isinstance(file, str) or not file:
            what = f"weights of {sense} must be the name of a file, got {file!r}"
            raise ArgumentError(what, where=recipe.where(sense, WEIGHTS))


def check_settings(recipe: Recipe, preset: Any, system: str) -> dict[str, Any]:
    """The settings of a recipe in the kinds of the system's own; its weights are for encoders of the system.

    Args:
        recipe: as :func:`read` gives it.
        preset: the settings of the system.
        system: its name.

    Raises:
        ArgumentError: the system has no such setting or encoder, or a value is of another kind.
    """
    switches = getattr(preset, "switches", None)
    usual = {**vars(preset), **(vars(switches) if switches is not None else {})}
    for name in ("switches", "classes"):
        usual.pop(name, None)
    _check_senses(recipe, [sense for sense in SENSES if sense in usual], system)
    found = {}
    for name, value in recipe.settings.items():
        where = recipe.where(name, SETTINGS if (SETTINGS, name) in recipe.lines else "")
        if name not in usual:
            near = get_close_matches(name, usual, n=1)
            hint = f"did you mean {near[0]!r}? " if near else f"known: {', '.join(sorted(usual))}"
            raise ArgumentError(f"{system} has no setting {name!r}", where=where, hint=hint.strip())
        none = value == NONE and may_be_none(preset, name)
        found[name] = None if none else _like(name, value, usual[name], where)
    return found


def _check_senses(recipe: Recipe, senses: Sequence[str], system: str) -> None:
    """Raises ArgumentError where a file of weights is for no encoder of the system."""
    for sense in recipe.weights:
        if sense not in senses:
            near = get_close_matches(sense, senses, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"it has: {', '.join(senses)}"
            what = f"{system} has no encoder called {sense!r}"
            raise ArgumentError(what, where=recipe.where(sense, WEIGHTS), hint=hint)


def may_be_none(preset: Any, name: str) -> bool:
    """Whether a setting of a system may be None."""
    return any(f.name == name and "None" in str(f.type) for f in fields(preset))


def _like(name: str, value: Any, usual: Any, where: str) -> Any:
    """A value in the kind of the usual one."""
    if isinstance(usual, float) and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if usual is None or type(value) is type(usual):
        return value
    raise ArgumentError(f"setting {name} must be like {usual!r}, got {value!r}", where=where)


def resolved(
    args: argparse.Namespace,
    known: Mapping[str, argparse.Action],
    settings: Mapping[str, Any],
    weights: Mapping[str, str],
) -> str:
    """A recipe that says everything: ``avglance train DATA --recipe FILE`` with it is the same training.

    Args:
        args: parsed, values of a recipe among them.
        known: options that a recipe may hold.
        settings: of the system, that differ from its preset.
        weights: a file for each encoder.

    Raises:
        ArgumentError: a value cannot be written in TOML (a name of a file that is no text).
    """
    lines = []
    for name, action in known.items():
        value = getattr(args, action.dest)
        if value is not None and value is not False and name not in (*PLACE, "rate", "snippets"):
            lines.append(f"{name} = {_toml(value)}")
    for title, table in ((SETTINGS, settings), (WEIGHTS, weights)):
        if table:
            lines += ["", f"[{title}]", *(f"{_key(key)} = {_toml(value)}" for key, value in table.items())]
    return "\n".join(lines)


def _key(name: str) -> str:
    return name if re.fullmatch(r"[\w-]+", name, re.ASCII) else _toml(name)


def _toml(value: Any) -> str:
    """A value as TOML writes it.

    >>> _toml(True), _toml(None), _toml(1e-3), _toml("small")
    ('true', '"none"', '0.001', '"small"')
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    text = NONE if value is None else str(value)
    if any(0xD800 <= ord(c) < 0xE000 for c in text):
        raise ArgumentError(
            f"{text!r} cannot stand in a recipe", where="--dump-config", hint="rename the file"
        )
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
