"""The command ``avglance data``."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys

import pytest

from avglance.app import data as command
from avglance.data import glanceworld
from avglance.errors import ArgumentError


def parse(*argv):
    parser = argparse.ArgumentParser(allow_abbrev=False)
    command.add_arguments(parser)
    return parser.parse_args([str(word) for word in argv])


def test_it_makes_a_world_and_prints_the_folder(tmp_path, capsys):
    args = parse("glanceworld", tmp_path / "w", "--videos", 1, "--seed", 4, "--workers", 1)
    assert command.run(args) == 0
    out, err = capsys.readouterr()
    assert out == f"{tmp_path / 'w'}\n"
    assert err == ""  # no bar without a terminal
    assert json.loads((tmp_path / "w" / "dataset.json").read_text())["seed"] == 4
    assert (tmp_path / "w" / "videos" / "000000.mp4").stat().st_size > 10_000


@pytest.fixture
def pretended(monkeypatch):
    """make_world that only counts: what it was asked for and what it told of its progress."""
    asked = {}

    def make(out, *, videos, seed, world, workers, progress):
        asked.update(out=out, videos=videos, seed=seed, world=world, workers=workers, progress=progress)
        for done in range(3, videos + 1):
            if progress is not None:
                progress(done, videos)
        return out

    monkeypatch.setattr(glanceworld, "make_world", make)
    return asked


def test_the_options_arrive(tmp_path, pretended):
    args = parse("glanceworld", tmp_path, "--videos", 9, "--seed", 2, "--workers", 5, "--quiet")
    assert command.run(args) == 0
    assert pretended.pop("world") == glanceworld.PLAIN
    assert pretended == {"out": tmp_path, "videos": 9, "seed": 2, "workers": 5, "progress": None}


def test_the_options_of_the_world_arrive(tmp_path, pretended):
    words = "--world rivals --share 0.1 0.15 --object 40 80 --seconds 20 40.5 --decoys 2 --background -6"
    args = parse("glanceworld", tmp_path, "--videos", 9, "--seed", 2, "--quiet", *words.split())
    assert command.run(args) == 0
    assert pretended["world"] == glanceworld.World("rivals", (0.1, 0.15), (40, 80), (20, 40.5), 2, -6.0)


def test_a_world_that_cannot_be_is_an_error_before_anything_is_written(tmp_path):
    args = parse("glanceworld", tmp_path / "w", "--videos", 1, "--seed", 1, "--decoys", 2)
    with pytest.raises(ArgumentError, match="5 spans"):
        command.run(args)
    assert not list(tmp_path.iterdir())


def test_a_terminal_gets_a_bar_on_stderr(tmp_path, pretended, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    command.run(parse("glanceworld", tmp_path, "--videos", 9, "--seed", 2))
    out, err = capsys.readouterr()
    assert out == f"{tmp_path}\n"
    assert "9/9" in err


def test_quiet_gets_none_even_on_a_terminal(tmp_path, pretended, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    command.run(parse("glanceworld", tmp_path, "--videos", 9, "--seed", 2, "--quiet"))
    assert capsys.readouterr().err == ""


def test_a_pipe_gets_a_plain_line_now_and_then(tmp_path, pretended, capsys, monkeypatch):
    monkeypatch.setattr(command, "PLAIN_LINE_S", 0.0)
    command.run(parse("glanceworld", tmp_path, "--videos", 4, "--seed", 2))
    assert capsys.readouterr().err == "glanceworld: 3 of 4 videos\nglanceworld: 4 of 4 videos\n"


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["glanceworld"],
        ["glanceworld", "out", "--videos", "3"],
        ["glanceworld", "out", "--seed", "3"],
        ["glanceworld", "out", "--videos", "few", "--seed", "3"],
        ["glanceworld", "out", "--vid", "3", "--seed", "3"],
        ["glanceworld", "out", "--videos", "3", "--seed", "3", "--world", "harder"],
        ["glanceworld", "out", "--videos", "3", "--seed", "3", "--share", "0.1"],
    ],
)
def test_what_is_missing_or_wrong_is_an_error(argv, capsys):
    with pytest.raises(SystemExit) as caught:
        parse(*argv)
    assert caught.value.code == 2


def test_a_number_out_of_range_is_an_error(tmp_path):
    with pytest.raises(ArgumentError, match="videos"):
        command.run(parse("glanceworld", tmp_path / "w", "--videos", 0, "--seed", 1))


def test_a_real_process_with_workers_loads_no_torch(tmp_path):
    code = (
        "import sys; from avglance.app.cli import main\n"
        "if __name__ == '__main__':\n"
        "    code = main(sys.argv[1:]); print('torch' in sys.modules); sys.exit(code)\n"
    )
    script = tmp_path / "run.py"
    script.write_text(code)
    words = ["data", "glanceworld", str(tmp_path / "w"), "--videos", "2", "--seed", "1", "--workers", "2"]
    done = subprocess.run([sys.executable, str(script), *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [str(tmp_path / "w"), "False"]
    assert len((tmp_path / "w" / "manifest.jsonl").read_text().splitlines()) == 2
