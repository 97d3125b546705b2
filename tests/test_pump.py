"""The system calls between descriptors and ring memory, each with what a kernel may answer."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from harness import Engine, counter
from support import wait_until

from fastcap._pump import COMMAND, EOF, FAILED, Reader, set_pipe_size, sync, write_at, write_stream
from fastcap._ring import ESSENTIAL, LOSSLESS, MIN_RING_BYTES

C = MIN_RING_BYTES
SIGNALS = 100


@pytest.fixture
def engine() -> Iterator[Engine]:
    engine = Engine()
    yield engine
    engine.close()


@contextmanager
def signals(then: threading.Thread) -> Iterator[None]:
    """Interrupt this thread's system calls, again and again, while the block runs; ``then`` is started after that."""
    main = threading.get_ident()
    before = signal.signal(signal.SIGUSR1, lambda *_: None)

    def send() -> None:
        for _ in range(SIGNALS):
            signal.pthread_kill(main, signal.SIGUSR1)
            time.sleep(0.001)  # so that each may find it asleep
        then.start()

    sender = threading.Thread(target=send)
    sender.start()
    try:
        yield
    finally:
        sender.join()
        then.join()
        signal.signal(signal.SIGUSR1, before)


def begin(engine: Engine, fd: int, recording: int = 1, **given: int) -> tuple[Reader, int]:
    """Begin a recording of a descriptor with a reader of its own; return it and where the recording begins."""
    engine.announce(recording)
    start = engine.reader.begin(fd, recording, word_bytes=8, can_wait=False, gather_s=0, **given)
    return engine.reader, start


# -- reading ---------------------------------------------------------------------------------------------


@pytest.mark.fuse
@pytest.mark.parametrize("number", [errno.EINTR, errno.EAGAIN, errno.EIO])
def test_read_that_was_interrupted_is_made_again_and_one_that_failed_is_told(
    engine: Engine, faultfs, number: int
) -> None:
    fs = faultfs(direct_io=True)
    (fs.backing / "source").write_bytes(counter(0, 1000))
    rule = fs.error("read", number)
    fd = os.open(fs.mount / "source", os.O_RDONLY)
    reader, start = begin(engine, fd)

    told = reader.run()

    fs.wait_fired(rule)
    os.close(fd)
    if number == errno.EIO:
        assert told == (FAILED, errno.EIO)
        assert engine.ring.head == start
    else:
        assert told == (EOF, 0)
        assert engine.ring.bytes_at(start, engine.ring.head - start) == counter(0, 1000)


