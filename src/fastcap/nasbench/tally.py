"""Gathering what the writer tells: histograms, stalls, and the backlog that the offered load has built."""

from __future__ import annotations

from typing import Any

import msgspec

from fastcap.histogram import LatencyHistogram
from fastcap.nasbench.hours import HOUR_NS, HourTally
from fastcap.nasbench.model import Hour, Latencies, Saturated, Stall, Timeline, Trouble
from fastcap.nasbench.offer import Lows, Offer
from fastcap.nasbench.saturation import FEW_LATE, LEAST_LATE, Saturation
from fastcap.nasbench.trace import CallTrace, Trace
from fastcap.workers.calls import STALL_NS

_FIRST_STEP_NS = 10_000_000
_MOST_STEPS = 1024
MOST_STALLS = 4096


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

    def failed(self, at_s: float, text: str, errno: int = 0) -> None:
        """Take a call that failed; the same again, with nothing durable between, is one trouble."""
        if self._open and self.told[-1].text == text:
            self._change(calls=self.told[-1].calls + 1)
            return
        self.over(at_s)
        self.told.append(Trouble(round(at_s, 6), text, errno=errno))
        self._open = True

    def over(self, at_s: float, *, ongoing: bool = False) -> None:
        """Take that something is durable again, that another trouble begins, or, ``ongoing``, the end."""
        if self._open:
            self._change(for_s=round(at_s - self.told[-1].at_s, 6), ongoing=ongoing)
            self._open = False

    def _change(self, **fields: Any) -> None:
        self.told[-1] = msgspec.structs.replace(self.told[-1], **fields)


