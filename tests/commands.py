"""Commands that stand in pages and benchmarks: whether the command line understands them."""

from __future__ import annotations

import shlex
from importlib import import_module

from avglance.app.cli import COMMANDS, Parser
from avglance.errors import ArgumentError


def understood(words: str) -> str:
    """What the command line says against a command (``avglance VERB ...``); empty: nothing."""
    name, verb, *rest = shlex.split(words)
    assert name == "avglance", words
    if verb not in COMMANDS:
        return f"no command is called {verb}"
    parser = Parser(prog=f"avglance {verb}")
    import_module(COMMANDS[verb][0]).add_arguments(parser)
    try:
        parser.parse_all(rest)
    except ArgumentError as error:
        return str(error)
    return ""
