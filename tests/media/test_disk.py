"""The speed of the disk: what is read, how much at most, and what is said of it."""

from __future__ import annotations

import os
import threading
from types import SimpleNamespace

import pytest

from avglance.media import disk
from avglance.media.disk import DiskSpeed


def put(path, megabytes: float):
    path.write_bytes(os.urandom(1 << 20) * int(megabytes) or os.urandom(int(megabytes * (1 << 20))))
    return path


def test_a_file_that_is_held_in_memory_says_nothing_of_the_disk(tmp_path, monkeypatch):
    monkeypatch.setattr(disk, "_dropped", lambda file, count: False)
    speed = DiskSpeed()
    speed.look(put(tmp_path / "x", 3))
    assert speed.told().startswith("the system's memory reads ")
    assert speed.told().endswith(" MB/s (the speed of the disk is not known)")


def test_bytes_from_the_disk_count_before_others(tmp_path, monkeypatch):
    speed = DiskSpeed()
    for name, dropped in (("a", False), ("b", True)):
        monkeypatch.setattr(disk, "_dropped", lambda file, count, dropped=dropped: dropped)
        speed.look(put(tmp_path / name, 2))
    assert speed.told().startswith("the disk reads ")
    assert speed.told().endswith(" MB/s")


def test_the_truth_about_the_cache(tmp_path):
    """A file that was just written and not synchronised cannot be dropped; whatever the system, no error."""
    path = put(tmp_path / "x", 2)
    with path.open("rb") as file:
        assert disk._dropped(file.fileno(), 2 << 20) in (True, False)
    if not hasattr(os, "RWF_NOWAIT"):
        with path.open("rb") as file:
            assert not disk._dropped(file.fileno(), 2 << 20)


def test_too_little_is_no_measurement(tmp_path):
    speed = DiskSpeed()
    speed.look(put(tmp_path / "x", 0.5))
    assert speed.told() == ""


def test_the_limits(tmp_path, monkeypatch):
    monkeypatch.setattr(disk, "_FILE_BYTES", 2 << 20)
    monkeypatch.setattr(disk, "_ALL_BYTES", 5 << 20)
    speed, left = DiskSpeed(), []
    for name in "abcd":
        speed.look(put(tmp_path / name, 3))
        left.append(speed.left >> 20)
    assert left == [3, 1, 0, 0]


def test_a_slow_disk_takes_a_second_a_file_and_five_in_all(tmp_path, monkeypatch):
    """A clock on which each block of 256 kB takes 0.3 s: four of them are read of a file."""
    now, read = [0.0], os.read

    def slow(file: int, count: int) -> bytes:
        now[0] += 0.3
        return read(file, count)

    monkeypatch.setattr(disk, "_dropped", lambda file, count: True)
    monkeypatch.setattr(disk, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    monkeypatch.setattr(disk, "os", SimpleNamespace(**{**vars(os), "read": slow}))
    speed, path, blocks = DiskSpeed(), put(tmp_path / "x", 3), []
    for _ in range(7):
        before = speed.left
        speed.look(path)
        blocks.append((before - speed.left) / (256 << 10))
    assert blocks == [4, 4, 4, 4, 1, 0, 0]
    assert now[0] == pytest.approx(5.1)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes on this system")
def test_a_pipe_does_not_stop_it(tmp_path):
    speed, pipe = DiskSpeed(), tmp_path / "pipe"
    os.mkfifo(pipe)
    looking = threading.Thread(target=speed.look, args=(pipe,), daemon=True)
    looking.start()
    looking.join(5)
    assert not looking.is_alive()
    assert speed.left == disk._ALL_BYTES


def test_what_is_no_file_is_left_alone(tmp_path):
    speed = DiskSpeed()
    for path in (tmp_path, tmp_path / "missing", f"{tmp_path}/nul\0"):
        speed.look(path)
    assert speed.left == disk._ALL_BYTES
