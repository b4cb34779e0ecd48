"""``avglance doctor``: what is installed, what does not fit, and the one command that mends it.

Facts are gathered by trying each library in a process of its own (a broken one may take its process along);
advice is a pure function of the facts.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from dataclasses import asdict, dataclass, field
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from avglance import __version__
from avglance.app.render import Ink, clean

FINE, BROKEN = 0, 5
OLDEST_PYTHON = (3, 11)
NEEDED = ("numpy", "av", "onnxruntime", "safetensors", "tqdm", "jinja2", "pillow")
TORCH = ("torch", "torchvision", "timm")  # to train, to export, and for a GPU: all of them or none
OPTIONAL = {  # library -> its extra
    "accelerate": "train",
    "onnx": "export",
    "openvino": "openvino",
    "matplotlib": "report",
}
_MODULES = {"pillow": "PIL"}
_PROBES = {  # what is run in place of a bare import; its last line becomes the note
    "torch": "import torch\nprint(torch.__version__)",
    "torchvision": "import torchvision\nfrom torchvision.ops import nms\nprint(torchvision.__version__)",
    "onnxruntime": "from avglance.runtime.session import imported\nimported()\nprint('')",
    "openvino": "from avglance.runtime.openvino_session import imported\nimported()\nprint('')",
    "av": "import av\nprint('FFmpeg ' + str(getattr(av, 'ffmpeg_version_info', '')))",
}
_DEVICES = """import torch
print('cpu, %d threads' % torch.get_num_threads())
for n in range(torch.cuda.device_count()):
    print('cuda:%d, %s' % (n, torch.cuda.get_device_name(n)))
if torch.backends.mps.is_available():
    print('mps')
"""


@dataclass(frozen=True)
class Library:
    """One library: its version (None: not installed), what it said of itself, why it cannot be imported."""

    name: str
    version: str | None
    note: str = ""
    error: str = ""


@dataclass(frozen=True)
class Facts:
    """What was found on this machine."""

    python: tuple[int, int, int]
    avglance: str
    libraries: dict[str, Library] = field(default_factory=dict)
    devices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Advice:
    """One thing that does not fit, and the command that mends it; ``needed``: nothing works without."""

    problem: str
    command: str
    needed: bool = True


def advise(facts: Facts) -> list[Advice]:
    """What does not fit, the most important first: a pure function of the facts.

    >>> advise(Facts((3, 10, 2), "0.1"))[0].problem
    'Python 3.10.2 is too old: avglance needs 3.11 or newer'
    """
    found = []
    if facts.python[:2] < OLDEST_PYTHON:
        old, want = ".".join(map(str, facts.python)), ".".join(map(str, OLDEST_PYTHON))
        text = f"Python {old} is too old: avglance needs {want} or newer"
        found.append(Advice(text, f"python{want} -m venv .venv && .venv/bin/pip install avglance"))
    told = _no_torch(facts) or _torch_pair(facts)
    found += told
    for library in facts.libraries.values():
        blamed = told and library.name in TORCH
        if not blamed and (library.version is None or library.error):
            found.append(_missing_or_broken(library))
    return sorted(found, key=lambda advice: not advice.needed)


def _no_torch(facts: Facts) -> list[Advice]:
    """Advice where neither torch nor what comes with it is installed."""
    there = [facts.libraries[name] for name in TORCH if name in facts.libraries]
    if not there or any(library.version for library in there):
        return []
    text = "torch is not installed (only needed to train, to export and for a GPU)"
    return [Advice(text, "pip install 'avglance[torch]'", needed=False)]


def _torch_pair(facts: Facts) -> list[Advice]:
    """Advice on torch and torchvision that are there and do not fit together."""
    torch, vision = facts.libraries.get("torch"), facts.libraries.get("torchvision")
    if not (torch and vision and torch.version and vision.version) or torch.error:
        return []
    of_torch, of_vision = build(torch), build(vision)
    if not vision.error and (of_torch == of_vision or "unknown" in (of_torch, of_vision)):
        return []
    both = f"torch {_full(torch)} ({of_torch} build) and torchvision {_full(vision)} ({of_vision} build)"
    why = f": {vision.error}" if vision.error else ""
    text = (
        f"{both} do not fit together{why}; take both of one build (PyTorch's own page has a small CPU pair)"
    )
    return [Advice(text, "pip install --force-reinstall torch torchvision")]


def build(library: Library) -> str:
    """Which build a wheel is, by its version: ``cpu``, ``cu132``, ``rocm6.4``, or ``unknown``.

    >>> build(Library("torch", "2.13.0+cpu")), build(Library("torchvision", "0.28.0"))
    ('cpu', 'unknown')
    """
    _, _, local = _full(library).partition("+")
    return local if local.startswith(("cpu", "cu", "rocm", "xpu")) else "unknown"


def _full(library: Library) -> str:
    """The version that tells most: what the library says of itself often names its build as well."""
    return library.note if "+" in library.note else str(library.version)


def _missing_or_broken(library: Library) -> Advice:
    extra = OPTIONAL.get(library.name)
    what = f"pip install 'avglance[{extra}]'" if extra else f"pip install {library.name}"
    if library.version is None:
        use = f" (only needed for avglance[{extra}])" if extra else ""
        return Advice(f"{library.name} is not installed{use}", what, needed=not extra)
    text = f"{library.name} {library.version} cannot be imported: {library.error}"
    return Advice(text, f"pip install --force-reinstall {library.name}", needed=not extra)


def gather() -> Facts:
    """The facts of this machine; takes some seconds, since every library is imported once."""
    libraries = {name: look_at(name) for name in (*TORCH, *NEEDED, *OPTIONAL)}
    devices: tuple[str, ...] = ()
    if libraries["torch"].version and not libraries["torch"].error:
        devices = tuple(_try(_DEVICES)[0])
    version = sys.version_info
    return Facts((version.major, version.minor, version.micro), __version__, libraries, devices)


def look_at(name: str) -> Library:
    """Version of one library, and whether it can be imported."""
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        return Library(name, None)
    lines, error = _try(_PROBES.get(name, f"import {_MODULES.get(name, name)}\nprint('')"))
    return Library(name, version, lines[-1] if lines else _written_version(name), error)


def _written_version(name: str) -> str:
    """The version in a library's ``version.py``, which names the build also where the import fails."""
    spec = find_spec(_MODULES.get(name, name))
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        file = Path(folder) / "version.py"
        if file.is_file():
            found = re.search(r"__version__ = ['\"]([^'\"]+)['\"]", file.read_text(errors="replace"))
            return found[1] if found else ""
    return ""


