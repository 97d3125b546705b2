"""``bench nas``: injected stalls are found with their lengths, the ring they need is told, nothing is left."""

from __future__ import annotations

import errno
import json
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cli_runs import CommandLine
from support.needs import requires_fuse, requires_root
from support.processes import children_of
from support.waiting import wait_until

import fastcap as fc
from fastcap.histogram import LatencyHistogram
from fastcap.nasbench import leftovers
from fastcap.nasbench.model import NasBench, load_bench
from fastcap.workers.writing import RETRY_S

MB = 10**6
MIB = 1 << 20
Mount = Callable[..., Any]
pytest_plugins = ("command_line",)


@pytest.fixture(autouse=True)
def own_history(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))


def bench(directory: Path, **options: Any) -> NasBench:
    return fc.bench_nas(directory, **{"seconds": 2, "saturate": 0, **options})


def measured_stalls(found: NasBench) -> list[tuple[str, float]]:
    return [(s.call, s.for_s) for s in found.stalls]


# -- stalls and the ring ------------------------------------------------------------------------------------


@requires_fuse
def test_each_injected_stall_is_found_with_its_length(faultfs: Mount) -> None:
    fs = faultfs()
    fs.stall("write", seconds=2.5, after=20)
    fs.stall("fsync", seconds=1.5, after=14)
    fs.stall("write", seconds=2.0, after=90)

    found = bench(fs.mount, seconds=11, fsync_every="2MiB")

    told = sorted((e.start_ns, e.op, (e.end_ns - e.start_ns) * 1e-9) for e in fs.log("stall"))
    assert len(told) == 3
    big = [s for s in found.stalls if s.for_s > 1]
    assert [s.call for s in big] == [op for _, op, _ in told]
    for stall, (_, _, length_s) in zip(big, told, strict=True):
        assert stall.for_s == pytest.approx(length_s, rel=0.05, abs=0.25)
    begins = [start * 1e-9 for start, _, _ in told]
    for stall, begin in zip(big[1:], begins[1:], strict=True):
        assert stall.at_s - big[0].at_s == pytest.approx(begin - begins[0], abs=0.1)


@requires_fuse
def test_the_ring_told_is_the_least_that_bears_the_stall(faultfs: Mount, tmp_path: Path) -> None:
    """The truth is a capture's: the same stall, a ring a tenth larger loses nothing, one a tenth smaller does."""
    fs = faultfs()
    stall_s, rate = 2.5, 16 * MB
    fs.stall("write", seconds=stall_s, after=16)

    needed = bench(fs.mount, seconds=6, rate=rate, fsync_every="1MiB").ring_needed_bytes

    assert needed is not None
    assert needed == pytest.approx(rate * stall_s + MIB, rel=0.1)
    for share, loses in ((1.1, False), (0.9, True)):
        fs.clear()
        fs.stall("write", seconds=stall_s, path="*.part", after=16)
        with fc.open("sim://?rate=2MHz&pattern=counter", ring=int(needed * share)) as board:
            report = board.record("6s", fs.mount, fsync_every="1MiB", name=f"share{share}").report
        assert (report.words_lost > 0) is loses, share


def test_the_offered_load_goes_on_while_a_write_is_stuck(faultfs: Mount) -> None:
    """No coordinated omission: a call that never returns is a stall and a growing backlog."""
    fs = faultfs()
    fs.stall("write", after=8)

    found = bench(fs.mount, seconds=3, fsync_every="1MiB")

    (stall,) = found.stalls
    assert stall.ongoing
    assert stall.at_s + stall.for_s > 3
    assert found.ring_needed_bytes == pytest.approx(16 * MB * stall.for_s, rel=0.1)
    assert found.write_s.max == pytest.approx(
        stall.for_s, abs=0.001
    )  # it counts with what it has taken so far
    assert found.delay_s is not None
    assert found.delay_s.max == pytest.approx(stall.for_s, abs=1)
    assert any("had not returned" in warning for warning in found.warnings)
    assert {fit.verdict for fit in found.fits} == {"unknown"}
    assert found.verdict == "unknown"
    fs.clear()
    wait_until(lambda: not list(fs.backing.iterdir()), 10, "the file of the killed writer to vanish")


