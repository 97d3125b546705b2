"""A bench in words."""

from __future__ import annotations

from collections.abc import Iterator

from fastcap.nasbench.hours import trend
from fastcap.nasbench.model import Cpu, Fit, Latencies, NasBench
from fastcap.units import format_duration, format_rate, format_rate_hz, format_size

_SHOWN_STALLS = 12


def describe(bench: NasBench) -> Iterator[str]:
    """Yield the lines that a person reads."""
    yield f"{bench.directory}: {_mounted(bench)}"
    asked = "as fast as it goes" if bench.asked_bytes_per_s is None else format_rate(bench.asked_bytes_per_s)
    ended = ", interrupted" if bench.interrupted else ""
    blocks = f"in blocks of {format_size(bench.block_bytes)}{', O_DIRECT' if bench.direct else ''}"
    yield f"offered    {asked} for {format_duration(bench.observed_s)}{ended}, {blocks}"
    yield f"sustained  {format_rate(bench.rate_bytes_per_s)} durable"
    if bench.writers > 1 and bench.all_bytes_per_s is not None:
        rate = format_rate(bench.all_bytes_per_s)
        yield f"writers    {bench.writers} at once, {rate} durable in all; all else is of the one that fared worst"
    if bench.asked_bytes_per_s is not None:
        yield f"saturated  {_saturated(bench)}"
    if bench.delay_s is not None:
        yield f"data       {_percentiles(bench.delay_s, 'until durable')}"
    for name, found in (("write", bench.write_s), ("fsync", bench.fsync_s)):
        yield f"{name:10} {_percentiles(found, f'{found.count:,} calls')}"
    if bench.cpu is not None:
        yield f"cpu        {_cpu(bench.cpu)}"
    yield from _stalls(bench)
    yield from _errors(bench)
    yield from _hours(bench)
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


def _cpu(found: Cpu) -> str:
    used_s = found.user_s + found.system_s
    text = f"{format_duration(found.user_s)} user, {format_duration(found.system_s)} system"
    if found.bytes and found.seconds:
        text += f": {used_s * 1e9 / found.bytes:.3g} s per GB, {100 * used_s / found.seconds:.3g} % of a core"
    return text


def _stalls(bench: NasBench) -> Iterator[str]:
    if not bench.stalls:
        yield "stalls     none above 0.25 s"
        return
    number, total = bench.stalls_counted, format_duration(bench.seconds_stalled)
    yield f"stalls     {number:,} above 0.25 s, {total} in all:"
    longest = sorted(bench.stalls, key=lambda s: -s.for_s)[:_SHOWN_STALLS]
    for s in sorted(longest, key=lambda s: s.at_s):
        least = "at least " if s.ongoing else ""
        yield f"           {s.call} for {least}{format_duration(s.for_s)}, at {format_duration(s.at_s)}"
    if number > _SHOWN_STALLS:
        yield f"           and {number - _SHOWN_STALLS:,} shorter ones"


def _hours(bench: NasBench) -> Iterator[str]:
    """Yield a line for each hour, where there are several."""
    if len(bench.hours) < 2:
        return
    yield "hours      data p50   data p99   write p99  fsync p99  worst stall, stalls; durable"
    for hour in bench.hours:
        times = (hour.delay_p50_s, hour.delay_p99_s, hour.write_p99_s, hour.fsync_p99_s)
        told = "  ".join(f"{'-' if s is None else format_duration(s):9}" for s in times)
        worst = f"{format_duration(hour.worst_stall_s) if hour.stalls else '-'}, {hour.stalls:,}"
        durable = format_rate(hour.durable_bytes / hour.observed_s)
        yield f"{hour.number:>10} {told}  {worst}; {durable}"
    if (told_trend := trend(bench.hours)) is not None:
        yield f"trend      {told_trend}"


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
