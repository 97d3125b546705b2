"""How a sweep goes, for people: a bar on a terminal, a line every few seconds otherwise; always on stderr."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from fastcap.progress import LINE_S, Progress
from fastcap.sweeping.order import Order, Shot
from fastcap.sweeping.schedule import settle_times
from fastcap.units import format_duration, format_size

__all__ = ["Teller"]


class Teller:
    """Tells of a sweep.

    Parameters
    ----------
    shown : bool
        False: only what must be known (waits, failures) goes to nobody either.
    """

    def __init__(self, order: Order, *, shown: bool) -> None:
        self._order, self._shown = order, shown
        self._progress = Progress()
        self._bar: Any = None
        self._line_at = 0.0
        self._told_wait = False
        self._spent_s: list[float] = []
        self._began = time.monotonic()

    def say(self, text: str) -> None:
        """Tell something."""
        if not self._shown:
            return
        if self._bar is not None:
            self._bar.write(text)
        else:
            self._progress.say(text)

    def begin(self, left: int) -> None:
        """Tell what is to be done."""
        total = len(self._order)
        done = f", {total - left} of them done" if left < total else ""
        self.say(f"sweep of {total} recordings{done}")
        if self._shown and self._progress._terminal and left:
            from tqdm import tqdm

            self._bar = tqdm(total=total, initial=total - left, unit="rec", leave=False, dynamic_ncols=True)

    def shot(self, shot: Shot, left: Sequence[Shot], pending: int, backlog_share: float) -> None:
        """Tell which recording begins, and how long all of them will take."""
        self._told_wait = False
        now = time.monotonic()
        self._spent_s.append(now)
        if not self._shown:
            return
        text = self._order.label(shot)
        facts = f"ring {100 * backlog_share:.0f} %, {pending} being written; {self._to_go(left)}"
        if self._bar is not None:
            self._bar.n = len(self._order) - len(left) - 1
            self._bar.set_description_str(text, refresh=False)
            self._bar.set_postfix_str(facts)
        elif now >= self._line_at:
            self._line_at = now + LINE_S
            self.say(f"{len(self._order) - len(left)}/{len(self._order)}: {text}; {facts}")

    def _to_go(self, left: Sequence[Shot]) -> str:
        """Estimate from what the last recordings took, the settling of both counted apart."""
        recent = self._spent_s[-20:]
        if len(recent) < 2:
            return "time to go not known yet"
        each_s = (recent[-1] - recent[0]) / (len(recent) - 1)
        settle_s = settle_times(self._order)
        mean_s = sum(settle_s.values()) / len(settle_s)
        to_go_s = (len(left) + 1) * max(0.0, each_s - mean_s) + sum(settle_s[shot] for shot in left)
        return f"{format_duration(max(1.0, to_go_s))} to go"

    def waiting(self, backlog_bytes: int) -> None:
        """Tell, once, that the destination is behind."""
        if not self._told_wait:
            self._told_wait = True
            self.say(
                f"waiting: {format_size(backlog_bytes)} are still to be written, and the ring has no room, or no "
                "consumer slot, for the next recording beside them"
            )

    def end(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
