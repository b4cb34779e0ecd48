"""The table of ``avglance check``: columns in line, names that fit, a status line that knows the time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from avglance.app.check_table import CheckProgress, Table, detail, indented, shortened, summary
from avglance.app.render import Ink
from avglance.media import CheckReport
from avglance.types import AudioTrack, Condition, Failure, MediaInfo, Reason

INFO = MediaInfo(83.26, 1920, 1080, 29.97, False, "mov", "h264", (AudioTrack("aac", 48_000, 2),))
TRUNCATED = Reason("truncated", "the file ends before its header says", 5.0, 10.0)
COMMAND = "ffmpeg -nostdin -i " + "a" * 200 + ".mp4 -c copy b.mp4"


def found(
    *reasons: Reason,
    video: str = "a.mp4",
    audio: str = "present",
    advice: tuple[str, ...] = (),
    coverage: float = 1.0,
    **changes: object,
) -> CheckReport:
    info = replace(INFO, **changes)  # type: ignore[arg-type]  # a test's shorthand
    verdict = "degraded" if reasons else "ok"
    condition = Condition(verdict, reasons, audio, coverage)  # type: ignore[arg-type]
    return CheckReport(video, condition, info, 9, 1.0, 1.0, None, 5_000_000, 2.0, advice)


def failed(video: str, advice: tuple[str, ...] = ()) -> CheckReport:
    condition = Condition("failed", (Reason("empty", "an empty file"),), "absent", 0.0)
    failure = Failure(video, "empty", "an empty file", "copy it again")
    return CheckReport(video, condition, None, 0, 0.0, 0.0, failure, 0, 0.0, advice)


@pytest.fixture
def plain(terminal, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    return Ink(terminal)


def test_columns_line_up(plain):
    for columns in (80, 120):
        table = Table(plain, columns)
        head = table.head()
        rows = [
            table.rows(found())[0],
            table.rows(found(duration_s=40_000.0, width=7680, height=4320, video_codec="mpeg2video"))[0],
            table.rows(found(video_codec="a_codec_of_a_long_name", frame_rate=999.99, variable_rate=True))[0],
            table.rows(failed("b.mp4"))[0],
        ]
        at = head.index("file")
        assert [row[at - 2 : at].strip() for row in rows] == [""] * 4
        assert [row[at:] for row in rows] == ["a.mp4"] * 3 + ["b.mp4"]
        for name in ("length", "picture", "codec", "sound"):
            assert {row[head.index(name) - 1] for row in rows} == {" "}
            assert " " not in {row[head.index(name)] for row in rows}


def test_what_stands_in_the_cells(plain):
    def cells(report: CheckReport) -> list[str]:
        return Table(plain, 120).rows(report)[0].split()

    assert cells(found()) == ["ok", "01:23.3", "1920x1080", "h264", "29.97", "aac", "100%", "a.mp4"]
    assert cells(found(duration_s=3683.4, video_codec="libdav1d"))[1:4] == ["1:01:23", "1920x1080", "av1"]
    assert cells(found(variable_rate=True, frame_rate=0.0))[4] == "?"
    assert cells(found(variable_rate=True))[4] == "~29.97"
    assert cells(found(audio="silent"))[5] == "silent"
    assert cells(found(audio="absent"))[5] == "-"
    assert cells(found(audio_tracks=INFO.audio_tracks * 3))[5] == "aac+2"
    assert cells(found(coverage=0.9999))[6] == "99%"  # 100 is said of whole files only
    assert cells(found(has_video=False))[2:5] == ["-", "-", "-"]
    assert cells(failed("x.mp4")) == ["failed", *["-"] * 6, "x.mp4"]


def test_below_a_file_stands_what_is_wrong_and_what_to_do(plain):
    report = found(TRUNCATED, advice=("do this:", COMMAND))
    first, *below = Table(plain, 80).rows(report)
    assert first.startswith("degraded  ")
    assert below == [
        "          truncated: the file ends before its header says, 00:05.0 to 00:10.0",
        "          do this:",
        f"          {COMMAND}",  # never broken: it is to be copied
    ]
    assert Table(plain, 80).rows(found()) == [Table(plain, 80).rows(found(advice=("x",)))[0]]


def test_stretches_of_one_kind_share_a_line(plain):
    reasons = [Reason("damaged", "pictures are damaged", s, s + 1.0) for s in (1.0, 3.0)]
    _, below = Table(plain, 120).rows(found(*reasons))
    assert below.strip() == "damaged: pictures are damaged, 00:01.0 to 00:02.0, 00:03.0 to 00:04.0"


def test_advice_without_a_command_is_given_once(plain):
    table, words = Table(plain, 80), ("nothing helps",)
    assert len(table.rows(failed("a", words))) == 4
    assert len(table.rows(failed("b", words))) == 3
    for _ in range(2):
        assert len(table.rows(found(TRUNCATED, advice=("do this:", COMMAND)))) == 4


def test_names_are_shown_below_the_folder(plain):
    table = Table(plain, 80, Path("films"))
    assert table.head().endswith("  file, in films")
    assert table.rows(found(video="films/2024/a.mp4"))[0].endswith("  2024/a.mp4")
    assert table.rows(failed("films"))[0].endswith("  films")


@pytest.mark.parametrize(
    ("name", "room", "shown"),
    [
        ("short.mp4", 9, "short.mp4"),
        ("holiday/2024/a long name.mp4", 20, "holida...ng name.mp4"),
        ("日本語のとても長い名前.mp4", 20, "日本語...い名前.mp4"),
        ("e\u0301" * 10, 10, "e\u0301" * 10),
    ],
)
def test_names_are_cut_in_the_middle(name, room, shown):
    assert shortened(name, room) == shown


def test_control_characters_stay_out(plain):
    report = found(TRUNCATED, video="a\x1b[31m\n.mp4", advice=("say \x1b[0m this", "ffmpeg -i INPUT"))
    for lines in (Table(plain, 80).rows(report), detail(report, plain, 80)):
        assert not any("\x1b" in line or "\n" in line for line in lines)


def test_sentences_are_broken_to_fit():
    lines = indented(["word " * 40, COMMAND, "a film\u00a0of\u00a0mine"], 60)
    assert all(len(line) <= 60 for line in lines if "ffmpeg" not in line)
    assert f"          {COMMAND}" in lines
    assert lines[-1] == "          a film of mine"
    kept = "ffmpeg -i 'a\u00a0b.mp4'"
    assert indented([kept], 60) == [f"          {kept}"]  # a name is not changed


def test_the_end_says_how_much_and_how_fast():
    reports = [found(), found(TRUNCATED), failed("x")]
    assert summary(reports, "the disk reads 512 MB/s") == [
        "3 files: 1 ok, 1 degraded, 1 failed",
        "02:46.5 of footage, 10.0 MB, checked in 4.00 s: 42 x real time, 2.5 MB/s; the disk reads 512 MB/s",
    ]
    assert summary([found()], "") == [
        "01:23.3 of footage, 5.0 MB, checked in 2.00 s: 42 x real time, 2.5 MB/s"
    ]
    assert summary([failed("x")], "") == []


def test_the_status_line(terminal, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "")
    monkeypatch.setenv("TERM", "xterm")
    progress = CheckProgress([100, 100, 200], 60, quiet=False, live=True, stream=terminal)

    def drawn() -> str:
        text, terminal.text = terminal.text, ""
        return text.removeprefix("\r\x1b[K")

    progress.start("a.mp4", 10.0)
    assert drawn() == "1 of 3: a.mp4"
    progress.reach(0.5, 10.1)
    assert drawn() == ""  # not more than five times a second
    progress.reach(0.5, 15.0)
    assert drawn() == "1 of 3, about 00:35 left, 50% of a.mp4"
    progress.end(failed=True)
    assert drawn() == ""
    progress.start("folder/" + "b" * 60 + ".mp4", 20.0)
    line = drawn()
    assert line.startswith("2 of 3, 1 failed, about 00:30 left: folde")
    assert line.endswith("bb.mp4")
    assert len(line) == 59  # the last column stays free: a full line would break


def test_no_status_line_where_it_is_not_wanted(terminal, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "")
    monkeypatch.setenv("TERM", "xterm")
    for how in ({"quiet": True, "live": True}, {"quiet": False, "live": False}):
        progress = CheckProgress([1, 1], 80, stream=terminal, **how)
        progress.start("a", 0.0)
        progress.reach(0.5, 5.0)
        progress.end(failed=False)
        assert terminal.text == ""
    progress.start("b", 100.0)
    assert terminal.text == "avglance: 1 of 2 done, 0 failed\n"  # a plain line every half minute


def test_empty_files_have_no_time_left(terminal, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "")
    monkeypatch.setenv("TERM", "xterm")
    progress = CheckProgress([0, 0], 80, quiet=False, live=True, stream=terminal)
    for second in (0.0, 50.0):
        progress.start("a", second)
        progress.end(failed=True)
    assert "left" not in terminal.text
