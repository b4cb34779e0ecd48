"""The shipped model for real video: encoders trained on, from whole clips and spliced videos together.

Part "model" of benchmarks/ucf.py. The training begins with a model of the plain splices (frozen encoders,
seed 0), and nothing is held out of it: what its scores are worth is what the twin of that model found
(``ucf_twin``). The test clips are looked at once, from their files.
"""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from avglance.data.splice_sources import read_clips
from avglance.types import UNKNOWN

if TYPE_CHECKING:
    from glanceworld import Step
    from ucf_places import Places

NAME = "avgn_mobile.ucf7"
SPLICES, STRANGERS = 300, 60  # with an event, and without: a step of all encoders takes ten of frozen ones
LEARN = "--validation 0 --teach-unknown --setting encoder_rate 0.1 --rate 0.0003 --batch 16"
USE = (
    "Knows seven classes of UCF-101 by sight and sound, in short clips and in longer videos where they come "
    "among other things: Archery, BasketballDunk, CricketBowling, CricketShot, PlayingCello, PlayingSitar, "
    "Surfing. A beginning for classes of one's own (avglance train FOLDER). It knows nothing else: what it "
    "says of other videos means nothing. Trained on 246 clips of 320x240 and on videos spliced from them. "
    "Temperatures, thresholds and exits are those of a twin with frozen encoders that was trained on two "
    "thirds of the groups and calibrated on the others. Its test videos are of groups that trained nothing."
)
LICENSE = "research use: trained on clips of UCF-101, whose rights hold; code Apache-2.0"


def combined(at: Places, table: Path) -> None:
    """Writes the whole clips and the first spliced ones as one table, with the times of the events."""
    root, made = common(at), at.data / "plain" / "train"
    rows = [
        (relative(clip.path, root), clip.label, clip.group, clip.split, "", "")
        for clip in read_clips(at.clips)
        if clip.split != "background"
    ]
    lines = (made / "manifest.jsonl").read_text(encoding="utf-8").splitlines()
    records = [json.loads(line) for line in lines]
    strange = [record for record in records if record["labels"] == [UNKNOWN]]
    shown = [record for record in records if record["labels"] != [UNKNOWN]]
    for record in strange[:STRANGERS]:
        rows.append((relative(made / record["path"], root), UNKNOWN, "", "train", "", ""))
    for record in shown[:SPLICES]:
        truth = json.loads((made / record["truth"]).read_text(encoding="utf-8"))
        for event in truth["events"]:
            file = relative(made / record["path"], root)
            rows.append((file, truth["label"], truth["group"], "train", event["start_s"], event["end_s"]))
    table.parent.mkdir(parents=True, exist_ok=True)
    with table.open("w", encoding="utf-8", newline="") as file:
        written = csv.writer(file)
        written.writerow(("path", "label", "group", "split", "start_s", "end_s"))
        written.writerows(rows)


def common(at: Places) -> Path:
    """The folder below which clips and spliced videos lie."""
    return Path(os.path.commonpath([at.clips.resolve().parent.parent, at.data.resolve()]))


def relative(file: Path, root: Path) -> str:
    return file.resolve().relative_to(root).as_posix()


def model_part(at: Places) -> list[Step]:
    """The steps: both kinds of videos as one dataset, the training, one evaluation from the files."""
    from glanceworld import Step
    from results_rows import K
    from ucf_twin import twins

    table, data, run = at.data / "model.csv", at.data / "model", at.runs / "model"
    start, file = at.run("plain", "avgn", 0) / "model", run / "sure" / "eval_k4.json"
    sure, twin = run / "sure" / "model", at.runs / "twin" / "seed0" / "sure"
    words = ["data", "import", "table", "--annotations", str(table), "--videos", str(common(at))]
    listed, trained = (data / "manifest.jsonl").is_file(), (run / "model").is_dir()
    learn = ["train", str(data), "--system", "avgn_mobile", "--start", str(start), "--epochs", "1"]
    learn += LEARN.split()
    learn += f"--setting train_looks {K} --setting random_branch false".split()  # a third of the time
    learn += ["--cache", str(at.data / "cache"), "--out", str(run), *at.train_words]
    take = ("borrowed", str(run / "model"), str(twin), str(sure))
    check = ("eval", str(sure), str(data), "--split", "test", "--out", str(file), "--quiet")
    return [
        *twins(at, 0),
        Step(("combined", str(table)), 1.0 * (not listed), listed),
        Step((*words, "--out", str(data), "--quiet"), 1.0 * (not listed), listed),
        Step(tuple(learn), 1500.0 * (not trained), trained),
        Step(take, 5.0 * (not sure.is_dir()), sure.is_dir()),
        Step(check, 60.0 * (not file.is_file()), file.is_file()),
    ]


def ship(at: Places) -> None:
    """Puts the model into the package, in 16 bits, with its answer to the package's clip and its graphs."""
    run = at.runs / "model" / "sure"
    made = "python benchmarks/ucf.py model --clips CLIPS.csv --weights SENSE=FILE ..."
    words = [str(run), str(run / "eval_k4.json"), NAME, "--worlds", str(at.data), "--runs", str(at.runs)]
    words += ["--half", "--use", USE, "--license", LICENSE, "--command", made]
    words += ["--test", "98 whole clips of groups that trained nothing, from their files"]
    here = Path(__file__).resolve().parent
    subprocess.run([sys.executable, str(here / "ship.py"), *words], check=True)
    folder = str(here.parent / "src/avglance/models" / NAME)
    for words in (["selftest", folder, "--record"], ["export", folder, "--out", folder, "--check"]):
        subprocess.run([sys.executable, "-m", "avglance", *words, "--force"], check=True)
