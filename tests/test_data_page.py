"""Every command of docs/data.md runs, on the examples that the page shows."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path

import pytest

from avglance.app import cli
from avglance.data.records import read_dataset
from tests.data.test_benchmarks import ANET, K400, K400_VAL, UCF_TEST, UCF_TRAIN
from tests.training.worlds import NANO, write_tiny

PAGE = Path(__file__).resolve().parents[1] / "docs" / "data.md"
TINY = [word for name, value in NANO.items() for word in ("--setting", name, str(value))]


def blocks(kind):
    return re.findall(rf"```{kind}\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


def commands():
    return [line for block in blocks("sh") for line in block.replace("\\\n", "").splitlines()]


LISTS = {
    "activity_net.v1-3.min.json": json.dumps(ANET),
    "trainlist01.txt": UCF_TRAIN,
    "testlist01.txt": UCF_TEST,
    "classInd.txt": "1 Arch\n2 Dive\n",
    "train.csv": K400,
    "val.csv": K400_VAL,
    "train_ytid_list.txt": "abcdefghijk\n",
    "val_ytid_list.txt": "vbcdefghijk\n",
    "sounds.txt": "playing guitar\ntap dancing\n",
    "trainSet.txt": "Bark&one&good&0&3\n",
    "valSet.txt": "Bark&two&good&0&3\n",
    "testSet.txt": "Bark&three&good&0&3\n",
    "FCVID_VideoName_TrainTestSplit.txt": "a.mp4 train\nb.mp4 test\n",
    "FCVID_Label.txt": "0 1\n1 0\n",
}
VIDEOS = (
    *("anet/v_aaa.mp4", "ucf/Dive/v_Dive_g08_c01.avi", "ucf/Arch/v_Arch_g01_c01.avi", "ave/one.mp4"),
    *("kinetics/abcdefghijk_000010_000020.mp4", "kinetics/vbcdefghijk_000001_000011.mp4", "fcvid/a.mp4"),
)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """What the page speaks of: clips, the lists that it shows, official lists and some of their videos."""
    folder = tmp_path_factory.mktemp("page")
    for n in range(12):
        path = folder / "clips" / ("rain", "wind")[n % 2] / f"{n // 2}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_tiny(path, ("red", "blue")[n % 2], n % 4, seed=n)
    (folder / "clips/list.csv").write_text(blocks("csv")[0], encoding="utf-8")
    (folder / "clips/list.jsonl").write_text(blocks("json")[0], encoding="utf-8")
    (folder / "lists").mkdir()
    for name, text in LISTS.items():
        (folder / "lists" / name).write_text(text, encoding="utf-8")
    for name in VIDEOS:
        (folder / "videos" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(folder / "clips/rain/0.mp4", folder / "videos" / name)
    return folder


def run(words):
    return cli.main(shlex.split(words)[1:])


def test_the_commands_that_make_and_check_data(home, monkeypatch, capsys):
    monkeypatch.chdir(home)
    ran = [(words, run(words)) for words in commands() if words.startswith("avglance data ")]
    assert {words.split()[2] for words, _ in ran} == {"check", "import"}
    for words, code in ran:  # these examples are too small to be without findings
        assert code in ((0, 6) if " check " in words else (0,)), words
    assert "Traceback" not in capsys.readouterr().err
    assert dict(ran)["avglance data check clips"] == 0


def test_the_examples_mean_what_the_page_says(home):
    found = read_dataset(home / "clips/list.csv")
    assert found.splits == {"train": 3, "test": 2}
    assert found.label_mode == "multi"
    assert found.records[0].truth.spans == ((0.5, 2.0), (2.5, 3.0))
    assert [record.group for record in found.records] == ["monday", "monday", "tuesday", "", ""]
    assert len(read_dataset(home / "clips")) == 12
    assert read_dataset(home / "clips/list.jsonl").classes == ("dust", "rain", "wind")


def test_the_row_of_a_manifest(home, tmp_path):
    (tmp_path / "videos").mkdir()
    shutil.copy(home / "clips/rain/0.mp4", tmp_path / "videos/0001.mp4")
    (tmp_path / "manifest.jsonl").write_text(blocks("json")[1])
    (record,) = read_dataset(tmp_path).records
    assert (record.labels, record.group, record.split) == (("rain",), "monday", "train")
    assert record.truth.spans == ((0.5, 2.0),)


@pytest.mark.slow
def test_the_commands_that_train_and_evaluate(home, monkeypatch, capsys):
    monkeypatch.chdir(home)
    small = f" --epochs 3 --batch 2 --validation 0 --workers 1 {shlex.join(TINY)}"
    ran = [words for words in commands() if words.split()[1] in ("train", "eval")]
    assert len(ran) == 4
    for words in ran:
        assert run(words + (small if " train " in words else " --quiet")) == 0, words
    assert "on a dataset (test): 2 videos answered, 0 failed" in capsys.readouterr().out


def test_every_command_is_one_that_the_page_may_show():
    assert {words.split()[0] for words in commands()} == {"avglance"}
