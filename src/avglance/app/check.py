"""``avglance check``: whether files can be read, and what is in them; needs no model."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avglance.app.render import SCHEMA, Ink, clean, clock
from avglance.app.tag import expand
from avglance.types import Reason, as_json

if TYPE_CHECKING:
    from avglance.media import CheckReport

DONE, UNREADABLE, SOME_FAILED = 0, 3, 6
EPILOG = """A folder stands for all files in it and below. On a terminal the answer is a table; piped, or with
--json, one JSON object a file and line.
Verdicts: ok, degraded (part of it can be read; the reasons say which), failed.
Exit code: 0 all can be read, 3 the one file cannot be read, 6 some of several cannot."""
_COLOURS = {"ok": "green", "degraded": "yellow", "failed": "red"}
_SHOWN = 5  # reasons a file on a terminal


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``avglance check``."""
    parser.epilog = EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "inputs", nargs="+", metavar="FILE", type=Path, help="video or sound file, or a folder"
    )
    parser.add_argument(
        "--quick", action="store_true", help="read the packets only; damage inside pictures is not seen"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object a line, also on a terminal")


def run(args: argparse.Namespace) -> int:
    """Check everything that was named, printing each verdict when it is there; the exit code."""
    from avglance.media import check

    files = list(expand(args.inputs))
    ink = Ink(sys.stdout)
    plain = args.json or not sys.stdout.isatty()
    verdicts = []
    for path in files:
        report = check(path, quick=args.quick)
        verdicts.append(report.condition.verdict)
        print(json_line(report) if plain else "\n".join(lines(report, ink)), flush=True)
    if not plain and len(files) > 1:
        print(summary(verdicts))
    return exit_code(verdicts)


def exit_code(verdicts: Sequence[str]) -> int:
    """0 where nothing failed, 3 where the only file did, 6 where some of several did.

    >>> exit_code(["ok", "degraded"]), exit_code(["failed"]), exit_code(["ok", "failed"])
    (0, 3, 6)
    """
    if "failed" not in verdicts:
        return DONE
    return UNREADABLE if len(verdicts) == 1 else SOME_FAILED


def summary(verdicts: Sequence[str]) -> str:
    """The last line of a table: ``12 files: 10 ok, 1 degraded, 1 failed``."""
    counts = ", ".join(f"{verdicts.count(word)} {word}" for word in _COLOURS if word in verdicts)
    return f"{len(verdicts)} files: {counts}"


def lines(report: CheckReport, ink: Ink) -> list[str]:
    """One file's verdict for a person: verdict, name and contents, then the reasons."""
    verdict = report.condition.verdict
    head = f"{ink(f'{verdict:<9}', _COLOURS[verdict])} {ink(clean(report.video), 'bold')}"
    if report.failure is not None:
        shown = [head, f"          {report.failure.kind}: {clean(report.failure.message)}"]
        return [*shown, f"          hint: {clean(report.failure.hint)}"] if report.failure.hint else shown
    reasons = report.condition.reasons
    more = [f"          and {len(reasons) - _SHOWN} more spans"] if len(reasons) > _SHOWN else []
    return [head, f"          {contents(report)}", *(f"          {told(r)}" for r in reasons[:_SHOWN]), *more]


def contents(report: CheckReport) -> str:
    """What is in the file, on one line: ``00:10.0  320x240 h264 25 fps  sound present (aac 16000 Hz)``."""
    held = report.info
    if held is None:
        return ""
    parts = [clock(held.duration_s)]
    if held.has_video:
        rate = (
            f"{held.frame_rate:.5g} fps{' (varies)' if held.variable_rate else ''}"
            if held.frame_rate
            else "varying rate"
        )
        turned = f" turned {held.rotation} degrees" if held.rotation else ""
        parts.append(f"{held.width}x{held.height} {clean(held.video_codec)} {rate}{turned}")
    tracks = [f"{clean(t.codec)} {t.rate_hz} Hz" for t in held.audio_tracks]
    sound = f" ({', '.join(tracks)})" if tracks else ""
    parts.append(f"sound {report.condition.audio}{sound}")
    parts.append(f"{math.floor(100 * report.condition.coverage + 1e-6)} % readable")
    return "  ".join(parts)


def told(reason: Reason) -> str:
    """A reason as a person reads it, with its span."""
    if reason.start_s is None or reason.end_s is None:
        return f"{reason.kind}: {clean(reason.text)}"
    return f"{reason.kind}: {clean(reason.text)}, {clock(reason.start_s)} to {clock(reason.end_s)}"


def json_line(report: CheckReport) -> str:
    """One line of plain ASCII JSON."""
    failure, condition = report.failure, report.condition
    record: dict[str, Any] = {"schema": SCHEMA, "video": report.video, "verdict": condition.verdict}
    if failure is not None:
        record |= {"kind": failure.kind, "message": failure.message, "hint": failure.hint}
    record |= {
        "audio": condition.audio,
        "coverage": condition.coverage,
        "reasons": as_json(condition.reasons),
    }
    record |= {"frames": report.frames_decoded, "picture_s": report.picture_s, "sound_s": report.sound_s}
    record["file"] = as_json(report.info)
    return json.dumps(_rounded(record), allow_nan=False)


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 6) if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, list) else value
