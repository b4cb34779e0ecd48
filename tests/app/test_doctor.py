"""The doctor: facts go in, advice comes out; five broken set-ups have their exact text."""

from __future__ import annotations

import json
import re
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from avglance.app import cli, doctor
from avglance.app.doctor import Advice, Facts, Library, advise
from avglance.app.render import Ink

ROOT = Path(__file__).resolve().parents[2]
FINE = Facts(
    (3, 11, 7),
    "0.1.0",
    {
        "torch": Library("torch", "2.15.0", "2.15.0+cu132"),
        "torchvision": Library("torchvision", "0.29.2", "0.29.2+cu132"),
        "timm": Library("timm", "1.0.31"),
        "numpy": Library("numpy", "2.4.6"),
        "av": Library("av", "18.1.0", "FFmpeg 8.1.2"),
        "safetensors": Library("safetensors", "0.8.0"),
        "onnxruntime": Library("onnxruntime", "1.32.0"),
        "tqdm": Library("tqdm", "4.70.1"),
        "jinja2": Library("jinja2", "3.1.6"),
        "pillow": Library("pillow", "13.0.0"),
        "accelerate": Library("accelerate", "1.15.0"),
        "matplotlib": Library("matplotlib", "3.11.2"),
    },
    ("cpu, 2 threads",),
)
GONE = "cannot open shared object file"
NMS = "RuntimeError: operator torchvision::nms does not exist"


def broken(*libraries: Library, **changes: object) -> Facts:
    facts = replace(FINE, **changes)  # type: ignore[arg-type]  # a test's shorthand
    return replace(facts, libraries=facts.libraries | {library.name: library for library in libraries})


GOLDEN = {
    "a CPU torch beside a torchvision made for CUDA": (
        broken(
            Library("torch", "2.13.0+cpu", "2.13.0+cpu"),
            Library("torchvision", "0.28.0", "0.28.0+cu130", NMS),
            Library("timm", "1.0.31", "", NMS),
        ),
        "does not fit: torch 2.13.0+cpu (cpu build) and torchvision 0.28.0+cu130 (cu130 build) do not fit "
        "together: RuntimeError: operator torchvision::nms does not exist; take both of one build (PyTorch's "
        "own page has a "
        "small CPU pair)\n"
        "  mend it with: pip install --force-reinstall torch torchvision",
    ),
    "no torchvision": (
        broken(Library("torchvision", None)),
        "does not fit: torchvision is not installed\n  mend it with: pip install torchvision",
    ),
    "an old Python": (
        broken(python=(3, 10, 2)),
        "does not fit: Python 3.10.2 is too old: avglance needs 3.11 or newer\n"
        "  mend it with: python3.11 -m venv .venv && .venv/bin/pip install avglance",
    ),
    "a decoder that cannot be imported": (
        broken(Library("av", "18.1.0", "", f"ImportError: libavcodec.so.62: {GONE}")),
        f"does not fit: av 18.1.0 cannot be imported: ImportError: libavcodec.so.62: {GONE}\n"
        "  mend it with: pip install --force-reinstall av",
    ),
    "a broken torch": (
        broken(
            Library(
                "torch", "2.15.0", "2.15.0+cu132", "OSError: libcudnn.so.9: cannot open shared object file"
            ),
            Library("accelerate", None),
            devices=(),
        ),
        f"does not fit: torch 2.15.0 cannot be imported: OSError: libcudnn.so.9: {GONE}\n"
        "  mend it with: pip install --force-reinstall torch\n"
        "\n"
        "optional: accelerate is not installed (only needed for avglance[train])\n"
        "  mend it with: pip install 'avglance[train]'",
    ),
}


@pytest.mark.parametrize("case", GOLDEN)
def test_golden_text_of_a_broken_set_up(case: str, terminal) -> None:
    facts, golden = GOLDEN[case]
    advice = advise(facts)
    assert advice[0].needed
    text = doctor.text(facts, advice, Ink(terminal, {"NO_COLOR": "1"}))
    assert text.split("\n\n", 1)[1] == golden


