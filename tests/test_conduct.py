"""What a session does with its recordings, step by step: who is told what, what is waited for, and how it ends."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from scripted_session import ScriptedSession

from fastcap.devlock import DeviceLock
from fastcap.workers.conduct import CHECK_S, SLOTS_KEPT, TERM_S
from fastcap.workers.finishing import GIVE_UP_S
from fastcap.workers.recording import DONE, FAILED, PREPARING, RUNNING, SAMPLED


@pytest.fixture
def session(tmp_path: Path) -> Iterator[ScriptedSession]:
    session = ScriptedSession(tmp_path)
    yield session
    session.close()


# -- the destination -----------------------------------------------------------------------------------


def test_destination_that_stalls_is_waited_for_however_long(session: ScriptedSession) -> None:
    r, _ = session.running()
    session.sample(r)
    session.loop.let_pass(100 * GIVE_UP_S)
    assert r.state == SAMPLED
    assert session.heard("failed") == []


def test_destination_that_fails_and_takes_nothing_is_given_up_after_a_while(session: ScriptedSession) -> None:
    r, _ = session.running()
    session.sample(r)
    session.dispatch(r.writer, "sink_error", r, text="disk full", index=0)
    session.loop.let_pass(0.9 * GIVE_UP_S)
    assert r.state == SAMPLED
    session.loop.let_pass(0.3 * GIVE_UP_S)

    (failed,) = session.heard("failed")
    assert (r.state, failed["error"]) == (FAILED, "SinkError")
    assert failed["text"].startswith("disk full (for 60 s); ")
    assert session.ops("nas_writer")[-1] == "abandon"
    assert session.conductor.keep_folder


@pytest.mark.parametrize("what", ["takes something", "works again"])
def test_destination_that_fails_and_gets_on_is_not_given_up(session: ScriptedSession, what: str) -> None:
    r, slot = session.running()
    session.sample(r)
    for k in range(6):
        session.dispatch(r.writer, "sink_error", r, text="disk full", index=0)
        session.loop.let_pass(0.6 * GIVE_UP_S)
        if what == "takes something":
            slot.advance(8 * (k + 1))
        else:
            session.dispatch(r.writer, "sink_ok", r)
        session.loop.let_pass(0.1 * GIVE_UP_S)
    assert r.state == SAMPLED


def test_source_waits_a_moment_for_the_destination_and_no_longer(session: ScriptedSession) -> None:
    r = session.record()
    session.dispatch(session.conductor.splitter, "announced", r)
    session.dispatch(r.writer, "granted", r, slot=0)
    assert session.ops("reader") == []
    session.loop.let_pass(CHECK_S)
    assert session.ops("reader") == ["record"]
    session.dispatch(r.writer, "dest_ok", r, device=1, path="", free_bytes=1)
    assert session.ops("reader") == ["record"], "and it is told once"


def test_source_waits_for_a_destination_that_is_to_be_checked_first(session: ScriptedSession) -> None:
    spec = session.spec()
    r = session.record(sink={**spec["sink"], "check_first": True})
    session.dispatch(session.conductor.splitter, "announced", r)
    session.dispatch(r.writer, "granted", r, slot=0)
    session.loop.let_pass(1000)
    assert (r.state, session.ops("reader")) == (PREPARING, [])


def test_destination_that_is_refused_ends_what_never_began_and_leaves_nothing(
    session: ScriptedSession,
) -> None:
    r = session.record()
    writer = r.writer
    session.dispatch(writer, "dest_error", r, text="no such directory")
    session.dispatch(session.conductor.splitter, "announced", r)

    assert [m["text"] for m in session.heard("failed")] == ["no such directory"]
    assert session.ops("reader") == []
    assert not session.conductor.keep_folder


# -- the source ----------------------------------------------------------------------------------------


def _source(session: ScriptedSession, code: str) -> tuple[Any, int]:
    """Start a source, and wait until it has said that it is ready; return its recording, and its pipe."""
    r = session.record(source={"kind": "command", "argv": ["sh", "-c", code]})
    ours, r.source_stdout = os.pipe()
    session.dispatch(session.conductor.reader, "reading", r, start=0, pipe_bytes=65536)
    assert os.read(ours, 6) == b"ready\n"
    return r, ours


def _status(session: ScriptedSession, r: Any) -> int | None:
    """Return the source's exit status, once it has ended; None: it does not."""
    if select.select([r.source.pidfd], [], [], 0.3 if r.source_status is None else 0)[0]:
        session.loop.watched[r.source.pidfd]()
    status: int | None = r.source_status
    return status


