"""What a worker imports before it can work: each is started anew for every session, several at a time."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from engine import assert_whole, counting, recording, workers
from support import children_of, wait_until

import fastcap as fc

SLOW = {
    "asyncio",
    "dataclasses",
    "enum",
    "inspect",
    "json",
    "msgspec",
    "numpy",
    "re",
    "socket",
    "subprocess",
    "typing",
}


def modules(code: str) -> set[str]:
    """Return what a new interpreter has imported after ``code``."""
    told = subprocess.run(
        [sys.executable, "-P", "-c", f"import sys\n{code}\nprint(*sys.modules)"],
        check=True, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    return set(told.stdout.split())


@pytest.mark.parametrize("role", ["reader", "splitter", "tee_out", "nas_writer"])
def test_worker_starts_without_slow_modules(role: str) -> None:
    by_itself = modules("pass")  # what the environment adds to every start is not ours

    assert modules(f"import fastcap.workers.{role}") & SLOW <= by_itself
    assert "json" in modules("import json"), "the list is of modules as they are named"


def test_trace_is_opened_without_numpy(tmp_path: Path) -> None:
    trace = tmp_path / "t.bin"
    with fc.open("sim://", ring="16MiB") as board:
        board.record(samples=1000, to=trace)

    loaded = modules(
        f"import fastcap as fc; tr = fc.load({str(trace)!r}); assert len(tr) == 1000 and tr.header"
    )
    assert "fastcap.trace" in loaded
    assert not loaded & {"numpy", "logging", "fastcap.index"}, "what only values need is imported with them"


def test_supervisor_keeps_nothing_that_this_process_left_inheritable() -> None:
    ours, theirs = os.pipe()
    os.set_inheritable(theirs, True)
    with fc.open("sim://?rate=1MHz", ring="16MiB") as board, board.stream():
        os.close(theirs)
        assert select.select([ours], [], [], 10)[0], "a process of the session holds the pipe's other end"
        assert os.read(ours, 1) == b""
    os.close(ours)


def test_reader_that_comes_up_last_has_only_the_source_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = tmp_path / "gate"
    held = (
        "import os, sys, time\n"
        f"while 'fastcap.workers.reader' in sys.orig_argv and not os.path.exists({str(gate)!r}):\n"
        "    time.sleep(0.01)\n"
    )
    (tmp_path / "sitecustomize.py").write_text(held)
    paths = [str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
    box: list[fc.Capture] = []
    with fc.open(counting(100_000), ring="16MiB") as board:
        recorder = threading.Thread(target=lambda: box.append(board.record(None, tmp_path / "run.bin")))
        recorder.start()
        wait_until((tmp_path / "run.bin.part").exists, 20, "the destination was looked at")
        assert board.session is not None
        ring = board.session.attach()
        wait_until(lambda: ring.slot_state(0)["state"] == "ACTIVE", 20, "the writer has its slot")
        ring.close()
        gate.touch()
        recorder.join(60)

    assert_whole(box[0], 100_000)


def begun_s(pid: int) -> float:
    """Return when a process began, in seconds since the machine's start."""
    after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(after_name[19]) / os.sysconf("SC_CLK_TCK")


def test_reader_s_spare_is_begun_with_the_source_and_others_later(tmp_path: Path) -> None:
    with recording(counting(rate="1MHz"), tmp_path) as (finish, board):
        readers, writers = (
            wait_until(lambda role=role: len(workers(role)) == 2 and workers(role), 20, f"a spare {role}")
            for role in ("reader", "nas_writer")
        )
        (source,) = [pid for pid in children_of(os.getpid(), "fastcap.sim.board") if pid not in readers]
        spare_s, writer_s, source_s = (max(map(begun_s, pids)) for pids in (readers, writers, [source]))
        assert board.session is not None
        board.session.finish(1)
        assert_whole(cap := finish(), cap.report["words"], cut=True)

    assert spare_s - source_s < writer_s - spare_s
