"""What a user allows, in looks, multiply-adds or seconds, as what a system understands: looks and thresholds.

``4``: exactly so many looks a video (``--exit``: at most). ``8GMAC``: so many thousand million multiply-adds
a video on average. ``2s``: no look begins later than that after a file was opened; the first always happens.
"""

from __future__ import annotations

import math
import re
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from avglance.errors import ArgumentError
from avglance.systems.exits import ExitTable
from avglance.types import Stopping

if TYPE_CHECKING:
    from avglance.runtime import Host
    from avglance.systems.base import System

DEFAULT_LOOKS = 4
UNITS = {"": "looks", "GMAC": "GMACs", "s": "seconds"}
LONGEST_S = 86_400.0
_FORM = re.compile(r"([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)(\s*)([A-Za-z]*)")
_EXAMPLES = "for example 4 (looks), 8GMAC or 2s"


@dataclass(frozen=True)
class Plan:
    """How a budget is spent.

    Attributes:
        looks: the most looks at a video.
        sure: thresholds at which a video needs no further look; None: it gets all its looks.
        seconds: from opening a file until no further look begins; None: no clock is watched.
        words: what was allowed, for a person.
        pictures: how many a video are glanced at, chosen by sound, 0: all; None: as the system does.
        halves: looks that come after half of the glance; 0: all snippets are glanced at first.
    """

    looks: int
    sure: tuple[float, ...] | None = None
    seconds: float | None = None
    words: str = ""
    pictures: int | None = None
    halves: int = 0

    def stop(self, start: float) -> Stopping | None:
        """What ends the looks at a file that was opened at ``start`` (``time.perf_counter``), if anything."""
        if self.sure is None and self.seconds is None:
            return None
        until = math.inf if self.seconds is None else start + self.seconds
        late = None if self.seconds is None else lambda: time.perf_counter() >= until
        return Stopping(self.sure, late, self.halves)


def parse(budget: object) -> tuple[float, str]:
    """An amount above 0, and its unit: one of ``UNITS``.

    Raises:
        ArgumentError: it is no budget.

    >>> parse("8GMAC"), parse(4), parse("1.5s")
    ((8.0, 'GMAC'), (4.0, ''), (1.5, 's'))
    """
    text = str(budget).strip()
    found = None if isinstance(budget, (bool, float)) else _FORM.fullmatch(text[:100])
    what = f"the budget must be a number of looks, or of GMACs or seconds, got {text[:100]!r}"
    if found is None:
        raise ArgumentError(what, where="budget", hint=_EXAMPLES)
    number, gap, unit = found.groups()
    if gap or unit not in UNITS:
        known = {name.lower(): name for name in UNITS} | {"gmacs": "GMAC", "gflop": "GMAC", "gflops": "GMAC"}
        near = known.get(unit.lower())
        hint = f"write {number}{near}" if near else _EXAMPLES
        raise ArgumentError(what, where="budget", hint=hint)
    if not unit and not re.fullmatch(r"[+-]?[0-9]{1,20}", number):
        raise ArgumentError(f"looks come in whole numbers, got {number}", where="budget", hint=_EXAMPLES)
    amount = float(number)
    if not math.isfinite(amount):
        raise ArgumentError(f"a budget of {text} is not finite", where="budget", hint=_EXAMPLES)
    return amount, unit


