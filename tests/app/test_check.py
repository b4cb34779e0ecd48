"""``avglance check``: tables for people, JSON lines for programs, exact exit codes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tests.media.makers import cut, even, front_loaded, spoil, tone, write

from avglance.app.check import common_folder
from avglance.app.cli import main
from avglance.errors import AVGLanceError
from avglance.media import VideoReader


@pytest.fixture
def good(tmp_path):
    return write(tmp_path / "good.mp4", even(2), sound=tone(2))


@pytest.fixture
def bad(tmp_path):
    path = tmp_path / "bad.mp4"
    path.write_text("<html>not found</html>")
    return path


def pretend_terminal(monkeypatch) -> None:
    """Stdout is a terminal of 80 columns without colours, stderr is not."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "80")


def records(capsys) -> list[dict]:
    out, err = capsys.readouterr()
    assert err == ""
    return [json.loads(line) for line in out.splitlines()]


def test_a_good_file(good, capsys):
    assert main(["check", str(good)]) == 0
    (record,) = records(capsys)
    assert (record["video"], record["verdict"], record["audio"]) == (str(good), "ok", "present")
    assert (record["frames"], record["reasons"], record["advice"]) == (50, [], [])
    assert record["file"]["video_codec"] == "h264"
    assert record["bytes"] == good.stat().st_size
    assert 0 < record["seconds"] < 60
    assert (record["schema"], "kind" in record) == (1, False)


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
    assert found[2]["advice"][-1].startswith(f"ffmpeg -nostdin -i {hole} ")
    assert main(["check", str(good), str(hole)]) == 0  # degraded is readable


@pytest.mark.parametrize("way", [[], ["--in-process"]])
def test_quick_reads_packets_only(good, capsys, way):
    assert main(["check", "--quick", *way, str(good)]) == 0
    (record,) = records(capsys)
    assert (record["frames"], record["verdict"]) == (0, "ok")
    assert record["picture_s"] == pytest.approx(2.0, abs=0.1)


def test_both_ways_of_decoding_say_the_same(good, bad, tmp_path, capsys):
    hole = spoil(write(tmp_path / "hole.mkv", even(6), sound=tone(6)), 2.0, 4.0)
    told = []
    for way in ([], ["--in-process"], ["--deep"]):
        assert main(["check", *way, str(good), str(bad), str(hole)]) == 6
        told.append([{k: v for k, v in r.items() if k != "seconds"} for r in records(capsys)])
    assert told[0] == told[1]
    assert [r["verdict"] for r in told[2]] == [r["verdict"] for r in told[0]]


def test_a_folder_stands_for_its_files(good, bad, capsys):
    assert main(["check", str(good.parent)]) == 6
    assert [r["video"] for r in records(capsys)] == [str(bad), str(good)]


def test_an_empty_folder_fails(tmp_path, capsys):
    folder = tmp_path / "empty.mp4"
    folder.mkdir()
    assert main(["check", str(folder)]) == 3
    assert records(capsys)[0]["kind"] == "not_media"


def test_the_table(good, bad, tmp_path, capsys, monkeypatch):
    pretend_terminal(monkeypatch)
    write(tmp_path / "film.mkv", even(1), sound=tone(1), sound_codec="pcm_s16le")
    cut(front_loaded(write(tmp_path / "half.mp4", even(10), sound=tone(10))), 0.5)
    hole = spoil(write(tmp_path / "ho\x1b[31mle.mp4", even(6)), 2.0, 4.0)
    assert main(["check", str(tmp_path)]) == 6
    out, err = capsys.readouterr()
    assert (err, "\x1b" in out) == ("", False)
    lines = out.splitlines()
    assert lines[0].startswith("verdict   length    picture    codec     fps  sound   read  file, in ")
    rows = [line for line in lines if line.startswith(("ok ", "degraded ", "failed "))]
    assert rows == [
        "failed    -         -          -           -  -          -  bad.mp4",
        "ok        00:01.0   96x64      h264       25  pcm_s1  100%  film.mkv",
        "ok        00:02.0   96x64      h264       25  aac     100%  good.mp4",
        rows[3],
        "degraded  00:06.0   96x64      h264       25  -        66%  ho[31mle.mp4",
    ]
    assert re.fullmatch(
        r"degraded  00:0[45]\.\d   96x64      h264       25  aac {6}[45]\d%  half.mp4", rows[3]
    )
    at = lines.index(rows[0])
    assert lines[at + 1 : at + 3] == [
        "          not_media: not a media file, it begins like a web page",
        "          hint: download it again; the server sent a page in place of the video",
    ]
    at = lines.index(rows[3])
    assert lines[at + 1].startswith("          truncated: the file ends before its header says, 00:0")
    assert f"          ffmpeg -nostdin -i {tmp_path}/half.mp4 -map 0:V -map 0:a -c copy -t 4." in out
    at = lines.index(rows[4])
    assert lines[at + 1] == "          damaged: pictures are damaged or missing, 00:02.0 to 00:04.0"
    assert "          ffmpeg -nostdin -i INPUT -map 0:V -c:v libx264 -crf 18 INPUT.mended.mp4" in lines
    assert max(len(line) for line in lines if "ffmpeg" not in line) <= 80
    assert lines[-3:-1] == ["", "5 files: 2 ok, 2 degraded, 1 failed"]
    size = sum(p.stat().st_size for p in tmp_path.iterdir())
    assert re.match(
        rf"00:1\d\.\d of footage, {size / 1e3:.0f} kB, checked in [\d.]+ m?s: [\d.]+ x real time, ", lines[-1]
    )
    assert hole.is_file()


