"""A model folder: what goes in comes out, and whatever is wrong with it is named."""

from __future__ import annotations

import hashlib
import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tests import checks

from avglance.errors import ArgumentError, CheckpointError
from avglance.systems import build
from avglance.systems.store import (
    CARD,
    CHECKSUMS,
    CLASSES,
    FORMAT,
    WEIGHTS,
    load_model,
    save_model,
    save_with_card,
    weights_of,
)

CLASSES_7 = [f"class {n} \u00e9" for n in range(checks.C)]
FILES = (WEIGHTS, CLASSES, CARD)


@pytest.fixture
def model(tmp_path):
    return save_model(checks.small_system("tsn_nano"), tmp_path / "m", classes=CLASSES_7, card={"toy": True})


def reseal(folder):
    """New checksums, as one who edits a model on purpose would make them."""
    sums = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in FILES}
    (folder / CHECKSUMS).write_text(json.dumps(sums))


def edit_weights(folder, change, **header):
    with safe_open(folder / WEIGHTS, framework="pt") as file:
        old = file.metadata()
    tensors = load_file(folder / WEIGHTS)
    change(tensors)
    save_file(tensors, folder / WEIGHTS, metadata={**old, **header})
    reseal(folder)


@pytest.mark.parametrize("name", list(checks.SMALL))
def test_a_loaded_model_answers_as_the_saved_one(tmp_path, name):
    extra = {"teacher": "fused", "hear_aim": False} if name == "avgn_nano" else {}
    system = checks.small_system(name, **extra)
    card = {"name": "toy one", "span_threshold": 0.25}
    folder = save_model(system, tmp_path / "deep" / name, classes=CLASSES_7, card=card)
    loaded = load_model(folder)
    assert loaded.system.settings == system.settings
    assert loaded.system.name == name
    assert not loaded.system.training
    assert loaded.classes == tuple(CLASSES_7)
    assert loaded.card["name"] == "toy one"
    assert loaded.card["system"] == name
    assert loaded.sha256 == hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()
    clips = checks.make_clips(5)
    with torch.no_grad():
        checks.assert_same(system(clips, 3), loaded.system(clips, 3), tolerance=0)


def test_toy_is_told(model):
    loaded = load_model(model)
    assert loaded.system.toy is True
    assert loaded.card["toy"] is True


def test_only_the_four_files_are_left(model):
    assert sorted(p.name for p in model.iterdir()) == sorted((*FILES, CHECKSUMS))
    assert [p.name for p in model.parent.iterdir()] == ["m"]


def test_nothing_is_overwritten_unasked(model):
    system = checks.small_system("tsn_nano", seed=1)
    with pytest.raises(ArgumentError, match="exists already"):
        save_model(system, model, classes=CLASSES_7, card={})
    before = load_model(model).sha256
    save_model(system, model, classes=CLASSES_7, card={}, overwrite=True)
    assert load_model(model).sha256 != before


