"""``bench rehearse``: the ledger is the verdict, nothing stays. ``bench engine``: every program did the same work."""

from __future__ import annotations

import errno
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cli_runs import CommandLine
from support.needs import requires_fuse
from support.waiting import wait_until

import fastcap as fc
from fastcap.nasbench import engine

pytest_plugins = ["command_line"]
Mount = Callable[..., Any]


def test_a_rehearsal_says_what_was_lost_and_leaves_nothing(clean_cli: CommandLine, tmp_path: Path) -> None:
    done = clean_cli("bench", "rehearse", tmp_path, "--seconds", "2", "--json")

    assert done.status == 0, done.err
    assert done.json["words"] == 4_000_000
    assert done.json["words_lost"] == 0
    assert "removed; --keep leaves it" in done.err
    assert not list(tmp_path.iterdir())


def test_a_stall_that_the_ring_bears_is_survived(clean_cli: CommandLine, tmp_path: Path) -> None:
    done = clean_cli(
        "bench", "rehearse", tmp_path, "--seconds", "4", "--stall", "1500ms@1s", "--ring", "64MiB", "--json"
    )

    assert done.status == 0, done.err
    stall = max(done.json["sink"]["stalls"], key=lambda s: s["for_s"])
    assert stall["at_s"] == pytest.approx(1, abs=0.3)
    assert stall["at_s"] + stall["for_s"] == pytest.approx(2.5, abs=0.3)
    assert done.json["ring"]["high_water_bytes"] > 20e6


def test_a_stall_beyond_the_ring_is_a_loss_and_exit_status_3(clean_cli: CommandLine, tmp_path: Path) -> None:
    done = clean_cli(
        "bench", "rehearse", tmp_path, "--seconds", "3", "--stall", "1500ms@1s", "--ring", "8MiB", "--json"
    )

    assert done.status == 3
    assert done.json["words_lost"] > 1_000_000
    assert "use a larger --ring" in done.err


def test_a_rehearsal_that_is_kept_can_be_verified(clean_cli: CommandLine, tmp_path: Path) -> None:
    done = clean_cli("bench", "rehearse", tmp_path, "--seconds", "1", "--rate", "1MHz", "--keep", "--json")

    assert done.json["words"] == 1_000_000
    assert clean_cli("verify", done.json["path"]).status == 0


def test_an_interrupted_rehearsal_leaves_nothing(clean_cli: CommandLine, tmp_path: Path) -> None:
    process = clean_cli.start("bench", "rehearse", tmp_path, "--seconds", "60")
    wait_until(lambda: any(p.stat().st_size for p in tmp_path.glob("*.part")), 20, "the first bytes")
    process.send_signal(signal.SIGINT)

    done = clean_cli.finish(process)

    assert done.status == 130
    assert not list(tmp_path.iterdir())


@requires_fuse
def test_a_rehearsal_left_at_once_keeps_nothing(clean_cli: CommandLine, faultfs: Mount) -> None:
    fs = faultfs()
    fs.error("write", errno.ENOSPC, after=8, count=None)
    process = clean_cli.start("bench", "rehearse", fs.mount, "--seconds", "60", "--json")
    wait_until(lambda: any(p.stat().st_size for p in fs.backing.glob("*.part")), 20, "the first bytes")
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    while "once more: leave at once" not in process.stderr.readline():
        pass
    process.send_signal(signal.SIGINT)

    done = clean_cli.finish(process)

    assert done.status == 130
    assert done.json["interrupted"]
    assert "nothing of it is kept" in done.err
    assert not list(fs.backing.iterdir())
    assert str(fs.mount) not in clean_cli("status").out  # where others of this machine may stand


@requires_fuse
def test_a_rehearsal_whose_destination_does_not_answer_can_be_interrupted(
    clean_cli: CommandLine, faultfs: Mount
) -> None:
    fs = faultfs()
    rule = fs.stall(("statfs", "getattr"), count=None)
    process = clean_cli.start("bench", "rehearse", fs.mount, "--seconds", "1")
    fs.wait_fired(rule)
    process.send_signal(signal.SIGINT)

    assert clean_cli.finish(process).status == 130


