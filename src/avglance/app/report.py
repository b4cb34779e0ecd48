"""The report: one HTML file that needs nothing else, for one answer or many.

Everything that came from outside is escaped (``app.pages``).
"""

from __future__ import annotations

import base64
import contextlib
import io
import math
import os
import stat
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from avglance.app import render
from avglance.app.pages import fill
from avglance.errors import ArgumentError, MediaError
from avglance.types import Failure, Moment, Recognition

if TYPE_CHECKING:
    from avglance.app.answer import Sightings

MARK = "avglance-report"  # in the head of our pages: only such a file is replaced without being told to
THUMBNAIL_PX = 360
QUIETEST_DB = -70.0  # the foot of the sound row
CLIP_S = 0.975  # what is heard of a snippet when the file is read again


@dataclass(frozen=True)
class Thumbnail:
    """A moment's picture as a data address (empty: none), its size, and its patch in percent of it."""

    source: str = ""
    width: int = 1
    height: int = 1
    box: tuple[float, float, float, float] | None = None


@dataclass(frozen=True)
class Entry:
    """What a page keeps of one video."""

    result: Recognition | Failure
    thumbnails: tuple[Thumbnail, ...] = ()
    levels_db: tuple[float | None, ...] = ()
    visible: tuple[bool, ...] = field(default=())
    unseen: int = 0
    skipped: tuple[bool, ...] = ()


def save(
    result: Recognition | Failure | Sequence[Recognition | Failure],
    path: str | Path,
    *,
    sightings: Sightings | None = None,
    force: bool = False,
) -> Path:
    """Write the report of one answer, or of several, as one HTML file; where it lies.

    Args:
        result: what ``tag`` or ``tag_many`` gave.
        path: the file to write; an older report there is replaced, any other file only with ``force``.
        sightings: what ``look`` gave beside a single answer; without it the moments' pictures are read again
            from the video, and left out where it is gone.
        force: replace the file that is there, unless it may be video or sound, or is one of the videos.

    Raises:
        ArgumentError: the file cannot be written there.
    """
    results = [result] if isinstance(result, (Recognition, Failure)) else list(result)
    inputs = [each.video for each in results]
    check_target(Path(path), force=force or is_report(Path(path)), inputs=inputs)
    return write([make_entry(r, sightings if len(results) == 1 else None) for r in results], Path(path))


def check_target(path: Path, *, force: bool, inputs: Iterable[str | Path] = ()) -> None:
    """See that a report can be written; ``force`` replaces no input, no media file, no pipe and no device.

    Raises:
        ArgumentError: what is there may not be replaced, or the folder is missing.
    """
    target, what, hint = _settled(path), "", "name another file, such as out.html"
    if not os.path.isdir(target.parent):
        what, hint = "its folder does not exist", f"make the folder {path.parent} first"
    elif os.path.isdir(target):
        what, hint = "is a folder, the report is one file", "add a name: out.html"
    elif os.path.lexists(target):
        what = _kept(target, inputs)
        if not what and not force:
            what, hint = "is there already", "another name, or --force to replace it"
    if what:
        raise ArgumentError(what, where=str(path), hint=hint)


def _kept(target: Path, inputs: Iterable[str | Path]) -> str:
    """Why what is there is never replaced; empty: it may be."""
    from avglance.media import sniff

    if not os.path.isfile(target):
        return "is a pipe, socket or device, the report is a file"
    for each in inputs:
        with contextlib.suppress(OSError, ValueError):
            if os.path.samefile(target, each):
                return "is one of the files to read, the report would replace it"
    return "may be video or sound, no report replaces that" if sniff(target).kind is None else ""


def _settled(path: Path) -> Path:
    """Where the report will lie, all links followed.

    Raises:
        ArgumentError: that cannot be told: links in a circle, too long a name, no working folder any more.
    """
    try:
        target = path.resolve()
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            if stat.S_ISLNK(target.lstat().st_mode):  # how newer versions of Python tell a circle
                raise RuntimeError("links in a circle")
    except (OSError, RuntimeError, ValueError) as error:
        what = f"the report cannot be written: {getattr(error, 'strerror', None) or error}"
        raise ArgumentError(what, where=str(path), hint="name another file, by its whole path") from error
    return target


def is_report(path: Path) -> bool:
    """Whether a report of ours lies there."""
    if not os.path.isfile(path):  # opening a pipe would wait for somebody to write
        return False
    try:
        with open(path, "rb") as file:
            return MARK.encode() in file.read(2000)
    except OSError:
        return False


def make_entry(result: Recognition | Failure, sightings: Sightings | None) -> Entry:
    """What the page needs of one answer: small JPEG pictures instead of frames."""
    if isinstance(result, Failure):
        return Entry(result)
    seen = look_again(result) if sightings is None else sightings
    thumbnails = [Thumbnail() if s is None else _thumbnail(s.picture, s.box) for s in seen.moments]
    return Entry(result, tuple(thumbnails), seen.levels_db, seen.visible, seen.unseen, seen.skipped)


