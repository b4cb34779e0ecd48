"""Recipes: what may stand in a file, what wins, what is refused; a written one is the same training."""

from __future__ import annotations

import tomllib

import pytest
from safetensors.torch import load_file
from tests.training.worlds import NANO, write_dataset

from avglance.app import chosen, cli, recipe
from avglance.app import train as command
from avglance.systems import settings_of
from avglance.systems.avgn_stages import avgn_stages

BENCHMARKS = {"activitynet": (0.002, 32), "fcvid": (0.002, 32), "mini_kinetics": (0.003, 48)}
OURS = ("ucf", "ucf_gpu", "ucf_spliced")


def parsed(*words):
    parser = cli.Parser(prog="avglance train")
    command.add_arguments(parser)
    return command.parse(parser, list(words))


def found_in(name):
    return tomllib.loads(recipe.find(name).read_text(encoding="utf-8"))


def write(folder, text):
    (folder / "mine.toml").write_text(text)
    return str(folder / "mine.toml")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("tiny") / "data", videos=6)


# ---- those of the package ----


def test_all_are_there_with_a_sentence_each(capsys):
    assert cli.main(["train", "--recipes"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == sorted((*BENCHMARKS, *OURS))
    assert all(line.endswith(".") and len(line) < 120 for line in lines)


@pytest.mark.parametrize("name", [*BENCHMARKS, *OURS])
def test_one_of_the_package_is_made_of_known_words(name):
    text, found = recipe.find(name).read_text(encoding="utf-8"), found_in(name)
    args = parsed("data", "--recipe", name)
    assert (args.epochs, args.features) == (found["epochs"], found.get("features"))
    assert settings_of(args.system, **command.changes(args))
    for word in ("# Source: ", "avglance train ", "# Batch: ", "ours"):
        assert word.lower() in text.lower(), f"{name} does not say {word}"


@pytest.mark.parametrize(("name", "said"), BENCHMARKS.items())
def test_the_schedule_of_the_benchmarks(name, said):
    args = parsed("data", "--recipe", name)
    settings = settings_of(args.system, **command.changes(args))
    rate, batch = said
    (stage,) = avgn_stages(settings)
    assert (args.epochs, args.batch, stage.batch, stage.clip, args.clip) == (50, batch, batch, None, None)
    of = {part: group for group in stage.groups for part in group.part}
    for part, share in {
        "policy": 0.1,
        "encode_picture": 0.5,
        "head_picture": 0.5,
        "encode_sound": 0.5,
        "head_sound": 0.5,
        "encode_focus": 1.0,
        "head_focus": 1.0,
        "classifier": 5.0,
    }.items():
        group = of[part]
        assert group.rate == pytest.approx(share * rate)
        assert (group.optimiser, group.momentum, group.decay, group.schedule) == ("sgd", 0.9, 1e-4, "cosine")
    for part in ("saliency", "attention"):
        group = of[part]
        assert group.rate == pytest.approx(2e-4 * batch / 32)
        assert (group.optimiser, group.decay, group.schedule) == ("adamw", 0.05, "cosine")
    assert (settings.dropout, settings.encoder_rate, settings.pretrained) == (0.2, 1.0, True)
    assert (settings.snippets, settings.glance_side, settings.patch_side) == (16, 224, 128)
    assert settings.switches.order_warmup == 2
    asked = command.train_settings(chosen.complete(args, None))
    assert (asked.validate_every, asked.validate_last, asked.keep, asked.patience) == (5, 10, "best", 0)


# ---- reading ----


def test_the_command_line_wins(tmp_path):
    file = write(
        tmp_path,
        'system = "tsn_nano"\nepochs = 7\nsnippets = 8\nskip-broken = true\ncache = "here"\nsave-every = 2\n'
        '[settings]\nrate = 1\ndropout = 0.5\ntrain_snippets = "none"\nfocus = "small"\n'
        '[weights]\nfocus = "a"\nsound = "b"\n',
    )
    args = parsed("data", "--recipe", file)
    assert (args.system, args.epochs, args.skip_broken, str(args.cache)) == ("tsn_nano", 7, True, "here")
    assert (args.save_every, args.seed, args.out) == (2, 0, None)
    kept = {"snippets": 8, "rate": 1.0, "dropout": 0.5, "train_snippets": None, "focus": "small"}
    assert command.changes(args) == kept
    assert command.train_settings(chosen.complete(args, None)).weights == {"focus": "a", "sound": "b"}
    words = ["--epochs", "3", "--rate", "0.1", "--setting", "snippets", "4", "--weights", "sound=c"]
    args = parsed(*words, "data", "--recipe", file, "--setting", "dropout", "0")
    assert args.epochs == 3
    assert command.changes(args) == kept | {"rate": 0.1, "snippets": 4, "dropout": 0.0}
    assert command.train_settings(chosen.complete(args, None)).weights == {"focus": "a", "sound": "c"}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("epochs = 5\nepoch = 3\n", "line 2: no option is called 'epoch'\nhint: did you mean 'epochs'?"),
        (
            "skip_broken = true",
            "line 1: no option is called 'skip_broken'\nhint: did you mean 'skip-broken'?",
        ),
        ("\n\n[setings]\nrate = 1", "line 3: no option is called 'setings'\nhint: did you mean 'settings'?"),
        ("drop_sound = 0.1", "no option is called 'drop_sound'\nhint: keys are the long options"),
        ('data = "x"', "line 1: no option is called 'data'"),
        ('recipe = "ucf"', "line 1: no option is called 'recipe'"),
        ("help = true", "line 1: no option is called 'help'"),
        ('epochs = "5"', "line 1: epochs must be a whole number, got '5'"),
        ("epochs = 5.0", "line 1: epochs must be a whole number, got 5.0"),
        ("epochs = true", "line 1: epochs must be a whole number, got True"),
        ("epochs = [5]", "line 1: epochs must be a whole number, got [5]"),
        ("epochs = 1979-05-27", "line 1: epochs must be a whole number, got datetime.date"),
        ('validation = "much"', "line 1: validation must be a number, got 'much'"),
        ("cache = 5", "line 1: cache must be text, got 5"),
        ("unpack = 1", "line 1: unpack must be true or false, got 1"),
        ('precision = "bf61"', "must be one of float32, bf16, got 'bf61'\nhint: did you mean 'bf16'?"),
        ("features = 2", "line 1: features must be one of 0, 1, 3, got 2"),
        ("settings = 5", "line 1: settings must be a table: [settings]"),
        ("[[weights]]\npicture = 'a'", "line 1: weights must be a table: [weights]"),
        ("[settings]\ntau = [1]", "line 2: setting tau must be a number, true, false or text, got [1]"),
        ("[settings.switches]\ntau = 1", "setting switches must be a number"),
        ("[weights]\nsound = 5", "line 2: weights of sound must be the name of a file, got 5"),
        ('[weights]\nsound = ""', "line 2: weights of sound must be the name of a file, got ''"),
        ("rate = 1.0\n[settings]\nrate = 2.0", "line 1: rate is said twice, as an option and in [settings]"),
        ("[settings]\ntua = 1.0", "line 2: avgn_nano has no setting 'tua'\nhint: did you mean 'tau'?"),
        ("settings.tua = 1.0", "line 1: avgn_nano has no setting 'tua'"),
        ("[settings]\nclasses = 5", "line 2: avgn_nano has no setting 'classes'"),
        ('[settings]\ntau = "1"', "line 2: setting tau must be like 1.0, got '1'"),
        ("[settings]\nsnippets = 8.0", "line 2: setting snippets must be like 16, got 8.0"),
        ("[settings]\nsee = 1", "line 2: setting see must be like True, got 1"),
        ("[settings]\npolicy = true", "line 2: setting policy must be like 'heatmap', got True"),
        ('[settings]\nrate = "none"', "line 2: setting rate must be like 0.003, got 'none'"),
        (
            "[weights]\nfocsu = 'a'",
            "line 2: avgn_nano has no encoder called 'focsu'\nhint: did you mean 'focus'?",
        ),
        ("save-every = nan", "--save-every nan"),
        ("snippets = 99", "snippets must be 1 to 32"),
        ("epochs = 0", "epochs must be at least 1"),
        ("epochs = 5\nepochs = 6", "is no TOML: Cannot overwrite a value"),
        ("epochs 5", "is no TOML: Expected '=' after a key"),
        ("epochs = " + "[" * 5000, "is no TOML: "),
        ("epochs = " + "1" * 5000, "is no TOML: "),
    ],
)
def test_wrong_recipes_are_named_with_their_line(tmp_path, capsys, text, says):
    file = write(tmp_path, text)
    words = ["train", "data", "--system", "avgn_nano", "--out", "run", "--recipe", file, "--dump-config"]
    assert cli.main(words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert says in err
    if "line " in says:
        assert f"{file}, {says[:6]}" in err


def test_what_is_no_recipe(tmp_path, capsys):
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "long").write_bytes(b"#" * (recipe.MOST_BYTES + 1))
    for name, says in {
        "activity_net": "called 'activity_net', and no file either\nhint: did you mean 'activitynet'?",
        "ufc.toml": "did you mean 'ucf'?",
        str(tmp_path): "and no file either",
        "no\0thing": "no recipe is called",
        "x" * 5000: "no recipe is called",
        str(tmp_path / "binary"): "binary: is no text in UTF-8",
        str(tmp_path / "long"): "long: is too long for a recipe",
    }.items():
        assert cli.main(["train", "data", "--recipe", name, "--dump-config"]) == 2
        assert says in capsys.readouterr().err


