"""Processes that decode or paint for us: they share the cores, and end with the process that started them."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from _thread import interrupt_main
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from typing import Any, TypeVar

In = TypeVar("In")
Out = TypeVar("Out")

_TIDY_S = 1.0  # for a worker that is told to end: to take away what it has begun to write

_make: Callable[[Any], Any] | None = None  # what this process makes, where it was started by ``pool``
_busy = False


@contextmanager
def one_thread_each() -> Iterator[None]:
    """While this holds, new processes use one thread for matrix products: they share the cores."""
    names = [name for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS") if name not in os.environ]
    os.environ.update(dict.fromkeys(names, "1"))
    try:
        yield
    finally:
        for name in names:
            os.environ.pop(name, None)


@contextmanager
def pool(make: Callable[[In], Out], workers: int) -> Iterator[Callable[[In], Future[Out]]]:
    """So many processes, each handed ``make`` once; yields what gives one of them an item to make.

    Whatever ends this process or leaves the ``with`` early ends them too, within about a second: they hold
    one end of a pipe whose other end is ours alone, and that closes with us even where we are killed.
    """
    spawn = multiprocessing.get_context("spawn")
    theirs, ours = spawn.Pipe(duplex=False)
    with one_thread_each():
        executor = ProcessPoolExecutor(workers, mp_context=spawn, initializer=_start, initargs=(make, theirs))
        try:
            yield lambda item: executor.submit(_made, item)
        except BaseException:
            ours.close()
            raise
        finally:
            executor.shutdown(cancel_futures=True)
            theirs.close()
            ours.close()


def _start(make: Callable[[Any], Any], line: Connection) -> None:
    """Ctrl-C reaches every process of a terminal: workers leave it to the one that started them."""
    global _make
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _end)
    _make = make
    threading.Thread(target=_watch, args=(line,), name="watch", daemon=True).start()


def _end(number: int, frame: object) -> None:
    """What is being made tidies up after itself; where nothing is, there is nothing to tidy."""
    if not _busy:
        os._exit(1)
    raise KeyboardInterrupt


def _watch(line: Connection) -> None:
    """Ends this process when the other end of the line closes."""
    with suppress(OSError):  # how Windows says that it closed
        line.poll(None)  # nothing is ever sent
    if _busy:
        interrupt_main(signal.SIGTERM)
        time.sleep(_TIDY_S)
    os._exit(1)


def _made(item: Any) -> Any:
    global _busy
    assert _make is not None  # the pool starts every process with ``_start``
    _busy = True
    try:
        return _make(item)
    except KeyboardInterrupt:  # raised by ``_end``
        os._exit(1)
    finally:
        _busy = False
