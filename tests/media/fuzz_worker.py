"""The process that fuzzing runs in: makes damaged files, asks ``check`` and ``tag``, says what came.

One JSON object a line on the standard output. It may hang or crash: ``fuzz`` watches it from outside.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import faulthandler
import gc
import json
import logging
import math
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from tests.media.fuzz_read import reading_faults, roam
from tests.media.mutate import mutate

import avglance
from avglance.errors import FAILURE_KINDS
from avglance.media import CheckReport, Decoders, Limits, VideoReader, check
from avglance.types import Condition, Failure, Recognition, as_json

SAMPLE_EVERY = 100
_CHANGES = (1, 1, 1, 2, 3)


def damaged(corpus: list[Path], seed: int, index: int) -> tuple[bytes, str, str]:
    """(bytes, ending of the name, what was done) of one file: a function of corpus, seed and index."""
    rng = np.random.default_rng([seed, index])
    path, other = (corpus[int(n)] for n in rng.integers(0, len(corpus), 2))
    raw, texts = path.read_bytes(), [path.name]
    for _ in range(_CHANGES[int(rng.integers(len(_CHANGES)))]):
        raw, text = mutate(raw, rng, other=other.read_bytes())
        texts.append(text)
    return raw, path.suffix, "; ".join(texts)


# ---- what must hold for every answer ----


def _finite(value: Any, path: str = "") -> Iterator[str]:
    """Numbers anywhere in an answer that are not finite."""
    if isinstance(value, dict):
        for name, one in value.items():
            yield from _finite(one, f"{path}.{name}")
    elif isinstance(value, list):
        for n, one in enumerate(value):
            yield from _finite(one, f"{path}[{n}]")
    elif isinstance(value, float) and not math.isfinite(value):
        yield f"{path} is {value}"


def _condition_faults(condition: Condition, duration_s: float | None) -> Iterator[str]:
    if not 0.0 <= condition.coverage <= 1.0:
        yield f"coverage is {condition.coverage}"
    if condition.verdict == "degraded" and not condition.reasons:
        yield "degraded without a reason"
    if condition.verdict == "ok" and condition.coverage < 0.9:
        yield f"ok, with a coverage of {condition.coverage}"
    for reason in condition.reasons:
        start, end = reason.start_s, reason.end_s
        if (start is None) != (end is None):
            yield f"half a span: {reason}"
        if start is None or end is None:
            continue
        if not start <= end:
            yield f"a span goes back: {reason}"
        inside = duration_s is None or reason.kind == "truncated" or end <= duration_s + 1.0
        if start < -1.0 or not inside:
            yield f"a span lies outside 0..{duration_s}: {reason}"


def check_faults(report: CheckReport) -> list[str]:
    """What is wrong with the answer of ``check``."""
    faults = list(_finite(as_json(report)))
    duration_s = report.info.duration_s if report.info is not None else None
    faults += _condition_faults(report.condition, duration_s)
    failed = report.condition.verdict == "failed"
    if failed != (report.failure is not None) or failed != (report.info is None):
        faults.append("verdict, failure and info do not fit together")
    if report.failure is not None and report.failure.kind not in FAILURE_KINDS:
        faults.append(f"failure of kind {report.failure.kind}")
    if report.info is not None and duration_s is not None:
        if duration_s < 0 or report.info.frame_rate < 0 or min(report.info.width, report.info.height) < 0:
            faults.append(f"a negative size, rate or duration: {report.info}")
        if report.info.has_video and report.info.width * report.info.height == 0:
            faults.append(f"pictures without a size: {report.info}")
        if not 0 <= report.picture_s <= duration_s + 1.0 or report.sound_s < 0:
            faults.append(f"{report.picture_s} s of pictures, {report.sound_s} s of sound in {duration_s} s")
    return faults


def tag_faults(answer: Recognition | Failure) -> list[str]:
    """What is wrong with the answer of ``tag``."""
    if isinstance(answer, Failure):
        known = answer.kind in FAILURE_KINDS and answer.message and answer.hint
        return [] if known else [f"failure of kind {answer.kind}: {answer.message} ({answer.hint})"]
    faults, end = list(_finite(as_json(answer))), answer.duration_s + 1e-6
    faults += _condition_faults(answer.condition, answer.duration_s)
    if not answer.duration_s >= 0:
        faults.append(f"the duration is {answer.duration_s}")
    if not all(0 <= label.score <= 1 for label in answer.labels) or not answer.labels:
        faults.append(f"labels {answer.labels}")
    if not all(0 <= moment.time_s <= end for moment in answer.moments):
        faults.append(f"moments outside 0..{end}: {answer.moments}")
    if not all(0 <= time_s <= end for time_s in answer.times):
        faults.append(f"times outside 0..{end}: {answer.times}")
    if not all(0 <= span.start_s <= span.end_s <= end for span in answer.spans):
        faults.append(f"spans outside 0..{end}: {answer.spans}")
    for box in (moment.box_px for moment in answer.moments if moment.box_px is not None):
        if not (box[0] < box[2] and box[1] < box[3] and min(box) >= 0):
            faults.append(f"box {box}")
    if (
        abs(sum(answer.saliency) - 1) > 1e-3
        or min(answer.cost.frames_decoded, answer.cost.frames_delivered) < 0
    ):
        faults.append(f"saliency {answer.saliency}, cost {answer.cost}")
    return faults


# ---- what the process holds ----


def held() -> dict[str, float]:
    """Resident megabytes, open handles, threads, of this process and those it started; their highest peak."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
    sums = {"rss_mb": 0.0, "peak_mb": 0.0, "handles": 0.0, "threads": 0.0}
    for folder in _family(os.getpid()):
        with contextlib.suppress(OSError):  # one that has just ended
            lines = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines())
            sums["rss_mb"] += int(lines.get("VmRSS", "0").split()[0]) / 1024
            sums["peak_mb"] = max(sums["peak_mb"], int(lines.get("VmHWM", "0").split()[0]) / 1024)
            sums["threads"] += float(lines.get("Threads", "0"))
            sums["handles"] += len(os.listdir(folder / "fd"))
    return sums


