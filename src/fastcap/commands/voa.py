"""``fastcap voa``: read and set an attenuator by hand."""

from __future__ import annotations

import json
from typing import Any

import click

from fastcap.cli import COMPLETE
from fastcap.commands.root import debug_option, json_option

_EPILOG = """\
Example:  fastcap voa /dev/serial/by-id/usb-S_VOA_Driver_VOAD-QO01-if00 set 0 1.5

PORT may be an emulated one, 'sim://voa?name=x', which keeps its volts under its name."""
_ACTIONS = ("idn", "get", "set", "scan")


@click.command(epilog=_EPILOG, options_metavar="[OPTIONS]", context_settings={"ignore_unknown_options": True})
@click.argument("port")
@click.argument("action", metavar="[idn | get CH | set CH VOLTS | scan]", required=False, default="scan")
@click.argument("rest", metavar="", nargs=-1)
@click.option("--log", metavar="FILE", help="Append every line sent and received.")
@json_option
@debug_option
def voa(port: str, action: str, rest: tuple[str, ...], log: str | None, as_json: bool) -> int:
    """Identify, read or set the attenuator at PORT; without a word, show all its channels.

    A value that is set is read back; an attenuator that has another one then is an error.
    """
    channel, volts = _understood(action, rest)
    from fastcap.devices.voa import VOA

    with VOA(port, log=log) as device:
        if volts is not None:
            device.channel(channel).volt.check(volts)
        found = _done(device, action, channel, volts)
    click.echo(json.dumps({"port": port, **found}) if as_json else _for_people(found))
    return COMPLETE


def _understood(action: str, rest: tuple[str, ...]) -> tuple[int, float | None]:
    """Return channel and volts of an action; the channel is 0 where it has none."""
    from fastcap.devices.voa import CHANNELS, MAX_VOLTS

    if action not in _ACTIONS:
        raise click.UsageError(f"action '{action}' is not known; give idn, get CH, set CH VOLTS or scan")
    wanted = {"get": 1, "set": 2}.get(action, 0)
    if len(rest) != wanted:
        form = {"get": "get CH", "set": "set CH VOLTS"}.get(action, action)
        raise click.UsageError(f"{action} has {len(rest)} argument(s), not {wanted}; write '{form}'")
    channel, volts = 0, None
    if wanted:
        if rest[0] not in [str(k) for k in range(CHANNELS)]:
            raise click.UsageError(f"channel '{rest[0]}' does not exist; give 0 to {CHANNELS - 1}")
        channel = int(rest[0])
    if wanted == 2:
        try:
            volts = float(rest[1].removesuffix("V").strip())
        except ValueError:
            raise click.UsageError(f"volts '{rest[1]}' are no number; give one such as 1.5") from None
        if not 0 <= volts <= MAX_VOLTS:
            raise click.UsageError(f"{rest[1]} V is not from 0 to {MAX_VOLTS} V; give a value between them")
    return channel, volts


def _done(device: Any, action: str, channel: int, volts: float | None) -> dict[str, Any]:
    """Do what was asked and return what the device says."""
    if action == "idn":
        return {"identity": device.identity}
    if action == "get":
        return {"channel": channel, "volt": device.channel(channel).volt.get()}
    if volts is not None:
        return {"channel": channel, "volt": device.channel(channel).volt.set(volts)}
    from fastcap.devices.voa import CHANNELS, RAW_CHANNELS

    rows = []
    for number in range(RAW_CHANNELS):
        row: dict[str, Any] = {"channel": number, "dac": device.raw(number).dac.get()}
        if number < CHANNELS:
            of = device.channel(number)
            row |= {"volt": of.volt.get(), "offset": of.offset.get(), "factor": of.factor.get()}
        rows.append(row)
    return {"identity": device.identity, "channels": rows}


def _for_people(found: dict[str, Any]) -> str:
    if "channels" not in found:
        return str(found["identity"]) if "identity" in found else f"{found['volt']:.4f} V"
    lines = [str(found["identity"]), "channel   volt/V    offset    factor     dac/V"]
    for row in found["channels"]:
        own = [f"{row[key]:8.4f}" if key in row else " " * 8 for key in ("volt", "offset", "factor")]
        lines.append(f"{row['channel']:7}  {'  '.join(own)}  {row['dac']:8.3f}")
    return "\n".join(lines)
