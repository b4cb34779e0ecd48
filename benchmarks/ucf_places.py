"""Where the data and the runs of benchmarks/ucf.py lie, and the commands that make them."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from pathlib import Path

from glanceworld import Step
from results_rows import KEPT

SEEDS = (0, 1, 2)
ROWS = ("avgn", "deaf", "lines", "avtest")
SYSTEMS = {"tsn": "tsn_mobile"} | dict.fromkeys(ROWS, "avgn_mobile")
SENSES = {"tsn": ("sound", "focus")} | dict.fromkeys(ROWS, ("picture", "sound", "focus"))
BY_LINES = (("chooser", "evidence"), ("choose_rate", "5"), ("teacher", "heads"))
DEAF = ("hear_choose", "hear_aim", "hear_answer")
EPOCHS = {"whole": 30}  # 8 of the splices: chosen on training groups and backgrounds held out together
DRAWN = {
    "whole": (*BY_LINES, ("choose_hear", "0.5"), ("answer_hear", "1")),
    "half": (
        *BY_LINES,
        ("drop_sound", "0"),
        ("choose_hear", "1"),
        ("choose_alone", "0"),
        ("answer_hear", "1"),
    ),
}
# both chosen on held-out training groups (whole: a third of them; half: with other backgrounds); half: no
# sense alone tells anything there, so none is dropped, and none learns to choose alone
BESIDE = {
    "lines": (*BY_LINES, ("choose_hear", "0.2")),
    "avtest": (("drop_sound", "0"), ("answer_hear", "1")),
}
"""What else a row is trained with, and in place of what its part is."""
VIDEOS, STRANGERS, FPS = 1000, 200, 6.25  # of a spliced set; of background alone; pictures a second
VARIED = {"train": ("--vary",), "fit": ("--vary",)}
SPLICE_S = 0.8  # core-seconds a spliced video at 6.25 pictures a second
TRAIN_S, EVAL_S = 600.0, 0.3  # a training before one is measured; core-seconds an evaluated video: both rough


@dataclass(frozen=True)
class Places:
    """Where everything lies, and what every training and evaluation is told besides."""

    clips: Path
    weights: dict[str, str]
    data: Path
    runs: Path
    train_words: tuple[str, ...] = ()
    eval_words: tuple[str, ...] = ()
    kept: Path = KEPT

    def run(self, part: str, row: str, seed: int) -> Path:
        """The run folder of a row and a seed."""
        return self.runs / part / row / f"seed{seed}"

    def model(self, part: str, row: str, seed: int) -> Path:
        """The model of a row: of plain splices AVGN's with the card of its twin."""
        return self.run(part, row, seed) / ("sure" if (part, row) == ("plain", "avgn") else "model")

    def train(self, part: str, row: str, seed: int, *, split: str = "train", out: Path | None = None) -> Step:
        """Trains a row; of splices nothing is held out, what is held out lies apart."""
        out, data = out or self.run(part, row, seed), self.data / part
        words = ["train", str(data / split if part != "whole" else data), "--system", SYSTEMS[row]]
        words += ["--validation", "0"] if part != "whole" else []
        words += ["--teach-unknown"] if part == "plain" else []
        for sense in SENSES[row]:
            words += ["--weights", f"{sense}={self.weights[sense]}"]
        words += ["--setting", "encoder_rate", "0", "--epochs", str(EPOCHS.get(part, 8))]
        changes = () if row == "tsn" else BESIDE.get(row, DRAWN.get(part, ()))
        words += [word for change in changes for word in ("--setting", *change)]
        words += [word for name in DEAF if row == "deaf" for word in ("--setting", name, "false")]
        words += ["--features", "1", "--cache", str(self.data / "cache")]
        words += ["--seed", str(seed), "--out", str(out), *self.train_words]
        done = (out / "model").is_dir()
        return Step(tuple(words), 0.0 if done else self.usual_s(part), done)

    def usual_s(self, part: str) -> float:
        """Seconds of a training: as those of the part took that are done."""
        from avglance.evaluation.trainings import read_training

        runs = [file.parent for file in self.runs.glob(f"{part}/*/seed*/run.json")]
        took = [one.seconds for one in map(read_training, runs) if one.finished and one.seconds]
        return statistics.fmean(took) if took else TRAIN_S

    def evaluate(self, model: Path, data: Path, file: Path, *options: str, videos: int = VIDEOS) -> Step:
        """Evaluates a model on a dataset from its cache."""
        words = ("eval", str(model), str(data), *options, "--cache", str(self.data / "cache"))
        words += self.eval_words
        done = file.is_file()
        return Step((*words, "--out", str(file), "--quiet"), 0.0 if done else videos * EVAL_S, done)

    def splice(self, name: str, split: str, *options: str, videos: int = VIDEOS) -> Step:
        """Makes spliced videos."""
        out = self.data / name / split
        words = ["data", "splice", str(self.clips), str(out), "--videos", str(videos), "--seed", "1"]
        words += ["--split", split, *options, *VARIED.get(split, ()), "--fps", str(FPS), "--quiet"]
        done, there = (out / "manifest.jsonl").is_file(), len(list((out / "truth").glob("*.json")))
        left = (
            videos + (int(options[options.index("--unknown") + 1]) if "--unknown" in options else 0) - there
        )
        return Step(tuple(words), 0.0 if done else max(left, 1) * SPLICE_S, done)