@pytest.mark.fuse
def test_read_that_was_interrupted_while_words_are_dropped_is_made_again(engine: Engine, faultfs) -> None:
    fs = faultfs(direct_io=True)
    (fs.backing / "source").write_bytes(counter(0, C // 8 + 1000))
    engine.claim(LOSSLESS | ESSENTIAL)
    rule = fs.error("read", errno.EINTR, at_offset=C)
    fd = os.open(fs.mount / "source", os.O_RDONLY)
    reader, _ = begin(engine, fd)

    told = reader.run()

    fs.wait_fired(rule)
    os.close(fd)
    assert told == (EOF, 0)
    assert engine.ring.reader_state()["dropped_bytes"] == 8000


def test_signals_while_the_source_is_waited_for_are_no_failure(engine: Engine) -> None:
    ours, theirs = os.pipe()

    def give() -> None:
        os.write(theirs, counter(0, 100))
        os.close(theirs)

    reader, start = begin(engine, ours)
    with signals(threading.Thread(target=give)):
        told = reader.run()

    os.close(ours)
    assert told == (EOF, 0)
    assert engine.ring.bytes_at(start, 800) == counter(0, 100)


def test_message_ends_a_reader_s_wait_and_nothing_is_lost_by_that(engine: Engine) -> None:
    ours, theirs = os.pipe()
    control, peer = socket.socketpair()
    engine.announce()
    reader = Reader(engine.ring, control.fileno())
    start = reader.begin(ours, 1, word_bytes=8, can_wait=False)
    peer.send(b"x")
    assert reader.run() == (COMMAND, 0)
    control.recv(1)
    os.write(theirs, counter(0, 100))
    os.close(theirs)
    assert reader.run() == (EOF, 0)
    assert engine.ring.bytes_at(start, 800) == counter(0, 100)
    for each in (control, peer):
        each.close()
    os.close(ours)


# -- what one recording leaves to the next ------------------------------------------------------------------


def test_counters_of_a_recording_begin_at_nothing(engine: Engine) -> None:
    """The first one's source is silent, then fills ring and pipe: no counter of it is nothing."""
    ours, theirs = os.pipe()
    size = set_pipe_size(ours, 4096)
    control, peer = socket.socketpair()
    engine.announce(can_wait=True)
    engine.claim(LOSSLESS | ESSENTIAL)
    reader = Reader(engine.ring, control.fileno())
    reader.begin(ours, 1, word_bytes=8, can_wait=True, gather_s=0, pipe_bytes=size)
    thread = threading.Thread(target=reader.run)
    thread.start()
    wait_until(lambda: engine.ring.reader_state()["quiet_ns"], 20, "silence")
    for _ in range((C + size) // size):
        os.write(theirs, bytes(size))
    assert engine.ring.reader_state()["quiet_ns"] == 0, "bytes end a silence"
    wait_until(lambda: engine.ring.reader_state()["pipe_full_ns"], 20, "a full pipe")
    peer.send(b"x")
    thread.join()
    assert all(engine.ring.reader_state()[key] for key in ("first_ns", "last_ns", "reads", "pipe_bytes"))

    reader.begin(-1, 2, word_bytes=8, can_wait=True)

    state = engine.ring.reader_state()
    kept = ("first_ns", "last_ns", "reads", "quiet_ns", "pipe_full_ns", "pipe_bytes")
    assert {key: state[key] for key in kept} == dict.fromkeys(kept, 0)
    for each in (control, peer):
        each.close()
    for fd in (ours, theirs):
        os.close(fd)


def test_silence_of_one_recording_is_not_the_next_one_s(engine: Engine) -> None:
    ours, theirs = os.pipe()
    control, peer = socket.socketpair()
    engine.announce()
    reader = Reader(engine.ring, control.fileno())
    reader.begin(ours, 1, word_bytes=8, can_wait=False, gather_s=0)
    thread = threading.Thread(target=reader.run)
    thread.start()
    wait_until(lambda: engine.ring.reader_state()["quiet_ns"], 20, "silence")
    peer.send(b"x")
    thread.join()
    assert engine.ring.reader_state()["quiet_ns"]

    reader.begin(-1, 2, word_bytes=8, can_wait=False)

    assert engine.ring.reader_state()["quiet_ns"] == 0
    for each in (control, peer):
        each.close()
    for fd in (ours, theirs):
        os.close(fd)


def test_first_arrival_stays_what_it_was(engine: Engine) -> None:
    engine.begin()
    times = []
    for first in (0, 10):
        engine.feed(counter(first, 10))
        state = engine.ring.reader_state()
        times.append((state["first_ns"], state["last_ns"]))
    (first, latest), (first_again, latest_again) = times
    assert 0 < first == first_again <= latest < latest_again


def test_words_dropped_at_the_end_of_a_recording_are_not_the_next_one_s(engine: Engine) -> None:
    engine.claim(LOSSLESS | ESSENTIAL)
    engine.begin(1)
    engine.feed(counter(0, C // 8 + 10))
    engine.end()
    assert engine.ring.reader_state()["dropped_bytes"] == 80

    engine.begin(2)
    assert not engine.ring.reader_state()["dropping"]
    assert engine.ring.reader_state()["dropped_bytes"] == 0
    engine.feed(counter(0, 3))
    state = engine.ring.reader_state()

    assert (state["dropping"], state["dropped_bytes"]) == (True, 24)
    assert [engine.ring.drop(n)[1:3] for n in range(state["drops"])] == [(80, 1), (24, 2)]


def test_successor_of_a_reader_goes_on_behind_its_own_recording_s_drops(engine: Engine) -> None:
    writer = engine.claim(LOSSLESS | ESSENTIAL)
    engine.begin(1)
    engine.feed(counter(0, C // 8 + 10))
    engine.end()
    writer.advance(engine.ring.framed)
    engine.split()

    start = engine.begin(2)
    for at in range(3):
        engine.new_reader()
        engine.feed(counter(100 * at, 100))

    assert engine.ring.head == start + 2400
    assert engine.ring.bytes_at(start, 2400) == counter(0, 300)


# -- pipes -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wanted", [1, 5000, 65537])
def test_pipe_s_real_size_is_told(wanted: int) -> None:
    ours, theirs = os.pipe()
    assert set_pipe_size(ours, wanted) == fcntl.fcntl(ours, fcntl.F_GETPIPE_SZ) != wanted
    os.close(ours)
    os.close(theirs)


def test_what_is_no_pipe_has_no_size(tmp_path: Path) -> None:
    with open(tmp_path / "file", "wb") as file:
        assert set_pipe_size(file.fileno(), 65536) == 0


# -- writing ---------------------------------------------------------------------------------------------


def test_call_on_the_destination_is_seen_while_it_lasts_and_no_longer(engine: Engine, tmp_path: Path) -> None:
    slot = engine.claim(LOSSLESS | ESSENTIAL)
    engine.begin()
    engine.feed(counter(0, 100))
    engine.split()
    fd = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    calls = [lambda *hold: write_at(slot, fd, 0, 800, 0, *hold), lambda *hold: sync(slot, fd, *hold)]

    def busy() -> int:
        since: int = engine.ring.slot_state(slot.index)["busy_since_ns"]
        return since

    for call, done in zip(calls, (800, 0), strict=True):
        held: list[tuple[int, int, int]] = []
        upto = time.monotonic_ns() + 300_000_000
        thread = threading.Thread(target=lambda call=call, upto=upto, held=held: held.append(call(upto)))
        thread.start()
        begun = wait_until(lambda held=held: busy() or held, 20, "a call that lasts")
        thread.join()
        assert (begun, held[0][0]) == (held[0][1], done)
        assert held[0][1] + held[0][2] >= upto
        assert busy() == 0
    os.close(fd)
    assert [call()[0] for call in calls] == [-errno.EBADF, -errno.EBADF]
    assert busy() == 0


def test_output_goes_on_behind_signals(engine: Engine) -> None:
    slot = engine.claim()
    engine.begin()
    data = counter(0, C // 16)
    engine.feed(data)
    engine.end()
    ours, theirs = os.pipe()
    set_pipe_size(theirs, 4096)
    got: list[bytes] = []

    def read() -> None:
        while sum(map(len, got)) < len(data):
            got.append(os.read(ours, C))

    with signals(threading.Thread(target=read)):
        told = write_stream(slot, theirs, 1, 0)

    assert told == (len(data), 0)
    assert b"".join(got) == data
    os.close(ours)
    os.close(theirs)


@pytest.mark.parametrize("lossless", [True, False])
def test_output_that_was_passed_says_so_and_one_that_has_no_reader_says_why(
    engine: Engine, lossless: bool
) -> None:
    slot = engine.claim(LOSSLESS | ESSENTIAL if lossless else 0)
    engine.begin()
    for at in range(2):
        engine.feed(counter(at * C // 16, C // 16))
        engine.split()
    if not lossless:
        engine.feed(counter(C // 8, C // 16))
        engine.split()
    engine.end()
    ours, theirs = os.pipe()
    os.close(ours)

    told = write_stream(slot, theirs, 1, 0)

    assert told == (0, errno.EPIPE if lossless else -1)
    assert slot.cursor == 0
    os.close(theirs)
