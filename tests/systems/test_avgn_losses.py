"""What AVGN's losses say, what each of them trains, and what training looks at."""

from __future__ import annotations

import dataclasses
import functools
import math

import pytest
import torch
from tests import checks

from avglance.errors import ArgumentError
from avglance.systems import avgn, avgn_losses, build
from avglance.systems.base import along, coarse_to_fine

HEADS = ("head_picture", "head_sound", "head_focus")


def reached(system):
    """The parts with any gradient."""
    return {
        name.split(".")[0]
        for name, p in system.named_parameters()
        if p.grad is not None and bool(p.grad.abs().sum() > 0)
    }


def losses(system, clips, *, epoch=3, seed=0):
    return system.train().losses(clips, rng=torch.Generator().manual_seed(seed), epoch=epoch)


@pytest.fixture(params=["avgn", "avgn_nano"])
def system(request):
    """Recurrent and heat-map policy, the losses in their default forms; nothing is dropped."""
    return checks.small_system(request.param, **checks.PLAIN)


def test_losses_of_no_opinion(system):
    """All logits zero: each of four classification losses is ln C; saliency is right already."""
    with torch.no_grad():
        for head in (*(getattr(system, n) for n in HEADS), system.saliency.score, system.saliency.classify):
            for p in head.parameters():
                p.zero_()
        for p in system.classifier.heads.parameters():
            p.zero_()
    terms = losses(system, checks.make_clips(3, missing=False))
    assert set(terms) == {"prefix", "picture", "sound", "focus", "saliency", "ordered", "masked"}
    four = sum(terms[name].item() for name in ("prefix", "picture", "sound", "focus"))
    assert four == pytest.approx(4 * math.log(checks.C), rel=1e-5)
    assert terms["saliency"].item() == pytest.approx(0, abs=1e-6)
    assert terms["ordered"].item() == pytest.approx(math.log(checks.C), rel=1e-5)


def test_four_ln_of_two_hundred():
    assert 4 * math.log(200) == pytest.approx(21.193, abs=5e-4)


def branches(system, clips):
    """Close features of both branches, from stirred weights, in training mode."""
    system.train()
    free = avgn.Unmetered()
    seen = system.glance_clips(clips, clips.visible, clips.audible)
    order = system.rank(system.choose(seen, spend=free).logits, clips.visible, checks.T)
    return avgn_losses.two_branches(system, clips, seen, order, torch.Generator().manual_seed(0))


def test_the_random_branch_never_reaches_policy_or_aespa(system):
    _, other = branches(system, checks.make_clips(3, missing=False))
    system.head_focus(other).square().sum().backward()
    assert reached(system) == {"encode_focus", "head_focus"}


def test_the_random_branch_of_the_answer_never_reaches_policy_or_aespa(system):
    caught = []
    system.classifier.register_forward_hook(lambda module, given, out: caught.append(out))
    losses(system, checks.make_clips(3, missing=False))
    assert len(caught) == 2
    caught[1].square().sum().backward()
    assert reached(system) == {"encode_picture", "encode_sound", "encode_focus", "classifier"}


def test_the_local_loss_reaches_policy_and_aespa_and_stops_there(system):
    near, _ = branches(system, checks.make_clips(3, missing=False))
    system.head_focus(near).square().sum().backward()
    assert reached(system) == {"encode_focus", "head_focus", "policy", "attention"}


def test_aespa_is_reached_after_one_step():
    """Its last layer starts at zero: that layer learns first, the others through it."""
    torch.manual_seed(0)
    system = build("avgn_nano", classes=checks.C, snippets=checks.T, resize_side=checks.S,
                   source_side=checks.S, **checks.SMALL["avgn_nano"])  # fmt: skip
    clips = checks.make_clips(3, missing=False)
    step = torch.optim.SGD(system.parameters(), 0.1)
    for before in (0, 1):
        step.zero_grad()
        sum(losses(system, clips).values()).backward()
        assert system.attention.widen.weight.grad.abs().sum() > 0
        assert (system.attention.hear.weight.grad.abs().sum() > 0) == bool(before)
        step.step()


@pytest.mark.parametrize(
    ("term", "parts"),
    [
        ("prefix", {"encode_picture", "encode_sound", "encode_focus", "classifier", "policy", "attention"}),
        ("picture", {"encode_picture", "head_picture"}),
        ("sound", {"encode_sound", "head_sound"}),
        ("focus", {"encode_focus", "head_focus", "policy", "attention"}),
        ("saliency", {"encode_picture", "encode_sound", "saliency"}),
        ("ordered", {"encode_picture", "encode_sound", "saliency"}),
        ("masked", {"encode_picture", "encode_sound", "saliency"}),
    ],
)
def test_what_each_loss_trains(system, term, parts):
    losses(system, checks.make_clips(3, missing=False))[term].backward()
    assert reached(system) == parts


