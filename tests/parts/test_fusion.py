from __future__ import annotations

import pytest
import torch

from avglance.errors import ArgumentError, ShapeError
from avglance.parts.fusion import LowRankMix, PrefixClassifier, soft_maximum


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


def test_behind_the_last_head_it_goes_on_answering():
    part = PrefixClassifier(6, 16, 3, steps=2).eval()
    features = torch.randn(3, 5, 6)
    z = part.norm(part.mix(features.flatten(0, 1))).relu().view(3, 5, 16)
    assert torch.allclose(part(features)[:, 4], part.heads[1](z.amax(1)), atol=1e-6)


def test_low_rank_fusion_is_a_sum_of_products():
    part = LowRankMix((2, 3), 4, rank=2)
    features = torch.randn(5, 5)
    one, other = (f(x).view(5, 2, 4) for f, x in zip(part.factors, features.split((2, 3), -1), strict=True))
    assert torch.allclose(part(features), (one * other).sum(1) / 2 + part.bias, atol=1e-6)
    with torch.no_grad():  # W [f ; 1] = 1 of a sense that says nothing: the other sense passes as it is
        part.factors[0].weight.zero_()
    assert torch.allclose(part(features), other.mean(1) + part.bias, atol=1e-6)


def test_low_rank_fusion_tells_what_a_sum_cannot():
    """Whether two senses agree no linear layer before a linear head can say; products can."""
    torch.manual_seed(0)
    signs = torch.randint(0, 2, (256, 2)) * 2.0 - 1
    agree = (signs.prod(1) > 0).long()

    def fit(mix):
        head = torch.nn.Linear(8, 2)
        steps = torch.optim.Adam([*mix.parameters(), *head.parameters()], lr=0.05)
        for _ in range(100):
            loss = torch.nn.functional.cross_entropy(head(mix(signs)), agree)
            steps.zero_grad()
            loss.backward()
            steps.step()
        return (head(mix(signs)).argmax(1) == agree).float().mean()

    assert fit(LowRankMix((1, 1), 8, rank=2)) == 1.0
    assert fit(torch.nn.Linear(2, 8)) < 0.8


def test_wrong_values_are_named():
    with pytest.raises(ShapeError, match=r"features must be \(B, K >= 1, Din\)"):
        PrefixClassifier(6, 16, 3, steps=4)(torch.zeros(1, 6))
    with pytest.raises(ArgumentError, match="steps must be at least 1, got 0"):
        PrefixClassifier(6, 16, 3, steps=0)
    with pytest.raises(ArgumentError, match="rank must be at least 1, got -1"):
        PrefixClassifier(6, 16, 3, steps=1, rank=-1)


def test_the_soft_pool_answers_by_each_moment():
    part = PrefixClassifier(6, 16, 3, steps=4, pool="soft").eval()
    assert len(part.heads) == 1
    x = torch.randn(2, 5, 6)
    each = torch.stack([part(x[:, j : j + 1])[:, 0] for j in range(5)], 1)
    for j, logits in enumerate(part(x).unbind(1)):
        torch.testing.assert_close(logits, soft_maximum(each[:, : j + 1]), rtol=1e-5, atol=1e-5)


def test_the_soft_pool_goes_on_where_it_stopped():
    part, x = PrefixClassifier(6, 16, 3, steps=4, pool="soft").eval(), torch.randn(2, 5, 6)
    first, known = part.steps(x[:, :2])
    rest, _ = part.steps(x[:, 2:], known, 2)
    torch.testing.assert_close(torch.cat([first, rest], 1), part(x))
