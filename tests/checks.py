"""Checks that every system passes. Each takes a system in evaluation mode (``small_system``)."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from avglance.parts.clips import Clips
from avglance.parts.meter import Meter, crop_macs, resize_macs
from avglance.parts.tensorview import TensorView
from avglance.systems import build
from avglance.views import LOGMEL_MACS

T, S, C = 6, 48, 7
FIELDS = ("scores", "saliency", "looked", "order", "boxes", "evidence", "known")

AWAKE = {"encoder_rate": 1.0, "dropout": 0.2, "drop_sound": 0.2}
SMALL = {
    "avgn": {
        "picture": "small", "sound": "small", "focus": "small", "glance_side": 32, "patch_side": 20,
        "policy_width": 24, "choose_width": 16, "choose_hidden": 24, "aim_width": 16, "aim_hidden": 24,
        "answer_width": 32,
    },
    "avgn_nano": {
        "glance_side": 32, "patch_side": 20, "choose_width": 16, "choose_hidden": 24, "aim_width": 16,
        "aim_hidden": 24, "answer_width": 32,
    },
    "avgn_mobile": {  # its encoders: test_encoders
        **AWAKE,
        "picture": "small", "sound": "small", "focus": "small", "glance_side": 32, "patch_side": 20,
        "choose_width": 16, "choose_hidden": 24, "aim_width": 16, "aim_hidden": 24, "answer_width": 32,
        "train_looks": 4,
    },
    "tsn": {"focus": "small", "sound": "small"},
    "tsn_nano": {"train_snippets": 3},
    "tsn_mobile": {"focus": "small", "sound": "small", **AWAKE},
}  # fmt: skip


PLAIN = {
    "drop_sound": 0.0, "drop_pictures": 0.0, "dropout": 0.0, "teacher": "heads", "auxiliary_at": "all",
    "train_looks": None,
}  # fmt: skip
"""Nothing is dropped, and the losses have their default forms."""


def small_system(name, *, seed=0, still=(), **changes):
    """A small system whose every weight and statistic is stirred, so that nothing is equal by accident.

    ``still``: beginnings of names that stay fresh.
    """
    torch.manual_seed(seed)
    system = build(name, classes=C, snippets=T, resize_side=S, source_side=S, **{**SMALL[name], **changes})
    with torch.no_grad():
        for key, x in system.state_dict().items():
            if key.startswith(still):
                continue
            if key.endswith("running_var"):
                x.uniform_(0.5, 1.5)
            elif key.endswith("running_mean") or (x.ndim == 1 and x.is_floating_point()):
                x.add_(0.2 * torch.randn_like(x))
            elif x.is_floating_point() and x.ndim >= 2:
                x.mul_(1.5).add_(0.05 * torch.randn_like(x))
    return system.eval()


def make_clips(videos=5, *, seed=0, missing=True):
    """Noise. With ``missing``: 0 whole, 1 no picture, 2 one picture, 3 no sound, 4 neither, then a mix."""
    rng = torch.Generator().manual_seed(seed)
    visible, audible = torch.ones(videos, T, dtype=torch.bool), torch.ones(videos, T, dtype=torch.bool)
    if missing:
        visible[5:] = torch.rand(visible[5:].shape, generator=rng) > 0.4
        audible[5:] = torch.rand(audible[5:].shape, generator=rng) > 0.4
        visible[1:2] = False
        visible[2:3] = False
        visible[2:3, 3] = True
        audible[2:3, ::2] = False
        audible[3:4] = False
        visible[4:5] = audible[4:5] = False
    blocks = torch.randint(0, 256, (videos, T, 3, S // 8, S // 8), generator=rng)
    pictures = blocks.repeat_interleave(8, -1).repeat_interleave(8, -2)  # not flat after a resize
    pictures = (
        (pictures + torch.randint(-20, 21, pictures.shape, generator=rng)).clamp(0, 255).to(torch.uint8)
    )
    sounds = -3 + 2 * torch.randn(videos, T, 1, 96, 64, generator=rng)
    times = torch.arange(T, dtype=torch.float64).expand(videos, T) + 0.5
    targets = torch.nn.functional.one_hot(torch.arange(videos) % C, C).float()
    return Clips(pictures, sounds, visible, audible, times.contiguous(), targets)


def muted(clips):
    """The same videos without sound."""
    return dataclasses.replace(clips, audible=torch.zeros_like(clips.audible))


def view_of(system, clips):
    return TensorView(clips, system.view_settings)


def assert_same(one, other, *, tolerance=1e-4, fields=FIELDS):
    for name in fields:
        a, b = getattr(one, name), getattr(other, name)
        if a is None or b is None:
            assert a is b, name
            continue
        assert (a.shape, a.dtype) == (b.shape, b.dtype), name
        if a.is_floating_point():
            torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance, equal_nan=True, msg=name)
        else:
            assert torch.equal(a, b), name


class RecordingView(TensorView):
    """Remembers every place that it was asked for."""

    def __init__(self, clips, settings):
        super().__init__(clips, settings)
        self.places = {"sounds": [], "pictures": [], "patches": []}

    def _places(self, at, kind):
        self.places[kind] += [tuple(row) for row in np.asarray(at).tolist()]
        return super()._places(at, kind)


class LosingView(TensorView):
    """Says that everything is there, and loses what the clips lack when it is asked for it."""

    def __init__(self, clips, settings):
        super().__init__(clips, settings)
        self._truth = {"pictures": self.visible.copy(), "sounds": self.audible.copy()}
        self.visible[:], self.audible[:] = True, True

    def _places(self, at, kind):
        rows, cols = super()._places(at, kind)
        if kind in self._truth:
            mask = self.visible if kind == "pictures" else self.audible
            mask[rows, cols] &= self._truth[kind][rows, cols]
        return rows, cols


# ---- the checks ----


def check_result(system, videos):
    """Shapes, ranges, and NaN exactly where nobody looked."""
    clips = make_clips(videos)
    for k in (1, 3, T):
        with torch.no_grad():
            found = system(clips, k)
        assert found.scores.shape == (videos, C)
        assert found.saliency.shape == found.looked.shape == (videos, T)
        assert found.boxes.shape == (videos, T, 4)
        assert found.evidence.shape == (videos, T, C)
        assert found.order.shape == (videos, k)
        torch.testing.assert_close(found.scores.sum(1), torch.ones(videos))
        assert torch.equal(found.boxes.isnan().all(-1), ~found.looked)
        assert torch.equal(found.boxes.isnan().any(-1), ~found.looked)
        inside = found.boxes[found.looked]
        assert ((inside >= 0) & (inside <= 1 + 1e-6)).all()
        assert (inside[:, :2] < inside[:, 2:]).all()
        assert not (found.looked & ~clips.visible).any()
        assert (found.looked.sum(1) <= k).all()
        for name in ("scores", "saliency", "evidence"):
            assert getattr(found, name).isfinite().all(), name
        sums = found.evidence.sum(-1)
        assert (((sums - 1).abs() < 1e-4) | (sums == 0)).all()


def check_dense_is_sparse(system, videos):
    clips = make_clips(videos)
    for k in (1, 3, T):
        with torch.no_grad():
            dense = system(clips, k)
        assert_same(dense, system.recognise(view_of(system, clips), k))
        assert_same(dense, system.recognise(LosingView(clips, system.view_settings), k))
    first = dense.scores.log()
    assert (first - first[:, :1]).abs().max() > 0.5, "scores so flat that nothing was compared"


def check_one_video_is_many(system):
    """A video's answer and its cost do not depend on the videos beside it."""
    clips = make_clips(7)
    for k in (2, T):
        meter = Meter(7)
        together = system.recognise(view_of(system, clips), k, meter=meter)
        for video in range(7):
            alone_meter = Meter(1)
            alone = system.recognise(view_of(system, clips.take([video])), k, meter=alone_meter)
            for name in FIELDS:
                if getattr(alone, name) is None:
                    assert getattr(together, name) is None, name
                    continue
                a, b = getattr(together, name)[video : video + 1], getattr(alone, name)
                torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5, equal_nan=True)
            assert meter.total_macs[video] == alone_meter.total_macs[0], video


