"""``fastcap capture``: record from a board, a command, a file or standard input.

Flow: arguments and configuration -> `Request` -> one session, on which the recordings follow one another, the
next starting while the last still drains -> reports, pictures, exit status.
"""

from __future__ import annotations

import json
from typing import Any

import click

from fastcap.commands._arguments import CaptureCommand
from fastcap.commands._interrupts import answered
from fastcap.commands.root import debug_option, json_option

_EXAMPLES = """\b
Examples:
  fastcap capture --config VHF_board_params.ini --to /mnt/nas/run --seconds 30s --plot
  fastcap capture --to /mnt/nas/run -- teststream -U /dev/usbhybrid0 -q 33554432 -s 4 -l -b -v 3
  fastcap capture --config VHF_board_params.ini --split num_runs
  fastcap capture 'sim://?rate=2MHz&pattern=counter' --to . --seconds 5

\b
Exit status: 0 complete, nothing lost; 1 failed; 2 wrong usage; 3 finished, but with losses, or the
  source ended early or badly; 130 interrupted, what was captured is safe."""


@click.command(cls=CaptureCommand, epilog=_EXAMPLES)
@click.argument("source", required=False)
@click.option("--config", metavar="FILE", help="The board: the lab's INI, or TOML.")
@click.option("--set", "overrides", metavar="KEY=VALUE", multiple=True, help="Override a key of --config.")
@click.option("--to", metavar="DEST|none", help="A directory, a .bin path, or none; default: save_dir.")
@click.option("--seconds", metavar="T", help="Cut at the exact word, then stop the source (30s, 5min).")
@click.option("--samples", metavar="N", help="Length in words instead.")
@click.option("--repeat", metavar="[N]", help="Record N times; without N: num_runs of the configuration.")
@click.option(
    "--split",
    metavar="T|num_runs",
    help="Start a new file every T; num_runs: as many files of num_samples words as it says, without a gap.",
)
@click.option("--ring", metavar="SIZE", help="Memory that bears the destination's stalls (1GiB).")
@click.option("--on-full", type=click.Choice(["drop", "wait"]), help="What to do when the ring is full.")
@click.option(
    "--source-timeout", metavar="T", help="End a source that is silent for so long (default 7s; 0: never)."
)
@click.option("--analyse", metavar="MODULE:FUNCTION", help="Call FUNCTION with the trace; report its result.")
@click.option("--plot", metavar="[PNG]", help="Draw it; default: NAME.png beside the file.")
@click.option("--meta", metavar="K=V", multiple=True, help="Note this in name, sidecar and report.")
@click.option("--name", help="The file's name instead of the time.")
@click.option("--checksum", type=click.Choice(["sha256", "none"]), help="Default: sha256.")
@click.option("--fsync-every", metavar="SIZE", help="Distance between fsyncs; default: a second's worth.")
@click.option(
    "--realtime", is_flag=True, default=None, help="Real-time priority, locked memory for the reader."
)
@click.option(
    "--payload",
    type=click.Choice(["auto", "8n", "8n+8", "none"]),
    help="Where data begin: whether the header's n counts its magic word (8n), or that there is no header; "
    "default auto: told from the first bytes.",
)
@click.option("--check-first", is_flag=True, help="Look at the destination before the source starts.")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and stop.")
@json_option
@debug_option
@click.pass_context
def capture(ctx: click.Context, /, as_json: bool, dry_run: bool, **given: Any) -> int:
    """Record from SOURCE, from the board of --config, or from COMMAND, to a file.

    SOURCE is '-' for standard input or a quoted URL: 'sim://?rate=2MHz', 'file:///path?rate=2MHz'.
    """
    from fastcap.commands._request import Request

    request = Request(given, ctx.meta.get("fastcap.command"))
    return _dry_run(request, as_json) if dry_run else _capture(request, as_json)


def _dry_run(request: Any, as_json: bool) -> int:
    """Say what would be done, what stands in its way, and how much room there is; end as the capture would."""
    from fastcap.cli import COMPLETE, FAILED, USAGE
    from fastcap.commands._plan import plan_lines, plan_of
    from fastcap.commands._problems import analysis_problem, destination_problems, source_problems
    from fastcap.units import format_size

    board = request.board()
    message = request.message(board, 0)
    plan = plan_of(message, request.runs)
    free, problems = destination_problems(message, plan)
    problems += source_problems(board.source)
    wrong_use = analysis_problem(message)
    lines = plan_lines(plan)
    if free is not None:
        lines.append(f"free    {format_size(free)} at the destination")
    for line in lines:
        click.echo(line, err=as_json)
    problems += wrong_use
    for problem in problems:
        click.echo(f"fastcap: {problem}", err=True)
    status = USAGE if wrong_use else FAILED if problems else COMPLETE
    if as_json:
        said = {"dry_run": True, **plan, "free_bytes": free, "problems": problems, "exit_status": status}
        click.echo(json.dumps(said))
    return status


def _capture(request: Any, as_json: bool) -> int:
    from fastcap.commands._following import Follower
    from fastcap.commands._outcome import Outcome
    from fastcap.errors import FastcapError
    from fastcap.progress import Progress

    board = request.board()
    follower = Follower(board, Progress())
    outcome = Outcome(request, follower)
    with follower.session():
        try:
            _record_all(request, board, follower, outcome)
        except FastcapError as error:
            if not outcome.captures:
                raise  # nothing was started
            outcome.error = error
        follower.done(outcome.captures)
    try:
        outcome.draw()
    except KeyboardInterrupt:  # the captures are safe: only pictures are given up
        answered()
    return outcome.tell(as_json)


def _record_all(request: Any, board: Any, follower: Any, outcome: Any) -> None:
    """Record as often as asked; each begins as soon as the source of the one before has ended."""
    from fastcap.commands._plan import lingering_warning, plan_lines, plan_of

    for run in range(request.runs):
        if follower.interrupted:
            return
        message, fds = request.recording(board, run)
        plan = plan_of(message, request.runs)
        if run == 0:
            for line in plan_lines(plan):
                follower.progress.say(line)
        capture = outcome.begin(board, message, fds)
        if run == 0 and (warning := lingering_warning()):
            follower.progress.say(f"warning: {warning}")
        label = f"{run + 1}/{request.runs}" if request.runs > 1 else "recording"
        follower.sampled(capture, label, plan)
        if capture.recording.error is not None:
            return
