"""What came of a capture: reports, why something is missing, pictures, and the exit status."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from fastcap.board import Board, Capture
from fastcap.cli import COMPLETE, FAILED, INTERRUPTED, LOSSES
from fastcap.commands._following import Follower
from fastcap.commands._request import Request
from fastcap.errors import FastcapError
from fastcap.verdict import judge

_SEVERITY = (COMPLETE, LOSSES, INTERRUPTED, FAILED)  # the worst of several counts


class Outcome:
    """Gathers what came of one ``fastcap capture``.

    Attributes
    ----------
    captures : list of Capture
        In order.
    error : FastcapError or None
        What ended it; a recording's own error stands in the recording, too.
    """

    def __init__(self, request: Request, follower: Follower) -> None:
        self.request = request
        self.follower = follower
        self.captures: list[Capture] = []
        self.error: FastcapError | None = None
        self.pictures: list[str] = []
        self._live: dict[int, Any] = {}
        self._failed = False

    @property
    def reports(self) -> list[dict[str, Any]]:
        """Every complete file's report, in order."""
        return [report for c in self.captures for report in _reports(c)]

    def draw(self) -> None:
        """Draw each file, if that was asked for; what goes wrong is told and costs nothing else."""
        if self.request.plot is None:
            return
        count = len(self.reports)
        number = 0
        for capture in self.captures:
            for report in _reports(capture):
                number += 1
                self._draw(capture, report, self.request.picture(report, number, count))

    def _draw(self, capture: Any, report: dict[str, Any], target: Path) -> None:
        from fastcap.plot import plot_file

        live = self._live.get(capture.recording.number)
        try:
            drawn = live.save(report, target) if live is not None else plot_file(report["path"], target)
            self.pictures.append(str(drawn))
        except (FastcapError, ValueError, OSError) as error:
            self._failed = True
            show(f"warning: no picture {target}: {error}", err=True)

    def begin(self, board: Board, message: dict[str, Any], fds: list[int]) -> Capture:
        """Begin a recording; one that is to be drawn, but not written, is looked at while it comes in."""
        picture = None
        if self.request.plot is not None and message["sink"] is None:
            from fastcap.commands._live_picture import LivePicture

            picture = LivePicture(board.open_session(message))
        capture = board.begin(message, fds)
        self.captures.append(capture)
        if picture is not None:
            picture.follow(capture.recording)
            self._live[capture.recording.number] = picture
        return capture

    def tell(self, as_json: bool) -> int:
        """Print everything; return the exit status."""
        self._find_error()
        reports = self.reports
        for report in reports:
            verdict = judge(report)
            show(verdict.line, err=as_json)
            for reason in verdict.reasons:
                show(f"fastcap: {reason}", err=True)
            for line in _analysis_lines(report):
                show(line, err=as_json)
        for picture in self.pictures:
            show(f"picture: {picture}", err=as_json)
        if self.error is not None:
            show(f"fastcap: {' '.join(str(self.error).split())}", err=True)
        elif not reports and not self.follower.left:
            show("fastcap: interrupted before anything was captured", err=True)
        status = self._status(reports)
        if as_json:
            click.echo(json.dumps(self._json(reports, status)))
        return status

    def _find_error(self) -> None:
        """Take a recording's error for the whole's, unless it only says that we stopped it."""
        for capture in self.captures:
            recording = capture.recording
            if recording.error is not None and not (self.follower.interrupted and not recording.running):
                self.error = self.error or recording.error
        if self.follower.left:
            self.error = None  # said already, when it was left

    def _status(self, reports: list[dict[str, Any]]) -> int:
        found = [judge(report).exit_status for report in reports]
        found += [INTERRUPTED] if self.follower.interrupted else []
        found += [FAILED] if self.error is not None or self._failed else []
        return max(found, key=_SEVERITY.index, default=COMPLETE)

    def _json(self, reports: list[dict[str, Any]], status: int) -> dict[str, Any]:
        ended: dict[str, Any] = {}
        if self.error is not None:
            ended["error"] = str(self.error)
        if self.follower.left:
            ended["session_folder"] = self.captures[-1].recording.session.folder
        if self.request.several:
            return {"captures": reports, **ended}
        if reports:
            return {**reports[0], **ended}
        nothing = {"path": None, "complete": False, "interrupted": self.follower.interrupted}
        return {**nothing, **ended, "exit_status": status}


def _reports(capture: Capture) -> list[dict[str, Any]]:
    """Return the reports of a recording's complete files, also where it failed later."""
    recording = capture.recording
    return recording.reports if recording.done else [file["report"] for file in recording.files]


def show(line: str, *, err: bool) -> None:
    """Print a line for people; a terminal that is gone changes nothing."""
    with contextlib.suppress(OSError):
        click.echo(line, err=err)


def _analysis_lines(report: Mapping[str, Any]) -> list[str]:
    """Return what the user's function gave, or what was wrong with it: that costs the capture nothing."""
    function = (report["analysis"] or {}).get("function")
    if report["analysis"] and report["analysis"].get("error"):
        return [f"analysis failed: {report['analysis']['error']}"]
    if not function:
        return []
    if function.get("error"):
        error = function["error"]
        what = " ".join(f"{error['type']}: {error['message']}".split())  # a user's may be of many lines
        return [f"analysis: {function['name']} failed: {what}; the capture is unharmed"]
    return [f"analysis: {function['name']}: {json.dumps(function['result'])}"]