def test_source_that_ignores_sigterm_is_killed_with_all_that_it_started(session: ScriptedSession) -> None:
    r, pipe = _source(session, "trap '' TERM; sleep 1000 & echo ready; wait; sleep 1000")
    session.conductor.stop("interrupted")
    session.loop.let_pass(0.9 * TERM_S)
    assert _status(session, r) is None
    session.loop.let_pass(0.2 * TERM_S)
    select.select([r.source.pidfd], [], [], 20)
    assert _status(session, r) == -signal.SIGKILL
    assert select.select([pipe], [], [], 20)[0], "nobody holds the pipe open"
    assert os.read(pipe, 1) == b""
    os.close(pipe)


def test_source_that_ends_when_it_is_asked_is_not_killed(session: ScriptedSession) -> None:
    r, pipe = _source(session, "trap 'exit 7' TERM; echo ready; while :; do sleep 0.01; done")
    session.conductor.stop("interrupted")
    select.select([r.source.pidfd], [], [], 20)
    assert _status(session, r) == 7
    session.loop.let_pass(10 * TERM_S)
    assert r.source_status == 7
    os.close(pipe)


def test_source_that_cannot_be_started_says_so(session: ScriptedSession) -> None:
    r = session.record(source={"kind": "command", "argv": ["/no/such/program"]})
    ours, r.source_stdout = os.pipe()
    session.dispatch(session.conductor.reader, "reading", r, start=0, pipe_bytes=65536)
    os.close(ours)
    (failed,) = session.heard("failed")
    assert "cannot start '/no/such/program': No such file or directory" in failed["text"]
    assert r.source_stdout == -1


@pytest.mark.parametrize("how", ["at once", "while it runs", "when it is sampled"])
def test_recording_that_fails_or_is_sampled_gives_its_device_back(
    session: ScriptedSession, tmp_path: Path, how: str
) -> None:
    (device := tmp_path / "device").touch()
    given = {"source": {"kind": "fd", "device": str(device)}}
    if how == "at once":
        r = session.record(**given)
        session.dispatch(r.writer, "dest_error", r, text="no such directory")
    else:
        r, _ = session.running(**given)
        with pytest.raises(Exception, match="in use"):
            DeviceLock.acquire(str(device), {})
        if how == "while it runs":
            session.dispatch(r.writer, "sink_error", r, text="gone", index=0, fatal=True)
        else:
            session.sample(r)

    DeviceLock.acquire(str(device), {}).release()
    assert session.conductor.lock is None


def test_device_in_use_fails_the_recording_and_nothing_is_begun(
    session: ScriptedSession, tmp_path: Path
) -> None:
    (device := tmp_path / "device").touch()
    lock = DeviceLock.acquire(str(device), {})
    session.record(source={"kind": "fd", "device": str(device)})
    lock.release()
    assert [m["error"] for m in session.heard("failed")] == ["SourceError"]
    assert session.told == []


# -- files ---------------------------------------------------------------------------------------------


