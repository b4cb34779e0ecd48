"""Ctrl-C and the polite request to end (SIGTERM): between two steps, never inside one."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def one_interrupt(*, patient: bool = False) -> Iterator[threading.Event]:
    """The first signal sets the event, so that the loop saves after its step; the second one interrupts.

    Args:
        patient: the second one waits as well: a launcher of several processes sends each signal again.
    """
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)  # None: set by other than Python

    def note(signum: int, frame: object) -> None:
        asked.set()
        if not patient:
            restore()

    for number in SIGNALS:
        signal.signal(number, note)
    try:
        yield asked
    finally:
        restore()
