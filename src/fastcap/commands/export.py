"""``fastcap export``: a file's values for other programs."""

from __future__ import annotations

import json
import sys
from typing import Any

import click

from fastcap.cli import COMPLETE
from fastcap.commands.root import debug_option, json_option, payload_option


@click.command(epilog="Example:  fastcap export run.bin --to run.nc --start 5min --duration 30s --rate 400Hz")
@click.argument("file")
@click.option("--to", metavar="OUT", required=True, help="A new file: .npz, .csv, or .nc (netCDF).")
@click.option("--what", metavar="LIST", help="Of phase,radius,i,q,m; default: phase,radius.")
@click.option("--start", metavar="T", help="Where the window begins, such as 5min; default: FILE's start.")
@click.option("--duration", metavar="T", help="How long it is; default: to FILE's end.")
@click.option("--rate", metavar="RATE", help="Decimate the phase to this rate, such as 400Hz.")
@payload_option
@json_option
@debug_option
def export(file: str, to: str, what: str | None, payload: str, as_json: bool, **window: str | None) -> int:
    """Write FILE's values with their times and units; a file that exists is never overwritten."""
    from fastcap.export import export as write
    from fastcap.trace import load

    bar = _Bar(to)
    names = None if what is None else [name.strip() for name in what.split(",")]
    rate = window.pop("rate")
    trace = load(file, payload=payload)
    if any(given is not None for given in window.values()):
        trace = trace.window(window["start"] or 0, window["duration"])
    try:
        made = write(trace, to, what=names, rate=rate, progress=bar.update)
    finally:
        bar.close()
    if trace.words_lost:
        click.echo(
            f"note: {trace.words_lost:,} words of this window were lost and are not in {made}", err=True
        )
    if as_json:
        size, lost = made.stat().st_size, trace.words_lost
        click.echo(json.dumps({"file": file, "path": str(made), "bytes": size, "words_lost": lost}))
    else:
        click.echo(str(made))
    return COMPLETE


class _Bar:
    """A progress bar where somebody watches."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._bar: Any = None

    def update(self, done: int, total: int) -> None:
        if self._bar is None and sys.stderr.isatty():
            from tqdm import tqdm

            self._bar = tqdm(
                total=total, unit="values", unit_scale=True, desc=self._name, leave=False, file=sys.stderr
            )
        if self._bar is not None:
            self._bar.update(done - self._bar.n)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