def test_a_folder_of_other_things_is_never_replaced(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_bytes(b"1")
    with pytest.raises(ArgumentError, match="exists already"):
        save_model(
            checks.small_system("tsn_nano"), tmp_path / "photos", classes=CLASSES_7, card={}, overwrite=True
        )
    assert (tmp_path / "photos" / "cat.jpg").exists()


def test_a_failed_save_leaves_nothing(tmp_path, monkeypatch):
    def broken(*args, **kwargs):
        raise OSError("disk full")

    monkeypatch.setattr("avglance.systems.store.save_file", broken)
    with pytest.raises(OSError, match="disk full"):
        save_model(checks.small_system("tsn_nano"), tmp_path / "m", classes=CLASSES_7, card={})
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_saved(tmp_path):
    system = checks.small_system("tsn_nano")
    with pytest.raises(ArgumentError, match="different class names"):
        save_model(system, tmp_path / "m", classes=["a"] * checks.C, card={})
    with pytest.raises(ArgumentError, match="not plain JSON"):
        save_model(system, tmp_path / "m", classes=CLASSES_7, card={"when": object()})
    with pytest.raises(ArgumentError, match="not plain JSON"):
        save_model(system, tmp_path / "m", classes=CLASSES_7, card={"loss": float("nan")})
    system.name = "mine"
    with pytest.raises(ArgumentError, match="no known name"):
        save_model(system, tmp_path / "m", classes=CLASSES_7, card={})


@pytest.mark.parametrize("name", [*FILES, CHECKSUMS])
def test_a_missing_file_is_named(model, name):
    (model / name).unlink()
    with pytest.raises(CheckpointError, match=f"{name} is missing"):
        load_model(model)


@pytest.mark.parametrize("name", FILES)
def test_a_changed_byte_is_noticed(model, name):
    content = bytearray((model / name).read_bytes())
    content[-3] ^= 1
    (model / name).write_bytes(bytes(content))
    with pytest.raises(CheckpointError, match=f"{name} is not what it was"):
        load_model(model)


def test_no_folder_and_no_model(tmp_path):
    with pytest.raises(CheckpointError, match="no such model folder"):
        load_model(tmp_path / "nowhere")
    (tmp_path / "note.txt").write_text("hello")
    with pytest.raises(CheckpointError, match="not a folder"):
        load_model(tmp_path / "note.txt")


@pytest.mark.parametrize("zipped", [True, False])
def test_pickles_are_refused_by_content(model, zipped):
    torch.save({"w": torch.zeros(2)}, model / WEIGHTS, _use_new_zipfile_serialization=zipped)
    reseal(model)
    with pytest.raises(CheckpointError, match="pickled"):
        load_model(model)
    (model / WEIGHTS).rename(model.parent / "best.safetensors")
    with pytest.raises(CheckpointError, match="pickled"):
        load_model(model.parent / "best.safetensors")


@pytest.mark.parametrize("low", [0x80, 0x1F])
def test_a_header_whose_length_looks_like_a_pickle_is_none(model, low):
    """A safetensors file begins with the low byte of its header's length: any byte may stand there."""
    raw = (model / WEIGHTS).read_bytes()
    length = int.from_bytes(raw[:8], "little")
    longer = length + (low - length) % 256
    header = raw[8 : 8 + length] + b" " * (longer - length)
    (model / WEIGHTS).write_bytes(longer.to_bytes(8, "little") + header + raw[8 + length :])
    assert (model / WEIGHTS).read_bytes()[0] == low
    reseal(model)
    load_model(model)


def test_cut_weights_are_damaged_not_pickled(model):
    """Whatever the first byte is: a copy that broke off is no attack."""
    raw = (model / WEIGHTS).read_bytes()
    (model / WEIGHTS).write_bytes(b"\x80" + raw[1:100])
    with pytest.raises(CheckpointError, match="is not what it was"):
        load_model(model)


def test_weights_that_are_no_safetensors(model):
    (model / WEIGHTS).write_bytes(b"\x08\x00\x00\x00\x00\x00\x00\x00not json")
    reseal(model)
    with pytest.raises(CheckpointError, match="not a safetensors file"):
        load_model(model)


def test_json_that_is_none(model):
    (model / CARD).write_text("[1]")
    reseal(model)
    with pytest.raises(CheckpointError, match="no JSON dict"):
        load_model(model)
    (model / CHECKSUMS).write_text("{")
    with pytest.raises(CheckpointError, match="not readable as JSON"):
        load_model(model)
    (model / CHECKSUMS).write_text("{}")
    with pytest.raises(CheckpointError, match="no checksum of"):
        load_model(model)


def drop(tensors):
    del tensors["head.0.weight"]


def add(tensors):
    tensors["head.9.weight"] = torch.zeros(1)


def reshape(tensors):
    tensors["head.0.weight"] = tensors["head.0.weight"][:, :-1].contiguous()


def double(tensors):
    tensors["head.0.weight"] = tensors["head.0.weight"].double()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (drop, "1 weights are missing, first 'head.0.weight'"),
        (add, "1 weights are not of this system, first 'head.9.weight'"),
        (
            reshape,
            r"head.0.weight is torch.float32 \(128, 159\), settings ask for torch.float32 \(128, 160\)",
        ),
        (double, "head.0.weight is torch.float64"),
    ],
)
def test_weights_that_do_not_fit_are_named(model, change, says):
    edit_weights(model, change)
    with pytest.raises(CheckpointError, match=says):
        load_model(model)


