"""The attenuator's grammar and limits, against an emulator that behaves."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest
from device_checks import QUICK, Pair

import fastcap as fc
from fastcap.sim.voa import Attenuator

pytest_plugins = ["attenuators"]
Make = Callable[..., Pair]


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
def test_set_returns_what_the_device_then_has(attenuator: Make, line_end: bytes) -> None:
    emulator, voa = attenuator(line_end=line_end)

    for channel, volts in ((0, 1.5), (1, 0.0), (2, 4.095), (3, 0.0006)):
        got = voa.channel(channel).volt.set(volts)

        assert got == pytest.approx(volts, abs=0.0005)
        assert emulator.device.output_v(channel) == pytest.approx(got, abs=1e-9)


def test_assigning_sets(attenuator: Make) -> None:
    emulator, voa = attenuator()

    voa.channel(1).volt = 2.5
    voa.channel(1).factor = 0.5
    voa.channel(1).offset = 0.25
    voa.raw(6).dac = 3.25

    assert emulator.device.output_v(1) == 2.5 * 0.5 + 0.25
    assert emulator.device.output_v(6) == 3.25
    assert voa.channel(1).volt.get() == pytest.approx(2.5)
    assert voa.channel(1).factor.get() == 0.5
    assert voa.channel(1).offset.get() == 0.25
    assert voa.raw(1).dac.get() == 1.5


@pytest.mark.parametrize("value", [-0.001, 4.0951, float("nan"), float("inf"), "1.5", True, None])
def test_value_out_of_range_is_refused_before_a_byte_is_sent(attenuator: Make, value: Any) -> None:
    log = io.StringIO()
    _, voa = attenuator(log=log)
    before = log.getvalue()

    for setting in (voa.channel(0).volt, voa.raw(7).dac):
        with pytest.raises(ValueError, match=r"channel .* (volt|dac) of"):
            setting.set(value)

    assert log.getvalue() == before


@pytest.mark.parametrize("number", [-1, 4, 1.0, "0", True])
def test_channel_that_does_not_exist_is_refused(attenuator: Make, number: Any) -> None:
    _, voa = attenuator()
    with pytest.raises(ValueError, match="does not exist; give 0 to 3"):
        voa.channel(number)


def test_saved_settings_survive_a_reset_and_others_do_not(attenuator: Make) -> None:
    emulator, voa = attenuator()
    voa.channel(0).volt = 1.0
    voa.save()
    voa.channel(0).volt = 2.0

    voa.reset()

    assert voa.channel(0).volt.get() == 1.0
    assert emulator.device.output_v(0) == 1.0


def test_help_is_the_devices_own(attenuator: Make) -> None:
    _, voa = attenuator()
    assert "VOLT ch v" in voa.help()
    assert len(voa.help().splitlines()) == 7


def test_value_the_device_cannot_have_is_an_error_that_tells_both(attenuator: Make) -> None:
    _, voa = attenuator()
    voa.channel(2).factor = 2.0

    with pytest.raises(fc.DeviceError, match=r"channel 2 volt was set to 3 V 8 times and reads 2\.0475 V"):
        voa.channel(2).volt.set(3.0)


def test_every_exchange_is_logged(attenuator: Make) -> None:
    log = io.StringIO()
    _, voa = attenuator(log=log)
    voa.channel(3).volt = 1.25

    text = log.getvalue()
    assert "> 'VOLT 3 1.2500'\n" in text
    assert text.count("> 'VOLT? 3'\n") == text.count("< b'1.2500'\n") == 2


def test_another_device_is_refused(attenuator: Make) -> None:
    with Attenuator(identity="ACME Toaster 3000") as other:
        with pytest.raises(fc.DeviceError, match=r"says it is 'ACME Toaster 3000', not 'VOA'"):
            fc.VOA(other.path, **QUICK)
        with fc.VOA(other.path, identity="toaster", **QUICK) as voa:
            assert voa.identity == "ACME Toaster 3000"


def test_banner_that_names_the_device_is_not_its_identity(attenuator: Make) -> None:
    _, voa = attenuator(banner=["VOA", "", "VOA driver ready", "1.5"])
    assert voa.identity == "VOA Driver VOAD-QO01 emulated"


def test_port_in_use_is_refused(attenuator: Make) -> None:
    _, voa = attenuator()
    emulator_port = voa.port
    with pytest.raises(fc.DeviceError, match="in use by another program"):
        fc.VOA(emulator_port, **QUICK)


@pytest.mark.parametrize(
    ("port", "why"),
    [
        ("/dev/no-such-port", "does not exist; is it plugged in"),
        ("/dev/null", "cannot be opened as a serial port"),
    ],
)
def test_port_that_is_none_is_refused(port: str, why: str) -> None:
    with pytest.raises(fc.DeviceError, match=why):
        fc.VOA(port)


def test_settings_say_what_an_axis_needs(attenuator: Make) -> None:
    _, voa = attenuator()
    volt = voa.channel(1).volt

    assert isinstance(volt, fc.Setting)
    assert (volt.name, volt.unit, volt.limits) == ("channel 1 volt", "V", (0.0, 4.095))
    assert volt.check(4) == 4.0
    assert voa.channel(1).offset.limits is None
    with pytest.raises(ValueError, match="not finite"):
        voa.channel(1).offset.set(float("nan"))
