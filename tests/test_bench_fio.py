"""A bench as fio writes its results: fio's own keys, and its own tools take it."""

from __future__ import annotations

import csv
import json
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest
from harness import need_program
from test_bench_views import MB, MIB, made

from fastcap.nasbench.model import Cpu

# of fio-3.33 --output-format=json+, of a job that writes and fsyncs
TOP = {"fio version", "timestamp", "timestamp_ms", "time", "jobs", "disk_util"}
JOB = {
    "jobname", "groupid", "error", "eta", "elapsed", "job options", "read", "write", "trim", "sync", "job_runtime",
    "usr_cpu", "sys_cpu", "ctx", "majf", "minf", "iodepth_level", "iodepth_submit", "iodepth_complete", "latency_ns",
    "latency_us", "latency_ms", "latency_depth", "latency_target", "latency_percentile", "latency_window",
}  # fmt: skip
WRITE = {
    "io_bytes", "io_kbytes", "bw_bytes", "bw", "iops", "runtime", "total_ios", "short_ios", "drop_ios", "slat_ns",
    "clat_ns", "lat_ns", "bw_min", "bw_max", "bw_agg", "bw_mean", "bw_dev", "bw_samples", "iops_min", "iops_max",
    "iops_mean", "iops_stddev", "iops_samples",
}  # fmt: skip
LATENCY = {"min", "max", "mean", "stddev", "N", "percentile", "bins"}


def fio(**changes: Any) -> dict[str, Any]:
    found: dict[str, Any] = made(**changes).to_fio()
    return found


def test_nothing_has_another_name_than_fio_gives_it() -> None:
    found = fio(cpu=Cpu(0.3, 0.6, 10**9, 30.0))
    (job,) = found["jobs"]
    assert set(found) <= TOP
    assert set(job) <= JOB
    for direction in ("read", "write", "trim"):
        assert set(job[direction]) <= WRITE
    assert set(job["write"]["clat_ns"]) == LATENCY
    assert set(job["sync"]) == {"total_ios", "lat_ns"}


def test_values_are_in_fio_s_units() -> None:
    (job,) = fio(cpu=Cpu(0.3, 0.6, 10**9, 30.0), direct=True)["jobs"]
    write, latency = job["write"], job["write"]["clat_ns"]

    assert (write["io_bytes"], write["bw_bytes"], write["bw"]) == (480 * MB, 15.9 * MB, 15_900_000 >> 10)
    assert (write["runtime"], write["total_ios"], job["sync"]["total_ios"]) == (30_000, 3, 2)
    assert (latency["N"], latency["max"]) == (3, 3 * 10**9)
    assert latency["mean"] == pytest.approx(1.001e9, rel=0.004)
    assert latency["percentile"]["50.000000"] == pytest.approx(2e6, rel=0.004)
    assert sum(latency["bins"].values()) == 3
    assert (job["usr_cpu"], job["sys_cpu"]) == (pytest.approx(1.0), pytest.approx(2.0))
    assert (job["job options"]["direct"], job["job options"]["bs"]) == ("1", str(MIB))
    assert job["job options"]["rate"] == ",16000000"


def test_what_was_not_measured_is_not_there() -> None:
    (job,) = fio()["jobs"]
    assert "usr_cpu" not in job
    assert "slat_ns" not in job["write"]


def test_fio_s_own_tool_takes_it(tmp_path: Path) -> None:
    need_program("fio_jsonplus_clat2csv", "fio")
    source = tmp_path / "bench.json"
    source.write_text(json.dumps(msgspec.to_builtins(fio())))

    subprocess.run(
        ["fio_jsonplus_clat2csv", str(source), str(tmp_path / "out.csv")], check=True, capture_output=True
    )

    rows = list(csv.reader((tmp_path / "out_job0.csv").open(), skipinitialspace=True))
    column = rows[0].index("write_clat_ns_cumulative")
    assert [int(row[column]) for row in rows[1:]] == [1, 2, 3]
