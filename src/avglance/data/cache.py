"""What training reads in place of the files: made once, through the same reader and views as inference.

A video is one file: candidate source squares as JPEG (three a snippet, in the middle of each third of it, so
that training can draw one; number 1 is the snippet's exact centre), the log-mel of the snippet's centre in
float16, times and masks. A cache lies under its key, a hash of the view settings and the dataset: another
grid, another source side or another list of files has another folder, so a stale cache is never read.
Unpacked, the pictures lie beside it as raw pixels too (``data.unpacked``).
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as to_bytes

from avglance.data.records import Dataset
from avglance.data.unpacked import is_unpacked, picture, shift, unpack, unpacked, unpacked_path
from avglance.data.workers import pool
from avglance.errors import ArgumentError, DataError, MediaError
from avglance.views import MEL_BANDS, MEL_FRAMES, FileView, ViewSettings

CANDIDATES, CENTRE = 3, 1
JPEG_QUALITY = 92
VERSION = 1
_LEFT_S = 3600  # a part of an entry is written in a moment: one as old as this was left by a broken-off build
_EDGE_BYTES = 1 << 16  # how much of either end of a file goes into its fingerprint
_SHAPING = ("snippets", "resize_side", "source_side", "fit", "grid")  # the settings that shape what is stored


@dataclass(frozen=True)
class Built:
    """What :func:`build_cache` did: where the cache lies, videos made, found there, and broken (why)."""

    folder: Path
    made: int
    found: int
    broken: dict[int, str]


def cache_key(dataset: Dataset, settings: ViewSettings) -> str:
    """16 hex digits that name what a cache holds: format, view settings and the dataset."""
    shaping = {name: getattr(settings, name) for name in _SHAPING}
    held = [VERSION, JPEG_QUALITY, CANDIDATES, shaping, dataset.sha256]
    return hashlib.sha256(json.dumps(held, sort_keys=True).encode()).hexdigest()[:16]


def build_cache(
    dataset: Dataset,
    settings: ViewSettings,
    folder: str | Path,
    *,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    skip_broken: bool = False,
    unpack: bool = False,
) -> Built:
    """Makes what is missing of a dataset's cache; a broken-off build is gone on with by calling again.

    Args:
        dataset: what to read.
        settings: how.
        folder: caches lie below it, each under its key.
        workers: processes; None: one a core, 1: none but this one.
        progress: called with (videos done, videos in all), once before the first and after each.
        skip_broken: leave out videos that cannot be read, in place of an error at the end.
        unpack: keep the pictures as raw pixels beside the entries, 25 GB for 3,000 videos at the nano sizes:
            training then decodes no JPEG. A ``Cache`` reads them where they are there.

    Returns:
        What was done.

    Raises:
        DataError: some videos cannot be read (all others are made first), or the folder cannot be written.
        ArgumentError: ``workers`` is below 1.
    """
    workers = workers if workers is not None else min(os.cpu_count() or 1, 16)
    if workers < 1:
        raise ArgumentError(f"workers={workers} is below 1", where="build_cache")
    home = Path(folder) / cache_key(dataset, settings)
    files = [os.fspath(record.path) for record in dataset.records]
    with _trouble_named(home):
        home.mkdir(parents=True, exist_ok=True)
        for left in home.glob("*.part"):  # not those of another build that runs now
            with suppress(FileNotFoundError):
                if time.time() - left.stat().st_mtime > _LEFT_S:
                    left.unlink()
        shape = _pixels_shape(settings) if unpack else None
        todo = {n: name for n, name in enumerate(files) if not _is_made(_entry(home, n), name, shape)}
        done, total, broken = len(files) - len(todo), len(files), dict[int, str]()
        if progress is not None:
            progress(done, total)
        for number, problem in _work(home, settings, todo, min(workers, max(1, len(todo))), shape):
            done += 1
            if problem:
                broken[number] = problem
            if progress is not None:
                progress(done, total)
    if broken and (not skip_broken or len(broken) == total):
        first = "; ".join(f"{files[n]}: {why}" for n, why in sorted(broken.items())[:3])
        raise DataError(
            f"{len(broken)} of {total} videos cannot be read: {first}{' ...' if len(broken) > 3 else ''}",
            where=str(dataset.folder),
            hint="mend or remove those lines of the manifest, or leave them out (--skip-broken)",
        )
    return Built(home, len(todo) - len(broken), total - len(todo), broken)


@contextmanager
def _trouble_named(home: Path) -> Iterator[None]:
    try:
        yield
    except BrokenProcessPool as error:
        raise DataError("a process of the cache died", where=str(home), hint="use fewer --workers") from error
    except BrokenPipeError:  # whoever hears of the progress has left
        raise
    except OSError as error:
        hint = "make room, or name another place (--cache)"
        raise DataError(f"the cache cannot be written ({error})", where=str(home), hint=hint) from error


def _work(
    home: Path, settings: ViewSettings, files: dict[int, str], workers: int, shape: tuple[int, ...] | None
) -> Iterator[tuple[int, str]]:
    """Makes entries, yielding (number, what was wrong or "") as they are done."""
    make = partial(_make_numbered, home, settings, shape)
    if workers == 1:
        yield from map(make, files.items())
        return
    with pool(make, workers) as give:
        for task in as_completed([give(item) for item in files.items()]):
            yield task.result()


def _make_numbered(
    home: Path, settings: ViewSettings, shape: tuple[int, ...] | None, item: tuple[int, str]
) -> tuple[int, str]:
    number, name = item
    return number, _make(_entry(home, number), name, settings, shape)


def _entry(home: Path, number: int) -> Path:
    return home / f"{number:07d}.safetensors"


def _fingerprint(path: str | Path) -> str:
    """Of a file's size and both its ends: cheap, and changed by whatever writes a video anew."""
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        digest = hashlib.sha256(str(size).encode() + file.read(_EDGE_BYTES))
        file.seek(max(_EDGE_BYTES, size - _EDGE_BYTES))
        digest.update(file.read(_EDGE_BYTES))
    return digest.hexdigest()


