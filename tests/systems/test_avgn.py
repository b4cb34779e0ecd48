"""AVGN: what it costs, what its losses say and reach, and what its switches do."""

from __future__ import annotations

import dataclasses
import functools
import math

import numpy as np
import pytest
import torch
from tests import checks

from avglance.errors import ArgumentError
from avglance.parts.meter import Meter, crop_macs, row_macs
from avglance.parts.saliency import Saliency
from avglance.parts.tensorview import TensorView
from avglance.systems import avgn, avgn_losses, build
from avglance.systems.base import along, coarse_to_fine
from avglance.views import LOGMEL_MACS

PARTS = ("encode_picture", "encode_sound", "encode_focus", "saliency", "attention", "policy", "classifier")
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


PLAIN = {
    "drop_sound": 0.0, "drop_pictures": 0.0, "dropout": 0.0, "teacher": "heads", "auxiliary_at": "all",
    "train_looks": None,
}  # fmt: skip


@pytest.fixture(params=["avgn", "avgn_nano"])
def system(request):
    """Recurrent and heat-map policy, the losses in their default forms; nothing is dropped."""
    return checks.small_system(request.param, **PLAIN)


# ---- cost ----


@pytest.fixture(scope="module")
def paper():
    """The paper's system without memory: on the meta device only shapes exist."""
    with torch.device("meta"):
        return build("avgn", classes=200).eval()


def paper_cost(system, snippets, k, patch_side):
    def zeros(*shape):
        return torch.zeros(1, *shape, device="meta")

    glance = row_macs(system.encode_picture, zeros(3, 224, 224))
    glance += row_macs(system.encode_sound, zeros(1, 96, 64))
    choose = row_macs(system.saliency, zeros(snippets, 1280), zeros(snippets, 1280))
    memory = row_macs(system.attention, zeros(snippets, 1280), method="memory")
    with torch.no_grad():
        answers = system.attention.memory(zeros(snippets, 1280))
    aim = row_macs(system.attention, zeros(1280, 7, 7), answers)
    aim += row_macs(system.policy, zeros(1, 1280, 7, 7))
    focus = row_macs(system.encode_focus, zeros(3, patch_side, patch_side))
    answer = row_macs(system.classifier, zeros(1, 4608))
    return snippets * glance + choose + memory + k * (aim + focus + answer)


def test_cost_of_the_paper(paper):
    """Convolutions, linear layers and attention; no auxiliary heads, front end or crop."""
    assert paper_cost(paper, 16, 0, 96) == 5_435_828_224
    assert paper_cost(paper, 16, 8, 128) == 17_126_434_816
    assert paper_cost(paper, 16, 16, 96) == 19_475_015_680


def test_sizes_of_the_paper(paper):
    def parameters(part):
        return sum(p.numel() for p in part.parameters())

    assert paper.classifier.mix.in_features == 4608
    assert parameters(paper.classifier) == 31_997_056
    assert parameters(paper.policy) == 31_692_930
    assert paper.whole_macs() == 16 * (4_087_136_256 + 35_788_032 + LOGMEL_MACS)


def test_shapes_of_the_paper_at_other_sizes():
    with torch.device("meta"):
        system = build("avgn", classes=200, snippets=8, patch_side=96).eval()
        maps, v = system.encode_picture(torch.zeros(16, 3, 224, 224))
        _, a = system.encode_sound(torch.zeros(16, 1, 96, 64))
        _, near = system.encode_focus(torch.zeros(6, 3, 96, 96))
        mask, order = torch.ones(2, 8, dtype=torch.bool), torch.zeros(2, 3, dtype=torch.int64)
        seen = avgn.Glimpse(maps, v.reshape(2, 8, -1), a.reshape(2, 8, -1), mask, mask)
        fused = system.fuse(seen, order, near.reshape(2, 3, -1))
        logits = system.classifier(fused)
    assert maps.shape == (16, 1280, 7, 7)
    assert seen.picture.shape == seen.sound.shape == (2, 8, 1280)
    assert near.shape == (6, 2048)
    assert fused.shape == (2, 3, 4608)
    assert logits.shape == (2, 3, 200)


