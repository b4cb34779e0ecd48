"""The calls for code: load a model, tag one file or many.

model = avglance.load("avgn_nano.glanceworld")
result = model.tag("my.mp4")                 # a typed error where the file cannot be read
for answer in model.tag_many(files): ...     # a Recognition or a Failure for each, in order
"""

from __future__ import annotations

import difflib
import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from avglance.errors import FAILURE_KINDS, ArgumentError, CheckpointError, MediaError
from avglance.types import Cost, Failure, Label, MediaInfo, Moment, Recognition, Span

if TYPE_CHECKING:
    import torch

    from avglance.media import Limits
    from avglance.parts.meter import Meter
    from avglance.systems.base import Decision
    from avglance.systems.store import LoadedModel
    from avglance.views import FileView

MODELS = Path(__file__).resolve().parents[1] / "models"
DEFAULT_MODEL = "avgn_nano.glanceworld"
DEFAULT_MOMENTS = 4
DEFAULT_THRESHOLD = 0.5  # of evidence, for a model whose card has none
DEVICES = ("auto", "cpu", "cuda", "mps")
_log = logging.getLogger("avglance")


@dataclass(frozen=True)
class Sighting:
    """The picture of one moment, (H, W, 3) uint8, and its patch in xyxy fractions of it (None: no patch)."""

    picture: NDArray[np.uint8]
    box: tuple[float, float, float, float] | None


@dataclass(frozen=True)
class Sightings:
    """What was seen and heard on the way, for the report: one entry a moment, one level a snippet.

    ``levels_db`` is the RMS level of each snippet's sound in dBFS, None where nothing was heard; ``visible``
    says which snippets had a picture.
    """

    moments: tuple[Sighting | None, ...]
    levels_db: tuple[float | None, ...]
    visible: tuple[bool, ...]


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
    if Path(name_or_folder).is_dir():
        return Path(name_or_folder)
    near = difflib.get_close_matches(str(name_or_folder), names, n=1)
    guess = f"did you mean {near[0]!r}? " if near else ""
    known = f"shipped: {', '.join(names)}" if names else "this installation ships no model"
    raise CheckpointError(
        f"no model is called {str(name_or_folder)!r}, and no folder either",
        hint=f"{guess}{known}; or name the folder that training made",
    )


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


def load(name_or_folder: str | Path = DEFAULT_MODEL, device: str = "auto") -> Model:
    """A model ready to tag.

    Args:
        name_or_folder: a shipped model's name or a model folder.
        device: auto, cpu, cuda or mps.

    Raises:
        CheckpointError: there is no such model, or it is damaged.
        ArgumentError: there is no such device.
    """
    folder = find_model(name_or_folder)
    where = find_device(device)
    from avglance.systems.store import load_model

    return Model(load_model(folder, device=str(where)))


