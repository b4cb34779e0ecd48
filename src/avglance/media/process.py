"""One process that decodes for this one: started, asked, and ended when it does not answer."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from typing import Any

from avglance.errors import AVGLanceError, FailureKind
from avglance.media import wire

_START = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from avglance.media.child import main; main(sys.argv[2])"
)
_START_S = 60.0
_LEAVE_S = 2.0
_ONE_THREAD = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
IN_PROCESS_HINT = "decode in this process in its place: isolate=False, on the command line --in-process"


class Gone(Exception):
    """The process gave no answer; the text says how it ended."""

    def __init__(self, kind: FailureKind, what: str, hint: str) -> None:
        super().__init__(what)
        self.kind, self.what, self.hint = kind, what, hint


class Child:
    """One decoding process."""

    def __init__(self, reader: str) -> None:
        """Start it; ``reader`` (``module:Name``) will serve the files.

        Raises:
            AVGLanceError: the system starts none.
        """
        path = json.dumps([entry for entry in sys.path if entry])  # '' would be wherever the user stands
        environment = os.environ | dict.fromkeys(_ONE_THREAD, "1")
        try:
            self._process = subprocess.Popen(
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
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._in, self._out = self._process.stdin, self._process.stdout
        self._ready = False

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process.poll() is None

    def ask(
        self, question: dict[str, Any], *, limit_s: float, most_bytes: int
    ) -> tuple[dict[str, Any], bytearray]:
        """The answer to a question.

        Raises:
            Gone: there was none in time, or the process has ended.
            AVGLanceError: the process could not be started.
        """
        if not self._ready:
            self._wait_until_ready()
        elif not self.alive:
            raise self._ended()
        try:
            wire.send(self._in.fileno(), question | {"limit_s": limit_s})
            timer = self._timer(limit_s)
            try:
                return wire.receive(self._out.fileno(), most_bytes=most_bytes, seconds=limit_s)
            finally:
                if timer is not None:
                    timer.cancel()
        except wire.Silence:
            self.kill()
            hint = "check the file in a player; raise Limits.max_seek_s or max_decode_s if it is only slow"
            raise Gone("timeout", "decoding hung and was stopped", hint) from None
        except wire.Closed:
            raise self._ended() from None

    def _wait_until_ready(self) -> None:
        try:
            wire.receive(self._out.fileno(), seconds=_START_S)
        except (wire.Silence, wire.Closed):
            self.kill()
            raise AVGLanceError("no process for decoding could be started", hint=IN_PROCESS_HINT) from None
        self._ready = True

    def _timer(self, limit_s: float) -> threading.Timer | None:
        """Where a pipe cannot be waited for, the process is ended from beside."""
        if os.name != "nt":
            return None
        timer = threading.Timer(limit_s, self._process.kill)
        timer.start()
        return timer

    def _ended(self) -> Gone:
        """How the process ended, in words."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_LEAVE_S)
        code = self._process.poll()
        self.kill()
        if code == -signal.SIGALRM:
            return Gone("timeout", "decoding hung and was stopped", "check the file in a player")
        if os.name != "nt" and code == -signal.SIGKILL:
            hint = "most likely for want of memory: lower Limits.max_memory_bytes, or free some"
            return Gone("limit", "the system ended the process that decoded it", hint)
        how = "it sent what is no message" if code is None else f"exit code {code}"
        if code is not None and code < 0:
            with contextlib.suppress(ValueError):
                how = signal.Signals(-code).name
        hint = "the file is damaged or hostile: check it in a player, or convert it"
        return Gone("crashed", f"the decoder crashed on it ({how})", hint)

    def kill(self) -> None:
        """End the process now."""
        with contextlib.suppress(OSError):
            self._process.kill()
        self._let_go(0.2)

    def leave(self) -> None:
        """Ask the process to end, and see that it does."""
        with contextlib.suppress(OSError):
            self._in.close()
        try:
            self._process.wait(_LEAVE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._let_go(_LEAVE_S)

    def _let_go(self, seconds: float) -> None:
        with contextlib.suppress(
            subprocess.TimeoutExpired
        ):  # one that waits for a disk ends when that answers
            self._process.wait(seconds)
        for pipe in (self._in, self._out):
            with contextlib.suppress(OSError):
                pipe.close()
