from __future__ import annotations

import pytest
import torch

from avglance.errors import ArgumentError, ShapeError
from avglance.parts.fusion import PrefixClassifier


def test_an_answer_after_every_moment_knows_those_before_alone():
    part = PrefixClassifier(4608, 64, 5, steps=8).eval()
    features = torch.randn(2, 8, 1280 + 1280 + 2048)
    logits = part(features)
    assert logits.shape == (2, 8, 5)
    assert torch.allclose(part(features[:, :3]), logits[:, :3], atol=1e-5)
    features[:, 3:] = torch.randn(2, 5, 4608)
    assert torch.allclose(part(features)[:, :3], logits[:, :3], atol=1e-5)
    assert not torch.allclose(part(features)[:, 3:], logits[:, 3:], atol=1e-3)


def test_the_running_maximum_and_a_head_a_step():
    part = PrefixClassifier(6, 16, 3, steps=4, dropout=0.5).eval()
    features = torch.randn(3, 4, 6)
    z = part.norm(part.mix(features.flatten(0, 1))).relu().view(3, 4, 16)
    for j in range(4):
        expected = part.heads[j](z[:, : j + 1].amax(1))
        assert torch.allclose(part(features)[:, j], expected, atol=1e-6)


def test_batch_order_does_not_matter():
    part, order = PrefixClassifier(6, 16, 3, steps=4).eval(), torch.tensor([1, 2, 0])
    features = torch.randn(3, 4, 6)
    assert torch.allclose(part(features[order]), part(features)[order], atol=1e-5)


def test_wrong_values_are_named():
    part = PrefixClassifier(6, 16, 3, steps=4)
    with pytest.raises(ArgumentError, match="5 moments, but heads for 1 to 4"):
        part(torch.zeros(1, 5, 6))
    with pytest.raises(ShapeError, match=r"features must be \(B, K, Din\)"):
        part(torch.zeros(1, 6))
