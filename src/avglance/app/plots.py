"""Plots of a comparison: what figures cost, and how they were learned. matplotlib is loaded when asked for.

Lines differ in colour (Okabe and Ito's, which colour-blind people tell apart), in marker, and from the eighth
on in dashes. A page shows them 900 pixels wide.
"""

from __future__ import annotations

import io
import itertools
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from avglance.app.render import clean
from avglance.errors import MissingExtra

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from avglance.evaluation.compare import Comparison, Row, Table
    from avglance.evaluation.trainings import Curve, Training

KINDS = ("svg", "png")
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000", "#56B4E9", "#E69F00")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p")
DASHES = ("-", "--", ":")
FIGURES = {"top1": "top-1, %", "moment_recall": "moment recall, %", "patch_hit": "patch hit, %"}
COSTS = {"gmacs": "GMACs a video", "seconds": "seconds a video"}
WIDTH, DPI = 9.0, 100  # inches, dots an inch: 900 pixels
_PANEL, _LINE, _REST = (
    2.4,
    0.2,
    0.8,
)  # inches of height: a panel, a line of the legend, the rest
_LONGEST = 48  # characters of a name
_FEWEST = 10.0  # points of percent that an axis shows, so that noise does not look like a result
_STYLE: dict[str, Any] = {
    "font.size": 9.5,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.7,
    "axes.axisbelow": True,
    "axes.edgecolor": "#888888",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "legend.fontsize": 9.5,
    "svg.hashsalt": "avglance",
    "text.parse_math": False,
}
Point = tuple[float, float, int, float]  # x, y, K, standard deviation of y
Box = tuple[float, float, float, float]  # x0, y0, x1, y1 in pixels
_AROUND = ((0, 1), (0, -1), (1, 0), (-1, 0), (0.8, 0.8), (-0.8, 0.8), (0.8, -0.8), (-0.8, -0.8))
_CROWDED = 7  # lines from which only the ends of each are numbered


def need_matplotlib() -> None:
    """See that matplotlib is there.

    Raises:
        MissingExtra: it is not, or cannot be loaded.
    """
    try:
        import matplotlib.figure  # noqa: F401 - only whether it loads
    except ImportError as error:
        what = f"plots need matplotlib, which cannot be imported: {error}"
        raise MissingExtra(what, hint="pip install 'avglance[report]'") from error


@dataclass(frozen=True)
class Drawn:
    """A figure, and what it shows in words."""

    figure: Figure
    words: str

    def render(self, kind: str) -> bytes:
        """The picture as ``svg``, or as ``png`` with two dots a pixel; the same runs give the same bytes."""
        octets, still = io.BytesIO(), {"Date": None} if kind == "svg" else {"Software": None}
        with drawing():
            self.figure.savefig(octets, format=kind, dpi=2 * DPI, metadata=still)
        return octets.getvalue()


@contextmanager
def drawing() -> Iterator[None]:
    """Our style in place of the user's, and no word about letters that the font does not have."""
    from matplotlib import style

    with warnings.catch_warnings(), style.context(["default", _STYLE]):
        warnings.filterwarnings("ignore", message="Glyph")
        yield


