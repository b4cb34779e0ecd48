"""The report: one file that needs nothing else, in which names from outside are only text."""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import avglance
from avglance.app import report
from avglance.app.answer import Sighting, Sightings
from avglance.errors import ArgumentError
from avglance.types import Condition, Cost, Failure, Label, Reason, Recognition, Span

NASTY = (
    "<svg onload=alert(1)>.mp4",
    'x" onerror="alert(1)" y="',
    "</script><script>alert(1)</script>",
    "</style><img src=https://example.com/x.png>",
    "javascript:alert(1)",
    "{{ 7 * 7 }}{% for x in y %}",
    "\x1b[31m\u202eabc",
)
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


class Page(HTMLParser):
    """Collects elements, attributes and text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        if self.elements and self.elements[-1][0] != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.words).split())

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]


def sightings(result: Recognition, *, shade: int = 90) -> Sightings:
    """Grey source squares with a patch in their middle, and a level for all snippets but the first."""
    picture = np.full((240, 240, 3), shade, dtype=np.uint8)
    picture[72:168, 72:168] = (30, 160, 60)
    seen = Sighting(picture, (0.3, 0.3, 0.7, 0.7))
    levels = (None, *(-60.0 + 3 * t for t in range(1, len(result.times))))
    visible = tuple(t != 3 for t in range(len(result.times)))
    return Sightings((seen,) * len(result.moments), levels, visible)


def page_of(result: Recognition | Failure, seen: Sightings | None = None) -> str:
    if isinstance(result, Recognition) and seen is None:
        seen = sightings(result)
    return report.page([report.make_entry(result, seen)])


def nasty(make_answer, text: str) -> Recognition:
    return make_answer(
        f"films/{text}",
        labels=(Label(text, 0.7),),
        spans=(Span(1.0, 2.0, text, 0.5),),
        condition=Condition("degraded", (Reason(text, text),)),
        model=text,
        system=text,
        weights_sha256=text,
        reader=text,
    )


@pytest.mark.parametrize("text", NASTY)
def test_names_from_outside_stay_text(make_answer, text: str) -> None:
    plain = Page(page_of(make_answer()))
    for evil in (nasty(make_answer, text), Failure(text, text, text, text)):
        html = page_of(evil)
        page = Page(html)
        shown = text.replace("\x1b", "").replace("\u202e", "")
        assert shown in page.text, "it is there to be read"
        assert not {"script", "iframe", "object", "link", "base", "form"} & {tag for tag, _ in page.elements}
        names = {name for _, attributes in page.elements for name in attributes}
        assert not [name for name in names if name.startswith("on") or name == "style"]
        assert {tag for tag, _ in page.elements} <= {tag for tag, _ in plain.elements}
        assert not set(html) & {"\x1b", "\u202e"}


@pytest.mark.parametrize("text", NASTY)
def test_the_page_points_nowhere_else(make_answer, text: str) -> None:
    answers = [report.make_entry(nasty(make_answer, text), None), report.make_entry(make_answer(), None)]
    page = Page(report.page(answers))
    for _, attributes in page.elements:
        for name in ("href", "src", "action", "xlink:href", "data", "srcset", "poster"):
            value = attributes.get(name, "#")
            assert value.startswith(("#", "data:image/jpeg;base64,")), (name, value[:40])
    style = re.search(r"<style>(.*?)</style>", report.page(answers), re.DOTALL)
    assert style is not None
    assert "url(" not in style[1]
    assert "@import" not in style[1]


def test_the_policy_allows_the_style_and_nothing_that_runs(make_answer) -> None:
    import base64
    import hashlib

    html = page_of(make_answer())
    (policy,) = [
        m["content"] for m in Page(html).all("meta") if m.get("http-equiv") == "Content-Security-Policy"
    ]
    style = re.search(r"<style>(.*?)</style>", html, re.DOTALL)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert policy.split("; ")[:3] == ["default-src 'none'", "img-src data:", f"style-src 'sha256-{digest}'"]
    assert "unsafe" not in policy
    assert html.index("Content-Security-Policy") < html.index("<style>")


def test_what_a_person_looks_for_is_there(make_answer) -> None:
    result = make_answer()
    page = Page(page_of(result))
    for words in (
        "my clip.mp4",
        "films/my clip.mp4",
        "degraded",
        "00:24.0",
        "knows only toy classes",
        "pictures_lost: no picture came (00:04.5 - 00:09.0)",
        "saliency 0.216",
        "patch 100,60 – 196,156 px",
        "00:12.0 – 00:16.5",
        "grating_45 warble 0.731",
        "multiply-adds 0.126 GMACs of 2.2 · 5.7 %",
        "frames looked at 16 of 240 · 6.7 %",
        "time 0.23 s of about 1.66 s · 14 %",
        "13 of 16 snippets were only glanced at; 3 got a close look.",
        "224 of 240 frames were never looked at; 231 had to be decoded to reach the 16 that were.",
        "At 1 of 16 snippets there was no picture to look at.",
        "At 1 of 16 snippets there was no sound to hear.",
        "3f" * 32,
    ):
        assert words in page.text, words
    assert len(page.all("img")) == 3
    patches = [rect for rect in page.all("rect") if rect.get("class") == "patch"]
    assert patches == [{"class": "patch", "x": "30%", "y": "30%", "width": "40%", "height": "40%"}] * 3


def test_the_timeline_is_to_scale(make_answer) -> None:
    result = make_answer()
    shown = report.timeline(result, report.make_entry(result, sightings(result)))
    snippets = shown["snippets"]
    assert [s["number"] for s in snippets if s["number"]] == [1, 2, 3]
    assert [t for t, s in enumerate(snippets) if s["number"]] == [8, 9, 10]
    assert snippets[0]["x"] == 0
    assert snippets[8]["x"] == pytest.approx(50)
    assert snippets[-1]["x"] + snippets[-1]["width"] == pytest.approx(100)
    assert snippets[8]["height"] == pytest.approx(100)
    assert snippets[0]["height"] == pytest.approx(12.5)
    assert snippets[0]["level_db"] is None
    assert snippets[10]["loud"] == pytest.approx(100 * (1 - 30 / 70))
    (span,) = shown["rows"]["grating_45 warble"]
    assert (span["x"], span["width"]) == (50, 18.75)


@pytest.mark.parametrize("duration_s", [0.05, 0.4, 1, 3.3, 24, 61, 3600, 86_400, 7 * 86_400])
def test_ticks_are_few_and_inside(duration_s: float) -> None:
    found = report.ticks(duration_s)
    assert 2 <= len(found) <= 6
    assert found[0]["x"] == 0
    assert all(0 <= tick["x"] <= 100 for tick in found)
    assert len({tick["text"] for tick in found}) == len(found)


def test_the_strangest_answers_have_a_page(make_answer) -> None:
    empty = make_answer(
        moments=(),
        spans=(),
        labels=(),
        times=(),
        saliency=(),
        cost=Cost(),
        duration_s=0.0,
        condition=Condition(),
    )
    assert "The answer stands on the sound alone" in page_of(empty, Sightings((), (), ()))
    one = make_answer(times=(0.0,), saliency=(1.0,), moments=(), spans=(), duration_s=0.0)
    assert "No span" in page_of(one, Sightings((), (None,), (True,)))
    assert report.page([]).count("<article") == 0


def test_many_videos_share_a_page_with_an_index(make_answer) -> None:
    answers = [
        make_answer(),
        Failure("b.mp4", "empty", "an empty file", "copy it again"),
        make_answer("c.mp4"),
    ]
    page = Page(report.page([report.make_entry(a, None) for a in answers]))
    assert [a["href"] for a in page.all("a")] == ["#video-1", "#video-2", "#video-3"]
    assert [a["id"] for a in page.all("article")] == ["video-1", "video-2", "video-3"]
    assert "an empty file" in page.text
    assert "AVGLance report · 3 videos" in page.text


def test_save_reads_the_moments_again(make_answer, clip: Path, tmp_path: Path) -> None:
    times = (0.5, 1.5, 2.5, 3.5)
    moment = dataclasses.replace(make_answer().moments[0], time_s=2.5, box_px=(60, 40, 100, 80))
    result = make_answer(
        str(clip), times=times, saliency=(0.1, 0.1, 0.7, 0.1), moments=(moment,), duration_s=4.0
    )
    seen = report.look_again(result)
    assert seen.moments[0] is not None
    assert seen.moments[0].picture.shape == (120, 160, 3)
    assert seen.moments[0].picture[45:75, 65:95].mean() > 235, "the white square stands in the patch"
    assert seen.moments[0].box == pytest.approx((0.375, 1 / 3, 0.625, 2 / 3))
    levels = seen.levels_db
    assert levels[2] == pytest.approx(-9, abs=1.5), "the tone"
    assert levels[0] == pytest.approx(-40, abs=3)
    path = avglance.report.save(result, tmp_path / "my.html")
    page = Page(path.read_text(encoding="utf-8"))
    assert page.all("img")[0]["src"].startswith("data:image/jpeg;base64,")
    assert oct(path.stat().st_mode & 0o777) == "0o644"
    assert list(tmp_path.iterdir()) == [path], "no draft is left behind"


def test_a_video_that_is_gone_has_a_page_without_pictures(make_answer, tmp_path: Path) -> None:
    path = report.save(make_answer(str(tmp_path / "gone.mp4")), tmp_path / "my.html")
    assert "no picture at hand" in path.read_text(encoding="utf-8")


def test_only_our_own_pages_are_replaced(make_answer, tmp_path: Path) -> None:
    target = tmp_path / "my.html"
    seen = sightings(make_answer())
    report.save(make_answer(), target, sightings=seen)
    report.save(make_answer("second.mp4"), target, sightings=seen)
    assert "second.mp4" in target.read_text(encoding="utf-8")
    film = tmp_path / "film.mp4"
    film.write_bytes(b"precious")
    with pytest.raises(ArgumentError, match="is there already"):
        report.save(make_answer(), film, sightings=seen)
    assert film.read_bytes() == b"precious"
    report.save(make_answer(), film, sightings=seen, force=True)
    assert film.read_bytes().startswith(b"<!doctype html>")


@pytest.mark.parametrize("target", [".", "missing/my.html"])
def test_a_place_that_cannot_be_is_named(make_answer, tmp_path: Path, target: str) -> None:
    with pytest.raises(ArgumentError):
        report.save(make_answer(), tmp_path / target, sightings=sightings(make_answer()))


def shoot(page: Path, picture: Path, *, width: int, height: int, dark: bool, home: Path) -> np.ndarray:
    """What headless Chromium shows of a page, uint8 (H, W, 3)."""
    flags = (
        "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    )
    flags += " --disable-component-update --disable-sync --hide-scrollbars --force-device-scale-factor=1"
    scheme = f"--blink-settings=preferredColorScheme={0 if dark else 1}"
    command = [
        str(CHROMIUM),
        *flags.split(),
        scheme,
        f"--user-data-dir={home}",
        f"--window-size={width},{height}",
    ]
    subprocess.run(
        [*command, f"--screenshot={picture}", page.as_uri()], check=True, capture_output=True, timeout=300
    )
    return np.asarray(Image.open(picture).convert("RGB"))


def dump(page: Path, home: Path) -> str:
    """The page's elements after Chromium has run whatever it would run."""
    flags = (
        "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    )
    flags += " --disable-component-update --disable-sync"
    command = [str(CHROMIUM), *flags.split(), f"--user-data-dir={home}", "--dump-dom", page.as_uri()]
    return subprocess.run(command, check=True, capture_output=True, timeout=300).stdout.decode()


needs_chromium = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium on this machine to look at the page with"
)


