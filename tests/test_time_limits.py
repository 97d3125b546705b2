"""What goes by the clock while a source does not end: step by step, in a session whose time tests let pass."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from scripted_session import ScriptedSession

from fastcap.devlock import DeviceLock
from fastcap.workers import timelimits
from fastcap.workers.recording import Recording
from fastcap.workers.timelimits import KILLED_S, POLL_INTERVAL_S

TIMEOUT_S = 5.0


@pytest.fixture
def session(tmp_path: Path) -> Iterator[ScriptedSession]:
    session = ScriptedSession(tmp_path)
    yield session
    session.close()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    clock = SimpleNamespace(s=1.0)
    monkeypatch.setattr(timelimits, "now_ns", lambda: int(clock.s * 1e9))
    return clock


def source_that_does_not_exit(session: ScriptedSession) -> Recording:
    r, _ = session.running(source_timeout={"seconds": TIMEOUT_S, "buffer_bytes": 0})
    r.source_gone = False
    session.dispatch(session.conductor.reader, "eof", r, why="eof", error=None)
    session.conductor.limits.watch(r)
    return r


def let_pass(session: ScriptedSession, clock: SimpleNamespace, seconds: float) -> None:
    for _ in range(int(seconds / POLL_INTERVAL_S)):
        clock.s += POLL_INTERVAL_S
        session.loop.let_pass(POLL_INTERVAL_S)


def test_source_that_does_not_exit_after_its_output_is_ended_in_time(
    session: ScriptedSession, clock: SimpleNamespace
) -> None:
    r = source_that_does_not_exit(session)
    let_pass(session, clock, TIMEOUT_S - POLL_INTERVAL_S)
    assert r.stopped_why is None
    let_pass(session, clock, POLL_INTERVAL_S)
    assert r.stopped_why == "silent"
    assert "did not exit within 5 s after the end of its output" in session.heard("silent")[0]["text"]


def test_time_for_which_the_machine_stood_still_is_not_the_source_s(
    session: ScriptedSession, clock: SimpleNamespace
) -> None:
    r = source_that_does_not_exit(session)
    for _ in range(int(TIMEOUT_S / (2 * POLL_INTERVAL_S)) - 1):
        clock.s += 3600
        session.loop.let_pass(POLL_INTERVAL_S)
    assert r.stopped_why is None
    let_pass(session, clock, TIMEOUT_S)
    assert r.stopped_why == "silent"


def test_device_of_a_source_that_does_not_end_is_in_use_until_it_has(
    session: ScriptedSession, tmp_path: Path
) -> None:
    device = tmp_path / "board"
    device.touch()
    r, _ = session.running()
    r.source_gone = False
    conductor = session.conductor
    conductor.lock = DeviceLock.acquire(str(device), {})
    source: Any = SimpleNamespace(pid=4711, tail=b"stuck")

    conductor.limits.watch_end(r, source)
    session.loop.let_pass(KILLED_S)

    assert conductor.lock is None, "the next recording may have another device"
    assert r.source_ended is not None
    assert r.source_ended.endswith("process 4711 is stuck in the kernel, and SIGKILL does not end it")
    with pytest.raises(Exception, match="in use"):
        DeviceLock.acquire(str(device), {})
    conductor.limits.let_go(source)
    DeviceLock.acquire(str(device), {}).release()
