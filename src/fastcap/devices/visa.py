"""Lines over VISA: USBTMC, sockets, GPIB."""

from __future__ import annotations

import contextlib
import time
from typing import Any

from fastcap._messages import shown
from fastcap.devices.transport import ExchangeLog
from fastcap.errors import DeviceError

__all__ = ["BACKEND", "VisaLines", "started"]

BACKEND = "@py"  # pyvisa-py: nothing to install beside Python packages


def started(resource: str) -> tuple[str, Any]:
    """Return a VISA resource and, for ``sim://laser``, the emulator started for it; None for a real one."""
    if not resource.startswith("sim:"):
        return resource, None
    from fastcap.sim.urls import open_laser

    emulator = open_laser(resource)
    return emulator.resource, emulator


class VisaLines:
    """Lines to and from a VISA resource: see `fastcap.devices.transport.Lines`.

    Parameters
    ----------
    resource : str
        Such as ``USB0::0x1313::0x804A::M00000000::INSTR`` or ``TCPIP0::192.168.0.5::5025::SOCKET``.
    """

    def __init__(
        self, resource: str, *, send_timeout_s: float, log: ExchangeLog, backend: str = BACKEND
    ) -> None:
        self.where = resource
        self._send_timeout_s, self._log, self._backend = send_timeout_s, log, backend
        self._manager: Any = None
        self._resource: Any = None

    @property
    def is_open(self) -> bool:
        """Whether it is open; it may be unplugged nevertheless."""
        return self._resource is not None

    def open(self) -> None:
        """Open the resource, if it is not.

        Raises
        ------
        DeviceError
            pyvisa is not installed, or the resource cannot be opened.
        """
        if self.is_open:
            return
        try:
            import pyvisa
        except ImportError as error:
            raise DeviceError(
                f"resource {shown(self.where)} needs pyvisa; pip install 'fastcap[laser]'"
            ) from error
        try:
            self._manager = pyvisa.ResourceManager(self._backend)
            self._resource = self._manager.open_resource(
                self.where,
                read_termination="\n",
                write_termination="\n",
                open_timeout=int(self._send_timeout_s * 1000),
            )
        except Exception as error:  # pyvisa's backends raise whatever their libraries do
            self.close()
            raise DeviceError(
                f"resource {shown(self.where)} cannot be opened ({error}); is it plugged in, and may you use it?"
            ) from error
        self._log.write("!", f"{self.where} opened")

    def close(self) -> None:
        """Close the resource. A second call does nothing."""
        for thing in (self._resource, self._manager):
            if thing is not None:
                with contextlib.suppress(Exception):  # it may be gone; nothing can be done about it
                    thing.close()
        if self._resource is not None:
            self._log.write("!", f"{self.where} closed")
        self._resource = self._manager = None

    def send(self, line: str) -> None:
        """Send a line.

        Raises
        ------
        DeviceError
            It was not taken. The resource is closed then.
        """
        self._log.write(">", repr(line))
        try:
            self._resource.timeout = self._send_timeout_s * 1000
            self._resource.write(line)
        except Exception as error:
            raise self._gone(error) from error

    def receive(self, deadline_s: float) -> str | None:
        """Return the next line without its end; None at the deadline.

        Raises
        ------
        DeviceError
            The resource is gone. It is closed then.
        """
        from pyvisa.constants import StatusCode
        from pyvisa.errors import VisaIOError

        left_s = deadline_s - time.monotonic()
        try:
            self._resource.timeout = max(1.0, left_s * 1000)
            line: str = self._resource.read(encoding="latin-1")
        except VisaIOError as error:
            if error.error_code == StatusCode.error_timeout:
                return None
            raise self._gone(error) from error
        except Exception as error:
            raise self._gone(error) from error
        self._log.write("<", repr(line))
        return line.removesuffix("\r")

    def waiting(self) -> bool:
        """Return False: VISA cannot tell. The dialogue's barriers find what has arrived unasked."""
        return False

    def _gone(self, error: Exception) -> DeviceError:
        self.close()
        return DeviceError(
            f"resource {shown(self.where)} is gone or does not work ({error}); plug it in, then try again"
        )
