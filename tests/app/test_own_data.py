"""From one's own files to figures: what `train`, `eval` and `compare` say of the data that they use."""

from __future__ import annotations

import json
import shutil

import pytest
from tests.evaluation.made_runs import evaluation, write
from tests.training.worlds import NANO, SECONDS, write_tiny

from avglance.app import cli, train
from avglance.app.eval_table import data_name
from avglance.data.records import read_dataset, read_training
from avglance.training.runfolder import write_split

TINY = [word for name, value in NANO.items() for word in ("--setting", name, str(value))]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Tiny videos in folders of their class, and a table of them with spans and splits."""
    folder = tmp_path_factory.mktemp("own")
    rows = []
    for n in range(8):
        label, second = ("red", "blue")[n % 2], n % SECONDS
        (folder / "clips" / label).mkdir(parents=True, exist_ok=True)
        write_tiny(folder / "clips" / label / f"{n}.mp4", label, second, seed=n)
        rows.append(f"{label}/{n}.mp4;{label};{second};{second + 1};{'train' if n < 6 else 'test'}")
    text = "file;label;start;end;split\r\n" + "\r\n".join(rows)
    (folder / "clips" / "list.csv").write_text(text, encoding="utf-8-sig")
    return folder


@pytest.fixture(scope="module")
def run(home):
    """A model that was trained on the table's split for training."""
    out = home / "run"
    words = ["train", str(home / "clips/list.csv"), "--system", "avgn_nano", "--out", str(out)]
    words += ["--epochs", "3", "--batch", "2", "--validation", "0.34", "--workers", "1", "--device", "cpu"]
    assert cli.main([*words, "--cache", str(home / "cache"), "--quiet", *TINY]) == 0
    return out


def test_training_uses_the_split_train_and_measures_moments(home, run):
    split = json.loads((run / "data.json").read_text())
    assert sorted(split["training"] + split["held_out"]) == [
        f"{('red', 'blue')[n % 2]}/{n}.mp4" for n in (1, 3, 5, 0, 2, 4)
    ]
    assert split["sha256"] == read_dataset(home / "clips/list.csv", split="train").sha256
    card = json.loads((run / "model/card.json").read_text())
    assert "moment_recall" in card["metrics"]["held_out"]
    assert "patch_hit" not in card["metrics"]["held_out"]  # no box is known


def test_what_is_used_is_said(home, capsys):
    train.tell_data(read_dataset(home / "clips/list.csv", prefer=("train",)))
    assert capsys.readouterr().err.splitlines() == [
        "split train of: train 6, test 2",
        "groups: none given, every file stands for itself",
        "single label: each of 6 videos shows one of 2 classes",
    ]
    assert len(read_dataset(home / "clips")) == 8