class Tally:
    """What is known of a bench under way: of the offered load, and of what was taken without a pace after it."""

    def __init__(self, offer: Offer) -> None:
        self.offer = offer
        self.histograms = {"write": LatencyHistogram(), "fsync": LatencyHistogram()}
        self.delays = LatencyHistogram()  # from a hundredth of a second's data to its being durable
        self._stalls: list[Stall] = []
        self.stalls_in_all, self.stalled_s = 0, 0.0
        self._hours: dict[int, HourTally] = {}
        self.troubles = Troubles()
        self.bytes = self.all_bytes = self.durable = self.peak_bytes = 0  # all: also those without a pace
        self.lows = Lows(offer)
        self.steps = Steps()
        self.durable_ns = offer.start_ns  # when `durable` was reached
        self.saturation: Saturation | None = None
        self._paced, self._saturated = CallTrace(offer.start_ns), CallTrace(offer.start_ns)
        self._ended_ns = offer.start_ns
        self._curve_ns = offer.start_ns  # up to where the backlog's curve is drawn
        self._arrived_ns = offer.start_ns  # data up to here is in `delays`

    @property
    def _counts(self) -> bool:
        """Tell whether calls are those of the load that was asked for."""
        return self.saturation is None or self.offer.bytes_per_s is None

    def saturating(self, found: Saturation) -> None:
        """Take that from now on calls have no pace."""
        self.saturation, self._saturated = found, CallTrace(found.start_ns)

    def stop(self, now_ns: int) -> None:
        """Take that what is under way is to end now."""
        self.offer.end_ns = min(self.offer.end_ns, now_ns)
        if self.saturation is not None:
            self.saturation.end_ns = min(self.saturation.end_ns, now_ns)

    @property
    def due_ns(self) -> int:
        """Return when the writer is to come to an end."""
        return self.offer.end_ns if self.saturation is None else self.saturation.end_ns

    @property
    def seconds(self) -> float:
        """How long the bench took in all."""
        return self._since_start_s(self._ended_ns)

    def call(self, call: str, start_ns: int, took_ns: int, value: int) -> None:
        """Take a call that has returned; see `fastcap.nasbench.writer.Writer`."""
        size = value if call == "write" else max(0, value - self.durable)
        if size > 0:
            trace = self._paced if self.saturation is None else self._saturated
            trace.add(call, start_ns, took_ns, size)
        self.all_bytes += size if call == "write" else 0
        if self._counts:
            self._count(call, start_ns, took_ns, ongoing=False)
            self.bytes += value if call == "write" else 0
        if call == "fsync" and value >= 0:
            self._made_durable(start_ns + took_ns, value)

    def _count(self, call: str, start_ns: int, took_ns: int, *, ongoing: bool) -> None:
        self.histograms[call].record(took_ns)
        self._hour(start_ns).calls[call].record(took_ns)
        self.steps.add(call, start_ns - self.offer.start_ns, took_ns)
        if took_ns >= STALL_NS:
            at_s, for_s = self._since_start_s(start_ns), took_ns * 1e-9
            self._stalled(Stall(round(at_s, 6), round(for_s, 6), call, ongoing))
            self._hour(start_ns).stalled(for_s)

    def _hour(self, at_ns: int) -> HourTally:
        return self._hours.setdefault(max(0, at_ns - self.offer.start_ns) // HOUR_NS, HourTally())

    def _stalled(self, stall: Stall) -> None:
        """Keep a stall, and of too many the longest: a slow disk's day has 100,000."""
        self._stalls.append(stall)
        self.stalls_in_all += 1
        self.stalled_s += stall.for_s
        if len(self._stalls) > 2 * MOST_STALLS:
            self._stalls.sort(key=lambda s: (s.ongoing, s.for_s), reverse=True)
            del self._stalls[MOST_STALLS:]

    @property
    def stalls(self) -> list[Stall]:
        """The longest, in order."""
        longest = sorted(self._stalls, key=lambda s: (s.ongoing, s.for_s), reverse=True)[:MOST_STALLS]
        return sorted(longest, key=lambda s: s.at_s)

    def hours(self) -> list[Hour]:
        """Return the offered load hour by hour."""
        end_s = (min(self.offer.end_ns, max(self._ended_ns, self._curve_ns)) - self.offer.start_ns) * 1e-9
        hour_s = HOUR_NS * 1e-9
        spans = ((n, hour, min(hour_s, end_s - hour_s * n)) for n, hour in sorted(self._hours.items()))
        return [hour.made(n, observed_s) for n, hour, observed_s in spans if observed_s > 0]

    def _made_durable(self, at_ns: int, reached: int) -> None:
        if reached > self.durable:
            self.troubles.over(self._since_start_s(at_ns))
        if self._counts or self.durable < self.offer.total:
            self.backlog_until(at_ns)
            self.durable_ns = at_ns
        self._delayed(at_ns, reached)
        if self._counts:
            self._hour(at_ns).durable += max(0, reached - self.durable)
        self.durable = reached
        self.lows.add(at_ns, self.offer.by(at_ns) - reached)
        if self.saturation is not None:
            self.saturation.synced(at_ns, reached)

    def _delayed(self, at_ns: int, reached: int) -> None:
        """Take how long data waited that is durable, or waits still, at a time."""
        if self.offer.bytes_per_s is None:
            return
        until_ns = min(self.offer.when_ns(reached), self.offer.end_ns, at_ns)
        while self._arrived_ns < until_ns:
            self.delays.record(at_ns - self._arrived_ns)
            self._hour(self._arrived_ns).delayed(at_ns - self._arrived_ns)
            self._arrived_ns += _ARRIVAL_NS

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

    def failed(self, at_ns: int, text: str, errno: int = 0) -> None:
        """Take a call that failed."""
        self.troubles.failed(self._since_start_s(at_ns), text, errno)

    def _since_start_s(self, at_ns: int) -> float:
        return (at_ns - self.offer.start_ns) * 1e-9

    def end(self, at_ns: int, under_way: tuple[str, int] | None) -> None:
        """Take the end, with a call under way since some time; None: none."""
        self._ended_ns = at_ns
        if self._counts or self.durable < self.offer.total:
            self.backlog_until(at_ns)
            self._delayed(at_ns, self.offer.total)
        self.troubles.over(self._since_start_s(at_ns), ongoing=True)
        if under_way is not None and at_ns - under_way[1] >= STALL_NS:
            call, since_ns = under_way
            self._count(call, since_ns, at_ns - since_ns, ongoing=True)

    @property
    def ongoing(self) -> Stall | None:
        """The call that had not returned at the end; None: all had."""
        return next((stall for stall in self.stalls if stall.ongoing), None)

    def trace(self, create_s: float) -> Trace:
        """Return both parts as a replay needs them; what failed or had not returned is a pause."""
        outages = [(t.at_s, t.for_s) for t in self.troubles.told]
        outages += [(stall.at_s, stall.for_s) for stall in self.stalls if stall.ongoing]
        paced_s = (self.offer.end_ns - self.offer.start_ns) * 1e-9
        found, paced, saturated = self.saturation, None, None
        if self.offer.bytes_per_s is not None:
            paced = self._paced.phase(paced_s, [o for o in outages if o[0] < paced_s])
        if found is not None:
            begin_s = self._since_start_s(found.start_ns)
            late = [(at_s - begin_s, for_s) for at_s, for_s in outages if at_s >= begin_s]
            saturated = self._saturated.phase(found.seconds, late)
        return Trace(paced, saturated, round(create_s, 6))

    def saturated(self) -> Saturated | None:
        """Return what was taken without a pace; None: nothing was."""
        found = self.saturation
        if found is None:
            return None
        settled = not (found.climbing or found.falling)
        late = found.late()
        middle = late[len(late) // 2] if len(late) >= LEAST_LATE else None
        rates = {"rate_bytes_per_s": found.rate, "median_bytes_per_s": middle}
        whole = self._ended_ns >= found.end_ns
        return Saturated(
            seconds=round(found.seconds, 6), bytes=found.bytes, settled=settled, whole=whole,
            larger_may_help=found.capped, **rates,
            fastest_bytes_per_s=found.fastest if len(late) < FEW_LATE else None,
        )  # fmt: skip

    def latencies(self, call: str) -> Latencies:
        """Return the percentiles of one kind of call, or ``delay``: of the data."""
        return Latencies.of(self.delays if call == "delay" else self.histograms[call])

    def timeline(self) -> Timeline:
        """Return the run in steps."""
        seconds = {
            what: [None if v is None else v / 1e9 for v in self.steps.values[what]]
            for what in ("write", "fsync")
        }
        backlog = [v or 0 for v in self.steps.values["backlog"]]
        return Timeline(self.steps.step_ns * 1e-9, seconds["write"], seconds["fsync"], backlog)


_ARRIVAL_NS = 10_000_000
