"""Work of an iterator in a thread of its own: what it gives is there, or on its way, when it is asked for."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from contextlib import closing
from typing import Any, Generic, Self, TypeVar

T = TypeVar("T")
_BEAT_S = 0.5  # a wait without an end could not be interrupted everywhere


class Ahead(Generic[T]):
    """The items of a generator, made in a thread; an iterator itself.

    What the generator raises is raised here, where its turn comes. Items that nobody has taken are kept, so
    the generator is to be a short one. Close it: the thread ends after the item at hand.
    """

    def __init__(self, items: Iterator[T], name: str) -> None:
        self._items: Any = items
        self._came: queue.SimpleQueue[tuple[T] | BaseException | None] = queue.SimpleQueue()
        self._stopped = False
        self._over = False
        self._thread = threading.Thread(target=self._work, name=name)
        self._thread.start()

    def _work(self) -> None:
        end: BaseException | None = None
        try:
            with closing(self._items):  # in the thread that it ran in
                for item in self._items:
                    self._came.put((item,))
                    if self._stopped:
                        break
        except BaseException as error:  # noqa: BLE001 - it is raised in the thread that asks
            end = error
        self._came.put(end)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> T:
        """The next item, waited for.

        Raises:
            StopIteration: there is no other.
            BaseException: what the generator raised.
        """
        while not self._over:
            try:
                came = self._came.get(timeout=_BEAT_S)
            except queue.Empty:
                continue
            if isinstance(came, tuple):
                return came[0]
            self._over = True
            if came is not None:
                raise came
        raise StopIteration

    def close(self) -> None:
        """Let the item at hand be the last, and wait for it; safe to call twice."""
        self._stopped = True
        self._thread.join()
