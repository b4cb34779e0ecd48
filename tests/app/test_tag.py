"""The main job on the command line: what is printed where, and with which code it ends."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from avglance.app import api, cli, tag
from avglance.app.render import TOY_BANNER
from avglance.media import Decoders, Limits
from avglance.types import Failure


class FakeModel:
    """Answers from a table: a Recognition, a Failure, or something to raise."""

    def __init__(self, answers: dict[str, object]) -> None:
        self.answers, self.asked, self.wanted = answers, {}, {}

    def plan(self, budget: object, exit_early: object, glance_pictures: object) -> None: ...

    def look_many(self, paths, **asked: object):
        self.asked = asked
        for path in paths:
            answer = self.answers[Path(path).name]
            if isinstance(answer, BaseException):
                raise answer
            seen = api.Sightings((None,) * 3, (None,) * 16, (True,) * 16)
            yield answer if isinstance(answer, Failure) else (answer, seen)


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Callable[..., FakeModel]:
    def put(**answers: object) -> FakeModel:
        model = FakeModel({f"{name}.mp4": answer for name, answer in answers.items()})

        def load(name: str, **wanted: object) -> FakeModel:
            model.wanted = wanted
            return model

        monkeypatch.setattr(api, "load", load)
        return model

    return put


def failure(name: str, kind: str = "empty") -> Failure:
    return Failure(f"{name}.mp4", kind, "an empty file", "copy it again")


def test_piped_answers_are_json_lines(use, make_answer, capsys: pytest.CaptureFixture[str]) -> None:
    use(a=make_answer("a.mp4"), b=failure("b"), c=make_answer("c.mp4"))
    assert cli.main(["tag", "a.mp4", "b.mp4", "c.mp4"]) == 6
    out, err = capsys.readouterr()
    lines = [json.loads(line) for line in out.splitlines()]
    assert [(line["video"], line["verdict"]) for line in lines] == [
        ("a.mp4", "degraded"),
        ("b.mp4", "failed"),
        ("c.mp4", "degraded"),
    ]
    assert lines[0]["banner"] == TOY_BANNER
    assert err == "avglance: 1 of 3 files could not be read\n"


def test_a_terminal_gets_tables(
    use, make_answer, terminal, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    use(a=make_answer("a.mp4"), b=failure("b"))
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("NO_COLOR", "1")
    assert cli.main(["tag", "a.mp4", "b.mp4", "--quiet"]) == 6
    assert terminal.text.startswith("a.mp4  00:24.0  degraded\n")
    assert "\n\nb.mp4  failed: empty\n  an empty file\n  hint: copy it again\n" in terminal.text
    assert capsys.readouterr().err == ""


def test_json_wins_on_a_terminal(use, make_answer, terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    use(a=make_answer("a.mp4"))
    monkeypatch.setattr(sys, "stdout", terminal)
    assert cli.main(["tag", "a.mp4", "--json"]) == 0
    assert json.loads(terminal.text)["video"] == "a.mp4"


@pytest.mark.parametrize(
    ("files", "code"),
    [
        (["ok.mp4"], 0),
        (["ok.mp4", "ok.mp4"], 0),
        (["empty.mp4"], 3),
        (["bug.mp4"], 1),
        (["ok.mp4", "empty.mp4"], 6),
        (["empty.mp4", "empty.mp4"], 6),
        (["ok.mp4", "bug.mp4"], 6),
    ],
)
def test_exit_codes(
    use, make_answer, files: list[str], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    use(ok=make_answer("ok.mp4"), empty=failure("empty"), bug=failure("bug", "error"))
    assert cli.main(["tag", *files]) == code
    assert len(capsys.readouterr().out.splitlines()) == len(files)


def test_each_answer_is_printed_when_it_is_there(
    use, make_answer, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    use(a=make_answer("a.mp4"), b=KeyboardInterrupt(), c=make_answer("c.mp4"))
    page = tmp_path / "my.html"
    assert cli.main(["tag", "a.mp4", "b.mp4", "c.mp4", "--report", str(page)]) == 130
    out, err = capsys.readouterr()
    assert [json.loads(line)["video"] for line in out.splitlines()] == ["a.mp4"]
    assert err == f"report: {page}\n\navglance: interrupted\n"
    assert page.read_text(encoding="utf-8").count("<article") == 1


def test_the_report_is_not_overwritten_unless_told(
    use, make_answer, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    model = use(a=make_answer("a.mp4"))
    page = tmp_path / "my.html"
    page.write_text("precious")
    assert cli.main(["tag", "a.mp4", "--report", str(page)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err == f"avglance: {page}: is there already\nhint: another name, or --force to replace it\n"
    assert (page.read_text(), model.asked) == ("precious", {}), "nothing was worked for in vain"
    assert cli.main(["tag", "a.mp4", "--report", str(page), "--force"]) == 0
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert capsys.readouterr().err == f"report: {page}\n"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--top", "0"], "--top must be at least 1"),
        (["--threads", "-1"], "--threads must be 0 or more"),
        (["--threads", "1025"], "--threads must be at most 1024, got 1025\nhint: as many as"),
        (["--report", "no/such/folder/my.html"], "its folder does not exist"),
        (["--top", "many"], "argument --top: invalid int value: 'many'"),
    ],
)
def test_wrong_values_are_refused_before_any_work(
    use, options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    use()
    assert cli.main(["tag", "a.mp4", *options]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err


def test_options_reach_the_model(use, make_answer) -> None:
    model = use(a=make_answer("a.mp4"))
    assert (
        cli.main(["tag", "a.mp4", "--budget", "7", "--top", "3", "--threads", "2", "--runtime", "onnx"]) == 0
    )
    assert model.wanted == {"device": "auto", "runtime": "onnx", "threads": 2, "precision": "float32"}
    isolate = model.asked.pop("isolate")
    assert isinstance(isolate, Decoders)
    assert model.asked == {
        "budget": "7", "exit_early": None, "top": 3, "threads": 2, "audio_track": 0, "audio_file": "beside",
        "limits": Limits(), "grid": None, "rough": False, "at_once": 1, "glance_pictures": None,
    }  # fmt: skip
    assert cli.main(["tag", "a.mp4", "--grid", "auto", "--rough"]) == 0
    assert (model.asked["grid"], model.asked["rough"]) == ("auto", True)
    assert cli.main(["tag", "a.mp4", "--glance-pictures", "4"]) == 0
    assert model.asked["glance_pictures"] == 4
    assert cli.main(["tag", "a.mp4", "--no-exit"]) == 0
    assert model.asked["exit_early"] is False
    reading = ["--audio-track", "1", "--audio-file", "b.wav", "--limit", "max_seek_s=5", "--in-process"]
    assert cli.main(["tag", "a.mp4", *reading]) == 0
    assert model.asked["isolate"] is False
    assert (model.asked["audio_track"], model.asked["audio_file"]) == (1, "b.wav")
    assert model.asked["limits"] == Limits(max_seek_s=5)
    assert cli.main(["tag", "a.mp4", "--audio-track", "-1"]) == 2


def test_a_folder_stands_for_its_files(tmp_path: Path) -> None:
    for name in ("b.mp4", "a/z.mp4", "a/y.txt", ".hidden.mp4", ".git/x.mp4", "a/.cache/x.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).touch()
    (tmp_path / "void.mp4").mkdir()
    found = [str(path.relative_to(tmp_path)) for path in tag.expand([tmp_path])]
    assert found == ["a/y.txt", "a/z.mp4", "b.mp4"]
    lone, void = Path("not there.mp4"), tmp_path / "void.mp4"
    assert list(tag.expand([lone, void, lone])) == [lone, void, lone], "nothing that was named is left out"


def test_names_that_cannot_be_are_left_to_fail_by_themselves(tmp_path: Path) -> None:
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    names = [Path("x" * 300), loop, Path("a.mp4")]
    assert list(tag.expand(names)) == names


def test_a_name_that_is_too_long_costs_one_answer(
    random_model: Path, clip: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["tag", "--model", str(random_model), "--device", "cpu", "--budget", "1", "--quiet"]
    assert cli.main([*line, "x" * 300, str(clip)]) == 6
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(each["verdict"], each.get("kind")) for each in found] == [("failed", "missing"), ("ok", None)]


def test_a_report_never_replaces_what_is_read(
    use, make_answer, clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = use(a=make_answer("a.mp4"))
    film, sound, other = (tmp_path / name for name in ("a.mp4", "my sound", "other.mp4"))
    film.write_text("named, and no media by its content")
    sound.write_text("the same")
    other.write_bytes(clip.read_bytes())
    linked, hard, notes = tmp_path / "link.html", tmp_path / "hard.html", tmp_path / "in" / "notes.txt"
    linked.symlink_to(film)
    hard.hardlink_to(film)
    notes.parent.mkdir()
    notes.write_text("below a folder that is named")
    before = {path: path.read_bytes() for path in (film, sound, other, notes)}
    line = ["tag", str(film), str(notes.parent), "--audio-file", str(sound), "--force", "--report"]
    for target in (film, linked, hard, sound, notes):
        assert cli.main([*line, str(target)]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err == (
            f"avglance: {target}: is one of the files to read, the report would replace it\n"
            "hint: name another file, such as out.html\n"
        )
    assert cli.main([*line, str(other)]) == 2
    assert "may be video or sound, no report replaces that" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in before} == before
    assert model.asked == {}, "nothing was worked for in vain"


def test_the_last_report_in_the_folder_is_replaced(use, make_answer, tmp_path: Path) -> None:
    use(a=make_answer("a.mp4"))
    (tmp_path / "a.mp4").touch()
    page = tmp_path / "z.html"
    assert cli.main(["tag", str(tmp_path), "--report", str(page)]) == 0
    use(a=make_answer("a.mp4")).answers["z.html"] = failure("z")
    assert cli.main(["tag", str(tmp_path), "--report", str(page), "--force"]) == 6
    assert page.read_text(encoding="utf-8").count("<article") == 2


def test_traces_in_the_log_carry_no_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    tag.show_log()
    api._bug("a\x1b[31m.mp4", ValueError("x\x07y"))
    err = capsys.readouterr().err
    assert err.startswith("avglance: a[31m.mp4: xy\n")
    assert "ValueError: xy" in err
    assert not set(err) & {"\x1b", "\x07"}


NAMES = (
    "with space.mp4",
    "-i.mp4",
    "a:b.mp4",
    "concat:a.mp4",
    "new\nline.mp4",
    "\U0001f3a5 \u00e9.mp4",
    "q'\"&;.mp4",
)


def test_a_real_process_tags_real_files_of_any_name(random_model: Path, clip: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for name in NAMES:
        (folder / name).write_bytes(clip.read_bytes())
    (folder / "\x1b[31mred.mp4").write_text("no video")
    command = [
        sys.executable,
        "-m",
        "avglance",
        "tag",
        "--model",
        str(random_model),
        "--budget",
        "2",
        "--device",
        "cpu",
    ]
    done = subprocess.run(
        [*command, "--report", str(tmp_path / "r.html"), "in"],
        capture_output=True, text=True, timeout=300, check=False, cwd=tmp_path,
    )  # fmt: skip
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 6, done.stderr
    assert {Path(line["video"]).name for line in lines} == {*NAMES, "\x1b[31mred.mp4"}
    assert [line["verdict"] for line in lines].count("ok") == len(NAMES)
    assert "\x1b" not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert (tmp_path / "r.html").stat().st_size > 10_000
    assert len({json.dumps(line["labels"]) for line in lines if line["verdict"] == "ok"}) == 1


@pytest.mark.slow
def test_every_file_of_the_collection_has_its_line(random_model: Path, shared_data: Path) -> None:
    folders = [shared_data / name for name in ("media", "samples", "clips/background")]
    command = [sys.executable, "-m", "avglance", "tag", "--model", str(random_model), *map(str, folders)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1500, check=False)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    wanted = sorted(str(path) for folder in folders for path in folder.rglob("*") if path.is_file())
    assert sorted(line["video"] for line in lines) == wanted
    assert done.returncode == 6
    assert "Traceback" not in done.stderr, done.stderr[-4000:]
    assert not [line for line in lines if line.get("kind") == "error"]
    assert all(line["banner"] == TOY_BANNER for line in lines if line["verdict"] != "failed")