class Model:
    """A trained system that answers for files.

    Attributes:
        name: of the model.
        system: of the method.
        classes: names in the order of the scores.
        card: what the model says of itself.
        toy: whether its classes are toys.
        sha256: of the weights.
        max_budget: the largest budget it can spend.
    """

    def __init__(self, loaded: LoadedModel) -> None:
        self._system = loaded.system.eval()
        self.card: dict[str, Any] = dict(loaded.card)
        self.name: str = str(self.card.get("name") or Path(loaded.folder).name)
        self.system: str = str(self.card.get("system") or loaded.system.name)
        self.classes: tuple[str, ...] = tuple(loaded.classes)
        self.toy: bool = bool(self.card.get("toy", False) or loaded.system.toy)
        self.sha256: str = loaded.sha256
        self.max_budget: int = int(loaded.system.max_k)

    def budget(self, budget: int | str | None) -> int:
        """A budget as a number of moments; None: the default.

        Raises:
            ArgumentError: it is none, below one moment, or more than the model can spend.
        """
        if budget is None:
            return min(DEFAULT_MOMENTS, self.max_budget)
        allowed = f"a whole number of moments from 1 to {self.max_budget}"
        text = str(budget).strip()
        if isinstance(budget, (bool, float)) or not re.fullmatch(r"[+-]?[0-9]{1,9}", text):
            hint = "for example --budget 4"
            raise ArgumentError(f"the budget must be {allowed}, got {budget!r}", where="budget", hint=hint)
        k = int(text)
        if k < 1:
            hint = "the smallest budget is 1, one close look"
            raise ArgumentError(f"a budget of {k} is below one moment", where="budget", hint=hint)
        if k > self.max_budget:
            hint = f"the largest budget of {self.name} is {self.max_budget}"
            raise ArgumentError(
                f"a budget of {k} is more than this model can spend", where="budget", hint=hint
            )
        return k

    def tag(
        self, path: str | Path, *, budget: int | str | None = None, top: int = 5, **reading: Any
    ) -> Recognition:
        """What happens in one file.

        Args:
            path: the file.
            budget: how many moments may be looked at closely (``4`` or ``"4"``); None: 4, or fewer if the
                model can spend no more.
            top: how many labels to name.
            reading: ``limits``, ``audio_track`` and ``threads`` of the reader.

        Raises:
            MediaError: the file cannot be read, with its kind.
            ArgumentError: a value is outside what is allowed.
        """
        return self.look(path, budget=budget, top=top, **reading)[0]

    def look(
        self,
        path: str | Path,
        *,
        budget: int | str | None = None,
        top: int = 5,
        limits: Limits | None = None,
        audio_track: int = 0,
        threads: int = 0,
    ) -> tuple[Recognition, Sightings]:
        """Like ``tag``, and the pictures and sound levels that were met on the way (for a report)."""
        import torch

        from avglance.parts.meter import Meter
        from avglance.views import FileView

        k = self.budget(budget)
        _check_top(top)
        settings, meter = self._system.view_settings, Meter(1)
        with FileView([path], settings, limits=limits, audio_track=audio_track, threads=threads) as view:
            _raise_failure(view, path)
            with torch.inference_mode():
                decision = self._system.recognise(view, k, meter=meter)
            _raise_failure(view, path)
            _check_answer(view, decision, path)
            return self._recognition(str(path), view, decision, meter, top), _sightings(view, decision)

    def tag_many(
        self, paths: Iterable[str | Path], *, budget: int | str | None = None, top: int = 5, **reading: Any
    ) -> Iterator[Recognition | Failure]:
        """A ``Recognition`` or a ``Failure`` for each path, in order; one bad file never stops the others.

        Raises:
            ArgumentError: a value is outside what is allowed (before the first file is opened).
        """
        for answer in self.look_many(paths, budget=budget, top=top, **reading):
            yield answer if isinstance(answer, Failure) else answer[0]

    def look_many(
        self, paths: Iterable[str | Path], *, budget: int | str | None = None, top: int = 5, **reading: Any
    ) -> Iterator[tuple[Recognition, Sightings] | Failure]:
        """Like ``tag_many``, with the sightings of each."""
        if isinstance(paths, (str, Path)):
            raise ArgumentError(
                "paths must be several paths, got one", where="tag_many", hint="use tag(path)"
            )
        self.budget(budget)
        _check_top(top)
        for path in paths:
            try:
                yield self.look(path, budget=budget, top=top, **reading)
            except MediaError as error:
                yield Failure(str(path), error.kind, error.what, error.hint)
            except Exception as error:  # noqa: BLE001 - the bulk runner: records what went wrong and goes on
                yield _bug(path, error)

    def _recognition(
        self, video: str, view: FileView, decision: Decision, meter: Meter, top: int
    ) -> Recognition:
        info = view.infos[0]
        duration_s = info.duration_s if info else 0.0
        saliency = decision.saliency[0].double().softmax(0).cpu().numpy()
        return Recognition(
            video=video,
            labels=_labels(decision, self.classes, top),
            spans=self._spans(decision, view, duration_s, saliency, top),
            moments=_moments(view, decision, saliency),
            saliency=tuple(map(float, saliency)),
            times=tuple(map(float, view.times[0])),
            cost=_cost(view, meter, info, self._system.whole_macs()),
            condition=view.condition(0),
            duration_s=float(duration_s),
            model=self.name,
            system=self.system,
            weights_sha256=self.sha256,
            reader=reader_name(),
            toy=self.toy,
        )

    def _spans(
        self, decision: Decision, view: FileView, duration_s: float, saliency: NDArray[np.float64], top: int
    ) -> tuple[Span, ...]:
        """Spans of the labels that are named, in the order of time."""
        from avglance.systems.spans import spans_of

        evidence = decision.evidence[0].double().cpu().numpy()  # (T, C)
        scores = decision.scores[0].double().cpu().numpy()
        threshold = float(self.card.get("span_threshold", DEFAULT_THRESHOLD))
        found = []
        for c in np.argsort(-scores, kind="stable")[:top]:
            runs = spans_of(saliency, evidence[:, c], view.times[0], threshold, duration_s=duration_s)
            found += [Span(start, end, self.classes[c], score) for start, end, score in runs]
        return tuple(sorted(found, key=lambda span: (span.start_s, -span.score)))


