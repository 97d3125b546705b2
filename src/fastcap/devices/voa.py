"""The attenuator: its grammar, its limits, its calibration.

>>> import fastcap as fc
>>> with fc.VOA("sim://voa") as voa:
...     volt = voa.channel(0).volt
...     volt.set(1.5)
1.5
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Literal

from fastcap._messages import shown
from fastcap.devices.calibration import Calibration
from fastcap.devices.channels import Channel, RawChannel
from fastcap.devices.dialogue import Dialogue
from fastcap.devices.leaving import LeftAsChosen
from fastcap.devices.setting import Setting, as_number
from fastcap.devices.transport import ExchangeLog, LogTarget, SerialLines
from fastcap.errors import DeviceError

__all__ = ["CHANNELS", "MAX_VOLTS", "RAW_CHANNELS", "VOA"]

CHANNELS, RAW_CHANNELS = 4, 8
MAX_VOLTS = 4.095
TOLERANCE_V = 0.0010001  # one step of the 12-bit DAC: a device may round either way
_TOLERANCE = 0.001  # of offset and factor, whose digits the device chooses
_ATTEMPTS = 8

AtExit = Literal["hold", "zero"] | Mapping[int, float] | float


class VOA(LeftAsChosen):
    """An attenuator with four channels. Setting is writing, reading back, comparing, and trying again.

    It connects when it is made, and again by itself when it is used after it was unplugged. It is for one
    thread at a time.

    Parameters
    ----------
    port : str
        Serial port, best one of ``/dev/serial/by-id/``; or ``sim://voa``, an emulated one.
    at_exit : {"hold", "zero"}, float, or mapping of channel to float
        How the context manager leaves it, also after an error or Ctrl-C: as it is; all channels at 0 V; all
        at so many volts; those named at theirs.
    calibration : mapping of channel to path or Calibration
        Tables of attenuation, for `Channel.attenuation_db`.
    identity : str
        What the identity line must contain.
    timeout_s, latest_s : float
        How long an answer may take before it is asked for again; the silence after which none comes any more
        (default: twice that).
    tolerance_v : float
        How far a read-back may be from what was set.
    log : path or text file, optional
        Where every line sent and received is written.

    Raises
    ------
    DeviceError
        The port cannot be opened, nothing answers, or another device does.
    ValueError
        ``at_exit`` or ``calibration`` name a channel or volts that do not exist.
    ConfigError
        A calibration table or ``sim://`` URL makes no sense.
    """

    def __init__(
        self,
        port: str | os.PathLike[str],
        *,
        at_exit: AtExit = "hold",
        calibration: Mapping[int, str | os.PathLike[str] | Calibration] | None = None,
        identity: str = "VOA",
        timeout_s: float = 1.0,
        latest_s: float | None = None,
        quiet_s: float = 0.1,
        tolerance_v: float = TOLERANCE_V,
        attempts: int = _ATTEMPTS,
        log: LogTarget = None,
    ) -> None:
        self.port = os.fspath(port)
        self._tolerance_v, self._attempts = tolerance_v, attempts
        tables = {
            _checked(channel, CHANNELS, "calibration for"): table
            if isinstance(table, Calibration)
            else Calibration.from_csv(table)
            for channel, table in (calibration or {}).items()
        }
        self._channels = tuple(self._channel(k, tables.get(k)) for k in range(CHANNELS))
        self._raw = tuple(
            RawChannel(k, self._setting("DAC", k, "V", (0.0, MAX_VOLTS), tolerance_v))
            for k in range(RAW_CHANNELS)
        )
        self._leave_at = self._planned_exit(at_exit)
        self._owner = os.getpid()
        self._log = ExchangeLog(log)
        self._emulator: Any = None
        path = self.port
        if path.startswith("sim:"):
            from fastcap.sim.urls import open_attenuator

            self._emulator = open_attenuator(path)
            path = self._emulator.path
        lines = SerialLines(path, send_timeout_s=timeout_s, log=self._log)
        self._dialogue = Dialogue(
            lines,
            self._log,
            what="attenuator",
            expected_identity=identity,
            timeout_s=timeout_s,
            latest_s=latest_s or 2 * timeout_s,
            quiet_s=quiet_s,
        )
        try:
            self._dialogue.open()
        except BaseException:
            self.close()
            raise

    @property
    def identity(self) -> str:
        """The identity line."""
        return self._dialogue.identity

    def channel(self, number: int) -> Channel:
        """Return channel 0 to 3."""
        return self._channels[_checked(number, CHANNELS, "channel")]

    def raw(self, number: int) -> RawChannel:
        """Return raw channel 0 to 7."""
        return self._raw[_checked(number, RAW_CHANNELS, "raw channel")]

    def save(self) -> None:
        """Let the device store its settings. It confirms nothing; that it still answers is checked."""
        self._dialogue.tell("SAVE")
        self._dialogue.barrier()

    def reset(self) -> None:
        """Reset the device, and wait until it answers again; its settings are those that it stored."""
        self._dialogue.tell("*RST")
        self._dialogue.barrier()

    def help(self) -> str:
        """Return the device's own help."""
        return "\n".join(self._dialogue.listen("HELP"))

    def close(self) -> None:
        """Close the port and leave the device as it is. A second call, or one in a forked child, does nothing."""
        if os.getpid() != self._owner:
            return
        if hasattr(self, "_dialogue"):
            self._dialogue.close()
        self._log.close()
        if self._emulator is not None:
            self._emulator.close()

    def _leave(self, error: BaseException | None) -> None:
        """Set every channel that is to be set, the others even if one fails."""
        failed = []
        for channel, volts in self._leave_at.items():
            try:
                self._channels[channel].volt.set(volts)
            except DeviceError as cause:
                failed.append(f"channel {channel} at {volts:g} V ({cause})")
        if failed:
            raise DeviceError(
                f"attenuator {self.port} could not be left with {'; '.join(failed)}; set it by hand"
            ) from error

    def _planned_exit(self, at_exit: AtExit) -> dict[int, float]:
        """Return volts by channel, checked now so that leaving cannot fail on them."""
        if at_exit == "hold":
            return {}
        if isinstance(at_exit, str) and at_exit != "zero":
            raise ValueError(f"at_exit of {shown(at_exit)} is not 'hold', 'zero', volts, or volts by channel")
        if isinstance(at_exit, Mapping):
            return {
                _checked(k, CHANNELS, "at_exit for channel"): self._channels[k].volt.check(v)
                for k, v in at_exit.items()
            }
        volts = 0.0 if at_exit == "zero" else as_number(at_exit, "at_exit")
        return {k: channel.volt.check(volts) for k, channel in enumerate(self._channels)}

    def _channel(self, number: int, table: Calibration | None) -> Channel:
        return Channel(
            number,
            volt=self._setting("VOLT", number, "V", (0.0, MAX_VOLTS), self._tolerance_v),
            offset=self._setting("OFFSET", number, "", None, _TOLERANCE),
            factor=self._setting("FACTOR", number, "", None, _TOLERANCE),
            calibration=table,
        )

    def _setting(
        self, word: str, number: int, unit: str, limits: tuple[float, float] | None, tolerance: float
    ) -> Setting:
        """Make the setting that ``WORD ch x`` sets and ``WORD? ch`` reads."""
        digits = 4 if unit else 6
        return Setting(
            f"channel {number} {word.lower()}",
            unit,
            write=lambda value: self._dialogue.tell(f"{word} {number} {value:.{digits}f}"),
            read=lambda: self._dialogue.number(f"{word}? {number}", tolerance / 2),
            limits=lambda: limits,
            tolerance=tolerance,
            attempts=self._attempts,
        )


def _checked(number: object, count: int, what: str) -> int:
    """Return a channel's number."""
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < count:
        raise ValueError(f"{what} {shown(number)} does not exist; give 0 to {count - 1}")
    return number
