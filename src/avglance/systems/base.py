"""What every system offers, and the few helpers at the border between arrays and tensors."""

from __future__ import annotations

import inspect
import itertools
import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from avglance.errors import ArgumentError, ShapeError
from avglance.parts.clips import Clips
from avglance.parts.meter import Meter, row_macs
from avglance.systems.labels import certain, precise
from avglance.types import Labels
from avglance.views import LOGMEL_MACS, MEL_BANDS, MEL_FRAMES, View, ViewSettings, ask_all


@dataclass
class Decision:
    """What a system found in B videos; tensors on the system's device.

    Args:
        scores: probabilities, shape (B, C).
        saliency: logits, shape (B, T); softmax over T gives the weight of each snippet.
        looked: which snippets were looked at closely, bool (B, T).
        order: snippets in the order of the looks, most salient first, int64 (B, K); where a video has fewer
            than K visible snippets the rest of its row names snippets that were not looked at.
        boxes: xyxy fractions of the source square, shape (B, T, 4); NaN where not looked.
        evidence: mean probability of the heads that ran at the snippet, shape (B, T, C); 0 where none ran.
        prefix: scores after each look of the order, behind a video's last look those of that one, shape
            (B, K, C); None where a system answers once.
        known: how known the answer after each look is, the higher the better, shape (B, K); None where the
            system cannot say (``avgn_familiar``).
    """

    scores: Tensor
    saliency: Tensor
    looked: Tensor
    order: Tensor
    boxes: Tensor
    evidence: Tensor
    prefix: Tensor | None = None
    known: Tensor | None = None


def behind(score: Tensor, visible: Tensor) -> Tensor:
    """Scores (B, T) with all that is not visible behind all that is, each kind in its own order."""
    room = 2 + score.amax(1, keepdim=True) - score.amin(1, keepdim=True)
    return torch.where(visible, score, score - room)


@dataclass(frozen=True)
class Steering:
    """What an evaluation tells a system in place of its choosing or aiming, as a rule parts of the truth.

    Args:
        moments: snippets that come before all others (those of the event), bool (B, T); None: not told.
        centres: (x, y) of the object as fractions of the source square, (B, T, 2), NaN where unknown; None:
            not told.
    """

    moments: Tensor | None = None
    centres: Tensor | None = None

    def corners(self, corner: Tensor, order: Tensor, patch: float) -> Tensor:
        """Corner actions (B, K, 2) whose patches (sides ``patch`` of the square's) lie around the centres."""
        if self.centres is None or patch >= 1:
            return corner
        centre = along(self.centres.to(corner), order).flip(-1)  # (y, x)
        around = ((centre - patch / 2) / (1 - patch)).clamp(0, 1)
        return torch.where(around.isnan().any(-1, keepdim=True), corner, around)


def sure_enough(logits: Tensor, least: Tensor, labels: Labels = "one") -> Tensor:
    """Whose confidence (``certain``), by logits (B, C), is at least ``least`` (B,), bool (B,)."""
    scores = precise(logits, labels)
    return (certain(scores, labels) >= least.to(scores.device)).to(logits.device)


@dataclass(frozen=True)
class Group:
    """Parameters that are trained alike.

    Args:
        part: beginnings of parameter names; ``("",)`` means all of them.
        optimiser: AdamW or SGD.
        rate: learning rate at the stage's batch size.
        decay: weight decay.
        schedule: one cycle, or half a cosine down to 0.
        momentum: of SGD.
        without: beginnings of names that are left out.
    """

    part: tuple[str, ...]
    optimiser: Literal["adamw", "sgd"]
    rate: float
    decay: float
    schedule: Literal["onecycle", "cosine"]
    momentum: float = 0.9
    without: tuple[str, ...] = ()


@dataclass(frozen=True)
class Stage:
    """One stage of a training: its groups, its share of the epochs, and what the rates were meant for."""

    name: str
    groups: tuple[Group, ...]
    epochs_share: float = 1.0
    batch: int = 32
    clip: float | None = None


