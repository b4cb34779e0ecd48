"""How results look as text: the table for a terminal, the JSON line for everything else.

Everything that came from outside (file names, labels, messages of a decoder) passes ``clean`` before it is
shown on a terminal; JSON lines are plain ASCII with the exact name in escapes.
"""

from __future__ import annotations

import json
import math
import os
import sys
import unicodedata
from collections.abc import Mapping
from typing import Any, TextIO

from avglance.types import STAGES, Cost, Failure, GridUse, Recognition, as_json

SCHEMA = 1
TOY_BANNER = "this model knows only toy classes: its labels mean nothing for a real video"
_HIDDEN = frozenset("\u200e\u200f\u2028\u2029\ufeff") | {
    chr(c) for c in (*range(0x202A, 0x202F), *range(0x2066, 0x206A))
}
_CODES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}
_BLOCKS = " ▏▎▍▌▋▊▉█"


def clean(text: object, limit: int = 300) -> str:
    r"""The text on one line, cut in its middle, without control characters or marks that turn the writing.

    >>> clean("a\x1b[31mb\nc")
    'a[31mb c'
    """
    shown = "".join(" " if c in "\n\r\t" else c for c in str(text) if c in "\n\r\t" or not _controls(c))
    if len(shown) > limit:
        shown = f"{shown[: limit // 2]} ... {shown[-(limit - limit // 2 - 5) :]}"
    return shown


def _controls(char: str) -> bool:
    return unicodedata.category(char) in ("Cc", "Cs", "Co", "Cn") or char in _HIDDEN


def clock(time_s: float) -> str:
    """Seconds as a player shows them: mm:ss.s, with hours where there are any.

    >>> clock(83.26), clock(3683.0)
    ('01:23.3', '1:01:23.0')
    """
    tenths = max(round(time_s * 10), 0)
    minutes, rest = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest / 10:04.1f}" if hours else f"{minutes:02d}:{rest / 10:04.1f}"


def duration(seconds: float) -> str:
    """A time that was spent, short: ``38 ms``, ``1.42 s``, ``75 s``.

    >>> duration(0.0384), duration(1.416), duration(75.2)
    ('38 ms', '1.42 s', '75 s')
    """
    if seconds < 0.0995:
        return f"{seconds * 1000:.0f} ms"
    return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.0f} s"


def gmacs(macs: float) -> str:
    """Multiply-adds in thousands of millions, three digits.

    >>> gmacs(35_120_000), gmacs(4_000_000), gmacs(4_089_000_000), gmacs(1_234e9), gmacs(0)
    ('0.0351', '0.004', '4.09', '1234', '0')
    """
    value = macs / 1e9
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def share(part: float, whole: float) -> str:
    """A part of a whole in percent, or an empty string where there is no whole."""
    if whole <= 0:
        return ""
    percent = 100 * part / whole
    return f"{percent:.0f} %" if percent >= 10 else f"{percent:.1f} %"


def whole_seconds(cost: Cost) -> float | None:
    """What looking at everything would have taken, by this file's own speed; None where that cannot be told.

    Every frame decoded at the seconds a decoded frame took here, and the close look at every snippet's whole
    picture at the seconds a multiply-add of the focus took here: an estimate.
    """
    focus_s, focus_macs = cost.seconds.get("focus", 0.0), cost.macs.get("focus", 0)
    if not (cost.frames_decoded and cost.whole_frames and focus_macs and cost.whole_macs):
        return None
    decode_s = cost.seconds.get("decode", 0.0) * max(cost.whole_frames / cost.frames_decoded, 1.0)
    return decode_s + focus_s * cost.whole_macs / focus_macs


class Ink:
    """Colour where it may be: on a terminal that wants it, and never the only carrier of meaning."""

    def __init__(self, stream: TextIO, env: Mapping[str, str] = os.environ) -> None:
        terminal = bool(getattr(stream, "isatty", lambda: False)())
        self.on = terminal and not env.get("NO_COLOR") and env.get("TERM") != "dumb"

    def __call__(self, text: str, *styles: str) -> str:
        """The text in these styles, or as it is."""
        if not self.on:
            return text
        return f"\x1b[{';'.join(_CODES[s] for s in styles)}m{text}\x1b[0m"


def bar(value: float, width: int = 16) -> str:
    """A value of 0..1 as a bar of blocks, padded to ``width``."""
    eighths = round(min(max(value, 0.0), 1.0) * width * 8)
    full, rest = divmod(eighths, 8)
    return ("█" * full + (_BLOCKS[rest] if rest else "")).ljust(width)


