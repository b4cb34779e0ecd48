"""TSN: which snippets it uses, and how it joins and averages them."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from tests import checks

from avglance.parts.meter import Meter, row_macs
from avglance.systems import build
from avglance.views import LOGMEL_MACS


@pytest.fixture
def system():
    return checks.small_system("tsn_nano", drop_sound=0.0, drop_pictures=0.0, dropout=0.0)


@pytest.mark.parametrize(
    ("k", "want"),
    [(1, [8]), (2, [4, 12]), (4, [2, 6, 10, 14]), (5, [1, 4, 8, 11, 14]), (16, list(range(16)))],
)
def test_uniform_snippets(k, want):
    system = build("tsn_nano", classes=3)
    assert system.choose(2, k).tolist() == [want, want]


def test_the_answer_is_the_mean_over_the_snippets_used(system):
    clips = checks.make_clips(1, missing=False)
    with torch.no_grad():
        found = system(clips, 2)
        each = []
        for t in (1, 4):
            look = system.encode_focus(clips.pictures[0, t][None])[1]
            each.append(system.head(torch.cat([look, system.encode_sound(clips.sounds[0, t][None])[1]], -1)))
    assert found.order.tolist() == [[1, 4]]
    assert found.looked[0].nonzero()[:, 0].tolist() == [1, 4]
    torch.testing.assert_close(found.scores, ((each[0] + each[1]) / 2).softmax(-1), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.evidence[0, 1], each[0][0].softmax(-1), rtol=1e-4, atol=1e-5)
    assert not found.evidence[0, [0, 2, 3, 5]].any()
    torch.testing.assert_close(found.boxes[0, 4], torch.tensor([0.0, 0.0, 1.0, 1.0]))


def test_snippets_of_which_nothing_is_left_do_not_count(system):
    clips = checks.make_clips(1, missing=False)
    clips.visible[0, 1] = clips.audible[0, 1] = False
    with torch.no_grad():
        found, whole = system(clips, 2), system(checks.make_clips(1, missing=False), 2)
    torch.testing.assert_close(found.scores[0], whole.evidence[0, 4], rtol=1e-4, atol=1e-5)


def test_only_the_chosen_snippets_are_asked_for(system):
    view = checks.RecordingView(checks.make_clips(2, missing=False), system.view_settings)
    system.recognise(view, 2)
    want = [(0, 1), (0, 4), (1, 1), (1, 4)]
    assert view.places == {"pictures": want, "sounds": want, "patches": []}


def test_cost_is_that_of_the_snippets_used(system):
    clips = checks.make_clips(1, missing=False)
    meter = Meter(1)
    system.recognise(checks.view_of(system, clips), 3, meter=meter)
    side = checks.S
    look = row_macs(system.encode_focus, torch.zeros(1, 3, side, side))
    hear = row_macs(system.encode_sound, torch.zeros(1, 1, 96, 64))
    assert meter.macs["focus"].tolist() == [3 * (look + hear + LOGMEL_MACS)]
    assert meter.macs["answer"].tolist() == [3 * (160 * 128 + 128 * checks.C)]
    assert system.whole_macs() == checks.T * (look + hear + LOGMEL_MACS)


def test_cost_of_the_paper():
    with torch.device("meta"):
        system = build("tsn", classes=200).eval()
    assert system.whole_macs() == 16 * (4_087_136_256 + 35_788_032 + LOGMEL_MACS)
    assert row_macs(system.head, torch.zeros(1, 3328, device="meta")) == 3328 * 200


def test_training_draws_one_snippet_from_each_segment():
    system = build("tsn_nano", classes=3)
    drawn = system._segments(500, torch.Generator().manual_seed(0))
    assert drawn.shape == (500, 4)
    for i in range(4):
        assert drawn[:, i].unique().tolist() == list(range(4 * i, 4 * i + 4))
    every = build("tsn_nano", classes=3, train_snippets=None)._segments(2, torch.Generator())
    assert every.tolist() == [list(range(16))] * 2
    odd = build("tsn_nano", classes=3, train_snippets=5)._segments(300, torch.Generator().manual_seed(0))
    assert sorted(odd.unique().tolist()) == list(range(16))


def test_training_on_all_is_the_loss_of_the_answer(system):
    system = checks.small_system("tsn_nano", train_snippets=None, drop_sound=0.0, drop_pictures=0.0)
    clips = checks.make_clips(3)
    system.eval()
    with torch.no_grad():
        term = system.losses(clips, rng=torch.Generator().manual_seed(0), epoch=0)["answer"]
        scores = system(clips, checks.T).scores
    torch.testing.assert_close(term, -scores[range(3), range(3)].log().mean(), rtol=1e-4, atol=1e-5)


def test_several_labels_are_drawn_alike():
    system = checks.small_system("tsn_nano", train_snippets=None, drop_sound=0.0, drop_pictures=0.0)
    clips = checks.make_clips(1, missing=False)
    clips = dataclasses.replace(clips, targets=torch.tensor([[1.0, 0, 0, 1, 0, 0, 0]]))
    with torch.no_grad():
        scores = system(clips, checks.T).scores[0]
        seen = {
            round(float(system.losses(clips, rng=torch.Generator().manual_seed(n), epoch=0)["answer"]), 3)
            for n in range(20)
        }
    assert seen == {round(float(-scores[c].log()), 3) for c in (0, 3)}


def test_dropped_modalities_train_their_vectors():
    system = checks.small_system("tsn_nano", drop_sound=0.5, drop_pictures=0.5).train()
    clips = checks.make_clips(8, missing=False)
    system.losses(clips, rng=torch.Generator().manual_seed(0), epoch=0)["answer"].backward()
    assert system.no_sound.vector.grad.abs().sum() > 0
    assert system.no_picture.vector.grad.abs().sum() > 0
