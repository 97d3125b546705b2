"""The attenuator's channels: what can be set on each.

A property returns its `Setting`; assigning to it sets: ``channel.volt = 1.5``.
"""

from __future__ import annotations

from fastcap.devices.calibration import Calibration
from fastcap.devices.setting import Setting
from fastcap.errors import DeviceError

__all__ = ["Channel", "RawChannel"]


class Channel:
    """One of the four channels.

    Raises
    ------
    ValueError
        The calibration reaches beyond what the channel can be set to.
    """

    def __init__(
        self, number: int, *, volt: Setting, offset: Setting, factor: Setting, calibration: Calibration | None
    ) -> None:
        self.number = number
        self.calibration = calibration
        self._volt, self._offset, self._factor = volt, offset, factor
        for volts in calibration.limits_v if calibration is not None else ():
            volt.check(volts)

    @property
    def volt(self) -> Setting:
        """Volts, 0 to 4.095."""
        return self._volt

    @volt.setter
    def volt(self, value: float) -> None:
        self._volt.set(value)

    @property
    def offset(self) -> Setting:
        """The channel's offset, in the device's own units."""
        return self._offset

    @offset.setter
    def offset(self, value: float) -> None:
        self._offset.set(value)

    @property
    def factor(self) -> Setting:
        """The channel's factor."""
        return self._factor

    @factor.setter
    def factor(self, value: float) -> None:
        self._factor.set(value)

    @property
    def attenuation_db(self) -> Setting:
        """Attenuation by the channel's calibration; it sets and reads volts.

        Raises
        ------
        DeviceError
            The channel has no calibration.
        """
        table = self.calibration
        if table is None:
            raise DeviceError(
                f"channel {self.number} of the attenuator has no calibration; "
                f"give VOA(…, calibration={{{self.number}: 'table.csv'}})"
            )
        low, high = table.limits_v

        def write(db: float) -> None:
            self._volt.set(table.volts(db))

        def read() -> float:
            volts = self._volt.get()
            inside = min(max(volts, low), high)
            return table.db(inside if abs(inside - volts) <= self._volt.tolerance else volts)

        return Setting(
            f"channel {self.number} attenuation",
            "dB",
            write=write,
            read=read,
            limits=lambda: table.limits_db,
            tolerance=table.db_per_v * self._volt.tolerance,
        )

    @attenuation_db.setter
    def attenuation_db(self, value: float) -> None:
        self.attenuation_db.set(value)


class RawChannel:
    """One of the eight outputs of the DAC, without offset and factor."""

    def __init__(self, number: int, dac: Setting) -> None:
        self.number = number
        self._dac = dac

    @property
    def dac(self) -> Setting:
        """Volts of the output, 0 to 4.095."""
        return self._dac

    @dac.setter
    def dac(self, value: float) -> None:
        self._dac.set(value)
