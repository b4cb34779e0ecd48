"""A system as separate static graphs, for runtimes without torch; the choices stay outside, in ``runtime``.

Adaptive models lose their choices when they are traced whole: which snippets, where in them and when to stop
depends on values, and a trace keeps one way alone. So each stage is a graph of its own, rows in and rows out,
and nothing that is chosen is inside one.
"""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

from avglance.errors import ArgumentError, MissingExtra
from avglance.systems.base import System

OPSET = 17  # the first with layer normalisation


@dataclass(frozen=True)
class StageGraph:
    """One stage.

    Args:
        module: what it computes; positional inputs in the order of ``inputs``, a tuple out.
        inputs: examples by name; the first axis, of two, may be of any length.
        outputs: their names.
        macs: multiply-adds of one row, by the stage they are booked on.
    """

    module: nn.Module
    inputs: dict[str, Tensor]
    outputs: tuple[str, ...]
    macs: dict[str, int]


@dataclass(frozen=True)
class Exported:
    """A system taken apart: ``kind`` of host loop, what that must know, and the graphs by name."""

    kind: str
    settings: dict[str, Any]
    graphs: dict[str, StageGraph]


def take_apart(system: System) -> Exported:
    """The stages of a system as graphs to be made.

    Raises:
        ArgumentError: nobody wrote down how for this kind of system.
    """
    from avglance.systems.avgn import AVGN
    from avglance.systems.avgn_graphs import avgn_graphs
    from avglance.systems.tsn import TSN
    from avglance.systems.tsn_graphs import tsn_graphs

    kinds: dict[type, Callable[[Any], Exported]] = {AVGN: avgn_graphs, TSN: tsn_graphs}
    if type(system) not in kinds:
        what = f"{system.name or type(system).__name__} cannot be exported"
        raise ArgumentError(what, where="export", hint="avgn and tsn can, in all their presets")
    with torch.no_grad():
        return kinds[type(system)](system.eval())


def onnx_bytes(name: str, stage: StageGraph) -> bytes:
    """The ONNX file of a stage, with its weights as they are: nothing is folded into them.

    torch's exporter by tracing is taken: it needs onnx alone, and what is here has no control flow.

    Raises:
        ArgumentError: a layer has no form in ONNX.
        MissingExtra: there is no onnx, which the exporter writes with.
    """
    if find_spec("onnx") is None:
        what, hint = "onnx is not installed", "pip install 'avglance[export]'"
        raise MissingExtra(what, where="export", hint=hint)
    names, content = [*stage.inputs, *stage.outputs], io.BytesIO()
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), torch.no_grad(), _full_norms(stage.module):
            warnings.simplefilter("ignore")  # checks of shapes are traced as constants, which they are
            torch.onnx.export(
                stage.module.eval(), tuple(stage.inputs.values()),
                content,  # type: ignore[arg-type]  # a file in memory does as well
                input_names=list(stage.inputs), output_names=list(stage.outputs),
                dynamic_axes={each: {0: "rows"} for each in names}, opset_version=OPSET, dynamo=False,
                training=torch.onnx.TrainingMode.PRESERVE, do_constant_folding=False,
            )  # fmt: skip
    except (RuntimeError, ValueError, TypeError) as error:  # OnnxExporterError is a RuntimeError
        first = (str(error).splitlines() or ["no reason given"])[0]
        raise ArgumentError(f"stage {name} has no form in ONNX ({first})", where="export") from error
    finally:
        log.setLevel(level)
    return content.getvalue()


@contextmanager
def _full_norms(module: nn.Module) -> Iterator[None]:
    """Inside, batch norms without weights have ones and zeros: the exporter knows not how many to make."""
    bare = [x for x in module.modules() if isinstance(x, nn.BatchNorm1d | nn.BatchNorm2d) and not x.affine]
    for norm in bare:
        norm.weight = nn.Parameter(torch.ones(norm.num_features))
        norm.bias = nn.Parameter(torch.zeros(norm.num_features))
    try:
        yield
    finally:
        for norm in bare:
            norm.weight = norm.bias = None  # type: ignore[assignment]  # as they were


class Encoded(nn.Module):
    """An encoder and the head on its vector: rows -> map (as ``maps`` makes it), vector, logits."""

    def __init__(
        self, encoder: nn.Module, head: nn.Module | None = None, *, maps: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.encoder, self.head, self.maps = encoder, head, maps

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """What is kept of each row."""
        map, vector = self.encoder(x)
        kept = [] if self.maps is None else [self.maps(map)]
        kept += [vector] if self.head is None else [vector, self.head(vector)]
        return tuple(kept)
