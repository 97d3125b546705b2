"""The emulated attenuator: on a pseudo-terminal, hard to please if asked, tied to the emulated board if named.

    python -m fastcap.sim.voa [sim://voa?name=x&hostile=1]

serves one until Ctrl-C and prints its port.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, Self

from fastcap.sim.hostility import Hostility
from fastcap.sim.line_server import LineServer, PtyEnd
from fastcap.sim.tie import Tie

__all__ = ["IDENTITY", "Attenuator", "AttenuatorDevice"]

IDENTITY = "VOA Driver VOAD-QO01 emulated"
_CHANNELS, _RAW, _MOST_CODE, _CODES_PER_V = 4, 8, 4095, 1000
_HELP = (
    "*IDN?          identify",
    "*RST           reset",
    "VOLT ch v      set channel 0..3, 0..4.095 V; VOLT? ch",
    "OFFSET ch x    offset of channel 0..3; OFFSET? ch",
    "FACTOR ch x    factor of channel 0..3; FACTOR? ch",
    "DAC ch v       set raw channel 0..7; DAC? ch",
    "SAVE           store settings",
)


class AttenuatorDevice:
    """What the device knows and does. Its outputs are those of a 12-bit DAC with steps of 1 mV.

    What is wrong or out of range is ignored, without an answer.
    """

    def __init__(self, tie: Tie, *, identity: str, channel: int, backlash_v: float) -> None:
        self._tie, self._identity = tie, identity
        self._channel, self._backlash_v = channel, backlash_v
        self._codes = [0] * _RAW
        self._trim: dict[str, list[float]] = {"OFFSET": [0.0] * _CHANNELS, "FACTOR": [1.0] * _CHANNELS}
        self._saved: dict[str, Any] = {}
        self._light_v = 0.0
        kept = tie.load()
        if kept:
            self._saved = kept["saved"]
            self._light_v = kept["light_v"]
            self._restore(kept["now"])
        self._changed()

    def power_up(self) -> None:
        """Come up with the stored settings."""
        self._restore(self._saved)
        self._changed()

    def output_v(self, raw_channel: int) -> float:
        """Return what an output has: the truth, for tests."""
        return self._codes[raw_channel] / _CODES_PER_V

    def handle(self, line: str) -> list[str]:
        """Obey a line and return the lines of the answer."""
        words = line.split()
        match [word.upper() for word in words[:1]] + words[1:]:
            case ["*IDN?"]:
                return [self._identity]
            case ["HELP"]:
                return list(_HELP)
            case ["*RST"]:
                self.power_up()
                return ["VOA driver ready"]
            case ["SAVE"]:
                self._saved = self._settings()
                self._changed()
            case [("VOLT?" | "DAC?" | "OFFSET?" | "FACTOR?") as word, channel]:
                return self._answer(word[:-1], channel)
            case [("VOLT" | "DAC" | "OFFSET" | "FACTOR") as word, channel, text]:
                self._set(word, channel, text)
        return []

    def _answer(self, word: str, channel: str) -> list[str]:
        number = _channel(channel, _RAW if word == "DAC" else _CHANNELS)
        if number is None:
            return []
        if word == "DAC":
            return [f"{self.output_v(number):.3f}"]
        if word == "VOLT":
            offset, factor = self._trim["OFFSET"][number], self._trim["FACTOR"][number]
            return [f"{(self.output_v(number) - offset) / factor:.4f}"]
        return [f"{self._trim[word][number]:.6f}"]

    def _set(self, word: str, channel: str, text: str) -> None:
        number = _channel(channel, _RAW if word == "DAC" else _CHANNELS)
        try:
            value = float(text)
        except ValueError:
            return
        if number is None or not abs(value) < 1e6:
            return
        if word in self._trim:
            if word == "FACTOR" and value == 0:
                return
            volts = float(self._answer("VOLT", channel)[0])
            self._trim[word][number] = value
            self._put_volts(number, volts)
        elif 0 <= value <= _MOST_CODE / _CODES_PER_V:
            if word == "VOLT":
                self._put_volts(number, value)
            else:
                self._codes[number] = round(value * _CODES_PER_V)
        self._changed()

    def _put_volts(self, number: int, volts: float) -> None:
        out_v = volts * self._trim["FACTOR"][number] + self._trim["OFFSET"][number]
        self._codes[number] = min(max(round(out_v * _CODES_PER_V), 0), _MOST_CODE)

    def _settings(self) -> dict[str, Any]:
        return {"codes": [*self._codes], **{word: [*values] for word, values in self._trim.items()}}

    def _restore(self, settings: dict[str, Any]) -> None:
        self._codes = [*settings.get("codes", [0] * _RAW)]
        self._trim = {
            "OFFSET": [*settings.get("OFFSET", [0.0] * _CHANNELS)],
            "FACTOR": [*settings.get("FACTOR", [1.0] * _CHANNELS)],
        }

    def _changed(self) -> None:
        """Keep the state, and let the light follow; with backlash, it trails behind on the way back."""
        volts = self.output_v(self._channel)
        self._light_v = min(max(self._light_v, volts - self._backlash_v), volts + self._backlash_v)
        self._tie.save({"now": self._settings(), "saved": self._saved, "light_v": self._light_v})
        self._tie.put_out(self._light_v)


class Attenuator:
    """An emulated attenuator, served until `close`.

    Parameters
    ----------
    name : str, optional
        Its state is kept under this name (or path), and the emulated board can follow it: ``voa=NAME``.
    channel : int
        The channel in the board's light.
    backlash_v : float
        Hysteresis: how far the light trails behind the volts.
    identity, line_end, banner
        What it says it is, what its answers end with, what it prints when it has been plugged in.

    Attributes
    ----------
    path : str
        Its serial port.
    """

    def __init__(
        self,
        name: str | None = None,
        *,
        hostility: Hostility | None = None,
        identity: str = IDENTITY,
        line_end: bytes = b"\n",
        banner: Sequence[str] = ("", "VOA driver, type HELP", "4 channels"),
        channel: int = 0,
        backlash_v: float = 0.0,
    ) -> None:
        self._tie = Tie(name)
        self.device = AttenuatorDevice(self._tie, identity=identity, channel=channel, backlash_v=backlash_v)
        end = PtyEnd("usb-fastcap_VOA_Driver_emulated-if00")
        self.path = end.path
        self._server = LineServer(
            self.device, end, hostility=hostility or Hostility(), line_end=line_end, greeting=[*banner]
        )
        self.unplug, self.say = self._server.unplug, self._server.say

    def plug(self) -> None:
        """Plug it in again, at the same port: it comes up with the settings that it stored."""
        self.device.power_up()
        self._server.plug()

    def close(self) -> None:
        """Take it away. A second call does nothing."""
        self._server.close()
        self._tie.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _channel(text: str, count: int) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and int(text) < count else None


def main(argv: Sequence[str] | None = None) -> int:
    """Serve the attenuator that a URL describes until Ctrl-C; print its port."""
    import signal

    from fastcap.sim.urls import open_attenuator

    ends = {signal.SIGINT, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, ends)  # before the emulator's thread: it inherits this
    arguments = sys.argv[1:] if argv is None else argv
    with open_attenuator(arguments[0] if arguments else "sim://voa") as emulator:
        print(emulator.path, flush=True)
        signal.sigwait(ends)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
