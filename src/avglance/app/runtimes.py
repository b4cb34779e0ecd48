"""What computes the answers: torch, or exported graphs and a host loop that know no torch."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from shutil import which
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from avglance.app.precision import Asked, prepare
from avglance.errors import ArgumentError, MissingExtra
from avglance.runtime import BY, By, Decision, Host, LoadedGraphs, has_graphs, load_graphs, reads_graphs
from avglance.runtime.choosing import softmax
from avglance.runtime.openvino_session import computes_briefly
from avglance.views import Bill, FileView

if TYPE_CHECKING:
    import torch

    from avglance.systems import base
    from avglance.systems.store import LoadedModel
    from avglance.types import Computed, Precision, Runtime, Stopping

DEVICES = ("auto", "cpu", "cuda", "mps")
RUNTIMES = ("auto", "torch", *BY)


def find_device(device: str = "auto") -> torch.device:
    """A device by name; ``auto`` is the first CUDA device, or the CPU (``mps`` only when it is asked for).

    Raises:
        ArgumentError: there is no such device here.
    """
    import torch

    if device not in DEVICES:
        raise ArgumentError(f"device must be one of {', '.join(DEVICES)}, got {device!r}", where="load")
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not there[device]:
        hint = "use --device auto or cpu; `avglance doctor` lists what torch sees"
        raise ArgumentError(f"torch sees no {device} device here", where="load", hint=hint)
    return torch.device(device)


def find_runtime(
    folder: Path, runtime: str = "auto", device: str = "auto", *, brief: bool = False
) -> Runtime:
    """A runtime by name; ``auto`` is onnx where the folder has graphs, unless a GPU may be meant.

    Nor where encoders are to be ``brief``, in 16 bits: then it is torch (openvino can too, where named).
    Graphs start several times as fast as torch. With the device auto a GPU is meant where torch and a driver
    for one are there.

    Raises:
        ArgumentError: no runtime has this name, or it knows no such device.
        MissingExtra: what would be needed is not installed.
    """
    if runtime not in RUNTIMES:
        raise ArgumentError(f"runtime must be one of {', '.join(RUNTIMES)}, got {runtime!r}", where="load")
    if device not in DEVICES:
        raise ArgumentError(f"device must be one of {', '.join(DEVICES)}, got {device!r}", where="load")
    on_cpu = device in ("auto", "cpu")
    for by in BY:
        if runtime == by:
            _check_graphs(by, device)
            return by
    has_torch, graphs = find_spec("torch") is not None, has_graphs(folder)
    for_gpu = device == "auto" and has_torch and which("nvidia-smi") is not None
    old = has_torch and not reads_graphs(folder)  # torch reads what the graphs were made from
    if runtime == "auto" and graphs and on_cpu and not for_gpu and not brief and not old:
        return "onnx"
    if not has_torch:
        hint = "pip install 'avglance[torch]'"
        hint += "; or --runtime openvino" if graphs and brief else ""
        hint += "" if graphs else "; or `avglance export` where torch is: graphs run without"
        raise MissingExtra("torch is not installed, and this needs it", where=str(folder), hint=hint)
    return "torch"


def _check_graphs(by: By, device: str) -> None:
    """Refuse what graphs cannot do."""
    if device not in ("auto", "cpu"):
        what, hint = f"the runtime {by} computes on the CPU, not on {device}", f"take torch for {device}"
        raise ArgumentError(what, where="load", hint=hint)


def load(
    folder: Path,
    *,
    runtime: str = "auto",
    device: str = "auto",
    threads: int = 0,
    precision: Asked = "float32",
) -> LoadedModel | LoadedGraphs:
    """The model of a folder, for a runtime; ``threads`` to compute with, 0: as many as fit.

    Encoders get their ``precision``, by onnx float32 alone. "auto" is by torch what is quicker here, by
    openvino bf16 where the processor has it.

    Raises:
        CheckpointError: the model is damaged, or has no graphs.
        ArgumentError, MissingExtra: as ``find_runtime`` and ``find_device``.
    """
    found = find_runtime(folder, runtime, device, brief=precision == "bf16")
    if found != "torch":
        return load_graphs(folder, threads=threads, by=found, precision=_of_graphs(found, precision))
    where = find_device(device)
    import torch

    from avglance.systems.store import load_model

    if threads:
        torch.set_num_threads(threads)
    loaded = load_model(folder, device=str(where))
    prepare(loaded.system, precision)
    return loaded


def _of_graphs(by: By, asked: Asked) -> Precision:
    """The precision in which graphs compute where it is asked for so."""
    if asked == "auto":
        return "bf16" if by == "openvino" and computes_briefly() else "float32"
    return asked


def computing(system: base.System | Host) -> tuple[Runtime, Computed]:
    """What computes the answers of a system, and in which precision its encoders do."""
    if isinstance(system, Host):
        return system.by, system.precision
    from avglance.systems.encoders import Brief, encoders_of

    brief = any(isinstance(net, Brief) for net in encoders_of(system).values())
    return "torch", "bf16" if brief else "float32"


def recognise(
    system: base.System | Host,
    view: FileView,
    k: int,
    stop: Stopping | None,
    glance_pictures: int | None = None,
) -> tuple[Decision, Bill]:
    """The answer for the one video of a view, as arrays, and what it cost."""
    if isinstance(system, Host):
        bill = Bill(1)
        return system.recognise(view, k, bill=bill, stop=stop, glance_pictures=glance_pictures), bill
    import torch

    from avglance.parts.meter import Meter

    given = {"stop": stop, "glance_pictures": glance_pictures}
    asked: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    meter = Meter(1)
    with torch.inference_mode():
        return arrays(system.recognise(view, k, meter=meter, **asked)), meter


def shares(system: base.System | Host, saliency: NDArray[Any]) -> NDArray[np.float64]:
    """Softmax of the saliency (T,) in double precision, by what answered: the last digit is its own."""
    logits = saliency.astype(np.float64)
    if isinstance(system, Host):
        return softmax(logits)
    import torch

    found: NDArray[np.float64] = torch.from_numpy(logits).softmax(0).numpy()
    return found


def arrays(found: base.Decision) -> Decision:
    """What a system decided, as arrays."""
    names = ("scores", "saliency", "looked", "order", "boxes", "evidence", "prefix", "known")
    given = ((name, getattr(found, name)) for name in names)
    made: dict[str, Any] = {name: None if x is None else x.cpu().numpy() for name, x in given}
    return Decision(**made)
