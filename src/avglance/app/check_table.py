"""How ``avglance check`` looks on a terminal: a table for several files, a few lines for one."""

from __future__ import annotations

import math
import textwrap
import time
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from avglance.app.render import Ink, Progress, clean, clock, duration
from avglance.types import Reason

if TYPE_CHECKING:
    from avglance.media import CheckReport

COLOURS = {"ok": "green", "degraded": "yellow", "failed": "red"}
_INDENT = 10  # of what stands below a file: the width of a verdict
_GAP = "  "
_KEPT = "\u00a0"  # a space at which no line is broken
_WIDE = 100  # columns from which codecs have room
_LONG = 10_000  # no command is longer: it must not be cut
_DECODERS = {
    "libdav1d": "av1",
    "libvpx": "vp8",
    "libvpx-vp9": "vp9",
    "mp3float": "mp3",
    "mpeg1video": "mpeg1",
}
_DECODERS |= {"mpeg2video": "mpeg2", "mp3on4float": "mp3", "mp2float": "mp2", "libopus": "opus"}
_NARROWEST = 12  # of a name


class Table:
    """A line for each file, with what is wrong and what to do below it.

    Advice without a command is given once, not under every file.

    Args:
        ink: colours, or none.
        columns: how wide the terminal is.
        below: names are shown relative to this folder; None: as they were given.
    """

    def __init__(self, ink: Ink, columns: int, below: Path | None = None) -> None:
        self.ink, self.columns, self.below = ink, max(columns, 40), below
        codec, sound = (10, 10) if columns >= _WIDE else (5, 6)
        self._widths = {"verdict": 8, "length": 8, "picture": 9, "codec": codec, "fps": 6, "sound": sound}
        self._widths |= {"read": 4}
        taken = sum(self._widths.values()) + len(_GAP) * len(self._widths)
        self._room = max(self.columns - taken, _NARROWEST)
        self._said: set[str] = set()

    def head(self) -> str:
        """The names of the columns."""
        where = f"file, in {shortened(clean(self.below, _LONG), self._room - 9)}" if self.below else "file"
        return self.ink(self._line([*self._widths, where]), "dim")

    def rows(self, report: CheckReport) -> list[str]:
        """The line of a file, and the lines below it."""
        verdict = report.condition.verdict
        line = self._line([verdict, *_cells(report), shortened(self._name(report.video), self._room)])
        line = self.ink(verdict, COLOURS[verdict]) + line[len(verdict) :]
        news = [] if self._said.issuperset(report.advice) else list(report.advice)
        if not any(map(_is_command, news)):
            self._said.update(news)
        below = [*complaints(report, but="no_video"), *news]  # that there are no pictures the line shows
        return [line, *indented(below, self.columns)]

    def _name(self, video: str) -> str:
        if self.below is not None and Path(video).is_relative_to(self.below) and Path(video) != self.below:
            return clean(Path(video).relative_to(self.below), _LONG)
        return clean(video, _LONG)

    def _line(self, cells: Sequence[str]) -> str:
        padded = [
            f"{cell[:width]:>{width}}" if name in ("read", "fps") else f"{cell[:width]:<{width}}"
            for cell, (name, width) in zip(cells, self._widths.items(), strict=False)
        ]
        return _GAP.join([*padded, cells[-1]])


def _cells(report: CheckReport) -> list[str]:
    """Length, picture, codec, fps, sound, read."""
    held = report.info
    if held is None:
        return ["-"] * 6
    picture, codec, rate = "-", "-", "-"
    if held.has_video:
        picture, codec = f"{held.width}x{held.height}", _codec(held.video_codec)
        rate = f"{'~' if held.variable_rate else ''}{held.frame_rate:.4g}" if held.frame_rate else "?"
    length = clock(held.duration_s)
    length = length if len(length) <= 7 else length[:-2]  # hours need no tenths
    return [length, picture, codec, rate, _sound(report), f"{percent(report)}%"]


def _sound(report: CheckReport) -> str:
    """The sound's codec, how many more tracks there are, or that it is silent or absent."""
    tracks = report.info.audio_tracks if report.info is not None else ()
    if not tracks or report.condition.audio == "absent":
        return "-"
    told = "silent" if report.condition.audio == "silent" else _codec(tracks[0].codec)
    return f"{told[:4]}+{len(tracks) - 1}" if len(tracks) > 1 else told


