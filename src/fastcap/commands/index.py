"""``fastcap index``: leave beside files what opens windows far in, and draws them, at once."""

from __future__ import annotations

import json
from typing import Any

import click
import msgspec

from fastcap.cli import COMPLETE, FAILED
from fastcap.commands.files import _bar
from fastcap.commands.root import debug_option, json_option, payload_option
from fastcap.errors import FastcapError
from fastcap.units import format_duration, format_rate


@click.command(epilog="Example:  fastcap index /mnt/nas/run/*.bin")
@click.argument("files", metavar="FILE...", nargs=-1, required=True)
@payload_option
@json_option
@debug_option
def index(files: tuple[str, ...], payload: str, as_json: bool) -> int:
    """Make the index of each FILE, or what is missing of it.

    The index, NAME.index beside NAME.bin, says of every block of words how often the phase has rolled over
    before it, and its least, greatest and mean. A capture leaves one; for other files this reads each once.
    Where the file's folder cannot be written to, the index goes to the user's cache folder.
    """
    from fastcap.index import build_index

    results: list[dict[str, Any]] = []
    for file in files:
        bar = _bar(file)
        try:
            made = build_index(file, payload=payload, progress=bar.update if bar else None)
            results.append(msgspec.to_builtins(made))
        except FastcapError as error:  # the other files get theirs all the same
            results.append({"path": file, "error": str(error)})
        finally:
            if bar is not None:
                bar.close()
        failed = "error" in results[-1]
        click.echo(_told(results[-1]), err=as_json or failed)
    if as_json:
        click.echo(json.dumps({"files": results}))
    return FAILED if any("error" in result for result in results) else COMPLETE


def _told(result: dict[str, Any]) -> str:
    if "error" in result:
        return f"fastcap: {result['error']}"
    file, words, made, took_s = (result[key] for key in ("path", "words", "made_blocks", "took_s"))
    if result["index"] is None:
        return f"{file}: holds no words, so there is nothing to index"
    if not made:
        return f"{file}: {words:,} words, {result['index']} was there"
    rate = format_rate(made * 65_536 * 8 / took_s) if took_s else ""
    read = f"{made:,} of {result['blocks']:,} blocks read in {format_duration(took_s)}"
    return f"{file}: {words:,} words, {read} ({rate}): {result['index']}"
