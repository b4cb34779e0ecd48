"""The commands ``avglance data import`` and ``avglance data check``."""

from __future__ import annotations

import json
import shutil

import pytest

from avglance.app import cli, data_import
from avglance.data.benchmarks import READERS


@pytest.fixture
def home(tmp_path, clip):
    """Videos of a small UCF-101, and its lists."""
    for name in ("Dive/v_Dive_g08_c01.avi", "Arch/v_Arch_g01_c01.avi"):
        (tmp_path / "videos" / name).parent.mkdir(parents=True)
        shutil.copy(clip, tmp_path / "videos" / name)
    (tmp_path / "trainlist01.txt").write_text("Dive/v_Dive_g08_c01.avi 2\nDive/v_Dive_g09_c01.avi 2\n")
    (tmp_path / "testlist01.txt").write_text("Arch/v_Arch_g01_c01.avi\n")
    (tmp_path / "classInd.txt").write_text("1 Arch\n2 Dive\n")
    return tmp_path


def importing(home, *more):
    lists = [str(home / name) for name in ("trainlist01.txt", "testlist01.txt", "classInd.txt")]
    words = ["data", "import", "ucf-101", "--annotations", *lists, "--videos", str(home / "videos")]
    return [*words, "--out", str(home / "out"), *more]


def test_import_prints_the_folder_and_says_what_is_absent(home, capsys):
    assert cli.main(importing(home)) == 0
    out, err = capsys.readouterr()
    assert out == f"{home / 'out'}\n"
    assert err.splitlines() == [
        "2 of 3 listed videos are there: train 1 of 2, test 1 of 1",
        "absent: Dive/v_Dive_g09_c01, see absent.txt",
        "single label: each of 2 videos shows one of 2 classes",
    ]
    assert cli.main(importing(home)) == 2
    assert "a dataset is there already" in capsys.readouterr().err
    assert cli.main(importing(home, "--force", "--quiet")) == 0
    assert capsys.readouterr() == (f"{home / 'out'}\n", "")


def test_a_benchmark_that_is_not_known_gets_the_nearest(home, capsys):
    words = importing(home)
    words[2] = "ucf101"
    assert cli.main(words) == 2
    assert "did you mean 'ucf-101'?" in capsys.readouterr().err


def test_the_command_knows_every_reader():
    assert (*READERS, data_import.TABLE) == data_import.NAMES


def test_a_table_takes_one_list(home, capsys):
    words = importing(home)
    words[2] = "table"
    assert cli.main(words) == 2
    assert "a table is one file" in capsys.readouterr().err


def test_check_finds_prints_and_leaves_with_6(home, capsys):
    cli.main(importing(home, "--quiet"))
    capsys.readouterr()
    assert cli.main(["data", "check", str(home / "out"), "--workers", "1"]) == 6
    out, err = capsys.readouterr()
    assert out.startswith("ucf-101: 2 of 3 videos, single label: each of 2 videos shows one of 2 classes\n")
    assert f"  the videos are read from {home / 'videos'}\n" in out
    assert "\nleaks between splits: 1\n" in out  # both are copies of one clip
    assert "one file in test and train, with different labels (Dive, Arch)" in out
    assert "\nclasses that a split lacks: 2\n" in out
    assert "\nclasses with very few videos: 1\n" in out
    assert out.endswith("\nfound: 4\n")
    assert err == ""


def test_check_as_json(home, capsys):
    assert cli.main(["data", "check", str(home / "videos"), "--json", "--quiet", "--deep"]) == 6
    found = json.loads(capsys.readouterr().out)
    assert found["schema"] == "avglance.data_check/1"
    assert found["deep"] is True
    assert found["data"]["label_mode"] == "single"
    assert found["splits"] == [
        {"split": "", "videos": 2, "hours": pytest.approx(0.0022, abs=2e-4), "with_sound": 2, "with_spans": 0}
    ]
    assert found["classes"] == {"Arch": {"": 1}, "Dive": {"": 1}}
    assert {one["kind"] for one in found["findings"]} == {"double", "tiny"}


def test_nothing_found_is_0(tmp_path, make_clip, capsys):
    for n in range(5):
        (tmp_path / "rain").mkdir(exist_ok=True)
        make_clip(tmp_path / f"rain/{n}.mp4", seconds=4 + n)
    assert cli.main(["data", "check", str(tmp_path)]) == 0
    assert capsys.readouterr().out.endswith("\nnothing found\n")


def test_a_wrong_row_is_2_and_workers_are_checked(tmp_path, capsys):
    (tmp_path / "list.csv").write_text("path,label\ngone.mp4,rain\n")
    assert cli.main(["data", "check", str(tmp_path / "list.csv")]) == 2
    assert f"{tmp_path / 'list.csv'}, line 2: path 'gone.mp4' is missing" in capsys.readouterr().err
    assert cli.main(["data", "check", str(tmp_path / "list.csv"), "--workers", "0"]) == 2
    assert "--workers must be at least 1" in capsys.readouterr().err


def test_names_and_labels_do_not_reach_the_terminal_as_they_are(tmp_path, capsys):
    (tmp_path / "a\x1b[31m").mkdir()
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "\x1b[2Jx.mp4").write_bytes(b"<html>")
    assert cli.main(["data", "check", str(tmp_path)]) == 6
    assert "\x1b" not in capsys.readouterr().out
    (tmp_path / "a\x1b[31m" / "x.mp4").write_bytes(b"<html>")
    assert cli.main(["data", "check", str(tmp_path)]) == 2
    assert "\x1b" not in capsys.readouterr().err


def test_check_shows_videos_of_no_split_apart(tmp_path, make_clip, capsys):
    for n in range(2):
        make_clip(tmp_path / f"{n}.mp4", seconds=4 + n)
    (tmp_path / "list.csv").write_text("path,label,split\n0.mp4,rain,train\n1.mp4,rain,\n")
    assert cli.main(["data", "check", str(tmp_path / "list.csv")]) == 6
    out = capsys.readouterr().out
    assert "\n  no split             1" in out
    assert "       train    no split\n" in out
