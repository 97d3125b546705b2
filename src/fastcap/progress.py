"""How a capture goes, for people: a bar on a terminal, a line every few seconds otherwise.

Fed with the supervisor's ``progress`` messages; writes to stderr alone. A terminal that is gone (a dropped
ssh) ends the showing, never the capture.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from fastcap.units import format_duration, format_rate, format_size

LINE_S = 5.0
STALL_S = 0.25  # a call on the destination that takes longer is shown as a stall


def _has_width() -> bool:
    """Tell whether stderr is a terminal on which a bar can be drawn."""
    try:
        return sys.stderr is not None and os.get_terminal_size(sys.stderr.fileno()).columns > 0
    except (OSError, ValueError):
        return False


class Progress:
    """Shows one recording after another.

    Parameters
    ----------
    word_bytes : int
        What losses are counted in.
    """

    def __init__(self, *, word_bytes: int = 8) -> None:
        self._word_bytes = word_bytes
        self._terminal = _has_width()
        self._bar: Any = None
        self._line_at = time.monotonic() + LINE_S
        self._last = (0, 0.0)  # bytes, and when

    def say(self, text: str) -> None:
        """Write a line; a bar stays below it."""
        with self._harmless():
            if self._bar is not None:
                self._bar.write(text, file=sys.stderr)
            elif sys.stderr is not None:
                print(text, file=sys.stderr, flush=True)

    @contextmanager
    def _harmless(self) -> Iterator[None]:
        try:
            yield
        except OSError:
            self._terminal, self._bar = False, None

    def begin(self, total_bytes: int | None) -> None:
        """Begin with a recording; ``total_bytes`` is its length, if that is known."""
        self.end()
        self._last = (0, 0.0)
        if self._terminal:
            from tqdm import tqdm

            with self._harmless():
                self._bar = tqdm(
                    total=total_bytes, unit="B", unit_scale=True, file=sys.stderr, leave=False,
                    dynamic_ncols=True, mininterval=0.2,
                )  # fmt: skip

    def update(self, message: Mapping[str, Any], label: str = "") -> None:
        """Show how a recording stands: a ``progress`` message of the supervisor's."""
        if not message:
            return
        if self._bar is not None:
            with self._harmless():
                self._move(message, label)
        elif time.monotonic() >= self._line_at:
            self._line_at = time.monotonic() + LINE_S
            self.say(f"{label or message['state']}: {self._arrived(message)}{self._facts(message)}")

    def _move(self, message: Mapping[str, Any], label: str) -> None:
        if message["bytes"] is not None:
            self._bar.n = message["bytes"]
        self._bar.set_description_str(label or message["state"], refresh=False)
        self._bar.set_postfix_str(self._facts(message), refresh=False)
        self._bar.refresh()

    def _arrived(self, message: Mapping[str, Any]) -> str:
        taken, at_s = message["bytes"], message["elapsed_s"]
        if taken is None:
            return ""
        before, before_s = self._last
        self._last = (taken, at_s)
        rate = (taken - before) / (at_s - before_s) if at_s > before_s else 0.0
        return f"{format_size(taken)} in {format_duration(at_s)}, {format_rate(rate)}, "

    def _facts(self, message: Mapping[str, Any]) -> str:
        fill = 100 * message["backlog_bytes"] / message["capacity_bytes"]
        lost = message["dropped_bytes"] // self._word_bytes
        facts = f"ring {fill:.0f} %, backlog {format_size(message['backlog_bytes'])}, lost {lost} words"
        if message["stalled_s"] >= STALL_S:
            facts += f", destination stalls for {format_duration(message['stalled_s'])}"
        return facts + (f", {message['trouble']}" if message["trouble"] else "")

    def end(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            with self._harmless():
                self._bar.close()
            self._bar = None