def test_eval_takes_the_split_test_unless_another_is_named(home, run, capsys):
    words = ["eval", str(run / "model"), str(home / "clips/list.csv"), "--quiet", "--budget", "2"]
    assert cli.main(words) == 0
    shown = capsys.readouterr().out
    assert "on a dataset (test): 2 videos answered, 0 failed" in shown
    assert "moment recall" in shown
    assert cli.main([*words, "--split", "training", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["data"]["split"] == "train"
    assert found["videos"] == found["events"] == 6
    assert "--split training" in found["command"]
    assert cli.main([*words, "--split", "dev"]) == 2
    assert "no video is of the split 'dev'" in capsys.readouterr().err


def test_a_row_has_every_span(home, run, tmp_path):
    lines = ["path,label,start,end"]
    lines += ["red/0.mp4,red,0,1", "red/0.mp4,red,3,4"]
    (home / "clips/spans.csv").write_text("\n".join(lines))
    out = tmp_path / "eval.json"
    words = ["eval", str(run / "model"), str(home / "clips/spans.csv"), "--quiet", "--out", str(out)]
    assert cli.main(words) == 0
    row = json.loads(out.read_text())["rows"][0]
    assert row["event_spans"] == [[0.0, 1.0], [3.0, 4.0]]
    assert row["event_snippets"] == [0, 3]
    assert row["moment_recall"] == 1.0  # a budget of four snippets, all of them


def test_splits_without_one_to_train_on_are_told_before_work(home, tmp_path, capsys):
    (home / "clips/test.csv").write_text("path,label,split\nred/0.mp4,red,test\n")
    words = ["train", str(home / "clips/test.csv"), "--system", "avgn_nano", "--out", str(tmp_path / "r")]
    assert cli.main(words) == 2
    assert "the splits are test, none to train on" in capsys.readouterr().err
    assert not (tmp_path / "r").exists()


@pytest.fixture(scope="module")
def benchmark(home):
    """A benchmark of which one video is gone, whose videos lie in another folder than its manifest."""
    database = {}
    for n, subset in enumerate(("training", "training", "validation", "validation")):
        label = ("red", "blue")[n % 2]
        annotations = [{"label": label, "segment": [n, n + 1]}, {"label": label, "segment": [0, 0.5]}]
        database[f"id{n}"] = {"subset": subset, "annotations": annotations}
        (home / "films").mkdir(exist_ok=True)
        if n != 3:
            shutil.copy(home / "clips" / label / f"{n}.mp4", home / "films" / f"v_id{n}.mp4")
    (home / "anet.json").write_text(json.dumps({"version": "VERSION 1.3", "database": database}))
    words = ["data", "import", "activitynet", "--annotations", str(home / "anet.json")]
    assert cli.main([*words, "--videos", str(home / "films"), "--out", str(home / "anet"), "--quiet"]) == 0
    return home / "anet"


def test_a_benchmark_is_evaluated_on_what_is_there(benchmark, run, capsys, tmp_path):
    words = ["eval", str(run / "model"), str(benchmark), "--quiet", "--out", str(tmp_path / "eval.json")]
    assert cli.main(words) == 0
    first = capsys.readouterr().out.splitlines()[0]
    assert "on 1 of 2 videos of activitynet-1.3 (validation): 1 videos answered, 0 failed" in first
    data = json.loads((tmp_path / "eval.json").read_text())["data"]
    assert (data["split"], data["listed"], len(data["list_sha256"])) == ("validation", 2, 64)


def test_the_record_of_a_run_names_videos_below_their_own_folder(benchmark, tmp_path):
    dataset = read_training(benchmark)
    paths = [record.path for record in dataset.records]
    write_split(tmp_path, dataset, paths[:1], paths[1:])
    found = json.loads((tmp_path / "data.json").read_text())
    assert (found["training"], found["held_out"]) == (["v_id0.mp4"], ["v_id1.mp4"])


def test_videos_of_the_list_that_are_absent_are_told_first(tmp_path, capsys):
    told = {"kind": "activitynet-1.3", "split": "validation", "listed": 9, "videos": 8}
    assert data_name(told) == "8 of 9 videos of activitynet-1.3 (validation)"
    hits = [True, False, True, True]
    about = {f"data.{key}": value for key, value in told.items()}
    write(tmp_path / "a/eval.json", evaluation(hits, **about))
    write(tmp_path / "b/eval.json", evaluation(hits, **about, **{"model.weights_sha256": "bb" * 32}))
    files = [str(tmp_path / name / "eval.json") for name in "ab"]
    assert cli.main(["compare", *files]) == 0
    first = capsys.readouterr().out.splitlines()[0]
    assert first.startswith("activitynet-1.3 (validation), 4 of 9 videos (")
    assert cli.main(["compare", *files, "--json"]) == 0
    table = json.loads(capsys.readouterr().out)["tables"][0]
    assert table["data"]["listed"] == 9
    assert table["data"]["split"] == "validation"


def test_what_all_have_of_one_list_can_be_compared(tmp_path, capsys):
    about = {"data.list_sha256": "1" * 64, "data.split": "test", "data.listed": 9}
    first = evaluation([True, False, True, True], **about)
    second = evaluation([True, True, False], **about, **{"data.sha256": "c" * 64, "model.name": "other"})
    for n, row in enumerate(second["rows"]):  # of a copy that lies in other folders
        row["video"] = f"/there/class {n % 2}/{n + 1:04d}.mkv"
    files = [str(write(tmp_path / f"{n}/eval.json", found)) for n, found in enumerate((first, second))]
    assert cli.main(["compare", *files]) == 2
    assert "--common compares them on the videos that all have" in capsys.readouterr().err
    assert cli.main(["compare", *files, "--common", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    (table,) = found["tables"]
    assert table["data"]["videos"] == 3
    assert [row["top1"]["mean"] for row in table["rows"]] == [pytest.approx(2 / 3), pytest.approx(2 / 3)]
    assert table["rows"][0]["moment_recall"]["mean"] is None
    assert found["notes"][0].startswith(
        "top-1 is over the 3 videos that all evaluations answered (of 3 to 4)"
    )
    assert cli.main(["compare", *files, "--common", "--each-data"]) == 2
    write(tmp_path / "1/eval.json", evaluation([True], **about | {"data.list_sha256": "2" * 64}))
    capsys.readouterr()
    assert cli.main(["compare", *files, "--common"]) == 2
    assert "not of one split of one known list" in capsys.readouterr().err


def test_evaluations_of_other_lists_are_refused(tmp_path, capsys):
    write(tmp_path / "a/eval.json", evaluation([True, False], **{"data.split": "test"}))
    write(tmp_path / "b/eval.json", evaluation([True, False, True], **{"data.sha256": "c" * 64}))
    assert cli.main(["compare", str(tmp_path / "a/eval.json"), str(tmp_path / "b/eval.json")]) == 2
    err = capsys.readouterr().err
    assert "2 of glanceworld test" in err
    assert "--each-data" in err
