"""``fastcap bench``: what a destination does to a capture, and how fast the engine is beside others."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fastcap.cli import COMPLETE, FAILED, INTERRUPTED, LOSSES
from fastcap.commands.root import debug_option, json_option
from fastcap.verdict import judge

if TYPE_CHECKING:
    from fastcap.nasbench.tally import Tally


@click.group(epilog="Example:  fastcap bench nas /mnt/nas/run --seconds 24h --plot night.png")
@debug_option
def bench() -> None:
    """Measure a destination, rehearse a capture to it, compare the engine with others."""


@bench.command(epilog="Example:  fastcap bench nas /mnt/nas/run --rate 16MB/s --seconds 30 --plot nas.png")
@click.argument("directory", metavar="DIR")
@click.option("--rate", default="16MB/s", show_default=True, metavar="RATE",
              help="What is offered, by the clock; 'max': as fast as it goes.")  # fmt: skip
@click.option(
    "--seconds", default="30", show_default=True, metavar="T", help="For how long; 24h for a night."
)
@click.option(
    "--span",
    metavar="SIZE",
    help="Write round within SIZE; default: new blocks, half of what is free at most.",
)
@click.option(
    "--block", default="1MiB", show_default=True, metavar="SIZE", help="Bytes gathered for a write."
)
@click.option(
    "--fsync-every", metavar="SIZE", help="Bytes between fsyncs, as for a capture; default: as it chooses."
)
@click.option("--saturate", metavar="T",
              help="Then write as much as is taken, for T at most; default: as long again, up to 60 s.")  # fmt: skip
@click.option("--writers", type=int, default=1, metavar="N",
              help="N write at once, a file and the offered load each; told is how the worst fared.")  # fmt: skip
@click.option("--resume", metavar="FILE",
              help="Save what was measured to FILE each minute, and go on with a bench that was cut off.")  # fmt: skip
@click.option("--direct", is_flag=True, help="Past the page cache (O_DIRECT): what the disk itself takes.")
@click.option("--plot", metavar="PNG", help="Draw latencies, stalls and backlog (.png, .pdf, .svg).")
@click.option("--html", metavar="FILE", help="Write a page that needs nothing beside itself.")
@click.option("--fio-json", "fio", metavar="FILE", help="Write it as fio does (json+), for fio's tools.")
@json_option
@debug_option
def nas(
    directory: str, rate: str, seconds: str, plot: str | None, html: str | None, fio: str | None, as_json: bool,
    **sizes: Any,
) -> int:  # fmt: skip
    """Pace writes to DIR as a capture would: its rate, latencies, stalls, and the ring it needs.

    One file is written, and removed whatever happens. What is offered goes on by the clock while a write is
    stuck; then as much is written as is taken. Ctrl-C ends early with what was seen. Exit status: 0 the rate fits;
    3 it does not, or that is unknown; 1 calls failed to the end.
    """
    from fastcap.commands._bench_files import check_targets
    from fastcap.nasbench.run import bench_nas
    from fastcap.nasbench.tell import describe

    check_targets(plot, html, fio, sizes["resume"])
    shown = _Shown(seconds)
    try:
        found = bench_nas(directory, rate=rate, seconds=seconds, progress=shown.update, **sizes)
    finally:
        shown.close()
    for line in describe(found):
        click.echo(line, err=as_json)
    drawn = [
        _drawn(*target, quiet=as_json)
        for target in (
            ("picture", found.plot, plot),
            ("page", found.save_html, html),
            ("fio", lambda path: Path(path).write_text(json.dumps(found.to_fio())), fio),
        )
    ]
    if as_json:
        click.echo(json.dumps(found.to_dict()))
    failing = found.rate_bytes_per_s == 0 or any(error.ongoing for error in found.errors)
    if found.interrupted:
        return INTERRUPTED
    if failing or not all(drawn):
        return FAILED
    return COMPLETE if found.verdict in ("yes", None) else LOSSES


def _drawn(what: str, draw: Callable[[str], Any], path: str | None, *, quiet: bool) -> bool:
    """Draw and say so; a disk that is full by now must not take a night's figures with it."""
    if path is None:
        return True
    try:
        draw(path)
    except OSError as error:
        click.echo(f"fastcap: {path} was not written: {error.strerror or error}", err=True)
        return False
    click.echo(f"{what:10} {path}", err=quiet)
    return True


class _Shown:
    """A progress bar in seconds, where somebody watches."""

    def __init__(self, seconds: str) -> None:
        from fastcap.units import parse_duration_s

        self._total_s = float(parse_duration_s(seconds))
        self._bar: Any = None

    def update(self, at_s: float, tally: Tally, backlog: int) -> None:
        if not sys.stderr.isatty():
            return
        if self._bar is None:
            from tqdm import tqdm

            form = "{l_bar}{bar}| {n:.0f}/{total:.0f} s{postfix}"
            self._bar = tqdm(total=self._total_s, bar_format=form, leave=False, file=sys.stderr)
        from fastcap.units import format_size

        self._bar.n = min(at_s, self._total_s)
        stalls = f", {tally.stalls_in_all} stalls" if tally.stalls_in_all else ""
        self._bar.set_postfix_str(f"backlog {format_size(backlog)}{stalls}")

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()


