"""Multiply-adds and parameters of every part, to the unit."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from avglance.parts.aespa import TransformerAESPA as AESPA
from avglance.parts.encoders import SmallFocusEncoder, SmallPictureEncoder, SmallSoundEncoder, TimmEncoder
from avglance.parts.fusion import PrefixClassifier
from avglance.parts.policy import HeatmapPolicy, RecurrentPolicy
from avglance.parts.saliency import AVTeST


def macs(run, *inputs):
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        run(*inputs)
    return counter.get_total_flops() // 2


def parameters(module):
    return sum(p.numel() for p in module.parameters())


def test_av_test():
    part = AVTeST(1280, 1280, 200).eval()
    glance = torch.zeros(1, 16, 1280)
    training_only = parameters(part.classify) + parameters(part.reconstruct) + part.mask_token.numel()
    assert macs(part, glance, glance) == 61_874_176
    assert parameters(part) - training_only == 2_245_633
    assert parameters(part.classify) == 512 * 200 + 200


def test_aespa():
    part = AESPA(1280, 1280, 7).eval()
    assert macs(part.memory, torch.zeros(1, 16, 1280)) == 9_437_184
    with torch.no_grad():
        memory = part.memory(torch.zeros(1, 16, 1280))
    assert macs(part, torch.zeros(1, 1280, 7, 7), memory) == 71_450_624


@pytest.mark.parametrize("steps", [1, 3])
def test_recurrent_policy(steps):
    part = RecurrentPolicy(1280, 7).eval()
    assert macs(part, torch.zeros(1, steps, 1280, 7, 7)) == steps * 35_606_528
    assert parameters(part) == 31_692_930


@pytest.mark.parametrize("steps", [1, 3])
def test_prefix_classifier(steps):
    part = PrefixClassifier(4608, 4096, 200, 16).eval()
    assert macs(part, torch.zeros(1, steps, 4608)) == steps * 19_693_568
    assert parameters(part) == 31_997_056


@pytest.mark.parametrize(
    ("encoder", "shape", "count", "map_shape"),
    [
        (SmallPictureEncoder, (3, 64, 64), 5_160_960, (64, 8, 8)),
        (SmallSoundEncoder, (1, 96, 64), 7_299_072, (64, 12, 8)),
        (SmallFocusEncoder, (3, 96, 96), 11_280_384, (96, 6, 6)),
    ],
)
def test_small_encoders(encoder, shape, count, map_shape):
    part = encoder().eval()
    x = torch.zeros(1, *shape)
    assert macs(part, x) == count
    map, vector = part(x)
    assert tuple(map.shape[1:]) == map_shape
    assert vector.shape == (1, part.width)


def test_heatmap_policy():
    assert macs(HeatmapPolicy(64, 8).eval(), torch.zeros(1, 1, 64, 8, 8)) == 64 * (64 * 9 * 32 + 32)


RESNET = {96: 750_698_496, 128: 1_334_575_104, 144: 1_757_556_736, 160: 2_085_273_600, 176: 2_606_084_096,
          224: 4_087_136_256}  # fmt: skip
MOBILENET = {96: 55_009_152, 128: 97_794_048, 144: 131_408_896, 160: 152_803_200, 176: 194_138_240,
             224: 299_494_272}  # fmt: skip
SOUND = {(96, 64): 35_788_032, (101, 40): 32_997_776, (128, 80): 62_862_848, (224, 224): 292_268_928,
         (256, 256): 381_739_008}  # fmt: skip


@pytest.mark.parametrize(("name", "table"), [("resnet50", RESNET), ("mobilenetv2_100", MOBILENET)])
def test_picture_networks(name, table):
    part = TimmEncoder(name).eval().to("meta")
    assert {side: macs(part, torch.zeros(1, 3, side, side, device="meta")) for side in table} == table


def test_sound_network():
    part = TimmEncoder("mobilenetv2_100", in_chans=1).eval().to("meta")
    assert {size: macs(part, torch.zeros(1, 1, *size, device="meta")) for size in SOUND} == SOUND


@pytest.mark.parametrize(("moments", "side", "total"), [(8, 128, 17_126_434_816), (16, 96, 19_475_015_680)])
def test_cost_of_the_whole(moments, side, total):
    fixed = 16 * (MOBILENET[224] + SOUND[96, 64]) + 61_874_176 + 9_437_184
    assert fixed == 5_435_828_224
    assert fixed + moments * (71_450_624 + 35_606_528 + RESNET[side] + 19_693_568) == total
