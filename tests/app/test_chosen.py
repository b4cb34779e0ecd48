"""``avglance train FOLDER``: what is chosen, where it goes, and the whole way to a model and a report."""

from __future__ import annotations

import argparse
import json

import pytest
from tests.training.worlds import NANO, write_tiny

from avglance.app import api, chosen, cli, train
from avglance.data.records import read_training
from avglance.training import TrainSettings, runfolder
from avglance.training.plan import Base

TINY = [word for name, value in NANO.items() for word in ("--setting", name, str(value))]
FAST = ["--device", "cpu", "--workers", "1", "--threads", "1"]


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Twelve tiny videos in folders of their class; one more is broken."""
    folder = tmp_path_factory.mktemp("own") / "my clips"
    for n in range(12):
        label = ("red", "blue")[n % 2]
        (folder / label).mkdir(parents=True, exist_ok=True)
        write_tiny(folder / label / f"{n}.mp4", label, n % 4, seed=n)
    (folder / "red" / "broken.mp4").write_bytes(b"no video")
    return folder


@pytest.fixture
def bare(tmp_path, monkeypatch):
    """A package that ships no model."""
    monkeypatch.setattr(api, "MODELS", tmp_path / "none")
    (tmp_path / "none").mkdir()


def parsed(*words):
    parser = argparse.ArgumentParser()
    train.add_arguments(parser)
    return parser.parse_args([str(word) for word in words])


@pytest.mark.usefixtures("bare")
def test_without_a_system_all_that_is_open_is_chosen_and_told(clips, capsys):
    args = chosen.complete(parsed(clips, "--batch", 5, "--setting", "snippets", 4), read_training(clips))
    assert (args.system, args.start, args.keep, args.batch, args.budget) == ("avgn_nano", None, "best", 5, 4)
    assert (args.snippets, args.validation, args.skip_broken) == (None, 0.3, True)  # the setting says it
    told = capsys.readouterr().err
    assert "chosen by 13 videos of 2 classes (4.0 s long, 100 % with sound): avgn_nano (--system)" in told
    assert "--batch" not in told
    assert "--snippets" not in told
    assert "look at files that cannot be read: 1, first red/broken.mp4" in told
    assert f"avglance data check {clips}" in told
    quiet = chosen.complete(parsed(clips), read_training(clips), quiet=True)
    assert quiet.epochs == args.epochs
    assert capsys.readouterr().err == ""


def test_what_is_wrong_in_a_setting_is_told_and_not_chosen_away(clips, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for words, says in (
        (["--setting", "snippets", "many"], "setting snippets must be like 16"),
        (["--start", "nobody"], "no model is called 'nobody'"),
        (["--setting", "no_such", "1"], "no setting 'no_such'"),
        (["--epochs", "0"], "epochs must be at least 1"),
        (["--snippets", "99"], "snippets must be 1 to 32"),
    ):
        assert cli.main(["train", str(clips), *words]) in (2, 4)
        assert says in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_how_often_encoders_are_asked_is_told_as_it_is(clips, monkeypatch, capsys):
    base = Base("avgn_nano", snippets=4, batch=8, start="first", features=3)
    monkeypatch.setattr(chosen, "base_of", lambda start: base)
    for words, features, says in (
        ((), 3, True),
        (("--features", 1), 1, False),
        (("--features", 0), 0, False),
        (("--features", 3, "--setting", "encoder_rate", "0.1"), 3, False),  # refused where it is known why
        (("--setting", "encoder_rate", "0.1"), 0, False),
    ):
        args = chosen.complete(parsed(clips, *words), read_training(clips))
        assert args.features == features
        assert ("asked once about 3 pictures" in capsys.readouterr().err) == says


def test_who_holds_nothing_out_or_keeps_the_last_epoch_waits_for_nothing(clips):
    for words in (("--validation", 0), ("--keep", "last")):
        args = chosen.complete(parsed(clips, *words), read_training(clips), quiet=True)
        assert (args.keep, args.patience) == ("last", 0)
        TrainSettings(args.system, validation=args.validation, keep=args.keep, patience=args.patience)


def test_a_named_system_keeps_its_usual_recipe(clips):
    args = chosen.complete(parsed(clips, "--system", "tsn_nano"), read_training(clips), quiet=True)
    assert (args.epochs, args.keep, args.patience, args.batch, args.start) == (15, "last", 0, None, None)
    assert args.features == 0
    assert (args.validation, args.chosen, args.skip_broken) == (None, {}, False)


def test_a_system_that_listens_otherwise_is_made_deaf_its_own_way(tmp_path):
    from avglance.systems import build, settings_of
    from avglance.systems.store import save_model
    from avglance.training.plan import Facts, choose

    system = build("tsn_nano", classes=2, snippets=4, train_snippets=2, resize_side=64, source_side=64)
    save_model(system, tmp_path / "model", classes=("a", "b"), card={})
    plan = choose(Facts(videos=50, classes=2, sound=0.0), chosen.base_of(str(tmp_path / "model")))
    assert (plan.system, plan.snippets, plan.changes["listen"]) == ("tsn_nano", 4, False)
    assert not settings_of(plan.system, **plan.changes).listen


@pytest.fixture
def shipped(tmp_path, monkeypatch):
    """A small model in the package's place of the one for real video."""
    import torch

    from avglance.systems import build
    from avglance.systems.store import save_model

    torch.manual_seed(1)
    system = build("avgn_nano", classes=3, **NANO, drop_sound=0.3, tau=2.0, rate=1e-5)  # its own, not others'
    folder = tmp_path / "models" / chosen.REAL_VIDEO
    save_model(system, folder, classes=("x", "y", "z"), card={"name": chosen.REAL_VIDEO})
    monkeypatch.setattr(api, "MODELS", folder.parent)
    return folder


