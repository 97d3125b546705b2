"""The offered load, bytes by the clock whatever the destination does, and whether a writer falls behind it."""

from __future__ import annotations

WORD_BYTES = 8


class Offer:
    """Bytes a source would have sent by a time, by the monotonic clock and whatever the destination does.

    Parameters
    ----------
    bytes_per_s : float or None
        None: as much as is taken.
    start_ns : int
        CLOCK_MONOTONIC.
    end_ns : int
        Nothing is offered after that.
    piece : int
        Offered are whole multiples of so many bytes: a word, or with O_DIRECT a page.
    """

    def __init__(
        self, bytes_per_s: float | None, start_ns: int, end_ns: int, *, piece: int = WORD_BYTES
    ) -> None:
        self.bytes_per_s, self.piece = bytes_per_s, piece
        self.start_ns, self.end_ns = start_ns, end_ns

    def by(self, now_ns: int) -> int:
        """Return the bytes offered by ``now_ns``, whole pieces; with no pace there is no such number: 0."""
        if self.bytes_per_s is None:
            return 0
        elapsed_ns = max(0, min(now_ns, self.end_ns) - self.start_ns)
        return int(elapsed_ns * self.bytes_per_s // 1_000_000_000) // self.piece * self.piece

    @property
    def total(self) -> int:
        """Bytes offered in all."""
        return self.by(self.end_ns)

    def when_ns(self, position: int) -> int:
        """Return when ``position`` bytes are offered."""
        assert self.bytes_per_s is not None
        return self.start_ns + int((position + self.piece) * 1e9 / self.bytes_per_s)


class Lows:
    """How far behind the writer was when it was least so, in each sixth of the offered time."""

    _PARTS, _EARLIER = 6, 4
    _GROWN, _GROWN_S = 1.1, 0.1

    def __init__(self, offer: Offer) -> None:
        self._offer = offer
        self._least: list[int | None] = [None] * self._PARTS
        self._most_earlier = 0

    def add(self, at_ns: int, backlog: int) -> None:
        """Take what was not durable when an fsync had returned."""
        begin_ns, end_ns = self._offer.start_ns, self._offer.end_ns
        part = self._PARTS * (at_ns - begin_ns) // max(1, end_ns - begin_ns)
        if not 0 <= part < self._PARTS:
            return
        least = self._least[part]
        self._least[part] = backlog if least is None else min(least, backlog)
        if part < self._EARLIER:
            self._most_earlier = max(self._most_earlier, backlog)

    @property
    def rising(self) -> bool:
        """Tell whether it was further behind at the end than it ever was before; not from a single fsync."""
        last, rate = self._least[-1], self._offer.bytes_per_s
        if last is None or rate is None or self._most_earlier == 0:
            return False
        return last > self._GROWN * self._most_earlier + self._GROWN_S * rate
