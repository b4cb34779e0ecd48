"""AVGN's choices between its graphs: which moments, where in them, and when to stop.

Read beside ``systems.avgn`` and ``systems.avgn_looks``, whose arithmetic this is, in numpy:
  light encoders, their heads -> graphs glance_picture, glance_sound      AV-TeST           -> graph choose
  sounds that AESPA keeps     -> graph hear                               AESPA and policy  -> graph aim
  heavy encoder, its head     -> graph focus                              fusion and classes -> graph answer
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avglance.errors import ArgumentError
from avglance.runtime.choosing import (
    Decision,
    Floats,
    Mask,
    Order,
    along,
    behind,
    certain,
    corner_to_box,
    mean_evidence,
    pick_moments,
    probabilities,
    softmax,
    spread,
    unordered,
)
from avglance.runtime.session import Graph
from avglance.types import Labels, Stopping
from avglance.views import (
    LOGMEL_MACS,
    Bill,
    View,
    ViewSettings,
    ask_all,
    ask_pictures,
    crop_macs,
    expect_pictures,
    resize_macs,
)

PATCHES = ("policy", "random", "centre", "whole", "none")


@dataclass(frozen=True)
class AVGNHostSettings:
    """What the host loop must know.

    Attributes:
        see: pictures are asked for.
        listen: sounds are asked for.
        patch: where to look, one of ``PATCHES``.
        hear_aim: graph ``aim`` hears.
        whole_video: it hears what ``hear`` keeps of the whole video, not the snippet's own sound.
        recurrent: it remembers the moments before.
        order: snippets in a fixed order; empty: by saliency.
        corners: of each snippet, for random patches.
        map: channels, rows and columns of the glance map.
        widths: of "picture", "sound", "near", "state" (the policy's), "best" (the classifier's).
    """

    see: bool
    listen: bool
    patch: str
    hear_aim: bool
    whole_video: bool
    recurrent: bool
    order: tuple[int, ...]
    corners: tuple[tuple[float, float], ...]
    map: tuple[int, int, int]
    widths: dict[str, int]

    def __post_init__(self) -> None:
        if self.patch not in PATCHES:
            raise ArgumentError(f"patch must be one of {', '.join(PATCHES)}, got {self.patch!r}")
        if len(self.map) != 3 or set(self.widths) != {"picture", "sound", "near", "state", "best"}:
            raise ArgumentError(f"map {self.map} and widths {self.widths} are not those of AVGN")

    @property
    def graphs(self) -> set[str]:
        """Names of the graphs that are needed."""
        names = {"glance_picture": self.see, "glance_sound": self.listen, "choose": True, "answer": self.see}
        names["focus"] = self.see and self.patch != "none"
        names["aim"] = self.see and self.patch == "policy"
        names["hear"] = names["aim"] and self.hear_aim and self.whole_video
        return {name for name, needed in names.items() if needed}


@dataclass
class Glimpse:
    """What the glance leaves: as in ``systems.avgn``, and the heads' logits, zeros where they did not run."""

    map: Floats
    picture: Floats
    sound: Floats
    visible: Mask
    audible: Mask
    shown: Floats
    heard: Floats


@dataclass
class Looks:
    """What the looks gave, along the order (B, K); ``close`` are the focus head's logits."""

    used: Mask
    looked: Mask
    boxes: Floats
    close: Floats
    logits: Floats


