"""Emulated devices written as URLs: ``sim://voa?name=x&hostile=1``, ``sim://laser?name=x``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import unquote

import msgspec

from fastcap._messages import did_you_mean, shown
from fastcap.errors import ConfigError
from fastcap.sim.hostility import HOSTILE, Hostility
from fastcap.sim.laser import LaserDriver
from fastcap.sim.voa import IDENTITY, Attenuator

__all__ = ["open_attenuator", "open_laser"]


def open_attenuator(url: str) -> Attenuator:
    """Start the attenuator that a URL describes.

    Raises
    ------
    ConfigError
        A parameter is unknown or makes no sense.
    DeviceError
        Another program has the emulated device of this name.
    """
    known: dict[str, Callable[[str], Any]] = {
        "channel": _channel,
        "crlf": _flag,
        "banner": _flag,
        "backlash": _volts,
    }
    known["identity"] = str
    given = _parameters(url, "voa", known)
    return Attenuator(
        given.get("name"),
        hostility=_hostility(given),
        identity=given.get("identity", IDENTITY),
        line_end=b"\r\n" if given.get("crlf") else b"\n",
        channel=given.get("channel", 0),
        backlash_v=given.get("backlash", 0.0),
        **({} if given.get("banner", True) else {"banner": ()}),
    )


def open_laser(url: str) -> LaserDriver:
    """Start the laser driver that a URL describes; errors as with `open_attenuator`."""
    given = _parameters(url, "laser", {"limit": _amps})
    return LaserDriver(
        given.get("name"), hostility=_hostility(given), limit_a=given.get("limit", LaserDriver.LIMIT_A)
    )


def _hostility(given: Mapping[str, Any]) -> Hostility:
    chosen = HOSTILE if given.get("hostile") else Hostility()
    return msgspec.structs.replace(chosen, seed=given.get("seed", chosen.seed))


def _parameters(url: str, kind: str, own: Mapping[str, Callable[[str], Any]]) -> dict[str, Any]:
    """Return the parameters after ``?``, read."""
    known: dict[str, Callable[[str], Any]] = {"name": str, "hostile": _flag, "seed": int, **own}
    place, _, query = url.removeprefix("sim:").removeprefix("//").partition("?")
    if place.rstrip("/") not in ("", kind):
        raise ConfigError(f"emulated device {shown(url)} is not understood; write sim://{kind}")
    found: dict[str, Any] = {}
    for part in filter(None, query.split("&")):
        key, _, text = part.partition("=")
        key, text = unquote(key), unquote(text)
        if key not in known:
            raise ConfigError(f"{shown(url)} has an unknown parameter {shown(key)}{did_you_mean(key, known)}")
        try:
            found[key] = known[key](text)
        except ValueError as error:
            raise ConfigError(f"{shown(url)}: {key} of {shown(text)} makes no sense: {error}") from error
    return found


def _flag(text: str) -> bool:
    if text not in ("0", "1"):
        raise ValueError("give 0 or 1")
    return text == "1"


def _channel(text: str) -> int:
    if text not in ("0", "1", "2", "3"):
        raise ValueError("give 0 to 3")
    return int(text)


def _volts(text: str) -> float:
    return _within(text, 4.095, "V")


def _amps(text: str) -> float:
    return _within(text, 1.0, "A")


def _within(text: str, most: float, unit: str) -> float:
    value = float(text)
    if not 0 <= value <= most:
        raise ValueError(f"give 0 to {most:g} {unit}")
    return value
