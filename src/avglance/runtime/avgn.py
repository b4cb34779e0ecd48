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

from avglance.errors import ArgumentError, CheckpointError
from avglance.runtime.avgn_settings import AVGNHostSettings
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
from avglance.runtime.graph import AGAIN, Graph
from avglance.types import Labels, Stopping
from avglance.views import (
    EVERY,
    LOGMEL_MACS,
    Bill,
    View,
    ViewSettings,
    ask_all,
    ask_few,
    ask_pictures,
    check_pictures,
    crop_macs,
    expect_pictures,
    resize_macs,
    sounds_differ,
)


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
    encoders = ("glance_picture", "glance_sound", "focus")

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
        self.pictures()
        if self.settings.patch == "random" and len(corners) != view.snippets:
            raise ArgumentError(f"{len(corners)} corners for {view.snippets} snippets")

    def run(self, name: str, stage: str, bill: Bill, rows: NDArray[np.int64], **inputs: Any) -> list[Any]:
        """The outputs of a graph for rows of these videos; its seconds go to ``stage``."""
        graph = self.graphs[name]
        with bill.clock(stage):
            found = graph.checked(graph(**inputs), len(rows), self.shapes(name))
        for booked, macs in graph.macs.items():
            bill.add(booked, macs, rows)
        return found

    def shapes(self, name: str) -> list[tuple[int | None, ...]]:
        """What a row of each output of a graph is."""
        s, classes, T = self.settings, (self.classes,), self.view.snippets
        picture, sound, near, state, best = (
            s.widths[key] for key in ("picture", "sound", "near", "state", "best")
        )
        shapes: dict[str, list[tuple[int | None, ...]]] = {
            "glance_picture": [s.map, (picture,), classes], "glance_sound": [(sound,), classes],
            "choose": [(T,), (T, picture), (T, sound)], "hear": [(None, None)],
            "aim": [(2,), (state,)] if s.recurrent else [(2,)], "focus": [(near,), classes],
            "answer": [classes, (best,)],
        }  # fmt: skip
        return shapes[name]

    # ---- glance and choose ----

    def pictures(self, asked: int | None = None) -> int:
        """How many pictures a video are asked for: as ``asked`` (0: all), or as the settings say."""
        few = self.settings.glance_pictures if asked is None else asked
        return check_pictures(few, self.view.snippets, where="glance_pictures")

    def glance_macs(self, pictures: int) -> int:
        """Multiply-adds of glancing at and scoring so many pictures a video, without those of its sounds."""
        if not self.settings.see:
            return 0
        each = sum(self.graphs["glance_picture"].macs.values())
        each += resize_macs(self.view.source_side, self.view.glance_side)
        by_ear = pictures < self.view.snippets and self._by_ear
        return pictures * each + by_ear * sum(self.graphs["choose"].macs.values())

    @property
    def _by_ear(self) -> bool:
        return self.settings.hear_choose and not self.settings.order

    def glance(self, view: View, bill: Bill, count: int) -> Glimpse:
        """Light features and the heads' logits of all that can be heard, and of ``count`` pictures a video.

        As ``systems.avgn_few``: with fewer than all, sounds say which.
        """
        s, none = self.settings, np.zeros((len(view.times), 0), dtype=np.int64)
        few = s.see and count < self.view.snippets
        if s.see and not few:
            expect_pictures(view)
        sounds, audible = ask_all(view, "sounds", among=None if s.listen else none)
        heard_at, visible = np.nonzero(audible)[0], np.zeros_like(audible)
        bill.add("glance", LOGMEL_MACS, heard_at)
        sound, heard = self._empty((s.widths["sound"],), (self.classes,))
        if len(heard_at):
            sound, heard = self.run("glance_sound", "glance", bill, heard_at, sounds=sounds)
        sound = spread(sound, audible)
        asked = (
            [ask_few(view, *self._wishes(sound, audible, count, bill))]
            if few
            else ask_pictures(view, among=None if s.see else none)
        )
        seen = [self._empty(s.map, (s.widths["picture"],), (self.classes,))]
        for pictures, part in asked:
            if part.any():
                at = np.nonzero(part)[0]
                seen.append(self.run("glance_picture", "glance", bill, at, pictures=pictures))
                visible |= part
        bill.add("glance", resize_macs(self.view.source_side, self.view.glance_side), np.nonzero(visible)[0])
        maps, picture, shown = (np.concatenate(parts) for parts in zip(*seen, strict=True))
        return Glimpse(
            spread(maps, visible), spread(picture, visible), sound,
            visible, audible, spread(shown, visible), spread(heard, audible),
        )  # fmt: skip

    def _wishes(
        self, sound: Floats, audible: Mask, count: int, bill: Bill
    ) -> tuple[Floats, int, NDArray[np.int64]]:
        """Scores of the snippets (B, T), ``count``, and how many pictures a video are evenly spread (B,)."""
        score = np.zeros(audible.shape, dtype=np.float32)
        if self.settings.order:
            return self._in_order(score), count, np.zeros(len(score), dtype=np.int64)
        tells = sounds_differ(sound, audible) & self._by_ear
        rows = np.flatnonzero(tells)
        if len(rows):
            missing = np.zeros((len(rows), audible.shape[1], self.settings.widths["picture"]), np.float32)
            score[rows] = self.run(
                "choose", "choose", bill, rows, picture=missing, sound=sound[rows],
                visible=np.zeros_like(audible[rows]), audible=audible[rows],
            )[0]  # fmt: skip
        return score, count, np.where(tells, count // EVERY, count)

    def _in_order(self, saliency: Floats) -> Floats:
        """Scores that follow the fixed order, where there is one, not saliency."""
        if not self.settings.order:
            return saliency
        place = np.argsort(self.settings.order).astype(np.float32)
        return np.broadcast_to(-place, saliency.shape)

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
        return pick_moments(behind(self._in_order(saliency), visible), k)

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

    def recognise(
        self,
        view: View,
        k: int,
        *,
        bill: Bill,
        stop: Stopping | None = None,
        glance_pictures: int | None = None,
    ) -> Decision:
        """The answer from a view; patches are asked for at the moments only."""
        pictures = self.pictures(glance_pictures)
        with bill.clock("glance", view):
            seen = self.glance(view, bill, pictures)
        with bill.clock("choose"):
            saliency = self.choose(seen, bill)
            whole = self.rank(saliency, seen.visible, k)
            order = whole[:, :pictures]
        found = self.look(view, seen, order, bill, stop)
        with bill.clock("answer"):
            prefix, evidence = self.answer(seen, saliency, order, found)
            prefix = np.concatenate([prefix, np.repeat(prefix[:, -1:], k - order.shape[1], axis=1)], axis=1)
        snippets = seen.visible.shape[1]
        boxes = np.where(found.looked[..., None], found.boxes, np.float32(np.nan))
        return Decision(
            prefix[:, -1].astype(np.float32), saliency, unordered(found.looked, order, snippets), whole,
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
            bill.add("focus", crop_macs(host.view.patch_side), rows)
            if len(rows):
                patches = self.view.patches(np.stack([rows, order[looked]], axis=1), boxes[looked])
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
        corner: Floats = found[0]
        if ((corner < 0) | (corner > 1)).any():
            graph = self.host.graphs["aim"]
            raise CheckpointError("it aims outside the picture", where=graph.where, hint=AGAIN)
        if s.recurrent:
            self.state[rows] = found[1]
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
