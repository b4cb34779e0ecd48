"""How fast the disk gives files: plain reads from their start to their end, before anything decodes them."""

from __future__ import annotations

import os
import stat
import time

_BLOCK = 256 << 10
_FILE_BYTES = 32 << 20  # of one file
_ALL_BYTES = 256 << 20  # of all files
_FILE_S = 1.0  # seconds after which a file is left alone; nothing else is done meanwhile
_ALL_S = 5.0
_FEWEST = 1 << 20  # fewer bytes tell nothing


class DiskSpeed:
    """Measures by reading the beginnings of files that are about to be read anyway.

    What the system holds of a file is dropped first; where the file still comes from memory, or nobody can
    say, its bytes count apart. Costs at most the reading of 256 MB, which then need not be read again, and
    about 5 seconds.
    """

    def __init__(self) -> None:
        self._disk = [0, 0.0]  # bytes, seconds
        self._memory = [0, 0.0]

    @property
    def left(self) -> int:
        """How many bytes may still be read."""
        return _ALL_BYTES - int(self._disk[0] + self._memory[0])

    def look(self, path: str | os.PathLike[str]) -> None:
        """Read the beginning of a file; one that cannot be read is left alone."""
        seconds = min(_FILE_S, _ALL_S - self._disk[1] - self._memory[1])
        if self.left <= 0 or seconds <= 0:
            return
        try:
            file = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        except (OSError, ValueError):
            return
        try:
            state = os.fstat(file)
            if stat.S_ISREG(state.st_mode) and state.st_size:
                most = min(state.st_size, _FILE_BYTES, self.left)
                where = self._disk if _dropped(file, most) else self._memory
                began = time.perf_counter()
                where[0] += _read(file, most, began + seconds)
                where[1] += time.perf_counter() - began
        except OSError:
            return
        finally:
            os.close(file)

    def told(self) -> str:
        """What was measured, in words: ``the disk reads 512 MB/s``; empty where too little was read."""
        for (count, seconds), name in ((self._disk, "the disk"), (self._memory, "the system's memory")):
            if count >= _FEWEST and seconds > 0:
                honest = "" if name == "the disk" else " (the speed of the disk is not known)"
                return f"{name} reads {count / 1e6 / seconds:.0f} MB/s{honest}"
        return ""


def _dropped(file: int, count: int) -> bool:
    """Let the system forget these bytes of an open file; whether it truly has."""
    if not hasattr(os, "posix_fadvise") or not hasattr(os, "RWF_NOWAIT"):
        return False
    os.posix_fadvise(file, 0, count, os.POSIX_FADV_DONTNEED)
    place = bytearray(1)
    for at in {0, count // 2, count - 1}:
        try:
            if os.preadv(file, [place], at, os.RWF_NOWAIT):
                return False  # it did not have to wait: this byte was still in memory
        except BlockingIOError:
            continue
        except OSError:  # this file system cannot tell
            return False
    return True


def _read(file: int, most: int, until: float) -> int:
    """Read from the start; how many bytes were read before this time."""
    done = 0
    while done < most and time.perf_counter() < until:
        got = os.read(file, min(_BLOCK, most - done))
        if not got:
            break
        done += len(got)
    return done