def look_again(result: Recognition) -> Sightings:
    """Pictures of the moments and sound levels, read again from the video; what is gone stays empty."""
    from avglance.app.answer import Sighting, Sightings
    from avglance.media import VideoReader

    pictures: list[Sighting | None] = [None] * len(result.moments)
    levels: list[float | None] = [None] * len(result.times)
    try:
        with VideoReader(result.video) as reader:
            if reader.info.has_video:
                for index, frame in reader.frames_at([m.time_s for m in result.moments]):
                    box = result.moments[index].box_px
                    pictures[index] = (
                        None if frame is None else Sighting(frame.image, _fractions(box, frame.image))
                    )
            for index, time_s in enumerate(result.times if reader.info.has_audio else ()):
                begin = max(time_s - CLIP_S / 2, 0.0)
                pieces = [piece.samples for piece in reader.sound(begin, begin + CLIP_S)]
                levels[index] = _level_db(np.concatenate(pieces)) if pieces else None
    except MediaError:  # the file is gone or broken by now: the answer is reported without pictures
        pass
    return Sightings(tuple(pictures), tuple(levels), (True,) * len(result.times))


def _level_db(samples: NDArray[np.float32]) -> float | None:
    power = float(np.mean(np.square(samples, dtype=np.float64))) if samples.size else 0.0
    return 10 * math.log10(max(power, 1e-12))


def _fractions(
    box: tuple[int, int, int, int] | None, image: NDArray[np.uint8]
) -> tuple[float, float, float, float] | None:
    height, width = image.shape[:2]
    return None if box is None else (box[0] / width, box[1] / height, box[2] / width, box[3] / height)


def _thumbnail(picture: NDArray[np.uint8], box: tuple[float, float, float, float] | None) -> Thumbnail:
    from PIL import Image

    image = Image.fromarray(np.ascontiguousarray(picture))
    image.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=85)
    source = "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
    x0, y0, x1, y1 = (100 * min(max(v, 0.0), 1.0) for v in box or (0.0, 0.0, 0.0, 0.0))
    return Thumbnail(source, image.width, image.height, (x0, y0, x1, y1) if box else None)


def write(entries: Sequence[Entry], path: Path) -> Path:
    """Write the page beside its name and rename it when it is whole; a draft is never left behind.

    Raises:
        ArgumentError: the disk does not take it.
    """
    target, text = _settled(path), page(entries)
    try:
        descriptor, draft = tempfile.mkstemp(dir=target.parent, prefix=".report-", suffix=".html")
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8", errors="replace") as file:
                file.write(text)
            os.chmod(draft, 0o644)
            os.replace(draft, target)
        except BaseException:  # also when it is interrupted
            with contextlib.suppress(OSError):
                os.unlink(draft)
            raise
    except OSError as error:
        what, hint = f"the report cannot be written: {error.strerror}", "make room, or write elsewhere"
        raise ArgumentError(what, where=str(path), hint=hint) from error
    return path


def page(entries: Sequence[Entry]) -> str:
    """The page as text."""
    shown = [section(entry, number) for number, entry in enumerate(entries, 1)]
    about = {"mark": MARK, "banner": render.TOY_BANNER}
    return fill("report.html.j2", styles=("report.css",), entries=shown, **about)


def section(entry: Entry, number: int) -> dict[str, Any]:
    """What the template shows of one video."""
    result = entry.result
    name = Path(render.clean(result.video, 1000)).name
    shown: dict[str, Any] = {"number": number, "result": result, "name": name}
    if isinstance(result, Failure):
        return shown | {"verdict": "failed"}
    shown |= {"verdict": result.condition.verdict, "reasons": render.reasons(result)}
    shown |= {"moments": list(zip(result.moments, entry.thumbnails, strict=True))}
    shown |= {"timeline": timeline(result, entry), "bars": cost_bars(result), "stages": stage_rows(result)}
    return shown | {"skipped": skipped(result, entry)}


def timeline(result: Recognition, entry: Entry) -> dict[str, Any]:
    """Where everything stands on the time axis, in percent of the duration."""
    from avglance.systems.spans import snippet_edges

    whole = max(result.duration_s, *result.times, 1e-9)
    edges = (100 * snippet_edges(result.times, whole) / whole).tolist() if result.times else []
    numbers = _moment_numbers(result.moments, result.times)
    peak = max(result.saliency, default=0.0) or 1.0
    snippets = []
    for t, time_s in enumerate(result.times):
        level = entry.levels_db[t] if t < len(entry.levels_db) else None
        snippets.append(
            {
                "x": edges[t],
                "width": max(edges[t + 1] - edges[t], 0.0),
                "time_s": time_s,
                "saliency": result.saliency[t],
                "height": 100 * result.saliency[t] / peak,
                "level_db": level,
                "loud": 0.0 if level is None else 100 * min(max(1 - level / QUIETEST_DB, 0.0), 1.0),
                "number": numbers.get(t),
                "visible": entry.visible[t] if t < len(entry.visible) else True,
            }
        )
    rows: dict[str, list[dict[str, Any]]] = {}
    for span in result.spans:
        x, end = 100 * span.start_s / whole, 100 * min(span.end_s, whole) / whole
        rows.setdefault(span.label, []).append({"x": x, "width": max(end - x, 0.0), "span": span})
    mean = 100 / len(result.saliency) / peak if result.saliency else 0.0
    heard = any(s["level_db"] is not None for s in snippets)
    return {"snippets": snippets, "rows": rows, "ticks": ticks(whole), "mean": mean, "heard": heard}