def _codec(name: str) -> str:
    """A codec by the name people know: decoders have others."""
    return _DECODERS.get(name, clean(name))


def percent(report: CheckReport) -> int:
    """How much of the file can be read; 100 is said only where nothing is missing."""
    return math.floor(100 * report.condition.coverage + 1e-6)


def detail(report: CheckReport, ink: Ink, columns: int) -> list[str]:
    """One file alone: verdict and name, what is in it, what is wrong, and what to do."""
    verdict = report.condition.verdict
    head = f"{ink(f'{verdict:<{_INDENT - 1}}', COLOURS[verdict])} {ink(clean(report.video), 'bold')}"
    held = [contents(report)] if report.info is not None else []
    return [head, *indented([*held, *complaints(report), *report.advice], columns)]


def complaints(report: CheckReport, but: str = "") -> list[str]:
    """Why a file is not simply ok, a line for each kind and text with its stretches; or why it failed.

    One kind may be left out.
    """
    failure = report.failure
    if failure is not None:
        hint = [f"hint: {clean(failure.hint)}"] if failure.hint else []
        return [f"{failure.kind}: {clean(failure.message)}", *hint]
    spans: dict[str, list[str]] = {}
    for reason in (one for one in report.condition.reasons if one.kind != but):
        spans.setdefault(f"{clean(reason.kind)}: {clean(reason.text)}", []).extend(_span(reason))
    return [", ".join([told, *found]) for told, found in spans.items()]


def _span(reason: Reason) -> list[str]:
    if reason.start_s is None or reason.end_s is None:
        return []
    return [f"{clock(reason.start_s)} to {clock(reason.end_s)}"]


def contents(report: CheckReport) -> str:
    """What is in the file: ``00:10.0  320x240 h264 25 fps  sound present (aac 16000 Hz)  100 % readable``."""
    held = report.info
    if held is None:
        return ""
    parts = [clock(held.duration_s)]
    if held.has_video:
        varies = " (varies)" if held.variable_rate else ""
        rate = f"{held.frame_rate:.5g} fps{varies}" if held.frame_rate else "varying rate"
        turned = f" turned {held.rotation} degrees" if held.rotation else ""
        parts.append(f"{held.width}x{held.height} {clean(held.video_codec)} {rate}{turned}")
    tracks = [f"{clean(t.codec)} {t.rate_hz} Hz" for t in held.audio_tracks]
    sound = f" ({', '.join(tracks)})" if tracks else ""
    parts.append(f"sound {report.condition.audio}{sound}")
    parts.append(f"{percent(report)} % readable")
    return _GAP.join(part.replace(" ", _KEPT) for part in parts)


def indented(lines: Sequence[str], columns: int) -> list[str]:
    """Lines below a file: sentences are broken to fit, commands stay whole to be copied."""
    room = max(columns - _INDENT, 30)
    shown: list[str] = []
    for line in (clean(line, _LONG) for line in lines):
        if _is_command(line):
            shown.append(" " * _INDENT + line)
            continue
        pieces = textwrap.wrap(line, room, break_on_hyphens=False)
        shown += [" " * _INDENT + piece.replace(_KEPT, " ") for piece in pieces]
    return shown


def _is_command(line: str) -> bool:
    return line.startswith(("ffmpeg ", "chmod "))


