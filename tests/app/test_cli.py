"""The command finds its sub-commands, helps with mistyped ones, and ends with the code that it promises."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from avglance import __version__
from avglance.app import cli
from avglance.errors import ArgumentError, CheckpointError, MediaError, MissingExtra, ShapeError


def use(monkeypatch: pytest.MonkeyPatch, run) -> None:
    """Put a made-up command ``tag`` in place of the real one."""
    command = SimpleNamespace(add_arguments=lambda parser: parser.add_argument("--budget"), run=run)
    monkeypatch.setattr(cli, "import_module", lambda path: command)


def test_an_empty_name_is_no_folder(capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("tag", "check", "info"):
        assert cli.main([command, ""]) == 2
        assert "an argument is empty" in capsys.readouterr().err


START = "import sys; from avglance.app.cli import entry; sys.argv[1:] = ['models']; "


def test_a_full_disk_is_no_bug() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    command = [sys.executable, "-c", START + "entry()"]
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            command, stdout=full, stderr=subprocess.PIPE, text=True, check=False, timeout=60
        )
    assert done.returncode == 2
    assert "cannot be written" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_closed_stdout_is_no_bug() -> None:
    command = [sys.executable, "-c", START + "sys.stdout = None; entry()"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr() == (f"avglance {__version__}\n", "")


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_names_every_command(capsys: pytest.CaptureFixture[str], flag: str) -> None:
    assert cli.main([flag]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert all(f"\n  {name} " in out for name in cli.COMMANDS)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "avglance: no command given\nhint: one of tag, check,"),
        (["tga"], "avglance: no command is called 'tga'\nhint: did you mean 'tag'? known: tag, check,"),
        (["qqqq"], "avglance: no command is called 'qqqq'\nhint: known: tag, check,"),
        (["--verson"], "avglance: unknown option --verson\nhint: did you mean '--version'?\n"),
        (
            ["tag", "--bugdet", "4", "x.mp4"],
            "avglance: tag: unknown option --bugdet\nhint: did you mean '--budget'?",
        ),
        (["tag", "--bud", "4", "x.mp4"], "avglance: tag: unknown option --bud\n"),
        (
            ["tag"],
            "avglance: tag: the following arguments are required: INPUT\nhint: see `avglance tag --help`",
        ),
        (["tag", "x", "--device", "cdua"], "avglance: tag: argument --device: invalid choice: 'cdua'"),
        (["data", "glanceworl"], "avglance: data: argument "),
    ],
)
def test_wrong_usage_is_two_with_help(
    capsys: pytest.CaptureFixture[str], argv: list[str], message: str
) -> None:
    assert cli.main(argv) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(message)
    assert err.count("\n") == 2, "a message and a hint"


def test_a_mistyped_choice_gets_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["tag", "x", "--device", "cdua"]) == 2
    assert capsys.readouterr().err.endswith("hint: did you mean 'cuda'?\n")


@pytest.mark.parametrize("name", list(cli.COMMANDS))
def test_every_command_has_help(capsys: pytest.CaptureFixture[str], name: str) -> None:
    assert cli.main([name, "--help"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith(f"usage: avglance {name} ")
    assert err == ""


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ArgumentError("x"), 2),
        (ShapeError("x"), 2),
        (MediaError("x", kind="empty"), 3),
        (CheckpointError("x"), 4),
        (MissingExtra("x"), 5),
        (KeyboardInterrupt(), 130),
        (ModuleNotFoundError("No module named 'timm'", name="timm.models"), 5),
    ],
)
def test_errors_have_their_codes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: BaseException, code: int
) -> None:
    def run(args: object) -> int:
        raise error

    use(monkeypatch, run)
    assert cli.main(["tag"]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert "Traceback" not in err


def test_a_message_says_where_what_and_hint_without_control_characters(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(args: object) -> int:
        raise MediaError(
            "bro\x1b[31mken\x07", kind="truncated", where="a\x1b]0;t\x07\nb.mp4", hint="copy\x9b it"
        )

    use(monkeypatch, run)
    assert cli.main(["tag"]) == 3
    assert capsys.readouterr().err == "avglance: a]0;t b.mp4: bro[31mken\nhint: copy it\n"


def test_the_code_of_a_command_is_the_code_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, lambda args: 6)
    assert cli.main(["tag", "--budget", "4"]) == 6
    monkeypatch.setattr(sys, "argv", ["avglance", "tag"])
    with pytest.raises(SystemExit) as stop:
        cli.entry()
    assert stop.value.code == 6
    sys.excepthook = sys.__excepthook__


def test_a_bug_is_raised_and_shown_with_a_request_to_report(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(args: object) -> int:
        raise ZeroDivisionError("division \x1b[31mby zero")

    use(monkeypatch, run)
    with pytest.raises(ZeroDivisionError) as bug:
        cli.main(["tag"])
    cli.report_bug(bug.type, bug.value, bug.tb)
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert "please report" in err
    assert "\x1b" not in err


def test_a_bug_ends_a_real_process_with_one() -> None:
    code = (
        "import sys\nfrom avglance.app import cli\n"
        "def broken(*a): raise RuntimeError('broken inside')\ncli.run_command = broken\ncli.entry()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert "RuntimeError: broken inside" in done.stderr
    assert "please report" in done.stderr


def test_a_reader_that_leaves_ends_it_quietly() -> None:
    code = (
        "import sys\nfrom avglance.app import cli\n"
        "def endless(*a):\n    while True: print('line ' * 100)\ncli.run_command = endless\ncli.entry()"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait(timeout=60) == 141


def test_help_of_a_real_process_is_quick_and_loads_no_torch() -> None:
    code = (
        "import sys\nfrom avglance.app.cli import main\ncode = main(['--help'])\n"
        "assert not {'torch', 'numpy', 'av', 'timm', 'jinja2'} & set(sys.modules)\nsys.exit(code)"
    )
    spent = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert done.returncode == 0, done.stderr
        spent.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(spent) < 0.25, f"seconds of processor time: {spent}"


def test_the_module_is_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "avglance", "--version"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, f"avglance {__version__}\n")


def test_commands_import_nothing_heavy_before_they_run() -> None:
    code = (
        "import sys\nfrom importlib import import_module\nfrom avglance.app.cli import COMMANDS\n"
        "for path, _ in COMMANDS.values(): import_module(path)\n"
        "assert not {'torch', 'timm', 'av', 'accelerate', 'jinja2'} & set(sys.modules), sorted(sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "error",
    [MemoryError("Unable to allocate 18.0 GiB"), RuntimeError("DefaultCPUAllocator: can't allocate memory")],
)
def test_no_memory_is_no_bug(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception
) -> None:
    def full(argv: object) -> int:
        raise error

    monkeypatch.setattr(cli, "run_command", full)
    assert cli.main(["tag", "x.mp4"]) == 2
    assert "there is not enough memory\nhint: take fewer videos" in capsys.readouterr().err
