from __future__ import annotations

import pytest
import torch
from torch import nn

from avglance.errors import ArgumentError, ShapeError
from avglance.parts.aespa import FORMS, CellsHidden, build_aespa
from avglance.parts.meter import row_macs

SIDE = (4, 5)


def make(form, *, awake=False):
    torch.manual_seed(0)
    part = build_aespa(form, 12, 10, SIDE, width=16, hidden=24).eval()
    if awake:  # as after some training
        for name, weight in part.named_parameters():
            if name.startswith(("widen", "gain", "channels.2", "see", "hear")):
                nn.init.normal_(weight)
    return part


def answer(part, map, sounds, at=0):
    """The enhanced maps of one video's snippet ``at``, as AVGN asks for them."""
    memory = part.memory(sounds).expand(len(map), -1, -1)
    return part(map, memory if part.whole_video else memory[:, at : at + 1])


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_the_identity_at_the_start(form):
    map = torch.randn(3, 12, *SIDE)
    assert torch.equal(answer(make(form), map, torch.randn(1, 6, 10)), map)


@pytest.mark.parametrize("form", FORMS)
def test_every_form_hears_once_it_is_awake(form):
    part, map = make(form, awake=True), torch.randn(1, 12, *SIDE)
    one, other = (answer(part, map, torch.randn(1, 6, 10)) for _ in range(2))
    assert not torch.allclose(one, other, atol=1e-3)


@pytest.mark.parametrize(("form", "moved"), [("a1", True), ("a2", True), ("b", False), ("c", False)])
def test_the_transformers_hear_the_whole_video_and_the_others_their_own_snippet(form, moved):
    part, map = make(form, awake=True), torch.randn(1, 12, *SIDE)
    sounds = torch.randn(1, 6, 10)
    others = sounds.clone()
    others[:, 1:] = torch.randn(1, 5, 10)
    same = torch.allclose(answer(part, map, sounds), answer(part, map, others), atol=1e-4)
    assert same != moved


@pytest.mark.parametrize("form", ["a1", "a2"])
def test_permuting_the_sounds_tells_only_through_the_embedding_of_time(form):
    part, map = make(form, awake=True), torch.randn(1, 12, *SIDE)
    sounds, order = torch.randn(1, 6, 10), torch.tensor([3, 1, 5, 0, 2, 4])
    assert not torch.allclose(answer(part, map, sounds), answer(part, map, sounds[:, order]), atol=1e-4)
    with torch.no_grad():
        part.when.zero_()
    assert torch.allclose(answer(part, map, sounds), answer(part, map, sounds[:, order]), atol=1e-4)


def test_the_weights_of_form_b_sum_to_one():
    part, map = make("b", awake=True), torch.randn(3, 12, *SIDE)
    weights = part.weights(map, torch.randn(3, 1, 10))
    assert weights.shape == (3, 20)
    assert torch.allclose(weights.sum(1), torch.ones(3), atol=1e-6)


def test_form_b_strengthens_the_cell_that_agrees():
    part = make("b")
    with torch.no_grad():
        for weight in (part.ask.weight, part.answer.weight):
            weight.copy_(torch.eye(16, weight.shape[1]).view_as(weight))
        part.ask.bias.zero_(), part.answer.bias.zero_(), part.gain.fill_(1.0)
    sound = torch.zeros(1, 1, 10)
    sound[..., 3] = 20.0
    map = torch.ones(1, 12, *SIDE)
    map[0, 3, 2, 1] = 5.0
    gained = part(map, sound) / map
    assert gained[0, 0].argmax() == 2 * 5 + 1
    assert torch.allclose(gained.mean((2, 3)), torch.full((1, 12), 2.0), atol=1e-4)  # 1 + g N alpha, mean 2


@pytest.mark.parametrize(("form", "macs"), [("a1", 71_450_624), ("b", 16_396_544), ("c", 391_680)])
def test_cost_of_each_form_at_the_papers_sizes(form, macs):
    with torch.device("meta"), torch.no_grad():
        part = build_aespa(form, 1280, 1280, 7, width=256, hidden=512).eval()
        map, sounds = torch.zeros(1, 1280, 7, 7), torch.zeros(1, 16, 1280)
        memory = part.memory(sounds)
    assert row_macs(part, map, memory if part.whole_video else sounds[:, :1]) == macs


@pytest.mark.parametrize("form", ["a1", "a2"])
def test_hidden_cells_are_rebuilt_from_the_sound(form):
    """Sound and cells say the same, so the hidden can be heard: with other sounds the loss is far above."""
    part, hidden = make(form).train(), CellsHidden(16)
    steps = torch.optim.Adam([*part.parameters(), *hidden.parameters()], lr=3e-3)

    def loss(seed, *, others=False):
        rng = torch.Generator().manual_seed(seed)
        said = torch.randn(32, 10, generator=rng)
        map = nn.functional.pad(said, (0, 2))[:, :, None, None].expand(-1, -1, *SIDE)
        heard = said.flip(0) if others else said
        return hidden(part, map, part.memory(heard[:, None].expand(-1, 6, -1)), rng)

    for seed in range(150):
        steps.zero_grad()
        loss(seed).backward()
        steps.step()
    with torch.no_grad():
        assert loss(1000) < 0.5 * loss(1000, others=True)


def test_wrong_shapes_and_forms_are_named():
    with pytest.raises(ArgumentError, match="form 'd' is none of a1, a2, b, c"):
        build_aespa("d", 12, 10, SIDE, width=16, hidden=24)
    for form in FORMS:
        with pytest.raises(ShapeError, match=r"map must be \(n, 12, 4, 5\)"):
            make(form)(torch.zeros(2, 12, 5, 4), torch.zeros(2, 1, 10))
        with pytest.raises(ShapeError, match=r"memory must be \(2, T, .\)"):
            make(form)(torch.zeros(2, 12, *SIDE), torch.zeros(3, 1, 10))
