"""Tables and plots of docs/glanceworld.md and README.md, from the figures kept in docs/results.

    python benchmarks/glanceworld_page.py        writes both pages again

Nothing is typed by hand but the sentence on each piece (docs/results/said.json).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avglance.app.ablations import ROWS
from avglance.app.compare_table import long_time, macs, short_time

ROOT = Path(__file__).resolve().parents[1]
KEPT, PICTURES = ROOT / "docs" / "results", ROOT / "docs" / "img"
PAGE, README = ROOT / "docs" / "glanceworld.md", ROOT / "README.md"
SCRIPT = "benchmarks/glanceworld_page.py"
PIECES_EPOCHS = 5
"""Of the trainings of the pieces, in place of nine."""
SEEDED = ("choose_deaf", "aespa_off", "masked_off", "saliency_off", "policy_recurrent")
"""The pieces that are trained with three seeds."""
ASKED = (
    *SEEDED,
    "aespa_b",
    "aespa_c",
    "patch_random",
    "patch_centre",
    "saliency_s2",
    "teacher_other",
    "ordered_off",
    "ordered_o2",
    "random_branch_off",
    "drop_off",
    "aespa_a2",
)
"""The pieces that are trained first."""

Row = dict[str, Any]


@dataclass(frozen=True)
class Setting:
    """A world of a knob: what stands on the axis, the options that make it (none: the test world), videos."""

    label: str
    options: tuple[str, ...]
    videos: int = 60
    seconds: float = 24.0


def _share(low: float, high: float) -> Setting:
    words = ("--share", str(low), str(high), "--decoys", "0")
    return Setting(f"{100 * low:.0f}-{100 * high:.0f} %", words)


def _decoys(count: int) -> Setting:
    return Setting(str(count), ("--share", "0.07", "0.09", "--decoys", str(count)))


def _object(low: int, high: int) -> Setting:
    return Setting(f"{low}-{high} px", ("--object", str(low), str(high)))


def _length(low: float, high: float, videos: int) -> Setting:
    return Setting(f"{low:.0f}-{high:.0f} s", ("--seconds", str(low), str(high)), videos, (low + high) / 2)


KNOBS: dict[str, tuple[Setting, ...]] = {
    "share": tuple(
        _share(*ends) for ends in ((0.03, 0.05), (0.08, 0.12), (0.2, 0.25), (0.4, 0.5), (0.8, 0.9))
    ),
    "decoys": tuple(_decoys(count) for count in (0, 1, 2, 4)),
    "background": (
        Setting("+0 dB", ()),
        *(Setting(f"+{db} dB", ("--background", str(db))) for db in (6, 12, 18)),
    ),
    "object": (_object(28, 36), _object(40, 48), Setting("56-72 px", ()), _object(88, 100)),
    "length": (
        Setting("16-32 s", ()),
        _length(50, 70, 60),
        _length(170, 190, 30),
        _length(540, 600, 16),
    ),
}
KNOB_NAMES = {
    "share": "share of the event, no decoys",
    "decoys": "pairs of decoys, event 7 to 9 %",
    "background": "background louder by",
    "object": "side of the object (trained: 56-72 px)",
    "length": "length of the video",
}
LINES = {
    "k4": "K=4, chosen",
    "k4_uniform": "K=4, evenly spaced",
    "k4_tell_moments": "K=4, true moments",
    "k16": "K=16, all",
}


# ---- keeping ----


def keep_comparison(name: str, runs: Path, baseline: str) -> None:
    """Keeps what ``avglance compare RUNS --baseline NAME --json`` says, without this machine's folders."""
    from avglance.evaluation.compare import compare, plain

    found = compare([str(runs)], baseline=baseline)
    kept = plain(found)
    for row in kept["tables"][0]["rows"]:
        for member in row["trainings"]:
            member["file"] = f"runs/{Path(member['file']).relative_to(runs.parent)}"
    kept["not_evaluated"] = []  # says where a run stood at the moment, which is no figure
    _write(name, kept)
    if name == "main":
        _keep_plots(found)


def _keep_plots(found: Any) -> None:
    """What AVGN and TSN cost and how they learned: the other rows would hide each other."""
    from dataclasses import replace

    from avglance.app.plots import draw

    drawn = ("avgn", "tsn", "tsn_long")
    table = found.tables[0]
    rows = tuple(row for row in table.rows if row.name in drawn and row.control == "none")
    trainings = tuple(one for one in found.trainings if one.name in drawn and one.finished)
    shown = replace(
        found, tables=(replace(table, rows=rows, baseline=None),), trainings=trainings, waiting=()
    )
    for kind, picture in draw(shown).items():
        (PICTURES / f"glanceworld_{kind}.png").write_bytes(picture.render("png"))


