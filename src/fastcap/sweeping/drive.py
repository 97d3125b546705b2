"""Moving the axes: only what changes is set, from the side that the sweep comes from, and waited for."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence

from fastcap.sweeping.axis import Axis
from fastcap.sweeping.order import Order

__all__ = ["Drive"]


class Drive:
    """The axes' devices, and where they are.

    Parameters
    ----------
    wait : callable
        Called with the seconds to wait for what settles.

    Attributes
    ----------
    readbacks : list of float
        What each axis said when it was last set; NaN where it said nothing.
    """

    def __init__(
        self, axes: Sequence[Axis], order: Order, wait: Callable[[float], None] = time.sleep
    ) -> None:
        self._axes = axes
        self._legs = order.legs
        self._wait = wait
        self._at: list[int | None] = [None] * len(axes)
        self.readbacks = [math.nan] * len(axes)

    def go(self, index: Sequence[int]) -> None:
        """Bring every axis to its place and let it settle; blocks until then.

        An axis that would come from the wrong side goes back to where its leg begins first. After an error the
        place of the axis counts as unknown.

        Raises
        ------
        Exception
            What a target raised.
        """
        settled_at = 0.0
        for k, place in enumerate(index):
            if self._at[k] == place:
                continue
            turn = self._legs[k].turns[place]
            if not self._legs[k].direct(self._at[k], place) and turn != place:
                self._pause(self._move(k, turn))
            settled_at = max(settled_at, self._move(k, place))
        self._pause(settled_at)

    def forget(self) -> None:
        """Take every axis' place as unknown: the next approach begins anew."""
        self._at = [None] * len(self._axes)

    def _move(self, k: int, place: int) -> float:
        """Set one axis; return when it will have settled."""
        axis, at = self._axes[k], self._at[k]
        if at is None or axis.values[at] != axis.values[place]:
            self._at[k] = None
            self.readbacks[k] = axis.set(axis.values[place])
            self._at[k] = place
            return time.monotonic() + axis.settle_s
        self._at[k] = place
        return 0.0

    def _pause(self, until: float) -> None:
        left = until - time.monotonic()
        if left > 0:
            self._wait(left)
