"""``fastcap plot``: a picture of a file, or of a part of it."""

from __future__ import annotations

import json

import click

from fastcap.cli import COMPLETE
from fastcap.commands.root import debug_option, json_option, payload_option


@click.command(epilog="Example:  fastcap plot run.bin -o run.png --start 5min --duration 30s")
@click.argument("file")
@click.option(
    "-o",
    "output",
    metavar="PNG",
    help="Where the picture goes (.png, .pdf, .svg); one that is there is replaced. "
    "Default: a window, or NAME.png beside FILE where there is no display.",
)
@click.option(
    "--start", metavar="T", help="Where the part to draw begins, such as 5min; default: FILE's start."
)
@click.option("--duration", metavar="T", help="How long it is; default: to FILE's end.")
@payload_option
@json_option
@debug_option
def plot(file: str, output: str | None, payload: str, as_json: bool, **how: str | None) -> int:
    """Draw FILE: phase, radius with its histogram, spectrum; gaps and stalls marked."""
    from fastcap.plot import plot_file

    drawn = plot_file(file, output, payload=payload, **how)
    picture = None if drawn is None else str(drawn)
    if as_json:
        click.echo(json.dumps({"file": file, "picture": picture}))
    elif picture is not None:
        click.echo(picture)
    return COMPLETE
