"""AVGN's choices between its graphs: which moments, where in them, and when to stop.

Read beside ``systems.avgn`` and ``systems.avgn_looks``, whose arithmetic this is, in numpy:
  light encoders, their heads -> graphs glance_picture, glance_sound      AV-TeST           -> graph choose
  sounds that AESPA keeps     -> graph hear                        AESPA and policy   -> graphs aim, recall
  heavy encoder, its head     -> graph focus                       fusion and classes -> graphs mix, answer
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avglance.errors import ArgumentError
from avglance.runtime.avgn_halves import recognise_in_halves
from avglance.runtime.avgn_looks import Glimpse, Looks, Walk, joined
from avglance.runtime.avgn_settings import AVGNHostSettings
from avglance.runtime.choosing import (
    Decision,
    Floats,
    Mask,
    Order,
    along,
    behind,
    mean_evidence,
    pick_moments,
    probabilities,
    softmax,
    spread,
    unordered,
)
from avglance.runtime.graph import Graph
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
    expect_pictures,
    resize_macs,
    sounds_differ,
)


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
            "aim": [(3 * state,) if s.recurrent else (2,)], "recall": [(2,), (state,)],
            "focus": [(near,), classes], "mix": [(best,)], "answer": [classes, (best,)],
            "familiar": [classes],
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
    def halves(self) -> bool:
        """Whether it can look after half of the glance."""
        s = self.settings
        return s.see and not s.order and not s.glance_pictures and self.view.snippets > 3

    @property
    def _by_ear(self) -> bool:
        return self.settings.hear_choose and not self.settings.order

    def glance(self, view: View, bill: Bill, count: int, *, among: Mask | None = None) -> Glimpse:
        """Light features and the heads' logits of all that can be heard, and of ``count`` pictures a video.

        As ``systems.avgn_few``: with fewer than all, sounds say which; ``among``: of all those of these
        snippets, (B, T).
        """
        s, none = self.settings, np.zeros((len(view.times), 0), dtype=np.int64)
        few = s.see and count < self.view.snippets
        if s.see and not few:
            expect_pictures(view, among=among)
        sounds, audible = ask_all(view, "sounds", among=among if s.listen else none)
        heard_at, visible = np.nonzero(audible)[0], np.zeros_like(audible)
        bill.add("glance", LOGMEL_MACS, heard_at)
        sound, heard = self._empty((s.widths["sound"],), (self.classes,))
        if len(heard_at):
            sound, heard = self.run("glance_sound", "glance", bill, heard_at, sounds=sounds)
        sound = spread(sound, audible)
        asked = (
            [ask_few(view, *self._wishes(sound, audible, count, bill))]
            if few
            else ask_pictures(view, among=among if s.see else none)
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

    def choose(self, seen: Glimpse, bill: Bill, rows: Order | None = None) -> Floats:
        """Saliency of every snippet of all videos, or of those numbered ``rows``.

        Vectors of what is missing become the learned ones.
        """
        rows = np.arange(len(seen.visible)) if rows is None else rows
        saliency: Floats
        saliency, seen.picture[rows], seen.sound[rows] = self.run(
            "choose", "choose", bill, rows, picture=seen.picture[rows], sound=seen.sound[rows],
            visible=seen.visible[rows], audible=seen.audible[rows],
        )  # fmt: skip
        return saliency

    def rank(self, saliency: Floats, visible: Mask, k: int) -> Order:
        """The first ``k`` visible snippets of the order (B, K); if there are fewer, invisible ones follow."""
        return pick_moments(behind(self._in_order(saliency), visible), k)

    # ---- the looks ----

    def look(self, view: View, seen: Glimpse, order: Order, bill: Bill, stop: Stopping | None) -> Looks:
        """The looks at the moments of ``order`` (B, K), as far as ``stop`` lets them come."""
        shown, walk, found = along(seen.visible, order), Walk(self, view, seen, bill), list[Looks]()
        walk.hear(shown)
        if stop is None:
            found.append(walk.step(order, shown, np.zeros(len(order), dtype=np.int64)))
        else:
            walk.look(order, shown, stop, found)
        return joined(found, order.shape[1])

    # ---- answer ----

    def answer(
        self, seen: Glimpse, saliency: Floats, order: Order, found: Looks
    ) -> tuple[Any, Floats, Floats | None]:
        """Scores after each look (B, K, C), in double precision, evidence (B, T, C), how known (B, K)."""
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
        return scores, mean_evidence(heads, self.labels), self._how_known(found, logits)

    def _how_known(self, found: Looks, logits: Floats) -> Floats | None:
        """As ``systems.avgn_familiar.how_known``, (B, K)."""
        if not self.settings.familiar:
            return None
        near = np.where(found.looked[..., None], found.nearness, np.float32(-np.inf))
        best = np.maximum.accumulate(near, axis=1)
        said = np.take_along_axis(best, logits.argmax(axis=2)[..., None], axis=2)[..., 0]
        most = logits.max(axis=2, keepdims=True)
        together = most[..., 0] + np.log(np.exp(logits - most).sum(axis=2))
        known = together + np.float32(self.settings.familiar) * said
        return np.where(found.looked.any(axis=1, keepdims=True), known, np.float32(np.inf))

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
        if stop and 0 < stop.halves < k and self.halves and pictures == self.view.snippets:
            return recognise_in_halves(self, view, k, bill=bill, stop=stop)
        with bill.clock("glance", view):
            seen = self.glance(view, bill, pictures)
        with bill.clock("choose"):
            saliency = self.choose(seen, bill)
            whole = self.rank(saliency, seen.visible, k)
        found = self.look(view, seen, whole[:, :pictures], bill, stop)
        with bill.clock("answer"):
            return self.decide(seen, saliency, whole, found)

    def decide(self, seen: Glimpse, saliency: Floats, whole: Order, found: Looks) -> Decision:
        """``whole`` is the order (B, K), of which the first were found, as many as there are pictures."""
        K, snippets = found.used.shape[1], seen.visible.shape[1]
        order = whole[:, :K]
        prefix, evidence, known = self.answer(seen, saliency, order, found)
        after = np.minimum(np.arange(whole.shape[1]), K - 1)
        prefix, known = prefix[:, after], None if known is None else known[:, after]
        boxes = np.where(found.looked[..., None], found.boxes, np.float32(np.nan))
        return Decision(
            prefix[:, -1].astype(np.float32), saliency, unordered(found.looked, order, snippets), whole,
            unordered(boxes, order, snippets, fill=np.nan), evidence, prefix, known,
        )  # fmt: skip
