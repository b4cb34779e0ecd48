"""The page of a training: what matters is on it, and nothing from outside gets out of its place."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from tests.training.judged import CARD, SIZES, judged

from avglance.app import learned
from avglance.errors import DataError
from avglance.training.learned import report

EVIL = ("<script>alert(1)</script>", "a\x1b[31mred\u202egnp", "';--\"><img src=x onerror=y>")


def made(several=False, **more):
    held = judged()
    held.files[:] = [f"{name}/clip {n}.mp4" for n, name in enumerate(EVIL * 2)]
    how = {"classes": EVIL, "counts": [3, 4, 5], "sizes": SIZES | {"groups": 4}, "gmacs": 0.5}
    return report(held, None, several=several, card=CARD | {"name": EVIL[0]} | more, **how)


@pytest.mark.parametrize("several", [False, True])
def test_hostile_names_stay_text(several):
    page = learned.page(made(several, checkpoint=EVIL[2], device=EVIL[0]))
    body = page.split("</style>")[1]
    assert "<script" not in body
    assert "<img" not in body
    assert "\x1b" not in page
    assert "\u202e" not in page
    assert "&lt;script&gt;" in body
    assert not re.search(r"\son\w+=|javascript:|style=|https?:", body.replace("onerror=y&gt;", ""))
    assert "default-src 'none'" in page


def test_what_matters_is_on_the_page():
    page = learned.page(
        made(calibration={"temperature": [1.0], "least_score": [0.25, None, 0.5], "ece": 0.034})
    )
    for words in (
        "66.7 %",
        "30.0 and 90.3 %",
        "4 groups",
        "2 of 3",
        "0.25",
        "3.4 points",
        "0.5 GMACs",
        "3 videos",
    ):
        assert words in page, words
    assert "Labels that may be wrong" in page
    assert "Too few videos" in learned.page(made())
    several = learned.page(made(several=True))
    assert "Confusions" not in several
    assert "Mean average precision over the classes" in several


def test_the_lines_name_files_and_are_clean(tmp_path, capsys):
    (tmp_path / "report.json").write_text(json.dumps(made()))
    learned.show(tmp_path)
    said = capsys.readouterr()
    assert said.out == ""
    assert "held out: 4 of 6 videos right, 66.7 % (95 % interval 30.0 to 90.3" in said.err
    assert "2 of 3 <script>alert(1)</script> called a[31mredgnp, such as a[31mredgnp/clip 1.mp4" in said.err
    assert "\x1b" not in said.err
    assert said.err.splitlines()[-1] == f"what was learned: {tmp_path / 'report.html'}"
    assert (tmp_path / "report.html").read_text().startswith("<!doctype html>")
    learned.show(tmp_path, quiet=True)
    assert capsys.readouterr().err == ""


def test_nothing_held_out_makes_no_page_and_a_spoilt_report_is_named(tmp_path):
    learned.show(tmp_path)
    assert not list(tmp_path.iterdir())
    for text in ("{", "[]", '{"accuracy": 3}'):
        (tmp_path / "report.json").write_text(text)
        with pytest.raises(DataError, match="not a report"):
            learned.show(tmp_path)


def test_many_classes_are_all_listed_the_worst_first():
    labels = np.arange(40) % 20
    held = judged(np.eye(20)[labels], labels)
    held.scores[3] = np.roll(held.scores[3], 1)
    names = [f"class {n:02d}" for n in range(20)]
    how = {"classes": names, "counts": [1] * 20, "sizes": SIZES, "gmacs": 1.0}
    page = learned.page(report(held, None, several=False, card=CARD, **how))
    listed = re.findall(r'<td class="name">(class \d\d)</td>', page.split("Each class")[1])
    assert listed == ["class 03", *(name for name in names if name != "class 03")]
