"""In how many digits a model's encoders compute: as asked, or what is quicker here, found out once."""

from __future__ import annotations

import contextlib
import copy
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from avglance.errors import ArgumentError

if TYPE_CHECKING:
    import torch

    from avglance.systems.base import System
    from avglance.types import Precision

Asked = Literal["auto", "float32", "bf16"]
PRECISIONS: tuple[Asked, ...] = get_args(Asked)
_ROUNDS, _LEAST_GAIN = 5, 1.1
_ROWS = {"picture": 16, "sound": 16, "focus": 4}


def check_precision(precision: str, where: str) -> None:
    """Refuse a precision that is none.

    Raises:
        ArgumentError: it is none of ``PRECISIONS``.
    """
    if precision not in PRECISIONS:
        raise ArgumentError(
            f"precision must be one of {', '.join(PRECISIONS)}, got {precision!r}", where=where
        )


def prepare(system: System, precision: Asked) -> Precision:
    """Makes a system quick for answering alone, and says in which precision its encoders now compute."""
    from avglance.systems.encoders import quicken

    chosen: Precision = found_out(system) if precision == "auto" else precision
    quicken(system, chosen)
    return chosen


def found_out(system: System) -> Precision:
    """The precision in which a system's encoders are quicker here; measured once, and kept for this machine.

    bf16 where it takes at most 1 / 1.1 of the time of float32. A place to keep it in is no must.
    """
    place, key = cache_folder() / "precision.json", _key(system)
    known = _read(place)
    if known.get(key) in ("float32", "bf16"):
        return "bf16" if known[key] == "bf16" else "float32"
    found = _measured(system)
    _write(place, known | {key: found})
    return found


def cache_folder() -> Path:
    """Where this user's machine keeps what can be found out again."""
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or str(_home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = str(_home() / "Library" / "Caches")
    else:
        base = os.environ.get("XDG_CACHE_HOME") or str(_home() / ".cache")
    return Path(base) / "avglance"


def _home() -> Path:
    """The user's folder; where there is none, that of temporary files."""
    try:
        return Path.home()
    except RuntimeError:
        return Path(tempfile.gettempdir())


def _key(system: System) -> str:
    """What the outcome depends on: machine, torch, threads, device and networks."""
    import torch

    from avglance.systems.encoders import encoders_of

    nets = [
        f"{sense}:{type(net).__name__}:{sum(p.numel() for p in net.parameters())}"
        for sense, net in encoders_of(system).items()
    ]
    sides = (system.view_settings.glance_side, system.view_settings.patch_side)
    words = [platform.machine(), _processor(), torch.__version__, torch.get_num_threads()]
    return " ".join(map(str, [*words, _device(system.device), *sides, *nets]))


def _device(device: torch.device) -> str:
    """What a device is; of CUDA's, which differ, its name too."""
    import torch

    return f"cuda:{torch.cuda.get_device_name(device)}" if device.type == "cuda" else device.type


def _processor() -> str:
    """The model of the processor, as far as the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def _read(place: Path) -> dict[str, Any]:
    try:
        found = json.loads(place.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _write(place: Path, known: dict[str, Any]) -> None:
    part = place.with_name(f"{place.name}.{os.getpid()}.part")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
        part.replace(place)
    except OSError:  # read-only homes are common in containers: it is measured again next time
        with contextlib.suppress(OSError):
            part.unlink()


def _measured(system: System) -> Precision:
    """Both precisions in turn on the rows of one video; the better by the median of its rounds."""
    import torch

    from avglance.systems.encoders import encoders_of, probe_of, quick

    sides = {"picture": system.view_settings.glance_side, "focus": system.view_settings.patch_side}
    pairs: list[tuple[Any, Any, Any]] = []
    for sense, encoder in encoders_of(system).items():
        row = probe_of(encoder, sense, side=sides.get(sense))
        rows = row.expand(_ROWS.get(sense, 4), *row.shape[1:]).contiguous()
        plain, brief = (
            quick(copy.deepcopy(encoder), sense, kind, side=sides.get(sense)) for kind in ("float32", "bf16")
        )
        pairs.append((rows, plain, brief))
    seconds: list[list[float]] = []
    with torch.inference_mode():
        for _ in range(_ROUNDS + 1):
            spent = []
            for which in (1, 2):
                start = time.perf_counter()
                for pair in pairs:
                    pair[which](pair[0])[1].cpu()
                spent.append(time.perf_counter() - start)
            seconds.append(spent)
    gain = statistics.median(slow / quick for slow, quick in seconds[1:])
    return "bf16" if gain >= _LEAST_GAIN else "float32"
