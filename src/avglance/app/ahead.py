"""Several items under way at once, their results in order: a queue of a fixed length."""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

In = TypeVar("In")
Out = TypeVar("Out")
MOST_AT_ONCE = 8


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_order(work: Callable[[In], Out], items: Iterable[In], *, at_once: int) -> Iterator[Out]:
    """What ``work`` gives for each item, in their order, while the next ones are under way.

    Each worker has one thread of torch's own: on small networks cores are worth more side by side.

    Args:
        work: may raise; that ends the run where the item's turn comes.
        items: taken as they are needed, at most ``at_once`` ahead of what was given out; where they raise,
            what is under way is given out first.
        at_once: how many; 1: one after another, in this thread.
    """
    if at_once <= 1:
        yield from map(work, items)
        return
    torch = sys.modules.get("torch")  # graphs need none
    threads = 0 if torch is None else torch.get_num_threads()
    alone: dict[str, Any] = {} if torch is None else {"initializer": torch.set_num_threads, "initargs": (1,)}
    pool = ThreadPoolExecutor(at_once, "look", **alone)
    under_way: deque[Future[Out]] = deque()
    broken: list[Exception] = []
    try:
        for item in _until_broken(items, broken):
            under_way.append(pool.submit(work, item))
            while len(under_way) > at_once or (under_way and under_way[0].done()):
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()
        if broken:
            raise broken[0]
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        if torch is not None:
            torch.set_num_threads(threads)


def _until_broken(items: Iterable[In], broken: list[Exception]) -> Iterator[In]:
    """The items until they end or raise; what they raised is put into ``broken``."""
    try:
        yield from items
    except Exception as error:  # noqa: BLE001 - it is raised behind the answers that are under way
        broken.append(error)