def plan(
    system: System | Host,
    exits: ExitTable | None,
    budget: object = None,
    exit_early: bool | None = None,
    glance_pictures: int | None = None,
    *,
    steered: bool = False,
) -> Plan:
    """How a system spends a budget; None: 4 looks, or as many as it can spend.

    Args:
        system: that shall spend it.
        exits: thresholds of its card, if it has any.
        budget: as a user writes it.
        exit_early: stop when sure; None: with a budget in GMACs or seconds, where there are thresholds.
        glance_pictures: how many pictures a video are decoded, which is also the most looks; None: as the
            system's settings say.
        steered: it will be told where to look, and so glances at everything.

    Raises:
        ArgumentError: it is no budget, below one look, or not one that this system can keep.
    """
    pictures = system.pictures(glance_pictures)
    most = min(system.max_k, pictures)
    amount, unit = (float(min(DEFAULT_LOOKS, most)), "") if budget is None else parse(budget)
    stops = system.stops
    if exit_early and (exits is None or not stops):
        why = "its card holds no exit thresholds" if stops else "it looks at all its moments at once"
        hint = "`avglance calibrate` makes them; or leave --exit away" if stops else "leave --exit away"
        raise ArgumentError(f"{system.name} cannot stop early: {why}", where="budget", hint=hint)
    early = stops and exits is not None and (bool(unit) if exit_early is None else exit_early)
    table = exits if early else None
    if table is not None and not steered and system.halves and pictures == system.view_settings.snippets:
        table = _in_halves(table, most if unit else int(amount))
    if unit == "GMAC":
        found = _macs(system, table, amount, system.look_macs(glance_pictures), most)
    elif unit == "s":
        found = _seconds(system, table, amount, most)
    else:
        found = _looks(system, table, int(amount), most)
    few = f", {pictures} of {system.view_settings.snippets} pictures glanced at"
    words = found.words + few * (pictures < system.view_settings.snippets)
    words += ", half of the glance first" * bool(table is not None and table.halves)
    halves = table.halves if table is not None else 0
    return replace(found, words=words, pictures=glance_pictures, halves=halves)


def _in_halves(table: ExitTable, looks: int) -> ExitTable:
    """The table for a glance in two halves, where there is one and a budget of ``looks`` has room for it."""
    inner = table.in_halves
    return table if inner is None or looks <= inner.halves else inner


def _looks(system: System | Host, table: ExitTable | None, k: int, most: int) -> Plan:
    if k < 1:
        hint = "the smallest budget is 1, one close look"
        raise ArgumentError(f"a budget of {k} is below one moment", where="budget", hint=hint)
    if k > most:
        few = f" where it glances at {most} pictures" * (most < system.max_k)
        hint = f"the largest budget of {system.name} is {most}{few}"
        raise ArgumentError(f"a budget of {k} is more than this model can spend", where="budget", hint=hint)
    count = f"{k} look{'s' * (k > 1)}"
    if table is None:
        return Plan(k, words=count)
    return Plan(k, table.thresholds[table.within(k)], words=f"at most {count}, fewer when sure")


def _macs(
    system: System | Host, table: ExitTable | None, gmacs: float, macs: tuple[int, int], most: int
) -> Plan:
    before, each = macs
    each = max(each, 1)  # looks of a system that sees nothing are free
    allowed = gmacs * 1e9 + 0.5  # half a multiply-add for what decimals cannot hold
    smallest = before + each if table is None else min(before + each, table.macs(before, each)[0])
    if allowed < smallest:
        least = math.ceil(smallest / 1e5) / 1e4
        hint = f"the smallest budget of {system.name} is {least}GMAC"
        raise ArgumentError(f"a budget of {gmacs:g} GMACs is below one look", where="budget", hint=hint)
    if table is None:
        return Plan(int(min((allowed - before) / each, most)), words=f"{gmacs:g} GMACs")
    sure = table.thresholds[table.within(allowed, table.macs(before, each))]
    return Plan(most, sure, words=f"{gmacs:g} GMACs on average")


def _seconds(system: System | Host, table: ExitTable | None, seconds: float, most: int) -> Plan:
    if not system.stops:
        raise ArgumentError(
            f"{system.name} cannot keep a budget in seconds: it looks at all its moments at once",
            where="budget",
            hint="give it a number of looks, such as 4",
        )
    if not 0 < seconds <= LONGEST_S:
        raise ArgumentError(
            f"a budget of {seconds:g} s is outside (0, {LONGEST_S:g}]", where="budget", hint=_EXAMPLES
        )
    sure = None if table is None else table.thresholds[table.within(most)]
    return Plan(most, sure, seconds, f"{seconds:g} s")
