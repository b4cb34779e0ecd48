"""From a folder with graphs to what answers for videos: the host loop of their kind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol, get_args

from avglance.errors import ArgumentError, CheckpointError
from avglance.runtime.avgn import AVGNHost
from avglance.runtime.choosing import Decision
from avglance.runtime.folder import GRAPHS, Manifest, read_graphs
from avglance.runtime.graph import By, Graph
from avglance.runtime.openvino_session import computes_briefly
from avglance.runtime.tsn import TSNHost
from avglance.types import Computed, Labels, Precision, Stopping
from avglance.views import Bill, View, ViewSettings

LARGE = 4_000_000
"""Weights from which a whole graph that is no encoder computes in bfloat16 too, if encoders do; torch counts
layer by layer (``parts.short``). What chooses never does: it decides where to look."""

CHOOSE = "choose"
KINDS: dict[str, type[AVGNHost | TSNHost]] = {"avgn": AVGNHost, "tsn": TSNHost}


class Loop(Protocol):
    """What a host loop of one kind offers."""

    stops: bool

    @property
    def halves(self) -> bool:
        """Whether it can look after half of the glance."""
        ...

    def pictures(self, asked: int | None = None) -> int:
        """How many pictures a video are asked for: as ``asked`` (0: all), or as its settings say."""
        ...

    def glance_macs(self, pictures: int) -> int:
        """Multiply-adds of glancing at so many pictures a video."""
        ...

    def recognise(
        self,
        view: View,
        k: int,
        *,
        bill: Bill,
        stop: Stopping | None = None,
        glance_pictures: int | None = None,
    ) -> Decision:
        """The answer for the videos of a view."""
        ...


class Host:
    """An exported system: the surface of ``systems.base.System`` that answering needs, without torch.

    Attributes:
        name: of the system.
        classes: C.
        view_settings: how it wants its videos.
        max_k: the largest budget it can spend.
        stops: whether it can stop looking when sure.
        halves: whether it can look after half of the glance.
        toy: whether its classes are toys.
        labels: whether it gives a video one label or several.
        by: what runs its graphs.
        precision: of its encoders.
        encoders: their graphs, by name.
    """

    def __init__(
        self,
        manifest: Manifest,
        loop: Loop,
        *,
        toy: bool = False,
        by: By = "onnx",
        precision: Precision = "float32",
        encoders: Mapping[str, Graph] = MappingProxyType({}),
    ) -> None:
        self.name, self.classes, self.max_k = manifest.system, manifest.classes, manifest.max_k
        self.view_settings: ViewSettings = manifest.view
        self.labels: Labels = manifest.labels
        self.toy, self.stops, self.by, self.encoders = toy, loop.stops, by, encoders
        self.precision: Computed = "int8" if manifest.int8 else precision
        self.halves = loop.halves
        self._manifest, self._loop = manifest, loop

    def pictures(self, asked: int | None = None) -> int:
        """How many of the T pictures a video are decoded: as ``asked`` (0: all), or as its settings say.

        Raises:
            ArgumentError: it cannot do with fewer than all, or there are not so many.
        """
        return self._loop.pictures(asked)

    def check_budget(self, k: int) -> int:
        """``k`` itself.

        Raises:
            ArgumentError: it is outside 1 .. ``max_k``.
        """
        if not 1 <= k <= self.max_k:
            hint = f"choose 1 to {self.max_k}; the smallest budget is 1"
            what = f"a budget of {k} moments is outside [1, {self.max_k}]"
            raise ArgumentError(what, where=self.name, hint=hint)
        return k

    def recognise(
        self,
        view: View,
        k: int,
        *,
        bill: Bill | None = None,
        stop: Stopping | None = None,
        glance_pictures: int | None = None,
    ) -> Decision:
        """The answer from a view, asking only for what is used.

        Raises:
            ArgumentError: ``k`` is outside 1 .. ``max_k``, or ``glance_pictures`` is as ``pictures`` says.
        """
        self.check_budget(k)
        bill = bill or Bill(len(view.times))
        return self._loop.recognise(view, k, bill=bill, stop=stop, glance_pictures=glance_pictures)

    def whole_macs(self) -> int:
        """Multiply-adds of a close look at every snippet's whole source square, and of its sound."""
        return self._manifest.whole_macs

    def look_macs(self, glance_pictures: int | None = None) -> tuple[int, int]:
        """Multiply-adds of one video before its first look, and of each look: the most they can be."""
        before, each = self._manifest.look_macs
        asked, usual = (self._loop.glance_macs(self.pictures(n)) for n in (glance_pictures, None))
        return before + asked - usual, each


