"""Ways from a file to an answer, to be timed side by side: ours, and what others do with the same file.

All read with the same reader and run at the same precision; their weights may be random, which changes no
multiply-add. Facts about the clips of MViTv2-S and R(2+1)D-18 are those of torchvision's model cards.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from avglance.errors import MissingExtra
from avglance.media import Frame, VideoReader, frames_through
from avglance.parts.encoders import Pixels, TimmEncoder
from avglance.parts.fold import folded
from avglance.parts.meter import row_macs
from avglance.systems.encoders import quick, short_weights
from avglance.types import Precision
from avglance.views import Bill, FileView, Grid, ViewSettings, shrinks_to, snippet_centres, source_square

SQUARE = ViewSettings(snippets=16, resize_side=256, source_side=224, glance_side=224, patch_side=224)
CLASSES = 200
KINETICS = 400
BATCH = 16  # pictures that go through a network at once


@dataclass(frozen=True)
class Look:
    """What one look at one file took.

    Attributes:
        seconds: by stage; together the whole way from the file to the answer.
        delivered: pictures that were taken from the file.
        decoded: pictures that were decoded for them.
        macs: multiply-adds.
        times: of the pictures, seconds on the clock.
        processor_s: seconds of the processor, on all cores; 0: not measured.
    """

    seconds: Mapping[str, float]
    delivered: int
    decoded: int
    macs: int
    times: tuple[float, ...] = ()
    processor_s: float = 0.0


class Rival(Protocol):
    """A way from a file to an answer."""

    def look(self, path: str | Path) -> Look:
        """Look at a file.

        Raises:
            MediaError: it cannot be read.
        """


Answer = Callable[[FileView, int], Bill]


@dataclass(frozen=True)
class Ours:
    """A system of ours as ``avglance tag`` runs it, decoding in this process.

    Args:
        answer: for the one video of a view, with so many looks: what it cost.
        view: how it wants its videos.
        k: looks.
        threads: of the decoder, 0: as many as fit.
    """

    answer: Answer
    view: ViewSettings
    k: int
    threads: int = 0

    def look(self, path: str | Path) -> Look:
        """See ``Rival``."""
        start = time.perf_counter()
        with FileView([path], self.view, threads=self.threads) as view:
            if view.errors[0] is not None:
                raise view.errors[0]
            spent = self.answer(view, self.k)
            whole = time.perf_counter() - start
            seconds = spent.seconds | {"decode": float(view.decode_s[0])}
            return Look(
                seconds | {"rest": max(whole - sum(seconds.values()), 0.0)},
                int(view.frames_delivered[0]),
                int(view.frames_decoded[0]),
                int(spent.total_macs[0]),
                tuple(map(float, view.times[0][view.visible[0]])),
            )


Decode = Callable[[VideoReader, Sequence[float]], Iterator[tuple[int, Frame | None]]]


@dataclass(frozen=True)
class Others:
    """Pictures at some times of a file through a network, and the mean of what it says.

    Args:
        network: (n, ...) rows of ``group`` pictures to (n, classes).
        times: of the pictures in a file that lasts so many seconds, (rows, group).
        view: how a picture becomes a square.
        device: where the network is.
        through: decode every picture of the file.
        threads: of the decoder, 0: as many as fit.
    """

    network: nn.Module
    times: Callable[[float], NDArray[np.float64]]
    view: ViewSettings
    device: torch.device
    through: bool = False
    threads: int = 0

    def look(self, path: str | Path) -> Look:
        """See ``Rival``."""
        start = time.perf_counter()
        with VideoReader(path, threads=self.threads) as reader:
            wanted = self.times(reader.info.duration_s)
            squares = self._squares(reader, wanted)
            spent = reader.frames_delivered, reader.frames_decoded
        decoded = time.perf_counter()
        with torch.inference_mode():
            rows = torch.from_numpy(squares.reshape(*wanted.shape, *squares.shape[1:]))
            step = max(1, BATCH // wanted.shape[1])
            said = [self.network(rows[i : i + step].to(self.device)) for i in range(0, len(rows), step)]
            torch.cat(said).softmax(-1).mean(0).cpu()
        seconds = {"decode": decoded - start, "network": time.perf_counter() - decoded}
        macs = len(wanted) * row_macs(self.network, rows[:1].to(self.device))
        return Look(seconds, *spent, macs, tuple(wanted.flatten().tolist()))

    def _squares(self, reader: VideoReader, wanted: NDArray[np.float64]) -> NDArray[np.uint8]:
        """The pictures (n, 3, S, S); where none came, the one before."""
        side, flat = self.view.source_side, wanted.flatten().tolist()
        squares = np.zeros((len(flat), 3, side, side), dtype=np.uint8)
        most = shrinks_to(reader.info.width, reader.info.height, self.view)
        read = frames_through if self.through else VideoReader.frames_at
        frames = read(reader, flat, max_side=most)
        last = squares[0]
        for index, frame in frames:
            last = last if frame is None else source_square(frame.image, self.view)
            squares[index] = last
        return squares


# ---- networks ----


class PictureNet(nn.Module):
    """Rows of one picture (n, 1, 3, S, S) uint8 to logits (n, classes), by an encoder."""

    def __init__(self, encoder: nn.Module, width: int) -> None:
        super().__init__()
        self.encoder, self.head = encoder, nn.Linear(width, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        logits: Tensor = self.head(self.encoder(x[:, 0])[1])
        return logits


class ClipNet(nn.Module):
    """Clips (n, F, 3, S, S) uint8 to logits (n, classes), by a network of torchvision's."""

    def __init__(self, net: nn.Module, precision: Precision) -> None:
        super().__init__()
        self.normalise, self.precision = Pixels(), precision
        self.net = short_weights(net) if precision == "bf16" else net

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        clip = self.normalise(x.flatten(0, 1)).unflatten(0, x.shape[:2]).transpose(1, 2).contiguous()
        brief = self.precision == "bf16"
        with torch.autocast(x.device.type, torch.bfloat16, enabled=brief):
            logits: Tensor = self.net(clip)
        return logits.float()


