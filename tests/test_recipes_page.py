"""docs/recipes.md: its commands are understood, its recipe is one, and its table is that of the package."""

from __future__ import annotations

import argparse
import re
import shlex
from importlib import import_module
from pathlib import Path

from avglance.app import recipe, train
from avglance.app.cli import COMMANDS, Parser
from avglance.systems import settings_of

PAGE = Path(__file__).resolve().parents[1] / "docs" / "recipes.md"


def blocks(kind):
    return re.findall(rf"```{kind}\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


def understood(line):
    words = shlex.split(line)
    assert words[0] == "avglance"
    parser = Parser(prog=f"avglance {words[1]}")
    import_module(COMMANDS[words[1]][0]).add_arguments(parser)
    return parser.parse_all(words[2:])


def test_every_command_is_understood():
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    assert len(lines) >= 8
    for line in lines:
        assert understood(line)


def test_every_command_in_a_recipe_is_understood_and_names_it():
    for name in recipe.shipped():
        text = recipe.find(name).read_text(encoding="utf-8")
        lines = re.findall(r"^#   (avglance .*)$", text, re.MULTILINE)
        assert [understood(line) for line in lines]
        assert any(f"--recipe {name} " in line for line in lines)
        assert all(len(line) <= 140 for line in text.splitlines())


def test_the_recipe_of_the_page_is_one(tmp_path):
    (tmp_path / "mine.toml").write_text(blocks("toml")[0])
    parser = argparse.ArgumentParser()
    train.add_arguments(parser)
    found = recipe.read(str(tmp_path / "mine.toml"), recipe.options(parser))
    assert found.options == {"system": "avgn_nano", "epochs": 20, "skip_broken": True}
    settings = recipe.check_settings(found, settings_of("avgn_nano"), "avgn_nano")
    assert settings == {"drop_sound": 0.3, "train_looks": None, "sound": "yamnet"}


def test_the_table_is_that_of_the_package():
    rows = re.findall(r"^\| `(\w+)` \| (.*) \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert dict(rows) == recipe.shipped()
