"""TSN's choices between its graphs: a uniform K of the snippets. Read beside ``systems.tsn``."""

from __future__ import annotations

from typing import Any

import numpy as np

from avglance.errors import ArgumentError
from avglance.runtime.choosing import Decision, along, probabilities, spread, unordered
from avglance.runtime.graph import Graph, check_widths
from avglance.types import Labels, Stopping
from avglance.views import LOGMEL_MACS, Bill, View, ViewSettings, ask_all, expect_pictures


class TSNHost:
    """Temporal segment network of exported graphs. Arguments: as ``hosts.load_graphs`` gives them."""

    stops = halves = False
    encoders = ("focus_picture", "focus_sound")

    def __init__(
        self,
        settings: dict[str, Any],
        graphs: dict[str, Graph],
        *,
        view: ViewSettings,
        classes: int,
        labels: Labels = "one",
    ) -> None:
        self.listen, self.widths = bool(settings["listen"]), dict(settings["widths"])
        check_widths(self.widths[sense] for sense in ("picture", "sound"))
        self.graphs, self.view, self.classes, self.labels = graphs, view, classes, labels
        for name in ("focus_picture", "answer", *(("focus_sound",) if self.listen else ())):
            if name not in graphs:
                raise ArgumentError(f"graph {name!r} is missing")

    def pictures(self, asked: int | None = None) -> int:
        """Those of all snippets may be asked for; it chooses none by sound.

        Raises:
            ArgumentError: another number is asked for.
        """
        if asked is not None:
            what, hint = "TSN does not choose its pictures by sound", "leave --glance-pictures away"
            raise ArgumentError(what, where="glance_pictures", hint=hint)
        return self.view.snippets

    def glance_macs(self, pictures: int) -> int:
        """It glances at nothing."""
        return 0

    def _rows(self, name: str, sense: str, rows: Any, at: Any, bill: Bill) -> Any:
        """Features (B, T, D) of one sense where the mask ``at`` is set, zeros elsewhere."""
        if not len(rows):
            return np.zeros((*at.shape, self.widths[sense]), dtype=np.float32)
        graph = self.graphs[name]
        (found,) = graph.checked(graph(**{f"{sense}s": rows}), len(rows), [(self.widths[sense],)])
        for stage, macs in graph.macs.items():
            bill.add(stage, macs, np.nonzero(at)[0])
        return spread(found, at)

    def recognise(
        self,
        view: View,
        k: int,
        *,
        bill: Bill,
        stop: Stopping | None = None,
        glance_pictures: int | None = None,
    ) -> Decision:
        """The answer from a view: only the chosen snippets are asked for; it never stops before."""
        self.pictures(glance_pictures)
        videos, snippets = len(view.times), self.view.snippets
        order = np.tile((2 * np.arange(k) + 1) * snippets // (2 * k), (videos, 1)).astype(np.int64)
        with bill.clock("focus", view):
            expect_pictures(view, among=order)
            sounds, audible = ask_all(view, "sounds", among=order if self.listen else order[:, :0])
            pictures, visible = ask_all(view, "pictures", among=order)
            bill.add("focus", LOGMEL_MACS, np.nonzero(audible)[0])
            picture = along(self._rows("focus_picture", "picture", pictures, visible, bill), order)
            sound = along(self._rows("focus_sound", "sound", sounds, audible, bill), order)
            visible, audible = along(visible, order), along(audible, order)
        with bill.clock("answer"):
            some = visible | audible
            used = some | ~some.any(axis=1, keepdims=True)
            graph, rows = self.graphs["answer"], np.nonzero(used)[0]
            given = {"picture": picture, "sound": sound, "visible": visible, "audible": audible}
            said = graph(**{name: x[used] for name, x in given.items()})
            (logits,) = graph.checked(said, len(rows), [(self.classes,)])
            for stage, macs in graph.macs.items():
                bill.add(stage, macs, rows)
            each = spread(logits, used)
            mean = each.sum(axis=1) / used.sum(axis=1, keepdims=True).astype(np.float32)
        evidence = unordered(probabilities(each, self.labels) * some[..., None], order, snippets)
        looked = unordered(visible, order, snippets)
        boxes = np.where(looked[..., None], np.array([0, 0, 1, 1], np.float32), np.float32(np.nan))
        flat = np.zeros((videos, snippets), dtype=np.float32)
        return Decision(probabilities(mean, self.labels), flat, looked, order, boxes, evidence)
