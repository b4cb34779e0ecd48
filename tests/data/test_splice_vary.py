"""Clips that vary: what is seen and heard is the clip, otherwise in each video, and the same within one."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from tests.data.splice_clips import write_clips

from avglance.data.splice import Splice, make_plan, make_splice
from avglance.data.splice_reel import vary_planes
from avglance.data.splice_script import Look, draw_script
from avglance.data.splice_sound import RATE_HZ, mix
from avglance.media.planes import to_planes

TOY = Splice(share=(0.15, 0.2), seconds=(10, 14), decoys="half", size=(96, 64))
VARIED = replace(TOY, vary=True)
SAME = Look(mirrored=False, box=(0.0, 0.0, 1.0, 1.0), contrast=1.0, light=0.0, colour=1.0, speed=1.0)


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    return write_clips(tmp_path_factory.mktemp("clips"))[0]


@pytest.fixture(scope="module")
def picture():
    """Planes of a picture that is brighter from left to right and bluer from top to bottom."""
    image = np.zeros((64, 96, 3), np.uint8)
    image[..., 0] = image[..., 1] = np.linspace(40, 200, 96).astype(np.uint8)
    image[..., 2] = np.linspace(40, 200, 64).astype(np.uint8)[:, None]
    return to_planes(image, 96, 64)


def test_scripts_are_those_of_clips_that_do_not_vary(clips):
    plan, other = make_plan(clips, "train", TOY), make_plan(clips, "train", VARIED)
    for index in range(6):
        plain, varied = draw_script(plan, 1, index), draw_script(other, 1, index)
        bare = tuple(
            replace(p, seen=replace(p.seen, look=None), heard=replace(p.heard, look=None))
            for p in varied.pieces
        )
        assert (plain.label, plain.spans, plain.pieces, plain.bed) == (
            varied.label,
            varied.spans,
            bare,
            varied.bed,
        )


def test_a_clip_has_one_look_in_a_video_and_another_in_the_next(clips):
    plan = make_plan(clips, "train", VARIED)
    looks: dict[str, list[Look]] = {}
    for index in range(40):
        script = draw_script(plan, 1, index)
        here: dict[str, Look] = {}
        for take in (take for piece in script.pieces for take in (piece.seen, piece.heard)):
            assert here.setdefault(take.clip.name, take.look) == take.look
        for name, look in here.items():
            looks.setdefault(name, []).append(look)
    every = [look for some in looks.values() for look in some]
    assert len(set(every)) == len(every)  # no two videos show a clip alike
    assert 0.4 < np.mean([look.mirrored for look in every]) < 0.6
    assert all(
        0 <= look.box[0] < look.box[2] <= 1.0 + 1e-9 and look.box[2] - look.box[0] >= 0.6 for look in every
    )


def test_a_look_that_changes_nothing_gives_the_picture_back(picture):
    assert np.array_equal(
        vary_planes(picture, SAME), np.concatenate([np.clip(picture[:64], 16, 235), picture[64:]])
    )


def test_a_picture_is_mirrored_cut_lit_and_tinted(picture):
    grey = picture[:64].astype(int)
    mirrored = vary_planes(picture, replace(SAME, mirrored=True))
    assert np.abs(mirrored[:64].astype(int) - grey[:, ::-1]).max() <= 1
    right = vary_planes(picture, replace(SAME, box=(0.4, 0.4, 1.0, 1.0)))[:64].astype(int)
    assert np.abs(right[:, 0].mean() - grey[30:, 38].mean()) < 4  # begins four tenths in
    assert np.abs(right[:, -1].mean() - grey[30:, -1].mean()) < 4
    lit = vary_planes(picture, replace(SAME, light=20.0))
    assert np.median(lit[:64].astype(int) - grey) == 20
    assert np.array_equal(lit[64:], picture[64:])
    bare = vary_planes(picture, replace(SAME, colour=0.0))
    assert set(bare[64:].ravel().tolist()) == {128}
    assert np.abs(bare[:64].astype(int) - grey).max() <= 1


def test_a_faster_sound_is_higher(clips):
    plan = make_plan(clips, "train", TOY)
    script = draw_script(plan, 1, 0)
    tone = np.sin(2 * np.pi * 1000 * np.arange(20 * RATE_HZ) / RATE_HZ).astype(np.float32)

    def loudest(speed: float) -> float:
        pieces = tuple(
            replace(p, heard=replace(p.heard, look=replace(SAME, speed=speed))) for p in script.pieces
        )
        power = abs(np.fft.rfft(mix(replace(script, pieces=pieces, bed=()), lambda take: tone)))
        return float(np.argmax(power)) * RATE_HZ / (2 * (power.size - 1))

    assert loudest(1.0) == pytest.approx(1000, abs=2)
    assert loudest(1.1) == pytest.approx(1100, abs=2)
    assert loudest(0.9) == pytest.approx(900, abs=2)


def test_the_truth_tells_it_and_the_folder_knows(clips, tmp_path):
    how = {"videos": 1, "seed": 3, "split": "train", "workers": 1}
    folder = make_splice(clips, tmp_path / "w", settings=VARIED, **how)
    truth = json.loads((folder / "truth/000000.json").read_text())
    assert all({"mirrored", "box", "speed"} <= set(piece["picture"]["look"]) for piece in truth["pieces"])
    assert json.loads((folder / "dataset.json").read_text())["options"]["vary"] is True
    with pytest.raises(Exception, match="options"):
        make_splice(clips, folder, settings=TOY, **how)
    assert "vary" not in TOY.fields()  # folders begun before there was such a setting go on
