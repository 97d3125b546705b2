"""The laser driver: a Thorlabs ITC4001 in constant-current mode, over VISA.

>>> import fastcap as fc
>>> with fc.Laser("sim://laser", step_a=0.01, at_exit="off") as laser:
...     laser.on()
...     laser.current.set(0.1)
0.1
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import Any, Literal

from fastcap._messages import shown
from fastcap.devices.dialogue import Dialogue
from fastcap.devices.leaving import LeftAsChosen
from fastcap.devices.setting import Setting, as_number
from fastcap.devices.transport import ExchangeLog, LogTarget
from fastcap.devices.visa import BACKEND, VisaLines, started
from fastcap.errors import DeviceError

__all__ = ["READINGS", "Laser"]

READINGS = {
    "current": "SENS3:CURR:DATA?",
    "voltage": "SENS4:VOLT:DATA?",
    "temperature": "SENS2:TEMP:DATA?",
}
_TOLERANCE_A = 1e-4
_ATTEMPTS = 8
_READING_ROUNDS = 4  # a question that the firmware does not know is never answered
_NOT_MEASURED = 9e36  # SCPI's numbers for infinity and for nothing measured lie above

AtExit = Literal["hold", "zero", "off"] | float


class Laser(LeftAsChosen):
    """A laser driver whose current is set in amperes, in small steps.

    It connects when it is made, and again by itself when it is used after it was unplugged. It is for one
    thread at a time.

    Parameters
    ----------
    resource : str
        VISA resource, or ``sim://laser``, an emulated one.
    step_a : float
        The current never moves by more than this at once; each step is read back before the next.
    step_wait_s : float
        Time between two steps.
    max_a : float, optional
        Highest current that may be set, where that is less than the driver's own limit.
    at_exit : {"hold", "zero", "off"} or float
        How the context manager leaves it, also after an error or Ctrl-C: as it is; ramped to 0 A; ramped to
        0 A and switched off; ramped to so many amperes.
    readings : mapping of str to str, optional
        Questions other than `READINGS`, as the firmware's manual names them.
    log : path or text file, optional
        Where every line sent and received is written.

    Raises
    ------
    DeviceError
        The resource cannot be opened, is another device, or is not in constant-current mode.
    ValueError
        A parameter is out of range.
    """

    def __init__(
        self,
        resource: str,
        *,
        step_a: float = 0.001,
        step_wait_s: float = 0.0,
        max_a: float | None = None,
        at_exit: AtExit = "hold",
        readings: Mapping[str, str] | None = None,
        identity: str = "ITC4001",
        timeout_s: float = 2.0,
        tolerance_a: float = _TOLERANCE_A,
        backend: str = BACKEND,
        log: LogTarget = None,
    ) -> None:
        if not as_number(step_a, "step_a") > tolerance_a:
            raise ValueError(f"step_a of {step_a:g} A is not above the tolerance, {tolerance_a:g} A")
        if isinstance(at_exit, str) and at_exit not in ("hold", "zero", "off"):
            raise ValueError(f"at_exit of {shown(at_exit)} is not 'hold', 'zero', 'off' or a current in A")
        self.resource = resource
        self.readings = {**READINGS, **(readings or {})}
        self._step_a, self._step_wait_s, self._tolerance_a = step_a, step_wait_s, tolerance_a
        self._max_a = math.inf if max_a is None else as_number(max_a, "max_a")
        self._limit_a = 0.0
        self._log = ExchangeLog(log)
        place, self._emulator = started(resource)
        lines = VisaLines(place, send_timeout_s=timeout_s, log=self._log, backend=backend)
        self._dialogue = Dialogue(
            lines,
            self._log,
            what="laser",
            expected_identity=identity,
            timeout_s=timeout_s,
            latest_s=2 * timeout_s,
            quiet_s=0.05,
        )
        self._current = _Current(
            "laser current",
            "A",
            write=self._ramp,
            read=self._setpoint_a,
            limits=lambda: (0.0, min(self._limit_a, self._max_a)),
            tolerance=tolerance_a,
            explain=self._last_error,
        )
        try:
            self._dialogue.open()
            self._check_mode()
            self._limit_a = self._dialogue.number("SOUR:CURR:LIM?", tolerance_a)
            self._leave_at = at_exit if isinstance(at_exit, str) else self._current.check(at_exit)
        except BaseException:
            self.close()
            raise

    @property
    def identity(self) -> str:
        """The identity line."""
        return self._dialogue.identity

    @property
    def current(self) -> Setting:
        """The current's setpoint in A, ramped. ``laser.current = 0.1`` also sets."""
        return self._current

    @current.setter
    def current(self, value: float) -> None:
        self._current.set(value)

    @property
    def is_on(self) -> bool:
        """Whether the output is on: the driver is asked."""
        return self._dialogue.number("OUTP?", 0) != 0

    def on(self) -> None:
        """Switch the output on, with the current that is set; confirmed by asking.

        Raises
        ------
        DeviceError
            It stays off: an interlock, say.
        """
        self._check_mode()
        self._switch("ON")

    def off(self) -> None:
        """Switch the output off at once; confirmed by asking."""
        self._switch("OFF")

    def measured_a(self) -> float:
        """Return the current that flows, as measured."""
        return self.reading("current")

    def voltage_v(self) -> float:
        """Return the diode's voltage."""
        return self.reading("voltage")

    def temperature_c(self) -> float:
        """Return the diode's temperature."""
        return self.reading("temperature")

    def reading(self, name: str) -> float:
        """Ask for one of ``readings`` by its name.

        Raises
        ------
        ValueError
            There is none of that name.
        DeviceError
            The driver does not answer with a number: its firmware may name it differently.
        """
        if name not in self.readings:
            raise ValueError(f"reading {shown(name)} is not known; known: {', '.join(self.readings)}")
        question = self.readings[name]
        remedy = f"give Laser(…, readings={{{name!r}: '…?'}}) as the manual of its firmware names it"
        try:
            value = self._dialogue.number(question, math.inf, _READING_ROUNDS)
        except DeviceError as error:
            raise DeviceError(f"{error}; the driver says {self._last_error()}; {remedy}") from error
        if abs(value) > _NOT_MEASURED:
            raise DeviceError(f"laser {self.resource}: {question} measured nothing ({value:g}); {remedy}")
        return value

    def close(self) -> None:
        """Disconnect and leave the driver as it is. A second call, or one in a forked child, does nothing."""
        if self._dialogue.foreign:
            return
        self._dialogue.close()
        self._log.close()
        if self._emulator is not None:
            self._emulator.close()

    def _leave(self, error: BaseException | None) -> None:
        """Ramp to the current chosen; with ``off`` the output is switched off, also if that fails."""
        if self._leave_at == "hold":
            return
        target = 0.0 if isinstance(self._leave_at, str) else self._leave_at
        try:
            try:
                self._current.set(target)
            finally:
                if self._leave_at == "off":
                    self.off()
        except DeviceError as cause:
            raise DeviceError(
                f"laser {self.resource} could not be left at {self._leave_at}: {cause}; see to it by hand"
            ) from (error or cause)

    def _ramp(self, target_a: float) -> None:
        """Move the setpoint to ``target_a``; the last step is left to be read back by the caller."""
        self._check_mode()
        start_a = self._setpoint_a()
        steps = max(1, math.ceil(abs(target_a - start_a) / self._step_a - 1e-9))
        for k in range(1, steps):
            self._step_to(start_a + (target_a - start_a) * k / steps)
            time.sleep(self._step_wait_s)
        self._dialogue.tell(f"SOUR:CURR {target_a:.6f}")

    def _step_to(self, amps: float) -> None:
        """Set one step of a ramp, again if it got lost: the next one must not be two at once."""
        for _ in range(_ATTEMPTS):
            self._dialogue.tell(f"SOUR:CURR {amps:.6f}")
            got_a = self._setpoint_a()
            if abs(got_a - amps) <= self._tolerance_a:
                return
        raise DeviceError(f"laser {self.resource} stays at {got_a:g} A on its way through {amps:g} A")

    def _setpoint_a(self) -> float:
        return self._dialogue.number("SOUR:CURR?", self._tolerance_a / 2)

    def _check_mode(self) -> None:
        mode = self._dialogue.text("SOUR:FUNC:MODE?")
        if mode.upper()[:4] != "CURR":
            raise DeviceError(
                f"laser {self.resource} is in mode {shown(mode)}, not constant current; switch it off and set "
                "SOUR:FUNC:MODE CURR"
            )

    def _switch(self, state: str) -> None:
        for _ in range(_ATTEMPTS):
            self._dialogue.tell(f"OUTP {state}")
            if self.is_on == (state == "ON"):
                return
        raise DeviceError(
            f"laser {self.resource} does not switch {state} (it says {self._last_error()}); "
            "check key, interlock and temperature"
        )

    def _last_error(self) -> str:
        """Return the driver's own word on what went wrong, as far as it still talks."""
        try:
            return "; ".join(self._dialogue.listen("SYST:ERR?")) or "nothing"
        except DeviceError:
            return "nothing"


class _Current(Setting):
    """The setpoint, with the driver's word where it cannot be set."""

    def __init__(self, name: str, unit: str, *, explain: Callable[[], str], **how: Any) -> None:
        super().__init__(name, unit, attempts=_ATTEMPTS, **how)
        self._explain = explain

    def set(self, value: float) -> float:
        """Set as `Setting.set` does; the error tells what the driver says."""
        try:
            return super().set(value)
        except DeviceError as error:
            raise DeviceError(f"{error}; the driver says {self._explain()}") from error
