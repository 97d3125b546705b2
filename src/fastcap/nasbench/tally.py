"""Gathering what the writer tells: histograms, stalls, and the backlog that the offered load has built."""

from __future__ import annotations

from typing import Any

import msgspec

from fastcap.histogram import LatencyHistogram
from fastcap.nasbench.model import Latencies, Stall, Timeline, Trouble
from fastcap.nasbench.policy import Offer
from fastcap.workers.calls import STALL_NS

_FIRST_STEP_NS = 10_000_000
_MOST_STEPS = 1024
_RELATIVE_ERROR = 1 / 256  # of a percentile: see LatencyHistogram


class Steps:
    """Largest values in equal steps of time; when there are too many, every two become one.

    A night is as many numbers as half a minute.
    """

    def __init__(self) -> None:
        self.step_ns = _FIRST_STEP_NS
        self.values: dict[str, list[int | None]] = {"write": [], "fsync": [], "backlog": []}

    def add(self, what: str, at_ns: int, value: int) -> None:
        """Take a value at a time since the start."""
        index = max(0, at_ns) // self.step_ns
        while index >= _MOST_STEPS:
            self._halve()
            index = max(0, at_ns) // self.step_ns
        for kept in self.values.values():
            kept.extend([None] * (index + 1 - len(kept)))
        kept = self.values[what]
        kept[index] = max(value, kept[index] or 0)

    def _halve(self) -> None:
        self.step_ns *= 2
        for what, kept in self.values.items():
            pairs = [kept[k : k + 2] for k in range(0, len(kept), 2)]
            self.values[what] = [max((v for v in pair if v is not None), default=None) for pair in pairs]


class Troubles:
    """Calls that failed, and how long nothing was made durable then."""

    def __init__(self) -> None:
        self.told: list[Trouble] = []
        self._open = False

    def failed(self, at_s: float, text: str) -> None:
        """Take a call that failed; the same again, with nothing durable between, is one trouble."""
        if self._open and self.told[-1].text == text:
            self._change(calls=self.told[-1].calls + 1)
            return
        self.over(at_s)
        self.told.append(Trouble(round(at_s, 6), text))
        self._open = True

    def over(self, at_s: float, *, ongoing: bool = False) -> None:
        """Take that something is durable again, that another trouble begins, or, ``ongoing``, the end."""
        if self._open:
            self._change(for_s=round(at_s - self.told[-1].at_s, 6), ongoing=ongoing)
            self._open = False

    def _change(self, **fields: Any) -> None:
        self.told[-1] = msgspec.structs.replace(self.told[-1], **fields)


class Tally:
    """What is known of a bench under way."""

    def __init__(self, offer: Offer) -> None:
        self.offer = offer
        self.histograms = {"write": LatencyHistogram(), "fsync": LatencyHistogram()}
        self.stalls: list[Stall] = []
        self.troubles = Troubles()
        self.bytes = self.durable = self.peak_bytes = 0
        self.busy_ns = self.stalled_ns = 0
        self.stalled_bytes = 0  # made durable by stalls: a slow destination does much in its long calls
        self._stalled_writes = 0  # bytes of such writes since the last fsync
        self.steps = Steps()
        self.durable_ns = offer.start_ns  # when `durable` was reached
        self._curve_ns = offer.start_ns  # up to where the backlog's curve is drawn

    def call(self, call: str, start_ns: int, took_ns: int, value: int) -> None:
        """Take a call that has returned; see `fastcap.nasbench.writer.Writer`."""
        self.histograms[call].record(took_ns)
        self.steps.add(call, start_ns - self.offer.start_ns, took_ns)
        self.busy_ns += took_ns
        stalled = took_ns >= STALL_NS
        if stalled:
            self._stall(call, start_ns, took_ns, ongoing=False)
        if call == "write":
            self.bytes += value
            self._stalled_writes += value if stalled else 0
        elif value >= 0:
            made = max(0, value - self.durable)
            self.stalled_bytes += made if stalled else min(made, self._stalled_writes)
            self._stalled_writes = 0
            self._made_durable(start_ns + took_ns, value)

    def _stall(self, call: str, start_ns: int, took_ns: int, *, ongoing: bool) -> None:
        self.stalled_ns += took_ns
        at_s, for_s = self._since_start_s(start_ns), took_ns * 1e-9
        self.stalls.append(Stall(round(at_s, 6), round(for_s, 6), call, ongoing))

    def _made_durable(self, at_ns: int, reached: int) -> None:
        self.backlog_until(at_ns)
        if reached > self.durable:
            self.troubles.over(self._since_start_s(at_ns))
        self.durable, self.durable_ns = reached, at_ns

    def backlog_until(self, at_ns: int) -> None:
        """Draw the backlog's curve up to a time: it rises by the offered rate from one fsync's return to the next."""
        origin, step = self.offer.start_ns, self.steps.step_ns
        edge = origin + ((self._curve_ns - origin) // step + 1) * step
        while edge < at_ns:
            self.steps.add("backlog", edge - 1 - origin, max(0, self.offer.by(edge) - self.durable))
            edge += step
        backlog = max(0, self.offer.by(at_ns) - self.durable)
        self.steps.add("backlog", at_ns - origin, backlog)
        self.peak_bytes = max(self.peak_bytes, backlog)
        self._curve_ns = max(self._curve_ns, at_ns)

    def failed(self, at_ns: int, text: str) -> None:
        """Take a call that failed."""
        self.troubles.failed(self._since_start_s(at_ns), text)

    def _since_start_s(self, at_ns: int) -> float:
        return (at_ns - self.offer.start_ns) * 1e-9

    def end(self, at_ns: int, busy_since_ns: int) -> None:
        """Take the end, with a call under way since ``busy_since_ns``, 0: none."""
        self.backlog_until(at_ns)
        self.troubles.over(self._since_start_s(at_ns), ongoing=True)
        if busy_since_ns and at_ns - busy_since_ns >= STALL_NS:
            self._stall("call", busy_since_ns, at_ns - busy_since_ns, ongoing=True)
            self.busy_ns += at_ns - busy_since_ns

    @property
    def busy_bytes_per_s(self) -> float | None:
        """Bytes over time of the calls that were no stalls; None when they made nothing durable."""
        working_ns, made = self.busy_ns - self.stalled_ns, self.durable - self.stalled_bytes
        return made / (working_ns * 1e-9) if made > 0 and working_ns > 0 else None

    def latencies(self, call: str) -> Latencies:
        """Return the percentiles of one kind of call."""
        h = self.histograms[call]
        p = {name: h.percentile(at) for name, at in _PERCENTILES.items()}
        longest = None if h.max_ns is None else h.max_ns / 1e9
        return Latencies(**p, max=longest, count=h.count, error=_RELATIVE_ERROR, buckets=h.to_json())

    def timeline(self) -> Timeline:
        """Return the run in steps."""
        seconds = {
            what: [None if v is None else v / 1e9 for v in self.steps.values[what]]
            for what in ("write", "fsync")
        }
        backlog = [v or 0 for v in self.steps.values["backlog"]]
        return Timeline(self.steps.step_ns * 1e-9, seconds["write"], seconds["fsync"], backlog)


_PERCENTILES = {"p50": 50.0, "p90": 90.0, "p99": 99.0, "p999": 99.9, "p9999": 99.99}
