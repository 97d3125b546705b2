"""Gapless sweeps: one endless run of the board; points are windows of it, each in a file of its own.

    between_001_0000 | volt_0_up_r1_a1 | between_001_0002 | volt_1_up_r1_a1 | …

What comes while a device moves and settles is in the files between. A window begins with the first word that was read
when settling was over and the board's FIFO could hold nothing older (`fastcap.workers.windows`); the device is moved
when the window's last word has been read. Repeats follow one another without a word between.

A run ends, and another begins, when a recording failed for the source's end, or when the destination is so far behind
that the ring could not hold the next window.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterable, Mapping
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastcap import spec
from fastcap.errors import FastcapError, SourceError
from fastcap.report import wanted_path
from fastcap.sweeping.order import Shot
from fastcap.sweeping.plan import Plan
from fastcap.sweeping.recorder import GATHER_S, Recorder

if TYPE_CHECKING:
    from fastcap.board import Board
    from fastcap.session import Recording

_BETWEEN = re.compile(r"between_(\d+)_")
_LEAST_FREE = 4  # a run goes on as long as this part of the ring is free, beside the next window


class Window:
    """One point's part of a run."""

    def __init__(self, recording: Recording, name: str, words: int) -> None:
        self._recording, self._words = recording, words
        self.name = name

    @property
    def sampled(self) -> bool:
        """Its last word has been read."""
        return self.name in self._recording.windows_ended

    @property
    def report(self) -> Mapping[str, Any]:
        """The report of its file; waits until that is complete.

        Raises
        ------
        SourceError
            The run ended before it, or within it.
        FastcapError
            The run failed.
        """
        self._recording.wait_for(lambda: self._found() is not None)
        report = self._found()
        if report is None:
            raise SourceError("the run ended before this window began")
        if report["words"] + report["words_lost"] < self._words and not report["interrupted"]:
            raise SourceError(
                f"the run ended within this window, after {report['words']} of its {self._words} words"
            )
        return report

    def _found(self) -> Mapping[str, Any] | None:
        file = f"{self.name}.bin"
        files = self._recording.files
        reports = (f["report"] for f in files)
        return next((r for r in reports if os.path.basename(wanted_path(r) or "") == file), None)