@needs_chromium
@pytest.mark.parametrize(
    ("width", "dark"),
    [
        pytest.param(390, False, id="phone-light"),
        pytest.param(1400, True, id="wide-dark"),
        pytest.param(390, True, id="phone-dark", marks=pytest.mark.slow),
        pytest.param(1400, False, id="wide-light", marks=pytest.mark.slow),
    ],
)
def test_a_browser_shows_it(make_answer, tmp_path: Path, width: int, dark: bool) -> None:
    result = make_answer("films/" + "a very long name without an end " * 4 + "x" * 120 + ".mp4")
    page = report.save(result, tmp_path / "my.html", sightings=sightings(result))
    shot = shoot(page, tmp_path / "my.png", width=width, height=2400, dark=dark, home=tmp_path / "home")
    assert shot.shape == (2400, width, 3)
    assert (shot[:, :4].mean() < 60) == dark, "the page's own background reaches the edge"
    edge = np.abs(shot[:, -6:].astype(int) - shot[5, 2].astype(int)).max()
    assert edge <= 6, "nothing runs out of the page on the right"
    green = (np.abs(shot.astype(int) - (30, 160, 60)) < 25).all(-1)
    rows, columns = np.flatnonzero(green.any(1)), np.flatnonzero(green.any(0))
    assert green.sum() > 3 * 40 * 40, "the patches are seen, undimmed, in three thumbnails"
    assert columns[-1] - columns[0] > 0.4 * width
    assert rows[0] < 1200, "moments lead"
    moment = (255, 143, 77) if dark else (212, 72, 11)
    assert ((np.abs(shot.astype(int) - moment) < 8).all(-1)).sum() > 500, "moments are marked on the timeline"
    span = (167, 139, 236) if dark else (122, 91, 192)
    assert ((np.abs(shot.astype(int) - span) < 8).all(-1)).sum() > 300, "and the span has its bar"


