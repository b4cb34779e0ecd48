"""The calls for code: load a model, tag one file or many.

model = avglance.load("avgn_mobile.ucf7")
result = model.tag("my.mp4")                 # a typed error where the file cannot be read
for answer in model.tag_many(files): ...     # a Recognition or a Failure for each, in order
"""

from __future__ import annotations

import difflib
import logging
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from avglance.app import budget as budgets
from avglance.app import runtimes
from avglance.app.ahead import in_order
from avglance.app.answer import (
    Sightings,
    check_answer,
    cost,
    found_out,
    grid_use,
    judged,
    labels,
    moments,
    named,
    raise_failure,
    reader_name,
    sightings,
)
from avglance.app.budget import Plan
from avglance.app.precision import Asked, check_precision
from avglance.app.reading import check_grid, check_reading, check_top
from avglance.app.runtimes import find_device as find_device
from avglance.errors import ArgumentError, AVGLanceError, CheckpointError, MediaError
from avglance.types import Failure, Labels, Recognition, Span

if TYPE_CHECKING:
    from avglance.media import Decoders, Opener, Source
    from avglance.runtime import Decision, Host, LoadedGraphs
    from avglance.systems.base import System
    from avglance.systems.store import LoadedModel
    from avglance.views import Bill, FileView, Grid, ViewSettings

MODELS = Path(__file__).resolve().parents[1] / "models"
DEFAULT_MODEL = "avgn_mobile.ucf7"
DEFAULT_THRESHOLD = 0.5  # of evidence, for a model whose card has none
_log = logging.getLogger("avglance")


def shipped_models() -> list[str]:
    """Names of the models inside the package."""
    if not MODELS.is_dir():
        return []
    return sorted(p.name for p in MODELS.iterdir() if (p / "model.safetensors").is_file())


def find_model(name_or_folder: str | Path) -> Path:
    """The folder of a model: a shipped name, or a folder (write ``./name`` where both exist).

    Raises:
        CheckpointError: there is neither.
    """
    names = shipped_models()
    if str(name_or_folder) in names:
        return MODELS / str(name_or_folder)
    if os.path.isdir(name_or_folder):
        return Path(name_or_folder)
    near = difflib.get_close_matches(str(name_or_folder), names, n=1)
    guess = f"did you mean {near[0]!r}? " if near else ""
    known = f"shipped: {', '.join(names)}" if names else "this installation ships no model"
    raise CheckpointError(
        f"no model is called {str(name_or_folder)!r}, and no folder either",
        hint=f"{guess}{known}; or name the folder that training made",
    )


def load(
    name_or_folder: str | Path = DEFAULT_MODEL,
    device: str = "auto",
    *,
    grid: Grid | None = None,
    runtime: str = "auto",
    threads: int = 0,
    precision: Asked = "float32",
) -> Model:
    """A model ready to tag.

    Args:
        name_or_folder: a shipped model's name or a model folder.
        device: auto, cpu, cuda or mps.
        grid: when it looks at snippets, ``exact``, ``keyframe`` or ``auto`` (``ViewSettings``), unless a
            call says otherwise; None: as it was trained.
        runtime: torch; onnx or openvino (what runs the graphs that `avglance export` made; no torch is
            needed); or auto: onnx where the folder has graphs, unless the device is a GPU or, being auto,
            may be one.
        threads: to compute with, 0: as many as fit.
        precision: of the encoders, ``float32``, ``bf16`` (by torch or openvino), or ``auto``: by torch
            what is quicker here, by openvino bf16 where the processor has it, by onnx float32.

    Raises:
        CheckpointError: there is no such model, or it is damaged.
        ArgumentError: there is no such device, grid, runtime or precision.
        MissingExtra: what the runtime needs is not installed.
    """
    check_grid(grid)
    check_precision(precision, "load")
    folder = find_model(name_or_folder)
    found = runtimes.load(folder, runtime=runtime, device=device, threads=threads, precision=precision)
    return Model(found, grid=grid)


