"""The wall clock jumps; the machine stands still; system calls are interrupted: what a capture makes of it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import pytest
from cli_runs import COUNTER, NOTES, CommandLine
from engine import arrived_bytes, assert_whole, counting, recording, workers
from support import assert_counter_file, children_of, wait_until

pytest_plugins = ["command_line"]
HOUR_S = 3600


# -- the wall clock ------------------------------------------------------------------------------------


def told_at(process: subprocess.Popen[str]) -> float:
    """Return the wall clock of a session's latest word on itself; 0: it has not said any yet."""
    for note in (p for base in NOTES for p in base.glob(f"fastcap-session-*-{process.pid}-*.json")):
        try:
            return float(json.loads(note.read_text())["at"])
        except ValueError:  # being written
            continue
    return 0.0


def test_wall_clock_that_jumps_moves_no_duration_and_is_no_loss(
    clean_cli: CommandLine, tmp_path: Path
) -> None:
    source, library, offset = (
        Path(__file__).parent / "c/wall_clock.c",
        tmp_path / "clock.so",
        tmp_path / "offset",
    )
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-o", library, source], check=True)
    offset.write_bytes(bytes(8))
    clean_cli.environment |= {"LD_PRELOAD": str(library), "WALL_CLOCK_OFFSET": str(offset)}
    before = time.time()
    run = ("capture", COUNTER, "--to", tmp_path / "run.bin", "--ring", "64MiB", "--seconds", "3", "--json")
    process = clean_cli.start(*run)
    part = tmp_path / "run.bin.part"
    wait_until(lambda: part.exists() and part.stat().st_size > 0, 20, "the capture to run")
    for jump_s in (HOUR_S, -HOUR_S):
        with offset.open("r+b") as file:
            file.write(jump_s.to_bytes(8, "little", signed=True))
        wait_until(lambda s=jump_s: abs(told_at(process) - time.time() - s) < HOUR_S / 2, 20, "the jump")
    ended = clean_cli.finish(process)

    report = ended.json
    assert ended.status == 0, ended.err
    assert (report["complete"], report["words_lost"], report["words"]) == (True, 0, 6_000_000)
    assert report["duration_s"] == 3.0
    assert report["board"]["estimated_words_lost"] == 0
    assert abs(report["clock"]["drift_ppm"]) < 10_000
    assert before - 1 <= datetime.fromisoformat(report["started"]).timestamp() <= time.time()
    assert assert_counter_file(tmp_path / "run.bin", 6_000_000) == []


# -- the machine ---------------------------------------------------------------------------------------


def test_machine_that_stands_still_costs_what_the_board_lost_and_no_more(
    clean_cli: CommandLine, cgroup, tmp_path: Path
) -> None:
    group = cgroup("freezer")
    words = 9_000_000
    process = clean_cli.start(
        "capture", COUNTER, "--to", tmp_path / "run.bin", "--ring", "64MiB", "--samples", str(words), "--json",
        prefix=group.prefix,
    )  # fmt: skip
    part = tmp_path / "run.bin.part"
    wait_until(lambda: part.exists() and part.stat().st_size > 8 * 2_500_000, 20, "a second's words")
    group.freeze()
    frozen = time.monotonic()
    stood = part.stat().st_size
    wait_until(lambda: time.monotonic() - frozen > 1.0, 20, "a second to pass")
    assert part.stat().st_size == stood
    group.thaw()
    ended = clean_cli.finish(process)

    report = ended.json
    counted = re.search(r"lost_overflow=(\d+)", report["source"]["stderr_tail"])
    assert counted
    lost = int(counted[1])
    jumps = assert_counter_file(tmp_path / "run.bin", report["words"])
    assert sum(missing for _, missing in jumps) == lost > 0
    assert report["words_lost"] == 0  # fastcap itself dropped none
    assert report["accounting"]["in_flight_bytes"] == 0
    assert report["board"]["estimated_words_lost"] == pytest.approx(
        lost, abs=2 * report["board"]["detectable_words"]
    )
    assert ended.status == 3
    assert f"about {report['board']['estimated_words_lost']} words were lost by the board" in ended.err


# -- system calls --------------------------------------------------------------------------------------


@contextmanager
def interrupting(pids: list[int], calls: str, log: Path) -> Iterator[None]:
    """Let every seventh of these calls of some processes fail with EINTR.

    Not of what they start meanwhile (``-f``), and none that the loader or a lock of the C library makes: neither a read
    of a program's own files nor a FUTEX_WAKE is ever interrupted.
    """
    threads = [task.name for pid in pids for task in Path(f"/proc/{pid}/task").iterdir()]
    attached = [arg for thread in threads for arg in ("-p", thread)]
    inject = f"inject={calls}:error=EINTR:when=5+7"
    with subprocess.Popen(
        ["strace", "-qq", "-o", log, "-e", f"trace={calls}", "-e", inject, *attached],
        stderr=subprocess.PIPE,
    ) as tracer:
        try:
            wait_until(lambda: log.exists() and "(INJECTED)" in log.read_text(), 20, "an interrupted call")
            yield
        finally:
            tracer.terminate()


@pytest.fixture
def memory_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="fastcap-test-") as folder:
        yield Path(folder)


@pytest.mark.root
def test_interrupted_calls_are_not_noticed(tmp_path: Path, memory_folder: Path) -> None:
    """In memory: on a slow disk there are few fsyncs, and none of them is the fifth."""
    words, logs = 4_000_000, [tmp_path / f"calls{k}" for k in range(3)]
    with recording(counting(words, rate="2MHz"), memory_folder, fsync_every="1MiB") as (finish, board):
        wait_until(lambda: arrived_bytes(board) > 1 << 20, 20, "words")
        wait_until(lambda: len(workers("reader")) == 2, 20, "a warm reader")
        (supervisor,) = children_of(os.getpid(), "fastcap.workers.supervisor")
        messages = "poll,ppoll,sendmsg,recvmsg"
        with (
            interrupting(workers("reader"), f"read,futex,{messages}", logs[0]),
            interrupting(workers("splitter"), f"futex,{messages}", logs[1]),
            interrupting([supervisor, *workers("nas_writer")], f"write,pwrite64,fsync,{messages}", logs[2]),
        ):
            cap = finish()

    calls = "".join(log.read_text() for log in logs)
    hit = {m[1] for m in re.finditer(r"(\w+)\(.*EINTR.*\(INJECTED\)", calls)}
    assert {"read", "pwrite64", "futex", "fsync", "poll"} <= hit
    assert_whole(cap, words)
    assert cap.report["replaced"] == {"reader": 0, "splitter": 0, "nas_writer": 0, "analysis": 0}


def test_interrupted_allocation_goes_on(clean_cli: CommandLine, tmp_path: Path) -> None:
    log = tmp_path / "calls"
    inject = "inject=fallocate:error=EINTR:when=2+2"
    tracer = ("strace", "-f", "-qq", "-o", str(log), "-e", "trace=fallocate", "-e", inject)
    run = (
        "capture",
        COUNTER,
        "--to",
        tmp_path / "run.bin",
        "--ring",
        "96MiB",
        "--samples",
        "500000",
        "--json",
    )
    ended = clean_cli(*run, prefix=tracer)

    assert "INJECTED" in log.read_text()
    assert ended.status == 0, ended.err
    assert ended.json["complete"]
    assert "warning" not in ended.err
    assert assert_counter_file(tmp_path / "run.bin", 500_000) == []
