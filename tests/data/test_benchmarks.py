"""Small copies of official layouts become datasets; what is absent is counted, what is wrong is refused."""

from __future__ import annotations

import json

import pytest

from avglance.data.benchmarks import make_dataset, make_from_list, read_benchmark
from avglance.data.records import read_dataset, read_training
from avglance.errors import ArgumentError, DataError


@pytest.fixture
def home(tmp_path):
    (tmp_path / "videos").mkdir()
    return tmp_path


def lay(home, *names):
    for name in names:
        path = home / "videos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * 10)


def note(home, name, text):
    (home / name).write_text(text, encoding="utf-8")
    return home / name


def made(home, name, *files, classes=None, **options):
    listing = read_benchmark(name, files, classes)
    done = make_dataset(listing, home / "videos", home / "out", annotations=files, **options)
    return done, read_dataset(home / "out")


def told(dataset):
    return {
        record.path.relative_to(dataset.root).as_posix(): (record.labels, record.split)
        for record in dataset.records
    }


ANET = {
    "taxonomy": [],
    "version": "VERSION 1.3",
    "database": {
        "aaa": {
            "duration": 60.0,
            "subset": "training",
            "annotations": [
                {"segment": [1.5, 20.0], "label": "Drinking coffee"},
                {"segment": [30, 29], "label": "Drinking coffee"},
                {"segment": [40.0, 50.0], "label": "Surfing"},
            ],
        },
        "bbb": {"subset": "validation", "annotations": [{"segment": [0.0, 9.0], "label": "Surfing"}]},
        "gone": {"subset": "validation", "annotations": [{"segment": [0.0, 9.0], "label": "Ballet"}]},
        "ccc": {"subset": "testing", "annotations": []},
    },
}


def test_activitynet(home):
    lay(home, "v_aaa.mp4", "val/v_bbb.webm", "v_ccc.mkv", "v_aaa.part")
    done, dataset = made(home, "activitynet", note(home, "anet.json", json.dumps(ANET)))
    assert told(dataset) == {
        "v_aaa.mp4": (("Drinking coffee", "Surfing"), "train"),
        "val/v_bbb.webm": (("Surfing",), "validation"),
    }
    truth = dataset.records[0].truth
    assert truth.spans == ((1.5, 20.0), (40.0, 50.0))
    assert truth.span_labels == ("Drinking coffee", "Surfing")
    assert dataset.kind == "activitynet-1.3"
    assert dataset.classes == ("Ballet", "Drinking coffee", "Surfing")  # a class stays although it is absent
    assert dataset.label_mode == "multi"
    assert dataset.listed == 3
    assert read_dataset(home / "out", split="validation").listed == 2
    assert done.absent == ("gone",)
    assert (home / "out" / "absent.txt").read_text() == "gone\n"
    assert done.notes == (
        "1 videos have no published labels",
        "1 segments are empty or backwards: only their labels are kept",
    )
    world = json.loads((home / "out" / "dataset.json").read_text())
    assert world["absent"] == {"validation": 1}
    assert world["annotations"][0]["file"] == "anet.json"
    assert len(world["list_sha256"]) == len(world["used_sha256"]) == 64


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"database": []}',
        '{"database": {"a": 3}}',
        '{"database": {"a": {"subset": "training"}}}',
        '{"database": {"a": {"subset": "training", "annotations": [3]}}}',
        '{"database": {"a": {"subset": "training", "annotations": [{"label": "x", "segment": [1]}]}}}',
        '{"database": {"a": {"subset": "training", "annotations": [{"label": 3, "segment": [1, 2]}]}}}',
        '{"database": {"a": {"subset": "training", "annotations": [{"label": "x", "segment": "ab"}]}}}',
        "[" * 100_000,
    ],
)
def test_other_json_is_not_activitynet(home, text):
    file = note(home, "anet.json", text)
    with pytest.raises(DataError) as error:
        read_benchmark("activitynet", [file])
    assert str(file) in error.value.where


