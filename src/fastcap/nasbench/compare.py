"""Benches side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from fastcap.nasbench.judge import RATES_HZ
from fastcap.nasbench.model import NasBench
from fastcap.units import format_duration, format_rate, format_size

_MOST_COLUMN = 28


def labels(paths: Sequence[str]) -> list[str]:
    """Return a short name for each file: what differs between the paths, else the whole path."""
    import os

    short = [os.path.splitext(os.path.basename(path))[0] for path in paths]
    return short if len(set(short)) == len(short) else list(paths)


def table(benches: Sequence[NasBench], names: Sequence[str]) -> Iterator[str]:
    """Yield the lines of a table, a column for each bench."""
    rows = [("", list(names))] + [(what, [tell(b) for b in benches]) for what, tell in _ROWS]
    widths = [min(_MOST_COLUMN, max(len(row[1][k]) for row in rows)) for k in range(len(benches))]
    for what, cells in rows:
        columns = "  ".join(_cut(c, w).rjust(w) for c, w in zip(cells, widths, strict=True))
        yield f"{what:16}  {columns}".rstrip()


def facts(benches: Sequence[NasBench], names: Sequence[str]) -> list[dict[str, Any]]:
    """Return the same as plain values, the first bench's ratios with it."""
    first = benches[0]
    found = []
    for bench, name in zip(benches, names, strict=True):
        made = bench.to_dict()
        for heavy in ("timeline", "trace", "kind"):
            made.pop(heavy)
        for latencies in ("write_s", "fsync_s", "delay_s"):
            if made[latencies] is not None:
                made[latencies].pop("buckets")
        ratios = {
            "delay_p99": _ratio(_value(bench, "delay_s", "p99"), _value(first, "delay_s", "p99")),
            "rate": _ratio(bench.rate_bytes_per_s, first.rate_bytes_per_s),
            "write_p99": _ratio(bench.write_s.p99, first.write_s.p99),
            "fsync_p99": _ratio(bench.fsync_s.p99, first.fsync_s.p99),
            "ring_needed": _ratio(bench.ring_needed_bytes, first.ring_needed_bytes),
        }
        found.append({"name": name, **made, "over_first": ratios})
    return found


def _ratio(value: float | None, of: float | None) -> float | None:
    return None if value is None or not of else round(value / of, 4)


def _value(bench: NasBench, kind: str, name: str) -> float | None:
    """Return a percentile of one kind of latency; None: it was not measured."""
    latencies = getattr(bench, kind)
    value: float | None = None if latencies is None else getattr(latencies, name)
    return value


def _fit_at(rate_hz: float) -> Callable[[NasBench], str]:
    def verdict(bench: NasBench) -> str:
        found = next((fit for fit in bench.fits if fit.rate_hz == rate_hz), None)
        if found is None:
            return "-"
        return found.verdict if found.headroom is None else f"{found.verdict} ({found.headroom:.3g} times)"

    return verdict


def _saturated(bench: NasBench) -> str:
    found = bench.saturated
    return "-" if found is None or found.rate_bytes_per_s is None else format_rate(found.rate_bytes_per_s)


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else "…" + text[len(text) - width + 1 :]


def _seconds(value: float | None) -> str:
    return "-" if value is None else format_duration(value)


def _latency(kind: str, name: str) -> Callable[[NasBench], str]:
    return lambda bench: _seconds(_value(bench, kind, name))


def _latency_rows(what: str, kind: str) -> Iterator[tuple[str, Callable[[NasBench], str]]]:
    for shown, name in (("p50", "p50"), ("p99", "p99"), ("p99.9", "p999"), ("max", "max")):
        yield f"{what} {shown}", _latency(kind, name)


_ROWS: list[tuple[str, Callable[[NasBench], str]]] = [
    ("directory", lambda b: b.directory),
    ("file system", lambda b: b.mount.file_system if b.mount else "unknown"),
    ("started", lambda b: b.started[:16].replace("T", " ")),
    ("observed", lambda b: format_duration(b.observed_s)),
    ("offered", lambda b: "max" if b.asked_bytes_per_s is None else format_rate(b.asked_bytes_per_s)),
    *_latency_rows("data", "delay_s"),
    *((f"fits {rate_hz / 1e6:g} MHz", _fit_at(rate_hz)) for rate_hz in RATES_HZ),
    ("sustained", lambda b: format_rate(b.rate_bytes_per_s)),
    ("saturated", _saturated),
    *_latency_rows("write", "write_s"),
    *_latency_rows("fsync", "fsync_s"),
    ("stalls", lambda b: f"{b.stalls_counted:,}"),
    ("stalled in all", lambda b: format_duration(b.seconds_stalled)),
    ("longest stall", lambda b: _seconds(max((s.for_s for s in b.stalls), default=None))),
    ("ring needed", lambda b: "-" if b.ring_needed_bytes is None else format_size(b.ring_needed_bytes)),
    ("errors", lambda b: str(sum(e.calls for e in b.errors))),
    ("failing in all", lambda b: format_duration(sum(e.for_s for e in b.errors))),
]  # fmt: skip
