"""The page of results: its tables are those of the kept figures, and every row has its command."""

from __future__ import annotations

import importlib
import json
import re
import shlex
import sys
from pathlib import Path

import pytest

from tests.commands import understood
from tests.conftest import SHARED
from tests.evaluation.made_runs import evaluation, hits_of, make_run, write

ROOT = Path(__file__).resolve().parents[1]
VIDEOS = 40
OURS = ("glanceworld_page", "results_rows", "results_asked", "results_others", "results_page")
OURS += ("glanceworld", "ucf_places", "ucf_twin", "ucf_model", "ucf_kept", "ucf")


@pytest.fixture(scope="module")
def made():
    """The modules of benchmarks/, which import each other by their names."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    yield {name: importlib.import_module(name) for name in OURS}
    sys.path.remove(str(ROOT / "benchmarks"))
    for name in OURS:
        del sys.modules[name]


@pytest.fixture
def at(made, tmp_path):
    """Places of made-up runs; weights that are only names."""
    weights = {sense: f"/far/away/{sense}.safetensors" for sense in ("picture", "sound", "focus")}
    kept = tmp_path / "kept"
    kept.mkdir()
    for name in ("main.json", "published.json"):
        (kept / name).write_bytes((ROOT / "docs" / "results" / name).read_bytes())
    return made["ucf"].Places(
        tmp_path / "CLIPS.csv", weights, tmp_path / "data", tmp_path / "runs", kept=kept
    )


def found(right, *, videos=VIDEOS, group=4, **changes):
    """An evaluation of videos of which ``group`` each are of one source."""
    one = evaluation(hits_of(right, videos), looks=changes.pop("looks", 4.0), **changes)
    one["command"] = "avglance eval MODEL DATA"
    for n, row in enumerate(one["rows"]):
        row["group"] = f"g{n // group}"
    return one


def runs_of(at, part, rows):
    """Run folders of three seeds with the evaluations of each row, a video more right with every seed."""
    for name, evaluations in rows.items():
        for seed in range(3):
            some = [found(right + seed, **changes) for right, changes in evaluations]
            run = make_run(at.run(part, name, seed), *some, seed=seed)
            card = json.loads((run / "run.json").read_text())
            words = (
                f"avglance train {at.data}/{part} --weights sound=/far/away/sound.safetensors --seed {seed}"
            )
            write(run / "run.json", card | {"command": words})


def rows_of(text):
    """The cells of every row of a table, its head apart."""
    lines = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("|")]
    return lines[0], lines[2:]


def test_the_pages_are_what_the_kept_figures_give(made):
    page = made["results_page"]
    texts = [file.read_text(encoding="utf-8") for file in page.PAGES]
    tables = page.tables()
    for text in texts:
        assert page.filled(text, tables.items(), script=page.SCRIPT) == text, "run benchmarks/results_page.py"
    begun = re.findall(r"<!-- table (\w+), made by benchmarks/results_page.py -->", "".join(texts))
    assert sorted(begun) == sorted(re.findall(r"<!-- end (\w+) -->", "".join(texts))) == sorted(tables)


def test_every_kept_file_and_every_page_with_figures_says_how_it_is_made(made):
    kept = {file.stem for file in (ROOT / "docs" / "results").glob("*.json")}
    assert kept <= set(made["results_others"].MAKERS)
    text = (ROOT / "docs" / "reproduce.md").read_text(encoding="utf-8")
    for file in (ROOT / "benchmarks").glob("*.py"):
        if '__name__ == "__main__"' in file.read_text(encoding="utf-8") and file.stem != "glanceworld":
            assert file.name in text, f"docs/reproduce.md does not say what {file.name} makes"
    for words in re.findall(r"`(avglance [^`]+)`", text):
        assert not understood(words), words


def commands_are_there(text):
    """Every row of a table ends with a command, or with the number of one that stands below."""
    head, rows = rows_of(text)
    assert head[-1] == "command"
    assert rows
    below = dict(re.findall(r"^(\d+)\. (.*`.+`.*)$", text, re.MULTILINE))
    for row in rows:
        assert re.fullmatch(r"`.+`", row[-1]) or row[-1] in below, row


def test_every_row_of_ours_has_a_command(made):
    for name, text in made["results_page"].tables().items():
        if name not in ("asked", "files", "startup", "runtimes") and not name.startswith("published"):
            commands_are_there(text)


def test_published_rows_stand_apart_with_metric_hardware_and_source(made):
    for name, text in made["results_page"].tables().items():
        head, rows = rows_of(text)
        assert (head[0] == "published") == name.startswith("published")
        if name.startswith("published"):
            assert {"hardware", "source"} <= set(head)
            assert any("mAP" in cell or "top-1" in cell or "accuracy" in cell for cell in head)
            assert all(all(cell.strip() for cell in row) and len(row) == len(head) for row in rows)


def test_published_figures_are_those_of_the_notes(made):
    notes = SHARED / "papers" / "README.md"
    if not notes.is_file():
        pytest.skip("no folder shared/papers beside the project: the notes on papers are not on this machine")
    text = notes.read_text(encoding="utf-8").split("## 3. Published numbers")[1].split("## 4.")[0]
    sections = {part.split(",")[0].strip(): part for part in text.split("\n### ")[1:]}
    kept = json.loads((ROOT / "docs/results/published.json").read_text(encoding="utf-8"))
    for table in kept["tables"]:
        numbers = set(re.findall(r"\d+\.?\d*", sections[table["title"]]))
        told = [v for row in table["rows"] for v in (*row["accuracy"], *row["gmacs"]) if v is not None]
        assert len(told) > 30
        assert {
            value for value in told if not {f"{value:g}", f"{value:.1f}", f"{value:.2f}"} & numbers
        } == set()
        systems = [
            line.split("|")[1].split()[0] for line in sections[table["title"]].splitlines() if "|" in line
        ]
        ours = " ".join(row["system"] for row in table["rows"])
        lost = {name.strip(",:") for name in systems} - {"system", "---", "10-frame", "stronger", "MARL"}
        assert {
            name for name in lost if name.split("-")[0].replace("ListenToLook", "Listen") not in ours
        } == set()
    speed = next(part for name, part in sections.items() if name.startswith("Throughput"))
    for row in kept["speed"]:
        assert all(f"{value:g}" in speed or f"{value:.1f}" in speed for value in row["values"]), row
        assert row["hardware"] in ("not stated", "one TITAN Xp") or row["hardware"] in speed


def test_made_up_runs_become_the_tables(made, at):
    """Of 40 videos: AVGN 30 right, evenly spaced 20, all 16 frames 28, deaf 10, true moments 35."""
    steered = ({"settings.control": "uniform"}, {"settings.control": "true_moments"})
    wide = {"settings.budget": 16, "gmacs": {"total": 4.0}}
    eight = {"settings.budget": 8, "gmacs": {"total": 1.0}, "looks": 8.0}
    leaves = {"settings.budget": 8, "settings.exits": "given", "gmacs": {"total": 0.5}, "looks": 3.0}
    avgn = [(30, {}), (20, steered[0]), (35, steered[1]), (29, eight), (30, leaves)]
    runs_of(at, "plain", {"avgn": avgn, "tsn": [(28, wide), (20, {})], "deaf": [(10, {})]})
    parts = made["ucf"].PARTS
    parts["plain"][1](at)
    parts["exits"][1](at)
    tables = made["results_page"].tables(at.kept)
    commands_are_there(tables["plain"])
    commands_are_there(tables["exits"])
    assert str(at.data) not in json.dumps(json.loads((at.kept / "spliced.json").read_text()))
    plain = {row[0]: row[1:] for row in rows_of(tables["plain"])[1]}
    assert plain["AVGN, 4 moments chosen"][:3] == ["4 of 16", "75.0 / 77.5 / 80.0", "77.5 ± 2.5"]
    assert plain["AVGN, 4 evenly spaced"][5] == "+25.0 (+0.0 to +50.0)"
    assert plain["TSN with sound, all 16 full frames"][5].startswith("+5.0 (")
    assert plain["AVGN retrained without sound"][5].startswith("+50.0 (")
    assert "over the 10 source groups" in tables["plain"]
    assert "Of the way to the ceiling choosing covers 67 %." in tables["plain"]
    assert "`avglance train ucf/data/plain --weights sound=S --seed 0`" in tables["plain"]
    assert "\n2. the model of 1; `avglance eval " in tables["plain"], "a training is said once"
    exits = rows_of(tables["exits"])[1]
    assert [row[1] for row in exits] == ["8.00", "3.00"]
    assert exits[1][5] == "50.0 %"
    asks = {(row[0], row[1]): row[3:] for row in rows_of(tables["asked"])[1]}
    assert asks["spliced, plain", "AVGN against evenly spaced moments, points"] == ["+25.00", "yes"]
    assert asks["spliced, plain", "AVGN against its deaf twin, points"] == ["+50.00", "yes"]
    assert asks["exits", "GMACs with exits, of those without"] == ["50.0 %", "yes"]
    assert asks["whole clips", "top-1 of AVGN"] == ["not run yet", "-"]


def test_a_miss_is_told(made, at):
    wide = {"settings.budget": 16, "gmacs": {"total": 0.3}}
    runs_of(at, "whole", {"avgn": [(20, {})], "tsn": [(36, wide)]})
    made["ucf"].PARTS["whole"][1](at)
    tables = made["results_page"].tables(at.kept)
    asks = [row[3:] for row in rows_of(tables["asked"])[1] if row[0] == "whole clips"]
    assert [cells[1] for cells in asks] == ["**no**"] * 4
    assert asks[0][0] == "-40.00"
    assert asks[2][0] == "86.7 %"
    whole = rows_of(tables["whole"])[1]
    assert whole[0][5] == "86.7 %"
    assert whole[1][6].startswith("-40.0 (")


def test_calibration_and_a_folder_of_ones_own(made, at):
    for seed in range(2):
        told = {"unknown": {"videos": 0, "recognised": None, "right_lost": 0.02}, "calibration_error": 0.03}
        make_run(at.run("plain", "avgn", seed), seed=seed)
        after = found(30, labelled=VIDEOS, **told)
        write(at.run("plain", "avgn", seed) / "eval_k4.json", after)
        out = at.runs / "calibration" / f"seed{seed}"
        write(out / "before.json", found(30, calibration_error=0.12))
        strange = {"videos": 300, "recognised": 0.7 + 0.2 * seed, "right_lost": None}
        write(out / "background.json", found(0, unknown=strange))
    made["ucf_kept"].keep_calibration(at, (0, 1))
    for name, right in (("own", 38), ("own_deaf", 36)):
        make_run(at.run("own", name, 0), found(right))
    write(at.run("own", "own", 0) / "eval_muted.json", found(33, **{"settings.control": "mute"}))
    card = json.loads((at.run("own", "own", 0) / "model" / "checksums.json").read_text())
    muted = json.loads((at.run("own", "own", 0) / "eval_muted.json").read_text())
    muted["model"]["weights_sha256"] = card["model.safetensors"]
    write(at.run("own", "own", 0) / "eval_muted.json", muted)
    made["ucf"].clock_of(at.run("own", "own", 0)).write_text("612.0\n")
    for n in range(6):
        path = at.data / "own" / ("rain", "wind")[n % 2] / f"{n}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    made["ucf"].PARTS["own"][1](at)
    tables = made["results_page"].tables(at.kept)
    commands_are_there(tables["calibration"])
    commands_are_there(tables["own"])
    assert rows_of(tables["calibration"])[1][0][:7] == ["0", "40", "12.0", "3.0", "300", "70.0", "2.0"]
    assert "2 classes, 6 clips: 10.2 minutes" in tables["own"]
    assert [row[2] for row in rows_of(tables["own"])[1]] == ["38 of 40", "33 of 40", "36 of 40"]
    asks = {row[1]: row[3:] for row in rows_of(tables["asked"])[1]}
    assert asks["background called unknown, worst seed"] == ["70.0 %", "**no**"]
    assert asks["minutes from a folder to a model"] == ["10.2", "yes"]
    assert asks["clips lost by muting, against a deaf training"] == ["3", "**no**"]


@pytest.fixture
def clips(at):
    """A table of clips that are only names."""
    lines = ["path,label,group,split"]
    for n, label in enumerate(("cello", "surf", "cello", "surf", "cello", "surf")):
        lines.append(f"{label}/{n}.mp4,{label},{n // 2},{('train', 'test')[n // 4]}")
    lines.append("behind/rain.mp4,rain,1,background")
    at.clips.write_text("\n".join(lines))
    for line in lines[1:]:
        path = at.clips.parent / line.partition(",")[0]
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"clip")
    return at.clips


def test_every_step_is_a_command_that_is_understood(made, at, clips):
    ucf = made["ucf"]
    count = 0
    for steps, _ in ucf.PARTS.values():
        for step in steps(at):
            if step.words[0] not in ucf.OURS:
                count += 1
                words = shlex.join(("avglance", *step.words))
                assert not understood(words), (understood(words), words)
            assert not step.done
    assert count > 50
    assert not at.data.exists(), "a plan makes nothing"


def test_own_clips_and_the_table_are_made_of_the_labelled_ones(made, at, clips):
    ucf = made["ucf"]
    ucf.OURS["own_folder"](at)
    assert sorted(p.name for p in (at.data / "own").rglob("*.mp4")) == ["0.mp4", "1.mp4", "2.mp4", "3.mp4"]
    assert sorted(p.name for p in (at.data / "own_test").rglob("*.mp4")) == ["4.mp4", "5.mp4"]
    assert ucf.own_part(at)[0].done
    ucf.OURS["clips_table"](at, at.data / "clips.csv")
    lines = (at.data / "clips.csv").read_text().splitlines()
    assert lines[1] == "cello/0.mp4,cello,cello/g0,train"
    assert len(lines) == 7


def test_the_shipped_model_learns_from_clips_splices_and_what_shows_nothing(made, at, clips):
    folder = at.data / "plain" / "train"
    (folder / "truth").mkdir(parents=True)
    rows = [{"path": f"videos/{n}.mp4", "labels": ["surf"], "truth": f"truth/{n}.json"} for n in range(400)]
    rows += [{"path": f"videos/unknown_{n}.mp4", "labels": ["unknown"]} for n in range(90)]
    (folder / "manifest.jsonl").write_text("\n".join(map(json.dumps, rows)))
    for n in range(400):
        truth = {"label": "surf", "group": f"surf/g{n % 3}", "events": [{"start_s": 1.5, "end_s": 4.0}]}
        (folder / "truth" / f"{n}.json").write_text(json.dumps(truth))
    made["ucf"].OURS["combined"](at, at.data / "model.csv")
    found = [line.split(",") for line in (at.data / "model.csv").read_text().splitlines()]
    assert found[0] == ["path", "label", "group", "split", "start_s", "end_s"]
    assert len(found) == 1 + 6 + made["ucf_model"].SPLICES + made["ucf_model"].STRANGERS
    assert [row[1] for row in found[1:7]] == ["cello", "surf"] * 3
    assert {row[1] for row in found[7:67]} == {"unknown"}
    assert found[67][1:] == ["surf", "surf/g0", "train", "1.5", "4.0"]
    root = made["ucf_model"].common(at)
    assert (root / found[1][0]).is_file()
    assert found[67][0].endswith("plain/train/videos/0.mp4")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["nothing"], "no part is called 'nothing'"),
        (["whole"], "--weights picture=FILE: it is not there"),
        (["whole", "--weights", "nose=x"], "no encoder is called so"),
        (["whole", "--weights", "sound=missing.safetensors"], "is not there"),
    ],
)
def test_what_is_wrong_is_told_before_any_work(made, clips, capsys, words, told):
    with pytest.raises(SystemExit):
        made["ucf"].main([*words, "--clips", str(clips)])
    assert told in capsys.readouterr().err


def test_a_table_of_clips_that_is_not_there(made, tmp_path, capsys):
    with pytest.raises(SystemExit) as caught:
        made["ucf"].main(["own", "--clips", str(tmp_path / "none.csv"), "--estimate"])
    assert "there is no such file" in str(caught.value)


def test_nothing_is_kept_where_nothing_is(made, at, clips, tmp_path):
    for part in ("whole", "calibration", "own"):
        words = [part, "--only-keep", "--clips", str(clips), "--runs", str(tmp_path / "none")]
        with pytest.raises(SystemExit) as caught:
            made["ucf"].main([*words, "--data", str(tmp_path)])
        assert "no such file or" in str(caught.value).lower()


def test_the_commands_for_what_we_lack_are_understood(made):
    for name in made["results_others"].LISTS:
        for words in made["results_others"].commands(name):
            assert not understood(words), (understood(words), words)