def test_lines_choose_by_the_labels_alone():
    """No teacher, no order and nothing hidden teaches them; the answer's loss does not reach them."""
    system = checks.small_system("avgn_nano", chooser="evidence", drop_sound=0.0, drop_pictures=0.0)
    terms = losses(system, checks.make_clips(3, missing=False))
    assert set(terms) == {"prefix", "picture", "sound", "focus", "teacher", "saliency"}
    terms["saliency"].backward(retain_graph=True)
    assert reached(system) == {"encode_picture", "encode_sound", "saliency"}
    system.zero_grad()
    terms["prefix"].backward()
    assert "saliency" not in reached(system)


def test_lines_are_asked_once_a_step_and_no_teacher_is():
    system = checks.small_system("avgn_nano", chooser="evidence", teacher="heads").train()
    asked = dict.fromkeys(("saliency", "saliency.usual_picture", "head_picture", "head_sound"), 0)

    def count(name):
        def hook(*_):
            asked[name] += 1

        return hook

    for name in asked:
        system.get_submodule(name).register_forward_hook(count(name))
    losses(system, checks.make_clips(3, missing=False))
    assert asked == dict.fromkeys(asked, 1), "the heads by their own losses alone"
    assert system.saliency.usual_picture.num_batches_tracked == 1


def test_lines_choose_in_a_system_that_does_not_hear():
    changes = {"hear_choose": False, "hear_aim": False, "hear_answer": False}
    system = checks.small_system("avgn_nano", chooser="evidence", **changes)
    losses(system, checks.make_clips(3, missing=False))["saliency"].backward()
    assert system.saliency.hear.weight.grad is None
    assert system.saliency.see.weight.grad.abs().sum() > 0


def test_lines_have_a_rate_of_their_own():
    system = checks.small_system("avgn_nano", chooser="evidence", choose_rate=5.0, encoder_rate=0.5)
    for stage in system.stages():
        rates = {name: group.rate for group in stage.groups for name in group.part}
        if "saliency" in rates:
            assert rates["saliency"] == pytest.approx(5 * rates["no_"])
            assert rates["encode_"] == pytest.approx(0.5 * rates["no_"]) if "encode_" in rates else True
    with pytest.raises(ArgumentError, match="choose_rate must be at least 0, got -1"):
        checks.small_system("avgn_nano", choose_rate=-1.0)


def test_without_its_loss_nothing_teaches_the_lines():
    with pytest.raises(ArgumentError, match="nothing teaches the saliency"):
        checks.small_system("avgn_nano", chooser="evidence", saliency=0.0)


def test_the_fused_teacher_learns_and_is_not_taught_by_saliency():
    system = checks.small_system("avgn_nano", teacher="fused", drop_sound=0.0, drop_pictures=0.0)
    terms = losses(system, checks.make_clips(3, missing=False))
    terms["saliency"].backward(retain_graph=True)
    assert reached(system) == {"encode_picture", "encode_sound", "saliency"}
    system.zero_grad()
    terms["teacher"].backward()
    assert "head_fused" in reached(system)


def test_the_saliency_target_is_the_heads_own_confidence(system):
    """With pictures gone the sound head is the only teacher: KL(q || p) by hand, in evaluation mode."""
    clips = checks.make_clips(2, missing=False)
    clips.visible[:] = False
    system.eval()
    with torch.no_grad():
        term = system.losses(clips, rng=torch.Generator().manual_seed(0), epoch=3)["saliency"]
        logits = system.head_sound(system.encode_sound(clips.sounds.flatten(0, 1))[1]).unflatten(0, (2, -1))
        sure = torch.stack([logits[i].softmax(-1)[:, i] for i in range(2)])  # video i is of class i
        q = sure / sure.sum(1, keepdim=True)
        p = system(clips, 1).saliency.softmax(1)
    torch.testing.assert_close(term, (q * (q / p).log()).sum(1).mean(), rtol=1e-4, atol=1e-6)
    assert term > 1e-3


def test_random_corners_cover_the_square(system, monkeypatch):
    boxes = []

    def catch(images, given, side, *, index):
        boxes.append(given)
        return real(images, given, side, index=index)

    real = avgn.crop
    monkeypatch.setattr(avgn, "crop", catch)
    clips = checks.make_clips(20, missing=False)
    with torch.no_grad():
        for seed in range(34):
            losses(system, clips, seed=seed)
    chance = torch.cat([b[-20 * checks.T :] for b in boxes])
    assert len(chance) >= 4000
    assert (chance >= 0).all()
    assert (chance <= 1 + 1e-6).all()
    room = 1 - 20 / checks.S
    assert ((chance[:, :2] / room).mean(0) - 0.5).abs().max() < 0.02
    assert (chance[:, :2] / room).std(0).sub(12**-0.5).abs().max() < 0.02


