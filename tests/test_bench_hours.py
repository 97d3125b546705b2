"""A bench of a day: hour by hour, in bounded memory, and gone on with after a reboot."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import datetime, timedelta
from itertools import accumulate
from pathlib import Path
from typing import Any

import msgspec
import pytest
from support import wait_until
from test_bench_views import MB, MIB, made

import fastcap as fc
from fastcap.nasbench import parts as parts_module
from fastcap.nasbench import tally as tally_module
from fastcap.nasbench.bygone import bygone
from fastcap.nasbench.hours import LEAST_S, PER_DECADE, trend
from fastcap.nasbench.model import Fit, Hour, NasBench, Timeline, load_bench
from fastcap.nasbench.offer import Offer
from fastcap.nasbench.parts import merged, save, unfinished
from fastcap.nasbench.tally import Tally
from fastcap.workers.calls import STALL_NS

S = 10**9
RATE = 16e6
MOST_STALLS = 100
HOUR_S = 60  # shorter here


@pytest.fixture(autouse=True)
def short_hours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tally_module, "HOUR_NS", HOUR_S * S)
    monkeypatch.setattr(parts_module, "HOUR_NS", HOUR_S * S)
    monkeypatch.setattr(tally_module, "MOST_STALLS", MOST_STALLS)


def bench_of(seconds: float, *, every_s: float = 1.0, stall_s: float = 0.0, worse: float = 0.0) -> Tally:
    """Return what a bench gathers of a disk that is fsynced ``every_s``, whose fsyncs take longer hour by hour."""
    tally = Tally(Offer(RATE, 0, int(seconds * S)))
    at_s = every_s
    while at_s < seconds:
        took_s = 0.01 + stall_s + worse * (at_s // HOUR_S)
        reached = tally.offer.by(int(at_s * S))
        tally.call("write", int(at_s * S), S // 100, reached - tally.durable)
        tally.call("fsync", int((at_s + 0.01) * S), int(took_s * S), reached)
        at_s += every_s
    tally.end(int(seconds * S), None)
    return tally


def test_each_hour_has_its_own_figures() -> None:
    hours = bench_of(3.5 * HOUR_S, every_s=1.0, worse=0.3).hours()

    assert [h.number for h in hours] == [0, 1, 2, 3]
    assert [h.observed_s for h in hours] == [60, 60, 60, 30]
    assert [h.fsync_p99_s for h in hours] == pytest.approx([0.01, 0.31, 0.61, 0.91], rel=0.005)
    assert [h.stalls for h in hours] == [0, 60, 60, 30]
    assert [h.worst_stall_s for h in hours] == pytest.approx([0, 0.31, 0.61, 0.91])
    assert sum(h.durable_bytes for h in hours) == pytest.approx(RATE * 3.5 * HOUR_S, rel=0.02)
    for hour in hours:
        assert sum(hour.delay_counts) == pytest.approx(100 * hour.observed_s, rel=0.01)
        assert hour.delay_p50_s is not None
        up_to = list(accumulate(hour.delay_counts))
        middle = next(k for k, n in enumerate(up_to) if 2 * n >= up_to[-1])
        low_s, high_s = (LEAST_S * 10 ** (k / PER_DECADE) for k in (middle, middle + 1))
        assert 0.99 * low_s <= hour.delay_p50_s <= 1.01 * high_s


def test_a_day_of_stalls_takes_no_more_memory_than_an_hour_of_them() -> None:
    sizes = [len(json.dumps(msgspec.to_builtins(_kept(bench_of(h * HOUR_S, stall_s=0.3))))) for h in (4, 24)]
    tally = bench_of(24 * HOUR_S, stall_s=0.3)

    assert tally.stalls_in_all == 24 * HOUR_S - 1
    assert tally.stalled_s == pytest.approx(0.31 * tally.stalls_in_all)
    assert len(tally._stalls) <= 2 * MOST_STALLS
    assert sizes[1] < 1.5 * sizes[0]


def _kept(tally: Tally) -> list[Any]:
    return [
        tally.stalls,
        tally.timeline(),
        tally.trace(0.0),
        tally.latencies("delay"),
        tally.latencies("fsync"),
    ]


def test_the_longest_stalls_are_kept() -> None:
    tally = Tally(Offer(RATE, 0, 10**6 * S))
    for k in range(3 * MOST_STALLS):
        tally.call("fsync", k * S, STALL_NS + (k % 100) * S, -1)

    assert len(tally.stalls) == MOST_STALLS
    assert min(s.for_s for s in tally.stalls) > 66
    assert [s.at_s for s in tally.stalls] == sorted(s.at_s for s in tally.stalls)


@pytest.mark.parametrize(
    ("p99", "told"),
    [
        ([1.0, 1.0], None),
        ([1.0, 1.0, 1.1], "steady"),
        ([1.0, 1.0, 1.0, 2.0, 2.0, 2.0], "getting worse: data's p99 1 s in the first 2 h, 2 s in the last"),
        ([2.0, 1.0, 1.0], "getting better"),
        ([None, 1.0, 1.0], None),
    ],
)
def test_trend_sets_the_last_hours_against_the_first(p99: list[float | None], told: str | None) -> None:
    hours = [Hour(k, 3600.0, s, s, s, s, 0, 0.0, 0.0, 1, [1]) for k, s in enumerate(p99)]
    found = trend(hours)
    assert (found is None) == (told is None)
    assert told is None or told in (found or "")


# -- in parts --------------------------------------------------------------------------------------------


def later(**changes: Any) -> NasBench:
    """Return the second part of a bench, begun two hours after the first."""
    started = (datetime.fromisoformat(made().started) + timedelta(hours=2)).isoformat()
    hour = Hour(0, 3600.0, 0.5, 1.0, 0.01, 0.02, 1, 3.0, 3.0, 1, [1])
    return made(**{"started": started, "hours": [hour], "interrupted": False, **changes})


def test_two_parts_are_added_up_on_one_clock() -> None:
    before = made(interrupted=True, hours=later().hours, timeline=Timeline(60.0, [0.1], [0.2], [5]))
    both = merged(before, later(rate_bytes_per_s=7.9 * MB, timeline=Timeline(10.0, [0.5], [None], [7])))

    assert (both.started, both.observed_s, both.bytes) == (before.started, 60.0, 2 * before.bytes)
    assert both.rate_bytes_per_s == pytest.approx((15.9 + 7.9) / 2 * MB)
    assert (both.write_s.count, both.write_s.max, both.fsync_s.count) == (6, 3.0, 4)
    assert [s.at_s for s in both.stalls] == [10.0, 7210.0]
    assert (both.stalls_in_all, both.stalled_s) == (2, 6.0)
    assert [h.number for h in both.hours] == [0, 120]  # hours are minutes here
    assert (both.timeline.step_s, len(both.timeline.write_max_s)) == (60.0, 121)
    assert (both.timeline.write_max_s[0], both.timeline.write_max_s[120]) == (0.1, 0.5)
    assert (both.timeline.fsync_max_s[60], both.timeline.backlog_bytes[120]) == (None, 7)
    assert not both.interrupted
    assert any("gone on with" in warning for warning in both.warnings)


@pytest.mark.parametrize("verdicts", [("yes", "no"), ("no", "yes"), ("unknown", "no")])
def test_what_speaks_against_a_rate_in_one_part_counts(verdicts: tuple[Any, Any]) -> None:
    fits = [
        [Fit(2e6, 16.0 * MB, v == "yes", 2.0, ring, True, f"{v} it is", v)]
        for v, ring in zip(verdicts, (50 * MIB, 90 * MIB), strict=True)
    ]
    both = merged(made(fits=fits[0], verdict=verdicts[0]), later(fits=fits[1], verdict=verdicts[1]))

    assert both.verdict == both.fits[0].verdict == "no"
    assert (both.fits[0].why, both.fits[0].fits, both.fits[0].ring_needed_bytes) == (
        "no it is",
        False,
        90 * MIB,
    )


def test_only_an_unfinished_bench_of_this_place_and_rate_is_gone_on_with(tmp_path: Path) -> None:
    path = tmp_path / "bench.json"
    assert unfinished(path, "/mnt/nas", 16e6) is None
    save(made(interrupted=True), path)
    assert unfinished(path, "/mnt/nas", 16e6) == made(interrupted=True)
    for other in (("/mnt/other", 16e6), ("/mnt/nas", 80e6)):
        with pytest.raises(fc.ConfigError, match="or of another rate"):
            unfinished(path, *other)
    save(made(), path)
    with pytest.raises(fc.ConfigError, match="is over"):
        unfinished(path, "/mnt/nas", 16e6)


KILLED = """
import sys
import fastcap as fc
import fastcap.nasbench.run as run
run.SAVE_S = 0.1
fc.bench_nas(sys.argv[1], seconds=60, saturate=0, resume=sys.argv[2])
"""


def test_a_killed_bench_is_gone_on_with(tmp_path: Path) -> None:
    path = tmp_path / "bench.json"
    with subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path), str(path)]) as process:
        wait_until(lambda: path.exists() and load_bench(path).observed_s > 1, 30, "that it was saved")
        process.kill()
    saved = load_bench(path)

    found = fc.bench_nas(tmp_path, seconds=saved.observed_s + 0.5, saturate=0, resume=path)

    assert (saved.interrupted, found.interrupted) == (True, False)
    assert found.started == saved.started
    assert found.observed_s == pytest.approx(saved.observed_s + 0.5, abs=0.1)
    assert found.write_s.count > saved.write_s.count
    assert load_bench(path) == found
    assert (past := bygone(tmp_path)).benches == 2
    assert past.observed_s == pytest.approx(found.observed_s, rel=0.01), "each part once"


def test_a_night_s_figures_are_told_though_they_cannot_be_saved(tmp_path: Path) -> None:
    path = tmp_path / "is not there" / "bench.json"
    found = fc.bench_nas(tmp_path, seconds=0.5, saturate=0, resume=path, remember=False)
    assert found.write_s.count > 0
    assert "bench.json was not written" in found.warnings[-1]
