"""Axes: their values, limits and directions, and how they are approached."""

from __future__ import annotations

import math

import pytest
from sweep_fixtures import Device, order

import fastcap as fc
from fastcap.sweeping.axis import legs_of
from fastcap.sweeping.drive import Drive


def test_updown_visits_the_far_end_twice():
    assert fc.updown(0, 4, 3).tolist() == [0, 2, 4, 4, 2, 0]
    assert fc.updown(4, 0, 2).tolist() == [4, 0, 0, 4]
    assert fc.updown(4, 4, 1).tolist() == [4, 4]
    with pytest.raises(ValueError, match="1 point does not reach 4; give 2 or more"):
        fc.updown(0, 4, 1)
    assert fc.linspace(0, 1, 3).tolist() == [0, 0.5, 1]


@pytest.mark.parametrize("bad", [0, -1, 2.5, True, "3"])
def test_number_of_points_that_makes_no_sense_is_refused(bad):
    with pytest.raises(ValueError, match="whole number"):
        fc.updown(0, 4, bad)


@pytest.mark.parametrize(
    ("values", "directions", "turns"),
    [
        ([0, 2, 4, 4, 2, 0], (1, 1, 1, -1, -1, -1), (0, 0, 0, 2, 2, 2)),
        ([0, 1, 2, 1, 0], (1, 1, 1, -1, -1), (0, 0, 0, 2, 2)),
        ([2, 1, 0], (-1, -1, -1), (0, 0, 0)),
        ([0, 1, 1, 2], (1, 1, 1, 1), (0, 0, 0, 0)),
        ([0, 1, 1, 0, 0, 1], (1, 1, -1, -1, 1, 1), (0, 0, 1, 1, 3, 3)),
        ([5], (1,), (0,)),
    ],
)
def test_legs_say_from_which_side_a_value_comes(values, directions, turns):
    legs = legs_of(values)

    assert legs.directions == directions
    assert legs.turns == turns


def test_value_out_of_limits_is_refused_before_anything_is_set():
    device = Device()
    with pytest.raises(ValueError, match="volt of 5 V is not from 0 to 4 V"):
        fc.Axis(device, [1, 5], name="volt", unit="V", limits=(0, 4))
    with fc.VOA("sim://voa") as voa, pytest.raises(ValueError, match=r"4\.095"):
        fc.Axis(voa.channel(0).volt, [0, 4.1])
    assert device.history == []


@pytest.mark.parametrize("values", [[], [math.nan], [math.inf], ["a"], [True]])
def test_values_that_are_no_numbers_are_refused(values):
    with pytest.raises(ValueError, match="give"):
        fc.Axis(Device(), values, name="volt")


def test_target_that_cannot_be_set_is_refused():
    with pytest.raises(fc.ConfigError, match=r"voa\.channel\(0\)\.volt"):
        fc.Axis(3, [1])


def test_readback_is_what_the_target_or_get_says():
    assert fc.Axis(Device(), [1]).set(1) == 1.001
    assert fc.Axis(Device(), [1], get=lambda: 7).set(1) == 7
    assert math.isnan(fc.Axis(lambda value: None, [1]).set(1))


def drive(*devices, values, settle=0.0, wait=None):
    axes = [fc.Axis(d, v, name=n, settle=settle) for d, v, n in zip(devices, values, "xy", strict=False)]
    return Drive(axes, order(*values), *([wait] if wait else []))


def test_only_what_changes_is_set_and_waited_for():
    x, y, waits = Device(), Device(), []
    moving = drive(x, y, values=[[0, 1], [5, 6]], settle=10, wait=waits.append)
    for index in [(0, 0), (0, 0), (0, 1), (1, 1)]:
        moving.go(index)

    assert x.history == [0, 1]
    assert y.history == [5, 6]
    assert [round(s) for s in waits] == [10, 10, 10]
    assert moving.readbacks == [1.001, 6.001]


def test_slowest_axis_is_waited_for_whichever_it_is():
    waits = []
    axes = [fc.Axis(Device(), [0, 1], name=name, settle=s) for name, s in (("x", 10.0), ("y", 0.0))]
    Drive(axes, order([0, 1], [0, 1]), waits.append).go((0, 0))
    assert [round(s) for s in waits] == [10]


def test_same_value_again_is_neither_set_nor_waited_for():
    x, waits = Device(), []
    moving = drive(x, values=[[0, 1, 1, 0]], settle=10, wait=waits.append)
    for k in range(4):
        moving.go((k,))

    assert x.history == [0, 1, 0]
    assert len(waits) == 3


def test_point_is_approached_again_from_its_leg_s_beginning():
    x = Device()
    moving = drive(x, values=[[0, 1, 2, 2, 1, 0]])
    for k in (0, 1, 2, 3, 4):
        moving.go((k,))
    moving.go((1,))  # again: from below
    assert x.history == [0, 1, 2, 1, 0, 1]
    moving.go((5,))  # on: by way of the top
    assert x.history[6:] == [2, 0]


def test_first_point_of_a_resumed_sweep_comes_from_its_leg_s_beginning():
    x = Device()
    drive(x, values=[[0, 1, 2, 2, 1, 0]]).go((4,))

    assert x.history == [2, 1]


def test_axis_that_failed_is_approached_anew():
    x = Device()
    moving = drive(x, values=[[0, 1, 2]])
    moving.go((0,))
    x.fails = 1
    with pytest.raises(fc.DeviceError):
        moving.go((1,))
    moving.go((1,))

    assert x.history == [0, 0, 1]
