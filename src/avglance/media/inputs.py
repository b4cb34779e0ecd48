"""The kinds of input: a path, bytes, a file object, pictures with their times."""

from __future__ import annotations

import contextlib
import io
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from avglance.errors import ArgumentError, MediaError
from avglance.media.arrays import VideoArray
from avglance.media.limits import Limits
from avglance.media.source import show

Source = str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO | VideoArray
"""What can be read: a path, the bytes of a file, an open binary file or stream, pictures with their times."""

_BLOCK = 1 << 20


def source_name(source: Source) -> str:
    """What an input is called in results: the path, the name of the file object, or its kind in brackets."""
    if isinstance(source, VideoArray):
        return "<array>"
    if isinstance(source, (bytes, bytearray, memoryview)):
        return "<bytes>"
    if isinstance(source, (str, os.PathLike)):
        return os.fspath(source)
    name = getattr(source, "name", None)
    return name if isinstance(name, str) and name else "<stream>"


@contextlib.contextmanager
def local(source: Source, limits: Limits | None = None) -> Iterator[Path | VideoArray]:
    """The input as something that a reader opens; a temporary copy of bytes and streams, gone afterwards.

    A file object is read from where it stands to its end; one that is a whole file on this disk, at its
    beginning, is read from there and not copied.

    Raises:
        ArgumentError: the input is none of the kinds.
        MediaError: a stream is longer than ``limits.max_copy_bytes`` (``limit``) or cannot be read
            (``missing``).
    """
    if isinstance(source, VideoArray):
        yield source
    elif isinstance(source, (str, os.PathLike)):
        yield Path(source)
    elif isinstance(source, (bytes, bytearray, memoryview)):
        with _folder() as folder:
            yield _copied(
                io.BytesIO(source if isinstance(source, bytes) else bytes(source)),
                Path(folder, "bytes"),
                limits or Limits(),
                source_name(source),
            )
    elif not hasattr(source, "read"):
        hint = "give a path, bytes, a binary file object, or avglance.VideoArray(pictures, times)"
        raise ArgumentError(f"{type(source).__name__} is no kind of video", where="tag", hint=hint)
    elif (whole := _on_disk(source)) is not None:
        yield whole
    else:
        with _folder() as folder:
            yield _copied(source, Path(folder, "stream"), limits or Limits(), source_name(source))


def _folder() -> tempfile.TemporaryDirectory[str]:
    """Where a copy stands; a process that was just ended may still hold it, where systems mind that."""
    try:
        return tempfile.TemporaryDirectory(prefix="avglance-", ignore_cleanup_errors=True)
    except OSError as error:
        what = f"no temporary folder can be made ({error.strerror or error})"
        hint = "bytes and streams are copied to one: set TMPDIR to a folder with room, or give a path"
        raise ArgumentError(what, where="tag", hint=hint) from error


def _on_disk(stream: BinaryIO) -> Path | None:
    """The path of a file object that stands at the start of a regular file of that name; else None."""
    if not isinstance(getattr(stream, "raw", stream), io.FileIO):  # what unpacks a file has its name, too
        return None
    try:
        name, state = stream.name, os.fstat(stream.fileno())
        if not isinstance(name, (str, bytes)) or stream.tell() != 0 or not stat.S_ISREG(state.st_mode):
            return None
        path = Path(os.path.abspath(os.fsdecode(name)))
        return path if os.path.samestat(path.stat(), state) else None
    except (OSError, AttributeError, ValueError):
        return None


def _copied(stream: BinaryIO, target: Path, limits: Limits, name: str) -> Path:
    where, left = show(name), limits.max_copy_bytes
    try:
        with target.open("wb") as file:
            while (block := stream.read(_BLOCK)) != b"":
                if not isinstance(block, (bytes, bytearray, memoryview)):
                    hint = 'open the file in binary mode: open(path, "rb")'
                    raise ArgumentError("the file object gives no bytes", where=where, hint=hint)
                left -= len(block)
                if left < 0:
                    what = f"it is longer than {limits.max_copy_bytes / 1e9:.3g} GB"
                    hint = "save it to a file first, or raise Limits.max_copy_bytes"
                    raise MediaError(what, kind="limit", where=where, hint=hint)
                file.write(block)
    except (ValueError, TypeError, BufferError) as error:
        if isinstance(error, ArgumentError):
            raise
        hint = 'give one that is open, binary and can be read: open(path, "rb")'
        raise ArgumentError(f"the file object cannot be read ({error})", where=where, hint=hint) from error
    except OSError as error:
        hint = "see that the stream can be read and that the temporary folder has room"
        what = f"the stream could not be copied ({error.strerror or error})"
        raise MediaError(what, kind="missing", where=where, hint=hint) from error
    return target
