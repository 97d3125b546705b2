"""Captures of a process that may do little: few descriptors, no locked memory, nobody to tell."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from cli_runs import COUNTER, CommandLine, counted
from engine import workers
from support import wait_until

import fastcap as fc

pytest_plugins = ["command_line"]
WORDS = 500_000


def run_of(place: Path) -> tuple[str | Path, ...]:
    return ("capture", COUNTER, "--to", place / "run.bin", "--ring", "16MiB", "--samples", str(WORDS))


def assert_complete(place: Path) -> None:
    assert sorted(path.name for path in place.iterdir()) == ["run.bin", "run.index", "run.sigmf-meta"]
    assert (counted(place / "run.bin") == np.arange(WORDS, dtype=np.uint64)).all()


# -- descriptors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [16, 64, 255])
def test_too_few_descriptors_are_refused_with_their_number(
    clean_cli: CommandLine, tmp_path: Path, limit: int
) -> None:
    ended = clean_cli(*run_of(tmp_path), prefix=("prlimit", f"--nofile={limit}"))

    assert ended.status == 1
    assert f"may open only {limit} files, 256 are needed: raise the limit" in ended.error
    assert not list(tmp_path.iterdir())


def test_soft_limit_of_descriptors_is_raised(clean_cli: CommandLine, tmp_path: Path) -> None:
    ended = clean_cli(*run_of(tmp_path), prefix=("prlimit", "--nofile=32:"))

    assert ended.status == 0, ended.err
    assert_complete(tmp_path)


# -- privileges ----------------------------------------------------------------------------------------


def test_realtime_that_is_not_permitted_is_said_and_does_without(
    clean_cli: CommandLine, tmp_path: Path
) -> None:
    drop = ("setpriv", "--bounding-set=-ipc_lock,-sys_nice") if os.geteuid() == 0 else ()
    without = (*drop, "prlimit", "--memlock=0", "--rtprio=0")
    ended = clean_cli(*run_of(tmp_path), "--realtime", prefix=without)

    assert ended.status == 0, ended.err
    assert "warning: SCHED_FIFO refused" in ended.err
    assert "warning: mlockall refused" in ended.err
    assert_complete(tmp_path)


# -- nobody listens ------------------------------------------------------------------------------------


def unheard(kind: str) -> int:
    """Return a descriptor that takes nothing."""
    if kind == "full":
        return os.open("/dev/full", os.O_WRONLY)
    ours, theirs = os.pipe()
    os.close(ours)
    return theirs


@pytest.mark.parametrize("kind", ["full", "closed"])
def test_messages_that_nobody_takes_cost_nothing(clean_cli: CommandLine, tmp_path: Path, kind: str) -> None:
    fd = unheard(kind)
    ended = clean_cli(*run_of(tmp_path), "--json", stderr=fd)
    os.close(fd)

    assert ended.status == 0
    assert ended.json["complete"]
    assert_complete(tmp_path)


@pytest.mark.parametrize("kind", ["full", "closed"])
def test_result_that_nobody_takes_costs_no_file(clean_cli: CommandLine, tmp_path: Path, kind: str) -> None:
    fd = unheard(kind)
    ended = clean_cli(*run_of(tmp_path), "--json", stdout=fd, stderr=fd)
    os.close(fd)

    assert ended.status == 1  # the report did not arrive
    assert_complete(tmp_path)


# -- the scheduler -------------------------------------------------------------------------------------


def policies(role: str) -> set[int]:
    return {os.sched_getscheduler(pid) for pid in workers(role)}


def test_workers_give_way_only_while_the_source_can_wait(tmp_path: Path) -> None:
    """Two recordings of one session; the warm spare reader is as any process."""
    with fc.open(COUNTER, ring="16MiB") as board:
        for on_full, policy in (("wait", os.SCHED_BATCH), ("drop", os.SCHED_OTHER)):
            cap = board.record("0.5s", tmp_path / f"{on_full}.bin", on_full=on_full, wait=False)
            wait_until(lambda cap=cap: cap.progress.get("bytes"), 20, "the first words")
            assert policies("splitter") == {policy}
            assert policy in policies("reader") <= {policy, os.SCHED_OTHER}
            cap.wait(20)


@pytest.mark.skipif(os.geteuid() != 0, reason="may not ask for SCHED_FIFO")
def test_realtime_reader_gives_no_way(tmp_path: Path) -> None:
    with fc.open(COUNTER, ring="16MiB", realtime=True) as board:
        cap = board.record("0.5s", tmp_path / "run.bin", on_full="wait", wait=False)
        wait_until(lambda: cap.progress.get("bytes"), 20, "the first words")
        assert os.SCHED_FIFO in policies("reader")
        assert os.SCHED_BATCH not in policies("reader")