class System(nn.Module):
    """A whole method. Subclasses are built from their ``Settings`` and offer the five methods below.

    Attributes:
        name: in ``SYSTEMS``.
        settings: the frozen dataclass it was built from.
        classes: C.
        view_settings: how it wants its videos.
        max_k: the largest budget it can spend.
        frozen: names of the parts that stay as they are, in training too.
        toy: whether its classes are toys (set from the model's card).
    """

    Settings: ClassVar[type]
    name: str = ""
    toy: bool = False
    frozen: tuple[str, ...] = ()
    settings: Any
    classes: int
    view_settings: ViewSettings
    max_k: int

    @property
    def labels(self) -> Labels:
        """Whether it gives a video one label or several, as its settings say."""
        found: Labels = getattr(getattr(self, "settings", None), "labels", "one")
        return found

    def losses(self, clips: Clips, *, rng: torch.Generator, epoch: int) -> dict[str, Tensor]:
        """Named terms, already weighted, whose sum is minimised; all randomness comes from ``rng``."""
        raise NotImplementedError

    def forward(self, clips: Clips, k: int) -> Decision:
        """The dense answer: everything is computed for ``k`` looks a video, and then masked."""
        raise NotImplementedError

    def recognise(self, view: View, k: int, *, meter: Meter | None = None) -> Decision:
        """The answer from a view, asking only for what is used."""
        raise NotImplementedError

    def know(self, clips: Clips) -> dict[str, Tensor]:
        """All that its encoders may be asked about a batch, each (B, T, ...): becomes ``Clips.known``.

        Raises:
            ArgumentError: what they will be asked cannot be told beforehand.
        """
        raise ArgumentError("its encoders must see each batch", where=self.name or type(self).__name__)

    def stages(self) -> list[Stage]:
        """How it is trained."""
        raise NotImplementedError

    def whole_macs(self) -> int:
        """Multiply-adds of a close look (focus encoder and sound) at every snippet's whole source square."""
        raise NotImplementedError

    @property
    def stops(self) -> bool:
        """Whether it can stop looking when it is sure."""
        return "stop" in inspect.signature(self.recognise).parameters

    @property
    def halves(self) -> bool:
        """Whether it can look after half of the glance (``Stopping.halves``), and answers ``in_halves``."""
        return False

    def in_halves(self, clips: Clips, k: int, halves: int) -> Decision:
        """The dense answer of ``k`` looks of which the first ``halves`` come after half of the glance."""
        raise NotImplementedError

    def fit_familiar(self, batches: Iterable[Clips], k: int) -> None:
        """Learns, after training, what ``k`` looks at the videos that trained it are like, or nothing."""

    def pictures(self, asked: int | None = None) -> int:
        """How many of the T pictures a video are decoded: as ``asked`` (0: all), or as its settings say.

        Raises:
            ArgumentError: it cannot do with fewer than all, or there are not so many.
        """
        if asked is not None:
            what = f"{self.name or type(self).__name__} does not choose its pictures by sound"
            raise ArgumentError(what, where="glance_pictures", hint="leave --glance-pictures away")
        return self.view_settings.snippets

    def look_macs(self, glance_pictures: int | None = None) -> tuple[int, int]:
        """Multiply-adds of one video before its first look, and of each look: the most they can be."""
        from avglance.systems.budget import look_macs

        return look_macs(self, glance_pictures)

    @property
    def device(self) -> torch.device:
        """Where the parameters lie."""
        return next(self.parameters()).device

    def group_parameters(self, group: Group) -> Iterator[nn.Parameter]:
        """The trainable parameters of a group, in the order of the module."""
        for name, parameter in self.named_parameters():
            taken = name.startswith(group.part) and not name.startswith(group.without)
            if parameter.requires_grad and taken:
                yield parameter

    def freeze(self, *names: str) -> None:
        """Keeps parts as they are, statistics of their batch norm included, whatever is trained."""
        for name in names:
            self.get_submodule(name).requires_grad_(False)
        self.frozen += names

    def train(self, mode: bool = True) -> Self:
        """Training or evaluation; what is frozen stays in evaluation."""
        super().train(mode)
        for name in self.frozen:
            self.get_submodule(name).eval()
        return self

    def check_budget(self, k: int) -> int:
        """``k`` itself.

        Raises:
            ArgumentError: it is outside 1 .. ``max_k``.
        """
        if not 1 <= k <= self.max_k:
            raise ArgumentError(
                f"a budget of {k} moments is outside [1, {self.max_k}]",
                where=self.name or type(self).__name__,
                hint=f"choose 1 to {self.max_k}; the smallest budget is 1",
            )
        return k

    def check_clips(self, clips: Clips) -> None:
        """Raises ShapeError if the clips were made for other settings."""
        want = self.view_settings
        got = (clips.snippets, clips.pictures.shape[-1], clips.targets.shape[1])
        if got != (want.snippets, want.source_side, self.classes):
            raise ShapeError(
                f"clips have (T, S, C) = {got}, {self.name} wants "
                f"{(want.snippets, want.source_side, self.classes)}",
                where=self.name,
            )


def check_choice(settings: Any, **allowed: tuple[str, ...]) -> None:
    """Raises ArgumentError where a field of a settings dataclass is none of the words allowed for it."""
    for name, words in allowed.items():
        if getattr(settings, name) not in words:
            raise ArgumentError(
                f"{name} must be one of {', '.join(words)}, got {getattr(settings, name)!r}",
                where=type(settings).__name__,
            )


