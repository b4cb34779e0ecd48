"""One batch of files recognised as ``tag`` does it, and taken apart into one answer (or failure) a video."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from avglance.data.cache import Cache
from avglance.data.records import Record
from avglance.evaluation.answers import Answer, known_truth
from avglance.evaluation.cached import CachedView
from avglance.evaluation.controls import Muted, SwappedSound
from avglance.parts.meter import Meter
from avglance.runtime import Decision as HostDecision
from avglance.runtime import Host
from avglance.systems.base import Decision, Steering, System
from avglance.systems.calibration import Judgement
from avglance.systems.spans import spans_of
from avglance.types import Failure, Span, Stopping
from avglance.views import FileView, Grid, View, ViewSettings, file_to_square

Control = Literal["none", "swap_sound", "mute", "true_moments", "true_patches", "true_both", "uniform"]
TELLING: tuple[Control, ...] = ("true_moments", "true_patches", "true_both")
"""Controls that tell a system parts of the truth."""
STEERING: tuple[Control, ...] = (*TELLING, "uniform")
"""Controls that tell a system where to look."""


AS_THEY_ARE = Judgement()


@dataclass(frozen=True)
class Batch:
    """Videos that are recognised together; with ``swap_sound``, ``donors`` are those whose sound they get."""

    records: tuple[Record, ...]
    control: Control = "none"
    donors: tuple[Record, ...] = ()


@dataclass(frozen=True)
class Looks:
    """How every batch is looked at; with ``cache`` that is read in place of the files.

    ``judge`` is what the card says about the scores, ``stop`` ends looks early; ``grid``, if there is one,
    stands in for the system's own, and files are decoded ``rough``. ``pictures`` says how many of a video
    are glanced at, where the system is asked for another number than its own.
    """

    system: System | Host
    classes: tuple[str, ...]
    k: int
    threshold: float
    cache: Cache | None = None
    judge: Judgement = AS_THEY_ARE
    stop: Stopping | None = None
    grid: Grid | None = None
    rough: bool = False
    pictures: int | None = None

    @property
    def view_settings(self) -> ViewSettings:
        """How files are looked at: as the system wants them, but for ``grid`` if there is one."""
        settings = self.system.view_settings
        return settings if self.grid is None else replace(settings, grid=self.grid)


@dataclass(frozen=True)
class Spent:
    """What one batch gave: an answer or a failure for each video, and the seconds of its stages."""

    answers: tuple[Answer | Failure, ...]
    seconds: dict[str, float]


@dataclass(frozen=True)
class _Arrays:
    """A ``Decision`` in numpy."""

    scores: NDArray[np.float64]
    saliency: NDArray[np.float64]
    looked: NDArray[np.bool_]
    boxes: NDArray[np.float64]
    evidence: NDArray[np.float64]
    unknown: NDArray[np.bool_]
    said: NDArray[np.bool_] | None


def recognise_batch(batch: Batch, looks: Looks) -> Spent:
    """Answers of one batch; the files are open only meanwhile."""
    system, meter = looks.system, Meter(len(batch.records))
    with ExitStack() as stack:
        files = _view(batch.records, looks)
        stack.callback(files.close)
        view: View = files
        if batch.control == "swap_sound":
            donors = _view(batch.donors, looks)
            stack.callback(donors.close)
            view = SwappedSound(files, donors)
        elif batch.control == "mute":
            view = Muted(files)
        arrays = None
        if any(error is None for error in files.errors):
            given = {"stop": looks.stop, "glance_pictures": looks.pictures}
            extra: dict[str, Any] = {name: x for name, x in given.items() if x is not None}
            if batch.control in STEERING:
                extra["told"] = _told(batch, files, looks.k)
            extra |= {"bill" if isinstance(system, Host) else "meter": meter}
            with torch.inference_mode():
                arrays = _arrays(system.recognise(view, looks.k, **extra), looks.judge)
        seconds = meter.seconds | {
            "decode": float(np.sum(getattr(view, "decode_s", 0.0)))
        }  # opening counts too
        answers: list[Answer | Failure] = []
        for b, record in enumerate(batch.records):
            error = files.errors[b]
            if error is not None or arrays is None:
                kind, what, hint = (
                    (error.kind, error.what, error.hint) if error else ("error", "no answer", "")
                )
                answers.append(Failure(str(record.path), kind, what, hint))
            else:
                macs = {stage: int(rows[b]) for stage, rows in meter.macs.items()}
                answers.append(_answer(record, files, view, arrays, b, looks=looks, macs=macs))
    return Spent(tuple(answers), seconds)


def _view(records: tuple[Record, ...], looks: Looks) -> FileView | CachedView:
    paths = [r.path for r in records]
    if looks.cache is not None:
        return CachedView(looks.cache, paths)
    return FileView(paths, looks.view_settings, threads=1, rough=looks.rough)


def _told(batch: Batch, files: FileView | CachedView, k: int) -> Steering:
    """What a control tells: evenly spaced snippets; or which are the event's, and where its object is."""
    moments = np.zeros(files.times.shape, dtype=bool)
    if batch.control == "uniform":
        moments[:, (2 * np.arange(k) + 1) * files.times.shape[1] // (2 * k)] = True
        return Steering(torch.from_numpy(moments))
    centres = np.full((*files.times.shape, 2), np.nan)
    for b, record in enumerate(batch.records):
        event, middle, _ = known_truth(record.truth, files.times[b])
        info = files.infos[b]
        if event is not None and info is not None:
            moments[b] = event
            placed = file_to_square(middle, info.width, info.height, files.settings)
            centres[b] = np.where(event[:, None], placed, np.nan)
    return Steering(
        torch.from_numpy(moments) if batch.control != "true_patches" else None,
        torch.from_numpy(centres) if batch.control != "true_moments" else None,
    )


def _arrays(decision: Decision | HostDecision, judge: Judgement) -> _Arrays:
    scores, saliency, boxes, evidence = (
        torch.as_tensor(x).cpu().double()
        for x in (decision.scores, decision.saliency, decision.boxes, decision.evidence)
    )
    looked = torch.as_tensor(decision.looked).cpu().numpy()
    looks = looked.sum(axis=1)
    judged = judge.scores(scores.numpy(), looks)
    known = None if decision.known is None else torch.as_tensor(decision.known)[:, -1].cpu().double().numpy()
    return _Arrays(
        scores=judged,
        saliency=saliency.softmax(dim=1).numpy(),
        looked=looked,
        boxes=boxes.numpy(),
        evidence=evidence.numpy(),
        unknown=judge.unknown(judged, saliency.numpy(), known, looks),
        said=judge.said(judged) if judge.labels == "several" else None,
    )


def _answer(
    record: Record,
    files: FileView | CachedView,
    view: View,
    arrays: _Arrays,
    b: int,
    *,
    looks: Looks,
    macs: dict[str, int],
) -> Answer:
    info, times, looked = files.infos[b], files.times[b], arrays.looked[b]
    boxes = np.where(looked[:, None], arrays.boxes[b], np.nan)
    pixels = np.full(boxes.shape, np.nan)
    for t in np.flatnonzero(~np.isnan(boxes).any(axis=1)):
        pixels[t] = files.box_px(b, boxes[t])
    target = np.isin(looks.classes, record.labels)
    duration_s = info.duration_s if info else 0.0
    event, centres, true_spans = known_truth(record.truth, times)
    whole = round(info.duration_s * info.frame_rate) if info and info.has_video else 0
    return Answer(
        video=str(record.path),
        labels=record.labels,
        scores=arrays.scores[b],
        target=target,
        times=times,
        saliency=arrays.saliency[b],
        looked=looked,
        boxes_px=pixels,
        patch_area=(boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]),
        event=event,
        centres=centres,
        true_spans=true_spans,
        spans=_spans(arrays, b, looks, times, duration_s, target),
        macs=macs,
        frames=(int(files.frames_delivered[b]), int(files.frames_decoded[b]), whole),
        decode_s=float(np.asarray(getattr(view, "decode_s", files.decode_s))[b]),
        condition=files.condition(b),
        heard=bool(view.audible[b].any()),
        group=record.group,
        unknown=bool(arrays.unknown[b]),
        strange=record.unknown,
        said=None if arrays.said is None else arrays.said[b] & ~arrays.unknown[b],
        on_keyframes=int(files.on_keyframes[b].sum()),
    )


def _spans(
    arrays: _Arrays,
    b: int,
    looks: Looks,
    times: NDArray[np.float64],
    duration_s: float,
    target: NDArray[np.bool_],
) -> tuple[Span, ...]:
    """The spans of the true labels."""
    found = []
    for c in np.flatnonzero(target):
        proof = arrays.evidence[b, :, c]
        said = spans_of(arrays.saliency[b], proof, times, looks.threshold, duration_s=duration_s)
        found += [Span(start_s, end_s, looks.classes[c], score) for start_s, end_s, score in said]
    return tuple(found)