def picture_net(precision: Precision, device: torch.device) -> PictureNet:
    """A ResNet-50 of random weights, made quick in the way that ours are."""
    encoder = TimmEncoder("resnet50").eval()
    net = quick(encoder.to(device), "focus", precision, side=SQUARE.source_side)
    return PictureNet(net, encoder.width).eval().to(device)


@dataclass(frozen=True)
class Clip:
    """A network for clips, and the clips it wants, as its card at torchvision says.

    Attributes:
        model: torchvision's name.
        rate: pictures a second of a clip.
        resize_side: short side before the crop, px.
        side: of the crop, px.
        frames: of a clip.
        clips: a video, over which the published figure is the mean.
    """

    model: str
    rate: float
    resize_side: int
    side: int
    frames: int = 16
    clips: int = 5

    def view(self) -> ViewSettings:
        """How a picture becomes a square."""
        side = self.side
        return ViewSettings(
            snippets=1, resize_side=self.resize_side, source_side=side, glance_side=side, patch_side=side
        )

    def times(self, duration_s: float, clips: int) -> NDArray[np.float64]:
        """Times (clips, frames): one clip from the middle, several from the beginning to the end."""
        room = max(duration_s - self.frames / self.rate, 0.0)
        starts = np.array([room / 2]) if clips == 1 else np.linspace(0.0, room, clips)
        inside = max(duration_s - 1 / self.rate, 0.0)
        return np.minimum(starts[:, None] + np.arange(self.frames) / self.rate, inside)

    def net(self, precision: Precision, device: torch.device) -> ClipNet:
        """The network with random weights.

        Raises:
            MissingExtra: torchvision is missing, or does not fit torch.
        """
        try:
            video = import_module("torchvision.models.video")
        except (ImportError, RuntimeError) as error:
            what = f"torchvision cannot be imported ({(str(error).splitlines() or ['no reason'])[0]})"
            hint = "`avglance doctor` says what does not fit; --against leaves it out"
            raise MissingExtra(what, where="bench", hint=hint) from error
        net = getattr(video, self.model)(weights=None).eval()
        shape = (1, 3, self.frames, self.side, self.side)
        if any(isinstance(part, nn.BatchNorm3d) for part in net.modules()):
            noise = torch.rand(
                shape, generator=torch.Generator().manual_seed(0)
            )  # zeros would agree with all
            net = folded(net, noise)
        return ClipNet(net, precision).eval().to(device)