@needs_chromium
def test_a_browser_runs_nothing_of_it(make_answer, tmp_path: Path) -> None:
    mark = tmp_path / "my.html"
    evil = [report.make_entry(nasty(make_answer, text), None) for text in NASTY]
    before = report.page(evil)
    report.write(evil, mark)
    after = dump(mark, tmp_path / "home")
    assert [tag for tag, _ in Page(after).elements] == [tag for tag, _ in Page(before).elements]


def test_a_folder_that_cannot_be_written_to_is_named(make_answer, tmp_path: Path, monkeypatch) -> None:
    def full(*args: object, **kwargs: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(report.tempfile, "mkstemp", full)
    with pytest.raises(ArgumentError, match="No space left on device"):
        report.write([], tmp_path / "my.html")


def test_unknown_is_said_in_words(make_answer, tmp_path: Path) -> None:
    names = (Label("unknown", 1.0), Label("grating_45 <warble>", 0.41))
    result = make_answer(labels=names, unknown=True, spans=(), budget="at most 4 looks, fewer when sure")
    other = make_answer()
    text = report.page([report.make_entry(each, None) for each in (result, other)])
    assert "<b>unknown</b>: nothing that this model knows is there. If it had to name something:" in text
    assert "grating_45 &lt;warble&gt;" in text
    assert "1.000" not in text
    assert "allowed: at most 4 looks, fewer when sure." in text


def test_what_was_only_heard_is_said(make_answer) -> None:
    result = make_answer("a.mp4")
    seen = sightings(result)
    few = Sightings(seen.moments, seen.levels_db, seen.visible, unseen=5)
    total, close = len(result.times), len(result.moments)
    text = page_of(result, few)
    assert f"{total - close - 5} of {total} snippets were only glanced at" in text
    assert "5 were only heard" in text
    assert "only heard" not in page_of(result, seen)
