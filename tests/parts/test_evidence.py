from __future__ import annotations

import pytest
import torch

from avglance.errors import ShapeError
from avglance.parts.evidence import SnippetEvidence
from avglance.parts.fusion import soft_maximum

T, C, DV, DA = 8, 3, 12, 10


def planted(videos=96, *, seed=0, place=None):
    """Videos of three classes: at one snippet the class raises its own feature of both senses."""
    rng = torch.Generator().manual_seed(seed)
    visual, sounds = torch.rand(videos, T, DV, generator=rng), torch.rand(videos, T, DA, generator=rng)
    labels = torch.arange(videos) % C
    at = torch.randint(0, T, (videos,), generator=rng) if place is None else torch.full((videos,), place)
    row = torch.arange(videos)
    visual[row, at, labels] += 3.0
    sounds[row, at, labels] += 3.0
    return visual, sounds, labels, at


def learned(**changes):
    """An evidence that was taught the planted videos by their labels alone."""
    torch.manual_seed(0)
    part = SnippetEvidence(DV, DA, C, **changes)
    visual, sounds, labels, _ = planted()
    step = torch.optim.AdamW(part.parameters(), 0.05)
    for _ in range(60):
        step.zero_grad()
        part.loss(part(visual, sounds), labels).backward()
        step.step()
    return part.eval()


def test_it_finds_moments_from_labels_alone():
    visual, sounds, labels, at = planted(seed=1)
    found = learned()(visual, sounds)
    assert (found.logits.argmax(1) == at).float().mean() > 0.95
    own = found.class_logits[torch.arange(len(at)), at].argmax(-1)
    assert (own == labels).float().mean() > 0.95


def test_each_sense_finds_them_alone():
    visual, sounds, _, at = planted(seed=1)
    part = learned()
    for said in part.speak(visual, sounds):
        assert (said.amax(-1).argmax(1) == at).float().mean() > 0.9


def test_a_snippet_knows_nothing_of_its_neighbours():
    visual, sounds, _, _ = planted(4)
    part = learned()
    before = part(visual, sounds).logits
    visual[:, 3], sounds[:, 3] = torch.rand(4, DV), torch.rand(4, DA)
    after = part(visual, sounds).logits
    others = torch.arange(T) != 3
    assert torch.equal(before[:, others], after[:, others])
    assert not torch.equal(before[:, 3], after[:, 3])


def test_sound_weighs_as_told():
    visual, sounds, _, _ = planted(4)
    part = learned(hear=0.5)
    seen, heard = part.speak(visual, sounds)
    torch.testing.assert_close(part(visual, sounds).logits, (seen + 0.5 * heard).amax(-1))
    part.share = 0.0
    assert torch.equal(part(visual, sounds).logits, part(visual).logits)


def test_the_loss_is_that_of_both_and_of_each():
    visual, sounds, labels, _ = planted(6)
    part = learned()
    seen, heard = part.speak(visual, sounds)
    by_hand = [
        torch.nn.functional.cross_entropy(soft_maximum(x), labels) for x in (seen + heard, seen, heard)
    ]
    torch.testing.assert_close(part.loss(part(visual, sounds), labels), sum(by_hand))
    torch.testing.assert_close(part.loss(part(visual), labels), by_hand[1])
    part.alone = 0.0
    torch.testing.assert_close(part.loss(part(visual, sounds), labels), by_hand[0])


def test_several_labels_are_taught_as_yes_or_no():
    visual, sounds, labels, _ = planted(6)
    part = learned()
    several = torch.nn.functional.one_hot(labels, C).float()
    loss = part.loss(part(visual, sounds), several)
    assert torch.isfinite(loss)
    assert loss != part.loss(part(visual, sounds), labels)


def test_the_soft_maximum_lies_between_mean_and_maximum():
    x = torch.randn(5, T, C)
    assert (soft_maximum(x) > x.mean(1)).all()
    assert (soft_maximum(x) < x.amax(1)).all()
    torch.testing.assert_close(soft_maximum(x, temperature=1e-3), x.amax(1), atol=1e-2, rtol=0)
    torch.testing.assert_close(soft_maximum(x, temperature=1e4), x.mean(1), atol=1e-2, rtol=0)
    torch.testing.assert_close(soft_maximum(torch.full((1, T, C), 1.5)), torch.full((1, C), 1.5))


def test_gradients_are_finite_where_features_are_zero():
    visual, sounds = torch.zeros(2, T, DV, requires_grad=True), torch.zeros(2, T, DA)
    part = SnippetEvidence(DV, DA, C)
    part.loss(part(visual, sounds), torch.tensor([0, 1])).backward()
    assert torch.isfinite(visual.grad).all()


def test_features_of_other_snippets_are_refused():
    with pytest.raises(ShapeError, match=r"visual and sounds must be .* got \(2, 8, 12\) and \(2, 7, 10\)"):
        SnippetEvidence(DV, DA, C)(torch.zeros(2, 8, DV), torch.zeros(2, 7, DA))
