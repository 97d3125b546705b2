"""What is known of every recording of a sweep: the journal's entries, the latest of each kind counting.

``done`` and ``analysed`` say what a recording gave, ``failed`` and ``begin`` what was tried. Entries of
recordings that the plan does not have are kept in the journal and left out here.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Any

from fastcap.sweeping.journal import Entry
from fastcap.sweeping.order import Order, Shot

__all__ = ["Store"]


class Store:
    """The state of a sweep, fed with journal entries; for several threads."""

    def __init__(self, order: Order, entries: Iterable[Entry] = ()) -> None:
        self.order = order
        self._lock = threading.Lock()
        self._done: dict[str, Entry] = {}
        self._reasons: dict[str, str] = {}
        self._attempts: dict[str, int] = {}
        for entry in entries:
            self.take(entry)

    def take(self, entry: Entry) -> None:
        """Note an entry."""
        key = entry.get("key")
        if key not in self.order.shots:
            return
        event = entry["event"]
        with self._lock:
            if event == "begin":
                self._attempts[key] = max(self._attempts.get(key, 0), entry["attempt"])
                self._reasons.setdefault(key, "its recording did not come to an end")
            elif event == "failed":
                self._reasons[key] = entry["reason"]
            elif event == "done":
                self._done[key] = entry
            elif event == "analysed" and key in self._done:
                result = {"values": entry["values"], "error": entry["error"], "analysis": entry["analysis"]}
                self._done[key] = {**self._done[key], **result}

    def is_done(self, shot: Shot) -> bool:
        """Tell whether a recording is complete, verified and analysed."""
        return self.order.key(shot) in self._done

    def done(self) -> list[tuple[Shot, Entry]]:
        """Return what is done, in the plan's order."""
        with self._lock:
            found = dict(self._done)
        return [(shot, found[key]) for key, shot in self.order.shots.items() if key in found]

    def attempts(self, shot: Shot) -> int:
        """Return the highest attempt's number that the journal knows."""
        return self._attempts.get(self.order.key(shot), 0)

    def reason(self, shot: Shot) -> str:
        """Return why a recording is not done."""
        return self._reasons.get(self.order.key(shot), "not recorded yet")

    def row(self, shot: Shot, entry: Entry) -> dict[str, Any]:
        """Return all that is known of a done recording, by name: setpoints, readbacks, readings, values."""
        row: dict[str, Any] = {}
        axes = self.order.plan.axes
        for axis, setpoint, direction in zip(
            axes, self.order.setpoints(shot), self.order.directions(shot), strict=True
        ):
            row[axis.name] = setpoint
            row[f"{axis.name}_readback"] = entry["readback"].get(axis.name)
            row[f"{axis.name}_direction"] = direction
        row |= {"repeat": shot.repeat, "attempt": entry["attempt"], "file": entry["file"]}
        return {**row, **entry["readings"], **(entry["values"] or {})}
