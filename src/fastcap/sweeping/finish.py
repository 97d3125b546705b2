"""From sampled to done: wait for file and analysis, check, journal. A thread, so that the loop goes on meanwhile."""

from __future__ import annotations

import logging
import os
import threading
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from fastcap.errors import FastcapError
from fastcap.sidecar import sidecar_path
from fastcap.sweeping.analyst import Analyst
from fastcap.sweeping.journal import Entry, Journal
from fastcap.sweeping.order import Shot
from fastcap.sweeping.recorder import Recorded
from fastcap.sweeping.store import Store
from fastcap.verdict import judge

logger = logging.getLogger(__name__)
Verify = Literal["size", "read"]
LOOK_S = 0.5  # a wait is broken so often, so that Ctrl-C gets through


class Sampled(msgspec.Struct, frozen=True):
    """A recording whose source has ended: what finishing it needs."""

    shot: Shot
    key: str
    attempt: int
    recorded: Recorded
    facts: dict[str, Any]  # what else the journal is to hold of it


class Failure(msgspec.Struct, frozen=True):
    """A recording that has to be made again."""

    shot: Shot
    attempt: int
    reason: str


class Finisher:
    """Finishes recordings one after another, in the order in which they were sampled.

    Parameters
    ----------
    verify : {"size", "read"}
        What makes a file verified: its report is complete and without loss, and file and sidecar are there in
        the size that was captured; or also all of it read back and compared.
    saved : callable
        Called after each recording that is done; writes the results from time to time.
    analyst : Analyst, optional
        Analyses the files; without, the session has done that, and the reports say what came of it.
    """

    def __init__(
        self,
        journal: Journal,
        store: Store,
        *,
        analyses: str | None,
        verify: Verify,
        saved: Callable[[], None],
        analyst: Analyst | None = None,
    ) -> None:
        self._journal, self._store = journal, store
        self._analyses, self._verify, self._saved = analyses, verify, saved
        self._analyst = analyst
        self._changed = threading.Condition()
        self._queue: deque[Sampled] = deque()
        self._failures: list[Failure] = []
        self._done: list[tuple[Shot, Entry]] = []
        self._error: BaseException | None = None
        self._ending = False
        self._thread = threading.Thread(target=self._run, name="fastcap-finish", daemon=True)
        self._thread.start()

    @property
    def pending(self) -> int:
        """Recordings that are sampled and not finished."""
        return len(self._queue)

    def put(self, sampled: Sampled) -> None:
        """Take a recording over; returns at once."""
        with self._changed:
            self._queue.append(sampled)
            self._changed.notify_all()

    def news(self) -> tuple[list[Failure], list[tuple[Shot, Entry]]]:
        """Return what has failed and what is done since the last call.

        Raises
        ------
        BaseException
            What ended the thread: a defect.
        """
        with self._changed:
            if self._error is not None:
                raise self._error
            failures, self._failures = self._failures, []
            done, self._done = self._done, []
        return failures, done

    def wait(self, timeout_s: float) -> None:
        """Block until something is finished, or the time is over."""
        with self._changed:
            if self._queue and not self._failures and not self._done and self._error is None:
                self._changed.wait(timeout_s)

    def end(self) -> bool:
        """End the thread, and wait for that; False if something is pending, which nobody waits for any more."""
        with self._changed:
            self._ending = True
            self._changed.notify_all()
            if self._queue and self._error is None:
                return False  # an analyst at work ends with this program: its stdin closes
        while self._thread.is_alive():
            self._thread.join(LOOK_S)
        if self._analyst is not None:
            self._analyst.close()
        return True

    # -- the thread ----------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while True:
                with self._changed:
                    while not self._queue and not self._ending:
                        self._changed.wait()
                    if not self._queue:
                        return
                    sampled = self._queue[0]
                self._finish(sampled)
                self._saved()
        except BaseException as error:
            with self._changed:
                self._error = error
                self._changed.notify_all()

    def _finish(self, sampled: Sampled) -> None:
        reason, entry = None, None
        try:
            report = sampled.recorded.report
            reason = fault(report) or _unverified(report, self._verify)
        except FastcapError as error:
            reason = str(error)
        if reason is None:
            entry = self._journal.append("done", **self._told(sampled, report))
            self._store.take(entry)
        with self._changed:
            self._queue.popleft()
            if reason is not None:
                self._failures.append(Failure(sampled.shot, sampled.attempt, reason))
            elif entry is not None:
                self._done.append((sampled.shot, entry))
            self._changed.notify_all()

    def _outcome(self, report: Mapping[str, Any]) -> tuple[dict[str, Any] | None, str | None]:
        if self._analyst is None:
            return outcome(report["analysis"] or {})
        return outcome({"function": self._analyst.call(report["path"])})

    def _told(self, sampled: Sampled, report: Mapping[str, Any]) -> dict[str, Any]:
        """Return what the journal is to hold of a recording that is done."""
        values, error = (None, None) if self._analyses is None else self._outcome(report)
        return {
            "key": sampled.key, "attempt": sampled.attempt, "file": os.path.basename(report["path"]),
            "bytes": report["bytes"], "words": report["words"], "checksum": report["checksum"],
            "started": report["started"], **sampled.facts,
            "values": values, "error": error, "analysis": self._analyses,
        }  # fmt: skip


def outcome(analysis: Mapping[str, Any]) -> tuple[dict[str, Any] | None, str | None]:
    """Return what the user's function gave, or why it gave nothing."""
    function = analysis.get("function") or {}
    if "result" in function:
        return function["result"], None
    error = function.get("error")
    if error:
        return None, f"{error['type']}: {error['message']}"
    return None, str(analysis.get("error") or "the analysis gave no result")


def fault(report: Mapping[str, Any]) -> str | None:
    """Return why a recording does not count; None if it is complete and without loss."""
    verdict = judge(report)
    return None if verdict.exit_status == 0 else "; ".join(verdict.reasons) or "interrupted"


def _unverified(report: Mapping[str, Any], how: Verify) -> str | None:
    """Return what is wrong with a finished file; None: nothing."""
    path = Path(report["path"])
    try:
        size = path.stat().st_size
        os.stat(sidecar_path(path))
    except OSError as error:
        return f"{error.filename} is not there: {error.strerror}"
    if size != report["bytes"]:
        return f"{path} has {size} bytes, not the {report['bytes']} that were captured"
    if how == "read":
        from fastcap.verify import verify_file

        verdict = verify_file(path)
        return None if verdict.ok else f"{path}: {verdict.problems[0]}"
    return None