def test_the_hash_knows_the_list_and_not_where_the_videos_are(home):
    lay(home, "v_aaa.mp4", "v_bbb.mp4")
    file = note(home, "anet.json", json.dumps(ANET))
    _, first = made(home, "activitynet", file)
    (home / "videos").rename(home / "moved")
    with pytest.raises(DataError, match="the folder of its videos is not there"):
        read_dataset(home / "out")
    world = json.loads((home / "out/dataset.json").read_text())
    world["root"] = str(home / "moved")
    (home / "out/dataset.json").write_text(json.dumps(world))
    assert read_dataset(home / "out").sha256 == first.sha256
    (home / "moved").rename(home / "videos")
    (home / "videos/v_bbb.mp4").unlink()
    _, fewer = made(home, "activitynet", file, force=True)
    assert fewer.sha256 != first.sha256


@pytest.mark.parametrize("root", ["videos", 3, "../videos", "/nowhere at all", "a\0b"])
def test_a_root_that_is_no_absolute_folder_is_refused(home, root):
    lay(home, "v_aaa.mp4")
    made(home, "activitynet", note(home, "anet.json", json.dumps(ANET)))
    world = json.loads((home / "out/dataset.json").read_text()) | {"root": root}
    (home / "out/dataset.json").write_text(json.dumps(world))
    with pytest.raises(DataError) as error:
        read_dataset(home / "out")
    assert error.value.where == str(home / "out/dataset.json")


def test_ave(home):
    lay(home, "AVE/one.mp4", "AVE/-two.mp4", "AVE/three.mp4", "AVE/extra.mp4")
    files = [
        note(home, "Annotations.txt", "Category&VideoID&Quality&StartTime&EndTime\nTrain&extra&good&0&3\n"),
        note(home, "trainSet.txt", "Church bell&one&good&0&10\nMale speech, man speaking&one&good&2&5\n"),
        note(home, "valSet.txt", "Bark&-two&good&4&4\nBark&gone&good&1&2"),
        note(home, "testSet.txt", "\ufeffBark&three&good&3&9\r\nChurch bell&one&good&0&1\r\n"),
    ]
    done, dataset = made(home, "ave", *files)
    assert told(dataset) == {
        "AVE/one.mp4": (("Church bell", "Male speech, man speaking"), "test"),
        "AVE/-two.mp4": (("Bark",), "validation"),
        "AVE/three.mp4": (("Bark",), "test"),
    }
    assert dataset.records[0].truth.spans == ((0.0, 10.0), (2.0, 5.0), (0.0, 1.0))
    assert dataset.records[1].truth is None
    assert done.absent == ("gone",)
    assert done.notes == (
        "1 videos are named in several splits: they stay in test, or else in validation",
        "1 videos of Annotations.txt are in no set",
        "1 events last no time: only their labels are kept",
    )
    whole, _ = made(home, "ave", files[0], force=True)
    assert whole.used == {"": 1}
    with pytest.raises(DataError, match="not a line of AVE"):
        read_benchmark("ave", [note(home, "trainSet.txt", "Bark&x&good&1\n")])
    with pytest.raises(DataError, match="'late' is no time"):
        read_benchmark("ave", [note(home, "trainSet.txt", "Bark&x&good&1&late\n")])