def check_batch_order(system):
    clips, order = make_clips(5), [3, 0, 4, 2, 1]
    with torch.no_grad():
        plain, shuffled = system(clips, 3), system(clips.take(order), 3)
    for name in FIELDS:
        one, other = getattr(plain, name), getattr(shuffled, name)
        if one is None:
            assert other is None, name
            continue
        torch.testing.assert_close(one[order], other, rtol=1e-5, atol=1e-5, equal_nan=True)


def check_deterministic(system):
    clips = make_clips(5)
    first = system.recognise(view_of(system, clips), 3)
    torch.manual_seed(123)
    second = system.recognise(view_of(system, clips), 3)
    assert_same(first, second, tolerance=0)


def check_losses(system):
    """Finite, of ``rng`` alone, and the global state stays as it was."""
    clips = make_clips(5)
    system.train()
    weights = {name: x.clone() for name, x in system.state_dict().items()}

    def draw(seed, chaos):
        system.load_state_dict(weights)
        torch.manual_seed(chaos)
        before = torch.random.get_rng_state()
        terms = system.losses(clips, rng=torch.Generator().manual_seed(seed), epoch=3)
        assert torch.equal(before, torch.random.get_rng_state()), "the global random state moved"
        return {name: float(x.detach()) for name, x in terms.items()}

    first, again, other = draw(1, 1), draw(1, 2), draw(2, 1)
    assert all(np.isfinite(x) for x in first.values())
    assert first == again
    assert first != other
    system.load_state_dict(weights)
    system.eval()


