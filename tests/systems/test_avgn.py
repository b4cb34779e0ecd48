"""AVGN: what it costs, what it answers, and what its switches do. Its losses: test_avgn_losses."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from tests import checks

from avglance.parts.meter import Meter, crop_macs, row_macs
from avglance.parts.saliency import Saliency
from avglance.parts.tensorview import TensorView
from avglance.systems import avgn, build
from avglance.views import LOGMEL_MACS


@pytest.fixture(params=["avgn", "avgn_nano"])
def system(request):
    """Recurrent and heat-map policy, the losses in their default forms; nothing is dropped."""
    return checks.small_system(request.param, **checks.PLAIN)


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


# ---- switches ----


def test_a_deaf_system_asks_for_no_sound():
    system = checks.small_system("avgn_nano", hear_choose=False, hear_aim=False, hear_answer=False)
    clips = checks.make_clips(5)
    view = checks.RecordingView(clips, system.view_settings)
    found = system.recognise(view, 3)
    assert not view.places["sounds"]
    with torch.no_grad():
        checks.assert_same(found, system(clips, 3))
        checks.assert_same(found, system(checks.muted(clips), 3))


def test_sound_weighs_in_the_answer_what_the_setting_says():
    """And nowhere else: the moments and patches are those of before."""
    whole, less = (checks.small_system("avgn_nano", answer_hear=x).eval() for x in (1.0, 0.25))
    less.load_state_dict(whole.state_dict())
    clips = checks.make_clips(3, missing=False)
    seen = whole.glance_clips(clips, clips.visible, clips.audible)
    order, near = torch.tensor([[1, 0]] * 3), torch.zeros(3, 2, whole.encode_focus.width)
    a, b = (one.fuse(seen, order, near) for one in (whole, less))
    v, w = seen.picture.shape[-1], seen.sound.shape[-1]
    assert torch.equal(b[..., v : v + w], a[..., v : v + w] * 0.25)
    assert torch.equal(b[..., :v], a[..., :v])
    assert a[..., v : v + w].abs().sum() > 0
    one, two = whole(clips, 2), less(clips, 2)
    assert torch.equal(one.order, two.order)
    assert torch.equal(one.boxes.nan_to_num(), two.boxes.nan_to_num())
    assert not torch.equal(one.scores, two.scores)


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
