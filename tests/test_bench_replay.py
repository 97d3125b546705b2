"""What a bench concludes: modelled disks whose truth is known, captures replayed over calls, and verdicts."""

from __future__ import annotations

import errno
from typing import Any

import msgspec
import pytest
from support.modelled_disk import GIB, Bench, ModelledDisk, capture_loses

from fastcap.nasbench.judge import Evidence, fit
from fastcap.nasbench.model import Saturated, Stall, Trouble
from fastcap.nasbench.offer import Lows, Offer
from fastcap.nasbench.replay import LEAST_RING_BYTES, recommended, ring_needed
from fastcap.nasbench.saturation import FIRST_BYTES, Saturation
from fastcap.nasbench.trace import MOST_CALLS, CallTrace, Phase, Trace, merged, usual_s
from fastcap.workers.sync_policy import SYNC_NS, SyncPolicy

MB = 10**6
MIB = 1 << 20
S = 10**9
FAST = [(MIB, 0.001), (4 * MIB, 0.004)]


def trace(*pauses: tuple[float, float], create_s: float = 0.0, fsync_s: float = 0.01) -> Trace:
    """Return a minute on a fast disk that did nothing in the pauses."""
    return Trace(Phase(60.0, FAST, [(MIB, fsync_s), (64 * MIB, fsync_s)], list(pauses)), None, create_s)


# -- disks whose truth is known: by time between calls each was a "yes" that lost, or a "NO" that lost nothing ---


def test_a_disk_that_stops_for_good_is_no_yes() -> None:
    bench = Bench(ModelledDisk(stalls=[(2, 1e6)]))

    assert {found.verdict for found in bench.fits} == {"unknown"}
    assert "had not returned at the end, after 13 s" in bench.at(2).why
    assert bench.tally.latencies("write").max == pytest.approx(13, abs=0.2)
    assert bench.tally.latencies("delay").max == pytest.approx(14, abs=0.2)  # and a second before it


@pytest.mark.parametrize("cache_bytes", [0, 64 * GIB])
def test_a_line_is_as_fast_as_it_is_however_much_its_cache_takes(cache_bytes: int) -> None:
    bench = Bench(ModelledDisk(20 * MB, cache_bytes))

    assert bench.at(2).verdict == "yes"
    assert bench.at(2).headroom == pytest.approx(20 / 16, rel=0.02)
    assert bench.at(10).verdict == "no"
    assert "takes 20 MB/s" in bench.at(10).why or "takes 19.9 MB/s" in bench.at(10).why


def test_a_rate_that_was_offered_may_be_near_what_the_disk_takes_and_others_need_more_bytes() -> None:
    bench = Bench(ModelledDisk(110 * MB, GIB))

    assert bench.at(10).verdict == "unknown"
    assert "offer it, with --rate" in bench.at(10).why
    assert Bench(ModelledDisk(110 * MB, GIB), rate="10MHz").at(10).verdict == "yes"


def test_a_disk_that_is_hardly_too_slow_is_told_by_what_it_falls_behind() -> None:
    bench = Bench(ModelledDisk(15 * MB, 64 * GIB))

    assert (bench.at(2).verdict, bench.at(2).why) == ("no", "the destination takes 15 MB/s")


def test_a_rate_that_is_hardly_taken_is_unknown() -> None:
    bench = Bench(ModelledDisk(17 * MB, 64 * GIB))

    assert bench.at(2).verdict == "unknown"
    assert "1.06 times what it needs: too near to tell" in bench.at(2).why