def shortened(name: str, room: int) -> str:
    """The name in at most ``room`` columns, cut in its middle; its end says more than its beginning.

    >>> shortened("holiday/2024/a long name.mp4", 20)
    'holida...ng name.mp4'
    """
    if _columns(name) <= room:
        return name
    spare = max(room - 3, 0)
    head = _fitting(name, spare * 2 // 5)
    tail = _fitting(name[::-1], spare - _columns(head))[::-1]
    return f"{head}...{tail}"


def _fitting(text: str, room: int) -> str:
    """As much of the beginning as fits."""
    ends = (n for n in range(min(room, len(text)), -1, -1) if _columns(text[:n]) <= room)
    return text[: next(ends, 0)]


def _columns(text: str) -> int:
    """How many columns of a terminal the text takes: some characters take two, some none."""
    wide = sum(unicodedata.east_asian_width(char) in "WF" for char in text)
    return len(text) + wide - sum(unicodedata.combining(char) > 0 for char in text)


def summary(reports: Sequence[CheckReport], disk: str) -> list[str]:
    """The end of the table: how many are what, how much footage that is, and how fast it went."""
    verdicts = [report.condition.verdict for report in reports]
    counts = ", ".join(f"{verdicts.count(word)} {word}" for word in COLOURS if word in verdicts)
    shown = [f"{len(verdicts)} files: {counts}"] if len(verdicts) != 1 else []
    footage_s = sum(r.info.duration_s for r in reports if r.info is not None)
    octets, seconds = sum(r.bytes for r in reports), sum(r.seconds for r in reports)
    if not footage_s or not seconds:
        return shown
    speed = f"{speed_of(footage_s / seconds)} x real time, {speed_of(octets / 1e6 / seconds)} MB/s"
    told = f"{clock(footage_s)} of footage, {size(octets)}, checked in {duration(seconds)}: {speed}"
    return [*shown, f"{told}; {disk}" if disk else told]


def speed_of(ratio: float) -> str:
    """A ratio with two or three digits.

    >>> speed_of(0.312), speed_of(7.44), speed_of(443.7), speed_of(12345.6)
    ('0.31', '7.4', '444', '12346')
    """
    return f"{ratio:.0f}" if ratio >= 99.5 else f"{ratio:.2g}"


def size(octets: int) -> str:
    """Bytes, short.

    >>> size(812), size(61_193), size(5_999_000), size(2_340_000_000)
    ('812 bytes', '61 kB', '6.0 MB', '2.34 GB')
    """
    if octets >= 1_000_000_000:
        return f"{octets / 1e9:.2f} GB"
    if octets >= 1_000_000:
        return f"{octets / 1e6:.1f} MB"
    return f"{octets / 1e3:.0f} kB" if octets >= 1000 else f"{octets} bytes"


class CheckProgress(Progress):
    """``Progress`` that knows how large the files are: it says how many failed and how long it will take.

    Args:
        sizes: bytes of each file, in their order.
        columns: how wide the terminal is.
        quiet: say nothing at all.
        live: a status line may be drawn.
        stream: where to write; None: stderr.
    """

    _REDRAW_S = 0.2
    _SETTLED_S = 2.0  # before this a guess at the time left says nothing

    def __init__(
        self, sizes: Sequence[int], columns: int, *, quiet: bool, live: bool, stream: TextIO | None = None
    ) -> None:
        super().__init__(len(sizes), quiet=quiet, live=live, stream=stream)
        self._sizes, self._columns, self._name = sizes, columns, ""
        self._began_s: float | None = None
        self._drawn_s = -math.inf

    def start(self, name: str, now_s: float) -> None:
        """An item begins."""
        self._name = name
        self._began_s = now_s if self._began_s is None else self._began_s
        if self.live:
            self._draw(0.0, now_s)
        else:
            super().start(name, now_s)

    def reach(self, share: float, now_s: float | None = None) -> None:
        """This share of the item at hand is done."""
        now_s = time.monotonic() if now_s is None else now_s
        if self.live and now_s >= self._drawn_s + self._REDRAW_S:
            self._draw(min(max(share, 0.0), 1.0), now_s)

    def _draw(self, share: float, now_s: float) -> None:
        self._drawn_s = now_s
        parts = [f"{self.done + 1} of {self.total}"]
        parts += [f"{self.failed} failed"] if self.failed else []
        parts += [self._left(share, now_s)]
        told = ", ".join(filter(None, parts))
        told += f", {share:.0%} of " if share else ": "
        room = self._columns - 1 - len(told)
        line = told + (shortened(clean(self._name, _LONG), room) if room >= _NARROWEST else "")
        self.stream.write(f"\r\x1b[K{line[: self._columns - 1]}")
        self.stream.flush()

    def _left(self, share: float, now_s: float) -> str:
        done = sum(self._sizes[: self.done]) + share * self._sizes[self.done]
        spent = now_s - (self._began_s or 0.0)
        if spent < self._SETTLED_S or not done:
            return ""
        return f"about {clock(spent * (sum(self._sizes) - done) / done)[:-2]} left"
