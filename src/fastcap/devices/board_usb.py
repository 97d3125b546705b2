"""The board on the USB bus: found, switched between its two modes, its overflowed FIFO cleared.

In mode ACM the board is a serial port that takes commands; in mode hybrid it streams through a device node.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Callable, Iterator
from importlib import resources
from pathlib import Path

import msgspec

from fastcap._messages import shown
from fastcap.devices.transport import ExchangeLog, LogTarget, SerialLines
from fastcap.errors import DeviceError

__all__ = [
    "MODES",
    "UsbBoard",
    "UsbPlaces",
    "clear_fifo",
    "find_board",
    "list_boards",
    "rule_path",
    "set_mode",
]

PRODUCT = "VHF Processor"
MODES = {"acm": "1", "hybrid": "2"}  # name -> bConfigurationValue
_CONFIG_WAIT_S = 1.0
_APPEARS_S = 15.0  # a switch makes the kernel look at the device anew; udev makes the links
_LOOK_S = 0.05


class UsbPlaces(msgspec.Struct, frozen=True):
    """Where the kernel and udev show devices."""

    sysfs: str = "/sys/bus/usb/devices"
    dev: str = "/dev"
    proc: str = "/proc"


class UsbBoard(msgspec.Struct, frozen=True):
    """A board that is plugged in.

    ``folder`` is its place in sysfs; ``mode`` is ``acm``, ``hybrid``, or what the kernel says if it is neither;
    ``node`` is the streaming node, ``port`` the serial port, each None where there is none now.
    """

    serial: str
    mode: str
    node: str | None
    port: str | None
    folder: str


def rule_path() -> str:
    """Return the udev rule that ships with fastcap."""
    return str(resources.files("fastcap") / "data" / "70-fastcap.rules")


def list_boards(places: UsbPlaces | None = None) -> list[UsbBoard]:
    """Return the boards that are plugged in, by serial number."""
    places = places or UsbPlaces()
    found = []
    for folder in sorted(Path(places.sysfs).glob("*")):
        if _read(folder / "product") != PRODUCT:
            continue
        serial = _read(folder / "serial") or folder.name
        value = _read(folder / "bConfigurationValue")
        mode = next((name for name, number in MODES.items() if number == value), value or "unconfigured")
        found.append(UsbBoard(serial, mode, _node(places, serial), _port(places, serial), str(folder)))
    return sorted(found, key=lambda board: board.serial)


def find_board(name: str, places: UsbPlaces | None = None) -> UsbBoard:
    """Return the board of a serial number, or of its node, its serial port, or a link to one of them.

    Raises
    ------
    DeviceError
        There is none of that name; those that are there are named.
    """
    boards = list_boards(places)
    for board in boards:
        if name == board.serial or os.path.basename(name) == board.serial:
            return board
        real = os.path.realpath(name)
        if any(at is not None and os.path.realpath(at) == real for at in (board.node, board.port)):
            return board
        if os.path.basename(os.path.realpath(name)) == board.serial:
            return board  # a link to /dev/ioboards/SERIAL, which is not there in mode acm
    known = ", ".join(board.serial for board in boards) or "none is plugged in"
    raise DeviceError(f"board {shown(name)} is not among those plugged in; boards: {known}")


def set_mode(board: UsbBoard, mode: str, places: UsbPlaces | None = None) -> UsbBoard:
    """Switch a board's mode and wait until its node or serial port is there; nothing if it has the mode.

    Raises
    ------
    ValueError
        There is no such mode.
    DeviceError
        The board is in use, the mode may not be switched, or nothing appears.
    """
    if mode not in MODES:
        raise ValueError(f"mode {shown(mode)} does not exist; give {' or '.join(MODES)}")
    places = places or UsbPlaces()
    with _reserved(board, places):
        return _switch(board, mode, places)


def clear_fifo(
    board: UsbBoard,
    *,
    discard: Callable[[str], None] | None = None,
    places: UsbPlaces | None = None,
    config_wait_s: float = _CONFIG_WAIT_S,
    log: LogTarget = None,
) -> UsbBoard:
    """Clear an overflowed FIFO (red light); the board is in mode hybrid afterwards.

    Parameters
    ----------
    discard : callable, optional
        Called at the end with the node, to read what is left and throw it away.

    Raises
    ------
    DeviceError
        The board is in use, cannot be switched, or a step failed; it is switched back to hybrid if possible.
    """
    places = places or UsbPlaces()
    with _reserved(board, places):
        board = _switch(board, "acm", places)
        try:
            _reset_front_end(board, config_wait_s, log)
        except BaseException:
            with contextlib.suppress(DeviceError):  # the first error is the one to tell
                _switch(board, "hybrid", places)
            raise
        board = _switch(board, "hybrid", places)
    if discard is not None and board.node is not None:
        with _reserved(board, places):
            discard(board.node)
    return board


def _reset_front_end(board: UsbBoard, config_wait_s: float, log: LogTarget) -> None:
    """Give the commands that clear the FIFO on the board's serial port."""
    if board.port is None:
        raise DeviceError(f"board {board.serial} shows no serial port in mode acm; is udev running?")
    exchanges = ExchangeLog(log)
    lines = SerialLines(board.port, send_timeout_s=5.0, log=exchanges)
    try:
        lines.open()
        lines.send("CONFIG 16")
        time.sleep(config_wait_s)
        for command in ("CONFIG 0", "SKIP", "CLOCKINIT", "ADCINIT"):
            lines.send(command)
        lines.drain()
    finally:
        lines.close()
        exchanges.close()


