"""The threats that SECURITY.md names, each through the command line as a person meets it."""

from __future__ import annotations

import json
import os
import re
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest

from avglance.app import cli
from avglance.errors import ArgumentError, DataError
from avglance.media import Limits
from tests.app.conftest import clip, random_model, write_clip  # noqa: F401 - fixtures
from tests.media.makers import even, tone, write
from tests.media.test_safety import Listener, listener, playlists  # noqa: F401 - a fixture

ROOT = Path(__file__).resolve().parents[1]


def lines(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, list[dict]]:
    """Exit code and JSON lines of a command."""
    code = cli.main([*map(str, words)])
    return code, [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_s2_a_playlist_under_a_media_name_touches_nothing(tmp_path, listener, random_model, capsys):  # noqa: F811
    folder, canary = tmp_path / "in", write(tmp_path / "canary.mp4", even(1))
    folder.mkdir()
    for n, text in enumerate(playlists(canary, listener.port).values()):
        (folder / f"{n}.{('mp4', 'mkv', 'ts', 'wav')[n % 4]}").write_text(text)
    old = time.time() - 30 * 86_400
    os.utime(canary, (old, old))
    for words in (["check", folder], ["tag", folder, "--model", random_model]):
        code, found = lines(capsys, *words, "--json")
        assert code == 6
        assert {(line["verdict"], line["kind"]) for line in found} == {("failed", "refused")}
        assert len(found) == len(playlists(canary, 1))
    assert canary.stat().st_atime == pytest.approx(old)
    assert listener.knocks == 0


@pytest.mark.skipif(os.name == "nt", reason="Windows forbids such names")
def test_s3_names_are_only_names(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    whole = write(tmp_path / "whole.mp4", even(1), sound=tone(1)).read_bytes()
    names = [
        "-i.mp4",
        "--help",
        "concat:a",
        "a;touch b",
        "line\nfeed.mp4",
        "'\"`$(touch c)`.mp4",
        "http:x.mp4",
    ]
    for name in names:
        Path(name).write_bytes(whole)
    os.unlink("whole.mp4")
    code, found = lines(capsys, "check", "--json", "--", *names)
    assert code == 0
    assert [line["verdict"] for line in found] == ["ok"] * len(names)
    assert sorted(os.listdir()) == sorted(names)


def bomb_attached(folder: Path) -> Path:
    """An MP4 with an attached PNG that claims 32768 x 32768 pixels."""
    import zlib

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    rows = zlib.compress(bytes(1 << 20), 9)
    head = struct.pack(">IIBBBBB", 32_768, 32_768, 8, 2, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")

    def box(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body) + 8) + kind + body

    cover = box(b"covr", box(b"data", struct.pack(">II", 14, 0) + png))
    handler = box(b"hdlr", bytes(8) + b"mdirappl" + bytes(9))
    path = write(folder / "cover.mp4", even(1), sound=tone(1))
    raw = path.read_bytes()
    at = raw.index(b"moov") - 4
    size = struct.unpack_from(">I", raw, at)[0]
    moov = raw[at + 8 : at + size] + box(b"udta", box(b"meta", bytes(4) + handler + box(b"ilst", cover)))
    path.write_bytes(raw[:at] + box(b"moov", moov) + raw[at + size :])
    return path


def bomb_zeros(folder: Path) -> Path:
    """A gigabyte of nothing behind a good beginning; it takes no room on the disk."""
    path = write(folder / "zeros.ts", even(1), sound=tone(1))
    with path.open("r+b") as file:
        file.truncate(1 << 30)
    return path


MEASURE = """
import resource, sys, time
from avglance.app import cli
start = time.perf_counter()
code = cli.main(sys.argv[1:])
own = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
peak = max(own, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss) * 1024
sys.stderr.write(f"{code} {time.perf_counter() - start} {peak}")
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="peak memory is measured as Linux counts it")
@pytest.mark.parametrize("make", [bomb_attached, bomb_zeros])
def test_s5_a_bomb_costs_little(tmp_path, make):
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, "check", "--json", str(make(tmp_path))],
        capture_output=True,
        text=True,
    )
    code, seconds, peak = map(float, done.stderr.split())
    verdict = json.loads(done.stdout)
    assert (code, verdict["verdict"] != "failed" or verdict["kind"]) in [(0, True), (3, "limit")]
    assert seconds < 20  # most of it is the reading of a gigabyte of zeros
    assert peak < 500_000_000


def test_s5_limits_are_options(tmp_path, capsys):
    path = write(tmp_path / "x.mp4", even(1), sound=tone(1))
    for setting in ("max_pixels=1000", "max_duration_s=0.5", "max_rate_hz=8000", "max_streams=1"):
        for where in ([], ["--in-process"]):
            code, (line,) = lines(capsys, "check", path, "--json", "--limit", setting, *where)
            assert (code, line["kind"]) == (3, "limit"), setting
            assert setting.split("=")[0] in line["hint"]
    for setting in ("max_pixel=3", "max_pixels", "max_pixels=none", "max_pixels=-1", "max_pixels=inf"):
        assert cli.main(["check", str(path), "--limit", setting]) == 2
        assert "max_pixels" in capsys.readouterr().err


def test_s5_every_limit_is_documented():
    told = (ROOT / "SECURITY.md").read_text()
    table = dict(re.findall(r"^\| `(max_\w+)` \| ([\d,]+)", told, re.MULTILINE))
    assert {name: float(value.replace(",", "")) for name, value in table.items()} == vars(Limits())


@pytest.mark.parametrize(
    "name",
    [
        "../out.mp4", "a/../../out.mp4", "/etc/hostname", "\\\\host\\share\\x.mp4", "C:\\x.mp4", "x\0.mp4",
        "link.mp4", "folder/out.mp4", "\uff0e\uff0e/out.mp4", "\u2025/out.mp4",
    ],
)  # fmt: skip
@pytest.mark.parametrize("form", ["manifest.jsonl", "list.jsonl"])
def test_s6_a_list_names_nothing_outside_its_folder(tmp_path, name, form, capsys):
    data = tmp_path / "data"
    data.mkdir()
    write_clip(tmp_path / "out.mp4", seconds=1)
    (data / "link.mp4").symlink_to(tmp_path / "out.mp4")
    (data / "folder").symlink_to(tmp_path)
    (data / form).write_text(json.dumps({"path": name, "labels": ["rain"]}) + "\n")
    before = sorted(os.listdir(tmp_path))
    code = cli.main(
        ["train", str(data / form), "--system", "avgn_nano", "--out", str(tmp_path / "data" / "run")]
    )
    told = capsys.readouterr().err
    assert code in (DataError.exit_code, ArgumentError.exit_code)
    assert f"{form}, line 1" in told
    assert "Traceback" not in told
    assert sorted(os.listdir(tmp_path)) == before


@pytest.mark.skipif(os.name == "nt", reason="Windows forbids such names")
def test_s7_a_name_is_no_script_in_a_report(tmp_path, random_model, capsys):  # noqa: F811
    name = "<svg onload=alert(1)>\"'<&lt;script>.mp4"
    path = write_clip(tmp_path / name, seconds=1)
    page = tmp_path / "page.html"
    assert cli.main(["tag", str(path), "--model", str(random_model), "--report", str(page), "--quiet"]) == 0
    html = page.read_text()
    assert "<svg onload" not in html
    assert "&lt;svg onload" in html
    assert not re.search(r"<script|javascript:|https?://(?!www\.w3\.org/2000/svg)", html)


@pytest.mark.skipif(os.name == "nt", reason="Windows forbids such names")
def test_s9_control_characters_never_reach_a_terminal(tmp_path, random_model, capsys):  # noqa: F811
    names = ["\x1b[31mred\x07.mp4", "\x9b2J.mp4", "\u202egnp.mp4"]
    for name in names:
        write_clip(tmp_path / name, seconds=1)
    (tmp_path / "\x1b]0;title\x07bad.mp4").write_text("no video")
    for words in (
        ["check", tmp_path],
        ["tag", tmp_path, "--model", random_model],
        ["check", tmp_path / "\x1bgone"],
    ):
        cli.main([*map(str, words)])
        told = "".join(capsys.readouterr())
        assert not set(told) & {"\x1b", "\x07", "\x9b", "\u202e"}