@pytest.mark.slow
def test_the_meter_of_the_paper_adds_heads_front_end_and_crops():
    system = build("avgn", classes=200).eval()
    torch.manual_seed(0)
    clips = checks.Clips(
        torch.randint(0, 256, (1, 16, 3, 224, 224), dtype=torch.uint8),
        torch.randn(1, 16, 1, 96, 64),
        torch.ones(1, 16, dtype=torch.bool),
        torch.ones(1, 16, dtype=torch.bool),
        torch.arange(16, dtype=torch.float64)[None],
        torch.ones(1, 200),
    )
    meter = Meter(1)
    found = system.recognise(TensorView(clips, system.view_settings), 8, meter=meter)
    heads = 16 * 2 * 1280 * 200 + 8 * 2048 * 200
    extra = heads + 16 * LOGMEL_MACS + 8 * crop_macs(128)
    assert meter.total_macs.tolist() == [17_126_434_816 + extra]
    with torch.no_grad():
        checks.assert_same(system(clips, 8), found)


def test_skipped_snippets_cost_only_their_glance(system):
    clips = checks.make_clips(1, missing=False)
    one, two = Meter(1), Meter(1)
    system.recognise(checks.view_of(system, clips), 2, meter=one)
    clips.visible[0, 3:] = False
    system.recognise(checks.view_of(system, clips), 2, meter=two)
    for stage in ("choose", "aim", "focus"):
        assert one.macs[stage] == two.macs[stage], stage
    assert one.macs["glance"] > two.macs["glance"]


# ---- answers ----


def test_moments_are_the_most_salient_visible_ones(system):
    clips = checks.make_clips(7)
    with torch.no_grad():
        found = system(clips, 3)
    for video in range(7):
        ranked = [t for t in found.saliency[video].argsort(descending=True) if clips.visible[video, t]]
        want = ranked[:3]
        assert found.order[video, : len(want)].tolist() == [int(t) for t in want]
        assert sorted(found.looked[video].nonzero()[:, 0].tolist()) == sorted(int(t) for t in want)


def test_patches_are_of_the_patch_side(system):
    with torch.no_grad():
        found = system(checks.make_clips(2, missing=False), 4)
    sizes = found.boxes[found.looked][:, 2:] - found.boxes[found.looked][:, :2]
    torch.testing.assert_close(sizes, torch.full_like(sizes, 20 / checks.S))


def answers(system, clips, k):
    """Logits after every prefix."""
    caught = []
    hook = system.classifier.register_forward_hook(lambda module, given, out: caught.append(out))
    with torch.no_grad():
        system(clips, k)
    hook.remove()
    return caught[0]


def test_the_first_answers_do_not_depend_on_the_budget(system):
    clips = checks.make_clips(3, missing=False)
    torch.testing.assert_close(
        answers(system, clips, 3), answers(system, clips, 6)[:, :3], rtol=1e-5, atol=1e-5
    )


def test_answers_do_not_see_what_ranks_behind(system, monkeypatch):
    """At fixed saliency and sound, other pixels in the moments ranked after 3 change nothing before."""
    clips = checks.make_clips(2, missing=False)
    fixed = torch.tensor([[0.0, 5.0, 1.0, 4.0, 2.0, 3.0]]).expand(2, -1)
    monkeypatch.setattr(
        system, "choose", lambda seen, spend: Saliency(fixed, fixed, fixed, torch.nn.Identity())
    )
    first = answers(system, clips, 6)
    changed = clips.pictures.clone()
    changed[:, [4, 2, 0]] = 255 - changed[:, [4, 2, 0]]
    second = answers(system, dataclasses.replace(clips, pictures=changed), 6)
    torch.testing.assert_close(first[:, :3], second[:, :3], rtol=1e-5, atol=1e-5)
    assert (first[:, 3:] - second[:, 3:]).abs().max() > 1e-3


def test_sound_only_is_answered_by_the_sound_head(system):
    clips = checks.make_clips(2)
    with torch.no_grad():
        found = system(clips, 3)
        logits = system.head_sound(system.encode_sound(clips.sounds[1])[1])
    by_ear = (found.saliency[1].softmax(0)[:, None] * logits).sum(0).softmax(0)
    torch.testing.assert_close(found.scores[1], by_ear, rtol=1e-4, atol=1e-5)
    assert not found.looked[1].any()