def table(result: Recognition, ink: Ink) -> str:
    """One video's answer for a person at a terminal: moments, spans, labels, cost."""
    verdict = result.condition.verdict
    tint = {"ok": "green", "degraded": "yellow"}.get(verdict, "red")
    lines = [f"{ink(clean(result.video), 'bold')}  {clock(result.duration_s)}  {ink(verdict, tint)}"]
    if result.toy:
        lines.append(ink(f"  ! {TOY_BANNER}", "yellow", "bold"))
    lines += [f"  ! {line}" for line in reasons(result)]
    lines += _moments(result, ink) + _spans(result, ink) + _labels(result, ink) + _spent(result, ink)
    return "\n".join(lines) + "\n"


def reasons(result: Recognition, most: int = 3) -> list[str]:
    """Why the file is not simply ok, one line for each kind and sentence, with the first ``most`` places."""
    places: dict[str, list[str]] = {}
    for reason in result.condition.reasons:
        found = places.setdefault(f"{clean(reason.kind)}: {clean(reason.text)}", [])
        if reason.start_s is not None:
            until = "end" if reason.end_s is None else clock(reason.end_s)
            found.append(f"{clock(reason.start_s)} - {until}")
    return [line + _places(found, most) for line, found in places.items()]


def _places(found: list[str], most: int) -> str:
    more = [f"and {len(found) - most} more"] if len(found) > most else []
    return f" ({', '.join(found[:most] + more)})" if found else ""


def _moments(result: Recognition, ink: Ink) -> list[str]:
    if not result.moments:
        return [ink("  moments", "cyan") + "   none: there was no picture to look at closely"]
    lines = [ink(f"  {'moments':<12}{'saliency':<28}patch (x0 y0 x1 y1, px)", "cyan")]
    for m in result.moments:
        patch = "no picture" if m.box_px is None else " ".join(f"{v:>4d}" for v in m.box_px)
        lines.append(f"  {clock(m.time_s):<12}{m.saliency:<6.3f}{bar(m.saliency)}      {patch}".rstrip())
    return lines


def _spans(result: Recognition, ink: Ink) -> list[str]:
    if not result.spans:
        return [ink("  spans", "cyan") + "     none: no label stands out over a stretch of time"]
    lines = [ink("  spans", "cyan")]
    for s in result.spans:
        stretch = f"{clock(s.start_s)} - {clock(s.end_s)}"
        lines.append(f"  {stretch:<24}{s.score:<6.3f}{clean(s.label, 80)}")
    return lines


def _labels(result: Recognition, ink: Ink) -> list[str]:
    several = "   every class above its threshold" if result.label_mode == "several" else ""
    lines, named = [ink("  labels", "cyan") + several * (not result.unknown)], result.labels
    if result.unknown:
        lines.append(f"  {ink(named[0].name, 'bold')}: nothing that this model knows is there")
        named = named[1:]
        lines += ["  if it had to name something:"] * bool(named)
    return lines + [f"  {label.score:<6.3f}{bar(label.score)}  {clean(label.name, 80)}" for label in named]


def _spent(result: Recognition, ink: Ink) -> list[str]:
    cost, lines = result.cost, [ink("  spent, against looking at everything", "cyan")]
    whole_s = whole_seconds(cost)
    against = f" of about {duration(whole_s)}  {share(cost.total_s, whole_s)}" if whole_s else ""
    stages = ", ".join(f"{name} {duration(cost.seconds[name])}" for name in stage_names(cost.seconds))
    lines.append(
        f"  time    {duration(cost.total_s)}{against}".rstrip() + (f"  ({stages})" if stages else "")
    )
    against = f" of {gmacs(cost.whole_macs)}" if cost.whole_macs else ""
    lines.append(
        f"  GMACs   {gmacs(cost.total_macs)}{against}  {share(cost.total_macs, cost.whole_macs)}".rstrip()
    )
    of = f" of {cost.whole_frames}" if cost.whole_frames else ""
    lines.append(f"  frames  {cost.frames_delivered}{of} looked at, {cost.frames_decoded} decoded on the way")
    if result.grid.name != "exact" or result.grid.trained != "exact":
        lines.append(f"  grid    {grid_words(result.grid, len(result.times))}")
    if result.budget:
        close = len(result.moments)
        lines.append(f"  looks   {close} of {len(result.times)}, allowed: {result.budget}")
    return lines


