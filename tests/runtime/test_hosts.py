"""Exported systems answer as those of torch: the same moments, looks and spend, nearly the same numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest
from tests import checks
from tests.conftest import need

from avglance.errors import ArgumentError
from avglance.parts.meter import Meter
from avglance.runtime.avgn import AVGNHost
from avglance.systems.graphs import take_apart
from avglance.types import Stopping
from avglance.views import Bill

SYSTEMS = [
    ("avgn", {}),
    ("avgn_nano", {"train_looks": 3}),
    ("avgn", {"aim_form": "a2", "fusion_rank": 2}),
    ("avgn", {"aim_form": "b", "order": "coarse"}),
    ("avgn_nano", {"aim_form": "c", "order": "random", "hear_choose": False, "hear_answer": False}),
    ("avgn_nano", {"patch": "random", "hear_aim": False}),
    ("avgn_nano", {"patch": "whole"}),
    ("avgn_nano", {"patch": "none"}),
    ("avgn_nano", {"see": False}),
    ("avgn", {"hear_choose": False, "hear_aim": False, "hear_answer": False}),
    ("avgn", {"cells": 2}),
    ("avgn_nano", {"chooser": "evidence", "choose_hear": 0.5, "answer_hear": 0.3, "answer_pool": "soft"}),
    ("avgn", {"chooser": "evidence", "answer_pool": "soft", "hear_choose": False}),
    ("avgn_nano", {"cells": 3, "labels": "several"}),
    ("avgn", {"labels": "several", "hear_aim": False}),
    ("avgn_nano", {"familiar": 5, "answer_pool": "soft", "answer_hear": 0.3}),
    ("avgn", {"familiar": 9}),
    ("avgn_nano", {"familiar": 5, "patch": "none"}),
    ("avgn_nano", {"familiar": 5, "labels": "several"}),
    ("avgn_nano", {"glance_pictures": 2}),
    ("avgn", {"glance_pictures": 4, "chooser": "evidence", "order": "coarse"}),
    ("avgn_nano", {"glance_pictures": 3, "hear_choose": False}),
    ("tsn", {}),
    ("tsn", {"labels": "several"}),
    ("tsn_nano", {"listen": False}),
]
OTHER_ENCODERS = {"picture": "mobilenetv1_050", "focus": "mobilenetv2_100_same", "sound": "yamnet"}


def small(name, changes):
    if changes.get("hear_choose") is False and name == "avgn":
        changes = {**changes, "masked": 0.0}
    return checks.small_system(name, **changes)


def assert_alike(system, host, k, *, stop=None, view=checks.RecordingView, **asked):
    clips = checks.make_clips(8)
    meter, bill = Meter(8), Bill(8)
    views = [view(clips, system.view_settings) for _ in range(2)]
    ends = asked if stop is None else {"stop": stop, **asked}
    want = system.recognise(views[0], k, meter=meter, **ends)
    got = host.recognise(views[1], k, bill=bill, **ends)
    for name in (*checks.FIELDS, "prefix"):
        if getattr(want, name) is None:
            assert getattr(got, name) is None, name
            continue
        one, other = getattr(want, name).numpy(), getattr(got, name)
        assert (one.shape, one.dtype) == (other.shape, other.dtype), name
        if one.dtype.kind == "f":
            np.testing.assert_allclose(other, one, rtol=1e-4, atol=1e-5, err_msg=name)
        else:
            assert np.array_equal(one, other), name
    spent = [{stage: macs.tolist() for stage, macs in b.macs.items()} for b in (meter, bill)]
    assert spent[0] == spent[1]
    if view is checks.RecordingView:
        asked = [{kind: sorted(places) for kind, places in v.places.items()} for v in views]
        assert asked[0] == asked[1]
    return got


@pytest.mark.parametrize(("name", "changes"), SYSTEMS, ids=lambda x: x if isinstance(x, str) else "-".join(x))
def test_graphs_answer_as_their_system_does(name, changes, host_of):
    """Among the videos are those that lack pictures, sound or both."""
    system = small(name, changes)
    host = host_of(system)
    for k in (1, 4, checks.T):
        assert_alike(system, host, k)
    assert_alike(system, host, 3, view=checks.LosingView)


@pytest.mark.parametrize(("name", "changes"), [SYSTEMS[n] for n in (0, 2, 11, 15)])
def test_openvino_answers_so_too(name, changes, host_of):
    need("openvino")
    system = small(name, changes)
    host = host_of(system, by="openvino")
    for k in (1, checks.T):
        assert_alike(system, host, k)


def test_what_has_no_pictures_is_billed_as_by_the_system(host_of):
    system = checks.small_system("avgn_nano")
    clips = checks.make_clips(2)
    clips.visible[:] = False
    meter, bill = Meter(2), Bill(2)
    system.recognise(checks.view_of(system, clips), 2, meter=meter)
    host_of(system).recognise(checks.view_of(system, clips), 2, bill=bill)
    assert {stage: macs.tolist() for stage, macs in bill.macs.items()} == {
        stage: macs.tolist() for stage, macs in meter.macs.items()
    }
    assert bill.macs["focus"].tolist() == [0, 0]
    assert meter.seconds.keys() == bill.seconds.keys()


@pytest.mark.parametrize("name", ["avgn", "avgn_nano"])
def test_looks_end_where_those_of_the_system_do(name, host_of):
    system = checks.small_system(name, train_looks=3)
    host = host_of(system)
    clips = checks.make_clips(8)
    sure = system.recognise(checks.view_of(system, clips), checks.T).prefix.amax(-1).numpy()
    middle = float(np.median(sure[:, :3]))
    for stop in (
        Stopping((middle, middle * 0.9, middle * 0.8)),
        Stopping((math.inf,) * checks.T),
        Stopping((-math.inf,)),
        Stopping(late=lambda: True),
    ):
        found = assert_alike(system, host, 5, stop=stop)
    assert found.looked.sum(axis=1).max() == 1


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("avgn", {}),
        ("avgn_nano", {"answer_pool": "soft"}),
        ("avgn_nano", {"familiar": 5}),
        ("avgn", {"order": "coarse"}),
        ("avgn", {"aim_form": "c"}),
        ("avgn_nano", {"aim_form": "b", "chooser": "evidence"}),
    ],
)
@pytest.mark.parametrize("view", [checks.RecordingView, checks.LosingView])
def test_a_glance_in_halves_is_that_of_the_system(name, changes, view, host_of):
    """Videos that lack even pictures among them, known beforehand or not."""
    system = checks.small_system(name, train_looks=3, **changes)
    host = host_of(system)
    assert host.halves == system.halves == (changes.get("order") is None)
    clips = checks.make_clips(8)
    sure = system.recognise(checks.view_of(system, clips), checks.T).prefix.amax(-1).numpy()
    middle = float(np.median(sure[:, :3]))
    for least in ((middle,) * checks.T, (math.inf,) * checks.T, (-math.inf,)):
        for k in (1, 2, 5, checks.T):
            assert_alike(system, host, k, stop=Stopping(least, halves=2), view=view)


@pytest.mark.parametrize("chooser", ["avtest", "evidence"])
def test_few_pictures_are_chosen_as_the_system_does(chooser, host_of):
    system = checks.small_system("avgn_nano", chooser=chooser)
    host = host_of(system)
    for pictures in (0, 1, 4, checks.T):
        assert_alike(system, host, 3, glance_pictures=pictures)
        assert host.pictures(pictures) == system.pictures(pictures)
    assert_alike(system, host, 3, glance_pictures=2, view=checks.LosingView)
    before = system.look_macs(0)[0]
    for pictures in (1, 4):
        less = before - system.look_macs(pictures)[0]
        assert less == host.glance_macs(checks.T) - host.glance_macs(pictures) > 0
    with pytest.raises(ArgumentError, match="cannot glance at 7 of 6"):
        assert_alike(system, host, 3, glance_pictures=7)


def test_who_chooses_no_pictures_by_sound_says_so(host_of):
    system = checks.small_system("tsn")
    with pytest.raises(ArgumentError, match="does not choose its pictures by sound"):
        host_of(system).pictures(4)
    with pytest.raises(ArgumentError, match="does not choose its pictures by sound"):
        system.pictures(4)


def test_encoders_with_padding_of_their_own_are_exported_too(host_of):
    system = checks.small_system("avgn_nano", still=("encode_",), **OTHER_ENCODERS)
    assert_alike(system, host_of(system), 2)


@pytest.mark.parametrize(
    "change",
    [
        {"patch": "everywhere"}, {"map": [1, 2]}, {"widths": {}}, {"order": [0, 0]}, {"more": 1},
        {"patch": "random"}, {"corners": [[1]]}, {"order": None}, {"glance_pictures": 7}, {"map": [1, 2, -3]},
        {"corners": [[2, 0]]}, {"widths": {"picture": 8, "sound": 2**40, "near": 8, "state": 0, "best": 8}},
    ],
    ids=lambda change: "-".join(change),
)  # fmt: skip
def test_settings_that_are_none_are_refused(change):
    system = checks.small_system("avgn_nano", see=False)
    settings = take_apart(system).settings
    graphs = dict.fromkeys(("glance_sound", "choose"))
    made = {"view": system.view_settings, "classes": checks.C}
    assert AVGNHost(settings, graphs, **made).settings.listen
    with pytest.raises((ValueError, TypeError)):
        AVGNHost(settings | change, graphs, **made)
    with pytest.raises(ArgumentError, match="'choose' is missing"):
        AVGNHost(settings, {"glance_sound": None}, **made)