class Gapless(Recorder):
    """Records each point as a window of one run.

    Parameters
    ----------
    say : callable
        Told what people should know of a run.
    following : callable
        Returns names and facts of the recordings that follow one at the same place.
    """

    def __init__(
        self, board: Board, folder: Path, plan: Plan, waiting: Callable[[int], None], *,
        say: Callable[[str], None], following: Callable[[Shot], Iterable[tuple[str, Mapping[str, str]]]],
    ) -> None:  # fmt: skip
        super().__init__(board, folder, plan, None, waiting)
        self._say, self._following = say, following
        self._run: Recording | None = None
        self._ended: list[Recording] = []
        self._words = 0
        self._asked: dict[str, Window] = {}
        self._next: tuple[Shot, str, Mapping[str, str]] | None = None
        record = {k: v for k, v in plan.record.items() if not k.startswith("analyse_")}
        self._lasts = {key: record.pop(key) for key in ("length", "samples") if key in record}
        self._options = record

    def prepare(self, shot: Shot, name: Callable[[], str], meta: Mapping[str, str]) -> str:
        """Have a run under way that the window fits into, and return its name; blocks while there is no room for it."""
        stem = name()
        self._next = (shot, stem, meta)
        if stem in self._asked:
            return stem
        if self._run is not None and self._crowded():
            self._say("the destination is behind: the run is ended, another begins when there is room")
            self.rest()
        if self._run is None or self._run.sampled or self._run.over:
            self.rest()
            self._start()
        return stem

    def _crowded(self) -> bool:
        assert self.session is not None
        ring = self.session.ring_bytes
        free = ring - self._room.backlog_bytes(self.session)
        return free < ring // _LEAST_FREE + min(8 * self._words, ring // 2)

    def _start(self) -> None:
        """Begin a run, once the ring has room; blocks until its header is known."""
        board = self._board
        asked, fds = spec.recording(board.source, **self._lasts, to="none", ring_bytes=board.ring_bytes())
        for fd in fds:
            os.close(fd)
        base = f"between_{self._runs() + 1:03d}"
        self._message, self._fds = spec.recording(
            board.source, **{"payload": board.payload, **self._options}, endless=True, to=os.fspath(self._folder),
            name=base, meta=self._plan.meta, ring_bytes=board.ring_bytes(),
        )  # fmt: skip
        self._message |= {"gather_s": GATHER_S, "windows": []}
        self._message["sink"]["names"] = {"base": base, "split": True}
        self._words = asked["max_words"] or 0
        self._room.wait(self.session, 8 * self._words or None, self._waiting)
        run = self._run = board.begin(self._message, self._fds).recording
        run.wait_for(lambda: run.header is not None or run.sampled)
        if run.header is None or run.sampled:
            raise SourceError("the board's run ended before its first word; see to the board")
        if not self._words:
            if not asked["max_seconds"]:
                raise SourceError("how long a window is to be is not known; give record='15s'")
            self._words = int(Fraction(*asked["max_seconds"]) * Fraction(*run.header["rate"]))

    def _runs(self) -> int:
        found = (_BETWEEN.match(name) for name in os.listdir(self._folder))
        return max((int(match[1]) for match in found if match), default=0)

    def begin(self) -> Window:
        """Begin the window that was prepared, and have those follow it for which nothing moves."""
        assert self._next is not None
        shot, stem, meta = self._next
        window = self._asked.pop(stem, None) or self._ask(stem, meta, follows=False)
        for name, facts in self._following(shot):
            if name not in self._asked:
                self._asked[name] = self._ask(name, facts, follows=True)
        return window

    def _ask(self, stem: str, meta: Mapping[str, str], *, follows: bool) -> Window:
        assert self._run is not None
        run, fifo_s = self._run, self._plan.fifo_s or 0.0
        run.session.window(run.number, stem, self._words, fifo_s=fifo_s, follows=follows, meta=meta)
        return Window(run, stem, self._words)

    def wait(self, recorded: Any) -> None:
        """Block until the window's last word has been read.

        Raises
        ------
        SourceError
            The run ended before.
        """
        window: Window = recorded
        run = self._run
        assert run is not None
        run.wait_for(lambda: window.sampled or run.sampled)
        if not window.sampled:
            self._asked.clear()
            raise SourceError("the board's run ended before this window was full")

    def rest(self) -> None:
        """End the run: nothing is to be recorded for a while."""
        run, self._run = self._run, None
        self._asked.clear()
        if run is None:
            return
        self._ended.append(run)
        if run.sampled or run.over:
            return
        with contextlib.suppress(FastcapError):  # what its windows' reports say, too
            run.session.finish(run.number)
            run.wait_for(lambda: run.sampled)

    def expects(self, stem: str) -> bool:
        """Tell whether this window was asked for already, to follow another."""
        return stem in self._asked

    def account(self) -> list[dict[str, Any]]:
        """Return what each run came to, once all its files are complete: a loss need not lie in a window."""
        runs, self._ended = self._ended, []
        accounts = []
        for run in runs:
            with contextlib.suppress(FastcapError):
                run.wait_for(lambda run=run: run.done)  # type: ignore[misc]
            if not run.done:
                continue
            last = run.reports[-1]
            accounts.append(
                {
                    "run": os.path.basename(run.reports[0]["path"]).rpartition("_")[0],
                    "words": sum(r["words"] for r in run.reports),
                    "words_lost": sum(r["words_lost"] for r in run.reports),
                    "board": last["board"],
                    "complete": last["complete"],
                }
            )
        return accounts
