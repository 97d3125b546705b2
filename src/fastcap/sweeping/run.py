"""Step devices, record at every point, collect one result per point: for hours, unattended.

    with fc.open(cfg) as board, fc.VOA(port) as voa:
        volt = fc.Axis(voa.channel(0).volt, fc.updown(0, 4, 41), name="volt", unit="V", settle="2s")
        res = fc.sweep(board, volt, record="15s", repeats=5, analyse=analyse, save="/mnt/nas/voa", resume=True)
    res.plot()

How it works is told in `fastcap.sweeping`.
"""

from __future__ import annotations

import logging
import os
import shlex
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

from fastcap._messages import shown
from fastcap.errors import ConfigError, FastcapError, SweepError
from fastcap.report import VERSION
from fastcap.spec import analysis
from fastcap.sweeping.analyst import Analyst
from fastcap.sweeping.attempts import Attempts, When
from fastcap.sweeping.axis import Axis, linspace, updown
from fastcap.sweeping.finish import Finisher, Verify
from fastcap.sweeping.gapless import Gapless
from fastcap.sweeping.journal import Journal, read_journal
from fastcap.sweeping.loop import Loop, StopWhen
from fastcap.sweeping.names import Names
from fastcap.sweeping.order import Order, check_extension
from fastcap.sweeping.plan import (
    FIFO,
    JOURNAL,
    PLAN,
    RESULTS,
    Analyse,
    Plan,
    differences,
    load_plan,
    plan_of,
)
from fastcap.sweeping.recorder import Recorder
from fastcap.sweeping.results import Results, load_sweep, save_results
from fastcap.sweeping.room import wait_for_earlier
from fastcap.sweeping.schedule import DryRun
from fastcap.sweeping.schedule import dry_run as _dry_run
from fastcap.sweeping.store import Store
from fastcap.sweeping.tell import Teller
from fastcap.whole_file import save_whole

if TYPE_CHECKING:
    from fastcap.board import Board

__all__ = ["Axis", "DryRun", "Results", "linspace", "load_sweep", "sweep", "updown"]
logger = logging.getLogger(__name__)
_SAVE_SHARE = 20  # saving results takes this part of the time at most


@overload
def sweep(board: Board, *axes: Axis, dry_run: Literal[True], **options: Any) -> DryRun: ...
@overload
def sweep(board: Board, *axes: Axis, dry_run: Literal[False] = False, **options: Any) -> Results: ...
def sweep(  # type: ignore[misc]  # the options are spelled out here only
    board: Board,
    *axes: Axis,
    record: str | float | Mapping[str, Any] | None = None,
    repeats: int = 1,
    analyse: Analyse = None,
    save: str | os.PathLike[str] | None = None,
    resume: bool = False,
    extend: bool = False,
    retries: int = 3,
    retry: When = "now",
    readings: Mapping[str, Callable[[], Any]] | None = None,
    meta: Mapping[str, Any] | None = None,
    stop_when: StopWhen | None = None,
    verify: Verify = "size",
    gapless: bool = False,
    fifo: str | float = FIFO,
    name: str | None = None,
    dry_run: bool = False,
    progress: bool = True,
) -> Results | DryRun:
    """Step the axes, record at every point, analyse meanwhile; return the results when all is done.

    A point's file is written, and its analysis run, while the next points are set and recorded, as far as the
    ring allows. A recording that fails, or loses a word, is made again; an analysis that fails never is.

    Parameters
    ----------
    board : Board
        From `fastcap.open`.
    axes : Axis
        One or more; the last varies fastest.
    record : str, number or mapping
        Length of each recording (``"15s"``; default: the configuration's), or options of `Board.record`:
        ``{"samples": 2**20, "checksum": "none"}``.
    repeats : int
        Recordings at each point.
    analyse : callable or str, optional
        A function of the `Trace`, or ``"module:function"``; returns a dict of numbers or arrays. Its trace's
        ``meta`` holds the setpoints.
    save : path
        The sweep's folder.
    resume : bool
        Go on with a sweep that is in the folder: what is not done is recorded.
    extend : bool
        Go on, and allow the plan to have more points or repeats than before.
    retries : int
        How often a recording that failed is made again,
    retry : {"now", "end"}
        at once, or when all others are through. The point is approached as before, from its leg's beginning.
    readings : mapping of str to callable, optional
        Asked during each recording; one number each.
    meta : mapping, optional
        Noted with every recording.
    stop_when : callable, optional
        Called with a dict of each recording that is done (setpoints, readbacks, readings, values, by name):
        if it returns true, the sweep ends. Recordings begun meanwhile are finished.
    verify : {"size", "read"}
        What counts as done: a report without loss, file and sidecar there in full size; or all read back, too.
    gapless : bool
        One endless run of the source: points are windows of it, and what lies between them is in files, too.
        Analyses run in a process beside the session, and their results are in the journal, not in sidecars.
    fifo : str or number
        With ``gapless``: how long a word may wait in the board before it is read, at most. A window begins with
        the first word read no earlier than that after the point has settled.
    name : str, optional
        What files are called, without ending: text with ``{time}``, ``{point}``, ``{repeat}``, and ``{KEY}`` for an
        axis' value, or something in ``meta`` or in the board's details. See `fastcap.sweeping.names`.
    dry_run : bool
        Only say what would be done.
    progress : bool
        Tell on stderr how it goes.

    Returns
    -------
    Results, or DryRun

    Raises
    ------
    ConfigError, ValueError
        Something makes no sense, a value is beyond a device's limits; nothing was set or recorded.
    SweepError
        The folder holds another sweep, or the sweep cannot go on. What was sampled is finished; resume it.
    KeyboardInterrupt
        Ctrl-C: the source is stopped, what was sampled before is finished first. A second one does not wait.
    """
    _check_options(retries, retry, verify, gapless)
    plan = plan_of(
        axes, repeats=repeats, record=record, source=_source_text(board), analyse=analyse,
        readings=readings or {}, meta=meta or {}, gapless=gapless, fifo=fifo, name=name,
    )  # fmt: skip
    if save is None:
        raise ConfigError("the sweep has no folder; give save='/mnt/nas/voa'")
    folder = Path(os.path.abspath(save))
    before = _plan_before(folder, plan, resume=resume or extend, extend=extend)
    order = Order(plan)
    names = Names(order, board.source.details)
    if dry_run:
        return _dry_run(board, order, Store(order, read_journal(folder)), folder, _analyst(plan, analyse))
    if before is None:
        folder.mkdir(parents=True, exist_ok=True)
    journal = Journal(folder)
    try:
        if before != plan:
            save_whole(folder / PLAN, plan.to_json())
        entries = read_journal(folder)
        teller = Teller(order, shown=progress)
        own = board.session.folder if board.session is not None else None
        wait_for_earlier([e["folder"] for e in entries if e["event"] == "session"], own, teller.say)
        store = Store(order, entries)
        finisher = Finisher(
            journal, store, analyses=plan.analysis.name if plan.analysis else None, verify=verify,
            saved=_Saver(folder, store), analyst=_analyst(plan, analyse) if gapless else None,
        )  # fmt: skip

        def recorder(loop: Loop) -> Recorder:
            if not gapless:
                return Recorder(board, folder, plan, analyse, teller.waiting)
            return Gapless(board, folder, plan, teller.waiting, say=teller.say, following=loop.following)

        loop = Loop(
            axes, store=store, journal=journal, finisher=finisher, recorder=recorder,
            attempts=Attempts(store, folder, retries=retries, when=retry), teller=teller, names=names,
            readings=readings or {}, stop_when=stop_when,
        )  # fmt: skip
        return _run(loop, finisher, journal, store, folder, teller)
    finally:
        journal.close()