def keep_knobs(folder: Path) -> None:
    """Keeps top-1 with its interval, recall, patch hit and multiply-adds of every knob's worlds."""
    kept: dict[str, list[dict[str, Any]]] = {}
    for knob, settings in KNOBS.items():
        for number, setting in enumerate(settings):
            lines = {}
            for line in LINES:
                found = json.loads((folder / knob / str(number) / f"{line}.json").read_text())
                names = ("top1", "top1_interval", "moment_recall", "patch_hit", "videos")
                lines[line] = {key: found[key] for key in names} | {"gmacs": found["gmacs"]["total"]}
            kept.setdefault(knob, []).append({"label": setting.label, "lines": lines})
    _write("knobs", kept)
    (PICTURES / "glanceworld_knobs.png").write_bytes(_draw_knobs(kept))


def _write(name: str, value: Any) -> None:
    KEPT.mkdir(parents=True, exist_ok=True)
    text = json.dumps(value, indent=1, allow_nan=False)
    (KEPT / f"{name}.json").write_text(text + "\n", encoding="utf-8")


def _draw_knobs(kept: dict[str, list[dict[str, Any]]]) -> bytes:
    import io

    from matplotlib.figure import Figure

    from avglance.app.plots import DPI, WIDTH

    figure = Figure(figsize=(WIDTH, 7.5), dpi=DPI, layout="constrained")
    axes = figure.subplots(3, 2, sharey=True).ravel()
    for axis, (knob, worlds) in zip(axes, kept.items(), strict=False):
        for number in range(len(LINES)):
            _draw_line(axis, worlds, number)
        axis.set_xticks(range(len(worlds)), [world["label"] for world in worlds])
        axis.set_xlabel(KNOB_NAMES[knob])
        axis.set_ylim(0, 102)
        axis.grid(color="#dddddd", linewidth=0.7)
        axis.set_axisbelow(True)
    for axis in axes[::2]:
        axis.set_ylabel("top-1, %")
    axes[-1].axis("off")
    handles, words = axes[0].get_legend_handles_labels()
    axes[-1].legend(handles, words, loc="center", frameon=False)
    out = io.BytesIO()
    figure.savefig(out, format="png")
    return out.getvalue()


def _draw_line(axis: Any, worlds: list[dict[str, Any]], number: int) -> None:
    """One line of a knob: top-1 in each of its worlds, with its interval."""
    from avglance.app.plots import COLOURS, MARKERS

    line, words = list(LINES.items())[number]
    values = [100 * world["lines"][line]["top1"] for world in worlds]
    low, high = zip(*(world["lines"][line]["top1_interval"] for world in worlds), strict=True)
    spread = [
        [max(0.0, v - 100 * a) for v, a in zip(values, low, strict=True)],
        [max(0.0, 100 * b - v) for v, b in zip(values, high, strict=True)],
    ]
    place = [x + 0.06 * (number - 1.5) for x in range(len(worlds))]
    colour, marker = COLOURS[number], MARKERS[number]
    axis.errorbar(place, values, spread, label=words, color=colour, marker=marker, lw=1.3, elinewidth=0.8)


# ---- tables ----


@dataclass(frozen=True)
class Table:
    """Which rows of a kept comparison stand in a table, with which columns."""

    kept: str
    wanted: Callable[[Row], bool]
    columns: tuple[str, ...]


def _of(*rows: tuple[str, int]) -> Callable[[Row], bool]:
    return lambda row: (row["name"], row["budget"]) in rows and row["control"] == "none" and _cached(row)


def _cached(row: Row) -> bool:
    return bool(row["cached"])


CONTROL_WORDS = {
    "none": "",
    "swap_sound": "with the sound of another class's video",
    "mute": "muted at test",
    "uniform": "looking at evenly spaced moments",
    "true_moments": "told the true moments",
    "true_patches": "told the true places",
    "true_both": "told both",
}
USUAL = ("row", "seeds", "K of T", "top-1", "recall", "patch", "GMACs")
TABLES = {
    "main": Table(
        "main",
        _of(("avgn", 4), ("tsn", 4), ("tsn", 16), ("tsn_long", 16)),
        (*USUAL, "difference", "training"),
    ),
    "files": Table("main", lambda row: not _cached(row), (*USUAL, "time", "decode")),
    "budgets": Table("main", _of(*(("avgn", k) for k in (1, 2, 4, 8, 12, 16))), (*USUAL, "IoU")),
    "controls": Table(
        "controls",
        lambda row: (
            _cached(row)
            and (
                (row["name"] == "avgn" and row["budget"] == 4)
                or (row["name"] in ("deaf", "blind", "glance") and row["budget"] == 4)
                or (row["name"] == "tsn_deaf" and row["budget"] == 16)
            )
        ),
        ("row", "at test", *USUAL[1:], "difference"),
    ),
    "pieces": Table(
        "pieces",
        lambda row: True,
        ("row", "at test", "seeds", "top-1", "recall", "patch", "GMACs", "difference", "training", "verdict"),
    ),
    "pointer": Table("pointer", lambda row: True, (*USUAL, "difference")),
    "rivals": Table("rivals", lambda row: True, (*USUAL, "difference")),
    "readme": Table(
        "main", _of(("avgn", 4), ("tsn", 4), ("tsn", 16), ("tsn_long", 16)), (*USUAL, "difference")
    ),
}


