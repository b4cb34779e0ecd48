"""Tables and pictures of docs/performance.md, from the figures kept in docs/results/performance.json.

    python benchmarks/performance_page.py        writes the page again

Nothing is typed by hand but what was tried and dropped.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

from glanceworld_page import filled
from performance_answers import KINDS
from results_rows import markdown

from avglance.app.bench_plot import draw
from avglance.app.bench_table import spread, times
from avglance.app.render import duration

ROOT = Path(__file__).resolve().parents[1]
PAGE, KEPT = ROOT / "docs" / "performance.md", ROOT / "docs" / "results" / "performance.json"
IMAGES, SCRIPT = ROOT / "docs" / "img", "benchmarks/performance_page.py"
Part = dict[str, Any]
WANTED = (  # what is asked for: rival, at least so many times ours, in words
    ("tsn_all", 20.0, "at least 20"),
    ("tsn_seek", 4.0, "at least 4"),
    ("mvit", 20.0, "at least 20"),
    ("mvit_clip", 1.0, "above 1"),
    ("r2plus1d_clip", 1.0, "above 1"),
)
WORK = ("seconds of the processor", "times ours (quartiles)")
DRAWN = {
    "race": "seconds from the file to the answer",
    "length": "seconds against the length of the file",
    "resolution": "seconds against the lines of the picture",
}
MOST_FLOOR, MOST_GROWTH, MOST_MEMORY = 1.6, 1.3, 0.05
LEAST_STAY, MOST_LOST = 0.97, 1.0


def machine(part: Part) -> str:
    """What a part was measured on, and whether other work ran beside."""
    m, busy, by = part.get("machine"), part.get("busy_cores"), part.get("setting", {}).get("runtime")
    on = f"On {m['cores']} cores, {m['machine']}, {m['peak_gmacs_s']:.0f} GMAC/s at most; " if m else ""
    beside = "what else ran is not known" if busy is None else f"other work kept {busy:.1f} cores busy before"
    ours = "" if by is None else f" Ours by {by}."
    return f"{on}{beside}.{ours} `{part['made_by']}`"


def race(part: Part) -> str:
    """Everyone on one file."""
    (file,) = part["files"]
    rows = [["", "seconds (quartiles)", "times ours (quartiles)", *WORK, "decoding", "decoded", "GMACs"]]
    rows += [
        [
            part["rivals"][row["rival"]],
            spread(row["seconds"], duration),
            spread(row["ratio"], times),
            duration(row["processor"]["median"]),
            spread(row["processor_ratio"], times),
            duration(row["stages"]["decode"]),
            str(row["decoded"]),
            f"{row['gmacs']:.1f}",
        ]
        for row in file["rows"]
    ]
    ours, floor = file["rows"][0]["stages"], file["floor"]
    split = ", ".join(f"{stage} {duration(value)}" for stage, value in ours.items())
    least = ", ".join(
        f"{words} {duration(floor[key])}"
        for words, key in (("pictures", "pictures_s"), ("sound", "sounds_s"), ("multiply-adds", "compute_s"))
    )
    return (
        f"{machine(part)}\n\n{markdown(rows)}\n\nOurs: {split}. The floor is {duration(floor['seconds'])} "
        f"({least}): ours is {floor['ratio']:.2f} times that."
    )


def asked(parts: dict[str, Part]) -> str:
    """What was asked for beside what was measured."""
    rows = [["asked", "measured", ""]]
    if "race" in parts:
        (file,) = parts["race"]["files"]
        found = {row["rival"]: row for row in file["rows"]}
        for rival, least, words in WANTED:
            value, worked = (found[rival][key]["median"] for key in ("ratio", "processor_ratio"))
            name = parts["race"]["rivals"][rival]
            said = f"{times(value)} ({times(worked)} of the processor)"
            rows.append([f"{name}, times ours: {words}", said, verdict(value >= least)])
        ratio = file["floor"]["ratio"]
        rows.append([f"times the floor: at most {MOST_FLOOR}", f"{ratio:.2f}", verdict(ratio <= MOST_FLOOR)])
    if "length" in parts:
        grown, more = growth(parts["length"])
        rows.append(
            ["an hour against 3 minutes: below 1.3 times", f"{grown:.2f}", verdict(grown < MOST_GROWTH)]
        )
        words = "peak memory of a process, an hour against 3 minutes: below 5 % more"
        rows.append([words, f"{100 * more:+.1f} %", verdict(more < MOST_MEMORY)])
    if "many" in parts:
        for way, least in (("each in a process", 3.0), ("one by one in one process", 1.5)):
            value = together(parts["many"], way)
            words = f"{parts['many']['videos']} short files, {way}, times together: at least {least:g}"
            rows.append([words, times(value), verdict(value >= least)])
    if "answers" in parts:
        rows += asked_of_answers(parts["answers"]["kinds"])
    return markdown(rows)


def asked_of_answers(kinds: Part) -> list[list[str]]:
    """What bf16 and 8 bits cost, for each kind of videos; one that is missing is named."""
    rows = []
    for name, about in KINDS.items():
        if name in kinds:
            less = [row for row in kinds[name]["rows"] if row["precision"] != "float32"]
            rows += [_answers_kept(name, row) for row in less]
        else:
            rows.append([f"{about.words}, bf16, auto", "not run yet", "-"])
    return rows


def _answers_kept(name: str, row: dict[str, Any]) -> list[str]:
    """Of real clips, answers that stay; of the many videos, points that are lost."""
    words = f"{KINDS[name].words}, {way(row)}"
    if name == "clips":
        stay, videos = row["stay"], row["videos"]
        said = f"{100 * stay:.1f} % of {videos}"
        return [f"{words}: at least 97 % of the answers stay", said, verdict(stay >= LEAST_STAY)]
    points = row["points_lost"]
    return [f"{words}: less than 1 point lost", spread_of(points), verdict(points[0] < MOST_LOST)]


def way(row: dict[str, Any]) -> str:
    """A precision and a grid."""
    return f"{row['precision']}, {row['grid']}"


def spread_of(points: list[float]) -> str:
    """A figure of points with the ends of its interval."""
    return f"{points[0]:.1f} ({points[1]:.1f} to {points[2]:.1f})"


def verdict(met: bool) -> str:
    return "met" if met else "**missed**"


def growth(part: Part) -> tuple[float, float]:
    """Seconds of an hour over those of 3 minutes, and how much more memory it takes at its peak."""
    seconds = {
        round(file["duration_s"] / 60): row["seconds"]["median"]
        for file in part["files"]
        for row in file["rows"]
        if row["rival"] == "ours"
    }
    peaks: dict[str, list[float]] = {}
    for row in part["memory"]:
        peaks.setdefault(row["file"], []).append(row["peak_mb"])
    short, long = (statistics.median(values) for values in peaks.values())
    hour = min(seconds, key=lambda minutes: abs(minutes - 60))
    three = min(seconds, key=lambda minutes: abs(minutes - 3))
    return seconds[hour] / seconds[three], long / short - 1


def together(part: Part, way: str) -> float:
    """How many times as long as together another way takes."""
    pairs = zip(part["seconds"][way], part["seconds"]["together"], strict=True)
    return statistics.median(a / b for a, b in pairs)


def by_file(part: Part) -> str:
    """Seconds of everyone, a row a file."""
    names = list(part["rivals"])
    rows = [["file", *(part["rivals"][name] for name in names), "ours, times its floor"]]
    for file in part["files"]:
        seconds = {row["rival"]: spread(row["seconds"], duration) for row in file["rows"]}
        shape = f"{long(file['duration_s'])}, {file['width']}x{file['height']}"
        rows.append([shape, *(seconds.get(name, "-") for name in names), f"{file['floor']['ratio']:.2f}"])
    return f"{machine(part)}\n\n{markdown(rows)}"


def long(seconds: float) -> str:
    minutes = seconds / 60
    return (
        f"{seconds:.0f} s"
        if minutes < 1.5
        else f"{minutes:.0f} min"
        if minutes < 59
        else f"{minutes / 60:.0f} h"
    )


def memory(part: Part) -> str:
    """Start-up and memory of everyone, each in its own process."""
    rows = [["", "imports", "load", "first look", "whole process", "peak MB", "above the model, MB"]]
    for row in part["alone"]:
        seconds = (duration(row[key]) for key in ("import_s", "load_s", "first_look_s", "process_s"))
        above = f"{row['peak_mb'] - row['before_mb']:.0f}"
        rows.append([part["rivals"][row["rival"]], *seconds, f"{row['peak_mb']:.0f}", above])
    return markdown(rows)


def memories(part: Part) -> str:
    """Memory of ours on a short and on a long file, every round in a process of its own."""
    rows = [["file", "loaded, MB (each round)", "peak MB (each round)", "peak above the loaded, MB"]]
    for file in dict.fromkeys(row["file"] for row in part["memory"]):
        pairs = [(row["before_mb"], row["peak_mb"]) for row in part["memory"] if row["file"] == file]
        columns = zip(*((before, peak, peak - before) for before, peak in pairs), strict=True)
        rows.append([file, *(" / ".join(f"{value:.0f}" for value in values) for values in columns)])
    return f"`{part['made_by']}`\n\n{markdown(rows)}"


def gains(part: Part) -> str:
    """What each thing gave."""
    rows = [["what was done", "of", "before", "after", "times", "seconds of"]]
    for row in part["rows"]:
        seconds = (duration(row[key]) for key in ("before_s", "after_s"))
        which = "the clock" if row["clock"] == "clock" else "the processor"
        rows.append([row["what"], row["of"], *seconds, times(row["ratio"]), which])
    return f"{machine(part)}\n\n{markdown(rows)}"


def many(part: Part) -> str:
    """Many short files."""
    rows = [["way", "seconds (each round)", "times together"]]
    for way, values in part["seconds"].items():
        rows.append([way, " / ".join(f"{value:.1f}" for value in values), times(together(part, way))])
    note = f"Processes: {part['in_processes']} were measured, and stand for {part['videos']}."
    return f"{machine(part)}\n\n{markdown(rows)}\n\n{note}"


def answers(part: Part) -> str:
    """Answers that stay, a table a kind of videos."""
    made = []
    for name, kind in part["kinds"].items():
        rows = [["way", "same answer", "lost / won", "top-1", "points lost (95 %)", "moment recall",
                 "snippets on keyframes", "pictures decoded"]]  # fmt: skip
        for row in kind["rows"]:
            recall = row["moment_recall"]
            cells = [
                f"{100 * row['stay']:.1f} %",
                f"{row['lost']} / {row['won']}",
                f"{100 * row['top1']:.1f} %",
            ]
            cells += [spread_of(row["points_lost"]), "-" if recall is None else f"{100 * recall:.1f} %"]
            rows.append([way(row), *cells, f"{row['on_keyframes']:.1f}", f"{row['decoded']:.0f}"])
        videos = kind["rows"][0]["videos"]
        cut = "" if kind["groups"] == videos else f" from {kind['groups']} sources, over which intervals are"
        words = f"**{KINDS[name].words[0].upper()}{KINDS[name].words[1:]}**: {videos} videos{cut}."
        made.append(f"{words} `{kind['made_by']}`; each way: `{kind['command']}`\n\n{markdown(rows)}")
    return "\n\n".join(made)


TABLES: dict[str, tuple[str, Callable[[Part], str]]] = {
    "race": ("race", race),
    "alone": ("race", memory),
    "torch": ("torch", race),
    "float32": ("float32", race),
    "length": ("length", by_file),
    "memory": ("length", memories),
    "resolution": ("resolution", by_file),
    "gains": ("gains", gains),
    "many": ("many", many),
    "answers": ("answers", answers),
}


def tables(parts: dict[str, Part]) -> dict[str, str]:
    """Every table of the page, by name."""
    made = {"asked": asked(parts)}
    for name, (part, write) in TABLES.items():
        todo = f"not run yet: `python benchmarks/performance.py {part}`"
        made[name] = write(parts[part]) if part in parts else todo
        if name in DRAWN and part in parts:
            made[name] = f"![{DRAWN[name]}](img/performance_{name}.png)\n\n{made[name]}"
    return made


def write_pages() -> None:
    """Puts every table between its marks, and draws."""
    parts = json.loads(KEPT.read_text(encoding="utf-8"))["parts"]
    text = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(filled(text, tables(parts).items(), script=SCRIPT), encoding="utf-8")
    for name in DRAWN:
        if name in parts:
            (IMAGES / f"performance_{name}.png").write_bytes(draw(parts[name]).render("png"))


if __name__ == "__main__":
    write_pages()