def reader_name() -> str:
    """Which reader decoded: two decoders may show different frames for the same second."""
    return f"pyav {metadata.version('av')}"


def _check_top(top: int) -> None:
    if isinstance(top, bool) or not isinstance(top, int) or top < 1:
        raise ArgumentError(f"top must be a whole number of at least 1, got {top!r}", where="tag")


def _raise_failure(view: FileView, path: str | Path) -> None:
    error = view.errors[0]
    if error is not None:
        raise MediaError(error.what, kind=error.kind, where=str(path), hint=error.hint) from error


def _check_answer(view: FileView, decision: Decision, path: str | Path) -> None:
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
        raise MediaError(what, kind=kinds[0] if kinds else "truncated", where=str(path), hint=hint)
    if not float(decision.evidence[0].sum()) > 0:
        hint = "use a model that hears, such as avgn_nano"
        raise MediaError(
            "no picture came, and this system hears nothing", kind="no_video", where=str(path), hint=hint
        )


def _labels(decision: Decision, classes: Sequence[str], top: int) -> tuple[Label, ...]:
    scores = decision.scores[0].double().cpu().numpy()
    best = np.argsort(-scores, kind="stable")[:top]
    return tuple(Label(classes[c], float(scores[c])) for c in best)


def _moments(view: FileView, decision: Decision, saliency: NDArray[np.float64]) -> tuple[Moment, ...]:
    """The snippets that were looked at, in the order of time."""
    times, boxes = view.times[0], decision.boxes[0].double().cpu().numpy()
    out = []
    for t in np.flatnonzero(decision.looked[0].cpu().numpy()):
        box = view.box_px(0, boxes[t]) if np.isfinite(boxes[t]).all() else None
        out.append(Moment(float(times[t]), float(saliency[t]), box))
    return tuple(sorted(out, key=lambda moment: moment.time_s))


def _cost(view: FileView, meter: Meter, info: MediaInfo | None, whole_macs: int) -> Cost:
    seconds = {name: float(s) for name, s in meter.seconds.items()}
    seconds["decode"] = float(view.decode_s[0])  # opening the file too, before the meter ran
    frames = round(info.duration_s * info.frame_rate) if info and info.has_video else 0
    delivered, decoded = int(view.frames_delivered[0]), int(view.frames_decoded[0])
    return Cost(
        frames_delivered=delivered,
        frames_decoded=decoded,
        seconds=seconds,
        macs={name: int(macs[0]) for name, macs in meter.macs.items()},
        whole_frames=max(frames, delivered),
        whole_macs=int(whole_macs),
    )


def _sightings(view: FileView, decision: Decision) -> Sightings:
    """Source squares of the moments in the order of time, and every level that was heard."""
    times, boxes = view.times[0], decision.boxes[0].double().cpu().numpy()
    looked = np.flatnonzero(decision.looked[0].cpu().numpy())
    seen: list[Sighting | None] = []
    for t in looked[np.argsort(times[looked], kind="stable")]:
        square, box = view.square(0, int(t)), boxes[t]
        corners = (float(box[0]), float(box[1]), float(box[2]), float(box[3]))
        drawn = corners if np.isfinite(box).all() else None
        seen.append(None if square is None else Sighting(square.transpose(1, 2, 0), drawn))
    levels = tuple(float(db) if np.isfinite(db) else None for db in view.levels_db[0])
    return Sightings(tuple(seen), levels, tuple(map(bool, view.visible[0])))


def _bug(path: str | Path, error: Exception) -> Failure:
    """The record of an error that is no fault of the file; its trace goes to the log."""
    _log.error("%s: %s", path, error, exc_info=error)
    what = f"{type(error).__name__}: {error}"
    return Failure(str(path), "error", what, "this is a bug of ours: please report it with the trace")
