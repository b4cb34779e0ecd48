"""Prints what a folder of spliced videos gives away: ``python benchmarks/splice_leaks.py FOLDER``.

When the event is must not be readable from loudness, from the bytes of pictures or sound, or from keyframes;
the class, and whether there is any, not from loudness, from size, bit rate and duration, or from the cuts.
Everything is measured on the decoded files, half second by half second; no source group is on both sides of
the cross-validation. Lines marked "must tell" show that the check could have found something.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from avglance.types import UNKNOWN
from avglance.views.sound import logmel

Array = NDArray[Any]
STEP_S, RATE_HZ = 0.5, 16_000
AROUND = 2  # half seconds on either side that a classifier sees too
EDGE = 3  # half seconds at both ends that do not count: coders begin and end there
QUIET_DB = -50.0
KEYFRAME_S = 2.0


@dataclass(frozen=True)
class Figure:
    """One figure, what guessing would give, and the margin of guessing (three standard errors)."""

    name: str
    value: float
    chance: float
    margin: float
    tells: bool = False

    @property
    def line(self) -> str:
        told = "   must tell" if self.tells else ""
        return f"{self.name:58} {self.value:6.3f}   chance {self.chance:.3f} +- {self.margin:.3f}{told}"


@dataclass(frozen=True)
class Evidence:
    """What was measured of one video; the first axis of ``event`` and of all tracks is half seconds."""

    label: str
    group: str
    event: Array  # whether the half second lies wholly in the event; NaN: partly, or at an end of the file
    loudness: Array  # dB
    pictures: Array  # bytes
    sounds: Array  # bytes
    place: Array  # 0..1 of the file
    mel: Array  # (n, M)
    sizes: Array
    cuts: Array
    on_grid: bool  # whether there is a keyframe every 2 s and nowhere else


def examine(folder: Path) -> list[Evidence]:
    """Read every video of a folder and keep what a classifier may see of it."""
    rows = [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]
    truths = [folder / "truth" / Path(row["path"]).with_suffix(".json").name for row in rows]
    return [
        _examine_one(folder / row["path"], json.loads(truth.read_text()))
        for row, truth in zip(rows, truths, strict=True)
    ]


def _examine_one(video: Path, truth: dict[str, Any]) -> Evidence:
    seconds = truth["duration_s"]
    count = int(seconds / STEP_S)
    wave, packets = listen(video)
    whole = wave[: count * RATE_HZ // 2].reshape(count, -1).astype(np.float64)
    mel = logmel(wave[None].astype(np.float32))[0]
    picture, sound = (_per_step(packets[kind], count) for kind in ("video", "audio"))
    keys = [at for at, _, key in packets["video"] if key]
    size = video.stat().st_size
    lengths = np.array([piece["end_s"] - piece["start_s"] for piece in truth["pieces"]])
    return Evidence(
        label=truth["label"],
        group=truth["group"] or video.stem,
        event=_in_event(truth["events"], count),
        loudness=10 * np.log10(np.mean(whole**2, 1) + 1e-12),
        pictures=picture,
        sounds=sound,
        place=(np.arange(count) + 0.5) / count,
        mel=np.stack([part.mean(0) for part in np.array_split(mel, count)]),
        sizes=np.array([size, size / seconds, seconds, picture.std(), picture.max(), sound.sum() / seconds]),
        cuts=np.array([len(lengths), len(lengths) / seconds, lengths.std(), lengths.min(), lengths.max()]),
        on_grid=np.allclose(keys, np.arange(len(keys)) * KEYFRAME_S)
        and len(keys) == int(np.ceil(seconds / KEYFRAME_S)),
    )


def listen(video: Path) -> tuple[Array, dict[str, list[tuple[float, int, bool]]]]:
    """(samples, (time, bytes, is a keyframe) of the packets of each kind) of a file."""
    packets: dict[str, list[tuple[float, int, bool]]] = {"video": [], "audio": []}
    samples = []
    with av.open(str(video)) as box:
        for packet in box.demux():
            if packet.size:
                at = float(packet.pts * packet.time_base)
                packets[packet.stream.type].append((at, packet.size, packet.is_keyframe))
            if packet.stream.type == "audio":
                samples += [frame.to_ndarray()[0] for frame in packet.decode()]
    return np.concatenate(samples), {kind: sorted(found) for kind, found in packets.items()}


def _per_step(packets: list[tuple[float, int, bool]], count: int) -> Array:
    """Bytes of each half second."""
    bins = np.zeros(count)
    for at, size, _ in packets:
        if 0 <= at < count * STEP_S:
            bins[int(at / STEP_S + 1e-6)] += size
    return bins


def by_the_clock(track: Array) -> Array:
    """The track without what keyframes do to it every two seconds."""
    period = round(KEYFRAME_S / STEP_S)
    usual = np.array([np.median(track[phase::period]) for phase in range(period)])
    return track - np.resize(usual, track.size)


def _in_event(events: list[dict[str, float]], count: int) -> Array:
    starts = np.arange(count) * STEP_S
    found = np.zeros(count)
    for event in events:
        covered = np.minimum(starts + STEP_S, event["end_s"]) - np.maximum(starts, event["start_s"])
        found[covered > 1e-9] = np.nan
        found[covered > STEP_S - 1e-9] = 1.0
    found[:EDGE] = found[-EDGE:] = np.nan
    return found


def around(track: Array) -> Array:
    """Each half second of a track beside its neighbours and against the file's middle, (n, features)."""
    level = track - np.median(track)
    padded = np.pad(level, AROUND, mode="edge")
    near = np.lib.stride_tricks.sliding_window_view(padded, 2 * AROUND + 1)
    return np.concatenate([near, near.mean(1, keepdims=True), near.std(1, keepdims=True)], 1)


