"""The laser's driver, over a real socket, against an emulated one."""

from __future__ import annotations

import io
import signal
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from device_checks import HARD

import fastcap as fc
from fastcap.sim.hostility import Hostility
from fastcap.sim.laser import LaserDriver
from fastcap.sim.tie import Tie

TIMEOUT_S = 0.3

SCRIPT = """
import sys, fastcap as fc
with fc.Laser(f"sim://laser?name={sys.argv[1]}", at_exit="off", step_a=0.01) as laser:
    laser.on()
    laser.current = 0.2
    print("ready", flush=True)
    while True:
        laser.current.get()
"""


@pytest.fixture
def driver() -> Iterator[LaserDriver]:
    with LaserDriver() as made:
        yield made


def laser(driver: LaserDriver, **options: Any) -> fc.Laser:
    return fc.Laser(driver.resource, **{"timeout_s": TIMEOUT_S, "step_a": 0.01, **options})


def test_current_is_ramped_in_steps_no_larger_than_the_one_set(driver: LaserDriver) -> None:
    with laser(driver, step_a=0.007) as it:
        assert it.current.set(0.1) == pytest.approx(0.1)
        it.current = 0.05
    history = [0.0, *driver.device.history_a]
    steps = [abs(b - a) for a, b in pairwise(history)]

    assert max(steps) <= 0.007 + 1e-6
    assert history[-1] == 0.05
    assert len(history) == 1 + 15 + 8


def test_ramp_has_no_larger_step_where_commands_get_lost() -> None:
    lossy = Hostility(drop=0.1, unasked=0.05)
    with LaserDriver(hostility=lossy) as driver, laser(driver, timeout_s=0.05) as it:
        it.current = 0.2
    history = [0.0, *driver.device.history_a]

    assert max(b - a for a, b in pairwise(history)) <= 0.01 + 1e-4
    assert history[-1] == 0.2


def test_hostile_driver_never_has_a_wrong_current() -> None:
    with LaserDriver(hostility=HARD) as driver, laser(driver, timeout_s=0.1, step_a=0.1) as it:
        for amps in (0.1, 0.4, 0.25, 0.0, 0.31):
            it.current = amps
            assert driver.device.current_a == pytest.approx(amps, abs=1e-4)


@pytest.mark.parametrize("amps", [-0.001, 0.501, float("nan"), "0.1", True])
def test_current_out_of_range_is_refused_before_a_byte_is_sent(driver: LaserDriver, amps: Any) -> None:
    log = io.StringIO()
    with laser(driver, log=log) as it:
        before = log.getvalue()
        with pytest.raises(ValueError, match="laser current of"):
            it.current.set(amps)
        assert log.getvalue() == before


def test_limits_are_the_drivers_or_the_users_if_lower(driver: LaserDriver) -> None:
    with laser(driver) as it:
        assert it.current.limits == (0.0, 0.5)
    with laser(driver, max_a=0.3) as it:
        assert it.current.limits == (0.0, 0.3)
    with laser(driver, max_a=2) as it:
        assert it.current.limits == (0.0, 0.5)


def test_limit_lowered_at_the_panel_is_an_error_with_the_drivers_word(driver: LaserDriver) -> None:
    with laser(driver, step_a=0.2) as it:
        driver.device.handle("SOUR:CURR:LIM 0.2")
        with pytest.raises(fc.DeviceError, match=r"Data out of range"):
            it.current.set(0.3)


def test_constant_power_mode_is_refused(driver: LaserDriver) -> None:
    driver.device.mode = "POW"
    with pytest.raises(fc.DeviceError, match="in mode 'POW', not constant current"):
        laser(driver)


def test_mode_changed_at_the_panel_is_noticed_before_the_current_moves(driver: LaserDriver) -> None:
    with laser(driver) as it:
        driver.device.mode = "POW"
        with pytest.raises(fc.DeviceError, match="in mode 'POW'"):
            it.current.set(0.1)
        assert driver.device.history_a == []


def test_another_device_is_refused() -> None:
    with LaserDriver(identity="ACME,Toaster") as driver, pytest.raises(fc.DeviceError, match="ACME,Toaster"):
        laser(driver)