def draw(found: Comparison) -> dict[str, Drawn]:
    """Every plot there is something to show in, by the name of its file.

    ``cost`` (``cost_1`` and so on where there are several tables) and ``curves``.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    need_matplotlib()
    drawn: dict[str, Drawn] = {}
    groups = _groups(found.trainings)
    named = [*(row.series for table in found.tables for row in table.rows), *groups]
    numbers = {name: n for n, name in enumerate(dict.fromkeys(named))}  # a row looks alike in every plot
    with drawing():
        for number, table in enumerate(found.tables, start=1):
            figure = _cost(table, numbers)
            if figure is not None:
                name = "cost" if len(found.tables) == 1 else f"cost_{number}"
                drawn[name] = Drawn(figure, f"what the figures cost on {_shown(table.kind or 'the videos')}")
        curves = _curves(groups, numbers)
        if curves is not None:
            drawn["curves"] = Drawn(curves, "learning curves on held-out videos, and training loss")
    return drawn


def _cost(table: Table, numbers: Mapping[str, int]) -> Figure | None:
    """Top-1, recall and patch hit against GMACs and against seconds; None where none is known."""
    series: dict[str, list[Row]] = {}
    for row in table.rows:
        series.setdefault(row.series, []).append(row)
    names = [n for n in FIGURES if any(row.figures[n].mean is not None for row in table.rows)]
    if not names:
        return None
    budgets = sorted({row.budget for row in table.rows})
    title = f"{_shown(table.kind or 'a dataset')}, {table.videos} videos"
    told = ", numbers: K" + (" at the ends of a line" if len(series) >= _CROWDED else "")
    title += told if len(budgets) > 1 else f", all at K = {budgets[0]}"
    if any(row.figures[n].std for row in table.rows for n in names):
        title += ", bars: ± standard deviation over seeds"
    figure, axes = _panels(len(names), {name: numbers[name] for name in series}, title)
    drawn: list[tuple[Axes, list[list[Point]]]] = []
    for y, name in enumerate(names):
        for x, cost in enumerate(COSTS):
            axis = axes[y][x]
            found = [_line(axis, numbers[line], rows, cost, name) for line, rows in series.items()]
            drawn.append((axis, found))
            axis.set_visible(any(found))
            _percents(axis, FIGURES[name] if x == 0 else "")
            _cost_scale(axis, [point[0] for line in found for point in line])
            axis.set_xlabel(COSTS[cost] if y == len(names) - 1 else "")
    if len(budgets) > 1:
        figure.draw_without_rendering()  # the layout is known only then
        for axis, lines in drawn:
            _number(axis, lines, [numbers[name] for name in series])
    return figure


def _panels(rows: int, names: Mapping[str, int], title: str) -> tuple[Figure, Any]:
    """A figure of ``rows`` x 2 panels below a legend (name -> number of its look), and axes (rows, 2)."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine
    from matplotlib.lines import Line2D

    labels = [f"\u200a{_shown(name)}" for name in names]  # one that begins with _ would be left out
    longest = max(map(len, labels))
    across = max(1, min(4, int((WIDTH - 0.3) / (0.6 + 0.085 * longest)), len(names)))
    panel = _PANEL if len(names) < _CROWDED else 1.3 * _PANEL
    height = _REST + rows * panel + math.ceil(len(names) / across) * _LINE
    layout = ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.06)
    figure = Figure(figsize=(WIDTH, height), dpi=DPI, layout=layout, facecolor="white")
    lines = [Line2D([], [], **_look(n), markersize=6) for n in names.values()]
    figure.legend(lines, labels, loc="outside upper center", ncols=across, title=title, title_fontsize=10)
    return figure, figure.subplots(rows, 2, squeeze=False)


