"""What a model answers for the clip of the package: kept in its folder, to be met again elsewhere.

A machine that answers otherwise has other libraries, another decoder or other numerics than that where the
answer was kept, or weights that somebody changed together with their checksums.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path

import torch

from avglance.errors import CheckpointError, MediaError
from avglance.parts.weights import sha256_of
from avglance.systems.base import System
from avglance.systems.folder import SELFTEST
from avglance.systems.store import LoadedModel, copy_with, load_model
from avglance.views import FileView

CLIP = Path(__file__).resolve().parents[1] / "samples" / "glanceworld.mp4"
TOLERANCE = 1e-3
LOOKS = 4  # of a model whose card names no budget
FORMAT = "avglance-selftest/1"
LIBRARIES = ("torch", "av", "numpy", "timm")


@dataclass(frozen=True)
class Answer:
    """What a model said of the clip, on a CPU.

    Attributes:
        looks: K, that it was allowed.
        scores: by class, as the system gives them (before any calibration).
        saliency: softmax over the snippets.
        moments_s: times of the snippets that were looked at, rising.
        boxes: of their patches, xyxy fractions of the source square; None where there is no patch.
        clip: checksum of the clip.
        versions: of the libraries that answered.
    """

    looks: int
    scores: dict[str, float]
    saliency: list[float]
    moments_s: list[float]
    boxes: list[list[float] | None]
    clip: str = ""
    versions: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Difference:
    """One way in which two answers differ: ``of`` is clip, classes, scores, saliency, moments or boxes."""

    of: str
    text: str


def answer(system: System, classes: Sequence[str], looks: int) -> Answer:
    """What a system says of the clip with ``looks`` looks.

    Raises:
        MediaError: the clip cannot be read.
        ArgumentError: the system cannot spend so many looks.
    """
    with FileView([CLIP], system.view_settings) as view:
        if view.errors[0] is not None:
            raise view.errors[0]
        with torch.inference_mode():
            found = system.recognise(view, looks)
        if not (view.visible[0].any() or view.audible[0].any()):
            raise MediaError(
                "neither a picture nor sound could be decoded", kind="truncated", where=str(CLIP)
            )
        looked = found.looked[0].cpu().nonzero()[:, 0].tolist()
        times, boxes = view.times[0].tolist(), found.boxes[0].double().cpu()
        return Answer(
            looks=looks,
            scores=dict(zip(classes, _short(found.scores[0].double().cpu().tolist()), strict=True)),
            saliency=_short(found.saliency[0].double().softmax(0).cpu().tolist()),
            moments_s=_short([times[t] for t in looked]),
            boxes=[_short(boxes[t].tolist()) if bool(boxes[t].isfinite().all()) else None for t in looked],
            clip=sha256_of(CLIP),
            versions={name: _version(name) for name in LIBRARIES},
        )


def _short(values: Sequence[float]) -> list[float]:
    return [float(f"{value:.8g}") for value in values]


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def usual_looks(model: LoadedModel) -> int:
    """How many looks a model is tested with: the budget of its card."""
    told = model.card.get("budget")
    return min(told if isinstance(told, int) and told > 0 else LOOKS, model.system.max_k)


def record(folder: str | Path) -> Answer:
    """Keeps in a model's folder what it answers, on a CPU.

    Raises:
        CheckpointError: it cannot be loaded, or answers with what is no number.
        ArgumentError: the folder cannot be written.
        MediaError: the clip cannot be read.
    """
    model = load_model(folder)
    found = answer(model.system, model.classes, usual_looks(model))
    if not all(map(math.isfinite, (*found.scores.values(), *found.saliency))):
        hint = "its weights hold no finite numbers, or grow beyond them: train the model again"
        raise CheckpointError("answers with scores that are no numbers", where=str(folder), hint=hint)
    text = json.dumps({"format": FORMAT, **asdict(found)}, indent=1, ensure_ascii=False, allow_nan=False)
    copy_with(model, model.folder, SELFTEST, text)
    return found


def stored(model: LoadedModel) -> Answer:
    """The answer that is kept in a model's folder.

    Raises:
        CheckpointError: there is none, or it is not what ``record`` writes.
    """
    path = model.folder / SELFTEST
    if not path.is_file():
        raise CheckpointError(
            f"holds no stored answer ({SELFTEST}): the model was written by an earlier version",
            where=str(model.folder),
            hint="where the model is known to be right, `avglance selftest MODEL --record` keeps one",
        )
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        if said.pop("format") != FORMAT:
            raise ValueError(f"the format is not {FORMAT}")
        return _checked(Answer(**said))
    except (OSError, ValueError, TypeError, AttributeError, KeyError, RecursionError) as error:
        what = f"is no stored answer ({error})"
        raise CheckpointError(what, where=str(path), hint="write it again with --record") from error


def _checked(said: Answer) -> Answer:
    """The answer itself; ValueError or TypeError where a part of it is of another kind."""
    numbers = [*said.scores.values(), *said.saliency, *said.moments_s]
    for box in said.boxes:
        numbers += box if box is not None else ()
        if box is not None and len(box) != 4:
            raise ValueError("a box has four numbers")
    if not all(isinstance(x, (int, float)) and math.isfinite(x) for x in numbers):
        raise ValueError("something is not a number")
    if not isinstance(said.looks, int) or len(said.boxes) != len(said.moments_s):
        raise ValueError("looks, moments and boxes do not fit")
    if not all(isinstance(word, str) for word in (said.clip, *said.versions.values())):
        raise ValueError("clip or versions are no text")
    return said


def differences(old: Answer, new: Answer) -> list[Difference]:
    """In what two answers differ by more than ``TOLERANCE``; nothing: they are the same."""
    if old.clip != new.clip:
        return [Difference("clip", "the stored answer is about another clip than the one that is here")]
    if old.scores.keys() != new.scores.keys():
        other = sorted(old.scores.keys() ^ new.scores.keys())
        return [Difference("classes", f"{len(other)} are in one answer alone, first {other[0]!r}")]
    found = [_of_scores(old, new), _of_saliency(old, new), _of_moments(old, new)]
    return [difference for difference in found if difference is not None]


def _far(a: float, b: float) -> bool:
    return not abs(a - b) <= TOLERANCE  # what is no number is far from any


def _of_scores(old: Answer, new: Answer) -> Difference | None:
    far = [name for name, score in old.scores.items() if _far(score, new.scores[name])]
    if not far:
        return None
    worst = max(far, key=lambda name: abs(old.scores[name] - new.scores[name]))
    first, best = (max(said.scores, key=lambda name: said.scores[name]) for said in (old, new))
    text = f"{len(far)} of {len(old.scores)} differ, most {worst!r}: "
    text += f"{old.scores[worst]:.4f} stored, {new.scores[worst]:.4f} here"
    if first != best:
        text += f"; the first label is {best!r} in place of {first!r}"
        same = sorted(old.scores.values()), sorted(new.scores.values())
        if not any(_far(a, b) for a, b in zip(*same, strict=True)):
            text += "; the numbers are the same, for other classes: the classes are in another order"
    return Difference("scores", text)


def _of_saliency(old: Answer, new: Answer) -> Difference | None:
    if len(old.saliency) != len(new.saliency):
        text = f"of {len(old.saliency)} snippets stored, of {len(new.saliency)} here"
        return Difference("saliency", text)
    far = [n for n, (a, b) in enumerate(zip(old.saliency, new.saliency, strict=True)) if _far(a, b)]
    if not far:
        return None
    worst = max(far, key=lambda n: abs(old.saliency[n] - new.saliency[n]))
    text = f"{len(far)} of {len(old.saliency)} snippets differ, most number {worst + 1}: "
    return Difference("saliency", f"{text}{old.saliency[worst]:.4f} stored, {new.saliency[worst]:.4f} here")


def _of_moments(old: Answer, new: Answer) -> Difference | None:
    """The moments, or the boxes where the moments are the same."""
    here = zip(old.moments_s, new.moments_s, strict=False)
    if len(old.moments_s) != len(new.moments_s) or any(_far(a, b) for a, b in here):
        text = f"{_seconds(old.moments_s)} stored, {_seconds(new.moments_s)} here"
        return Difference("moments", text)
    for time_s, a, b in zip(old.moments_s, old.boxes, new.boxes, strict=True):
        if (a is None) != (b is None) or any(_far(x, y) for x, y in zip(a or (), b or (), strict=True)):
            return Difference("boxes", f"at {time_s:.2f} s {_box(a)} stored, {_box(b)} here")
    return None


def _seconds(times_s: Sequence[float]) -> str:
    return (", ".join(f"{time_s:.2f}" for time_s in times_s) or "none") + " s" * bool(times_s)


def _box(box: Sequence[float] | None) -> str:
    return "none" if box is None else f"({', '.join(f'{side:.3f}' for side in box)})"


def largest(old: Answer, new: Answer) -> float:
    """The largest difference of a score; of two answers about the same classes."""
    return max(abs(score - new.scores[name]) for name, score in old.scores.items())
