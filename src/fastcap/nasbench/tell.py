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
    ended = ", interrupted" if bench.interrupted else ""
    blocks = f"in blocks of {format_size(bench.block_bytes)}"
    yield f"offered    {asked} for {format_duration(bench.observed_s)}{ended}, {blocks}"
    yield f"sustained  {format_rate(bench.rate_bytes_per_s)} durable"
    if bench.asked_bytes_per_s is not None:
        yield f"saturated  {_saturated(bench)}"
    if bench.delay_s is not None:
        yield f"data       {_percentiles(bench.delay_s, 'until durable')}"
    for name, found in (("write", bench.write_s), ("fsync", bench.fsync_s)):
        yield f"{name:10} {_percentiles(found, f'{found.count:,} calls')}"
    yield from _stalls(bench)
    yield from _errors(bench)
    yield f"ring       {_ring(bench)}"
    for k, fit in enumerate(bench.fits):
        yield f"{'fits' if k == 0 else '':10} {_fit(fit)}"
    for warning in bench.warnings:
        yield f"warning    {warning}"
    if bench.unseen:
        yield f"unseen     {bench.unseen}"


def _mounted(bench: NasBench) -> str:
    if bench.mount is None:
        return "file system unknown"
    m = bench.mount
    return f"{m.file_system} ({m.source} on {m.point}; {','.join(m.options)})"


def _saturated(bench: NasBench) -> str:
    found = bench.saturated
    if found is None or found.rate_bytes_per_s is None:
        return "not measured"
    settled = "" if found.settled else ", and not steady yet"
    taken = f"{format_size(found.bytes)} in {format_duration(found.seconds)}"
    return f"{format_rate(found.rate_bytes_per_s)} durable{settled} ({taken})"


def _percentiles(found: Latencies, of: str) -> str:
    if found.count == 0 or found.max is None:
        return "none returned"
    values = (("p50", found.p50), ("p90", found.p90), ("p99", found.p99), ("p99.9", found.p999),
              ("p99.99", found.p9999))  # fmt: skip
    told = [f"{name} {format_duration(value)}" for name, value in values if value is not None]
    return "  ".join([*told, f"max {format_duration(found.max)}", f"({of})"])


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
        return f"{needed} needed for the {time} observed, and none is enough: see below"
    use = f"--ring {bench.ring_recommended_bytes >> 20}MiB"
    return f"{needed} needed for the {time} observed; with a margin of {round(100 * (bench.margin - 1))} %: {use}"


def _fit(fit: Fit) -> str:
    what = f"{format_rate_hz(fit.rate_hz)} ({format_rate(fit.rate_bytes_per_s)})"
    if fit.verdict != "yes":
        return f"{what}: {fit.verdict.upper()}, {fit.why} ({fit.rests_on})"
    facts = []
    if fit.headroom is not None:
        facts.append(f"{fit.headroom:.3g} times what it needs")
    if fit.ring_needed_bytes is not None:
        facts.append(f"ring needed {format_size(fit.ring_needed_bytes)}")
    facts.append(f"shown for {format_duration(fit.covered_s)}")
    if fit.full_after_s is not None:
        facts.append(f"disk full after {format_duration(fit.full_after_s)}")
    return f"{what}: yes, {', '.join(facts)} ({fit.rests_on})"