def _try(code: str) -> tuple[list[str], str]:
    """Lines that a piece of Python printed in a process of its own, and its error in one line."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False
        )
    except subprocess.TimeoutExpired:
        return [], "it did not finish within two minutes"
    if done.returncode:
        said = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        return [], said[-1] if said else f"its process ended with {done.returncode}"
    return done.stdout.splitlines(), ""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``avglance doctor``."""
    parser.add_argument("--json", action="store_true", help="facts and advice as one JSON object")


def run(args: argparse.Namespace) -> int:
    """Print facts and advice; 0 if everything that is needed fits, else 5."""
    facts = gather()
    advice = advise(facts)
    broken = any(item.needed for item in advice)
    if args.json:
        print(json.dumps({"fine": not broken, **asdict(facts), "advice": [asdict(item) for item in advice]}))
    else:
        print(text(facts, advice, Ink(sys.stdout)))
    return BROKEN if broken else FINE


def text(facts: Facts, advice: list[Advice], ink: Ink) -> str:
    """Facts and advice for a person."""
    lines = [f"{'python':<13}{'.'.join(map(str, facts.python))}", f"{'avglance':<13}{facts.avglance}"]
    for library in facts.libraries.values():
        state = _full(library) if library.version else ink("not installed", "yellow")
        note = library.note if library.note and library.note != state else ""
        broken = ink("broken", "red") if library.error else ""
        lines.append(f"{library.name:<13}{' '.join(w for w in (state, clean(note), broken) if w)}")
    lines += [f"{'device':<13}{clean(device)}" for device in facts.devices]
    for item in advice:
        mark = ink("does not fit", "red") if item.needed else ink("optional", "yellow")
        lines += ["", f"{mark}: {clean(item.problem, 1000)}", f"  mend it with: {item.command}"]
    if not any(item.needed for item in advice):
        lines += ["", ink("everything that is needed is here and fits", "green")]
    return "\n".join(lines)
