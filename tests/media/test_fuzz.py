"""Damaged files through ``check`` and ``tag``: a few in every run of the tests, a minute of them if asked."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.media import fuzz as fuzzing
from tests.media.fuzz import Outcome, fuzz, table
from tests.media.fuzz_corpus import MAKERS, make_corpus, real_files
from tests.media.fuzz_worker import check_faults, tag_faults
from tests.media.makers import even, tone, write

from avglance.media import check
from avglance.types import Cost, Failure, Label, Moment, Reason, Recognition, Span


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return make_corpus(tmp_path_factory.mktemp("corpus"))


def test_the_whole_files_are_whole(corpus):
    assert [path.name for path in corpus] == list(MAKERS)
    for path in corpus:
        assert check(path, quick=True).condition.verdict == "ok", path.name


def test_a_few_damaged_files_give_answers(corpus):
    out = fuzz(files=60, seconds=120, seed=11, corpus=corpus)
    assert out.defects == [], table(out)
    assert out.files == 60
    for call in ("check", "tag"):
        assert out.verdicts[call].total() == 60
        assert len(out.verdicts[call]) >= 4


@pytest.mark.slow
def test_a_minute_of_damaged_files_gives_answers(corpus):
    out = fuzz(seconds=60, seed=12, corpus=corpus + real_files())
    print(table(out))
    assert out.defects == [], table(out)
    assert out.files > 300


# ---- the fuzzer sees what it is there to see ----


def test_a_process_that_ends_is_a_defect(tmp_path):
    out = fuzz(files=5, corpus=[tmp_path / "gone.mp4"])
    assert [(one.call, one.what.splitlines()[0]) for one in out.defects] == [
        ("start", "the process ended with status 1")
    ]
    assert "FileNotFoundError" in out.defects[0].what


class _Silent:
    """A working process that says what a file is, then nothing any more."""

    errors = ("Segmentation fault", "  in read_frame")

    def __init__(self, job: fuzzing.Job) -> None:
        self.lines = [{"ready": True}, {"start": job.first, "text": "a.mp4; zeros", "bytes": 9}]
        self.last = job.first == 1

    def line(self, patience_s: float) -> dict | None:
        if self.lines:
            return self.lines.pop(0)
        if self.last:
            return None
        raise fuzzing.queue.Empty

    def trace(self) -> str:
        return "in decode_forever"

    def stop(self, patience_s: float = 0.0) -> int:
        return -11


def test_a_hang_and_a_crash_belong_to_their_files(monkeypatch, corpus):
    monkeypatch.setattr(fuzzing, "_Watched", _Silent)
    out = fuzz(files=2, corpus=corpus)
    assert [(one.index, one.call, one.text) for one in out.defects] == [
        (0, "check", "a.mp4; zeros"),
        (1, "check", "a.mp4; zeros"),
    ]
    assert "it hangs\nin decode_forever" in out.defects[0].what
    assert "the process ended with status -11" in out.defects[1].what


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="a pipe with a name is what hangs")
def test_a_process_that_hangs_says_where(monkeypatch, tmp_path):
    os.mkfifo(tmp_path / "pipe.mp4")
    monkeypatch.setattr(fuzzing, "_START_S", 10.0)
    out = fuzz(files=1, corpus=[tmp_path / "pipe.mp4"])
    assert len(out.defects) == 1
    assert out.defects[0].what.startswith("silent for 10 s: it hangs\n")
    assert "in damaged" in out.defects[0].what


def test_growth_is_a_defect():
    steady = [{"sample": n, "rss_mb": 700.0, "handles": 9.0, "threads": 1.0} for n in range(100, 4000, 100)]
    assert list(fuzzing._growth(Outcome(samples=[steady]))) == []
    leaking = [one | {"rss_mb": 700 + one["sample"] / 20, "handles": one["sample"] / 100} for one in steady]
    found = [one.what for one in fuzzing._growth(Outcome(samples=[leaking]))]
    assert [what.split()[0] for what in found] == ["rss_mb", "handles"]


def test_answers_that_cannot_be_are_faults(tmp_path):
    report = check(write(tmp_path / "x.mp4", even(0.4), sound=tone(0.4)), quick=True)
    assert check_faults(report) == []
    condition = report.condition
    for wrong in (
        {"condition": replace(condition, coverage=1.5)},
        {"condition": replace(condition, coverage=float("nan"))},
        {"condition": replace(condition, verdict="degraded")},
        {"condition": replace(condition, reasons=(Reason("damaged", "x", 2.0, 1.0),))},
        {"condition": replace(condition, reasons=(Reason("damaged", "x", 0.0, 50.0),))},
        {"condition": replace(condition, verdict="failed")},
        {"picture_s": 12.0},
        {"info": replace(report.info, duration_s=float("inf"))},
        {"info": replace(report.info, duration_s=-1.0)},
        {"info": replace(report.info, width=0)},
    ):
        assert check_faults(replace(report, **wrong)) != [], wrong


def test_labels_moments_and_spans_that_cannot_be_are_faults(tmp_path):
    condition = check(write(tmp_path / "x.mp4", even(0.4)), quick=True).condition
    moments, spans = (Moment(0.1, 0.5, (0, 0, 9, 9)),), (Span(0.0, 0.2, "a", 0.5),)
    good = Recognition(
        *(
            "x.mp4",
            (Label("a", 0.5),),
            spans,
            moments,
            (0.5, 0.5),
            (0.1, 0.3),
            Cost(),
            condition,
            0.4,
            "m",
            "s",
        )
    )
    assert tag_faults(good) == []
    for wrong in (
        {"labels": (Label("a", float("nan")),)},
        {"labels": ()},
        {"spans": (Span(0.2, 0.1, "a", 0.5),)},
        {"moments": (Moment(0.5, 0.5, None),)},
        {"moments": (Moment(0.1, 0.5, (5, 0, 5, 9)),)},
        {"times": (0.1, np.inf)},
        {"saliency": (0.5, 0.1)},
    ):
        assert tag_faults(replace(good, **wrong)) != [], wrong
    assert tag_faults(Failure("x.mp4", "truncated", "cut off", "copy it again")) == []
    assert tag_faults(Failure("x.mp4", "error", "KeyError: 1", "report it")) != []