@requires_fuse
@pytest.mark.parametrize("taken", [2 * MB, 10 * MB])
def test_a_destination_slower_than_the_offer_does_not_fit_and_no_ring_is_named(
    faultfs: Mount, taken: int
) -> None:
    fs = faultfs()
    fs.throttle(taken)

    found = bench(fs.mount, seconds=4, saturate=4)

    (asked,) = [fit for fit in found.fits if fit.measured]
    assert asked.verdict == found.verdict == "no"
    assert asked.headroom == pytest.approx(taken / (16 * MB), rel=0.2)
    assert all(fit.rate_bytes_per_s < taken for fit in found.fits if fit.fits)
    assert found.ring_recommended_bytes is None
    assert "none is enough" in str(found)


@requires_fuse
def test_a_failing_write_is_told_and_made_good(faultfs: Mount) -> None:
    fs = faultfs()
    fs.error("write", errno.EIO, after=8, count=2)

    found = bench(fs.mount, seconds=3, saturate=1)

    (error,) = found.errors
    assert "Input/output error" in error.text
    assert not error.ongoing
    assert 1 <= error.calls <= 2  # the kernel may make one of a write's both failures a short write
    assert error.calls * RETRY_S < error.for_s < 3 - error.at_s
    assert found.rate_bytes_per_s > 10 * MB
    assert all(fit.fits for fit in found.fits if fit.measured)


@requires_fuse
@pytest.mark.parametrize(("call", "after"), [("write", 0), ("write", 12), ("fsync", 0), ("fsync", 2)])
def test_calls_that_fail_to_the_end_are_no_rate_and_a_growing_backlog(
    faultfs: Mount, clean_cli: CommandLine, call: str, after: int
) -> None:
    fs = faultfs()
    fs.error(call, errno.ENOSPC, after=after, count=None)

    done = clean_cli("bench", "nas", fs.mount, "--seconds", "3", "--fsync-every", "2MiB", "--json")

    assert done.status == 1
    found = msgspec.convert(done.json, NasBench)
    (error,) = found.errors
    assert error.ongoing
    assert error.for_s > 3 - error.at_s
    assert error.calls > 2
    assert f"and to the end: cannot {call}" in done.err
    assert not any(fit.fits for fit in found.fits)
    durable = found.rate_bytes_per_s * 3
    assert (durable == 0) is (after == 0)
    assert found.ring_needed_bytes == pytest.approx(3 * 16 * MB - durable, rel=0.25)


@requires_fuse
def test_a_close_that_fails_at_the_end_takes_nothing_of_what_was_measured(faultfs: Mount) -> None:
    fs = faultfs()
    fs.error("flush", errno.EIO, count=None)

    found = bench(fs.mount, seconds=1)

    assert found.rate_bytes_per_s > 10 * MB
    assert not list(fs.backing.iterdir())


@requires_fuse
def test_a_command_whose_writer_is_stuck_leaves_nobody_waiting_at_its_pipes(
    faultfs: Mount, clean_cli: CommandLine
) -> None:
    fs = faultfs()
    fs.stall(("write", "unlink"), after=2, count=None)

    done = clean_cli(
        "bench", "nas", fs.mount, "--seconds", "1", "--json"
    )  # returns when its pipes are closed

    assert clean_cli.processes("nasbench.writer")
    assert done.json["stalls"][0]["ongoing"]
    assert "at least" in done.err
    fs.clear()
    wait_until(lambda: not clean_cli.processes("nasbench.writer"), 10, "the killed writer to end")


@requires_fuse
@pytest.mark.parametrize("how", ["unmounted", "removed"])
def test_a_directory_that_vanishes_meanwhile_is_said(faultfs: Mount, how: str, tmp_path: Path) -> None:
    fs, place = faultfs(), tmp_path / "place"
    place.mkdir()
    vanish = iter([fs.vanish if how == "unmounted" else place.rmdir])

    found = bench(
        fs.mount if how == "unmounted" else place, seconds=1, progress=lambda *_: next(vanish, lambda: None)()
    )

    assert found.rate_bytes_per_s > 10 * MB
    assert [w for w in found.warnings if "was unmounted, removed or replaced meanwhile" in w]


@requires_fuse
def test_a_bench_whose_directory_does_not_answer_can_be_interrupted(
    faultfs: Mount, clean_cli: CommandLine
) -> None:
    fs = faultfs()
    rule = fs.stall(("statfs", "getattr"), count=None)
    process = clean_cli.start("bench", "nas", fs.mount, "--seconds", "1", "--json")
    fs.wait_fired(rule)
    process.send_signal(signal.SIGINT)

    done = clean_cli.finish(process)

    assert done.status == 130
    assert done.json["error"] == "interrupted"
    fs.clear()
    wait_until(lambda: not clean_cli.processes("nasbench.writer"), 10, "the killed writer to end")