def test_the_shipped_model_is_what_a_training_begins_with(clips, shipped, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    base = chosen.base_of(None)
    assert (base.start, base.system, base.snippets) == (chosen.REAL_VIDEO, "avgn_nano", 4)
    assert base.changes == NANO | {"drop_sound": 0.3, "tau": 2.0}
    assert cli.main(["train", str(clips), "--epochs", "3", "--batch", "4", *FAST]) == 0
    said = capsys.readouterr()
    assert f"begun with {chosen.REAL_VIDEO} (--start)" in said.err
    assert "tensors begin as in" in said.err
    model = tmp_path / "runs/my clips/model"
    assert said.out.strip() == "runs/my clips/model"
    card = json.loads((model / "card.json").read_text())
    assert card["settings"]["changes"]["encoder_rate"] == 0.0  # few videos: its encoders stay
    assert card["checkpoint"].startswith("epoch ")
    report = json.loads((model.parent / "report.json").read_text())
    assert report["accuracy"]["videos"] == report["videos"]["held_out"] >= 3
    assert (model.parent / "report.html").is_file()
    assert cli.main(["train", str(clips), "--epochs", "3", "--batch", "4", *FAST, "--quiet"]) == 0
    assert capsys.readouterr().out.strip() == "runs/my clips/model"  # the same run, which is finished
    assert [p.name for p in (tmp_path / "runs").iterdir()] == ["my clips"]


def test_the_place_is_that_of_the_same_run_or_new(clips, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    dataset, settings = read_training(clips), TrainSettings("avgn_nano")
    first = chosen.place(clips, settings, dataset)
    assert str(first) == "runs/my clips"
    first.mkdir(parents=True)
    assert chosen.place(clips, settings, dataset) == first  # empty, as another process has just made it
    began = TrainSettings("avgn_nano", validation=0.1)
    said = {"settings": json.loads(json.dumps(vars(began))), "data": {"sha256": dataset.sha256}}
    runfolder.write_json(first / "run.json", said)
    assert chosen.place(clips, settings, dataset) == first
    other = chosen.place(clips, TrainSettings("avgn_nano", epochs=3), dataset)
    assert str(other) == "runs/my clips-2"
    other.parent.joinpath("my clips-2").write_text("a file of somebody")
    assert str(chosen.place(clips, TrainSettings("avgn_nano", epochs=3), dataset)) == "runs/my clips-3"


@pytest.mark.parametrize(
    ("data", "name"),
    [("a/list.csv", "list"), ("a/manifest.jsonl", "a"), ("/", "data"), ("a/..hidden", "hidden"),
     ("a/b\x1b[31m\nc", "b[31m c"), ("a/" + "x" * 200, "x" * 80), ("a/-rf", "rf")],
)  # fmt: skip
def test_a_name_of_data_makes_a_name_of_a_folder(data, name, tmp_path):
    assert chosen.folder_name(tmp_path / data if data != "/" else tmp_path.__class__("/")) == name


def test_of_very_many_files_a_sample_is_looked_at(clips, monkeypatch):
    monkeypatch.setattr(chosen, "MOST_LOOKED_AT", 5)
    monkeypatch.setattr(chosen, "SAMPLE", 6)
    facts, findings = chosen.look(clips, read_training(clips))
    assert (facts.videos, facts.classes, facts.sound, findings) == (13, 2, 1.0, ())


@pytest.mark.slow
@pytest.mark.usefixtures("bare")
def test_five_classes_become_a_model_a_report_and_tags(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for n in range(30):
        label = f"class {n % 5} <b>"
        (tmp_path / "films" / label).mkdir(parents=True, exist_ok=True)
        write_tiny(tmp_path / "films" / label / f"{n}.mp4", ("red", "blue")[n % 2], n % 4, seed=n)
    assert cli.main(["train", "films", "--epochs", "8", *FAST, *TINY]) == 0
    said = capsys.readouterr()
    assert said.out.strip() == "runs/films/model"
    assert "chosen by 30 videos of 5 classes" in said.err
    assert "what was learned: runs/films/report.html" in said.err
    page = (tmp_path / "runs/films/report.html").read_text()
    assert "class 0 &lt;b&gt;" in page
    assert "<b>" not in page.replace("</b>", "").split("Labels that may")[1].split("</table>")[0]
    video = str(next((tmp_path / "films").rglob("*.mp4")))
    assert cli.main(["tag", "--model", "runs/films/model", video, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["labels"][0]["name"].startswith(("class", "unknown"))
