"""Where a report may lie: what it never replaces, and that nothing half-made is left."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from avglance.app import report
from avglance.app.answer import Sightings
from avglance.errors import ArgumentError

NO_PICTURES = Sightings((None,) * 3, (None,) * 16, (True,) * 16)


@pytest.mark.parametrize("kind", ["pipe", "device", "link to a pipe"])
def test_only_files_are_replaced(make_answer, tmp_path: Path, kind: str) -> None:
    target = Path(os.devnull) if kind == "device" else tmp_path / "pipe"
    if kind != "device":
        os.mkfifo(target)
    if kind == "link to a pipe":
        target = tmp_path / "link.html"
        target.symlink_to(tmp_path / "pipe")
    before = target.stat()
    with pytest.raises(ArgumentError, match="is a pipe, socket or device") as caught:
        report.save(make_answer(), target, sightings=NO_PICTURES, force=True)
    assert (caught.value.exit_code, caught.value.hint) == (2, "name another file, such as out.html")
    assert os.path.samestat(target.stat(), before)


def test_a_video_is_never_replaced(make_answer, clip: Path, tmp_path: Path) -> None:
    film, notes = tmp_path / "film.mp4", tmp_path / "notes.mp4"
    film.write_bytes(clip.read_bytes())
    notes.write_text("the video of the answer, whatever it holds")
    for target, why in ((film, "may be video or sound"), (notes, "is one of the files to read")):
        before = target.read_bytes()
        with pytest.raises(ArgumentError, match=why):
            report.save(make_answer(str(notes)), target, sightings=NO_PICTURES, force=True)
        assert target.read_bytes() == before


def test_a_link_is_followed_and_kept(make_answer, tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    link = tmp_path / "my.html"
    link.symlink_to(tmp_path / "far" / "true.html")
    for _ in range(2):  # where nothing lies, and over our own page
        assert report.save(make_answer(), link, sightings=NO_PICTURES) == link
    assert link.is_symlink()
    assert [path.name for path in (tmp_path / "far").iterdir()] == ["true.html"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["far", "my.html"]


@pytest.mark.parametrize("way", ["save", "write"])
def test_names_that_cannot_be_are_told(make_answer, tmp_path: Path, way: str) -> None:
    loop = tmp_path / "loop.html"
    loop.symlink_to(loop)
    for target in (loop, tmp_path / ("x" * 300), tmp_path / "a\0b"):
        with pytest.raises(ArgumentError, match="the report cannot be written: ") as caught:
            report.write([], target) if way == "write" else report.save(make_answer(), target)
        assert caught.value.hint
    assert os.listdir(tmp_path) == ["loop.html"]


@pytest.mark.parametrize("step", ["chmod", "replace"])
@pytest.mark.parametrize("error", [OSError(18, "Invalid cross-device link"), KeyboardInterrupt()])
def test_no_draft_is_left_behind(tmp_path: Path, monkeypatch, step: str, error: BaseException) -> None:
    def fail(*args: object) -> None:
        raise error

    monkeypatch.setattr(report.os, step, fail)
    with pytest.raises(ArgumentError if isinstance(error, OSError) else KeyboardInterrupt):
        report.write([], tmp_path / "my.html")
    assert list(tmp_path.iterdir()) == []


AWAY = """
import os, sys
from avglance.app import report
from avglance.errors import ArgumentError
try:
    report.{call}
except ArgumentError as error:
    sys.exit(f"{{error}}")
"""


def in_a_process(call: str, folder: Path, before: str) -> str:
    """What a fresh process says of a report, after some lines of its own."""
    line = [sys.executable, "-c", before + AWAY.format(call=call)]
    done = subprocess.run(line, cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    return done.stderr


@pytest.mark.parametrize("call", ["write([], report.Path('my.html'))", "save([], 'my.html')"])
def test_a_working_folder_that_is_gone_is_told(tmp_path: Path, call: str) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    told = in_a_process(call, folder, "import os; os.rmdir(os.getcwd())")
    assert told.startswith("my.html: the report cannot be written: No such file or directory\n")


def test_a_file_that_may_not_grow_leaves_no_draft(tmp_path: Path) -> None:
    pytest.importorskip("resource", reason="this system has no limits of this kind")
    small = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1024, 1024))"
    told = in_a_process("write([], report.Path('my.html'))", tmp_path, small)
    assert told.startswith("my.html: the report cannot be written: File too large\n")
    assert list(tmp_path.iterdir()) == []