def _pixels_shape(settings: ViewSettings) -> tuple[int, ...]:
    return settings.snippets, CANDIDATES, 3, settings.source_side, settings.source_side


def _is_made(entry: Path, name: str, shape: tuple[int, ...] | None = None) -> bool:
    """Whether an entry is there, of the file as it is; with ``shape`` also its unpacked pictures."""
    if not entry.is_file() or (shape is not None and not is_unpacked(entry, shape)):
        return False
    try:
        with safe_open(entry, framework="numpy") as held:
            return bool(held.metadata()["source"] == _fingerprint(name))
    except (SafetensorError, OSError, KeyError, TypeError):
        return False  # damaged, or of a file that has changed: made anew


def _make(entry: Path, name: str, settings: ViewSettings, shape: tuple[int, ...] | None) -> str:
    """Writes what is missing of one video; what was wrong, or an empty string."""
    problem = "" if _is_made(entry, name) else _make_entry(entry, name, settings)
    if shape is not None and not problem and not is_unpacked(entry, shape):
        unpack(entry, shape)
    return problem


def _make_entry(entry: Path, name: str, settings: ViewSettings) -> str:
    """Writes one video's entry; what was wrong, or an empty string."""
    unpacked_path(entry).unlink(missing_ok=True)  # of the file as it was before, as is this:
    try:
        arrays, size = _look(name, settings)
    except MediaError as error:
        entry.unlink(missing_ok=True)
        return error.what
    held = {"source": _fingerprint(name), "width": str(size[0]), "height": str(size[1])}
    part = entry.with_name(f"{entry.name}.{secrets.token_hex(8)}.part")  # of this build alone
    try:
        part.write_bytes(to_bytes(arrays, metadata=held))
        os.replace(part, entry)
    except BaseException:
        part.unlink(missing_ok=True)  # what was begun on a full disk takes no room
        raise
    return ""