def grid_words(grid: GridUse, snippets: int) -> str:
    """On which grid a video was looked at.

    >>> grid_words(GridUse("auto", "exact", 12, 16), 16)
    'auto: 12 of 16 on keyframes (the model was trained on the exact grid)'
    >>> grid_words(GridUse("keyframe", "keyframe", 16, 4), 16)
    'keyframe: 16 of 16 on keyframes, 4 different pictures'
    """
    shared = f", {grid.pictures} different pictures" if grid.pictures < snippets else ""
    other = f" (the model was trained on the {grid.trained} grid)" if grid.trained != grid.name else ""
    return f"{grid.name}: {grid.on_keyframes} of {snippets} on keyframes{shared}{other}"


def stage_names(by_stage: Mapping[str, object]) -> list[str]:
    """The stages that appear, in the order of the work."""
    return [s for s in STAGES if s in by_stage] + sorted(set(by_stage) - set(STAGES))


def failure_text(failure: Failure, ink: Ink) -> str:
    """A video that could not be read, for a person at a terminal."""
    lines = [f"{ink(clean(failure.video), 'bold')}  {ink('failed', 'red')}: {clean(failure.kind)}"]
    lines.append(f"  {clean(failure.message, 1000)}")
    if failure.hint:
        lines.append(f"  hint: {clean(failure.hint, 1000)}")
    return "\n".join(lines) + "\n"


def as_record(result: Recognition | Failure) -> dict[str, Any]:
    """The object of one JSON line: numbers to six decimals, those that are not finite become null."""
    if isinstance(result, Failure):
        record = {"schema": SCHEMA, "video": result.video, "verdict": "failed", "kind": result.kind}
        return record | {"message": result.message, "hint": result.hint}
    cost, condition = as_json(result.cost), result.condition
    cost |= {"total_s": result.cost.total_s, "total_macs": result.cost.total_macs}
    cost["whole_s_estimate"] = whole_seconds(result.cost)
    record = {"schema": SCHEMA, "video": result.video, "verdict": condition.verdict, "toy": result.toy}
    record |= {"banner": TOY_BANNER} if result.toy else {}
    named = ("unknown", "label_mode", "labels", "spans", "moments")
    record |= {name: as_json(getattr(result, name)) for name in named}
    record |= {"times": list(result.times), "saliency": list(result.saliency), "cost": cost}
    record |= {"budget": result.budget, "grid": as_json(result.grid)}
    record |= {"duration_s": result.duration_s, "audio": condition.audio, "coverage": condition.coverage}
    record |= {"reasons": as_json(condition.reasons), "model": result.model, "system": result.system}
    record |= {"weights_sha256": result.weights_sha256, "reader": result.reader}
    record |= {"runtime": result.runtime, "precision": result.precision}
    return dict(_finite(record))


def json_line(result: Recognition | Failure) -> str:
    """One line of plain ASCII JSON."""
    return json.dumps(as_record(result), allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 6) if math.isfinite(value) else None
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    return [_finite(v) for v in value] if isinstance(value, list) else value


class Progress:
    """Says on stderr how far a run is: a status line on a terminal, else one plain line every 30 s.

    Args:
        total: how many items there are.
        quiet: say nothing at all.
        live: a status line may be drawn (a terminal, and no JSON asked for).
        stream: where to write; None: stderr.
    """

    EVERY_S = 30.0

    def __init__(self, total: int, *, quiet: bool, live: bool, stream: TextIO | None = None) -> None:
        self.stream = stream or sys.stderr
        self.total, self.quiet, self.done, self.failed = total, quiet, 0, 0
        self.live = live and Ink(self.stream).on and not quiet
        self._next_s: float | None = None

    def start(self, name: str, now_s: float) -> None:
        """An item begins."""
        if self._next_s is None:
            self._next_s = now_s + self.EVERY_S
        if self.live:
            self.stream.write(f"\r\x1b[K[{self.done + 1}/{self.total}] {clean(name, 60)}")
            self.stream.flush()
        elif not self.quiet and now_s >= self._next_s:
            self._next_s = now_s + self.EVERY_S
            self.stream.write(f"avglance: {self.done} of {self.total} done, {self.failed} failed\n")
            self.stream.flush()

    def end(self, *, failed: bool) -> None:
        """An item is finished; the status line is wiped so that the answer can be printed."""
        self.done += 1
        self.failed += failed
        if self.live:
            self.stream.write("\r\x1b[K")
            self.stream.flush()
