"""What a command asks of the machine before torch is loaded."""

from __future__ import annotations

import os


def wait_idly() -> None:
    """Let torch's threads sleep while they wait, unless the user has said otherwise.

    By default they spin, which keeps the core from the thread they wait for where other work runs: with one
    other busy process on two cores that takes ten times as long. On a quiet machine nothing changes.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