def _run(
    loop: Loop, finisher: Finisher, journal: Journal, store: Store, folder: Path, teller: Teller
) -> Results:
    """Run the loop, and leave a folder in which all is said."""
    why = "failed"
    journal.append("run", at=datetime.now().astimezone().isoformat(), pid=os.getpid(), fastcap=VERSION)
    try:
        why = loop.run()
    except KeyboardInterrupt:
        why = "interrupted"
        raise
    finally:
        teller.end()
        journal.append("end", why=why)
        if finisher.end():
            save_results(Results(folder, store))
    journal.flush()
    return Results(folder, store)


def _analyst(plan: Plan, analyse: Analyse) -> Analyst | None:
    """Return who analyses windows: the session's own analysis knows whole recordings only."""
    options = {
        key.removeprefix("analyse_"): v for key, v in plan.record.items() if key.startswith("analyse_")
    }
    message = analysis(analyse, **options)
    return None if message is None else Analyst(message)


class _Saver:
    """Saves the results from time to time: what that takes is a small part of the time."""

    def __init__(self, folder: Path, store: Store) -> None:
        self._path, self._store = folder / RESULTS, store
        self._next = 0.0

    def __call__(self) -> None:
        began = time.monotonic()
        if began < self._next:
            return
        try:
            Results(self._path.parent, self._store).to_npz(self._path)
        except FastcapError as error:
            logger.warning("%s; it is tried again", error)
        now = time.monotonic()
        self._next = now + max(1.0, _SAVE_SHARE * (now - began))


def _check_options(retries: int, retry: str, verify: str, gapless: bool) -> None:
    if not isinstance(gapless, bool):
        raise ValueError(f"gapless of {shown(gapless)}: give true or false")
    if isinstance(retries, bool) or not isinstance(retries, int) or retries < 0:
        raise ValueError(f"retries of {shown(retries)}: give a whole number of at least 0")
    if retry not in ("now", "end"):
        raise ValueError(f"retry '{retry}' is neither 'now' nor 'end'")
    if verify not in ("size", "read"):
        raise ValueError(f"verify '{verify}' is neither 'size' nor 'read'")


def _source_text(board: Board) -> str:
    """Return what is recorded from, in words that are the same when it is opened again."""
    source = board.source
    argv = list(source.argv or ())
    return (
        f"{source.label}: {shlex.join(argv[1:] if source.kind == 'sim' else argv)}" if argv else source.label
    )


def _plan_before(folder: Path, plan: Plan, *, resume: bool, extend: bool) -> Plan | None:
    """Return the plan that is in the folder; None if there is none.

    Raises
    ------
    SweepError
        There is one, and this is not to go on with it, or another one.
    """
    if not (folder / PLAN).exists():
        if (folder / JOURNAL).exists() and (folder / JOURNAL).stat().st_size:
            raise SweepError(f"{folder} has a journal and no {PLAN}; restore it, or name another folder")
        return None
    before = load_plan(folder)
    if not resume:
        raise SweepError(
            f"{folder} holds a sweep already; go on with it with resume=True (--resume), add to it with extend=True "
            "(--extend), or name another folder"
        )
    changed = differences(before, plan)
    if changed and not extend:
        raise SweepError(
            f"{folder} holds another sweep: {'; '.join(changed)}; resume with the plan as it was"
        )
    if changed:
        check_extension(before, plan)
    return before
