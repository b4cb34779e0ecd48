"""Prints what a GlanceWorld folder gives away: ``python benchmarks/glanceworld_leaks.py FOLDER``.

The texture must be readable from the source patch and not from a 64-line glance, each with the place known;
the class must not be readable from loudness, mean colour, bit rate, file size or duration, the texture not
from the sound. Of two rivals the glance must show the families (their colours) and not which one sounds.
Everything is measured on the decoded files. Each figure is a cross-validated accuracy (videos are never
split), beside that of guessing; those marked "must tell" show that the check could have found something.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from avglance.views.sound import logmel

Array = NDArray[Any]
SQUARE_PX, GLANCE_PX, PATCH_PX, GLANCE_CROP_PX = 240, 64, 40, 12
RATE_HZ = 16_000


@dataclass(frozen=True)
class Figure:
    """One measured accuracy, that of guessing, how many guesses it rests on, and whether it must be high."""

    name: str
    accuracy: float
    chance: float
    count: int
    tells: bool = False

    @property
    def margin(self) -> float:
        """Three standard errors of guessing."""
        return 3 * float(np.sqrt(self.chance * (1 - self.chance) / self.count))


@dataclass(frozen=True)
class Evidence:
    """What was measured of one video."""

    label: str
    texture: str
    family: str
    patches: Array  # (n, PATCH, PATCH, 3) of the source
    glances: Array  # (n, GLANCE_CROP, GLANCE_CROP, 3) of the glance
    rivals: Array  # (n, GLANCE_CROP, GLANCE_CROP, 3) of the glance, the other object of the event; or (0,)
    places: Array  # (n, 2, 3): x, y and side of the event's object and of its rival; or (0,)
    sound: Array
    loudness: Array
    colour: Array
    sizes: Array


def examine(folder: Path, *, pictures: int = 4) -> list[Evidence]:
    """Decode every video of a world and keep what a classifier may see of it."""
    truths = sorted((folder / "truth").glob("*.json"))
    return [_examine_one(folder / "videos" / f"{truth.stem}.mp4", truth, pictures) for truth in truths]


def _examine_one(video: Path, truth: Path, pictures: int) -> Evidence:
    known = json.loads(truth.read_text())
    boxes, others = known["boxes"], known.get("rival", {}).get("boxes", [])
    chosen = {round(boxes[n][0] * 10): n for n in np.linspace(0, len(boxes) - 1, pictures).astype(int)}
    patches, glances, rivals, places, colours, frames = [], [], [], [], [], 0
    for number, image in enumerate(decode(video)):
        frames += 1
        if number % 10 == 0:
            colours.append(image.reshape(-1, 3).mean(0))
        if number in chosen:
            box = boxes[chosen[number]][1:]
            patch, glance = look(image, box)
            patches.append(patch)
            glances.append(glance)
            if others:
                other = others[chosen[number]][1:]
                rivals.append(look(image, other)[1])
                places.append([(x0, y0, x1 - x0) for x0, y0, x1, _ in (box, other)])
    wave, packets = listen(video)
    size, seconds = video.stat().st_size, known["duration_s"]
    rates = [packets.sum() / seconds, packets.max(), packets.std(), size, size / seconds, seconds, frames]
    colour = np.concatenate([np.mean(colours, 0), np.std(colours, 0)])
    return Evidence(
        known["label"],
        known["texture"],
        known["family"],
        np.array(patches),
        np.array(glances),
        np.array(rivals),
        np.array(places, float),
        tune(wave, known["event"]),
        loudness(wave),
        colour,
        np.array(rates, float),
    )


def decode(video: Path) -> Iterator[Array]:
    """Every picture of a file, uint8 (H, W, 3)."""
    with av.open(str(video)) as box:
        for frame in box.decode(video=0):
            yield frame.to_ndarray(format="rgb24")


def listen(video: Path) -> tuple[Array, Array]:
    """(samples, sizes of the video packets in bytes) of a file."""
    sizes, samples = [], []
    with av.open(str(video)) as box:
        for packet in box.demux():
            if packet.stream.type == "video":
                sizes.append(packet.size)
            else:
                samples += [frame.to_ndarray()[0] for frame in packet.decode()]
    return np.concatenate(samples), np.array(sizes, float)


def look(image: Array, box: list[int]) -> tuple[Array, Array]:
    """(middle of the object in the source, the same place in the 64-line glance) with the place known."""
    square = image[:, 40 : 40 + SQUARE_PX]
    x, y = (box[0] + box[2]) / 2 - 40, (box[1] + box[3]) / 2
    glance = np.asarray(Image.fromarray(square).resize((GLANCE_PX, GLANCE_PX), Image.Resampling.BILINEAR))
    scale = GLANCE_PX / SQUARE_PX
    return _cut(square, x, y, PATCH_PX), _cut(glance, x * scale, y * scale, GLANCE_CROP_PX)


def _cut(image: Array, x: float, y: float, side: int) -> Array:
    left, top = (int(np.clip(round(at - side / 2), 0, image.shape[0] - side)) for at in (x, y))
    return image[top : top + side, left : left + side]


def loudness(wave: Array) -> Array:
    """Level in dB over half seconds: mean, spread, range, quantiles."""
    size = RATE_HZ // 2
    whole = wave[: wave.size // size * size].reshape(-1, size)
    db = 10 * np.log10(np.mean(whole.astype(np.float64) ** 2, 1) + 1e-12)[1:-1]
    return np.concatenate([[db.mean(), db.std(), np.ptp(db)], np.quantile(db, [0.05, 0.25, 0.5, 0.75, 0.95])])


def tune(wave: Array, event: dict[str, float]) -> Array:
    """What the event sounds like: level and spread of each mel band, and how pitches follow each other."""
    first, last = (round(event[name] * RATE_HZ) for name in ("start_s", "end_s"))
    mel = logmel(wave[None, first:last].astype(np.float32))[0]  # (F, M), 10 ms a row
    flat = mel - mel.mean(0)
    flat = flat / (flat.std() + 1e-6)
    span = range(-8, 9, 2)
    moves = [
        np.mean(flat[lag:, 8:-8] * flat[: len(flat) - lag, 8 + up : flat.shape[1] - 8 + up])
        for lag in range(2, 42, 2)
        for up in span
    ]
    return np.concatenate([mel.mean(0), mel.std(0), moves])


def spectra(crops: Array) -> Array:
    """Logarithm of the magnitude spectrum of the luma, shape (n, features)."""
    luma = crops.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    luma -= luma.mean((1, 2), keepdims=True)
    window = np.hanning(luma.shape[1] + 2)[1:-1]
    power = abs(np.fft.rfft2(luma * window[:, None] * window[None]))
    return np.asarray(np.log(power + 1).reshape(len(crops), -1))


def pixels(crops: Array) -> Array:
    """Luma without its mean, shape (n, features)."""
    luma = crops.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    return np.asarray((luma - luma.mean((1, 2), keepdims=True)).reshape(len(crops), -1))


def accuracy(features: Array, labels: Array, groups: Array, *, forest: bool = False) -> float:
    """Share of right guesses by five-fold cross-validation in which no group is split."""
    from sklearn.decomposition import PCA
    from sklearn.ensemble import ExtraTreesClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GroupKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if forest:
        model: Any = ExtraTreesClassifier(100, min_samples_leaf=3, random_state=0)
    else:
        few = min(120, features.shape[1], len(features) // 2)
        model = make_pipeline(
            StandardScaler(), PCA(few, random_state=0), LogisticRegression(C=0.1, max_iter=500)
        )
    said = cross_val_predict(model, features, labels, groups=groups, cv=GroupKFold(5))
    return float(np.mean(said == labels))


def leaks(evidence: list[Evidence]) -> list[Figure]:
    """All figures that scikit-learn gives; ``convolution`` adds a small network's."""
    each = np.array([len(e.patches) for e in evidence])
    groups = np.repeat(np.arange(len(evidence)), each)
    textures = np.repeat([e.texture for e in evidence], each)
    patches = np.concatenate([e.patches for e in evidence])
    glances = np.concatenate([e.glances for e in evidence])
    got = accuracy(spectra(patches), textures, groups)
    figures = [Figure("texture from the source patch", got, 0.25, len(evidence), tells=True)]
    for name, features in (("pixels", pixels(glances)), ("spectrum", spectra(glances))):
        for forest in (False, True):
            kind = "trees" if forest else "linear"
            got = accuracy(features, textures, groups, forest=forest)
            figures.append(Figure(f"texture from the glance, {name}, {kind}", got, 0.25, len(evidence)))
    if evidence[0].rivals.size:
        figures += rivals(evidence, groups)
    return figures + side_channels(evidence)