class AVGNHost:
    """Audio-Visual Glance Network of exported graphs. Arguments: as ``hosts.load_graphs`` gives them."""

    stops = True

    def __init__(
        self,
        settings: dict[str, Any],
        graphs: dict[str, Graph],
        *,
        view: ViewSettings,
        classes: int,
        labels: Labels = "one",
    ) -> None:
        given = dict(settings)
        for name in ("order", "map"):
            given[name] = tuple(given[name])
        given["corners"] = tuple((float(y), float(x)) for y, x in given["corners"])
        self.settings, self.graphs, self.view = AVGNHostSettings(**given), graphs, view
        self.classes, self.labels = classes, labels
        if missing := sorted(self.settings.graphs - set(graphs)):
            raise ArgumentError(f"graph {missing[0]!r} is missing")
        order, corners = self.settings.order, self.settings.corners
        if order and sorted(order) != list(range(view.snippets)):
            raise ArgumentError(f"{order} is no order of {view.snippets} snippets")
        if self.settings.patch == "random" and len(corners) != view.snippets:
            raise ArgumentError(f"{len(corners)} corners for {view.snippets} snippets")

    def run(self, name: str, stage: str, bill: Bill, rows: NDArray[np.int64], **inputs: Any) -> list[Any]:
        """The outputs of a graph for rows of these videos; its seconds go to ``stage``."""
        graph = self.graphs[name]
        with bill.clock(stage):
            found = graph(**inputs)
        for booked, macs in graph.macs.items():
            bill.add(booked, macs, rows)
        return found

    # ---- glance and choose ----

    def glance(self, view: View, bill: Bill) -> Glimpse:
        """Light features and the heads' logits of all that can be seen and heard."""
        s, none = self.settings, np.zeros((len(view.times), 0), dtype=np.int64)
        if s.see:
            expect_pictures(view)
        sounds, audible = ask_all(view, "sounds", among=None if s.listen else none)
        heard_at, visible = np.nonzero(audible)[0], np.zeros_like(audible)
        bill.add("glance", LOGMEL_MACS, heard_at)
        sound, heard = self._empty((s.widths["sound"],), (self.classes,))
        if len(heard_at):
            sound, heard = self.run("glance_sound", "glance", bill, heard_at, sounds=sounds)
        seen = [self._empty(s.map, (s.widths["picture"],), (self.classes,))]
        for pictures, part in ask_pictures(view, among=None if s.see else none):
            if part.any():
                at = np.nonzero(part)[0]
                seen.append(self.run("glance_picture", "glance", bill, at, pictures=pictures))
                visible |= part
        bill.add("glance", resize_macs(self.view.source_side, self.view.glance_side), np.nonzero(visible)[0])
        maps, picture, shown = (np.concatenate(parts) for parts in zip(*seen, strict=True))
        return Glimpse(
            spread(maps, visible), spread(picture, visible), spread(sound, audible),
            visible, audible, spread(shown, visible), spread(heard, audible),
        )  # fmt: skip

    @staticmethod
    def _empty(*shapes: tuple[int, ...]) -> list[Floats]:
        return [np.zeros((0, *shape), dtype=np.float32) for shape in shapes]

    def choose(self, seen: Glimpse, bill: Bill) -> Floats:
        """Saliency (B, T) of every snippet; vectors of what is missing become the learned ones."""
        saliency: Floats
        saliency, seen.picture, seen.sound = self.run(
            "choose", "choose", bill, np.arange(len(seen.visible)),
            picture=seen.picture, sound=seen.sound, visible=seen.visible, audible=seen.audible,
        )  # fmt: skip
        return saliency

    def rank(self, saliency: Floats, visible: Mask, k: int) -> Order:
        """The first ``k`` visible snippets of the order (B, K); if there are fewer, invisible ones follow."""
        score = saliency
        if self.settings.order:
            place = np.argsort(self.settings.order).astype(np.float32)
            score = np.broadcast_to(-place, saliency.shape)
        return pick_moments(behind(score, visible), k)

    # ---- the looks ----

    def look(self, view: View, seen: Glimpse, order: Order, bill: Bill, stop: Stopping | None) -> Looks:
        """The looks at the moments of ``order`` (B, K), as far as ``stop`` lets them come."""
        K, shown = order.shape[1], along(seen.visible, order)
        walk = _Walk(self, view, seen, bill)
        walk.hear(shown)
        going, found = np.ones(len(order), dtype=np.bool_), list[Looks]()
        for at in [slice(0, K)] if stop is None else [slice(j, j + 1) for j in range(K)]:
            going = going & shown[:, at].any(axis=1)
            if found and (not going.any() or (stop and stop.late and stop.late())):
                break
            found.append(walk.step(order[:, at], shown[:, at] & going[:, None], first=at.start))
            if stop is not None:
                scores = probabilities(found[-1].logits[:, -1].astype(np.float64), self.labels)
                going = going & ~(certain(scores, self.labels) >= stop.least(at.stop))
        return _joined(found, K)

    # ---- answer ----

    def answer(self, seen: Glimpse, saliency: Floats, order: Order, found: Looks) -> tuple[Any, Floats]:
        """Scores after each look (B, K, C) in double precision, and evidence (B, T, C)."""
        count = found.used.sum(axis=1, keepdims=True)
        step = np.minimum(np.arange(order.shape[1]), np.maximum(count - 1, 0))
        logits = found.logits[np.arange(len(order))[:, None], step]
        weights = np.where(seen.audible, saliency, -np.inf)
        deaf = np.logical_not(seen.audible.any(axis=1, keepdims=True))
        weights = np.where(deaf, 0, softmax(np.where(deaf, 0, weights), axis=1)).astype(np.float32)
        by_ear = (weights[..., None] * seen.heard).sum(axis=1, keepdims=True)
        if self.labels == "several":  # as the system: what was neither seen nor heard is not half a yes
            by_ear -= deaf[..., None] * np.float32(math.log(self.classes - 1))
        logits = np.where((count > 0)[..., None], logits, by_ear)
        snippets = seen.visible.shape[1]
        close, closely = (unordered(x, order, snippets) for x in (found.close, found.looked))
        heads = [(seen.shown, seen.visible), (seen.heard, seen.audible), (close, closely)]
        scores = probabilities(logits.astype(np.float64), self.labels)
        return scores, mean_evidence(heads, self.labels)

    def recognise(self, view: View, k: int, *, bill: Bill, stop: Stopping | None = None) -> Decision:
        """The answer from a view; patches are asked for at the moments only."""
        with bill.clock("glance", view):
            seen = self.glance(view, bill)
        with bill.clock("choose"):
            saliency = self.choose(seen, bill)
            order = self.rank(saliency, seen.visible, k)
        found = self.look(view, seen, order, bill, stop)
        with bill.clock("answer"):
            prefix, evidence = self.answer(seen, saliency, order, found)
        snippets = seen.visible.shape[1]
        boxes = np.where(found.looked[..., None], found.boxes, np.float32(np.nan))
        return Decision(
            prefix[:, -1].astype(np.float32), saliency, unordered(found.looked, order, snippets), order,
            unordered(boxes, order, snippets, fill=np.nan), evidence, prefix,
        )  # fmt: skip