@pytest.mark.parametrize(
    ("header", "says"),
    [
        ({"format": "avglance-model/9"}, f"this version reads {FORMAT}"),
        ({"system": "resnet"}, "a system called 'resnet'"),
        ({"settings": "{"}, "its settings do not fit tsn_nano"),
        ({"settings": '{"classes": 7, "colour": 1}'}, "unknown .*'colour'.*newer version"),
    ],
)
def test_headers_that_do_not_fit(model, header, says):
    edit_weights(model, lambda tensors: None, **header)
    with pytest.raises(CheckpointError, match=says):
        load_model(model)


def test_a_setting_newer_than_the_model_gets_its_default(model):
    with safe_open(model / WEIGHTS, framework="pt") as file:
        written = json.loads(file.metadata()["settings"])
    assert written.pop("listen") is True
    edit_weights(model, lambda tensors: None, settings=json.dumps(written))
    assert load_model(model).system.settings.listen is True


def test_classes_that_do_not_fit(model):
    (model / CLASSES).write_text('["a", "b"]')
    reseal(model)
    with pytest.raises(CheckpointError, match="2 class names for a system of 7 classes"):
        load_model(model)


@pytest.mark.parametrize("read", [load_model, weights_of])
def test_a_shuffled_class_list_is_noticed(model, read):
    """Even where the checksums were made anew: every answer would bear a wrong name."""
    (model / CLASSES).write_text(json.dumps(CLASSES_7[::-1], indent=1, ensure_ascii=False), encoding="utf-8")
    with pytest.raises(CheckpointError, match=f"{CLASSES} is not what it was"):
        read(model)
    reseal(model)
    with pytest.raises(CheckpointError, match="not the classes that the card was written with") as error:
        read(model)
    assert error.value.where == str(model / CLASSES)


def test_a_card_that_does_not_tell_its_classes_is_believed(model):
    card = json.loads((model / CARD).read_text(encoding="utf-8"))
    del card["classes_sha256"]
    (model / CARD).write_text(json.dumps(card), encoding="utf-8")
    reseal(model)
    assert load_model(model).classes == tuple(CLASSES_7)


def test_pretrained_weights_are_not_sought_on_loading(tmp_path):
    """The settings remember where training began; the weights come from the folder."""
    system = build("tsn_nano", classes=7, pretrained=True)
    loaded = load_model(save_model(system, tmp_path / "m", classes=CLASSES_7, card={}))
    assert loaded.system.settings.pretrained is False


def test_another_card_leaves_weights_and_classes_byte_for_byte(model, tmp_path):
    loaded = load_model(model)
    again = save_with_card(loaded, tmp_path / "again", {"name": "again", "exits": [1, 2]})
    for name in (WEIGHTS, CLASSES):
        assert (again / name).read_bytes() == (model / name).read_bytes()
    assert load_model(again).card == {"name": "again", "exits": [1, 2]}
    save_with_card(load_model(again), again, {"name": "in its place"}, overwrite=True)
    assert load_model(again).card == {"name": "in its place"}
    with pytest.raises(ArgumentError, match="exists"):
        save_with_card(loaded, again, {})
    with pytest.raises(ArgumentError, match="JSON"):
        save_with_card(loaded, tmp_path / "odd", {"x": float("nan")})


def test_no_class_is_called_unknown(tmp_path):
    with pytest.raises(ArgumentError, match="'unknown'"):
        save_model(
            checks.small_system("tsn_nano"), tmp_path / "m", classes=["unknown", *CLASSES_7[1:]], card={}
        )


def test_weights_kept_in_sixteen_bits_are_read(tmp_path):
    system = checks.small_system("avgn_nano")
    folder = save_model(system, tmp_path / "m", classes=[f"c{n}" for n in range(checks.C)], card={})
    file = folder / "model.safetensors"
    with safe_open(file, "pt") as held:
        header = held.metadata()
    halved = {name: x.half() if x.is_floating_point() else x for name, x in load_file(file).items()}
    save_file(halved, file, metadata=header)
    sums = json.loads((folder / "checksums.json").read_text())
    sums[file.name] = hashlib.sha256(file.read_bytes()).hexdigest()
    (folder / "checksums.json").write_text(json.dumps(sums))
    found = load_model(folder).system.state_dict()
    for name, x in system.state_dict().items():
        assert found[name].dtype == x.dtype
        torch.testing.assert_close(found[name], x, rtol=1e-3, atol=1e-3)