def _mean(row: Row, name: str) -> float | None:
    value: float | None = row[name]["mean"]
    return value


def _percent(row: Row, name: str) -> str:
    value = _mean(row, name)
    return "-" if value is None else f"{100 * value:.1f}"


def _top1(row: Row) -> str:
    std = row["top1"]["std"]
    return _percent(row, "top1") + ("" if std is None else f" ± {100 * std:.1f}")


def _words(row: Row, said: dict[str, str]) -> str:
    known = ROWS.get(row["name"])
    what = known.what if known is not None else said.get(f"row {row['name']}", "")
    return f"`{row['name']}`: {what}" if what else f"`{row['name']}`"


def _difference(row: Row) -> str:
    found = row["difference"]
    if found is None:
        return "-"
    return "{:+.1f} ({:+.1f} to {:+.1f})".format(*(100 * found[key] for key in ("value", "low", "high")))


def _cell(column: str, row: Row, said: dict[str, str]) -> str:
    cells: dict[str, Callable[[], str]] = {
        "row": lambda: _words(row, said),
        "at test": lambda: CONTROL_WORDS[row["control"]],
        "seeds": lambda: str(len(row["trainings"])),
        "K of T": lambda: f"{row['budget']} of {row['snippets']}",
        "top-1": lambda: _top1(row),
        "recall": lambda: _percent(row, "moment_recall"),
        "patch": lambda: _percent(row, "patch_hit"),
        "IoU": lambda: _percent(row, "span_iou"),
        "GMACs": lambda: macs(_mean(row, "gmacs") or 0.0),
        "time": lambda: short_time(_mean(row, "seconds") or 0.0),
        "decode": lambda: short_time(row["seconds_by_stage"].get("decode", 0.0)),
        "training": lambda: long_time(_mean(row, "training_s") or 0.0),
        "difference": lambda: _difference(row),
        "verdict": lambda: said.get(row["name"], "") if row["control"] == "none" else "",
    }
    return cells[column]()


def table(name: str, kept: dict[str, Any], said: dict[str, str]) -> str:
    """A table of a kept comparison as Markdown, with the videos it is over."""
    asked = TABLES[name]
    found = kept["tables"][0]
    heads = {"top-1": "top-1, %", "recall": "moment recall, %", "patch": "patch hit, %", "IoU": "span IoU, %"}
    named = str(found["baseline"]).replace(" (cached)", "")
    base = f"minus `{named}`, points (95 %)" if found["baseline"] else "difference"
    titles = [heads.get(c, base if c == "difference" else "" if c == "verdict" else c) for c in asked.columns]
    rows = [row for row in found["rows"] if asked.wanted(row)]
    lines = [titles, ["---"] * len(titles)]
    lines += [[_cell(column, row, said) for column in asked.columns] for row in rows]
    text = "\n".join("| " + " | ".join(cells) + " |" for cells in lines)
    return f"{found['data']['videos']} videos.\n\n{text}"


def knob_tables(kept: dict[str, list[dict[str, Any]]]) -> str:
    """The worlds of all knobs as one Markdown table."""
    head = [
        "knob",
        "at",
        "videos",
        *(f"{words}: top-1, %" for words in LINES.values()),
        "recall, %",
        "patch hit, %",
    ]
    lines = [head, ["---"] * len(head)]
    for knob, worlds in kept.items():
        for world in worlds:
            first = world["lines"]["k4"]
            cells = [KNOB_NAMES[knob], world["label"], str(first["videos"])]
            cells += [f"{100 * world['lines'][line]['top1']:.1f}" for line in LINES]
            cells += [f"{100 * (first[name] or 0):.1f}" for name in ("moment_recall", "patch_hit")]
            lines.append(cells)
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


# ---- pages ----


def tables() -> dict[str, str]:
    """Every table whose figures are kept, by name."""
    file = KEPT / "said.json"
    said = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    made: dict[str, str] = {}
    for name, asked in TABLES.items():
        kept = KEPT / f"{asked.kept}.json"
        if kept.exists():
            made[name] = table(name, json.loads(kept.read_text(encoding="utf-8")), said)
    if (KEPT / "knobs.json").exists():
        made["knobs"] = knob_tables(json.loads((KEPT / "knobs.json").read_text(encoding="utf-8")))
    return made


def write_pages() -> None:
    """Puts every table that has its figures between its marks."""
    made = tables()
    for page in (PAGE, README):
        page.write_text(filled(page.read_text(encoding="utf-8"), made.items()), encoding="utf-8")


def filled(text: str, made: Iterable[tuple[str, str]], *, script: str = SCRIPT) -> str:
    """The page with each table between ``<!-- table NAME ... -->`` and ``<!-- end NAME -->``."""
    for name, words in made:
        begin, end = f"<!-- table {name}, made by {script} -->", f"<!-- end {name} -->"
        if begin in text:
            before, rest = text.split(begin)
            text = f"{before}{begin}\n{words}\n{end}{rest.split(end)[1]}"
    return text


if __name__ == "__main__":
    write_pages()