class _Walk:
    """The way along the moments, with what is remembered of those before."""

    def __init__(self, host: AVGNHost, view: View, seen: Glimpse, bill: Bill) -> None:
        self.host, self.view, self.seen, self.bill = host, view, seen, bill
        videos, widths = len(seen.visible), host.settings.widths
        self.memory = seen.sound
        self.state = np.zeros((videos, widths["state"]), dtype=np.float32)
        self.best = np.zeros((videos, widths["best"]), dtype=np.float32)

    def hear(self, looked: Mask) -> None:
        """AESPA hears each video once, however many looks follow."""
        if "hear" in self.host.settings.graphs and looked.any():
            on = looked.any(axis=1)
            (kept,) = self.host.run("hear", "aim", self.bill, np.flatnonzero(on), sound=self.seen.sound[on])
            self.memory = np.zeros((len(looked), *kept.shape[1:]), dtype=np.float32)
            self.memory[on] = kept

    def step(self, order: Order, used: Mask, *, first: int) -> Looks:
        """The next moments (B, N) of the order, of which number ``first`` is the first."""
        host, bill, s = self.host, self.bill, self.host.settings
        looked = used if s.patch != "none" else np.zeros_like(used)
        with bill.clock("aim"):
            boxes = self.aim(order, looked)
        near = np.zeros((*order.shape, s.widths["near"]), dtype=np.float32)
        close = np.zeros((*order.shape, host.classes), dtype=np.float32)
        with bill.clock("focus", self.view):
            rows = np.nonzero(looked)[0]
            if len(rows):
                patches = self.view.patches(np.stack([rows, order[looked]], axis=1), boxes[looked])
                bill.add("focus", crop_macs(host.view.patch_side), rows)
                near[looked], close[looked] = host.run("focus", "focus", bill, rows, patches=patches)
        with bill.clock("answer"):
            logits = self.classify(order, used, near, first)
        return Looks(used, looked, boxes, close, logits)

    def aim(self, order: Order, looked: Mask) -> Floats:
        """Boxes of the patches, xyxy fractions (B, N, 4)."""
        s, view = self.host.settings, self.host.view
        if s.patch in ("whole", "none"):
            return np.broadcast_to(np.array([0, 0, 1, 1], np.float32), (*order.shape, 4))
        corner = np.full((*order.shape, 2), 0.5, dtype=np.float32)
        if s.patch == "random":
            corner = np.array(s.corners, dtype=np.float32)[order]
        elif s.patch == "policy":
            columns = [slice(j, j + 1) for j in range(order.shape[1])] if s.recurrent else [slice(None)]
            for at in columns:  # a policy that remembers takes one moment after another
                if looked[:, at].any():
                    corner[:, at][looked[:, at]] = self._corners(order[:, at], looked[:, at])
        return corner_to_box(corner, view.patch_side, view.source_side)

    def _corners(self, order: Order, looked: Mask) -> Floats:
        """Corner actions (n, 2) of moments that are looked at; of a video at most one, if it remembers."""
        rows, s = np.nonzero(looked)[0], self.host.settings
        maps = self.seen.map[rows, order[looked]]
        memory = self.memory[rows] if s.whole_video else self.memory[rows, order[looked]][:, None]
        found = self.host.run("aim", "aim", self.bill, rows, map=maps, memory=memory, state=self.state[rows])
        if s.recurrent:
            self.state[rows] = found[1]
        corner: Floats = found[0]
        return corner

    def classify(self, order: Order, used: Mask, near: Floats, first: int) -> Floats:
        """Logits (B, N, C) after each moment in use."""
        logits = np.zeros((*order.shape, self.host.classes), dtype=np.float32)
        for j in range(order.shape[1]):
            rows = np.flatnonzero(used[:, j])
            if len(rows):
                at = order[rows, j]
                logits[rows, j], self.best[rows] = self.host.run(
                    "answer", "answer", self.bill, rows,
                    picture=self.seen.picture[rows, at], sound=self.seen.sound[rows, at], near=near[rows, j],
                    best=self.best[rows], step=np.full(len(rows), first + j, dtype=np.int64),
                )  # fmt: skip
        return logits


def _joined(found: list[Looks], looks: int) -> Looks:
    """The steps side by side, and behind them moments at which nobody looked."""

    def join(name: str) -> Any:
        parts = [getattr(step, name) for step in found]
        left = looks - sum(part.shape[1] for part in parts)
        rest = np.zeros((len(parts[0]), left, *parts[0].shape[2:]), dtype=parts[0].dtype)
        return np.concatenate([*parts, rest], axis=1)

    return Looks(*(join(name) for name in ("used", "looked", "boxes", "close", "logits")))