def test_no_loss_where_nothing_is_heard_or_seen(system):
    clips = checks.make_clips(3, missing=False)
    silent = losses(system, checks.muted(clips))
    assert silent["sound"].item() == 0
    assert silent["picture"].item() > 0
    blind = losses(system, dataclasses.replace(clips, visible=torch.zeros_like(clips.visible)))
    assert [blind[name].item() for name in ("prefix", "picture", "focus", "masked")] == [0, 0, 0, 0]
    assert blind["sound"].item() > 0


def test_invisible_pixels_teach_nothing(system):
    """What lies in the tensor where nothing is visible must not reach the gradient."""
    system.eval()  # batch norm would mix the rows
    clips = checks.make_clips(4)
    gradients = []
    for fill in (0, 255):
        pictures = clips.pictures.masked_fill(~clips.visible[..., None, None, None], fill)
        system.zero_grad()
        filled = dataclasses.replace(clips, pictures=pictures)
        sum(system.losses(filled, rng=torch.Generator().manual_seed(0), epoch=3).values()).backward()
        gradients.append(torch.cat([p.grad.flatten() for p in system.parameters() if p.grad is not None]))
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-4, atol=1e-5)


def test_dropped_sound_is_as_no_sound():
    """DropPathway at (nearly) 1 trains as muted clips do."""
    system = checks.small_system("avgn_nano", drop_sound=0.999999, drop_pictures=0.0, dropout=0.0)
    plain = checks.small_system("avgn_nano", drop_sound=0.0, drop_pictures=0.0, dropout=0.0)
    clips = checks.make_clips(3, missing=False)
    assert losses(system, clips)["sound"].item() == 0
    assert losses(plain, clips)["sound"].item() > 0


def test_the_order_warms_up(system):
    clips = checks.make_clips(4)
    score = torch.randn(4, checks.T)
    order = functools.partial(avgn_losses.training_order, system, score, clips.visible)
    early = order(rng=torch.Generator(), epoch=1)
    assert early[0].tolist() == coarse_to_fine(checks.T)
    assert early[2].tolist()[0] == 3, "the only visible snippet comes first"
    late = order(rng=torch.Generator(), epoch=2)
    assert late[0].tolist() == score[0].argsort(descending=True).tolist()
    assert along(clips.visible, late)[2].tolist() == [True] + [False] * (checks.T - 1)


def test_auxiliary_heads_at_the_salient_quarter(monkeypatch):
    """After the warm-up only the most salient T / 4 snippets count, however the others are classified."""
    system = checks.small_system(
        "avgn_nano", auxiliary_at="salient", drop_sound=0.0, drop_pictures=0.0, dropout=0.0, order_warmup=1
    )
    clips = checks.make_clips(3, missing=False)
    best = torch.tensor([[1], [0], [2]])  # the one salient snippet of each video
    wanted = torch.zeros(3, checks.T).scatter(1, best, 5.0)
    chosen = system.choose

    def choose(seen, *, spend):
        found = chosen(seen, spend=spend)
        return dataclasses.replace(found, logits=wanted + 0 * found.logits)

    monkeypatch.setattr(system, "choose", choose)
    counted = []
    head = system.head_picture.forward
    monkeypatch.setattr(system.head_picture, "forward", lambda x: counted.append(head(x)) or counted[-1])
    quarter = max(1, checks.T // 4)
    for epoch, rows in ((0, checks.T), (1, quarter)):
        counted.clear()
        term = losses(system, clips, epoch=epoch)["picture"]
        logits, labels = counted[0], clips.targets.argmax(1)
        order = wanted.argsort(dim=1, descending=True, stable=True)[:, :rows]
        taken = along(logits, order)
        by_hand = torch.nn.functional.cross_entropy(taken.flatten(0, 1), labels.repeat_interleave(rows))
        assert term.item() == pytest.approx(by_hand.item(), rel=1e-5)


def test_losses_can_be_left_out():
    changes = {"auxiliary": 0.0, "saliency": 0.0, "ordered": 0.0, "masked": 0.0, "teacher": "heads"}
    changes["order"] = "coarse"  # with saliency nothing would teach it
    system = checks.small_system("avgn_nano", **changes)
    assert set(losses(system, checks.make_clips(2))) == {"prefix"}
    half = checks.small_system("avgn_nano", **checks.PLAIN, ordered=0.5, auxiliary=0.25)
    whole = checks.small_system("avgn_nano", **checks.PLAIN)
    clips = checks.make_clips(2)
    with torch.no_grad():
        one, other = (x.losses(clips, rng=torch.Generator().manual_seed(0), epoch=3) for x in (half, whole))
    for name, share in {"prefix": 1, "picture": 0.25, "sound": 0.25, "focus": 0.25, "ordered": 0.5}.items():
        torch.testing.assert_close(one[name], share * other[name])