def tracks(evidence: list[Evidence]) -> dict[str, list[Array]]:
    """What a classifier may see of each half second, by name."""
    return {
        "loudness": [around(e.loudness) for e in evidence],
        "bytes of pictures": [around(by_the_clock(np.log(e.pictures + 1))) for e in evidence],
        "bytes of sound": [around(np.log(e.sounds + 1)) for e in evidence],
        "place in the file": [np.stack([e.place, abs(e.place - 0.5)], 1) for e in evidence],
        "spectrum of the sound": [e.mel for e in evidence],
    }


def area(evidence: list[Evidence], name: str, *, forest: bool) -> Figure:
    """Area under the curve of "is this half second in the event", from one track."""
    value, margin = _area(evidence, tracks(evidence)[name], forest=forest)
    kind = "trees" if forest else "linear"
    what = f"event or not from {name}, {kind} (AUC)"
    return Figure(what, value, 0.5, margin, tells=name.startswith("spectrum"))


def areas(evidence: list[Evidence]) -> list[Figure]:
    """``area`` of every track, by both kinds of classifier."""
    return [area(evidence, name, forest=forest) for name in tracks(evidence) for forest in (False, True)]


def _area(evidence: list[Evidence], features: list[Array], *, forest: bool) -> tuple[float, float]:
    """(area, three standard errors of it over videos)."""
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import GroupKFold, cross_val_predict

    known = [~np.isnan(e.event) for e in evidence]
    wanted = np.concatenate([e.event[k] for e, k in zip(evidence, known, strict=True)])
    seen = np.concatenate([f[k] for f, k in zip(features, known, strict=True)])
    video = np.repeat(np.arange(len(evidence)), [k.sum() for k in known])
    groups = np.array([e.group for e in evidence])[video]
    model = _model(forest=forest, leaf=20)
    said = cross_val_predict(model, seen, wanted, groups=groups, cv=GroupKFold(5), method="predict_proba")
    rng, drawn = np.random.default_rng(0), []
    rows = [np.flatnonzero(video == n) for n in range(len(evidence))]
    for _ in range(50):
        some = np.concatenate([rows[n] for n in rng.integers(len(rows), size=len(rows))])
        drawn.append(roc_auc_score(wanted[some], said[some, 1]))
    return float(roc_auc_score(wanted, said[:, 1])), 3 * float(np.std(drawn))


def _model(*, forest: bool, leaf: int) -> Any:
    from sklearn.ensemble import ExtraTreesClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if forest:
        return ExtraTreesClassifier(100, min_samples_leaf=leaf, class_weight="balanced", random_state=0)
    return make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000, class_weight="balanced"))


def classes(evidence: list[Evidence]) -> list[Figure]:
    """Accuracy of the class from what must not tell it."""
    mels = [e.mel[e.event == 1] for e in evidence]
    return _told(evidence, "class", np.array([e.label for e in evidence]), "the event's sound", mels)


def strangers(evidence: list[Evidence]) -> list[Figure]:
    """Accuracy of whether a video has an event at all from what must not tell it."""
    labels = np.array([e.label == UNKNOWN for e in evidence])
    return _told(evidence, "unknown or not", labels, "the sound", [e.mel for e in evidence])


def _told(evidence: list[Evidence], what: str, labels: Array, tells: str, mels: list[Array]) -> list[Figure]:
    """Accuracy of the labels from the whole of each video; ``mels`` of its sound must tell."""
    from sklearn.model_selection import GroupKFold, cross_val_predict

    groups = np.array([e.group for e in evidence])
    chance = float(np.unique(labels, return_counts=True)[1].max() / len(labels))
    margin = 3 * float(np.sqrt(chance * (1 - chance) / len(labels)))
    tracks = {
        "size, bit rate and duration": [e.sizes for e in evidence],
        "loudness": [
            np.concatenate(
                [[e.loudness.mean(), e.loudness.std()], np.quantile(e.loudness, [0.05, 0.5, 0.95])]
            )
            for e in evidence
        ],
        "cuts": [e.cuts for e in evidence],
        tells: [np.concatenate([mel.mean(0), mel.std(0)]) for mel in mels],
    }
    figures = []
    for name, features in tracks.items():
        for forest in (False, True):
            said = cross_val_predict(
                _model(forest=forest, leaf=5), np.array(features), labels, groups=groups, cv=GroupKFold(5)
            )
            kind, value = "trees" if forest else "linear", float(np.mean(said == labels))
            figures.append(Figure(f"{what} from {name}, {kind}", value, chance, margin, name == tells))
    return figures


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    args = parser.parse_args(argv)
    everything = examine(args.folder)
    evidence = [e for e in everything if e.label != UNKNOWN]
    if not evidence:
        parser.error(f"{args.folder}: no video has an event")
    inside = np.concatenate([e.loudness[e.event == 1] for e in evidence])
    outside = np.concatenate([e.loudness[e.event == 0] for e in evidence])
    print(f"{len(evidence)} videos, {len({e.group for e in evidence})} groups")
    print(f"dB of half seconds, event {inside.mean():.2f} +- {inside.std():.2f}, ", end="")
    print(f"other {outside.mean():.2f} +- {outside.std():.2f}; below {QUIET_DB:.0f} dB: ", end="")
    print(f"{np.mean(inside < QUIET_DB):.4f} and {np.mean(outside < QUIET_DB):.4f}")
    print(f"files with a keyframe every {KEYFRAME_S:.0f} s and nowhere else: ", end="")
    print(f"{sum(e.on_grid for e in evidence)} of {len(evidence)}")
    told = strangers(everything) if len(evidence) < len(everything) else []
    for figure in [*areas(evidence), *classes(evidence), *told]:
        print(figure.line)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
