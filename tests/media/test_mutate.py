"""The damage that fuzzing does: a function of the seed, and truly a change."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.media.boxes import all_boxes, ebml_parts, read_boxes, riff_parts, write_boxes
from tests.media.makers import even, tone, write
from tests.media.mutate import EBML, GENERAL, MP4, MUTATORS, RIFF, kinds_for, mutate
from tests.media.mutate_parts import ogg_checksum


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """One small file of each container that is known, by the ending of its name."""
    folder = tmp_path_factory.mktemp("whole")
    write(folder / "x.mp4", even(1.0), sound=tone(1.0))
    write(folder / "x.mkv", even(0.4), sound=tone(0.4))
    write(folder / "x.avi", even(0.4), codec="mpeg4", b_frames=0, sound=tone(0.4), sound_codec="pcm_s16le")
    write(folder / "x.ts", even(0.4), sound=tone(0.4))
    write(folder / "x.ogg", sound=tone(0.4), sound_codec="libopus")
    return {path.suffix[1:]: path.read_bytes() for path in folder.iterdir()}


SPECIAL = {"mp4": list(MP4), "mkv": list(EBML), "avi": list(RIFF), "ts": ["ts_packet"], "ogg": ["ogg_page"]}
CASES = [("mp4", kind) for kind in [*GENERAL, "splice"]]
CASES += [(ending, kind) for ending, kinds in SPECIAL.items() for kind in kinds]


@pytest.mark.parametrize(("ending", "kind"), CASES)
def test_each_kind_changes_bytes_and_the_same_seed_changes_the_same(whole, ending, kind):
    raw = whole[ending]
    found = set()
    for seed in range(30):
        changed, text = mutate(raw, np.random.default_rng(seed), kind)
        assert changed != raw
        assert text.startswith((f"{kind}: ", "junk: "))
        assert (changed, text) == mutate(raw, np.random.default_rng(seed), kind)
        found.add(changed)
    assert len(found) > 5
    assert kind in kinds_for(raw)


def test_every_kind_is_tried_and_belongs_to_its_container(whole):
    assert {kind for _, kind in CASES} == {*MUTATORS, "splice"}
    for ending, raw in whole.items():
        others = {kind for name, kinds in SPECIAL.items() if name != ending for kind in kinds}
        assert not others & set(kinds_for(raw))


@pytest.mark.parametrize(
    "raw", [b"", b"\0", b"ab", b"\0\0\0\x08moov", b"\x1a\x45\xdf\xa3", b"RIFF", b"OggS\0"]
)
def test_files_of_a_few_bytes_can_be_damaged(raw):
    for kind in [None, *MUTATORS, "splice"]:
        for seed in range(5):
            assert mutate(raw, np.random.default_rng(seed), kind)[0] != raw


def test_boxes_are_written_as_they_were_read(whole):
    raw = whole["mp4"]
    tree = read_boxes(raw)
    assert write_boxes(tree) == raw
    assert [box.kind for box in tree] == [b"ftyp", b"free", b"mdat", b"moov"]
    names = [siblings[place].kind for siblings, place in all_boxes(tree)]
    assert names.count(b"trak") == 2
    assert {b"mvhd", b"tkhd", b"stsd", b"stts", b"ctts", b"stsc", b"stsz", b"stco", b"stss"} <= set(names)


def test_damaged_boxes_are_written_as_they_were_read(whole):
    for seed in range(300):
        raw, _ = mutate(whole["mp4"], np.random.default_rng(seed))
        assert write_boxes(read_boxes(raw)) == raw


def test_wide_and_open_ended_boxes_are_written_as_they_were_read():
    wide = b"\0\0\0\x01mdat\0\0\0\0\0\0\0\x12ab"
    raw = b"\0\0\0\x10moov\0\0\0\x08trak" + wide + b"\0\0\0\0mdatrest of it"
    tree = read_boxes(raw)
    assert write_boxes(tree) == raw
    assert [(box.kind, box.wide, box.open_ended) for box in tree] == [
        (b"moov", False, False),
        (b"mdat", True, False),
        (b"mdat", False, True),
    ]
    assert [box.kind for box in tree[0].children] == [b"trak"]


def test_a_field_changes_in_one_box_only(whole):
    raw = whole["mp4"]
    for seed in range(40):
        changed, text = mutate(raw, np.random.default_rng(seed), "box_field")
        assert len(changed) == len(raw)
        names = {
            a[0][a[1]].kind.decode()
            for a, b in zip(all_boxes(read_boxes(raw)), all_boxes(read_boxes(changed)), strict=True)
            if a[0][a[1]].body != b[0][b[1]].body
        }
        assert names == {text.removeprefix("box_field: ").split()[0]}


def test_elements_and_chunks_are_found(whole):
    elements = {part.name.hex() for part in ebml_parts(whole["mkv"])}
    assert {"1a45dfa3", "18538067", "1654ae6b", "ae", "e0", "1f43b675", "a3"} <= elements
    chunks = riff_parts(whole["avi"])
    assert {b"RIFF", b"LIST", b"avih", b"strh", b"strf", b"00dc", b"01wb"} <= {part.name for part in chunks}
    assert chunks[0].end == len(whole["avi"])


def test_the_checksum_of_a_page_is_the_one_that_files_have(whole):
    raw = whole["ogg"]
    end = raw.index(b"OggS", 4)
    page = bytearray(raw[:end])
    told = int.from_bytes(page[22:26], "little")
    page[22:26] = bytes(4)
    assert ogg_checksum(bytes(page)) == told


def test_the_damage_of_a_corpus_is_a_function_of_seed_and_number(whole, tmp_path: Path):
    from tests.media.fuzz_worker import damaged

    paths = [tmp_path / f"x.{ending}" for ending in sorted(whole)]
    for path in paths:
        path.write_bytes(whole[path.suffix[1:]])
    first = [damaged(paths, 7, index) for index in range(20)]
    assert first == [damaged(paths, 7, index) for index in range(20)]
    assert len({raw for raw, _, _ in first}) == 20
    assert first != [damaged(paths, 8, index) for index in range(20)]