def test_fcvid(home):
    lay(home, "album/--0.mp4", "sports/a b.mp4", "sports/nolabel.mp4", "other/--0.mp4")
    names = note(
        home,
        "FCVID_VideoName_TrainTestSplit.txt",
        "album/--0.mp4\ttrain\nsports/a b.mp4 test\nnolabel.mp4 test\ngone.mp4 train\n",
    )
    labels = note(home, "FCVID_Label.txt", "1 0 1\n0 1 0\n0 0 0\n0.0 1.0 0.0\n")
    classes = note(home, "classes.txt", "birthday\nswimming\ncake\n")
    done, dataset = made(home, "fcvid", labels, names, classes=classes)
    assert told(dataset) == {
        "album/--0.mp4": (("birthday", "cake"), "train"),
        "sports/a b.mp4": (("swimming",), "test"),
    }
    assert done.absent == ("gone.mp4",)
    assert done.notes[0] == "1 videos have no label"
    _, dataset = made(home, "fcvid", names, labels, force=True)
    assert dataset.classes == ("class 001", "class 002", "class 003")
    with pytest.raises(DataError, match="3 names of classes for 2 columns"):
        read_benchmark("fcvid", [names, note(home, "two.txt", "1 0\n" * 4)], classes)
    with pytest.raises(DataError, match="4 names and 3 rows of labels do not match"):
        read_benchmark("fcvid", [names, note(home, "two.txt", "1 0\n" * 3)])
    with pytest.raises(DataError, match="is 2 zeros and ones"):
        read_benchmark("fcvid", [names, note(home, "two.txt", "1 0\n1 2\n1 0\n1 0\n")])
    with pytest.raises(DataError, match="not a name and a split"):
        read_benchmark("fcvid", [note(home, "n.txt", "a.mp4 1 train x\n" * 4), labels])
    with pytest.raises(DataError, match="has two files, got 1"):
        read_benchmark("fcvid", [names])


K400 = """label,youtube_id,time_start,time_end,split,is_cc
playing guitar,abcdefghijk,10,20,train,0
"playing guitar",-_cdefghijk,0,10,train,0
tap dancing,zbcdefghijk,59,69,train,0
"""
K400_VAL = """label,youtube_id,time_start,time_end,split
tap dancing,vbcdefghijk,1,11,validate
ripping paper,wbcdefghijk,1,11,validate
"""


def kinetics(home):
    lay(
        home,
        "train/playing guitar/abcdefghijk_000010_000020.mp4",
        "train/playing_guitar/-_cdefghijk.mp4",
        "train/wrong/zbcdefghijk_000059_000069.mp4",
        "train/tap_dancing/zbcdefghijk_000059_000069.mkv",
        "val/vbcdefghijk_000001_000011.mp4",
    )
    return note(home, "train.csv", K400), note(home, "val.csv", K400_VAL)


def test_kinetics(home):
    done, dataset = made(home, "kinetics-400", *kinetics(home))
    assert told(dataset) == {
        "train/playing guitar/abcdefghijk_000010_000020.mp4": (("playing guitar",), "train"),
        "train/playing_guitar/-_cdefghijk.mp4": (("playing guitar",), "train"),
        "train/tap_dancing/zbcdefghijk_000059_000069.mkv": (("tap dancing",), "train"),
        "val/vbcdefghijk_000001_000011.mp4": (("tap dancing",), "validation"),
    }
    assert done.absent == ("wbcdefghijk_000001_000011",)
    assert done.notes == ("1 videos are there several times: one file of each is used",)
    assert (done.used, done.listed) == ({"train": 3, "validation": 1}, {"train": 3, "validation": 2})
    assert dataset.kind == "kinetics-400"
    assert len(read_training(home / "out")) == 3


def test_kinetics_sounds_is_a_choice_of_classes(home):
    tables = kinetics(home)
    with pytest.raises(DataError, match="nothing says which videos") as error:
        read_benchmark("kinetics-sounds", tables)
    assert "--classes" in error.value.hint
    _, dataset = made(home, "kinetics-sounds", *tables, classes=note(home, "c.txt", "Tap_Dancing\n"))
    assert dataset.classes == ("tap dancing",)
    assert len(dataset) == 2
    with pytest.raises(DataError, match="no video is of the class 'tap dansing'") as error:
        read_benchmark("kinetics-sounds", tables, note(home, "c.txt", "tap dansing\n"))
    assert "did you mean 'tap dancing'?" in error.value.hint


