from __future__ import annotations

import pytest
import torch

from avglance.errors import ArgumentError, ShapeError
from avglance.parts.heads import AuxHead, NoPicture, NoSound


def test_aux_head_keeps_the_leading_axes():
    assert AuxHead(8, 3)(torch.zeros(2, 5, 8)).shape == (2, 5, 3)


@pytest.mark.parametrize("kind", [NoSound, NoPicture])
def test_a_learned_vector_stands_where_the_sense_is_missing(kind):
    part = kind(4)
    features = torch.randn(2, 3, 4)
    features[1, 2] = torch.nan  # whatever stands there must not get through
    present = torch.tensor([[True, False, True], [False, True, False]])
    out = part(features, present)
    assert torch.equal(out[present], features[present])
    assert torch.equal(out[~present], part.vector.expand(3, 4))
    assert part.vector.abs().sum() > 0
    out.sum().backward()
    assert torch.equal(part.vector.grad, torch.full((4,), 3.0))


def test_whole_videos_lose_their_sound_in_training_alone():
    part = NoSound(4, drop=0.3)
    audible = torch.ones(4000, 3, dtype=torch.bool)
    audible[:, 1] = False
    rng = torch.Generator().manual_seed(0)
    heard = part.train().heard(audible, rng)
    assert torch.equal(heard[:, 0], heard[:, 2])
    assert not heard[:, 1].any()
    assert heard[:, 0].float().mean().item() == pytest.approx(0.7, abs=0.03)
    assert torch.equal(part.heard(audible, None), audible)
    assert torch.equal(part.eval().heard(audible, rng), audible)


def test_wrong_values_are_named():
    with pytest.raises(ArgumentError, match=r"drop=1\.0"):
        NoSound(4, drop=1.0)
    with pytest.raises(ShapeError, match=r"present must be \(2, 3\)"):
        NoSound(4)(torch.zeros(2, 3, 4), torch.ones(2, dtype=torch.bool))
