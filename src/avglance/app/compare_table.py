"""How a comparison looks: a table for a terminal, and the same as Markdown."""

from __future__ import annotations

import re
import textwrap
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from avglance.app.render import Ink, clean, duration, stage_names

if TYPE_CHECKING:
    from avglance.evaluation.compare import Comparison, Row, Table
    from avglance.evaluation.trainings import Training

COLUMNS = 110  # of a table that goes into a file or a pipe
NARROWEST, WIDEST = 12, 44  # of a column of words
_PAGE = (
    "Figures are means over the training seeds, the spread is the standard deviation of top-1 over them (- "
    "where there is only one). GMACs are 1e9 multiply-adds."
)
_LEGEND = (
    "top-1, recall (moment recall), patch (patch hit) and IoU (of spans) in %, GMACs and time a video, train "
    "(time of a training): means over n trainings, one a seed. ±: standard deviation of top-1 over the "
    "trainings, - where there is only one."
)
_DIFFERENCE = (
    "minus baseline: top-1 minus that of {name}, in points, and its 95 % interval over {drawn} (each video's "
    "hits averaged over the trainings, paired by video, bootstrap). It tells what other videos might give; "
    "what other seeds might give, ± tells."
)
_CACHED = "cached: evaluated from a training cache in place of the files; the time leaves decoding out."
_CONTROLS = "control: swapped = with the sound of another class's video, muted = without sound."


@dataclass(frozen=True)
class Column:
    """One column: its name on a terminal and in a page, what stands in it, and whether that is words."""

    short: str
    long: str
    cell: Callable[[Row], str]
    words: bool = False


def columns(table: Table) -> list[Column]:
    """The columns that a table needs; without a control, or mAP that leads, there is none for it."""
    base = table.baseline
    found = [
        Column("row", "row", lambda row: named(row.name), words=True),
        Column("n", "seeds", lambda row: str(len(row.members))),
        Column("K/T", "K of T", lambda row: f"{row.budget}/{row.snippets}"),
        Column("control", "control", lambda row: named(row.condition or "-"), words=True),
        Column("mAP", "mAP, %", _percent("map")),
        Column("top-1", "top-1, %", _percent("top1")),
        Column("±", "spread over seeds", _deviation),
        Column("recall", "moment recall, %", _percent("moment_recall")),
        Column("patch", "patch hit, %", _percent("patch_hit")),
        Column("IoU", "span IoU, %", _percent("span_iou")),
        Column("GMACs", "GMACs a video", lambda row: _spent(row, "gmacs", macs)),
        Column("time", "time a video", lambda row: _spent(row, "seconds", short_time)),
        Column("train", "training", lambda row: _spent(row, "training_s", long_time)),
        Column(
            "minus baseline",
            f"top-1 minus baseline, 95 % interval over {drawn(table)}",
            lambda row: "baseline" if base is not None and row is table.rows[base] else _difference(row),
        ),
    ]
    needless = {"control"} if not any(row.condition for row in table.rows) else set()
    if all(row.figures["map"].mean is None for row in table.rows):
        needless.add("mAP")
    return [c for c in found if c.short not in needless]


def named(name: str) -> str:
    """A name from a file as it is shown; a question mark where nothing of it can be."""
    return clean(name, 72).strip() or "?"


def _percent(name: str) -> Callable[[Row], str]:
    def cell(row: Row) -> str:
        mean = row.figures[name].mean
        return "-" if mean is None else f"{100 * mean:.1f}"

    return cell


def _deviation(row: Row) -> str:
    std = row.figures["top1"].std
    return "-" if std is None else f"±{100 * std:.1f}"


def _spent(row: Row, name: str, show: Callable[[float], str]) -> str:
    mean = row.figures[name].mean
    return "-" if mean is None else show(mean)


def _difference(row: Row) -> str:
    if row.difference is None:
        return "-"
    value, low, high = (f"{round(100 * v, 1) + 0.0:+.1f}" for v in row.difference)
    return f"{value} [{low}, {high}]"


def macs(value: float) -> str:
    """GMACs with three digits, so that a column can be read downwards.

    >>> macs(0.51), macs(4.0894), macs(1234.0), macs(0.0001)
    ('0.510', '4.09', '1234', '<0.001')
    """
    if value < 0.001:
        return "<0.001" if value > 0 else "0"
    return f"{value:.0f}" if value >= 100 else f"{value:#.3g}"


def short_time(seconds: float) -> str:
    """A time that a video took.

    >>> short_time(0.0001), short_time(0.34)
    ('<1 ms', '0.34 s')
    """
    return duration(seconds) if seconds >= 0.0005 else "<1 ms"


def long_time(seconds: float) -> str:
    """The time of a training, short.

    >>> long_time(42.4), long_time(1689), long_time(9000)
    ('42 s', '28 min', '2.5 h')
    """
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5970 else f"{seconds / 3600:.1f} h"


