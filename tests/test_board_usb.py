"""The board's housekeeping, on a made-up USB bus with a real serial line."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cli_runs import CommandLine
from usb_tree import SERIAL, UsbTree

import fastcap as fc
from fastcap.devices import board_usb
from fastcap.devices.board_usb import clear_fifo, find_board, list_boards, rule_path, set_mode
from fastcap.devlock import DeviceLock

pytest_plugins = ["command_line"]

RESET = [b"CONFIG 16", b"CONFIG 0", b"SKIP", b"CLOCKINIT", b"ADCINIT"]


@pytest.fixture
def bus(tmp_path: Path) -> Iterator[Callable[..., UsbTree]]:
    """Make the bus; whatever happens, its thread ends."""
    made: list[UsbTree] = []

    def make(**options: Any) -> UsbTree:
        made.append(UsbTree(tmp_path, **options))
        return made[-1]

    yield make
    for tree in made:
        tree.close()


def test_boards_are_listed_with_what_they_are(bus: Callable[..., UsbTree]) -> None:
    tree = bus()
    (board,) = list_boards(tree.places)

    assert (board.serial, board.mode) == (SERIAL, "hybrid")
    assert (board.node, board.port) == (str(tree.link), None)


def test_no_boards_are_an_empty_list(tmp_path: Path) -> None:
    assert list_boards(board_usb.UsbPlaces(sysfs=str(tmp_path / "none"), dev=str(tmp_path))) == []


def test_board_is_found_by_every_name_it_has(bus: Callable[..., UsbTree], tmp_path: Path) -> None:
    tree = bus()
    softlink = tmp_path / "vhf_board.softlink"
    softlink.symlink_to(tree.link)
    for name in (SERIAL, tree.node, tree.link, softlink):
        assert find_board(str(name), tree.places).serial == SERIAL
    with pytest.raises(fc.DeviceError, match=f"'usbhybrid7' is not among those plugged in; boards: {SERIAL}"):
        find_board("usbhybrid7", tree.places)


def test_softlink_names_the_board_in_mode_acm_too(bus: Callable[..., UsbTree], tmp_path: Path) -> None:
    tree = bus(mode="1")
    softlink = tmp_path / "vhf_board.softlink"
    softlink.symlink_to(tree.link)

    assert find_board(str(softlink), tree.places).mode == "acm"
    assert find_board(str(tree.port), tree.places).port == str(tree.port)


def test_mode_is_switched_and_waited_for(bus: Callable[..., UsbTree]) -> None:
    tree = bus()
    board = find_board(SERIAL, tree.places)

    acm = set_mode(board, "acm", tree.places)
    assert (acm.mode, acm.node, acm.port) == ("acm", None, str(tree.port))
    hybrid = set_mode(acm, "hybrid", tree.places)
    assert (hybrid.mode, hybrid.node, hybrid.port) == ("hybrid", str(tree.link), None)
    set_mode(hybrid, "hybrid", tree.places)
    assert tree.modes == ["1", "2"]
    with pytest.raises(ValueError, match="give acm or hybrid"):
        set_mode(hybrid, "turbo", tree.places)


def test_clearing_gives_the_commands_in_order_and_returns_to_hybrid(bus: Callable[..., UsbTree]) -> None:
    tree = bus()
    board = clear_fifo(find_board(SERIAL, tree.places), places=tree.places, config_wait_s=0.3)

    assert [line for _, line in tree.lines] == RESET
    assert tree.lines[1][0] - tree.lines[0][0] > 0.25
    assert board.mode == "hybrid"
    assert tree.modes == ["1", "2"]


def test_board_in_mode_acm_can_be_cleared(bus: Callable[..., UsbTree]) -> None:
    tree = bus(mode="1")
    discarded: list[str] = []
    board = clear_fifo(
        find_board(SERIAL, tree.places), places=tree.places, config_wait_s=0, discard=discarded.append
    )

    assert [line for _, line in tree.lines] == RESET
    assert (board.mode, discarded, tree.modes) == ("hybrid", [str(tree.link)], ["2"])


def test_failure_in_the_middle_still_returns_to_hybrid(bus: Callable[..., UsbTree]) -> None:
    tree = bus()
    board = find_board(SERIAL, tree.places)
    with open(os.ttyname(tree.slave), "rb") as held:
        import fcntl

        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(fc.DeviceError, match="in use by another program"):
            clear_fifo(board, places=tree.places, config_wait_s=0)
    assert list_boards(tree.places)[0].mode == "hybrid"
    assert tree.lines == []


def test_board_in_a_capture_is_refused(bus: Callable[..., UsbTree]) -> None:
    tree = bus()
    lock = DeviceLock.acquire(tree.node, {"destination": "/mnt/nas/run"})
    try:
        for act in (clear_fifo, lambda board, places: set_mode(board, "acm", places)):
            with pytest.raises(
                fc.DeviceError, match=f"{SERIAL}: device .*in use by .*writing to /mnt/nas/run"
            ):
                act(find_board(SERIAL, tree.places), places=tree.places)
    finally:
        lock.release()
    assert tree.modes == []


def test_board_that_another_program_has_open_is_refused(bus: Callable[..., UsbTree]) -> None:
    tree = bus()
    code = f"import sys; f = open({str(tree.node)!r}); print('open', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"open\n"
        with pytest.raises(fc.DeviceError, match=f"is open in process {other.pid}"):
            set_mode(find_board(SERIAL, tree.places), "acm", tree.places)
        other.communicate()
    assert tree.modes == []
    assert set_mode(find_board(SERIAL, tree.places), "acm", tree.places).mode == "acm"


def test_node_that_never_appears_is_an_error(
    bus: Callable[..., UsbTree], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(board_usb, "_APPEARS_S", 0.2)
    tree = bus(appears=False)
    with pytest.raises(fc.DeviceError, match=r"shows no serial port within 0\.2 s"):
        set_mode(find_board(SERIAL, tree.places), "acm", tree.places)


def test_missing_right_names_the_rule_that_gives_it(
    bus: Callable[..., UsbTree], monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = bus()

    def refuse(self: Path, text: str) -> int:
        raise PermissionError(13, "Permission denied")

    board = find_board(SERIAL, tree.places)
    if os.geteuid():
        tree.value.chmod(0o444)
    else:  # root may always
        monkeypatch.setattr(Path, "write_text", refuse)
    with pytest.raises(fc.DeviceError, match=r"sudo cp .*70-fastcap\.rules /etc/udev/rules\.d/"):
        set_mode(board, "acm", tree.places)


def test_rule_ships_and_every_line_is_one() -> None:
    text = Path(rule_path()).read_text()
    rules = [line for line in text.splitlines() if line and not line.startswith("#")]

    assert any('"VHF Processor"' in rule and "bConfigurationValue" in rule for rule in rules)
    for rule in rules:
        for part in rule.split(", "):
            name, operator, value = next(
                (part.partition(op) for op in ("==", "!=", "+=", "=") if op in part), (part, "", "")
            )
            assert operator, part
            assert value.startswith('"'), part
            assert value.endswith('"'), part
            assert name.partition("{")[0] in {
                "ACTION", "SUBSYSTEM", "ENV", "ATTR", "ATTRS", "KERNEL", "GROUP", "MODE", "RUN", "SYMLINK"
            }  # fmt: skip


def test_command_line_lists_clears_and_switches(
    bus: Callable[..., UsbTree], cli: CommandLine, tmp_path: Path
) -> None:
    tree = bus()
    cli.environment["FASTCAP_USB_ROOT"] = str(tmp_path)
    told = tmp_path / "told"
    program = tmp_path / "teststream"
    program.write_text(f'#!/bin/sh\necho "$@" >> {told}\nhead -c 100000 /dev/zero\n')
    program.chmod(0o755)

    assert cli("board", "list", "--json").json["boards"][0]["serial"] == SERIAL
    assert f"{SERIAL}  hybrid  {tree.link}" in cli("board", "list").out
    cleared = cli("board", "clear", tree.link, "--aggressive", "--program", program)
    assert cleared.status == 0, cleared.err
    assert [line for _, line in tree.lines] == RESET
    assert tree.lines[1][0] - tree.lines[0][0] > 0.9
    assert told.read_text().splitlines() == [f"-U {tree.link} -q 1200 -s 99 -l -b"] * 10
    assert cli("board", "mode", SERIAL, "acm", "--json").json["mode"] == "acm"


@pytest.mark.parametrize(
    ("args", "status", "why"),
    [
        (["clear", "nothing"], 1, "'nothing' is not among those plugged in"),
        (["mode", SERIAL, "turbo"], 2, "turbo"),
        (["clear", SERIAL, "--aggressive", "--program", "no-such"], 2, "'no-such' is not on PATH"),
        (["clear", SERIAL, "--aggressive", "--program", "false"], 1, "ended with status 1"),
    ],
)
def test_command_line_says_what_is_wrong(
    bus: Callable[..., UsbTree], cli: CommandLine, tmp_path: Path, args: list[str], status: int, why: str
) -> None:
    bus()
    cli.environment["FASTCAP_USB_ROOT"] = str(tmp_path)
    ended = cli("board", *args)
    assert ended.status == status
    assert why in ended.error


def test_names_of_boards_do_not_match_parts_of_others(bus: Callable[..., UsbTree]) -> None:
    tree = bus()
    for number, other in itertools.product((1,), ("VHFP-QO03B", "XVHFP-QO03")):
        (tree.port.parent / f"usb-S-Fifteen_{other}-if0{number}").write_bytes(b"")
    board = set_mode(find_board(SERIAL, tree.places), "acm", tree.places)
    assert board.port == str(tree.port)
