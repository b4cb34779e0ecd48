from __future__ import annotations

import builtins
import sys

import pytest
import torch
from torch import nn

from avglance.errors import ArgumentError, MissingExtra, ShapeError
from avglance.parts.encoders import (
    Pixels,
    SmallEncoder,
    SmallFocusEncoder,
    SmallPictureEncoder,
    SmallSoundEncoder,
    Standardise,
    TimmEncoder,
)


@pytest.mark.parametrize("encoder", [SmallPictureEncoder, SmallFocusEncoder])
@pytest.mark.parametrize("side", [64, 65, 96, 100])
def test_map_side_is_the_side_of_the_map(encoder, side):
    part = encoder().eval()
    map, vector = part(torch.zeros(2, 3, side, side, dtype=torch.uint8))
    assert map.shape == (2, part.width, part.map_side(side), part.map_side(side))
    assert torch.allclose(vector, map.mean((2, 3)))


def test_bytes_and_floats_are_one_picture():
    part = SmallPictureEncoder().eval()
    picture = torch.randint(0, 256, (1, 3, 64, 64), dtype=torch.uint8)
    assert torch.equal(part(picture)[1], part(picture.float())[1])


def test_pixels_have_the_statistics_of_imagenet():
    grey = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1).expand(1, 3, 4, 4) * 255
    assert Pixels()(grey).abs().max() < 1e-5
    assert torch.allclose(Pixels()(grey + 255 * 0.229)[:, 0], torch.tensor(1.0), atol=1e-5)


def test_sound_is_standardised_by_fixed_statistics_that_are_saved():
    part = SmallSoundEncoder()
    part.normalise.set(-3.0, 2.0)
    assert torch.equal(part.normalise(torch.full((1, 1, 4, 4), 1.0)), torch.full((1, 1, 4, 4), 2.0))
    other = SmallSoundEncoder()
    other.load_state_dict(part.state_dict())
    assert (float(other.normalise.mean), float(other.normalise.std)) == (-3.0, 2.0)


@pytest.mark.parametrize(("mean", "std"), [(0.0, 0.0), (0.0, -1.0), (float("nan"), 1.0), (0.0, float("inf"))])
def test_statistics_must_be_usable(mean, std):
    with pytest.raises(ArgumentError):
        Standardise().set(mean, std)


def test_wrong_inputs_are_named():
    with pytest.raises(ShapeError, match=r"pictures must be \(n, 3, H, W\), got \(1, 1, 64, 64\)"):
        SmallPictureEncoder()(torch.zeros(1, 1, 64, 64))
    with pytest.raises(ShapeError, match="sounds must be"):
        SmallSoundEncoder()(torch.zeros(1, 3, 96, 64))
    with pytest.raises(ArgumentError, match="in_chans=2"):
        SmallEncoder(2, (8,), (2,))
    with pytest.raises(ArgumentError, match="2 widths and 1 strides"):
        SmallEncoder(3, (8, 8), (2,))


def test_no_rows_give_no_rows():
    map, vector = SmallFocusEncoder().eval()(torch.zeros(0, 3, 96, 96))
    assert map.shape == (0, 96, 6, 6)
    assert vector.shape == (0, 96)


@pytest.mark.parametrize("side", [96, 144])
def test_timm_map_and_vector(side):
    part = TimmEncoder("mobilenetv2_050").eval()
    with torch.no_grad():
        map, vector = part(torch.randint(0, 256, (1, 3, side, side), dtype=torch.uint8))
    assert map.shape == (1, 1280, part.map_side(side), part.map_side(side))
    assert torch.allclose(vector, map.mean((2, 3)))
    assert not any(isinstance(m, nn.Linear) for m in part.modules())


def test_timm_hears():
    part = TimmEncoder("mobilenetv2_100", in_chans=1).eval()
    with torch.no_grad():
        map, _ = part(torch.zeros(1, 1, 96, 64))
    assert map.shape == (1, 1280, 3, 2)


def test_pretrained_stem_of_sound_is_the_mean_over_rgb(tmp_path, monkeypatch):
    import timm

    source = timm.create_model("mobilenetv2_050")
    torch.save(source.state_dict(), tmp_path / "weights.pth")
    create = timm.create_model

    def from_file(name, **settings):
        return create(name, **settings, pretrained_cfg_overlay={"file": str(tmp_path / "weights.pth")})

    monkeypatch.setattr(timm, "create_model", from_file)
    heard = TimmEncoder("mobilenetv2_050", in_chans=1, pretrained=True).net.conv_stem.weight
    assert torch.allclose(heard, source.conv_stem.weight.mean(1, keepdim=True), atol=1e-6)


def test_unknown_network_is_named_with_near_ones():
    with pytest.raises(ArgumentError, match=r"timm has no network 'mobilenetv2'(.|\n)*mobilenetv2_035"):
        TimmEncoder("mobilenetv2")


@pytest.mark.parametrize(
    "error", [ImportError("no such library"), RuntimeError("operator torchvision::nms does not exist")]
)
def test_timm_missing_or_broken(monkeypatch, error):
    real = builtins.__import__

    def broken(name, *rest, **more):
        if name == "timm":
            raise error
        return real(name, *rest, **more)

    monkeypatch.delitem(sys.modules, "timm", raising=False)
    monkeypatch.setattr(builtins, "__import__", broken)
    with pytest.raises(MissingExtra) as caught:
        TimmEncoder("resnet18")
    assert str(error) in caught.value.what
    assert torch.__version__ in caught.value.what
    assert "torchvision of one release and one build" in caught.value.hint
    assert caught.value.exit_code == 5
