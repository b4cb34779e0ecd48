"""``avglance selftest``: the same answer passes, and whatever differs is named."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import sys

import pytest
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tests import checks

from avglance.app import api, cli
from avglance.systems import selftest
from avglance.systems.store import CHECKSUMS, SELFTEST, load_model, save_model, save_with_card

CLASSES = [f"class {n} \u00e9" for n in range(checks.C)]


@pytest.fixture(scope="module")
def tested(tmp_path_factory):
    """A small model with its stored answer."""
    folder = tmp_path_factory.mktemp("models") / "small"
    save_model(checks.small_system("avgn_nano"), folder, classes=CLASSES, card={"name": "small", "budget": 3})
    selftest.record(folder)
    return folder


@pytest.fixture
def model(tested, tmp_path):
    return shutil.copytree(tested, tmp_path / "m")


def reseal(folder):
    """New checksums, as one who edits a model on purpose would make them."""
    names = [p.name for p in folder.iterdir() if p.name != CHECKSUMS]
    sums = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names}
    (folder / CHECKSUMS).write_text(json.dumps(sums))


def edit_answer(folder, change):
    said = json.loads((folder / SELFTEST).read_text())
    change(said)
    (folder / SELFTEST).write_text(json.dumps(said))
    reseal(folder)


def test_every_shipped_model_answers_as_stored(capsys):
    for name in api.shipped_models():
        assert cli.main(["selftest", name]) == 0
        assert ": answers as stored: " in capsys.readouterr().out


@pytest.mark.parametrize("name", list(checks.SMALL))
def test_every_system_answers_twice_the_same(tmp_path, name, capsys):
    folder = save_model(checks.small_system(name), tmp_path / name, classes=CLASSES, card={})
    said = selftest.record(folder)
    assert len(said.moments_s) == len(said.boxes) == said.looks == 4
    assert cli.main(["selftest", str(folder), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["passed"], found["differences"], found["largest"] < 1e-6) == (True, [], True)
    assert (found["looks"], found["scores"], found["moments"]) == (4, checks.C, 4)


def test_a_changed_weight_is_met_and_said_to_a_person(model, terminal, monkeypatch):
    with safe_open(model / "model.safetensors", framework="pt") as file:
        header = file.metadata()
    tensors = load_file(model / "model.safetensors")
    tensors["classifier.heads.2.bias"][0] += 9
    tensors["saliency.score.weight"] *= 1.5
    save_file(tensors, model / "model.safetensors", metadata=header)
    reseal(model)
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("NO_COLOR", "1")
    assert cli.main(["selftest", str(model)]) == 4
    lines = terminal.text.splitlines()
    assert lines[0] == "small: does not answer as stored (by more than 0.001)"
    assert any(line.startswith("  scores: ") and "stored" in line for line in lines)
    assert any(line.startswith("  saliency: ") for line in lines)
    assert lines[-1].startswith("  libraries: the same: weights or classes were changed")


def test_classes_in_another_order_are_met(model, capsys):
    names = json.loads((model / "classes.json").read_text())
    text = json.dumps(names[::-1])
    (model / "classes.json").write_text(text)
    reseal(model)
    assert cli.main(["selftest", str(model)]) == 4  # the card knows them
    assert "not in their order" in capsys.readouterr().err
    card = json.loads((model / "card.json").read_text())
    card["classes_sha256"] = hashlib.sha256(text.encode()).hexdigest()
    (model / "card.json").write_text(json.dumps(card))
    reseal(model)
    assert cli.main(["selftest", str(model), "--json"]) == 4
    found = json.loads(capsys.readouterr().out)
    (told,) = found["differences"]
    assert told["of"] == "scores"
    assert "the classes are in another order" in told["text"]
    (model / "classes.json").write_text(json.dumps(["other", *names[1:]]))
    del card["classes_sha256"]
    (model / "card.json").write_text(json.dumps(card))
    reseal(model)
    assert cli.main(["selftest", str(model), "--json"]) == 4
    found = json.loads(capsys.readouterr().out)
    assert found["largest"] is None
    assert found["differences"][0]["text"] == "2 are in one answer alone, first 'class 0 \u00e9'"


@pytest.mark.parametrize(
    ("change", "of", "says"),
    [
        (lambda said: said["moments_s"].__setitem__(0, 0.0), "moments", "0.00, "),
        (lambda said: (said["moments_s"].pop(), said["boxes"].pop()), "moments", " here"),
        (lambda said: said["boxes"].__setitem__(1, None), "boxes", " s none stored, ("),
        (lambda said: said["boxes"][2].__setitem__(3, 0.5), "boxes", ", 0.500) stored, ("),
        (lambda said: said["saliency"].pop(), "saliency", "of 5 snippets stored, of 6 here"),
        (
            lambda said: said.__setitem__("clip", "0"),
            "clip",
            "is about another clip than the one that is here",
        ),
    ],
)
def test_each_part_is_compared(model, capsys, change, of, says):
    edit_answer(model, change)
    assert cli.main(["selftest", str(model), "--json"]) == 4
    told = json.loads(capsys.readouterr().out)["differences"]
    assert [one["of"] for one in told] == [of]
    assert says in told[0]["text"]


def test_other_libraries_are_said(model, capsys, monkeypatch, terminal):
    def older(said):
        said["scores"]["class 1 \u00e9"] += 0.002
        said["versions"]["torch"] = "1.0"

    edit_answer(model, older)
    monkeypatch.setattr(sys, "stdout", terminal)
    assert cli.main(["selftest", str(model)]) == 4
    assert "  libraries: torch 1.0 there, " in terminal.text


def test_an_older_model_has_nothing_stored_and_gets_it_when_asked(model, capsys):
    (model / SELFTEST).unlink()
    reseal(model)
    assert load_model(model).classes == tuple(CLASSES)
    assert cli.main(["selftest", str(model)]) == 4
    err = capsys.readouterr().err
    assert "holds no stored answer (selftest.json): the model was written by an earlier version" in err
    assert "selftest MODEL --record` keeps one" in err
    before = {p.name: p.read_bytes() for p in model.iterdir()}
    assert cli.main(["selftest", str(model), "--record"]) == 0
    assert "answers as stored" in capsys.readouterr().out
    after = {p.name: p.read_bytes() for p in model.iterdir()}
    assert after.keys() - before.keys() == {SELFTEST}
    assert [name for name in before if before[name] != after[name]] == [CHECKSUMS]
    assert cli.main(["selftest", str(model), "--record"]) == 2
    assert "an answer is stored already" in capsys.readouterr().err
    assert cli.main(["selftest", str(model), "--record", "--force"]) == 0
    assert cli.main(["selftest", str(model), "--force"]) == 2


def test_the_stored_answer_is_part_of_the_folder(model, capsys):
    text = (model / SELFTEST).read_text()
    (model / SELFTEST).write_text(text + " ")
    assert cli.main(["selftest", str(model)]) == 4
    assert "selftest.json is not what it was" in capsys.readouterr().err
    (model / SELFTEST).unlink()
    assert cli.main(["selftest", str(model)]) == 4
    assert "selftest.json is missing" in capsys.readouterr().err
    (model / SELFTEST).write_text(text)
    sums = json.loads((model / CHECKSUMS).read_text())
    del sums[SELFTEST]
    (model / CHECKSUMS).write_text(json.dumps(sums))
    assert cli.main(["selftest", str(model)]) == 4
    assert "no checksum of selftest.json" in capsys.readouterr().err


KEPT = {"looks": 1, "scores": {}, "saliency": [], "moments_s": [], "boxes": []}


@pytest.mark.parametrize(
    "text",
    [
        "[]", "{", "null", "1e999", '{"format": "x"}', '{"format": "avglance-selftest/1"}', "[" * 100_000,
        {"scores": []}, {"scores": {"a": "b"}}, {"scores": {"a": math.nan}}, {"saliency": 5},
        {"moments_s": [1]}, {"moments_s": [1], "boxes": [[1]]}, {"moments_s": [1], "boxes": [7]},
        {"looks": "1"}, {"versions": 5}, {"more": 1}, {"clip": 5}, {"versions": {"torch": 1}},
    ],
    ids=str,
)  # fmt: skip
def test_what_is_no_stored_answer(model, capsys, text):
    whole = text if isinstance(text, str) else json.dumps({"format": selftest.FORMAT, **KEPT, **text})
    (model / SELFTEST).write_text(whole)
    reseal(model)
    assert cli.main(["selftest", str(model)]) == 4
    assert "is no stored answer" in capsys.readouterr().err


def test_more_looks_than_the_system_has_are_refused(model, capsys):
    edit_answer(model, lambda said: said.__setitem__("looks", 99))
    assert cli.main(["selftest", str(model)]) == 2
    assert "a budget of 99 moments" in capsys.readouterr().err


def test_wrong_places(tmp_path, capsys):
    assert cli.main(["selftest", str(tmp_path / "nowhere")]) == 4
    assert "no model is called" in capsys.readouterr().err
    assert cli.main(["selftest", str(tmp_path)]) == 4
    assert "model.safetensors is missing" in capsys.readouterr().err
    assert cli.main(["selftest", str(tmp_path), "--record"]) == 4
    assert cli.main(["selftest"]) == 2
    assert not list(tmp_path.iterdir())


def test_a_card_written_anew_keeps_the_answer(model, tmp_path):
    loaded = load_model(model)
    copy = save_with_card(loaded, tmp_path / "copy", {**loaded.card, "note": "x"})
    assert selftest.stored(load_model(copy)) == selftest.stored(loaded)
    assert cli.main(["selftest", str(copy)]) == 0


def test_scores_that_are_no_numbers_are_not_stored(tmp_path):
    system = checks.small_system("tsn_nano")
    for parameter in system.head.parameters():
        parameter.data.fill_(float("nan"))
    folder = save_model(system, tmp_path / "m", classes=CLASSES, card={})
    assert cli.main(["selftest", str(folder), "--record"]) == 4
    assert not (folder / SELFTEST).exists()
