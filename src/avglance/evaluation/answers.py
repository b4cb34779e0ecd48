"""One answered video: what the model said, what was true, and what it cost; and its line in the JSON."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avglance import metrics
from avglance.data.truth import Truth
from avglance.evaluation.truth import event_snippets, object_centres
from avglance.types import UNKNOWN, Condition, Span


@dataclass(frozen=True)
class Answer:
    """What is kept of one video; plain values and small arrays.

    Attributes:
        video: the file.
        labels: its true labels.
        scores: probabilities, shape (C,).
        target: multi-hot truth over the model's classes, bool (C,).
        times: picture times in seconds, shape (T,).
        saliency: softmax, shape (T,).
        looked: bool (T,).
        boxes_px: patches in pixels of the file's picture, shape (T, 4), NaN where not looked.
        patch_area: share of the source square that each patch covers, shape (T,), NaN where not looked.
        event: snippets whose picture time lies in the event, bool (T,); None: not known.
        centres: the object's centre in pixels, shape (T, 2), NaN where not known.
        true_spans: start and end of the event in seconds, of each of its spans; empty where it is not known.
        spans: what the model says holds where, of its true labels only.
        macs: multiply-adds by stage.
        frames: delivered, decoded, and how many the file has as far as its header tells.
        decode_s: seconds inside the reader.
        condition: in what state the file was found.
        heard: whether any snippet was audible.
        group: what it was cut from; empty: not known.
        unknown: whether the model says that nothing it knows is there.
        strange: whether that is true.
        said: of several labels a video, which classes it says are there, bool (C,); None: it gives one.
        on_keyframes: how many snippets were looked at where a keyframe was sought out.
    """

    video: str
    labels: tuple[str, ...]
    scores: NDArray[np.float64]
    target: NDArray[np.bool_]
    times: NDArray[np.float64]
    saliency: NDArray[np.float64]
    looked: NDArray[np.bool_]
    boxes_px: NDArray[np.float64]
    patch_area: NDArray[np.float64]
    event: NDArray[np.bool_] | None
    centres: NDArray[np.float64]
    true_spans: tuple[tuple[float, float], ...]
    spans: tuple[Span, ...]
    macs: dict[str, int]
    frames: tuple[int, int, int]
    decode_s: float
    condition: Condition
    heard: bool
    group: str = ""
    unknown: bool = False
    strange: bool = False
    said: NDArray[np.bool_] | None = None
    on_keyframes: int = 0

    def hit(self, k: int) -> bool | None:
        """Whether a true label is among the k best; None without labels, or where there are fewer classes."""
        if not self.labels or k > len(self.scores):
            return None
        return bool(metrics.top_k_hits(self.scores[None], self.target[None], k)[0])

    @property
    def pictures(self) -> int:
        """At how many different times it was looked."""
        return len(np.unique(self.times))

    def recall(self, k: int) -> float:
        """Moment recall, NaN where no event snippet is known."""
        if self.event is None:
            return float("nan")
        return float(metrics.moment_recall(self.looked[None], self.event[None], k)[0])

    @property
    def counted(self) -> NDArray[np.bool_]:
        """Chosen event snippets whose object's place is known, bool (T,)."""
        if self.event is None:
            return np.zeros(len(self.times), dtype=bool)
        known = ~np.isnan(self.centres).any(axis=-1)
        return np.asarray(self.looked & self.event & known)

    @property
    def patch_hits(self) -> NDArray[np.bool_]:
        """Whether the object's centre lies in the patch, of the counted snippets only, shape (n,)."""
        return metrics.patch_hits(self.boxes_px, self.centres)[self.counted]

    @property
    def span_iou(self) -> float:
        """Overlap of the spans said of the true labels with the event, NaN where it is not known."""
        if not self.true_spans:
            return float("nan")
        return metrics.span_iou([(s.start_s, s.end_s) for s in self.spans], self.true_spans)

    def row(self, classes: tuple[str, ...], k: int) -> dict[str, Any]:
        """The video's line in the JSON: plain values, None where nothing is known."""
        best = np.argsort(-self.scores, kind="stable")[:5]
        hits, recall, iou = self.patch_hits, self.recall(k), self.span_iou
        said = {} if self.said is None else {"said": [classes[c] for c in best_of(self.scores, self.said)]}
        return said | {
            "video": self.video,
            "group": self.group or None,
            "verdict": self.condition.verdict,
            "reasons": sorted({reason.kind for reason in self.condition.reasons}),
            "truth": [UNKNOWN] if self.strange else list(self.labels),
            "unknown": self.unknown,
            "labels": [[UNKNOWN, 1.0]] * self.unknown
            + [[classes[c], round(float(self.scores[c]), 6)] for c in best[: 5 - self.unknown]],
            "hit1": self.hit(1),
            "hit5": self.hit(5),
            "moments": [self._moment(t) for t in np.flatnonzero(self.looked).tolist()],
            "event_spans": [[round(t, 4) for t in span] for span in self.true_spans] or None,
            "event_snippets": None if self.event is None else np.flatnonzero(self.event).tolist(),
            "moment_recall": None if np.isnan(recall) else recall,
            "patch_hits": int(hits.sum()) if hits.size else None,
            "patch_chances": int(hits.size),
            "spans": [
                [round(s.start_s, 4), round(s.end_s, 4), s.label, round(s.score, 6)] for s in self.spans
            ],
            "span_iou": None if np.isnan(iou) else round(iou, 6),
            "looks": int(self.looked.sum()),
            "macs": self.macs,
            "frames_delivered": self.frames[0],
            "frames_decoded": self.frames[1],
            "decode_s": round(self.decode_s, 6),
            "on_keyframes": self.on_keyframes,
            "pictures": self.pictures,
            "heard": self.heard,
        }

    def _moment(self, snippet: int) -> dict[str, Any]:
        box = self.boxes_px[snippet]
        return {
            "snippet": snippet,
            "time_s": round(float(self.times[snippet]), 4),
            "saliency": round(float(self.saliency[snippet]), 6),
            "box_px": None if np.isnan(box).any() else [int(v) for v in box],
        }


def best_of(scores: NDArray[np.float64], said: NDArray[np.bool_]) -> list[int]:
    """The classes that are said (C,), best score first."""
    return [c for c in np.argsort(-scores, kind="stable").tolist() if said[c]]


def known_truth(
    truth: Truth | None, times: NDArray[np.float64]
) -> tuple[NDArray[np.bool_] | None, NDArray[np.float64], tuple[tuple[float, float], ...]]:
    """Event snippets, object centres and spans of a record's truth (None: unknown) on a video's grid."""
    if truth is None:
        return None, np.full((len(times), 2), np.nan), ()
    event = np.any([event_snippets(times, span) for span in truth.spans], axis=0)
    return event, object_centres(times, truth.boxes), truth.spans