@requires_fuse
def test_a_file_that_is_made_slowly_is_said(faultfs: Mount) -> None:
    fs = faultfs()
    fs.stall("create", seconds=1)

    found = bench(fs.mount, seconds=1)

    assert [w for w in found.warnings if w.startswith("making the file took 1")]
    assert not found.stalls


@requires_fuse
def test_after_a_failed_fsync_everything_since_the_last_good_one_is_written_again(faultfs: Mount) -> None:
    fs = faultfs()
    fs.error("fsync", errno.EIO, after=2)

    found = bench(fs.mount, seconds=4)

    assert len(found.errors) == 1
    assert "cannot fsync" in found.errors[0].text
    assert found.bytes - 16 * MB * found.observed_s > 4 * MIB  # of 8 MiB between fsyncs


@pytest.mark.netns
def test_a_server_that_stops_is_a_stall_of_that_length(netdisk: Mount) -> None:
    disk = netdisk()
    stopped: list[float] = []

    def pull(at_s: float, *_: Any) -> None:
        if not stopped and at_s > 1:
            disk.stop_server()
            stopped.append(time.monotonic())
        elif len(stopped) == 1 and time.monotonic() - stopped[0] > 6:
            disk.cont_server()
            stopped.append(time.monotonic())

    found = bench(disk.mount, seconds=10, fsync_every="1MiB", progress=pull)

    assert found.stalls, f"{found}\n{stopped}"
    stall = max(found.stalls, key=lambda s: s.for_s)
    assert stall.for_s == pytest.approx(stopped[1] - stopped[0], rel=0.05)
    assert found.mount is not None
    assert found.mount.file_system == "fuse.sshfs"


@pytest.mark.netns
def test_nothing_is_left_of_a_killed_bench_on_a_network_disk(cli: CommandLine, netdisk: Mount) -> None:
    disk = netdisk()
    process = cli.start("bench", "nas", disk.mount, "--seconds", "60")
    wait_until(lambda: any(p.stat().st_size for p in disk.backing.iterdir()), 20, "the first bytes")
    (writer,) = cli.processes("nasbench.writer")
    os.kill(process.pid, signal.SIGKILL)
    os.kill(writer, signal.SIGKILL)

    wait_until(lambda: not list(disk.backing.iterdir()), 20, "the nameless file to be removed")


# -- figures -----------------------------------------------------------------------------------------------


def test_a_paced_bench_offers_what_was_asked_for(tmp_path: Path) -> None:
    found = bench(tmp_path, rate="2MHz", seconds=2)

    assert found.asked_bytes_per_s == 16 * MB
    assert found.observed_s == pytest.approx(2, abs=0.05)
    assert found.bytes <= 32 * MB
    assert found.rate_bytes_per_s == pytest.approx(16 * MB, rel=0.5)
    assert found.ring_needed_bytes is not None
    two_mhz = next(fit for fit in found.fits if fit.rate_hz == 2e6)
    assert two_mhz.measured
    assert two_mhz.ring_needed_bytes == found.ring_needed_bytes


def test_percentiles_are_those_of_the_histogram_it_carries(tmp_path: Path) -> None:
    found = bench(tmp_path, rate="max", seconds=1, span="64MiB")

    whole = LatencyHistogram.from_json(found.write_s.buckets)
    assert whole.count == found.write_s.count > 20
    for name, percent in (("p50", 50), ("p90", 90), ("p99", 99), ("p999", 99.9), ("p9999", 99.99)):
        assert getattr(found.write_s, name) == whole.percentile(percent)
    assert found.write_s.max == max(v for v in found.timeline.write_max_s if v is not None)
    assert found.write_s.error == 1 / 256
    assert found.ring_needed_bytes is None
    assert found.bytes > found.span_bytes == 64 * MIB  # it went round


def test_no_byte_is_written_over_before_it_is_durable(tmp_path: Path) -> None:
    found = bench(tmp_path, seconds=1, span="1MiB", block="256KiB")

    assert found.bytes > 10 * MIB
    assert found.fsync_s.count >= found.bytes // found.span_bytes


