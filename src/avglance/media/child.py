"""One process that decodes for this one: started, asked, and ended when it does not answer."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from typing import Any

from avglance.errors import AVGLanceError, FailureKind
from avglance.media import wire

_START = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from avglance.media.serve import main; main(sys.argv[2])"
)
_START_S = 60.0
_LEAVE_S = 2.0
_END_S = 0.2
_ONE_THREAD = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
IN_PROCESS_HINT = "decode in this process in its place: isolate=False, on the command line --in-process"
HUNG_HINT = "check the file in a player; raise Limits.max_seek_s or max_decode_s if it is only slow"
CRASHED_HINT = "the file is damaged or hostile: check it in a player, or convert it"


class Gone(Exception):
    """The process gave no answer; the text says how it ended."""

    def __init__(self, kind: FailureKind, what: str, hint: str) -> None:
        super().__init__(what)
        self.kind, self.what, self.hint = kind, what, hint


class Child:
    """One decoding process.

    Attributes:
        served: how many files it has been given so far.
    """

    def __init__(self, reader: str) -> None:
        """Start it; ``reader`` (``module:Name``) will serve the files.

        Raises:
            AVGLanceError: the system starts none.
        """
        path = json.dumps([entry for entry in sys.path if entry])  # '' would be wherever the user stands
        environment = os.environ | dict.fromkeys(_ONE_THREAD, "1")
        try:
            self._popen = subprocess.Popen(
                [sys.executable, "-P", "-c", _START, path, reader],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=environment,
                bufsize=0,
            )
        except OSError as error:
            what = f"no process for decoding could be started ({error})"
            raise AVGLanceError(what, hint=IN_PROCESS_HINT) from error
        assert self._popen.stdin is not None
        assert self._popen.stdout is not None
        self._in, self._out = self._popen.stdin, self._popen.stdout
        if _waits():
            os.set_blocking(self._in.fileno(), False)
        self._ready = self._over = self._timed_out = False
        self._number = 0
        self.served = 0

    @property
    def pid(self) -> int:
        """Its number in the system."""
        return self._popen.pid

    @property
    def alive(self) -> bool:
        """Whether it runs and may be asked."""
        return not self._over and self._popen.poll() is None

    def ask(
        self, question: dict[str, Any], *, limit_s: float, most_bytes: int
    ) -> tuple[dict[str, Any], bytearray]:
        """The answer to a question; see ``put`` and ``get``."""
        self.put(question, limit_s=limit_s)
        return self.get(limit_s=limit_s, most_bytes=most_bytes)

    def put(self, question: dict[str, Any], *, limit_s: float) -> None:
        """Ask a question; its answer has to be got before the next one is put.

        Raises:
            Gone: it was not taken in time, or the process has ended.
            AVGLanceError: the process could not be started.
        """
        if not self._ready:
            self._wait_until_ready()
        self._number += 1
        self._talk(question | {"limit_s": limit_s, "number": self._number}, limit_s=limit_s)

    def get(self, *, limit_s: float, most_bytes: int) -> tuple[dict[str, Any], bytearray]:
        """The answer to the question that was put.

        Raises:
            Gone: there was none in time, it was none, or the process has ended.
        """
        head, behind = self._talk(None, limit_s=limit_s, most_bytes=most_bytes)
        if head.get("number") != self._number:
            raise self.no_message()
        return head, behind

    def _talk(
        self, question: dict[str, Any] | None, *, limit_s: float, most_bytes: int = 0
    ) -> tuple[dict[str, Any], bytearray]:
        """Send a question, or wait for a message where there is none to send."""
        timer = None
        try:
            if self._over:
                raise wire.Closed
            until, timer = time.monotonic() + limit_s, self._timer(limit_s)
            if question is None:
                return wire.receive(self._out.fileno(), most_bytes=most_bytes, until=until)
            wire.send(self._in.fileno(), question, until=until)
            return {}, bytearray()
        except (wire.Silence, wire.Closed) as error:
            raise self._ended(hung=self._timed_out or isinstance(error, wire.Silence)) from None
        except BaseException:  # half an answer may still come: nobody could tell it from the next one
            self.kill()
            raise
        finally:
            if timer is not None:
                timer.cancel()

    def _wait_until_ready(self) -> None:
        try:
            self._talk(None, limit_s=_START_S)
        except Gone:
            raise AVGLanceError("no process for decoding could be started", hint=IN_PROCESS_HINT) from None
        self._ready = True

    def _timer(self, limit_s: float) -> threading.Timer | None:
        """Where a pipe cannot be waited for, the process is ended from beside."""
        if _waits():
            return None

        def end() -> None:
            self._timed_out = True
            self._popen.kill()

        timer = threading.Timer(min(limit_s, threading.TIMEOUT_MAX), end)
        timer.daemon = True
        timer.start()
        return timer

    def _ended(self, *, hung: bool) -> Gone:
        """How the process ended, in words; it is over after this."""
        code = None
        if not hung:
            with contextlib.suppress(subprocess.TimeoutExpired):
                code = self._popen.wait(_LEAVE_S)
        over, self._over = self._over, True
        self.kill()
        if hung or (code is not None and code == -getattr(signal, "SIGALRM", 0) != 0):
            return Gone("timeout", "decoding hung and was stopped", HUNG_HINT)
        if code is None:
            return self.no_message()
        if code == -getattr(signal, "SIGKILL", 0) != 0 and not over:
            hint = "most likely for want of memory: lower Limits.max_memory_bytes, or free some"
            return Gone("limit", "the system ended the process that decoded it", hint)
        how = f"exit code {code}"
        if code < 0:
            with contextlib.suppress(ValueError):
                how = signal.Signals(-code).name
        return Gone("crashed", f"the decoder crashed on it ({how})", CRASHED_HINT)

    def no_message(self) -> Gone:
        """End a process that sends nonsense: it is not to be believed any more."""
        self.kill()
        return Gone("crashed", "the decoder crashed on it (it sent what is no message)", CRASHED_HINT)

    def kill(self) -> None:
        """End the process now; safe to call twice."""
        self._over = True
        with contextlib.suppress(OSError):
            self._popen.kill()
        self._let_go(_END_S)

    def leave(self) -> None:
        """Ask the process to end, and see that it does."""
        self._over = True
        with contextlib.suppress(OSError):
            self._in.close()
        try:
            self._popen.wait(_LEAVE_S)
        except subprocess.TimeoutExpired:
            self._popen.kill()
        self._let_go(_LEAVE_S)

    def _let_go(self, seconds: float) -> None:
        """Wait a little and close the pipes; a process that waits for a disk ends when that answers."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._popen.wait(seconds)
        for pipe in (self._in, self._out):
            with contextlib.suppress(OSError):
                pipe.close()


def _waits() -> bool:
    """Whether this system can wait for a pipe with a limit; Windows cannot."""
    return os.name != "nt"
