"""A bench in words."""

from __future__ import annotations

from collections.abc import Iterator

from fastcap.nasbench.model import Fit, Latencies, NasBench
from fastcap.units import format_duration, format_rate, format_rate_hz, format_size

_SHOWN_STALLS = 12


def describe(bench: NasBench) -> Iterator[str]:
    """Yield the lines that a person reads."""
    yield f"{bench.directory}: {_mounted(bench)}"
    asked = "as fast as it goes" if bench.asked_bytes_per_s is None else format_rate(bench.asked_bytes_per_s)
    blocks = f"in blocks of {format_size(bench.block_bytes)}, round within {format_size(bench.span_bytes)}"
    ended = ", interrupted" if bench.interrupted else ""
    yield f"offered    {asked} for {format_duration(bench.observed_s)}{ended}, {blocks}"
    yield f"sustained  {format_rate(bench.rate_bytes_per_s)} durable{_busy(bench)}"
    for name, found in (("write", bench.write_s), ("fsync", bench.fsync_s)):
        yield f"{name:10} {_percentiles(found)}"
    yield from _stalls(bench)
    yield from _errors(bench)
    yield f"ring       {_ring(bench)}"
    for k, fit in enumerate(bench.fits):
        yield f"{'fits' if k == 0 else '':10} {_fit(fit)}"
    for warning in bench.warnings:
        yield f"warning    {warning}"


def _mounted(bench: NasBench) -> str:
    if bench.mount is None:
        return "file system unknown"
    m = bench.mount
    return f"{m.file_system} ({m.source} on {m.point}; {','.join(m.options)})"


def _busy(bench: NasBench) -> str:
    if bench.busy_bytes_per_s is None or bench.asked_bytes_per_s is None:
        return ""
    return f"; while working it took {format_rate(bench.busy_bytes_per_s)}"


def _percentiles(found: Latencies) -> str:
    if found.count == 0 or found.max is None:
        return "none returned"
    values = (("p50", found.p50), ("p90", found.p90), ("p99", found.p99), ("p99.9", found.p999),
              ("p99.99", found.p9999))  # fmt: skip
    told = [f"{name} {format_duration(value)}" for name, value in values if value is not None]
    return "  ".join([*told, f"max {format_duration(found.max)}", f"({found.count:,} calls)"])


def _stalls(bench: NasBench) -> Iterator[str]:
    if not bench.stalls:
        yield "stalls     none above 0.25 s"
        return
    total = format_duration(sum(s.for_s for s in bench.stalls))
    yield f"stalls     {len(bench.stalls)} above 0.25 s, {total} in all:"
    longest = sorted(bench.stalls, key=lambda s: -s.for_s)[:_SHOWN_STALLS]
    for s in sorted(longest, key=lambda s: s.at_s):
        least = "at least " if s.ongoing else ""
        yield f"           {s.call} for {least}{format_duration(s.for_s)}, at {format_duration(s.at_s)}"
    if len(bench.stalls) > _SHOWN_STALLS:
        yield f"           and {len(bench.stalls) - _SHOWN_STALLS} shorter ones"


def _errors(bench: NasBench) -> Iterator[str]:
    for error in bench.errors[:_SHOWN_STALLS]:
        calls = f"{error.calls:,} calls" if error.calls > 1 else "a call"
        until = "and to the end" if error.ongoing else f"nothing durable for {format_duration(error.for_s)}"
        yield f"error      at {format_duration(error.at_s)}, {calls}, {until}: {error.text}"
    if len(bench.errors) > _SHOWN_STALLS:
        yield f"           and {len(bench.errors) - _SHOWN_STALLS} more"


def _ring(bench: NasBench) -> str:
    if bench.ring_needed_bytes is None:
        return "not measured: nothing is offered where writing goes as fast as it can; give a --rate"
    needed, time = format_size(bench.ring_needed_bytes), format_duration(bench.observed_s)
    if any(s.ongoing for s in bench.stalls) or any(e.ongoing for e in bench.errors):
        needed = f"at least {needed}"  # it was still growing
    if bench.ring_recommended_bytes is None:
        return f"{needed} needed in the {time} observed, and growing: less was taken than was offered"
    use = f"--ring {bench.ring_recommended_bytes >> 20}MiB"
    short = "; a rare stall needs a longer look: --seconds 24h" if bench.observed_s < 3600 else ""
    return f"{needed} needed in the {time} observed; with a margin of half: {use}{short}"


def _fit(fit: Fit) -> str:
    what = f"{format_rate_hz(fit.rate_hz)} ({format_rate(fit.rate_bytes_per_s)})"
    how = "measured" if fit.measured else "estimated"
    ring = f"ring needed {format_size(fit.ring_needed_bytes)}"
    if fit.fits:
        return f"{what}: yes, {fit.headroom:.3g} times what it needs, {ring} ({how})"
    return f"{what}: NO, {fit.why} ({how})"
