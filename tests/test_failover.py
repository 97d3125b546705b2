"""Deaths in one session, step by step: who is replaced from where on, how often, and what is reported of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from scripted_session import ScriptedSession

from fastcap.workers.recording import FAILED, RUNNING, SAMPLED
from fastcap.workers.replace import AGAIN_S, MANY

DEATHS = 20


@pytest.fixture
def session(tmp_path: Path) -> Iterator[ScriptedSession]:
    session = ScriptedSession(tmp_path)
    session.conductor.replacer._counts_exact = True
    yield session
    session.close()


def _ready(session: ScriptedSession, role: str) -> None:
    """Let the youngest worker of a role say that it has come up."""
    worker = [w for w in session.workers if w.role == role][-1]
    session.conductor.dispatcher.dispatch(worker, {"op": "ready"})


def _kill(session: ScriptedSession, role: str, recording: int = 1) -> None:
    """Let the worker at work die, and its successor come up."""
    c = session.conductor
    writer = next(r.writer for r in c.recordings if r.id == recording)
    session.died({"reader": c.reader, "splitter": c.splitter, "nas_writer": writer}[role])
    _ready(session, role)


@pytest.mark.parametrize("role", ["reader", "splitter", "nas_writer"])
def test_twenty_deaths_at_different_places_are_survived(session: ScriptedSession, role: str) -> None:
    r, slot = session.running()
    for k in range(DEATHS):
        session.engine.feed(bytes(800))
        session.engine.split()
        slot.advance(800 * (k + 1))
        _kill(session, role)

    assert (r.state, session.heard("failed")) == (RUNNING, [])
    assert r.replaced == {**dict.fromkeys(r.replaced, 0), role: DEATHS}


@pytest.mark.parametrize("role", ["reader", "splitter", "nas_writer"])
def test_so_many_deaths_at_one_place_are_survived_and_one_more_is_not(
    session: ScriptedSession, role: str
) -> None:
    r, slot = session.running()
    for position in (80, 160):
        if role == "nas_writer":
            slot.advance(position)
        else:
            session.engine.feed(bytes(80))
            session.engine.split()
        for _ in range(MANY):
            _kill(session, role)
        assert r.state == RUNNING
    _kill(session, role)

    (failed,) = session.heard("failed")
    assert (r.state, failed["error"]) == (FAILED, "WorkerError")
    assert ("died again and again" in failed["text"]) == (role != "nas_writer")


def test_writers_of_two_recordings_are_counted_apart(session: ScriptedSession) -> None:
    first, slot = session.running()
    session.sample(first)
    second, other = session.running(2)
    slot.advance(other.cursor)
    for _ in range(MANY):
        for r in (first, second):
            _kill(session, "nas_writer", r.id)
    assert session.heard("failed") == []


def test_reader_s_successor_is_told_what_all_before_it_have_read(session: ScriptedSession) -> None:
    session.conductor.reader.count = 5000  # it has read other things before: imports, an earlier recording
    r = session.record()
    session.conductor.reader.count = 5100
    session.conductor.start_reader(r)
    session.engine.begin()
    session.dispatch(session.conductor.reader, "reading", r, start=0, pipe_bytes=65536)
    for _ in range(2):
        session.conductor.warm_up()
        _ready(session, "reader")
        assert session.conductor.replacer.spare is not None
        session.conductor.replacer.spare.count = 7000  # type: ignore[attr-defined]
        session.conductor.reader.count += 800
        _kill(session, "reader")

    resumed = [m["taken"] for _, m in session.told if m["op"] == "resume"]
    assert resumed == [800, 1600]
    session.conductor.reader.count += 400
    session.dispatch(session.conductor.reader, "eof", r, why="eof", error=None)
    assert r.bytes_read == 2000


def test_bytes_that_nobody_counted_are_an_unknown_loss_and_none_are_said_to_be_read(
    session: ScriptedSession,
) -> None:
    session.conductor.replacer._counts_exact = False
    r, _ = session.running()
    _kill(session, "reader")
    assert [m["taken"] for _, m in session.told if m["op"] == "resume"] == [8000]
    assert [(e["after_word"], e["certainty"]) for e in r.unknown_losses] == [(1000, "unknown")]
    session.sample(r)
    assert r.bytes_read is None


def test_reader_that_had_ended_the_stream_is_not_gone_on_for(session: ScriptedSession) -> None:
    r, _ = session.running()
    session.conductor.warm_up()
    session.engine.reader.end()
    session.died(session.conductor.reader)
    assert r.eof is not None
    assert "resume" not in session.ops("reader")
    assert session.conductor.reader.role == "reader"


def test_successor_that_dies_while_it_waits_is_replaced(session: ScriptedSession) -> None:
    session.running()
    session.conductor.warm_up()
    spare = session.conductor.replacer.spare
    session.died(spare)
    session.loop.let_pass(2 * AGAIN_S)
    assert session.conductor.replacer.spare not in (None, spare)
    _kill(session, "reader")
    assert "resume" in session.ops("reader")


def test_splitter_s_successor_is_told_of_what_has_not_ended(session: ScriptedSession) -> None:
    first, _ = session.running()
    session.sample(first)
    session.running(2)
    session.told.clear()
    session.conductor.replacer.free_slots_of(77)
    _kill(session, "splitter")
    assert [m["recording"] for _, m in session.told if m["op"] == "announce"] == [2]
    assert session.conductor.splitter is session.workers[-1]


def test_writer_s_successor_is_told_what_is_known(session: ScriptedSession) -> None:
    r, slot = session.running()
    session.dispatch(r.writer, "sink_error", r, text="disk full", index=0)
    session.segment(r)
    _kill(session, "nas_writer")

    worker, message = next((w, m) for w, m in session.told if m["op"] == "resume")
    assert worker is r.writer
    assert message["slot"] == slot.index
    assert (message["checked"], message["device"], message["trouble"], message["turn"]) == (
        True,
        1,
        False,
        True,
    )
    session.sample(r)
    assert "commit" not in session.ops("nas_writer"), "the successor has not asked yet"
    assert r.state == SAMPLED


def test_writer_that_died_before_it_had_a_slot_is_begun_anew(session: ScriptedSession) -> None:
    r = session.record()
    first = r.writer
    _kill(session, "nas_writer")
    assert r.writer is not first
    assert session.ops("nas_writer") == ["claim", "record"] * 2


def test_warm_writer_that_dies_is_nobody_s(session: ScriptedSession) -> None:
    r, _ = session.running()
    session.conductor.warm_up()
    (warm,) = session.conductor.writers
    session.died(warm)
    assert session.conductor.writers == []
    assert r.replaced["nas_writer"] == 0
