"""Any instrument that speaks SCPI, as the target of an axis."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

from fastcap._messages import shown
from fastcap.devices.dialogue import Dialogue
from fastcap.devices.setting import within
from fastcap.devices.transport import ExchangeLog, LogTarget
from fastcap.devices.visa import VisaLines, started
from fastcap.errors import ConfigError, DeviceError

__all__ = ["SCPI"]


class SCPI:
    """One quantity of an instrument that speaks SCPI, as the target of an axis. Connects at first use.

    Parameters
    ----------
    resource : str
        VISA resource, or ``sim://laser``.
    set : str
        Command with a place for the value: ``"SOUR1:VOLT {:.4f}"``.
    get : str, optional
        Question whose answer is the value: ``"SOUR1:VOLT?"``. Without it nothing is read back.
    limits : (float, float), optional
        What may be set.
    tolerance : float, optional
        How far the value read back may be off; without it the value is only recorded.

    Raises
    ------
    ConfigError
        ``set`` has no place for a value, or one that takes no number.
    """

    def __init__(
        self,
        resource: str,
        set: str,
        get: str | None = None,
        *,
        name: str | None = None,
        unit: str = "",
        limits: tuple[float, float] | None = None,
        tolerance: float | None = None,
        timeout_s: float = 2.0,
        log: LogTarget = None,
    ) -> None:
        _check_template(set)
        self.resource, self.name, self.unit = resource, name or set.split()[0], unit
        self.limits, self.tolerance = limits, tolerance
        self._set, self._get = set, get
        self._timeout_s = timeout_s
        self._log = ExchangeLog(log)
        self._dialogue: Dialogue | None = None
        self._emulator: Any = None

    def check(self, value: object) -> float:
        """Return ``value`` as a float if it could be set; nothing is sent.

        Raises
        ------
        ValueError
            It is no finite number, or beyond the limits.
        """
        return within(value, self.name, self.unit, self.limits)

    def set(self, value: float) -> float | None:
        """Set the quantity; return what the instrument then says it is, None without ``get``.

        Raises
        ------
        ValueError
            The value cannot be set. Nothing was sent.
        DeviceError
            No answer, or one that is beyond the tolerance.
        """
        number = self.check(value)
        self._connected().tell(self._set.format(number))
        if self._get is None:
            return None
        got = self.get()
        if self.tolerance is not None and abs(got - number) > self.tolerance:
            raise DeviceError(
                f"{self.name} at {shown(self.resource)} was set to {number:g} {self.unit} and reads {got:g} "
                f"(tolerance {self.tolerance:g}); check the instrument"
            )
        return got

    def get(self) -> float:
        """Ask the instrument.

        Raises
        ------
        DeviceError
            There is no ``get``, or no answer that is a number.
        """
        if self._get is None:
            raise DeviceError(f"{self.name} cannot be read; give SCPI(…, get='…?')")
        return self._connected().number(self._get, float("inf"))

    def close(self) -> None:
        """Disconnect; the next use connects again. The instrument stays as it is. In a forked child nothing happens."""
        if self._dialogue is not None and self._dialogue.foreign:
            return
        if self._dialogue is not None:
            self._dialogue.close()
            self._dialogue = None
        if self._emulator is not None:
            self._emulator.close()
            self._emulator = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _connected(self) -> Dialogue:
        if self._dialogue is None:
            resource, self._emulator = started(self.resource)
            lines = VisaLines(resource, send_timeout_s=self._timeout_s, log=self._log)
            self._dialogue = Dialogue(
                lines,
                self._log,
                what="instrument",
                expected_identity="",
                timeout_s=self._timeout_s,
                latest_s=2 * self._timeout_s,
                quiet_s=0.1,
            )
        return self._dialogue


def _check_template(template: str) -> None:
    try:
        good = template.format(1.5) != template.format(2.5)
    except (ValueError, IndexError, KeyError, AttributeError) as error:
        raise ConfigError(f"SCPI command {shown(template)}: {error}; write 'SOUR1:VOLT {{:.4f}}'") from error
    if not good:
        raise ConfigError(
            f"SCPI command {shown(template)} has no place for a value; write 'SOUR1:VOLT {{:.4f}}'"
        )