def test_an_empty_recipe_and_one_of_windows_are_recipes(tmp_path):
    assert parsed("data", "--recipe", write(tmp_path, "")).epochs is None
    (tmp_path / "mine.toml").write_bytes(b"\xef\xbb\xbfepochs = 4\r\n[settings]\r\ntau = 2.0\r\n")
    args = parsed("data", "--recipe", str(tmp_path / "mine.toml"))
    assert (args.epochs, args.recipe.settings, args.recipe.lines["settings", "tau"]) == (4, {"tau": 2.0}, 3)


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ([], "the following arguments are required: DATA"),
        (["--system", "avgn"], "the following arguments are required: DATA"),
        (["--dump-config"], "the following arguments are required: DATA"),
        (["d", "--system", "avgn", "--out", "o", "--setting", "tau", "1", "--setting", "tau", "2"],
         "setting tau is said twice"),
        (["d", "--system", "avgn", "--rate", "1", "--setting", "rate", "2", "--dump-config"],
         "setting rate is said twice"),
    ],
)  # fmt: skip
def test_what_is_missing_or_said_twice(capsys, more, says, tiny):
    words = [str(tiny) if word == "d" else word for word in more]
    assert cli.main(["train", *words]) == 2
    assert says in capsys.readouterr().err


# ---- writing ----


