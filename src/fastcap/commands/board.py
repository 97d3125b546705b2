"""``fastcap board``: the board's housekeeping on the USB bus."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from typing import Any

import click

from fastcap.cli import COMPLETE
from fastcap.commands.root import debug_option, json_option
from fastcap.errors import DeviceError

_DISCARDS, _DISCARD_WORDS, _DISCARD_SKIP = 10, 1200, 99
_DISCARD_S = 30.0
_EPILOG = """\
Example:  fastcap board clear /dev/ioboards/VHFP-QO03

To do this without being root, install the udev rule once: its path is in the error that says so."""


@click.group(epilog=_EPILOG)
@debug_option
def board() -> None:
    """List boards, clear the red light, switch between ACM (commands) and hybrid (streaming)."""


@board.command(name="list", epilog="Example:  fastcap board list --json")
@json_option
@debug_option
def list_(as_json: bool) -> int:
    """List the boards that are plugged in: serial number, mode, node, serial port."""
    from fastcap.devices.board_usb import list_boards

    boards = list_boards(_places())
    if as_json:
        click.echo(json.dumps({"boards": [_told(one) for one in boards]}))
    elif not boards:
        click.echo("no board is plugged in")
    for one in boards if not as_json else ():
        click.echo(f"{one.serial}  {one.mode:6}  {one.node or '-'}  {one.port or '-'}")
    return COMPLETE


@board.command(epilog="Example:  fastcap board clear VHFP-QO03 --aggressive")
@click.argument("device", metavar="DEV")
@click.option("--aggressive", is_flag=True, help="Then read and discard ten times 1,200 words.")
@click.option(
    "--program", metavar="PATH", default="teststream", help="What reads them (default: teststream on PATH)."
)
@json_option
@debug_option
def clear(device: str, aggressive: bool, program: str, as_json: bool) -> int:
    """Clear an overflowed FIFO (red light). DEV: serial number, node, or a link to it.

    A board that is in use is refused.
    """
    from fastcap.devices.board_usb import clear_fifo, find_board

    discard = _discarder(program) if aggressive else None
    one = clear_fifo(find_board(device, _places()), discard=discard, places=_places())
    click.echo(json.dumps(_told(one)) if as_json else f"{one.serial} is cleared and streams from {one.node}")
    return COMPLETE


@board.command(epilog="Example:  fastcap board mode VHFP-QO03 hybrid")
@click.argument("device", metavar="DEV")
@click.argument("mode", type=click.Choice(["acm", "hybrid"]))
@json_option
@debug_option
def mode(device: str, mode: str, as_json: bool) -> int:
    """Switch a board to mode acm (serial port) or hybrid (streaming), and wait until it is there."""
    from fastcap.devices.board_usb import find_board, set_mode

    one = set_mode(find_board(device, _places()), mode, _places())
    at = one.port if mode == "acm" else one.node
    click.echo(json.dumps(_told(one)) if as_json else f"{one.serial} is in mode {one.mode} at {at}")
    return COMPLETE


def _discarder(program: str) -> Callable[[str], None]:
    """Return what reads and discards words of a node, with the board's program."""
    path = shutil.which(program)
    if path is None:
        raise click.UsageError(
            f"program '{program}' is not on PATH and cannot be run; give --program with its full path"
        )

    def discard(node: str) -> None:
        flags = ["-q", str(_DISCARD_WORDS), "-s", str(_DISCARD_SKIP), "-l", "-b"]
        for _ in range(_DISCARDS):
            try:
                done = subprocess.run(
                    [path, "-U", node, *flags],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                    timeout=_DISCARD_S,
                    check=False,
                )
            except (OSError, subprocess.TimeoutExpired) as error:
                raise DeviceError(f"program {path} cannot read from {node}: {error}") from error
            if done.returncode:
                said = done.stderr.decode(errors="replace").strip()[-200:]
                raise DeviceError(f"program {path} ended with status {done.returncode} on {node}: {said}")

    return discard


def _told(one: Any) -> dict[str, Any]:
    return {"serial": one.serial, "mode": one.mode, "node": one.node, "port": one.port}


def _places() -> Any:
    """Return where to look for boards: below FASTCAP_USB_ROOT if that is set, for trials without one."""
    import os

    from fastcap.devices.board_usb import UsbPlaces

    root = os.environ.get("FASTCAP_USB_ROOT")
    return UsbPlaces() if root is None else UsbPlaces(sysfs=f"{root}/sys/bus/usb/devices", dev=f"{root}/dev")