def check_shares(settings: Any, *names: str) -> None:
    """Raises ArgumentError where a field of a settings dataclass is not in [0, 1)."""
    for name in names:
        if not 0 <= getattr(settings, name) < 1:
            raise ArgumentError(
                f"{name} must be in [0, 1), got {getattr(settings, name)}", where=type(settings).__name__
            )


def check_weights(settings: Any, *names: str) -> None:
    """Raises ArgumentError where a weight or a share of a rate is negative or no number."""
    for name in names:
        if not 0 <= getattr(settings, name) < math.inf:
            raise ArgumentError(
                f"{name} must be at least 0, got {getattr(settings, name)}", where=type(settings).__name__
            )


def close_look_macs(focus: nn.Module, sound: nn.Module, *, snippets: int, side: int) -> int:
    """Multiply-adds of a focus encoder on whole squares and of a sound encoder, log-mels too, T times."""
    device = next(focus.parameters()).device
    built = getattr(focus, "size", None) or (side, side)  # a network of one size: as many of them as fit
    look = row_macs(focus, torch.zeros(1, 3, *built, device=device)) * side * side // (built[0] * built[1])
    hear = row_macs(sound, torch.zeros(1, 1, MEL_FRAMES, MEL_BANDS, device=device))
    return snippets * (look + hear + LOGMEL_MACS)


def to_tensor(array: NDArray[Any], device: torch.device) -> Tensor:
    """An array that a view gave, as a tensor on a device."""
    return torch.from_numpy(np.ascontiguousarray(array)).to(device)


def ask(
    view: View, kind: Literal["sounds", "pictures"], device: torch.device, *, among: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """``ask_all`` with tensors in and out."""
    rows, still = ask_all(view, kind, among=None if among is None else among.cpu().numpy())
    return to_tensor(rows, device), to_tensor(still, device)


def along(features: Tensor, order: Tensor) -> Tensor:
    """What belongs to the snippets named by ``order`` (B, K): (B, T, ...) -> (B, K, ...)."""
    return features[torch.arange(len(order), device=order.device)[:, None], order]


def unordered(features: Tensor, order: Tensor, like: Tensor, *, fill: float = 0.0) -> Tensor:
    """Back from the order to the snippets: (B, K, ...) -> (B, T, ...), ``fill`` elsewhere (T of ``like``)."""
    out = features.new_full((*like.shape, *features.shape[2:]), fill)
    rows = torch.arange(len(order), device=order.device)[:, None]
    return out.index_put((rows.expand_as(order), order), features)


def flat_places(order: Tensor, snippets: int) -> Tensor:
    """Row numbers of the snippets named by ``order`` (B, K) in a batch flattened over videos and snippets."""
    return order + snippets * torch.arange(len(order), device=order.device)[:, None]


def spread(rows: Tensor, at: Tensor) -> Tensor:
    """Rows (n, ...) put where the mask ``at`` (B, T) is set, in its order, zeros elsewhere: (B, T, ...).

    Rows of all places (n = B T) are taken as they are.
    """
    if len(rows) == at.numel():
        return rows.reshape(*at.shape, *rows.shape[1:])
    out = rows.new_zeros((*at.shape, *rows.shape[1:]))
    return out.index_put((at,), rows)


def drop_videos(present: Tensor, rate: float, rng: torch.Generator) -> Tensor:
    """The mask ``present`` (B, T) with whole videos cleared at ``rate`` (DropPathway)."""
    if rate <= 0:
        return present
    keep = torch.rand(len(present), generator=rng, device=rng.device).to(present.device) >= rate
    return present & keep[:, None]


@contextmanager
def seeded_layers(rng: torch.Generator, device: torch.device) -> Iterator[None]:
    """Inside, layers that draw from torch's global state (dropout) follow ``rng``; the state is put back."""
    seed = int(torch.randint(2**62, (1,), generator=rng, device=rng.device))
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield


def coarse_to_fine(snippets: int) -> list[int]:
    """Snippet numbers in an order whose every prefix covers the video (AdaFocus V2, official code).

    >>> coarse_to_fine(8)
    [3, 0, 7, 1, 5, 2, 4, 6]
    """
    order = list(dict.fromkeys([(snippets - 1) // 2, 0, snippets - 1]))
    parts = 2
    while len(order) < snippets:
        edges = [i * (snippets - 1) // parts for i in range(parts + 1)]
        for low, high in itertools.pairwise(edges):
            if (low + high) // 2 not in order:
                order.append((low + high) // 2)
        parts *= 2
    return order[:snippets]
