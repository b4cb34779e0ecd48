from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from avglance.errors import ArgumentError, ShapeError
from avglance.parts.losses import classification, saliency_loss, teacher_confidence
from avglance.parts.saliency import AVTeST, pick_moments


def small(**changes):
    return AVTeST(
        **{"visual_width": 6, "sound_width": 5, "classes": 3, "width": 16, "hidden": 32, **changes}
    ).eval()


@given(
    st.lists(st.lists(st.integers(-3, 3), min_size=5, max_size=5), min_size=1, max_size=4), st.integers(1, 5)
)
@settings(max_examples=60, deadline=None, derandomize=True)
def test_picked_moments_beat_the_others(rows, k):
    saliency = torch.tensor(rows, dtype=torch.float32)
    picked = pick_moments(saliency, k)
    for scores, kept in zip(rows, picked.tolist(), strict=True):
        assert len(set(kept)) == k
        assert kept == sorted(range(5), key=lambda t: (-scores[t], t))[:k]


def test_pick_moments_names_what_is_wrong():
    with pytest.raises(ShapeError, match=r"saliency must be \(B, T\), got \(4,\)"):
        pick_moments(torch.zeros(4), 1)
    for k in (0, 5):
        with pytest.raises(ArgumentError, match=rf"k={k} is outside \[1, 4\]"):
            pick_moments(torch.zeros(1, 4), k)


def test_shapes():
    out = small()(torch.randn(2, 7, 6), torch.randn(2, 7, 5))
    assert out.logits.shape == (2, 7)
    assert out.class_logits.shape == (2, 7, 3)
    assert out.visual_tokens.shape == (2, 7, 16)


def test_without_sound_its_half_is_zero():
    part = small()
    visual = torch.randn(2, 7, 6)
    out = part(visual)
    assert torch.equal(out.pairs[..., 16:], torch.zeros(2, 7, 16))
    assert not torch.allclose(out.logits, part(visual, torch.zeros(2, 7, 5)).logits)


def test_without_the_embedding_of_time_it_is_equivariant_to_time():
    part = small()
    visual, sounds, order = torch.randn(2, 7, 6), torch.randn(2, 7, 5), torch.randperm(7)
    nn.init.normal_(part.when)
    moved = part(visual[:, order], sounds[:, order]).logits
    assert not torch.allclose(moved, part(visual, sounds).logits[:, order], atol=1e-3)
    nn.init.zeros_(part.when)
    moved = part(visual[:, order], sounds[:, order])
    still = part(visual, sounds)
    assert torch.allclose(moved.logits, still.logits[:, order], atol=1e-5)
    assert torch.allclose(moved.class_logits, still.class_logits[:, order], atol=1e-5)


def test_batch_order_does_not_matter():
    part, order = small(), torch.tensor([2, 0, 1])
    visual, sounds = torch.randn(3, 7, 6), torch.randn(3, 7, 5)
    moved = part(visual[order], sounds[order]).logits
    assert torch.allclose(moved, part(visual, sounds).logits[order], atol=1e-5)


def test_a_hidden_token_says_nothing_of_its_picture():
    part = small()
    visual, sounds = torch.randn(1, 4, 6), torch.randn(1, 4, 5)
    hide = torch.tensor([[False, True, False, False]])
    changed = visual.clone()
    changed[:, 1] = torch.randn(6)
    assert torch.equal(part(visual, sounds, hide).logits, part(changed, sounds, hide).logits)
    assert not torch.allclose(part(visual, sounds).logits, part(changed, sounds).logits)


def test_too_many_snippets_and_wrong_shapes():
    with pytest.raises(ArgumentError, match="9 snippets, but the embedding of time has 8"):
        small(max_snippets=8)(torch.zeros(1, 9, 6))
    with pytest.raises(ShapeError, match="visual and sounds must be"):
        small()(torch.zeros(1, 4, 6), torch.zeros(1, 3, 5))


def test_masked_loss_hides_a_quarter_of_the_visible():
    part = small()
    seen = []
    forward = part.forward

    def spy(visual, sounds, mask):
        seen.append(mask)
        return forward(visual, sounds, mask)

    part.forward = spy
    visible = torch.ones(3, 16, dtype=torch.bool)
    visible[1, 2:] = False
    visible[2] = False
    for seed in range(20):
        rng = torch.Generator().manual_seed(seed)
        part.masked_loss(torch.randn(3, 16, 6), torch.randn(3, 16, 5), rng=rng, visible=visible)
    masks = torch.stack(seen)
    assert (masks.sum(2) == torch.tensor([4, 2, 0])).all()
    assert masks[:, 0].any(0).float().mean() > 0.9  # another draw each time
    assert part.masked_loss(torch.randn(1, 4, 6), None, rng=rng, visible=torch.zeros(1, 4) > 0) == 0


