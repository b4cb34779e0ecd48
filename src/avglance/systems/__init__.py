"""Systems by name: a plain table from name to class and preset, imported when asked for."""

from __future__ import annotations

import dataclasses
import difflib
from importlib import import_module
from typing import TYPE_CHECKING, Any

from avglance.errors import ArgumentError

if TYPE_CHECKING:
    from avglance.systems.base import System

SYSTEMS = {  # name on the command line -> class and settings
    "avgn": ("avglance.systems.avgn:AVGN", "paper"),
    "avgn_nano": ("avglance.systems.avgn:AVGN", "nano"),
    "avgn_mobile": ("avglance.systems.avgn:AVGN", "mobile"),
    "tsn": ("avglance.systems.tsn:TSN", "paper"),
    "tsn_nano": ("avglance.systems.tsn:TSN", "nano"),
    "tsn_mobile": ("avglance.systems.tsn:TSN", "mobile"),
}

__all__ = ["SYSTEMS", "build", "settings_of", "system_class"]


def system_class(name: str) -> type[System]:
    """The class of a system.

    Raises:
        ArgumentError: no system has this name.
    """
    if name not in SYSTEMS:
        near = difflib.get_close_matches(name, SYSTEMS, n=1)
        raise ArgumentError(
            f"no system is called {name!r}",
            where="build",
            hint=(f"did you mean {near[0]!r}? " if near else "") + f"known: {', '.join(SYSTEMS)}",
        )
    module, cls = SYSTEMS[name][0].split(":")
    found: type[System] = getattr(import_module(module), cls)
    return found


def settings_of(name: str, **changes: Any) -> Any:
    """The preset of a system with some fields changed; fields of its switches are named like its own.

    Raises:
        ArgumentError: no such system, no such field, or a value that is not allowed.
    """
    preset = getattr(system_class(name).Settings, SYSTEMS[name][1])()
    own = {f.name for f in dataclasses.fields(preset)}
    inner = getattr(preset, "switches", None)
    switches = {f.name for f in dataclasses.fields(inner)} if inner is not None else set()
    for key in changes:
        if key not in own | switches:
            near = difflib.get_close_matches(key, own | switches, n=1)
            raise ArgumentError(
                f"{name} has no setting {key!r}",
                where="build",
                hint=(f"did you mean {near[0]!r}? " if near else "")
                + f"known: {', '.join(sorted(own | switches))}",
            )
    turned = {key: value for key, value in changes.items() if key in switches}
    changes = {key: value for key, value in changes.items() if key in own}
    if inner is not None and turned:
        changes["switches"] = dataclasses.replace(changes.get("switches", inner), **turned)
    return dataclasses.replace(preset, **changes)


def build(name: str, *, classes: int, **changes: Any) -> System:
    """A system with fresh weights.

    Args:
        name: one of ``SYSTEMS``.
        classes: C.
        **changes: settings (or switches) that shall differ from the preset.

    Raises:
        ArgumentError: no such system, no such setting, or a value that is not allowed.

    >>> build("avgn_nanno", classes=20)
    Traceback (most recent call last):
        ...
    avglance.errors.ArgumentError: build: no system is called 'avgn_nanno'
      hint: did you mean 'avgn_nano'? known: avgn, avgn_nano, avgn_mobile, tsn, tsn_nano, tsn_mobile
    """
    system = system_class(name)(settings_of(name, classes=classes, **changes))
    system.name = name
    return system
