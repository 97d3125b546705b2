"""SCPI instruments and programs as targets of an axis."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

import fastcap as fc
from fastcap.sim.laser import LaserDriver

SAVE = [sys.executable, "-c", "import sys; open(sys.argv[1], 'a').write(sys.stdin.read() + '|')"]


def test_scpi_sets_and_reads_back() -> None:
    with (
        LaserDriver() as driver,
        fc.SCPI(driver.resource, set="SOUR:CURR {:.3f}", get="SOUR:CURR?", unit="A") as it,
    ):
        assert it.set(0.1234) == 0.123
        assert it.get() == 0.123
        assert driver.device.history_a == [0.123]
        assert (it.name, it.unit) == ("SOUR:CURR", "A")


def test_scpi_without_question_sets_and_cannot_be_read() -> None:
    with LaserDriver() as driver, fc.SCPI(driver.resource, "SOUR:CURR {}") as it:
        assert it.set(0.25) is None
        with pytest.raises(fc.DeviceError, match="give SCPI"):
            it.get()
        it._connected().barrier()
        assert driver.device.current_a == 0.25


def test_scpi_value_that_was_not_taken_is_an_error() -> None:
    with (
        LaserDriver() as driver,
        fc.SCPI(driver.resource, "SOUR:CURR {}", get="SOUR:CURR?", tolerance=0.001) as it,
        pytest.raises(fc.DeviceError, match=r"was set to 0\.9 .*reads 0 "),
    ):
        it.set(0.9)


def test_scpi_starts_nothing_before_it_is_used() -> None:
    it = fc.SCPI("TCPIP0::127.0.0.1::1::SOCKET", "VOLT {}", limits=(0, 5), timeout_s=0.2)
    for value in (5.1, float("nan"), "1"):
        with pytest.raises(ValueError, match="VOLT of"):
            it.set(value)
    with pytest.raises(fc.DeviceError, match="does not work"):
        it.set(1)


@pytest.mark.parametrize("template", ["SOUR1:VOLT 1", "VOLT {", "VOLT {volts}", "VOLT {:s}", "VOLT {} {}"])
def test_scpi_command_without_a_place_for_a_number_is_refused(template: str) -> None:
    with pytest.raises(fc.ConfigError, match="SCPI command"):
        fc.SCPI("TCPIP0::127.0.0.1::1::SOCKET", template)


def test_command_gets_the_value_on_its_standard_input(tmp_path: Path) -> None:
    it = fc.Command([*SAVE, str(tmp_path / "out")], stdin="FREQUENCY 0 {} MHz\n.", unit="MHz")

    assert it.set(80) is None
    it.set(80.5)

    assert (tmp_path / "out").read_text() == "FREQUENCY 0 80 MHz\n.|FREQUENCY 0 80.5 MHz\n.|"


def test_command_gets_the_value_as_an_argument(tmp_path: Path) -> None:
    fc.Command(["touch", str(tmp_path) + "/{:.2f}"]).set(1 / 3)
    assert [p.name for p in tmp_path.iterdir()] == ["0.33"]


@pytest.mark.parametrize(
    ("argv", "options", "why"),
    [
        (["sh", "-c", "echo no such channel >&2; exit 3 # {}"], {}, "ended with status 3: no such channel"),
        (["sh", "-c", "sleep 60 # {}"], {"timeout_s": 0.1}, "ran longer than 0.1 s and was killed"),
        (["/no/such/program", "{}"], {}, "cannot be run: No such file"),
    ],
)
def test_command_that_fails_is_an_error(argv: list[str], options: dict[str, Any], why: str) -> None:
    with pytest.raises(fc.DeviceError, match=why):
        fc.Command(argv, **options).set(1)


@pytest.mark.parametrize(
    ("argv", "stdin"),
    [([], "{}"), ("echo {}", None), (["echo", "1"], None), (["cat"], "1"), (["cat"], "{x}"), (["cat"], "{")],
)
def test_command_without_a_place_for_the_value_is_refused(argv: Any, stdin: str | None) -> None:
    with pytest.raises(fc.ConfigError, match="command"):
        fc.Command(argv, stdin=stdin)


def test_command_refuses_values_out_of_range_and_runs_nothing(tmp_path: Path) -> None:
    it = fc.Command(["touch", str(tmp_path) + "/{}"], limits=(0, 1))
    for value in (1.5, float("nan"), "0.5"):
        with pytest.raises(ValueError, match="touch of"):
            it.set(value)
    assert list(tmp_path.iterdir()) == []
