"""``fastcap info`` and ``fastcap verify``: what a file holds, and whether it is as it was captured."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import click

from fastcap.cli import COMPLETE, FAILED
from fastcap.commands.root import debug_option, json_option, payload_option


@click.command(epilog="Example:  fastcap info /mnt/nas/run/2026-11-22T10:00:00.123456.bin")
@click.argument("file")
@payload_option
@json_option
@debug_option
def info(file: str, payload: str, as_json: bool) -> int:
    """Tell what FILE holds: header, rate, length, losses, stalls, settings."""
    from fastcap.info import file_info, format_info

    found = file_info(file, payload=payload)
    click.echo(json.dumps(found) if as_json else format_info(found))
    return COMPLETE


@click.command(epilog="Example:  fastcap verify /mnt/nas/run/*.bin")
@click.argument("files", metavar="FILE...", nargs=-1, required=True)
@payload_option
@json_option
@debug_option
def verify(files: tuple[str, ...], payload: str, as_json: bool) -> int:
    """Compare each FILE with its checksum, size and ledger; the first wrong block is named.

    Cached pages are evicted first, so that the disk is read. Exit status 1 if a file is not as captured.
    """
    from fastcap.verify import format_verdict, verify_file

    verdicts = []
    for file in files:
        bar = _bar(file)
        verdict = verify_file(file, progress=bar.update if bar is not None else None, payload=payload)
        if bar is not None:
            bar.close()
        verdicts.append(verdict)
        click.echo(format_verdict(verdict), err=as_json)
    good = all(verdict.ok for verdict in verdicts)
    if as_json:
        click.echo(json.dumps({"ok": good, "files": [verdict.to_dict() for verdict in verdicts]}))
    return COMPLETE if good else FAILED


def _bar(file: str) -> Any:
    """Return a progress bar for reading a file, where somebody watches."""
    if not sys.stderr.isatty() or not os.path.isfile(file):
        return None
    from tqdm import tqdm

    size = os.path.getsize(file)
    return tqdm(
        total=size, unit="B", unit_scale=True, desc=os.path.basename(file), leave=False, file=sys.stderr
    )
