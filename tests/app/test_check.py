"""``avglance check``: tables for people, JSON lines for programs, exact exit codes."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from tests.media.makers import even, spoil, tone, write

from avglance.app.cli import main
from avglance.media import VideoReader


@pytest.fixture
def good(tmp_path):
    return write(tmp_path / "good.mp4", even(2), sound=tone(2))


@pytest.fixture
def bad(tmp_path):
    path = tmp_path / "bad.mp4"
    path.write_text("<html>not found</html>")
    return path


def records(capsys) -> list[dict]:
    out, err = capsys.readouterr()
    assert err == ""
    return [json.loads(line) for line in out.splitlines()]


def test_a_good_file(good, capsys):
    assert main(["check", str(good)]) == 0
    (record,) = records(capsys)
    assert (record["video"], record["verdict"], record["audio"]) == (str(good), "ok", "present")
    assert (record["frames"], record["reasons"]) == (50, [])
    assert record["file"]["video_codec"] == "h264"
    assert "kind" not in record


def test_a_bad_file(bad, capsys):
    assert main(["check", "--json", str(bad)]) == 3
    (record,) = records(capsys)
    assert (record["verdict"], record["kind"], record["file"]) == ("failed", "not_media", None)
    assert record["hint"]


def test_several(good, bad, tmp_path, capsys):
    hole = spoil(write(tmp_path / "hole.mp4", even(6)), 2.0, 4.0)
    assert main(["check", str(good), str(bad), str(hole)]) == 6
    found = records(capsys)
    assert [r["verdict"] for r in found] == ["ok", "failed", "degraded"]
    (reason,) = found[2]["reasons"]
    assert reason["kind"] == "damaged"
    assert reason["start_s"] == pytest.approx(2.0, abs=0.2)
    assert main(["check", str(good), str(hole)]) == 0  # degraded is readable


def test_quick_reads_packets_only(good, capsys):
    assert main(["check", "--quick", str(good)]) == 0
    (record,) = records(capsys)
    assert (record["frames"], record["verdict"]) == (0, "ok")
    assert record["picture_s"] == pytest.approx(2.0, abs=0.1)


def test_a_folder_stands_for_its_files(good, bad, capsys):
    assert main(["check", str(good.parent)]) == 6
    assert [r["video"] for r in records(capsys)] == [str(bad), str(good)]


def test_an_empty_folder_fails(tmp_path, capsys):
    folder = tmp_path / "empty.mp4"
    folder.mkdir()
    assert main(["check", str(folder)]) == 3
    assert records(capsys)[0]["kind"] == "not_media"


def test_the_table(good, bad, tmp_path, capsys, monkeypatch):
    hole = spoil(write(tmp_path / "ho\x1b[31mle.mp4", even(6)), 2.0, 4.0)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("NO_COLOR", "1")
    assert main(["check", str(good), str(bad), str(hole)]) == 6
    out, err = capsys.readouterr()
    assert err == ""
    assert "\x1b" not in out
    lines = out.splitlines()
    assert lines[0].startswith("ok")
    assert "96x64 h264 25 fps" in lines[1]
    assert "sound present (aac 16000 Hz)" in lines[1]
    assert "not_media: not a media file, it begins like a web page" in out
    assert "hint: download it again" in out
    assert "damaged: pictures are damaged or missing, 00:02" in out
    assert lines[-1] == "3 files: 1 ok, 1 degraded, 1 failed"


def test_wrong_usage(capsys):
    assert main(["check"]) == 2
    assert main(["check", "--jsno", "x.mp4"]) == 2
    assert "--json" in capsys.readouterr().err


def test_a_real_process_needs_no_torch(good, bad):
    code = "import sys; from avglance.app.cli import main; c = main(sys.argv[1:]); "
    code += "assert 'torch' not in sys.modules; sys.exit(c)"
    done = subprocess.run(
        [sys.executable, "-c", code, "check", str(good), "--", str(bad)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (6, "")
    assert len(done.stdout.splitlines()) == 2


def test_a_bug_is_not_hidden(good, monkeypatch):
    def broken(*_args: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(VideoReader, "_open", broken)
    with pytest.raises(ZeroDivisionError):
        main(["check", str(good)])