@pytest.mark.parametrize("cache_bytes", [GIB // 2, 3 * GIB])
def test_a_cache_that_says_it_is_a_disk_is_found_out(cache_bytes: int) -> None:
    """All is durable at once, until the cache is full: that it becomes with what a capture would write."""
    disk = ModelledDisk(10 * MB, cache_bytes, honest=False)
    bench = Bench(disk)

    assert bench.at(2).verdict == bench.at(10).verdict == "no"
    assert "takes 10 MB/s" in bench.at(10).why
    assert capture_loses(disk, 10, GIB, seconds=120)


def test_a_cache_larger_than_all_that_was_written_is_shown_for_so_long_as_it_lasts() -> None:
    disk = ModelledDisk(1 * MB, 64 * GIB, honest=False)
    bench = Bench(disk)

    for mhz in (2, 10):
        assert bench.at(mhz).verdict == "yes"
        assert bench.at(mhz).covered_s >= 3 * bench.evidence.seconds
        assert not capture_loses(disk, mhz, 64 * MIB, seconds=bench.at(mhz).covered_s)


@pytest.mark.parametrize("fsync_s", [1.0, 3.0])
def test_slow_fsyncs_are_made_up_for_by_a_larger_ring(fsync_s: float) -> None:
    disk = ModelledDisk(fsync_s=fsync_s, write_s=0.025)
    bench = Bench(disk, seconds=20)

    ring = recommended(bench.at(2).ring_needed_bytes or 0)
    assert bench.at(2).verdict == "yes"
    assert not capture_loses(disk, 2, ring, seconds=180)
    assert capture_loses(disk, 2, int(0.6 * ring), seconds=180)
    assert bench.at(10).verdict == "unknown"
    assert "a larger --ring may do" in bench.at(10).why


@pytest.mark.parametrize(
    "disk",
    [
        ModelledDisk(create_s=6.0),
        ModelledDisk(stalls=[(4, 5)]),
        ModelledDisk(60 * MB, stalls=[(2, 4), (6.5, 1.2)]),
        ModelledDisk(200 * MB, GIB, stalls=[(2, 5)], create_s=2.0),
        ModelledDisk(100 * MB, honest=False, stalls=[(k, 0.7) for k in range(1, 60, 2)], create_s=5.0),
    ],
    ids=["created slowly", "a stall", "two in a row", "both", "many"],
)  # fmt: skip
def test_the_ring_named_loses_nothing_and_little_less_does(disk: ModelledDisk) -> None:
    bench = Bench(disk, seconds=12)

    found = bench.at(2)
    assert found.ring_needed_bytes is not None
    ring = recommended(found.ring_needed_bytes)
    assert ring > LEAST_RING_BYTES
    assert found.verdict == "yes"
    assert not capture_loses(disk, 2, ring, seconds=100)
    assert capture_loses(disk, 2, int(0.6 * ring), seconds=100)


def test_a_disk_that_is_nearly_full_is_no() -> None:
    bench = Bench(ModelledDisk(free_bytes=53 * MIB))

    assert bench.at(2).verdict == "no"
    assert bench.at(2).why == "53 MiB are free: full after 3.47 s"
    assert bench.at(2).full_after_s == pytest.approx(3.5, abs=0.1)


# -- the rules for fsync, shared -----------------------------------------------------------------------------


def test_the_distance_between_fsyncs_is_bounded_by_the_ring_and_grows_with_slow_ones() -> None:
    policy = SyncPolicy(MIB, 16e6, 0)

    assert policy.distance(0, GIB, GIB) == MIB
    assert policy.distance(512 * MIB, GIB, GIB) == 128 * MIB
    assert policy.distance(512 * MIB, GIB, 32 * MIB) == 16 * MIB  # of a ring that has not grown
    policy.tried(S, S // 10)
    assert policy.distance(0, GIB, GIB) == 3_200_000  # twice what comes while one takes 100 ms
    assert policy.due(3_200_000, 0, GIB, GIB, S)
    assert not policy.due(3_199_999, 0, GIB, GIB, S)
    policy.tried(2 * S, None)  # one that failed says nothing of how long they take
    assert policy.due(3_200_000, 0, GIB, GIB, 2 * S)
    assert policy.due(8, 0, GIB, GIB, 2 * S + SYNC_NS)
    assert not policy.due(8, 0, GIB, GIB, 2 * S + SYNC_NS - 1)
    policy.tried(
        9 * S, 3 * S
    )  # one that takes long has twice as long before it, or nothing else would be done
    assert not policy.due(8, 0, GIB, GIB, 15 * S - 1)
    assert policy.due(8, 0, GIB, GIB, 15 * S)
    policy.tried(100 * S, 60 * S)
    assert policy.due(8, 0, GIB, GIB, 110 * S)


# -- the trace -----------------------------------------------------------------------------------------------


def test_what_a_call_usually_takes_is_interpolated_and_never_too_little() -> None:
    points = [(MIB, 0.1), (4 * MIB, 0.1), (8 * MIB, 0.3)]

    assert usual_s(points, 8) == 0.1
    assert usual_s(points, 2 * MIB) == 0.1
    assert usual_s(points, 6 * MIB) == pytest.approx(0.2)
    assert usual_s(points, 16 * MIB) == pytest.approx(0.6)
    assert usual_s([], MIB) == 0.0


def test_calls_that_took_long_are_pauses_and_usual_ones_are_not() -> None:
    calls = CallTrace(100 * S)
    for k in range(50):
        calls.add("write", (101 + k) * S, S // 50, MIB)
    calls.add("write", 160 * S, 3 * S, MIB)
    calls.add("fsync", 170 * S, 2 * S, 8 * MIB)  # each of them takes that

    found = calls.phase(80.0, [(75.0, 5.0)])

    assert found.write == [(MIB, pytest.approx(0.02, rel=0.01))]
    assert found.fsync == [(8 * MIB, pytest.approx(2, rel=0.01))]
    assert found.pauses == [(60.0, pytest.approx(2.98, abs=0.01)), (75.0, 5.0)]


def test_a_day_of_calls_is_as_much_memory_as_an_hour_and_keeps_the_longest() -> None:
    calls = CallTrace(0)
    for k in range(5 * MOST_CALLS):
        calls.add("write", k * S, S if k % MOST_CALLS == 5 else 1000 + k % 7, MIB)

    assert len(calls._calls) <= 2 * MOST_CALLS
    assert [at_s for at_s, _ in calls.phase(1e5).pauses] == [5.0 + k * MOST_CALLS for k in range(5)]


def test_pauses_that_overlap_are_one() -> None:
    assert merged([(3.0, 1.0), (1.0, 1.0), (1.5, 2.0)]) == [(1.0, 3.0)]
    assert merged([(1.0, 5.0), (2.0, 1.0), (7.0, 1.0)]) == [(1.0, 5.0), (7.0, 1.0)]


# -- the replay ----------------------------------------------------------------------------------------------


def test_a_stall_needs_what_comes_while_it_lasts_and_what_waits_for_an_fsync() -> None:
    assert ring_needed(trace((10.0, 2.5)), 16e6, MIB) == pytest.approx(16e6 * 2.5 + MIB, rel=0.05)
    assert ring_needed(trace((10.0, 2.5)), 80e6, MIB) == pytest.approx(80e6 * 2.5 + MIB, rel=0.1)


def test_stalls_in_a_row_add_up_unless_there_is_time_to_catch_up() -> None:
    one, two, apart = (ring_needed(trace(*at), 80e6) or 0 for at in (
        [(10.0, 2.0)], [(10.0, 2.0), (12.02, 2.0)], [(10.0, 2.0), (20.0, 2.0)]))  # fmt: skip

    assert two > 1.8 * one
    assert apart == pytest.approx(one, rel=0.1)


def test_a_file_may_be_created_while_the_disk_stalls() -> None:
    alone = ring_needed(trace((10.0, 3.0)), 16e6) or 0

    assert ring_needed(trace((10.0, 3.0), create_s=6.0), 16e6) == pytest.approx(alone + 16e6 * 6, rel=0.15)


def test_no_ring_is_enough_where_a_writer_does_not_keep_up() -> None:
    slow = Trace(Phase(60.0, [(4 * MIB, 0.3)], [(MIB, 0.01)], []), None, 0.0)

    assert ring_needed(slow, 16e6) is None
    assert ring_needed(slow, 8e6) is not None


def test_a_higher_rate_goes_by_the_calls_that_had_no_rest() -> None:
    paced, saturated = trace().paced, Phase(10.0, [(4 * MIB, 0.04)], [(8 * MIB, 0.5)], [(3.0, 2.0)])
    both = Trace(paced, saturated, 0.0)

    assert (ring_needed(both, 16e6) or 0) < 4 * MIB
    assert (ring_needed(both, 16e6, saturated=True) or 0) > 16e6 * 2


def test_a_day_with_thousands_of_stalls_is_replayed_by_its_worst() -> None:
    day = Trace(
        Phase(86400.0, FAST, [(MIB, 0.01)], [(20.0 * k, 1.0 + k % 7) for k in range(4000)]), None, 0.0
    )

    assert ring_needed(day, 16e6, MIB) == pytest.approx(16e6 * 7, rel=0.1)


# -- what is taken without a pace ----------------------------------------------------------------------------


def rounds(found: Saturation, rate: float, fsync_s: float = 0.0, until_s: float = 1e9) -> float:
    """Write rounds at a rate until that is enough; return when that was."""
    at_s, durable = 0.0, 0
    while not found.over(int(at_s * S)) and at_s < until_s:
        size = min(found.round_bytes, int(rate))
        at_s, durable = at_s + size / rate + fsync_s, durable + size
        found.synced(int(at_s * S), durable)
    return at_s


def saturation(*rates: float, seconds: float = 60) -> Saturation:
    return Saturation(-10 * S, 0, int(seconds * S), 0, 128 * MIB, rates=rates)


def test_rounds_grow_while_that_pays() -> None:
    quick, slow = saturation(16e6), saturation(16e6)

    rounds(quick, 1e9)
    rounds(slow, 1e9, fsync_s=1.0)

    assert (quick.round_bytes, quick.capped) == (FIRST_BYTES, False)
    assert (slow.round_bytes, slow.capped) == (128 * MIB, True)
    assert slow.rate == pytest.approx(128 * MIB / 1.134, rel=0.05)


def test_it_is_enough_when_no_cache_of_what_was_written_would_last_three_times_as_long() -> None:
    found = saturation(16e6, 80e6)

    ended_s = rounds(found, 1e9)

    assert found.bytes >= 3 * (10 + ended_s - 0.01) * 80e6
    assert ended_s < 10


def test_a_disk_that_takes_no_rate_of_interest_is_not_watched_for_long() -> None:
    assert rounds(saturation(16e6, 80e6), 5e6) < 10


def test_a_disk_that_becomes_slow_is_watched_on() -> None:
    found = saturation(16e6, seconds=30)
    rounds(found, 1e9, until_s=0.4)
    at_ns, durable = found._ends[-1]
    while not found.over(at_ns):
        at_ns, durable = at_ns + S, durable + 10 * MB
        found.synced(at_ns, durable)

    assert found.rate == pytest.approx(10e6, rel=0.01)
    assert found.seconds > 3


# -- verdicts ------------------------------------------------------------------------------------------------


def evidence(**changes: Any) -> Evidence:
    """Return what speaks for 2 MHz."""
    taken = Saturated(5.0, 3 * GIB, 200e6, settled=True, whole=False)
    whole = Evidence(
        asked=16e6, every=None, seconds=35.0, trace=trace(), saturated=taken, errors=[], ongoing=None, rising=False,
        new_bytes=3 * GIB, went_round=False, free_bytes=1 << 45, elsewhere=False,
    )  # fmt: skip
    return msgspec.structs.replace(whole, **changes)


@pytest.mark.parametrize(
    ("changes", "verdict", "why"),
    [
        ({}, "yes", ""),
        ({"errors": [Trouble(1.0, "away", 2.0, ongoing=True)]}, "no", "failed to the end"),
        ({"errors": [Trouble(1.0, "full", 2.0, errno=errno.ENOSPC)]}, "no", "the disk was full"),
        ({"errors": [Trouble(1.0, "quota", 2.0, errno=errno.EDQUOT)]}, "no", "the disk was full"),
        ({"free_bytes": 100 * MIB}, "no", "100 MiB are free: full after 6.55 s"),
        ({"free_bytes": None}, "yes", ""),
        ({"elsewhere": True}, "unknown", "unmounted, removed or replaced"),
        ({"ongoing": Stall(3.0, 20.0, "fsync", True)}, "unknown", "(fsync) had not returned at the end, after 20 s"),
        ({"rising": True}, "unknown", "was growing at the end"),
        ({"saturated": None}, "yes", ""),
        ({"saturated": None, "new_bytes": GIB}, "unknown", "no more than was offered"),
        ({"new_bytes": GIB}, "unknown", "a cache may have taken it"),
        ({"new_bytes": GIB, "went_round": True}, "unknown", "1 GiB were written to new blocks, 1 min 7 s of it"),
        ({"went_round": True}, "yes", ""),
        ({"trace": trace(*((5.0 * k, 4.999) for k in range(12)))}, "unknown", "no ring is enough"),
    ],
)  # fmt: skip
def test_a_yes_has_nothing_against_it(changes: dict[str, Any], verdict: str, why: str) -> None:
    found = fit(evidence(**changes), 2e6)

    assert (found.verdict, found.fits) == (verdict, verdict == "yes")
    assert why in found.why
    assert bool(found.why) is (verdict != "yes")


@pytest.mark.parametrize(
    ("taken", "verdict", "why"),
    [
        (Saturated(30.0, GIB, 100e6, settled=True, whole=True), "unknown", "offer it, with --rate"),
        (Saturated(30.0, GIB, 85e6, settled=True, whole=True), "unknown", "1.06 times what it needs"),
        (Saturated(30.0, GIB, 75e6, settled=True, whole=True), "unknown", "0.938 times what it needs"),
        (Saturated(30.0, GIB, 60e6, settled=True, whole=True), "no", "takes 60 MB/s"),
        (Saturated(30.0, GIB, 60e6, settled=False, whole=True), "unknown", "not steady"),
        (Saturated(30.0, GIB, 60e6, settled=True, whole=True, median_bytes_per_s=90e6), "unknown", "held up"),
        (Saturated(30.0, GIB, 60e6, settled=False, whole=True, median_bytes_per_s=61e6), "no", "takes 60"),
        (Saturated(30.0, GIB, 60e6, settled=True, whole=True, larger_may_help=True), "unknown", "a larger --ring"),
        (Saturated(6.0, GIB, 45e6, settled=True, whole=True, fastest_bytes_per_s=80e6), "unknown", "and once 80 MB/s"),
        (Saturated(6.0, GIB, 45e6, settled=True, whole=True, fastest_bytes_per_s=79e6), "no", "takes 45 MB/s"),
        (None, "unknown", "was not offered so much"),
    ],
)  # fmt: skip
def test_a_rate_above_the_offered_one_rests_on_what_was_taken_without_a_pace(
    taken: Saturated | None, verdict: str, why: str
) -> None:
    found = fit(evidence(saturated=taken, new_bytes=2 * GIB), 10e6)

    assert (found.verdict, found.rests_on) == (verdict, "unthrottled")
    assert why in found.why


def test_a_backlog_that_grows_to_the_end_is_told_from_one_that_came_and_went() -> None:
    growing, held_up, steady = (Lows(Offer(16e6, 0, 60 * S)) for _ in range(3))
    for at_s in range(1, 60):
        growing.add(at_s * S, at_s * MB)
        held_up.add(at_s * S, 100 * MB if 30 < at_s < 50 else MB)
        steady.add(at_s * S, 48 * MB)

    assert (growing.rising, held_up.rising, steady.rising) == (True, False, False)