def test_a_span_beyond_half_of_what_is_free_is_refused(tmp_path: Path) -> None:
    free = os.statvfs(tmp_path).f_bavail * os.statvfs(tmp_path).f_frsize

    with pytest.raises(fc.SinkError, match=r"more than half of the \d+ bytes free .* use --span \d+ or less"):
        bench(tmp_path, span=free)
    assert not list(tmp_path.iterdir())


@requires_fuse
def test_a_disk_that_is_nearly_full_is_refused_whatever_the_span(faultfs: Mount) -> None:
    fs = faultfs()
    fs.full(20 * MIB)

    with pytest.raises(fc.SinkError, match=r"20971520 bytes are free in .*, and a bench needs 33554432"):
        bench(fs.mount, span="1MiB")
    assert not list(fs.backing.iterdir())


@requires_root
def test_a_small_disk_is_filled_to_its_half_and_that_is_said(loopdisk: Callable[..., Any]) -> None:
    disk = loopdisk("96MiB")

    found = bench(disk.mount, rate="max", seconds=1)

    assert found.span_bytes < 48 * MIB
    assert not found.errors
    assert found.bytes <= found.span_bytes
    assert any("are free: writing as fast as it goes ended" in warning for warning in found.warnings)
    assert found.mount is not None
    assert found.mount.file_system == "ext4"