def check_gradients(system):
    """Every trainable parameter is reached by the sum of the losses, over a few draws, and no other."""
    system.train()
    clips = make_clips(9)
    for seed in range(3):
        terms = system.losses(clips, rng=torch.Generator().manual_seed(seed), epoch=3)
        sum(terms.values()).backward()
    reached = [n for n, p in system.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0]
    assert reached == [n for n, p in system.named_parameters() if p.requires_grad]
    system.eval()


def check_groups(system):
    """Each stage's groups share nothing, and together the stages train everything."""
    reached = set()
    for stage in system.stages():
        own = [id(p) for group in stage.groups for p in system.group_parameters(group)]
        assert len(own) == len(set(own))
        reached |= set(own)
    assert reached == {id(p) for p in system.parameters() if p.requires_grad}
    assert abs(sum(stage.epochs_share for stage in system.stages()) - 1) < 1e-9


def check_learns(system):
    """One batch can be learned by heart."""
    clips, rng = make_clips(4, missing=False), torch.Generator().manual_seed(0)
    rate = torch.optim.Adam(system.parameters(), 3e-3)
    system.train()
    history = []
    for _ in range(60):
        terms = system.losses(clips, rng=rng, epoch=3)
        name = next(iter(terms))  # the loss of the answer comes first
        rate.zero_grad()
        sum(terms.values()).backward()
        rate.step()
        history.append(float(terms[name].detach()))
    system.eval()
    assert np.mean(history[-10:]) < 0.5 * history[0], history


def check_muted(system):
    """Without sound it answers, and what the sound would have been does not matter."""
    clips = make_clips(5)
    silent = muted(clips)
    other = dataclasses.replace(silent, sounds=torch.randn_like(silent.sounds))
    view = RecordingView(silent, system.view_settings)
    first = system.recognise(view, 3)
    assert not view.places["sounds"]
    assert first.scores.isfinite().all()
    assert_same(first, system.recognise(view_of(system, other), 3))
    with torch.no_grad():
        assert_same(first, system(other, 3))
    heard = system.recognise(view_of(system, make_clips(1)), 3).scores
    assert (heard - first.scores[:1]).abs().max() > 1e-4, "sound changes nothing"


def check_cost_grows(system):
    clips = make_clips(3, missing=False)
    last = np.zeros(3, dtype=np.int64)
    for k in range(1, T + 1):
        meter = Meter(3)
        system.recognise(view_of(system, clips), k, meter=meter)
        assert (meter.total_macs > last).all()
        last = meter.total_macs
        assert set(meter.macs) <= {"glance", "choose", "aim", "focus", "answer"}
        assert all(seconds >= 0 for seconds in meter.seconds.values())
        assert set(meter.macs) <= set(meter.seconds)


def check_cost_is_counted(system):
    """The meter's sum is what torch counts over the whole run, plus formulas for what torch does not see."""
    clips = make_clips(2, missing=False)
    settings = system.view_settings
    for k in (1, 4):
        meter = Meter(2)
        system.recognise(view_of(system, clips), k, meter=meter)
        view = RecordingView(clips, settings)
        with FlopCounterMode(display=False) as counter:
            system.recognise(view, k)
        asked = {kind: len(rows) for kind, rows in view.places.items()}
        formulas = asked["sounds"] * LOGMEL_MACS + asked["patches"] * crop_macs(settings.patch_side)
        formulas += asked["pictures"] * resize_macs(settings.source_side, settings.glance_side)
        assert meter.total_macs.sum() == counter.get_total_flops() // 2 + formulas


def check_asks_only_what_it_uses(system):
    """No place twice, nothing that is not there, and patches only where it looked."""
    clips = make_clips(6)
    for k in (1, 3):
        view = RecordingView(clips, system.view_settings)
        found = system.recognise(view, k)
        for kind, mask in (("sounds", clips.audible), ("pictures", clips.visible), ("patches", found.looked)):
            places = view.places[kind]
            assert len(places) == len(set(places)), kind
            assert all(mask[place] for place in places), kind
        seen = set(view.places["patches"] or view.places["pictures"])
        assert seen == {tuple(place) for place in found.looked.nonzero().tolist()}
