"""How a training is told on stderr: a bar on a terminal, else a line now and then."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from avglance.app.render import clean, clock

if TYPE_CHECKING:
    from avglance.training import Told

PLAIN_LINE_S = 30.0  # without a terminal, one line of progress every so many seconds


def silence() -> tuple[None, Callable[[], None]]:
    """What ``teller`` gives where nothing shall be told."""
    return None, lambda: None


def teller(*, live: bool) -> tuple[Callable[[Told], None], Callable[[], None]]:
    """(what hears how a training goes, what ends it): a bar on a terminal, else one line every 30 s."""
    return _bars() if live else _lines()


def _bars() -> tuple[Callable[[Told], None], Callable[[], None]]:
    from tqdm import tqdm

    bars: dict[str, Any] = {}

    def close() -> None:
        for bar in bars.values():
            bar.close()
        bars.clear()

    def hear(told: Told) -> None:
        if told.phase == "note":
            tqdm.write(clean(told.text, 500), file=sys.stderr)
            return
        if told.phase not in bars:
            close()
            unit = "step" if told.phase == "train" else "video"
            bars[told.phase] = tqdm(
                total=told.total, initial=told.done, desc=told.phase, unit=unit, file=sys.stderr
            )
        bar = bars[told.phase]
        bar.set_postfix_str(told.text, refresh=False)
        bar.update(told.done - bar.n)

    return hear, close


def _lines() -> tuple[Callable[[Told], None], Callable[[], None]]:
    begun: dict[str, tuple[float, int]] = {}
    last = time.monotonic()

    def hear(told: Told) -> None:
        nonlocal last
        if told.phase == "note":
            print(clean(told.text, 500), file=sys.stderr, flush=True)
            return
        now = time.monotonic()
        start_s, start = begun.setdefault(told.phase, (now, told.done))
        if now - last < PLAIN_LINE_S or told.done == start:
            return
        last = now
        left_s = (now - start_s) / (told.done - start) * (told.total - told.done)
        said = f"{told.phase}: {told.done} of {told.total}, {clock(round(left_s)).removesuffix('.0')} left"
        print(f"{said}, {told.text}" if told.text else said, file=sys.stderr, flush=True)

    return hear, lambda: None
