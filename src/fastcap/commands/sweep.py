"""``fastcap sweep``: run a plan, go on with one, tell how one stands, analyse one again."""

from __future__ import annotations

import json
import os
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fastcap.cli import COMPLETE, FAILED, LOSSES
from fastcap.commands.root import debug_option, json_option

if TYPE_CHECKING:
    from fastcap.sweeping.results import Results

COPY, WHERE = "plan.toml", "plan.cwd"  # of the plan that was run, and where: in the sweep's folder
_MOST_SHOWN = 5
_EPILOG = """\b
Examples:
  fastcap sweep voa.toml --dry-run
  fastcap sweep voa.toml
  fastcap sweep /mnt/nas/voa --resume
  fastcap sweep /mnt/nas/voa --reanalyse mymodule:analyse

\b
Exit status: 0 all points are done; 1 failed; 2 wrong usage; 3 finished, with points or values missing;
  130 interrupted, what was sampled is finished: --resume goes on."""


@click.command(epilog=_EPILOG)
@click.argument("plan", metavar="PLAN.toml|DIR")
@click.option("--resume", is_flag=True, help="Go on at the first point that is not done.")
@click.option("--extend", is_flag=True, help="Go on, with the points and repeats that PLAN.toml adds.")
@click.option(
    "--reanalyse", metavar="MODULE:FUNCTION", help="Analyse what is recorded again; no device is used."
)
@click.option("--dry-run", is_flag=True, help="Tell points, order, duration and room; check limits; stop.")
@json_option
@debug_option
def sweep(plan: str, resume: bool, extend: bool, reanalyse: str | None, dry_run: bool, as_json: bool) -> int:
    """Step devices, record at every point, analyse; as PLAN.toml says.

    DIR is a sweep's folder: with --resume its own plan goes on, without an option it is told how it stands.
    """
    if reanalyse is not None and (resume or extend or dry_run):
        raise click.UsageError("--reanalyse stands alone; leave the other options out")
    if reanalyse is None and (not os.path.isdir(plan) or resume or extend or dry_run):
        return _run(plan, resume, extend, dry_run, as_json)
    from fastcap.sweeping.results import load_sweep

    folder = plan if os.path.isdir(plan) else _folder_of(plan)
    results = load_sweep(folder)
    if reanalyse is not None:
        sys.path.insert(0, os.getcwd())
        results = results.reanalyse(reanalyse)
    return _tell(results, as_json)


def _folder_of(path: str) -> str:
    from fastcap.sweeping.planfile import load_plan_file

    return load_plan_file(path).folder


def _run(path: str, resume: bool, extend: bool, dry_run: bool, as_json: bool) -> int:
    from fastcap.sweeping.planfile import load_plan_file
    from fastcap.sweeping.run import sweep as run_sweep

    if os.path.isdir(path):
        path = _plan_in(path)
    sys.path.insert(0, os.getcwd())
    plan = load_plan_file(path)
    with ExitStack() as stack:
        devices = plan.devices(stack)
        axes, options = plan.axes(devices), plan.options(devices)
        board = stack.enter_context(plan.board())
        found = run_sweep(board, *axes, **options, dry_run=True, resume=resume or dry_run, extend=extend)
        if dry_run:
            click.echo(found, err=as_json)
            if as_json:
                click.echo(json.dumps(found.to_dict()))
            return FAILED if found.problems else COMPLETE
        for problem in found.problems:
            click.echo(f"warning: {problem}", err=True)
        _keep(plan.path, Path(plan.folder), resume=resume, extend=extend)
        results = run_sweep(board, *axes, **options, resume=resume, extend=extend)
    return _tell(results, as_json)


def _plan_in(folder: str) -> str:
    """Return the plan that a folder's sweep was run with, and go to where it was run."""
    from fastcap.sweeping.plan import load_plan

    load_plan(folder)
    copy, where = Path(folder, COPY).absolute(), Path(folder, WHERE)
    if not copy.exists():
        raise click.UsageError(f"{folder} has no {COPY}: run the script that made it again, with resume=True")
    if where.exists():
        os.chdir(os.fsdecode(where.read_bytes()).removesuffix("\n"))
    return str(copy)


def _keep(path: str, folder: Path, *, resume: bool, extend: bool) -> None:
    """Keep the plan in the sweep's folder, unless a sweep is there that it must not touch."""
    copy = folder / COPY
    if copy.exists() and (copy.samefile(path) or not extend):
        return
    if not (folder / "plan.json").exists() or extend:
        from fastcap.whole_file import save_whole

        folder.mkdir(parents=True, exist_ok=True)
        save_whole(folder / WHERE, os.fsencode(os.getcwd()) + b"\n")
        save_whole(copy, Path(path).read_bytes())  # last: where it is, nothing is kept again


def _tell(results: Results, as_json: bool) -> int:
    status = LOSSES if results.failed else COMPLETE
    lines = [repr(results)[1:-1]]
    failed = list(results.failed.items())
    lines += [f"  {list(place)}: {why}" for place, why in failed[:_MOST_SHOWN]]
    if len(failed) > _MOST_SHOWN:
        lines.append(f"  … and {len(failed) - _MOST_SHOWN} more")
    for line in lines:
        click.echo(line, err=as_json)
    if as_json:
        click.echo(json.dumps(_summary(results, status)))
    return status


def _summary(results: Results, status: int) -> dict[str, Any]:
    return {
        "folder": str(results.folder), "shape": dict(zip(results.dims, results.plan.shape, strict=True)),
        "recordings": len(results.extra["attempts"].ravel()), "done": results.done, "keys": list(results),
        "failed": [{"at": list(place), "why": why} for place, why in results.failed.items()],
        "results": str(results.folder / "results.npz"), "exit_status": status,
    }  # fmt: skip