def rivals(evidence: list[Evidence], groups: Array) -> list[Figure]:
    """Whether the glance shows of what family each of two objects is, and not which of them sounds."""
    families = np.repeat([e.family for e in evidence], [len(e.glances) for e in evidence])
    own, other = (np.concatenate([getattr(e, name) for e in evidence]) for name in ("glances", "rivals"))
    got = accuracy(own.mean((1, 2)), families, groups)
    figures = [Figure("family from the colour in the glance", got, 0.2, len(evidence), tells=True)]
    places = np.concatenate([e.places for e in evidence])
    second = places[:, 0, 0] > places[:, 1, 0]  # by place, left one first: the order must not tell either
    crops, where = np.stack([own, other], 1), places.copy()
    crops[second], where[second] = crops[second, ::-1], where[second, ::-1]
    shown = np.concatenate([crops.mean((2, 3)), crops.std((2, 3)), where], 2).reshape(len(own), -1)
    for name, features in (("colours and places", shown), ("pixels", crops.reshape(len(own), -1))):
        for forest in (False, True):
            kind = "trees" if forest else "linear"
            got = accuracy(features.astype(np.float32), second, groups, forest=forest)
            figures.append(Figure(f"which rival sounds, {name}, {kind}", got, 0.5, len(evidence)))
    return figures


