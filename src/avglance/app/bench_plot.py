"""A race as a picture: bars for one file; for several, seconds against their length, or their height."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from avglance.app.plots import COLOURS, DASHES, KINDS, MARKERS, WIDTH, Drawn, drawing, need_matplotlib
from avglance.errors import ArgumentError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_BAR, _REST, _HEIGHT = 0.36, 1.1, 5.2  # inches: a bar, what is around the bars, lines


def check_plot(path: Path) -> None:
    """See that a plot can be drawn and what kind it is.

    Raises:
        ArgumentError: its name ends in no kind that is known.
        MissingExtra: matplotlib is missing.
    """
    if path.suffix.removeprefix(".") not in KINDS:
        raise ArgumentError(f"a plot is {' or '.join(KINDS)}", where=str(path), hint="name it FILE.png")
    need_matplotlib()


def write_plot(found: dict[str, Any], path: Path) -> Path:
    """Draw the race and write it.

    Raises:
        ArgumentError: it cannot be written.
    """
    octets = draw(found).render(path.suffix.removeprefix("."))
    part = path.with_name(f"{path.name}.part")
    try:
        part.write_bytes(octets)
        part.replace(path)
    except OSError as error:
        raise ArgumentError(f"cannot write: {error.strerror}", where=str(path)) from error
    return path


def draw(found: dict[str, Any]) -> Drawn:
    """The race: bars where one file was raced for, lines where several were."""
    need_matplotlib()
    from matplotlib.figure import Figure

    files, names = found["files"], found["rivals"]
    with drawing():
        if len(files) <= 1:
            figure = Figure(figsize=(WIDTH, _REST + _BAR * len(names)), layout="constrained")
            _bars(figure.subplots(), found, files[0]["rows"] if files else [])
            return Drawn(figure, "seconds from the file to the answer")
        figure = Figure(figsize=(WIDTH, _HEIGHT), layout="constrained")
        axis = figure.subplots()
        what = _lines(axis, found)
        figure.legend(loc="outside lower center", ncols=2)
        return Drawn(figure, f"seconds from the file to the answer against {what}")


def _bars(axis: Axes, found: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    shown = sorted(rows, key=lambda row: -row["seconds"]["median"])
    labels = [found["rivals"][row["rival"]] for row in shown]
    decode = [row["stages"]["decode"] for row in shown]
    rest = [max(row["seconds"]["median"] - d, 0.0) for row, d in zip(shown, decode, strict=True)]
    axis.barh(labels, decode, color=COLOURS[5], label="decoding")
    axis.barh(labels, rest, left=decode, color=COLOURS[1], label="networks and the rest")
    for y, row in enumerate(shown):
        axis.text(
            row["seconds"]["median"], y, f" {row['seconds']['median']:.2f} s", va="center", fontsize=8.5
        )
    axis.set_xlabel(f"seconds from the file to the answer, all in {found['setting']['precision']}")
    axis.margins(x=0.1)
    axis.legend(loc="upper right")  # the shortest bars are there


def _lines(axis: Axes, found: dict[str, Any]) -> str:
    """Seconds of every rival by length, or by height where the lengths are alike; which of the two."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    lengths = [file["duration_s"] for file in found["files"]]
    by_height = max(lengths) < 1.2 * min(lengths)
    key, what = ("height", "lines of the picture") if by_height else ("duration_s", "seconds of video")
    for n, (name, words) in enumerate(found["rivals"].items()):
        points = sorted(
            (file[key], row["seconds"]["median"], row["seconds"]["low"], row["seconds"]["high"])
            for file in found["files"]
            for row in file["rows"]
            if row["rival"] == name
        )
        if not points:
            continue
        x, y, low, high = zip(*points, strict=True)
        look: dict[str, Any] = {"color": COLOURS[n % len(COLOURS)], "marker": MARKERS[n % len(MARKERS)]}
        axis.plot(x, y, DASHES[n // len(COLOURS) % len(DASHES)], label=words, markersize=4, **look)
        axis.fill_between(x, low, high, color=look["color"], alpha=0.15, linewidth=0)
    for scale, each in ((axis.set_xscale, axis.xaxis), (axis.set_yscale, axis.yaxis)):
        scale("log")
        each.set_major_locator(LogLocator(base=10, subs=(1.0, 2.0, 5.0), numticks=16))
        each.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.6g}"))
        each.set_minor_formatter(NullFormatter())
    axis.set_xlabel(what)
    axis.set_ylabel(f"seconds, all in {found['setting']['precision']}")
    return what