def _look(name: str, settings: ViewSettings) -> tuple[dict[str, NDArray[Any]], tuple[int, int]]:
    """One video's arrays, decoded in one forward pass, and the size of its picture."""
    snippets = settings.snippets
    fine = replace(settings, snippets=CANDIDATES * snippets, glance_side=settings.source_side)
    with FileView([name], fine, threads=1) as view:
        every = np.stack([np.zeros(fine.snippets, np.int64), np.arange(fine.snippets)], axis=1)
        centres = every[CENTRE::CANDIDATES]
        sounds = view.sounds(centres)
        view.pictures(every)
        if (error := view.errors[0]) is not None:
            raise error
        squares = [view.square(0, t) for t in range(fine.snippets)]
        jpegs = [b"" if square is None else _jpeg(square) for square in squares]
        media = view.infos[0]
        shape = (snippets, CANDIDATES)
        arrays: dict[str, NDArray[Any]] = {
            "jpegs": np.frombuffer(b"".join(jpegs), dtype=np.uint8),
            "ends": np.cumsum([len(jpeg) for jpeg in jpegs]).astype(np.int64).reshape(shape),
            "visible": np.array([bool(jpeg) for jpeg in jpegs]).reshape(shape),
            "sounds": sounds.astype(np.float16),
            "audible": view.audible[0, CENTRE::CANDIDATES].copy(),
            "times": view.times[0].reshape(shape).copy(),
            "duration_s": np.array([media.duration_s if media else 0.0]),
        }
        return arrays, (media.width, media.height) if media else (0, 0)


def _jpeg(square: NDArray[np.uint8]) -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(square.transpose(1, 2, 0))).save(out, "JPEG", quality=JPEG_QUALITY)
    return out.getvalue()