class Model:
    """A trained system that answers for files.

    Attributes:
        name: of the model.
        system: of the method.
        classes: names in the order of the scores.
        card: what the model says of itself.
        toy: whether its classes are toys.
        label_mode: whether it names the likeliest classes of a video, or all that it says are there.
        sha256: of the weights.
        max_budget: the largest budget it can spend.
        trained_grid: when it looked at snippets in training.
        grid: when it does so now.
        runtime: what computes: torch, onnx or openvino.
        precision: of its encoders, float32, bf16 or int8.
    """

    def __init__(self, loaded: LoadedModel | LoadedGraphs, *, grid: Grid | None = None) -> None:
        self._system = loaded.system
        self.card: dict[str, Any] = dict(loaded.card)
        self.name: str = str(self.card.get("name") or Path(loaded.folder).name)
        self.system: str = str(self.card.get("system") or loaded.system.name)
        self.classes: tuple[str, ...] = tuple(loaded.classes)
        self.toy: bool = bool(self.card.get("toy", False) or loaded.system.toy)
        self.sha256: str = loaded.sha256
        self.max_budget: int = int(min(loaded.system.max_k, loaded.system.pictures()))
        self.trained_grid: Grid = loaded.system.view_settings.grid
        self.grid: Grid = grid or self.trained_grid
        self._judge, self._exits = found_out(loaded)
        self.label_mode: Labels = self._judge.labels
        self.runtime, self.precision = runtimes.computing(loaded.system)
        self._plans: dict[str, Plan] = {}

    @property
    def engine(self) -> System | Host:
        """What answers: a system of torch, or exported graphs."""
        return self._system

    @property
    def view_settings(self) -> ViewSettings:
        """How it wants its videos."""
        return self._system.view_settings

    @property
    def stops(self) -> bool:
        """Whether it can stop looking when it is sure."""
        return self._exits is not None and self._system.stops

    def plan(
        self,
        budget: int | str | None = None,
        exit_early: bool | None = None,
        glance_pictures: int | None = None,
    ) -> Plan:
        """How this model spends a budget, None: the default, and how many pictures it glances at.

        Raises:
            ArgumentError: it is none, below one look, or more than the model can spend.
        """
        key = repr(asked := (budget, exit_early, glance_pictures))
        if key not in self._plans:
            self._plans = {key: budgets.plan(self._system, self._exits, *asked)}
        return self._plans[key]

    def budget(self, budget: int | str | None) -> int:
        """The most looks of a budget; errors are those of ``plan``."""
        return self.plan(budget).looks

    def tag(
        self,
        source: Source,
        *,
        budget: int | str | None = None,
        exit_early: bool | None = None,
        top: int = 5,
        grid: Grid | None = None,
        isolate: bool | Decoders = False,
        **reading: Any,
    ) -> Recognition:
        """What happens in one video.

        Args:
            source: a path, the bytes of a file, a binary file object or stream, or a ``VideoArray``.
            budget: what may be spent: looks (``4`` or ``"4"``), multiply-adds (``"8GMAC"``) or seconds
                (``"2s"``); None: 4 looks, or fewer if the model can spend no more.
            exit_early: stop looking when sure; None: with a budget in GMACs or seconds.
            top: how many labels to name.
            grid: when snippets are looked at: ``exact``, ``keyframe`` or ``auto``; None: as the model's.
            isolate: decode in another process, so that no file can hang or crash this one: True starts one
                for this call, ``Decoders`` keep theirs for several.
            reading: ``limits``, ``audio_track``, ``audio_file``, ``threads``, ``rough`` of ``VideoReader``;
                ``glance_pictures``: how many are decoded, chosen by sound (0: all; None: as the model does).

        Raises:
            MediaError: the file cannot be read, with its kind.
            ArgumentError: a value is outside what is allowed.
        """
        asked: dict[str, Any] = {"budget": budget, "exit_early": exit_early, "top": top, "grid": grid}
        return self.look(source, isolate=isolate, **asked, **reading)[0]

    def look(
        self,
        source: Source,
        *,
        budget: int | str | None = None,
        exit_early: bool | None = None,
        top: int = 5,
        grid: Grid | None = None,
        isolate: bool | Decoders = False,
        **reading: Any,
    ) -> tuple[Recognition, Sightings]:
        """Like ``tag``, and the pictures and sound levels that were met on the way (for a report)."""
        from avglance.media import BESIDE, NO_FILE, ArrayReader, VideoArray, local, source_name

        check_reading(reading)
        plan, name = self.plan(budget, exit_early, reading.pop("glance_pictures", None)), source_name(source)
        check_top(top)
        check_grid(grid)
        with ExitStack() as stack:
            found = stack.enter_context(local(source, reading.get("limits")))
            if isinstance(found, VideoArray):
                array = found
                if reading.get("audio_track") or reading.get("audio_file", BESIDE) not in (BESIDE, NO_FILE):
                    what, hint = "an array has no sound tracks or files", "give its sound to VideoArray"
                    raise ArgumentError(what, where=name, hint=hint)
                found, reading = Path(name), {"opener": lambda path, **_: ArrayReader(array)}
            else:
                reading = {"opener": _opener(isolate, stack), **reading}
            return self._answer(name, found, plan, top, grid or self.grid, **reading)

    def _answer(
        self, name: str, path: Path, plan: Plan, top: int, grid: Grid, **reading: Any
    ) -> tuple[Recognition, Sightings]:
        from avglance.views import FileView

        settings, stop = replace(self._system.view_settings, grid=grid), plan.stop(time.perf_counter())
        with FileView([path], settings, **reading) as view:
            raise_failure(view, name)
            decision, spent = runtimes.recognise(self._system, view, plan.looks, stop, plan.pictures)
            raise_failure(view, name)
            check_answer(view, decision, name)
            found = self._recognition(name, view, decision, spent, top)
            used = grid_use(view, self.trained_grid)
            return replace(found, budget=plan.words, grid=used), sightings(view, decision)

    def tag_many(
        self,
        sources: Iterable[Source],
        *,
        budget: int | str | None = None,
        exit_early: bool | None = None,
        top: int = 5,
        grid: Grid | None = None,
        isolate: bool | Decoders = True,
        at_once: int = 1,
        **reading: Any,
    ) -> Iterator[Recognition | Failure]:
        """A ``Recognition`` or a ``Failure`` for each video, in order; one bad file never stops the others.

        Files are decoded in another process (``isolate``): one that hangs or crashes it is a ``Failure`` of
        kind ``timeout``, ``limit`` or ``crashed``. ``at_once``: so many are under way together, one a core
        is quickest; sources are taken as many ahead.

        Raises:
            ArgumentError: a value is outside what is allowed (before the first file is opened).
            Exception: what ``sources`` raise, behind the answers of those before.
        """
        asked: dict[str, Any] = {"budget": budget, "exit_early": exit_early, "top": top, "grid": grid}
        for answer in self.look_many(sources, isolate=isolate, at_once=at_once, **asked, **reading):
            yield answer if isinstance(answer, Failure) else answer[0]

    def look_many(
        self,
        sources: Iterable[Source],
        *,
        budget: int | str | None = None,
        exit_early: bool | None = None,
        top: int = 5,
        grid: Grid | None = None,
        isolate: bool | Decoders = True,
        at_once: int = 1,
        **reading: Any,
    ) -> Iterator[tuple[Recognition, Sightings] | Failure]:
        """Like ``tag_many``, with the sightings of each."""
        from avglance.media import Decoders, VideoArray, source_name

        single = (str, bytes, bytearray, memoryview, Path, VideoArray)
        if isinstance(sources, single) or hasattr(sources, "read"):
            raise ArgumentError(
                "sources must be several videos, got one", where="tag_many", hint="use tag(path)"
            )
        asked: dict[str, Any] = {"budget": budget, "exit_early": exit_early, "top": top, "grid": grid}
        asked |= reading
        check_reading(reading)
        if self.plan(budget, exit_early, reading.get("glance_pictures")).seconds is not None:
            at_once = 1  # each has its seconds for itself
        if at_once > 1 and not reading.get("threads"):
            asked["threads"] = 1
        check_top(top)
        check_grid(grid)
        with ExitStack() as stack:
            kept = stack.enter_context(Decoders()) if isolate is True else isolate

            def one(source: Source) -> tuple[Recognition, Sightings] | Failure:
                try:
                    return self.look(source, isolate=kept, **asked)
                except MediaError as error:
                    return Failure(source_name(source), error.kind, error.what, error.hint)
                except AVGLanceError:  # a wrong call or a missing part: no file's fault alone
                    raise
                except Exception as error:  # noqa: BLE001 - the bulk runner: records it and goes on
                    return _bug(source_name(source), error)

            yield from in_order(one, sources, at_once=at_once)

    def _recognition(
        self, video: str, view: FileView, decision: Decision, spent: Bill, top: int
    ) -> Recognition:
        info = view.infos[0]
        duration_s = info.duration_s if info else 0.0
        saliency = runtimes.shares(self._system, decision.saliency[0])
        scores, unknown = judged(self._judge, decision)
        best = named(self._judge, scores, top, unknown=unknown)
        return Recognition(
            video=video,
            labels=labels(scores, self.classes, best, unknown=unknown),
            unknown=unknown,
            spans=() if unknown else self._spans(decision, view, duration_s, saliency, best),
            moments=moments(view, decision, saliency),
            saliency=tuple(map(float, saliency)),
            times=tuple(map(float, view.times[0])),
            cost=cost(view, spent, info, self._system.whole_macs()),
            condition=view.condition(0),
            duration_s=float(duration_s),
            model=self.name,
            system=self.system,
            weights_sha256=self.sha256,
            reader=reader_name(),
            toy=self.toy,
            label_mode=self.label_mode,
            runtime=self.runtime,
            precision=self.precision,
        )

    def _spans(
        self,
        decision: Decision,
        view: FileView,
        duration_s: float,
        saliency: NDArray[np.float64],
        best: NDArray[np.int64],
    ) -> tuple[Span, ...]:
        """Spans of the classes that are named, in the order of time."""
        from avglance.systems.spans import spans_of

        evidence = decision.evidence[0].astype(np.float64)  # (T, C)
        threshold = float(self.card.get("span_threshold", DEFAULT_THRESHOLD))
        found = []
        for c in best:
            runs = spans_of(saliency, evidence[:, c], view.times[0], threshold, duration_s=duration_s)
            found += [Span(start, end, self.classes[c], score) for start, end, score in runs]
        return tuple(sorted(found, key=lambda span: (span.start_s, -span.score)))


def _opener(isolate: bool | Decoders, stack: ExitStack) -> Opener | None:
    """What opens files: a decoding process, kept until the stack ends, or None for this process."""
    from avglance.media import Decoders

    if isinstance(isolate, Decoders):
        return isolate.open
    return stack.enter_context(Decoders()).open if isolate else None


def _bug(path: str | Path, error: Exception) -> Failure:
    """The record of an error that is no fault of the file; its trace goes to the log."""
    _log.error("%s: %s", path, error, exc_info=error)
    what = f"{type(error).__name__}: {error}"
    return Failure(str(path), "error", what, "this is a bug of ours: please report it with the trace")
