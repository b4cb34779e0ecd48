"""The command ``avglance``: finds the sub-command, runs it, turns errors into messages and exit codes.

Exit codes: 0 done, 1 a bug of ours or no process for decoding, 2 wrong usage or value, 3 media cannot be
read, 4 weights missing or unfit, 5 an optional library is missing or broken, 6 some of several items failed,
130 interrupted, 141 the reader of the pipe left. A command is imported only when it is asked for, so that
help stays quick.
"""

from __future__ import annotations

import argparse
import errno
import itertools
import os
import re
import sys
from collections.abc import Container, Iterable, Sequence
from importlib import import_module
from types import TracebackType
from typing import NoReturn

from avglance import __version__
from avglance.app.render import clean
from avglance.errors import ArgumentError, AVGLanceError, MissingExtra

COMMANDS: dict[str, tuple[str, str]] = {  # name -> module with add_arguments and run, one line of help
    "tag": (
        "avglance.app.tag",
        "what happens in a video: moments, spans, labels and what it cost to find out",
    ),
    "check": ("avglance.app.check", "whether files can be read, and what is in them; no model needed"),
    "train": ("avglance.app.train", "from a dataset to a model folder"),
    "eval": ("avglance.app.eval", "a model's figures on a dataset, with their cost"),
    "export": ("avglance.app.export", "graphs of a model that answer on machines without torch"),
    "calibrate": ("avglance.app.calibrate", "what a model's scores are worth, and when it may stop looking"),
    "compare": ("avglance.app.compare", "runs side by side: a table with spread and intervals, and plots"),
    "ablate": ("avglance.app.ablate", "a list of settings and seeds: trained, evaluated, compared"),
    "bench": ("avglance.app.bench", "the clock from file to answer, beside what others do"),
    "data": ("avglance.app.data", "make and look at datasets"),
    "models": ("avglance.app.models", "which models and systems there are"),
    "info": ("avglance.app.info", "the card of one model"),
    "selftest": ("avglance.app.selftest", "whether a model answers here as it did where it was made"),
    "doctor": ("avglance.app.doctor", "what is installed, what does not fit, and what mends it"),
}
EXTRAS = {"train": "train", "ablate": "train", "export": "export"}  # of commands that want more than torch
DONE, BUG, INTERRUPTED, PIPE_CLOSED = 0, 1, 130, 141
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Parser(argparse.ArgumentParser):
    """An argument parser that raises ``ArgumentError`` with near names in place of leaving the process."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        kwargs["allow_abbrev"] = False
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]  # passed on as argparse gives them

    def error(self, message: str) -> NoReturn:
        """Raise what argparse would print; a mistyped choice gets the nearest known one."""
        where = self.prog.removeprefix("avglance").strip()
        wrong = re.search(r"invalid choice: '(.*?)' \(choose from (.*)\)", message, re.DOTALL)
        hint = near(wrong[1], re.findall(r"[^\s',]+", wrong[2])) if wrong else ""
        raise ArgumentError(message, where=where, hint=hint or f"see `{self.prog} --help`")

    def parse_all(self, argv: Sequence[str]) -> argparse.Namespace:
        """Parse, or say which option is unknown and which known one is nearest."""
        try:
            args, unknown = self.parse_known_args(argv)
        except ArgumentError as error:
            if not (name := dashed_file(argv, self._option_string_actions)):
                raise
            raise ArgumentError(error.what, where=error.where, hint=dash_hint(name)) from error
        if name := dashed_file(unknown, ()):
            raise ArgumentError(f"unknown option {name}", where=self._where(), hint=dash_hint(name))
        if unknown:
            known = re.findall(r"--[a-z][a-z0-9-]*", self.format_help())
            options = [word.split("=")[0] for word in unknown if word.startswith("-")]
            hint = near(options[0], known) if options else ""
            what = f"unknown option {options[0]}" if options else f"unexpected argument {unknown[0]!r}"
            raise ArgumentError(what, where=self._where(), hint=hint or f"see `{self.prog} --help`")
        return args

    def _where(self) -> str:
        return self.prog.removeprefix("avglance").strip()


def dashed_file(words: Sequence[str], options: Container[str]) -> str:
    """The first word that is taken for an option and is a file's name; an empty string: there is none."""
    for word in itertools.takewhile(lambda word: word != "--", words):
        if word.startswith("-") and word.split("=")[0] not in options:
            named = re.fullmatch(r"-[^-=].*\.(?=\w*[a-zA-Z])\w{2,4}", word, re.DOTALL)
            if named or os.path.lexists(word):
                return word
    return ""


def dash_hint(name: str) -> str:
    """How to name a file whose name begins with a dash."""
    return f"if {name} is a file, write ./{name}, or put -- before the names of files"


def near(word: str, known: Iterable[str]) -> str:
    """``did you mean 'x'?``, or an empty string where nothing is near."""
    from difflib import get_close_matches

    found = get_close_matches(word, list(known), n=1)
    return f"did you mean {found[0]!r}?" if found else ""


