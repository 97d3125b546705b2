"""What a plan names: devices by kind, quantities of devices, functions of modules."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from importlib import import_module
from typing import Any

import msgspec

from fastcap import _checks as check
from fastcap._messages import did_you_mean, shown
from fastcap.errors import ConfigError

__all__ = ["DEVICES", "DeviceKind", "function_of", "reading_of", "target_of"]

_FORMS = (
    "give 'NAME.0.volt' (attenuator), 'NAME.current' (laser), 'NAME' (scpi, command) or 'module:function'"
)
_QUANTITIES = ("volt", "offset", "factor", "attenuation_db")


class DeviceKind(msgspec.Struct, frozen=True):
    """A kind of device: the keys of its section with a check of each, which of them it needs, and how it is opened."""

    keys: dict[str, check.Check]
    needed: tuple[str, ...]
    open: Callable[[dict[str, Any]], AbstractContextManager[Any]]


def _voa(given: dict[str, Any]) -> AbstractContextManager[Any]:
    from fastcap.devices.voa import VOA

    for key in ("at_exit", "calibration"):
        if isinstance(given.get(key), dict):
            given[key] = {_channel(channel): value for channel, value in given[key].items()}
    return VOA(given.pop("port"), **given)


def _laser(given: dict[str, Any]) -> AbstractContextManager[Any]:
    from fastcap.devices.laser import Laser

    return Laser(given.pop("port"), **given)


def _scpi(given: dict[str, Any]) -> AbstractContextManager[Any]:
    from fastcap.devices.scpi import SCPI

    return SCPI(given.pop("port"), **_limited(given))


def _command(given: dict[str, Any]) -> AbstractContextManager[Any]:
    from fastcap.devices.command import Command

    return nullcontext(Command(given.pop("argv"), **_limited(given)))


def _limited(given: dict[str, Any]) -> dict[str, Any]:
    return {**given, "limits": tuple(given["limits"])} if "limits" in given else given


_SECONDS = check.positive(check.number)
_VOA_KEYS = {
    "port": check.text, "at_exit": check.anything, "calibration": check.table(check.text), "identity": check.text,
    "timeout_s": _SECONDS, "log": check.text,
}  # fmt: skip
_LASER_KEYS = {
    "port": check.text, "at_exit": check.anything, "step_a": check.positive(check.number),
    "step_wait_s": check.at_least_0(check.number), "max_a": check.positive(check.number),
    "readings": check.table(check.text), "identity": check.text, "timeout_s": _SECONDS, "log": check.text,
}  # fmt: skip
_SCPI_KEYS = {
    "port": check.text, "set": check.text, "get": check.text, "unit": check.label, "limits": check.numbers(2, 2),
    "tolerance": check.positive(check.number), "timeout_s": _SECONDS, "log": check.text,
}  # fmt: skip
_COMMAND_KEYS = {
    "argv": check.command, "stdin": check.text, "unit": check.label, "limits": check.numbers(2, 2),
    "timeout_s": _SECONDS,
}  # fmt: skip
DEVICES = {
    "voa": DeviceKind(_VOA_KEYS, ("port",), _voa),
    "laser": DeviceKind(_LASER_KEYS, ("port",), _laser),
    "scpi": DeviceKind(_SCPI_KEYS, ("port", "set"), _scpi),
    "command": DeviceKind(_COMMAND_KEYS, ("argv",), _command),
}


def target_of(text: str, devices: Mapping[str, Any]) -> Any:
    """Return what an axis is to set.

    Raises
    ------
    ConfigError
        There is no such device, quantity or function.
    """
    if ":" in text:
        return function_of(text)
    device, rest = _found(text, devices)
    if hasattr(device, "channel"):
        return _voa_setting(text, device, rest)
    if hasattr(device, "current"):
        if rest != ["current"]:
            raise ConfigError(f"{shown(text)}: a laser has 'current' to be set; {_FORMS}")
        return device.current
    if rest:
        raise ConfigError(f"{shown(text)}: this device has one quantity; write {shown(text.split('.')[0])}")
    return device


def reading_of(text: str, devices: Mapping[str, Any]) -> Callable[[], Any]:
    """Return what is asked for a reading; errors as `target_of`."""
    if ":" in text:
        return function_of(text)
    device, rest = _found(text, devices)
    if hasattr(device, "reading"):
        if len(rest) != 1 or rest[0] not in device.readings:
            raise ConfigError(f"{shown(text)}: the laser's readings are {', '.join(device.readings)}")
        return lambda: device.reading(rest[0])
    target = target_of(text, devices)
    if not hasattr(target, "get"):
        raise ConfigError(f"{shown(text)} cannot be read; name another, or 'module:function'")
    return target.get  # type: ignore[no-any-return]


def function_of(text: str) -> Callable[..., Any]:
    """Return the function that ``module:function`` names; errors as `target_of`."""
    module, _, name = text.partition(":")
    try:
        found: Any = import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"{shown(text)} is not found: {error}") from error
    if not callable(found) and not hasattr(found, "set"):
        raise ConfigError(f"{shown(text)} can be neither called nor set; name a function")
    return found  # type: ignore[no-any-return]


def _found(text: str, devices: Mapping[str, Any]) -> tuple[Any, list[str]]:
    name, *rest = text.split(".")
    if name not in devices:
        raise ConfigError(f"there is no device {shown(name)}{did_you_mean(name, devices)} ({_FORMS})")
    return devices[name], rest


def _voa_setting(text: str, device: Any, rest: list[str]) -> Any:
    try:
        if rest[:1] == ["raw"] and rest[2:] == ["dac"]:
            return device.raw(_channel(rest[1])).dac
        if len(rest) == 2 and rest[1] in _QUANTITIES:
            return getattr(device.channel(_channel(rest[0])), rest[1])
    except ValueError as error:
        raise ConfigError(f"{shown(text)}: {error}") from error
    raise ConfigError(f"{shown(text)} is no quantity of an attenuator; write NAME.0.volt or NAME.raw.0.dac")


def _channel(text: str) -> int:
    if not text.isdecimal():
        raise ValueError(f"channel {shown(text)} is no number")
    return int(text)