def test_nothing_seen_nothing_heard_is_no_opinion(system):
    with torch.no_grad():
        found = system(checks.make_clips(5), 3)
    torch.testing.assert_close(found.scores[4], torch.full((checks.C,), 1 / checks.C))
    assert not found.evidence[4].any()


def test_evidence_is_the_mean_of_the_heads_that_ran(system):
    clips = checks.make_clips(4)
    with torch.no_grad():
        found = system(clips, 1)
        pictures = checks.view_of(system, clips).pictures(np.array([[3, t] for t in range(checks.T)]))
        shown = system.head_picture(system.encode_picture(torch.from_numpy(pictures))[1]).softmax(-1)
    looked = found.looked[3]
    torch.testing.assert_close(found.evidence[3][~looked], shown[~looked], rtol=1e-4, atol=1e-5)
    assert (found.evidence[3][looked] - shown[looked]).abs().max() > 1e-3


# ---- losses ----


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


# ---- switches ----


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
    half = checks.small_system("avgn_nano", **PLAIN, ordered=0.5, auxiliary=0.25)
    whole = checks.small_system("avgn_nano", **PLAIN)
    clips = checks.make_clips(2)
    with torch.no_grad():
        one, other = (x.losses(clips, rng=torch.Generator().manual_seed(0), epoch=3) for x in (half, whole))
    for name, share in {"prefix": 1, "picture": 0.25, "sound": 0.25, "focus": 0.25, "ordered": 0.5}.items():
        torch.testing.assert_close(one[name], share * other[name])


def test_a_deaf_system_asks_for_no_sound():
    system = checks.small_system("avgn_nano", hear_choose=False, hear_aim=False, hear_answer=False)
    clips = checks.make_clips(5)
    view = checks.RecordingView(clips, system.view_settings)
    found = system.recognise(view, 3)
    assert not view.places["sounds"]
    with torch.no_grad():
        checks.assert_same(found, system(clips, 3))
        checks.assert_same(found, system(checks.muted(clips), 3))


@pytest.mark.parametrize("switch", ["hear_choose", "hear_aim", "hear_answer"])
def test_each_ear_can_be_closed_alone(switch):
    system = checks.small_system("avgn", **{switch: False})
    checks.check_dense_is_sparse(system, 5)
    checks.check_cost_is_counted(system)


def test_the_centre_needs_no_policy():
    system = checks.small_system("avgn_nano", patch="centre")
    checks.check_dense_is_sparse(system, 5)
    with torch.no_grad():
        found = system(checks.make_clips(1), 2)
    half = 10 / checks.S
    want = torch.tensor([0.5 - half, 0.5 - half, 0.5 + half, 0.5 + half])
    torch.testing.assert_close(found.boxes[found.looked], want.expand(2, 4))
    meter = Meter(1)
    system.recognise(checks.view_of(system, checks.make_clips(1)), 2, meter=meter)
    assert "aim" not in meter.macs


def test_the_recipes():
    paper = build("avgn", classes=5, **checks.SMALL["avgn"]).stages()
    (stage,) = paper
    rates = {group.part[0]: (group.optimiser, group.rate, group.decay) for group in stage.groups}
    assert rates["policy"] == ("sgd", pytest.approx(2e-4), 1e-4)
    assert rates["encode_picture"] == ("sgd", pytest.approx(1e-3), 1e-4)
    assert rates["encode_focus"] == ("sgd", pytest.approx(2e-3), 1e-4)
    assert rates["classifier"] == ("sgd", pytest.approx(1e-2), 1e-4)
    assert rates["saliency"] == ("adamw", pytest.approx(2e-4), 0.05)
    assert stage.batch == 32
    assert stage.clip is None
    stages = build("avgn_nano", classes=5).stages()
    assert [stage.name for stage in stages] == ["glance", "focus", "all"]
    for stage in stages:
        assert (stage.batch, stage.clip) == (24, 5.0)
        assert (stage.groups[-1].rate, stage.groups[-1].schedule) == (3e-3, "onecycle")
    (stage,) = build("avgn_nano", classes=5, glance_share=0.0, focus_share=0.0).stages()
    assert (stage.groups[0].rate, stage.groups[0].schedule) == (3e-3, "onecycle")