def _family(pid: int) -> list[Path]:
    """The folders under /proc of a process and of those that it started; empty where there is no /proc."""
    found: list[Path] = []
    with contextlib.suppress(OSError):
        folder = Path(f"/proc/{pid}")
        for children in folder.glob("task/*/children"):
            for child in children.read_text().split():
                found += _family(int(child))
        found += [folder] if folder.is_dir() else []
    return found


class _Traces(logging.Handler):
    """Keeps the trace of the last error that was logged."""

    def __init__(self) -> None:
        super().__init__()
        self.last = ""

    def emit(self, record: logging.LogRecord) -> None:
        self.last = "".join(traceback.format_exception(*record.exc_info)) if record.exc_info else ""


# ---- the loop ----


@dataclasses.dataclass
class Job:
    """What one process has to do; it writes its files into ``folder``, which others clear away."""

    corpus: list[str]
    folder: str
    seed: int
    first: int
    last: int
    limit_s: float
    isolate: bool
    quick: bool = True
    threads: int = 0


def limits_of(limit_s: float) -> Limits:
    """Limits under which a call should take no longer than about this."""
    return Limits(max_decode_s=limit_s, max_open_s=limit_s / 2, max_seek_s=limit_s / 2)


def serve(job: Job, say: Callable[[dict[str, Any]], None]) -> None:
    """Go through the files of a job."""
    traces = _Traces()
    logging.getLogger("avglance").addHandler(traces)
    model = avglance.load(device="cpu")
    corpus = [Path(name) for name in job.corpus]
    limits = limits_of(job.limit_s)
    with contextlib.ExitStack() as stack:
        opener: Any = stack.enter_context(Decoders()).open if job.isolate else VideoReader
        reading: dict[str, Any] = {"threads": job.threads, "isolate": job.isolate}

        def ask_check(path: Path) -> CheckReport:
            return check(path, quick=job.quick, limits=limits, opener=opener)

        answers = _Tagger(model, limits, reading)
        calls = (
            ("check", ask_check, check_faults),
            ("tag", answers.tag, tag_faults),
            ("read", lambda path: roam(path, opener, limits), reading_faults),
        )
        for index in range(job.first, job.last):
            raw, suffix, text = damaged(corpus, job.seed, index)
            path = Path(job.folder) / f"{index}{suffix}"
            path.write_bytes(raw)
            say({"start": index, "text": text, "bytes": len(raw)})
            for name, ask, judge in calls:
                traces.last = ""
                say({"done": index, "call": name, "text": text} | _one(ask, judge, path, traces))
            path.unlink()
            if (index + 1) % SAMPLE_EVERY == 0:
                say({"sample": index + 1} | held())
        answers.close()


class _Tagger:
    """Asks one ``tag_many`` for file after file, as a long run does; begins another if it breaks off."""

    def __init__(self, model: Any, limits: Limits, reading: dict[str, Any]) -> None:
        self._model, self._limits, self._reading = model, limits, reading
        self._paths: list[Path] = []
        self._answers: Any = None

    def tag(self, path: Path) -> Recognition | Failure:
        self._paths.append(path)
        if self._answers is None:
            waiting = iter(self._paths.pop, None)  # asked only when there is one
            self._answers = self._model.tag_many(waiting, limits=self._limits, **self._reading)
        try:
            answer: Recognition | Failure = next(self._answers)
        except BaseException:
            self._paths, self._answers = [], None
            raise
        return answer

    def close(self) -> None:
        if self._answers is not None:
            self._answers.close()


def _one(ask: Any, judge: Any, path: Path, traces: _Traces) -> dict[str, Any]:
    """Ask for one file: what came, how long it took, what is wrong with it."""
    start = time.perf_counter()
    try:
        answer = ask(path)
    except Exception:  # noqa: BLE001 - whatever escapes is the finding
        seconds = time.perf_counter() - start
        return {"seconds": seconds, "verdict": "raised", "faults": [traceback.format_exc()]}
    seconds = time.perf_counter() - start
    faults = judge(answer)
    if traces.last:
        faults.append(traces.last)
    failure = answer if isinstance(answer, Failure) else getattr(answer, "failure", None)
    verdict = failure.kind if failure is not None else answer.condition.verdict
    kinds = [] if failure is not None else sorted({reason.kind for reason in answer.condition.reasons})
    return {"seconds": seconds, "verdict": verdict, "kinds": kinds, "faults": faults}


def main() -> None:
    """Read a job from the command line, answer on the standard output."""
    faulthandler.enable()
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever else is printed goes elsewhere

    def say(line: dict[str, Any]) -> None:
        print(json.dumps(line), file=out, flush=True)

    say({"ready": True})
    serve(Job(**json.loads(sys.argv[1])), say)
    say({"over": True})


if __name__ == "__main__":
    main()
