"""Tables of docs/results.md, docs/reproduce.md and docs/export.md, from the figures kept in docs/results.

    python benchmarks/results_page.py        writes the pages again

Nothing is typed by hand but what others published (docs/results/published.json); ``results_rows`` says what
is kept of ours.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from glanceworld_page import filled
from results_asked import asked
from results_others import WEIGHTS, glanceworld, kept_files, missing, published, ran, speed, started
from results_rows import (
    AVGN,
    FIXED,
    KEPT,
    LINES,
    NOT_YET,
    ROOT,
    TSN,
    Line,
    Part,
    Row,
    gmacs,
    kept,
    looks,
    markdown,
    minus,
    points,
    right,
    spread,
    way,
)

from avglance.app.compare_table import long_time, macs

PAGES = tuple(ROOT / "docs" / name for name in ("results.md", "reproduce.md", "export.md"))
SCRIPT = "benchmarks/results_page.py"
RUN = "python benchmarks/ucf.py {part} --clips CLIPS.csv"
COLUMNS: dict[str, tuple[str, ...]] = {
    "whole": ("row", "K of T", "each seed", "mean", "GMACs", "share", "avgn minus", "training"),
    "plain": ("row", "K of T", "each seed", "mean", "recall", "GMACs", "avgn minus"),
    "half": ("row", "K of T", "each seed", "mean", "recall", "GMACs", "avgn minus"),
    "exits": ("row", "looks", "each seed", "mean", "GMACs", "share", "minus fixed"),
    "own": ("row", "K of T", "right", "mean", "GMACs"),
}
HEADS = {"each seed": "top-1 of each seed, %", "mean": "top-1, %", "recall": "moment recall, %"}
HEADS |= {"share": "of the GMACs above or below", "minus fixed": "minus fixed, points (95 %)"}
HEADS |= {"avgn minus": "AVGN minus this, points (95 %)", "training": "a training", "right": "right"}


def _cell(column: str, line: Line, row: Row, part: Part, name: str) -> str:
    base = {"whole": TSN, "exits": FIXED}.get(name, AVGN).of(part)
    cells: dict[str, Callable[[], str]] = {
        "row": lambda: line.words,
        "K of T": lambda: f"{row['budget']} of {row['snippets']}",
        "each seed": lambda: " / ".join(f"{100 * value:.1f}" for value in row["top1"]["values"]),
        "mean": lambda: spread(row),
        "recall": lambda: _share(row["moment_recall"]["mean"]),
        "GMACs": lambda: macs(gmacs(row)),
        "share": lambda: _share(gmacs(row) / gmacs(base)) + " %" if base else "-",
        "avgn minus": lambda: "-" if line is AVGN else points(minus(part, AVGN, line)),
        "minus fixed": lambda: "-" if line is FIXED else points(minus(part, line, FIXED)),
        "training": lambda: long_time(row["training_s"]["mean"]) if row["training_s"]["mean"] else "-",
        "looks": lambda: looks(row),
        "right": lambda: f"{right(row, part)} of {part['tables'][0]['data']['videos']}",
    }
    return cells[column]()


def _share(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"


def fill(part: str) -> str:
    """The command that makes the figures of a part."""
    return RUN.format(part=part) + (f" {WEIGHTS}" if part != "own" else "")


def compared(name: str, part: Part | None) -> str:
    """A table whose rows are of one comparison, with the commands of each; or what would make it."""
    if part is None:
        head = ["row", "figures", "command"]
        return markdown([head, *([line.words, NOT_YET, f"`{fill(name)}`"] for line in LINES[name])])
    columns = COLUMNS[name]
    rows, commands = [[*(HEADS.get(column, column) for column in columns), "command"]], list[list[str]]()
    for line in LINES[name]:
        row = line.of(part)
        if row is None:
            rows.append([line.words, NOT_YET, *["-"] * (len(columns) - 2), f"`{fill(name)}`"])
            continue
        commands.append(row["trainings"][0]["commands"])
        cells = [_cell(column, line, row, part, name) for column in columns]
        rows.append([*cells, str(len(commands))])
    return (
        f"{_over(part)}\n\n{markdown(rows)}\n\n{listed(commands)}{_way_told(part) if name != 'exits' else ''}"
    )


def _over(part: Part) -> str:
    """What a table is of."""
    found = part["tables"][0]
    groups = max((row["difference"] or {}).get("groups", 0) for row in found["rows"])
    over = f"the {groups} source groups that they are from" if groups else "videos"
    most = max(len(row["trainings"]) for row in found["rows"])
    seeds = "1 seed" if most == 1 else f"up to {most} seeds"
    notes = "".join(f"\n- {note}" for note in (*found["notes"], *part["notes"]))
    return (
        f"{found['data']['videos']} test videos, {seeds}; intervals over {over}. "
        f"On {part['machine']}.{notes and chr(10) + notes}"
    )


def _way_told(part: Part) -> str:
    found = way(part)
    return "" if found is None else f"\n\nOf the way to the ceiling choosing covers {100 * found:.0f} %."


def listed(commands: Sequence[Sequence[str]]) -> str:
    """The commands of the rows; a training that stands in an earlier row is not said again."""
    seen: dict[str, int] = {}
    lines = ["Commands of the first seed (the others: `--seed`, and the run folder of that seed):", ""]
    for number, (train, *others) in enumerate(commands, start=1):
        known = seen.setdefault(train, number)
        model = f"`{train}`" if known == number else f"the model of {known}"
        lines.append(f"{number}. {'; '.join((model, *(f'`{words}`' for words in others)))}")
    return "\n".join(lines)


def calibrated(part: Part | None) -> str:
    """Calibration error before and after, and what is called unknown."""
    if part is None:
        made = f"`{fill('calibration')}`"
        return markdown([["row", "figures", "command"], ["each seed", NOT_YET, made]])
    head = ["seed", "test videos", "calibration error before, %", "after, %"]
    head += [
        "videos of background alone",
        "of these called unknown, %",
        "right answers lost to it, %",
        "command",
    ]
    rows = [head]
    for number, row in enumerate(part["rows"], start=1):
        shares = [_share(row[key]) for key in ("before", "after", "recognised", "right_lost")]
        cells = [str(row["seed"]), str(row["videos"]), *shares[:2], str(row["strangers"]), *shares[2:]]
        rows.append([*cells, str(number)])
    commands = listed([row["commands"] for row in part["rows"]])
    return f"On {part['machine']}.\n\n{markdown(rows)}\n\n{commands}"


def own(part: Part | None) -> str:
    """What one command makes of a folder of one's own."""
    text = compared("own", part)
    if part is None:
        return text
    told = f"{part['classes']} classes, {part['clips']} clips: {part['wall_s'] / 60:.1f} minutes from the "
    return f"{told}folder to the model and its report.\n\n{text}"


def tables(folder: Path = KEPT) -> dict[str, str]:
    """Every table of the pages, by name."""
    parts = kept(folder)
    made = {name: compared(name, parts.get(name)) for name in ("whole", "plain", "half", "exits")}
    made |= {"calibration": calibrated(parts.get("calibration")), "own": own(parts.get("own"))}
    made |= {"asked": asked(parts), "missing": missing()}
    made["files"] = kept_files(folder)
    for name, table in (("startup", started), ("runtimes", ran)):
        file = folder / f"{name}.json"
        made[name] = table(json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None)
    made["glanceworld"] = glanceworld(json.loads((folder / "main.json").read_text(encoding="utf-8")))
    others = json.loads((folder / "published.json").read_text(encoding="utf-8"))
    made |= {f"published_{one['name']}": published(one, others["sources"]) for one in others["tables"]}
    return made | {"published_speed": speed(others["speed"], others["sources"])}


def write_pages() -> None:
    """Puts every table between its marks."""
    made = tables()
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        page.write_text(filled(text, made.items(), script=SCRIPT), encoding="utf-8")


if __name__ == "__main__":
    write_pages()
