"""What was measured says of a board's rate: it fits, it does not, or that is not known.

A "yes" needs that the destination took this rate, durable, to new blocks, for so long that no cache explains it,
that it was not falling behind at the end, and a ring that loses nothing in the replay. The first thing that stands
against it is the reason given; only what was seen to be too slow, or full, is a "no".
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence

import msgspec

from fastcap.nasbench.model import Fit, Saturated, Stall, Trouble, Verdict
from fastcap.nasbench.replay import recommended, ring_needed
from fastcap.nasbench.saturation import COVERED
from fastcap.nasbench.trace import Trace
from fastcap.ringsize import available_bytes, free_shm_bytes
from fastcap.units import format_duration, format_rate, format_size

ENOUGH = 1.1  # headroom below which the next slow hour is a loss
RATES_HZ = (2e6, 10e6)
BYTES_PER_WORD = 8
_FULL = (errno.ENOSPC, errno.EDQUOT)
_HOUR_S = 3600.0


class Evidence(msgspec.Struct, frozen=True):
    """What a verdict rests on; see `fastcap.nasbench.model.NasBench`.

    ``seconds`` is the whole bench's duration, ``went_round``: blocks were written over, ``rising``: what was not
    durable was growing at the end of the offered load.
    """

    asked: float | None
    every: int | None
    seconds: float
    trace: Trace
    saturated: Saturated | None
    errors: Sequence[Trouble]
    ongoing: Stall | None
    rising: bool
    new_bytes: int
    went_round: bool
    free_bytes: int | None
    elsewhere: bool


_Against = tuple[Verdict, str] | None


def _failing(e: Evidence, rate: float) -> _Against:
    return ("no", "its calls failed to the end") if any(t.ongoing for t in e.errors) else None


def _full(e: Evidence, rate: float) -> _Against:
    """Object to a disk that will be full in three times the bench's duration; after a long bench, in its duration."""
    if any(t.errno in _FULL for t in e.errors):
        return "no", "the disk was full"
    if e.free_bytes is None:
        return None
    least_s = max(e.seconds, min(COVERED * e.seconds, _HOUR_S))
    if e.free_bytes < rate * least_s:
        return (
            "no",
            f"{format_size(e.free_bytes)} are free: full after {format_duration(e.free_bytes / rate)}",
        )
    return None


def _unreachable(e: Evidence, rate: float) -> _Against:
    if e.elsewhere:
        return "unknown", "the directory was unmounted, removed or replaced"
    if e.ongoing is not None:
        held = format_duration(e.ongoing.for_s)
        return "unknown", f"a call ({e.ongoing.call}) had not returned at the end, after {held}"
    return None


def _slow(e: Evidence, rate: float) -> _Against:
    taken, found = _taken(e), e.saturated
    if taken is None or found is None:
        if e.asked is not None and rate <= e.asked and not e.rising:
            return None  # whether the time was enough is asked below
        return "unknown", "it was not offered so much"
    if taken >= ENOUGH * rate:
        return None
    text = f"the destination takes {format_rate(taken)}"
    falls_behind = e.rising and e.asked is not None and rate >= e.asked
    if taken >= rate or (ENOUGH * taken >= rate and not falls_behind):
        return "unknown", f"{text}, {taken / rate:.3g} times what it needs: too near to tell"
    usually, fastest = found.median_bytes_per_s, found.fastest_bytes_per_s
    if usually is not None and usually >= ENOUGH * rate:
        return "unknown", f"{text}, for it was held up: most of the time it took {format_rate(usually)}"
    if fastest is not None and fastest >= rate:
        return "unknown", f"{text}, and once {format_rate(fastest)}: too short to tell; give more --saturate"
    if usually is None and not found.settled:
        return "unknown", f"{text}, and that was not steady yet"
    if found.larger_may_help:
        return "unknown", f"{text} with a capture's default ring: a larger --ring may do"
    return "no", text


def _behind(e: Evidence, rate: float) -> _Against:
    if e.rising and e.asked is not None and rate >= e.asked:
        return "unknown", "what was not durable was growing at the end"
    return None


def _cached(e: Evidence, rate: float) -> _Against:
    """Object where a cache may have taken what was written: too little, written over, or ever more slowly."""
    if e.new_bytes >= COVERED * e.seconds * rate:
        return None
    covered = (
        f"{format_size(e.new_bytes)} were written to new blocks, {format_duration(e.new_bytes / rate)} of it"
    )
    if e.saturated is None:
        return "unknown", f"{covered}, and no more than was offered: a cache may have taken it"
    if e.went_round or not e.saturated.whole:
        return "unknown", f"{covered}: a cache may have taken it"
    if e.asked is None or rate > e.asked:
        return "unknown", f"{covered}: a cache may have taken it; offer it, with --rate"
    if not e.saturated.settled:
        return "unknown", f"{covered}, and what the destination takes was not steady yet"
    return None


_AGAINST: tuple[Callable[[Evidence, float], _Against], ...] = (
    _failing, _full, _unreachable, _slow, _behind, _cached,
)  # fmt: skip


def _taken(e: Evidence) -> float | None:
    return e.saturated.rate_bytes_per_s if e.saturated is not None else None


def fit(e: Evidence, rate_hz: float) -> Fit:
    """Judge one board rate."""
    rate = rate_hz * BYTES_PER_WORD
    offered = e.asked is not None and rate <= e.asked * (1 + 1e-6)
    measured = offered and e.asked is not None and rate >= e.asked * (1 - 1e-6)
    needed = None
    if e.trace.paced is not None or e.trace.saturated is not None:
        needed = ring_needed(e.trace, rate, e.every, saturated=not offered)
    taken, room = _taken(e), min(free_shm_bytes(), available_bytes())
    against = next((found for judge in _AGAINST if (found := judge(e, rate)) is not None), None)
    if against is None and needed is None:
        against = "unknown", "in the replay no ring is enough"
    elif against is None and needed is not None and recommended(needed, e.every) > room:
        against = "no", f"there is room for a ring of {format_size(room)} here"
    verdict, why = against or ("yes", "")
    return Fit(
        rate_hz, rate, verdict == "yes", None if taken is None else round(taken / rate, 3), needed, measured, why,
        verdict, "offered" if offered else "unthrottled", round(e.new_bytes / rate, 3),
        None if e.free_bytes is None else round(e.free_bytes / rate, 1),
    )  # fmt: skip


def fits(e: Evidence) -> list[Fit]:
    """Judge 2 MHz, 10 MHz, the rate that was asked for, and the largest that no cache explains."""
    rates = {*RATES_HZ}
    if e.asked is not None:
        rates.add(e.asked / BYTES_PER_WORD)
    found = [fit(e, rate_hz) for rate_hz in sorted(rates)]
    most = float(
        f"{0.995 * min((_taken(e) or 0.0) / ENOUGH, e.new_bytes / (COVERED * e.seconds)) / BYTES_PER_WORD:.2e}"
    )
    if most > ENOUGH * max((f.rate_hz for f in found if f.fits), default=1e3):
        found += [made for made in [fit(e, most)] if made.fits]
    return sorted(found, key=lambda f: f.rate_hz)


def unseen(e: Evidence) -> str:
    """Return what a bench of this length cannot tell of a longer capture."""
    if e.seconds >= 12 * _HOUR_S:
        return ""
    return (
        f"{format_duration(e.seconds)} say nothing of what comes once an hour or once a night (other users, backups, "
        f"snapshots, disks that sleep), nor of a cache of more than {format_size(e.new_bytes)}; --seconds 24h does"
    )
