"""What was measured at one rate says about others: would they fit, and with which ring.

A destination is taken as one that serves at the rate it had while working, and not during the stalls that were
seen, nor while its calls failed; what a stall carried is durable at its end. The backlog of another offered rate
then is a walk along those times.
"""

from __future__ import annotations

from collections.abc import Sequence

from fastcap.nasbench.model import Fit, Stall, Trouble
from fastcap.ringsize import available_bytes, free_shm_bytes
from fastcap.units import format_rate, format_size

MARGIN = 1.5
ENOUGH = 1.1  # headroom below which the next slow hour is a loss
RATES_HZ = (2e6, 10e6)
BYTES_PER_WORD = 8
_SYNC_SHARE_S = 0.5  # a stream's time between fsyncs with the least ring: 8 MiB at 16 MB/s
_MIB = 1 << 20

Outage = Stall | Trouble


def recommended(needed_bytes: int, least_bytes: int) -> int:
    """Return the ring to use, whole MiB."""
    return max(least_bytes, -(-int(needed_bytes * MARGIN) // _MIB) * _MIB)


def _merged(outages: Sequence[Outage]) -> list[tuple[float, float]]:
    """Return from when to when, seconds, nothing could become durable: no two of them overlap."""
    merged: list[tuple[float, float]] = []
    for begin, end in sorted((o.at_s, o.at_s + o.for_s) for o in outages):
        if merged and begin <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(end, merged[-1][1])
        else:
            merged.append((begin, end))
    return merged


def backlog_at(
    rate: float, busy_rate: float, outages: Sequence[Outage], fsync_s: float, carried_rate: float = 0.0
) -> int:
    """Return the largest backlog, bytes, that an offered rate would have built.

    Parameters
    ----------
    rate, busy_rate : float
        Offered, and served but for the outages; bytes per second.
    outages : sequence of Stall or Trouble
        When nothing could become durable.
    fsync_s : float
        A long fsync that is no stall.
    carried_rate : float
        What the outages made durable, at their ends, over their time; bytes per second.
    """
    peak = backlog = 0.0
    served_s = 0.0
    for begin_s, end_s in _merged(outages):
        backlog = max(0.0, backlog - (busy_rate - rate) * (begin_s - served_s))
        backlog += rate * (end_s - begin_s)
        peak, served_s = max(peak, backlog), end_s
        backlog = max(0.0, backlog - carried_rate * (end_s - begin_s))
    return int(peak + rate * (_SYNC_SHARE_S + fsync_s))


class Service:
    """How a destination served: what `fits` needs to know."""

    def __init__(
        self,
        busy_rate: float | None,
        outages: Sequence[Outage],
        observed_s: float,
        fsync_s: float | None,
        measured_rate: float | None,
        measured_ring: int | None,
        carried_bytes: int = 0,
    ) -> None:
        self.busy_rate = busy_rate or 0.0
        self.outages = outages
        self.failing = any(o.ongoing for o in outages if isinstance(o, Trouble))
        self.fsync_s = min(fsync_s or 0.0, 0.25)
        self.measured_rate, self.measured_ring = measured_rate, measured_ring
        away_s = sum(end - begin for begin, end in _merged(outages))
        self.carried_rate = carried_bytes / away_s if away_s > 0 else 0.0
        served = self.busy_rate * max(0.0, observed_s - away_s) + carried_bytes
        self.rate = served / observed_s if observed_s > 0 else 0.0

    def fit(self, rate_hz: float) -> Fit:
        """Judge one board rate."""
        rate = rate_hz * BYTES_PER_WORD
        measured = self.measured_rate is not None and abs(rate - self.measured_rate) < 1e-6 * rate
        needed = self.measured_ring if measured else None
        if needed is None:
            needed = backlog_at(rate, self.busy_rate, self.outages, self.fsync_s, self.carried_rate)
        headroom, room = self.rate / rate, min(free_shm_bytes(), available_bytes())
        fits, why = True, ""
        if self.failing:
            fits, why = False, "its calls failed to the end"
        elif headroom < ENOUGH:
            fits, why = False, f"the destination takes {format_rate(self.rate)}"
        elif needed * MARGIN > room:
            fits, why = False, f"there is room for a ring of {format_size(room)} here"
        return Fit(rate_hz, rate, fits, round(headroom, 3), needed, measured, why)

    def fits(self) -> list[Fit]:
        """Judge 2 MHz, 10 MHz, the rate that was asked for, and the largest that fits."""
        rates = {*RATES_HZ}
        if self.measured_rate is not None:
            rates.add(self.measured_rate / BYTES_PER_WORD)
        most = self.rate / ENOUGH / BYTES_PER_WORD
        if most >= 1e3 and not self.failing:
            rates.add(float(f"{most * 0.995:.2e}"))
        return [self.fit(rate) for rate in sorted(rates)]
