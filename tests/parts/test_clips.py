"""The dense batch checks its shapes."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from tests.checks import C, S, T, make_clips

from avglance.errors import ShapeError
from avglance.parts.clips import Clips, blank


def test_sizes():
    clips = make_clips(3)
    assert (len(clips), clips.snippets, clips.device.type) == (3, T, "cpu")


def test_take_gives_the_videos_asked_for_in_order():
    clips = make_clips(4)
    some = clips.take([2, 0, 2])
    assert len(some) == 3
    for name in ("pictures", "sounds", "visible", "audible", "times", "targets"):
        assert torch.equal(getattr(some, name), getattr(clips, name)[[2, 0, 2]])


def test_at_gives_each_video_its_own_snippets():
    clips = make_clips(2)
    some = clips.at(torch.tensor([[4, 1], [0, 5]]))
    assert some.snippets == 2
    assert torch.equal(some.pictures[0, 0], clips.pictures[0, 4])
    assert torch.equal(some.sounds[1, 1], clips.sounds[1, 5])
    assert some.times.tolist() == [[4.5, 1.5], [0.5, 5.5]]
    assert torch.equal(some.targets, clips.targets)


def test_to_keeps_what_it_holds():
    clips = make_clips(2)
    there = clips.to("meta")
    assert there.pictures.device.type == "meta"
    assert there.pictures.shape == clips.pictures.shape


def test_what_is_known_goes_along_and_blank_pictures_take_no_room():
    clips = make_clips(3)
    known = {"sound": torch.arange(3 * T * 2.0).reshape(3, T, 2)}
    pictures = blank(*clips.pictures.shape, dtype=torch.uint8)
    clips = dataclasses.replace(clips, pictures=pictures, known=known)
    some = clips.take([2, 0]).at(torch.tensor([[1, 4], [5, 0]]))
    assert torch.equal(some.known["sound"][0, 1], known["sound"][2, 4])
    assert torch.equal(some.known["sound"][1, 0], known["sound"][0, 5])
    assert some.pictures.shape == (2, 2, 3, S, S)
    assert some.pictures.untyped_storage().nbytes() == 1
    assert torch.equal(some.sounds[0, 1], clips.sounds[2, 4])


def test_a_mask_in_the_room_of_one_number_keeps_its_value():
    shown = torch.ones((), dtype=torch.bool).expand(3, T)
    clips = dataclasses.replace(make_clips(3), visible=shown)
    assert clips.take([0, 1]).visible.all()
    items = [{name: getattr(clips, name)[n].numpy() for name in clips_arrays()} for n in range(3)]
    items = [item | {"visible": np.broadcast_to(np.True_, (T,))} for item in items]
    assert Clips.stack(items).visible.all()


def clips_arrays():
    return [field.name for field in dataclasses.fields(Clips) if field.name != "known"]


def test_a_stack_of_blank_arrays_is_blank():
    clips = make_clips(2)
    arrays = {name: getattr(clips, name) for name in ("sounds", "visible", "audible", "times", "targets")}
    items = [{name: x[n].numpy() for name, x in arrays.items()} for n in range(2)]
    known = np.ones((T, 3), np.float16)
    shown = np.broadcast_to(np.uint8(0), (T, 3, S, S))
    batch = Clips.stack([item | {"pictures": shown, "known": {"map": known}} for item in items])
    assert batch.pictures.untyped_storage().nbytes() == 1
    assert batch.known["map"].shape == (2, T, 3)
    assert torch.equal(batch.sounds, clips.sounds)


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("pictures", torch.zeros(2, T, S, S, dtype=torch.uint8), r"pictures must be \(B, T, 3, S, S\)"),
        ("pictures", torch.zeros(2, T, 3, S, S), "pictures must be uint8"),
        ("pictures", torch.zeros(2, T, 3, S, S + 1, dtype=torch.uint8), "must be square"),
        ("sounds", torch.zeros(2, T, 96, 64), r"sounds must be \(B, T, 1, F, M\)"),
        ("sounds", torch.zeros(2, T + 1, 1, 96, 64), r"sounds must be \(B, T, 1, F, M\)"),
        ("visible", torch.ones(2, T), "visible must be bool"),
        ("audible", torch.ones(T, 2, dtype=torch.bool), r"audible must be \(B, T\)"),
        ("times", torch.zeros(2, T + 1), r"times must be \(B, T\)"),
        ("targets", torch.zeros(3, C), r"targets must be \(B, C\)"),
    ],
)
def test_wrong_shapes_are_named(field, value, says):
    with pytest.raises(ShapeError, match=says):
        dataclasses.replace(make_clips(2), **{field: value})
