"""The loop: approach, record, hand over, go on; again where it failed; and an orderly end whatever happens.

The loop waits for three things only: what settles, the source's end, and room in the ring. All else (writing,
verifying, analysing, journalling, saving results) goes on behind it.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any

from fastcap.errors import FastcapError, SweepError
from fastcap.sweeping.attempts import Attempts
from fastcap.sweeping.axis import Axis
from fastcap.sweeping.drive import Drive
from fastcap.sweeping.finish import Failure, Finisher, Sampled
from fastcap.sweeping.journal import Journal
from fastcap.sweeping.names import Names
from fastcap.sweeping.order import Shot
from fastcap.sweeping.recorder import Recorded, Recorder
from fastcap.sweeping.store import Store
from fastcap.sweeping.tell import Teller

logger = logging.getLogger(__name__)
LOOK_S = 0.5
StopWhen = Callable[[dict[str, Any]], object]


class Loop:
    """One run of a sweep: all of it, or what an earlier run left.

    Parameters
    ----------
    axes : sequence of Axis
    recorder : callable
        Makes what records, given this loop.
    readings : mapping of str to callable
        Asked while a recording runs.
    stop_when : callable, optional
        Called with the row of each recording that is done; true ends the sweep.
    """

    def __init__(
        self, axes: Sequence[Axis], *, store: Store, journal: Journal, finisher: Finisher, attempts: Attempts,
        teller: Teller, names: Names, recorder: Callable[[Loop], Recorder], readings: Mapping[str, Callable[[], Any]],
        stop_when: StopWhen | None,
    ) -> None:  # fmt: skip
        self._store, self._journal, self._finisher = store, journal, finisher
        self._attempts, self._tell, self._names = attempts, teller, names
        self._readings, self._stop_when = readings, stop_when
        self._order = store.order
        self._drive = Drive(axes, self._order)
        self._recorder = recorder(self)
        self._numbers: dict[Shot, int] = {}  # of attempts that were prepared early
        self._session_told: str | None = None
        self._stopped = False

    def run(self) -> str:
        """Record what is left; return ``complete``, ``stopped``, or ``incomplete``. Blocks until all is done.

        Raises
        ------
        SweepError
            It cannot go on; what was sampled is finished.
        KeyboardInterrupt
            After the source was stopped and what was sampled is finished.
        """
        for shot, entry in self._store.done():
            self._ask_to_stop(shot, entry)
        try:
            self._all()
        except BaseException:
            self._recorder.stop(self._tell.say)
            self._drain()
            raise
        finally:
            self._recorder.close()
        if self._stopped:
            return "stopped"
        return "complete" if all(self._store.is_done(shot) for shot in self._order) else "incomplete"

    def _all(self) -> None:
        self._tell.begin(len(self._attempts.todo))
        while not self._stopped:
            self._hear()
            if self._attempts.todo and not self._stopped:
                self._shoot(self._attempts.todo.popleft())
            elif self._finisher.pending:
                self._finisher.wait(LOOK_S)
            else:
                self._hear()
                if not self._attempts.todo:
                    break
        self._drain()

    # -- one recording -------------------------------------------------------------------------------

    def _shoot(self, shot: Shot) -> None:
        """Approach and record; what fails is noted and tried again."""
        number = self._number(shot)
        try:
            self._drive.go(shot.index)
        except Exception as error:  # a target may raise anything
            self._not_set(shot, number, error)
            return
        try:
            recorded, facts = self._record(shot, number)
        except FastcapError as error:
            self._again(Failure(shot, number, str(error)))
            self._recorder.forget_lost_session()
            return
        self._finisher.put(Sampled(shot, self._order.key(shot), number, recorded, facts))
        if not self._attempts.todo:
            self._recorder.rest()

    def _number(self, shot: Shot) -> int:
        """Return the attempt's number: the one it was prepared with, if that still holds."""
        number = self._numbers.pop(shot, None)
        if number is not None and self._recorder.expects(self._stem(shot, number)):
            return number
        number = self._attempts.number(shot)
        while self._names.templated and self._attempts.is_taken(self._stem(shot, number)):
            number = self._attempts.number(shot)
        return number

    def _stem(self, shot: Shot, number: int) -> str:
        return self._names.stem(shot, number, datetime.now().astimezone())

    def _record(self, shot: Shot, number: int) -> tuple[Recorded, dict[str, Any]]:
        """Record one point; return when it is sampled."""
        readback = self._readback()
        meta = self._meta(shot, number, readback)
        stem = self._recorder.prepare(shot, partial(self._stem, shot, number), meta)
        entry = self._journal.append(
            "begin", key=self._order.key(shot), attempt=number, file=f"{stem}.bin", at=_now()
        )
        self._store.take(entry)
        recorded = self._recorder.begin()
        self._note_session()
        left = list(self._attempts.todo)
        self._tell.shot(shot, left, self._finisher.pending, self._recorder.backlog_share())
        readings, errors = self._read()
        self._recorder.wait(recorded)
        axes = self._order.plan.axes
        directions = dict(zip((a.name for a in axes), self._order.directions(shot), strict=True))
        facts = {
            "readback": readback,
            "direction": directions,
            "readings": readings,
            "reading_errors": errors,
        }
        return recorded, facts

    def _readback(self) -> dict[str, float | None]:
        axes = self._order.plan.axes
        return {a.name: _finite(v) for a, v in zip(axes, self._drive.readbacks, strict=True)}

    def following(self, shot: Shot) -> Iterator[tuple[str, dict[str, str]]]:
        """Yield what comes next at the same place, for who wants to prepare it: its file's name, and its facts."""
        for after in self._attempts.todo:
            if after.index != shot.index or self._stopped:
                return
            number = self._number(after)
            self._numbers[after] = number
            yield self._stem(after, number), self._meta(after, number, self._readback())

    def _meta(self, shot: Shot, number: int, readback: Mapping[str, float | None]) -> dict[str, str]:
        """Return what the sidecar holds of the point."""
        meta = dict(self._order.plan.meta)
        axes = self._order.plan.axes
        for axis, value, way in zip(
            axes, self._order.setpoints(shot), self._order.directions(shot), strict=True
        ):
            meta[axis.name] = f"{value:.12g}{axis.unit}"
            meta[f"{axis.name}_direction"] = f"{way:+d}"
            if readback[axis.name] is not None:
                meta[f"{axis.name}_readback"] = f"{readback[axis.name]:.12g}{axis.unit}"
        return {**meta, "repeat": str(shot.repeat), "attempt": str(number)}

    def _read(self) -> tuple[dict[str, float | None], dict[str, str]]:
        """Take the readings; one that fails is missing, and costs nothing else."""
        values: dict[str, float | None] = {}
        errors: dict[str, str] = {}
        for name, read in self._readings.items():
            try:
                values[name] = _finite(float(read()))
            except Exception as error:
                values[name], errors[name] = None, f"{type(error).__name__}: {error}"
                self._tell.say(f"reading {name} failed: {error}")
        return values, errors

    # -- what went wrong -----------------------------------------------------------------------------

    def _again(self, failure: Failure) -> None:
        """Note that a recording failed; have it made again, unless that was tried often enough."""
        entry = self._journal.append(
            "failed",
            key=self._order.key(failure.shot),
            attempt=failure.attempt,
            reason=failure.reason,
            at=_now(),
        )
        self._store.take(entry)
        label = self._order.label(failure.shot)
        again = self._attempts.failed(failure.shot, failure.reason)
        self._tell.say(f"{label}: {failure.reason}; {'it is recorded again' if again else 'given up'}")

    def _not_set(self, shot: Shot, number: int, error: Exception) -> None:
        """Try anew where a device did not do what it was asked; never go on without it."""
        self._drive.forget()
        self._again(Failure(shot, number, f"{type(error).__name__}: {error}"))
        if shot not in self._attempts.todo:
            raise SweepError(
                f"{self._order.label(shot)} cannot be set: {error}; see to the device, then resume"
            ) from error

    def _hear(self) -> None:
        """Take in what was finished meanwhile."""
        failures, done = self._finisher.news()
        for failure in failures:
            self._again(failure)
        for shot, entry in done:
            self._attempts.succeeded()
            if entry["error"]:
                self._tell.say(f"{self._order.label(shot)}: analysis failed: {entry['error']}")
            self._ask_to_stop(shot, entry)

    def _ask_to_stop(self, shot: Shot, entry: dict[str, Any]) -> None:
        if (
            self._stop_when is not None
            and not self._stopped
            and self._stop_when(self._store.row(shot, entry))
        ):
            self._stopped = True
            self._tell.say(f"stopped after {self._order.label(shot)}, as stop_when says")

    # -- the end -------------------------------------------------------------------------------------

    def _drain(self) -> None:
        """Finish what is sampled; what fails now stays to be done."""
        self._recorder.rest()
        while self._finisher.pending:
            self._finisher.wait(LOOK_S)
            self._note_only()
        self._note_only()
        for account in self._recorder.account():
            self._journal.append("run_ended", **account)
            board = account["board"]["estimated_words_lost"]
            if account["words_lost"] or board:
                estimate = f", about {board} by the board, by the clock" if board else ""
                self._tell.say(
                    f"{account['run']}: {account['words_lost']} words were lost in the ring{estimate}"
                )

    def _note_only(self) -> None:
        failures, _ = self._finisher.news()
        for f in failures:
            key = self._order.key(f.shot)
            self._store.take(
                self._journal.append("failed", key=key, attempt=f.attempt, reason=f.reason, at=_now())
            )

    def _note_session(self) -> None:
        session = self._recorder.session
        if session is not None and session.folder != self._session_told:
            self._session_told = session.folder
            self._journal.append("session", folder=session.folder, pid=os.getpid())


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _now() -> str:
    return datetime.now().astimezone().isoformat()
