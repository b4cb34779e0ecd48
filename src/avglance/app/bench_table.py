"""The figures of a race as a table for a person."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from avglance.app.render import Ink, clean, clock, duration

STAGES = ("decode", "glance", "choose", "aim", "focus", "answer", "rest")
HEAD = ("", "seconds", "times ours", "of processor", "times ours", "decode", "networks", "decoded", "GMACs")
ALONE = ("", "process", "imports", "load", "first look", "peak MB", "above the model")


def table(found: dict[str, Any], ink: Ink) -> str:
    """All of it, one file after another."""
    lines = _head(found, ink)
    for file in found["files"]:
        lines += ["", *_file(found, file, ink)]
    if found["alone"]:
        lines += ["", ink("each in a process of its own", "bold"), *_alone(found)]
    for failure in found["failures"]:
        lines.append(f"! {clean(failure['video'])}: {clean(failure['what'])}")
    return "\n".join(lines)


def _head(found: dict[str, Any], ink: Ink) -> list[str]:
    s, m = found["setting"], found["machine"]
    weights = "random weights" if s["random_weights"] else "its own weights"
    return [
        f"{ink(clean(s['model']), 'bold')} ({weights}): K = {s['budget']} of T = {s['snippets']}, "
        f"grid {s['grid']}; weights of the others are random",
        f"  all in {s['precision']}, ours by {s['runtime']}, on {m['cores']} cores, "
        f"{m['torch_threads']} threads; its matrix peak here: {m['peak_gmacs_s']:.0f} GMAC/s",
    ]


def _file(found: dict[str, Any], file: dict[str, Any], ink: Ink) -> list[str]:
    shape = f"{clock(file['duration_s'])}, {file['width']}x{file['height']}, {clean(file['video_codec'])}"
    lines = [f"{ink(clean(file['path']), 'bold')}: {shape}"]
    lines += columns([HEAD, *(_row(found, row) for row in file["rows"])])
    ours, floor = file["rows"][0]["stages"], file["floor"]
    lines.append("  ours: " + ", ".join(f"{s} {duration(ours[s])}" for s in STAGES if s in ours))
    return [
        *lines,
        f"  floor {duration(floor['seconds'])}: pictures {duration(floor['pictures_s'])}, "
        f"sound {duration(floor['sounds_s'])}, multiply-adds {duration(floor['compute_s'])}; "
        f"ours is {floor['ratio']:.2f} times that",
    ]


def _row(found: dict[str, Any], row: dict[str, Any]) -> tuple[str, ...]:
    decode = row["stages"]["decode"]
    return (
        found["rivals"][row["rival"]],
        spread(row["seconds"], duration),
        spread(row["ratio"], times),
        duration(row["processor"]["median"]),
        "-" if row["processor_ratio"] is None else times(row["processor_ratio"]["median"]),
        duration(decode),
        duration(max(row["seconds"]["median"] - decode, 0)),
        str(row["decoded"]),
        f"{row['gmacs']:.1f}",
    )


def _alone(found: dict[str, Any]) -> list[str]:
    rows = [ALONE]
    for row in found["alone"]:
        peak, before = row["peak_mb"], row["before_mb"]
        seconds = (row[key] for key in ("process_s", "import_s", "load_s", "first_look_s"))
        rows.append(
            (
                found["rivals"][row["rival"]],
                *map(duration, seconds),
                "-" if peak is None else f"{peak:.0f}",
                "-" if peak is None or before is None else f"{peak - before:.0f} MB",
            )
        )
    return columns(rows)


def columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows of cells as lines: the first column to the left, the others to the right.

    >>> columns([("", "s"), ("ours", "0.4")])
    ['          s', '  ours  0.4']
    """
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    return [
        "  " + "  ".join(f"{cell:{'>' if n else '<'}{widths[n]}}" for n, cell in enumerate(row))
        for row in rows
    ]


def spread(found: dict[str, Any] | None, say: Callable[[float], str]) -> str:
    """A median with its quartiles in brackets; ``once`` where there is one value.

    >>> spread({"median": 2.0, "low": 1.5, "high": 2.25, "each": [1, 2, 3]}, times)
    '2.00x (1.50x-2.25x)'
    """
    if found is None:
        return "-"
    if len(found["each"]) < 2:
        return f"{say(found['median'])} (once)"
    return f"{say(found['median'])} ({say(found['low'])}-{say(found['high'])})"


def times(value: float) -> str:
    """How many times, three digits.

    >>> times(0.512), times(12.34), times(123.4)
    ('0.51x', '12.3x', '123x')
    """
    return f"{value:.2f}x" if value < 10 else f"{value:.1f}x" if value < 100 else f"{value:.0f}x"