def test_one_file_on_a_terminal(good, bad, capsys, monkeypatch):
    pretend_terminal(monkeypatch)
    assert main(["check", str(good)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("ok ")
    assert lines[1:3] == [
        "          00:02.0  96x64 h264 25 fps  sound present (aac 16000 Hz)",
        "          100 % readable",
    ]
    assert lines[3] == ""
    assert lines[4].startswith("00:02.0 of footage, ")
    assert len(lines) == 5
    assert main(["check", str(bad)]) == 3
    assert capsys.readouterr().out.splitlines()[1:] == [
        "          not_media: not a media file, it begins like a web page",
        "          hint: download it again; the server sent a page in place of the video",
    ]


def test_the_speed_of_the_disk(tmp_path, capsys, monkeypatch):
    pretend_terminal(monkeypatch)
    noise = lambda n: np.random.default_rng(n).integers(0, 256, (240, 320, 3), dtype=np.uint8)  # noqa: E731
    path = write(tmp_path / "x.mkv", even(1), draw=noise, codec="ffv1", pixels="yuv444p")
    assert path.stat().st_size > 1 << 20
    assert main(["check", str(path)]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert "; the disk reads " in last or "; the system's memory reads " in last


def test_a_sound_track_that_is_not_there(good, tmp_path, capsys):
    mute = write(tmp_path / "mute.mp4", even(1))
    assert main(["check", "--audio-track", "1", str(good)]) == 2
    assert "there are 1 sound tracks" in capsys.readouterr().err
    assert main(["check", "--audio-track", "1", str(good), str(mute)]) == 6
    found = records(capsys)
    assert [(r["verdict"], r.get("kind")) for r in found] == [("failed", "missing"), ("ok", None)]
    assert main(["check", "--audio-track", "-1", str(good)]) == 2


def test_wrong_usage(capsys):
    assert main(["check"]) == 2
    assert main(["check", "--jsno", "x.mp4"]) == 2
    assert "--json" in capsys.readouterr().err
    assert main(["check", "--quick", "--deep", "x.mp4"]) == 2
    assert "choose one" in capsys.readouterr().err


@pytest.mark.parametrize("others", [[], ["x.mp4"]])
def test_a_name_that_begins_with_a_dash(tmp_path, capsys, monkeypatch, others):
    monkeypatch.chdir(tmp_path)
    for name in ("-x.mp4", "-h.mp4", "-film"):
        write(tmp_path / name, even(1), container="mp4")
        assert main(["check", name, *others]) == 2
        hint = capsys.readouterr().err.splitlines()[-1]
        assert hint == f"hint: if {name} is a file, write ./{name}, or put -- before the names of files"
        for words in ([f"./{name}"], ["--", name]):
            assert main(["check", *words]) == 0
            assert records(capsys)[0]["verdict"] == "ok"
    assert main(["check", "--jsno=a.mp4", "x.mp4"]) == 2
    assert main(["tag", "--top", "-1.25"]) == 2
    assert "is a file" not in capsys.readouterr().err


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


def break_for(monkeypatch, name: str, error: Exception) -> None:
    """Let the reader of one file raise what no file should."""
    whole = VideoReader._open

    def broken(self, *args: object, **how: object) -> None:
        if Path(self.path).name == name:
            raise error
        whole(self, *args, **how)

    monkeypatch.setattr(VideoReader, "_open", broken)


def test_a_bug_is_not_hidden(good, capsys, monkeypatch):
    break_for(monkeypatch, good.name, ZeroDivisionError("of ours\x1b[31m"))
    assert main(["check", "--in-process", str(good)]) == 1
    out, err = capsys.readouterr()
    record = json.loads(out)
    assert (record["verdict"], record["kind"], record["file"]) == ("failed", "error", None)
    assert record["message"].startswith("ZeroDivisionError: of ours")
    assert "bug of ours" in record["hint"]
    assert err.startswith(f"avglance: {good}: of ours")
    assert "Traceback" in err
    assert "\x1b" not in err


def test_a_bug_costs_one_answer(good, tmp_path, capsys, monkeypatch):
    later = write(tmp_path / "later.mp4", even(1))
    break_for(monkeypatch, good.name, IndexError("of ours"))
    assert main(["check", "--in-process", str(good), str(later)]) == 6
    out, err = capsys.readouterr()
    found = [json.loads(line) for line in out.splitlines()]
    assert [(r["verdict"], r.get("kind")) for r in found] == [("failed", "error"), ("ok", None)]
    assert err.count("Traceback") == 1


def test_what_no_file_can_help_stops_the_run(good, tmp_path, capsys, monkeypatch):
    break_for(monkeypatch, good.name, AVGLanceError("no process for decoding could be started"))
    assert main(["check", "--in-process", str(good), str(write(tmp_path / "later.mp4", even(1)))]) == 1
    out, err = capsys.readouterr()
    assert (out, err) == ("", "avglance: no process for decoding could be started\n")


@pytest.mark.parametrize("terminal", [False, True])
def test_a_name_that_cannot_be_costs_one_answer(good, capsys, monkeypatch, terminal):
    if terminal:
        pretend_terminal(monkeypatch)
    loop = good.with_name("loop.mp4")
    loop.symlink_to(loop)
    assert main(["check", "x" * 300, str(loop), str(good)]) == 6
    out, err = capsys.readouterr()
    assert err == ""
    if terminal:
        assert "3 files: 1 ok, 2 failed" in out
    else:
        found = [json.loads(line) for line in out.splitlines()]
        assert [(r["verdict"], r.get("kind")) for r in found[::2]] == [("failed", "missing"), ("ok", None)]
        assert (found[1]["verdict"], found[1]["kind"]) == ("failed", "missing")
    assert main(["check", "x" * 300]) == 3


def test_an_empty_audio_file_is_refused(good, capsys):
    for command in ("check", "tag"):
        assert main([command, "--audio-file=", str(good)]) == 2
        out, err = capsys.readouterr()
        assert (out, err.splitlines()[0]) == ("", "avglance: --audio-file: no file is named")


def test_names_are_shown_below_what_is_common(tmp_path):
    (tmp_path / "a").mkdir()
    assert common_folder([tmp_path]) == tmp_path
    assert common_folder([tmp_path / "a", tmp_path / "b.mp4"]) == tmp_path
    assert common_folder([tmp_path / "b.mp4"]) == tmp_path
    assert common_folder([Path("a.mp4"), Path("b.mp4")]) is None
    assert common_folder([Path("a.mp4"), tmp_path]) is None


def test_on_a_true_terminal(good, bad):
    """Colours, a status line on stderr that is wiped, and nothing of it in a pipe."""
    pty = pytest.importorskip("pty", reason="there are no pseudo-terminals on this system")
    ours, theirs = pty.openpty()
    line = [sys.executable, "-m", "avglance", "check", str(good), str(bad)]
    env = {**os.environ, "TERM": "xterm", "COLUMNS": "80", "NO_COLOR": ""}
    done = subprocess.Popen(line, stdout=theirs, stderr=theirs, env=env)
    os.close(theirs)
    text = b""
    while True:
        try:
            got = os.read(ours, 65_536)
        except OSError:  # how Linux says that the other end is closed
            break
        if not got:
            break
        text += got
    assert done.wait(60) == 6
    shown = text.decode()
    assert "\x1b[32mok\x1b[0m  " in shown
    assert "\x1b[31mfailed\x1b[0m  " in shown
    assert "\r\x1b[K1 of 2: " in shown
    assert "2 files: 1 ok, 1 failed" in shown