def text(found: Comparison, ink: Ink, *, stages: bool = False, width: int = COLUMNS) -> str:
    """Everything for a person at a terminal."""
    blocks = []
    for table in found.tables:
        lines = [ink(heading(table), "bold"), *_grid(columns(table), table, ink, width), ""]
        if stages:
            lines += _stage_lines(table, ink, width)
        blocks.append([*lines, *_wrapped(foot(table), width), *_marked(table.notes, ink, width)])
    if found.waiting:
        blocks.append([ink("not evaluated yet", "bold"), *_wrapped(map(waiting, found.waiting), width, "  ")])
    if found.notes:
        blocks.append(_marked(found.notes, ink, width))
    return "\n\n".join("\n".join(lines).rstrip() for lines in blocks)


def heading(table: Table) -> str:
    """What was evaluated on."""
    rows = f"{len(table.rows)} row{'s' * (len(table.rows) != 1)}"
    kind = named(table.kind or "a dataset") + (f" ({named(table.split)})" if table.split else "")
    videos = f"{table.videos} of {table.listed}" if table.listed else f"{table.videos}"
    return f"{kind}, {videos} videos ({clean(table.sha256[:8])}): {rows}"


def drawn(table: Table) -> str:
    """What the intervals of a table are over."""
    groups = max((row.groups for row in table.rows), default=0)
    return f"the {groups} source groups of the videos" if groups else "videos"


def foot(table: Table) -> list[str]:
    """What the columns mean."""
    lines = [_LEGEND]
    if table.baseline is not None and len(table.rows) > 1:
        name = named(table.rows[table.baseline].label)
        lines.append(_DIFFERENCE.format(name=name, drawn=drawn(table)))
    if any(row.control in ("swap_sound", "mute") for row in table.rows):
        lines.append(_CONTROLS)
    if any(row.cached for row in table.rows):
        lines.append(_CACHED)
    return lines


def waiting(training: Training) -> str:
    """A run without an evaluation, with its last held-out figures."""
    seed = "" if training.seed is None else f" seed {training.seed}"
    of = "" if training.epochs is None else f" of {training.epochs}"
    figures = [f"{name.replace('_', ' ')} {100 * v:.1f}" for name, v in training.held_out.items()]
    told = f"held out: {', '.join(figures).replace('top1', 'top-1')}" if figures else "no held-out figures"
    return f"{named(training.name)}{seed}: after {training.epochs_done:.3g}{of} epochs, {told}"


def _wrapped(lines: Sequence[str] | map[str], width: int, first: str = "") -> list[str]:
    found: list[str] = []
    for line in lines:
        found += textwrap.wrap(line, width, initial_indent=first, subsequent_indent=first + "  ")
    return found


def _marked(notes: Sequence[str], ink: Ink, width: int) -> list[str]:
    return [ink(line, "yellow") for line in _wrapped([f"! {clean(note, 2000)}" for note in notes], width)]


def _grid(shown: Sequence[Column], table: Table, ink: Ink, width: int) -> list[str]:
    """Heads and rows; words that are too long go on in the next line."""
    cells = [[column.cell(row) for column in shown] for row in table.rows]
    widths = [max(display(c), *(display(line[n]) for line in cells)) for n, c in enumerate(_shorts(shown))]
    words = [n for n, column in enumerate(shown) if column.words]
    gap = "  " if sum(widths) + 2 * (len(widths) - 1) <= width else " "
    fixed = sum(w for n, w in enumerate(widths) if n not in words) + len(gap) * (len(widths) - 1)
    for n in reversed(words):  # the name gets what the others leave
        others = sum(min(widths[m], NARROWEST) for m in words if m < n)
        taken = sum(widths[m] for m in words if m > n)
        widths[n] = min(widths[n], max(width - fixed - others - taken, NARROWEST), WIDEST)
    lines = [ink(_line(_shorts(shown), shown, widths, gap), "cyan")]
    for row, line in zip(table.rows, cells, strict=True):
        parts = [broken(c, widths[n]) if shown[n].words else [c] for n, c in enumerate(line)]
        for level in range(max(map(len, parts))):
            below = [part[level] if level < len(part) else "" for part in parts]
            lines.append(_tinted(_line(below, shown, widths, gap), row, below[-1], ink))
    return lines


def _shorts(shown: Sequence[Column]) -> list[str]:
    return [column.short for column in shown]


def _line(cells: Sequence[str], shown: Sequence[Column], widths: Sequence[int], gap: str) -> str:
    padded = []
    for cell, column, width in zip(cells, shown, widths, strict=True):
        room = " " * (width - display(cell))
        padded.append(cell + room if column.words else room + cell)
    return gap.join(padded).rstrip()