def side_channels(evidence: list[Evidence]) -> list[Figure]:
    """Class, texture and family from what must not tell them; the sound tells the family and no more."""
    groups, figures = np.arange(len(evidence)), []
    targets = {"label": 1 / 20, "texture": 1 / 4, "family": 1 / 5}
    if evidence[0].label == evidence[0].texture:
        del targets["texture"]
        targets["label"] = 1 / 4
    for name in ("loudness", "colour", "sizes", "sound"):
        features = np.array([getattr(e, name) for e in evidence])
        for target, chance in targets.items():
            if name == "sound" and target == "label" and "texture" in targets:
                continue  # half of this label is the family
            labels = np.array([getattr(e, target) for e in evidence])
            tells = name == "sound" and target == "family"
            commonest = float(np.unique(labels, return_counts=True)[1].max() / len(labels))
            for forest in (False, True):
                got = accuracy(features, labels, groups, forest=forest)
                kind = "trees" if forest else "linear"
                what = f"{target} from {name}, {kind}"
                figures.append(Figure(what, got, max(chance, commonest), len(evidence), tells))
    return figures


def _at_lines(one: Evidence, lines: int) -> Array:
    """The object's place as a glance of another number of lines would show it."""
    if lines == GLANCE_PX:
        return one.glances
    side = round(PATCH_PX * lines / SQUARE_PX)
    shrunk = [Image.fromarray(patch).resize((side, side), Image.Resampling.BILINEAR) for patch in one.patches]
    return np.array([np.asarray(image) for image in shrunk])


def convolution(
    evidence: list[Evidence], *, lines: int = GLANCE_PX, epochs: int = 30, seed: int = 0
) -> Figure:
    """Texture from a glance of so many lines by a small network trained on two thirds of the videos."""
    import torch
    from torch import nn
    from torch.nn.functional import cross_entropy

    names = sorted({e.texture for e in evidence})
    split = len(evidence) * 2 // 3
    sets = []
    for part in (evidence[:split], evidence[split:]):
        crops = np.concatenate([_at_lines(e, lines) for e in part]).astype(np.float32)
        crops -= crops.mean((1, 2), keepdims=True)
        labels = np.concatenate([[names.index(e.texture)] * len(e.glances) for e in part])
        sets.append((torch.from_numpy(crops).permute(0, 3, 1, 2) / 30, torch.from_numpy(labels)))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        layers: list[nn.Module] = []
        for before, after in ((3, 32), (32, 64), (64, 64)):
            layers += [nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU()]
        net = nn.Sequential(
            *layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.3), nn.Linear(64, len(names))
        )
        chooser = torch.optim.AdamW(net.parameters(), 3e-3, weight_decay=0.01)
        crops_in, wanted = sets[0]
        for _ in range(epochs):
            for rows in torch.randperm(len(wanted)).split(64):
                chooser.zero_grad()
                cross_entropy(net(crops_in[rows]), wanted[rows]).backward()
                chooser.step()
    net.eval()
    with torch.no_grad():
        right = (net(sets[1][0]).argmax(1) == sets[1][1]).float().mean()
    return Figure(
        f"texture from {lines} lines, small network", float(right), 1 / len(names), len(evidence) - split
    )


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    args = parser.parse_args(argv)
    evidence = examine(args.folder)
    for figure in [*leaks(evidence), *(convolution(evidence, lines=lines) for lines in (GLANCE_PX, 96))]:
        told = "   must tell" if figure.tells else ""
        print(
            f"{figure.name:46} {figure.accuracy:6.3f}   "
            f"chance {figure.chance:.3f} +- {figure.margin:.3f}{told}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
