"""``avglance compare``: table, JSON, Markdown, files, exit codes, and what is refused."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest
from tests.evaluation.made_runs import evaluation, hits_of, make_run, write

from avglance.app import cli
from avglance.app.compare_table import COLUMNS, broken, columns, display, escaped, markdown, text
from avglance.app.render import Ink
from avglance.evaluation.compare import compare

FILES = {"comparison.json", "comparison.md", "cost.svg", "cost.png", "curves.svg", "curves.png"}


@pytest.fixture
def ablation(tmp_path):
    """Two rows of two seeds at K = 4 and 8, a control, and a run that is not evaluated."""
    folder = tmp_path / "ablation"
    for name, right in (("full", (60, 70)), ("deaf", (40, 50))):
        for seed, n in enumerate(right):
            found = [evaluation(hits_of(n + k, 100), **{"settings.budget": k}) for k in (4, 8)]
            make_run(folder / name / f"seed{seed}", *found, seed=seed)
    swapped = evaluation(hits_of(10, 100), **{"settings.control": "swap_sound"})
    write(folder / "full" / "seed0" / "eval_swapped.json", swapped)
    make_run(folder / "young" / "seed0", epochs=9)
    return folder


def test_table(ablation, capsys):
    assert cli.main(["compare", str(ablation), "--baseline", "deaf@4"]) == 0
    streams = capsys.readouterr()
    lines = streams.out.splitlines()
    assert streams.err == ""
    assert re.match(r"glanceworld, 100 videos \(\w{8}\): 5 rows$", lines[0])
    assert lines[1].split()[:7] == ["row", "n", "K/T", "control", "top-1", "±", "recall"]
    assert re.match(
        r"deaf +2 +4/16 +- +49.0 +±7.1 +90.0 +80.0 +70.0 +0.260 +0.15 s +5 min +baseline$", lines[2]
    )
    assert re.search(r"^full +2 +4/16 +- +69.0 .* \+20.0 \[\+1\d.\d, \+2\d.\d\]$", streams.out, re.MULTILINE)
    assert re.search(r"^full +1 +4/16 +swapped +10.0 +- ", streams.out, re.MULTILINE)
    assert "young seed 0: after 3 of 9 epochs, held out: top-1 50.0, moment recall 70.0" in streams.out
    assert "95 % interval over videos" in streams.out.replace("\n  ", " ")
    assert "\x1b" not in streams.out  # no terminal, no colour


def test_stages(ablation, capsys):
    assert cli.main(["compare", str(ablation), "--stages"]) == 0
    shown = capsys.readouterr().out
    assert re.search(r"^row +glance +focus +answer +total$", shown, re.MULTILINE)
    assert re.search(r"^full \(swapped\) K=4 +0.200 +0.0500 +0.0100 +0.260$", shown, re.MULTILINE)
    assert re.search(r"^deaf K=8 +0.10 s +50 ms +0.15 s$", shown, re.MULTILINE)


def test_json_is_one_object(ablation, capsys):
    assert cli.main(["compare", str(ablation), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["schema"] == "avglance.comparison/1"
    assert len(found["tables"][0]["rows"]) == 5


def test_markdown_has_one_width_and_no_live_marks(ablation, capsys):
    make_run(ablation / "a|b <img> [x](y) `c` $z$", evaluation(hits_of(5, 100)))
    assert cli.main(["compare", str(ablation), "--markdown", "--stages"]) == 0
    shown = capsys.readouterr().out
    blocks = [block.splitlines() for block in shown.split("\n\n") if block.startswith("|")]
    assert len(blocks) == 3
    for block in blocks:
        assert {line.count("|") for line in block} == {block[0].count("|")}
    assert not re.search(r"<img|`c`|\[x\]|\$z", shown)
    assert escaped("_a_b_ www.x.y http://z ~~c~~") == (
        "&#95;a_b&#95; www&#46;x.y http:&#47;&#47;z &#126;&#126;c&#126;&#126;"
    )


def test_files_are_written_whole_and_never_over_others_without_force(ablation, tmp_path, capsys):
    out = tmp_path / "deep" / "out"
    args = ["compare", str(ablation), "--out", str(out)]
    assert cli.main(args) == 0
    streams = capsys.readouterr()
    assert "written to" in streams.err
    assert streams.out.startswith("glanceworld")
    assert {file.name for file in out.iterdir()} == FILES
    assert "![what the figures cost on glanceworld](cost.svg)" in (out / "comparison.md").read_text()
    first = {file.name: file.read_bytes() for file in out.iterdir()}
    (out / "comparison.md").write_text("precious")
    assert cli.main(args) == 2
    assert "hint: --force replaces it" in capsys.readouterr().err
    assert (out / "comparison.md").read_text() == "precious"
    assert cli.main([*args, "--force"]) == 0
    assert {file.name: file.read_bytes() for file in out.iterdir()} == first  # the same runs, the same bytes


def test_several_datasets(ablation, tmp_path, capsys):
    file = write(tmp_path / "other.json", evaluation(hits_of(5, 10)))
    assert cli.main(["compare", str(ablation), str(file)]) == 2
    assert "hint: --each-data" in capsys.readouterr().err
    args = ["compare", str(ablation), str(file), "--each-data", "--out", str(tmp_path / "out")]
    assert cli.main(args) == 0
    assert len(re.findall("^glanceworld, ", capsys.readouterr().out, re.MULTILINE)) == 2
    assert (tmp_path / "out" / "cost_2.svg").is_file()


def test_without_matplotlib_only_plots_are_refused(ablation, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert cli.main(["compare", str(ablation)]) == 0
    capsys.readouterr()
    assert cli.main(["compare", str(ablation), "--out", str(tmp_path / "out")]) == 5
    streams = capsys.readouterr()
    assert "pip install 'avglance[report]'" in streams.err
    assert streams.out == ""
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "required: RUN"),
        (["nowhere"], "nowhere: no such file or folder"),
        (["{runs}", "--baseline", "ful"], "did you mean full?"),
        (["{runs}", "--baseline", "full"], "names 2 rows"),
        (["{runs}", "--json", "--markdown"], "not allowed with"),
        (["{runs}", "--out", "{runs}/young/seed0/run.json"], "--out is a file"),
        (["{runs}", "--out", "{runs}/young/seed0/run.json/below"], "cannot be written"),
        (["{runs}", "--stage"], "did you mean '--stages'?"),
        (["{runs}/full/seed0/model"], "no run folder"),
    ],
)
def test_wrong_usage(ablation, capsys, options, message):
    assert cli.main(["compare", *(option.format(runs=ablation) for option in options)]) == 2
    streams = capsys.readouterr()
    assert message in streams.err
    assert streams.out == ""


def test_nothing_evaluated_yet_is_a_list_and_no_table(tmp_path, capsys):
    make_run(tmp_path / "a", epochs=9)
    assert cli.main(["compare", str(tmp_path)]) == 0
    assert capsys.readouterr().out.startswith("not evaluated yet\n  a seed 0: after 3 of 9 epochs")


def test_ten_rows_with_long_names_stay_within_the_width(tmp_path):
    for n in range(10):
        for seed in (0, 1):
            found = evaluation(
                hits_of(n * 7 + 20 + 9 * seed, 100),
                **{"settings.budget": 16, "settings.control": "swap_sound" if n > 7 else "none"},
            )
            name = f"avgn_nano_{n}_without_the_ordered_loss_and_without_drop_pathway"
            make_run(tmp_path / name / f"seed{seed}", found, seed=seed)
    shown = text(compare([tmp_path]), Ink(sys.stdout, {}), stages=True)
    assert max(map(display, shown.splitlines())) <= COLUMNS
    assert "drop_pathway" in shown  # names go on in the next line, nothing is cut off


def test_names_from_outside_cannot_steer_the_terminal(tmp_path, capsys):
    make_run(tmp_path / "red\x1b[31m\nnext", evaluation(hits_of(5, 10), **{"data.kind": "\x1b]0;x\x07"}))
    make_run(tmp_path / "\x07", evaluation(hits_of(4, 10)))
    assert cli.main(["compare", str(tmp_path), "--stages"]) == 0
    shown = capsys.readouterr().out
    assert "red[31m next" in shown
    assert re.search(r"^\? +1 +4/16", shown, re.MULTILINE)
    assert not set(shown) & {"\x1b", "\x07"}
    assert cli.main(["compare", str(tmp_path), "--baseline", "\x1b[31m"]) == 2
    assert "\x1b" not in capsys.readouterr().err


def test_a_long_name_is_cut_behind_a_mark_and_wide_letters_count_twice():
    assert broken("tsn_nano with sound, all frames", 12) == ["tsn_nano", "with sound,", "all frames"]
    assert broken("x" * 25, 12) == ["x" * 12, "x" * 12, "x"]
    assert broken("日本語" * 3, 6) == ["日本語"] * 3
    assert broken("", 6) == [""]


def test_a_difference_that_is_clear_is_coloured_on_a_terminal(ablation, terminal):
    found = compare([ablation], baseline="deaf@4")
    shown = text(found, Ink(terminal, {}))
    assert re.search(r"\x1b\[32m\+20.0 \[\+1\d.\d, \+2\d.\d\]\x1b\[0m", shown)
    assert re.search(r"\x1b\[31m-39.0 \[-4\d.\d, -3\d.\d\]\x1b\[0m", shown)
    plain = re.sub(r"\x1b\[[0-9;]*m", "", shown)
    assert plain == text(found, Ink(sys.stdout, {}))


def test_a_control_column_is_only_there_where_there_is_a_control(ablation):
    (ablation / "full" / "seed0" / "eval_swapped.json").unlink()
    table = compare([ablation]).tables[0]
    assert "control" not in [column.short for column in columns(table)]
    assert "| control |" not in markdown(compare([ablation]))


def test_the_command_starts_as_a_process_and_help_loads_neither_torch_nor_matplotlib():
    code = "from avglance.app.cli import main\nmain(['compare', '--help'])\n"
    code += "import sys\nassert not {'torch', 'matplotlib'} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--each-data" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= COLUMNS