class Cache:
    """A dataset's cache, read an item at a time; safe to read from several threads.

    Args:
        dataset: as it was when the cache was made.
        settings: as they were.
        folder: where :func:`build_cache` made it.

    Attributes:
        records: the dataset's records whose entry is there, in the dataset's order.
        numbers: the place of each in the dataset.

    Raises:
        DataError: there is no cache of this dataset and these settings.
    """

    def __init__(self, dataset: Dataset, settings: ViewSettings, folder: str | Path) -> None:
        self.dataset, self.settings = dataset, settings
        self.folder = Path(folder) / cache_key(dataset, settings)
        numbers = [n for n in range(len(dataset)) if _entry(self.folder, n).is_file()]
        if not numbers:
            raise DataError(
                "there is no cache of this dataset and these settings",
                where=str(folder),
                hint="a changed dataset or view has a cache of its own: build_cache makes it",
            )
        self.numbers = numbers
        self.records = tuple(dataset.records[n] for n in numbers)
        place = {name: c for c, name in enumerate(dataset.classes)}
        self.targets = np.zeros((len(numbers), len(dataset.classes)), dtype=np.float32)
        for row, record in enumerate(self.records):
            self.targets[row, [place[label] for label in record.labels]] = 1.0

    def __len__(self) -> int:
        return len(self.numbers)

    def item(
        self,
        i: int,
        rng: np.random.Generator | None = None,
        *,
        translate_px: int = 0,
        candidate: int = CENTRE,
    ) -> dict[str, Any]:
        """One video as training wants it.

        Args:
            i: which, 0 <= i < len.
            rng: draws a candidate picture a snippet, and the translation; None: nothing is moved, and
            candidate: number of the picture of each snippet that is taken then; the exact centre is 1.
            translate_px: each picture is moved by up to so many pixels each way, its edges repeated.

        Returns:
            pictures uint8 (T, 3, S, S), sounds float32 (T, 1, F, M), visible bool (T,), audible bool (T,),
            times float64 (T,) seconds of the pictures, targets float32 (C,).

        Raises:
            DataError: the entry is damaged.
        """
        with self._open(i) as held:
            small = {
                name: held.get_tensor(name) for name in ("visible", "audible", "times", "ends", "sounds")
            }
            drawn = draw_candidates(small["visible"], rng, candidate)
            pictures = self._pictures(i, held, small["ends"], drawn)
            if rng is not None and translate_px:
                pictures = _moved(pictures, rng, translate_px)
            sounds = small["sounds"].astype(np.float32).reshape(-1, 1, MEL_FRAMES, MEL_BANDS)
        return {
            "pictures": np.stack(pictures),
            "sounds": sounds,
            "visible": small["visible"][drawn],
            "audible": small["audible"],
            "times": small["times"][drawn],
            "targets": self.targets[i],
        }

    def source(self, i: int) -> str:
        """The fingerprint of the file that the entry of a video was made from; raises as ``item``."""
        with self._open(i) as held:
            return str(held.metadata()["source"])

    def facts(self, i: int) -> tuple[float, int, int]:
        """Duration in seconds, width and height in pixels of one video.

        Raises:
            DataError: the entry is damaged.
        """
        with self._open(i) as held:
            size = held.metadata()
            return float(held.get_tensor("duration_s")[0]), int(size["width"]), int(size["height"])

    @contextmanager
    def _open(self, i: int) -> Iterator[Any]:
        """The entry of a video; inside, whatever is wrong with it becomes a DataError."""
        entry = _entry(self.folder, self.numbers[i])
        try:
            with safe_open(entry, framework="numpy") as held:
                yield held
        except (SafetensorError, OSError, KeyError, TypeError, ValueError, IndexError) as error:
            raise DataError(
                f"the cache's entry of {self.records[i].path} cannot be read ({error})",
                where=str(entry),
                hint="remove this file; the next training makes it again",
            ) from error

    def _pictures(
        self,
        i: int,
        held: Any,
        ends: NDArray[np.int64],
        drawn: tuple[NDArray[np.int64], NDArray[np.int64]],
    ) -> Sequence[NDArray[np.uint8]]:
        """The drawn pictures (3, S, S) of an entry, one a snippet."""
        shape = _pixels_shape(self.settings)
        pixels = unpacked(_entry(self.folder, self.numbers[i]), shape)
        if pixels is not None:
            return [pixels[t, c] for t, c in zip(*drawn, strict=True)]
        begins = np.concatenate([[0], ends.ravel()[:-1]]).reshape(ends.shape)
        stored = held.get_slice("jpegs")
        bounds = zip(begins[drawn].tolist(), ends[drawn].tolist(), strict=True)
        jpegs = [bytes(stored[low:high]) if low < high else b"" for low, high in bounds]
        return [picture(jpeg, shape[2:]) for jpeg in jpegs]


def _moved(
    pictures: Sequence[NDArray[np.uint8]], rng: np.random.Generator, px: int
) -> Sequence[NDArray[np.uint8]]:
    """Each picture moved by up to ``px`` pixels each way, its edges repeated."""
    out = np.empty((len(pictures), *pictures[0].shape), np.uint8)
    for one, (dy, dx), place in zip(
        pictures, rng.integers(-px, px, (len(out), 2), endpoint=True), out, strict=True
    ):
        shift(one, int(dy), int(dx), place)
    return list(out)


def draw_candidates(
    visible: NDArray[np.bool_], rng: np.random.Generator | None, candidate: int = CENTRE
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(snippet, candidate) of each snippet: the one named, or one drawn; the centre where that is missing.

    Args:
        visible: which pictures are there, bool (T, candidates).
        rng: makes the draw; None: the one that ``candidate`` names.
        candidate: its number.
    """
    every = np.arange(len(visible))
    if rng is None:
        chosen = np.full(len(visible), candidate)
    else:
        chosen = rng.integers(0, CANDIDATES, size=len(visible))
    return every, np.where(visible[every, chosen], chosen, CENTRE)
