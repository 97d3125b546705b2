"""A bench as fio writes its results (``fio --output-format=json+``, fio 3), for tools that read those.

One job: ``write`` are the offered load's writes, ``sync`` its fsyncs. What a bench does not measure (submission
latencies, queue depths, context switches) is not in it: a zero there would be a measurement.
"""

from __future__ import annotations

import math
from datetime import datetime
from typing import Any

from fastcap.histogram import LatencyHistogram
from fastcap.nasbench.model import Latencies, NasBench

_PERCENTILES = (
    1.0,
    5.0,
    10.0,
    20.0,
    30.0,
    40.0,
    50.0,
    60.0,
    70.0,
    80.0,
    90.0,
    95.0,
    99.0,
    99.5,
    99.9,
    99.95,
    99.99,
)


def to_fio(bench: NasBench) -> dict[str, Any]:
    """Return what ``fio --output-format=json+`` would print of such a job; durations in ns."""
    began = datetime.fromisoformat(bench.started)
    rate = bench.rate_bytes_per_s
    return {
        "fio version": f"fastcap-{bench.fastcap}",
        "timestamp": int(began.timestamp()),
        "timestamp_ms": int(began.timestamp() * 1000),
        "time": began.strftime("%a %b %e %H:%M:%S %Y"),
        "jobs": [
            {
                "jobname": "fastcap bench nas", "groupid": 0, "error": max((e.errno for e in bench.errors), default=0),
                "elapsed": math.ceil(bench.observed_s), "job options": _options(bench), "read": _nothing(),
                "write": {
                    "io_bytes": bench.bytes, "io_kbytes": bench.bytes >> 10, "bw_bytes": int(rate),
                    "bw": int(rate) >> 10,
                    "iops": bench.write_s.count / bench.observed_s if bench.observed_s else 0.0,
                    "runtime": round(bench.observed_s * 1000), "total_ios": bench.write_s.count,
                    "clat_ns": _latencies(bench.write_s), "lat_ns": _latencies(bench.write_s),
                },
                "trim": _nothing(), "sync": {"total_ios": bench.fsync_s.count, "lat_ns": _latencies(bench.fsync_s)},
                "job_runtime": round(bench.observed_s * 1000), **_cpu(bench),
            }
        ],
    }  # fmt: skip


def _options(bench: NasBench) -> dict[str, str]:
    """Return the options of a job like this one."""
    found = {
        "name": "fastcap bench nas", "directory": bench.directory, "rw": "write", "bs": str(bench.block_bytes),
        "direct": str(int(bench.direct)), "runtime": f"{bench.observed_s:g}s",
    }  # fmt: skip
    if bench.asked_bytes_per_s is not None:
        found["rate"] = f",{bench.asked_bytes_per_s:.0f}"
    return found


def _nothing() -> dict[str, Any]:
    return {"io_bytes": 0, "io_kbytes": 0, "bw_bytes": 0, "bw": 0, "iops": 0.0, "runtime": 0, "total_ios": 0}


def _cpu(bench: NasBench) -> dict[str, float]:
    if bench.cpu is None or bench.cpu.seconds <= 0:
        return {}
    return {
        "usr_cpu": 100 * bench.cpu.user_s / bench.cpu.seconds,
        "sys_cpu": 100 * bench.cpu.system_s / bench.cpu.seconds,
    }


def _latencies(found: Latencies) -> dict[str, Any]:
    """Return one kind's durations; mean and deviation are of the buckets' middles, 0.4 % off at most."""
    histogram = LatencyHistogram.from_json(found.buckets)
    bins = histogram.bins_ns()
    count = histogram.count
    if not count:
        return {"min": 0, "max": 0, "mean": 0.0, "stddev": 0.0, "N": 0}
    mean = sum(ns * n for ns, n in bins.items()) / count
    variance = sum(n * (ns - mean) ** 2 for ns, n in bins.items()) / count
    return {
        "min": min(bins), "max": histogram.max_ns, "mean": mean, "stddev": math.sqrt(variance), "N": count,
        "percentile": {f"{p:.6f}": round(1e9 * (histogram.percentile(p) or 0.0)) for p in _PERCENTILES},
        "bins": {str(ns): n for ns, n in bins.items()},
    }  # fmt: skip
