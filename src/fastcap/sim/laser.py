"""The emulated laser driver: an ITC4001's SCPI on a TCP socket, tied to the emulated board if named."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, Self

from fastcap.sim.hostility import Hostility
from fastcap.sim.line_server import LineServer, TcpEnd
from fastcap.sim.tie import Tie

__all__ = ["IDENTITY", "LaserDevice", "LaserDriver"]

IDENTITY = "Thorlabs,ITC4001,M00000000,1.9.0"
_VOLTS_AT_0_A, _OHM, _CELSIUS = 0.9, 2.1, 25.0
_MODE = "SOURce[1]:FUNCtion:MODE"
_CURRENT = "SOURce[1]:CURRent[:LEVel][:IMMediate][:AMPLitude]"
_LIMIT = "SOURce[1]:CURRent:LIMit[:AMPLitude]"
_OUTPUT = "OUTPut[1][:STATe]"


class LaserDevice:
    """What the driver knows and does. What is wrong goes to the error queue; a wrong question has no answer."""

    def __init__(self, tie: Tie, *, identity: str, limit_a: float) -> None:
        self._tie, self._identity, self._limit_a = tie, identity, limit_a
        kept = tie.load()
        self.current_a: float = kept.get("current_a", 0.0)
        self.is_on: bool = kept.get("is_on", False)
        self.mode = "CURR"
        self.history_a: list[float] = []  # every current it was set to
        self._errors: list[str] = []
        self._questions: dict[re.Pattern[str], Callable[[], str]] = {
            _pattern("*IDN"): lambda: self._identity,
            _pattern("*OPC"): lambda: "1",
            _pattern("SYSTem:ERRor[:NEXT]"): lambda: self._errors.pop(0) if self._errors else '0,"No error"',
            _pattern(_MODE): lambda: self.mode,
            _pattern(_CURRENT): lambda: f"{self.current_a:.6e}",
            _pattern(_LIMIT): lambda: f"{self._limit_a:.6e}",
            _pattern(_OUTPUT): lambda: str(int(self.is_on)),
            _pattern("SENSe3:CURRent:DATA"): lambda: f"{self.light_a:.6e}",
            _pattern("SENSe4:VOLTage:DATA"): lambda: (
                f"{(_VOLTS_AT_0_A + _OHM * self.light_a) * self.is_on:.6e}"
            ),
            _pattern("SENSe2:TEMPerature:DATA"): lambda: f"{_CELSIUS + self.light_a:.6e}",
        }
        self._commands: dict[re.Pattern[str], Callable[[str], None]] = {
            _pattern("*RST"): self._reset,
            _pattern("*CLS"): lambda _: self._errors.clear(),
            _pattern(_CURRENT): self._set_current,
            _pattern(_LIMIT): self._set_limit,
            _pattern(_MODE): self._set_mode,
            _pattern(_OUTPUT): self._set_output,
        }
        self._changed()

    @property
    def light_a(self) -> float:
        """The current that flows."""
        return self.current_a if self.is_on else 0.0

    def handle(self, line: str) -> list[str]:
        """Obey a line and return the answer."""
        header, _, argument = line.strip().partition(" ")
        if not header:
            return []
        asked = header.endswith("?")
        table: dict[re.Pattern[str], Any] = self._questions if asked else self._commands
        for pattern, act in table.items():
            if pattern.fullmatch(header.removesuffix("?")):
                if asked:
                    return [act()]
                act(argument.strip())
                self._changed()
                return []
        self._errors.append('-113,"Undefined header"')
        return []

    def _set_current(self, text: str) -> None:
        amps = self._number(text)
        if amps is None:
            return
        if not 0 <= amps <= self._limit_a:
            self._errors.append('-222,"Data out of range"')
            return
        self.current_a = amps
        self.history_a.append(amps)

    def _set_limit(self, text: str) -> None:
        amps = self._number(text)
        if amps is not None and 0 < amps <= 1:
            self._limit_a = amps
            self.current_a = min(self.current_a, amps)

    def _set_mode(self, text: str) -> None:
        if text.upper()[:4] not in ("CURR", "POW"):
            self._errors.append('-224,"Illegal parameter value"')
        elif self.is_on:
            self._errors.append('-221,"Settings conflict"')
        else:
            self.mode = text.upper()[:4]

    def _set_output(self, text: str) -> None:
        if text.upper() not in ("ON", "OFF", "1", "0"):
            self._errors.append('-224,"Illegal parameter value"')
            return
        self.is_on = text.upper() in ("ON", "1")

    def _reset(self, _: str) -> None:
        self.current_a, self.is_on, self.mode = 0.0, False, "CURR"

    def _number(self, text: str) -> float | None:
        try:
            return float(text)
        except ValueError:
            self._errors.append('-104,"Data type error"')
            return None

    def _changed(self) -> None:
        self._tie.save({"current_a": self.current_a, "is_on": self.is_on})
        self._tie.put_out(self.light_a)


class LaserDriver:
    """An emulated laser driver, served until `close`.

    Parameters
    ----------
    name : str, optional
        Its state is kept under this name (or path), and the emulated board can follow it: ``laser=NAME``.

    Attributes
    ----------
    resource : str
        Its VISA resource.
    """

    LIMIT_A = 0.5

    def __init__(
        self,
        name: str | None = None,
        *,
        hostility: Hostility | None = None,
        identity: str = IDENTITY,
        limit_a: float = LIMIT_A,
    ) -> None:
        self._tie = Tie(name)
        self.device = LaserDevice(self._tie, identity=identity, limit_a=limit_a)
        self._end = TcpEnd()
        self._server = LineServer(self.device, self._end, hostility=hostility or Hostility())
        self.resource = f"TCPIP0::127.0.0.1::{self._end.port}::SOCKET"
        self.unplug, self.plug, self.say = self._server.unplug, self._server.plug, self._server.say

    def close(self) -> None:
        """Take it away. A second call does nothing."""
        self._server.close()
        self._tie.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _pattern(header: str) -> re.Pattern[str]:
    """Return what matches a header as manuals write it: small letters and what is in brackets may be left out."""
    parts: Sequence[str] = re.split(r"([\[\]])", header)
    text = ""
    for part in parts:
        if part == "[":
            text += "(?:"
        elif part == "]":
            text += ")?"
        else:
            text += re.sub(r"[a-z]+", lambda small: f"(?:{small[0]})?", re.sub(r"([*])", r"\\\1", part))
    return re.compile(text, re.IGNORECASE | re.ASCII)
