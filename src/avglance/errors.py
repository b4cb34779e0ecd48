"""Every error that AVGLance raises on purpose: what was wrong, where, and what to do.

Each leaf also inherits the builtin that a caller would catch, and carries the exit code of the command line.
"""

from __future__ import annotations

from typing import Literal, get_args

FailureKind = Literal[
    "missing",
    "empty",
    "not_media",
    "no_video",
    "unsupported",
    "refused",
    "truncated",
    "timeout",
    "limit",
    "permission",
    "crashed",
]
FAILURE_KINDS: tuple[str, ...] = get_args(FailureKind)


class AVGLanceError(Exception):
    """Base of all errors of this package.

    Args:
        what: what was wrong with the value seen, one lower-case sentence without a full stop.
        where: file, second, argument or layer; may be empty.
        hint: what to do about it; may be empty.
    """

    exit_code = 1

    def __init__(self, what: str, *, where: str = "", hint: str = "") -> None:
        self.what, self.where, self.hint = what, where, hint
        super().__init__(what)

    def __str__(self) -> str:
        text = f"{self.where}: {self.what}" if self.where else self.what
        return f"{text}\n  hint: {self.hint}" if self.hint else text


class ArgumentError(AVGLanceError, ValueError):
    """A value that a caller gave is outside what is allowed."""

    exit_code = 2


class ShapeError(ArgumentError):
    """An array has another shape than the one the docstring states."""


class MediaError(AVGLanceError):
    """A file cannot be read as video or sound.

    Args:
        what: what was met.
        kind: one of ``FAILURE_KINDS``.
        where: the file (and the second).
        hint: what a person can do about it.
    """

    exit_code = 3

    def __init__(self, what: str, *, kind: FailureKind, where: str = "", hint: str = "") -> None:
        super().__init__(what, where=where, hint=hint)
        self.kind: FailureKind = kind


class DataError(AVGLanceError, ValueError):
    """A dataset, a manifest or a cache is not what it should be."""

    exit_code = 2


class CheckpointError(AVGLanceError):
    """Weights are missing, damaged, or made for something else."""

    exit_code = 4


class MissingExtra(AVGLanceError, ImportError):
    """An optional library is missing or broken."""

    exit_code = 5