@requires_root
def test_when_others_need_the_room_the_file_grows_no_further(loopdisk: Callable[..., Any]) -> None:
    disk = loopdisk("128MiB")
    other = Path(disk.mount) / "other"

    def fill(*_: Any) -> None:
        if not other.exists():
            other.write_bytes(bytes(60 * MIB))

    found = bench(disk.mount, seconds=5, span="52MiB", progress=fill)

    assert not found.errors
    assert found.bytes > 52 * MIB


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"rate": "0"}, "rate above 0"),
        ({"rate": "16M"}, "16M"),
        ({"seconds": 0}, "at least 0.1"),
        ({"block": 1000}, "multiple of 4096"),
        ({"block": "1GiB"}, "from 4KiB to 64MiB"),
        ({"fsync_every": "4KiB"}, "below a block"),
        ({"span": "64KiB"}, "span 64KiB is below"),
        ({"rate": "8B/s", "seconds": 0.2}, "rate 8B/s offers nothing to write within seconds 0.2"),
        ({"rate": "1MB/s", "seconds": 0.1}, "rate 1MB/s offers nothing"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_touched(
    options: dict[str, Any], what: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=what):
        bench(tmp_path / "not there", **options)


@pytest.mark.parametrize("there", [False, True])
def test_a_destination_that_cannot_be_used_is_named(there: bool, tmp_path: Path) -> None:
    path = tmp_path / "place"
    if there:
        path.write_text("a file")
    with pytest.raises(fc.SinkError, match=f"cannot use {path}"):
        bench(path)


# -- leaving nothing behind ----------------------------------------------------------------------------------


def test_nothing_is_left_of_a_bench(tmp_path: Path) -> None:
    before = set(Path("/dev/shm").glob("fastcap-bench-*"))
    bench(tmp_path, seconds=1)

    assert not list(tmp_path.iterdir())
    assert set(Path("/dev/shm").glob("fastcap-bench-*")) == before


@pytest.mark.parametrize("victim", ["command", "writer", "both"])
def test_nothing_is_left_of_a_killed_bench(victim: str, cli: CommandLine, tmp_path: Path) -> None:
    process = cli.start("bench", "nas", tmp_path, "--seconds", "60")
    (writer,) = wait_until(lambda: cli.processes("nasbench.writer"), 20, "the writer to start")
    wait_until(lambda: deleted_file_of(writer, tmp_path), 20, "the writer to have its file")
    if victim != "command":
        os.kill(writer, signal.SIGKILL)
    if victim != "writer":
        os.kill(process.pid, signal.SIGKILL)

    done = cli.finish(process)
    wait_until(lambda: not cli.processes(), 10, "every process to end")

    assert not list(tmp_path.iterdir())
    if victim == "writer":
        assert done.status == 1
        assert "the bench's writer ended before its time" in done.error


def deleted_file_of(pid: int, directory: Path) -> bool:
    """Tell whether a process has a file in the directory open whose name is gone."""
    links = []
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            links.append(os.readlink(entry))
        except OSError:
            continue
    return any(link.startswith(f"{directory}/") and link.endswith(" (deleted)") for link in links)


@requires_fuse
def test_a_file_whose_name_cannot_be_taken_away_is_removed_at_the_end(faultfs: Mount) -> None:
    fs = faultfs()
    fs.error("unlink", errno.EBUSY)  # while it is open, as some network disks have it
    fs.error("rename", errno.EBUSY, count=1)

    found = bench(fs.mount, seconds=1)

    assert found.rate_bytes_per_s > 0
    assert not list(fs.backing.iterdir())


@requires_fuse
def test_a_file_that_cannot_be_removed_at_all_is_named(faultfs: Mount) -> None:
    fs = faultfs()
    fs.error(("unlink", "rename"), errno.EACCES, count=None)

    found = bench(fs.mount, seconds=1)

    (left,) = fs.backing.iterdir()
    assert [w for w in found.warnings if f"{fs.mount / left.name} is still there" in w]


def test_a_writer_that_is_killed_is_an_error_with_its_last_words(
    clean_cli: CommandLine, tmp_path: Path
) -> None:
    process = clean_cli.start("bench", "nas", tmp_path, "--seconds", "60")
    (writer,) = wait_until(lambda: clean_cli.processes("nasbench.writer"), 20, "the writer to start")
    wait_until(lambda: deleted_file_of(writer, tmp_path), 20, "the writer to have its file")
    os.kill(writer, signal.SIGKILL)

    done = clean_cli.finish(process)

    assert done.status == 1
    assert "ended before its time, with status -9: it said nothing" in done.error


def test_a_dead_bench_s_file_is_removed_by_the_next_and_a_living_one_s_is_not(tmp_path: Path) -> None:
    living = tmp_path / leftovers.new_name()
    dead = tmp_path / living.name.replace(f"_{os.getpid()}_", f"_{os.getpid()}_9")
    elsewhere = tmp_path / ".fastcap-bench-another-host_1_1.tmp"
    for path in (living, dead, elsewhere):
        path.write_bytes(b"x")

    found = bench(tmp_path, seconds=1)

    assert {p.name for p in tmp_path.iterdir()} == {living.name, elsewhere.name}
    assert "1 file(s) of benches that were killed have been removed" in found.warnings


# -- the command ---------------------------------------------------------------------------------------------


def test_json_holds_what_the_contract_says_and_can_be_read_back(
    clean_cli: CommandLine, tmp_path: Path
) -> None:
    done = clean_cli("bench", "nas", tmp_path, "--seconds", "1", "--json")

    assert done.status == 0
    fields = {"rate_bytes_per_s", "write_s", "fsync_s", "stalls", "ring_needed_bytes", "observed_s"}
    assert fields <= done.json.keys()
    kept = tmp_path / "kept.json"
    kept.write_text(done.out)
    assert json.loads(json.dumps(load_bench(kept).to_dict())) == done.json


def test_ctrl_c_ends_early_with_what_was_seen(clean_cli: CommandLine, tmp_path: Path) -> None:
    process = clean_cli.start("bench", "nas", tmp_path, "--seconds", "60", "--json")
    (writer,) = wait_until(lambda: clean_cli.processes("nasbench.writer"), 20, "the writer to start")
    wait_until(lambda: deleted_file_of(writer, tmp_path), 20, "the writer to have its file")
    began = time.monotonic()
    wait_until(lambda: time.monotonic() - began > 1, 5, "a second of observing")
    process.send_signal(signal.SIGINT)

    done = clean_cli.finish(process)

    assert done.status == 130
    assert done.json["interrupted"]
    assert 0.5 < done.json["observed_s"] < 50
    assert done.json["bytes"] > 0


@pytest.mark.parametrize(
    ("args", "status", "what"),
    [
        (("/nowhere/at/all",), 1, "cannot use /nowhere/at/all: No such file"),
        (("/tmp", "--rate", "fast"), 2, "'fast' is not a rate"),
        (("/tmp", "--plot", "picture.txt"), 2, "--plot picture.txt is no picture's name"),
        (("/tmp", "--html", "/nowhere/page.html"), 2, "/nowhere is no directory to write in"),
        (("/tmp", "--html", "/tmp"), 2, "'/tmp' is a directory"),
    ],
)
def test_wrong_usage_is_one_line_with_the_value(
    args: tuple[str, ...], status: int, what: str, clean_cli: CommandLine
) -> None:
    done = clean_cli("bench", "nas", "--seconds", "1", *args)

    assert done.status == status
    assert what in done.error


def test_pictures_and_pages_are_written_and_complete(clean_cli: CommandLine, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    picture, page = tmp_path / "nas.png", tmp_path / "nas.html"
    place = tmp_path / "a<b>&c"
    place.mkdir()

    done = clean_cli("bench", "nas", place, "--seconds", "1", "--plot", picture, "--html", page)

    assert done.status == 0
    assert picture.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    text = page.read_text()
    assert "a&lt;b&gt;&amp;c" in text
    assert "a<b>" not in text
    assert "data:image/png;base64," in text
    assert "http" not in text  # nothing from elsewhere
    assert json.dumps(str(place))[1:-1] in done.out


def test_a_directory_of_any_name_is_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from fastcap.nasbench.bygone import bygone
    from fastcap.nasbench.picture import draw_comparison, draw_hours

    place = Path(os.fsdecode(bytes(tmp_path) + b"/a$b^{$\xff"))
    place.mkdir()
    picture, page = tmp_path / "nas.png", tmp_path / "nas.html"
    found = bench(place, seconds=0.3)

    found.plot(picture)
    found.save_html(page)
    draw_hours(bygone(place), picture)
    compared = draw_comparison([found, found], ["_first", place.name], picture)

    assert "a$b^{$?" in page.read_text()
    legend = [text.get_text() for text in compared.axes[0].get_legend().get_texts()]
    assert len(legend) == 2  # matplotlib hides a label that begins with "_"


def test_figures_are_told_when_the_page_cannot_be_written_after_all(
    clean_cli: CommandLine, tmp_path: Path
) -> None:
    pytest.importorskip("matplotlib")

    done = clean_cli("bench", "nas", tmp_path, "--seconds", "0.3", "--html", "/dev/full", "--json")

    assert done.status == 1
    assert done.json["bytes"] > 0
    assert "/dev/full was not written: No space left on device" in done.err


# -- as fio's users expect -----------------------------------------------------------------------------------


def test_several_writers_share_a_line_and_the_worst_is_told(faultfs: Mount) -> None:
    fs = faultfs()
    fs.throttle(24 * MB)

    found = bench(fs.mount, seconds=3, rate=16 * MB, writers=2, saturate=0)

    assert found.writers == 2
    assert found.all_bytes_per_s == pytest.approx(24 * MB, rel=0.2)
    assert found.rate_bytes_per_s < 14 * MB
    assert found.verdict != "yes"
    assert list(fs.backing.iterdir()) == []


def test_writing_past_the_page_cache_goes_in_whole_pages(tmp_path: Path, clean_cli: CommandLine) -> None:
    done = clean_cli("bench", "nas", tmp_path, "--seconds", "1", "--saturate", "0", "--direct", "--json")

    found = msgspec.convert(done.json, NasBench)
    assert found.errors == []
    assert found.direct
    assert found.bytes % 4096 == 0
    assert found.bytes == pytest.approx(16 * MB, rel=0.2)
    assert found.cpu is not None
    assert 0 < found.cpu.user_s + found.cpu.system_s < 1
    assert "O_DIRECT" in done.err


def test_a_file_system_without_o_direct_is_refused_by_name(faultfs: Mount) -> None:
    fs = faultfs()
    fs.error("create", errno.EINVAL, carry_out=True)

    with pytest.raises(fc.SinkError, match="does not take O_DIRECT; leave --direct out"):
        bench(fs.mount, seconds=1, direct=True)
    assert list(fs.backing.iterdir()) == []


@pytest.mark.parametrize("killed", [0, -1])
def test_one_of_several_writers_that_dies_ends_the_bench(tmp_path: Path, killed: int) -> None:
    caught: list[BaseException] = []

    def run() -> None:
        try:
            bench(tmp_path, seconds=600, writers=3)
        except BaseException as error:
            caught.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    wait_until(lambda: len(children_of(os.getpid(), "fastcap.nasbench.writer")) == 3, 20, "three writers")
    os.kill(sorted(children_of(os.getpid(), "fastcap.nasbench.writer"))[killed], signal.SIGKILL)
    thread.join(60)

    assert not thread.is_alive()
    assert isinstance(caught[0], fc.WorkerError)
    wait_until(lambda: not children_of(os.getpid(), "fastcap.nasbench.writer"), 20, "that all have ended")