@dataclass(frozen=True)
class LoadedGraphs:
    """An exported system with what belongs to it; ``sha256`` is that of its weights."""

    system: Host
    classes: tuple[str, ...]
    card: dict[str, Any]
    folder: Path
    sha256: str


def check_precision(by: By, precision: Precision) -> None:
    """Refuse a precision in which graphs cannot be computed here.

    Raises:
        ArgumentError: it is none, or what runs them or this processor does not know it.
        MissingExtra: what shall run them is not installed.
    """
    if precision not in get_args(Precision):
        names = " or ".join(get_args(Precision))
        raise ArgumentError(f"precision must be {names}, got {precision!r}", where="runtime")
    if precision == "float32":
        return
    if by != "openvino":
        hint = "--runtime torch or openvino, or --precision float32"
        raise ArgumentError(f"the runtime {by} computes in float32, not in bf16", where="load", hint=hint)
    if not computes_briefly():
        hint = "--precision float32, or auto"
        raise ArgumentError("this processor does not compute in bf16", where="runtime openvino", hint=hint)


def load_graphs(
    folder: str | Path, *, threads: int = 0, by: By = "onnx", precision: Precision = "float32"
) -> LoadedGraphs:
    """The exported model of a folder.

    Args:
        folder: as ``avglance export`` writes it.
        threads: for one operation; 0: as many as fit.
        by: what runs the graphs, onnxruntime or openvino.
        precision: of encoders, and of graphs of ``LARGE`` weights; "bf16" by openvino alone. Encoders that
            were exported in 8 bits stay so.

    Raises:
        ArgumentError: what runs them does not compute so, or not on this processor.
        CheckpointError: something is missing, changed since it was written, or does not fit.
        MissingExtra: what shall run them is not installed.
    """
    check_precision(by, precision)
    folder = Path(folder)
    found = read_graphs(folder)
    manifest = found.manifest
    if manifest.kind not in KINDS:
        what = f"made for a host loop called {manifest.kind!r}, which is not known"
        raise CheckpointError(what, where=str(folder / GRAPHS), hint="made by a newer version?")
    kind = KINDS[manifest.kind]
    how: dict[str, Any] = {"weights": found.weights, "threads": threads, "by": by, "folder": str(folder)}
    graphs = {}
    for name, content in found.graphs.items():
        least = 0 if name in kind.encoders else LARGE
        brief = precision == "bf16" and name != CHOOSE and name not in manifest.int8
        how["brief_from"] = least if brief else None
        graphs[name] = Graph(name, content, macs=manifest.graphs[name].macs, **how)
    try:
        loop = kind(
            manifest.settings, graphs, view=manifest.view, classes=manifest.classes, labels=manifest.labels
        )
    except (ArgumentError, KeyError, TypeError, ValueError, AttributeError) as error:
        what = f"its settings do not fit {manifest.kind} ({error!r})"
        raise CheckpointError(what, where=str(folder / GRAPHS)) from error
    toy, encoders = bool(found.card.get("toy", False)), {n: graphs[n] for n in kind.encoders if n in graphs}
    host = Host(manifest, loop, toy=toy, by=by, precision=precision, encoders=encoders)
    return LoadedGraphs(host, found.classes, found.card, folder, manifest.weights_sha256)