def top_parser() -> Parser:
    """The parser of ``avglance`` itself: help, version and the list of commands."""
    width = max(map(len, COMMANDS))
    listed = "\n".join(f"  {name:<{width}}  {line}" for name, (_, line) in COMMANDS.items())
    parser = Parser(
        prog="avglance",
        usage="avglance [--help] [--version] COMMAND ...",
        description="Find out what happens in a video by looking at almost none of it.",
        epilog=f"commands:\n{listed}\n\n`avglance COMMAND --help` says more. First try: avglance tag my.mp4",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"avglance {__version__}")
    return parser


def run_command(argv: Sequence[str]) -> int:
    """Parse ``argv`` and run what it asks for; the exit code. Errors are raised."""
    if "" in argv:
        raise ArgumentError("an argument is empty", hint="a variable of the shell may be unset")
    if not argv or argv[0].startswith("-"):
        top = top_parser()
        top.parse_all(argv)
        raise ArgumentError("no command given", hint=f"one of {', '.join(COMMANDS)}; see `avglance --help`")
    name = argv[0]
    if name not in COMMANDS:
        known = f"known: {', '.join(COMMANDS)}"
        raise ArgumentError(f"no command is called {name!r}", hint=f"{near(name, COMMANDS)} {known}".strip())
    path, line = COMMANDS[name]
    command = import_module(path)
    parser = Parser(prog=f"avglance {name}", description=line[0].upper() + line[1:] + ".")
    command.add_arguments(parser)
    parse = getattr(command, "parse", Parser.parse_all)  # `train` reads a recipe first
    return int(command.run(parse(parser, argv[1:])))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; a bug of ours is raised as it is.

    >>> main(["--version"])
    avglance ...
    0
    """
    try:
        code = run_command(sys.argv[1:] if argv is None else argv)
        sys.stdout.flush()
        return code
    except SystemExit as stop:  # --help and --version of argparse
        return stop.code if isinstance(stop.code, int) else DONE
    except AVGLanceError as error:
        return complain(error)
    except ImportError as error:
        library = (error.name or "").split(".")[0]
        if not library or library == "avglance":
            raise
        return complain(missing(library, error, EXTRAS.get((argv or sys.argv[1:])[0], "torch")))
    except KeyboardInterrupt:
        sys.stderr.write("\navglance: interrupted\n")
        return INTERRUPTED
    except BrokenPipeError:  # `| head` has seen enough: leave quietly, also when Python flushes at its end
        _drop_output()
        return PIPE_CLOSED
    except (OSError, MemoryError, RuntimeError) as error:
        told = _no_room(error)
        if told is None:
            raise
        return complain(told)


def missing(library: str, error: ImportError, extra: str) -> MissingExtra:
    """What to say of a library that cannot be imported: torch may be left out, others are broken.

    ``extra`` brings torch and whatever else the command needs.
    """
    from importlib.util import find_spec

    if library in ("torch", "torchvision", "timm") and find_spec("torch") is None:
        what, hint = "this command needs torch, which is not installed", f"pip install 'avglance[{extra}]'"
        return MissingExtra(what, hint=hint)
    hint = "`avglance doctor` says what is missing and the one command that mends it"
    return MissingExtra(f"{library} cannot be imported: {error}", hint=hint)


def _no_room(error: Exception) -> ArgumentError | None:
    """What to say of a disk or a memory that is full, in numpy or torch too; None: it is neither."""
    if isinstance(error, OSError):
        if error.errno not in NO_ROOM:
            return None
        _drop_output()
        what = f"{error.filename or 'the output'} cannot be written: {error.strerror}"
        return ArgumentError(what, hint="make room, or write elsewhere")
    if not isinstance(error, MemoryError) and not re.search("allocate memory|out of memory", str(error)):
        return None
    hint = "take fewer videos at once (--batch), or smaller settings"
    return ArgumentError("there is not enough memory", hint=hint)


def _drop_output() -> None:
    """Send what stdout still holds nowhere, so that Python's last flush does not fail again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def complain(error: AVGLanceError) -> int:
    """Write an error as a person should read it on stderr; its exit code."""
    what = f"{clean(error.where)}: {clean(error.what, 2000)}" if error.where else clean(error.what, 2000)
    sys.stderr.write(f"avglance: {what}\n")
    if error.hint:
        sys.stderr.write(f"hint: {clean(error.hint, 2000)}\n")
    return error.exit_code


def report_bug(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Show the trace of a bug and where to take it; Python then leaves with code 1."""
    import traceback

    text = "".join(traceback.format_exception(kind, error, trace))
    sys.stderr.write("\n".join(clean(line, 2000) for line in text.splitlines()))
    words = " ".join(map(clean, sys.argv[1:]))
    sys.stderr.write(
        f"\navglance: this is a bug of ours, please report it with the lines above (avglance {words})\n"
    )


def entry() -> NoReturn:
    """The console script: like ``main``, and then leaves the process."""
    sys.excepthook = report_bug
    if sys.stdout is None:  # started with a closed stream: nobody wants to read it
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - open as long as the process
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    sys.exit(main())