@requires_fuse
def test_a_rehearsal_s_file_that_cannot_be_removed_is_named(clean_cli: CommandLine, faultfs: Mount) -> None:
    fs = faultfs()
    fs.error("unlink", errno.EACCES, path="*.bin", count=None)

    done = clean_cli("bench", "rehearse", fs.mount, "--seconds", "1", "--json")

    assert done.status == 0, done.err
    assert f"{done.json['path']} is still there: Permission denied" in done.err
    assert done.json["kept"]
    assert [p.name for p in fs.backing.iterdir() if p.suffix == ".bin"] == [Path(done.json["path"]).name]


def test_injected_stalls_are_no_part_of_the_destination_s_past(
    clean_cli: CommandLine, tmp_path: Path
) -> None:
    clean_cli("bench", "rehearse", tmp_path, "--seconds", "2", "--stall", "500ms@500ms")
    assert clean_cli("bench", "history", tmp_path, "--json").json["captures"] == 0

    clean_cli("bench", "rehearse", tmp_path, "--seconds", "1")
    assert clean_cli("bench", "history", tmp_path, "--json").json["captures"] == 1


@pytest.mark.parametrize(
    ("args", "status", "what"),
    [
        (("--stall", "3s"), 2, "--stall 3s is not T@T0"),
        (("--stall", "3s@never"), 2, "--stall 3s@never is not T@T0"),
        (("--rate", "max"), 2, "--rate max is no board's"),
        (("--rate", "12B/s"), 2, "not a whole number of words"),
        (("--seconds", "0"), 2, "--seconds 0 is no time"),
        (("--seconds", "900d"), 1, "more than half of the"),
        (("--seconds", "2", "--stall", "1s@2s"), 2, "--stall 1s@2s begins after the end"),
    ],
)
def test_wrong_rehearsals_are_refused_at_once(
    args: tuple[str, ...], status: int, what: str, clean_cli: CommandLine, tmp_path: Path
) -> None:
    done = clean_cli("bench", "rehearse", tmp_path, *args)

    assert done.status == status
    assert what in done.error
    assert not list(tmp_path.iterdir())


def test_the_engine_is_compared_with_all_that_is_installed(clean_cli: CommandLine) -> None:
    before = set(Path("/dev/shm").glob("fastcap-bench-*"))

    done = clean_cli("bench", "engine", "--size", "16MiB", "--rounds", "1", "--json")

    assert done.status == 0, done.err
    speeds = {(s["work"], s["name"]): s for s in done.json["speeds"]}
    wanted = {("limit", "memcpy"), ("limit", "pipe alone"), ("through", "fastcap tee"), ("through", "tee")}
    assert wanted | {("seen", "fastcap stream"), ("seen", "tee, file on tmpfs, read")} <= speeds.keys()
    assert all(speed["median"] > 0 for speed in speeds.values())
    ours, theirs = speeds["through", "fastcap tee"], speeds["through", "tee"]
    assert theirs["over"] == pytest.approx(ours["median"] / theirs["median"], rel=0.1)
    for name in ("mbuffer", "pv"):
        assert (name in done.json["missing"]) is (shutil.which(name) is None)
        assert (("through", name) in speeds) is (shutil.which(name) is not None)
    assert set(Path("/dev/shm").glob("fastcap-bench-*")) == before


def test_a_program_that_passes_on_less_is_no_speed() -> None:
    with pytest.raises(fc.WorkerError, match=r"head passed on 4096 of 1048576 bytes"):
        engine._through(["head", "-c", "4096"], 1 << 20)


def test_a_file_that_is_too_large_for_memory_is_refused() -> None:
    with pytest.raises(fc.RingError, match=r"use --size \d+MiB or less"):
        engine.bench_engine(1 << 50)


def test_a_killed_comparison_leaves_no_file_in_memory(clean_cli: CommandLine) -> None:
    before = set(Path("/dev/shm").glob("fastcap-bench-*"))
    process = clean_cli.start("bench", "engine", "--size", "256MiB", "--rounds", "50")

    def to_a_file() -> set[int]:
        return {*clean_cli.processes("tee\0/")} - {*clean_cli.processes("tee\0/dev/null")}

    wait_until(to_a_file, 60, "tee to write the file")
    process.kill()
    process.wait()

    wait_until(lambda: not clean_cli.processes(), 20, "every process to end")
    assert set(Path("/dev/shm").glob("fastcap-bench-*")) == before