def test_what_is_written_is_read_as_the_same(tmp_path, capsys):
    words = ["train", "--system", "avgn_nano", "--epochs", "3", "--cache", 'a "b"\\c\x7f\u00e9', "--unpack"]
    words += ["--setting", "train_looks", "none", "--setting", "patch", "none", "--setting", "hear_aim", "no"]
    words += ["--rate", "1e-5", "--setting", "sound", "yamnet", "--weights", "sound=a=b.safetensors"]
    assert cli.main([*words, "--dump-config", "--quiet", "--out", "run"]) == 0
    first = capsys.readouterr().out
    assert cli.main(["train", "--recipe", write(tmp_path, first), "--dump-config"]) == 0
    assert capsys.readouterr().out == first
    found = tomllib.loads(first)
    assert found["cache"] == 'a "b"\\c\x7f\u00e9'
    assert found["unpack"] is True
    assert not {"out", "quiet", "data", "recipe", "rate"} & found.keys()
    looks = {"train_looks": "none", "patch": "none", "hear_aim": False, "rate": 1e-5, "sound": "yamnet"}
    assert found["settings"] == looks
    assert found["weights"] == {"sound": "a=b.safetensors"}
    args = parsed("data", "--recipe", str(tmp_path / "mine.toml"))
    assert command.changes(args) == looks | {"train_looks": None}


def test_a_file_name_that_is_no_text_is_refused(capsys):
    words = ["train", "--system", "avgn_nano", "--cache", "a\udcff", "--dump-config"]
    assert cli.main(words) == 2
    assert "cannot stand in a recipe" in capsys.readouterr().err


def test_training_from_the_written_recipe_is_the_same_training(tiny, tmp_path, capsys):
    lines = [f"{name} = {value}" for name, value in NANO.items()]
    first = write(tmp_path, "\n".join(['system = "avgn_nano"', "epochs = 4", "[settings]", *lines]))
    asked = ["train", str(tiny), "--device", "cpu", "--workers", "1", "--threads", "1", "--quiet"]
    asked += ["--recipe", first, "--batch", "2", "--epochs", "3", "--validation", "0.3"]
    assert cli.main([*asked, "--out", str(tmp_path / "one")]) == 0
    capsys.readouterr()
    assert cli.main([*asked, "--dump-config"]) == 0
    (tmp_path / "dumped.toml").write_text(capsys.readouterr().out)
    again = ["train", str(tiny), "--recipe", str(tmp_path / "dumped.toml"), "--out", str(tmp_path / "two")]
    assert cli.main([*again, "--quiet"]) == 0
    one, two = (load_file(tmp_path / run / "model" / "model.safetensors") for run in ("one", "two"))
    assert one.keys() == two.keys()
    assert all(bool((one[name] == two[name]).all()) for name in one)
    assert cli.main([*again[:-1], str(tmp_path / "one"), "--quiet"]) == 0  # the same run, and finished
