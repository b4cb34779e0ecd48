"""From what a system decided and a view delivered to plain values: the parts of one answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from avglance.errors import FAILURE_KINDS, MediaError
from avglance.systems.calibration import Judgement
from avglance.systems.exits import ExitTable
from avglance.types import UNKNOWN, Cost, GridUse, Label, MediaInfo, Moment

if TYPE_CHECKING:
    from avglance.runtime import Decision, LoadedGraphs
    from avglance.systems.store import LoadedModel
    from avglance.views import Bill, FileView


@dataclass(frozen=True)
class Sighting:
    """The picture of one moment, (H, W, 3) uint8, and its patch in xyxy fractions of it (None: no patch)."""

    picture: NDArray[np.uint8]
    box: tuple[float, float, float, float] | None


@dataclass(frozen=True)
class Sightings:
    """What was seen and heard on the way, for the report: one entry a moment, one level a snippet.

    ``levels_db`` is the RMS level of each snippet's sound in dBFS, None where nothing was heard; ``visible``
    says which snippets had a picture, ``unseen`` at how many of these it was not asked for (sound chose), and
    ``skipped`` at which of them nothing was: the answer was sure before.
    """

    moments: tuple[Sighting | None, ...]
    levels_db: tuple[float | None, ...]
    visible: tuple[bool, ...]
    unseen: int = 0
    skipped: tuple[bool, ...] = ()


def raise_failure(view: FileView, path: str) -> None:
    """Raise the error of a view's one file, if it gave nothing at all.

    Raises:
        MediaError: with the file's kind.
    """
    error = view.errors[0]
    if error is not None:
        raise MediaError(error.what, kind=error.kind, where=path, hint=error.hint) from error


def check_answer(view: FileView, decision: Decision, path: str) -> None:
    """Where no picture came a system answers from its sound head: see that it has one, and sound.

    Raises:
        MediaError: nothing came at all, or no picture came and the system has no sound head.
    """
    if bool(decision.looked[0].any()):
        return
    audible = view.audible[0]
    if not audible.any():
        kinds: list[Any] = [r.kind for r in view.condition(0).reasons if r.kind in FAILURE_KINDS]
        what = "neither a picture nor sound could be decoded"
        hint = "`avglance check` says what is left of the file"
        raise MediaError(what, kind=kinds[0] if kinds else "truncated", where=path, hint=hint)
    if not float(decision.evidence[0].sum()) > 0:
        hint = "use a model that hears, such as avgn_nano"
        raise MediaError(
            "no picture came, and this system hears nothing", kind="no_video", where=path, hint=hint
        )


def found_out(loaded: LoadedModel | LoadedGraphs) -> tuple[Judgement, ExitTable | None]:
    """What a model's card says about its scores, and when it may stop looking; older cards say nothing.

    Raises:
        CheckpointError: an entry is not what training writes.
    """
    where, exits = str(loaded.folder), loaded.card.get("exits")
    found, kind = loaded.card.get("calibration"), loaded.system.labels
    judge = Judgement.from_card(found, len(loaded.classes), labels=kind, where=where)
    return judge, None if exits is None else ExitTable.from_card(exits, where=where)


def judged(judge: Judgement, decision: Decision) -> tuple[NDArray[np.float64], bool]:
    """Calibrated scores (C,) of one answer, and whether none of the classes is there."""
    looks = decision.looked.sum(axis=1)
    scores, known = judge.scores(decision.scores, looks), decision.known
    last = None if known is None else known[:, -1]
    return scores[0], bool(judge.unknown(scores, decision.saliency, last, looks)[0])


def named(judge: Judgement, scores: NDArray[np.float64], top: int, *, unknown: bool) -> NDArray[np.int64]:
    """The classes that an answer with scores (C,) names, best first, (n,).

    The ``top`` best; of several labels a video all that are said, however many, and no other. Behind
    ``unknown``, which takes a place itself, the best in any case.
    """
    best = np.argsort(-scores, kind="stable")
    if unknown:
        return best[: top - 1]
    return best[judge.said(scores[None])[0][best]] if judge.labels == "several" else best[:top]


def labels(
    scores: NDArray[np.float64], classes: Sequence[str], best: NDArray[np.int64], *, unknown: bool
) -> tuple[Label, ...]:
    """The names of the classes ``best`` with their scores (C,); behind ``unknown`` where that is so."""
    first = (Label(UNKNOWN, 1.0),) if unknown else ()
    return (*first, *(Label(classes[c], float(scores[c])) for c in best))


def moments(view: FileView, decision: Decision, saliency: NDArray[np.float64]) -> tuple[Moment, ...]:
    """The snippets that were looked at, in the order of time."""
    times, boxes = view.times[0], decision.boxes[0].astype(np.float64)
    out = []
    for t in np.flatnonzero(decision.looked[0]):
        box = view.box_px(0, boxes[t]) if np.isfinite(boxes[t]).all() else None
        out.append(Moment(float(times[t]), float(saliency[t]), box))
    return tuple(sorted(out, key=lambda moment: moment.time_s))


def cost(view: FileView, spent: Bill, info: MediaInfo | None, whole_macs: int) -> Cost:
    """What was spent by the view and on the bill."""
    seconds = {name: float(s) for name, s in spent.seconds.items()}
    seconds["decode"] = float(view.decode_s[0])  # opening the file too, before anything was billed
    frames = round(info.duration_s * info.frame_rate) if info and info.has_video else 0
    delivered, decoded = int(view.frames_delivered[0]), int(view.frames_decoded[0])
    return Cost(
        frames_delivered=delivered,
        frames_decoded=decoded,
        seconds=seconds,
        macs={name: int(macs[0]) for name, macs in spent.macs.items()},
        whole_frames=max(frames, delivered),
        whole_macs=int(whole_macs),
    )


def grid_use(view: FileView, trained: str) -> GridUse:
    """On which grid the view's one file was looked at by a model that was trained on ``trained``."""
    times = len(np.unique(view.times[0]))
    return GridUse(view.settings.grid, trained, int(view.on_keyframes[0].sum()), times)


def sightings(view: FileView, decision: Decision) -> Sightings:
    """Source squares of the moments in the order of time, and every level that was heard."""
    times, boxes = view.times[0], decision.boxes[0].astype(np.float64)
    looked = np.flatnonzero(decision.looked[0])
    seen: list[Sighting | None] = []
    for t in looked[np.argsort(times[looked], kind="stable")]:
        square, box = view.square(0, int(t)), boxes[t]
        corners = (float(box[0]), float(box[1]), float(box[2]), float(box[3]))
        drawn = corners if np.isfinite(box).all() else None
        seen.append(None if square is None else Sighting(square.transpose(1, 2, 0), drawn))
    levels = tuple(float(db) if np.isfinite(db) else None for db in view.levels_db[0])
    visible = tuple(map(bool, view.visible[0]))
    unasked = [there and view.square(0, t) is None for t, there in enumerate(visible)]
    skipped = tuple(blind and level is None for blind, level in zip(unasked, levels, strict=True))
    return Sightings(tuple(seen), levels, visible, sum(unasked) - sum(skipped), skipped)


def reader_name() -> str:
    """Which reader decoded: two decoders may show different frames for the same second."""
    return f"pyav {metadata.version('av')}"