def _moment_numbers(moments: Sequence[Moment], times: Sequence[float]) -> dict[int, int]:
    """Snippet -> number of its moment, counted from 1 in the order of time."""
    return {
        min(range(len(times)), key=lambda t: abs(times[t] - moment.time_s)): number
        for number, moment in enumerate(moments, 1)
    }


def ticks(duration_s: float, most: int = 6) -> list[dict[str, Any]]:
    """Round times along the axis with their text, at most ``most``, the first at 0.

    >>> [t["text"] for t in ticks(24.0)]
    ['0:00', '0:05', '0:10', '0:15', '0:20']
    """
    fine = [n / 10**e for e in (3, 2, 1) for n in (1, 2, 5)]
    coarse = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400, 43_200, 86_400, 172_800]
    step = next((s for s in fine + coarse if duration_s / s < most), duration_s / (most - 1))
    times = [n * step for n in range(int(duration_s / step) + 1)]
    return [{"text": _tick_text(t, step), "x": 100 * t / duration_s} for t in times]


def _tick_text(time_s: float, step_s: float) -> str:
    if step_s < 1:
        return f"{time_s:.3g} s"
    minutes, seconds = divmod(round(time_s), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


def cost_bars(result: Recognition) -> list[dict[str, Any]]:
    """What was spent against looking at everything: work, frames, time."""
    cost, about = result.cost, render.whole_seconds(result.cost) or 0.0
    work = f"{render.gmacs(cost.total_macs)} GMACs", render.gmacs(cost.whole_macs)
    frames = str(cost.frames_delivered), str(cost.whole_frames)
    seconds = render.duration(cost.total_s), f"about {render.duration(about)}"
    rows: list[tuple[str, float, float, tuple[str, str]]] = [
        ("multiply-adds", cost.total_macs, cost.whole_macs, work),
        ("frames looked at", cost.frames_delivered, cost.whole_frames, frames),
        ("time", cost.total_s, about, seconds),
    ]
    return [
        {
            "name": name,
            "text": f"{said[0]} of {said[1]}" if whole else said[0],
            "share": render.share(part, whole),
            "width": _width(part, whole),
        }
        for name, part, whole, said in rows
    ]


def _width(part: float, whole: float) -> float | None:
    return min(max(100 * part / whole, 0.5), 100.0) if whole else None


def stage_rows(result: Recognition) -> list[dict[str, Any]]:
    """Seconds and multiply-adds of each stage."""
    cost = result.cost
    names = render.stage_names({**cost.seconds, **cost.macs})
    most_s, most_macs = max(cost.seconds.values(), default=0.0), max(cost.macs.values(), default=0)
    return [
        {
            "name": name,
            "seconds": cost.seconds.get(name, 0.0),
            "macs": cost.macs.get(name, 0),
            "seconds_width": _width(cost.seconds.get(name, 0.0), most_s) if cost.seconds.get(name) else 0.0,
            "macs_width": _width(cost.macs.get(name, 0), most_macs) if cost.macs.get(name) else 0.0,
        }
        for name in names
    ]


def skipped(result: Recognition, entry: Entry) -> list[str]:
    """What was not looked at, one sentence each."""
    cost, total, close = result.cost, len(result.times), len(result.moments)
    passed = sum(entry.skipped)
    glanced = total - close - entry.unseen - passed
    lines = [f"{glanced} of {total} snippets were only glanced at; {close} got a close look."]
    if entry.unseen:
        lines.append(f"{entry.unseen} were only heard: by their sound, no picture was worth decoding there.")
    if passed:
        lines.append(f"{passed} were neither seen nor heard: the answer was sure before.")
    if cost.whole_frames:
        never = max(cost.whole_frames - cost.frames_delivered, 0)
        lines.append(
            f"{never} of {cost.whole_frames} frames were never looked at; {cost.frames_decoded} had to be "
            f"decoded to reach the {cost.frames_delivered} that were."
        )
    if close:
        lines.append("Around the patches the moments' pictures were seen at the size of a glance only.")
    blind = sum(not seen for seen in entry.visible)
    if blind:
        lines.append(f"At {blind} of {total} snippets there was no picture to look at.")
    deaf = sum(level is None for level in entry.levels_db)
    deaf -= passed if deaf < total else 0  # of a file with sound, what was skipped could have been heard
    if deaf:
        lines.append(f"At {deaf} of {total} snippets there was no sound to hear.")
    return lines