def test_mini_kinetics_is_a_choice_of_videos(home):
    tables = kinetics(home)
    lists = [
        note(home, "train_ytid_list.txt", "abcdefghijk\nnotintables\n"),
        note(home, "val_ytid_list.txt", "val/zbcdefghijk_000059_000069.mp4 300 7\n"),
    ]
    done, dataset = made(home, "mini-kinetics", *tables, *lists)
    assert {path.rsplit("/", 1)[1][:3]: split for path, (_, split) in told(dataset).items()} == {
        "abc": "train",
        "zbc": "validation",
    }
    assert done.notes[0] == "1 ids of the lists are not in the tables"
    with pytest.raises(DataError, match="nothing says which videos"):
        read_benchmark("mini-kinetics", tables)
    with pytest.raises(DataError, match="no video of the tables has one of these ids"):
        read_benchmark("mini-kinetics", [*tables, note(home, "train_ytid_list.txt", "other\n")])


def test_a_test_table_without_labels_adds_nothing(home):
    test = note(home, "test.csv", "youtube_id,time_start,time_end,split\nqbcdefghijk,1,11,test\n")
    done, _ = made(home, "kinetics-600", *kinetics(home), test)
    assert done.notes[0] == "1 videos have no label"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("label,id\nx,y\n", "no column is called youtube_id"),
        ("", "no column is called youtube_id"),
        ("youtube_id,time_start,time_end,label\nabc/../def,1,2,x\n", "a row needs youtube_id"),
        ("youtube_id,time_start,time_end,label\nabcdef,1,,x\n", "a row needs youtube_id"),
        ("youtube_id,time_start,time_end,label\nabcdef,soon,2,x\n", "'soon' is no time"),
        ("youtube_id,time_start,time_end,label\n", "no video with a label is listed"),
    ],
)
def test_other_tables_are_not_kinetics(home, text, says):
    with pytest.raises(DataError, match=says):
        read_benchmark("kinetics-400", [note(home, "train.csv", text)])


UCF_TRAIN = "Dive/v_Dive_g08_c01.avi 2\r\nDive/v_Dive_g08_c02.avi 2\r\nArch/v_Arch_g09_c01.avi 1\r\n"
UCF_TEST = "Dive/v_Dive_g01_c01.avi\r\nArch/v_Arch_g01_c01.avi\r\n"


def ucf(home, train=UCF_TRAIN, test=UCF_TEST, names="1 Arch\r\n2 Dive\r\n3 Swim\r\n"):
    return [
        note(home, "trainlist01.txt", train),
        note(home, "testlist01.txt", test),
        note(home, "classInd.txt", names),
    ]


def test_ucf_101(home):
    lay(
        home, "Dive/v_Dive_g08_c01.avi", "Dive/v_Dive_g08_c02.avi", "v_Arch_g09_c01.mp4", "v_Dive_g01_c01.avi"
    )
    done, dataset = made(home, "ucf-101", *ucf(home))
    assert told(dataset) == {
        "Dive/v_Dive_g08_c01.avi": (("Dive",), "train"),
        "Dive/v_Dive_g08_c02.avi": (("Dive",), "train"),
        "v_Arch_g09_c01.mp4": (("Arch",), "train"),
        "v_Dive_g01_c01.avi": (("Dive",), "test"),
    }
    assert dataset.classes == ("Arch", "Dive", "Swim")
    assert [r.group for r in dataset.records][:2] == ["v_dive_g08", "v_dive_g08"]
    assert done.absent == ("Arch/v_Arch_g01_c01",)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"test": "Dive/v_Dive_g08_c03.avi\n"}, "group v_dive_g08 is in train .* and in test"),
        ({"test": "Dive/v_Dive_g08_c01.avi\n"}, "is listed twice"),
        ({"test": "../v_Dive_g08_c01.avi\n"}, "not a line of UCF-101"),
        ({"test": "/etc/v_Dive_g08_c01.avi\n"}, "not a line of UCF-101"),
        ({"names": "1 Dive\n2 Arch\n"}, "class 2 is Arch in classInd.txt, here Dive"),
        ({"names": "Arch\n"}, "not a number and a class"),
        ({"train": "", "test": ""}, "none of the files is a list of videos"),
    ],
)
def test_lists_that_are_not_ucf_101_are_refused(home, change, says):
    with pytest.raises(DataError, match=says):
        read_benchmark("ucf-101", ucf(home, **change))