def _switch(board: UsbBoard, mode: str, places: UsbPlaces) -> UsbBoard:
    path = Path(board.folder) / "bConfigurationValue"
    if board.mode != mode:
        try:
            path.write_text(f"{MODES[mode]}\n")
        except PermissionError as error:
            raise DeviceError(
                f"board {board.serial}: {path} may not be written by you; install the udev rule: sudo cp "
                f"{rule_path()} /etc/udev/rules.d/ && sudo udevadm control --reload && sudo udevadm trigger"
            ) from error
        except OSError as error:
            raise DeviceError(
                f"board {board.serial} cannot be switched to {mode}: {error.strerror}"
            ) from error
    end_s = time.monotonic() + _APPEARS_S
    while True:
        now = next((b for b in list_boards(places) if b.serial == board.serial), None)
        if now is not None and now.mode == mode and (now.port if mode == "acm" else now.node) is not None:
            return now
        if time.monotonic() > end_s:
            what = "serial port" if mode == "acm" else "node"
            raise DeviceError(
                f"board {board.serial} shows no {what} within {_APPEARS_S:g} s of the switch to {mode}; "
                "unplug it and plug it in again"
            )
        time.sleep(_LOOK_S)


@contextlib.contextmanager
def _reserved(board: UsbBoard, places: UsbPlaces) -> Iterator[None]:
    """Hold the lock on the board's node or serial port, whichever is there; refuse a board in use."""
    from fastcap.devlock import DeviceLock
    from fastcap.errors import SourceError

    at = board.node if board.node is not None else board.port
    if at is None:
        yield
        return
    try:
        lock = DeviceLock.acquire(at, {"destination": "nothing: housekeeping"})
    except SourceError as error:
        raise DeviceError(f"board {board.serial}: {error}") from error
    try:
        if pid := _holder(at, places):
            raise DeviceError(
                f"board {board.serial}: {at} is open in process {pid}; end that process, then try again"
            )
        yield
    finally:
        lock.release()


def _holder(node: str, places: UsbPlaces) -> int | None:
    """Return a process that has a node open; without root, only one's own can be seen."""
    real = os.path.realpath(node)
    for entry in Path(places.proc).iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):  # another user's, or ended meanwhile
            for fd in (entry / "fd").iterdir():
                with contextlib.suppress(OSError):
                    if os.readlink(fd) == real:
                        return int(entry.name)
    return None


def _node(places: UsbPlaces, serial: str) -> str | None:
    link = os.path.join(places.dev, "ioboards", serial)
    return link if os.path.exists(link) else None


def _port(places: UsbPlaces, serial: str) -> str | None:
    whole = re.compile(rf"(?<![A-Za-z0-9]){re.escape(serial)}(?![A-Za-z0-9])")
    folder = Path(places.dev, "serial", "by-id")
    found = [str(path) for path in sorted(folder.glob("*")) if whole.search(path.name) and path.exists()]
    return found[0] if found else None


def _read(path: Path) -> str | None:
    """Return a sysfs attribute, None if it cannot be read."""
    try:
        return path.read_text().strip()
    except OSError:
        return None