def _tinted(line: str, row: Row, last: str, ink: Ink) -> str:
    """A difference whose interval does not hold 0 in green or red: its signs say the same."""
    if row.difference is None or not last or row.difference.low <= 0 <= row.difference.high:
        return line
    return line.removesuffix(last) + ink(last, "green" if row.difference.low > 0 else "red")


def display(words: str) -> int:
    """How many columns of a terminal the words take: some characters take two, some none."""
    wide = sum(unicodedata.east_asian_width(char) in "WF" for char in words)
    return len(words) + wide - sum(unicodedata.category(char) in ("Mn", "Me", "Cf") for char in words)


def broken(words: str, width: int) -> list[str]:
    """The words in pieces of at most ``width`` columns, cut behind a mark where there is one.

    >>> broken("avgn_nano.glanceworld", 12)
    ['avgn_nano.', 'glanceworld']
    """
    pieces, rest = [], words
    while display(rest) > width:
        end = next(n for n in range(min(width, len(rest)), -1, -1) if n <= 1 or display(rest[:n]) <= width)
        mark = max((m.end() for m in re.finditer(r"[\s._/-]", rest[:end])), default=0)
        end = mark if mark > end // 3 else end
        pieces.append(rest[:end].rstrip())
        rest = rest[end:].lstrip()
    return [*pieces, rest]


def _stage_lines(table: Table, ink: Ink, width: int) -> list[str]:
    lines: list[str] = []
    for title, of, show in _stage_tables():
        stages = _stages(table, of)
        shown = [Column("row", "row", lambda row: named(row.label), words=True)]
        shown += [Column(clean(s, 12), s, _stage_cell(of, s, show)) for s in stages]
        lines += [ink(title, "bold"), *_grid(shown, table, ink, width), ""]
    return lines


def _stage_tables() -> list[tuple[str, Callable[[Row], Mapping[str, float]], Callable[[float], str]]]:
    return [
        ("GMACs a video by stage", lambda row: row.gmacs, macs),
        ("time a video by stage", lambda row: row.seconds, short_time),
    ]


def _stages(table: Table, of: Callable[[Row], Mapping[str, float]]) -> list[str]:
    names = stage_names({stage: 0 for row in table.rows for stage in of(row)})
    return [name for name in names if name != "total"] + ["total"]


def _stage_cell(
    of: Callable[[Row], Mapping[str, float]], stage: str, show: Callable[[float], str]
) -> Callable[[Row], str]:
    return lambda row: show(of(row)[stage]) if of(row).get(stage) else "-"


def markdown(found: Comparison, *, stages: bool = False, pictures: Sequence[tuple[str, str]] = ()) -> str:
    """The same as Markdown, for a page.

    Args:
        found: what is shown.
        stages: with GMACs and time by stage.
        pictures: (words, file) of pictures to show below.
    """
    blocks: list[list[str]] = []
    for table in found.tables:
        blocks += [[f"**{escaped(heading(table))}**"], _pipes(columns(table), table)]
        for title, of, show in _stage_tables() if stages else ():
            shown = [Column("row", "row", lambda row: named(row.label), words=True)]
            shown += [Column(s, clean(s, 40), _stage_cell(of, s, show)) for s in _stages(table, of)]
            blocks += [[f"{title}:"], _pipes(shown, table)]
        blocks += [[escaped(line)] for line in [_PAGE, *foot(table)[1:]]]
        blocks.append([f"- {escaped(clean(note, 2000))}" for note in table.notes])
    if found.waiting:
        blocks += [["Not evaluated yet:"], [f"- {escaped(waiting(one))}" for one in found.waiting]]
    blocks.append([f"- {escaped(clean(note, 2000))}" for note in found.notes])
    blocks += [[f"![{escaped(words)}]({file})"] for words, file in pictures]
    return "\n\n".join("\n".join(lines) for lines in blocks if lines) + "\n"


def _pipes(shown: Sequence[Column], table: Table) -> list[str]:
    rows = [[escaped(column.long) for column in shown], ["---" if c.words else "---:" for c in shown]]
    for row in table.rows:
        cells = [(column.words, column.cell(row)) for column in shown]
        rows.append([escaped(cell) if words else cell for words, cell in cells])
    return [f"| {' | '.join(cells)} |" for cells in rows]


def escaped(words: str) -> str:
    """Words that Markdown shows as they are.

    >>> escaped("a|b <i> *c* avgn_nano")
    'a&#124;b &#60;i&#62; &#42;c&#42; avgn_nano'
    """
    marks = re.sub(r"[&<>|`*\[\]\\~#$]|(?<!\w)_|_(?!\w)|(?<=:)//", lambda m: _entity(m[0]), words)
    return re.sub(r"\bwww\.", "www&#46;", marks)


def _entity(mark: str) -> str:
    return "".join(f"&#{ord(char)};" for char in mark)