def test_no_video_no_file_no_folder(home):
    files = ucf(home)
    listing = read_benchmark("ucf-101", files)
    with pytest.raises(DataError, match="none of the 5 listed videos is there") as error:
        make_dataset(listing, home / "videos", home / "out", annotations=files)
    assert "Dive/v_Dive_g08_c01" in error.value.hint
    assert not (home / "out").exists()
    with pytest.raises(DataError, match="the folder of the videos is not there"):
        make_dataset(listing, home / "gone", home / "out", annotations=files)
    with pytest.raises(DataError, match="no such file"):
        read_benchmark("ucf-101", [home / "trainlist03.txt"])


def test_a_dataset_is_not_replaced_without_asking(home):
    lay(home, "v_aaa.mp4")
    file = note(home, "anet.json", json.dumps(ANET))
    made(home, "activitynet", file)
    with pytest.raises(ArgumentError, match="a dataset is there already"):
        made(home, "activitynet", file)
    made(home, "activitynet", file, force=True)
    with pytest.raises(ArgumentError, match="--out is a file"):
        make_dataset(read_benchmark("activitynet", [file]), home / "videos", file, annotations=[file])


def test_a_video_that_is_a_link_out_of_the_folder_is_refused(home):
    (home / "secret.mp4").write_bytes(b"x")
    (home / "videos/v_aaa.mp4").symlink_to(home / "secret.mp4")
    with pytest.raises(DataError, match="leads out"):
        made(home, "activitynet", note(home, "anet.json", json.dumps(ANET)))


def test_a_table_of_videos_that_lie_elsewhere(home):
    lay(home, "a.mp4", "deep/b.mp4")
    text = "file,label,start,end,split,group\na.mp4,rain,1,2,train,g\ndeep/b.mp4,wind;hail,,,test,\n"
    file = note(home, "list.csv", text)
    done = make_from_list(file, home / "videos", home / "out")
    dataset = read_dataset(home / "out")
    assert told(dataset) == {"a.mp4": (("rain",), "train"), "deep/b.mp4": (("wind", "hail"), "test")}
    assert dataset.records[0].truth.spans == ((1.0, 2.0),)
    assert dataset.records[0].group == "g"
    assert done.used == {"train": 1, "test": 1}
    note(home, "list.csv", text + "gone.mp4,rain,,,,\n")
    with pytest.raises(DataError, match=r"'gone\.mp4' is missing"):
        make_from_list(file, home / "videos", home / "other")


def test_a_table_may_hold_videos_that_show_none_of_the_classes(home):
    lay(home, "a.mp4", "b.mp4")
    file = note(home, "list.csv", "path,label\na.mp4,rain\nb.mp4,unknown\n")
    make_from_list(file, home / "videos", home / "out")
    dataset = read_dataset(home / "out")
    assert [(record.labels, record.unknown) for record in dataset.records] == [(("rain",), False), ((), True)]
    assert dataset.classes == ("rain",)
    assert "each of 1 videos shows one of 1 class; 1 more show none" in dataset.labels_told


@pytest.mark.parametrize("known", ["", "a.mp4,rain\n"])
def test_videos_labelled_unknown_stay_so(home, known):
    lay(home, "a.mp4", "b.mp4")
    file = note(home, "list.csv", f"path,label\n{known}b.mp4,unknown\n")
    make_from_list(file, home / "videos", home / "out")
    dataset = read_dataset(home / "out")
    assert [record.unknown for record in dataset.records] == [False, True][-len(dataset) :]
    assert dataset.classes == read_dataset(file_in(home, file)).classes


def file_in(home, file):
    """The list beside its videos."""
    return note(home / "videos", file.name, file.read_text())