def test_output_is_switched_and_confirmed(driver: LaserDriver) -> None:
    with laser(driver) as it:
        it.on()
        assert it.is_on
        assert driver.device.is_on
        it.off()
        assert not it.is_on
        driver.device._set_output = lambda _: None
        for pattern in list(driver.device._commands):
            if pattern.fullmatch("OUTP"):
                driver.device._commands[pattern] = lambda _: None  # the interlock is open
        with pytest.raises(fc.DeviceError, match="does not switch ON"):
            it.on()


def test_readings_have_the_emulators_values(driver: LaserDriver) -> None:
    with laser(driver) as it:
        it.on()
        it.current = 0.1
        assert it.measured_a() == pytest.approx(0.1)
        assert it.voltage_v() == pytest.approx(1.11)
        assert it.temperature_c() == pytest.approx(25.1)


def test_reading_the_firmware_does_not_know_fails_clearly(driver: LaserDriver) -> None:
    with laser(driver, timeout_s=0.05, readings={"voltage": "MEAS:FOO?", "odd": "*IDN?"}) as it:
        with pytest.raises(fc.DeviceError, match=r"'MEAS:FOO\?'.*Undefined header.*readings="):
            it.voltage_v()
        with pytest.raises(fc.DeviceError, match=r"answers 'Thorlabs"):
            it.reading("odd")
        with pytest.raises(ValueError, match="'power' is not known; known: current"):
            it.reading("power")
        assert it.current.get() == 0.0


@pytest.mark.parametrize(
    ("at_exit", "left"),
    [("hold", (0.2, True)), ("zero", (0, True)), ("off", (0, False)), (0.05, (0.05, True))],
)
@pytest.mark.parametrize("error", [None, RuntimeError, KeyboardInterrupt])
def test_it_is_left_as_chosen(driver: LaserDriver, at_exit: Any, left: Any, error: Any) -> None:
    def use() -> None:
        with laser(driver, at_exit=at_exit) as it:
            it.on()
            it.current = 0.2
            if error is not None:
                raise error

    if error is None:
        use()
    else:
        with pytest.raises(error):
            use()

    assert (driver.device.current_a, driver.device.is_on) == left
    if at_exit != "hold":
        assert abs(driver.device.history_a[-1] - driver.device.history_a[-2]) <= 0.01 + 1e-6


def test_driver_that_is_gone_at_the_end_is_an_error_that_says_so(driver: LaserDriver) -> None:
    with pytest.raises(fc.DeviceError, match="could not be left at off"), laser(driver, at_exit="off"):
        driver.unplug()


def test_driver_that_cannot_be_ramped_at_the_end_is_switched_off_all_the_same(driver: LaserDriver) -> None:
    it = laser(driver, at_exit="off")
    it.on()
    driver.device.mode = "POW"
    with pytest.raises(fc.DeviceError, match="could not be left at off"), it:
        pass
    assert not driver.device.is_on


def test_ctrl_c_switches_it_off(tmp_path: Path) -> None:
    name = str(tmp_path / "x.tie")
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, name], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"

    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)

    assert b"KeyboardInterrupt" in err
    tie = Tie(name)
    assert tie.load() == {"current_a": 0.0, "is_on": False}
    tie.close()


@pytest.mark.parametrize(
    ("option", "value"),
    [("step_a", 0), ("step_a", -1), ("at_exit", "on"), ("at_exit", 0.9), ("max_a", "much")],
)
def test_option_that_makes_no_sense_is_refused(driver: LaserDriver, option: str, value: Any) -> None:
    with pytest.raises(ValueError, match="of"):
        laser(driver, **{option: value})


def test_resource_that_is_not_there_is_an_error() -> None:
    with pytest.raises(fc.DeviceError, match=r"does not work.*refused"):
        fc.Laser("TCPIP0::127.0.0.1::1::SOCKET", timeout_s=TIMEOUT_S)
    with pytest.raises(fc.DeviceError, match="cannot be opened"):
        fc.Laser("nonsense", timeout_s=TIMEOUT_S)
