"""The attenuator's driver against an emulator that is hard to please."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from device_checks import HARD, LATE_S, QUICK, Pair

import fastcap as fc
from fastcap.sim.hostility import Hostility
from fastcap.sim.voa import Attenuator

pytest_plugins = ["attenuators"]
Make = Callable[..., Pair]

CASES = {
    "fragments": Hostility(fragment=1.0),
    "drops": Hostility(drop=0.2),
    "late": Hostility(late=0.3, late_s=LATE_S),
    "junk": Hostility(junk=0.3),
    "unasked": Hostility(unasked=0.3),
    "corrupt": Hostility(corrupt=0.05),
    "all": HARD,
}


@pytest.mark.parametrize("case", CASES)
def test_no_wrong_value_is_accepted(attenuator: Make, case: str) -> None:
    emulator, voa = attenuator(hostility=CASES[case])
    chance = random.Random(5)
    accepted = 0

    for _ in range(30):
        channel, other = chance.sample(range(4), 2)
        volts = chance.choice([chance.uniform(0, 4.095), 1.0, 3.0])
        try:
            voa.channel(channel).volt.set(volts)
            assert emulator.device.output_v(channel) == pytest.approx(volts, abs=0.00101)
            assert voa.channel(other).volt.get() == pytest.approx(
                emulator.device.output_v(other), abs=0.00051
            )
            accepted += 1
        except fc.DeviceError:
            continue  # said, not wrong

    assert accepted >= 20


def test_answers_that_come_too_late_are_nobodys(attenuator: Make) -> None:
    _, voa = attenuator(hostility=Hostility(late=1.0, late_s=(0.1, 0.1)))
    for channel in (0, 1):
        with pytest.raises(fc.DeviceError, match="though asked again and again"):
            voa.channel(channel).volt.get()


def test_unasked_number_is_not_taken_for_an_answer(attenuator: Make) -> None:
    emulator, voa = attenuator()
    voa.channel(0).volt = 1.0

    for data in (
        b"2.000\n",
        b"2.000\n2.000\n",
        b"2.0",
        b"\xff\x00\n3\n",
        b"VOA Driver VOAD-QO01 emulated\n2.0\n",
    ):
        emulator.say(data)
        assert voa.channel(0).volt.get() == 1.0


def test_unplugged_is_an_error_and_plugged_in_again_it_goes_on(attenuator: Make) -> None:
    emulator, voa = attenuator()
    voa.channel(0).volt = 1.0
    emulator.unplug()
    with pytest.raises(fc.DeviceError, match="gone or does not work"):
        voa.channel(0).volt.set(2.0)
    with pytest.raises(fc.DeviceError, match="does not exist; is it plugged in"):
        voa.channel(0).volt.set(2.0)

    emulator.plug()

    assert voa.channel(0).volt.get() == 0.0  # it has been without power
    assert voa.channel(0).volt.set(2.0) == 2.0


def test_other_device_plugged_into_the_port_is_noticed(attenuator: Make) -> None:
    emulator, voa = attenuator()
    emulator.unplug()
    with pytest.raises(fc.DeviceError):
        voa.channel(0).volt.get()
    emulator.device._identity = "ACME Toaster 3000"
    emulator.plug()

    with pytest.raises(fc.DeviceError, match="ACME Toaster"):
        voa.channel(0).volt.set(1.0)
    assert emulator.device.output_v(0) == 0.0


def test_device_that_falls_silent_is_an_error(attenuator: Make) -> None:
    with (
        Attenuator(hostility=Hostility(drop=1.0)) as dumb,
        pytest.raises(fc.DeviceError, match=r"does not answer '\*IDN\?'.*is it switched on"),
    ):
        fc.VOA(dumb.path, **QUICK)
