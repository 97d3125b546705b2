"""Moving bytes under deadlines: lines to and from a device, over a serial port.

What the lines mean, and which answer belongs to which question, is `fastcap.devices.dialogue`'s.
"""

from __future__ import annotations

import contextlib
import glob
import os
import select
import termios
import time
from collections import deque
from typing import Any, Protocol

from fastcap._messages import shown
from fastcap.errors import DeviceError

__all__ = ["ExchangeLog", "Lines", "LogTarget", "SerialLines"]

BAUD = 57600
_MOST_LINE_BYTES = 4096  # a device that sends more without a line's end sends junk
LogTarget = str | os.PathLike[str] | Any | None


class Lines(Protocol):
    """A connection that carries lines. After an error it is closed; `open` makes it anew."""

    where: str

    @property
    def is_open(self) -> bool:
        """Whether it can be used."""

    def open(self) -> None:
        """Connect, or do nothing if connected."""

    def close(self) -> None:
        """Disconnect. Never fails; a second call does nothing."""

    def send(self, line: str) -> None:
        """Send a line; its end is added."""

    def receive(self, deadline_s: float) -> str | None:
        """Return the next line without its end, or None when ``deadline_s`` (monotonic) has passed."""

    def waiting(self) -> bool:
        """Tell whether something has arrived that was not yet taken."""


class ExchangeLog:
    """Every line sent and received, with its time, as text: to a path (appended) or an open text file."""

    def __init__(self, target: LogTarget) -> None:
        self._own = isinstance(target, str | os.PathLike)
        self._file: Any = target
        if isinstance(target, str | os.PathLike):
            try:
                self._file = open(target, "a", encoding="utf-8")  # noqa: SIM115
            except OSError as error:
                raise DeviceError(f"log {shown(target)} cannot be written: {error.strerror}") from error

    def write(self, direction: str, what: object) -> None:
        """Log one exchange: ``>`` sent, ``<`` received, ``!`` something about the connection."""
        if self._file is None:
            return
        from datetime import datetime

        at = datetime.now().astimezone().isoformat(timespec="microseconds")
        self._file.write(f"{at} {direction} {what}\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file if it was opened here."""
        if self._own and self._file is not None:
            self._file.close()
        self._file = None


class SerialLines:
    """Lines over a serial port, opened exclusively.

    Parameters
    ----------
    port : str
        Device node, or a link to it.
    send_timeout_s : float
        How long the port may refuse to take a line.
    log : ExchangeLog
        Where every line goes.
    """

    def __init__(self, port: str, *, send_timeout_s: float, log: ExchangeLog) -> None:
        self.where = port
        self._send_timeout_s = send_timeout_s
        self._log = log
        self._serial: Any = None
        self._lines: deque[str] = deque()
        self._rest = b""

    @property
    def is_open(self) -> bool:
        """Whether the port is open; it may be unplugged nevertheless."""
        return self._serial is not None

    def open(self) -> None:
        """Open the port, if it is not.

        Raises
        ------
        DeviceError
            It does not exist, may not be used by this user, is no serial port, or is in use.
        """
        if self.is_open:
            return
        import serial

        try:
            self._serial = serial.Serial(
                self.where, BAUD, timeout=0, write_timeout=self._send_timeout_s, exclusive=True
            )
        except (OSError, ValueError, termios.error) as error:  # pyserial's errors are OSErrors
            raise DeviceError(f"port {shown(self.where)} {_why(self.where, error)}") from error
        self._lines.clear()
        self._rest = b""
        self._log.write("!", f"{self.where} opened")

    def close(self) -> None:
        """Close the port; what was not yet taken is dropped."""
        if self._serial is not None:
            with contextlib.suppress(OSError):
                self._serial.close()
            self._serial = None
            self._log.write("!", f"{self.where} closed")

    def send(self, line: str) -> None:
        """Send a line.

        Raises
        ------
        DeviceError
            The port does not take it, or is gone. It is closed then.
        """
        self._log.write(">", repr(line))
        try:
            self._serial.write(line.encode("ascii") + b"\n")
        except OSError as error:  # pyserial's errors are OSErrors
            raise self._gone(error) from error

    def receive(self, deadline_s: float) -> str | None:
        r"""Return the next line, without ``\n`` or ``\r\n``; None at the deadline.

        Raises
        ------
        DeviceError
            The port is gone. It is closed then.
        """
        while not self._lines:
            left_s = deadline_s - time.monotonic()
            if left_s <= 0:
                return None
            self._take(left_s)
        return self._lines.popleft()

    def waiting(self) -> bool:
        """Tell whether bytes have arrived that `receive` has not returned."""
        self._take(0)
        return bool(self._lines or self._rest)

    def drain(self) -> None:
        """Wait until everything sent has left this machine.

        Raises
        ------
        DeviceError
            The port is gone. It is closed then.
        """
        try:
            self._serial.flush()
        except (OSError, termios.error) as error:
            raise self._gone(error) from error

    def _take(self, wait_s: float) -> None:
        """Wait for bytes and sort them into lines."""
        try:
            if not select.select([self._serial.fileno()], [], [], wait_s)[0]:
                return
            data = self._rest + self._serial.read(_MOST_LINE_BYTES)
        except (OSError, ValueError, TypeError) as error:  # the latter two: closed by another thread
            raise self._gone(error) from error
        *whole, self._rest = data.split(b"\n")
        if len(self._rest) > _MOST_LINE_BYTES:
            whole.append(self._rest)
            self._rest = b""
        for raw in whole:
            self._log.write("<", repr(raw))
            self._lines.append(raw.removesuffix(b"\r").decode("ascii", errors="replace"))

    def _gone(self, error: Exception) -> DeviceError:
        self.close()
        return DeviceError(
            f"port {shown(self.where)} is gone or does not work ({error}); plug the device in, then try again"
        )


def _why(port: str, error: Exception) -> str:
    """Return why a port cannot be opened, and what helps."""
    code = getattr(error, "errno", None)
    if not os.path.exists(port):
        near = sorted(glob.glob("/dev/serial/by-id/*"))
        return f"does not exist; is it plugged in? ports there are: {', '.join(near) or 'none'}"
    if code == 11 or "lock" in str(error):  # EAGAIN of flock(2)
        return "is in use by another program; end that first"
    if isinstance(error, PermissionError) or code == 13:
        return "may not be used by you; join its group (usually dialout), or add a udev rule"
    return f"cannot be opened as a serial port ({error}); name the attenuator's port"
