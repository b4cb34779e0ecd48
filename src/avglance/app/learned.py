"""What a training has learned, for people: a page in the run folder, and a few lines on stderr.

The numbers are those of ``report.json`` (``training.learned``); names of files and classes are hostile.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from avglance.app.pages import fill
from avglance.app.render import TOY_BANNER, clean
from avglance.errors import DataError

PAGE, NUMBERS = "report.html", "report.json"
SAID = 3  # confusions on stderr
SHADES = 4  # of the matrix, above none


def show(out: Path, *, quiet: bool = False) -> None:
    """Writes the page of a run that has a report, and says on stderr what matters most.

    Raises:
        DataError: the report cannot be read, or the page not written.
    """
    from avglance.training.runfolder import write_text

    if not (out / NUMBERS).is_file():  # nothing was held out
        return
    try:
        found = json.loads((out / NUMBERS).read_text(encoding="utf-8"))
        text = page(found)
        lines = list(sentences(found))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        hint = "remove it: the next training of the run writes it anew"
        raise DataError(f"not a report ({error})", where=str(out / NUMBERS), hint=hint) from error
    write_text(out / PAGE, text)
    if not quiet:
        for line in (*lines, f"what was learned: {out / PAGE}"):
            print(clean(line, 500), file=sys.stderr, flush=True)


def page(found: dict[str, Any]) -> str:
    """The report as one HTML file."""
    right = found["accuracy"]
    rows = sorted(found["classes"], key=_how_bad)
    return fill(
        "learned.html.j2",
        styles=("report.css", "learned.css"),
        r=found,
        rows=rows,
        several=found["label_mode"] == "multi",
        thresholds=any(row["threshold"] is not None for row in rows),
        shades=_shades(found["matrix"]) if right is not None else [],
        banner=TOY_BANNER,
        numbers=NUMBERS,
    )


def _how_bad(row: dict[str, Any]) -> tuple[float, str]:
    """The worst first, behind them those that cannot be told."""
    value = row["average_precision"] if row["right"] is None else row["recall"]
    return (2.0 if value is None else value, row["name"])


def _shades(matrix: list[list[int]] | None) -> list[list[tuple[int, int]]]:
    """Each count of the matrix with how dark its cell is, by its share of the row."""
    return [[(count, -(-SHADES * count // max(1, sum(row)))) for count in row] for row in matrix or []]


def sentences(found: dict[str, Any]) -> Iterator[str]:
    """What matters most of a report."""
    right, sound = found["accuracy"], found["sound"]
    if right is not None:
        low, high = 100 * right["low"], 100 * right["high"]
        yield (
            f"held out: {right['right']} of {right['videos']} videos right, {100 * right['top1']:.1f} % "
            f"(95 % interval {low:.1f} to {high:.1f}; the most frequent class alone "
            f"{100 * right['guess']:.1f} %)"
        )
    elif found["map"] is not None:
        yield f"held out: mean average precision {found['map']:.3f}, {found['videos']['held_out']} videos"
    yield f"kept: {found['checkpoint']}; {sound['heard']} of {sound['of']} videos have sound"
    for row in found["confusions"][:SAID]:
        first = row["examples"][0]["file"]
        yield f"{row['count']} of {row['of']} {row['label']} called {row['said']}, such as {first}"
    if found["doubtful"]:
        row = found["doubtful"][0]
        labels = " and ".join(row["labels"])
        like = f"{labels}, looks like {row['said']} ({row['score']:.2f})"
        yield f"labels that may be wrong: {len(found['doubtful'])}, first {row['file']}: {like}"
