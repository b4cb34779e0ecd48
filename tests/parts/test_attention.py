from __future__ import annotations

import pytest
import torch
from torch import nn

from avglance.errors import ArgumentError, ShapeError
from avglance.parts.aespa import TransformerAESPA as AESPA
from avglance.parts.attention import SelfLayer, attend


@pytest.fixture
def part():
    return AESPA(12, 10, (4, 5), width=16, heads=4, hidden=24, max_snippets=8).eval()


def wake(part):
    """A last convolution that is not zero: as after some training."""
    nn.init.normal_(part.widen.weight)
    return part


def test_attend_equals_torch_multihead_attention():
    reference = nn.MultiheadAttention(16, 4, batch_first=True)
    x = torch.randn(2, 7, 16)
    q, k, v = nn.functional.linear(x, reference.in_proj_weight, reference.in_proj_bias).chunk(3, -1)
    ours = reference.out_proj(attend(q, k, v, heads=4))
    assert torch.allclose(ours, reference(x, x, x)[0], atol=1e-6)


def test_self_layer_equals_torch_encoder_layer():
    ours = SelfLayer(16, 4, 32).eval()
    theirs = nn.TransformerEncoderLayer(16, 4, 32, 0.0, "gelu", batch_first=True, norm_first=True).eval()
    pairs = {
        "self_attn.in_proj_weight": "project.weight", "self_attn.in_proj_bias": "project.bias",
        "self_attn.out_proj.weight": "out.weight", "self_attn.out_proj.bias": "out.bias",
        "linear1.weight": "feed.0.weight", "linear1.bias": "feed.0.bias",
        "linear2.weight": "feed.3.weight", "linear2.bias": "feed.3.bias",
        "norm1.weight": "norm.weight", "norm1.bias": "norm.bias",
        "norm2.weight": "norm_forward.weight", "norm2.bias": "norm_forward.bias",
    }  # fmt: skip
    theirs.load_state_dict({name: ours.state_dict()[mine] for name, mine in pairs.items()})
    x = torch.randn(3, 5, 16)
    assert torch.allclose(ours(x), theirs(x), atol=1e-6)


def test_heads_must_divide_the_width():
    with pytest.raises(ArgumentError, match="width=16 does not divide into 3 heads"):
        SelfLayer(16, 3, 32)


def test_aespa_is_the_identity_at_the_start(part):
    map = torch.randn(3, 12, 4, 5)
    assert torch.equal(part(map, part.memory(torch.randn(3, 6, 10))), map)


def test_aespa_hears_once_it_is_awake(part):
    map = torch.randn(1, 12, 4, 5).expand(2, -1, -1, -1)
    one, other = wake(part)(map, part.memory(torch.randn(2, 6, 10)))
    assert not torch.allclose(one, other, atol=1e-3)


def test_aespa_permuted_sounds_matter_through_the_embedding_of_time_alone(part):
    wake(part)
    map, sounds = torch.randn(1, 12, 4, 5), torch.randn(1, 6, 10)
    shuffled = sounds[:, torch.tensor([3, 0, 5, 1, 4, 2])]
    nn.init.normal_(part.when)
    assert not torch.allclose(part(map, part.memory(sounds)), part(map, part.memory(shuffled)), atol=1e-3)
    nn.init.zeros_(part.when)
    assert torch.allclose(part(map, part.memory(sounds)), part(map, part.memory(shuffled)), atol=1e-5)


def test_aespa_is_wired_cell_by_cell(part):
    """Without ``where``, moving the cells of the map moves the cells of the answer."""
    wake(part)
    nn.init.zeros_(part.where)
    map, memory = torch.randn(1, 12, 4, 5), part.memory(torch.randn(1, 6, 10))
    moved = map.roll((1, 2), (2, 3))
    assert torch.allclose(part(moved, memory), part(map, memory).roll((1, 2), (2, 3)), atol=1e-5)


def test_aespa_learns_from_what_comes_after_it_with_detached_inputs(part):
    wake(part)
    map, sounds = torch.randn(2, 12, 4, 5), torch.randn(2, 6, 10)
    part(map, part.memory(sounds)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in part.parameters())


def test_aespa_batch_order_does_not_matter(part):
    wake(part)
    map, memory = torch.randn(4, 12, 4, 5), part.memory(torch.randn(4, 6, 10))
    order = torch.tensor([2, 0, 3, 1])
    assert torch.allclose(part(map, memory)[order], part(map[order], memory[order]), atol=1e-5)


def test_aespa_names_wrong_shapes(part):
    with pytest.raises(ShapeError, match=r"map must be \(n, 12, 4, 5\)"):
        part(torch.zeros(1, 12, 5, 4), part.memory(torch.zeros(1, 6, 10)))
    with pytest.raises(ShapeError, match=r"sounds must be \(B, T <= 8, Da\)"):
        part.memory(torch.zeros(1, 9, 10))
    with pytest.raises(ShapeError, match="memory must be"):
        part(torch.zeros(2, 12, 4, 5), part.memory(torch.zeros(1, 6, 10)))