@bench.command(epilog="Example:  fastcap bench compare before.json after.json --plot both.png")
@click.argument("files", metavar="A.json B.json...", nargs=-1, required=True)
@click.option("--plot", metavar="PNG", help="Draw the distributions of all into one picture.")
@json_option
@debug_option
def compare(files: tuple[str, ...], plot: str | None, as_json: bool) -> int:
    """Show benches side by side: files that 'bench nas --json' printed."""
    from fastcap.commands._bench_files import check_targets
    from fastcap.nasbench import compare as side_by_side
    from fastcap.nasbench.model import load_bench

    if len(files) < 2:
        raise click.UsageError(f"one file, {files[0]}, compares with nothing; give two or more")
    check_targets(plot, None)
    benches, names = [load_bench(file) for file in files], side_by_side.labels(files)
    for line in side_by_side.table(benches, names):
        click.echo(line, err=as_json)
    if plot is not None:
        from fastcap.nasbench.picture import draw_comparison

        draw_comparison(benches, names, plot)
        click.echo(f"picture: {plot}", err=as_json)
    if as_json:
        click.echo(json.dumps({"benches": side_by_side.facts(benches, names)}))
    return COMPLETE


@bench.command(epilog="Example:  fastcap bench history /mnt/nas --plot hours.png")
@click.argument("directory", metavar="DIR")
@click.option("--plot", metavar="PNG", help="Draw the stalls by hour of day.")
@json_option
@debug_option
def history(directory: str, plot: str | None, as_json: bool) -> int:
    """Tell of all captures and benches to DIR, or below it: stalls by hour of day, the ring they needed."""
    import msgspec

    from fastcap.commands._bench_files import check_targets
    from fastcap.nasbench.bygone import bygone, describe

    check_targets(plot, None)
    found = bygone(directory)
    for line in describe(found):
        click.echo(line, err=as_json)
    if plot is not None:
        from fastcap.nasbench.picture import draw_hours

        draw_hours(found, plot)
        click.echo(f"picture: {plot}", err=as_json)
    if as_json:
        click.echo(json.dumps(msgspec.to_builtins(found)))
    return COMPLETE


@bench.command(epilog="Example:  fastcap bench rehearse /mnt/nas/run --rate 2MHz --seconds 60 --stall 5s@10s")
@click.argument("directory", metavar="DIR")
@click.option(
    "--rate", default="16MB/s", show_default=True, metavar="RATE", help="The board's: 16MB/s, 2MHz."
)
@click.option("--seconds", default="30", show_default=True, metavar="T", help="How long to record.")
@click.option(
    "--stall", "stalls", multiple=True, metavar="T@T0", help="Let the writer stall for T, after T0."
)
@click.option("--ring", metavar="SIZE", help="The ring's size; default: as a capture chooses.")
@click.option("--keep", is_flag=True, help="Leave the file and what stands beside it.")
@json_option
@debug_option
def rehearse(directory: str, keep: bool, as_json: bool, **wanted: Any) -> int:
    """Record from an emulated board to DIR with the whole engine; its own ledger is the verdict.

    Exit status 3: words were lost. What was written is removed.
    """
    from fastcap.commands._bench_rehearse import Rehearsal, lines

    rehearsal = Rehearsal(directory, **wanted)
    rehearsal.check_room()
    still_there = None
    try:
        report = rehearsal.run()
    finally:
        if not keep:
            still_there = rehearsal.remove()
    if report is None:
        if still_there is not None:
            click.echo(f"fastcap: {rehearsal.path}.* is still there: {still_there}", err=True)
        if as_json:
            click.echo(
                json.dumps({"path": None, "complete": False, "interrupted": True, "exit_status": INTERRUPTED})
            )
        return INTERRUPTED
    for line in lines(report, kept=keep, still_there=still_there):
        click.echo(line, err=as_json)
    for reason in judge(report).reasons:
        click.echo(f"fastcap: {reason}", err=True)
    if as_json:
        click.echo(json.dumps({**report, "kept": keep or still_there is not None}))
    return judge(report).exit_status


@bench.command(epilog="Example:  fastcap bench engine --size 2GiB --rounds 5")
@click.option("--size", default="2GiB", show_default=True, metavar="SIZE", help="Bytes of one pass.")
@click.option("--rounds", default=5, show_default=True, metavar="N", type=click.IntRange(1, 1000),
              help="How often each has its turn.")  # fmt: skip
@json_option
@debug_option
def engine(size: str, rounds: int, as_json: bool) -> int:
    """Compare fastcap with tee, mbuffer and pv, and with a file on tmpfs; same work, in turn.

    Takes about a minute. What is not installed is left out and named.
    """
    import msgspec

    from fastcap.errors import ConfigError
    from fastcap.nasbench.engine import bench_engine, describe
    from fastcap.units import parse_size

    size_bytes = parse_size(size)
    if size_bytes < 1 << 20:
        raise ConfigError(f"--size {size} is too little to time; give one such as 2GiB")
    told = (lambda text: click.echo(f"\r{text:60}", nl=False, err=True)) if sys.stderr.isatty() else None
    found = bench_engine(size_bytes, rounds, progress=told)
    if told is not None:
        told("\r")
    for line in describe(found):
        click.echo(line, err=as_json)
    if as_json:
        click.echo(json.dumps(msgspec.to_builtins(found)))
    return COMPLETE
