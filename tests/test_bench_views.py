"""What is made of benches: the load and its backlog, warnings of mounts, comparisons, the past by hour of day."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cli_runs import CommandLine

import fastcap as fc
from fastcap import history
from fastcap.histogram import LatencyHistogram
from fastcap.nasbench.bygone import bygone, describe
from fastcap.nasbench.model import Fit, Latencies, Mount, NasBench, Stall, Timeline, Trouble, load_bench
from fastcap.nasbench.mounts import warnings_of
from fastcap.nasbench.offer import Offer
from fastcap.nasbench.tally import Steps, Tally

MB = 10**6
MIB = 1 << 20
S = 10**9
pytest_plugins = ["command_line"]


@pytest.fixture(autouse=True)
def own_history(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))


def latencies(*seconds: float) -> Latencies:
    h = LatencyHistogram()
    for value in seconds:
        h.record(int(value * S))
    p = {"p50": 50.0, "p90": 90.0, "p99": 99.0, "p999": 99.9, "p9999": 99.99}
    found = {name: h.percentile(at) for name, at in p.items()}
    return Latencies(**found, max=max(seconds), count=h.count, error=1 / 256, buckets=h.to_json())


def made(**changes: Any) -> NasBench:
    """Return a bench of 30 s at 16 MB/s with one stall."""
    whole = NasBench(
        directory="/mnt/nas", started="2026-11-22T03:10:00+00:00", observed_s=30.0, asked_bytes_per_s=16.0 * MB,
        rate_bytes_per_s=15.9 * MB, bytes=480 * MB, span_bytes=2 << 30,
        block_bytes=MIB, fsync_every_bytes=None, write_s=latencies(0.001, 0.002, 3.0),
        fsync_s=latencies(0.01, 0.02), stalls=[Stall(10.0, 3.0, "write")], ring_needed_bytes=50 * MIB,
        ring_recommended_bytes=75 * MIB, margin=1.5, fits=[Fit(2e6, 16.0 * MB, True, 11.2, 50 * MIB, True, "")],
        timeline=Timeline(10.0, [0.002, 3.0, 0.001], [0.01, None, 0.02], [MIB, 50 * MIB, MIB]),
        mount=Mount("nfs4", "nas:/vol", "/mnt/nas", ["rw", "hard"]), warnings=[], errors=[], interrupted=False,
        host="lab", fastcap="0.1.0",
    )  # fmt: skip
    return msgspec.structs.replace(whole, **changes)


def write(path: Path, bench: NasBench) -> Path:
    path.write_text(json.dumps(bench.to_dict()))
    return path


# -- the offered load and its backlog ------------------------------------------------------------------------


def test_the_offer_runs_by_the_clock_in_whole_words_and_ends() -> None:
    offer = Offer(16e6, start_ns=5 * S, end_ns=7 * S)

    assert offer.by(4 * S) == 0
    assert offer.by(6 * S) == 16 * MB
    assert offer.by(6 * S + 400) == 16 * MB
    assert offer.by(6 * S + 500) == 16 * MB + 8
    assert offer.by(60 * S) == 32 * MB
    assert offer.by(offer.when_ns(MIB)) >= MIB


def test_backlog_is_what_was_offered_and_is_not_durable_yet() -> None:
    tally = Tally(Offer(16e6, start_ns=0, end_ns=60 * S))

    tally.call("write", 1 * S, S // 10, 8 * MB)
    assert tally.peak_bytes == 0  # a write alone gives no memory back
    tally.call("fsync", 2 * S, S, 8 * MB)
    assert tally.peak_bytes == 48 * MB  # up to the fsync's return
    tally.call("fsync", 4 * S, S // 2, 64 * MB)
    assert tally.peak_bytes == 64 * MB  # 72 offered, 8 durable
    tally.end(5 * S, None)

    assert tally.peak_bytes == 64 * MB
    assert max(tally.timeline().backlog_bytes) == 64 * MB
    assert tally.stalls == [Stall(2.0, 1.0, "fsync"), Stall(4.0, 0.5, "fsync")]


def test_calls_that_fail_are_one_trouble_until_something_is_durable_again() -> None:
    tally = Tally(Offer(16e6, start_ns=0, end_ns=60 * S))
    for at_s, text in ((1, "full"), (2, "full"), (3, "away")):
        tally.failed(at_s * S, text)
    tally.call("fsync", 4 * S, S // 10, 0)  # of nothing new
    tally.call("fsync", 5 * S, S // 10, MB)
    tally.failed(6 * S, "away")
    tally.end(8 * S, None)

    assert tally.troubles.told == [
        Trouble(1.0, "full", 2.0, calls=2),
        Trouble(3.0, "away", 2.1),
        Trouble(6.0, "away", 2.0, ongoing=True),
    ]


def test_a_night_is_as_many_numbers_as_a_minute_and_keeps_the_worst() -> None:
    steps = Steps()
    for second in range(86_400):
        steps.add("write", second * S, 9 * S if second == 40_000 else 1000)

    kept = steps.values["write"]
    assert len(kept) <= 1024
    assert [k for k, v in enumerate(kept) if v == 9 * S] == [40_000 * S // steps.step_ns]
    assert len(kept) * steps.step_ns >= 86_400 * S


# -- mounts --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file_system", "options", "what"),
    [
        ("nfs4", "rw,soft,proto=tcp", "soft NFS mount"),
        ("nfs", "rw,softerr", "soft NFS mount"),
        ("nfs4", "rw,hard,noac", "'noac'"),
        ("nfs", "rw,hard,proto=udp", "over UDP"),
        ("cifs", "rw,soft", "soft CIFS mount"),
        ("ext4", "rw,sync", "mounted with 'sync'"),
        ("tmpfs", "rw", "memory, not a disk"),
        ("nfs4", "rw,hard,proto=tcp", None),
        ("cifs", "rw,hard", None),
        ("ext4", "rw,relatime", None),
        ("ext4", "rw,dirsync", None),  # a capture makes one file
        ("nfs4", "rw,soft,proto=tcp,timeo=600,retrans=2", "after 180 s (timeo=600, retrans=2)"),
        ("nfs4", "rw,hard,proto=tcp,timeo=600,retrans=2", None),
        ("nfs4", "rw,hard,proto=tcp,timeo=7", "slow for 0.7 s gets every request again"),
        ("nfs4", "rw,hard,wsize=1048576", None),
        ("nfs4", "rw,hard,wsize=8192", "a block is sent in 128 pieces"),
        ("cifs", "rw,hard,cache=none", "'cache=strict'"),
        ("cifs", "rw,hard,cache=strict,wsize=4194304", None),
    ],
)
def test_mount_options_that_hurt_are_named(file_system: str, options: str, what: str | None) -> None:
    found = warnings_of(Mount(file_system, "nas:/vol", "/mnt", options.split(",")), None)

    assert len(found) == (what is not None)
    assert what is None or what in found[0]


def test_an_automounter_above_is_named() -> None:
    nfs = Mount("nfs4", "nas:/vol", "/net/nas", ["rw", "hard"])
    for options, told in (
        (["rw", "timeout=300"], "when idle after 300 s"),
        (["rw", "timeout=0"], "when idle,"),
    ):
        (found,) = warnings_of(nfs, Mount("autofs", "systemd-1", "/net", options))
        assert "automounted below /net" in found
        assert told in found


# -- side by side --------------------------------------------------------------------------------------------


def test_compare_shows_every_bench_and_ratios_over_the_first(clean_cli: CommandLine, tmp_path: Path) -> None:
    a = write(tmp_path / "before.json", made())
    b = write(
        tmp_path / "after.json", made(rate_bytes_per_s=31.8 * MB, stalls=[], ring_needed_bytes=10 * MIB)
    )
    picture = tmp_path / "both.png"

    done = clean_cli("bench", "compare", a, b, "--plot", picture, "--json")

    assert done.status == 0
    names = [
        (b["name"], b["over_first"]["rate"], b["over_first"]["ring_needed"]) for b in done.json["benches"]
    ]
    assert names == [("before", 1.0, 1.0), ("after", 2.0, 0.2)]
    rows = {line[:16].strip(): line[16:].split() for line in done.err.splitlines()}
    assert rows["stalls"] == ["1", "0"]
    assert rows["ring needed"] == ["50", "MiB", "10", "MiB"]
    assert picture.stat().st_size > 5000


@pytest.mark.parametrize("content", ["{}", "[]", "nothing", '{"kind": "fastcap bench nas"}'])
def test_what_is_no_bench_is_refused_by_name(content: str, tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text(content)
    with pytest.raises(fc.ConfigError, match=r"x\.json is no bench's JSON: .*bench nas DIR --json"):
        load_bench(path)


def test_a_histogram_that_is_none_is_refused_with_its_file(tmp_path: Path) -> None:
    path = write(tmp_path / "x.json", made())
    path.write_text(path.read_text().replace('"max_ns"', '"max"', 1))
    with pytest.raises(fc.ConfigError, match=r"x\.json is no bench's JSON: not a histogram"):
        load_bench(path)


# -- pictures ------------------------------------------------------------------------------------------------


def test_a_night_of_stalls_is_drawn_in_one_piece() -> None:
    pytest.importorskip("matplotlib")
    stalls = [Stall(0.001 * k, 0.0005, "write") for k in range(5000)]
    errors = [Trouble(10.0, "away", 5.0), Trouble(20.0, "away", 5.0)]

    axis = made(stalls=stalls, errors=errors).plot().axes[0]

    assert len(axis.get_children()) < 50
    told = {text.get_text() for text in axis.get_legend().get_texts()}
    assert told == {"write", "fsync", "stall", "calls fail"}
    assert axis.get_xlim() == (0, 30)
    assert axis.get_ylim()[0] > 0.0001  # of the calls, not of what is shaded


# -- the past ------------------------------------------------------------------------------------------------


def capture(started: str, stalls: list[tuple[float, float]], **more: Any) -> dict[str, Any]:
    entry = {"started": started, "destination": "/mnt/nas/run", "duration_s": 600.0, "rate_bytes_per_s": 16e6}
    return entry | {"stalls": [{"at_s": at, "for_s": n} for at, n in stalls]} | more


def local(hour: int, minute: int = 0) -> str:
    from datetime import datetime

    return datetime(2026, 11, 22, hour, minute).astimezone().isoformat()


def test_stalls_are_counted_in_the_hour_of_day_they_fell_in() -> None:
    history.append(
        capture(local(3, 55), [(60.0, 2.0), (400.0, 5.0)], words_lost=7, high_water_bytes=90 * MIB)
    )
    history.append(capture(local(4, 30), [(1.0, 1.0)]))
    history.append(capture(local(9), [(1.0, 60.0)], destination="/mnt/nasty"))

    found = bygone("/mnt/nas")

    hours = {h.hour: (h.observed_s, h.stalls, h.stalled_s, h.longest_s) for h in found.hours if h.observed_s}
    assert hours == {3: (300.0, 1, 2.0, 2.0), 4: (900.0, 2, 6.0, 5.0)}
    assert (found.captures, found.benches, found.words_lost) == (2, 0, 7)
    assert found.worst_s == 5.0
    assert found.worst_at is not None
    assert found.worst_at[11:19] == "04:01:40"
    longest_s = 5.0
    assert [need.bytes for need in found.ring_needed] == [
        pytest.approx(rate * longest_s, rel=0.2) for rate in (16e6, 80e6)
    ]
    assert (found.backlog_bytes, found.backlog_rate) == (90 * MIB, 16e6)


def test_a_bench_is_part_of_the_past(tmp_path: Path) -> None:
    fc.bench_nas(tmp_path, seconds=1)
    fc.bench_nas(tmp_path, seconds=1, remember=False)

    found = bygone(tmp_path)

    assert (found.captures, found.benches) == (0, 1)
    assert sum(h.observed_s for h in found.hours) == pytest.approx(1, abs=0.1)


def test_lines_that_make_no_sense_are_passed_over() -> None:
    history.append(capture("yesterday", [(1.0, 1.0)]))
    history.append(capture(local(3), [], duration_s="long"))
    history.append({"destination": "/mnt/nas", "stalls": 3})
    history.append({"destination": 5})

    assert bygone("/mnt/nas").captures == 0
    assert "no capture or bench to it is known" in "".join(describe(bygone("/mnt/nas")))


@pytest.mark.parametrize(
    "field",
    [
        '"duration_s": Infinity', '"duration_s": NaN', '"duration_s": 1e12', '"duration_s": -5',
        '"high_water_bytes": "much"', '"rate_bytes_per_s": "fast"', '"words_lost": 1e400',
        '"stalls": [{"at_s": 1e300, "for_s": 1}]', '"stalls": [{"at_s": 1, "for_s": NaN}]',
        '"started": "0001-01-01T00:00:00+14:00"',
        '"started": "9999-12-31T23:59:59+00:00", "stalls": [{"at_s": 90000, "for_s": 1}]',
    ],
)  # fmt: skip
def test_a_damaged_line_is_passed_over_and_the_others_are_told(field: str) -> None:
    whole = {"started": local(3), "destination": "/mnt/nas", "high_water_bytes": 5, "rate_bytes_per_s": 16e6}
    history.append({**whole, "stalls": [{"at_s": 1, "for_s": 2}]})
    with history.history_path().open("a") as file:
        file.write(f'{{"destination": "/mnt/nas", "started": "{local(4)}", "duration_s": 1, {field}}}\n')

    found = bygone("/mnt/nas")

    assert (found.captures, found.worst_s, found.backlog_bytes) == (1, 2.0, 5)
    assert "worst stall: 2 s" in "\n".join(describe(found))


def test_the_history_is_told_and_drawn(clean_cli: CommandLine, tmp_path: Path) -> None:
    place = tmp_path / "nas"
    place.mkdir()
    assert clean_cli("bench", "nas", place, "--seconds", "1").status == 0
    picture = tmp_path / "hours.png"

    done = clean_cli("bench", "history", place, "--plot", picture, "--json")

    assert done.status == 0
    assert done.json["benches"] == 1
    assert len(done.json["hours"]) == 24
    assert picture.stat().st_size > 5000