def test_file_s_report_is_there_once_whatever_its_writer_says_again(session: ScriptedSession) -> None:
    r, _ = session.running()
    for _ in range(2):  # the first writer died before it could read the answer
        session.segment(r, last=False)
    for _ in range(2):
        session.committed(r)
    session.sample(r)
    for _ in range(2):
        session.segment(r, index=1)
    session.committed(r, index=1)
    assert r.state == SAMPLED
    session.dispatch(r.writer, "finished", r)

    assert len(r.reports) == len(r.arrived) == len(session.heard("file")) == 2
    assert [m["index"] for _, m in session.told if m["op"] == "commit"] == [0, 0, 1, 1]
    assert session.ops("nas_writer")[-1] == "close", "a split's files are looked at once more"
    session.dispatch(r.writer, "files_closed", r, directory=session.folder, gone=[])
    (done,) = session.heard("done")
    assert (r.state, len(done["reports"])) == (DONE, 2)


def test_last_report_waits_for_the_source_s_end(session: ScriptedSession) -> None:
    r, _ = session.running()
    session.segment(r)
    assert "commit" not in session.ops("nas_writer")
    session.sample(r)
    assert session.ops("nas_writer").count("commit") == 1


def test_failed_recording_fails_once_and_is_never_done(session: ScriptedSession) -> None:
    r, _ = session.running()
    for _ in range(2):
        session.dispatch(r.writer, "sink_error", r, text="gone", index=0, fatal=True)
    session.sample(r)
    session.segment(r)
    session.dispatch(r.writer, "finished", r)
    assert len(session.heard("failed")) == 1
    assert session.heard("sampled") == session.heard("done") == []


# -- one after another ---------------------------------------------------------------------------------


def test_next_recording_begins_when_the_one_before_is_sampled(session: ScriptedSession) -> None:
    first, _ = session.running()
    assert session.record(2) is None
    session.sample(first)

    assert first.state == SAMPLED, "it still drains"
    assert [r.id for r in session.conductor.recordings] == [1, 2]
    assert session.ops("splitter")[-1] == "announce"


def test_next_recording_begins_when_the_one_before_has_failed(session: ScriptedSession) -> None:
    first, _ = session.running()
    session.record(2)
    session.dispatch(first.writer, "sink_error", first, text="gone", index=0, fatal=True)
    assert [r.id for r in session.conductor.recordings if not r.over] == [2]


def test_recording_waits_for_free_slots(session: ScriptedSession) -> None:
    slots = []
    while session.conductor._slots_free() >= SLOTS_KEPT:
        slots.append(session.engine.claim())
    assert session.record() is None
    session.loop.let_pass(10)
    assert session.conductor.recordings == []
    slots.pop().leave()
    session.engine.split()
    session.loop.let_pass(10)
    assert [r.id for r in session.conductor.recordings] == [1]


@pytest.mark.parametrize(("only", "left", "failed"), [(None, [], [2, 3]), (3, [2], [3]), (1, [2, 3], [])])
def test_stop_ends_what_was_asked_and_what_is_queued(
    session: ScriptedSession, only: int | None, left: list[int], failed: list[int]
) -> None:
    r, _ = session.running()
    for number in (2, 3):
        session.record(number)
    for _ in range(2):
        session.conductor.stop("interrupted", only)

    assert [spec["recording"] for spec, _ in session.conductor.queue] == left
    assert [m["recording"] for m in session.heard("failed")] == failed
    assert r.stopped_why == (None if only == 3 else "interrupted")


def test_stop_that_was_asked_for_ends_with_a_whole_word(session: ScriptedSession) -> None:
    r, _ = session.running()
    session.conductor.stop("stopped")
    assert (r.stopped_why, r.source_ended, session.ops("splitter")[-1]) == ("stopped",) * 2 + ("whole_words",)
    assert r.state == RUNNING
    session.sample(r)
    assert r.complete


def test_stop_before_the_source_has_started_fails_the_recording(session: ScriptedSession) -> None:
    r = session.record()
    session.conductor.stop("stopped")
    assert [m["text"] for m in session.heard("failed")] == ["stopped before the source had started"]
    assert (r.state, session.ops("nas_writer")[-1]) == (FAILED, "discard")
