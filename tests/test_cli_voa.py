"""``fastcap voa`` from outside."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_runs import CommandLine

pytest_plugins = ["command_line"]


@pytest.fixture
def port(tmp_path: Path) -> str:
    """An emulated attenuator that keeps its volts."""
    return f"sim://voa?name={tmp_path}/x.tie"


def test_what_is_set_can_be_got(cli: CommandLine, port: str) -> None:
    assert cli("voa", port, "set", "1", "2.5").out == "2.5000 V\n"
    assert cli("voa", port, "get", "1").out == "2.5000 V\n"
    assert cli("voa", port, "get", "1", "--json").json == {"port": port, "channel": 1, "volt": 2.5}


def test_identity_and_table(cli: CommandLine, port: str, tmp_path: Path) -> None:
    assert cli("voa", port, "idn").out == "VOA Driver VOAD-QO01 emulated\n"
    lines = cli("voa", port, "scan", "--log", tmp_path / "log").out.splitlines()
    assert len(lines) == 2 + 8
    assert lines == cli("voa", port).out.splitlines()
    assert len(cli("voa", port, "--json").json["channels"]) == 8
    assert "DAC? 7" in (tmp_path / "log").read_text()


@pytest.mark.parametrize(
    ("args", "status", "why"),
    [
        (["set", "0", "4.096"], 2, "not from 0 to 4.095 V"),
        (["set", "0", "-1"], 2, "not from 0 to 4.095 V"),
        (["set", "0", "nan"], 2, "not from 0 to 4.095 V"),
        (["set", "0", "much"], 2, "are no number"),
        (["set", "4", "1"], 2, "channel '4' does not exist"),
        (["set", "0"], 2, "write 'set CH VOLTS'"),
        (["get"], 2, "write 'get CH'"),
        (["idn", "0"], 2, "idn has 1 argument"),
        (["turn"], 2, "give idn, get CH, set CH VOLTS or scan"),
    ],
)
def test_wrong_usage_is_one_line(cli: CommandLine, port: str, args: list[str], status: int, why: str) -> None:
    ended = cli("voa", port, *args)
    assert ended.status == status
    assert why in ended.error


@pytest.mark.parametrize(
    ("port", "status", "why"),
    [
        ("/dev/no-such-port", 1, "does not exist; is it plugged in?"),
        ("/dev/null", 1, "cannot be opened as a serial port"),
        ("sim://vao", 2, "write sim://voa"),
    ],
)
def test_wrong_port_is_one_line(cli: CommandLine, port: str, status: int, why: str) -> None:
    ended = cli("voa", port, "idn")
    assert ended.status == status
    assert why in ended.error