MVIT = Clip("mvit_v2_s", 7.5, 256, 224)
R2PLUS1D = Clip("r2plus1d_18", 15.0, 128, 112)


# ---- rivals by name ----


def uniform(duration_s: float) -> NDArray[np.float64]:
    """The middles of 16 equal stretches, (16, 1)."""
    return snippet_centres(duration_s, SQUARE.snippets)[:, None]


def every_second(duration_s: float) -> NDArray[np.float64]:
    """One time a second, (n, 1)."""
    return np.arange(0.5, max(duration_s, 1.0))[:, None]


@dataclass
class Setting:
    """How every rival is built; networks that several share are built once.

    Args:
        answer: ours (``Ours``).
        view: how ours wants its videos.
        k: its looks.
        grid: on which it looks.
        precision: of all.
        device: of all.
        threads: of the decoder.
    """

    answer: Answer
    view: ViewSettings
    k: int
    grid: Grid
    precision: Precision
    device: torch.device
    threads: int = 0
    nets: dict[str, nn.Module] = field(default_factory=dict)

    def net(self, name: str, make: Callable[[], nn.Module]) -> nn.Module:
        """A network by name, made where it is missing."""
        if name not in self.nets:
            self.nets[name] = make()
        return self.nets[name]


def _ours(s: Setting, *, grid: Grid | None = None) -> Rival:
    return Ours(s.answer, replace(s.view, grid=grid or s.grid), s.k, s.threads)


def _pictures(s: Setting, times: Callable[[float], NDArray[np.float64]], *, through: bool = False) -> Rival:
    net = s.net("resnet50", lambda: picture_net(s.precision, s.device))
    return Others(net, times, SQUARE, s.device, through=through, threads=s.threads)


def _clips(s: Setting, kind: Clip, count: int) -> Rival:
    net = s.net(kind.model, lambda: kind.net(s.precision, s.device))
    return Others(net, lambda d: kind.times(d, count), kind.view(), s.device, threads=s.threads)


@dataclass(frozen=True)
class Kind:
    """What a rival is in words, and how it is built."""

    words: str
    build: Callable[[Setting], Rival]


RIVALS = {  # name on the command line -> what it is
    "ours": Kind("ours", _ours),
    "exact": Kind("ours, on the exact grid", lambda s: _ours(s, grid="exact")),
    "tsn_all": Kind(
        "TSN ResNet-50, 16 pictures, every picture decoded", lambda s: _pictures(s, uniform, through=True)
    ),
    "tsn_seek": Kind("TSN ResNet-50, 16 pictures, exact seeks", lambda s: _pictures(s, uniform)),
    "second": Kind("ResNet-50, one picture a second", lambda s: _pictures(s, every_second)),
    "mvit_clip": Kind("MViTv2-S, one clip", lambda s: _clips(s, MVIT, 1)),
    "mvit": Kind("MViTv2-S, 5 clips (published)", lambda s: _clips(s, MVIT, MVIT.clips)),
    "r2plus1d_clip": Kind("R(2+1)D-18, one clip", lambda s: _clips(s, R2PLUS1D, 1)),
    "r2plus1d": Kind("R(2+1)D-18, 5 clips (published)", lambda s: _clips(s, R2PLUS1D, R2PLUS1D.clips)),
}