def test_a_sound_set_up_needs_nothing(terminal) -> None:
    assert advise(FINE) == []
    text = doctor.text(FINE, [], Ink(terminal, {"NO_COLOR": "1"}))
    assert "torch        2.15.0+cu132\n" in text
    assert "av           18.1.0 FFmpeg 8.1.2\n" in text
    assert "device       cpu, 2 threads\n" in text
    assert text.endswith("everything that is needed is here and fits")


def test_builds_that_differ_are_named_even_where_the_import_works() -> None:
    facts = broken(
        Library("torch", "2.15.0+cu130", "2.15.0+cu130"), Library("torchvision", "0.29.2", "0.29.2+cu132")
    )
    (advice,) = advise(facts)
    assert "torch 2.15.0+cu130 (cu130 build) and torchvision 0.29.2+cu132 (cu132 build)" in advice.problem


def test_versions_that_differ_in_one_build_are_found_by_the_failing_import() -> None:
    facts = broken(Library("torchvision", "0.20.0", "0.20.0+cu132", NMS), Library("timm", "1.0.31", "", NMS))
    (advice,) = advise(facts)
    assert "torch 2.15.0+cu132" in advice.problem
    assert "torchvision 0.20.0+cu132" in advice.problem
    assert advice.command == "pip install --force-reinstall torch torchvision"


def test_it_knows_what_the_package_asks_for() -> None:
    asked = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

    def names(lines: list[str]) -> set[str]:
        return {re.match(r"[\w-]+", line)[0] for line in lines} - {"avglance"}

    assert names(asked["dependencies"]) == set(doctor.NEEDED)
    extras = asked["optional-dependencies"]
    assert names(extras["torch"]) | {"torchvision"} == set(doctor.TORCH)  # timm brings it
    for library, extra in doctor.OPTIONAL.items():
        assert library in names(extras[extra])


def test_only_what_is_optional_is_missing() -> None:
    advice = advise(broken(Library("accelerate", None), Library("matplotlib", None)))
    assert [a.needed for a in advice] == [False, False]


def test_torch_is_not_needed_but_whole_where_it_is() -> None:
    gone = [Library(name, None) for name in doctor.TORCH]
    (advice,) = advise(broken(*gone))
    assert not advice.needed
    assert advice.command == "pip install 'avglance[torch]'"
    half = advise(broken(*gone[1:]))
    assert [a.needed for a in half] == [True, True]
    without = advise(broken(*gone, Library("onnxruntime", None)))
    assert [a.needed for a in without] == [True, False]


@pytest.mark.parametrize(
    ("facts", "code"), [(FINE, 0), (GOLDEN["no torchvision"][0], 5), (broken(Library("accelerate", None)), 0)]
)
def test_the_exit_code_and_the_json(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], facts: Facts, code: int
) -> None:
    monkeypatch.setattr(doctor, "gather", lambda: facts)
    assert cli.main(["doctor"]) == code
    assert capsys.readouterr().err == ""
    assert cli.main(["doctor", "--json"]) == code
    found = json.loads(capsys.readouterr().out)
    assert found["fine"] is (code == 0)
    assert found["libraries"]["torch"]["note"] == "2.15.0+cu132"
    assert [Advice(**a) for a in found["advice"]] == advise(facts)


def test_a_library_that_takes_its_process_along_is_only_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(doctor._PROBES, "tqdm", "import os\nos._exit(7)")
    assert doctor.look_at("tqdm").error == "its process ended with 7"
    monkeypatch.setitem(doctor._PROBES, "tqdm", "raise ImportError('libx.so: no such file')")
    assert doctor.look_at("tqdm").error == "ImportError: libx.so: no such file"


def test_what_is_not_there_has_no_version() -> None:
    assert doctor.look_at("a_library_that_nobody_wrote") == Library("a_library_that_nobody_wrote", None)


def test_the_real_reader_names_its_ffmpeg() -> None:
    found = doctor.look_at("av")
    assert found.version
    assert found.note.startswith("FFmpeg ")
    assert found.error == ""


def test_the_build_is_read_without_the_import() -> None:
    assert doctor._written_version("torchvision").split("+")[0].count(".") == 2


@pytest.mark.slow
def test_this_machine_is_sound(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doctor", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["devices"][0].startswith("cpu")
