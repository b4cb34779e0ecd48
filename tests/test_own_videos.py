"""The tutorial on one's own videos: its commands run in its order on toy clips, and its figures are right."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest

from avglance import metrics
from avglance.app import cli
from avglance.data.records import read_dataset
from tests.commands import understood
from tests.training.worlds import write_tiny

PAGE = Path(__file__).resolve().parents[1] / "docs" / "own-videos.md"
TRAIN = "avglance train my_folder"


def blocks(kind):
    return re.findall(rf"```{kind}\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


def commands():
    return [line for block in blocks("sh") for line in block.splitlines()]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """What the page speaks of: two classes to learn, others of them to test, two new files."""
    folder = tmp_path_factory.mktemp("own")
    for n in range(20):
        name = "my_folder" if n < 12 else "my_test"
        path = folder / name / ("rain", "wind")[n % 2] / f"{n}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_tiny(path, ("red", "blue")[n % 2], n % 4, seed=n)
    shutil.copy(folder / "my_test/rain/12.mp4", folder / "new.mp4")
    shutil.copy(folder / "my_test/wind/13.mp4", folder / "another.mp4")
    return folder


def test_every_command_is_understood():
    lines = commands()
    assert TRAIN in lines
    assert len(lines) >= 12
    for words in lines:
        assert not understood(words), (understood(words), words)


@pytest.mark.slow
def test_the_commands_run_in_their_order(home, monkeypatch, capsys):
    """As they stand on the page; the training with three epochs."""
    monkeypatch.chdir(home)
    for words in commands():
        line = words + " --epochs 3 --workers 1" if words == TRAIN else words
        code = cli.main(shlex.split(line)[1:])
        assert code == 0 or (code == 6 and " check " in line), (code, line)
    assert (home / "runs/my_folder/model/model.safetensors").is_file()
    assert (home / "new.html").is_file()
    assert (home / "runs/my_folder/report.html").is_file()
    assert "Traceback" not in capsys.readouterr().err
    (code,) = blocks("python")
    exec(compile(code, "own-videos.md", "exec"), {})
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["new.mp4", "another.mp4"]


def test_a_folder_called_unknown_is_no_class(home, tmp_path):
    shutil.copytree(home / "my_folder", tmp_path / "my_folder")
    (tmp_path / "my_folder/unknown").mkdir()
    shutil.copy(home / "new.mp4", tmp_path / "my_folder/unknown")
    found = read_dataset(tmp_path / "my_folder")
    assert found.classes == ("rain", "wind")
    assert sum(record.unknown for record in found.records) == 1


def test_the_intervals_of_the_page_are_those_that_eval_gives():
    text = PAGE.read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) of (\d+) \| ([\d.]+) \| ([\d.]+) to ([\d.]+) \|$", text, re.MULTILINE)
    assert len(rows) == 4
    for right, clips, *told in rows:
        interval = metrics.proportion_interval(int(right), int(clips))
        assert [f"{100 * value:.1f}" for value in interval] == told


def test_what_the_page_leads_to_is_there():
    text = PAGE.read_text(encoding="utf-8")
    for name in re.findall(r"\]\(([\w./-]+\.md)\)", text):
        assert (PAGE.parent / name).is_file(), name