def test_masked_loss_teaches_and_its_target_does_not():
    part = small(dropout=0.0)
    visual = torch.randn(2, 8, 6, requires_grad=True)
    rng = torch.Generator().manual_seed(1)
    part.masked_loss(visual, torch.randn(2, 8, 5), rng=rng).backward()
    touched = {name for name, p in part.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    assert {"mask_token", "reconstruct.weight", "see.weight", "hear.weight"} <= touched
    assert not any(name.startswith(("norm.", "score", "classify")) for name in touched)
    hidden = visual.grad.abs().sum(-1) == 0
    assert hidden.sum(1).tolist() == [2, 2]  # a hidden picture is target alone: no gradient reaches it


# ---- planted evidence: which snippet matters is known ----

T, D, C = 8, 16, 4


def world(kind, videos, directions, rng):
    """Videos of T snippets with labels y that hang on one snippet t*.

    Kind "flag": every snippet shows a random class, t* the true one; a fixed sound plays there alone.
    Kind "audio": pictures are noise, the class is in the sound at t*.
    """
    looks, sounds, flag = directions
    noise = 0.5 * torch.randn(2, videos, T, D, generator=rng)
    y = torch.randint(C, (videos,), generator=rng)
    star = torch.randint(T, (videos,), generator=rng)
    rows = torch.arange(videos)
    v, a = noise
    if kind == "flag":
        shown = torch.randint(C, (videos, T), generator=rng)
        shown[rows, star] = y
        v = v + 4 * looks[shown]
        a[rows, star] += 4 * flag
    else:
        a[rows, star] += 4 * sounds[y]
    return v, a, y, star


def unit(*shape, rng):
    return nn.functional.normalize(torch.randn(*shape, D, generator=rng), dim=-1)


def trained(kind, rng, hear=True):
    """A measure of (moment found, class right from that moment) over 2,000 test videos, and their sound.

    The weights of the pooling are detached. With gradient through them saliency tells the class by where it
    puts its weight, the head need not, and the pair comes apart (moment 0.88, class 0.54 after 400 steps).
    """
    directions = unit(C, rng=rng), unit(C, rng=rng), unit(rng=rng)
    part, head = AVTeST(D, D, C, width=32, hidden=128), nn.Linear(2 * D, C)
    adam = torch.optim.Adam([*part.parameters(), *head.parameters()], lr=2e-3)
    for _ in range(400):
        v, a, y, _ = world(kind, 64, directions, rng)
        a = a if hear else torch.zeros_like(a)
        each, s = head(torch.cat([v, a], -1)), part(v, a).logits
        pooled = (s.detach().softmax(1)[..., None] * each).sum(1)
        loss = classification(pooled, y) + classification(each, y)
        loss = loss + saliency_loss(s, teacher_confidence(each, y))
        adam.zero_grad()
        loss.backward()
        adam.step()
    v, a, y, star = world(kind, 2000, directions, rng)

    @torch.no_grad()
    def measure(a):
        top = pick_moments(part.eval()(v, a).logits, 1)[:, 0]
        rows = torch.arange(len(y))
        answer = head(torch.cat([v, a], -1))[rows, top].argmax(1)
        return (top == star).float().mean().item(), (answer == y).float().mean().item()

    return measure, a


def test_planted_flag():
    rng = torch.Generator().manual_seed(0)
    measure, a = trained("flag", rng)
    moment, answer = measure(a)
    assert moment >= 0.95
    assert answer >= 0.90
    for other in (a[torch.randperm(len(a), generator=rng)], torch.zeros_like(a)):
        lost_moment, lost_answer = measure(other)
        assert lost_moment <= 0.20
        assert answer - lost_answer >= 0.40


def test_planted_flag_without_sound_in_training():
    measure, a = trained("flag", torch.Generator().manual_seed(0), hear=False)
    moment, answer = measure(torch.zeros_like(a))
    assert moment <= 0.20
    assert answer <= 0.55


def test_planted_class_in_the_sound():
    rng = torch.Generator().manual_seed(1)
    measure, a = trained("audio", rng)
    moment, answer = measure(a)
    assert moment >= 0.95
    assert answer >= 0.95
    moment, answer = measure(a[torch.randperm(len(a), generator=rng)])
    assert moment <= 0.20
    assert answer <= 0.35