def _look(n: int) -> dict[str, Any]:
    """Colour, marker and dashes of the n-th line: no two of the first seventy are alike."""
    dash = DASHES[n // len(COLOURS) % len(DASHES)]
    look = {"color": COLOURS[n % len(COLOURS)], "marker": MARKERS[n % len(MARKERS)], "linestyle": dash}
    return look | {"markeredgecolor": "white", "markeredgewidth": 0.5}


def _shown(name: str) -> str:
    return clean(name, _LONGEST)


def _line(axis: Axes, n: int, rows: Sequence[Row], cost: str, name: str) -> list[Point]:
    """Draws one row name over its values of K; its points."""
    found = [
        (x, 100 * y, row.budget, 100 * (row.figures[name].std or 0.0))
        for row in rows
        if (x := row.figures[cost].mean) is not None
        and (y := row.figures[name].mean) is not None
        and not (cost == "seconds" and row.cached)  # without decoding they would mislead
    ]
    if not found:
        return []
    xs, ys, _, bars = zip(*found, strict=True)
    look = _look(n)
    axis.plot(xs, ys, **look, markersize=7, linewidth=1.4, zorder=3)
    if any(bars):
        axis.errorbar(xs, ys, yerr=bars, fmt="none", ecolor=look["color"], capsize=3, elinewidth=1.2)
    return found


def _percents(axis: Axes, name: str) -> None:
    """Names the axis and gives it limits: all that is drawn, at least ``_FEWEST`` points."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axis.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}" if 0 <= value <= 100 else ""))
    low, high = axis.get_ylim()
    middle, half = (low + high) / 2, max(high - low, _FEWEST) / 2
    low, high = middle - half, middle + half
    if high > 101.5:
        low, high = min(low, 101.5 - _FEWEST), 101.5
    if low < -2:
        low, high = -2.0, max(high, _FEWEST - 2)
    axis.set_ylim(low, high)
    axis.set_ylabel(name)


def _cost_scale(axis: Axes, values: Sequence[float]) -> None:
    """A logarithmic axis where the values differ more than tenfold, with plain numbers at its ticks."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

    low, high = min(values, default=0.0), max(values, default=0.0)
    plain = FuncFormatter(lambda value, _: f"{value:.4g}")
    if low > 0 and high > 10 * low:
        axis.set_xscale("log")
        subs = (1.0, 2.0, 5.0) if high < 300 * low else (1.0,)
        axis.xaxis.set_major_locator(LogLocator(base=10, subs=subs, numticks=12))
        axis.xaxis.set_minor_formatter(NullFormatter())
        axis.margins(x=0.1)
    else:
        axis.set_xlim(0, high * 1.12 or 1.0)
        axis.xaxis.set_major_locator(MaxNLocator(6))
    axis.xaxis.set_major_formatter(plain)


def _number(axis: Axes, lines: Sequence[Sequence[Point]], looks: Sequence[int]) -> None:
    """Writes K beside the points, where it covers no other number and as little else as can be."""
    inside, taken = axis.get_window_extent(), list[Box]()
    ways = [_way(axis, line) for line in lines]
    for n, line in zip(looks, lines, strict=True):
        ends = (0, len(line) - 1) if len(lines) >= _CROWDED else range(len(line))
        for x, y, k, _ in (line[m] for m in sorted(set(ends)) if line):
            px, py = axis.transData.transform((x, y))
            best: tuple[float, Box] | None = None
            for dx, dy in _AROUND:
                wide = 6.0 * len(str(k))
                cx, cy = px + dx * (8 + wide / 2), py + dy * 11
                box = (cx - wide / 2, cy - 5, cx + wide / 2, cy + 5)
                within = (
                    inside.x0 < box[0] < box[2] < inside.x1 + 9 and inside.y0 < box[1] < box[3] < inside.y1
                )
                if not within or any(_meet(box, other) for other in taken):
                    continue
                covered = sum(_meet(box, (ox, oy, ox, oy)) for way in ways for ox, oy in way)
                if best is None or covered < best[0]:
                    best = (covered, box)
            if best is not None:
                taken.append(best[1])
                _write(axis, str(k), (px, py), best[1], COLOURS[n % len(COLOURS)])


def _way(axis: Axes, line: Sequence[Point]) -> list[tuple[float, float]]:
    """The pixels that a line, its markers and its bars go through, some four pixels apart."""
    pieces = [((a[0], a[1]), (b[0], b[1])) for a, b in itertools.pairwise(line)]
    pieces += [((x, y - bar), (x, y + bar)) for x, y, _, bar in line]
    found: list[tuple[float, float]] = []
    for ends in pieces:
        (x0, y0), (x1, y1) = axis.transData.transform(ends)
        steps = int(math.hypot(x1 - x0, y1 - y0) / 4) + 1
        found += [(x0 + (x1 - x0) * n / steps, y0 + (y1 - y0) * n / steps) for n in range(steps + 1)]
    return found


def _write(axis: Axes, words: str, at: tuple[float, float], box: Box, colour: str) -> None:
    """Words in a box beside a point, with a white rim so that they can be read on a line."""
    from matplotlib.patheffects import withStroke

    away = ((box[0] + box[2]) / 2 - at[0], (box[1] + box[3]) / 2 - at[1])
    told = axis.annotate(
        words,
        tuple(axis.transData.inverted().transform(at)),
        xytext=(away[0] * 72 / DPI, away[1] * 72 / DPI),
        textcoords="offset points",
        ha="center",
        va="center",
        fontsize=8,
        color=colour,
        path_effects=[withStroke(linewidth=2, foreground="white")],
        zorder=4,
    )
    told.set_in_layout(False)


def _meet(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _groups(trainings: Sequence[Training]) -> dict[str, list[Training]]:
    """The trainings with curves by what their line is called: seeds of one row, of one dataset, together."""
    known = [(one, str(one.settings.get("data"))[:8]) for one in trainings if one.curves]
    groups: dict[str, list[Training]] = {}
    for one, data in known:
        alone = len({other for each, other in known if each.name == one.name}) == 1
        groups.setdefault(one.name if alone else f"{one.name} (data {data})", []).append(one)
    return groups


def _curves(groups: Mapping[str, Sequence[Training]], numbers: Mapping[str, int]) -> Figure | None:
    """Held-out figures and loss against epochs and time; None where no training has any."""
    kinds = FIGURES | {"loss": "training loss, all terms"}
    every = [one for members in groups.values() for one in members]
    names = [name for name in kinds if any(name in one.curves for one in every)]
    if not names:
        return None
    title = "held-out videos of the training data"
    if len(every) > len(groups):
        title += "; thin: one seed, thick: mean over seeds"
    figure, axes = _panels(len(names), {name: numbers[name] for name in groups}, title)
    unit, length_s = _time_unit([t for one in every for c in one.curves.values() for t in c.seconds])
    for y, name in enumerate(names):
        for group, members in groups.items():
            found = [one.curves[name] for one in members if name in one.curves]
            for x, scale in enumerate((None, length_s)):
                _curve(axes[y][x], numbers[group], found, scale, 1 if name == "loss" else 100)
        for x, axis in enumerate(axes[y]):
            said = kinds[name] if x == 0 else ""
            axis.set_ylabel(said) if name == "loss" else _percents(axis, said)
            axis.set_xlim(left=0)
            last = y == len(names) - 1
            axis.set_xlabel(("epochs", f"{unit} of training")[x] if last else "")
    return figure


def _time_unit(seconds: Sequence[float]) -> tuple[str, float]:
    """The unit that suits the longest time, and its length in seconds."""
    longest = max(seconds, default=0.0)
    if longest <= 600:
        return "seconds", 1.0
    return ("minutes", 60.0) if longest <= 36_000 else ("hours", 3600.0)


def _curve(axis: Axes, n: int, curves: Sequence[Curve], length_s: float | None, times: int) -> None:
    """One row's curves: each seed thin, and their mean; against epochs, or against time in ``length_s``."""
    look = _look(n)
    if len(curves) > 1:
        for curve in curves:
            xs, ys = _axes(curve, length_s, times)
            axis.plot(xs, ys, color=look["color"], linewidth=0.8, alpha=0.4, zorder=2)
    if curves:
        xs, ys = _axes(mean_curve(curves), length_s, times)
        every = max(1, math.ceil(len(xs) / 10))
        axis.plot(xs, ys, **look, markersize=4, markevery=(n % every, every), linewidth=1.5, zorder=3)


def _axes(curve: Curve, length_s: float | None, times: int) -> tuple[list[float], list[float]]:
    xs = curve.epochs if length_s is None else [t / length_s for t in curve.seconds]
    return list(xs), [times * value for value in curve.values]


def mean_curve(curves: Sequence[Curve]) -> Curve:
    """The mean of several seeds' curves, in seconds too, at the epochs that all of them have."""
    if len(curves) == 1:
        return curves[0]
    tables = [
        {round(e, 6): (s, v) for e, s, v in zip(c.epochs, c.seconds, c.values, strict=True)} for c in curves
    ]
    shared = sorted(set.intersection(*map(set, tables)))
    means = [[sum(table[e][part] for table in tables) / len(tables) for e in shared] for part in (0, 1)]
    return type(curves[0])(tuple(shared), tuple(means[0]), tuple(means[1]))
